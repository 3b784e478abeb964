"""`gureum logs`: what a machine printed on its console, or the log of one of gureum's own processes."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from gureum.base.homes import Home
from gureum.cli.api import fetch, segment
from gureum.cli.output import Failure
from gureum.cli.running import current_home, tail

OWN = ("agent", "daemon", "supervisor")
LOOK_EVERY_S = 0.3


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", help=f"a machine's id, or one of {', '.join(OWN)}")
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing what comes")
    parser.add_argument("-n", "--lines", type=int, default=50, help="how many lines of the past (own logs only; 50)")


def run(arguments: argparse.Namespace) -> int:
    home = current_home()
    if arguments.id in OWN:
        return show_own(home.logs / f"{arguments.id}.log", arguments.lines, follow=arguments.follow)
    return show_console(home, arguments.id, follow=arguments.follow)


def show_own(path: Path, lines: int, *, follow: bool) -> int:
    if not os.access(path, os.R_OK):
        raise Failure(f"{path} cannot be read: it is written by a gureum in the background, and for root")
    print(tail(path, lines))
    position = path.stat().st_size
    while follow:
        size = path.stat().st_size
        if size < position:
            position = 0  # it was set aside, and begins anew
        if size > position:
            with open(path, "rb") as file:
                file.seek(position)
                emit(file.read())
                position = file.tell()
        # A file cannot be watched with the standard library alone; a person looks on.
        time.sleep(LOOK_EVERY_S)
    return 0


def show_console(home: Home, name: str, *, follow: bool) -> int:
    """The console is asked for as a whole: it is at most a megabyte, and only its end is kept."""
    seen = fetch(home, f"console/{segment(name)}")
    emit(seen)
    while follow:
        time.sleep(LOOK_EVERY_S)
        now = fetch(home, f"console/{segment(name)}")
        emit(addition(seen, now))
        seen = now
    return 0


def addition(seen: bytes, now: bytes) -> bytes:
    """What `now` has beyond `seen`, when the beginning of `seen` may have been dropped meanwhile."""
    if now.startswith(seen):
        return now[len(seen) :]
    start = now.rfind(seen[-4096:])
    return now[start + len(seen[-4096:]) :] if start >= 0 and seen else now


def emit(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
