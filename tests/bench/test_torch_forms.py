from pathlib import Path

import pytest
import torch

from sgif.bench import torch_forms
from sgif.bench.conditions import Result, read_result
from sgif.bench.torch_forms import ATEN, ATEN_LAST, COMPILED, OURS

TINY = (2, 4, 3, 6, 8)
COMMITTED = Path(torch_forms.__file__).parent / "results" / "torch-forms-cpu.json"


@pytest.fixture(scope="module")
def result() -> Result:
    return torch_forms.collect("measure", shapes=[TINY], compiled=False, seconds=0)


def test_result_says_under_which_conditions(result):
    assert result["schema"] == torch_forms.SCHEMA
    assert result["command"] == "measure"
    assert result["commit"]
    assert result["device"].keys() == {"kind", "cpu", "cores", "threads", "capability", "onednn_bfloat16"}
    assert result["device"]["threads"] == torch.get_num_threads() == 1
    assert result["versions"].keys() == {"sgif", "torch", "python"}


def test_rows_are_all_cases_in_both_dtypes(result):
    cases = [(case.op, case.computes) for case in torch_forms.cases(TINY, torch.float32)]
    assert len(set(cases)) == len(cases)
    rows = [(row["dtype"], row["op"], row["computes"]) for row in result["rows"]]
    assert rows == [(dtype, *case) for dtype in ("float32", "bfloat16") for case in cases]
    for row in result["rows"]:
        assert row["shape"] == list(TINY)
        assert {OURS, ATEN} <= row["cpu_ms"].keys() <= {OURS, ATEN, ATEN_LAST}
        for ms in row["cpu_ms"].values():
            assert ms.keys() == {"fastest", "median", "p20", "p80"}
            assert 0 <= ms["fastest"] <= ms["p20"] <= ms["median"] <= ms["p80"]


@pytest.mark.parametrize("dtype", torch_forms.DTYPES, ids=torch_forms.name_of)
def test_ways_of_a_case_compute_the_same(dtype):
    for case in torch_forms.cases(TINY, dtype):
        if case.same_values:
            ours, *others = (as_tuple(run()) for run in case.ways.values())
            for other in others:
                for one, another in zip(ours, other, strict=True):
                    error = (one.float() - another.float()).abs().max() / another.float().abs().max()
                    assert error < 64 * torch.finfo(dtype).eps, (case.op, case.computes)


def as_tuple(value):
    return (value,) if isinstance(value, torch.Tensor) else value


def test_table_has_a_line_per_form_and_marks_where_aten_is_faster():
    def row(op, **ms):
        return {"op": op, "computes": "forward", "shape": [1, 2, 3, 4, 5], "dtype": "float32",
                "cpu_ms": {name.replace("_", " "): {"fastest": value} for name, value in ms.items()}}

    result = {"command": "measure", "commit": "0123456789abcdef", "versions": {"sgif": 1, "torch": 2, "python": 3},
              "device": {"cpu": "Chip", "cores": 2, "threads": 1},
              "rows": [row("slow", torch_form=2, ATEN=4, ATen=1.5), row("fast", torch_form=1.6, ATen=1.5)]}
    result["rows"][1]["cpu_ms"][COMPILED] = {"fastest": 0.5}
    table = torch_forms.markdown_table(result).splitlines()
    assert table[0] == "| operator | pass | float32 1x2x3x4x5 |"
    assert table[2:5] == ["| slow | forward | **2 / 1.5** |", "| fast | forward | 1.6 / 1.5 |",
                          "| fast | forward, compiled | 0.5 / 1.5 |"]
    assert table[-1] == "`measure`. Chip, 2 cores, 1 thread; sgif 1, torch 2, Python 3; commit 0123456789."


def test_document_has_the_table_of_the_committed_result():
    document = (COMMITTED.parents[2] / "docs" / "kernels.md").read_text(encoding="utf-8")
    table = torch_forms.markdown_table(read_result(COMMITTED, torch_forms.SCHEMA))
    assert f"{torch_forms.BEGIN}\n{table}\n{torch_forms.END}" in document


def test_command_line_puts_a_result_into_a_document(tmp_path, capsys):
    document = tmp_path / "kernels.md"
    document.write_text(f"before\n{torch_forms.BEGIN}\nold\n{torch_forms.END}\nafter\n")
    torch_forms.main([str(COMMITTED), "-o", str(tmp_path / "again.json"), "--document", str(document)])
    assert capsys.readouterr().out in document.read_text()
    assert (tmp_path / "again.json").read_bytes() == COMMITTED.read_bytes()
