"""`<run>/supervisor.sock`: who asks the supervisor for something is answered here, datagram by datagram."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
from collections.abc import Callable
from typing import Any

LIMIT_MESSAGE_BYTES = 65536
LIMIT_SOCKETS = 2000
LIMIT_CLIENTS = 200

Answer = Callable[[dict[str, Any]], None]


class Client:
    """One who asked. `send` never raises: who does not read or is gone loses the message, and is seen to be gone by the selector."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: dict[str, Any], fd: int = -1) -> None:
        with contextlib.suppress(OSError):
            socket.send_fds(self._connection, [json.dumps(message).encode()], [fd] if fd >= 0 else [])


class KeptSockets:
    """Listening sockets of children, kept while those are away (base/fd_store.py)."""

    def __init__(self) -> None:
        self._fds: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._fds)

    def put(self, owner: str, name: str, fds: list[int]) -> dict[str, Any]:
        """The answer. The descriptor is ours from now on; one of the same name is closed."""
        if len(fds) != 1:
            return {"error": "exactly one socket is put at a time"}
        if len(self._fds) >= LIMIT_SOCKETS:
            return {"error": f"{LIMIT_SOCKETS} sockets are kept already"}
        self.remove(owner, name)
        self._fds[owner, name] = fds.pop()
        return {"ok": True}

    def of(self, owner: str) -> list[tuple[str, int]]:
        """Names and descriptors."""
        return [(name, fd) for (whose, name), fd in self._fds.items() if whose == owner]

    def remove(self, owner: str, name: str) -> None:
        fd = self._fds.pop((owner, name), -1)
        if fd >= 0:
            os.close(fd)


Obey = Callable[[dict[str, Any], list[int], Client], None]


class Control:
    """Listens at `path` (mode 0600). `obey(request, descriptors that came with it, client)` may take descriptors out of the list: what it leaves
    in it is closed; ValueError, KeyError and TypeError are told to the client as a bad request."""

    def __init__(self, path: str, selector: selectors.BaseSelector, obey: Obey) -> None:
        self._selector = selector
        self._obey = obey
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self._listener.listen(64)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.EINTR):
                raise
            return
        if len(self._selector.get_map()) > LIMIT_CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(connection))

    def _hear(self, connection: socket.socket) -> None:
        try:
            data, received, _, _ = socket.recv_fds(connection, LIMIT_MESSAGE_BYTES, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, received = b"", []
        if not data:
            self._selector.unregister(connection)
            connection.close()
            return
        client, fds = Client(connection), list(received)
        try:
            self._obey(json.loads(data), fds, client)
        except (ValueError, KeyError, TypeError) as error:
            client.send({"error": f"bad request: {error!r}"})
        finally:
            for fd in fds:
                os.close(fd)
