import numpy as np
import pytest
import torch
from PIL import Image

from sgif import engine
from sgif.cli.main import main
from sgif.engine import read_clip, write_clip


@pytest.fixture
def clip(tmp_path):
    """A clip of three frames that get lighter, with durations of its own."""
    frames = torch.tensor([0, 90, 180], dtype=torch.uint8)[:, None, None, None].expand(3, 8, 10, 3)
    write_clip(tmp_path / "moved.gif", frames, (100, 50, 70))
    return str(tmp_path / "moved.gif")


@pytest.fixture
def mask(tmp_path):
    pixels = np.zeros((8, 10), np.uint8)
    pixels[2:5, 3:6] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    return str(tmp_path / "mask.png")


@pytest.fixture
def calls(fake_run, monkeypatch):
    """What the two functions are called with; both give the clip back."""
    seen = []

    def answer(run, clip, *args, **asked):
        seen.append({**({"mask": args[0]} if args else {}), **asked})
        return iter(clip.frames.split(2))
    monkeypatch.setattr(engine, "edit_frames", answer)
    monkeypatch.setattr(engine, "inpaint_frames", answer)
    return seen


@pytest.mark.parametrize("command", ["edit", "inpaint"])
def test_only_what_is_given_is_asked_for(command, calls, clip, mask):
    assert main([command, "run", clip, "--mask", mask]) == 0
    (asked,) = calls
    assert asked.pop("mask").nonzero().tolist() == [[0, y, x] for y in (2, 3, 4) for x in (3, 4, 5)]
    assert asked == {"seed": 0}


@pytest.mark.parametrize("command", ["edit", "inpaint"])
def test_every_option_arrives(command, calls, clip, mask):
    main([command, "run", clip, "--mask", mask, "--start-scale", "0", "--passes", "5", "--border", "0", "--seed", "9",
          "--size", "30x40", "--device", "cpu"])
    del calls[0]["mask"]
    assert calls[0] == {"start_scale": 0, "passes": 5, "border_px": 0, "seed": 9, "size": (30, 40), "device": "cpu"}


def test_an_edit_needs_no_mask(calls, clip):
    assert main(["edit", "run", clip]) == 0
    assert calls == [{"mask": None, "seed": 0}]


def test_a_hole_needs_one(calls, clip, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["inpaint", "run", clip])
    assert "--mask" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "name"), [("edit", "moved_edited.gif"), ("inpaint", "moved_inpainted.gif")])
def test_the_result_lies_with_the_samples_and_has_the_clip_s_durations(command, name, calls, fake_run, clip, mask,
                                                                       capsys):
    main([command, "run", clip, "--mask", mask])
    path = fake_run.path / "samples" / name
    assert capsys.readouterr().out == f"{path}\n"
    assert read_clip(path).frame_ms == (100, 50, 70)


@pytest.mark.parametrize("name", ["out.gif", "out.mp4", "out.webp", "out.png"])
def test_a_file_is_written_as_its_suffix_says(name, calls, clip, tmp_path):
    main(["edit", "run", clip, "-o", str(tmp_path / "deep" / name)])
    assert read_clip(tmp_path / "deep" / name).frames.shape == (3, 8, 10, 3)


def test_a_part_of_a_clip_may_be_taken(calls, fake_run, clip):
    main(["edit", "run", clip, "--start-frame", "1", "--crop", "0,0,8x6"])
    assert read_clip(fake_run.path / "samples" / "moved_edited.gif").frames[:, 0, 0, 0].tolist() == [90, 180]


def test_what_reading_changed_is_said(calls, tmp_path, capsys):
    for index in range(2):
        Image.new("RGBA", (10, 8), (9, 9, 9, 0)).save(tmp_path / f"frame_{index}.png")
    main(["edit", "run", str(tmp_path), "-o", str(tmp_path / "out.gif")])
    assert f"{tmp_path}: alpha composited over white\n" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [
    (["edit", "run", "nothing.gif"], "sgif: nothing.gif does not exist"),
    (["edit", "run", "{clip}", "--mask", "nothing.png"], "sgif: nothing.png does not exist"),
    (["inpaint", "run", "{clip}", "--mask", "nothing.png"], "sgif: nothing.png does not exist"),
])
def test_what_is_not_there_is_one_line(words, said, calls, clip, capsys):
    assert main([word.format(clip=clip) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
