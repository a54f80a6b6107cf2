"""What happens to a test in the process that compiles happens to it here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .compiling_process import Forwarded, ReportedFailure


class OtherProcess:
    def __init__(self, outcome: str, longrepr: object) -> None:
        self._outcome, self._longrepr = outcome, longrepr

    def reports_of(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        for when in ("setup", "call", "teardown"):
            outcome = self._outcome if when == "call" else "passed"
            yield pytest.TestReport(item.nodeid, item.location, {}, outcome, self._longrepr, when)


def forwarded(request: pytest.FixtureRequest, outcome: str, longrepr: object = None) -> Forwarded:
    node = request.node
    return Forwarded.from_parent(node.parent, name=node.name, original=node, process=OtherProcess(outcome, longrepr))


def test_failure_there_is_a_failure_here_with_its_text(request: pytest.FixtureRequest) -> None:
    item = forwarded(request, "failed", "it broke")
    with pytest.raises(ReportedFailure) as excinfo:
        item.runtest()
    assert item.repr_failure(excinfo) == "it broke"


def test_skip_there_is_a_skip_here_with_its_reason(request: pytest.FixtureRequest) -> None:
    with pytest.raises(pytest.skip.Exception, match="no gcc"):
        forwarded(request, "skipped", ("file", 1, "Skipped: no gcc")).runtest()


def test_pass_there_is_a_pass_here(request: pytest.FixtureRequest) -> None:
    forwarded(request, "passed").runtest()


@pytest.mark.compiled
def test_process_that_compiles_does_not_interpret() -> None:
    assert "TRITON_INTERPRET" not in os.environ
