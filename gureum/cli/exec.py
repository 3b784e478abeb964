"""`gureum exec ID -- COMMAND …`: runs a program in a machine. With a terminal on both ends it is interactive."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import struct
import sys
import termios
import threading
import tty
from collections.abc import Iterator

from gureum.base.homes import Home
from gureum.cli.api import Attachment, get, segment
from gureum.cli.output import Failure
from gureum.cli.running import current_home


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-t", "--terminal", action="store_true", help="a terminal inside, even if this is none")
    parser.add_argument("-T", "--no-terminal", action="store_true", help="no terminal inside, even if this is one")
    parser.add_argument("id", help="the machine's id: i-…")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the program and its arguments (/bin/sh)")


def run(arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    here = sys.stdin.isatty() and sys.stdout.isatty()
    terminal = arguments.terminal or (here and not arguments.no_terminal)
    return attach(current_home(), arguments.id, command or ["/bin/sh"], terminal=terminal)


def attach(home: Home, name: str, command: list[str], *, terminal: bool) -> int:
    """Connects this process's input and output with the program's until it ends; returns its exit code."""
    environment = [f"TERM={os.environ.get('TERM', 'xterm')}"] if terminal else []
    try:
        attachment = Attachment(home, name, {"args": command, "terminal": terminal, "env": environment})
    except Failure as refused:
        raise clearer(home, name, refused) from refused
    try:
        with raw_terminal() if terminal and sys.stdin.isatty() else contextlib.nullcontext():
            if terminal:
                keep_size(attachment)
            # A thread of its own, since it may block for ever in reading what nobody types; it ends with the process.
            threading.Thread(target=feed, args=(attachment,), daemon=True).start()
            return listen(attachment)
    finally:
        attachment.close()


def clearer(home: Home, name: str, refused: Failure) -> Failure:
    """Why there is no program in the machine: most often it does not run, or there is none of that name."""
    try:
        found = get(home, f"explain/{segment(name)}")["objects"]
    except Failure as unknown:
        return unknown
    states = [one["status"]["state"] for one in found if (one.get("status") or {}).get("state")]
    return Failure(f"{name} is {states[0]}") if states and states[0] != "running" else refused


def listen(attachment: Attachment) -> int:
    for kind, payload in attachment.frames():
        if kind in (b"o", b"r"):
            stream = (sys.stdout if kind == b"o" else sys.stderr).buffer
            stream.write(payload)
            stream.flush()
        elif kind == b"x":
            return int(struct.unpack(">i", payload)[0])
    raise Failure("the daemon ended the connection before the program ended")


def feed(attachment: Attachment) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(sys.stdin.fileno(), 65536):
            attachment.send(b"i", data)
        attachment.send(b"e")


def keep_size(attachment: Attachment) -> None:
    """Tells the size of this terminal, now and whenever it changes."""

    def tell(*_: object) -> None:
        size = shutil.get_terminal_size()
        with contextlib.suppress(OSError):
            attachment.send(b"w", struct.pack(">HH", size.columns, size.lines))

    tell()
    signal.signal(signal.SIGWINCH, tell)


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys go to the program inside as they are, Ctrl-C too; the terminal is as before afterwards, come what may."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
