"""Which zone gets an instance and which instance goes. AWS: "Configure termination policies", "Rebalancing"."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.autoscaling.kinds import Group, GroupSpec, Member, MemberSpec, Template
from gureum.aws.autoscaling.reconciling import spread
from gureum.aws.autoscaling.termination import choose
from gureum.engine.resource import Meta

NOW = 1_000_000.0
CURRENT = Template("lt-1", "web", "3")


def group(*policies: str, configuration: str = "") -> Group:
    spec = GroupSpec(
        "g", "u", 0, 9, 2, ("a", "b"), template=CURRENT, termination_policies=policies, configuration=configuration
    )
    return Group(meta=Meta("1/r", "g", "u", 0.0), spec=spec)


def member(
    name: str,
    zone: str = "a",
    launched: float = 0.0,
    version: str = "3",
    template: str = "lt-1",
    configuration: str = "",
    made: float = 0.0,
) -> Member:
    source = None if configuration else Template(template, "web", version)
    spec = MemberSpec(
        "g", zone, "t3.nano", "InService", template=source, configuration=configuration, configuration_made=made,
        launched=launched,
    )  # fmt: skip
    return Member(meta=Meta("1/r", name, name, 0.0), spec=spec)


@pytest.mark.parametrize(
    ("policy", "members", "expected"),
    [
        ("OldestInstance", [member("i-1", launched=5), member("i-2", launched=1)], "i-2"),
        ("NewestInstance", [member("i-1", launched=5), member("i-2", launched=1)], "i-1"),
        ("OldestInstance", [member("i-1", "b", 1), member("i-2", launched=5), member("i-3", launched=6)], "i-2"),
        ("OldestLaunchTemplate", [member("i-1", version="3"), member("i-2", version="2")], "i-2"),
        ("OldestLaunchTemplate", [member("i-1", version="1"), member("i-2", template="lt-9", version="7")], "i-2"),
        ("OldestLaunchConfiguration", [member("i-1", configuration="now"), member("i-2", configuration="old")], "i-2"),
        ("OldestLaunchConfiguration", [member("i-1"), member("i-2", configuration="old")], "i-2"),
        (
            "OldestLaunchConfiguration",
            [member("i-1", configuration="old", made=2.0), member("i-2", configuration="older", made=1.0)],
            "i-2",
        ),
        (
            "Default",
            [member("i-1", configuration="old", made=2.0), member("i-2", configuration="older", made=1.0)],
            "i-2",
        ),
        (
            "Default",
            [member("i-3"), member("i-1", configuration="a"), member("i-2", launched=NOW - 3500, configuration="a")],
            "i-2",
        ),
        ("AllocationStrategy", [member("i-2", launched=5), member("i-1", launched=9)], "i-1"),
        ("ClosestToNextInstanceHour", [member("i-1", launched=NOW - 3500), member("i-2", launched=NOW - 60)], "i-1"),
        ("Default", [member("i-1", version="1"), member("i-2", configuration="old")], "i-2"),
        ("Default", [member("i-1", version="3"), member("i-2", version="2")], "i-2"),
        ("Default", [member("i-2", launched=NOW - 60), member("i-1", launched=NOW - 3500)], "i-1"),
    ],
)
def test_who_goes(policy: str, members: list[Member], expected: str) -> None:
    chosen = choose(members, group(policy, configuration="now"), CURRENT, NOW)
    assert chosen is not None
    assert chosen.meta.name == expected


def test_policies_narrow_one_after_the_other() -> None:
    members = [
        member("i-1", version="2", launched=9),
        member("i-2", version="2", launched=3),
        member("i-3", version="3", launched=1),
    ]
    chosen = choose(members, group("OldestLaunchTemplate", "NewestInstance"), CURRENT, NOW)
    assert chosen is not None
    assert chosen.meta.name == "i-1"


def test_of_none_none_goes() -> None:
    assert choose([], group("Default"), CURRENT, NOW) is None


@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), st.integers(0, 30))
def test_new_ones_make_zones_as_even_as_they_can(have: dict[str, int], count: int) -> None:
    plan = spread(Counter(have), ("a", "b", "c"), count)
    assert sum(plan.values()) == count
    after = {zone: have.get(zone, 0) + plan.get(zone, 0) for zone in "abc"}
    grown = [after[zone] for zone in plan]
    if grown:
        assert max(grown) - min(after.values()) <= 1
