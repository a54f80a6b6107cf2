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
    def __init__(self) -> None:
        self._items: list[pytest.Item] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reports: IO[str]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the session

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._items = [item for item in session.items if item.get_closest_marker("compiled")]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if not item.get_closest_marker("compiled"):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports_of(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self) -> None:
        if self._process is not None:
            self._reports.close()
            self._process.kill()  # it is done, unless this session was stopped
            self._process.wait()
        self._output.close()

    def _start(self, config: pytest.Config) -> None:
        here, there = os.pipe()
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-m", "compiled", *(item.nodeid for item in self._items)],
            cwd=config.rootpath, env=environment | {REPORTS_FD: str(there)}, pass_fds=(there,),
            stdout=self._output, stderr=subprocess.STDOUT)
        os.close(there)
        self._reports = os.fdopen(here)

    def _reports_of(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        if self._process is None:
            self._start(item.config)
        while line := self._reports.readline():
            data: dict[str, Any] = json.loads(line)
            report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
            if report.nodeid == item.nodeid:
                yield report
                if report.when == "teardown":
                    return
        self._output.seek(0)
        output = self._output.read().decode(errors="replace")
        yield pytest.TestReport(item.nodeid, item.location, {}, "failed",
                                f"the process that compiles ended without a report of this test\n{output}", "call")
