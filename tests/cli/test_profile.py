import json

import pytest
import torch

from sgif import engine
from sgif.cli.main import main
from sgif.engine import Clip
from sgif.engine.profiling import budget as engine_budget
from sgif.engine.profiling.budget import Fit

SMALL = ["--min-size", "8", "--width", "2", "--frames-per-step", "2:2", "--no-fuse", "--threads", "1", "--steps", "1"]


@pytest.fixture
def clip(monkeypatch, tmp_path):
    frames = (torch.arange(4 * 8 * 12 * 3) % 256).to(torch.uint8).view(4, 8, 12, 3)
    monkeypatch.setattr(engine, "read_clip",
                        lambda path, **window: Clip(frames=frames, frame_ms=(80,) * 4, source=path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("clip")
def test_profile_prints_tables_and_writes_files_named_after_the_clip(capsys, tmp_path):
    assert main(["profile", "some/sky.gif", "--preset", "draft", "--trace", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert err == "scale 0 of 0-0\n"
    lines = out.splitlines()
    assert lines[0] == "clip       some/sky.gif, 4 frames of 8x12"
    assert lines[-3:] == [f"profiles/sky/{name}" for name in ("profile.json", "profile.svg", "trace.json")]
    assert [line for line in lines if line.endswith(" for 900 iterations of these scales, at the steps' speed")]
    rows = [line.split() for line in lines]
    row, = [row for row in rows if row[:4] == ["0", "8x12", "3D", "2"]]
    assert row[7].endswith("%")
    assert ["0", "1x3x2x8x12", "2x3x2x8x12", "4x3x8x12", "2x3x2x8x12"] in rows
    assert [row[0] for row in rows if row and row[0].startswith("D/")] == [
        "D/image", "D/image_gp", "D/video", "D/video_gp", "D/adam"]
    assert (tmp_path / "profiles/sky/trace.json").is_file()


@pytest.mark.usefixtures("clip")
def test_profile_json_is_what_is_saved(capsys, tmp_path):
    assert main(["profile", "sky.gif", "-o", "here", "--json", "--preset", "draft", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == json.loads((tmp_path / "here/profile.json").read_text())


@pytest.mark.usefixtures("clip")
@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_profile_of_an_absent_gpu_says_that_nothing_was_measured(capsys):
    assert main(["profile", "sky.gif", "--device", "cuda", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "device     forecast for cuda" in out
    assert "measured" not in out.replace("nothing was measured", "")


def test_profile_without_a_clip_asks_for_one(capsys):
    assert main(["profile"]) == 2
    assert "which clip?" in capsys.readouterr().err


def test_budget_is_a_row_per_options_and_a_column_per_memory(capsys, monkeypatch):
    asked = {}

    def largest_fits(budgets, num_frames, shape, config, device, *, on_options):
        asked.update(budgets=budgets, frames=num_frames, shape=shape, preset=config.preset, device=device.type)
        return [Fit(options=options, budget_bytes=budget, size=size, frames_per_step=frames, peak_bytes=1, host_bytes=2)
                for options, frames, sizes in (("as set", 8, [None, (64, 64)]), ("--amp", 4, [(8, 8), (128, 128)]))
                for budget, size in zip(budgets, sizes, strict=True)]
    monkeypatch.setattr(engine_budget, "largest_fits", largest_fits)
    assert main(["profile", "--budget", "0.5,12"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["as", "set", "8", "-", "64x64"] in rows
    assert ["--amp", "4", "8x8", "128x128"] in rows
    assert asked == {"budgets": [2**29, 12 * 2**30], "frames": 32, "shape": (256, 256), "preset": "fast",
                     "device": "cuda"}


@pytest.mark.parametrize("value", ["0,8", "8,,12", "many"])
def test_a_budget_that_is_no_memory_is_refused(value, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["profile", "--budget", value])
    assert "--budget" in capsys.readouterr().err
