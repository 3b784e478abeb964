"""Sandboxes that translate addresses: NAT gateways. No program runs in one; the kernel forwards, with its own connection tracking.

    subnet ── router ──► eth0 │ forward: TCP, UDP and ICMP; a TCP packet of no known connection is answered by a reset
    out of ── router ◄── eth0 │ nat postrouting: source := one of the gateway's addresses, chosen by source and destination
                              │ input: nothing

The connection tracking of a sandbox is its own, and so are its limits: a connection that is idle for 350 s is forgotten.
AWS: VPC User Guide, "NAT gateway basics" (protocols, idle timeout, 55,000 connections to each destination for each address).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gureum.drivers import namespaces
from gureum.drivers.libnftables import Nftables
from gureum.drivers.network_names import NFT_TABLE
from gureum.drivers.nft_expressions import ACCEPT, Json, Line, hook, match, meta, payload

IDLE_S = 350
FIRST_PORT, LAST_PORT = 1024, 65535
_TABLE = {"family": "ip", "table": NFT_TABLE}

_SYSCTLS = {
    # It sends back by the link it came from: the kernel would tell senders to do without it.
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "?ipv4/conf/eth0/send_redirects": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "netfilter/nf_conntrack_tcp_loose": "0",
    "netfilter/nf_conntrack_tcp_timeout_established": str(IDLE_S),
    "netfilter/nf_conntrack_udp_timeout": str(IDLE_S),
    "netfilter/nf_conntrack_udp_timeout_stream": str(IDLE_S),
    "netfilter/nf_conntrack_icmp_timeout": "60",
}


def bring(net: Path, addresses: tuple[str, ...]) -> None:
    """Makes the sandbox pinned at `net` translate to `addresses`. Connections that are known go on. Idempotent; forwarding begins when the rules
    are there."""
    with namespaces.entered(net):
        Nftables().run(rules(addresses))
        namespaces.write_sysctls(_SYSCTLS)
        namespaces.write_sysctls({"ipv4/ip_forward": "1"})


def rules(addresses: tuple[str, ...]) -> list[dict[str, Any]]:
    """libnftables-json(5) commands: the table, in place of what was there, as one transaction."""
    table = {"family": "ip", "name": NFT_TABLE}
    commands: list[dict[str, Any]] = [
        {"add": {"table": table}},
        {"delete": {"table": table}},
        {"add": {"table": table}},
    ]
    for name, (at, lines) in _chains(addresses).items():
        commands.append({"add": {"chain": {**_TABLE, "name": name, **at}}})
        commands += [{"add": {"rule": {**_TABLE, "chain": name, "expr": list(line)}}} for line in lines]
    return commands


def _chains(addresses: tuple[str, ...]) -> dict[str, tuple[dict[str, Any], tuple[Line, ...]]]:
    state: Json = {"ct": {"key": "state"}}
    reset: Json = {"reject": {"type": "tcp reset"}}
    stray: Line = (match(state, "invalid", "in"), match(meta("l4proto"), "tcp"), reset)
    passing: Line = (match(state, {"set": ["established", "related"]}, "=="), ACCEPT)
    opening: Line = (match(state, "new", "in"), match(meta("l4proto"), {"set": ["tcp", "udp", "icmp"]}), ACCEPT)
    return {
        "forward": (hook("filter", "forward", 0, "drop"), (passing, stray, opening)),
        "input": (hook("filter", "input", 0, "drop"), ()),
        "nat-postrouting": (hook("nat", "postrouting", 100, "accept"), _translations(addresses)),
    }


def _translations(addresses: tuple[str, ...]) -> tuple[Line, ...]:
    """TCP and UDP get a port, whichever is free for the destination; ICMP has none to give out."""
    ported = match(meta("l4proto"), {"set": ["tcp", "udp"]})
    if len(addresses) == 1:
        ports = {"range": [FIRST_PORT, LAST_PORT]}
        return (ported, {"snat": {"addr": addresses[0], "port": ports}}), ({"snat": {"addr": addresses[0]}},)
    pair = {"concat": [payload("ip", "saddr"), payload("ip", "daddr")]}
    numbered = [[number, address] for number, address in enumerate(addresses)]
    choice = {"map": {"key": {"jhash": {"expr": pair, "mod": len(addresses)}}, "data": {"set": numbered}}}
    return (({"snat": {"addr": choice}},),)
