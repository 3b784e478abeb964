"""The HTTP front for machines: what a hostile one sends costs others nothing, and reaches nothing but AWS's operations."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gureum.aws.protocols import Request, Response
from gureum.connections import AsgiServer
from gureum.guest_api import BURST, RATE, Guest, GuestApplication

HEAD = b"POST /x HTTP/1.1\r\nHost: h\r\nAuthorization: good\r\n"


class Gateway:
    """Takes heads with the key "good"; answers each request with its body's length. `hold`: until it is set, nothing is answered."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.services: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def look_at_guest(self, head: Request, service: str = "") -> Response | None:
        self.services.append(service)
        return None if head.headers.get("authorization") == "good" else Response(403, {}, b"refused")

    async def handle(self, request: Request, *, guest: bool) -> Response:
        assert guest
        await self.hold.wait()
        self.seen.append(request)
        return Response(200, {}, str(len(request.body)).encode())


class Door:
    def __init__(self) -> None:
        self.gateway = Gateway()
        anything: Any = self.gateway
        self.application = GuestApplication(anything)
        self.server = AsgiServer(self.application, "gureum.guest_connections")
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self.sock = sock

    async def open(self, who: bytes = b"vpc-1 10.0.0.5\n") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(who)
        return reader, writer

    async def ask(self, data: bytes) -> bytes:
        reader, writer = await self.open()
        writer.write(data)
        found = await reader.read(4096)
        writer.close()
        return found

    async def flood(self, first: bytes, again: bytes) -> int:
        """How many bytes go in until the connection is cut."""
        reader, writer = await self.open()
        writer.write(first)
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                writer.write(again)
                await writer.drain()
                sent += len(again)
                if reader.at_eof():
                    break
        except ConnectionError:
            pass
        writer.transport.abort()
        return sent


def run(work: Callable[[Door], Awaitable[None]]) -> None:
    async def body() -> None:
        door = Door()
        await door.server.serve(door.sock)
        try:
            async with asyncio.timeout(30):
                await work(door)
        finally:
            await door.server.close(0.1)

    asyncio.run(body())


def test_requests_with_a_good_key_reach_the_gateway() -> None:
    async def work(door: Door) -> None:
        assert (await door.ask(HEAD + b"Content-Length: 3\r\n\r\nabc")).endswith(b"\r\n\r\n3")
        assert [one.body for one in door.gateway.seen] == [b"abc"]
        assert list(door.application._guests) == ["vpc-1 10.0.0.5"]

    run(work)


def test_a_gate_of_one_service_is_told_to_the_gateway_and_the_guest_is_the_same() -> None:
    async def work(door: Door) -> None:
        for who in (b"vpc-1 10.0.0.5\n", b"vpc-1 10.0.0.5 ec2\n"):
            reader, writer = await door.open(who)
            writer.write(HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
            assert (await reader.read(4096)).startswith(b"HTTP/1.1 200")
            writer.close()
        assert door.gateway.services == ["", "ec2"]
        assert list(door.application._guests) == ["vpc-1 10.0.0.5"]

    run(work)


@pytest.mark.parametrize("path", [b"/_gureum/reset", b"/_gureum/attach/x", b"/metrics", b"/"])
def test_others_are_refused_before_their_body_is_read(path: bytes) -> None:
    async def work(door: Door) -> None:
        answer = await door.ask(b"POST " + path + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\nbegin")
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"connection: close" in answer
        assert door.gateway.seen == []

    run(work)


def test_no_request_becomes_a_websocket() -> None:
    async def work(door: Door) -> None:
        upgrade = (
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n"
        )
        assert (await door.ask(HEAD.replace(b"POST", b"GET") + upgrade)).startswith(b"HTTP/1.1 200")
        assert [one.path for one in door.gateway.seen] == ["/x"]

    run(work)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (HEAD + b"X: ", b"x" * 65536),
        (HEAD, b"X: x\r\n" * 8192),
        (b"POST /", b"x" * 65536),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 65536),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: x\r\n" * 8192),
    ],
)
def test_heads_and_trailers_without_end_are_cut(first: bytes, again: bytes) -> None:
    async def work(door: Door) -> None:
        assert await door.flood(first, again) < 16 * 1024 * 1024
        assert door.gateway.seen == []

    run(work)


def test_a_first_line_without_end_is_cut() -> None:
    async def work(door: Door) -> None:
        reader, _ = await door.open(b"v" * 1000)
        assert await reader.read() == b""

    run(work)


def test_requests_sent_ahead_are_bounded() -> None:
    async def work(door: Door) -> None:
        door.gateway.hold.clear()
        reader, writer = await door.open()
        writer.write((HEAD + b"Content-Length: 0\r\n\r\n") * 400)
        await writer.drain()
        assert (await reader.read(4096)).startswith(b"HTTP/1.1 400")
        door.gateway.hold.set()

    run(work)


def test_bodies_of_one_guest_are_bounded_and_given_back() -> None:
    async def work(door: Door) -> None:
        length = 65 * 1024 * 1024
        reader, writer = await door.open()
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % length)
        try:
            for _ in range(length // 65536):
                writer.write(b"x" * 65536)
                await writer.drain()
            assert (await reader.read(100)).startswith((b"HTTP/1.1 413", b"HTTP/1.1 503"))
        except ConnectionError:
            pass  # it was answered, and the rest not read
        writer.transport.abort()
        assert (await door.ask(HEAD + b"Content-Length: 3\r\n\r\nabc")).endswith(b"\r\n\r\n3")
        assert [len(one.body) for one in door.gateway.seen] == [3]
        assert all(not one.bodies.size_bytes for one in door.application._guests.values())

    run(work)


def test_a_guest_in_haste_waits() -> None:
    guest = Guest(0.0)
    requests = guest.requests
    assert [requests.wait_s(0.0) for _ in range(int(BURST))] == [0.0] * int(BURST)
    assert requests.wait_s(0.0) == 1 / RATE
    assert requests.wait_s(0.0) == 2 / RATE
    assert requests.wait_s(1.0) == 0.0
    assert not guest.is_quiet(1.0)
    assert guest.is_quiet(100.0)
