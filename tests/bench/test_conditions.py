import json
from pathlib import Path

import pytest

from sgif.bench import conditions
from sgif.engine import RunError


@pytest.mark.parametrize(("values", "expected"), [
    ([3.0], (3, 3, 3)), ([1.0, 2.0], (1.5, 1.2, 1.8)), ([5.0, 1.0, 4.0, 2.0, 3.0], (3, 1.8, 4.2)),
])
def test_quantiles(values, expected):
    assert tuple(conditions.quantiles(values).values()) == pytest.approx(expected)


def test_cpu_model_is_read_where_the_system_tells(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast Chip 3000\n\nmodel name\t: other\n")
    assert conditions.cpu_model(tmp_path / "cpuinfo") == "Fast Chip 3000"
    assert conditions.cpu_model(tmp_path / "missing")


def test_other_json_is_no_result(tmp_path):
    Path(tmp_path, "other.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(RunError, match="no result of schema 1"):
        conditions.read_result(tmp_path / "other.json", 1)
