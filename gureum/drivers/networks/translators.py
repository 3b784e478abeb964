"""Translators: the network namespace that is a NAT gateway. What comes by its one interface leaves by it again, from an address of the
translator's own; answers find back.

    machine ─► router ─► translator: other source ─► router ─► uplink or peer
                                     (its own connection tracking: one entry per flow)

What passes is counted (`counts`): packets by counters, connections by marks that say how far one has come. Counters stay when the rules are replaced,
as the marks do.

It stands in the network like any machine, with an interface in a subnet: so that subnet's route table and ACL, flow logs and the
translation to a public address are those of any interface. It has no program in it. Only TCP, UDP and ICMP pass; nothing that
begins outside comes in. Who goes on with a flow that it has forgotten (`idle_s`) is reset, as on AWS.
"""

from __future__ import annotations

from pathlib import Path

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import NFT_TABLE
from gureum.drivers.nft import counters as nft_counters
from gureum.drivers.nft.expressions import ACCEPT, Json, Line, hook, match, meta, payload
from gureum.drivers.nft.libnftables import Nftables
from gureum.ports.networks import Translation, TranslationCounts

FIRST_PORT, LAST_PORT = 1024, 65535
"""AWS: NAT gateways use the ports 1024-65535."""
_TABLE = {"family": "ip", "table": NFT_TABLE}
_WITH_PORTS, _ICMP = match(meta("l4proto"), {"set": [6, 17]}), match(meta("l4proto"), 1)
_DROP: Line = ({"counter": "dropped"}, {"drop": None})
_BEGUN, _ESTABLISHED, _CLOSED = 1, 2, 3
"""Marks of TCP connections."""
_COUNTERS = (
    "in-source",
    "in-destination",
    "out-source",
    "out-destination",
    "attempts",
    "established",
    "closed",
    "dropped",
)
_STATISTICS = Path("/proc/thread-self/net/stat/nf_conntrack")


def ensure(net: Path, wanted: Translation) -> None:
    """Makes the namespace translate as wished. Flows that are known keep their addresses. Packets are forwarded last, when the rules stand."""
    with namespaces.entered(net):
        Nftables().run(rules(wanted))
        namespaces.write_sysctls(sysctls(wanted.idle_s))


def sysctls(idle_s: int) -> dict[str, str]:
    """A flow that has closed is forgotten soon, so that its port is free again."""
    idle = str(idle_s)
    return {
        "ipv4/conf/all/send_redirects": "0",
        "ipv4/conf/default/send_redirects": "0",
        "ipv4/conf/all/accept_redirects": "0",
        "ipv4/conf/default/accept_redirects": "0",
        "?netfilter/nf_conntrack_tcp_timeout_established": idle,
        "?netfilter/nf_conntrack_udp_timeout": idle,
        "?netfilter/nf_conntrack_udp_timeout_stream": idle,
        "?netfilter/nf_conntrack_tcp_timeout_time_wait": "10",
        "?netfilter/nf_conntrack_tcp_loose": "0",
        # For flow logs.
        "?netfilter/nf_conntrack_acct": "1",
        "?netfilter/nf_conntrack_timestamp": "1",
        "ipv4/ip_early_demux": "0",  # it has no sockets
        "ipv4/ip_forward": "1",
    }


