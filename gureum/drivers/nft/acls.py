"""Network ACLs in the nftables table of one network, as pure values: what `nft_table` puts into its table where there are ACLs.

    forward   each packet, also of a known flow, passes the ACL of the subnet that it leaves and that of the subnet that it enters
                `leave-CIDR`, `enter-CIDR`: what stays within returns, else  ->  the ACL's chain
                `acl-out-NAME`, `acl-in-NAME`: the entries in order; what is allowed returns

A packet of a balancer's flow is forwarded once but goes two ways: it enters the balancer's subnet and leaves it again. By the mark of its flow it
passes, instead, `acl-at-NODE`, at each boundary with the addresses and ports that it has there:

    client -> target                                           ends of a way      ACL         address and port that count
      client to balancer, unless both are in one subnet        client's subnet    outwards    balancer, listener's port
                                                               balancer's         inwards     client, listener's port
      balancer to target, unless both are in one subnet        balancer's         outwards    target, its port
                                                               target's subnet    inwards     client, or balancer where it hides him
    target -> client
      target to balancer                                       target's           outwards    client, or balancer where it hides him
                                                               balancer's         inwards     target; the port that the target answers to
      balancer to client                                       balancer's         outwards    client, his port
                                                               client's           inwards     balancer, client's port

In `forward` the packet has the client's address and port at the one end, and the target's at the other. What else counts, connection tracking
knows: what the client has asked for (its original tuple) and what the target answers to (its reply tuple); but for a hidden client's
first packet, which is translated later: entries for the balancer's address are chosen when the chain is made.

ACLs find their subnet by the interface and not by the packet's address, which may be another's where an interface forwards.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from gureum.drivers.networks.network_names import UPLINK_MARK, interface_link
from gureum.drivers.nft import balancers as nft_balancers
from gureum.drivers.nft.balancers import Listener
from gureum.drivers.nft.expressions import (
    DENY_BY_ACL,
    DENY_ENTERING,
    DENY_LEAVING,
    DENY_SENDER_BY_ACL,
    RETURN,
    Chain,
    Elements,
    Json,
    Line,
    by_verdict,
    goto,
    jump,
    match,
    meta,
    payload,
    prefix,
    service,
)
from gureum.ports.firewalls import Acl, AclEntry, RuleSet

_PLAIN: tuple[Line, ...] = ((by_verdict("iifname", "acl-leave"),), (by_verdict("oifname", "acl-enter"),))
_ORIGINAL, _REPLY = (match({"ct": {"key": "direction"}}, way) for way in ("original", "reply"))
_BALANCER: Json = {"ct": {"key": "ip daddr", "dir": "original"}}
_LISTENER_PORT: Json = {"ct": {"key": "proto-dst", "dir": "original"}}
_ANSWERED_PORT: Json = {"ct": {"key": "proto-dst", "dir": "reply"}}


def lines(rules: RuleSet, balanced: list[Listener]) -> tuple[Line, ...]:
    """What stands first in `forward`."""
    if not rules.acls:
        return ()
    return (jump("acls"),) if balanced else _PLAIN


def add_acls(rules: RuleSet, balanced: list[Listener], chains: dict[str, Chain], sets: dict[str, Elements]) -> None:
    """Chains and sets of all ACLs, and what they need for balancers."""
    if not rules.acls:
        return
    leave, enter = Elements("ifname", "verdict", {}), Elements("ifname", "verdict", {})
    sets["acl-leave"], sets["acl-enter"] = leave, enter
    for acl in rules.acls:
        chains[f"acl-out-{acl.name}"] = Chain(_lines(acl, "out"))
        chains[f"acl-in-{acl.name}"] = Chain(_lines(acl, "in"))
        for cidr in acl.subnets:
            place = _place(cidr)
            chains[f"leave-{place}"] = Chain(((_is_in("oifname", cidr), RETURN), goto(f"acl-out-{acl.name}")))
            chains[f"enter-{place}"] = Chain(((_is_in("iifname", cidr), RETURN), goto(f"acl-in-{acl.name}")))
            sets[f"links-{place}"] = Elements("ifname", "", {})
    for interface, cidr in acl_ports(rules):
        link, place = interface_link(interface), _place(cidr)
        leave.entries[link] = {"jump": {"target": f"leave-{place}"}}
        enter.entries[link] = {"jump": {"target": f"enter-{place}"}}
        sets[f"links-{place}"].entries[link] = None
    if balanced:
        _add_balanced(rules, balanced, chains, sets)


def acl_ports(rules: RuleSet) -> Iterator[tuple[str, str]]:
    """(interface, CIDR of its subnet) of those that lie in a subnet with an ACL. An interface lies where its first address does."""
    subnets: dict[int, dict[int, str]] = {}
    for cidr in (cidr for acl in rules.acls for cidr in acl.subnets):
        network = ipaddress.IPv4Network(cidr)
        subnets.setdefault(int(network.netmask), {})[int(network.network_address)] = cidr
    for port in rules.ports:
        address = int(ipaddress.IPv4Address(port.addresses[0]))
        for mask, found in subnets.items():
            if address & mask in found:
                yield port.interface, found[address & mask]


# --- flows of balancers ---------------------------------------------------------------------------------------------


def _add_balanced(
    rules: RuleSet, balanced: list[Listener], chains: dict[str, Chain], sets: dict[str, Elements]
) -> None:
    acl_of = {cidr: acl for acl in rules.acls for cidr in acl.subnets}
    place_of = dict(acl_ports(rules))
    flows = Elements("mark", "verdict", {})
    sets["acl-balanced"] = flows
    chains["acls"] = Chain((({"vmap": {"key": nft_balancers.FLOW_MARK, "data": "@acl-balanced"}},), *_PLAIN))
    _add_ends(rules, place_of, acl_of, chains, sets)
    for one in balanced:
        node, hidden = one.balancer.interface, not one.port.preserve_client
        name = f"acl-at-{node}" + ("-hiding" if hidden else "")
        for mark in (one.number, one.number | UPLINK_MARK):
            flows.entries[mark] = {"goto": {"target": name}}
        if name in chains:
            continue
        home = place_of.get(node, "")
        away = [cidr for cidr in acl_of if cidr != home] if hidden else []
        chains[name] = Chain(tuple(_flow_lines(node, home, acl_of, away, hidden)))
        for acl in {acl_of[cidr].name: acl_of[cidr] for cidr in away}.values():
            fits = _covering(one.balancer.address)
            chains[f"acl-in-{acl.name}-from-{node}"] = Chain(_lines(acl, "in", only=fits))
            chains[f"acl-out-{acl.name}-to-{node}"] = Chain(_lines(acl, "out", only=fits, port=_ANSWERED_PORT))


def _add_ends(
    rules: RuleSet,
    place_of: dict[str, str],
    acl_of: dict[str, Acl],
    chains: dict[str, Chain],
    sets: dict[str, Elements],
) -> None:
    """What all balancers share: ACLs of clients and targets, by their interface, and those of balancers' own subnets."""
    leave, enter = Elements("ifname", "verdict", {}), Elements("ifname", "verdict", {})
    sets["acl-end-leave"], sets["acl-end-enter"] = leave, enter
    for acl in rules.acls:
        out, into = f"acl-out-{acl.name}", f"acl-in-{acl.name}"
        chains[f"{out}-asking"] = Chain(_lines(acl, "out", far=_BALANCER, port=_LISTENER_PORT))
        chains[f"{into}-answered"] = Chain(_lines(acl, "in", far=_BALANCER))
        chains[f"end-{out}"] = Chain(((_ORIGINAL, *goto(f"{out}-asking")), goto(out)))
        chains[f"end-{into}"] = Chain(((_REPLY, *goto(f"{into}-answered")), goto(into)))
        chains[f"{into}-asked"] = Chain(_lines(acl, "in", port=_LISTENER_PORT, deny=DENY_ENTERING))
        chains[f"{into}-answering"] = Chain(_lines(acl, "in", port=_ANSWERED_PORT, deny=DENY_ENTERING))
        chains[f"node-{out}"] = Chain(_lines(acl, "out", deny=DENY_LEAVING))
        chains[f"node-{into}"] = Chain(((_ORIGINAL, *goto(f"{into}-asked")), goto(f"{into}-answering")))
    for interface, cidr in place_of.items():
        link, name = interface_link(interface), acl_of[cidr].name
        leave.entries[link] = {"jump": {"target": f"end-acl-out-{name}"}}
        enter.entries[link] = {"jump": {"target": f"end-acl-in-{name}"}}


