"""An ALB's proxy beside the same HAProxy configured by hand, beside Traefik and Caddy, and beside no proxy at all, in one run; then how fast its
changes are served.

    sudo .venv/bin/python -m bench.proxies [--seconds 2] [--rounds 3]

Everything runs in a network namespace of its own, on loopback: two targets (HAProxy answering by itself, the fastest server at hand), the proxy,
and wrk with 64 kept-alive connections. Proxies take turns, so that what else the machine does hits all; a ratio is the median over the rounds.

    by hand         frontend, backend, two servers
    by hand, equal  what somebody would write who wants the same: X-Forwarded-For, -Proto, -Port, a trace id of AWS's form where none came, names
                    of headers spelled as AWS spells them, a map of rules, and a line with the same fields to the same sort of socket, which
                    is read as ours is and thrown away (with the queue that the host gives, a third to a half of the lines would be lost)
    ALB             what gureum runs: all of AWS's headers, checks, error pages, its lines counted for metrics as the agent does
    ALB, log        and each line made a record and a line of AWS's access log, as where a load balancer's attributes ask for it
    ALB, 100 rules  the same with a hundred rules of two conditions before the one that matches

"CPU" is what the proxy's own process used for a request, which others on the cores change less than its rate; "reader", what it took us to read its
lines (and to write them, where there is a log); "wrk" and "targets", what client and servers used. All in µs a request: on two cores that do nothing
else, their sum is what a request takes. "told" is how many lines came for each request that wrk counted.
    Traefik, Caddy  with their access logs (a file, Traefik's buffered); where .venv-bench has them (requirements-bench.lock)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from gureum.core.access_log_lines import RequestLines, request_line
from gureum.core.request_sums import RequestSums
from gureum.drivers.haproxy.config import LOG_SOCKET
from gureum.drivers.haproxy.headers import SPELLINGS
from gureum.drivers.haproxy.log_format import HEAD, HTTP_FIELDS
from gureum.drivers.haproxy.log_reader import LogReader
from gureum.drivers.haproxy.process import ProxyFolder, uid_of
from gureum.drivers.haproxy.proxies import HaproxyProxies
from gureum.ports.proxies import (
    Condition,
    FixedResponse,
    Forward,
    Group,
    Listener,
    ProxySpec,
    Record,
    Request,
    Rule,
    Server,
    Tally,
)
from tests.machine.proxy_host import ADDRESS, ProxyHost, proxy_host

PEERS = Path(os.environ.get("BENCH_PEERS", Path(__file__).parents[1] / ".venv-bench" / "bin"))
TARGETS = tuple(Server(f"10.9.0.{n}:80", f"10.9.0.{n}", 80, up=True) for n in (21, 22))
SAME_FIELDS = "\\t".join(
    field for field in (" ".join(HEAD[:-1]), *HTTP_FIELDS) if "var(" not in field
)  # those that are not for rules
LAST_LINES_S = 0.05
"""Lines gather for a moment before they are read."""
LIMITS = "global\n  maxconn 2000\n  nbthread 2\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 10s\n"


def backend_config() -> str:
    answer = '  http-request return status 200 content-type text/plain string "hello from a target"\n'
    return LIMITS + "frontend t\n" + "".join(f"  bind {one.address}:80\n" for one in TARGETS) + answer


def hand_config(port: int, log: str = "", rules: str = "") -> str:
    """`rules`: a map's file. What somebody writes who knows HAProxy and wants the same: a trace that came is kept, a rule is found by a map, health
    is looked at by somebody else."""
    trace = "X-Amzn-Trace-Id"
    logging = f"""  log unix@{log} format raw local0
  log-format "{SAME_FIELDS}"
  capture request header User-Agent len 1024
  capture request header Host len 256
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Port {port}
  unique-id-format 1-%{{+X}}Ts-%[uuid(),bytes(24,12)]%[uuid(),bytes(24,12)]
  http-request set-header {trace} Root=%[unique-id] if !{{ req.hdr({trace}) -m found }}
  use_backend %[path,map_beg({rules},b)]
