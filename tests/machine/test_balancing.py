"""The agent's side of load balancing on real networks: checks pass where security groups let the load balancer's node through, and their results
reach the proxy. Needs root. What HAProxy and nftables make of it is tested with them."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Self

import msgspec
import pytest

from gureum.base.clock import SystemClock
from gureum.core import specs
from gureum.drivers.checks.checks import NamespaceChecks
from gureum.drivers.networks import namespaces
from gureum.engine.lowering import Desired
from gureum.ports.checks import Probe
from gureum.ports.firewalls import Group, Rule
from gureum.ports.networks import InterfaceSpec, NetworkSpec, SandboxSpec, Subnet
from gureum.simulated import simulated_ports
from gureum.store.memory import MemoryStore
from tests.core.balancer_parts import TG, BalancedAgent, NotedProxies, proxy
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, Cloud, on_a_cloud

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")]

NODE, FIRST, SECOND = "10.0.1.97", "10.0.1.11", "10.0.1.12"


def agent_on(one: Cloud, store: MemoryStore, proxies: NotedProxies) -> BalancedAgent:
    ports = msgspec.structs.replace(
        simulated_ports(SystemClock()),
        networks=one.networks,
        firewalls=one.firewalls,
        checks=NamespaceChecks(one.home_id, one.run_dir),
        proxies=proxies,
        gates=None,
    )
    return BalancedAgent(store, ports)


def wishes(*, let_in: str = "sg-lb", timeout_s: float = 0.3) -> list[Desired]:
    """A node and two targets; the targets' group lets in port 80 from members of `let_in`."""
    spec = NetworkSpec("vpc-1", ("10.0.0.0/16",), (Subnet("subnet-1", "10.0.1.0/24", "10.0.1.1"),), local_addresses=())
    groups = [
        Group("sg-lb", (OUT_ALL, Rule("in", "tcp", (80, 80), cidr=ANYWHERE))),
        Group("sg-web", (Rule("in", "tcp", (80, 80), group=let_in),)),
        Group("sg-other", ()),
    ]
    found = [Desired("Network", "vpc-1", "", specs.Network(spec))]
    found += [Desired("FirewallGroup", one.name, "", specs.FirewallGroup("vpc-1", one)) for one in groups]
    for name, address, group in [
        ("lb-a", NODE, "sg-lb"),
        ("i-1", FIRST, "sg-web"),
        ("i-2", SECOND, "sg-web"),
    ]:
        mac = "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))
        interface = InterfaceSpec(
            f"eni-{name}", "vpc-1", "subnet-1", mac, (address,), 24, "10.0.1.1", name, "eth0", default_route=True
        )
        found.append(Desired("Sandbox", name, "", specs.Sandbox(SandboxSpec(name, guest=False))))
        found.append(Desired("Interface", f"eni-{name}", "", specs.Interface(interface, (group,))))
    targets = tuple(specs.Target(f"{name}:80", at, 80, 80, "a") for name, at in (("i-1", FIRST), ("i-2", SECOND)))
    probe = Probe("HTTP", timeout_s=timeout_s)
    group = specs.TargetGroup(probe, targets, (specs.Place("lb-a", NODE, "a"),), 0.05, 2, 2)
    return [*found, Desired("TargetGroup", TG, "", group), proxy()]


class Web:
    """An HTTP server in a sandbox that answers `status` to everybody."""

    def __init__(self, one: Cloud, machine: str, status: str = "200 OK") -> None:
        self.status = status
        with namespaces.entered(one.names.sandbox(machine)):
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(("", 80))
            self.sock.listen(64)
            self.sock.setblocking(False)

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, sock=self.sock)
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()


def health(agent: BalancedAgent, target: str) -> list[str]:
    """State, reason and description."""
    status = agent.status.get(f"TargetGroup/{TG}")
    return list(status.data["targets"][target][:3]) if status and status.data else []


@on_a_cloud
async def test_health_follows_what_the_node_can_reach_and_reaches_the_proxy(one: Cloud) -> None:
    store, proxies = MemoryStore(), NotedProxies()
    agent = agent_on(one, store, proxies)
    await agent.service.start()
    agent.service.sync(wishes())
    await agent.ready("Interface/eni-i-1", "Interface/eni-i-2", "Interface/eni-lb-a")
    async with Web(one, "i-1") as web:
        await agent.until(lambda: health(agent, "i-1:80") == ["healthy", "", ""])
        await agent.until(
            lambda: health(agent, "i-2:80") == ["unhealthy", "Target.FailedHealthChecks", "Health checks failed"]
        )
        await agent.until(lambda: proxies.up() == {"i-1:80"})
        assert proxies.specs["p-a"].sandbox_net == str(one.names.sandbox("lb-a"))
        web.status = "500 Internal Server Error"
        mismatch = ["unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]"]
        await agent.until(lambda: health(agent, "i-1:80") == mismatch)
        web.status = "200 OK"
        await agent.until(lambda: health(agent, "i-1:80")[0] == "healthy")
        agent.service.sync(wishes(let_in="sg-other"))
        await agent.until(lambda: health(agent, "i-1:80") == ["unhealthy", "Target.Timeout", "Request timed out"])
        agent.service.sync(wishes())
        await agent.until(lambda: proxies.up() == {"i-1:80"})
    await agent.until(lambda: health(agent, "i-1:80")[:2] == ["unhealthy", "Target.FailedHealthChecks"])
    assert agent.faults == 0
    await agent.service.close()


@on_a_cloud
async def test_a_new_agent_goes_on_with_the_targets_that_were_healthy(one: Cloud) -> None:
    store, proxies = MemoryStore(), NotedProxies()
    first = agent_on(one, store, proxies)
    await first.service.start()
    first.service.sync(wishes())
    await first.ready("Sandbox/i-1")
    async with Web(one, "i-1"):
        await first.until(lambda: "p-a" in proxies.specs and proxies.up() == {"i-1:80"})
        await first.until(lambda: health(first, "i-2:80")[:1] == ["unhealthy"])
        await first.until(lambda: "p-a: i-1:80+ i-2:80-" in proxies.log)
        await first.service.close()
        proxies.log.clear()
        second = agent_on(one, store, proxies)
        await second.service.start()
        await second.ready("Proxy/p-a")
        await second.until(lambda: health(second, "i-1:80")[:1] == ["healthy"])
        assert {line for line in proxies.log if "meanwhile" not in line} == {"p-a: i-1:80+ i-2:80-"}
        assert second.faults == 0
        await second.service.close()
