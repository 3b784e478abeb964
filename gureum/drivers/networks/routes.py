"""Routes of one network's router, as pure values: from the wished network and its attached interfaces to routes and
rules.

    table of a subnet   asked first for packets from that subnet: the routes of its route table. "local" is a `throw`,
    which
                        goes on to the main table; what nothing matches is unreachable.
    entrance            asked first for packets from the uplink, when there are routes for them: what does not go to an interface
                        goes on to the main table.
    onward              asked first for what a balancer sends on, which carries its mark: ways to peered networks. They are those of the
                        balancer, whichever way its client's own subnet has, or none.
    main table          a /32 per address of an attached interface; the network's CIDRs are otherwise unreachable, so
    that an
                        address nobody has stays inside.

So the longest prefix of a route table wins, also over a network's own CIDR (a firewall between two subnets), but what stays in one
subnet never meets its routes (AWS: routing is for what leaves the subnet). Which
table counts is decided by the packet's source, and for interfaces that forward (no source check) by the link it comes
from, as their packets carry others' addresses. Replies of a balancer's flows that came by the uplink carry a mark and leave by it,
though the target's own subnet may have no way there; replies to a node that speaks from its clients' addresses carry one that leads to
its link. A link to an interface that is not attached is a blackhole.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from types import MappingProxyType

import msgspec

from gureum.drivers.networks.netlink import BLACKHOLE, MAIN_TABLE, THROW, UNREACHABLE, Route, Rule
from gureum.drivers.networks.network_names import ALL_BITS, BALANCED_MARK, UPLINK, UPLINK_MARK, node_mark, stable_number
from gureum.ports import networks

# Both ends of every uplink have the same addresses: only the link tells them apart, and no network can own them.
EDGE_ADDRESS = "169.254.0.1"
NETWORK_ADDRESS = "169.254.0.2"
# What networks without public addresses leave from, one each, until the edge puts its own in its place; seen nowhere else.
EXITS = "100.64.0.0/10"
# What the other end of a peering's link is called on both sides. Nobody has it: a permanent neighbour says whose MAC it is.
PEER_ADDRESS = "169.254.0.3"


def exit_address(link: int) -> str:
    """That of the network whose uplink is the edge's link of that index."""
    exits = IPv4Network(EXITS)
    return str(exits[1 + link % (exits.num_addresses - 2)])


PRIMARY, SECONDARY = 1, 2  # metrics of the /32 routes: after a restart the primary address is known by it

_BY_MARK, _BY_LINK, _LOCAL_BY_LINK, _BY_SOURCE = 500, 1000, 1500, 2000  # priorities of rules

_REPLIES = stable_number("replies by the uplink")
_ENTRANCE = stable_number("entrance")
_ONWARD = stable_number("onward")


class Placed(msgspec.Struct, frozen=True):
    """An interface that is attached: its link in the router and its addresses, the primary first. `tag`: the link's
    alias."""

    index: int
    link: str
    tag: str
    addresses: tuple[str, ...]
    gateway: str
    mac: str = ""
    forward_table: int = 0  # its subnet's table when it may forward others' packets
    prefixes: tuple[str, ...] = ()  # sorted

    @property
    def name(self) -> str:
        return self.tag.partition("@")[0]


class Plan(msgspec.Struct, frozen=True):
    """Routes and policy rules, those of this home only."""

    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()


def subnet_table(subnet: str) -> int:
    return stable_number("subnet " + subnet)


