"""A load balancer's worth of wishes for the agent of agent_parts, and proxies and firewalls that note what is done to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from gureum.base.clock import SystemClock
from gureum.core import specs
from gureum.drivers.simulated.network import SimulatedFirewalls
from gureum.engine.lowering import Desired
from gureum.ports import PortError
from gureum.ports.checks import Outcome, Probe
from gureum.ports.firewalls import Entrance
from gureum.ports.networks import InterfaceSpec, SandboxSpec
from gureum.ports.proxies import (
    Counters,
    Forward,
    Group,
    Listener,
    ProxySpec,
    Record,
    Request,
    Rule,
    Sink,
    TallySink,
    everything,
)
from gureum.simulated import simulated_ports
from gureum.store.contract import Store
from tests.core.agent_parts import Agent

OWNER = "elbv2.LoadBalancer/x/lb"
REFUSED = Outcome(False, "Target.FailedHealthChecks", "Health checks failed")
TG = "tg-0123456789abcdef"


class NotedProxies:
    """Fills ports.proxies.Proxies; `log`: who was up at each ensure, and what was cut, in order."""

    def __init__(self) -> None:
        self.specs: dict[str, ProxySpec] = {}
        self.log: list[str] = []
        self.refuse = 0
        self.open = 0  # connections that go on where a proxy is to finish
        self.slow = asyncio.Event()  # unset: a change takes until it is set
        self.slow.set()
        self.slow_cut = asyncio.Event()  # unset: a cut takes until it is set
        self.slow_cut.set()
        self.sinks: list[Sink] = []
        self.waiting: list[Record | Request] = []  # what `drain` gives to the sinks
        self._ended: asyncio.Queue[str] = asyncio.Queue()

    def end(self, name: str) -> None:
        self._ended.put_nowait(name)

    def up(self, name: str = "p-a") -> set[str]:
        return {one.name for group in self.specs[name].groups for one in group.servers if one.up}

    async def ensure(self, spec: ProxySpec) -> None:
        if self.refuse:
            self.refuse -= 1
            raise PortError("the proxy does not start")
        await self.slow.wait()
        self.specs[spec.name] = spec
        servers = [f"{one.name}{'+' if one.up else '-'}" for group in spec.groups for one in group.servers]
        self.log.append(f"{spec.name}: {' '.join(servers)}")

    async def hasten(self, name: str, groups: tuple[Group, ...]) -> None:
        servers = [f"{one.name}{'+' if one.up else '-'}" for group in groups for one in group.servers]
        self.log.append(f"{name} meanwhile: {' '.join(servers)}")

    async def finish(self, name: str) -> bool:
        self.log.append(f"finish {name}")
        return self.open > 0

    async def remove(self, name: str) -> None:
        self.specs.pop(name, None)
        self.log.append(f"{name} removed")

    async def end_connections(self, name: str, group: str, server: str) -> None:
        await self.slow_cut.wait()
        self.log.append(f"{name} cut {group} {server}")

    async def died(self) -> str:
        return await self._ended.get()

    def subscribe(self, sink: Sink, wants: Callable[[ProxySpec], bool] = everything) -> Callable[[], None]:
        self.sinks.append(sink)
        return lambda: self.sinks.remove(sink)

    def tally(self, sink: TallySink) -> Callable[[], None]:
        return lambda: None

    def drain(self) -> None:
        for sink in self.sinks:
            sink(self.waiting)
        self.waiting = []

    async def counters(self) -> dict[str, Counters]:
        return {}

    async def observe(self) -> frozenset[str]:
        return frozenset(self.specs)

    async def close(self) -> None: ...


class NotedFirewalls(SimulatedFirewalls):
    """`ended`: flows that were forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[str, str, int, tuple[Entrance, ...]]] = []

    async def end_flows(self, network: str, address: str, port: int, by: Collection[Entrance]) -> None:
        self.ended.append((network, address, port, tuple(by)))


