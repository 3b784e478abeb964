"""Layer-4 balancing in the nftables table of one network, as pure values: what `nft_table` puts into its table where there are balancers.

Only the first packet of a flow comes here; the kernel's connection tracking keeps what was decided, whatever changes later.

    nat prerouting     `balance`: a packet for a balancer's address and port gets the number of that listener as its mark. The
    (-103)             sender's egress rules judge it (with the balancer's address, for nothing is translated yet), then the
                       balancer's ingress rules
    nat prerouting     `pick-…`: what was let through is marked as judged, and the flow is marked too: with the listener's
                       number, and with `UPLINK_MARK` when it came from there, so that replies find back (routes.py); then one of
                       the targets by hash; `dnat-…`: address and port in one translation
    filter prerouting  `balance-back`, only where packets may come by the uplink, from nodes that speak for their clients or to peered
    (-150)             networks: of known flows, the marks by which they are routed
    forward            known flows are counted (`known-…`);
                       without targets `refuse`; else the balancer's egress rules, then the target's ingress rules, which see
                       the client's address. A rule of the target that names a group of the balancer lets in what is marked
                       as judged for that balancer, and nothing else
    nat postrouting    where the client's address is not preserved: `hide-…`, the balancer's instead; also where it is, on the way to a
                       peered network, if the client is not of this one: there the answers would go elsewhere (0171);
    filter postrouting then `shown`: the target's ingress rules, which see the balancer's address

A node whose proxy speaks from its clients' addresses sends on its own: such packets get the node's mark, as judged ones, and so does their
flow. By it their replies are led to the node, and nowhere else (routes.py). Its groups judge them outwards, the target's see the client.
Two nodes may choose the same port for one client's connections to a target, and the client a third time. So what a node sends is known in a
zone of its own (Documentation/networking/nf_conntrack, "zones"), the answers in the one that all share: there the translation, which has nothing
else to do, gives the later flow another port.

Named counters, one per node, protocol and what is counted, stand in maps by mark: of known flows by the flow's, of new packets by the packet's.

Marks of packets are the dispatch. A packet comes from a link without one (the kernel clears it between namespaces), so nobody
but these rules sets it. Marks of flows lead replies and tell flows of balancers from others; and what follows the first packet of a flow
that has no answer yet gets its mark from them (`balance-again`), for the kernel asks the chains of "nat" once a flow. That is why they stand there:
no later packet passes a hook for them. A TCP packet that belongs to no flow (as after `end_flows`) is answered with a reset.

ACLs are judged where every packet passes them, after the translation, but as AWS does on both ways: client to balancer and balancer to
target (nft_acls). A target that is its own client with its address preserved gets packets with its own source and drops them, as on
AWS. How long a silent flow is remembered is told in nft_idle; what comes after belongs to no flow.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import math
import zlib
from collections.abc import Callable, Iterable, Iterator

import msgspec

from gureum.drivers.networks.network_names import (
    ALL_BITS,
    BALANCED_MARK,
    JUDGED_MARK,
    NODE_MARK,
    UPLINK,
    UPLINK_MARK,
    balanced_mark,
    interface_link,
    node_mark,
    node_zone,
    peer_link,
)
from gureum.drivers.nft.expressions import (
    ACCEPT,
    DENY,
    Chain,
    Elements,
    Json,
    Line,
    by_verdict,
    goto,
    hook,
    lookup,
    match,
    meta,
    payload,
    prefix,
)
from gureum.drivers.nft.idle import Limit
from gureum.ports.firewalls import BalancedPort, BalancedTarget, Balancer, Entrance, Port, RuleSet

_FROM_UPLINK, _FROM_INSIDE = match(meta("iifname"), UPLINK), match(meta("iifname"), UPLINK, "!=")
FLOW_MARK: Json = {"ct": {"key": "mark"}}
_BY_LINK = by_verdict("oifname", "ingress")
_IS_TCP = match(meta("l4proto"), 6)
_RESET: Line = (_IS_TCP, {"reject": {"type": "tcp reset"}})

# What is put in front of other chains' lines.
INGRESS: Line = (by_verdict("mark", "balanced-in"),)
ONWARD: Line = (by_verdict("mark", "balanced-out"),)
PICK: Line = (by_verdict("mark", "balanced-pick"),)
HIDE: Line = (by_verdict("mark", "balanced-hide"),)


def hide_strangers(rules: RuleSet) -> tuple[Line, ...]:
    """What stands beside `HIDE`: of who is not of this network, a peered one sees the node's address instead."""
    links: Json = {"set": [peer_link(peer.name) for peer in rules.peers]}
    strange = match(payload("ip", "saddr"), {"set": [prefix(cidr) for cidr in rules.cidrs]}, "!=")
    by_node = {"snat": {"family": "ip", "addr": lookup(meta("mark"), "balanced-strangers")}}
    return ((match(meta("oifname"), links), strange, by_node),) if rules.peers else ()


