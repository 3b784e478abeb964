"""The quick way to read a request against the long one: what it takes, the long one takes too and makes the same of."""

from __future__ import annotations

import json
import random
import string
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import cbor2
import pytest

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Compiled, Request, compile_operation, load_service
from gureum.aws.protocols.compiled import codec_of
from gureum.aws.protocols.layouts import LEARN_AT, LIMIT_LAYOUTS
from gureum.aws.protocols.models import Member, ServiceModel
from gureum.aws.protocols.typed import Refused

CASES = [
    ("cloudwatch", "json", 25),
    ("cloudwatch", "smithy-rpc-v2-cbor", 25),
    ("cloudwatch", "query", 25),
    ("logs", "json", 12),
    ("ssm", "json", 6),
    ("acm", "json", 12),
    ("autoscaling", "query", 12),
    ("elbv2", "query", 12),
    ("sts", "query", 12),
]
WRONG: list[Any] = [
    None,
    "",
    "x" * 3000,
    0,
    -1,
    2**31,
    2**63,
    1.5,
    1.0,
    True,
    [],
    {},
    ["a"],
    {"a": "b"},
    "2026-01-01T00:00:00",
    "NaN",
    "é\n",
]


class Maker:
    """Values of a shape, now and then wrong."""

    def __init__(self, service: ServiceModel, dice: random.Random, protocol: str) -> None:
        self.service, self.dice, self.cbor = service, dice, protocol == "smithy-rpc-v2-cbor"
        self.wrong = 0.0 if dice.random() < 0.4 else 0.05

    def value(self, member: Member, depth: int = 0) -> Any:
        shape, dice = self.service.shape(member.shape), self.dice
        if dice.random() < self.wrong:
            return dice.choice(WRONG)
        least, most = int(shape.min or 0), int(shape.max or 0)
        if shape.type == "structure":
            names = [
                one for one in shape.members if one in shape.required or dice.random() < (0.5 if depth < 3 else 0.1)
            ]
            if names and dice.random() < self.wrong:
                names.remove(dice.choice(names))
            found = {self.name(shape.members[one], one): self.value(shape.members[one], depth + 1) for one in names}
            return found | ({"Unknown": 1} if dice.random() < self.wrong else {})
        if shape.type == "list":
            assert shape.member is not None
            return [self.value(shape.member, depth + 1) for _ in range(max(least, 1))]
        if shape.type == "map":
            assert shape.key is not None
            assert shape.value is not None
            return {
                str(self.value(shape.key, depth + 1)): self.value(shape.value, depth + 1) for _ in range(max(least, 1))
            }
        if shape.type in ("string", "character"):
            if shape.enum and dice.random() > self.wrong:
                return dice.choice(shape.enum)
            length = dice.choice([least, least, max(1, least), min(most or 20, 20), most if most < 2000 else 1])
            return "".join(dice.choice(string.ascii_letters + "0123456789-_./:") for _ in range(length))
        if shape.type == "timestamp":
            return (
                datetime.fromtimestamp(1.7e9 + dice.randrange(1000), UTC) if self.cbor else 1.7e9 + dice.randrange(1000)
            )
        if shape.type == "blob":
            return b"abc" if self.cbor else "YWJj"
        if shape.type == "boolean":
            return dice.random() < 0.5
        number = dice.choice([least, max(1, least), most or least])
        return float(number) if shape.type in ("float", "double") else number

    def name(self, member: Member, default: str) -> str:
        return default if self.cbor else member.location_name or default


def flat(value: Any, prefix: str) -> list[tuple[str, str]]:
    """As a form has it: good enough for what the model has no other name for."""
    if isinstance(value, dict):
        return [one for name, item in value.items() for one in flat(item, f"{prefix}.{name}" if prefix else name)]
    if isinstance(value, list):
        return [one for number, item in enumerate(value, 1) for one in flat(item, f"{prefix}.member.{number}")]
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return [(prefix, text)]


def body_of(protocol: str, value: Any) -> bytes:
    if protocol == "query":
        return urlencode([("Action", "X"), *flat(value, "")]).encode()
    return cbor2.dumps(value) if protocol == "smithy-rpc-v2-cbor" else json.dumps(value).encode()


