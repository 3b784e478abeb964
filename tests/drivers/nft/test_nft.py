"""The plan of a network's nftables table: differences are exact, and what the rendered rules let through is what the port's words say."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gureum.drivers.nft import firewalls as nft
from gureum.drivers.nft.table import plan, table
from gureum.drivers.simulated.packets import Packet, passes
from gureum.drivers.workers.worker_process import WorkerDiedError
from gureum.ports.firewalls import Acl, AclEntry, Group, Listens, Port, Rule, RuleSet
from tests.drivers.nft.nft_model import Json, Kernel, rendered_passes

# --- rule sets ------------------------------------------------------------------------------------------------------

ANYWHERE = "0.0.0.0/0"
OPEN_TO_ALL = (Rule("out", "all", cidr=ANYWHERE), Rule("in", "all", cidr=ANYWHERE))
GROUPS = ("sg-1", "sg-2", "sg-3")
ADDRESSES = ("10.0.0.10", "10.0.0.11", "10.0.1.10", "10.0.1.11", "192.0.2.9", "198.19.0.7")
CIDRS = ("0.0.0.0/0", "0.0.0.0/0", "10.0.0.0/16", "10.0.1.0/24", "10.0.0.10/32", "192.0.2.0/24", "::/0")

some_ports = st.tuples(st.integers(79, 82), st.integers(0, 2)).map(lambda pair: (pair[0], pair[0] + pair[1]))
icmp_ports = st.tuples(st.sampled_from([-1, 0, 8]), st.sampled_from([-1, 0, 1]))


def some_of(things: tuple[Any, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    keep = st.tuples(*(st.integers(0, 3) for _ in things))
    return keep.map(lambda flags: tuple(thing for thing, flag in zip(things, flags, strict=True) if flag))


@st.composite
def rules_(draw: st.DrawFn) -> Rule:
    protocol = draw(st.sampled_from(["all", "all", "tcp", "udp", "icmp", "6", "47"]))
    ports = None
    if protocol in ("tcp", "udp"):
        ports = draw(st.none() | some_ports)
    elif protocol == "icmp":
        ports = draw(st.none() | icmp_ports)
    directions: list[Literal["in", "out"]] = ["in", "out"]
    direction = draw(st.sampled_from(directions))
    if draw(st.booleans()):
        return Rule(direction, protocol, ports, group=draw(st.sampled_from(GROUPS)))
    return Rule(direction, protocol, ports, cidr=draw(st.sampled_from(CIDRS)))


def groups_(name: str) -> st.SearchStrategy[Group]:
    members = st.lists(st.sampled_from(ADDRESSES), max_size=1).map(tuple)
    return st.builds(Group, st.just(name), st.lists(rules_(), max_size=4).map(tuple), members)


def ports_(address: str) -> st.SearchStrategy[Port]:
    name = "eni-" + address.replace(".", "-")
    public = st.sampled_from(((), ((address, "198.19." + address.removeprefix("10.0.")),)))
    groups = st.lists(st.sampled_from(GROUPS), unique=True, min_size=1, max_size=2).map(tuple)
    node = st.builds(Listens, st.just((81, 90)).flatmap(some_of), st.booleans())
    listens = st.sampled_from((False, False, True)).flatmap(lambda is_node: node if is_node else st.none())
    return st.builds(
        Port, st.just(name), st.just((address,)), groups, public, st.booleans(), st.just(False), st.just(False), listens
    )


@st.composite
def acl_entries(draw: st.DrawFn, number: int) -> AclEntry:
    """Broad ones, so that several fit one packet and their order decides."""
    directions: list[Literal["in", "out"]] = ["in", "out"]
    protocol, ports = draw(
        st.sampled_from(
            [("all", None), ("all", None), ("tcp", None), ("tcp", (80, 82)), ("icmp", (8, -1)), ("47", None)]
        )
    )
    cidr = draw(st.sampled_from(CIDRS[:4]))
    return AclEntry(draw(st.sampled_from(directions)), number, draw(st.booleans()), protocol, cidr, ports)


def acls_(name: str, subnets: tuple[str, ...]) -> st.SearchStrategy[Acl]:
    numbers = st.lists(st.integers(1, 9), max_size=6, unique=True)
    entries = numbers.flatmap(lambda found: st.tuples(*(acl_entries(number) for number in found)))
    return st.builds(Acl, st.just(name), st.just(subnets), entries)


SUBNETS = ("10.0.0.0/24", "10.0.1.0/24")
some_acls = st.one_of(
    st.just(()),
    st.tuples(acls_("acl-1", SUBNETS[:1])),
    st.tuples(acls_("acl-1", SUBNETS)),
    st.tuples(acls_("acl-2", SUBNETS[1:]), acls_("acl-1", SUBNETS[:1])),
)

rule_sets = st.builds(
    RuleSet,
    st.just("vpc-1"),
    st.just(("10.0.0.0/16",)),
    st.tuples(*(groups_(name) for name in GROUPS)).flatmap(some_of),
    st.tuples(*(ports_(address) for address in ADDRESSES[:4])).flatmap(some_of),
    st.just(SUBNETS).flatmap(some_of),
    some_acls,
)


def packets(rules: RuleSet) -> Iterator[Packet]:
    """Every kind of packet between every two links: own and borrowed sources, each protocol, ports at and beside the rules', first packets
    and later ones."""
    own = {port.interface: port.addresses[0] for port in rules.ports} | {"": "192.0.2.9"}
    flows = [*(("tcp", (0, port)) for port in (79, 81, 84)), ("udp", (0, 80)), ("47", (0, 0))]
    flows += [("icmp", (0, 0)), ("icmp", (8, 1))]
    for incoming, outgoing in itertools.product([*own, "eni-unknown"], repeat=2):
        for source in {own.get(incoming, "192.0.2.9"), "10.0.0.10"}:
            for (protocol, ports), known in itertools.product(flows, (False, True) if rules.acls else (False,)):
                yield Packet(incoming, outgoing, source, own.get(outgoing, "10.0.1.11"), protocol, ports, known)


# --- properties -----------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(rule_sets, min_size=1, max_size=4))
def test_differences_one_after_another_give_the_same_as_the_whole(steps: list[RuleSet]) -> None:
    kernel, before = Kernel(), None
    for step in steps:
        kernel.run(plan(before, step))
        assert kernel.content() == Kernel().run(plan(None, step)).content()
        before = step


@settings(max_examples=25, deadline=None)
@given(rule_sets, rule_sets)
def test_whole_plan_replaces_whatever_is_there(old: RuleSet, new: RuleSet) -> None:
    assert Kernel().run(plan(None, old)).run(plan(None, new)).content() == Kernel().run(plan(None, new)).content()


@settings(max_examples=25, deadline=None)
@given(rule_sets)
def test_no_change_is_no_command(rules: RuleSet) -> None:
    assert plan(rules, rules) == []


@settings(max_examples=30, deadline=None)
@given(rule_sets)
def test_rendered_rules_let_through_what_the_words_say(rules: RuleSet) -> None:
    rendered = table(rules)
    for packet in packets(rules):
        assert rendered_passes(rendered, packet) == passes(rules, packet), packet


@settings(max_examples=20, deadline=None)
@given(rule_sets, some_acls)
def test_acls_decide_where_the_groups_are_open(rules: RuleSet, acls: tuple[Acl, ...]) -> None:
    groups = tuple(msgspec.structs.replace(group, rules=OPEN_TO_ALL) for group in rules.groups)
    opened = msgspec.structs.replace(rules, groups=groups, acls=acls)
    rendered = table(opened)
    for packet in packets(opened):
        assert rendered_passes(rendered, packet) == passes(opened, packet), packet


# --- examples -------------------------------------------------------------------------------------------------------

OPEN = Group("sg-1", (Rule("out", "all", cidr="0.0.0.0/0"), Rule("in", "all", group="sg-1")))


def crowd(size: int) -> RuleSet:
    ports = tuple(Port(f"eni-{n}", (f"10.0.{n // 200}.{n % 200 + 10}",), ("sg-1",)) for n in range(size))
    return RuleSet("vpc-1", ("10.0.0.0/16",), (OPEN,), ports)


def test_one_interface_more_costs_the_same_among_two_hundred() -> None:
    few, many = plan(crowd(1), crowd(2)), plan(crowd(200), crowd(201))
    assert len(few) == len(many)
    assert len(msgspec.json.encode(many)) < len(msgspec.json.encode(few)) + 100


def test_more_interfaces_than_there_is_room_for_make_the_table_anew_and_no_rule_is_lost() -> None:
    kernel = Kernel().run(plan(None, crowd(64)))
    grown = plan(crowd(64), crowd(65))
    assert [next(iter(command)) for command in grown[:3]] == ["add", "delete", "add"]
    assert kernel.run(grown).content() == Kernel().run(plan(None, crowd(65))).content()


def test_who_becomes_fewer_keeps_the_room(firewalls: tuple[nft.NftFirewalls, Recorder]) -> None:
    driver, recorder = firewalls

    async def main() -> None:
        for size in (65, 1, 65):
            await driver.apply(crowd(size))

    asyncio.run(main())
    assert recorder.whole == [True, False, False]
    assert recorder.kernel.content() == Kernel().run(plan(None, crowd(65))).content()


def test_interfaces_whose_links_have_the_same_number_are_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("gureum.drivers.nft.table", "tests.drivers.nft.nft_model"):
        monkeypatch.setattr(f"{module}.interface_number", lambda interface: 7 if interface != "eni-2" else 8)
    rendered = table(crowd(3))
    assert list(rendered.sets["sources-by-number"].entries) == [8]
    for packet in packets(crowd(3)):
        assert rendered_passes(rendered, packet) == passes(crowd(3), packet), packet


def test_changed_group_touches_its_chain_only() -> None:
    before = crowd(200)
    closed = Group("sg-1", (*OPEN.rules, Rule("in", "tcp", (80, 80), cidr="0.0.0.0/0")))
    commands = plan(before, msgspec.structs.replace(before, groups=(closed,)))
    assert [next(iter(command)) for command in commands] == ["flush", "add", "add"]
    assert {name for command in commands for name in chains_of(command)} == {"group-in-sg-1"}


def test_changed_entry_touches_its_chain_only() -> None:
    acl = Acl("acl-1", ("10.0.0.0/24",), (AclEntry("in", 100, True, "all", ANYWHERE),))
    before = msgspec.structs.replace(crowd(200), acls=(acl,))
    closed = msgspec.structs.replace(acl, entries=(AclEntry("in", 90, False, "tcp", ANYWHERE, (22, 22)), *acl.entries))
    commands = plan(before, msgspec.structs.replace(before, acls=(closed,)))
    assert {name for command in commands for name in chains_of(command)} == {"acl-in-acl-1"}
    assert [next(iter(command)) for command in commands] == ["flush", "add", "add", "add"]


def test_acl_more_touches_no_group() -> None:
    acl = Acl("acl-1", ("10.0.0.0/24",), (AclEntry("in", 100, True, "all", ANYWHERE),))
    commands = plan(crowd(200), msgspec.structs.replace(crowd(200), acls=(acl,)))
    changed = {name for command in commands if "flush" in command for name in chains_of(command)}
    assert changed == {"forward"}


def test_without_acls_nothing_of_them_is_there() -> None:
    rendered = table(crowd(2))
    assert not [name for name in (*rendered.chains, *rendered.sets) if "acl" in name]
    assert "acl" not in str(rendered)


def chains_of(command: Json) -> list[str]:
    ((_, rest),) = command.items()
    ((kind, thing),) = rest.items()
    return [thing["chain"] if kind == "rule" else thing["name"]]


# --- the driver's memory --------------------------------------------------------------------------------------------


class Recorder:
    """Stands in for the worker: applies to the model, and may die."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.calls = 0
        self.whole: list[bool] = []
        self.die_after: int | None = None

    async def call(self, verb: str, change: Any, answer: type[None]) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        dies = self.die_after == self.calls
        self.whole.append(change.whole)
        self.kernel.run(change.commands)
        if dies:
            raise WorkerDiedError("died")


