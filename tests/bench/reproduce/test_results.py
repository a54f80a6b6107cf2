"""Figures: means, ratios, the sentence about the paper, and what a Markdown reader may be given."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from sgif.bench.reproduce.experiment import Experiment, reproduce, write_results
from sgif.bench.reproduce.picture import quality_svg
from sgif.bench.reproduce.results import cell, clip_rows, escaped, headings, markdown, mean_rows, verdict, warnings_of

from .conftest import SETTINGS, Finished

FULL, ALL_FRAMES = "singan-gif", "singan-all-frames"


def test_means_are_over_clips_and_ratios_of_means(finished: Finished) -> None:
    result = finished.result
    for key in (FULL, ALL_FRAMES):
        per_clip = [clip["models"][key]["evaluation"]["mean"] for clip in result["clips"]]
        for name, value in per_clip[0].items():
            assert result["mean"][key][name] == pytest.approx(fmean([row[name] for row in per_clip])), name
            assert value is not None
    assert {"sgfid64", "sgfid192", "tsgfid", "colour", "nearest_real"} == result["ratio"].keys()
    assert result["ratio"]["sgfid64"] == result["mean"][FULL]["sgfid64"] / result["mean"][ALL_FRAMES]["sgfid64"]


def test_seconds_are_those_of_training(finished: Finished) -> None:
    for clip in finished.result["clips"]:
        for key, record in clip["models"].items():
            scales = [json.loads(file.read_text()) for file in
                      (finished.folder / clip["folder"] / key).glob("scale_*/scale.json")]
            for name in ("seconds", "cpu_seconds"):
                assert record["training"][name] == pytest.approx(sum(scale[name] for scale in scales), abs=0.002) != 0
            assert record["training"]["iterations"] == sum(scale["iterations"] for scale in scales) == 4
            assert record["training"]["frames_seen"] == (4 if key == ALL_FRAMES else 2 * 4 + 2 * 4)


def test_conditions_stand_beside_the_figures(finished: Finished) -> None:
    result, text = finished.result, markdown(finished.result)
    assert {"commit", "device", "versions", "command", "features", "models"} <= result.keys()
    assert result["models"][0]["config"]["max_size_px"] == SETTINGS["max_size_px"]
    for words in ("inception", "sgfid64 of 64 channels", "2x - 1", "inception.safetensors", result["commit"][:10],
                  "preset draft, seed 0, float32", "`sgif reproduce table1 waves.gif`",
                  "Means over 2 clips, 2 samples", "same iterations, scales and widths and not the same frames a step: "
                  "SinGAN-GIF 8 to 4, SinGAN (All Frames) 1."):
        assert words in text


def with_means(finished: Finished, ours: float, theirs: float) -> dict[str, Any]:
    result = copy.deepcopy(finished.result)
    result["mean"][FULL]["sgfid64"], result["mean"][ALL_FRAMES]["sgfid64"] = ours, theirs
    result["ratio"]["sgfid64"] = ours / theirs
    return result


def test_the_ratio_stands_beside_the_paper_s(finished: Finished) -> None:
    said = verdict(with_means(finished, 0.5, 1.0))
    assert said == ("SinGAN-GIF is nearer to the real thing than SinGAN (All Frames): sgfid64 0.5 against 1, a ratio "
                    "of 0.5. The paper has 0.37 against 0.89, a ratio of 0.42.")
    assert " is no nearer to " in verdict(with_means(finished, 1.5, 1.0))


def test_other_features_than_the_paper_s_are_said_to_be_others(finished: Finished) -> None:
    text = json.dumps(with_means(finished, 0.5, 1.0)).replace("sgfid64", "sgfid-lite96")
    assert verdict(json.loads(text)).endswith("with other features (sgfid64), so that only ratios compare.")


def test_tables_have_a_row_per_model_and_the_yardstick(finished: Finished) -> None:
    result = finished.result
    assert [name for name, _ in mean_rows(result)] == ["SinGAN-GIF", "SinGAN (All Frames)", "ratio"]
    rows = dict(clip_rows(result, result["clips"][0]))
    assert list(rows) == ["the clip, half against half", "SinGAN-GIF", "SinGAN (All Frames)"]
    assert {len(cells) for cells in rows.values()} == {len(headings(result))}
    assert re.fullmatch(r"[\d.,]+ ± [\d.,]+", rows["SinGAN-GIF"][0])
    lines = [line for line in markdown(result).splitlines() if line.startswith("|")]
    assert len(lines) == (2 + 3) + 2 * (2 + 3)
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


@pytest.mark.parametrize(("name", "value", "spread", "text"), [
    ("seconds", 90.0, None, "1.5"), ("rec_psnr_db", 25.649, None, "25.6"),
    ("sgfid64", 0.71234, 0.0456, "0.712 ± 0.046"),
    ("sgfid64", 1234.5, None, "1,234"), ("tsgfid", None, None, "–"),  # noqa: RUF001
])
def test_cells(name: str, value: float | None, spread: float | None, text: str) -> None:
    assert cell(name, value, spread) == text


def test_markdown_takes_no_name_for_its_own(finished: Finished) -> None:
    text = markdown(finished.result)
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;script&gt; \\| \\`x\\`.gif, 4 frames of 20x26" in text
    assert escaped("a\n|b*[c](d)<e>") == "a \\|b\\*\\[c\\](d)&lt;e&gt;"


def test_a_table_that_is_not_finished_says_so(finished: Finished) -> None:
    result = {**finished.result, "clips_done": 1}
    assert warnings_of(result)[0] == "not finished: 1 of 2 clips are done, and the means are of these"
    assert not any("not finished" in line for line in warnings_of(finished.result))


QUALITY = {**SETTINGS, "iterations": (4, 4), "min_size_px": 20}


@pytest.fixture(scope="module", name="quality")
def _quality(make_experiment: Callable[..., Experiment], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("quality")
    return Finished(folder=folder, result=reproduce(make_experiment(folder, what="quality", settings=QUALITY)))


def test_quality_is_a_table_of_iterations(quality: Finished) -> None:
    result = quality.result
    assert [name for name, _ in mean_rows(result)] == ["all iterations", "a quarter of them", "half of them",
                                                       "twice them"]
    trained = {key: record["training"]["iterations"] for key, record in result["clips"][0]["models"].items()}
    assert trained == {"singan-gif": 4, "quarter": 1, "half": 2, "double": 8}
    assert "Iterations, coarsest to finest scale: 4:4, 1:1, 2:2, 8:8; all else is the same." in markdown(result)
    assert (quality.folder / "quality.json").is_file()


def test_quality_is_drawn_too_and_the_page_has_the_picture(quality: Finished) -> None:
    svg = (quality.folder / "quality.svg").read_text(encoding="utf-8")
    assert all(name in svg for name in ("sgfid64", "tsgfid", "PSNR", "diversity", "CPU minutes"))
    page = (quality.folder / "index.html").read_text(encoding="utf-8")
    assert base64.b64encode(svg.encode()).decode() in page


def test_the_picture_shows_a_clip_s_name_as_it_is(quality: Finished) -> None:
    """A formula of matplotlib's, a line without a legend, a tag of SVG's."""
    result = copy.deepcopy(quality.result)
    result["clips"][0]["name"] = "_$x$ <script>.gif"
    assert "_$x$ &lt;script&gt;.gif" in quality_svg(result)


def test_without_matplotlib_there_are_figures_and_no_picture(quality: Finished, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sgif.bench.reproduce.experiment.has_matplotlib", lambda: False)
    monkeypatch.setattr("sgif.bench.reproduce.experiment.write_page", lambda path, result, curve: path.touch())
    write_results(tmp_path, quality.result)
    assert {path.name for path in tmp_path.iterdir()} == {"quality.json", "quality.md", "index.html"}


def test_figures_of_a_run_from_before_cpu_seconds_were_kept_lack_them(finished: Finished) -> None:
    result = copy.deepcopy(finished.result)
    for key in (FULL, ALL_FRAMES):
        result["clips"][0]["models"][key]["training"]["cpu_seconds"] = None
    assert "–" in dict(clip_rows(result, result["clips"][0]))["SinGAN-GIF"]  # noqa: RUF001


def test_ablations_are_one_table(make_experiment: Callable[..., Experiment], tmp_path: Path) -> None:
    settings = {**SETTINGS, "iterations": (1, 1), "min_size_px": 20}  # one scale
    result = reproduce(make_experiment(tmp_path, what="ablations", settings=settings))
    assert [name for name, _ in mean_rows(result)] == [
        "SinGAN-GIF", "no colour loss", "no image critic", "no video critic", "depthwise 3D generators",
        "R(2+1)D generators", "3D at all scales", "2D at all scales"]
    assert verdict(result) == ""
    assert "dense 3D generators: that is what SinGAN-GIF is under the preset draft" in warnings_of(result)
    (clip,) = result["clips"]
    saved = {key: {file.stem for file in (tmp_path / clip["folder"] / key / "scale_00").glob("*critic.safetensors")}
             for key in clip["models"]}
    assert saved["no-image-critic"] == {"video_critic"}
    assert saved["no-video-critic"] == {"image_critic"}
    assert saved["no-colour-loss"] == {"image_critic", "video_critic"}
    assert (tmp_path / "ablations.json").is_file()