def long_way(compiled: Compiled, request: Request) -> dict[str, Any] | str:
    try:
        params = compiled.parse(request)
        compiled.validate(params)
    except AwsError as error:
        return error.code
    return params


def quick_way(quick: Callable[[Request], dict[str, Any]], request: Request) -> dict[str, Any] | str | None:
    try:
        return quick(request)
    except AwsError as error:
        return error.code
    except Refused:
        return None


@pytest.mark.parametrize(("service", "protocol", "turns"), CASES, ids=[f"{a}-{b}" for a, b, _ in CASES])
def test_what_the_quick_way_takes_the_long_one_takes_too(service: str, protocol: str, turns: int) -> None:
    model, dice, outcomes = load_service(service), random.Random(7), Counter[str]()
    for name, operation in model.operations.items():
        quick = codec_of(service, protocol).quick_reader(operation)
        if quick is None or operation.input is None:
            outcomes["no type"] += 1
            continue
        compiled = compile_operation(service, name, protocol)
        for _ in range(turns):
            value = Maker(model, dice, protocol).value(operation.input)
            request = Request("POST", "/", "", {}, body_of(protocol, value))
            expected = long_way(compiled, request)
            found = quick_way(quick, request)
            if found is None:
                outcomes["refused both" if isinstance(expected, str) else "refused"] += 1
            else:
                assert found == expected, (name, request.body)
                outcomes["refused both" if isinstance(found, str) else "taken"] += 1
    # Both happen, and nearly all that is right goes the quick way.
    assert outcomes["taken"] > 5 * outcomes["refused"], outcomes
    assert outcomes["refused both"] > 10, outcomes


def form(**values: str) -> Request:
    return Request(
        "POST", "/", "", {}, urlencode({"Action": "PutMetricData", "Version": "2010-08-01", **values}).encode()
    )


def test_a_layout_that_came_before_gives_each_value_its_place() -> None:
    compiled = compile_operation("cloudwatch", "PutMetricData", "query")
    for number in range(LEARN_AT + 3):
        values = {
            "MetricData.member.2.MetricName": f"b {number}",
            "MetricData.member.1.MetricName": "a&+%",
            "MetricData.member.1.Value": f"{number}.5",
        }
        params = compiled.parse(form(Namespace=f"n{number}", **values))
        data = [{"MetricName": "a&+%", "Value": number + 0.5}, {"MetricName": f"b {number}"}]
        assert params == {"Namespace": f"n{number}", "MetricData": data}


@pytest.mark.parametrize("value", ["x", "", "1e999999", "0x1", "%FF"])
def test_a_wrong_value_in_a_known_layout_gets_the_usual_words(value: str) -> None:
    compiled = compile_operation("cloudwatch", "PutMetricData", "query")

    def asked(value: str) -> Request:
        text = f"Action=PutMetricData&Version=2010-08-01&Namespace=n&MetricData.member.1.MetricName=m&MetricData.member.1.Value={value}"
        return Request("POST", "/", "", {}, text.encode())

    with pytest.raises(AwsError) as before:
        fresh().parse(asked(value))
    for number in range(LEARN_AT + 1):
        compiled.parse(asked(str(number)))
    with pytest.raises(AwsError) as after:
        compiled.parse(asked(value))
    assert (after.value.code, str(after.value)) == (before.value.code, str(before.value))


def fresh() -> Compiled:
    """One that has learnt nothing."""
    model = load_service("cloudwatch")
    return Compiled(model, "query", model.operations["PutMetricData"], codec_of("cloudwatch", "query"))


def test_a_name_given_twice_is_refused_also_when_it_comes_again() -> None:
    compiled = fresh()
    for _ in range(LEARN_AT + 3):
        with pytest.raises(AwsError, match="more than once"):
            compiled.parse(Request("POST", "/", "", {}, b"Action=PutMetricData&Namespace=a&Namespace=b"))


def test_many_layouts_are_read_rightly_when_more_come_than_are_kept() -> None:
    compiled = fresh()
    for turn in range(LEARN_AT + 1):
        for number in range(1, LIMIT_LAYOUTS * 2):
            params = compiled.parse(
                form(Namespace=str(turn), **{f"MetricData.member.{number}.MetricName": str(number)})
            )
            assert params == {"Namespace": str(turn), "MetricData": [{"MetricName": str(number)}]}
