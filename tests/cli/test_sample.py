import json

import pytest

from sgif.cli.main import main
from sgif.engine import preset_config, read_clip


def test_samples_are_files_named_by_seed_and_index(fake_run, capsys):
    assert main(["sample", "run", "-n", "3", "--seed", "7"]) == 0
    names = ["sample_seed7_000.gif", "sample_seed7_001.gif", "sample_seed7_002.gif"]
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(fake_run.path / "samples" / name) for name in names]
    assert printed.err == ""
    assert sorted(path.name for path in (fake_run.path / "samples").iterdir()) == names
    assert [(call["seed"], call["index"]) for call in fake_run.calls] == [(7, 0), (7, 1), (7, 2)]


def test_json_is_a_line_per_file(fake_run, capsys):
    assert main(["sample", "run", "-n", "2", "--frames", "6", "--size", "9x12", "--reconstruct", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    clip = {"frames": 6, "height": 9, "width": 12, "seconds": 0.45}
    assert rows == [
        {"path": str(fake_run.path / "samples/sample_seed0_000.gif"), **clip},
        {"path": str(fake_run.path / "samples/sample_seed0_001.gif"), **clip},
        {"path": str(fake_run.path / "samples/reconstruction.gif"), "frames": 4, "height": 51, "width": 89,
         "seconds": 0.3}]


def test_durations_are_the_clip_s_repeated_to_the_length(fake_run):
    main(["sample", "run", "--frames", "6"])
    clip = read_clip(fake_run.path / "samples" / "sample_seed0_000.gif")
    assert clip.frame_ms == (100, 50, 70, 80, 100, 50)


@pytest.mark.parametrize("form", ["gif", "mp4", "webp", "png"])
def test_every_format_is_written_and_read_back(form, fake_run, tmp_path):
    assert main(["sample", "run", "--format", form, "-o", str(tmp_path / "out"), "--size", "30x40"]) == 0
    (written,) = (tmp_path / "out").iterdir()
    assert written.name == ("sample_seed0_000" if form == "png" else f"sample_seed0_000.{form}")
    assert tuple(read_clip(written).frames.shape) == (4, 30, 40, 3)


@pytest.mark.parametrize(("words", "size"), [
    ([], None), (["--size", "30x40"], (30, 40)), (["--scale", "2"], (102, 178)), (["--scale", "1.5x1"], (76, 89)),
])
def test_size_and_scale_arrive_as_height_and_width(words, size, fake_run):
    main(["sample", "run", *words])
    assert fake_run.calls[0]["size"] == size


def test_the_other_options_arrive_as_asked(fake_run):
    main(["sample", "run", "--start-scale", "1", "--device", "cpu"])
    assert fake_run.calls == [{"index": 0, "size": None, "frames": 4, "start_scale": 1, "loop": False, "seed": 0,
                               "device": "cpu", "together": False}]


@pytest.mark.parametrize(("words", "frames"), [([], 4), (["--frames", "9"], 9), (["--start-scale", "1"], 3)])
def test_a_loop_is_as_long_as_the_clip_unless_the_clip_s_ends_meet(words, frames, fake_run):
    assert main(["sample", "run", "--loop", *words]) == 0
    assert [(call["loop"], call["frames"]) for call in fake_run.calls] == [(True, frames)]
    assert len(read_clip(fake_run.path / "samples" / "sample_seed0_000.gif").frames) == frames


def test_a_partial_run_samples_at_the_scale_it_has_and_says_so(fake_run, capsys):
    fake_run.scales_done = 2
    main(["sample", "run", "--scale", "2"])
    assert capsys.readouterr().err == "2 of 3 scales are trained: samples are 34x56\n"
    assert fake_run.calls[0]["size"] == (68, 112)


def test_the_reconstruction_is_written_beside_the_samples(fake_run, capsys):
    main(["sample", "run", "--reconstruct"])
    path = fake_run.path / "samples" / "reconstruction.gif"
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    assert read_clip(path).frames.min() == 255


def test_slow_motion_has_more_frames_and_the_speed_decides_how_long_they_last(fake_run, capsys):
    fake_run.config = preset_config("draft", slow_motion=2)
    for words, frame_ms in (([], (50, 50, 25, 25, 35, 35, 40, 40)),
                            (["--speed", "0.5"], (100, 100, 50, 50, 70, 70, 80, 80))):
        assert main(["sample", "run", *words, "--format", "png"]) == 0
        assert read_clip(fake_run.path / "samples" / "sample_seed0_000").frame_ms == frame_ms
        assert fake_run.calls[-1]["frames"] == 8
    assert main(["sample", "run", "--speed", "0.1"]) == 2
    assert capsys.readouterr().err.startswith("sgif: speed is 0.1, expected 0.5 to 1")


def test_a_speed_without_slow_motion_is_refused(fake_run, capsys):
    assert main(["sample", "run", "--speed", "0.5"]) == 2
    assert "expected a run trained with --slow-motion 2 or more" in capsys.readouterr().err
    assert fake_run.calls == []
