"""New connections per second between two machines, with and without somebody who counts their flows, in one run. Needs root, wrk and HAProxy.

    sudo .venv/bin/python -m bench.flow_logs [--seconds 3] [--rounds 5]

The client is wrk with 32 connections, each request a connection of its own; the server is HAProxy answering by itself. The reader runs in this
process, as in the agent, and collects when the turn is over. Turns alternate; the ratio is the median over the rounds. "told": packets in records,
of those that the server's link counted. Nothing reaches beyond the namespaces made here; all is removed.
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

from gureum.drivers.flow_readers import NetlinkFlows
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


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def watched(one: Cloud, flows: NetlinkFlows, seconds: int) -> tuple[float, float, float, bool]:
    """Connections per second, told of passed, microseconds of the reader per flow, and whether the kernel dropped any."""
    await flows.watch("blue", frozenset({"a", "b"}))
    await flows.collect()
    before, link = cpu_s(), (await one.networks.counters())["b"].in_packets
    total, rate = await connections(one, seconds)
    collected = await flows.collect()
    used, passed = cpu_s() - before, (await one.networks.counters())["b"].in_packets - link
    await flows.watch("blue", frozenset())
    told = sum(flow.packets for flow in collected.flows if flow.interface == "b" and flow.direction == "ingress")
    return rate, told / passed, used / total * 1e6, bool(collected.skipped)


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
                return await _rounds(one, flows, seconds, rounds)
            finally:
                await flows.close()
                server.terminate()
                await server.wait()


async def _rounds(one: Cloud, flows: NetlinkFlows, seconds: int, rounds: int) -> bool:
    await asyncio.sleep(0.5)
    await connections(one, 1)
    ratios = []
    for number in range(rounds):
        _, bare = await connections(one, seconds)
        rate, told, cost_us, skipped = await watched(one, flows, seconds)
        ratios.append(rate / bare)
        print(
            f"round {number + 1}: {bare:,.0f}/s unwatched, {rate:,.0f}/s watched ({ratios[-1]:.2f}), "
            f"told {told:.2%}, {cost_us:.0f} us each{', SKIPPED' if skipped else ''}",
            flush=True,
        )
    middle = statistics.median(ratios)
    print(f"watched to unwatched: {middle:.2f} (aim {AIM}), load {os.getloadavg()[0]:.1f}")
    return middle >= AIM


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    words.add_argument("--seconds", type=int, default=3)
    words.add_argument("--rounds", type=int, default=5)
    given = words.parse_args()
    return 0 if asyncio.run(measure(given.seconds, given.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
