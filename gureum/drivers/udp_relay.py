"""Published UDP ports: datagrams from the host into a network and back. Each client has a socket of its own there, until it is silent for long.

A small relay in the agent's event loop: for names and the like, not for volume. While the agent restarts, datagrams wait in no queue and are lost, as
UDP's may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

from gureum.drivers import namespaces

_CLIENTS, _IDLE_S, _DATAGRAM_BYTES, _AT_ONCE = 1024, 90.0, 65535, 64


class UdpRelay:
    """Owns `outside`. `namespace`: where `target` (address, port) is."""

    def __init__(self, outside: socket.socket, namespace: Path, target: tuple[str, int]) -> None:
        self._outside, self._namespace, self._target = outside, namespace, target
        self._loop = asyncio.get_running_loop()
        self._clients: dict[Any, tuple[socket.socket, float]] = {}
        self._loop.add_reader(outside.fileno(), self._from_outside)
        self._timer = self._loop.call_later(_IDLE_S, self._sweep)

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._outside.fileno())
        self._outside.close()
        for client in list(self._clients):
            self._forget(client)

    def _from_outside(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, client = self._outside.recvfrom(_DATAGRAM_BYTES)
            except OSError:
                return
            inside = self._inside(client)
            if inside is not None:
                with contextlib.suppress(OSError):
                    inside.send(data)

    def _inside(self, client: Any) -> socket.socket | None:
        known = self._clients.get(client)
        if known is None:
            if len(self._clients) >= _CLIENTS:
                return None
            try:
                with namespaces.entered(self._namespace):
                    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                made.connect(self._target)
            except OSError:
                return None
            self._loop.add_reader(made.fileno(), self._from_inside, made, client)
        else:
            made = known[0]
        self._clients[client] = (made, self._loop.time())
        return made

    def _from_inside(self, inside: socket.socket, client: Any) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = inside.recv(_DATAGRAM_BYTES)
                self._outside.sendto(data, client)
            except OSError:
                return
            self._clients[client] = (inside, self._loop.time())

    def _forget(self, client: Any) -> None:
        inside, _ = self._clients.pop(client)
        self._loop.remove_reader(inside.fileno())
        inside.close()

    def _sweep(self) -> None:
        before = self._loop.time() - _IDLE_S
        for client in [one for one, (_, last) in self._clients.items() if last < before]:
            self._forget(client)
        self._timer = self._loop.call_later(_IDLE_S, self._sweep)
