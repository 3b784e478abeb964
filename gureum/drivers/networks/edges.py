"""The edge: the namespace that holds a home's public pool, one link per network, and the host's one link into it.

    host ── gma1b2 ═ host ── edge ── n… ═ up ── network A
                              └──── n… ═ up ── network B

The edge only routes: each public address in use is a /32 route to its network's link, the rest of the pool is a
blackhole. A network can send from its own public addresses only (strict reverse path on its link). Of flows that guests
begin it remembers nothing. From the networks to the host nothing passes but answers: the host is not part of the cloud.
On the host itself there is one link, one route and one blackhole (should the link be gone, nothing for the pool leaves
by the real interface), and no rule.

With a way out (`EdgeSpec.way_out`), what is meant for the public internet passes to the host, which sends it on
(ways_out.py); what is private or has a special meaning (IANA: IPv4 special-purpose addresses) does not. Networks without
public addresses leave from the edge's own.
"""

from __future__ import annotations

import ipaddress

from gureum.drivers.networks import namespaces, netlink
from gureum.drivers.networks.netlink import BLACKHOLE, Netlink, Route
from gureum.drivers.networks.network_names import HOST_LINK_IN_EDGE, NFT_TABLE, HomeNames, network_link, stable_number
from gureum.drivers.networks.routers import EDGE_MAC, MTU_BYTES
from gureum.drivers.networks.routes import EXITS, NETWORK_ADDRESS
from gureum.drivers.networks.ways_out import REFUSE, HostWay
from gureum.drivers.nft.expressions import ACCEPT, Json, Line, hook, match, meta, payload, prefix
from gureum.drivers.nft.libnftables import Nftables
from gureum.ports.networks import EdgeSpec

_HOST_MAC = "02:67:6d:00:00:04"

CLOSED = (
    *(
        "0.0.0.0/8",
        "10.0.0.0/8",
        EXITS,
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
    ),
    *("198.18.0.0/15", "224.0.0.0/3"),
)
"""Where no guest gets by the host: this host, its neighbours, other homes' pools, and groups (multicast, broadcast)."""

_BEFORE_TRACKING = -300
"""Priority of a hook (Netfilter: NF_IP_PRI_RAW)."""

_SYSCTLS = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "?ipv6/conf/all/disable_ipv6": "1",
    "?ipv6/conf/default/disable_ipv6": "1",
    "ipv4/ip_forward": "1",
}


class Edge:
    """The edge of one home. Its methods run in the worker, one at a time."""

    def __init__(self, names: HomeNames) -> None:
        self._names = names
        self._public: dict[str, Route] | None = None

    @property
    def exists(self) -> bool:
        return namespaces.is_pinned(self._names.edge)

    def ensure(self, spec: EdgeSpec) -> None:
        if not self.exists:
            self._make(spec)
        pool = ipaddress.IPv4Network(spec.pool)
        host, edge = str(pool[1]), str(pool[2])
        with Netlink() as kernel:
            kernel.send([netlink.add_route(Route(spec.pool, kind=BLACKHOLE, metric=self._names.host_metric))])
            link = kernel.link(self._names.host_link)
            if link is None:
                link = self._make_host_link(kernel)
            kernel.send(
                [
                    netlink.add_address(link.index, host, 32),
                    netlink.add_neighbour(link.index, edge, EDGE_MAC),
                    netlink.set_up(link.index),
                    netlink.add_route(Route(spec.pool, link=link.index, gateway=edge, source=host, onlink=True)),
                ]
            )
            self._bring_inside(link.peer_index, spec, host, edge)
            kernel.wait_ready(link.name)
        HostWay(self._names).bring(spec)

    def remove(self) -> None:
        """Takes the host's link, its routes, its way out and the namespace away; of what is gone it is success."""
        self._public = None
        HostWay(self._names).remove()
        with Netlink() as kernel:
            link = kernel.link(self._names.host_link)
            if link is not None:
                kernel.send([netlink.delete_link(link.index)])
            marked = [route for route in kernel.routes() if route.metric == self._names.host_metric]
            kernel.send(netlink.delete_route(route) for route in marked)
        namespaces.unpin(self._names.edge)

    def publish(self, interface: str, network: str, wanted: frozenset[str]) -> None:
        """The public addresses of one interface lead to its network's link, others that it had no longer. A network
        without a link gets none."""
        mark = stable_number("interface " + interface)
        if not self.exists:
            return
        if self._public is not None and not wanted and not any(r.metric == mark for r in self._public.values()):
            return
        with namespaces.entered(self._names.edge), Netlink() as kernel:
            known, self._public = self._public, None  # a failure below makes it unknown
            if known is None:
                known = _public_routes(kernel)
            link = kernel.link(network_link(network)) if wanted else None
            new = {address: _public_route(address, link.index, mark) for address in wanted} if link else {}
            gone = [route for address, route in known.items() if route.metric == mark and address not in new]
            # An address that moves from another interface: the old route must go, it may have the lower metric.
            moved = [known[a] for a, route in new.items() if a in known and known[a] != route]
            kernel.send(netlink.delete_route(route) for route in gone + moved)
            kernel.send(netlink.add_route(route) for a, route in new.items() if known.get(a) != route)
            kept = {address: route for address, route in known.items() if route not in gone}
            self._public = kept | new

    def forget(self) -> None:
        """What is known of the routes may be wrong (a network's link went, and its routes with it)."""
        self._public = None

    def _make(self, spec: EdgeSpec) -> None:
        self._public = None
        with namespaces.new_network():
            namespaces.write_sysctls(_SYSCTLS)
            Nftables().run(rules(EdgeSpec(spec.pool)))
            with Netlink() as kernel:
                kernel.send([netlink.set_up(netlink.LOOPBACK)])
            namespaces.pin("/proc/thread-self/ns/net", self._names.edge)

    def _make_host_link(self, kernel: Netlink) -> netlink.Link:
        name = self._names.host_link
        with self._names.edge.open() as edge:
            kernel.send([netlink.add_veth(name, _HOST_MAC, HOST_LINK_IN_EDGE, EDGE_MAC, edge.fileno(), MTU_BYTES)])
        namespaces.write_sysctls({f"?ipv6/conf/{name}/disable_ipv6": "1"})
        link = kernel.link(name)
        assert link is not None, "made just now"
        return link

    def _bring_inside(self, index: int, spec: EdgeSpec, host: str, edge: str) -> None:
        with namespaces.entered(self._names.edge), Netlink() as kernel:
            kernel.send(
                [
                    netlink.add_address(index, edge, 32),
                    netlink.add_neighbour(index, host, _HOST_MAC),
                    netlink.set_up(index),
                    netlink.add_route(Route(spec.pool, kind=BLACKHOLE)),
                    netlink.add_route(Route(f"{host}/32", link=index)),
                    netlink.add_route(Route("0.0.0.0/0", link=index, gateway=host, onlink=True)),
                ]
            )
            Nftables().run(rules(spec))


