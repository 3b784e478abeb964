"""Health checks: one connection to a target, opened inside the sandbox that stands for the load balancer's node. Fills ports.checks.

    TCP            the handshake is the whole check
    HTTP, HTTPS    one GET by HTTP/1.1 (here) or HTTP/2 (http2_exchange.py); the status is held against the matcher
    GRPC, GRPCS    one unary call by HTTP/2; its grpc-status is held against the matcher

Where targets expect the PROXY protocol, a request stands behind its header, before any TLS (AWS: "Target groups for your Network Load Balancers",
"Health check connections"); a handshake alone is as bare as AWS's.

A target is hostile: whatever it sends, slowly or endlessly, a check ends at `timeout_s` and holds no more than `LIMIT_BYTES` of it. Redirects
are not followed, bodies not read for what they say (AWS: "health checks for your target groups").
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import re
import socket
import ssl
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from gureum.drivers.networks import arp, namespaces
from gureum.drivers.networks.network_names import HomeNames
from gureum.ports import PortError
from gureum.ports.checks import Asked, Outcome, Probe

LIMIT_BYTES = 64 * 1024
"""Of a whole answer; a status line with headers is a hundredth of it."""
BODY_COURTESY_S = 0.25
"""So long the rest of an answer is taken once its status is known: a server that is cut off while it writes would log an error at each check."""
_IP_BIND_ADDRESS_NO_PORT = 24
_OUR_OWN_FAULTS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_OWN = bytes.fromhex("0d0a0d0a000d0a515549540a 20 11 0054 03 0004 bce5951f 04 004a") + bytes(74)
"""PROXY protocol 2, LOCAL: a checksum (CRC32c) and nothing else; the bytes that AWS's checks begin with, as captured on a target (kubernetes
issue 57250)."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: [^\r\n]*)?\r?\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r?\n", re.IGNORECASE)
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")

PASSED = Outcome(True)
FAILED = Outcome(False, "Target.FailedHealthChecks", "Health checks failed", "ConnectionReset")
TIMED_OUT = Outcome(False, "Target.Timeout", "Request timed out", "RequestTimedOut")
UNCONNECTED = Outcome(False, "Target.Timeout", "Request timed out", "ConnectionTimedOut")


class MalformedError(Exception):
    """What came is no answer of the protocol, or too much of one. `fault`: as in Outcome."""

    def __init__(self, fault: str = "TargetError") -> None:
        super().__init__(fault)
        self.fault = fault


class Exchange(Protocol):
    """http2_exchange.py, which is loaded when the first check needs it: most homes never check by HTTP/2, and its library costs the agent's
    start 15 ms."""

    async def get(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: tuple[tuple[str, str], ...]
    ) -> int: ...
    async def call(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: tuple[tuple[str, str], ...]
    ) -> int: ...


class NamespaceChecks:
    """Fills ports.checks.Checks from the sandboxes of one home."""

    def __init__(self, home_id: str, run_dir: Path) -> None:
        self._names = HomeNames(home_id, run_dir)

    async def check(self, sandbox: str, source: str, address: str, port: int, probe: Probe) -> Outcome:
        opened, connected = _open(self._names.sandbox(sandbox), source), False
        try:
            async with asyncio.timeout(probe.timeout_s):
                await _connect(opened, address, port)
                connected = True
                return PASSED if probe.protocol == "TCP" else await _ask(opened, address, port, probe)
        except TimeoutError:
            # AWS: a connection that is not made within the timeout is a failed check of TCP, which has no request that could time out.
            if probe.protocol == "TCP":
                return msgspec.structs.replace(FAILED, fault=UNCONNECTED.fault)
            return TIMED_OUT if connected else UNCONNECTED
        except OSError:
            return FAILED
        except MalformedError as malformed:
            return msgspec.structs.replace(FAILED, fault=malformed.fault)
        finally:
            opened.close()

    async def answering(self, network: str, asked: Sequence[Asked]) -> frozenset[str]:
        return await arp.answering(self._names.network(network), asked) if asked else frozenset()

    async def close(self) -> None:
        """Checks are their callers' tasks; nothing else is held."""


def _open(namespace: Path, source: str) -> socket.socket:
    """A socket in that namespace, with `source` as its address; it stays there, whoever uses it."""
    try:
        with namespaces.entered(namespace):
            opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise PortError(f"cannot check from {namespace.name}: {error.strerror}") from error
    try:
        opened.setblocking(False)
        # The kernel picks the source port when it knows the destination, so that many checks share few.
        opened.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.bind((source, 0))
    except OSError as error:
        opened.close()
        raise PortError(f"cannot check from {source} in {namespace.name}: {error.strerror}") from error
    return opened