"""
    servers = "".join(f"  server s{n} {one.address}:80\n" for n, one in enumerate(TARGETS))
    spelled = "global\n" + "".join(f"  h1-case-adjust {name.lower()} {name}\n" for name in SPELLINGS)
    if not log:
        return f"{LIMITS}frontend f\n  bind {ADDRESS}:{port}\n  default_backend b\nbackend b\n{servers}"
    front = f"frontend f\n  bind {ADDRESS}:{port}\n{logging}  default_backend b\n"
    return f"{spelled}{LIMITS}{front}backend b\n  option h1-case-adjust-bogus-server\n{servers}"


def traefik(folder: Path, port: int) -> list[str]:
    servers = "".join(f"        - url: http://{one.address}:80\n" for one in TARGETS)
    (folder / "routes.yml").write_text(
        "http:\n  routers:\n    all:\n      rule: PathPrefix(`/`)\n      service: targets\n"
        f"  services:\n    targets:\n      loadBalancer:\n        servers:\n{servers}"
    )
    return [
        *(str(PEERS / "traefik"), f"--entrypoints.web.address={ADDRESS}:{port}", "--log.level=ERROR"),
        *("--global.checknewversion=false", "--global.sendanonymoususage=false"),
        *(f"--providers.file.filename={folder}/routes.yml", "--accesslog=true", "--accesslog.bufferingsize=1000"),
        f"--accesslog.filepath={folder}/traefik.log",
    ]


def caddy(folder: Path, port: int) -> list[str]:
    targets = " ".join(f"{one.address}:80" for one in TARGETS)
    (folder / "Caddyfile").write_text(
        "{\n  admin off\n  auto_https off\n  persist_config off\n}\n"
        f"http://:{port} {{\n  bind {ADDRESS}\n  reverse_proxy {targets}\n  log {{\n    output file {folder}/caddy.log\n  }}\n}}\n"
    )
    return [str(PEERS / "caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@contextlib.contextmanager
def running(host: ProxyHost, folder: Path, command: list[str], port: int) -> Iterator[int]:
    """In the network of all, with a home in `folder`; answers when it is here."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with open(folder / "peers.log", "ab") as said:
        process = subprocess.Popen(
            ["nsenter", f"--net={host.net}", *command],
            start_new_session=True,
            env=environment,
            cwd=folder,
            stdout=said,
            stderr=said,
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                host.connect(port).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "peers.log").read_text()[-2000:])
            time.sleep(0.05)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def haproxy(host: ProxyHost, folder: Path, name: str, config: str) -> Iterator[int]:
    path = folder / f"{name}.cfg"
    path.write_text(config)
    command = ["nsenter", f"--net={host.net}", "haproxy", "-db", "-q", "-f", str(path)]
    # In a session of its own as gureum's: the kernel's scheduler shares cores among sessions (autogroup).
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def log_by_hand(host: ProxyHost, run_dir: Path) -> tuple[Path, socket.socket]:
    """A socket like those of our proxies' logs, and where it is."""
    folder = ProxyFolder(host.home_id, run_dir, "by-hand")
    folder.work.mkdir(parents=True)
    return folder.work / LOG_SOCKET, folder.log_socket(host.net)


def wrk(host: ProxyHost, address: str, port: int, seconds: float) -> tuple[float, float, int]:
    """(requests a second, 99th percentile in ms, requests)."""
    command = [
        "nsenter",
        f"--net={host.net}",
        "wrk",
        "-t1",
        "-c64",
        f"-d{seconds:.0f}s",
        "--latency",
        f"http://{address}:{port}/x",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 20).stdout
    errors = re.search(r"(Non-2xx.*|Socket errors.*)", said)
    if errors:
        print(f"  !! {errors[1]}")
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    requests = re.search(r"(\d+) requests in", said)
    assert rate
    assert p99
    assert requests
    return float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]], int(requests[1])


def listener(port: int, rules: int = 0) -> Listener:
    conditions = [
        (Condition("path-pattern", (f"/service-{n}/*",)), Condition("host-header", (f"s{n}.example.com",)))
        for n in range(rules)
    ]
    some = tuple(Rule(n + 1, FixedResponse(200), pair) for n, pair in enumerate(conditions))
    return Listener(port, "HTTP", f"arn:{port}", (*some, Rule(0, Forward((("tg-a", 1),)))))


def spec(host: ProxyHost, *listeners: Listener, servers: tuple[Server, ...] = TARGETS, **more: object) -> ProxySpec:
    return host.spec(*listeners, groups=(Group("tg-a", "arn", "HTTP", servers=servers),), **more)


