"""Composite alarms: their rule, whom they follow, and what holds their actions back (AWS: PutCompositeAlarm)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gureum.aws.cloudwatch.alarm_reconcile import _held
from tests.aws.cloudwatch.conftest import ACCOUNT, NOON, REGION, Watch
from tests.aws.cloudwatch.test_alarms import POLICY, TOPIC, Recorder

PREFIX = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:"


def composite(watch: Watch, name: str, rule: str, **params: Any) -> None:
    watch("PutCompositeAlarm", AlarmName=name, AlarmRule=rule, **params)
    watch.settle()


def set_state(watch: Watch, name: str, state: str) -> None:
    watch.clock.time += 1
    watch("SetAlarmState", AlarmName=name, StateValue=state, StateReason="test")
    watch.settle()


def alarms(watch: Watch, *names: str) -> None:
    """Metric alarms that no data moves."""
    for name in names:
        watch.alarm(name, MetricName="none", TreatMissingData="ignore")
        set_state(watch, name, "OK")


def test_it_follows_its_children_at_once(watch: Watch) -> None:
    alarms(watch, "a", "b")
    composite(watch, "both", "ALARM(a) AND ALARM(b)")
    assert watch.state("both") == "OK"
    assert watch.shown("both")["StateReason"] == f"{PREFIX}both was created and its alarm rule evaluates to OK"
    set_state(watch, "a", "ALARM")
    assert watch.state("both") == "OK"
    set_state(watch, "b", "ALARM")
    shown = watch.shown("both")
    assert shown["StateValue"] == "ALARM"
    assert shown["StateReason"] == f"{PREFIX}b transitioned to ALARM at Sunday 15 June, 2025 15:07:04 UTC"
    assert json.loads(shown["StateReasonData"])["triggeringAlarms"][0]["arn"] == f"{PREFIX}b"


def test_names_arns_and_quotes_name_the_same(watch: Watch) -> None:
    alarms(watch, "a")
    composite(watch, "top", f'ALARM("{PREFIX}a") OR ALARM("a")')
    assert watch.stored("top").spec.children == ("a",)  # type: ignore[union-attr]
    set_state(watch, "a", "ALARM")
    assert watch.state("top") == "ALARM"


def test_at_least_so_many_of_its_children(watch: Watch) -> None:
    alarms(watch, "a", "b", "c")
    composite(watch, "top", f"AT_LEAST(60%, ALARM, ({PREFIX}a, b, c))")
    assert watch.stored("top").spec.children == ("a", "b", "c")  # type: ignore[union-attr]
    set_state(watch, "a", "ALARM")
    assert watch.state("top") == "OK"
    set_state(watch, "c", "ALARM")
    assert watch.state("top") == "ALARM"


def test_composites_of_composites(watch: Watch) -> None:
    alarms(watch, "a")
    composite(watch, "middle", "ALARM(a)")
    composite(watch, "top", "NOT OK(middle)")
    set_state(watch, "a", "ALARM")
    assert watch.state("top") == "ALARM"
    children = watch("DescribeAlarms", ChildrenOfAlarmName="top")
    assert [one["AlarmName"] for one in children["CompositeAlarms"]] == ["middle"]
    parents = watch("DescribeAlarms", ParentsOfAlarmName="a")["CompositeAlarms"]
    assert parents == [{"AlarmName": "middle", "AlarmArn": f"{PREFIX}middle"}]


def test_a_state_that_was_set_stays_until_a_child_changes(watch: Watch) -> None:
    alarms(watch, "a")
    composite(watch, "top", "ALARM(a)")
    set_state(watch, "top", "ALARM")
    watch.evaluate()
    assert watch.state("top") == "ALARM"
    set_state(watch, "a", "INSUFFICIENT_DATA")
    assert watch.state("top") == "OK"


def test_a_circle_is_not_evaluated(watch: Watch) -> None:
    alarms(watch, "a")
    composite(watch, "one", "ALARM(a)")
    composite(watch, "two", "ALARM(one)")
    composite(watch, "one", "ALARM(two) OR ALARM(a)")
    set_state(watch, "a", "ALARM")
    assert (watch.state("one"), watch.state("two")) == ("OK", "OK")
    assert watch.refused("DeleteAlarms", AlarmNames=["one"])[0] == "ValidationError"
    composite(watch, "one", "FALSE")
    watch("DeleteAlarms", AlarmNames=["two"])


def test_what_a_rule_needs_cannot_be_deleted(watch: Watch) -> None:
    alarms(watch, "a")
    composite(watch, "top", "ALARM(a)")
    composite(watch, "other", "TRUE")
    assert watch.refused("DeleteAlarms", AlarmNames=["a"]) == (
        "ValidationError",
        "Cannot delete a as there are composite alarm(s) depending on it.",
    )
    assert "two composite alarms" in watch.refused("DeleteAlarms", AlarmNames=["top", "other"])[1]
    watch("DeleteAlarms", AlarmNames=["top"])
    watch("DeleteAlarms", AlarmNames=["a"])


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"AlarmRule": "ALARM("}, "Invalid AlarmRule"),
        ({"AlarmRule": "ALARM(none)"}, "as alarms [none] in the alarm rule do not exist"),
        ({"AlarmActions": [f"arn:aws:automate:{REGION}:ec2:stop"]}, "EC2 actions"),
        ({"OKActions": [POLICY]}, "Auto Scaling actions"),
        ({"ActionsSuppressorWaitPeriod": 5}, "only be specified with ActionsSuppressor"),
        ({"ActionsSuppressor": "a"}, "ActionsSuppressorWaitPeriod is required"),
        (
            {"ActionsSuppressor": "none", "ActionsSuppressorWaitPeriod": 1, "ActionsSuppressorExtensionPeriod": 1},
            "[none] in ActionsSuppressor do not exist",
        ),
        ({"AlarmName": "a"}, "already exists as a metric alarm"),
    ],
)
def test_what_is_refused(watch: Watch, params: dict[str, Any], text: str) -> None:
    alarms(watch, "a")
    found = watch.refused("PutCompositeAlarm", **({"AlarmName": "top", "AlarmRule": "ALARM(a)"} | params))
    assert found[0] == "ValidationError"
    assert text in found[1]


def suppressed(watch: Watch, wait: int = 60, extension: int = 120) -> Recorder:
    topic = Recorder(watch, "arn:aws:sns")
    alarms(watch, "a", "maintenance")
    composite(
        watch,
        "top",
        "ALARM(a)",
        AlarmActions=[TOPIC],
        ActionsSuppressor="maintenance",
        ActionsSuppressorWaitPeriod=wait,
        ActionsSuppressorExtensionPeriod=extension,
    )
    watch.clock.time += wait + 1  # the first change, to OK, has no action, but waits too
    watch.look_again("top")
    return topic


def test_the_suppressor_is_waited_for_and_then_acted(watch: Watch) -> None:
    topic = suppressed(watch)
    set_state(watch, "a", "ALARM")
    assert (watch.shown("top")["ActionsSuppressedBy"], topic.told) == ("WaitPeriod", [])
    watch.clock.time += 61
    watch.look_again("top")
    assert "ActionsSuppressedBy" not in watch.shown("top")
    assert [one.state for one in topic.told] == ["ALARM"]


def test_actions_are_held_back_while_the_suppressor_is_in_alarm_and_for_a_while_after(watch: Watch) -> None:
    topic = suppressed(watch)
    set_state(watch, "a", "ALARM")
    set_state(watch, "maintenance", "ALARM")
    watch.clock.time += 1000
    watch.look_again("top")
    assert watch.shown("top")["ActionsSuppressedBy"] == "Alarm"
    set_state(watch, "maintenance", "OK")
    assert watch.shown("top")["ActionsSuppressedBy"] == "ExtensionPeriod"
    assert topic.told == []
    watch.clock.time += 121
    watch.look_again("top")
    assert len(topic.told) == 1


def test_what_went_back_while_it_was_held_back_is_not_acted_on(watch: Watch) -> None:
    topic = suppressed(watch)
    set_state(watch, "maintenance", "ALARM")
    set_state(watch, "a", "ALARM")
    set_state(watch, "a", "OK")
    set_state(watch, "maintenance", "OK")
    watch.clock.time += 121
    watch.look_again("top")
    assert topic.told == []


def test_a_suppressor_that_is_deleted_holds_nothing_back_any_more(watch: Watch) -> None:
    topic = suppressed(watch)
    set_state(watch, "maintenance", "ALARM")
    set_state(watch, "a", "ALARM")
    assert watch.shown("top")["ActionsSuppressedBy"] == "Alarm"
    watch("DeleteAlarms", AlarmNames=["maintenance"])
    watch.settle()
    assert (watch.shown("top")["ActionsSuppressedBy"], topic.told) == ("ExtensionPeriod", [])
    watch.clock.time += 121
    watch.look_again("top")
    assert len(topic.told) == 1
    assert "ActionsSuppressedBy" not in watch.shown("top")


def test_two_that_suppress_each_other_come_to_rest(watch: Watch) -> None:
    alarms(watch, "a")
    composite(watch, "one", "ALARM(a)")
    both = {"ActionsSuppressorWaitPeriod": 60, "ActionsSuppressorExtensionPeriod": 60}
    composite(watch, "two", "ALARM(a)", ActionsSuppressor="one", **both)
    composite(watch, "one", "ALARM(a)", ActionsSuppressor="two", **both)
    set_state(watch, "a", "ALARM")
    assert [watch.shown(name)["ActionsSuppressedBy"] for name in ("one", "two")] == ["Alarm", "Alarm"]


def test_without_a_suppressor_nothing_is_held(watch: Watch) -> None:
    topic = Recorder(watch, "arn:aws:sns")
    alarms(watch, "a")
    composite(watch, "top", "ALARM(a)", AlarmActions=[TOPIC])
    assert _held(watch.world.client, watch.stored("top"), NOON) == ("", 0.0)  # type: ignore[arg-type]
    set_state(watch, "a", "ALARM")
    assert [one.before.value for one in topic.told] == ["OK"]
    types = {item["AlarmType"] for item in watch.history("top")}
    assert types == {"CompositeAlarm"}
