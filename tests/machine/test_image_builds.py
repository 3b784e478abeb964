"""Builds of images end with who makes them, and nothing of them stays on the machine. mmdebstrap is one that builds for ever."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gureum.drivers.images.builtin_images import recipes
from gureum.ports import PortError
from tests.cloud.running import until

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not KEYRING.exists(), reason="needs debian-archive-keyring"),
]
# As mmdebstrap does: its child works, and takes away what was made when it is told to end; it waits for that.
ENDLESS = """#!/bin/sh
trap '' TERM
echo "I: made $0.folder" >&2
(trap 'rm "$0.folder"; exit' TERM; : >"$0.folder"; echo "I: goes on" >&2; sleep NUMBER & wait) &
wait
exit 1
"""
BUILDER = """
import pathlib, sys, threading
from gureum.drivers.images.builtin_images import recipes
recipes(threading.Event())["debian"].layers[0].build(pathlib.Path(sys.argv[1]), lambda text: print(text, flush=True))
"""


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The words of a process of the build, which no other has."""
    number = str(10**9 + secrets.randbelow(10**9))
    program = tmp_path / "bin/mmdebstrap"
    program.parent.mkdir()
    program.write_text(ENDLESS.replace("NUMBER", number))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return f"sleep {number}"


def runs(words: str) -> bool:
    return words in subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_build_that_is_stopped_takes_away_what_it_has_made(endless: str, tmp_path: Path) -> None:
    stopping = threading.Event()
    build = recipes(stopping)["debian"].layers[0].build
    with ThreadPoolExecutor(1) as thread:
        building = thread.submit(build, tmp_path, lambda _text: None)
        until(lambda: runs(endless))
        stopping.set()
        with pytest.raises(PortError):
            building.result(30)
    assert not runs(endless)
    assert not (tmp_path / "bin/mmdebstrap.folder").exists()


def test_a_build_ends_with_a_process_that_is_killed(endless: str, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", BUILDER, str(tmp_path)], stdout=subprocess.DEVNULL) as builder:
        until(lambda: runs(endless))
        builder.send_signal(signal.SIGKILL)
    until(lambda: not runs(endless))
