"""Health checks on real sockets, from a namespace of their own, against servers that behave in every bad way. Needs root.

The reasons and their words are AWS's: elbv2 TargetHealth, "troubleshoot your Application Load Balancers".
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from gureum.drivers.checks.checks import NamespaceChecks, matches
from gureum.drivers.networks import namespaces, sandboxes
from gureum.drivers.networks.network_names import HomeNames
from gureum.ports import PortError
from gureum.ports.checks import Outcome, Probe
from gureum.ports.networks import SandboxSpec

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")]

HERE = "127.0.0.1"
PASSED = Outcome(True)
FAILED = Outcome(False, "Target.FailedHealthChecks", "Health checks failed")
TIMED_OUT = Outcome(False, "Target.Timeout", "Request timed out")
LIMIT_S = 20.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def mismatch(code: int) -> Outcome:
    return Outcome(False, "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{code}]")


class Place:
    """A namespace in which servers listen and checks are made."""

    def __init__(self, names: HomeNames, checks: NamespaceChecks) -> None:
        self.names, self.checks = names, checks
        self.heard: list[bytes] = []
        self.details: tuple[str, int] = ("", -1)

    def bound(self, *, listen: int = 16) -> socket.socket:
        with namespaces.entered(self.names.sandbox("node")):
            sock = socket.socket()
            sock.bind((HERE, 0))
            sock.listen(listen)
            sock.setblocking(False)
            return sock

    @contextlib.asynccontextmanager
    async def serving(self, serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                await serve(reader, writer)
            writer.transport.abort()

        sock = self.bound()
        server = await asyncio.start_server(guarded, sock=sock, ssl=tls)
        try:
            yield sock.getsockname()[1]
        finally:
            server.close()

    async def check(self, port: int, probe: Probe, *, address: str = HERE, source: str = HERE) -> Outcome:
        """What AWS tells of it; the details of the last one are kept."""
        found = await self.checks.check("node", source, address, port, probe)
        self.details = (found.fault, found.status)
        return msgspec.structs.replace(found, fault="", status=-1)

    async def answer_to(self, probe: Probe, serve: Serve, tls: ssl.SSLContext | None = None) -> Outcome:
        async with self.serving(serve, tls) as port:
            return await self.check(port, probe)


@contextlib.contextmanager
def a_place(run_dir: Path) -> Iterator[Place]:
    home_id = "t" + secrets.token_hex(8)[:5]
    names = HomeNames(home_id, run_dir)
    namespaces.prepare_netns_dir()
    sandboxes.ensure(names, SandboxSpec("node", guest=False))
    try:
        yield Place(names, NamespaceChecks(home_id, run_dir))
    finally:
        sandboxes.remove(names, "node")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Callable[[Place], Awaitable[None]]], None]:
    """Runs a test's coroutine with a place; the agent's loop is uvloop, the tests' others are asyncio's."""

    def go(test: Callable[[Place], Awaitable[None]]) -> None:
        with a_place(tmp_path) as place:

            async def main() -> None:
                await asyncio.wait_for(test(place), LIMIT_S)
                leftover = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
                for task in leftover:
                    task.cancel()
                await asyncio.gather(*leftover, return_exceptions=True)

            if request.param == "uvloop":
                uvloop.run(main())
            else:
                asyncio.run(main())

    return go


def http(status: str, rest: bytes = b"Content-Length: 2\r\n\r\nok") -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\n".encode() + rest)
        await writer.drain()
        await reader.read()

    return serve


def raw(*pieces: bytes) -> Serve:
    """Sends this, whatever is asked, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    return serve


# --- HTTP/1.1 ---


