"""Gates: the way of machines to the API. The agent listens inside every network, and at the addresses of interface endpoints, and hands each
connection on to the daemon, saying whose it is.

What comes this way is a guest's: the daemon's end checks every signature and has no paths of gureum's own (guest_api.py).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol

import msgspec

from gureum.ports.certificates import Issued


class Gate(msgspec.Struct, frozen=True):
    """`name`: which gate, "vpc-1" or "eni-1". `network`: whose machines come by it. `service`: the only service that is asked through it, by its
    signing name ("ec2"); "" for all."""

    name: str
    network: str
    service: str = ""


class Gates(Protocol):
    async def serve(
        self,
        gate: Gate,
        sockets: Sequence[socket.socket],
        secure: Sequence[socket.socket] = (),
        certificate: Issued | None = None,
    ) -> None:
        """Takes connections on these bound TCP sockets, which the driver owns from now on; on those of `secure` by TLS with the certificate. A
        second call for a gate replaces its sockets."""

    async def stop(self, name: str) -> None:
        """Closes the gate's sockets and what came by them."""

    async def close(self) -> None: ...
