"""What a rule set lets through, straight from the words of the port Firewalls and not by way of nftables: the rendered rules are tested
against it."""

from __future__ import annotations

import functools
import ipaddress
import itertools
from typing import Literal

import msgspec

from gureum.ports.firewalls import Acl, AclEntry, BalancedPort, BalancedTarget, Balancer, Port, Rule, RuleSet


class Packet(msgspec.Struct, frozen=True):
    """A packet as the router forwards it: the first of a flow or, when `known`, a reply or later one of a flow that passed. `incoming`,
    `outgoing`: interfaces, or "" for the uplink (`destination` is then already translated to the private address). `ports`: (source port,
    destination port), or (type, code) for ICMP."""

    incoming: str
    outgoing: str
    source: str
    destination: str
    protocol: str
    ports: tuple[int, int] = (0, 0)
    known: bool = False


def passes(rules: RuleSet, packet: Packet) -> bool:
    """Whether the rule set lets the packet through: no borrowed source, the ACLs of the subnets it leaves and enters, and, unless the flow
    is known, the sender's groups out, the receiver's groups in, and the uplink only for public addresses in subnets that lead there; at a load
    balancer's node only what it listens for."""
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
        return receiver is not None and _allowed(rules, receiver, packet, "in") and _is_heard(receiver, packet)
    return bool(packet.incoming) and _is_public(rules, packet.source)


def sent_on(rules: RuleSet, packet: Packet, balancer: Balancer, port: BalancedPort, target: BalancedTarget) -> bool:
    """Whether the first packet of a flow to the balancer's address and port reaches the target that was chosen for it: no borrowed source, the
    client's groups out to the balancer, the balancer's in from the client and out to the target, the target's in from who is seen there or
    from a group of the balancer; and the ACLs on both ways. (`packet.outgoing` is of no account.)"""
    ports = {one.interface: one for one in rules.ports}
    holders = {address: one for one in rules.ports for address in one.addresses}
    client, node, receiver = ports.get(packet.incoming), ports[balancer.interface], holders.get(target.address)
    if not asks(rules, packet, balancer) or receiver is None or not _crosses(rules, client, node, packet):
        return False
    at_target = msgspec.structs.replace(packet, destination=target.address, ports=(packet.ports[0], target.port))
    shown = at_target if port.preserve_client else msgspec.structs.replace(at_target, source=balancer.address)
    if not _crosses(rules, node, receiver, shown):
        return False
    if not _allowed(rules, node, at_target, "out"):
        return False
    named = (rule for group in rules.groups if group.name in receiver.groups for rule in group.rules)
    vouched = (r for r in named if r.direction == "in" and r.group in node.groups and not node.open and _fits(r, shown))
    return _allowed(rules, receiver, shown, "in") or any(vouched)


def answered(
    rules: RuleSet, packet: Packet, balancer: Balancer, port: BalancedPort, target: BalancedTarget, source_port: int
) -> bool:
    """Whether what the target answers to `packet`, which has reached it, comes back: through the ACLs on both ways. `source_port`: the one that
    the target sees; the client's own is the packet's."""
    ports = {one.interface: one for one in rules.ports}
    holders = {address: one for one in rules.ports for address in one.addresses}
    client, node, sender = ports.get(packet.incoming), ports[balancer.interface], holders[target.address]
    seen = packet.source if port.preserve_client else balancer.address
    to_node = Packet(sender.interface, "", target.address, seen, packet.protocol, (0, source_port))
    to_client = Packet("", packet.incoming, balancer.address, packet.source, packet.protocol, (0, packet.ports[0]))
    return _crosses(rules, sender, node, to_node) and _crosses(rules, node, client, to_client)


def asks(rules: RuleSet, packet: Packet, balancer: Balancer) -> bool:
    """Whether the packet may come to the balancer: the client's groups let it out, and the balancer's in."""
    ports = {one.interface: one for one in rules.ports}
    client, node = ports.get(packet.incoming), ports[balancer.interface]
    if packet.incoming:
        own = client is not None and (client.forward or packet.source in client.addresses)
        if client is None or not own or not _allowed(rules, client, packet, "out"):
            return False
    elif not (balancer.public and _may_be_asked(rules, balancer.address)):
        return False
    return _allowed(rules, node, packet, "in")


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
    if port.open:
        return True
    far = packet.source if direction == "in" else packet.destination
    groups = (group for group in rules.groups if group.name in port.groups)
    permissions = (rule for group in groups for rule in group.rules if rule.direction == direction)
    return any(_covers(rules, rule, far) and _fits(rule, packet) for rule in permissions)


def _is_heard(port: Port, packet: Packet) -> bool:
    if port.listens is None:
        return True
    return (
        packet.ports[1] in port.listens.tcp
        if packet.protocol == "tcp"
        else port.listens.ping and packet.protocol == "icmp"
    )


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


def _may_be_asked(rules: RuleSet, private: str) -> bool:
    """Whether flows that begin outside come to the address, as far as its subnet goes."""
    return any(_inside(private, cidr) for cidr in rules.internet if cidr not in rules.egress_only)


def _is_public(rules: RuleSet, private: str) -> bool:
    leads = any(_inside(private, cidr) for cidr in rules.internet)
    return leads and any(private == inner for port in rules.ports for inner, _ in port.public)
