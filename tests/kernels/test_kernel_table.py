"""No kernel gets worse than its row of the committed table: `make kernels` prints it, ARGS=--update rewrites it."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from ..tools.compiled_on_cpu import why_not
from ..tools.kernel_table import TABLE, TRAFFIC, Table, committed, faults, key_of, measure, measure_traffic, worse
from ..tools.launches import ARCHES
from .compare import label
from .launch_cases import TABLE_CASES, LaunchCase

pytestmark = pytest.mark.compiled

VARIANTS = [pytest.param(case, dtype, id=f"{case.name}-{label(dtype)}")
            for case in TABLE_CASES for dtype in case.dtypes]


def check(rows: Table, case: LaunchCase, before: Table) -> None:
    unknown = sorted(rows.keys() - before.keys())
    assert not unknown, f"make kernels ARGS=--update, for {unknown} are not in {TABLE.name}"
    complaints = [f"{key}: {complaint}" for key, row in rows.items()
                  for complaint in (*faults(key, row, case), *worse(row, before[key]))]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("case", "dtype"), VARIANTS)
def test_kernels_use_no_more_than_committed(case: LaunchCase, dtype: torch.dtype, arch: str) -> None:
    check(measure(case, dtype, arch, committed()), case, committed())


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
@pytest.mark.parametrize(("case", "dtype"), VARIANTS)
def test_kernels_move_no_more_bytes_than_committed(case: LaunchCase, dtype: torch.dtype) -> None:
    check(measure_traffic(case, dtype, committed()), case, committed())


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("case", "dtype"), VARIANTS)
def test_committed_rows_are_what_the_compilers_say(case: LaunchCase, dtype: torch.dtype, arch: str) -> None:
    """The fast test believes a row whose IR still stands; this one compiles all."""
    rows = measure(case, dtype, arch, {})
    assert rows == {key: row for key, row in committed().items() if key in rows}


def test_every_committed_row_has_its_case() -> None:
    prefixes = tuple(key_of(case, dtype, column, "")
                     for case in TABLE_CASES for dtype in case.dtypes for column in (*ARCHES, TRAFFIC))
    assert [key for key in committed() if not key.startswith(prefixes)] == []
