"""The nftables table of one network, as pure values: from a rule set to chains and sets, and from two tables to the
commands that turn one into the other.

    raw prerouting   an interface sends only from its own addresses (unless it forwards), a peered network only from its own to this one's. Each
                     packet comes here; interfaces are found by their links' numbers, others, and links that an older version made, by name
    nat prerouting   from the uplink: public address -> private address
    forward          where there are ACLs, every packet passes them (nft_acls)
                     known flows pass; else  source's egress  ->  goto ingress  ->  destination's ingress -> accept
                       from an interface   its chain `out-NAME`: its groups' egress rules, each ends in `goto ingress`; `ingress` at once, where
                                           one of them lets all pass
                       from the uplink     `ingress` at once (what came through the translation)
                       to an interface     its chain `in-NAME`: its groups' ingress rules, each ends in `accept`; that at once, as above
                       to the uplink       accept, when the sender has a public address and its subnet leads there, or all leave
                                           from the router's address (`exit`)
                     what falls out at the end is counted and dropped (chain `denied`, or `denied-out` where the sender's rules refuse);
                     while somebody watches the network's flows, it is told too (NFLOG)
    input            metadata (169.254.169.254:80), the API (169.254.169.249:80) and names (port 53 of the resolvers), else nothing
    nat postrouting  to the uplink: private address -> public address
    arp input        (a table of that family) who asks must be an address of the network. The router needs to learn nothing from it,
                       but the kernel would: into one table of a thousand neighbours for all namespaces, the host's included

What balancers add is told in nft_balancers and nft_nodes, what appliances add in nft_appliances.
What an ACL refuses ends as what groups refuse (chains `acl-denied`, `acl-denied-out`).

Rules of a group stand once, in `group-out-NAME` and `group-in-NAME`, whoever uses them; groups that rules refer to
are sets of addresses. So an interface more costs two small chains and some set elements, and a changed group one
chain. Without ACLs nothing of them is there. Sets have plain keys, never concatenations with an interface
name: libnftables 1.0.6 aborts when somebody lists those.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from gureum.drivers.networks.network_names import (
    DENIED_LOG_GROUP,
    NFT_TABLE,
    UPLINK,
    interface_link,
    interface_number,
    peer_link,
)
from gureum.drivers.nft import acls as nft_acls
from gureum.drivers.nft import appliances as nft_appliances
from gureum.drivers.nft import balancers as nft_balancers
from gureum.drivers.nft import nodes as nft_nodes
from gureum.drivers.nft.expressions import (
    ACCEPT,
    DENY,
    DENY_SENDER,
    Chain,
    Elements,
    Json,
    Line,
    by_verdict,
    hook,
    jump,
    lookup,
    match,
    meta,
    payload,
    prefix,
    service,
    with_room,
)
from gureum.drivers.nft.idle import Limit
from gureum.ports.firewalls import Group, PeerLink, Port, Rule, RuleSet

METADATA_ADDRESS, API_ADDRESS = "169.254.169.254", "169.254.169.249"
RESOLVER_ADDRESS = "169.254.169.253"
_FAMILIES = ("inet", "arp")
_WITH_ROOM = frozenset({"mark", "devgroup"})
"""What is looked up for each packet, by numbers."""
_ADDRESSED, _ARP = ({"family": family, "table": NFT_TABLE} for family in _FAMILIES)


class Table(msgspec.Struct, frozen=True):
    """What one network's table holds, by name. `arp`: addresses that may ask by ARP. `idle`: how long silent flows of balancers are remembered,
    which stands in a table of its own (nft_idle). `counters`: names of those that rules or maps count in. `watched`: somebody watches the
    network's flows, so the kernel notes when each begins."""

    chains: dict[str, Chain]
    sets: dict[str, Elements]
    arp: frozenset[str] = frozenset()
    idle: frozenset[Limit] = frozenset()
    counters: frozenset[str] = frozenset()
    watched: bool = False


