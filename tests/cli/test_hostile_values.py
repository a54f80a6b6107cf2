"""Values that no one can mean, in commands that meet a real run and real files: one sentence and exit code 2."""

import os

import pytest
from PIL import Image

from sgif.cli.main import main
from sgif.engine import preset_config, read_clip, train, write_clip

from ..engine.conftest import moving_frames

HUGE = "9" * 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of one step a scale, a clip, a still, a mask and a pipe."""
    path = tmp_path_factory.mktemp("hostile")
    write_clip(path / "clip.gif", moving_frames(3, 12, 16), 80)
    train(read_clip(path / "clip.gif"), path / "run",
          preset_config("draft", iterations=1, width=2, fuse=False, threads=1, device="cpu"))
    Image.new("RGB", (16, 12), "red").save(path / "still.png")
    mask = Image.new("L", (16, 12))
    mask.paste(255, (2, 2, 9, 9))
    mask.save(path / "mask.png")
    os.mkfifo(path / "pipe")
    return path


@pytest.mark.parametrize("words", [
    f"sample run --size {HUGE}x{HUGE}", "sample run --size 65537x2", "sample run --scale 99999",
    f"sample run --start-scale {HUGE}", "sample run --device meta", "sample run -o /dev/null", "sample run --speed nan",
    f"edit run clip.gif --size {HUGE}x2", f"edit run clip.gif --mask mask.png --border {HUGE}", "edit run pipe",
    "edit run clip.gif --mask pipe", "edit run clip.gif --mask mask.png --max-pixels 191",
    "edit run clip.gif --max-frames 2", f"inpaint run clip.gif --mask mask.png --crop {HUGE},0,2x2",
    "animate run still.png --motion nan", f"animate run still.png --size {HUGE}x{HUGE}", "animate run pipe",
    "animate run still.png --max-pixels 191", "superres run --factor nan", f"superres run --steps {HUGE}",
    "train clip.gif --max-pixels 191", "train pipe", "profile pipe", "profile clip.gif --scales 99", "info pipe",
    "verify pipe", "bench show pipe", "bench compare clip.gif clip.gif",
])
def test_it_is_refused_in_one_sentence(words, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("sgif: ")
    assert said[:-1].isprintable()


@pytest.mark.parametrize("words", [
    f"sample run --scale {'9' * 400}", f"sample run --frames {HUGE}", "sample run --frames 0", "profile --budget inf",
    f"train clip.gif --frames {HUGE}"])
def test_it_is_refused_before_anything_is_read(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert len(capsys.readouterr().err.splitlines()) == 1
