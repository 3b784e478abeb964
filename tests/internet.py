"""A host and an internet for it, each a network namespace: what a test does in `Internet.host` cannot leave this machine.

host (192.0.2.10 on `world`, the default route)  ═══  internet (192.0.2.1): web and DNS on 203.0.113.80 and .53
     (192.0.2.130 on `aside`: 203.0.113.128/25)  ═══          web on 203.0.113.200, 10.99.0.1, 169.254.169.254
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gureum.drivers.networks import namespaces

HOST, WEB, ASIDE, RESOLVER = "192.0.2.10", "203.0.113.80", "203.0.113.200", "203.0.113.53"
PRIVATE, METADATA = "10.99.0.1", "169.254.169.254"
NAME = "www.example.org"
PORT = 8080
"""Where the host itself listens, too, on all its addresses."""
LIMIT_S = 30.0
"""Of what is asked in the host: an answer that never comes fails the test."""

# Tells each client its address and remembers it; answers every question of an A record with the web's address.
_SERVERS = """
import http.server, socket, sys, threading
class Who(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.client_address[0].encode()
        with open(sys.argv[1], "a") as seen:
            seen.write(f"{self.client_address[0]} {self.path}\\n")
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *words): pass
for port in map(int, sys.argv[2].split(",")):
    threading.Thread(target=http.server.ThreadingHTTPServer(("0.0.0.0", port), Who).serve_forever, daemon=True).start()
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind((sys.argv[3], 53))
print("ready", flush=True)
while True:
    asked, client = names.recvfrom(4096)
    end = asked.index(b"\\0", 12) + 5
    wanted = asked[end - 4:end - 2] == b"\\0\\1" and b"example" in asked
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + socket.inet_aton(sys.argv[4]) if wanted else b""
    names.sendto(asked[:2] + b"\\x81\\x80\\0\\1" + (b"\\0\\1" if wanted else b"\\0\\0") + b"\\0\\0\\0\\0" + asked[12:end] + answer, client)
"""


class Internet:
    """`seen`: "ADDRESS PATH" of each request, in order."""

    def __init__(self, folder: Path, host: str, world: str) -> None:
        self._log = folder / "seen"
        self._log.touch()
        self.host, self.world = (namespaces.NETNS_DIR / name for name in (host, world))

    def seen(self) -> list[str]:
        return self._log.read_text().splitlines()

    def in_host(self, *words: str) -> str:
        return subprocess.run(
            ["nsenter", f"--net={self.host}", *words], check=True, capture_output=True, text=True, timeout=LIMIT_S
        ).stdout

    def state(self) -> str:
        """Rules and forwarding of the host."""
        links = ("all", "default", "lo", "world", "aside")
        keys = [f"net.ipv4.conf.{link}.forwarding" for link in links]
        return self.in_host("nft", "list", "ruleset") + self.in_host("sysctl", "net.ipv4.ip_forward", *keys)


@contextlib.contextmanager
def internet(folder: Path) -> Iterator[Internet]:
    """The two namespaces, gone at the end. The calling thread, and what it starts, is in the host's meanwhile."""
    made = Internet(folder, f"egress-host-{os.getpid()}", f"egress-world-{os.getpid()}")
    host, world = made.host.name, made.world.name
    lines = [
        f"netns add {host}",
        f"netns add {world}",
        f"-n {host} link set lo up",
        f"-n {world} link set lo up",
        f"-n {host} link add world type veth peer name host netns {world}",
        f"-n {host} link add aside type veth peer name aside netns {world}",
        f"-n {host} address add {HOST}/25 dev world",
        f"-n {host} address add 192.0.2.130/25 dev aside",
        f"-n {world} address add 192.0.2.1/25 dev host",
        f"-n {world} address add 192.0.2.129/25 dev aside",
        *(f"-n {world} address add {one}/32 dev lo" for one in (WEB, ASIDE, RESOLVER, PRIVATE, METADATA)),
        *(f"-n {host} link set {one} up" for one in ("world", "aside")),
        *(f"-n {world} link set {one} up" for one in ("host", "aside")),
        f"-n {host} route add default via 192.0.2.1",
        f"-n {host} route add 203.0.113.128/25 via 192.0.2.129",
        f"-n {world} route add 198.18.0.0/15 via {HOST}",  # who would come in from outside
    ]
    with contextlib.ExitStack() as held:
        for name in (host, world):
            held.callback(subprocess.run, ["ip", "netns", "delete", name], check=False, capture_output=True)
        for line in lines:
            subprocess.run(["ip", *line.split()], check=True)
        for where, ports in ((made.world, "80,8080"), (made.host, str(PORT))):
            address = RESOLVER if where is made.world else "127.0.0.1"
            words = [sys.executable, "-c", _SERVERS, str(made._log), ports, address, WEB]
            servers = subprocess.Popen(["nsenter", f"--net={where}", *words], stdout=subprocess.PIPE, text=True)
            held.callback(servers.wait)
            held.callback(servers.kill)
            assert servers.stdout is not None
            assert servers.stdout.readline() == "ready\n"
        with namespaces.entered(made.host):
            yield made
