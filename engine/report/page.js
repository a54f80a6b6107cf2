// ---- One clock for all clips: milliseconds since the start, of which each shows its own frame -----------------------

const $ = id => document.getElementById(id);
const screens = Array.from(document.querySelectorAll("canvas[data-clip]"),
  canvas => ({canvas, brush: canvas.getContext("2d"), name: canvas.dataset.clip, cell: Number(canvas.dataset.cell), shown: -1}));
let clips = {}, lead = null;  // the longest one, of these the one with most frames
let clock = 0, playing = false, tick = null;

async function start() {
  const packed = JSON.parse($("clips").textContent);
  try {
    await Promise.all(Object.entries(packed).map(async ([name, text]) => { clips[name] = await unpack(text); }));
  } catch {
    $("failed").hidden = false;
    return;
  }
  lead = Object.values(clips).reduce((best, clip) => length(clip) > length(best)
    || (length(clip) === length(best) && clip.ends.length > best.ends.length) ? clip : best);
  $("place").max = length(lead);
  $("player").hidden = false;
  setPlaying(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  draw();
  requestAnimationFrame(run);
}

const length = clip => clip.ends.at(-1);

function run(now) {
  if (playing && tick !== null) {
    clock += (now - tick) * Number($("speed").value);
    draw();
  }
  tick = now;
  requestAnimationFrame(run);
}

function draw() {
  for (const screen of screens) {
    const clip = clips[screen.name], frame = frameAt(clip, clock);
    if (frame === screen.shown) continue;
    screen.shown = frame;
    const {width, height} = screen.canvas;
    screen.brush.drawImage(clip.frames[frame], screen.cell * width, 0, width, height, 0, 0, width, height);
  }
  $("place").value = clock % length(lead);
  const text = `${frameAt(lead, clock) + 1} of ${lead.ends.length}`;
  if (text !== $("frame").textContent) {
    $("frame").textContent = text;
    $("place").setAttribute("aria-valuetext", `frame ${text}`);
  }
}

document.addEventListener("visibilitychange", () => { tick = null; });  // the clock stands while the page is hidden

// ---- Stepping: to where the next or the last frame of any clip begins -----------------------------------------------

function begins(clip) {  // when its frame in turn began, and when the next one will
  const frame = frameAt(clip, clock), round = clock - clock % length(clip);
  return [round + (frame ? clip.ends[frame - 1] : 0), round + clip.ends[frame]];
}

function step(forward) {
  setPlaying(false);
  const all = Object.values(clips);
  if (forward) {
    clock = Math.min(...all.map(clip => begins(clip)[1]));
  } else {
    clock = Math.max(...all.map(clip => begins(clip)[0]));
    if (clock === 0) clock = length(lead);
    clock -= 0.5;  // no frame lasts less than a millisecond
    clock = Math.max(...all.map(clip => begins(clip)[0]));
  }
  draw();
}

function setPlaying(on) {
  playing = on;
  $("player").classList.toggle("playing", on);
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
}

function faster(by) {
  const choice = $("speed").selectedIndex + by;
  if (choice >= 0 && choice < $("speed").options.length) $("speed").selectedIndex = choice;
}

$("play").onclick = () => setPlaying(!playing);
$("back").onclick = () => step(false);
$("step").onclick = () => step(true);
$("place").oninput = () => {
  setPlaying(false);
  clock = Math.min(Number($("place").value), length(lead) - 0.5);
  draw();
};

const keys = {" ": () => setPlaying(!playing), arrowleft: () => step(false), arrowright: () => step(true),
              s: () => faster(-1), f: () => faster(1)};
document.addEventListener("keydown", event => {
  const key = event.key.toLowerCase(), at = event.target.tagName;
  if (!lead || !keys[key] || event.ctrlKey || event.metaKey || event.altKey) return;
  if (at === "SELECT" || at === "INPUT" || (key === " " && at === "BUTTON")) return;  // they have keys of their own
  event.preventDefault();
  keys[key]();
});

start();
