"""What load balancers' nodes do not listen for, in the nftables table of one network, as pure values: what `nft_table` puts into its table where
there are nodes.

    nat postrouting   the first packet of a flow to a node, which all groups and ACLs have let come: `heard-NODE` lets on what its proxy listens
                      for; the rest ends in `unheard`, without an answer. Known flows do not come here
    forward           a TCP packet to a node that belongs to no flow is reset only where the node listens (`stray-NODE`), or at a port from which
                      its own connections begin

What the kernel balances is translated before, and goes to no node. A node's own connections, its answers and errors about known flows (ICMP)
are of known flows. AWS: "Listeners for your Network Load Balancers": what is for no configured listener, and ICMP other than type 3, is
unintended traffic and dropped; "Security groups for your Application Load Balancer": those respond to ping where their groups let it in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from gureum.drivers.networks.network_names import DENIED_LOG_GROUP, interface_link
from gureum.drivers.nft.balancers import Listener
from gureum.drivers.nft.expressions import (
    DENY,
    RETURN,
    Chain,
    Elements,
    Json,
    Line,
    by_verdict,
    goto,
    match,
    meta,
    payload,
)
from gureum.ports.firewalls import Port

HEARD: Line = (by_verdict("oifname", "heard"),)
_STRAY: Line = ({"vmap": {"key": payload("ip", "daddr"), "data": "@stray"}},)
_OWN_PORTS: Json = {"range": [32768, 60999]}
"""From which a node's connections begin: Linux's ip_local_port_range."""
_BEGINS_NOTHING = match({"&": [payload("tcp", "flags"), "syn"]}, "syn", "!=")


def are_in(ports: Iterable[Port]) -> bool:
    return any(port.listens is not None for port in ports)


def add_nodes(
    ports: Collection[Port],
    found: list[Listener],
    chains: dict[str, Chain],
    sets: dict[str, Elements],
    *,
    watched: bool,
    strays: bool,
) -> None:
    """Chains and sets of all nodes. `found`: what the kernel balances. `watched`: what is dropped is told to who watches flows. `strays`: what
    belongs to no flow is reset."""
    nodes = [port for port in ports if port.listens is not None]
    if not nodes:
        return
    told: Line = ({"log": {"group": DENIED_LOG_GROUP, "prefix": "unheard"}},) if watched else ()
    chains["unheard"] = Chain((({"counter": None}, *told, {"drop": None}),))
    sets["heard"] = Elements("ifname", "verdict", {})
    for port in nodes:
        name = f"heard-{port.interface}"
        chains[name] = Chain(tuple(_heard_lines(port)))
        sets["heard"].entries[interface_link(port.interface)] = {"jump": {"target": name}}
    if strays:
        chains["balance-stray"] = Chain((_STRAY, *chains["balance-stray"].lines))
        sets["stray"] = Elements("ipv4_addr", "verdict", {})
        for port in nodes:
            _add_stray(port, found, chains, sets)


def _heard_lines(port: Port) -> Iterator[Line]:
    assert port.listens is not None
    if port.listens.tcp:
        yield (match(payload("tcp", "dport"), {"set": sorted(port.listens.tcp)}), RETURN)
    if port.listens.ping:
        yield (match(meta("l4proto"), "icmp"), RETURN)
    # Of a connection of its own that the kernel has forgotten.
    yield (match(payload("tcp", "dport"), _OWN_PORTS), _BEGINS_NOTHING, RETURN)
    yield goto("unheard")


def _add_stray(port: Port, found: list[Listener], chains: dict[str, Chain], sets: dict[str, Elements]) -> None:
    assert port.listens is not None
    its = (one.port for one in found if one.balancer.interface == port.interface)
    listened = sorted({*port.listens.tcp, *(one.port for one in its if one.protocol == "tcp")})
    answered = [match(payload("tcp", "dport"), {"set": listened})] if listened else []
    answered.append(match(payload("tcp", "dport"), _OWN_PORTS))
    name = f"stray-{port.interface}"
    chains[name] = Chain((*((one, RETURN) for one in answered), (DENY,)))
    for address in (*port.addresses, *(public for _, public in port.public)):
        sets["stray"].entries[address] = {"jump": {"target": name}}
