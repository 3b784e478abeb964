"""The simulated twins of netns.py and nft.py: networks and rule sets that are only remembered. For `up --simulate` and for tests.

`passes` says what a rule set lets through, straight from the words of the port and not by way of nftables: the rendered rules are
tested against it.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import socket
from typing import Literal

import msgspec

from gureum.drivers.network_names import checked_home, checked_name
from gureum.ports import PortError
from gureum.ports.firewalls import Acl, AclEntry, Port, Rule, RuleSet
from gureum.ports.networks import (
    EdgeSpec,
    InterfaceCounters,
    InterfaceSpec,
    NetworkSpec,
    Observed,
    SandboxPaths,
    SandboxSpec,
)

_UID_BASE = 1_000_000_000


class SimulatedNetworks:
    """Fills the port Networks in memory."""

    def __init__(self, home_id: str = "sim0") -> None:
        self._home_id = checked_home(home_id)
        self.edge: EdgeSpec | None = None
        self.networks: dict[str, NetworkSpec] = {}
        self.sandboxes: dict[str, SandboxSpec] = {}
        self.interfaces: dict[str, InterfaceSpec] = {}

    async def ensure_edge(self, spec: EdgeSpec) -> None:
        self.edge = spec

    async def remove_edge(self) -> None:
        self.edge = None

    async def ensure_network(self, spec: NetworkSpec) -> None:
        checked_name(spec.name)
        if spec.uplink and self.edge is None:
            raise PortError("the edge does not exist yet")
        self.networks[spec.name] = spec

    async def remove_network(self, name: str) -> None:
        self.networks.pop(checked_name(name), None)
        self.interfaces = {key: one for key, one in self.interfaces.items() if one.network != name}

    async def ensure_sandbox(self, spec: SandboxSpec) -> SandboxPaths:
        self.sandboxes[checked_name(spec.name)] = spec
        place = f"/simulated/{self._home_id}"
        if not spec.guest:
            return SandboxPaths(f"{place}/net/{spec.name}", "", 0)
        return SandboxPaths(f"{place}/net/{spec.name}", f"{place}/user/{spec.name}", _UID_BASE)

    async def remove_sandbox(self, name: str) -> None:
        self.sandboxes.pop(checked_name(name), None)
        self.interfaces = {key: one for key, one in self.interfaces.items() if one.sandbox != name}

    async def ensure_interface(self, spec: InterfaceSpec) -> None:
        for name in (spec.name, spec.network, spec.sandbox or "-"):
            checked_name(name)
        if spec.network not in self.networks:
            raise PortError(f"network {spec.network} does not exist yet")
        if spec.sandbox and spec.sandbox not in self.sandboxes:
            raise PortError(f"sandbox {spec.sandbox} does not exist yet")
        if spec.sandbox:
            self.interfaces[spec.name] = spec
        else:
            self.interfaces.pop(spec.name, None)

    async def remove_interface(self, name: str) -> None:
        self.interfaces.pop(checked_name(name), None)

    def open_socket(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"]) -> socket.socket:
        """Inside a network: a socket on the host's loopback at a port of the kernel's choice, which nobody knows of."""
        if network and network not in self.networks:
            raise PortError(f"cannot listen on {address}:{port} in {network}: No such file or directory")
        opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.bind(("127.0.0.1", 0) if network else (address, port))
        except OSError as error:
            opened.close()
            raise PortError(f"cannot listen on {address}:{port} in the host: {error.strerror}") from error
        if kind == "tcp":
            opened.listen()
        return opened

    async def observe(self) -> Observed:
        return Observed(
            self.edge is not None, frozenset(self.networks), frozenset(self.sandboxes), frozenset(self.interfaces)
        )

    async def counters(self) -> dict[str, InterfaceCounters]:
        """Nothing flows here."""
        attached = (name for name, spec in self.interfaces.items() if spec.sandbox)
        return {name: InterfaceCounters(0, 0, 0, 0) for name in attached}

    async def close(self) -> None:
        pass


class SimulatedFirewalls:
    """Fills the port Firewalls in memory. With `networks` it knows, as the real one does, which networks exist."""

    def __init__(self, networks: SimulatedNetworks | None = None) -> None:
        self._networks = networks
        self.rules: dict[str, RuleSet] = {}

    async def apply(self, rules: RuleSet) -> None:
        checked_name(rules.network)
        if self._networks is not None and rules.network not in self._networks.networks:
            raise PortError(f"network {rules.network} does not exist yet")
        self.rules[rules.network] = rules

    async def end_flows(self, network: str, address: str, port: int) -> None:
        pass

    async def forget(self, network: str) -> None:
        self.rules.pop(network, None)

    async def close(self) -> None:
        pass


class Packet(msgspec.Struct, frozen=True):
    """A packet as the router forwards it: the first of a flow or, when `known`, a reply or later one of a flow that passed. `incoming`,
    `outgoing`: interfaces, or "" for the uplink (`destination` is then already translated to the private address). `ports`: (0, destination
    port), or (type, code) for ICMP."""

    incoming: str
    outgoing: str
    source: str
    destination: str
    protocol: str
    ports: tuple[int, int] = (0, 0)
    known: bool = False


def passes(rules: RuleSet, packet: Packet) -> bool:
    """Whether the rule set lets the packet through: no borrowed source, the ACLs of the subnets it leaves and enters, and, unless the flow
    is known, the sender's groups out, the receiver's groups in, and the uplink only for public addresses in subnets that lead there."""
    ports = {port.interface: port for port in rules.ports}
    sender, receiver = ports.get(packet.incoming), ports.get(packet.outgoing)
    if packet.incoming and (sender is None or not (sender.forward or packet.source in sender.addresses)):
        return False
    if not _crosses(rules, sender, receiver, packet):
        return False
    if packet.known:
        return True
    if sender is not None:
        if not _allowed(rules, sender, packet, "out"):
            return False
    elif not _is_public(rules, packet.destination):
        return False
    if packet.outgoing:
        return receiver is not None and _allowed(rules, receiver, packet, "in")
    return bool(packet.incoming) and _is_public(rules, packet.source)


def _crosses(rules: RuleSet, sender: Port | None, receiver: Port | None, packet: Packet) -> bool:
    """Whether the ACLs let the packet from one subnet (or the uplink) to the other."""
    left, entered = _subnet(rules, sender), _subnet(rules, receiver)
    if left is not None and entered is not None and left[1] == entered[1]:
        return True
    return (left is None or _decided(left[0], packet, "out")) and (
        entered is None or _decided(entered[0], packet, "in")
    )


def _subnet(rules: RuleSet, port: Port | None) -> tuple[Acl, str] | None:
    """The ACL and the CIDR of the interface's subnet, if that has one."""
    if port is None:
        return None
    pairs = ((acl, cidr) for acl in rules.acls for cidr in acl.subnets)
    return next((pair for pair in pairs if _inside(port.addresses[0], pair[1])), None)


