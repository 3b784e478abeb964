"""Published UDP ports: datagrams from the host into a network and back. Each client has a socket of its own there, until it is silent for long.

    python -IS udp_relay.py ADDRESS FD:PORT …        in the network's namespace; each FD is a bound socket of the host's

A process of its own per container that publishes UDP, of the standard library alone: it outlives the agent, and gives up all power before the first
datagram. For names and the like, not for volume.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any

_CLIENTS, _IDLE_S, _DATAGRAM_BYTES, _AT_ONCE = 1024, 90.0, 65535, 64
_NOBODY = 65534


class UdpRelay:
    """Owns `outside`. `target`: (address, port), reached from where this runs."""

    def __init__(self, selector: selectors.BaseSelector, outside: socket.socket, target: tuple[str, int]) -> None:
        self._selector, self._outside, self._target = selector, outside, target
        self._clients: dict[Any, tuple[socket.socket, float]] = {}
        outside.setblocking(False)
        selector.register(outside, selectors.EVENT_READ, self._from_outside)

    def close(self) -> None:
        self._selector.unregister(self._outside)
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
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                made.connect(self._target)
            except OSError:
                made.close()
                return None
            self._selector.register(made, selectors.EVENT_READ, lambda: self._from_inside(made, client))
        else:
            made = known[0]
        self._clients[client] = (made, time.monotonic())
        return made

    def _from_inside(self, inside: socket.socket, client: Any) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = inside.recv(_DATAGRAM_BYTES)
                self._outside.sendto(data, client)
            except OSError:
                return
            self._clients[client] = (inside, time.monotonic())

    def _forget(self, client: Any) -> None:
        inside, _ = self._clients.pop(client)
        self._selector.unregister(inside)
        inside.close()

    def sweep(self) -> None:
        """Forgets who was silent for long."""
        before = time.monotonic() - _IDLE_S
        for client in [one for one, (_, last) in self._clients.items() if last < before]:
            self._forget(client)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    address, *wishes = sys.argv[1:]
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    with selectors.DefaultSelector() as selector:
        pairs = (wish.partition(":") for wish in wishes)
        relays = [UdpRelay(selector, socket.socket(fileno=int(fd)), (address, int(port))) for fd, _, port in pairs]
        swept = time.monotonic()
        while True:
            for key, _ in selector.select(_IDLE_S):
                if key.fileobj in selector.get_map():  # an earlier one of these may have closed it
                    key.data()
            if time.monotonic() - swept > _IDLE_S / 4:
                swept = time.monotonic()
                for relay in relays:
                    relay.sweep()


if __name__ == "__main__":
    main()
