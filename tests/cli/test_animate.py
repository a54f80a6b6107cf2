import json

import pytest
from PIL import Image

from sgif.cli.main import main
from sgif.engine import animate_frames, load_run, read_clip, read_still, train
from sgif.engine.config import preset_config

from ..engine.conftest import make_clip, moving_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run of 12x16 and a still of 20x40."""
    folder = tmp_path_factory.mktemp("animate")
    config = preset_config("draft", iterations=1, min_size_px=8, width=4, frames_per_step=(2, 2), fuse=False, threads=1,
                           device="cpu", memory_check=False)
    train(make_clip(), folder / "run", config)
    Image.fromarray(moving_frames(1, 20, 40)[0].numpy()).save(folder / "still.png")
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("form", ["gif", "mp4", "webp", "png"])
def test_every_format_has_the_still_s_shape_and_the_clip_s_length_and_durations(form, capsys):
    assert main(["animate", "run", "still.png", "--format", form]) == 0
    path = "run/samples/animate_still_seed0" + ("" if form == "png" else f".{form}")
    assert capsys.readouterr().out == f"{path}\n"
    clip = read_clip(path)
    assert tuple(clip.frames.shape) == (6, 12, 24, 3)
    assert clip.frame_ms == (80,) * 6


def test_json_says_what_the_file_is(capsys):
    assert main(["animate", "run", "still.png", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": "run/samples/animate_still_seed0.gif", "frames": 6,
                                                   "height": 12, "width": 24, "seconds": 0.48}


def test_the_command_and_python_give_the_same_frames():
    words = ["--frames", "9", "--start-scale", "2", "--size", "20x30", "--motion", "1.5", "--keep-colours",
             "--seed", "4", "--device", "cpu", "-o", "there/result.webp"]
    assert main(["animate", "run", "still.png", *words]) == 0
    frames = next(animate_frames(load_run("run"), read_still("still.png"), frames=9, start_scale=2, size=(20, 30),
                                 motion=1.5, keep_colours=True, seed=4, device="cpu"))
    assert read_clip("there/result.webp").frames.equal(frames)


@pytest.mark.parametrize(("words", "sentence"), [
    (("run", "none.jpg"), "none.jpg does not exist: give a PNG, JPEG or WebP picture"),
    (("run", "run"), "run is no file"),
    (("still.png", "still.png"), "still.png is not a run folder"),
    (("run", "still.png", "--start-scale", "9"), "start scale 9 is not among the 3 finished scales, 0 to 2"),
    (("run", "still.png", "--motion", "0"), "so nothing would move: expected more than 0"),
    (("run", "still.png", "--frames", "1"), "1 frames of 12x24: expected at least two frames"),
    (("run", "still.png", "--background", "nothing"), "background 'nothing' is no colour"),
    (("run", "still.png", "-o", "result"), "result has no suffix that names a format"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else None)
def test_what_cannot_work_is_one_sentence_and_leaves_nothing_behind(words, sentence, capsys, folder):
    before = sorted(folder.rglob("*"))
    assert main(["animate", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert sorted(folder.rglob("*")) == before


def test_scale_0_is_a_usage_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["animate", "run", "still.png", "--start-scale", "0"])
    assert "expected 1 or more" in capsys.readouterr().err
