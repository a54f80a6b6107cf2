// ---- Clips: encoded frames and their durations, as engine/pages/frames.py packs them --------------------------------

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const numbers = new DataView(bytes.buffer), count = numbers.getUint32(0, true);
  let at = 4 + 8 * count, end = 0;
  const frames = [], ends = [];
  for (let frame = 0; frame < count; frame++) {
    const length = numbers.getUint32(8 + 8 * frame, true);
    ends.push(end += numbers.getUint32(4 + 8 * frame, true));
    frames.push(createImageBitmap(new Blob([bytes.subarray(at, at += length)], {type: "image/{{ frame_format }}"})));
  }
  return {frames: await Promise.all(frames), ends};
}

function frameAt(clip, ms) {  // of a clip that starts again at its end
  const within = ms % clip.ends.at(-1);
  return clip.ends.findIndex(end => within < end);
}