async def throughput(
    host: ProxyHost,
    proxies: HaproxyProxies,
    peers: dict[str, tuple[int, int]],
    thrown_away: socket.socket,
    targets: int,
    seconds: float,
    rounds: int,
) -> None:
    """`peers`: port and process by name. `thrown_away`: where the log of the one by hand comes in. `targets`: their process."""
    await proxies.ensure(spec(host, listener(80), listener(81, 100)))
    logging = {"access_logs.s3.enabled": "true"}
    logged = msgspec.structs.replace(spec(host, listener(82), listener(83, 100), attributes=logging), name="node-2")
    await proxies.ensure(logged)
    sums, told, written = RequestSums(machine=None, failing_over={}), 0, 0  # type: ignore[arg-type]

    label = "app/my-lb/50dc6c495c0c9188"
    lines = RequestLines(label)

    def write(batch: Sequence[Record | Request]) -> None:
        nonlocal written
        written += sum(
            1 for one in batch if (lines.line(one) if isinstance(one, Request) else request_line(one, label))
        )

    def throw_away(lines: list[bytes]) -> None:
        nonlocal told
        told += len(lines)

    def count(some: list[Tally]) -> None:
        nonlocal told
        sums.add(some)
        told += sum(one.count for one in some)

    stops = [
        proxies.subscribe(write, lambda one: one.attributes == logging),
        proxies.tally(count),
        LogReader(asyncio.get_running_loop(), thrown_away, throw_away).close,
    ]
    ours = {name: _worker(host, name) for name in ("node-1", "node-2")}
    asks = {
        "direct": (TARGETS[0].address, 80, 0),
        **{name: (ADDRESS, *peers.pop(name)) for name in ("by hand", "by hand, equal")},
        "ALB": (ADDRESS, 80, ours["node-1"]),
        "ALB, 100 rules": (ADDRESS, 81, ours["node-1"]),
        "ALB, log": (ADDRESS, 82, ours["node-2"]),
        "ALB, log, 100": (ADDRESS, 83, ours["node-2"]),
        **{name: (ADDRESS, *peer) for name, peer in peers.items()},
    }
    seen: dict[str, Figures] = {name: [] for name in asks}
    for turn in range(rounds):
        for name in list(asks) if turn % 2 == 0 else reversed(asks):
            address, port, pid = asks[name]
            before, told = (cpu_s(pid), time.thread_time(), client_s(), cpu_s(targets)), 0
            rate, p99, requests = await asyncio.to_thread(wrk, host, address, port, seconds)
            await asyncio.sleep(LAST_LINES_S)
            after = cpu_s(pid), time.thread_time(), client_s(), cpu_s(targets)
            used = [now - then for now, then in zip(after, before, strict=True)]
            seen[name].append((rate, p99, *(one / requests * 1e6 for one in used), told / requests))
    for stop in stops:
        stop()
    print(
        f"\n{'':16} requests/s   p99 ms   CPU µs   reader   wrk  targets   told    of direct   of by hand   of equal   CPU of equal"
    )
    for name, figures in seen.items():
        rates = [ratio(figures, seen[other], 0) for other in ("direct", "by hand", "by hand, equal")]
        rate, p99, cpu, reader, client, target, lines_told = (
            statistics.median(column) for column in zip(*figures, strict=True)
        )
        cost = ratio(figures, seen["by hand, equal"], 2)
        shares = f"{rates[0]:11.2f} {rates[1]:12.2f} {rates[2]:10.2f} {cost:14.2f}"
        print(
            f"{name:16} {rate:10.0f} {p99:8.2f} {cpu:8.1f} {reader:8.1f} {client:5.1f} {target:8.1f} {lines_told:6.2f} {shares}"
        )
    print(f"requests counted: {sum(one.requests for one in sums.take())}, lines written: {written}")


Figures = list[tuple[float, ...]]


def ratio(figures: Figures, others: Figures, column: int) -> float:
    """The median over the rounds."""
    return statistics.median(one[column] / max(other[column], 1e-9) for one, other in zip(figures, others, strict=True))


def cpu_s(pid: int) -> float:
    """Of all threads of a process; 0 of none."""
    found = Path(f"/proc/{pid}/task").glob("*/schedstat") if pid else ()
    return sum(int(path.read_text().split()[0]) for path in found) / 1e9


