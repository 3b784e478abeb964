"""The plan of layer-4 balancing: every target gets its share of the hash, and what the rendered rules send on, refuse and drop is what the port's
words say."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gureum.drivers.networks.network_names import BALANCED_MARK, JUDGED_MARK, UPLINK_MARK, node_mark
from gureum.drivers.nft.balancers import listeners, shares, sticky_slots
from gureum.drivers.nft.table import Table, plan, table
from gureum.drivers.simulated.packets import Packet, answered, asks, sent_on
from gureum.ports.firewalls import Acl, AclEntry, BalancedPort, BalancedTarget, Balancer, Group, Port, Rule, RuleSet
from tests.drivers.nft.nft_model import Evaluation, Journey, Kernel

Direction = Literal["in", "out"]

ANYWHERE = "0.0.0.0/0"
NODE, NODE_2, CLIENT, TARGET, TARGET_2 = "10.0.0.5", "10.0.0.6", "10.0.0.10", "10.0.1.11", "10.0.1.12"
HOST, PUBLIC, PUBLIC_2 = "192.0.2.9", "198.19.0.5", "198.19.0.6"
GROUPS = ("cl", "lb", "tg")
SUBNETS = ("10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24")
FAR_CLIENT, CLIENTS_PORT, HIDDEN_PORT = "10.0.2.10", 40000, 50000

# --- rule sets ------------------------------------------------------------------------------------------------------

# What a step of the way looks like: so a random set often opens the whole way, or all of it but one place.
FITTING: dict[tuple[str, Direction], tuple[tuple[str, str], ...]] = {
    ("cl", "out"): (("cidr", f"{NODE}/32"), ("group", "lb")),
    ("lb", "in"): (("cidr", f"{CLIENT}/32"), ("cidr", f"{HOST}/32"), ("group", "cl")),
    ("lb", "out"): (("cidr", f"{TARGET}/32"), ("group", "tg")),
    ("tg", "in"): (
        ("group", "lb"),
        ("group", "lb"),
        ("cidr", f"{NODE}/32"),
        ("cidr", f"{CLIENT}/32"),
        ("cidr", f"{HOST}/32"),
    ),
}
SERVICES = (("all", None), ("all", None), ("tcp", (80, 80)), ("tcp", (8080, 8080)), ("udp", None), ("6", None))


@st.composite
def a_group(draw: st.DrawFn, name: str) -> Group:
    rules = []
    directions: tuple[Direction, ...] = ("out", "in")
    for direction in directions:
        ends = (*FITTING.get((name, direction), ()), ("cidr", ANYWHERE))
        for kind, far in draw(st.lists(st.sampled_from(ends), min_size=1, max_size=2, unique=True)):
            protocol, ports = draw(st.sampled_from(SERVICES))
            rules.append(Rule(direction, protocol, ports, **{kind: far}))
    return Group(name, tuple(rules))


targets = st.sampled_from([TARGET, TARGET, TARGET_2, NODE_2, "10.0.1.99"]).flatmap(
    lambda address: st.builds(BalancedTarget, st.just(address), st.sampled_from([80, 8080]), st.integers(1, 3))
)


def a_balanced_port(protocol: str, number: int) -> st.SearchStrategy[BalancedPort]:
    return st.builds(
        BalancedPort,
        st.just(protocol),
        st.just(number),
        st.lists(targets, max_size=3).map(tuple),
        st.sampled_from(["flow", "source"]),
        st.booleans(),
    )


# Each denies something of what passes or lets it pass; the rest passes.
acl_entries = st.builds(
    AclEntry,
    st.sampled_from(["in", "out"]),
    st.integers(1, 9),
    st.sampled_from([False, False, True]),
    st.sampled_from(["tcp", "tcp", "udp"]),
    st.sampled_from([ANYWHERE, *(f"{one}/32" for one in (NODE, CLIENT, FAR_CLIENT, TARGET, HOST))]),
    st.sampled_from([None, (80, 80), (8080, 8080), (CLIENTS_PORT, CLIENTS_PORT), (HIDDEN_PORT, HIDDEN_PORT)]),
)


def acls_of(*subnets: tuple[str, ...]) -> st.SearchStrategy[tuple[Acl, ...]]:
    entries = st.lists(acl_entries, max_size=4, unique_by=lambda one: (one.direction, one.number))
    rest = (AclEntry("in", 99, True, "all", ANYWHERE), AclEntry("out", 99, True, "all", ANYWHERE))
    whole = entries.map(lambda found: (*found, *rest))
    return st.tuples(
        *(st.builds(Acl, st.just(f"acl-{place}"), st.just(its), whole) for place, its in enumerate(subnets))
    )


some_acls = st.one_of(
    st.just(()),
    acls_of(SUBNETS[:1]),
    acls_of(SUBNETS[1:2]),
    acls_of(SUBNETS[:1], SUBNETS[1:2], SUBNETS[2:]),
    acls_of((SUBNETS[0], SUBNETS[2]), SUBNETS[1:2]),
    acls_of(SUBNETS),
)


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    kept = st.sampled_from([(), ("lb",), ("lb",), ("lb", "tg")])
    nodes = []
    ports = [Port("client", (CLIENT,), ("cl",)), Port("far", (FAR_CLIENT,), ("cl",))]
    ports += [Port("t1", (TARGET,), ("tg",)), Port("t2", (TARGET_2,), ("tg", "cl"))]
    for name, address, public in (("node", NODE, PUBLIC), ("node-2", NODE_2, draw(st.sampled_from(["", PUBLIC_2])))):
        groups = draw(kept)
        pairs = ((address, public),) if public else ()
        ports.append(Port(name, (address,), groups, pairs, open=not groups))
        its = tuple(draw(a_balanced_port(*one)) for one in (("tcp", 80), ("udp", 53)))
        nodes.append(Balancer(name, address, its[: draw(st.integers(0, 2))], public))
    groups = tuple(draw(a_group(name)) for name in GROUPS)
    return RuleSet(
        "vpc-1",
        ("10.0.0.0/16",),
        groups,
        tuple(ports),
        draw(st.sampled_from([SUBNETS[:1], SUBNETS[:1], ()])),
        draw(some_acls),
        tuple(nodes[: draw(st.integers(0, 2))]),
    )


def journeys(rules: RuleSet) -> Iterator[tuple[Packet, Balancer, BalancedPort]]:
    """First packets to each listener: from clients, a target, the uplink, and with a borrowed source."""
    for balancer in rules.balancers:
        for port in balancer.ports:
            ends = (("client", CLIENT), ("client", NODE), ("far", FAR_CLIENT), ("t1", TARGET), ("", HOST))
            for incoming, source in ends:
                ports = (CLIENTS_PORT, port.port)
                yield Packet(incoming, "", source, balancer.address, port.protocol, ports), balancer, port


# --- properties -----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(rule_sets())
def test_rendered_rules_send_on_what_the_words_say(rules: RuleSet) -> None:
    rendered = table(rules)
    holders = {address: port.interface for port in rules.ports for address in port.addresses}
    for packet, balancer, port in journeys(rules):
        if not packet.incoming and not balancer.public:
            continue
        arriving = packet if packet.incoming else msgspec.structs.replace(packet, destination=balancer.public)
        for slot, target in slots_of(port):
            journey = Journey(rendered, arriving, slot, holders)
            if target is None:
                may = asks(rules, packet, balancer) and acls_let_pass(rules, packet, balancer)
                assert journey.end == ("reject" if may else "drop"), packet
                continue
            expected = sent_on(rules, packet, balancer, port, target)
            assert (journey.end == "accept") == expected, (packet, port, target)
            if expected:
                seen = packet.source if port.preserve_client else balancer.address
                assert journey.place == (seen, target.address, target.port)
                assert bool(journey.flow_mark & UPLINK_MARK) == (not packet.incoming)
                assert journey.flow_mark & BALANCED_MARK
                assert journey.repeated() == ("accept", journey.mark)
                comes_back = answered(rules, packet, balancer, port, target, answered_port(port))
                assert forwards_answer(rendered, arriving, port, target, journey.flow_mark, holders) == comes_back


def answered_port(port: BalancedPort) -> int:
    return CLIENTS_PORT if port.preserve_client else HIDDEN_PORT


def forwards_answer(
    rendered: Table, asked: Packet, port: BalancedPort, target: BalancedTarget, flow: int, holders: dict[str, str]
) -> bool:
    """Whether the rendered rules forward what the target answers to `asked` in the flow of that mark."""
    ends = {"incoming": holders[target.address], "outgoing": asked.incoming}
    there = {"source": target.address, "destination": asked.source, "ports": (target.port, CLIENTS_PORT)}
    back = msgspec.structs.replace(asked, **ends, **there, known=True)
    met = Evaluation(rendered, back).forwarded_reply(flow, (asked.destination, port.port), answered_port(port))
    return met == "accept"


def slots_of(port: BalancedPort) -> list[tuple[int, BalancedTarget | None]]:
    """Values of the hash, and who gets them; where sources decide, one for each target."""
    weights = shares(port)
    if port.by == "source" and len(weights) > 1:
        chosen = sticky_slots(tuple(weights))
        return [(chosen.index(target), target) for target, _ in weights]
    return list(enumerate([one for one, share in weights for _ in range(share)] or [None]))


def acls_let_pass(rules: RuleSet, packet: Packet, balancer: Balancer) -> bool:
    """To the node itself, where a refusal comes from."""
    opened = tuple(msgspec.structs.replace(port, groups=(), open=True) for port in rules.ports)
    to_itself = BalancedTarget(balancer.address, packet.ports[1])
    listener = BalancedPort("tcp", packet.ports[1], (to_itself,))
    return sent_on(msgspec.structs.replace(rules, ports=opened), packet, balancer, listener, to_itself)


@settings(max_examples=24, deadline=None)
@given(st.lists(rule_sets(), min_size=1, max_size=4))
def test_differences_one_after_another_give_the_same_as_the_whole(steps: list[RuleSet]) -> None:
    kernel, before = Kernel(), None
    for step in steps:
        kernel.run(plan(before, step))
        assert kernel.content() == Kernel().run(plan(None, step)).content()
        before = step


@settings(max_examples=20, deadline=None)
@given(rule_sets())
def test_no_change_is_no_command(rules: RuleSet) -> None:
    assert plan(rules, rules) == []


@settings(max_examples=24, deadline=None)
@given(st.lists(targets, min_size=1, max_size=5))
def test_hash_is_shared_by_weight(chosen: list[BalancedTarget]) -> None:
    rules = balanced(BalancedPort("tcp", 80, tuple(chosen)))
    wanted: collections.Counter[tuple[str, int]] = collections.Counter()
    for one in chosen:
        wanted[one.address, one.port] += one.weight
    total = sum(share for _, share in shares(rules.balancers[0].ports[0]))
    met = collections.Counter(chosen_by(rules, slot) for slot in range(total))
    assert {place: count * sum(wanted.values()) for place, count in met.items()} == {
        place: weight * total for place, weight in wanted.items()
    }


def denials(subnets: tuple[tuple[str, ...], ...]) -> Iterator[tuple[Acl, ...]]:
    """ACLs of which one denies one thing, each that may matter to somebody; all else passes."""
    rest = (AclEntry("in", 99, True, "all", ANYWHERE), AclEntry("out", 99, True, "all", ANYWHERE))
    ends = [ANYWHERE, *(f"{one}/32" for one in (NODE, CLIENT, FAR_CLIENT, TARGET, HOST))]
    directions: tuple[Direction, ...] = ("in", "out")
    for where in range(len(subnets)):
        for direction, far, port in itertools.product(directions, ends, (80, 81, 8080, CLIENTS_PORT, HIDDEN_PORT)):
            deny = AclEntry(direction, 1, False, "tcp", far, (port, port))
            yield tuple(
                Acl(f"acl-{place}", its, (deny, *rest) if place == where else rest) for place, its in enumerate(subnets)
            )


@pytest.mark.parametrize(
    "subnets",
    [
        ((SUBNETS[0],), (SUBNETS[1],), (SUBNETS[2],)),
        ((SUBNETS[0],),),
        ((SUBNETS[1],), (SUBNETS[2],)),
        (SUBNETS,),
    ],
)
def test_acls_judge_each_way_of_a_balanced_flow(subnets: tuple[tuple[str, ...], ...]) -> None:
    """From beside the balancer, from elsewhere, from the target itself and from outside; with the client's address and without; to a target
    elsewhere and to one beside the balancer."""
    machines = (("client", CLIENT), ("far", FAR_CLIENT), ("t1", TARGET), ("node", NODE))
    pairs = ((NODE, PUBLIC),)
    ports = tuple(Port(name, (at,), (), pairs if name == "node" else (), open=True) for name, at in machines)
    away, beside = (BalancedTarget(TARGET, 8080),), (BalancedTarget(CLIENT, 8080),)
    listening = [BalancedPort("tcp", 80, away), BalancedPort("tcp", 81, away, preserve_client=False)]
    listening += [BalancedPort("tcp", 82, beside), BalancedPort("tcp", 83, beside, preserve_client=False)]
    node = Balancer("node", NODE, tuple(listening), PUBLIC)
    holders = {address: name for name, address in machines}
    met: collections.Counter[str] = collections.Counter()
    for acls in denials(subnets):
        rules = RuleSet("vpc-1", ("10.0.0.0/16",), (), ports, SUBNETS[:1], acls, (node,))
        rendered = table(rules)
        for packet, balancer, port in journeys(rules):
            if packet.incoming == "client" and packet.source != CLIENT:
                continue
            arriving = packet if packet.incoming else msgspec.structs.replace(packet, destination=PUBLIC)
            target, journey = port.targets[0], Journey(rendered, arriving, 0, holders)
            comes = sent_on(rules, packet, balancer, port, target)
            assert (journey.end == "accept") == comes, (acls, packet)
            goes_back = comes and answered(rules, packet, balancer, port, target, answered_port(port))
            if comes:
                forwarded = forwards_answer(rendered, arriving, port, target, journey.flow_mark, holders)
                assert forwarded == goes_back, (acls, packet)
            met["open" if goes_back else "no answer" if comes else "shut"] += 1
    assert min(met["open"], met["no answer"], met["shut"]) > 5, met


# --- examples -------------------------------------------------------------------------------------------------------

OPEN = Group("open", (Rule("out", "all", cidr=ANYWHERE), Rule("in", "all", cidr=ANYWHERE)))


def balanced(*ports: BalancedPort) -> RuleSet:
    """An open network with one balancer."""
    machines = (("client", CLIENT), ("t1", TARGET), ("t2", TARGET_2), ("t3", NODE_2), ("t4", "10.0.1.99"))
    found = (*(Port(name, (address,), ("open",)) for name, address in machines), Port("node", (NODE,), (), open=True))
    return RuleSet("vpc-1", ("10.0.0.0/16",), (OPEN,), found, balancers=(Balancer("node", NODE, ports),))


def chosen_by(rules: RuleSet, slot: int) -> tuple[str, int]:
    holders = {address: port.interface for port in rules.ports for address in port.addresses}
    journey = Journey(table(rules), Packet("client", "", CLIENT, NODE, "tcp", (0, 80)), slot, holders)
    assert journey.end == "accept"
    return journey.place[1:]


@pytest.mark.parametrize(
    ("node_in", "target_in", "end"),
    [
        ({"cidr": ANYWHERE}, {"group": "lb"}, "accept"),
        ({"group": "cl"}, {"group": "lb"}, "accept"),
        # The client is in no group of the balancer before the balancer has let it come.
        ({"group": "lb"}, {"group": "lb"}, "drop"),
        ({"cidr": ANYWHERE}, {"group": "tg"}, "drop"),
        ({"cidr": ANYWHERE}, {"cidr": f"{NODE}/32"}, "drop"),
    ],
)
def test_rule_that_names_the_balancers_group(node_in: dict[str, str], target_in: dict[str, str], end: str) -> None:
    everywhere = Rule("out", "all", cidr=ANYWHERE)
    entries = {
        "cl": (everywhere,),
        "lb": (everywhere, Rule("in", "all", **node_in)),
        "tg": (Rule("in", "all", **target_in),),
    }
    places = (("client", CLIENT, "cl"), ("node", NODE, "lb"), ("t1", TARGET, "tg"))
    node = Balancer("node", NODE, (BalancedPort("tcp", 80, (BalancedTarget(TARGET, 8080),)),))
    rules = RuleSet(
        "vpc-1",
        ("10.0.0.0/16",),
        tuple(Group(name, lines) for name, lines in entries.items()),
        tuple(Port(name, (address,), (group,)) for name, address, group in places),
        balancers=(node,),
    )
    holders = {address: name for name, address, _ in places}
    packet = Packet("client", "", CLIENT, NODE, "tcp", (0, 80))
    assert Journey(table(rules), packet, 0, holders).end == end
    assert sent_on(rules, packet, node, node.ports[0], node.ports[0].targets[0]) == (end == "accept")


@pytest.mark.parametrize(
    ("source", "target_in", "speaks", "end"),
    [
        (CLIENT, {"cidr": f"{CLIENT}/32"}, True, "accept"),
        (CLIENT, {"group": "lb"}, True, "accept"),
        (CLIENT, {"cidr": f"{NODE}/32"}, True, "drop"),
        (NODE, {"group": "lb"}, True, "accept"),
        (NODE, {"cidr": f"{CLIENT}/32"}, True, "drop"),
        # Who forwards and is no node speaks for nobody.
        (CLIENT, {"group": "lb"}, False, "drop"),
    ],
)
def test_what_a_node_sends_from_its_clients_addresses(
    source: str, target_in: dict[str, str], speaks: bool, end: str
) -> None:
    groups = (Group("lb", (Rule("out", "all", cidr=ANYWHERE),)), Group("tg", (Rule("in", "all", **target_in),)))
    node = Port("node", (NODE,), ("lb",), forward=True, speaks_for_clients=speaks)
    rules = RuleSet("vpc-1", ("10.0.0.0/16",), groups, (node, Port("t1", (TARGET,), ("tg",))))
    journey = Journey(
        table(rules), Packet("node", "t1", source, TARGET, "tcp", (0, 80)), 0, {TARGET: "t1", NODE: "node"}
    )
    assert journey.end == end
    assert journey.flow_mark == (node_mark("node") if speaks and source == CLIENT else 0)
    if end == "accept":
        assert journey.repeated() == (end, journey.mark)
    if journey.flow_mark:
        assert reply_mark(rules, journey.flow_mark) == node_mark("node")


def reply_mark(rules: RuleSet, flow: int) -> int:
    """The mark by which replies of a flow of that mark are led."""
    reply = Evaluation(table(rules), Packet("t1", "node", TARGET, CLIENT, "tcp", (0, 40000), known=True))
    return reply.known_reply(flow)


def test_order_of_targets_moves_nobody() -> None:
    found = [BalancedTarget(TARGET, 80, 2), BalancedTarget(TARGET, 8080), BalancedTarget(TARGET_2, 80, 3)]
    tables = [table(balanced(BalancedPort("tcp", 80, order))) for order in itertools.permutations(found)]
    assert all(one == tables[0] for one in tables)


def test_weights_count_by_their_ratio_and_cost_one_entry_each() -> None:
    heavy = BalancedPort(
        "tcp", 80, (BalancedTarget(TARGET, 80, 999_000_000), BalancedTarget(TARGET_2, 80, 333_000_000))
    )
    light = BalancedPort("tcp", 80, (BalancedTarget(TARGET, 80, 3), BalancedTarget(TARGET_2, 80, 1)))
    assert table(balanced(heavy)) == table(balanced(light))
    uneven = BalancedPort("tcp", 80, (BalancedTarget(TARGET, 80, 999_999_999), BalancedTarget(TARGET_2, 80, 1)))
    assert (
        len(msgspec.json.encode(plan(None, balanced(uneven))))
        < len(msgspec.json.encode(plan(None, balanced(light)))) + 100
    )


def test_weight_of_nothing_is_no_target() -> None:
    rules = balanced(BalancedPort("tcp", 80, (BalancedTarget(TARGET, 80, 0),)))
    assert table(rules) == table(balanced(BalancedPort("tcp", 80, ())))


def test_changed_targets_touch_their_listener_only() -> None:
    other = BalancedPort("udp", 53, (BalancedTarget(TARGET_2, 53),))
    before = balanced(BalancedPort("tcp", 80, (BalancedTarget(TARGET, 80), BalancedTarget(TARGET_2, 80))), other)
    after = balanced(BalancedPort("tcp", 80, (BalancedTarget(TARGET, 80), BalancedTarget(TARGET_2, 80, 2))), other)
    commands = plan(before, after)
    assert next(iter(commands[0])) == "flush"
    assert {
        one.get("chain") or one["name"] for command in commands for verb in command.values() for one in verb.values()
    } == {"pick-node-tcp-80"}


def test_without_balancers_nothing_of_them_is_there() -> None:
    rendered = table(msgspec.structs.replace(balanced(), balancers=()))
    assert "balance" not in str(rendered)
    assert "mark" not in str(rendered)


def test_balancers_without_acls_have_nothing_of_them_and_acls_without_balancers_nothing_of_those() -> None:
    rules = balanced(BalancedPort("tcp", 80, (BalancedTarget(TARGET, 80),)))
    assert "acl" not in str(table(rules))
    acl = Acl("acl-1", SUBNETS[:1], (AclEntry("in", 1, True, "all", ANYWHERE),))
    alone = table(msgspec.structs.replace(rules, balancers=(), acls=(acl,)))
    assert "ct" not in str(alone.chains["forward"].lines[:2])
    assert {name for name in (*alone.chains, *alone.sets) if "acl" in name} == {
        *("acl-in-acl-1", "acl-out-acl-1", "acl-leave", "acl-enter", "acl-denied", "acl-denied-out")
    }


def test_balancer_whose_interface_is_not_there_is_left_out() -> None:
    rules = balanced(BalancedPort("tcp", 80, (BalancedTarget(TARGET, 80),)))
    gone = msgspec.structs.replace(rules, ports=rules.ports[:-1])
    assert listeners(gone) == []
    Kernel().run(plan(None, gone))


def test_every_listener_has_a_mark_of_its_own() -> None:
    """These two names have the same checksum, of which marks are made."""
    names = ("eni-00000517a076dd345", "eni-0000059cbc62de7db")
    ports = tuple(Port(name, (f"10.0.0.{place + 5}",), (), open=True) for place, name in enumerate(names))
    nodes = tuple(Balancer(port.interface, port.addresses[0], (BalancedPort("tcp", 80, ()),)) for port in ports)
    rules = RuleSet("vpc-1", ("10.0.0.0/16",), ports=ports, balancers=nodes)
    first, second = (one.number for one in listeners(rules))
    assert second == first + 1
    assert all(mark & BALANCED_MARK and not mark & (JUDGED_MARK | UPLINK_MARK) for mark in (first, second))
    Kernel().run(plan(None, rules))


@pytest.mark.parametrize("by", ["flow", "source"])
def test_source_alone_is_hashed_where_it_decides(by: str) -> None:
    rules = balanced(BalancedPort("tcp", 80, (BalancedTarget(TARGET, 80), BalancedTarget(TARGET_2, 80)), by))  # type: ignore[arg-type]
    line = table(rules).chains["pick-node-tcp-80"].lines[-1]
    assert ("sport" in str(line)) == (by == "flow")


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (3, 1, 1, 1)])
def test_sources_of_others_stay_where_they_are_when_a_target_leaves_or_comes(weights: tuple[int, ...]) -> None:
    targets = tuple((BalancedTarget(f"10.0.1.{i}", 8080, weight), weight) for i, weight in enumerate(weights))
    before = sticky_slots(targets)
    for gone in targets:
        after = sticky_slots(tuple(one for one in targets if one != gone))
        moved = [slot for slot, target in enumerate(before) if after[slot] != target]
        assert all(before[slot] == gone[0] for slot in moved)
        share = gone[1] / sum(weights)
        assert 0.6 * share <= len(moved) / len(before) <= 1.5 * share