COUNT_NEW: Line = ({"counter": {"map": {"key": meta("mark"), "data": "@count-new"}}},)
BLOCKED: dict[str, Line] = {
    way: ({"counter": {"map": {"key": meta("mark"), "data": f"@count-blocked-{way}"}}},) for way in ("in", "out")
}
# The router's own resets of what belongs to no flow: connection tracking knows them as little.
_IS_RESET = match({"&": [payload("tcp", "flags"), "rst"]}, "rst")
# The same where it is known to be TCP: the flags stand in the 14th byte of its header (RFC 9293). Named, they would be asked for the protocol first.
_IS_RESET_OF_TCP = match({"&": [{"payload": {"base": "th", "offset": 13 * 8, "len": 8}}, 4]}, 4)
OWN_RESETS: Line = (_IS_RESET, ACCEPT)
STRAY: Json = {"goto": {"target": "balance-stray"}}
KNOWN: Json = {"goto": {"target": "balance-known"}}
# What follows the first packet of a flow that has no answer yet.
AGAIN: Line = (
    match(FLOW_MARK, 0, "!="),
    match({"&": [meta("mark"), JUDGED_MARK]}, 0),
    {"jump": {"target": "balance-again"}},
)


class Listener(msgspec.Struct, frozen=True):
    """One port of a balancer. `number`: its mark, one of its own in this network."""

    balancer: Balancer
    port: BalancedPort
    node: Port
    number: int
    public: bool

    @property
    def name(self) -> str:
        return f"{self.balancer.interface}-{self.port.protocol}-{self.port.port}"

    @property
    def entrance(self) -> Entrance:
        return self.balancer.interface, self.port.protocol, self.port.port

    @property
    def judged(self) -> int:
        return self.number | JUDGED_MARK


def listeners(rules: RuleSet) -> list[Listener]:
    """All ports of the balancers whose interface the firewall knows."""
    nodes = {port.interface: port for port in rules.ports}
    subnets = [ipaddress.IPv4Network(cidr) for cidr in rules.internet if cidr not in rules.egress_only]
    found, taken = [], set[int]()
    for balancer in sorted(rules.balancers, key=lambda one: one.interface):
        if balancer.interface not in nodes:
            continue
        leads = any(ipaddress.IPv4Address(balancer.address) in subnet for subnet in subnets)
        for port in sorted(balancer.ports, key=lambda one: (one.protocol, one.port)):
            name = f"{balancer.interface} {port.protocol} {port.port}"
            number = next(mark for mark in _numbers(name) if mark not in taken)
            taken.add(number)
            found.append(Listener(balancer, port, nodes[balancer.interface], number, leads and bool(balancer.public)))
    return found


def _numbers(name: str) -> Iterator[int]:
    """The mark of a listener, and the next ones should another have it."""
    first = zlib.crc32(name.encode())
    return (balanced_mark(first + step) for step in range(1 << 20))


def limits(found: list[Listener]) -> frozenset[Limit]:
    """How long silent flows are remembered."""
    return frozenset((one.number, one.port.protocol, one.port.idle_s) for one in found if one.port.idle_s)