def plan(old: RuleSet | None, new: RuleSet) -> list[Json]:
    """libnftables-json(5) commands that turn the table of `old` into that of `new`, as one transaction. `old` None:
    whatever is there is replaced, in the same transaction. An empty list: nothing changes."""
    return difference(table(old) if old is not None else None, table(new))


# --- rule set -> table ----------------------------------------------------------------------------------------------


def table(rules: RuleSet, watched: bool = False, balancing: bool = False) -> Table:
    """The table that enforces `rules`. `watched`: what is refused is told to who watches flows. `balancing`: there have been balancers: what is
    left of their flows is still reset."""
    balancing = balancing or nft_balancers.are_in(rules)
    mapped, asked = _mapped(rules, rules.internet), _mapped(rules, set(rules.internet).difference(rules.egress_only))
    balanced = nft_balancers.listeners(rules)
    chains = _frame(rules, nft_acls.lines(rules, balanced), balancing, hiding=nft_balancers.hides(balanced))
    chains |= {"denied": _denied("in", watched, balancing), "denied-out": _denied("out", watched, balancing)}
    if rules.acls:
        chains |= {"acl-denied": _denied("in", watched), "acl-denied-out": _denied("out", watched)}
        if balanced:
            chains |= {f"acl-denied-{way}": _denied_between(way, watched) for way in ("entering", "leaving")}
    vouching = nft_balancers.vouching(balanced, rules.ports)
    sets = {
        "sources": Elements("ifname", "verdict", {"lo": ACCEPT, UPLINK: ACCEPT}),
        "sources-by-number": Elements("devgroup", "verdict", {}),
        "egress": Elements("ifname", "verdict", {}),
        "ingress": Elements("ifname", "verdict", {}),
        "private": Elements("ipv4_addr", "", dict.fromkeys(mapped)),
        "to-public": Elements("ipv4_addr", "ipv4_addr", mapped),
        "to-private": Elements("ipv4_addr", "ipv4_addr", {public: private for private, public in asked.items()}),
    }
    for group in rules.groups:
        chains[f"group-out-{group.name}"] = Chain(_group_lines(group, "out"))
        chains[f"group-in-{group.name}"] = Chain(_group_lines(group, "in", vouching.keys()))
    for name, members in _members(rules).items():
        sets[f"group-{name}"] = Elements("ipv4_addr", "", dict.fromkeys(members))
    groups = {group.name: group for group in rules.groups}
    for port in rules.ports:
        _add_port(port, groups, chains, sets)
    sets["sources-by-number"].entries.update(_by_number(rules.ports, sets["sources"]))
    for peer in rules.peers:
        _add_peer(rules, peer, chains, sets)
    nft_acls.add_acls(rules, balanced, chains, sets)
    if balancing:
        nft_balancers.add_balancers(rules, balanced, chains, sets)
    nft_nodes.add_nodes(rules.ports, balanced, chains, sets, watched=watched, strays=balancing)
    askers = frozenset(address for port in rules.ports for address in port.addresses)
    counters = frozenset(nft_balancers.counter_names(balanced))
    sets = {name: with_room(one) if one.key in _WITH_ROOM else one for name, one in sets.items()}
    return Table(chains, sets, askers, nft_balancers.limits(balanced), counters, watched)


