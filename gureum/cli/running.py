"""The gureum that runs: finds its supervisor, asks it, waits for it."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from pathlib import Path
from typing import Any

from gureum.base.homes import Home, load_home
from gureum.base.settings import Settings, load_settings
from gureum.cli.output import Failure, Progress

NOT_RUNNING = 3
LIMIT_MESSAGE_BYTES = 65536
# The supervisor limits each of its steps; this is only for one that hangs.
LONGEST_WAIT_S = 300.0


def current_home() -> Home:
    """The home that the environment names; Failure when it was never used."""
    settings = load_settings()
    home = load_home(settings)
    if home is None:
        raise Failure(f"there is no gureum in {settings.home}: start it with `gureum up`", NOT_RUNNING)
    return home


def connect(home: Home) -> socket.socket | None:
    """A connection to the supervisor, None when none runs."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(home.supervisor_socket))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except PermissionError as error:
        connection.close()
        raise Failure(f"the gureum of {home.path} belongs to another user: try it with sudo") from error
    return connection


def ask(home: Home, request: dict[str, Any], doing: str = "waiting for gureum") -> dict[str, Any] | None:
    """The supervisor's last word to the request, showing its progress meanwhile; None when no supervisor runs."""
    connection = connect(home)
    if connection is None:
        return None
    with connection:
        connection.setblocking(False)
        connection.send(json.dumps(request).encode())
        return wait_for_answer(lambda: receive(connection), connection.fileno(), doing)


def receive(connection: socket.socket) -> list[dict[str, Any]]:
    data = connection.recv(LIMIT_MESSAGE_BYTES)
    return [json.loads(data)] if data else []


def wait_for_answer(read: Any, fd: int, doing: str) -> dict[str, Any]:
    """Reads messages until one that is not progress. `read() -> list`: what came, empty at the end of the stream."""
    progress, deadline = Progress(doing), time.monotonic() + LONGEST_WAIT_S
    try:
        while time.monotonic() < deadline:
            progress.update()
            if not select.select([fd], [], [], 0.25)[0]:
                continue
            messages = read()
            if not messages:
                return {}
            for message in messages:
                if "progress" not in message:
                    return dict(message)
                progress.update(message["progress"])
    finally:
        progress.end()
    raise Failure("gureum does not answer: see `gureum logs supervisor`")


def require_root(settings: Settings) -> None:
    """Failure for others than root, unless the cloud is simulated."""
    if os.geteuid() != 0 and not settings.simulate:
        raise Failure("machines and networks need root: use `sudo gureum up`, or `gureum up --simulate` (nothing runs)")


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, "" when there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
