"""A process that runs soon, and what it starts. In a process of its own, which leads a session as the agent does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gureum.base.priority import SOON

AUTOGROUP = Path("/proc/self/autogroup")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a higher priority needs root")
PROGRAM = """
import os, pathlib, subprocess, sys, threading
from gureum.base.priority import run_soon
if sys.argv[1] == "nobody":
    os.setresuid(65534, 65534, 65534)
run_soon()
print(os.getpriority(os.PRIO_PROCESS, 0))
print(subprocess.run(["nice"], stdout=subprocess.PIPE, text=True).stdout.strip())
thread = threading.Thread(target=lambda: print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
thread.start()
thread.join()
group = pathlib.Path("/proc/self/autogroup")
print(*(group.read_text().split()[-1:] if group.exists() else ()))
"""


def autogroup() -> str:
    """Of this session; nothing where the kernel has no autogroups, or where the session is in the root group (as what init starts is)."""
    return AUTOGROUP.read_text() if AUTOGROUP.exists() else ""


def told(who: str, *, leads: bool) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, who]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, start_new_session=leads
    ).stdout.split()


@needs_root
def test_what_runs_soon_starts_what_does_not() -> None:
    own, program, thread, *group = told("root", leads=True)
    assert (own, program, thread) == (str(SOON), "0", "0")
    assert group in ([], [str(SOON)])


def test_who_has_no_right_goes_on_as_before() -> None:
    own, program, thread, *_ = told("nobody", leads=True)
    assert (own, program, thread) == ("0", "0", "0")


@needs_root
def test_a_session_of_others_is_left_alone() -> None:
    before = autogroup()
    told("root", leads=False)
    assert autogroup() == before