def _decided(acl: Acl, packet: Packet, direction: Literal["in", "out"]) -> bool:
    far = packet.source if direction == "in" else packet.destination
    fitting = (
        entry
        for entry in sorted(acl.entries, key=lambda entry: entry.number)
        if entry.direction == direction and _inside(far, entry.cidr) and _fits(entry, packet)
    )
    return any(entry.allow for entry in itertools.islice(fitting, 1))


@functools.lru_cache(maxsize=65536)
def _inside(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


def _allowed(rules: RuleSet, port: Port, packet: Packet, direction: Literal["in", "out"]) -> bool:
    far = packet.source if direction == "in" else packet.destination
    groups = (group for group in rules.groups if group.name in port.groups)
    permissions = (rule for group in groups for rule in group.rules if rule.direction == direction)
    return any(_covers(rules, rule, far) and _fits(rule, packet) for rule in permissions)


def _covers(rules: RuleSet, rule: Rule, address: str) -> bool:
    if rule.group:
        named = any(group.name == rule.group and address in group.members for group in rules.groups)
        return named or any(rule.group in port.groups and address in port.addresses for port in rules.ports)
    return _inside(address, rule.cidr)


def _fits(rule: Rule | AclEntry, packet: Packet) -> bool:
    if rule.protocol == "all":
        return True
    if rule.protocol not in (packet.protocol, str(_number(packet.protocol))):
        return False
    if rule.ports is None or rule.protocol.isdigit():
        return True
    if rule.protocol == "icmp":
        kind, code = rule.ports
        return kind == -1 or (kind == packet.ports[0] and code in (-1, packet.ports[1]))
    return rule.ports[0] <= packet.ports[1] <= rule.ports[1]


def _number(protocol: str) -> int:
    return {"icmp": 1, "tcp": 6, "udp": 17}.get(protocol) or int(protocol)


def _is_public(rules: RuleSet, private: str) -> bool:
    leads = any(_inside(private, cidr) for cidr in rules.internet)
    return leads and any(private == inner for port in rules.ports for inner, _ in port.public)