def _add_port(port: Port, groups: Mapping[str, Group], chains: dict[str, Chain], sets: dict[str, Elements]) -> None:
    """Where the groups let all pass, which is usual outwards, nothing of them is asked: a flow's first packet goes through half the chains."""
    link = interface_link(port.interface)
    its = [groups[group] for group in port.groups if group in groups]
    out, into, source = f"out-{port.interface}", f"in-{port.interface}", f"from-{port.interface}"
    if port.open or _lets_all(its, "out"):
        sets["egress"].entries[link] = {"goto": {"target": "ingress"}}
    else:
        chains[out] = Chain((*(jump(f"group-out-{group.name}") for group in its), (DENY_SENDER,)))
        sets["egress"].entries[link] = {"goto": {"target": out}}
    if port.open or _lets_all(its, "in"):
        sets["ingress"].entries[link] = ACCEPT
    else:
        chains[into] = Chain((*(jump(f"group-in-{group.name}") for group in its), (DENY,)))
        sets["ingress"].entries[link] = {"goto": {"target": into}}
    if port.forward and port.speaks_for_clients:
        chains[source] = nft_balancers.speech(port)
        sets["sources"].entries[link] = {"goto": {"target": source}}
    elif port.forward:
        sets["sources"].entries[link] = ACCEPT
    else:
        own = match(payload("ip", "saddr"), {"set": list(port.addresses)})
        chains[source] = Chain(((own, ACCEPT), ({"counter": None}, {"drop": None})))
        sets["sources"].entries[link] = {"goto": {"target": source}}


def _lets_all(groups: Iterable[Group], direction: str) -> bool:
    rules = (rule for group in groups for rule in group.rules if rule.direction == direction)
    return any(rule.protocol == "all" and not rule.group and rule.cidr == "0.0.0.0/0" for rule in rules)


def _by_number(ports: Iterable[Port], sources: Elements) -> dict[int, Json]:
    """What `sources` says of interfaces, by number: each packet is asked where it comes from. Numbers that two have are left to the names."""
    found: dict[int, list[Json]] = {}
    for port in ports:
        verdict = sources.entries[interface_link(port.interface)]
        found.setdefault(interface_number(port.interface), []).append(verdict)
    return {number: verdicts[0] for number, verdicts in found.items() if len(verdicts) == 1}


def _add_peer(rules: RuleSet, peer: PeerLink, chains: dict[str, Chain], sets: dict[str, Elements]) -> None:
    """Whose it comes from and where it goes stands before all else: nothing borrowed, nothing passed on to a third network."""
    link, source = peer_link(peer.name), f"from-{peer.name}"
    from_there = match(payload("ip", "saddr"), {"set": [prefix(cidr) for cidr in peer.cidrs]})
    to_here = match(payload("ip", "daddr"), {"set": [prefix(cidr) for cidr in rules.cidrs]})
    chains[source] = Chain(((from_there, to_here, ACCEPT), ({"counter": None}, {"drop": None})))
    sets["sources"].entries[link] = {"goto": {"target": source}}
    sets["egress"].entries[link] = {"goto": {"target": "ingress"}}
    sets["ingress"].entries[link] = ACCEPT


