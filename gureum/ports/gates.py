"""Gates: the way of machines to the API. The agent listens inside every network and hands each connection on to the daemon, saying whose it is.

What comes this way is a guest's: the daemon's end checks every signature and has no paths of gureum's own (guest_api.py).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol


class Gates(Protocol):
    async def serve(self, network: str, sockets: Sequence[socket.socket]) -> None:
        """Takes connections on these bound TCP sockets, which the driver owns from now on. A second call for a network replaces its
        sockets."""

    async def stop(self, network: str) -> None:
        """Closes the network's sockets and what came by them."""

    async def close(self) -> None: ...
