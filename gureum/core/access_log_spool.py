"""Lines of logs that wait for their file, where the end of the process does not reach them.

    <home>/access-log-spool/<file>.lines      the folder the file belongs into, then the lines as they came

What is appended is with the kernel at once and is not synced: it outlives a killed agent, and of a machine that fails as much as its kernel had
written. The file's name is chosen with its first line. So whoever writes the file again, because nobody knows whether it was written, writes the same
over it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import msgspec

log = logging.getLogger("gureum.agent")
_SUFFIX = ".lines"


class Left(msgspec.Struct, frozen=True):
    """What an agent that ended has left: `text` is for the file `name` in `place`."""

    place: str
    name: str
    text: str


class Spool:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._broken: set[str] = set()

    def append(self, place: str, name: str, text: str) -> None:
        """`text`: whole lines. What cannot be kept (a full disk) is not; it is still the caller's to write."""
        if name in self._broken:
            return
        try:
            self._append(place, name, text)
        except OSError as failed:
            # What was written in part would have its other half nowhere: the file's lines wait in memory alone.
            self._broken.add(name)
            self._unlink(name)
            log.info("lines of a log are not kept", extra={"why": failed.strerror or str(failed)})

    def _append(self, place: str, name: str, text: str) -> None:
        path = self._path(name)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, flags, 0o600)
        try:
            head = "" if os.fstat(descriptor).st_size else f"{place}\n"
            data = f"{head}{text}".encode()
            if os.write(descriptor, data) < len(data):
                raise OSError("no room")
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        """When its file is written, or never will be."""
        self._broken.discard(name)
        self._unlink(name)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def left(self) -> list[str]:
        """The names of all files whose lines are here."""
        return sorted(one.name.removesuffix(_SUFFIX) for one in self._folder.glob(f"*{_SUFFIX}"))

    def read(self, name: str) -> Left | None:
        """None where no whole line is left. A last line without an end was cut off with its agent."""
        try:
            place, _, text = self._path(name).read_text("utf-8", "replace").partition("\n")
        except OSError:
            return None
        text = text[: text.rfind("\n") + 1]
        return Left(place, name, text) if text else None
