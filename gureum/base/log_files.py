"""The files that processes write their logs to, and the supervisor's own lines. It imports little, as the supervisor must."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Sequence


def log(event: str, **fields: object) -> None:
    """One line: time, event, fields. A full disk or a closed terminal must not end the supervisor."""
    words = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in fields.items() if value != "")
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with contextlib.suppress(OSError):
        os.write(2, f"{moment} {event} {words}\n".encode())


def open_log(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def rotate(folder: str, names: Sequence[str], limit_bytes: int) -> None:
    """A log that is too long is copied to `.1` and emptied: its writers append, so they need not know."""
    for name in names:
        path = f"{folder}/{name}.log"
        try:
            if os.stat(path).st_size > limit_bytes:
                set_aside(path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                log("log not rotated", name=name, why=str(error))


def set_aside(path: str) -> None:
    with open(path, "rb") as old, open(f"{path}.1", "wb", opener=owner_only) as aside:
        while chunk := old.read(1 << 20):
            aside.write(chunk)
    os.truncate(path, 0)


def owner_only(path: str, flags: int) -> int:
    """An opener (see `open`) of files that nobody else may read."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
