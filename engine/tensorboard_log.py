"""Training's news as TensorBoard has them: a curve per loss, and the clips as they play.

    with TensorBoardLog() as log:
        train(clip, "runs/clip", config, on_event=log)

    tensorboard --logdir runs/clip/tensorboard

Every scale is a run of its own there, counted in its own iterations, so that a loss is one chart with a curve per
scale. Scalars: all losses, iterations and frames per second, peak memory, the reconstruction's PSNR. Images: the first
frame of the real clip and of the preview. Clips, which TensorBoard plays among the images: the real clip and the
preview, which is [reconstruction | sample | sample].

The package tensorboard is of the extra sgif[tensorboard]; it is imported when a log is made.
"""

from __future__ import annotations

import io
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from PIL import Image

from .clip import frames_from_tensor
from .clip_writer import write_clip
from .config import ConfigError
from .events import Event, RunFinished, RunStarted, ScaleFinished, ScaleStarted, StepLogged
from .pyramid import build_pyramid
from .runs import Run, load_run

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

FOLDER = "tensorboard"
FLUSH_SECONDS = 10  # TensorBoard itself looks every 30 s
RGB = 3  # an image summary's colorspace


class TensorBoardLog:
    """A listener of `train` that writes event files; leaving it closes them.

    Args:
        folder: where to, RUN/tensorboard by default. A run that goes on adds to what is there, and what it does again
            since its last saved state replaces what was logged of that.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        if find_spec("tensorboard") is None:
            raise ConfigError("a TensorBoard log needs the package tensorboard, which is not installed: "
                              "pip install 'sgif[tensorboard]'")
        self.folder = None if folder is None else Path(folder)
        self.run: Run | None = None
        self.writer: EventFileWriter | None = None
        self.iterations = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write out what is not on disk yet; the next scale opens a file again."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.run = load_run(event.run_dir)
            case ScaleStarted():
                self._begin(event)
            case StepLogged():
                self._scalars(event.iteration, {
                    **event.losses, "speed/iterations_per_second": event.iterations_per_second,
                    "speed/frames_per_second": event.frames_per_second, "memory/peak_gib": event.peak_bytes / 2**30})
            case ScaleFinished():
                self._scalars(self.iterations, {"scale/reconstruction_psnr_db": event.rec_psnr_db,
                                                "scale/seconds": event.seconds})
                self._clip(self.iterations, "preview", event.preview)
                self.close()
            case RunFinished():
                self.close()

    def _begin(self, event: ScaleStarted) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.close()
        assert self.run is not None, "RunStarted comes first"
        folder = (self.folder or self.run.path / FOLDER) / f"scale_{event.scale:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        self.writer, self.iterations = EventFileWriter(str(folder), flush_secs=FLUSH_SECONDS), event.iterations
        if event.start_iteration:  # TensorBoard forgets what an earlier session logged from here on
            self._add(event.start_iteration + 1, session_log=SessionLog(status=SessionLog.START))
            return
        (real,) = build_pyramid(self.run.clip, [(event.height, event.width)])
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "real.gif"
            write_clip(path, frames_from_tensor(real), self.run.frame_ms)
            self._clip(0, "real", path)

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)
                                               for tag, value in values.items()]))

    def _clip(self, step: int, name: str, gif: Path) -> None:
        """A GIF as it is, which plays, and its first frame as a still."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        still = io.BytesIO()
        with Image.open(gif) as first:
            width, height = first.size
            first.convert("RGB").save(still, "PNG")
        self._add(step, summary=Summary(value=[
            Summary.Value(tag=tag, image=Summary.Image(height=height, width=width, colorspace=RGB,
                                                       encoded_image_string=data))
            for tag, data in ((f"clip/{name}", gif.read_bytes()), (f"image/{name}", still.getvalue()))]))

    def _add(self, step: int, **content: object) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record

        assert self.writer is not None, "ScaleStarted comes first"
        self.writer.add_event(Record(wall_time=time.time(), step=step, **content))