def plan(
    spec: networks.NetworkSpec,
    placed: Mapping[str, Placed],
    uplink: int,
    peers: Mapping[str, int] = MappingProxyType({}),
) -> Plan:
    """What the router must hold. `uplink`: index of the link to the edge, 0 when there is none. `peers`: those of the links to peered networks
    that are there."""
    routes = {Route(cidr, kind=UNREACHABLE) for cidr in spec.cidrs}
    rules = set()
    if uplink:
        rules.add(Rule(_BY_MARK, _REPLIES, mark=UPLINK_MARK))
        routes.update(Route(cidr, _REPLIES, THROW) for cidr in spec.cidrs)
        routes.add(Route("0.0.0.0/0", _REPLIES, link=uplink, gateway=EDGE_ADDRESS, onlink=True))
    if uplink and spec.entrance:
        rules.add(Rule(_BY_LINK, _ENTRANCE, incoming=UPLINK))
        routes.update(_entry(route, _ENTRANCE, placed, uplink, peers) for route in spec.entrance)
    onward = {
        one.destination: one for subnet in spec.subnets for one in subnet.routes if one.target.startswith("peer:")
    }
    if onward:
        rules.add(Rule(_BY_MARK, _ONWARD, mark=BALANCED_MARK))
        routes.update(_entry(route, _ONWARD, placed, uplink, peers) for route in onward.values())
    for subnet in spec.subnets:
        rules.add(Rule(_BY_SOURCE, subnet_table(subnet.name), source=subnet.cidr))
        routes.update(_table(spec, subnet, placed, uplink, peers))
    for port in placed.values():
        routes |= own(port).routes
        rules |= own(port).rules
    return Plan(frozenset(routes), frozenset(rules))


def own(port: Placed | None) -> Plan:
    """What an interface needs for itself: a /32 per address, a route per prefix, and when it forwards, a rule for what comes from it
    and a way for replies that carry its mark."""
    if port is None:
        return Plan()
    routes = {
        Route(f"{address}/32", link=port.index, source=port.gateway, metric=SECONDARY if place else PRIMARY)
        for place, address in enumerate(port.addresses)
    }
    routes.update(
        Route(prefix, link=port.index, gateway=port.addresses[0], onlink=True, metric=SECONDARY)
        for prefix in port.prefixes
    )
    if not port.forward_table:
        return Plan(frozenset(routes))
    back = stable_number("replies to " + port.name)
    routes.add(Route("0.0.0.0/0", back, link=port.index, gateway=port.addresses[0], onlink=True))
    rules = (
        Rule(_BY_LINK, port.forward_table, incoming=port.link),
        # What is local for it is not looked up again by its source, whose table may have led here.
        Rule(_LOCAL_BY_LINK, MAIN_TABLE, incoming=port.link),
        Rule(_BY_MARK, back, mark=node_mark(port.name), mask=ALL_BITS),
    )
    return Plan(frozenset(routes), frozenset(rules))


def joined(one: Plan, other: Plan) -> Plan:
    return Plan(one.routes | other.routes, one.rules | other.rules)


def without(one: Plan, other: Plan) -> Plan:
    return Plan(one.routes - other.routes, one.rules - other.rules)


def _table(
    spec: networks.NetworkSpec,
    subnet: networks.Subnet,
    placed: Mapping[str, Placed],
    uplink: int,
    peers: Mapping[str, int],
) -> list[Route]:
    number = subnet_table(subnet.name)
    table = {cidr: Route(cidr, number, THROW) for cidr in spec.cidrs}
    table["0.0.0.0/0"] = Route("0.0.0.0/0", number, UNREACHABLE)
    for route in subnet.routes:
        if ":" not in route.destination:  # the networks carry IPv4 only
            table[route.destination] = _entry(route, number, placed, uplink, peers)
    if any(
        route.kind != THROW and _is_inside(subnet.cidr, cidr) for cidr, route in table.items() if cidr != "0.0.0.0/0"
    ):
        table[subnet.cidr] = Route(subnet.cidr, number, THROW)
    return list(table.values())


def _is_inside(cidr: str, outer: str) -> bool:
    return IPv4Network(cidr).subnet_of(IPv4Network(outer))


def _entry(
    route: networks.Route, table: int, placed: Mapping[str, Placed], uplink: int, peers: Mapping[str, int]
) -> Route:
    destination = route.destination
    if route.target == "local":
        return Route(destination, table, THROW)
    if route.target == "internet" and uplink:
        return Route(destination, table, link=uplink, gateway=EDGE_ADDRESS, onlink=True)
    if route.target.startswith("peer:") and (link := peers.get(route.target.removeprefix("peer:"))):
        return Route(destination, table, link=link, gateway=PEER_ADDRESS, onlink=True)
    port = placed.get(route.target.removeprefix("interface:")) if route.target.startswith("interface:") else None
    if port is not None:
        return Route(destination, table, link=port.index, gateway=port.addresses[0], onlink=True)
    return Route(destination, table, BLACKHOLE)
