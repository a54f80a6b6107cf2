"""What every test gets: one thread, a summary that counts skipped GPU tests, outputs poisoned on request, and a process
that interprets Triton kernels or compiles them."""

import os
from collections.abc import Iterator

import pytest
import torch

from .tools import compiling_process

HAS_GPU = torch.cuda.is_available()
NO_GPU = "no CUDA device"

# Without a GPU, Triton kernels run in Triton's interpreter, if this is set before triton is first imported; tests
# marked `compiled` go to a process that compiles. On a GPU all of them run the compiled kernels, here.
INTERPRETING = not HAS_GPU and not compiling_process.inside()
if INTERPRETING:
    os.environ["TRITON_INTERPRET"] = "1"

# The order of a CPU reduction depends on the number of threads, and golden losses on the order.
torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    if INTERPRETING:
        config.pluginmanager.register(compiling_process.Parent())
    if compiling_process.inside():
        config.pluginmanager.register(compiling_process.Child(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not HAS_GPU:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=NO_GPU))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_GPU in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} GPU test(s) skipped: {NO_GPU}", yellow=True)


@pytest.fixture
def poisoned_empty() -> Iterator[None]:
    """`torch.empty` returns NaN (the largest value for integers), so that an output never written cannot look right."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
