import json

import pytest
import torch

from sgif import engine
from sgif.cli import eval as command
from sgif.cli.main import main
from sgif.engine import evaluate, load_features, write_clip

from ..engine.conftest import moving_frames
from ..engine.metrics.networks import random_weights

FRAMES = moving_frames(8, 40, 48)


@pytest.fixture
def weights(tmp_path):
    """Inception's shapes, random numbers: a path for --weights."""
    torch.save(random_weights("inception"), tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


@pytest.fixture
def clips(tmp_path, monkeypatch, weights):
    """real.gif, and made/ with a copy of it and a brighter one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    for name, frames in {"real.gif": FRAMES, "made/a.gif": FRAMES, "made/b.gif": FRAMES // 2 + 100}.items():
        write_clip(tmp_path / name, frames, (100,) * 8)


def cells(out):
    """The table's rows by their first words."""
    return {line[:29].strip(): line[29:].split() for line in out.splitlines() if line.startswith(" ")}


@pytest.mark.usefixtures("clips")
def test_eval_prints_a_row_per_clip_and_what_the_figures_are_of(weights, capsys):
    assert main(["eval", "real.gif", "made", "--weights", weights]) == 0
    out, err = capsys.readouterr()
    rows = cells(out)
    assert rows["clip"] == ["sgfid64", "sgfid192", "tsgfid", "nearest_real", "colour", "diversity"]
    assert rows["made/a.gif"] == ["0.000"] * 5
    assert all(float(cell) > 0.01 for cell in rows["made/b.gif"])
    assert all(float(cell) > 0 for cell in rows["mean"])
    assert len(rows["spread"]) == len(rows["real: last half, first half"]) == 5
    head = out.split("\n\n")[0]
    assert "real       real.gif: 8 frames of 40x48; GIF, palette of 256" in head
    assert "generated  2 clips of 40x48; GIF, palette of 256" in head
    assert "features   inception, input 2x - 1 of x in [0, 1], native size" in head
    assert "sgfid64: 64 channels, Conv2d_2b_3x3, before the first pooling" in head
    assert f"SHA-256 {load_features(weights=weights).describe()['weights']['sha256']}" in head
    assert err.startswith("warning: sgfid192 is of as few as 192 rows")


@pytest.mark.usefixtures("clips")
@pytest.mark.parametrize("columns", ["40", "200"])
def test_no_figure_is_cut_off_at_any_width(columns, weights, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    main(["eval", "real.gif", "made/b.gif", "--weights", weights])
    assert "…" not in capsys.readouterr().out


@pytest.mark.usefixtures("clips")
def test_a_clip_beyond_the_limits_is_refused(weights, capsys):
    assert main(["eval", "real.gif", "made", "--weights", str(weights), "--max-pixels", "99"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--max-pixels" in error


@pytest.mark.usefixtures("clips")
def test_json_is_one_value_with_the_same_figures_and_conditions(weights, capsys):
    assert main(["eval", "real.gif", "made/b.gif", "--weights", weights, "--json"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    clip = engine.read_clip("made/b.gif").frames
    expected = evaluate(engine.read_clip("real.gif").frames, [clip], load_features(weights=weights)).to_json()
    assert {name: said[name] for name in expected} == json.loads(json.dumps(expected))
    assert said["real"] == {"name": "real.gif", "kind": "GIF, palette of 256", "frames": 8, "height": 40, "width": 48}
    assert [side["name"] for side in said["generated"]] == ["made/b.gif"]
    assert err == ""


def test_a_palette_against_raw_frames_is_warned_of(clips, weights, capsys):
    write_clip("raw", FRAMES, (100,) * 8, format="frames")
    main(["eval", "real.gif", "raw", "--weights", weights])
    out, err = capsys.readouterr()
    assert "generated  1 clip of 40x48; raw frames\n" in out
    assert "warning: a palette of 256 colours is compared with frames that have none" in err


@pytest.fixture
def asked(fake_run, monkeypatch):
    """A run in a folder, and what `evaluate_run` is called with."""
    calls = []
    (fake_run.path).mkdir()
    (fake_run.path / "config.json").touch()
    fake_run.frames_made = 4

    def answer(run, features, **settings):
        calls.append(settings)
        clips = [FRAMES] * settings["n"]
        return evaluate(FRAMES, clips, features, reconstruction=FRAMES)
    monkeypatch.setattr(engine, "evaluate_run", answer)
    monkeypatch.setattr("sgif.engine.metrics.evaluate.run_frames", lambda run: FRAMES)
    return calls


def test_a_run_is_compared_with_its_own_clip(asked, fake_run, weights, capsys):
    assert main(["eval", str(fake_run.path), "-n", "3", "--seed", "7", "--device", "cpu", "--weights", weights]) == 0
    assert asked == [{"n": 3, "seed": 7, "device": "cpu"}]
    out = capsys.readouterr().out
    assert [name for name in cells(out) if name.startswith("sample")] == [f"sample_seed7_00{i}" for i in range(3)]
    assert cells(out)["reconstruction"] == ["0.000"] * 5
    assert "generated  3 clips of 40x48; raw frames" in out
    assert f"real       my clip.gif in {fake_run.path}: 8 frames of 40x48; raw frames" in out


def test_ten_samples_of_seed_0_unless_asked_otherwise(asked, fake_run, weights):
    main(["eval", str(fake_run.path), "--weights", weights])
    assert asked == [{"n": command.SAMPLES, "seed": 0, "device": "auto"}]


@pytest.mark.parametrize(("words", "said"), [
    (["real.gif"], "nothing to compare with real.gif"),
    (["real.gif", "made", "-n", "3"], "--number and --seed are of a run's samples"),
    (["real.gif", "made", "--seed", "0"], "--number and --seed are of a run's samples"),
    (["real.gif", "nothing.gif"], "nothing.gif does not exist"),
    (["nothing.gif", "made"], "nothing.gif does not exist"),
    (["real.gif", "empty"], "empty holds neither frames nor clips"),
    (["real.gif", "made", "--features", "vgg"], "features are 'vgg', expected one of inception, efficientnet-lite0"),
    (["real.gif", "made", "--weights", "nothing.pth"], "weights nothing.pth are not there"),
    (["real.gif", "made", "--weights", "real.gif"], "weights real.gif are damaged"),
    (["real.gif", "mixed"], "mixed mixes frame sizes"),
    (["real.gif", "made", "--device", "abacus"], "device is 'abacus'"),
])
@pytest.mark.usefixtures("clips")
def test_what_cannot_be_done_is_one_sentence(words, said, weights, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    write_clip("mixed", FRAMES, (100,) * 8, format="frames")
    write_clip("other", FRAMES[:, :30], (100,) * 8, format="frames")
    (tmp_path / "other/frame_0007.png").replace(tmp_path / "mixed/frame_0007.png")
    given = [] if "--weights" in words or "--features" in words else ["--weights", weights]
    assert main(["eval", *words, *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sgif: {said}")


def test_a_run_takes_no_generated_clips(asked, fake_run, weights, capsys):
    assert main(["eval", str(fake_run.path), "a.gif", "--weights", weights]) == 2
    assert "is a run, whose own samples are compared: leave a.gif out" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named_before_features_that_have_to_be_installed(monkeypatch, capsys):
    def no_weights(*_):
        raise engine.ConfigError("install the weights first")
    monkeypatch.setattr(engine, "load_features", no_weights, raising=False)
    assert main(["eval", "nothing.gif", "neither.gif"]) == 2
    assert "nothing.gif does not exist: give a GIF" in capsys.readouterr().err
