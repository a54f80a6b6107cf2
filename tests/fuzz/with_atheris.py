"""Coverage-guided fuzzing of what reads files, for as long as one likes; needs the extra `sgif[fuzz]`.

    python -m tests.fuzz.with_atheris clip -max_total_time=600     # or still, mask, run, settings

It ends at the first input that raises anything but a refusal, and leaves it as crash-*: mend, then add it to seeds.py.
Other words are libFuzzer's. Decoders in C are not instrumented: what is followed is the Python that leads to them.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("fuzzing needs atheris: pip install 'sgif[fuzz]'")

with atheris.instrument_imports(include=["sgif.engine"]):
    import torch

    from sgif.engine import (
        Clip,
        ClipError,
        ConfigError,
        ReadLimits,
        RunError,
        TrainConfig,
        load_run,
        preset_config,
        read_clip,
        read_mask,
        read_still,
        train,
    )

from .seeds import seeds

LIMITS = ReadLimits(frame_pixels=1 << 14, frames=50, clip_bytes=1 << 22)
FOLDER = Path(tempfile.mkdtemp(prefix="sgif-fuzz-"))
FILE = FOLDER / "x"


def reader(read: Callable[..., object]) -> Callable[[bytes], None]:
    def one(data: bytes) -> None:
        FILE.write_bytes(data)
        with suppress(ClipError):
            read(FILE, limits=LIMITS)
    return one


def run_folder() -> tuple[Callable[[bytes], None], dict[str, bytes]]:
    """The first byte says which file of a run the others are."""
    config = preset_config("draft", iterations=1, width=2, max_width=2, fuse=False, threads=1, device="cpu",
                           frames_per_step=(2, 2))
    clip = Clip(frames=torch.zeros(2, 8, 9, 3, dtype=torch.uint8), frame_ms=(40, 50), source="made")
    path = train(clip, FOLDER / "run", config).path
    names = ["config.json", "scale_00/scale.json", "clip.safetensors", "z_fixed.safetensors",
             "scale_00/generator.safetensors"]
    for record in (path / "config.json", path / "scale_00" / "scale.json"):  # without hashes every byte is looked at
        values = json.loads(record.read_text())
        values.pop("sha256")
        record.write_text(json.dumps({**values, "schema": 1}))
    whole = [(path / name).read_bytes() for name in names]

    def one(data: bytes) -> None:
        if not data:
            return
        number = data[0] % len(names)
        (path / names[number]).write_bytes(data[1:])
        with suppress(RunError, ConfigError):
            run = load_run(path)
            json.dumps(run.describe())
            run.reconstruct(device="cpu")
        (path / names[number]).write_bytes(whole[number])
    return one, {name: bytes([number]) + whole[number] for number, name in enumerate(names)}


def settings(data: bytes) -> None:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        with suppress(ConfigError):
            TrainConfig.from_json(values)


def main() -> None:
    kind, *words = sys.argv[1:] or ["clip"]
    begin = seeds()
    if kind == "run":
        target, begin = run_folder()
    elif kind == "settings":
        target, begin = settings, {"draft": json.dumps(preset_config("draft").to_json()).encode()}
    else:
        target = reader({"clip": read_clip, "still": read_still, "mask": read_mask}[kind])
    (FOLDER / "seeds").mkdir()
    for number, data in enumerate(begin.values()):
        (FOLDER / "seeds" / str(number)).write_bytes(data)
    atheris.Setup([sys.argv[0], *words, str(FOLDER / "seeds")], target)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    logging.disable()
    main()