# What is counted per node and protocol, and which of a listener's marks the packet or the flow then has. "packets": of known flows; the first one of
# a flow is in "new".
_COUNTED: dict[str, Callable[[Listener], tuple[int, ...]]] = {
    "packets": lambda one: (one.number, one.number | UPLINK_MARK),
    "client-reset": lambda one: (one.number, one.number | UPLINK_MARK),
    "target-reset": lambda one: (one.number, one.number | UPLINK_MARK),
    # A refusal has the mark of what it answers.
    "new": lambda one: (one.judged,) if shares(one.port) and not one.port.fail_open else (),
    "new-open": lambda one: (one.judged,) if shares(one.port) and one.port.fail_open else (),
    "blocked-in": lambda one: (one.number,),
    "blocked-out": lambda one: (one.judged,),
    "elb-reset": lambda one: (one.judged,),
}


def counter_name(count: str, protocol: str, interface: str) -> str:
    return f"{count}-{protocol}-{interface}"


def counter_names(found: list[Listener]) -> set[str]:
    nodes = {(one.port.protocol, one.balancer.interface) for one in found}
    names = {counter_name(count, *node) for count in _COUNTED for node in nodes}
    return names | {counter_name("elb-reset", "tcp", interface) for _, interface in nodes}


def hides(found: list[Listener]) -> bool:
    """Whether some listener's targets see the balancer's address instead of the client's."""
    return any(not one.port.preserve_client for one in found)


def are_in(rules: RuleSet) -> bool:
    """Whether the network has balancers, or nodes that speak from their clients' addresses."""
    return bool(rules.balancers) or any(port.speaks_for_clients for port in rules.ports)


def vouching(found: list[Listener], ports: Iterable[Port]) -> dict[str, list[int]]:
    """Group -> marks of judged packets that come by a balancer of that group with their client's address."""
    marks: dict[str, list[int]] = {}
    for port in ports:
        if port.speaks_for_clients and not port.open:
            for group in port.groups:
                marks.setdefault(group, []).append(node_mark(port.interface) | JUDGED_MARK)
    for one in found:
        if one.port.preserve_client and not one.node.open:
            for group in one.node.groups:
                marks.setdefault(group, []).append(one.judged)
    return marks


def vouched(group: str) -> Json:
    """Matches what a balancer of the group sends on."""
    return match(meta("mark"), f"@balanced-by-{group}")


def add_balancers(rules: RuleSet, found: list[Listener], chains: dict[str, Chain], sets: dict[str, Elements]) -> None:
    """Chains and sets of all listeners and nodes; the lines above that lead to them are in their places already."""
    ports, peered = rules.ports, bool(rules.peers)
    nodes = [port for port in ports if port.speaks_for_clients]
    leads = rules.passes_edge
    chains.update(_frame(leads=leads, speaking=bool(nodes), hiding=hides(found), peered=peered))
    if nodes:
        sets["balanced-nodes"] = Elements("ifname", "verdict", {})
    for port in nodes:
        foreign = match(payload("ip", "saddr"), {"set": list(port.addresses)}, "!=")
        mark = node_mark(port.interface)
        chains[f"speak-{port.interface}"] = Chain(((foreign, _set(FLOW_MARK, mark), _set_mark(mark | JUDGED_MARK)),))
        sets["balanced-nodes"].entries[interface_link(port.interface)] = _to(f"speak-{port.interface}")
    maps = {name: Elements("mark", "verdict", {}) for name in ("in", "pick", "out", "hide", "known")}
    sets.update({f"balanced-{name}": entries for name, entries in maps.items()})
    addresses = {name: Elements("ipv4_addr", "verdict", {}) for name in ("private", "public")}
    sets.update({f"balanced-{name}": entries for name, entries in addresses.items()})
    sets["balanced-hidden"] = Elements("mark", "", {})
    _add_counts(found, sets)
    if peered:
        sets["balanced-strangers"] = _strangers(found, nodes)
    for group, marks in vouching(found, ports).items():
        sets[f"balanced-by-{group}"] = Elements("mark", "", dict.fromkeys(marks))
    by_node: dict[str, list[Listener]] = {}
    for one in found:
        by_node.setdefault(one.balancer.interface, []).append(one)
        node, hidden = one.balancer.interface, not one.port.preserve_client
        link = interface_link(node)
        let_in = maps["in"].entries[one.number] = sets["ingress"].entries[link]
        _add_listener(one, chains, let_in if leads else None)
        maps["pick"].entries[one.number] = _to(f"pick-{one.name}")
        maps["out"].entries[one.judged] = sets["egress"].entries[link] if shares(one.port) else _to("refuse")
        if hidden:
            maps["in"].entries[one.judged] = ACCEPT  # judged by `shown`, when its address is the balancer's
            sets["balanced-hidden"].entries[one.judged] = None
            maps["hide"].entries[one.judged] = _to(f"hide-{node}")
            chains[f"hide-{node}"] = Chain((({"snat": {"family": "ip", "addr": one.balancer.address}},),))
        known = dict.fromkeys((one.number, one.number | UPLINK_MARK), _to(_add_known(one, chains)))
        maps["known"].entries.update(known)
    for node, its in by_node.items():
        chains[f"balance-{node}"] = Chain(tuple(_node_lines(its)))
        addresses["private"].entries[its[0].balancer.address] = _to(f"balance-{node}")
        if its[0].public:
            addresses["public"].entries[its[0].balancer.public] = _to(f"balance-{node}")


