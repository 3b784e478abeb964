"""Questions a second that gureum's DNS server answers, per core, beside a server written on dnslib, in one run.

    python bench/dns.py [--seconds 2]

Server and client are one process each on loopback. A question costs the client as much as the server, so the figure
that counts is questions per second of the *server's* CPU time (on an idle machine with a core each it is what one core
does); questions per second of the wall clock stand beside it. "same": a few questions again and again, as guests ask;
"fresh": every name new, so that nothing is remembered; "unknown": names that do not exist.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import dnslib
import uvloop

from gureum.drivers.dns.server import DnsNames
from gureum.ports.names import Record, Zone

NAMES = 2000
WINDOW = 64


def records() -> tuple[Record, ...]:
    wild = Record("*.wild.gureum.test", "A", ("10.0.0.1",))
    places = [(n // 250, n % 250) for n in range(NAMES)]
    return (wild, *(Record(f"ip-10-0-{a}-{b}.gureum.test", "A", (f"10.0.{a}.{b}",)) for a, b in places))


def gureum_server(sock: socket.socket, ready: Connection) -> None:
    async def body() -> None:
        names = DnsNames(queries_per_s=1 << 60)
        names.replace("all", records(), (Zone("gureum.test"),))
        await names.serve("vpc-1", [sock])
        await until_told(ready)

    uvloop.run(body())


class Dnslib(asyncio.DatagramProtocol):
    """The plain way: parse with dnslib, look up in a dict, pack with dnslib."""

    def __init__(self) -> None:
        self._zone = {record.name + ".": record.values[0] for record in records()}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dnslib.DNSRecord.parse(data)
        reply = question.reply()
        name = str(question.q.qname)
        value = self._zone.get(name) or ("10.0.0.1" if name.endswith(".wild.gureum.test.") else None)
        if value:
            reply.add_answer(dnslib.RR(question.q.qname, dnslib.QTYPE.A, rdata=dnslib.A(value), ttl=60))
        else:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        self.transport.sendto(reply.pack(), addr)


def dnslib_server(sock: socket.socket, ready: Connection) -> None:
    async def body() -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(Dnslib, sock=sock)
        await until_told(ready)

    uvloop.run(body())


async def until_told(ready: Connection) -> None:
    """Tells the CPU time used so far at every ask, until told to stop."""
    ready.send("ready")
    while await asyncio.to_thread(ready.recv) == "cpu":
        ready.send(time.process_time())


def questions(kind: str) -> Iterator[bytes]:
    forms = {"same": "ip-10-0-{}-{}", "fresh": "x{}-{}.wild", "unknown": "x{}-{}"}
    name = forms[kind] + ".gureum.test"
    number = 0
    while True:
        number += 1
        if kind == "same":
            number %= 50
        yield dnslib.DNSRecord.question(name.format(number // 250, number % 250)).pack()


def ask(port: int, packets: list[bytes], seconds: float) -> tuple[int, float]:
    """Keeps WINDOW questions under way; how many were answered, and in what time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect(("127.0.0.1", port))
        start, answered, number, size = time.perf_counter(), 0, 0, len(packets)
        for _ in range(WINDOW):
            sock.send(packets[number % size])
            number += 1
        while time.perf_counter() - start < seconds and number < size * 1000:
            for _ in range(WINDOW):
                sock.recv(4096)
                answered += 1
                sock.send(packets[number % size])
                number += 1
        return answered, time.perf_counter() - start


def measure(title: str, server: Callable[[socket.socket, Connection], None], seconds: float) -> None:
    for kind in ("same", "fresh", "unknown"):
        packets = list(itertools.islice(questions(kind), 50 if kind == "same" else 60000))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.Process(target=server, args=(sock, theirs))
            process.start()
            assert ours.recv() == "ready"
            ours.send("cpu")
            before = ours.recv()
            answered, took = ask(sock.getsockname()[1], packets, seconds)
            ours.send("cpu")
            used = ours.recv() - before
            ours.send("stop")
            process.join()
        per_cpu, per_wall = answered / used / 1000, answered / took / 1000
        print(f"{title:8} {kind:8} {per_cpu:8.1f} k/s of server CPU {per_wall:8.1f} k/s of wall clock")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    measure("gureum", gureum_server, arguments.seconds)
    measure("dnslib", dnslib_server, arguments.seconds)


if __name__ == "__main__":
    main()
