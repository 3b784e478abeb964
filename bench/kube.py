"""The Kubernetes API of a simulated gureum with its real store: start, memory, creates, lists, watches, a deployment.

    python -m bench.kube [--pods 1000] [--list 2000] [--watchers 100] [--replicas 500]

One raw client (asyncio, kept connections, HTTP/1.1 over TLS, JSON), the method by which kube-apiserver 1.36 with etcd was measured on the same
machine; its figures stand beside ours. Memory is the whole daemon's, with everything else that gureum serves. CPU is the daemon's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HZ = os.sysconf("SC_CLK_TCK")
PODS = "/api/v1/namespaces/default/pods"
APPS = "/apis/apps/v1/namespaces/default"


class Connection:
    """One kept connection."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self._reader: Any = None
        self._writer: Any = None

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, limit=64 << 20
        )

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        if self._writer is None:
            await self.open()
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: k\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        status, length = await self._head()
        return status, await self._reader.readexactly(length)

    async def watch(self, path: str) -> Any:
        """Lines of a watch."""
        await self.open()
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: k\r\n\r\n".encode())
        await self._head()
        rest = b""
        while True:
            size = int((await self._reader.readline()).strip() or b"0", 16)
            if not size:
                return
            rest += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
            *lines, rest = rest.split(b"\n")
            for line in lines:
                yield line

    async def _head(self) -> tuple[int, int]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return int(head.split()[1]), length

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Gureum:
    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        # Without compiled files, which some development machines forbid, every start would compile all anew.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._environment = {**kept, "GUREUM_HOME": str(self.home), "GUREUM_SIMULATE": "true"}

    def command(self, *words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "gureum.cli.main", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def start(self) -> float:
        """Seconds from the command to the first list of namespaces."""
        started = time.monotonic()
        self.command("up")
        path = self.home / "kube" / "kubeconfig"
        while not path.exists():
            time.sleep(0.005)
        self.context = ssl.create_default_context(cafile=str(self.home / "kube/pki/ca.crt"))
        self.context.load_cert_chain(self.home / "kube/pki/admin.pem")
        self.port = json.loads((self.home / "identity.json").read_text())["kube_port"]
        status, _ = asyncio.run(self.once("GET", "/api/v1/namespaces"))
        assert status == 200
        elapsed = time.monotonic() - started
        supervisor = json.loads(self.command("status", "--json"))["supervisor"]
        self.pid = next(one["pid"] for one in supervisor["processes"] if one["name"] == "daemon")
        return elapsed

    async def once(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = Connection(self.port, self.context)
        try:
            return await connection.call(method, path, body)
        finally:
            connection.close()

    def connection(self) -> Connection:
        return Connection(self.port, self.context)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / HZ

    def memory_mib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def pod(name: str) -> dict[str, Any]:
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    container = {
        "name": "c",
        "image": "registry.example/app:1",
        "resources": resources,
        "ports": [{"containerPort": 80}],
    }
    return {"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": {"containers": [container]}}


async def creates(cloud: Gureum, clients: int, count: int, prefix: str) -> None:
    names = iter(range(count))
    times: list[float] = []

    async def client() -> None:
        connection = cloud.connection()
        await connection.open()
        for number in names:
            begun = time.monotonic()
            status, answer = await connection.call("POST", PODS, pod(f"{prefix}-{number}"))
            assert status == 201, answer
            times.append(time.monotonic() - begun)
        connection.close()

    cpu, begun = cloud.cpu_s(), time.monotonic()
    await asyncio.gather(*(client() for _ in range(clients)))
    elapsed, cpu = time.monotonic() - begun, cloud.cpu_s() - cpu
    print(
        f"create pod, {clients:2} clients        {count / elapsed:8.0f}/s   p50 {statistics.median(times) * 1000:5.1f} ms   "
        f"CPU {cpu / count * 1000:5.2f} ms each"
    )


async def lists(cloud: Gureum, size: int) -> None:
    connection = cloud.connection()
    times, length = [], 0
    cpu = cloud.cpu_s()
    for _ in range(10):
        begun = time.monotonic()
        _, body = await connection.call("GET", f"{PODS}?limit={size}")
        times.append(time.monotonic() - begun)
        length = len(body)
    found = len(json.loads(body)["items"])
    print(
        f"list of {found} pods ({length / 1e6:.1f} MB)  p50 {statistics.median(times) * 1000:5.1f} ms   "
        f"CPU {(cloud.cpu_s() - cpu) / 10 * 1000:5.1f} ms each"
    )
    connection.close()


async def fan_out(cloud: Gureum, watchers: int, writes: int = 40) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    revision = json.loads((await cloud.once("GET", path))[1])["metadata"]["resourceVersion"]
    seen: dict[str, list[float]] = {}
    ready = asyncio.Semaphore(0)

    async def watcher() -> None:
        connection = cloud.connection()
        count = 0
        ready.release()
        async for line in connection.watch(f"{path}?watch=1&resourceVersion={revision}"):
            now = time.monotonic()
            seen.setdefault(json.loads(line)["object"]["metadata"]["name"], []).append(now)
            count += 1
            if count == writes:
                break
        connection.close()

    tasks = [asyncio.create_task(watcher()) for _ in range(watchers)]
    for _ in range(watchers):
        await ready.acquire()
    await asyncio.sleep(1)
    connection = cloud.connection()
    began: dict[str, float] = {}
    cpu = cloud.cpu_s()
    for number in range(writes):
        name = f"fan-{watchers}-{number}"
        began[name] = time.monotonic()
        await connection.call("POST", path, {"metadata": {"name": name}})
        await asyncio.sleep(0.05)
    await asyncio.wait_for(asyncio.gather(*tasks), 30)
    last = [max(times) - began[name] for name, times in seen.items()]
    middle = [statistics.median(times) - began[name] for name, times in seen.items()]
    print(
        f"write to seen, {watchers:3} watchers  median watcher p50 {statistics.median(middle) * 1000:5.1f} ms   last of all p50 "
        f"{statistics.median(last) * 1000:5.1f} ms   CPU {(cloud.cpu_s() - cpu) / writes * 1000:5.1f} ms a write"
    )
    connection.close()


async def deployment(cloud: Gureum, replicas: int) -> None:
    labels = {"app": "deployed"}
    template = {"metadata": {"labels": labels}, "spec": pod("x")["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    connection = cloud.connection()
    revision = json.loads((await connection.call("GET", f"{PODS}?limit=1"))[1])["metadata"]["resourceVersion"]
    watch = cloud.connection()
    events = watch.watch(f"{PODS}?watch=1&resourceVersion={revision}&labelSelector=app%3Ddeployed")
    cpu, begun, first, count = cloud.cpu_s(), time.monotonic(), 0.0, 0
    await connection.call("POST", f"{APPS}/deployments", {"metadata": {"name": "deployed"}, "spec": spec})
    async for line in events:
        count += json.loads(line)["type"] == "ADDED"
        first = first or time.monotonic() - begun
        if count == replicas:
            break
    elapsed = time.monotonic() - begun
    print(
        f"deployment of {replicas} to all pod objects  {elapsed:6.2f} s   first {first * 1000:5.1f} ms   CPU {cloud.cpu_s() - cpu:5.2f} s"
    )
    watch.close()
    connection.close()


async def emptied(connection: Connection) -> None:
    """Without deployments and pods: those that wait would be placed beside what is measured."""
    await connection.call("DELETE", f"{APPS}/deployments")
    while json.loads((await connection.call("GET", f"{PODS}?limit=1"))[1])["items"]:
        await connection.call("DELETE", PODS)
        await asyncio.sleep(0.5)


async def binds(cloud: Gureum, nodes: int, pods: int) -> None:
    """A deployment's pods, until each has its node."""
    connection = cloud.connection()
    await emptied(connection)
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    ready = [{"type": "Ready", "status": "True"}]
    for number in range(nodes):
        name = f"node-{number}"
        status = {"capacity": capacity, "allocatable": capacity, "conditions": ready}
        await connection.call("POST", "/api/v1/nodes", {"metadata": {"name": name}, "status": status})
    revision = json.loads((await connection.call("GET", f"{PODS}?limit=1"))[1])["metadata"]["resourceVersion"]
    watch = cloud.connection()
    events = watch.watch(f"{PODS}?watch=1&resourceVersion={revision}&labelSelector=app%3Dbound")
    labels = {"app": "bound"}
    template = {"metadata": {"labels": labels}, "spec": pod("x")["spec"]}
    spec = {"replicas": pods, "selector": {"matchLabels": labels}, "template": template}
    cpu, begun, placed = cloud.cpu_s(), time.monotonic(), set()
    await connection.call("POST", f"{APPS}/deployments", {"metadata": {"name": "bound"}, "spec": spec})
    async for line in events:
        event = json.loads(line)
        if event["object"]["spec"].get("nodeName"):
            placed.add(event["object"]["metadata"]["name"])
            if len(placed) == pods:
                break
    elapsed, cpu = time.monotonic() - begun, cloud.cpu_s() - cpu
    print(
        f"deployment of {pods} to all bound on {nodes} nodes {elapsed:6.2f} s   {pods / elapsed:5.0f}/s with their making   "
        f"CPU {cpu / pods * 1000:5.2f} ms each"
    )
    watch.close()
    connection.close()


async def measure(cloud: Gureum, options: argparse.Namespace) -> None:
    await creates(cloud, 1, options.pods // 2, "one")
    await creates(cloud, 16, options.pods, "many")
    left = options.list - options.pods - options.pods // 2
    if left > 0:
        await creates(cloud, 16, left, "more")
    print(f"memory with {max(options.list, options.pods)} pods     {cloud.memory_mib():8.1f} MiB")
    await lists(cloud, options.list)
    await fan_out(cloud, 1)
    await fan_out(cloud, options.watchers)
    await deployment(cloud, options.replicas)
    await binds(cloud, options.nodes, options.bound)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--list", type=int, default=2000)
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=500)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--bound", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gureum-bench-") as folder:
        cloud = Gureum(Path(folder))
        try:
            print(
                "kube-apiserver 1.36 + etcd + controllers, the same machine and method: ready 2.4-3.6 s; 490 MiB idle; creates 113-163/s"
            )
            print(
                "with one client, 508-752/s with 16; list of 2,000 pods 212 ms; 100 watchers 6.8-9.4 ms; 500 replicas 0.5-0.9 s, 24 s by default"
            )
            print(f"start to first list of namespaces  {cloud.start():6.2f} s")
            cpu = cloud.cpu_s()
            time.sleep(5)
            print(f"idle: memory {cloud.memory_mib():6.1f} MiB   CPU {(cloud.cpu_s() - cpu) / 5 * 100:.1f} % of a core")
            asyncio.run(measure(cloud, options))
        finally:
            cloud.command("down", "--purge")


if __name__ == "__main__":
    main()
