"""Routers: the network namespace of one network, its interfaces, routes and uplink.

A Router keeps what it last put into its namespace, so that a change costs only its difference. It reads that from the
kernel when it is first used and after every failure; nothing is stored elsewhere. An interface's link is tagged (its
alias) with interface, sandbox and the sandbox's inode as the last step of making it: a link without a whole tag is
half made and is made anew.

Packets are not forwarded before the firewall says so: `ip_forward` is set by the firewall's first rule set.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface
from pathlib import Path
from types import MappingProxyType

from gureum.drivers.networks import namespaces, netlink
from gureum.drivers.networks.netlink import Message, Netlink, Route, Rule
from gureum.drivers.networks.network_names import UPLINK, interface_link, interface_number, network_link, peer_link
from gureum.drivers.networks.routes import (
    EDGE_ADDRESS,
    NETWORK_ADDRESS,
    PEER_ADDRESS,
    PRIMARY,
    SECONDARY,
    Placed,
    Plan,
    exit_address,
    joined,
    own,
    plan,
    subnet_table,
    without,
)
from gureum.ports.networks import InterfaceCounters, InterfaceSpec, NetworkSpec, Peer

# One MAC for the router's end of every link: each link is a wire of its own.
ROUTER_MAC = "02:67:6d:00:00:01"
EDGE_MAC = "02:67:6d:00:00:02"
_NETWORK_MAC = "02:67:6d:00:00:03"
_PEER_MAC = "02:67:6d:00:00:05"  # of both ends: each is the other's only neighbour
MTU_BYTES = 1500
_PEER_ALIAS = "peer "
_FURTHER = range(1, 16)  # a machine has at most 15 interfaces: eth0, and these
_OWN_TABLES = 10000  # of eth1: 10001

_SYSCTLS = {
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    # Both must be off: the kernel sends redirects when either says so.
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "ipv4/conf/default/proxy_arp": "1",
    "?ipv6/conf/all/disable_ipv6": "1",
    "?ipv6/conf/default/disable_ipv6": "1",
}


class Router:
    """One network's router. Its methods run in the worker, one at a time."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.placed: dict[str, Placed] = {}
        self._spec: NetworkSpec | None = None
        self._route_targets: frozenset[str] = frozenset()
        self._plan = Plan()
        self._local: set[str] = set()
        self._namespace = 0
        self._known = False
        self._peers: dict[str, int] = {}  # indexes of the links to peered networks

    # --- the network ---

    def ensure(self, spec: NetworkSpec, edge: Path | None, peers: Mapping[str, Path] = MappingProxyType({})) -> bool:
        """Makes the namespace where it is missing and brings it to `spec`. `edge`: where the uplink leads, None
        without. `peers`: the routers of peered networks that are there. Says whether the uplink came or went."""
        if not namespaces.is_pinned(self.path):
            self._make()
        with self._inside() as kernel:
            self._spec = spec
            routes = itertools.chain(spec.entrance, *(subnet.routes for subnet in spec.subnets))
            targets = (route.target for route in routes)
            self._route_targets = frozenset(t.removeprefix("interface:") for t in targets if t.startswith("interface:"))
            self._bring_local(kernel, spec)
            changed = self._bring_uplink(kernel, edge)
            self._bring_peers(kernel, peers)
            self._bring_routes(kernel)
        return changed

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Those that are wished, as far as it is known."""
        return self._spec.peers if self._spec is not None else ()

    def look_at_peers(self) -> None:
        """Another network's router has made or taken away links into this one."""
        with self._inside() as kernel:
            self._peers = _peer_links(kernel)
            self._bring_routes(kernel)

    def cut_peers(self) -> None:
        """The links to peered networks go at once, not only when the kernel has taken down the namespace."""
        with self._inside() as kernel:
            kernel.send(netlink.delete_link(index) for index in _peer_links(kernel).values())
            self._peers = {}

    def observe(self) -> None:
        """Reads the namespace anew: a guest may have deleted its end of a link."""
        self._known = False
        with self._inside():
            pass

    def cut_uplink(self) -> None:
        """The link to the edge goes at once, not only when the kernel has taken down the namespace."""
        with self._inside() as kernel:
            self._bring_uplink(kernel, None)

    def _make(self) -> None:
        with namespaces.new_network():
            namespaces.write_sysctls(_SYSCTLS)
            with Netlink() as kernel:
                kernel.send([netlink.set_up(netlink.LOOPBACK)])
            namespaces.pin("/proc/thread-self/ns/net", self.path)

    def counters(self) -> list[tuple[str, str, InterfaceCounters]]:
        """(interface, sandbox, counters) of those that are attached. What the router's end receives is what the guest sends."""
        with namespaces.entered(self.path), Netlink() as kernel:
            found = kernel.counters()
        told = []
        for one in found:
            interface, attached, sandbox = one.alias.partition("@")
            counters = InterfaceCounters(one.sent_bytes, one.sent_packets, one.received_bytes, one.received_packets)
            if attached:
                told.append((interface, sandbox.partition("#")[0], counters))
        return told

    @contextlib.contextmanager
    def _inside(self) -> Iterator[Netlink]:
        """A socket in the namespace, with what is there known; a failure in the block makes it unknown again."""
        with namespaces.entered(self.path), Netlink() as kernel:
            if (
                not self._known or kernel.namespace != self._namespace
            ):  # it may have been cleaned and made anew behind our back
                self._read(kernel)
                self._namespace = kernel.namespace
            self._known = False
            yield kernel
            self._known = True

    def _read(self, kernel: Netlink) -> None:
        routes, links = kernel.routes(), kernel.links()
        self._plan = Plan(frozenset(routes), frozenset(kernel.rules()))
        self._local = {address for address, _ in kernel.addresses(netlink.LOOPBACK)} - {"127.0.0.1"}
        by_link = (rule for rule in self._plan.rules if rule.incoming and rule.table != netlink.MAIN_TABLE)
        forwarding = {rule.incoming: rule.table for rule in by_link}
        self.placed = {}
        self._peers = _peer_links(kernel)
        for link in links:
            name, sandbox, _ = link.alias.partition("@")
            if not sandbox:
                continue
            routes_of = sorted((r for r in routes if r.link == link.index and not r.gateway), key=lambda r: r.metric)
            if routes_of and routes_of[0].metric == PRIMARY:
                addresses = tuple(route.destination.removesuffix("/32") for route in routes_of)
                table = forwarding.get(link.name, 0)
                behind = (r for r in routes if r.link == link.index and r.gateway and r.table == netlink.MAIN_TABLE)
                prefixes = tuple(sorted(route.destination for route in behind if route.metric == SECONDARY))
                self.placed[name] = Placed(
                    link.index,
                    link.name,
                    link.alias,
                    addresses,
                    routes_of[0].source,
                    forward_table=table,
                    prefixes=prefixes,
                )

    def _bring_local(self, kernel: Netlink, spec: NetworkSpec) -> None:
        wanted = {subnet.gateway for subnet in spec.subnets}
        wanted |= set(spec.local_addresses)
        loopback = netlink.LOOPBACK
        kernel.send([netlink.add_address(loopback, address, 32) for address in sorted(wanted - self._local)])
        kernel.send([netlink.delete_address(loopback, address, 32) for address in sorted(self._local - wanted)])
        self._local = wanted

    def _bring_uplink(self, kernel: Netlink, edge: Path | None) -> bool:
        link = kernel.link(UPLINK)
        if link is None and edge is None:
            return False
        if link is not None:
            if edge is not None and self._is_whole(link, edge):
                return False
            kernel.send([netlink.delete_link(link.index)])
        if edge is not None:
            self._make_uplink(kernel, edge)
        return True

    def _is_whole(self, link: netlink.Link, edge: Path) -> bool:
        """Whether the uplink leads into this very edge, and making it was not cut off before its last step (the far end's alias)."""
        with namespaces.entered(edge), Netlink() as kernel:
            far = kernel.link(network_link(self.name))
        return far is not None and (far.index, far.peer_index, far.alias) == (link.peer_index, link.index, self.name)

    def _make_uplink(self, kernel: Netlink, edge: Path) -> None:
        far_name = network_link(self.name)
        with edge.open() as far:
            kernel.send([netlink.add_veth(UPLINK, _NETWORK_MAC, far_name, EDGE_MAC, far.fileno(), MTU_BYTES)])
        link = kernel.link(UPLINK)
        assert link is not None, "made just now"
        kernel.send(_uplink_end(link.index, NETWORK_ADDRESS, EDGE_ADDRESS, EDGE_MAC))
        out = exit_address(link.peer_index) if self._spec is not None and self._spec.exit else ""
        if out:
            kernel.send([netlink.add_address(link.index, out, 32)])
        with namespaces.entered(edge), Netlink() as edge_kernel:
            edge_kernel.send(_uplink_end(link.peer_index, EDGE_ADDRESS, NETWORK_ADDRESS, _NETWORK_MAC))
            if out:
                route = Route(f"{out}/32", link=link.peer_index, gateway=NETWORK_ADDRESS, onlink=True)
                edge_kernel.send([netlink.add_route(route)])
            edge_kernel.send([netlink.set_alias(link.peer_index, self.name)])
        kernel.wait_ready(UPLINK)

    def _bring_peers(self, kernel: Netlink, peers: Mapping[str, Path]) -> None:
        """A link to each router in `peers`, and to no other. The alias, set last and on both ends, tells that it is whole."""
        there = _peer_links(kernel)
        unwished = [index for name, index in there.items() if name not in {one.name for one in self.peers}]
        kernel.send(netlink.delete_link(index) for index in unwished)
        for name, other in peers.items():
            if name not in there:
                self._make_peer_link(kernel, name, other)
        self._peers = _peer_links(kernel)

    def _make_peer_link(self, kernel: Netlink, name: str, other: Path) -> None:
        link_name = peer_link(name)
        half_made = kernel.link(link_name)
        if half_made is not None:
            kernel.send([netlink.delete_link(half_made.index)])
        with namespaces.entered(other), Netlink() as far_kernel:
            stale = far_kernel.link(link_name)
            if stale is not None:
                far_kernel.send([netlink.delete_link(stale.index)])
        with other.open() as far:
            kernel.send([netlink.add_veth(link_name, _PEER_MAC, link_name, _PEER_MAC, far.fileno(), MTU_BYTES)])
        link = kernel.link(link_name)
        assert link is not None, "made just now"
        kernel.send(_peer_end(link.index))
        with namespaces.entered(other), Netlink() as far_kernel:
            far_kernel.send([*_peer_end(link.peer_index), netlink.set_alias(link.peer_index, _PEER_ALIAS + name)])
        kernel.wait_ready(link_name)
        kernel.send([netlink.set_alias(link.index, _PEER_ALIAS + name)])

    def _bring_routes(
        self, kernel: Netlink, name: str = "", was: Placed | None = None, now: Placed | None = None
    ) -> None:
        """The difference between what is there and what should be. When one interface changes (`name`, from `was` to
        `now`) that no route table names, only its own part can differ. So it is taken after a restart, too, until
        ensure_network tells what is wished: the rest is right as it is."""
        if self._spec is None or (name and name not in self._route_targets):
            wanted = joined(without(self._plan, own(was)), own(now))
        else:
            uplink = kernel.link(UPLINK) if self._spec.uplink else None
            wanted = plan(self._spec, self.placed, uplink.index if uplink else 0, self._peers)
        old = self._plan
        kernel.send(netlink.add_route(route) for route in wanted.routes - old.routes)
        kernel.send(netlink.add_rule(rule) for rule in wanted.rules - old.rules)
        kernel.send(netlink.delete_rule(rule) for rule in old.rules - wanted.rules)
        replaced = {(route.destination, route.table, route.metric) for route in wanted.routes}
        gone = (r for r in old.routes - wanted.routes if (r.destination, r.table, r.metric) not in replaced)
        kernel.send(netlink.delete_route(route) for route in gone)
        self._plan = wanted

    # --- interfaces ---

    def attach(self, spec: InterfaceSpec, sandbox: Path) -> None:
        """The interface as wished in the sandbox pinned at `sandbox`; one elsewhere or half made is made anew."""
        tag = f"{spec.name}@{spec.sandbox}#{sandbox.stat().st_ino}"
        with self._inside() as kernel:
            link = kernel.link(interface_link(spec.name))
            if link is not None and link.alias != tag:
                kernel.send([netlink.delete_link(link.index)])
                link = None
            gone = None
            if link is None:
                gone = self._forget(spec.name)
                link = self._make_link(kernel, spec, sandbox)
            was = self.placed.get(spec.name)
            now = _placed(spec, link, tag)
            if now == was:
                return
            if was is None or was.addresses != now.addresses:
                _bring_inside(spec, sandbox, link, was.addresses if was else ())
                kernel.wait_ready(link.name)
            kernel.send(netlink.add_neighbour(link.index, address, spec.mac) for address in spec.addresses)
            self.placed[spec.name] = now
            self._bring_routes(kernel, spec.name, was or gone, now)
            if link.alias != tag:
                kernel.send([netlink.set_alias(link.index, tag)])

    def detach(self, name: str) -> None:
        """No link of that interface remains; both ends vanish together."""
        with self._inside() as kernel:
            link = kernel.link(interface_link(name))
            if link is not None:
                kernel.send([netlink.delete_link(link.index)])
            was = self._forget(name)
            self._bring_routes(kernel, name, was)

    def _make_link(self, kernel: Netlink, spec: InterfaceSpec, sandbox: Path) -> netlink.Link:
        name = interface_link(spec.name)
        with sandbox.open() as inside:
            number = interface_number(spec.name)
            pair = netlink.add_veth(name, ROUTER_MAC, spec.device, spec.mac, inside.fileno(), spec.mtu, group=number)
            kernel.send([pair])
        link = kernel.link(name)
        assert link is not None, "made just now"
        kernel.send([netlink.answer_arp_at_once(link.index), netlink.set_up(link.index)])
        return link

    def _forget(self, name: str) -> Placed | None:
        """An interface whose link is gone: the kernel took its routes along (its rule stays until it is deleted)."""
        old = self.placed.pop(name, None)
        if old is not None:
            routes = frozenset(route for route in self._plan.routes if route.link != old.index)
            self._plan = Plan(routes, self._plan.rules)
        return old


