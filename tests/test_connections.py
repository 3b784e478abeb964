"""Connections of the HTTP front, spoken to in bytes: plain requests and what is left to uvicorn's own way, on one connection in any order."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gureum.asgi import Application
from gureum.aws.protocols import Request, Response
from gureum.connections import LIMIT_PLAIN_BYTES, HttpServer

LIMIT_S = 10.0


class Gate:
    """Tells what it was asked; paths ask for something else."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.go_on = asyncio.Event()

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        if request.path == "/slow":
            await self.go_on.wait()
        if request.path == "/broken":
            raise RuntimeError("as nobody expected")
        if request.path == "/header":
            return Response(200, {"x-name": "a\r\nset-cookie: evil"}, b"done")
        if request.path == "/stream":
            return Response(200, {}, self._pieces())
        told = f"{request.method} {request.path}?{request.query} {request.headers.get('x-two', '')} {len(request.body)}"
        return Response(200, {"content-type": "text/plain"}, told.encode())

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield b"one"
        await self.go_on.wait()
        yield b"two"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *lines: str, body: bytes = b"") -> None:
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        if headers.get("transfer-encoding") == "chunked":
            body = (await self.reader.readuntil(b"0\r\n\r\n"))[:-5]
        else:
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body


def talk(say: Callable[[Client, Gate, Application], Awaitable[None]]) -> None:
    async def run() -> None:
        gate = Gate()
        anything: Any = gate
        application = Application(anything, anything, "", "aws.gureum.test")
        server, sock = HttpServer(application), socket.create_server(("127.0.0.1", 0))
        await server.serve(sock)
        client = Client(*await asyncio.open_connection(*sock.getsockname()))
        try:
            await say(client, gate, application)
        finally:
            client.writer.close()
            await server.close(1.0)
        assert application.bodies.size_bytes == 0

    asyncio.run(asyncio.wait_for(run(), LIMIT_S))


def test_requests_follow_each_other_on_one_connection() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send(
            "POST /a%20b?c=%20d HTTP/1.1", "Host: localhost", "X-Two: 1", "x-two: 2", "Content-Length: 3", body=b"abc"
        )
        status, headers, body = await client.answer()
        assert (status, headers["content-type"], body) == (200, "text/plain", b"POST /a%20b?c=%20d 1, 2 3")
        client.send("GET /b HTTP/1.1", "Host: localhost")
        status, _, body = await client.answer()
        assert (status, body) == (200, b"GET /b?  0")
        assert gate.seen[0].headers["x-two"] == "1, 2"
        assert (gate.seen[0].path, gate.seen[0].query, gate.seen[0].body) == ("/a%20b", "c=%20d", b"abc")

    talk(say)


def test_answers_keep_the_order_of_requests_that_came_together() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        lines = [
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nab" for path in ("/slow", "/2", "/3")
        ]
        client.writer.write("".join(lines).encode())
        while not gate.seen:
            await asyncio.sleep(0)
        gate.go_on.set()
        assert [(await client.answer())[2].split(b"?")[0] for _ in range(3)] == [b"POST /slow", b"POST /2", b"POST /3"]
        assert [len(one.body) for one in gate.seen] == [2, 2, 2]

    talk(say)


def test_what_was_asked_together_with_half_of_something_else_is_done_once() -> None:
    """Where the other request begins among the bytes is not known, so they are never read again."""

    async def say(client: Client, gate: Gate, application: Application) -> None:
        other = b"POST /other HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        client.send("POST /first HTTP/1.1", "host: localhost", "content-length: 2", body=b"ab" + other[:30])
        assert (await client.answer())[2] == b"POST /first?  2"
        client.writer.write(other[30:])
        assert await client.reader.read() == b""
        assert [one.path for one in gate.seen] == ["/first"]

    talk(say)


def test_requests_before_one_that_is_not_plain_are_answered() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        plain = b"POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
        client.writer.write(plain * 2 + b"HEAD /x HTTP/1.1\r\nhost: localhost\r\n\r\n")
        while not gate.seen:
            await asyncio.sleep(0)
        gate.go_on.set()
        assert [(await client.answer())[1].get("connection") for _ in range(2)] == [None, "close"]
        assert await client.reader.read() == b""
        assert len(gate.seen) == 2

    talk(say)


@pytest.mark.parametrize("line", ["GARBAGE", "GET /" + "x" * 200_000 + " HTTP/1.1", "GET http://[ HTTP/1.1"])
def test_what_is_no_http_is_refused(line: str) -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send(line, "host: localhost")
        assert (await client.answer())[0] == 400
        assert gate.seen == []

    talk(say)


def test_a_head_in_many_small_pieces_is_one_request() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        for path, how in (("/plain", "content-length: 3"), ("/other", "transfer-encoding: chunked")):
            body = b"abc" if path == "/plain" else b"3\r\nabc\r\n0\r\n\r\n"
            for byte in f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{how}\r\n\r\n".encode() + body:
                client.writer.write(bytes([byte]))
                await client.writer.drain()
                await asyncio.sleep(0)
            assert (await client.answer())[2] == f"POST {path}?  3".encode()

    talk(say)


