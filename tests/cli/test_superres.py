"""`sgif superres`: training with its own settings, then the enlargement; on a run, the enlargement alone."""

import json
from pathlib import Path

import pytest

from sgif.cli.main import main
from sgif.engine import load_run, read_clip, superres_frames, write_clip
from sgif.engine.config import preset_config

from ..engine.conftest import make_clip

SMALL = ["--iterations", "1", "--min-size", "8", "--width", "4", "--frames-per-step", "2:2", "--no-fuse",
         "--threads", "1", "--no-memory-check", "--preset", "draft", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a clip of 24x32, enlarged 1.5 times by a run of its own."""
    folder = tmp_path_factory.mktemp("superres")
    clip = make_clip(6, 24, 32)
    write_clip(folder / "waves.webp", clip.frames, clip.frame_ms)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        assert main(["superres", "waves.webp", "--factor", "1.5", "--steps", "1", *SMALL, "--quiet"]) == 0
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


RUN = "runs/waves-x1.5-in-1"


def test_a_clip_trains_a_run_of_its_own_and_is_written_in_its_own_format():
    run = load_run(RUN)
    assert run.config.rec_weight == 125
    assert run.config.max_size_px == 32
    assert run.sizes[-2:] == ((16, 22), (24, 32))
    result = read_clip(f"{RUN}/samples/superres_x1.5.webp")
    assert tuple(result.frames.shape) == (6, 36, 48, 3)
    assert result.frame_ms == run.frame_ms


def test_the_command_and_python_give_the_same_frames():
    written = read_clip(f"{RUN}/samples/superres_x1.5.webp").frames
    (frames,) = superres_frames(load_run(RUN), 1.5, clip=read_clip("waves.webp"), steps=1)
    assert written.equal(frames)


def test_the_same_command_trains_no_more(capsys):
    before = Path(RUN, "stats.jsonl").read_bytes()
    assert main(["superres", "waves.webp", "--factor", "1.5", "--steps", "1", *SMALL, "-o", "again.webp"]) == 0
    assert Path(RUN, "stats.jsonl").read_bytes() == before
    assert Path("again.webp").read_bytes() == Path(RUN, "samples/superres_x1.5.webp").read_bytes()
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "again.webp"
    assert printed.err == "24x32 to 36x48: steps of 1.5, learned were 1.477\n"


def test_json_is_training_s_events_and_then_the_file(capsys):
    assert main(["superres", "waves.webp", "--factor", "1.5", "--steps", "1", *SMALL, "-o", "rows.webp", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("event") for row in rows] == ["RunStarted", "RunFinished", None]
    assert rows[-1] == {"path": "rows.webp", "frames": 6, "height": 36, "width": 48, "seconds": 0.48}


def test_a_run_is_applied_and_not_trained(capsys):
    assert main(["superres", RUN, "--factor", "2", "--format", "png", "--seed", "3", "--add-noise"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{RUN}/samples/superres_x2\n"
    assert printed.err.startswith("24x32 to 34x45 to 48x64: steps of 1.414, ")
    frames = next(superres_frames(load_run(RUN), 2, noise=True, seed=3))
    assert read_clip(f"{RUN}/samples/superres_x2").frames.equal(frames)


def test_another_clip_is_enlarged_by_a_run():
    other = ["--clip", "waves.webp", "--frames", "3", "--start-frame", "1", "--crop", "0,0,10x12"]
    assert main(["superres", RUN, "--factor", "2", *other, "--quiet"]) == 0
    result = read_clip(f"{RUN}/samples/superres_x2_waves.webp")
    clip = read_clip("waves.webp", start=1, frames=3, crop=(0, 0, 10, 12))
    assert result.frames.equal(next(superres_frames(load_run(RUN), 2, clip=clip)))


@pytest.mark.parametrize(("given", "rec_weight", "max_size", "preset"), [
    ([], 125, 89, "draft"), (["--rec-weight", "20", "--max-size", "64", "--preset", "paper"], 20, 64, "paper")])
def test_the_paper_s_weight_and_the_clip_s_size_unless_others_are_given(given, rec_weight, max_size, preset, trains,
                                                                        capsys):
    assert main(["superres", "a.gif", "--device", "cpu", "--quiet", *given]) == 2  # this training leaves no run
    assert "is not a run folder" in capsys.readouterr().err
    (config,) = trains
    wanted = preset_config(preset, rec_weight=rec_weight, max_size_px=max_size, device="cpu")
    assert config.scale_factor == pytest.approx(3 ** (1 / 3), rel=0.02)
    assert {name for name, value in wanted.to_json().items() if config.to_json()[name] != value} <= {
        "scale_factor", "min_size_px"}


@pytest.mark.parametrize(("words", "sentence"), [
    ((RUN, "--iterations", "5"), "is a run and is not trained further, so --iterations would do nothing"),
    ((RUN, "--frames", "3"), "frames and a crop are of another clip, given by --clip"),
    (("waves.webp", "--clip", "waves.webp"), "--clip is for a run's folder, which waves.webp is not"),
    (("waves.webp", "--scale-factor", "1.4"), "--scale-factor follows from --factor and --steps here"),
    (("waves.webp", "-o", "result.xyz"), "result.xyz has no suffix that names a format"),
    (("waves.webp", "--factor", "1"), "the factor is 1, expected 1.1 to 16"),
    ((RUN, "--factor", "2", "--steps", "9"), "9 steps to 2 times the size, expected 1 to 7"),
    (("waves.webp", "--factor", "3", "--max-size", "11"), "--max-size is 11, expected at least --min-size, 12"),
    (("there_is_no.gif",), "there_is_no.gif does not exist"),
    ((RUN, "--device", "quantum"), "device is 'quantum', expected auto, cpu, cuda"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else None)
def test_what_cannot_work_is_one_sentence_and_leaves_nothing_behind(words, sentence, capsys, folder):
    before = sorted(folder.rglob("*"))
    assert main(["superres", *words, *(["--preset", "draft"] if words[0] == "waves.webp" else [])]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert sorted(folder.rglob("*")) == before


def test_ctrl_c_ends_training_and_nothing_is_enlarged(monkeypatch, capsys, fake_train):
    from sgif.engine import TrainingStopped

    def stopped(*args, **settings):
        raise TrainingStopped(1, 7)

    fake_train(stopped)
    assert main(["superres", "a.gif", "--quiet", "--device", "cpu"]) == 130
    assert capsys.readouterr().err == "Stopped in scale 1 at iteration 7; run the same command again to go on.\n"
