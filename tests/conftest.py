"""What every test gets: one thread, a browser, outputs poisoned on request, a process that interprets Triton kernels or
compiles them, and a summary that counts the tests skipped for want of a GPU or a browser."""

import os
import signal
from collections.abc import Iterator

import pytest
import torch

from .browser import HAS_BROWSER, NO_BROWSER, chromium, visit
from .tools import compiling_process

__all__ = ["chromium", "visit"]  # fixtures

HAS_GPU = torch.cuda.is_available()
NO_GPU = "no CUDA device"

# Without a GPU, Triton kernels run in Triton's interpreter, if this is set before triton is first imported; tests
# marked `compiled` go to a process that compiles. On a GPU all of them run the compiled kernels, here.
INTERPRETING = not HAS_GPU and not compiling_process.inside()
if INTERPRETING:
    os.environ["TRITON_INTERPRET"] = "1"

# A shell ignores Ctrl-C for what it starts with `&`, and so would every process that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The order of a CPU reduction depends on the number of threads, and golden losses on the order.
torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    if INTERPRETING:
        config.pluginmanager.register(compiling_process.Parent())
    if compiling_process.inside():
        config.pluginmanager.register(compiling_process.Child(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for mark, present, reason in (("gpu", HAS_GPU, NO_GPU), ("browser", HAS_BROWSER, NO_BROWSER)):
        for item in items:
            if not present and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, reason in (("GPU", NO_GPU), ("browser", NO_BROWSER)):
        skipped = [report for report in terminalreporter.stats.get("skipped", []) if reason in str(report.longrepr)]
        if skipped:
            terminalreporter.write_line(f"{len(skipped)} {what} test(s) skipped: {reason}", yellow=True)


@pytest.fixture
def poisoned_empty() -> Iterator[None]:
    """`torch.empty` returns NaN (the largest value for integers), so that an output never written cannot look right."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
