"""Requests a second that the instance metadata service answers, beside uvicorn with a plain ASGI application.

    python bench/imds.py [--seconds 2] [--connections 8]

Server and client are one process each on loopback; the client sends the same GET on kept connections. The figure that counts is
requests per second of the *server's* CPU time; those of the wall clock stand beside it. "v1" without, "v2" with a
token; uvicorn (the same parser, httptools, and the same loop) answers three constant bytes and checks nothing. Last:
memory for idle networks and connections.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from gureum.drivers.imds.server import Imds, Limits
from gureum.drivers.keys.local_ca import LocalCa
from gureum.ports.metadata import InstanceMetadata, MetadataOptions

NO_LIMITS = Limits(rate=1e12, burst=1e12, connections_per_guest=100_000, connections=100_000)


class WallClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def new_imds(folder: str) -> Imds:
    clock = WallClock()
    made = Imds(Path(folder) / "imds.key", LocalCa(Path(folder) / "ca", clock), clock, limits=NO_LIMITS)
    tree = {"meta-data/instance-id": "i-1", **{f"meta-data/x{n}": "x" * 40 for n in range(60)}}
    made.replace(InstanceMetadata("i-1", "vpc-1", ("127.0.0.1",), tree, MetadataOptions(hop_limit=64)))
    return made


def imds_server(sock: socket.socket, ready: Connection) -> None:
    async def body() -> None:
        with tempfile.TemporaryDirectory() as folder:
            imds = new_imds(folder)
            await imds.serve("vpc-1", [sock])
            await until_told(ready)
            await imds.close()

    uvloop.run(body())


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"i-1"})


def uvicorn_server(sock: socket.socket, ready: Connection) -> None:
    async def body() -> None:
        config = uvicorn.Config(application, log_level="error", access_log=False, lifespan="off", http="httptools")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        await until_told(ready)
        server.should_exit = True
        await task

    uvloop.run(body())


async def until_told(ready: Connection) -> None:
    ready.send("ready")
    while await asyncio.to_thread(ready.recv) == "cpu":
        ready.send(time.process_time())


def ask(port: int, request: bytes, connections: int, seconds: float) -> tuple[int, float]:
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    start, answered = time.perf_counter(), 0
    for client in clients:
        client.sendall(request)
    while time.perf_counter() - start < seconds:
        for client in clients:
            while not client.recv(65536).endswith(b"i-1"):  # uvicorn writes head and body apart
                pass
            client.sendall(request)
        answered += connections
    took = time.perf_counter() - start
    for client in clients:
        client.close()
    return answered, took


def measure(
    title: str, server: Callable[[socket.socket, Connection], None], *, token: bool, options: argparse.Namespace
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=server, args=(sock, theirs))
        process.start()
        assert ours.recv() == "ready"
        port = sock.getsockname()[1]
        header = b""
        if token:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(
                    b"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 600\r\n\r\n"
                )
                header = b"X-aws-ec2-metadata-token: " + client.recv(4096)[-56:] + b"\r\n"
        request = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n" + header + b"\r\n"
        ours.send("cpu")
        before = ours.recv()
        answered, took = ask(port, request, options.connections, options.seconds)
        ours.send("cpu")
        used = ours.recv() - before
        ours.send("stop")
        process.join()
    print(f"{title:12} {answered / used / 1000:7.1f} k/s of server CPU {answered / took / 1000:7.1f} k/s of wall clock")


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // 1024


def memory() -> None:
    async def body() -> None:
        with tempfile.TemporaryDirectory() as folder:
            imds = new_imds(folder)
            start = resident_kib()
            sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(60)]
            for number, sock in enumerate(sockets):
                await imds.serve(f"vpc-{number}", [sock])
            served = resident_kib()
            tree = {f"meta-data/x{n}": "x" * 40 for n in range(60)}
            for number in range(1000):
                address = f"10.0.{number // 250}.{number % 250}"
                imds.replace(InstanceMetadata(f"i-{number}", "vpc-1", (address,), dict(tree)))
            filled = resident_kib()
            port = sockets[0].getsockname()[1]
            clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
            before = resident_kib()
            clients += [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
            each = (resident_kib() - before) / 200
            print(
                f"memory: 60 networks {served - start} KiB, 1,000 instances {filled - served} KiB, "
                f"a connection (both ends) {each:.1f} KiB"
            )
            for _, writer in clients:
                writer.close()
            await imds.close()

    uvloop.run(body())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    measure("imds v1", imds_server, token=False, options=options)
    measure("imds v2", imds_server, token=True, options=options)
    measure("uvicorn", uvicorn_server, token=False, options=options)
    memory()


if __name__ == "__main__":
    main()
