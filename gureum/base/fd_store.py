"""Sockets that outlive the process that opened them.

The supervisor keeps a copy of each socket that a process hands it, under a name. After a restart the process asks for
them back: connections and datagrams that came meanwhile wait in the kernel's queue instead of being refused. Names are
the process's own (`"aws"`, `"net-vpc-1/udp/10.0.0.2/53"`); the agent and the daemon do not see each other's.

Messages are single datagrams on the supervisor's SOCK_SEQPACKET socket: JSON, the socket beside it as SCM_RIGHTS.
A process that nobody supervises (a test, a simulation in one process) has an empty store that forgets all.
"""

from __future__ import annotations

import json
import os
import socket
from types import TracebackType
from typing import Any, Self

LIMIT_MESSAGE_BYTES = 65536
TIMEOUT_S = 10.0


class FdStoreError(Exception):
    """The supervisor refused or is gone."""


class FdStore:
    """One connection to the supervisor. Calls take microseconds and may be made from an event loop; not thread-safe."""

    def __init__(self, path: str, owner: str) -> None:
        """`path`: the supervisor's socket, "" for a store that forgets; `owner`: "agent" or "daemon"."""
        self._owner = owner
        self._connection = _connect(path) if path else None

    @classmethod
    def from_environment(cls) -> FdStore:
        """The store that the supervisor names in the environment of its children."""
        return cls(os.environ.get("GUREUM_SUPERVISOR", ""), os.environ.get("GUREUM_PROCESS", ""))

    def put(self, name: str, kept: socket.socket) -> None:
        """Keeps a copy of the socket; one of the same name is replaced."""
        if self._connection:
            self._ask({"op": "put", "owner": self._owner, "name": name}, kept)

    def get_all(self) -> dict[str, socket.socket]:
        """All sockets kept for this process, by name: non-blocking, new copies, the caller closes them."""
        found: dict[str, socket.socket] = {}
        if not self._connection:
            return found
        self._send({"op": "get", "owner": self._owner})
        while True:
            answer, fds = self._receive()
            if "name" not in answer:
                return found
            for fd in fds:
                kept = found[answer["name"]] = socket.socket(fileno=fd)
                kept.setblocking(False)

    def remove(self, name: str) -> None:
        """Forgets the socket; of an unknown name it is success. The caller's own copy stays open."""
        if self._connection:
            self._ask({"op": "remove", "owner": self._owner, "name": name})

    def close(self) -> None:
        """Ends the connection; what is kept stays kept."""
        if self._connection:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, message: dict[str, Any], kept: socket.socket | None = None) -> None:
        self._send(message, kept)
        answer, _ = self._receive()
        if "error" in answer:
            raise FdStoreError(answer["error"])

    def _send(self, message: dict[str, Any], kept: socket.socket | None = None) -> None:
        assert self._connection
        try:
            socket.send_fds(self._connection, [json.dumps(message).encode()], [kept.fileno()] if kept else [])
        except OSError as error:
            raise FdStoreError(f"the supervisor is gone: {error}") from error

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        assert self._connection
        try:
            data, fds, _, _ = socket.recv_fds(self._connection, LIMIT_MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise FdStoreError(f"the supervisor does not answer: {error}") from error
        if not data:
            raise FdStoreError("the supervisor is gone")
        return json.loads(data), list(fds)


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(TIMEOUT_S)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise FdStoreError(f"the supervisor does not answer at {path}: {error}") from error
    return connection
