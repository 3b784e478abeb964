"""Networks, firewall groups, sandboxes, interfaces and passages on the machine.

The rule set of a network is always applied whole, computed from all its interfaces and groups (`plan_rules`, pure); the driver finds the
difference. Many changes at once make few applies: `Rules.enforce` returns when an apply that began after the call is done.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Container, Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Literal, Protocol, TypeVar, cast

import msgspec

from gureum.core.appliances import appliances_of
from gureum.core.machine import Machine
from gureum.core.specs import Balancer, FirewallGroup, Interface, Network, Passage, Proxy, Sandbox
from gureum.core.targets import TargetBook
from gureum.ports.firewalls import Balancer as RuledBalancer
from gureum.ports.firewalls import Group, Listens, PeerLink, Port, RuleSet
from gureum.ports.gates import Gate
from gureum.ports.networks import EdgeSpec, Route

T = TypeVar("T", FirewallGroup, Interface, Balancer, Proxy)
DNS_PORT, METADATA_PORT = 53, 80
METADATA_ADDRESS, API_ADDRESS = "169.254.169.254", "169.254.169.249"
API_PORT = 80
_OUT = Route("0.0.0.0/0", "internet")
NOWHERE: Mapping[str, tuple[int, ...]] = {}


class SocketShelf(Protocol):
    """Sockets that outlive the agent, by name (the supervisor's fd store)."""

    def take(self, name: str) -> socket.socket | None: ...
    def put(self, name: str, sock: socket.socket) -> None: ...
    def remove(self, name: str) -> None: ...


class _Turn:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.asked = self.done = 0


class Handover:
    """Ports of load balancers' nodes that go from the kernel to a proxy (the PROXY protocol is switched on, TCP becomes TLS): the kernel keeps them
    until the proxy listens."""

    def __init__(self) -> None:
        self._balanced: dict[str, Balancer] = {}  # by interface, as the rules had it last
        self._served: dict[str, frozenset[int]] = {}  # where the interface's proxy listens

    def kept(self, wished: Iterable[Balancer], proxies: Iterable[Proxy]) -> list[Balancer]:
        """One network's balancers with what they have to keep. `proxies`: all; only those of the network's interfaces have had a balancer there."""
        found = {one.interface: one for one in wished}
        for proxy in proxies:
            before = self._balanced.get(proxy.interface)
            waiting = set(proxy.listens_at) - self._served.get(proxy.interface, frozenset())
            now = found.get(proxy.interface)
            has = {(one.protocol, one.port) for one in now.listeners} if now is not None else set()
            keeps = tuple(
                one
                for one in (before.listeners if before is not None else ())
                if one.protocol == "tcp" and one.port in waiting and (one.protocol, one.port) not in has
            )
            if before is not None and keeps:
                base, own = (now, now.listeners) if now is not None else (before, ())
                found[proxy.interface] = msgspec.structs.replace(base, listeners=(*own, *keeps))
        return list(found.values())

    def note(self, network: str, balancers: Iterable[Balancer]) -> None:
        """What the rules of a network have now."""
        others = {name: one for name, one in self._balanced.items() if one.network != network}
        self._balanced = others | {one.interface: one for one in balancers}

    def serves(self, interface: str, ports: frozenset[int]) -> bool:
        """Whether the kernel still has one of them."""
        self._served[interface] = ports
        before = self._balanced.get(interface)
        return before is not None and any(one.protocol == "tcp" and one.port in ports for one in before.listeners)

    def forget(self, interface: str) -> None:
        self._served.pop(interface, None)


class Rules:
    """Applies networks' rule sets, one apply at a time per network. `book`: who gets new flows of the network's balancers."""

    def __init__(self, machine: Machine, book: TargetBook) -> None:
        self._machine = machine
        self._book = book
        self._turns: dict[str, _Turn] = {}
        self.handover = Handover()

    async def enforce(self, network: str) -> None:
        """Returns when the kernel enforces what is desired now. Of a network that is not desired it does nothing."""
        turn = self._turns.setdefault(network, _Turn())
        turn.asked += 1
        mine = turn.asked
        async with turn.lock:
            if turn.done >= mine:
                return
            covers = turn.asked
            rules = self._plan(network)
            if rules is not None:
                await self._machine.ports.firewalls.apply(rules)
            turn.done = covers

    async def forget(self, network: str) -> None:
        self._turns.pop(network, None)
        self.handover.note(network, ())
        await self._machine.ports.firewalls.forget(network)

    def _plan(self, network: str) -> RuleSet | None:
        found = self._machine.desired.get(f"Network/{network}")
        if found is None or not isinstance(found.spec, Network):
            return None
        groups = (one for one in self._specs(FirewallGroup) if one.network == network)
        interfaces = (one for one in self._specs(Interface) if one.interface.network == network)
        proxies = list(self._specs(Proxy))
        kept = self.handover.kept((one for one in self._specs(Balancer) if one.network == network), proxies)
        self.handover.note(network, kept)
        balancers = (self._book.balanced(one) for one in kept)
        # One that goes may still have connections.
        finishing = (one.spec for one in self._machine.leaving.values() if isinstance(one.spec, Proxy))
        speaking = {one.interface for one in (*proxies, *finishing) if one.speaks_for_clients}
        listening = {one.interface: one.listens_at for one in proxies}
        return plan_rules(found.spec, groups, interfaces, balancers, speaking, listening)

    def _specs(self, cls: type[T]) -> Iterator[T]:
        return (cast(T, one.spec) for one in self._machine.of_kind(cls.__name__))


def plan_rules(
    network: Network,
    groups: Iterable[FirewallGroup],
    interfaces: Iterable[Interface],
    balancers: Iterable[RuledBalancer] = (),
    speaking: Container[str] = (),
    listening: Mapping[str, tuple[int, ...]] = NOWHERE,
) -> RuleSet:
    """The rule set of a network. A group that an interface names but that is not there allows nothing; a balancer whose interface is not there is
    none. `speaking`: interfaces whose proxies speak from their clients' addresses; `listening`: ports of proxies, by their interface."""
    known = {one.group.name: one.group for one in groups}
    ports = []
    for one in sorted(interfaces, key=lambda one: one.interface.name):
        spec = one.interface
        for name in one.groups:
            known.setdefault(name, Group(name))
        forward = not spec.source_check
        speaks = spec.name in speaking
        ranges = (str(address) for prefix in spec.prefixes for address in IPv4Network(prefix))
        addresses = (*spec.addresses, *ranges)
        listens = Listens(listening.get(spec.name, ()), ping=one.node == "application") if one.node else None
        ports.append(Port(spec.name, addresses, one.groups, spec.public, forward, one.open, speaks, listens))
    named = list(known.values())
    there = {port.interface for port in ports}
    return RuleSet(
        network=network.network.name,
        cidrs=network.network.cidrs,
        groups=tuple(sorted(named, key=lambda group: group.name)),
        ports=tuple(ports),
        internet=network.internet,
        egress_only=network.egress_only,
        acls=network.acls,
        balancers=tuple(sorted((one for one in balancers if one.interface in there), key=lambda one: one.interface)),
        peers=tuple(PeerLink(one.name, one.cidrs) for one in network.network.peers),
        speaks=network.speaks,
        exit=network.exit,
        appliances=tuple(appliances_of(network.network, there)),
    )


class NetworkKinds:
    """Reconcile and teardown of the five kinds. `edge`: the home's share of the public addresses and its way out."""

    def __init__(self, machine: Machine, shelf: SocketShelf, edge: EdgeSpec, book: TargetBook) -> None:
        self._machine = machine
        self._shelf = shelf
        self._edge = edge
        self._edge_lock = asyncio.Lock()
        self._edge_ready = False
        self._sockets: dict[str, dict[str, socket.socket]] = {}
        self.rules = Rules(machine, book)

    async def network(self, id_: str, spec: Network) -> None:
        await self._ensure_edge()
        if self._machine.ports.gates is not None:
            spec = _with_gate(spec)
        if spec.exit and self._edge.way_out is not None:
            spec = _with_exit(spec)
        await self._machine.ports.networks.ensure_network(spec.network)
        await self.rules.enforce(spec.network.name)
        await self._serve(spec)
        self._machine.set_status(id_, "ready")

    async def network_gone(self, id_: str, spec: Network) -> None:
        name = spec.network.name
        ports = self._machine.ports
        await ports.names.stop(name)
        await ports.metadata.stop(name)
        if ports.gates is not None:
            await ports.gates.stop(name)
        for socket_name, sock in self._sockets.pop(name, {}).items():
            self._drop(socket_name, sock)
        await self.rules.forget(name)
        await ports.networks.remove_network(name)

    async def firewall_group(self, id_: str, spec: FirewallGroup) -> None:
        self._machine.need(id_, f"Network/{spec.network}")
        await self.rules.enforce(spec.network)
        self._machine.set_status(id_, "ready")

    async def firewall_group_gone(self, id_: str, spec: FirewallGroup) -> None:
        await self.rules.enforce(spec.network)

    async def sandbox(self, id_: str, spec: Sandbox) -> None:
        if spec.sandbox.users:
            self._machine.need(id_, f"Sandbox/{spec.sandbox.users}")
        paths = await self._machine.ports.networks.ensure_sandbox(spec.sandbox)
        self._machine.set_status(id_, "ready", data={"net": paths.net, "user": paths.user, "uid_base": paths.uid_base})

    async def sandbox_gone(self, id_: str, spec: Sandbox) -> None:
        await self._machine.ports.networks.remove_sandbox(spec.sandbox.name)

    async def interface(self, id_: str, spec: Interface) -> None:
        self._machine.need(id_, f"Network/{spec.interface.network}")
        if spec.interface.sandbox:
            self._machine.need(id_, f"Sandbox/{spec.interface.sandbox}")
        await self._machine.ports.networks.ensure_interface(spec.interface)
        await self.rules.enforce(spec.interface.network)
        self._machine.set_status(id_, "ready")

    async def interface_gone(self, id_: str, spec: Interface) -> None:
        await self.rules.enforce(spec.interface.network)
        await self._machine.ports.networks.remove_interface(spec.interface.name)

    async def passage(self, id_: str, spec: Passage) -> None:
        self._machine.need(id_, f"Sandbox/{spec.sandbox}")
        for name in spec.interfaces:
            self._machine.need(id_, f"Interface/{name}")
        await self._machine.ports.networks.ensure_passage(spec.sandbox, spec.passage)
        self._machine.set_status(id_, "ready")

    async def passage_gone(self, id_: str, spec: Passage) -> None:
        """It is its sandbox's."""

    async def _ensure_edge(self) -> None:
        async with self._edge_lock:
            if not self._edge_ready:
                await self._machine.ports.networks.ensure_edge(self._edge)
                self._edge_ready = True

    async def _serve(self, spec: Network) -> None:
        """Names and metadata inside the network, on sockets that outlive the agent. The servers get copies, so that a change of addresses
        opens only what is new."""
        name = spec.network.name
        wanted = self._socket_names(spec)
        held = self._sockets.get(name, {})
        if held.keys() == set(wanted):
            return
        sockets = {one: held.get(one) or self._socket(one, name) for one in wanted}
        self._sockets[name] = sockets
        for gone in held.keys() - sockets.keys():
            self._drop(gone, held[gone])

        def at(end: str) -> list[socket.socket]:
            return [sock.dup() for one, sock in sockets.items() if one.endswith(end)]

        ports = self._machine.ports
        await ports.names.serve(name, at(f"/{DNS_PORT}"), closed=spec.closed)
        await ports.metadata.serve(name, at(f"/{METADATA_ADDRESS}/{METADATA_PORT}"))
        if ports.gates is not None:
            await ports.gates.serve(Gate(name, name), at(f"/{API_ADDRESS}/{API_PORT}"))

    def _drop(self, socket_name: str, sock: socket.socket) -> None:
        self._shelf.remove(socket_name)
        sock.close()

    def _socket(self, socket_name: str, network: str) -> socket.socket:
        found = self._shelf.take(socket_name)
        if found is not None:
            return found
        _, kind, address, port = socket_name.rsplit("/", 3)
        opened = self._machine.ports.networks.open_socket(network, address, int(port), _kind(kind))
        self._shelf.put(socket_name, opened)
        return opened

    def _socket_names(self, spec: Network) -> list[str]:
        name = spec.network.name
        found = []
        for address in spec.network.local_addresses:
            if address == METADATA_ADDRESS:
                found.append(f"net-{name}/tcp/{address}/{METADATA_PORT}")
            elif address == API_ADDRESS:
                found.append(f"net-{name}/tcp/{address}/{API_PORT}")
            else:
                found += [f"net-{name}/{kind}/{address}/{DNS_PORT}" for kind in ("udp", "tcp")]
        return found


def _with_gate(spec: Network) -> Network:
    """With the address at which machines reach the API."""
    addresses = (*spec.network.local_addresses, API_ADDRESS)
    return msgspec.structs.replace(spec, network=msgspec.structs.replace(spec.network, local_addresses=addresses))


def _with_exit(spec: Network) -> Network:
    """With the way out that all its machines may take."""
    found = spec.network
    inside = tuple(Route(cidr, "local") for cidr in found.cidrs)
    subnets = tuple(msgspec.structs.replace(one, routes=(*one.routes, *inside, _OUT)) for one in found.subnets)
    return msgspec.structs.replace(
        spec, network=msgspec.structs.replace(found, subnets=subnets, uplink=True, exit=True)
    )


def _kind(text: str) -> Literal["tcp", "udp"]:
    return "tcp" if text == "tcp" else "udp"
