"""Translators: the network namespace that is a NAT gateway. What comes by its one interface leaves by it again, from an address of the
translator's own; answers find back.

    machine ─► router ─► translator: other source ─► router ─► uplink or peer
                                     (its own connection tracking: one entry per flow)

It stands in the network like any machine, with an interface in a subnet: so that subnet's route table and ACL, flow logs and the
translation to a public address are those of any interface. It has no program in it. Only TCP, UDP and ICMP pass; nothing that
begins outside comes in. Who goes on with a flow that it has forgotten (`idle_s`) is reset, as on AWS.
"""

from __future__ import annotations

from pathlib import Path

from gureum.drivers import namespaces
from gureum.drivers.libnftables import Nftables
from gureum.drivers.network_names import NFT_TABLE
from gureum.drivers.nft_expressions import ACCEPT, Json, Line, hook, match, meta, payload
from gureum.ports.networks import Translation

FIRST_PORT, LAST_PORT = 1024, 65535
"""AWS: NAT gateways use the ports 1024-65535."""
_TABLE = {"family": "ip", "table": NFT_TABLE}
_WITH_PORTS, _ICMP = match(meta("l4proto"), {"set": [6, 17]}), match(meta("l4proto"), 1)
_DROP: Line = ({"counter": None}, {"drop": None})


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
        "ipv4/ip_forward": "1",
    }


def rules(wanted: Translation) -> list[Json]:
    """libnftables commands, one transaction: whatever stood there is replaced."""
    own = {"set": list(wanted.addresses)}
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
        "translate": (
            (
                (_WITH_PORTS, _source(wanted.addresses, {"range": [FIRST_PORT, LAST_PORT]})),
                (_ICMP, _source(wanted.addresses, None)),
            ),
            hook("nat", "postrouting", 100, "accept"),
        ),
    }
    table = {"table": {"family": "ip", "name": NFT_TABLE}}
    commands: list[Json] = [{"add": table}, {"delete": table}, {"add": table}]
    commands += [{"add": {"chain": _TABLE | {"name": name} | base}} for name, (_, base) in chains.items()]
    for name, (lines, _) in chains.items():
        commands += [{"add": {"rule": _TABLE | {"chain": name, "expr": list(line)}}} for line in lines]
    return commands


def _source(addresses: tuple[str, ...], ports: Json | None) -> Json:
    """New flows are spread over the addresses by source and destination."""
    address: Json | str = addresses[0]
    if len(addresses) > 1:
        fields = [payload("ip", "saddr"), payload("ip", "daddr")]
        hashed = {"jhash": {"mod": len(addresses), "seed": 1, "expr": {"concat": fields}}}
        address = {"map": {"key": hashed, "data": {"set": [list(pair) for pair in enumerate(addresses)]}}}
    return {"snat": {"family": "ip", "addr": address} | ({"port": ports} if ports else {})}
