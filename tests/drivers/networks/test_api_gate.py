"""The gate hands guests' connections on to the daemon, says whose they are, and keeps its limits."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gureum.base.clock import SystemClock
from gureum.drivers.keys.local_ca import LocalCa
from gureum.drivers.networks.api_gate import ApiGate, Limits
from gureum.ports.gates import Gate

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Place:
    """A gate for the network "vpc-1" before a daemon that answers the first line with what came before it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.path = folder / "guests.sock"
        self.gate = ApiGate(self.path, limits)
        self.heads: list[bytes] = []
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self._sock = sock

    async def open(self) -> None:
        await self.gate.serve(Gate("vpc-1", "vpc-1"), [self._sock])

    async def daemon(self) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.heads.append(await reader.readline())
            while line := await reader.readline():
                writer.write(b"heard " + line)
            writer.close()

        return await asyncio.start_unix_server(serve, str(self.path))

    async def guest(self) -> Stream:
        return await asyncio.open_connection("127.0.0.1", self.port)


def run(folder: Path, work: Callable[[Place], Awaitable[None]], **limits: float) -> None:
    async def body() -> None:
        place = Place(folder, Limits(**limits))  # type: ignore[arg-type]
        await place.open()
        try:
            async with asyncio.timeout(20):
                await work(place)
        finally:
            await place.gate.close()

    asyncio.run(body())


async def ends(stream: Stream) -> bytes:
    try:
        return await stream[0].read()
    except ConnectionError:
        return b""


def test_daemon_is_told_whose_connection_it_is(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        await place.daemon()
        reader, writer = await place.guest()
        for word in (b"one\n", b"two\n"):
            writer.write(word)
            assert await reader.readline() == b"heard " + word
        assert place.heads == [b"vpc-1 127.0.0.1\n"]
        writer.write_eof()
        assert await reader.read() == b""

    run(tmp_path, work)


def test_a_guest_cannot_say_for_itself_who_it_is(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        await place.daemon()
        reader, writer = await place.guest()
        writer.write(b"vpc-2 10.0.0.9\n")
        assert await reader.readline() == b"heard vpc-2 10.0.0.9\n"
        assert place.heads == [b"vpc-1 127.0.0.1\n"]

    run(tmp_path, work)


def test_a_daemon_that_is_restarted_is_waited_for(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        reader, writer = await place.guest()
        writer.write(b"early\n")
        await writer.drain()
        await place.daemon()
        assert await reader.readline() == b"heard early\n"

    run(tmp_path, work)


@pytest.mark.parametrize("limits", [{"per_guest": 2}, {"per_network": 2}, {"all": 2}])
def test_more_connections_than_allowed_are_cut(tmp_path: Path, limits: dict[str, float]) -> None:
    async def work(place: Place) -> None:
        await place.daemon()
        held = [await place.guest() for _ in range(2)]
        for reader, writer in held:
            writer.write(b"x\n")
            await reader.readline()
        assert await ends(await place.guest()) == b""
        held[0][1].close()
        while True:  # its place is free when the gate has seen it go
            reader, writer = await place.guest()
            writer.write(b"y\n")
            try:
                if await reader.readline() == b"heard y\n":
                    return
            except ConnectionError:
                pass

    run(tmp_path, work, **limits)


@pytest.mark.parametrize("limits", [{"first_s": 0.05}, {"daemon_s": 0.05}, {"idle_s": 0.05}])
def test_silence_ends(tmp_path: Path, limits: dict[str, float]) -> None:
    async def work(place: Place) -> None:
        if "idle_s" in limits:
            await place.daemon()
        stream = await place.guest()
        if "first_s" not in limits:
            stream[1].write(b"x")
        assert await ends(stream) == b""

    run(tmp_path, work, **limits)


def test_a_stopped_network_has_no_connections(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        await place.daemon()
        stream = await place.guest()
        stream[1].write(b"x\n")
        await stream[0].readline()
        await place.gate.stop("vpc-1")
        assert await ends(stream) == b""
        with pytest.raises(ConnectionRefusedError):
            await place.guest()

    run(tmp_path, work)


def test_a_secure_gate_of_one_service_says_which_and_counts_handshakes(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        await place.daemon()
        authority = LocalCa(tmp_path / "ca", SystemClock())
        issued = await authority.issue(("ec2.us-east-1.amazonaws.com",))
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        await place.gate.serve(Gate("eni-1", "vpc-1", "ec2"), [], [sock], issued)
        trust = ssl.create_default_context(cadata=(await authority.ca_pem()).decode())
        name = "ec2.us-east-1.amazonaws.com"
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=name)
        writer.write(b"one\n")
        assert await reader.readline() == b"heard one\n"
        assert place.heads == [b"vpc-1 127.0.0.1 ec2\n"]
        silent = await asyncio.open_connection("127.0.0.1", port)  # never shakes hands, and is counted
        while place.gate._counts["vpc-1", "127.0.0.1"] < 2:
            await asyncio.sleep(0.001)
        assert await ends(await asyncio.open_connection("127.0.0.1", port)) == b""
        assert await ends(silent) == b""

    run(tmp_path, work, per_guest=2, first_s=0.3)
