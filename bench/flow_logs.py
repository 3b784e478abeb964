"""New connections per second between two machines, with and without somebody who counts their flows, in one run. Needs root, wrk and HAProxy.

    sudo .venv/bin/python -m bench.flow_logs [--seconds 3] [--rounds 5]

The client is wrk with 32 connections, each request a connection of its own; the server is HAProxy answering by itself. The reader runs in this
process, as in the agent, and collects when the turn is over. Turns alternate; ratios are medians over the rounds. "told": packets in records,
of those that the server's link counted. CPU is that of wrk and HAProxy, in which the kernel's work for their packets is counted too (nearly all of it
runs in their time), and that of the reader: per connection it tells much the same whatever else the machine does, connections per second do not.
Nothing reaches beyond the namespaces made here; all is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from gureum.drivers.flows.readers import NetlinkFlows
from gureum.ports.firewalls import Rule
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, Cloud, cloud

AIM = 0.95
SERVER = """global
  maxconn 4000
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend web
  bind 10.0.1.10:80
  http-request return status 200 content-type text/plain string ok
"""


def inside(one: Cloud, machine: str, *command: str) -> tuple[str, ...]:
    return ("nsenter", f"--net={one.names.sandbox(machine)}", "--", *command)


async def connections(one: Cloud, seconds: int) -> tuple[int, float]:
    """(answered requests, per second)."""
    command = ("wrk", "-t1", "-c32", f"-d{seconds}", "-H", "Connection: close", "http://10.0.1.10/")
    wrk = await asyncio.create_subprocess_exec(*inside(one, "a", *command), stdout=asyncio.subprocess.PIPE)
    text = (await wrk.communicate())[0].decode()
    total, rate = re.search(r"(\d+) requests in", text), re.search(r"Requests/sec:\s*([\d.]+)", text)
    assert total is not None, text
    assert rate is not None, text
    return int(total[1]), float(rate[1])


def cpu_s(who: int = resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def ends_cpu_s(server: int) -> float:
    """Of all wrks that have ended, and of the server so far."""
    tasks = Path(f"/proc/{server}/task").iterdir()
    return cpu_s(resource.RUSAGE_CHILDREN) + sum(int((one / "schedstat").read_text().split()[0]) for one in tasks) / 1e9


class Turn(NamedTuple):
    """`ends_us`, `reader_us`: CPU per connection. `told`: of the packets that passed. `skipped`: the kernel dropped events."""

    rate: float
    ends_us: float
    reader_us: float = 0.0
    told: float = 0.0
    skipped: bool = False


async def unwatched(one: Cloud, server: int, seconds: int) -> Turn:
    before = ends_cpu_s(server)
    total, rate = await connections(one, seconds)
    return Turn(rate, (ends_cpu_s(server) - before) / total * 1e6)


async def watched(one: Cloud, flows: NetlinkFlows, server: int, seconds: int) -> Turn:
    await flows.watch("blue", frozenset({"a", "b"}))
    await flows.collect()
    before, ends, link = cpu_s(), ends_cpu_s(server), (await one.networks.counters())["b"].in_packets
    total, rate = await connections(one, seconds)
    collected = await flows.collect()
    used, ends_used = cpu_s() - before, ends_cpu_s(server) - ends
    passed = (await one.networks.counters())["b"].in_packets - link
    await flows.watch("blue", frozenset())
    told = sum(flow.packets for flow in collected.flows if flow.interface == "b" and flow.direction == "ingress")
    return Turn(rate, ends_used / total * 1e6, used / total * 1e6, told / passed, bool(collected.skipped))


async def measure(seconds: int, rounds: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        async with cloud(Path(folder)) as one:
            await one.network("blue")
            await one.group("blue", "web", OUT_ALL, Rule("in", "tcp", (80, 80), cidr=ANYWHERE))
            await one.machine("a", "blue", "10.0.0.10", "web")
            await one.machine("b", "blue", "10.0.1.10", "web")
            config = Path(folder) / "server.cfg"
            config.write_text(SERVER)
            server = await asyncio.create_subprocess_exec(*inside(one, "b", "haproxy", "-f", str(config), "-db"))
            flows = NetlinkFlows(one.home_id, one.run_dir, one.firewalls)
            try:
                return await _rounds(one, flows, server.pid, seconds, rounds)
            finally:
                await flows.close()
                server.terminate()
                await server.wait()


async def _rounds(one: Cloud, flows: NetlinkFlows, server: int, seconds: int, rounds: int) -> bool:
    await asyncio.sleep(0.5)
    await connections(one, 1)
    rates, costs = [], []
    for number in range(rounds):
        bare, told = await unwatched(one, server, seconds), await watched(one, flows, server, seconds)
        rates.append(told.rate / bare.rate)
        costs.append((told.ends_us + told.reader_us) / bare.ends_us)
        print(
            f"round {number + 1}: {bare.rate:,.0f}/s unwatched, {told.rate:,.0f}/s watched ({rates[-1]:.2f}); CPU per connection: "
            f"ends {bare.ends_us:.0f} and {told.ends_us:.0f} us, reader {told.reader_us:.0f} us ({costs[-1]:.2f}); "
            f"told {told.told:.2%}{', SKIPPED' if told.skipped else ''}",
            flush=True,
        )
    middle = statistics.median(rates)
    print(
        f"watched to unwatched: connections {middle:.2f} (aim {AIM}), CPU {statistics.median(costs):.2f}, load {os.getloadavg()[0]:.1f}"
    )
    return middle >= AIM


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    words.add_argument("--seconds", type=int, default=3)
    words.add_argument("--rounds", type=int, default=5)
    given = words.parse_args()
    return 0 if asyncio.run(measure(given.seconds, given.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
