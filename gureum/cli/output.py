"""What the commands say to people: on standard error, so that standard output is only what was asked for."""

from __future__ import annotations

import os
import shutil
import sys
import time


class Failure(Exception):
    """The command did not work. The text is one sentence that says what to do."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def called() -> str:
    """How the user types "gureum": as he did just now, where the shell finds none of that name."""
    program = sys.argv[0]
    if os.path.basename(program) != "gureum" or "/" not in program:
        return "gureum"
    by_sudo = os.geteuid() == 0 and os.environ.get("SUDO_UID", "0") != "0"  # whose PATH is not the user's
    found = None if by_sudo else shutil.which("gureum")
    same = found is not None and os.path.realpath(found) == os.path.realpath(program)
    return "sudo " * by_sudo + ("gureum" if same else program)


def say(text: str) -> None:
    """One line on standard error."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Says what takes so long, once it has taken longer than a second; on a terminal as a line that is replaced."""

    def __init__(self, text: str, patience_s: float = 1.0) -> None:
        self._text = text
        self._shown = ""
        self._from = time.monotonic() + patience_s
        self._terminal = sys.stderr.isatty()

    def update(self, text: str = "") -> None:
        """`text`: what happens now; "" shows the last one when it is time."""
        self._text = text or self._text
        if self._text == self._shown or time.monotonic() < self._from:
            return
        self._shown = self._text
        print(
            f"\r\033[K{self._text} …" if self._terminal else f"{self._text} …",
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        """Removes the line from a terminal."""
        if self._terminal and self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def duration(seconds: float) -> str:
    """3 s, 5 min, 2 h, 4 d."""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