def _flow_lines(node: str, home: str, acl_of: dict[str, Acl], away: list[str], hidden: bool) -> Iterator[Line]:
    """`home`: the CIDR of the balancer's subnet if it has an ACL; `away`: the other subnets with ACLs."""
    came, goes = ((_is_in(end, home, "!="),) if home else () for end in ("iifname", "oifname"))
    leave, enter = by_verdict("iifname", "acl-end-leave"), by_verdict("oifname", "acl-end-enter")
    yield (*came, *((_ORIGINAL,) if hidden else ()), leave)
    for cidr in away:
        yield (_REPLY, _is_in("iifname", cidr), *jump(f"acl-out-{acl_of[cidr].name}-to-{node}"))
    if home:
        yield (*came, *jump(f"node-acl-in-{acl_of[home].name}"))
        yield (*goes, *jump(f"node-acl-out-{acl_of[home].name}"))
    for cidr in away:
        yield (_ORIGINAL, _is_in("oifname", cidr), *jump(f"acl-in-{acl_of[cidr].name}-from-{node}"))
    yield (*goes, *((_REPLY,) if hidden else ()), enter)


def _covering(address: str) -> Callable[[AclEntry], bool]:
    """Whether an entry speaks of that address."""
    wanted = ipaddress.IPv4Address(address)
    return lambda entry: ":" not in entry.cidr and wanted in ipaddress.IPv4Network(entry.cidr)


# --- entries --------------------------------------------------------------------------------------------------------


def _lines(
    acl: Acl,
    direction: str,
    *,
    far: Json | None = None,
    port: Json | None = None,
    only: Callable[[AclEntry], bool] | None = None,
    deny: Json | None = None,
) -> tuple[Line, ...]:
    """Ends with what denies the rest. `far`, `port`: what is compared, if not what stands in the packet. `only`: entries whose address is
    known to fit; then none is compared. `deny`: how, if not at the packet's sender or receiver."""
    deny = deny or (DENY_SENDER_BY_ACL if direction == "out" else DENY_BY_ACL)
    end = far or payload("ip", "saddr" if direction == "in" else "daddr")
    found: list[Line] = []
    for entry in sorted(acl.entries, key=lambda one: one.number):
        if entry.direction != direction or ":" in entry.cidr or (only is not None and not only(entry)):
            continue  # the networks carry IPv4 only
        anywhere = only is not None or entry.cidr.endswith("/0")
        where = [] if anywhere else [match(end, prefix(entry.cidr))]
        found.append((*where, *service(entry.protocol, entry.ports, port), RETURN if entry.allow else deny))
    return (*found, (deny,))


def _is_in(end: str, cidr: str, op: str = "==") -> Json:
    return match(meta(end), f"@links-{_place(cidr)}", op)


def _place(cidr: str) -> str:
    return cidr.replace("/", "-")
