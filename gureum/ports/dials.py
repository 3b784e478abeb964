"""Dials: connections made from inside a machine's network, for somebody outside it."""

from __future__ import annotations

import socket
from typing import Protocol


class Dials(Protocol):
    async def connect(self, sandbox: str, address: str, port: int, timeout_s: float) -> socket.socket:
        """A TCP connection to `address` (IPv4) from the sandbox's network namespace, as a program of that machine would make it: its
        routes, its security groups, its loopback. The caller owns the socket, which does not block. PortError when it is not made."""
