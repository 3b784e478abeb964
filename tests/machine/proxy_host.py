"""A place to try proxies in: a network namespace with addresses for the proxy and its targets, targets that tell what they were asked, and
clients. Everything is on that namespace's loopback; no packet leaves it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import http.client
import json
import secrets
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gureum.base.sealing import Sealer
from gureum.drivers.haproxy.proxies import HaproxyProxies, clean
from gureum.drivers.haproxy.running import Shelf
from gureum.drivers.networks import namespaces, netlink
from gureum.drivers.networks.network_names import NETNS_DIR
from gureum.ports.proxies import (
    Certificate,
    FixedResponse,
    Forward,
    Group,
    Listener,
    ProxySpec,
    Record,
    Request,
    Rule,
    Server,
    record_of,
)

ADDRESS = "10.9.0.10"
TARGETS = ("10.9.0.21", "10.9.0.22", "10.9.0.23")
DEADLINE_S = 20.0


class Answer:
    """A raw HTTP answer."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def told(self) -> dict[str, Any]:
        """What the target was asked."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class ProxyHost:
    def __init__(self, tmp: Path) -> None:
        self.home_id = "t" + secrets.token_hex(2)
        self.net = NETNS_DIR / f"gm-{self.home_id}-s-proxy"
        self.run = tmp / "run"
        self.run.mkdir(mode=0o700)
        self.sealer = Sealer(tmp / "key")
        self.proxies = self.driver()
        self.records: list[Record] = []
        self.servers: list[Any] = []

    def note(self, told: Sequence[Record | Request]) -> None:
        """A sink of `subscribe`."""
        self.records += map(record_of, told)

    def driver(self, shelf: Shelf | None = None) -> HaproxyProxies:
        return HaproxyProxies(self.home_id, self.run, self.sealer, shelf=shelf)

    def make(self) -> None:
        namespaces.prepare_netns_dir()
        with namespaces.new_network():
            namespaces.write_sysctls({"ipv4/ip_unprivileged_port_start": "0"})
            with netlink.Netlink() as kernel:
                kernel.send([netlink.set_up(netlink.LOOPBACK)])
            namespaces.pin("/proc/thread-self/ns/net", self.net)
        # 10.9.0.0/24 on loopback: every address of it is local.
        subprocess.run(["nsenter", f"--net={self.net}", "ip", "addr", "add", "10.9.0.1/24", "dev", "lo"], check=True)

    def unmake(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()
        asyncio.run(clean(self.home_id, self.run))
        namespaces.unpin(self.net)

    def listening(self, address: str, port: int) -> socket.socket:
        with namespaces.entered(self.net):
            sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(256)
        return sock

    def target(
        self, address: str, port: int = 80, handler: Callable[[BaseHTTPRequestHandler], None] | None = None
    ) -> Server:
        """A server that tells the request it got (or does what `handler` does)."""
        server = _Server((address, port), _handler(address, handler), bind_and_activate=False)
        server.socket.close()
        server.socket = self.listening(address, port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers.append(server)
        return Server(f"{address}:{port}", address, port, up=True)

    def connect(self, port: int = 80, address: str = ADDRESS, timeout: float = 10.0, source: str = "") -> socket.socket:
        with namespaces.entered(self.net):
            sock = socket.socket()
        sock.settimeout(timeout)
        if source:
            sock.bind((source, 0))
        sock.connect((address, port))
        return sock

    def accepts(self, port: int = 80) -> bool:
        """Whether somebody takes a connection."""
        try:
            self.connect(port).close()
        except ConnectionRefusedError:
            return False
        return True

    def get(
        self,
        path: str = "/",
        *,
        port: int = 80,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        tls: str = "",
        host: str = "",
    ) -> Answer:
        connection = http.client.HTTPConnection(ADDRESS, port)
        sock = self.connect(port)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock, server_hostname=tls)
        connection.sock = sock
        try:
            connection.request(method, path, body=body, headers={"Host": host or "example.com", **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def raw(self, data: bytes, port: int = 80) -> bytes:
        with self.connect(port) as sock:
            sock.sendall(data)
            pieces = []
            with contextlib.suppress(ConnectionResetError):
                while piece := sock.recv(65536):
                    pieces.append(piece)
                    if piece.endswith(b"</html>\r\n"):
                        break
            return b"".join(pieces)

    def spec(self, *listeners: Listener, groups: tuple[Group, ...] = (), **more: Any) -> ProxySpec:
        return ProxySpec("node-1", str(self.net), ADDRESS, "app/lb/1", listeners, groups, **more)

    def certificate(self, *names: str) -> Certificate:
        return new_certificate(self.sealer, *names)

    def shown_name(self, tls: str, port: int = 443) -> str:
        """The common name of the certificate that is shown for a name."""
        context = ssl.SSLContext(
            ssl.PROTOCOL_TLS_CLIENT
        )  # without the machine's authorities: reading them takes longer than the handshake
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with self.connect(port) as sock, context.wrap_socket(sock, server_hostname=tls or None) as wrapped:
            der = wrapped.getpeercert(binary_form=True)
        assert der
        return str(x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def new_certificate(sealer: Sealer, *names: str) -> Certificate:
    """Signed by itself, with its key sealed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    name = "c-" + secrets.token_hex(8)
    chain = cert.public_bytes(serialization.Encoding.PEM).decode()
    return Certificate(name, chain, sealer.seal(pem, name), f"arn:aws:acm:::certificate/{names[0]}")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that break off are what is tested."""


def _handler(address: str, special: Callable[[BaseHTTPRequestHandler], None] | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            if special is not None:
                special(self)
                return
            length = int(self.headers.get("Content-Length") or 0)
            told = {
                "target": address,
                "method": self.command,
                "path": self.path,
                "headers": [(name.lower(), value) for name, value in self.headers.items()],
                "body": self.rfile.read(length).decode(),
            }
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.handle_any
            raise AttributeError(name)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


Story = Callable[[ProxyHost], Awaitable[None]]


@contextlib.contextmanager
def proxy_host(tmp: Path) -> Iterator[ProxyHost]:
    host = ProxyHost(tmp)
    host.make()
    try:
        yield host
    finally:
        host.unmake()


async def eventually(look: Callable[[], Any]) -> Any:
    """Asks again until it is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not become so"
        await asyncio.sleep(0.02)
    return found


def http_listener(*rules: Rule, port: int = 80, protocol: Any = "HTTP", default: Any = None, **more: Any) -> Listener:
    """With a default rule: to the group "tg-a" unless another action is given."""
    last = Rule(0, default if default is not None else Forward((("tg-a", 1),)))
    return Listener(port, protocol, f"arn:listener/{port}", (*rules, last), **more)


def group(*servers: Server, name: str = "tg-a", protocol: Any = "HTTP", **more: Any) -> Group:
    return Group(name, f"arn:{name}", protocol, servers=servers, **more)


def fixed(text: str) -> FixedResponse:
    return FixedResponse(200, "text/plain", text)


def without(spec: ProxySpec, **change: Any) -> ProxySpec:
    return msgspec.structs.replace(spec, **change)
