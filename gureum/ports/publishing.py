"""Ports of containers that are published on the host: its own sockets, behind which a proxy passes everything on."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class Published(msgspec.Struct, frozen=True):
    """`host`: the address that is listened on."""

    host: str
    host_port: int
    port: int
    protocol: Literal["tcp", "udp"] = "tcp"


class Publication(msgspec.Struct, frozen=True):
    """All published ports of one container: `network` leads to `address`."""

    name: str
    network: str
    address: str
    ports: tuple[Published, ...]


class Publisher(Protocol):
    async def publish(self, wish: Publication) -> None:
        """Listens; connections wait until the proxy is up. PortError "address already in use" before anything has changed. Idempotent."""

    async def withdraw(self, name: str) -> None: ...
    async def died(self) -> str:
        """Waits until a process has ended by which something is published; its name. It is to be published again."""

    async def observe(self) -> frozenset[str]:
        """Names of all that are published."""

    async def close(self) -> None:
        """Leaves the proxies running."""