class BalancedAgent(Agent):
    """`fail` and `heal` say what a target's checks find from now on."""

    def __init__(self, store: Store | None = None, ports: Any = None) -> None:
        if ports is None:
            ports = simulated_ports(SystemClock())
            ports = msgspec.structs.replace(ports, proxies=NotedProxies(), firewalls=NotedFirewalls())
        super().__init__(store, ports)

    def fail(self, address: str, outcome: Outcome = REFUSED) -> None:
        self.ports.checks.outcomes[address, 80] = outcome

    def heal(self, address: str) -> None:
        self.ports.checks.outcomes.pop((address, 80), None)

    def state(self, target: str, group: str = TG) -> str:
        return self.shown(target, group)[0]

    def zones(self, group: str = TG) -> dict[str, list[bool]]:
        """By node, as the status tells them: whether names may lead there, and whether healthy targets alone get anything."""
        status = self.status.get(f"TargetGroup/{group}")
        return dict(status.data["zones"]) if status and status.data else {}

    def shown(self, target: str, group: str = TG) -> list[str]:
        """State, reason, description and registration, as the status tells them."""
        status = self.status.get(f"TargetGroup/{group}")
        return list(status.data["targets"].get(target, [""])) if status and status.data else [""]

    @property
    def faults(self) -> int:
        return self.service.loop.faults + self.service.balancing_loop.faults


def node(zone: str = "a") -> list[Desired]:
    """The sandbox and the interface of a load balancer's node in a zone."""
    name, number = f"lb-{zone}", ord(zone)
    spec = InterfaceSpec(
        f"eni-{name}",
        "vpc-1",
        "subnet-1",
        f"02:00:00:00:01:{number:02x}",
        (address_of(zone),),
        24,
        "10.0.1.1",
        sandbox=name,
    )
    return [
        Desired("Sandbox", name, OWNER, specs.Sandbox(SandboxSpec(name, guest=False))),
        Desired("Interface", f"eni-{name}", OWNER, specs.Interface(spec, (), open=True)),
    ]


def address_of(zone: str) -> str:
    return f"10.0.1.{ord(zone)}"


def target(number: int, zone: str = "a", **more: Any) -> specs.Target:
    return specs.Target(f"i-{number}:80", f"10.0.1.{number}", 80, 80, zone, **more)


def target_group(
    *targets: specs.Target, name: str = TG, zones: str = "a", cross_zone: bool = True, **more: Any
) -> Desired:
    """Looked at each 10 ms; healthy and unhealthy after two looks."""
    places = tuple(specs.Place(f"lb-{zone}", address_of(zone), zone, cross_zone) for zone in zones)
    spec = specs.TargetGroup(Probe("HTTP"), targets, places, 0.01, 2, 2)
    return Desired("TargetGroup", name, OWNER, msgspec.structs.replace(spec, **more))


def proxy(zone: str = "a", *, cross_zone: bool = True, protocol: Any = "HTTP") -> Desired:
    rule = Rule(0, Forward(((TG, 1),)))
    listener = Listener(80, "HTTP" if protocol == "HTTP" else "TLS", "arn:listener", (rule,))
    wished = ProxySpec(f"p-{zone}", "", address_of(zone), "app/lb/1", (listener,), (Group(TG, "arn:tg", protocol),))
    spec = specs.Proxy(f"lb-{zone}", f"eni-lb-{zone}", zone, wished, (specs.Use(TG, cross_zone),))
    return Desired("Proxy", f"p-{zone}", OWNER, spec)


def balancer(zone: str = "a", *groups: tuple[str, int], protocol: Any = "tcp") -> Desired:
    shares = groups or ((TG, 1),)
    listener = specs.BalancedListener(protocol, 80, shares)
    uses = tuple(specs.Use(name) for name, _ in shares)
    spec = specs.Balancer(
        f"lb-{zone}", "vpc-1", f"eni-lb-{zone}", zone, address_of(zone), (listener,), "198.18.16.9", uses
    )
    return Desired("Balancer", f"b-{zone}", OWNER, spec)


def names(*zones: str, zonal: bool = False) -> Desired:
    nodes = tuple(specs.NodeName(f"lb-{zone}", address_of(zone), zone, (TG,), (TG,) if zonal else ()) for zone in zones)
    every = ("lb.elb.amazonaws.com", tuple(range(len(zones))))
    each = tuple((f"{zone}.lb.elb.amazonaws.com", (index,)) for index, zone in enumerate(zones))
    return Desired("BalancerNames", "lb", OWNER, specs.BalancerNames((every, *each), nodes))
