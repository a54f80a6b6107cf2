import json
import shutil

import pytest
import torch

from sgif.bench import training_run
from sgif.engine import Clip, Run, RunError, load_run, preset_config, train

SCALES, ITERATIONS = 2, 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    frames = torch.randint(0, 256, (3, 10, 13, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    config = preset_config("draft", device="cpu", threads=1, fuse=False, min_size_px=8, width=4, frames_per_step=(2, 2),
                           iterations=ITERATIONS, log_every=2, seed=5)
    clip = Clip(frames=frames, frame_ms=(80,) * 3, source="/home/someone/noise.gif")
    return train(clip, tmp_path_factory.mktemp("run") / "noise", config)


@pytest.fixture(scope="module")
def result(run: Run) -> training_run.Result:
    return training_run.collect(run, "make noise")


@pytest.mark.parametrize(("values", "expected"), [
    ([3.0], (3, 3, 3)), ([1.0, 2.0], (1.5, 1.2, 1.8)), ([5.0, 1.0, 4.0, 2.0, 3.0], (3, 1.8, 4.2)),
])
def test_quantiles(values, expected):
    assert tuple(training_run.quantiles(values).values()) == pytest.approx(expected)


def test_other_json_is_no_result(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(RunError, match="no result of schema 1"):
        training_run.read_result(tmp_path / "other.json", 1)


def test_result_says_under_which_conditions(result):
    assert result["command"] == "make noise"
    assert result["device"]["kind"] == "cpu"
    assert result["device"]["threads"] == 1
    assert result["device"]["cores"] >= 1
    assert result["device"]["cpu"]
    assert result["versions"].keys() == {"sgif", "torch", "python"}
    assert result["commit"]
    assert result["config"]["seed"] == 5
    assert result["clip"]["source"] == "noise.gif"  # an absolute path would tell whose machine it was
    assert (result["clip"]["frames"], result["clip"]["height"], result["clip"]["width"]) == (3, 10, 13)


def test_scales_are_those_of_the_run(result, run):
    assert [(scale["height"], scale["width"]) for scale in result["scales"]] == list(run.sizes)
    assert len(run.sizes) == SCALES
    for scale, record in zip(result["scales"], run.scale_info(), strict=True):
        for name in ("kind", "seconds", "iterations", "rec_psnr_db", "noise_amp", "losses"):
            assert scale[name] == record[name]
        rate = scale["iterations_per_second"]
        assert 0 < rate["p20"] <= rate["median"] <= rate["p80"]
        assert 0 < sum(scale["phase_seconds"].values()) <= scale["seconds"]


def test_totals_are_sums(result):
    assert result["totals"]["iterations"] == SCALES * ITERATIONS
    assert result["totals"]["seconds"] == pytest.approx(sum(scale["seconds"] for scale in result["scales"]))
    assert result["totals"]["peak_bytes"] > 0


def test_table_shows_every_scale_and_the_conditions(result):
    rows = [line for line in training_run.markdown_table(result).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + SCALES + 1
    assert len({row.count("|") for row in rows}) == 1
    for scale, row in zip(result["scales"], rows[2:], strict=False):
        size = f"{scale['height']}x{scale['width']}"
        assert row.startswith(f"| {scale['scale']} | {size} | {scale['kind']} | {ITERATIONS} |")
        assert row.endswith(f"| {scale['rec_psnr_db']:.1f} |")
    said = training_run.conditions(result)
    for words in ("make noise", "preset `draft`, seed 5, float32", result["device"]["cpu"], "1 thread;",
                  f"torch {torch.__version__}", result["commit"][:10]):
        assert words in said


def test_commit_with_changes_is_said(result):
    said = training_run.conditions({**result, "commit": "0123456789abcdef+changes"})
    assert said.endswith("commit 0123456789 with changes.")


def test_readme_is_filled_between_its_markers_again_and_again(result):
    text = f"before\n{training_run.BEGIN}\nold figures\n{training_run.END}\nafter\n"
    filled = training_run.fill_readme(text, result)
    table = training_run.markdown_table(result)
    assert filled == f"before\n{training_run.BEGIN}\n{table}\n{training_run.END}\nafter\n"
    assert training_run.fill_readme(filled, result) == filled


@pytest.mark.parametrize("text", [
    "", training_run.BEGIN, f"{training_run.END}{training_run.BEGIN}", f"{training_run.BEGIN}{training_run.END}" * 2,
])
def test_readme_without_its_markers_is_refused(text, result):
    with pytest.raises(ValueError, match="expected one"):
        training_run.fill_readme(text, result)


def test_command_line_writes_the_result_and_fills_the_readme(run, tmp_path, capsys):
    readme, output = tmp_path / "README.md", tmp_path / "results" / "noise.json"
    readme.write_text(f"# \u00fc\n{training_run.BEGIN}\n{training_run.END}\n", encoding="utf-8")
    training_run.main([str(run.path), "-o", str(output), "--command", "make noise"])
    table = capsys.readouterr().out
    training_run.main([str(output), "--readme", str(readme)])
    assert capsys.readouterr().out == table
    assert table in readme.read_text(encoding="utf-8")
    assert "NaN" not in output.read_text()
    assert [path.name for path in output.parent.iterdir()] == ["noise.json"]


def test_run_folder_needs_the_command(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        training_run.main([str(run.path)])
    assert "--command" in capsys.readouterr().err


def test_unfinished_run_is_refused(run, tmp_path):
    partial = tmp_path / "partial"
    shutil.copytree(run.path, partial)
    shutil.rmtree(partial / "scale_01")
    with pytest.raises(RunError, match="has 1 of 2 scales: expected a finished run"):
        training_run.collect(load_run(partial), "make noise")