def test_the_status_is_held_against_the_matcher(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        for status, matcher, outcome in [
            ("200 OK", "200", PASSED),
            ("204 No Content", "200", mismatch(204)),
            ("204 No Content", "200-299", PASSED),
            ("302 Found", "200,302", PASSED),
            ("404 Not Found", "200-399", mismatch(404)),
            ("500 Internal Server Error", "200", mismatch(500)),
            ("200", "200", PASSED),  # without a reason phrase
        ]:
            assert await place.answer_to(Probe("HTTP", matcher=matcher), http(status)) == outcome, (status, matcher)
            fault = "" if outcome == PASSED else "TargetError" if status[0] == "5" else "ResponseCodeMismatch"
            assert place.details == (fault, int(status[:3]))

    run(test)


def test_request_is_as_the_load_balancers_is(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        heard: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await writer.drain()

        async with place.serving(serve) as port:
            probe = Probe("HTTP", path="/up?deep=1")
            assert await place.check(port, probe) == PASSED
            assert heard[0].startswith(b"GET /up?deep=1 HTTP/1.1\r\n")
            assert f"\r\nHost: {HERE}:{port}\r\n".encode() in heard[0]
            assert b"\r\nUser-Agent: ELB-HealthChecker/2.0\r\n" in heard[0]
            assert b"\r\nConnection: close\r\n" in heard[0]
            evil = Probe("HTTP", path="/a b\r\nX-Evil: 1")
            assert await place.check(port, evil) == PASSED
            assert heard[1].startswith(b"GET /a%20b%0D%0AX-Evil:%201 HTTP/1.1\r\nHost")

    run(test)


def test_what_is_no_answer_is_a_failed_check(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        for pieces in [
            (),
            (b"HTTP/1.1 200 OK\r\n",),  # cut off
            (b"SSH-2.0-OpenSSH_9.2\r\n\r\n",),
            (b"HTTP/1.1 2000 OK\r\n\r\n",),
            (b"HTTP/2 200\r\n\r\n",),
            (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: ws\r\n\r\n",),
            (b"\x00" * 100, b"\r\n\r\n"),
        ]:
            assert await place.answer_to(Probe("HTTP"), raw(*pieces)) == FAILED, pieces
            assert place.details == ("TargetError" if pieces else "ConnectionReset", -1)

    run(test)


def test_an_answer_may_come_in_pieces_and_after_early_hints(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        pieces = (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r", b"\nHTTP/1.1 200 ", b"OK\r\nA: b\r", b"\n\r\n")
        assert await place.answer_to(Probe("HTTP"), raw(*pieces)) == PASSED

    run(test)


def test_endless_headers_are_cut_off(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1024)
            writer.write(b"HTTP/1.1 200 OK\r\n")
            sent = 0
            while sent < 100_000_000:
                writer.write(b"X-More: and more\r\n" * 1000)
                await writer.drain()
                sent += 18_000
            raise AssertionError("all of it was read")

        assert await place.answer_to(Probe("HTTP", timeout_s=10), serve) == FAILED

    run(test)


@pytest.mark.parametrize("protocol", ["HTTP", "HTTPS", "GRPC", "GRPCS"])
def test_silent_or_dripping_target_times_out(protocol: str, run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(1000):
                writer.write(b"\x00" if protocol.startswith("GRPC") else b"H")
                await writer.drain()
                await asyncio.sleep(0.05)

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            await asyncio.sleep(30)

        for serve in (silent, drip):
            outcome = await place.answer_to(Probe(protocol, timeout_s=0.4), serve)
            # What drips one byte that is no TLS record, or no frame, may be found out before the time is over.
            assert outcome == TIMED_OUT or (serve is drip and protocol != "HTTP" and outcome == FAILED)

    run(test)


def test_body_that_never_ends_changes_nothing(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1024)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)

        assert await place.answer_to(Probe("HTTP", timeout_s=10), serve) == PASSED

    run(test)


# --- TCP ---


def test_tcp_passes_with_the_handshake_and_fails_without(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        with place.bound() as sock:
            port = sock.getsockname()[1]
            assert await place.check(port, Probe("TCP")) == PASSED
        assert await place.check(port, Probe("TCP")) == FAILED
        assert await place.check(port, Probe("HTTP")) == FAILED
        assert place.details == ("ConnectionReset", -1)

    run(test)


def test_target_that_takes_no_connection_times_out(run: Callable[..., None]) -> None:
    """A full accept queue drops the handshake, as a firewall that drops would."""

    async def test(place: Place) -> None:
        with place.bound(listen=0) as sock:
            port = sock.getsockname()[1]
            with namespaces.entered(place.names.sandbox("node")):
                fill = [socket.socket() for _ in range(4)]
            for one in fill:
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    one.connect((HERE, port))
            try:
                assert await place.check(port, Probe("HTTP", timeout_s=0.3)) == TIMED_OUT
                assert place.details == ("ConnectionTimedOut", -1)
                assert await place.check(port, Probe("TCP", timeout_s=0.3)) == FAILED
            finally:
                for one in fill:
                    one.close()

    run(test)


def test_unreachable_target_is_a_failed_check(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        assert await place.check(80, Probe("TCP"), address="192.0.2.1") == FAILED

    run(test)


def test_checks_come_from_the_source_address_in_the_namespace(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        with place.bound() as sock:
            port = sock.getsockname()[1]
            assert await place.check(port, Probe("TCP"), source="127.0.0.77") == PASSED
            seen, (address, _) = sock.accept()
            seen.close()
            assert address == "127.0.0.77"
            with pytest.raises(ConnectionRefusedError):  # the host's loopback is another one
                socket.create_connection((HERE, port), timeout=2)

    run(test)


def test_without_the_place_it_is_no_fault_of_the_target(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        with pytest.raises(PortError):
            await place.checks.check("gone", HERE, HERE, 80, Probe("TCP"))
        with pytest.raises(PortError):
            await place.check(80, Probe("TCP"), source="10.1.2.3")

    run(test)


def test_no_socket_is_left_open(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        def open_now() -> int:
            return len(os.listdir("/proc/self/fd"))

        async with place.serving(silent) as port, place.serving(http("200 OK")) as good:
            await place.check(good, Probe("HTTP"))
            before = open_now()
            for protocol in ("HTTP", "HTTPS", "GRPC"):
                await asyncio.gather(*(place.check(port, Probe(protocol, timeout_s=0.1)) for _ in range(20)))
            await asyncio.gather(*(place.check(good, Probe("HTTP")) for _ in range(20)))
            while open_now() > before:  # ends of connections are seen by both sides in their time
                await asyncio.sleep(0.01)

    run(test)


# --- TLS ---


@pytest.fixture(scope="module")
def weak_tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 1024 bits that expired years ago: "the load balancer does not validate these certificates"."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    then = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(then)
        .not_valid_after(then + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form) + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def tls(path: Path, *alpn: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(path)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def test_https_takes_any_certificate(run: Callable[..., None], weak_tls: Path) -> None:
    async def test(place: Place) -> None:
        assert await place.answer_to(Probe("HTTPS"), http("200 OK"), tls(weak_tls)) == PASSED
        assert await place.answer_to(Probe("HTTPS"), http("503 No"), tls(weak_tls)) == mismatch(503)
        assert await place.answer_to(Probe("HTTPS"), raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")) == FAILED, "without TLS"
        assert await place.answer_to(Probe("HTTP"), http("200 OK"), tls(weak_tls)) == FAILED

    run(test)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_https_of_an_old_target_is_spoken_as_requests_are(run: Callable[..., None], weak_tls: Path) -> None:
    """AWS, "Security policies": back-end connections take TLS 1.0 to 1.2, with a policy that has 1.3 that, too."""

    async def test(place: Place) -> None:
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            old = tls(weak_tls)
            old.minimum_version = old.maximum_version = version
            assert await place.answer_to(Probe("HTTPS"), http("200 OK"), old) == PASSED, version

    run(test)


# --- HTTP/2 and gRPC ---


class H2Server:
    """`answer(connection, stream, request)` sends what it likes when a request is complete."""

    def __init__(self, answer: Callable[[H2Connection, int], None]) -> None:
        self.answer = answer
        self.requests: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            try:
                events = connection.receive_data(data)
            except ProtocolError:
                return
            for event in events:
                if isinstance(event, RequestReceived):
                    self.requests.append({str(name): str(value) for name, value in event.headers})
                    self.bodies.append(b"")
                elif isinstance(event, DataReceived):
                    self.bodies[-1] += event.data
                elif isinstance(event, StreamEnded):
                    self.answer(connection, event.stream_id)
            writer.write(connection.data_to_send())
            await writer.drain()


def grpc(status: str, *, trailers_only: bool = False) -> H2Server:
    def answer(connection: H2Connection, stream: int) -> None:
        start = [(":status", "200"), ("content-type", "application/grpc")]
        end = [("grpc-status", status), ("grpc-message", "said")]
        if trailers_only:
            connection.send_headers(stream, start + end, end_stream=True)
            return
        connection.send_headers(stream, start)
        connection.send_data(stream, b"\x00\x00\x00\x00\x00")
        connection.send_headers(stream, end, end_stream=True)

    return H2Server(answer)


def plain(status: str) -> H2Server:
    def answer(connection: H2Connection, stream: int) -> None:
        connection.send_headers(stream, [(":status", status)])
        connection.send_data(stream, b"ok", end_stream=True)

    return H2Server(answer)


def test_a_request_stands_behind_the_header_of_the_proxy_protocol(run: Callable[..., None], weak_tls: Path) -> None:
    """As AWS's checks do, by the bytes that were captured on a target; in cleartext also before TLS. A check of TCP says nothing."""
    captured = bytes.fromhex("0d0a0d0a000d0a515549540a20110054030004bce5951f04004a") + bytes(74)

    async def test(place: Place) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            place.heard.append(await reader.readexactly(len(captured)))
            place.heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

        async def serve_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            place.heard.append(await reader.readexactly(len(captured)))
            place.heard.append(await reader.readexactly(2))

        async def hear_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            place.heard.append(await reader.read())
            told.set()

        told = asyncio.Event()
        assert await place.answer_to(Probe("HTTP", announced=True), serve) == PASSED
        assert place.heard[0] == captured
        assert place.heard[1].startswith(b"GET / HTTP/1.1\r\n")
        place.heard.clear()
        await place.answer_to(Probe("HTTPS", announced=True), serve_tls)
        assert place.heard == [captured, b"\x16\x03"]  # a handshake of TLS
        place.heard.clear()
        async with place.serving(hear_all) as port:
            assert await place.check(port, Probe("TCP", announced=True)) == PASSED
            await told.wait()
        assert place.heard == [b""]

    run(test)


def test_http2_with_prior_knowledge_and_by_tls(run: Callable[..., None], weak_tls: Path) -> None:
    async def test(place: Place) -> None:
        server = plain("200")
        probe = Probe("HTTP", path="/up", version="HTTP2")
        assert await place.answer_to(probe, server) == PASSED
        assert (server.requests[0][":method"], server.requests[0][":path"]) == ("GET", "/up")
        assert server.requests[0]["user-agent"] == "ELB-HealthChecker/2.0"
        assert await place.answer_to(probe, plain("404")) == mismatch(404)
        secure = Probe("HTTPS", version="HTTP2")
        assert await place.answer_to(secure, plain("200"), tls(weak_tls, "h2")) == PASSED
        assert await place.answer_to(probe, http("200 OK")) == FAILED, "speaks HTTP/1.1 only"
        assert await place.answer_to(secure, http("200 OK"), tls(weak_tls, "http/1.1")) == FAILED

    run(test)


def test_grpc_status_is_held_against_the_matcher(run: Callable[..., None], weak_tls: Path) -> None:
    """AWS: HealthCheckPath /AWS.ALB/healthcheck and matcher 12 (UNIMPLEMENTED) by default."""

    async def test(place: Place) -> None:
        server = grpc("12", trailers_only=True)
        probe = Probe("GRPC", path="/AWS.ALB/healthcheck", matcher="12")
        assert await place.answer_to(probe, server) == PASSED
        request = server.requests[0]
        assert (request[":method"], request[":path"]) == ("POST", "/AWS.ALB/healthcheck")
        assert (request["content-type"], request["te"]) == ("application/grpc", "trailers")
        assert server.bodies == [b"\x00\x00\x00\x00\x00"]
        assert await place.answer_to(probe, grpc("0")) == mismatch(0)
        assert place.details == ("GRPCUnexpectedStatus", 0)
        assert await place.answer_to(probe, grpc("")) == FAILED
        assert place.details == ("GRPCStatusHeaderEmpty", -1)
        assert await place.answer_to(Probe("GRPC", path="/a.B/c", matcher="0-99"), grpc("0")) == PASSED
        secure = Probe("GRPCS", path="/a.B/c", matcher="0")
        assert await place.answer_to(secure, grpc("0"), tls(weak_tls, "h2")) == PASSED

    run(test)


def test_what_is_no_grpc_is_a_failed_check(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        def reset(connection: H2Connection, stream: int) -> None:
            connection.reset_stream(stream)

        def leave(connection: H2Connection, stream: int) -> None:
            connection.close_connection()

        probe = Probe("GRPC", path="/a.B/c", matcher="0-99")
        for server in (plain("200"), grpc("many"), H2Server(reset), H2Server(leave), http("200 OK"), raw(b"\xff" * 99)):
            assert await place.answer_to(probe, server) == FAILED

    run(test)


def test_endless_http2_answers_are_cut_off(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        async def pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")  # SETTINGS
            for _ in range(1000):
                writer.write(b"\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678" * 1000)  # acknowledged PINGs
                await writer.drain()
            raise AssertionError("all of it was read")

        assert await place.answer_to(Probe("GRPC", path="/a.B/c", matcher="0", timeout_s=10), pings) == FAILED

    run(test)


def test_many_checks_at_once_share_the_loop(run: Callable[..., None]) -> None:
    async def test(place: Place) -> None:
        async with place.serving(http("200 OK")) as good, place.serving(raw()) as bad:
            found = await asyncio.gather(
                *(place.check(good if number % 2 else bad, Probe("HTTP")) for number in range(200))
            )
        assert found == [FAILED, PASSED] * 100

    run(test)


@pytest.mark.parametrize(
    ("matcher", "yes", "no"),
    [
        ("200", [200], [199, 201]),
        ("200,202", [200, 202], [201]),
        ("200-299,304", [200, 250, 299, 304], [300, 303]),
        ("0-99", [0, 12, 99], [100]),
        ("", [], [200]),
        ("2xx", [], [200]),
        ("-", [], [0, 200]),
    ],
)
def test_matchers(matcher: str, yes: list[int], no: list[int]) -> None:
    assert all(matches(code, matcher) for code in yes)
    assert not any(matches(code, matcher) for code in no)