def _placed(spec: InterfaceSpec, link: netlink.Link, tag: str) -> Placed:
    table = 0 if spec.source_check else subnet_table(spec.subnet)
    return Placed(
        link.index, link.name, tag, spec.addresses, spec.gateway, spec.mac, table, tuple(sorted(spec.prefixes))
    )


def _peer_links(kernel: Netlink) -> dict[str, int]:
    """Whole links to peered networks: peering -> index."""
    found = (one for one in kernel.links() if one.alias.startswith(_PEER_ALIAS))
    return {one.alias.removeprefix(_PEER_ALIAS): one.index for one in found}


def _peer_end(index: int) -> list[Message]:
    return [netlink.add_neighbour(index, PEER_ADDRESS, _PEER_MAC), netlink.set_up(index)]


def _uplink_end(index: int, own_address: str, far_address: str, far_mac: str) -> list[Message]:
    return [
        netlink.add_address(index, own_address, 32, only_link=True),
        netlink.add_neighbour(index, far_address, far_mac),
        netlink.set_up(index),
    ]


def _bring_inside(spec: InterfaceSpec, sandbox: Path, link: netlink.Link, old: tuple[str, ...]) -> None:
    """The sandbox's end: its addresses, and on a fresh link (`old` empty) the default route. A guest may have renamed
    its end or moved it to a namespace of its own; then it also looks after the addresses itself."""
    with namespaces.entered(sandbox), Netlink() as kernel:
        device = link.peer_index
        end = kernel.link_at(device)
        if end is None or end.peer_index != link.index:
            return
        gone = [address for address in old if address not in spec.addresses]
        messages = [netlink.set_up(device)]
        messages += [netlink.delete_address(device, a, spec.prefix_length if a == old[0] else 32) for a in gone]
        for place, address in enumerate(spec.addresses):
            if address not in old:
                messages.append(netlink.add_address(device, address, 32 if place else spec.prefix_length))
        if not old:
            # Permanent, and so not in the kernel's one table of a thousand neighbours for all, which some guest may have filled.
            messages.append(netlink.add_neighbour(device, spec.gateway, ROUTER_MAC))
        if spec.default_route and not old:
            onlink = spec.prefix_length == 32
            messages.append(
                netlink.add_route(
                    Route("0.0.0.0/0", link=device, gateway=spec.gateway, onlink=onlink, protocol=netlink.BOOT)
                )
            )
        if not spec.default_route:
            messages += _answering_by_itself(spec, device, old)
        kernel.send(messages)


