"""The light client: requests written whole beforehand, sent on plain kept sockets; of an answer only its status and length are looked at.

So a call costs the client some 20 to 60 µs, where `http.client` costs 150 and boto3 1,000: on two cores, which client and server share, the figure is
then the server's. Every cloud of a run is asked by it with the same bytes. A server that ends its connections gets a new one for each call.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
JSON_RPC = {"content-type": "application/x-amz-json-1.1"}
CBOR = {"content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor", "accept": "application/cbor"}
LIMIT_S = 60.0


def request(service: str, headers: dict[str, str], content: bytes, path: str = "/") -> bytes:
    """As boto3 sends one: the same headers, a signature of the same length (which nobody checks by default)."""
    sent = {
        "host": f"{service}.us-east-1.localhost",
        "accept-encoding": "identity",
        **headers,
        "user-agent": "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.13 cfg/retry-mode#legacy Botocore/1.40.0",
        "x-amz-date": "20260101T000000Z",
        "authorization": (
            f"AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/{service}/aws4_request, "
            f"SignedHeaders=content-type;host;x-amz-date, Signature={'0' * 64}"
        ),
        "amz-sdk-invocation-id": "11111111-2222-3333-4444-555555555555",
        "amz-sdk-request": "attempt=1",
        "content-length": str(len(content)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content


class Wire:
    """One connection, kept as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.socket = self._connect()
        self._parts: list[bytes] = []
        self._missing = self._size = 0

    def send(self, request: bytes) -> bytes:
        """Head and body of the answer to a request that was written before. AssertionError when it is not 200."""
        self.begin(request)
        while (answer := self.take()) is None:
            pass
        return answer

    def begin(self, request: bytes) -> None:
        self._parts, self._missing, self._size = [], 0, 0
        self.socket.sendall(request)

    def take(self) -> bytes | None:
        """What has come, once the answer is whole; waits for some of it."""
        part = self.socket.recv(1 << 20)
        self._parts.append(part)
        self._size += len(part)
        if part and self._size < self._missing:
            return None
        data = b"".join(self._parts)
        end = data.find(b"\r\n\r\n")
        head = data[:end].lower() if end >= 0 else b""
        if part and (end < 0 or not self._is_whole(data, head, end + 4)):
            return None
        assert data.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")), data[:2000]
        if not part or b"\r\nconnection: close" in head:
            self.socket.close()
            self.socket = self._connect()
        return data

    def close(self) -> None:
        self.socket.close()

    def _is_whole(self, data: bytes, head: bytes, body_at: int) -> bool:
        if b"\r\ntransfer-encoding: chunked" in head:
            return data.endswith(b"\r\n0\r\n\r\n")
        at = head.find(b"\r\ncontent-length: ")
        if at < 0:
            return False  # then its end is the connection's
        self._missing = body_at + int(head[at + 18 :].split(b"\r", 1)[0])
        return len(data) >= self._missing

    def _connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port), timeout=LIMIT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


def calls_per_second(port: int, requests: Iterator[bytes], seconds: float, connections: int = 1) -> float:
    """Each connection sends its next request as soon as it has the answer to the last."""
    wires = [Wire(port) for _ in range(connections)]
    try:
        begin = time.perf_counter()
        done = (
            _alone(wires[0], requests, begin + seconds) if connections == 1 else _many(wires, requests, begin + seconds)
        )
        return done / (time.perf_counter() - begin)
    finally:
        for one in wires:
            one.close()


def _alone(wire: Wire, requests: Iterator[bytes], until: float) -> int:
    done = 0
    while time.perf_counter() < until:
        wire.send(next(requests))
        done += 1
    return done


def _many(wires: list[Wire], requests: Iterator[bytes], until: float) -> int:
    done, waiting = 0, len(wires)
    with selectors.DefaultSelector() as selector:
        for one in wires:
            one.begin(next(requests))
            selector.register(one.socket, selectors.EVENT_READ, one)
        while waiting:
            ready = selector.select(LIMIT_S)
            assert ready, "the server does not answer"
            for key, _ in ready:
                wire, used = key.data, key.fileobj
                if wire.take() is None:
                    continue
                done += 1
                goes_on = time.perf_counter() < until
                if not goes_on or wire.socket is not used:
                    selector.unregister(used)
                if goes_on:
                    wire.begin(next(requests))
                    if wire.socket is not used:
                        selector.register(wire.socket, selectors.EVENT_READ, wire)
                else:
                    waiting -= 1
    return done


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process, to the nanosecond."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread may end meanwhile
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9
