"""docs/add-a-kernel.md does what it says: its operator and its test, put where the page puts them, pass."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sgif.kernels.dispatch import op_implementations

from .kernels.compare import leaf, random

pytest.importorskip("triton")

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "add-a-kernel.md").read_text(encoding="utf-8")
*OPERATOR, TEST = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def loaded(name: str, path: Path, source: str) -> ModuleType:
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The operator's file and its test's."""
    folder = tmp_path_factory.mktemp("page")
    names = "sgif.kernels.scale_channels", f"{__package__}.kernels.test_scale_channels"
    yield (loaded(names[0], folder / "scale_channels.py", "\n\n".join(OPERATOR)),
           loaded(names[1], folder / "test_scale_channels.py", TEST))
    for name in names:
        del sys.modules[name]
    del op_implementations["scale_channels"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 7), (1, 2, 1, 25, 41), (1, 3, 2, 1, 1)])
def test_the_page_s_test_passes(page: tuple[ModuleType, ModuleType], shape: tuple[int, ...],
                                dtype: torch.dtype) -> None:
    page[1].test_it_scales_and_its_derivatives_match(shape, dtype)


def test_the_page_s_test_can_fail(page: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page[1], "scale_channels_reference", lambda x, gain: x * (1.01 * gain).view(-1, 1, 1, 1))
    with pytest.raises(AssertionError, match="y is off by"):
        page[1].test_it_scales_and_its_derivatives_match((1, 2, 1, 25, 41), torch.float32)


def test_a_gain_of_another_length_is_refused(page: tuple[ModuleType, ModuleType]) -> None:
    with pytest.raises(ValueError, match=r"gain \(2,\), expected"):
        page[0].scale_channels(random(1, 3, 1, 2, 2), random(2))


def test_the_operator_keeps_torch_s_contract(page: tuple[ModuleType, ModuleType]) -> None:
    x, gain = (leaf(random(*size)) for size in ((1, 3, 2, 2, 3), (3,)))
    torch.library.opcheck(torch.ops.sgif.scale_channels.default, (x, gain))
