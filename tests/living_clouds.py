"""Whole gureums that tests have started, and what becomes of them when a test fails: its report has the ends of their logs, and none is left running.

Hooks of pytest, which tests/conftest.py takes over.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol

import pytest

LOGS = ("daemon", "agent", "supervisor")
SHOWN_CHARACTERS = 8000


class Living(Protocol):
    home: Path

    def command(self, *words: str, timeout_s: float = 60.0, check: bool = True) -> Any: ...


_made: list[Living] = []


def note(cloud: Living) -> None:
    """It may be started from now on."""
    _made.append(cloud)


def living() -> list[Living]:
    """Those whose home is there."""
    _made[:] = [one for one in _made if (one.home / "identity.json").exists()]
    return list(_made)


def last_words(home: Path) -> dict[str, str]:
    """The ends of the logs, by name."""
    found = {name: home / "logs" / f"{name}.log" for name in LOGS}
    return {name: path.read_text(errors="replace")[-SHOWN_CHARACTERS:] for name, path in found.items() if path.exists()}


def take_down(clouds: list[Living]) -> None:
    for one in clouds:
        one.command("down", "--purge", check=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for one in living():
            report.sections += [(f"{name}.log of {one.home}", text) for name, text in last_words(one.home).items()]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """What a test starts by itself, it takes down; one that failed has not come to that. Its report is made afterwards."""
    before = living()
    try:
        yield
    finally:
        item.stash[_STARTED] = [one for one in living() if one not in before]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    try:
        yield
    finally:
        take_down([one for one in living() if one in item.stash.get(_STARTED, [])])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """What a run that was ended early has still standing (`-x`, Ctrl-C) comes down before pytest gives up this run's folders, as it does in a
    hook of its own: any other run on this machine may then remove them, with the homes in them."""
    try:
        runner = session.config.pluginmanager.get_plugin("runner")
        runner.pytest_sessionfinish(session)  # ends the fixtures that stand; by itself it would do so too late
    finally:
        take_down(living())
        yield


_STARTED = pytest.StashKey[list[Living]]()
