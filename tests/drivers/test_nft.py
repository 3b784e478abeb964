"""The plan of a network's nftables table: differences are exact, and what the rendered rules let through is what the port's words say."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gureum.drivers import nft
from gureum.drivers.network_names import UPLINK, interface_link
from gureum.drivers.nft_table import Table, plan, table
from gureum.drivers.simulated_network import Packet, passes
from gureum.drivers.worker_process import WorkerDiedError
from gureum.ports.firewalls import Acl, AclEntry, Group, Port, Rule, RuleSet

# --- a model of the kernel's table ----------------------------------------------------------------------------------

Json = dict[str, Any]


class Kernel:
    """Applies commands as nftables does, with its refusals: nothing that is referred to goes, nothing is referred to that is not there."""

    def __init__(self) -> None:
        self.exists = False
        self.chains: dict[str, list[Json]] = {}
        self.bases: dict[str, Json] = {}
        self.sets: dict[str, dict[str, Any]] = {}
        self.arp: Kernel | None = None

    def run(self, commands: Iterable[Json]) -> Kernel:
        """Tables of the ARP family have names, chains and sets of their own."""
        for command in commands:
            ((verb, rest),) = command.items()
            ((kind, thing),) = rest.items()
            if thing["family"] == "arp":
                self.arp = self.arp or Kernel()
                getattr(self.arp, f"{verb}_{kind}")(thing)
            else:
                getattr(self, f"{verb}_{kind}")(thing)
        for chain in self.chains.values():
            self._check_references(chain)
        return self

    def add_table(self, thing: Json) -> None:
        self.exists = True

    def delete_table(self, thing: Json) -> None:
        assert self.exists
        self.exists, self.chains, self.bases, self.sets = False, {}, {}, {}

    def add_chain(self, thing: Json) -> None:
        assert self.exists
        assert thing["name"] not in self.chains
        self.chains[thing["name"]] = []
        self.bases[thing["name"]] = {key: thing[key] for key in ("type", "hook", "prio", "policy") if key in thing}

    def flush_chain(self, thing: Json) -> None:
        self.chains[thing["name"]].clear()

    def delete_chain(self, thing: Json) -> None:
        name = thing["name"]
        assert self.chains[name] == []
        assert name not in self._targets(), f"{name} is in use"
        del self.chains[name], self.bases[name]

    def add_rule(self, thing: Json) -> None:
        self._check_references([thing["expr"]])
        self.chains[thing["chain"]].append(thing["expr"])

    def add_set(self, thing: Json) -> None:
        assert thing["name"] not in self.sets
        self.sets[thing["name"]] = {}

    add_map = add_set

    def delete_set(self, thing: Json) -> None:
        name = thing["name"]
        assert f"@{name}" not in str(self.chains), f"{name} is in use"
        del self.sets[name]

    def add_element(self, thing: Json) -> None:
        entries = self.sets[thing["name"]]
        for element in thing["elem"]:
            key, value = element if isinstance(element, list) else (element, None)
            assert key not in entries, f"{key} is already in {thing['name']}"
            for target in _targets(value):
                assert target in self.chains
            entries[key] = value

    def delete_element(self, thing: Json) -> None:
        entries = self.sets[thing["name"]]
        for element in thing["elem"]:
            del entries[element[0] if isinstance(element, list) else element]

    def _targets(self) -> set[str]:
        found = {target for chain in self.chains.values() for target in _targets(chain)}
        return found | {target for entries in self.sets.values() for target in _targets(list(entries.values()))}

    def _check_references(self, rules: list[Any]) -> None:
        for target in _targets(rules):
            assert target in self.chains, f"no chain {target}"
        for name in _set_names(rules):
            assert name in self.sets, f"no set {name}"

    def content(self) -> tuple[Any, ...]:
        return self.exists, self.chains, self.bases, self.sets, self.arp and self.arp.content()


def _targets(thing: Any) -> set[str]:
    if isinstance(thing, dict):
        own = {thing["target"]} if isinstance(thing.get("target"), str) else set()
        return own.union(*(_targets(value) for value in thing.values()))
    if isinstance(thing, list | tuple):
        return set().union(*(_targets(one) for one in thing))
    return set()


def _set_names(thing: Any) -> set[str]:
    if isinstance(thing, str):
        return {thing[1:]} if thing.startswith("@") else set()
    if isinstance(thing, dict):
        return set().union(*(_set_names(value) for value in thing.values()))
    if isinstance(thing, list | tuple):
        return set().union(*(_set_names(one) for one in thing))
    return set()


# --- a model of its evaluation --------------------------------------------------------------------------------------

_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}


class Evaluation:
    """What the rules do with one packet in one hook: "accept" or "drop"."""

    def __init__(self, rules: Table, packet: Packet) -> None:
        self._table = rules
        number = _NUMBERS.get(packet.protocol) or int(packet.protocol)
        self._meta = {
            "iifname": interface_link(packet.incoming) if packet.incoming else UPLINK,
            "oifname": interface_link(packet.outgoing) if packet.outgoing else UPLINK,
            "l4proto": number,
        }
        # From the uplink a packet is translated, when there is a public address that leads to its destination.
        translated = not packet.incoming and packet.destination in rules.sets["to-private"].entries.values()
        self._ct = {"state": ["established" if packet.known else "new"], "status": ["dnat"] if translated else []}
        self._payload: dict[tuple[str, str], Any] = {
            ("ip", "saddr"): packet.source,
            ("ip", "daddr"): packet.destination,
        }
        if packet.protocol == "icmp":
            self._payload |= {("icmp", "type"): packet.ports[0], ("icmp", "code"): packet.ports[1]}
        else:
            self._payload[packet.protocol, "dport"] = packet.ports[1]

    def hook(self, name: str) -> str:
        chain = self._table.chains[name]
        return self._walk(name) or chain.base["policy"]

    def _walk(self, name: str) -> str | None:
        for line in self._table.chains[name].lines:
            verdict, ends = self._rule(line)
            if ends:
                return verdict
        return None

    def _rule(self, line: tuple[Json, ...]) -> tuple[str | None, bool]:
        """(verdict, whether the chain ends here)."""
        for expression in line:
            ((kind, body),) = expression.items()
            if kind == "match":
                if not self._matches(body):
                    return None, False
            elif kind == "vmap":
                found = self._verdict(body)
                if found is not None:
                    return self._act(found)
            elif kind != "counter":
                return self._act(expression)
        return None, False

    def _act(self, verdict: Json) -> tuple[str | None, bool]:
        ((kind, body),) = verdict.items()
        if kind in ("accept", "drop"):
            return kind, True
        if kind == "return":
            return None, True
        found = self._walk(body["target"])
        return found, kind == "goto" or found is not None

    def _verdict(self, body: Json) -> Json | None:
        value = self._value(body["key"])
        if isinstance(body["data"], str):
            found: Json | None = self._table.sets[body["data"][1:]].entries.get(value)
            return found
        return next((verdict for key, verdict in body["data"]["set"] if key in value), None)

    def _value(self, left: Json) -> Any:
        ((kind, body),) = left.items()
        if kind == "payload":
            return self._payload.get((body["protocol"], body["field"]))
        return (self._meta if kind == "meta" else self._ct)[body["key"]]

    def _matches(self, body: Json) -> bool:
        value, right = self._value(body["left"]), body["right"]
        if value is None:  # another protocol
            return False
        if body["op"] == "in":
            return right in value
        if body["op"] == "!=":
            return bool(value != right)
        if isinstance(right, str) and right.startswith("@"):
            return value in self._table.sets[right[1:]].entries
        if isinstance(right, dict) and "range" in right:
            return bool(right["range"][0] <= value <= right["range"][1])
        if isinstance(right, dict) and "prefix" in right:
            prefix = right["prefix"]
            return ipaddress.ip_address(value) in ipaddress.ip_network(f"{prefix['addr']}/{prefix['len']}")
        if isinstance(right, dict) and "set" in right:
            return value in right["set"]
        return bool((_NUMBERS.get(right, right) if isinstance(right, str) else right) == value)


def rendered_passes(rendered: Table, packet: Packet) -> bool:
    walk = Evaluation(rendered, packet)
    return walk.hook("raw-prerouting") == "accept" and walk.hook("forward") == "accept"


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
    return st.builds(Port, st.just(name), st.just((address,)), groups, public, st.booleans())


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


@settings(max_examples=100, deadline=None)
@given(st.lists(rule_sets, min_size=1, max_size=4))
def test_differences_one_after_another_give_the_same_as_the_whole(steps: list[RuleSet]) -> None:
    kernel, before = Kernel(), None
    for step in steps:
        kernel.run(plan(before, step))
        assert kernel.content() == Kernel().run(plan(None, step)).content()
        before = step


@settings(max_examples=50, deadline=None)
@given(rule_sets, rule_sets)
def test_whole_plan_replaces_whatever_is_there(old: RuleSet, new: RuleSet) -> None:
    assert Kernel().run(plan(None, old)).run(plan(None, new)).content() == Kernel().run(plan(None, new)).content()


@settings(max_examples=50, deadline=None)
@given(rule_sets)
def test_no_change_is_no_command(rules: RuleSet) -> None:
    assert plan(rules, rules) == []


@settings(max_examples=60, deadline=None)
@given(rule_sets)
def test_rendered_rules_let_through_what_the_words_say(rules: RuleSet) -> None:
    rendered = table(rules)
    for packet in packets(rules):
        assert rendered_passes(rendered, packet) == passes(rules, packet), packet


@settings(max_examples=40, deadline=None)
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
        self.die_after: int | None = None

    async def call(self, verb: str, change: Any, answer: type[None]) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        dies = self.die_after == self.calls
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
