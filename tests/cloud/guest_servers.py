"""Servers that a test runs itself, with sockets in a machine's network namespace: their packets are the machine's, and what they do is the test's."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import HomeNames
from tests.cloud.running import Cloud

_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def listening(cloud: Cloud, instance: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket of the machine."""
    home = str(cloud.identity["id"])
    with namespaces.entered(HomeNames(home, Path("/run/gureum") / home).sandbox(instance)):
        made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("0.0.0.0", port))
    if kind == socket.SOCK_STREAM:
        made.listen(256)
    return made


class WebServer:
    """HTTP/1.1. Answers with what it was asked, as JSON; `/health` with the status `health`, all else with 500 while it is `broken`. Paths that do
    something else:

    /cookie         sets the cookie "session" of an application
    /slow           answers when `go` is set, and counts in `waiting` until then
    /status/418     answers with that status
    /reset          closes the connection without an answer
    /socket         WebSocket: sends back in capitals what comes
    """

    def __init__(self, cloud: Cloud, instance: str, port: int = 80) -> None:
        self.name, self.port, self.health = instance, port, 200
        self.broken = False
        self.requests = 0
        self.waiting = 0
        self.go = threading.Event()
        self._server = _Threads(("", port), type("Handler", (_Handler,), {"owner": self}), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening(cloud, instance, port)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: WebServer
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        if self.path == "/health":
            self.say(self.owner.health, b"")
            return
        self.owner.requests += 1
        if self.owner.broken:
            self.say(500, b"")
            return
        if self.path.startswith("/slow"):
            self.owner.waiting += 1
            self.owner.go.wait(60)
            self.owner.waiting -= 1
        if self.path == "/reset":
            self.close_connection = True
        elif self.path == "/socket":
            self.echo()
        elif self.path.startswith("/status/"):
            self.say(int(self.path[8:]), b"")
        else:
            length = int(self.headers.get("Content-Length") or 0)
            told: dict[str, Any] = {
                "server": self.owner.name,
                "method": self.command,
                "path": self.path,
                "headers": [(name.lower(), value) for name, value in self.headers.items()],
                "client": self.client_address[0],
                "body": self.rfile.read(length).decode(),
            }
            self.say(200, json.dumps(told).encode())

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/cookie":
            self.send_header("Set-Cookie", "session=1; Path=/")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def echo(self) -> None:
        key = self.headers["Sec-WebSocket-Key"].encode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET, usedforsecurity=False).digest())
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.end_headers()
        while data := self.connection.recv(4096):
            self.connection.sendall(data.upper())
        self.close_connection = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass


class _Threads(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients and proxies that break off are what is tested."""


class UdpServer:
    """Answers each datagram with the machine's name and what came."""

    def __init__(self, cloud: Cloud, instance: str, port: int) -> None:
        self.name, self.received = instance, 0
        self._socket = listening(cloud, instance, port, socket.SOCK_DGRAM)
        self._socket.settimeout(0.1)
        self._ending = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._ending:
            with contextlib.suppress(OSError):
                data, client = self._socket.recvfrom(2048)
                self.received += 1
                self._socket.sendto(self.name.encode() + b" " + data, client)


class GrpcServer:
    """HTTP/2 without TLS. Sends bodies back; calls end with the status `status`, those of the load balancer's health check with `health`."""

    def __init__(self, cloud: Cloud, instance: str, port: int) -> None:
        self.name, self.health, self.status = instance, 12, 0
        self._socket = listening(cloud, instance, port)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The thread that waits in accept(2) holds the socket: closing alone would leave it listening.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        bodies: dict[int, bytes] = {}
        paths: dict[int, str] = {}
        with sock, contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            sock.sendall(connection.data_to_send())
            while data := sock.recv(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived) and event.headers is not None:
                        headers = {bytes(name): bytes(value) for name, value in event.headers}
                        paths[int(event.stream_id or 0)] = headers[b":path"].decode()
                    elif isinstance(event, h2.events.DataReceived):
                        stream = int(event.stream_id or 0)
                        bodies[stream] = bodies.get(stream, b"") + (event.data or b"")
                        connection.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                    elif isinstance(event, h2.events.StreamEnded):
                        self._answer(connection, int(event.stream_id or 0), paths, bodies)
                sock.sendall(connection.data_to_send())

    def _answer(
        self, connection: h2.connection.H2Connection, stream: int, paths: dict[int, str], bodies: dict[int, bytes]
    ) -> None:
        status = self.health if paths.pop(stream) == "/AWS.ALB/healthcheck" else self.status
        content = [(":status", "200"), ("content-type", "application/grpc"), ("x-server", self.name)]
        connection.send_headers(stream, content)
        connection.send_data(stream, bodies.pop(stream, b""))
        connection.send_headers(stream, [("grpc-status", str(status))], end_stream=True)
