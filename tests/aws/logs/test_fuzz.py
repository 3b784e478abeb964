"""Bad input to the operations of CloudWatch Logs: always an AWS error or a result of the model's shape, never another exception; and what is stored
stays consistent: no stream, filter or event without its group."""

from __future__ import annotations

import asyncio
from typing import Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import LogGroup, LogStream, MetricFilter, SubscriptionFilter, key_name
from tests.aws.logs.conftest import Logs, _registry

MODEL = botocore.session.get_session().get_service_model("logs")
NAMES = sorted(
    one.options["operation"] for one in _registry.marks("operation").values() if ".logs." in one.target.__module__
)
ARN = "arn:aws:logs:us-east-1:111122223333:log-group:"
SCOPE = "111122223333/us-east-1"
WORDS = [
    "",
    "0",
    "x" * 600,
    "é",
    "\u0000",
    "🦀",
    "a:b",
    "*",
    "%",
    "%2F",
    "/",
    "..",
    "arn:",
    f"{ARN}a:*",
    f"{ARN}",
    "7",
    "$.a",
    "{",
    "[a]",
]
USUAL = {
    "logGroupName": ["a", "b/c", "d"],
    "logStreamName": ["s", "t/u", "%2F"],
    "logStreamNames": ["s", "t/u"],
    "logGroupIdentifier": ["a", "b/c", f"{ARN}a"],
    "logGroupIdentifiers": [f"{ARN}a", f"{ARN}b/c", "a"],
    "resourceArn": [f"{ARN}a", f"{ARN}b/c"],
    "destinationArn": [f"{ARN}a", f"{ARN}b/c"],
    "filterName": ["f", "g"],
    "filterPattern": ["", "x", "{ $.a = 1 }", "[a, b]", "%x%", "-x"],
    "logEventFilterPattern": ["", "x"],
    "metricValue": ["1", "$.a", "$a"],
    "message": ["x", "y z", '{"a": 1}'],
    "nextToken": ["61", "f/1-2", "b/9-9", "eyJmb3J3YXJkIjp0cnVlfQ=="],
    "logGroupNamePattern": ["a", "b/c", "^abc"],
}
SELDOM = frozenset(
    {"kmsKeyId", "applyOnTransformedLogs", "fieldSelectionCriteria", "emitSystemFieldDimensions", "emitSystemFields"}
)


def values(shape: Any, now_ms: int, name: str = "", depth: int = 0) -> st.SearchStrategy[Any]:
    if shape.type_name == "structure":
        return structures(shape, now_ms, depth)
    if shape.type_name == "list":
        return st.lists(values(shape.member, now_ms, name, depth + 1), max_size=3)
    if shape.type_name == "map":
        return st.dictionaries(
            st.sampled_from(["a", "b", "aws:c", "é"]), st.sampled_from(["", "$.a", "$a", "v"]), max_size=3
        )
    if shape.type_name == "boolean":
        return st.booleans()
    if shape.type_name in ("integer", "long"):
        times = [now_ms, now_ms - 1, now_ms + 1] if name in ("timestamp", "startTime", "endTime") else []
        return st.sampled_from([*times, *times, -1, 0, 1, 7, 50, 10_001, 2**31, 2**63 - 1])
    if shape.type_name in ("double", "float"):
        return st.floats(allow_nan=False, allow_infinity=False)
    anything = st.sampled_from([*WORDS, *(shape.enum or ())])
    usual = USUAL.get(name) or list(shape.enum or ())
    return st.integers(0, 11).flatmap(lambda n: st.sampled_from(usual) if n and usual else anything)


@st.composite
def structures(draw: Any, shape: Any, now_ms: int, depth: int) -> dict[str, Any]:
    found = {}
    for name, member in shape.members.items():
        often = 10 if name in shape.required_members else 0 if name in SELDOM else 2
        if depth <= 3 and draw(st.integers(0, 10)) <= often:
            found[name] = draw(values(member, now_ms, name, depth + 1))
    return found


@pytest.fixture(scope="module")
def shared() -> dict[str, Any]:
    return {}


def inhabited() -> Logs:
    logs = Logs()
    logs.group("a", "s", "t/u")
    logs.group("b/c", "s")
    logs.put("a", "s", "x 1", "y", at_ms=logs.now_ms)
    one = {"metricName": "m", "metricNamespace": "n", "metricValue": "1"}
    logs("PutMetricFilter", logGroupName="a", filterName="f", filterPattern="x", metricTransformations=[one])
    logs("PutSubscriptionFilter", logGroupName="a", filterName="f", filterPattern="x", destinationArn=f"{ARN}b/c")
    return logs


def check_consistent(logs: Logs) -> None:
    groups = {one.meta.name for one in logs.client.all(LogGroup, SCOPE)}
    for cls in (LogStream, MetricFilter, SubscriptionFilter):
        assert {key_name(one.spec.group) for one in logs.client.all(cls, SCOPE)} <= groups
    streams = {(one.spec.group, one.spec.name) for one in logs.client.all(LogStream, SCOPE)}
    kept = {(group, one.event.stream) for (_, group), events in logs.events._groups.items() for one in events.events}
    assert kept <= streams


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_input_is_answered_and_leaves_a_consistent_state(shared: dict[str, Any], data: st.DataObject) -> None:
    if shared.get("left", 0) == 0:
        shared["logs"], shared["left"] = inhabited(), 30
    shared["left"] -= 1
    logs = shared["logs"]
    name = data.draw(st.sampled_from(NAMES), label="operation")
    params = data.draw(values(MODEL.operation_model(name).input_shape, logs.now_ms), label="params")
    before, refused = logs.client.store.revision, False

    async def run() -> None:
        result = await logs.run(name, **params)
        if name == "StartLiveTail":
            await result["responseStream"].aclose()

    try:
        asyncio.run(run())
    except AwsError:
        refused = True
    else:
        shared.setdefault("answered", set()).add(name)
    assert not refused or logs.client.store.revision == before or name == "DeleteLogGroup"
    check_consistent(logs)


def test_the_fuzz_reaches_the_operations(shared: dict[str, Any]) -> None:
    """It would prove nothing if all that it makes were refused. (Runs after it.)"""
    assert len(shared["answered"]) >= 10