def _strangers(found: list[Listener], nodes: list[Port]) -> Elements:
    """Who is seen in a peered network instead of a client that is of neither: by the mark of what is sent on with the client's address."""
    kept = {one.judged: one.balancer.address for one in found if one.port.preserve_client}
    spoken = {node_mark(port.interface) | JUDGED_MARK: port.addresses[0] for port in nodes}
    return Elements("mark", "ipv4_addr", kept | spoken)


def speech(port: Port) -> Chain:
    """Where what a node sends comes in, before it is tracked."""
    foreign = match(payload("ip", "saddr"), {"set": list(port.addresses)}, "!=")
    own_zone = _set({"ct": {"key": "zone", "dir": "original"}}, node_zone(port.interface))
    return Chain(((foreign, own_zone), (ACCEPT,)))


def _add_counts(found: list[Listener], sets: dict[str, Elements]) -> None:
    for count, marks in _COUNTED.items():
        entries = {
            mark: counter_name(count, one.port.protocol, one.balancer.interface) for one in found for mark in marks(one)
        }
        # A new flow is counted by one look-up, whether its listener fails open or not.
        sets.setdefault(f"count-{count.removesuffix('-open')}", Elements("mark", "counter", {})).entries.update(entries)
    strays: dict[str, str] = {}
    for one in found:
        name = counter_name("elb-reset", "tcp", one.balancer.interface)
        strays[one.balancer.address] = name
        if one.public:
            strays[one.balancer.public] = name
    sets["count-stray"] = Elements("ipv4_addr", "counter", strays)


def _count(key: Json, count: str) -> Json:
    return {"counter": {"map": {"key": key, "data": f"@count-{count}"}}}


