"""The rule language of composite alarms (PutCompositeAlarm, AlarmRule)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.cloudwatch.alarm_rules import AlarmRule, RuleError

STATES = {"cpu": "ALARM", "disk": "OK", "net": "INSUFFICIENT_DATA", "my alarm (1": "ALARM", "deploying": "OK"}


def holds(text: str) -> bool:
    return AlarmRule(text).holds(lambda name: STATES.get(name, ""))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("ALARM(cpu)", True),
        ("ALARM(disk)", False),
        ("OK(disk) AND INSUFFICIENT_DATA(net)", True),
        ("ALARM(cpu) AND NOT ALARM(deploying)", True),
        ("(ALARM(cpu) OR ALARM(disk)) AND OK(net)", False),
        ('ALARM("cpu")', True),
        ('ALARM("my alarm (1")', True),
        ("ALARM( cpu )", True),
        ("TRUE", True),
        ("FALSE", False),
        ("true OR false", True),
        ("NOT NOT TRUE", True),
        ("TRUE OR TRUE AND FALSE", True),
        ("NOT FALSE AND FALSE", False),
        ("not (TRUE)", False),
        ("ALARM(unknown)", False),
        ("((TRUE))", True),
        ("AT_LEAST(1, ALARM, (cpu, disk, net))", True),
        ("AT_LEAST(2, ALARM, (cpu, disk, net))", False),
        ("AT_LEAST(2, NOT OK, (cpu, disk, net))", True),
        ('AT_LEAST(2,ALARM,("cpu","my alarm (1"))', True),
        ("AT_LEAST(33%, ALARM, (cpu, disk, net))", True),
        ("AT_LEAST(34%, ALARM, (cpu, disk, net))", False),
        ("AT_LEAST(100%, NOT INSUFFICIENT_DATA, (cpu, disk))", True),
        ("NOT AT_LEAST(2, ALARM, (cpu, disk)) AND OK(disk)", True),
    ],
)
def test_rules(rule: str, expected: bool) -> None:
    assert holds(rule) is expected


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "ALARM",
        "ALARM()",
        "ALARM(cpu",
        'ALARM("cpu)',
        "cpu",
        "TRUE FALSE",
        "AND TRUE",
        "TRUE AND",
        "(TRUE",
        "TRUE)",
        "NOT",
        "TRUE OR OR TRUE",
        "alarm(cpu)",
        "AT_LEAST(0, ALARM, (cpu))",
        "AT_LEAST(3, ALARM, (cpu, disk))",
        "AT_LEAST(101%, ALARM, (cpu, disk))",
        "AT_LEAST(1, TRUE, (cpu))",
        "AT_LEAST(1, ALARM, ())",
        "AT_LEAST(1, ALARM, (cpu,))",
        "AT_LEAST(1, ALARM, (cpu)",
        "AT_LEAST(1, ALARM, cpu)",
        "AT_LEAST(1, ALARM, (" + ", ".join(f"a{n}" for n in range(101)) + "))",
        "(" * 100 + "TRUE" + ")" * 100,
        " OR ".join(f"ALARM(a{n})" for n in range(101)),
        " OR ".join(["TRUE"] * 501),
        "TRUE" + " " * 20000,
    ],
)
def test_what_is_no_rule(rule: str) -> None:
    with pytest.raises(RuleError):
        AlarmRule(rule)


def test_children_stand_once_in_the_order_of_their_first_place() -> None:
    assert AlarmRule("ALARM(b) OR (OK(a) AND OK(b))").children == ("b", "a")
    assert AlarmRule("OK(c) OR AT_LEAST(1, ALARM, (b, c, a))").children == ("c", "b", "a")


terms = st.recursive(
    st.sampled_from(["TRUE", "FALSE", "ALARM(cpu)", "OK(cpu)", "OK(disk)"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" AND ", " OR "]), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        inner.map(lambda t: f"NOT {t}"),
    ),
    max_leaves=8,
)


@given(terms)
def test_rules_mean_what_they_mean_in_python(rule: str) -> None:
    text = rule.replace("ALARM(cpu)", "True").replace("OK(cpu)", "False").replace("OK(disk)", "True")
    for word, python in (("TRUE", "True"), ("FALSE", "False"), ("AND", "and"), ("OR", "or"), ("NOT", "not")):
        text = text.replace(word, python)
    assert holds(rule) is bool(eval(text))


@given(st.text(alphabet='ALRMOK()"ndTUEF \\', max_size=30))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    with contextlib.suppress(RuleError):
        assert AlarmRule(text).holds(lambda name: "OK") in (True, False)