async def _connect(opened: socket.socket, address: str, port: int) -> None:
    try:
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except OSError as error:
        if error.errno in _OUR_OWN_FAULTS:
            raise PortError(f"cannot check {address}:{port}: {error.strerror}") from error
        raise


async def _ask(opened: socket.socket, address: str, port: int, probe: Probe) -> Outcome:
    http2 = probe.protocol in ("GRPC", "GRPCS") or probe.version == "HTTP2"
    if probe.announced:
        await asyncio.get_running_loop().sock_sendall(opened, _OWN)
    context = _context(http2=http2) if probe.protocol in ("HTTPS", "GRPCS") else None
    reader, writer = await asyncio.open_connection(
        sock=opened, limit=LIMIT_BYTES, ssl=context, server_hostname="" if context else None
    )
    try:
        return _judged(await _status(reader, writer, f"{address}:{port}", probe, http2=http2), probe)
    finally:
        writer.transport.abort()


async def _status(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, probe: Probe, *, http2: bool
) -> int:
    if not http2:
        return await _get(reader, writer, authority, probe)
    secure = probe.protocol in ("HTTPS", "GRPCS")
    exchange = await _exchange()
    start = ((":scheme", "https" if secure else "http"), (":authority", authority), (":path", _quoted(probe.path)))
    rest = (("user-agent", probe.user_agent),)
    if probe.protocol in ("GRPC", "GRPCS"):
        grpc = (("content-type", "application/grpc"), ("te", "trailers"))
        return await exchange.call(reader, writer, ((":method", "POST"), *start, *grpc, *rest))
    return await exchange.get(reader, writer, ((":method", "GET"), *start, *rest))


async def _exchange() -> Exchange:
    module = await asyncio.to_thread(importlib.import_module, "gureum.drivers.checks.http2_exchange")
    made: Exchange = module.Http2Exchange(LIMIT_BYTES)
    return made


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, probe: Probe) -> int:
    lines = (
        f"GET {_quoted(probe.path)} HTTP/1.1",
        f"Host: {authority}",
        "Connection: close",
        f"User-Agent: {probe.user_agent}",
        "Accept-Encoding: gzip, compressed",
    )
    writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
    data = b""
    while True:
        data, end = await _headers(reader, data)
        found = _STATUS_LINE.match(data)
        if found is None:
            raise MalformedError
        status = int(found[1])
        if status >= 200:
            await _take_body(reader, data[:end], data[end:])
            return status
        if status == 101:  # nobody asked for another protocol
            raise MalformedError
        data = data[end:]  # 100 to 199: the answer is still to come (RFC 9110 15.2)


async def _headers(reader: asyncio.StreamReader, data: bytes) -> tuple[bytes, int]:
    """What has come so far with all of one answer's headers in it, and where they end."""
    while (found := _END_OF_HEADERS.search(data)) is None:
        more = await reader.read(LIMIT_BYTES)
        data += more
        if not more:
            raise MalformedError("TargetError" if data else "ConnectionReset")
        if len(data) > LIMIT_BYTES:
            raise MalformedError
    return data, found.end()


async def _take_body(reader: asyncio.StreamReader, headers: bytes, body: bytes) -> None:
    length = _LENGTH.search(headers)
    wanted = min(int(length[1]), LIMIT_BYTES) if length else LIMIT_BYTES
    try:
        async with asyncio.timeout(BODY_COURTESY_S):
            while len(body) < wanted and not body.endswith(b"0\r\n\r\n"):
                more = await reader.read(LIMIT_BYTES)
                if not more:
                    return
                body += more
    except (OSError, TimeoutError):
        pass


def _judged(status: int, probe: Probe) -> Outcome:
    if matches(status, probe.matcher):
        return Outcome(True, status=status)
    fault = "TargetError" if status >= 500 else "ResponseCodeMismatch"
    if probe.protocol in ("GRPC", "GRPCS"):
        fault = "GRPCUnexpectedStatus"
    text = f"Health checks failed with these codes: [{status}]"
    return Outcome(False, "Target.ResponseCodeMismatch", text, fault, status)


def matches(status: int, matcher: str) -> bool:
    """Of "200", "200,202", "200-299": whether `status` is among them."""
    for part in matcher.split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and (high or low).isdigit() and int(low) <= status <= int(high or low):
            return True
    return False


def _quoted(path: str) -> str:
    """Nothing in it ends the line or the field."""
    return "".join(one if "!" <= one <= "~" else urllib.parse.quote(one) for one in path)


def _context(*, http2: bool) -> ssl.SSLContext:
    """For targets' own certificates, self-signed, expired or of small keys: none is verified. AWS: back-end connections take TLS 1.0, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if http2:
        context.set_alpn_protocols(["h2"])
    return context