def _frame(rules: RuleSet, acls: tuple[Line, ...], balancing: bool, *, hiding: bool) -> dict[str, Chain]:
    """The chains that do not depend on who is there. `hiding`: some balancer hides its clients."""
    known = _by_state(ACCEPT, DENY)
    passing = _by_state(nft_balancers.KNOWN, nft_balancers.STRAY) if balancing else known

    def first(line: Line) -> tuple[Line, ...]:
        return (line,) if balancing else ()

    def at_edge(*line: Json) -> tuple[Line, ...]:
        return (line,) if rules.passes_edge else ()

    strangers = nft_balancers.hide_strangers(rules) if balancing else ()
    heard = (nft_nodes.HEARD,) if nft_nodes.are_in(rules.ports) else ()
    from_uplink, to_uplink = match(meta("iifname"), UPLINK), match(meta("oifname"), UPLINK)
    local = match(meta("iifname"), "lo")
    legs = nft_appliances.lines(rules)
    before_legs = ((local, ACCEPT), (from_uplink, ACCEPT)) if legs else ()
    resolvers = {"set": [RESOLVER_ADDRESS, *(_resolver(cidr) for cidr in rules.cidrs)]}
    names = match(payload("ip", "daddr"), resolvers)
    metadata = match(payload("ip", "daddr"), {"set": [API_ADDRESS, METADATA_ADDRESS]})
    translate_in = {"dnat": {"family": "ip", "addr": lookup(payload("ip", "daddr"), "to-private")}}
    translate_out = {"snat": {"family": "ip", "addr": lookup(payload("ip", "saddr"), "to-public")}}
    may_leave = () if rules.exit else (match(payload("ip", "saddr"), "@private"),)
    leaves_from: Json = {"masquerade": None} if rules.exit else translate_out
    hide = (nft_balancers.HIDE,) if hiding else ()
    return {
        "raw-prerouting": Chain(
            (
                *before_legs,
                *legs,
                (by_verdict("iifgroup", "sources-by-number"),),
                (by_verdict("iifname", "sources"),),
            ),
            hook("filter", "prerouting", -300, "drop"),
        ),
        "nat-prerouting": Chain(
            (*first(nft_balancers.PICK), *at_edge(from_uplink, translate_in)), hook("nat", "prerouting", -100, "accept")
        ),
        "ingress": Chain(
            (
                *first(nft_balancers.INGRESS),
                *at_edge(to_uplink, match(meta("iifname"), UPLINK, "!="), *may_leave, ACCEPT),
                (by_verdict("oifname", "ingress"),),
                (DENY,),
            )
        ),
        "forward": Chain(
            (
                *acls,
                *nft_appliances.straight(rules),
                *passing,
                *first(nft_balancers.ONWARD),
                *first(nft_balancers.AGAIN),
                *at_edge(from_uplink, match({"ct": {"key": "status"}}, "dnat", "in"), {"goto": {"target": "ingress"}}),
                (by_verdict("iifname", "egress"),),
                (DENY,),
            ),
            hook("filter", "forward", 0, "drop"),
        ),
        "input": Chain(
            (
                *known,
                (local, ACCEPT),
                (from_uplink, DENY),
                (metadata, match(payload("tcp", "dport"), 80), ACCEPT),
                (names, match(payload("udp", "dport"), 53), ACCEPT),
                (names, match(payload("tcp", "dport"), 53), ACCEPT),
                (DENY,),
            ),
            hook("filter", "input", 0, "drop"),
        ),
        "output": Chain(
            (
                *first(nft_balancers.OWN_RESETS),
                *known,
                (match(meta("oifname"), "lo"), ACCEPT),
                (ACCEPT if rules.speaks else DENY,),
            ),
            hook("filter", "output", 0, "drop"),
        ),
        "nat-postrouting": Chain(
            (
                *heard,
                *first(nft_balancers.COUNT_NEW),
                *strangers,
                *hide,
                *at_edge(to_uplink, leaves_from),
            ),
            hook("nat", "postrouting", 100, "accept"),
        ),
    }


def _denied(prefix: str, watched: bool, balancing: bool = False) -> Chain:
    blocked = (nft_balancers.BLOCKED[prefix],) if balancing else ()
    told: Line = ({"log": {"group": DENIED_LOG_GROUP, "prefix": prefix}},) if watched else ()
    return Chain((*blocked, ({"counter": None}, *told, {"drop": None})))


def _denied_between(way: str, watched: bool) -> Chain:
    """Who is told knows by the flow's mark whose balancer it was; the packet is marked otherwise where it is to find its way back."""
    counted: Line = ({"counter": None},)
    if not watched:
        return Chain(((*counted, {"drop": None}),))
    log = [{"log": {"group": DENIED_LOG_GROUP, "prefix": prefix}} for prefix in (f"{way}-back", way)]
    reply = match({"ct": {"key": "direction"}}, "reply")
    by_flow = {"mangle": {"key": meta("mark"), "value": nft_balancers.FLOW_MARK}}
    return Chain(((*counted, by_flow), (reply, log[0], {"drop": None}), (log[1], {"drop": None})))


