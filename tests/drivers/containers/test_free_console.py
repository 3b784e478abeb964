"""The program that starts a PID 1 gives up its controlling terminal, and hands on arguments and environment."""

from __future__ import annotations

import os
import platform
import pty
import signal
from pathlib import Path

import pytest

from gureum.drivers.containers import free_console

SCRIPT = 'echo "$0 $1 $GREETING"; (: </dev/tty) 2>/dev/null && echo has one || echo has none'


def say(*args: str) -> list[str]:
    """What a session's first process says that has become `args`, its streams being its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which spares a PID 1 anyway
        os.execve(args[0], list(args), {"GREETING": "hello"})
    said = b""
    try:
        while data := os.read(terminal, 1000):
            said += data
    except OSError:  # all of it was read
        pass
    os.close(terminal)
    os.waitpid(pid, 0)
    return said.decode().split("\r\n")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="there is no such program for this processor")
def test_a_program_starts_without_the_terminal_and_is_told_the_same(tmp_path: Path) -> None:
    path = free_console.write(tmp_path, platform.machine())
    command = ("/bin/sh", "-c", SCRIPT, "zero", "one")
    assert say(*command) == ["zero one hello", "has one", ""]
    assert say(str(path), *command) == ["zero one hello", "has none", ""]


def test_another_processor_has_none(tmp_path: Path) -> None:
    assert free_console.write(tmp_path, "m68k") is None
    assert list(tmp_path.iterdir()) == []


def test_only_a_program_that_is_there_by_its_whole_path_is_started_so(tmp_path: Path) -> None:
    (tmp_path / "init").symlink_to("/nowhere/on/this/host")
    assert free_console.may_start(str(tmp_path), ("/init", "--one"))
    for args in (("/other",), ("init",), ()):
        assert not free_console.may_start(str(tmp_path), args)
