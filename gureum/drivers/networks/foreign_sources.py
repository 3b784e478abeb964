"""A sandbox in which a program without any power may speak from addresses that are not its own.

    rules  100  from the sandbox itself   its own addresses (loopback and the interface's), then
           101                            the main table: the way out
           102  what comes by eth0        the local table, where every address is local

The kernel binds a socket to any address that the *local* table knows, and finds replies to it there; what the sandbox itself sends never looks
at it. So a proxy needs neither IP_TRANSPARENT, which takes power over the network, nor a program of ours beside it. That its packets may
pass, and that replies come back, is the router's business (nft_balancers, routes).
"""

from __future__ import annotations

from pathlib import Path

from gureum.drivers.networks import namespaces, netlink
from gureum.drivers.networks.netlink import LOCAL, LOCAL_TABLE, LOOPBACK, MAIN_TABLE, Netlink, Route, Rule

_OWN_TABLE = 100
_FROM_ITSELF, _WAY_OUT, _FROM_OUTSIDE = 100, 101, 102
_DEVICE = "eth0"


def allow(net: Path, address: str) -> None:
    """Idempotent. `address`: the sandbox's own. Nothing under way is disturbed: the old rule goes when the new ones are there."""
    routes = [Route("127.0.0.0/8", _OWN_TABLE, LOCAL, LOOPBACK), Route(f"{address}/32", _OWN_TABLE, LOCAL, LOOPBACK)]
    rules = [
        Rule(_FROM_ITSELF, _OWN_TABLE, incoming="lo"),
        Rule(_WAY_OUT, MAIN_TABLE, incoming="lo"),
        Rule(_FROM_OUTSIDE, LOCAL_TABLE, incoming=_DEVICE),
    ]
    with namespaces.entered(net), Netlink() as kernel:
        kernel.send([*map(netlink.add_route, routes), *map(netlink.add_rule, rules)])
        kernel.send([netlink.delete_rule(Rule(0, LOCAL_TABLE, protocol=netlink.KERNEL))])
        kernel.send([netlink.add_route(Route("0.0.0.0/0", LOCAL_TABLE, LOCAL, LOOPBACK))])