def _answering_by_itself(spec: InterfaceSpec, device: int, old: tuple[str, ...]) -> list[Message]:
    """A further interface has a table of its own for packets from its addresses, as Amazon's and Debian's images for EC2 set up
    (amazon-ec2-net-utils): by the first interface's default route answers would leave through the wrong one, and be dropped there.
    Rules of a place where an address was before are taken away, for they stay when their link goes."""
    place = next((place for place in _FURTHER if spec.device == f"eth{place}"), 0)
    if not place:
        return []
    table, priority = _OWN_TABLES + place, _OWN_TABLES + place
    messages = [netlink.delete_rule(Rule(priority, table, f"{a}/32")) for a in old if a not in spec.addresses]
    for address in (one for one in spec.addresses if one not in old):
        stale = (_OWN_TABLES + other for other in _FURTHER if other != place)
        messages += [netlink.delete_rule(Rule(number, number, f"{address}/32")) for number in stale]
        messages.append(netlink.add_rule(Rule(priority, table, f"{address}/32")))
    if not old:
        inside = str(IPv4Interface(f"{spec.addresses[0]}/{spec.prefix_length}").network)
        default = Route("0.0.0.0/0", table=table, link=device, gateway=spec.gateway, onlink=True, protocol=netlink.BOOT)
        messages.append(netlink.add_route(Route(inside, table=table, link=device, protocol=netlink.BOOT)))
        messages.append(netlink.add_route(default))
    return messages
