"""Requests that servers might read differently, and attempts to get past a proxy's rules. AWS: Application Load Balancers guide, "Desync mitigation
mode" and "Classification reasons"."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from gureum.ports.proxies import Record

from .proxy_host import ADDRESS, TARGETS, ProxyHost, eventually, group, http_listener, proxy_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

HEAD = b"Host: a\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
# What is sent, and its classification and reason.
CASES = {
    "compliant": (b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n", "", ""),
    "non-ascii": (b"GET / HTTP/1.1\r\n" + HEAD + b"X: \xc3\xa4\r\n\r\n", "Acceptable", "NonCompliantHeader"),
    "control": (b"GET / HTTP/1.1\r\n" + HEAD + b"X: a\x01b\r\n\r\n", "Acceptable", "NonCompliantHeader"),
    "version": (b"GET / HTTP/1.2\r\n" + HEAD + b"\r\n", "Acceptable", "NonCompliantVersion"),
    "zero": (b"GET / HTTP/1.1\r\n" + HEAD + b"Content-Length: 0\r\n\r\n", "Acceptable", "GetHeadZeroContentLength"),
    "body": (
        b"GET / HTTP/1.1\r\n" + HEAD + b"Content-Length: 1\r\n\r\nx",
        "Ambiguous",
        "UndefinedContentLengthSemantics",
    ),
    "chunks": (b"GET / HTTP/1.1\r\n" + HEAD + CHUNKED, "Ambiguous", "UndefinedTransferEncodingSemantics"),
    "old chunks": (b"POST / HTTP/1.0\r\n" + HEAD + CHUNKED, "Ambiguous", "UndefinedTransferEncodingSemantics"),
    "underscore": (
        b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer_Encoding: chunked\r\nContent-Length: 1\r\n\r\nx",
        "Ambiguous",
        "SuspiciousHeader",
    ),
    "dot": (b"GET / HTTP/1.1\r\n" + HEAD + b".CONTENT.LENGTH.: 1\r\n\r\n", "Ambiguous", "SuspiciousHeader"),
    "nul": (b"GET / HTTP/1.1\r\n" + HEAD + b"X: a\x00b\r\n\r\n", "Severe", "BadHeader"),
    "worst": (b"GET / HTTP/1.2\r\n" + HEAD + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n", "Severe", "BadHeader"),
}
# What no mode lets pass, because it cannot be read.
UNREADABLE = {
    "two lengths": b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "no number": b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 1x\r\n\r\na",
    "signed": b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: +1\r\n\r\na",
    "chunked twice": b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n" + CHUNKED,
    "unknown encoding": b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "space before colon": b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "carriage return": b"GET / HTTP/1.1\r\n" + HEAD + b"X: a\rb\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n" + HEAD + b": b\r\n\r\n",
    "method": b"G@T / HTTP/1.1\r\n" + HEAD + b"\r\n",
    "control in path": b"GET /a\x01b HTTP/1.1\r\n" + HEAD + b"\r\n",
    "protocol": b"GET / HTPP/1.1\r\n" + HEAD + b"\r\n",
}
PASSED = {
    "monitor": {"", "Acceptable", "Ambiguous", "Severe"},
    "defensive": {"", "Acceptable", "Ambiguous"},
    "strictest": {""},
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProxyHost]:
    with proxy_host(tmp_path) as made:
        yield made


def exchange(host: ProxyHost, *pieces: bytes) -> bytes:
    """All that comes back when one piece is sent after each answer, until the proxy closes."""
    answers = b""
    with host.connect(timeout=10.0) as sock, contextlib.suppress(ConnectionError):
        for piece in pieces:
            sock.sendall(piece)
            answers += sock.recv(65536)
        while more := sock.recv(65536):
            answers += more
    return answers


async def told(host: ProxyHost, data: bytes) -> tuple[bytes, bool, Record]:
    """The answer, whether another request was taken on the same connection, and the record."""
    host.records.clear()
    answers = await asyncio.to_thread(exchange, host, data, LAST)
    first, *more = answers.split(b"HTTP/1.1 ")[1:]
    await eventually(lambda: len(host.records) > len(more))
    return first, bool(more), host.records[0]


@pytest.mark.parametrize("mode", list(PASSED))
def test_requests_are_classified_and_passed_or_refused_by_mode(host: ProxyHost, mode: str) -> None:
    attributes = {"routing.http.desync_mitigation_mode": mode}
    spec = host.spec(http_listener(), groups=(group(host.target(TARGETS[0])),), attributes=attributes)

    async def story() -> None:
        host.proxies.subscribe(host.note)
        await host.proxies.ensure(spec)
        unreadable = dict(UNREADABLE)
        for name, (data, classification, reason) in CASES.items():
            passes = classification in PASSED[mode]
            answer, goes_on, record = await told(host, data)
            if b"\0" in data and answer.startswith(b"400 Bad request\r\n"):
                unreadable[name] = data  # to newer HAProxys
                continue
            assert (record.classification, record.classification_reason) == (classification, reason), name
            assert answer.startswith(b"200 OK\r\n" if passes else b"400 Bad Request\r\n"), name
            closes = not passes or (mode == "defensive" and classification == "Ambiguous") or b"HTTP/1.0" in data
            assert goes_on != closes, name
            if not passes:
                assert b"server: awselb/2.0" in answer
                assert record.target == ""
            elif closes and b"HTTP/1.0" not in data:
                assert b'["connection", "close"]' in answer, f"{name}: the target's connection is not used again"
        for name, data in unreadable.items():
            answer, goes_on, record = await told(host, data)
            assert answer.startswith(b"400 Bad "), name
            assert not goes_on, name
            assert (record.elb_status, record.classification, record.target) == (400, "Severe", ""), name
        await host.proxies.close()
        host.proxies = host.driver()

    asyncio.run(story())


def test_targets_get_one_reading_of_lengths_that_contradict_each_other(host: ProxyHost) -> None:
    """A length beside a transfer encoding, or twice the same: as RFC 9112 6.3 wishes, one is left."""
    bodies = {
        b"Content-Length: 30\r\n" + CHUNKED: ("transfer-encoding", "content-length"),
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 30\r\n\r\n", 1): ("transfer-encoding", "content-length"),
        b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx": ("content-length", "transfer-encoding"),
    }
    spec = host.spec(http_listener(), groups=(group(host.target(TARGETS[0], handler=_names)),))

    async def story() -> None:
        await host.proxies.ensure(spec)
        for body, (there, gone) in bodies.items():
            answer = await asyncio.to_thread(exchange, host, b"POST / HTTP/1.1\r\nConnection: close\r\n" + HEAD + body)
            names = answer.partition(b"\r\n\r\n")[2].decode().split()
            assert (names.count(there), names.count(gone)) == (1, 0), body
        await host.proxies.close()
        host.proxies = host.driver()

    asyncio.run(story())


def _names(request: BaseHTTPRequestHandler) -> None:
    body = " ".join(name.lower() for name in request.headers).encode()
    request.close_connection = True
    request.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize("way", ["CONNECT", "h2c", "connection only"])
def test_no_tunnel_leads_past_the_rules(host: ProxyHost, way: str) -> None:
    """A target that agrees to a tunnel would get whatever a client sends on: requests that no rule has seen, with headers that nobody has set."""

    def agrees(request: BaseHTTPRequestHandler) -> None:
        reached.append(request.command)
        status = (
            b"200 OK"
            if request.command == "CONNECT"
            else b"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c"
        )
        request.wfile.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
        with contextlib.suppress(OSError):
            smuggled.append(request.connection.recv(100))
        request.close_connection = True

    reached: list[str] = []
    smuggled: list[bytes] = []
    spec = host.spec(http_listener(), groups=(group(host.target(TARGETS[0], handler=agrees)),))
    first = {
        "CONNECT": f"CONNECT {ADDRESS}:80 HTTP/1.1\r\nHost: {ADDRESS}:80\r\n\r\n".encode(),
        "h2c": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        "connection only": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\r\n",
    }[way]

    async def story() -> None:
        await host.proxies.ensure(spec)
        answer = await asyncio.to_thread(exchange, host, first, LAST.replace(b"last", b"admin"))
        assert answer.startswith(b"HTTP/1.1 400 Bad Request" if way == "CONNECT" else b"HTTP/1.1 502 Bad Gateway\r\n")
        assert b"101" not in answer
        assert not any(b"admin" in one for one in smuggled)
        assert "CONNECT" not in reached
        await host.proxies.close()
        host.proxies = host.driver()

    asyncio.run(story())


def test_a_request_of_http_1_1_without_a_host_is_malformed(host: ProxyHost) -> None:
    """AWS: "HTTP 400: the client sent a malformed request that does not meet the HTTP specification"; RFC 9112 3.2."""
    spec = host.spec(http_listener(), groups=(group(host.target(TARGETS[0])),))

    async def story() -> None:
        await host.proxies.ensure(spec)
        refused = await asyncio.to_thread(host.raw, b"GET / HTTP/1.1\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert (await asyncio.to_thread(exchange, host, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        await host.proxies.close()
        host.proxies = host.driver()

    asyncio.run(story())


def test_requests_behind_a_refused_one_are_not_read(host: ProxyHost) -> None:
    """What an attacker hides in the body of a request that is refused is no request of its own."""
    paths: list[str] = []

    def note(request: BaseHTTPRequestHandler) -> None:
        paths.append(request.path)
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    attributes = {"routing.http.desync_mitigation_mode": "strictest"}
    spec = host.spec(http_listener(), groups=(group(host.target(TARGETS[0], handler=note)),), attributes=attributes)
    hidden = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
    fronts = [data for data, classification, _ in CASES.values() if classification] + list(UNREADABLE.values())

    async def story() -> None:
        await host.proxies.ensure(spec)
        for front in fronts:
            answer = await asyncio.to_thread(exchange, host, front + hidden)
            assert answer.count(b"HTTP/1.1 ") == 1, front
        assert paths == []
        await host.proxies.close()
        host.proxies = host.driver()

    asyncio.run(story())


def test_a_client_that_never_ends_its_headers_is_given_up(host: ProxyHost) -> None:
    """ "HTTP 408: the client did not send data before the idle timeout period expired"."""
    spec = host.spec(
        http_listener(), groups=(group(host.target(TARGETS[0])),), attributes={"idle_timeout.timeout_seconds": "1"}
    )

    async def story() -> None:
        host.proxies.subscribe(host.note)
        await host.proxies.ensure(spec)

        def drip() -> bytes:
            with host.connect(timeout=10.0) as sock, contextlib.suppress(socket.timeout):
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
                answer = b""
                while piece := sock.recv(4096):
                    answer += piece
                return answer
            return b""

        assert (await asyncio.to_thread(drip)).startswith(b"HTTP/1.1 408 Request Time")
        await eventually(lambda: host.records)
        assert (host.records[0].elb_status, host.records[0].classification) == (408, "")
        await host.proxies.close()
        host.proxies = host.driver()

    asyncio.run(story())


def test_a_client_whose_headers_come_slowly_has_its_answer(host: ProxyHost) -> None:
    """ "Connection idle timeout": no data sent or received; "send at least 1 byte of data before each idle timeout period elapses"."""
    idle = {"idle_timeout.timeout_seconds": "4"}
    spec = host.spec(http_listener(), groups=(group(host.target(TARGETS[0])),), attributes=idle)

    def drip() -> bytes:
        with host.connect(timeout=10.0) as sock:
            began = time.monotonic()
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ")
            while time.monotonic() < began + 5:
                time.sleep(0.25)
                sock.sendall(b"x")
            sock.sendall(b"\r\n\r\n")
            return b"".join(iter(lambda: sock.recv(4096), b""))

    async def story() -> None:
        await host.proxies.ensure(spec)
        with host.connect(timeout=10.0) as silent:
            assert (await asyncio.to_thread(drip)).startswith(b"HTTP/1.1 200 ")
            assert await asyncio.to_thread(silent.recv, 1) == b"", "who sends nothing is given up"
        await host.proxies.close()
        host.proxies = host.driver()

    asyncio.run(story())


def test_what_a_client_says_of_its_connection_is_not_for_the_target(host: ProxyHost) -> None:
    """RFC 9110, 7.6.1. A target that believed it would drop the client's address, as of the one connection."""
    hop = b"GET / HTTP/1.1\r\n" + HEAD + b"Connection: close, X-Forwarded-For\r\n\r\n"
    asking = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    upgrade = b"GET / HTTP/1.1\r\n" + HEAD + b"Connection: Upgrade, X-Forwarded-For\r\n" + asking + b"\r\n"

    async def story() -> None:
        await host.proxies.ensure(host.spec(http_listener(), groups=(group(host.target(TARGETS[0])),)))
        answer = await asyncio.to_thread(exchange, host, hop)
        assert b'"x-forwarded-for"' in answer
        assert b'"connection"' not in answer
        answer = await asyncio.to_thread(exchange, host, upgrade, LAST)
        assert b'["connection", "upgrade"]' in answer
        await host.proxies.close()

    asyncio.run(story())