def _by_state(known: Json, invalid: Json) -> tuple[Line, ...]:
    """Not one look-up for all: nearly every packet is of a known flow, and compared faster than looked up."""
    state: Json = {"ct": {"key": "state"}}
    return (
        (match(state, "established"), known),
        (match(state, "related", "in"), ACCEPT),
        (match(state, "invalid", "in"), invalid),
    )


def _group_lines(group: Group, direction: str, vouching: Collection[str] = ()) -> tuple[Line, ...]:
    """`vouching`: groups of balancers; rules that name one let in what those send on."""
    rules = [rule for rule in group.rules if rule.direction == direction]
    lines = (_line(rule) for rule in rules)
    sent_on = (
        (nft_balancers.vouched(one.group), *service(one.protocol, one.ports), ACCEPT)
        for one in rules
        if one.group in vouching
    )
    return (*(line for line in lines if line is not None), *sent_on)


def _line(rule: Rule) -> Line | None:
    """One permission as one nftables rule; None where it can never match (IPv6: the networks carry IPv4 only). A permission's verdict is to go
    on to the receiver's, and at the receiver to accept."""
    if ":" in rule.cidr:
        return None
    far = payload("ip", "saddr" if rule.direction == "in" else "daddr")
    verdict = ACCEPT if rule.direction == "in" else {"goto": {"target": "ingress"}}
    where: list[Json] = []
    if rule.group:
        where = [match(far, f"@group-{rule.group}")]
    elif not rule.cidr.endswith("/0"):
        where = [match(far, prefix(rule.cidr))]
    return (*where, *service(rule.protocol, rule.ports), verdict)


def _members(rules: RuleSet) -> dict[str, set[str]]:
    """The addresses of each group that some rule refers to; a group nobody is in is an empty set."""
    wanted = {rule.group for group in rules.groups for rule in group.rules if rule.group}
    members: dict[str, set[str]] = {name: set() for name in wanted}
    for group in rules.groups:
        if group.name in wanted:
            members[group.name].update(member for member in group.members if ":" not in member)
    for port in rules.ports:
        for name in wanted.intersection(port.groups):
            members[name].update(port.addresses)
    return members


def _mapped(rules: RuleSet, cidrs: Iterable[str]) -> dict[str, str]:
    """private -> public, for what lies in one of `cidrs`."""
    subnets = [ipaddress.IPv4Network(cidr) for cidr in cidrs]
    pairs = (pair for port in rules.ports for pair in port.public)
    return {
        private: public for private, public in pairs if any(ipaddress.IPv4Address(private) in net for net in subnets)
    }


def _resolver(cidr: str) -> str:
    return str(ipaddress.IPv4Network(cidr)[2])


# --- two tables -> commands -----------------------------------------------------------------------------------------


def difference(old: Table | None, new: Table) -> list[Json]:
    """What comes first is what others need: chains, then sets and their elements, then rules; what goes is deleted
    last, when nothing refers to it. Changed chains are flushed and filled: rules have no names by which one could be
    replaced. A set that must be larger is made anew, with all that refers to it, which is the table."""
    commands: list[Json] = []
    if old is None or outgrown(old, new):
        # Adding first makes the deletion succeed where there is no such table yet.
        commands += [_table(verb, family) for family in _FAMILIES for verb in ("add", "delete", "add")]
        commands += _arp_frame()
        old = Table({}, {})
    changed = [name for name, chain in new.chains.items() if old.chains.get(name) != chain]
    gone = [name for name in old.chains if name not in new.chains]
    commands += [_chain("add", name, new.chains[name].base) for name in changed if name not in old.chains]
    commands += [_chain("flush", name) for name in (*changed, *gone) if name in old.chains]
    commands += [{"add": {"counter": _ADDRESSED | {"name": name}}} for name in sorted(new.counters - old.counters)]
    commands += _set_changes(old, new)
    for name in changed:
        commands += [
            {"add": {"rule": _ADDRESSED | {"chain": name, "expr": list(line)}}} for line in new.chains[name].lines
        ]
    commands += [{"delete": {"set": _ADDRESSED | {"name": name}}} for name in old.sets if name not in new.sets]
    commands += [{"delete": {"counter": _ADDRESSED | {"name": name}}} for name in sorted(old.counters - new.counters)]
    commands += [_chain("delete", name) for name in gone]
    for verb, addresses in (("delete", old.arp - new.arp), ("add", new.arp - old.arp)):
        if addresses:
            commands.append({verb: {"element": _ARP | {"name": "askers", "elem": sorted(addresses)}}})
    return commands