def client_s() -> float:
    """CPU of clients that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _worker(host: ProxyHost, name: str) -> int:
    """The process of a proxy that serves: its master's child."""
    uid = str(uid_of(host.home_id, name))
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = dict(line.split(":\t", 1) for line in (path / "status").read_text().splitlines() if ":\t" in line)
            of = words["Uid"].split()[0], Path(f"/proc/{words['PPid']}/status").read_text()
            if of[0] == uid and f"Uid:\t{uid}" in of[1]:
                return int(path.name)
    raise RuntimeError(f"{name} has no worker")


async def served(look: Callable[[], bool]) -> float:
    """When it was seen first."""
    while not await asyncio.to_thread(look):
        pass
    return time.perf_counter()


async def changes(host: ProxyHost, proxies: HaproxyProxies, count: int = 15) -> None:
    """From the call to the first answer that shows the change, with 200 servers and 100 rules."""
    many = tuple(Server(f"t{n}", "10.9.0.21", 1000 + n, up=False) for n in range(200))
    one, two = TARGETS
    certificate = host.certificate("one.example.com")
    times: dict[str, list[float]] = {
        "a server is added": [],
        "a server is taken out": [],
        "a rule is changed": [],
        "a certificate is added": [],
    }

    def wish(
        server: Server, text: str = "0", names: tuple[str, ...] = (), certificates: tuple[object, ...] = ()
    ) -> ProxySpec:
        rule = Rule(50000, FixedResponse(200, "text/plain", text), (Condition("path-pattern", ("/rule",)),))
        plain = listener(80, 100)
        tls = Listener(443, "HTTPS", "arn", (Rule(0, FixedResponse(200)),), (certificate.name, *names))
        changed = Listener(80, "HTTP", "arn", (*plain.rules[:-1], rule, plain.rules[-1]))
        return spec(host, changed, tls, servers=(*many, server), certificates=(certificate, *certificates))

    await proxies.ensure(wish(one))
    for turn in range(count):
        start = time.perf_counter()
        await proxies.ensure(wish(two if turn % 2 == 0 else one))
        times["a server is added"].append(await served(lambda: host.get().status == 200) - start)
        server = two if turn % 2 == 0 else one
        start = time.perf_counter()
        await proxies.ensure(wish(Server(server.name, server.address, 80)))
        times["a server is taken out"].append(await served(lambda: host.get().status == 503) - start)
        text = str(turn + 1)
        start = time.perf_counter()
        await proxies.ensure(wish(server, text))
        times["a rule is changed"].append(
            await served(lambda text=text: host.get("/rule").body == text.encode()) - start
        )  # type: ignore[misc]
        more = host.certificate(f"more{turn}.example.com")
        start = time.perf_counter()
        await proxies.ensure(wish(server, text, (more.name,), (more,)))
        name = f"more{turn}.example.com"
        times["a certificate is added"].append(await served(lambda name=name: host.shown_name(name) == name) - start)  # type: ignore[misc]
        await proxies.ensure(wish(server, "0"))
    print(f"\n{'with 200 servers and 100 rules':32} median ms   p95 ms")
    for what, figures in times.items():
        ordered = sorted(figures)
        print(f"{what:32} {statistics.median(ordered) * 1000:9.1f} {ordered[int(len(ordered) * 0.95)] * 1000:8.1f}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("needs root")
        return 1
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        proxy_host(Path(temporary)) as host,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(temporary)
        targets = stack.enter_context(haproxy(host, folder, "targets", backend_config()))
        log, thrown_away = log_by_hand(host, folder / "hand")
        (folder / "rules").write_text("/service-1/ b\n")
        equal = hand_config(8002, str(log), str(folder / "rules"))
        peers = {
            "by hand": (8001, stack.enter_context(haproxy(host, folder, "hand", hand_config(8001)))),
            "by hand, equal": (8002, stack.enter_context(haproxy(host, folder, "hand-log", equal))),
        }
        for port, (name, command) in enumerate({"Traefik": traefik, "Caddy": caddy}.items(), 8003):
            if (PEERS / name.lower()).exists():
                peers[name] = (port, stack.enter_context(running(host, folder, command(folder, port), port)))
            else:
                print(f"SKIPPED: {name} is not in {PEERS} (requirements-bench.lock)")

        async def story() -> None:
            proxies = host.driver()
            try:
                seconds, rounds = min(arguments.seconds, 10), min(arguments.rounds, 20)
                await throughput(host, proxies, peers, thrown_away, targets, seconds, rounds)
                await changes(host, proxies)
            finally:
                await proxies.close()

        asyncio.run(story())
    return 0


if __name__ == "__main__":
    sys.exit(main())
