"""Tests marked `compiled`, run by a second pytest in which Triton compiles.

A process either interprets Triton kernels or compiles them, from the first import of triton on. The tests interpret, so
the first test marked `compiled` starts a process for all of them, and each is reported as if it had run here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

import pytest

REPORTS_FD = "SGIF_TEST_REPORTS_FD"


def inside() -> bool:
    """Whether this is the process that compiles."""
    return REPORTS_FD in os.environ


class Child:
    """Writes each report as a line of JSON to the parent."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reports = os.fdopen(int(os.environ[REPORTS_FD]), "w")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        print(json.dumps(data, default=str), file=self._reports, flush=True)


class Parent:
    """Puts an item in place of each test marked `compiled` that asks the process that compiles for its report."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._reports: SimpleQueue[str] = SimpleQueue()  # lines, an empty one at the end
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the session
        self._nodeids: list[str] = []

    @pytest.hookimpl(trylast=True)  # after those that deselect
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for i, item in enumerate(items):
            if item.get_closest_marker("compiled"):
                items[i] = Forwarded.from_parent(item.parent, name=item.name, original=item, process=self)
                self._nodeids.append(item.nodeid)

    def pytest_sessionfinish(self) -> None:
        if self._process is not None:
            self._process.kill()  # it is done, unless this session was stopped
            self._process.wait()
        self._output.close()

    def reports_of(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """What the other process reports of a test; it runs them in the order of this session."""
        if self._process is None:
            self._start(item.config)
        while line := self._reports.get():
            data: dict[str, Any] = json.loads(line)
            report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
            if report.nodeid == item.nodeid:
                yield report
                if report.when == "teardown":
                    return
        self._reports.put("")  # for the next test
        self._output.seek(0)
        pytest.fail("the process that compiles ended without a report of this test\n"
                    + self._output.read().decode(errors="replace"), pytrace=False)

    def _start(self, config: pytest.Config) -> None:
        here, there = os.pipe()
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-m", "compiled", *self._nodeids],
            cwd=config.rootpath, env=environment | {REPORTS_FD: str(there)}, pass_fds=(there,),
            stdout=self._output, stderr=subprocess.STDOUT)
        os.close(there)
        Thread(target=self._listen, args=(os.fdopen(here),), daemon=True).start()

    def _listen(self, pipe: IO[str]) -> None:
        """A pipe holds 64 KiB: unread, while this process runs other tests, it would hold up the one that compiles."""
        with pipe:
            for line in pipe:
                self._reports.put(line)
        self._reports.put("")


class ReportedFailure(Exception):
    def __init__(self, report: pytest.TestReport) -> None:
        self.report = report


class Forwarded(pytest.Item):
    def __init__(self, *, original: pytest.Item, process: Parent, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._original, self._process = original, process
        self.own_markers = original.own_markers
        self.keywords.update({mark.name: mark for mark in original.iter_markers()})

    def runtest(self) -> None:
        for report in self._process.reports_of(self):
            if report.skipped:
                pytest.skip(report.longrepr[2].removeprefix("Skipped: "))
            if report.failed:
                raise ReportedFailure(report)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
        if isinstance(excinfo.value, ReportedFailure):
            return excinfo.value.report.longrepr
        return super().repr_failure(excinfo)

    def reportinfo(self) -> Any:
        return self._original.reportinfo()
