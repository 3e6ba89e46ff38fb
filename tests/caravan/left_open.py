"""Connections to Postgres that nobody closed: who opened them is told at the end of the run.

Python notices one when it collects garbage, which may be many tests later; as an error it would hit whatever test runs then.
"""

import os
import traceback
from typing import Any

import pytest
from asyncpg import Connection

LEFT: list[str] = []
_opened = Connection.__init__


def _remember(self: Any, *args: Any, **given: Any) -> None:
    _opened(self, *args, **given)
    test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
    self._source_traceback = f"{test}\n{''.join(traceback.format_stack(limit=12)[:-1])}"


def _tell(self: Any) -> None:
    if not self.is_closed() and self._protocol is not None:
        LEFT.append(self._source_traceback)


Connection.__init__ = _remember  # type: ignore[method-assign]
Connection.__del__ = _tell  # type: ignore[method-assign]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of xdist hands on what it knows."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_open"] = LEFT


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What such a process knew."""
    LEFT.extend(getattr(node, "workeroutput", {}).get("left_open", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell it."""
    for opened in LEFT:
        terminalreporter.write_line(f"a connection was left open that was opened in {opened}")
