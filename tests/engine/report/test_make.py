"""What a report holds: the run's own clips and words, whatever they are, and one file that is whole or not there."""

from __future__ import annotations

import json
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from sgif.engine import RunError, load_run, make_report, trainer, write_clip
from sgif.engine.clip import Clip
from sgif.engine.events import Event, RunFinished
from sgif.engine.report import clips as report_clips
from sgif.engine.report import make
from sgif.engine.runs import Run

from .conftest import MakeRun, clips_in

HOSTILE = "<script>alert(1)</script>\"'&.gif"


class Words(HTMLParser):
    """The text of a page outside of its scripts and styles, and the elements that occur."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.said: list[str] = []
        self.elements: list[str] = []
        self.inside = ""
        self.feed(page.read_text())
        self.text = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.said.append(data)


# ---- what is in it ---------------------------------------------------------------------------------------------------


def test_the_clips_are_the_run_s_own_to_the_pixel(tiny_page: Path, run: Run) -> None:
    clips = clips_in(tiny_page)
    assert list(clips) == [f"0-{place}" for place in range(9)], "real, reconstruction, four samples, three previews"
    assert {tuple(frame_ms) for frame_ms, _ in clips.values()} == {run.frame_ms}
    assert torch.equal(clips["0-0"][1], run.frames)
    assert torch.equal(clips["0-1"][1], torch.cat(list(run.reconstruct_frames())))
    for n in range(4):
        assert torch.equal(clips[f"0-{2 + n}"][1], torch.cat(list(run.sample_frames(n))))


def test_previews_are_the_real_clip_and_three_others_at_each_scale_s_size(tiny_page: Path, run: Run) -> None:
    clips = clips_in(tiny_page)
    for scale, (height, width) in enumerate(run.sizes):
        frames = clips[f"0-{6 + scale}"][1]
        assert frames.shape == (6, height, 4 * width, 3)
        real = (127.5 * (run.real[scale][0].permute(1, 2, 3, 0) + 1)).round()
        assert (frames[:, :, :width].float() - real).abs().max() <= 1
    finest, reconstruction = clips["0-8"][1], clips["0-1"][1]
    difference = (finest[:, :, 16:32].float() - reconstruction.float()).abs().mean()
    assert difference < 12, "a GIF's 256 colours, enlarged and shrunk again"
    assert difference < (finest[:, :, 32:48].float() - reconstruction.float()).abs().mean()


def test_the_page_says_what_the_run_is(tiny_page: Path, run: Run) -> None:
    words = Words(tiny_page).text
    for text in ("Learned from waves: 6 frames of 12x16, 0.5 s.", "3 of 3 scales", "Scale 2 12x16, 2D",
                 "6 iterations in", "cpu, 1 thread", "float32", f"torch {torch.__version__}", "python 3.",
                 f"sgif train waves -o {run.path} --preset paper", f"sgif sample {run.path} -n 8",
                 "min-size 8 preset 25", "lr 0.0005 beta1", "D/image_gp", "reconstruction, L1", "without loss"):
        assert text in words, text
    assert "not finished" not in words.lower()


def test_a_page_of_several_runs_says_what_differs(changed_run: MakeRun, run: Run, tmp_path: Path) -> None:
    other = changed_run("other", scales=2)
    record = json.loads((other.path / "config.json").read_text())
    record["config"]["lr"] = 0.125
    (other.path / "config.json").write_text(json.dumps(record))
    report = make_report([run.path, other.path], tmp_path / "both.html")
    words = Words(report.path).text
    assert report.notes == ("other: not finished: 2 of 3 scales are trained",)
    assert "2 runs, side by side" in words
    rows = words.split("What differs")[1].split("Go on from here")[0]
    for text in ("scales 3 of 3 2 of 3", "--lr 0.0005 0.125"):
        assert text in rows, text
    assert "--rec-weight" not in rows
    assert "versions" not in rows
    clips = clips_in(report.path)
    assert list(clips) == [f"{number}-{place}" for number in range(2) for place in range(4)]
    assert clips["0-3"][1].shape == (6, 12, 16, 3)
    assert clips["1-3"][1].shape == (6, 10, 13, 3)


def test_runs_of_one_name_are_told_apart_by_their_folders(run: Run, changed_run: MakeRun, tmp_path: Path) -> None:
    runs = [changed_run("a/run"), changed_run("b/run")]
    page = make_report([one.path for one in runs], tmp_path / "both.html").path
    assert "a/run" in Words(page).text
    assert "b/run" in Words(page).text


@pytest.mark.parametrize("scales", [0, 1, 2])
def test_a_partial_run_has_a_report_that_says_so(scales: int, changed_run: MakeRun) -> None:
    partial = changed_run("partial", scales)
    report = make_report([partial.path])
    assert report.notes == (f"not finished: {scales} of 3 scales are trained",)
    words = Words(report.path).text
    assert f"Not finished: {scales} of 3 scales are trained." in words
    assert "Go on sgif train waves" in words
    assert ("sgif sample" in words) == (scales > 0)
    sizes = [tuple(frames.shape[1:3]) for _, frames in clips_in(report.path).values()]
    made = [partial.sizes[scales - 1]] * 5 if scales else []
    assert sizes == [(12, 16), *made, *((height, 4 * width) for height, width in partial.sizes[:scales])]


def test_an_unfinished_scale_says_how_far_it_is(changed_run: MakeRun) -> None:
    partial = changed_run("partial", 1)
    with open(partial.path / "stats.jsonl", "a") as log:
        log.write('{"scale": 1, "iteration": 4, "losses": {"G/rec": 1}}\n{"scale": 1, "iteration": 5, "lo')
    report = make_report([partial.path])
    assert report.notes == ("not finished: 1 of 3 scales are trained, scale 1 is at iteration 4 of 6",)
    assert "4 of 6 iterations, not finished" in Words(report.path).text


def test_slow_motion_plays_as_long_as_the_clip(clip: Clip, tiny_config: Any, tmp_path: Path) -> None:
    run = trainer.train(clip, tmp_path / "slow", tiny_config(slow_motion=2, iterations=1, noise="volume"))
    durations = {name: frame_ms for name, (frame_ms, _) in clips_in(run.path / "report.html").items()}
    assert durations["0-0"] == [80] * 6
    assert all(frame_ms == [40] * 12 for name, frame_ms in durations.items() if name != "0-0")
    assert "--loop" not in Words(run.path / "report.html").text


def test_words_from_files_are_text_and_nothing_else(changed_run: MakeRun, tmp_path: Path) -> None:
    run = changed_run("<b>run", source=HOSTILE, notes=[HOSTILE, 3], window=HOSTILE)
    record = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps({**record, "versions": {HOSTILE: HOSTILE, "torch": 3}}))
    with open(run.path / "stats.jsonl", "a") as log:
        log.write(json.dumps({"scale": 1, "iteration": 3, "losses": {HOSTILE: 1.0}, "phase_seconds": {HOSTILE: 1.0}}))
    scale = json.loads((run.path / "scale_01" / "scale.json").read_text())
    (run.path / "scale_01" / "scale.json").write_text(json.dumps({**scale, "device": HOSTILE}))
    clean = Words(make_report([changed_run("clean").path], tmp_path / "clean.html").path)
    page = make_report([run.path]).path
    words = Words(page)
    assert set(words.elements) == set(clean.elements)
    assert words.elements.count("script") == clean.elements.count("script") == 2
    assert words.text.count(HOSTILE) == 6, "note, version twice, device, loss, phase"
    assert "<b>run - sgif report <b>run Learned from script>\"'&.gif" in words.text
    assert "<script>alert" not in page.read_text()


# ---- bounds ----------------------------------------------------------------------------------------------------------


def test_what_is_too_long_is_shown_up_to_a_frame_and_says_so(run: Run, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "MAX_PIXELS", 4 * 2500)  # a frame with all that is made of it: 2816 pixels
    report = make_report([run.path], tmp_path / "report.html")
    assert report.notes == ("clips are shown up to frame 3 of 6, to keep the page small",)
    assert "Clips are shown up to frame 3 of 6, to keep the page small." in Words(report.path).text
    clips = clips_in(report.path)
    assert {len(frames) for _, frames in clips.values()} == {3}
    assert torch.equal(clips["0-2"][1], torch.cat(list(run.sample_frames(0)))[:3]), "the start of the same sample"
    assert sum(frames[..., 0].numel() for _, frames in clips.values()) <= 4 * 2500


def test_large_frames_are_shrunk_and_many_pixels_lose_a_little(run: Run, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    exact = (tmp_path / "exact.html", tmp_path / "lossy.html")
    make_report([run.path], exact[0])
    monkeypatch.setattr("sgif.engine.report.content.LOSSLESS_PIXELS", 100)
    make_report([run.path], exact[1])
    before, after = (clips_in(path)["0-0"][1].float() for path in exact)
    assert 0 < (before - after).abs().mean() < 12
    assert "WebP of quality 90" in Words(exact[1]).text
    assert report_clips.shown_size((300, 1024)) == (150, 512)
    assert report_clips.shown_size((3, 2000)) == (1, 512)


def test_a_long_clip_costs_no_more_than_what_is_shown(clip: Clip, tiny_config: Any, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def sample_frames(self: Run, index: int, **_: Any) -> Any:
        for part in torch.zeros(6, 12, 16, 3, dtype=torch.uint8).split(2):
            taken.append(len(part))
            yield part
    run = trainer.train(clip, tmp_path / "run", tiny_config(iterations=1))
    monkeypatch.setattr(Run, "sample_frames", sample_frames)
    monkeypatch.setattr(make, "MAX_PIXELS", 4 * 2500)
    make_report([run.path])
    assert taken == [2, 2] * 4, "three frames of four samples"


# ---- one file, whole or not there ------------------------------------------------------------------------------------


def test_the_same_run_makes_the_same_page(run: Run, tmp_path: Path) -> None:
    pages = [make_report([run.path], tmp_path / name).path.read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_a_report_that_is_interrupted_leaves_the_old_one(run_copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    page = run_copy.path / "report.html"
    page.write_text("old")
    files = set(run_copy.path.iterdir())

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    for place in ("sgif.engine.report.make.content", "sgif.engine.storage.os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                make_report([run_copy.path])
        assert page.read_text() == "old"
        assert set(run_copy.path.iterdir()) == files


@pytest.mark.parametrize("damage", ["missing", "cut short", "no clip", "a larger one"])
def test_a_preview_that_cannot_be_read_is_left_out(damage: str, run_copy: Run) -> None:
    preview = run_copy.scale_dir(1) / "preview.gif"
    data = preview.read_bytes()
    preview.unlink()
    if damage == "cut short":
        preview.write_bytes(data[:100])
    elif damage == "no clip":
        preview.write_text("GIF89a, or so it says")
    elif damage == "a larger one":  # a stranger's run asks for memory
        write_clip(preview, torch.zeros(6, 400, 600, 3, dtype=torch.uint8), 80)
    report = make_report([run_copy.path])
    assert report.notes == ("scale 1 has no preview.gif that can be read",)
    assert list(clips_in(report.path)) == [f"0-{place}" for place in range(9) if place != 7]


@pytest.mark.parametrize(("names", "page", "expected"), [
    ([], "a.html", "got 0 runs, expected 1 to 8"), (["run"] * 9, "a.html", "got 9 runs, expected 1 to 8"),
    (["run", "./run"], "a.html", "the same run comes twice"), (["run"], "a.txt", "a name that ends in .html"),
    (["run", "nothing"], "a.html", "nothing is not a run folder"),
])
def test_what_cannot_be_reported_is_refused(names: list[str], page: str, expected: str, run_copy: Run,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_copy.path.parent)
    before = set(Path().rglob("*"))
    with pytest.raises(ValueError, match=expected):
        make_report(names, page)
    assert set(Path().rglob("*")) == before


# ---- at the end of training ------------------------------------------------------------------------------------------


def test_training_ends_with_a_report(tiny_run: Any) -> None:
    finished = tiny_run.events[-1]
    assert finished.report == tiny_run.run.path / "report.html"
    assert finished.notes == ()
    assert "3 of 3 scales" in Words(finished.report).text


def test_a_finished_run_gets_the_report_that_it_lacks_and_keeps_the_one_it_has(run_copy: Run, clip: Clip,
                                                                              tiny_config: Any) -> None:
    page = run_copy.path / "report.html"
    page.write_text("mine")
    trainer.train(clip, run_copy.path, tiny_config())
    assert page.read_text() == "mine"
    page.unlink()
    trainer.train(clip, run_copy.path, tiny_config())
    assert "3 of 3 scales" in Words(page).text


def test_a_report_older_than_the_last_scale_is_made_again(run_copy: Run, clip: Clip, tiny_config: Any) -> None:
    page = run_copy.path / "report.html"
    page.write_text("of a partial run")
    time.sleep(0.01)
    (run_copy.scale_dir(2) / "scale.json").touch()
    trainer.train(clip, run_copy.path, tiny_config())
    assert "3 of 3 scales" in Words(page).text


def test_a_report_that_fails_does_not_fail_the_training(clip: Clip, tiny_config: Any, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RunError("no room left")

    monkeypatch.setattr("sgif.engine.report.make.content", broken)
    events: list[Event] = []
    run = trainer.train(clip, tmp_path / "run", tiny_config(iterations=1), on_event=events.append)
    assert load_run(run.path).scales_done == 3
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    assert finished.report is None
    assert finished.notes == (f"no report was written (RunError: no room left); sgif report {run.path} tries again",)