def _arp_frame() -> list[Json]:
    """The ARP table without its addresses."""
    asker = match(payload("arp", "saddr ip"), "@askers")
    lines = ([match(meta("iifname"), UPLINK), ACCEPT], [asker, ACCEPT])
    return [
        {"add": {"set": _ARP | {"name": "askers", "type": "ipv4_addr"}}},
        {"add": {"chain": _ARP | {"name": "input"} | hook("filter", "input", 0, "drop")}},
        *({"add": {"rule": _ARP | {"chain": "input", "expr": line}}} for line in lines),
    ]


def outgrown(old: Table, new: Table) -> bool:
    """Whether some set has more in it than the kernel was told to make room for."""
    return any(one.room != old.sets[name].room for name, one in new.sets.items() if name in old.sets)


def roomy(old: Table | None, new: Table) -> Table:
    """`new` with the room that `old` has, where that is more: what grows and shrinks is not made anew each time."""
    if old is None:
        return new
    known = {name: one.room for name, one in old.sets.items() if one.room}
    sets = {name: with_room(one, known[name]) if name in known else one for name, one in new.sets.items()}
    return msgspec.structs.replace(new, sets=sets)


def released(old: Table, new: Table) -> list[str]:
    """The public addresses that no longer lead where they led."""
    before, after = old.sets["to-private"].entries, new.sets["to-private"].entries
    return [public for public, private in before.items() if after.get(public) != private]


def refuses_strays(one: Table) -> bool:
    """Whether what belongs to no flow is answered with a reset."""
    return "balance-stray" in one.chains


def created(commands: list[Json]) -> list[Json]:
    """A whole plan (`plan(None, …)`) for where there is no such table yet; the kernel refuses it all where there is one."""
    return [*(_table("create", family) for family in _FAMILIES), *commands[3 * len(_FAMILIES) :]]


def _set_changes(old: Table, new: Table) -> list[Json]:
    commands: list[Json] = []
    for name, wanted in new.sets.items():
        kind = "map" if wanted.value else "set"
        before = old.sets[name].entries if name in old.sets else {}
        if name not in old.sets:
            shape: Json = {"name": name, "type": wanted.key}
            shape |= {"map": wanted.value} if wanted.value else {}
            shape |= {"size": wanted.room} if wanted.room else {}
            commands.append({"add": {kind: _ADDRESSED | shape}})
        gone = [key for key, value in before.items() if wanted.entries.get(key, _MISSING) != value]
        fresh = [key for key, value in wanted.entries.items() if before.get(key, _MISSING) != value]
        commands += _elements("delete", name, gone, before)
        commands += _elements("add", name, fresh, wanted.entries)
    return commands


_MISSING = object()


def _elements(verb: str, name: str, keys: list[Any], entries: dict[Any, Any]) -> list[Json]:
    if not keys:
        return []
    found = [key if entries[key] is None else [key, entries[key]] for key in keys]
    return [{verb: {"element": _ADDRESSED | {"name": name, "elem": found}}}]


def _table(verb: str, family: str) -> Json:
    return {verb: {"table": {"family": family, "name": NFT_TABLE}}}


def _chain(verb: str, name: str, base: Json | None = None) -> Json:
    return {verb: {"chain": _ADDRESSED | {"name": name} | (base or {})}}