def test_daemon_starts_without_the_code_for_what_is_not_plain() -> None:
    code = "import sys, gureum.daemon; print(sorted({'uvicorn', 'wsproto', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (["POST /x HTTP/1.1", "transfer-encoding: chunked"], b"3\r\nabc\r\n0\r\n\r\n"),
        (["POST /x HTTP/1.1", f"content-length: {LIMIT_PLAIN_BYTES + 1}"], b"x" * (LIMIT_PLAIN_BYTES + 1)),
        (["HEAD /x HTTP/1.1"], b""),
    ],
    ids=["chunked", "large", "head"],
)
def test_what_is_not_plain_is_answered_too_and_plain_ones_follow(head: list[str], body: bytes) -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send(*head, "host: localhost", body=body)
        if head[0].startswith("HEAD"):
            await client.reader.readuntil(b"\r\n\r\n")
        else:
            assert (await client.answer())[0] == 200
            assert len(gate.seen[0].body) == (3 if "chunked" in head[1] else len(body))
        client.send("GET /after HTTP/1.1", "host: localhost")
        assert (await client.answer())[2] == b"GET /after?  0"

    talk(say)


def test_client_that_waits_to_be_asked_for_its_body_is_asked() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send("POST /x HTTP/1.1", "host: localhost", "expect: 100-continue", "content-length: 3")
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        client.writer.write(b"abc")
        assert (await client.answer())[2] == b"POST /x?  3"

    talk(say)


def test_old_clients_connection_is_closed() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send("GET /x HTTP/1.0", "host: localhost")
        assert (await client.answer())[1]["connection"] == "close"
        assert await client.reader.read() == b""

    talk(say)


def test_half_a_request_is_none_and_gives_its_room_back() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send("POST /x HTTP/1.1", "host: localhost", "content-length: 10", body=b"half")
        while not application.bodies.size_bytes:
            await asyncio.sleep(0)
        client.writer.close()
        while application.bodies.size_bytes:
            await asyncio.sleep(0)
        assert gate.seen == []

    talk(say)


def test_plain_bodies_of_all_clients_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gureum.asgi.LIMIT_BODIES_BYTES", 100)

    async def say(client: Client, gate: Gate, application: Application) -> None:
        for size, status in ((101, 503), (100, 200)):
            client.send("POST /x HTTP/1.1", "host: localhost", f"content-length: {size}", body=b"x" * size)
            assert (await client.answer())[0] == status

    talk(say)


def test_answer_that_comes_little_by_little_is_sent_as_it_comes() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send("POST /stream HTTP/1.1", "host: localhost", "content-length: 0")
        assert b"chunked" in await client.reader.readuntil(b"\r\n\r\n")
        assert await client.reader.readuntil(b"one\r\n") == b"3\r\none\r\n"
        gate.go_on.set()
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
        client.send("GET /after HTTP/1.1", "host: localhost")
        assert (await client.answer())[2] == b"GET /after?  0"

    talk(say)


def test_a_stream_ends_when_its_client_leaves() -> None:
    ended = asyncio.Event()

    class Endless(Gate):
        async def _pieces(self) -> AsyncIterator[bytes]:
            try:
                yield b"one"
                await asyncio.Event().wait()
            finally:
                ended.set()

    async def say(client: Client, gate: Gate, application: Application) -> None:
        gate.__class__ = Endless
        client.send("POST /stream HTTP/1.1", "host: localhost", "content-length: 0")
        await client.reader.readuntil(b"one\r\n")
        client.writer.close()
        await ended.wait()

    talk(say)


def test_page_of_another_site_is_refused() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send("POST /x HTTP/1.1", "host: localhost", "origin: https://evil.example.com", "content-length: 0")
        assert (await client.answer())[0] == 403
        client.send("POST /x HTTP/1.1", "host: evil.example.com", "content-length: 0")
        assert (await client.answer())[0] == 403
        assert gate.seen == []

    talk(say)


def test_a_fault_of_ours_is_told_and_ends_the_connection() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send("GET /broken HTTP/1.1", "host: localhost")
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (500, "close")
        assert await client.reader.read() == b""

    talk(say)


def test_no_value_of_a_header_begins_another_line() -> None:
    async def say(client: Client, gate: Gate, application: Application) -> None:
        client.send("GET /header HTTP/1.1", "host: localhost")
        _, headers, _ = await client.answer()
        assert "set-cookie" not in headers

    talk(say)


def test_server_that_closes_lets_the_last_call_end() -> None:
    async def run() -> None:
        gate = Gate()
        anything: Any = gate
        server = HttpServer(Application(anything, anything, "", "aws.gureum.test"))
        sock = socket.create_server(("127.0.0.1", 0))
        await server.serve(sock)
        client = Client(*await asyncio.open_connection(*sock.getsockname()))
        client.send("GET /slow HTTP/1.1", "host: localhost")
        while not gate.seen:
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(server.close(LIMIT_S))
        await asyncio.sleep(0)
        gate.go_on.set()
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        await closing
        client.writer.close()

    asyncio.run(asyncio.wait_for(run(), LIMIT_S))