def _frame(*, leads: bool, speaking: bool, hiding: bool, peered: bool) -> dict[str, Chain]:
    """The chains that are there with the first balancer. `leads`: there is a way to the edge. `speaking`: some node speaks from its
    clients' addresses. `hiding`: some listener hides its clients' addresses; where none does, no packet passes the chain that is for them.
    `peered`: what is sent on may have to find its way by mark (routes.py), also later than the first packet."""
    destination = payload("ip", "daddr")
    came_by_uplink = match({"&": [FLOW_MARK, UPLINK_MARK]}, UPLINK_MARK)
    came_by_node = match({"&": [FLOW_MARK, NODE_MARK]}, NODE_MARK)
    of_balancer = match({"&": [FLOW_MARK, BALANCED_MARK]}, BALANCED_MARK)
    reply, original = (match({"ct": {"key": "direction"}}, way) for way in ("reply", "original"))
    is_invalid = match({"ct": {"key": "state"}}, "invalid", "in")
    to_public: Line = (_FROM_UPLINK, {"vmap": {"key": destination, "data": "@balanced-public"}})
    inside = (_FROM_INSIDE,) if leads else ()
    by_node: Line = (by_verdict("iifname", "balanced-nodes"),)
    back_to_node: Line = (reply, came_by_node, _set_mark(FLOW_MARK))
    sent_far: Line = (original, of_balancer, _set_mark({"&": [FLOW_MARK, ALL_BITS & ~UPLINK_MARK]}))
    shown = Chain(
        ((match(meta("mark"), "@balanced-hidden"), _BY_LINK), (match(meta("mark"), "@balanced-hidden"), DENY)),
        hook("filter", "postrouting", 150, "accept"),
    )
    back = Chain(
        (
            (match(FLOW_MARK, 0), ACCEPT),
            (reply, came_by_uplink, _set_mark(UPLINK_MARK)),
            *((back_to_node,) if speaking else ()),
            *((sent_far,) if peered else ()),
            # What belongs to no flow may have no way either: a public address is not translated, a target's subnet need not lead out. This
            # leads it through `forward`, where it ends: only from there the kernel's refusals find their way by mark.
            (is_invalid, _set_mark(UPLINK_MARK)),
        ),
        hook("filter", "prerouting", -150, "accept"),
    )
    return (
        ({"shown": shown} if hiding else {})
        | ({"balance-back": back} if leads or speaking or peered else {})
        | {
            "balance": Chain(
                (
                    *((to_public,) if leads else ()),
                    (*inside, {"vmap": {"key": destination, "data": "@balanced-private"}}),
                    *((by_node,) if speaking else ()),
                ),
                hook("nat", "prerouting", -103, "accept"),
            ),
            "balance-known": Chain((({"vmap": {"key": FLOW_MARK, "data": "@balanced-known"}},), (ACCEPT,))),
            "balance-again": Chain(
                (
                    (_set_mark({"&": [FLOW_MARK, ALL_BITS & ~UPLINK_MARK]}),),
                    (_set_mark({"|": [meta("mark"), JUDGED_MARK]}),),
                    (_count(FLOW_MARK, "packets"),),
                    ONWARD,
                )
            ),
            "balance-reset": Chain(
                ((reply, _count(FLOW_MARK, "target-reset")), (original, _count(FLOW_MARK, "client-reset")))
            ),
            "balance-stray": Chain(((_IS_TCP, _count(payload("ip", "daddr"), "stray")), _RESET, (DENY,))),
            "refuse": Chain(
                (
                    (_IS_TCP, _count(meta("mark"), "elb-reset")),
                    (_FROM_UPLINK, _set_mark(UPLINK_MARK)),
                    _RESET,
                    ({"reject": {"type": "icmp", "expr": "port-unreachable"}},),
                )
            ),
        }
    )


def _node_lines(its: list[Listener]) -> Iterator[Line]:
    for protocol in ("tcp", "udp"):
        ports = [[one.port.port, _to(f"judge-{one.name}")] for one in its if one.port.protocol == protocol]
        if ports:
            yield ({"vmap": {"key": payload(protocol, "dport"), "data": {"set": ports}}},)


def _add_listener(one: Listener, chains: dict[str, Chain], let_in: Json | None) -> None:
    """`let_in`: where the balancer's ingress rules are, for what comes by the uplink; None: there is none."""
    chains[f"judge-{one.name}"] = Chain(
        (
            (_set_mark(one.number),),
            *(((_FROM_UPLINK, let_in),) if let_in is not None else ()),
            (by_verdict("iifname", "egress"),),
            (DENY,),
        )
    )
    targets = shares(one.port)
    picked = _pick(one.port, targets) if targets else (_dnat(one.balancer.address),)
    chains[f"pick-{one.name}"] = Chain((*_marked(one, let_in is not None), *picked))
    for target, _ in targets:
        its_protocol = match(meta("l4proto"), 6 if one.port.protocol == "tcp" else 17)
        line = (its_protocol, *_dnat(target.address, target.port))
        chains[_dnat_chain(one.port.protocol, target)] = Chain((line,))


def _add_known(one: Listener, chains: dict[str, Chain]) -> str:
    """The name of the chain where the node's known flows of the protocol are counted: what each of their packets passes."""
    protocol, node = one.port.protocol, one.balancer.interface
    counted: Line = ({"counter": counter_name("packets", protocol, node)},)
    reset: Line = (_IS_RESET_OF_TCP, {"jump": {"target": "balance-reset"}})
    name = f"known-{protocol}-{node}"
    chains[name] = Chain((counted, *((reset,) if protocol == "tcp" else ()), (ACCEPT,)))
    return name