def rules(wanted: Translation) -> list[Json]:
    """libnftables commands, one transaction: the rules that stood there are replaced, what was counted stays."""
    own = {"set": [*wanted.addresses, *wanted.draining]}
    state = [["established", ACCEPT], ["related", ACCEPT], ["invalid", {"goto": {"target": "stray"}}]]
    chains: dict[str, tuple[tuple[Line, ...], Json]] = {
        "stray": (((match(meta("l4proto"), 6), {"reject": {"type": "tcp reset"}}), _DROP), {}),
        "forward": (
            (
                ({"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": state}}},),
                # A route table that leads the translator to itself.
                (match(payload("ip", "saddr"), own), *_DROP),
                (match(meta("l4proto"), {"set": [1, 6, 17]}), ACCEPT),
                _DROP,
            ),
            hook("filter", "forward", 0, "drop"),
        ),
        "input": ((_DROP,), hook("filter", "input", 0, "drop")),
        "arriving": (_arriving(), hook("filter", "prerouting", -150, "accept")),
        "leaving": (
            (
                (_way("original"), {"counter": "out-destination"}),
                (_way("reply"), {"counter": "out-source"}),
            ),
            hook("filter", "postrouting", 200, "accept"),
        ),
        "translate": (
            (
                (_WITH_PORTS, _source(wanted.addresses, {"range": [FIRST_PORT, LAST_PORT]})),
                (_ICMP, _source(wanted.addresses, None)),
            ),
            hook("nat", "postrouting", 100, "accept"),
        ),
    }
    table = {"table": {"family": "ip", "name": NFT_TABLE}}
    commands: list[Json] = [{"add": table}]
    commands += [{"add": {"counter": _TABLE | {"name": name}}} for name in _COUNTERS]
    commands += [{"add": {"chain": _TABLE | {"name": name} | base}} for name, (_, base) in chains.items()]
    commands += [{"flush": {"chain": _TABLE | {"name": name}}} for name in chains]
    for name, (lines, _) in chains.items():
        commands += [{"add": {"rule": _TABLE | {"chain": name, "expr": list(line)}}} for line in lines]
    return commands


def counts(net: Path) -> TranslationCounts | None:
    """What it has counted; None for a namespace that is no translator."""
    with namespaces.entered(net):
        found = nft_counters.counters(nft_counters.IPV4)
        if not found.keys() >= set(_COUNTERS):
            return None
        active = nft_counters.marked_flows(_ESTABLISHED)
        refused = _statistic("insert_failed")
    packets = {name: found[name][0] for name in _COUNTERS}
    return TranslationCounts(
        *found["in-source"],
        *found["out-destination"],
        *found["in-destination"],
        *found["out-source"],
        attempts=packets["attempts"],
        established=packets["established"],
        active=active,
        idle=max(0, packets["established"] - packets["closed"] - active),
        refused_ports=refused,
        dropped=packets["dropped"],
    )


def _statistic(name: str) -> int:
    """Of the namespace's connection tracking: a column of hexadecimal numbers, a line for each processor."""
    names, *lines = (line.split() for line in _STATISTICS.read_text().splitlines())
    place = names.index(name)
    return sum(int(line[place], 16) for line in lines)


def _arriving() -> tuple[Line, ...]:
    """Counts what comes, and each connection once: when it begins, when it is answered, when one of the two ends it."""
    flags, tcp = payload("tcp", "flags"), match(meta("l4proto"), 6)
    known: Json = {"ct": {"key": "mark"}}

    def step(before: int, after: int, count: str, *when: Json) -> Line:
        return (tcp, match(known, before), *when, {"mangle": {"key": known, "value": after}}, {"counter": count})

    return (
        (_way("original"), {"counter": "in-source"}),
        (_way("reply"), {"counter": "in-destination"}),
        step(0, _BEGUN, "attempts", _way("original"), match({"&": [flags, ["syn", "ack", "rst"]]}, "syn")),
        step(_BEGUN, _ESTABLISHED, "established", _way("reply"), match({"&": [flags, ["syn", "ack"]]}, ["syn", "ack"])),
        step(_ESTABLISHED, _CLOSED, "closed", match({"&": [flags, ["fin", "rst"]]}, 0, "!=")),
    )


def _way(direction: str) -> Json:
    return match({"ct": {"key": "direction"}}, direction)


def _source(addresses: tuple[str, ...], ports: Json | None) -> Json:
    """New flows are spread over the addresses by source and destination."""
    address: Json | str = addresses[0]
    if len(addresses) > 1:
        fields = [payload("ip", "saddr"), payload("ip", "daddr")]
        hashed = {"jhash": {"mod": len(addresses), "seed": 1, "expr": {"concat": fields}}}
        address = {"map": {"key": hashed, "data": {"set": [list(pair) for pair in enumerate(addresses)]}}}
    return {"snat": {"family": "ip", "addr": address} | ({"port": ports} if ports else {})}
