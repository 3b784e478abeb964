"""Passages: the network namespace between two networks that know nothing of each other. What comes by its entrance, an interface in the one,
leaves by its exit, an interface in the other, to one target there and from the exit's own address; answers find back.

    machine ─► router ─► entrance │ other destination, other source │ exit ─► router ─► target

The two networks may have the same addresses: where a packet goes is told by the link it came by and nothing else, so none is ever taken
for the namespace's own. There is no program in it. Only TCP and UDP pass, and nothing begins at the exit.
"""

from __future__ import annotations

from pathlib import Path

from gureum.drivers.networks import namespaces, netlink
from gureum.drivers.networks.netlink import Netlink, Route, Rule
from gureum.drivers.networks.network_names import NFT_TABLE
from gureum.drivers.networks.translators import FIRST_PORT, LAST_PORT, sysctls
from gureum.drivers.nft.expressions import ACCEPT, Json, Line, hook, match, meta
from gureum.drivers.nft.libnftables import Nftables
from gureum.ports import PortError
from gureum.ports.networks import Passage

ENTRANCE, EXIT = "eth0", "eth1"
_TABLE = {"family": "ip", "table": NFT_TABLE}
_TO_EXIT, _TO_ENTRANCE, _LOCAL_TABLE = 20_001, 20_002, 255
_LOCAL_LAST = 30_000
_DROP: Line = ({"drop": None},)


def ensure(net: Path, wanted: Passage) -> None:
    """Makes the namespace pass as wished. Packets are forwarded last, when the rules stand. PortError while an interface is missing."""
    with namespaces.entered(net):
        with Netlink() as kernel:
            entrance, exit_ = kernel.link(ENTRANCE), kernel.link(EXIT)
            if entrance is None or exit_ is None:
                raise PortError("the passage has not both its interfaces yet")
            kernel.send(
                [
                    _way(_TO_EXIT, exit_.index, wanted.exit_gateway),
                    _way(_TO_ENTRANCE, entrance.index, wanted.entrance_gateway),
                    netlink.add_rule(Rule(1, _TO_EXIT, incoming=ENTRANCE)),
                    netlink.add_rule(Rule(2, _TO_ENTRANCE, incoming=EXIT)),
                    # The kernel's own first look, at addresses that are ours, comes last.
                    netlink.add_rule(Rule(_LOCAL_LAST, _LOCAL_TABLE)),
                    netlink.delete_rule(Rule(0, _LOCAL_TABLE, protocol=netlink.KERNEL)),
                ]
            )
        Nftables().run(rules(wanted))
        namespaces.write_sysctls({"ipv4/conf/all/accept_local": "1", **sysctls(wanted.idle_s)})


def rules(wanted: Passage) -> list[Json]:
    """libnftables commands, one transaction: the rules that stood there are replaced; flows that are known go on."""
    ports = match(meta("l4proto"), {"set": [6, 17]})
    comes, leaves = match(meta("iifname"), ENTRANCE), match(meta("oifname"), EXIT)
    known: Line = (match({"ct": {"key": "state"}}, {"set": ["established", "related"]}), ACCEPT)
    new: Line = (comes, leaves, ports, ACCEPT)
    source: Json = {"snat": {"family": "ip", "addr": wanted.exit, "port": {"range": [FIRST_PORT, LAST_PORT]}}}
    chains: dict[str, tuple[tuple[Line, ...], Json]] = {
        "forward": ((known, new, _DROP), hook("filter", "forward", 0, "drop")),
        "input": ((_DROP,), hook("filter", "input", 0, "drop")),
        "enter": (
            ((comes, ports, {"dnat": {"family": "ip", "addr": wanted.target}}),),
            hook("nat", "prerouting", -100, "accept"),
        ),
        "leave": (((leaves, ports, source),), hook("nat", "postrouting", 100, "accept")),
    }
    commands: list[Json] = [{"add": {"table": {"family": "ip", "name": NFT_TABLE}}}]
    commands += [{"add": {"chain": _TABLE | {"name": name} | base}} for name, (_, base) in chains.items()]
    commands += [{"flush": {"chain": _TABLE | {"name": name}}} for name in chains]
    for name, (lines, _) in chains.items():
        commands += [{"add": {"rule": _TABLE | {"chain": name, "expr": list(line)}}} for line in lines]
    return commands


def _way(table: int, link: int, gateway: str) -> netlink.Message:
    return netlink.add_route(
        Route("0.0.0.0/0", table=table, link=link, gateway=gateway, onlink=True, protocol=netlink.BOOT)
    )