def _untracked(spec: EdgeSpec) -> list[Line]:
    """What is passed on whatever was before: from network to network, and between networks and the world. All tenants share the edge, and its
    table of flows has an end: what a guest begins takes no room in it. Tracked is what the host begins, and what is translated here."""
    pool = ipaddress.IPv4Network(spec.pool)
    source, destination, not_tracked = payload("ip", "saddr"), payload("ip", "daddr"), {"notrack": None}
    from_network = match(meta("iifname"), HOST_LINK_IN_EDGE, "!=")
    no_exit = match(source, prefix(EXITS), "!=")
    to_network = [
        match(destination, prefix(spec.pool)),
        match(destination, {"set": [str(pool[1]), str(pool[2])]}, "!="),
    ]
    lines: list[Line] = [(from_network, no_exit, *to_network, not_tracked)]
    if spec.way_out is not None:
        near = {"set": [prefix(cidr) for cidr in CLOSED]}
        lines.append((from_network, no_exit, match(destination, near, "!="), not_tracked))
        lines.append((match(meta("iifname"), HOST_LINK_IN_EDGE), match(source, near, "!="), *to_network, not_tracked))
    return lines


def _public_route(address: str, link: int, mark: int) -> Route:
    return Route(f"{address}/32", link=link, gateway=NETWORK_ADDRESS, metric=mark, onlink=True)


def _public_routes(kernel: Netlink) -> dict[str, Route]:
    found = (route for route in kernel.routes() if route.gateway == NETWORK_ADDRESS)
    return {route.destination.removesuffix("/32"): route for route in found}


def rules(spec: EdgeSpec) -> list[Json]:
    """The commands that make the edge's table anew, as one transaction. What comes from the host or goes from network to
    network passes; towards the host only answers, and with a way out what is meant for the world beyond it."""
    known = match({"ct": {"key": "state"}}, ["established", "related"], "in")
    to_host, from_host = match(meta("oifname"), HOST_LINK_IN_EDGE), match(meta("iifname"), HOST_LINK_IN_EDGE)
    drop: Line = ({"counter": None}, {"drop": None})
    begun_inside = match({"ct": {"key": "direction"}}, "original")
    way_out = spec.way_out
    if way_out is None:
        forward: list[Line] = [(to_host, begun_inside, *drop), (known, ACCEPT), (to_host, *drop)]
    else:
        private = [prefix(cidr) for cidr in way_out.private]
        forward = [
            (known, ACCEPT),
            *([(to_host, match(payload("ip", "daddr"), {"set": private}), ACCEPT)] if private else []),
            (to_host, match(payload("ip", "daddr"), {"set": [prefix(cidr) for cidr in CLOSED]}), *REFUSE),
        ]
    ping = match(payload("icmp", "type"), "echo-request")
    chains: dict[str, tuple[Json, list[Line]]] = {
        "forward": (hook("filter", "forward", 0, "drop"), [*forward, (ACCEPT,)]),
        "input": (hook("filter", "input", 0, "drop"), [(known, ACCEPT), (from_host, ping, ACCEPT)]),
        "untracked": (hook("filter", "prerouting", _BEFORE_TRACKING, "accept"), _untracked(spec)),
    }
    if way_out is not None:
        from_exit = match(payload("ip", "saddr"), prefix(EXITS))
        own = {"snat": {"family": "ip", "addr": str(ipaddress.IPv4Network(spec.pool)[2])}}
        chains["postrouting"] = (hook("nat", "postrouting", 100, "accept"), [(from_exit, own)])
    table = {"family": "inet", "name": NFT_TABLE}
    commands: list[Json] = [{verb: {"table": table}} for verb in ("add", "delete", "add")]
    for name, (base, lines) in chains.items():
        commands.append({"add": {"chain": {"family": "inet", "table": NFT_TABLE, "name": name} | base}})
        rule = {"family": "inet", "table": NFT_TABLE, "chain": name}
        commands += [{"add": {"rule": rule | {"expr": list(line)}}} for line in lines]
    return commands
