"""The suite `example`: training counted and measured, samples in processes of their own, and its table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sgif.bench import example
from sgif.bench.environment import conditions, result
from sgif.bench.example import NOT_YET, Sample, collect, measure_sample, sample_rows, table, training_rows
from sgif.bench.result import Settings
from sgif.engine import RunError, preset_config, read_clip, train

CPU = torch.device("cpu")


def test_counted_only_names_every_scale_and_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    settings = Settings(device=CPU, dtypes=(torch.float32,), timed=False)
    found = result("example", "count", settings, collect(settings), conditions(CPU))
    training = [row for row in found.rows if row.case["what"] == "training"]
    assert [row.case["shape"] for row in training][::6] == [[8, 12, 20], [4, 67, 112]]
    assert all(row.counters["flops"] > 0 and row.note == NOT_YET for row in training)
    text = table(found)
    assert text.count(f"| {NOT_YET} |") == len(training) + len(example.SAMPLES["small"])
    assert "| 2000 | 67x112 | MP4 |" in text


def test_training_is_measured_beside_its_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    tiny = preset_config("draft", max_size_px=24, min_size_px=12, width=4, max_width=4, fuse=False, threads=1)
    monkeypatch.setattr(example, "preset_config", lambda *_, **changes: tiny)
    rows = list(training_rows(read_clip(example.CLIP, frames=4), torch.float32, Settings(device=CPU)))
    assert len(rows) == 2
    for row in rows:
        assert row.values["forecast_bytes"] == pytest.approx(row.values["measured_bytes"], rel=0.1)
        assert not row.note


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = preset_config("draft", iterations=1, max_size_px=16, min_size_px=12, width=4, max_width=4, fuse=False,
                           threads=1)
    return train(read_clip(example.CLIP, frames=4), tmp_path_factory.mktemp("runs") / "run", config).path


def test_a_sample_is_measured_in_its_own_process(run: Path) -> None:
    ballast = torch.ones(250_000_000)  # which is not the command's
    found = measure_sample(run, Sample(6, (20, 24), "png"))
    assert 50 * 2**20 < found["resident_bytes"] < ballast.nbytes
    assert found["cpu_seconds"] > 0.1
    assert len(list((run / "samples" / "sample_seed0_000").glob("*.png"))) == 6


def test_a_sample_that_fails_says_why(run: Path) -> None:
    with pytest.raises(RunError, match=r"ended with 2: .*no such"):
        measure_sample(run.parent / "no such", Sample())


def test_samples_are_not_run_where_only_counters_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "train", None)  # calling it would fail
    rows = list(sample_rows(read_clip(example.CLIP), Settings(device=CPU, timed=False)))
    assert [row.note for row in rows] == [NOT_YET] * len(example.SAMPLES["small"])
