"""What Triton compiles for each GPU computes what the float64 reference computes; run on the CPU, lane by lane."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from ..tools.compiled_on_cpu import compiled_on_cpu, why_not
from .compare import Results, assert_matches, label
from .launch_cases import CASES, LaunchCase

pytestmark = [pytest.mark.compiled, pytest.mark.skipif(why_not() is not None, reason=why_not() or "")]

# A case says what is quick: every kernel for each vendor and in each of two dtypes; -m slow runs the rest. sm_90 and
# sm_100 differ from sm_80 in their matrix instructions, which are not covered, and in launch tables.
ARCHES = ("sm_80", "sm_90", "gfx942")
VARIANTS = [pytest.param(case, dtype, arch, id=f"{case.name}-{label(dtype)}-{arch}",
                         marks=() if (arch, dtype) in case.quick else pytest.mark.slow)
            for case in CASES for dtype in case.dtypes for arch in ARCHES]


@pytest.mark.parametrize(("case", "dtype", "arch"), VARIANTS)
def test_compiled_code_matches_reference(case: LaunchCase, dtype: torch.dtype, arch: str) -> None:
    def calculation(*inputs: torch.Tensor) -> Results:
        with compiled_on_cpu(arch) as launches:
            results = case.calculation(*inputs)
        assert launches, "it launched nothing: not the Triton form"
        return results

    try:
        assert_matches(calculation, case.reference, case.filled(case.small, dtype), **case.comparison)
    except NotImplementedError as error:
        if arch != "sm_90":
            raise
        pytest.skip(str(error))  # wgmma; sm_80 computes the same by mma.sync
