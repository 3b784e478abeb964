"""A connection from inside a machine to a host and port as that machine sees them: what forwarded ports stand on.

Names are answered as the machine's own DNS would answer them, from gureum's records; what only the world outside knows is not asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress

from gureum.core.machine import Machine
from gureum.core.specs import Interface
from gureum.ports import PortError

TIMEOUT_S = 10.0
CHUNK_BYTES = 65536
LOOPBACK = "127.0.0.1"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dial(machine: Machine, name: str, host: str, port: int) -> Stream:
    """`host`: "localhost", an IPv4 address, or a name that the machine can resolve. PortError when there is no way."""
    if not 0 < port < 65536:
        raise PortError(f"{port} is no port", retry=False)
    if machine.ports.dials is None or f"Sandbox/{name}" not in machine.desired:
        raise PortError(f"no machine {name} runs here", retry=False)
    connected = await machine.ports.dials.connect(name, _address(machine, name, host), port, TIMEOUT_S)
    return await asyncio.open_connection(sock=connected)


def _address(machine: Machine, name: str, host: str) -> str:
    if host in ("", "localhost"):
        return LOOPBACK
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        pass
    for one in machine.of_kind("Interface"):
        if isinstance(one.spec, Interface) and one.spec.interface.sandbox == name:
            found = machine.ports.names.resolve(one.spec.interface.network, host, "A")
            if found:
                return found[0]
    raise PortError(f"the name {host} cannot be resolved in {name}", retry=False)


async def relay_bytes(one: Stream, other: Stream) -> None:
    """Both ways, until both have ended or one is lost; an end of one way is passed on, the other goes on. Closes both."""
    ways = [asyncio.ensure_future(_pass(one[0], other[1])), asyncio.ensure_future(_pass(other[0], one[1]))]
    try:
        await asyncio.gather(*ways)
    except ConnectionError:
        pass
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for _, writer in (one, other):
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
