"""Appliances in the nftables table of one network, as pure values: what keeps a flow that passes one from being taken for two of the same.

    client ══ uplink ── translation ──► appliance ──► machine        the legs of a packet; answers take them back
              └────────── outer leg ──────────┘└─ inner ─┘

Both legs carry the same addresses and ports, as an appliance that inspects leaves them alone, but the outer one is translated and
the inner one is not. To connection tracking they would be one flow, or two that clash. So the inner leg is tracked in a zone of its own
(Documentation/networking/nf_conntrack, "zones"): it is known before routing by the link that a packet comes from and, for answers, by where
it will be routed to. Without appliances nothing of this is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from gureum.drivers.networks.network_names import INNER_ZONE, UPLINK, interface_link
from gureum.drivers.nft.expressions import Json, Line, by_verdict, match, meta, payload, prefix
from gureum.ports.firewalls import Appliance, RuleSet

_INNER: Json = {"mangle": {"key": {"ct": {"key": "zone"}}, "value": INNER_ZONE}}
_ROUTED_TO: Json = {"fib": {"result": "oifname", "flags": ["daddr"]}}


def lines(rules: RuleSet) -> tuple[Line, ...]:
    """What stands where packets come in, before they are tracked."""
    own: Json = {"set": [prefix(cidr) for cidr in rules.cidrs]}
    return tuple(line for one in rules.appliances for line in _legs(one, own, _gates(one, rules)))


def straight(rules: RuleSet) -> tuple[Line, ...]:
    """What stands before packets that belong to no flow are dropped. Whose answers go out straight, past the appliance, is seen in the inner zone in
    one direction only; after its first packet that makes no flow of TCP. So each packet is judged there as the first one was."""
    own: Json = {"set": [prefix(cidr) for cidr in rules.cidrs]}
    stray = match({"ct": {"key": "state"}}, "invalid", "in")
    return tuple((*_inward(one, own), stray, by_verdict("iifname", "egress")) for one in rules.appliances)


def _gates(one: Appliance, rules: RuleSet) -> list[str]:
    """Links of the appliances that stand before the same range: what one of them has passed on is on its way out, whichever it came by."""
    return sorted({interface_link(other.interface) for other in rules.appliances if _share(one.cidr, other.cidr)})


def _share(one: str, other: str) -> bool:
    return IPv4Network(one).overlaps(IPv4Network(other))


def _legs(one: Appliance, own: Json, gates: list[str]) -> Iterator[Line]:
    link, guarded = interface_link(one.interface), prefix(one.cidr)
    source, destination = payload("ip", "saddr"), payload("ip", "daddr")
    yield *_inward(one, own), _INNER
    elsewhere = match(meta("iifname"), {"set": [*gates, UPLINK]}, "!=")
    yield elsewhere, match(source, guarded), match(destination, own, "!="), match(_ROUTED_TO, link), _INNER


def _inward(one: Appliance, own: Json) -> Line:
    """Matches what the appliance passes on to whom it guards."""
    guarded, foreign = match(payload("ip", "daddr"), prefix(one.cidr)), match(payload("ip", "saddr"), own, "!=")
    return match(meta("iifname"), interface_link(one.interface)), guarded, foreign