def _marked(one: Listener, leads: bool) -> tuple[Line, ...]:
    """What the first packet of a flow gets when it has been let come, and the flow."""
    from_edge: Line = (_FROM_UPLINK, _set(FLOW_MARK, one.number | UPLINK_MARK))
    ours = (*((_FROM_INSIDE,) if leads else ()), _set(FLOW_MARK, one.number))
    return (*((from_edge,) if leads else ()), ours, (_set_mark(one.judged),))


def shares(port: BalancedPort) -> list[tuple[BalancedTarget, int]]:
    """Targets in a settled order with their shares, the smallest whole numbers in the ratio of the weights. So who is asked twice,
    with the same targets in another order, does not move."""
    weights: dict[tuple[str, int], int] = {}
    for target in port.targets:
        if target.weight > 0:
            weights[target.address, target.port] = weights.get((target.address, target.port), 0) + target.weight
    least = math.gcd(*weights.values())
    return [(BalancedTarget(*place), weight // least) for place, weight in sorted(weights.items())]


def _pick(port: BalancedPort, targets: list[tuple[BalancedTarget, int]]) -> tuple[Line, ...]:
    if len(targets) == 1:
        return (goto(_dnat_chain(port.protocol, targets[0][0])),)
    fields = [payload("ip", "saddr")]
    if port.by == "flow":
        fields += [payload("ip", "daddr"), payload(port.protocol, "sport"), payload(port.protocol, "dport")]
        runs = [(target, share) for target, share in targets]
    else:
        runs = [(target, len(list(same))) for target, same in itertools.groupby(sticky_slots(tuple(targets)))]
    entries, start = [], 0
    for target, share in runs:
        last = start + share - 1
        values: Json | int = {"range": [start, last]} if share > 1 else start
        entries.append([values, _to(_dnat_chain(port.protocol, target))])
        start += share
    seed = _SEED if port.by == "source" else _seed_of(targets)
    hashed = {"jhash": {"mod": start, "seed": seed, "expr": {"concat": fields} if len(fields) > 1 else fields[0]}}
    return (({"vmap": {"key": hashed, "data": {"set": entries}}},),)


_SEED = 0x67757265
"""Of sources that stick: without a seed the kernel draws one per rule, and every change of targets would move who is stuck to his."""
_SLOTS = 512
"""For the sources that stick to targets: shares are as even as that many allow."""


def _seed_of(targets: list[tuple[BalancedTarget, int]]) -> int:
    """Of flows, which keep their target by connection tracking. The kernel divides the hash's range: with the same seed all UDP flows that a dead
    target leaves behind would go to those beside it in the order."""
    return zlib.crc32(" ".join(f"{target.address}:{target.port}" for target, _ in targets).encode())


@functools.lru_cache(maxsize=256)
def sticky_slots(targets: tuple[tuple[BalancedTarget, int], ...]) -> tuple[BalancedTarget, ...]:
    """Who gets the sources of each slot: of all targets the one with the highest score there (rendezvous hashing, by weight). So who leaves
    moves his own sources only, and who comes takes his share and nothing else."""
    seeds = [zlib.crc32(f"{target.address}:{target.port}".encode()) << 32 for target, _ in targets]

    def score(place: int, slot: int) -> float:
        return targets[place][1] / -math.log((_mixed(seeds[place] + slot) + 0.5) / 2**64)

    chosen = (max(range(len(targets)), key=lambda place: score(place, slot)) for slot in range(_SLOTS))
    return tuple(targets[place][0] for place in chosen)


def _mixed(number: int) -> int:
    """64 bits that depend on all of the number's (the finalizer of SplitMix64). Not hashlib: it would load OpenSSL into each worker."""
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFF_FFFF_FFFF_FFFF
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 0xFFFF_FFFF_FFFF_FFFF
    return number ^ number >> 31


def _dnat(address: str, port: int = 0) -> Line:
    return ({"dnat": {"family": "ip", "addr": address} | ({"port": port} if port else {})},)


def _dnat_chain(protocol: str, target: BalancedTarget) -> str:
    return f"dnat-{protocol}-{target.address}-{target.port}"


def _to(chain: str) -> Json:
    return {"goto": {"target": chain}}


def _set(key: Json, value: Json | int) -> Json:
    return {"mangle": {"key": key, "value": value}}


def _set_mark(value: Json | int) -> Json:
    return _set(meta("mark"), value)
