"""Connections from inside a sandbox's network namespace. Fills ports.dials.

A socket belongs to the namespace it was opened in, whoever uses it: it is opened under a short setns, without an await.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import HomeNames
from gureum.ports import PortError


class NamespaceDials:
    """Fills ports.dials.Dials for one home."""

    def __init__(self, home_id: str, run_dir: Path) -> None:
        self._names = HomeNames(home_id, run_dir)

    async def connect(self, sandbox: str, address: str, port: int, timeout_s: float) -> socket.socket:
        try:
            with namespaces.entered(self._names.sandbox(sandbox)):
                opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError as error:
            raise PortError(f"the network of {sandbox} cannot be entered: {error.strerror}") from error
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(opened, (address, port))
        except TimeoutError as error:
            opened.close()
            raise PortError(f"{address}:{port} did not answer within {timeout_s:.0f} s") from error
        except OSError as error:
            opened.close()
            raise PortError(f"{address}:{port}: {os.strerror(error.errno or 0)}") from error
        except BaseException:
            opened.close()
            raise
        return opened