@pytest.fixture
def firewalls() -> tuple[nft.NftFirewalls, Recorder]:
    found, recorder = nft.NftFirewalls("a1b2"), Recorder()
    found._worker = recorder  # type: ignore[assignment]
    return found, recorder


def test_calls_that_wait_for_each_other_are_joined(firewalls: tuple[nft.NftFirewalls, Recorder]) -> None:
    driver, recorder = firewalls

    async def main() -> None:
        await asyncio.gather(*(driver.apply(crowd(size)) for size in range(50)))

    asyncio.run(main())
    assert recorder.calls == 2
    assert recorder.kernel.content() == Kernel().run(plan(None, crowd(49))).content()


@pytest.mark.parametrize("death", [1, 2, 3])
def test_rules_are_whole_after_a_worker_died(firewalls: tuple[nft.NftFirewalls, Recorder], death: int) -> None:
    driver, recorder = firewalls
    recorder.die_after = death

    async def main() -> None:
        for size in range(4):
            await driver.apply(crowd(size))

    asyncio.run(main())
    assert recorder.kernel.content() == Kernel().run(plan(None, crowd(3))).content()


def test_refused_packets_are_told_only_while_somebody_watches() -> None:
    rules = RuleSet("blue", ("10.0.0.0/16",))
    quiet, watched = table(rules), table(rules, watched=True)
    chains = ("denied", "denied-out")
    assert not [word for name in chains for word in quiet.chains[name].lines[0] if "log" in word]
    told = [word["log"] for name in chains for word in watched.chains[name].lines[0] if "log" in word]
    assert [one["prefix"] for one in told] == ["in", "out"]
    assert {name for name, chain in watched.chains.items() if quiet.chains[name] != chain} == set(chains)
