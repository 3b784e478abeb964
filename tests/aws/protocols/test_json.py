"""json 1.0 and 1.1: bodies that are not what the model says, in the words of the services (recorded answers of
DynamoDB)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Compiled, Ready, Request, compile_operation


def put_item() -> Compiled:
    return compile_operation("dynamodb", "PutItem", "json")


def parse(body: bytes, compiled: Compiled | None = None) -> dict[str, Any]:
    return (compiled or put_item()).parse(Request("POST", "/", "", {}, body))


def test_unknown_members_and_nulls_are_nothing() -> None:
    assert parse(b'{"TableName":"t","Foo":1,"Item":null}') == {"TableName": "t"}


def test_empty_body_is_an_empty_object() -> None:
    assert parse(b"") == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[", "Could not parse request body into json"),
        (b'"\\ud800"', "Could not parse request body into json"),
        (b"\xff", "Could not parse request body into json"),
        (b"[]", "Start of list found where not expected."),
        (b'{"TableName":{}}', "Start of structure or map found where not expected."),
        (b'{"TableName":1}', "NUMBER_VALUE can not be converted to a String"),
        (b'{"TableName":true}', "TRUE_VALUE can not be converted to a String"),
        (b'{"Item":{"a":{"BOOL":"x"}}}', "STRING_VALUE can not be converted to a Boolean"),
        (b'{"Item":{"a":{"B":"x"}}}', "Invalid base64 data"),
        (b'{"Item":{"a":{"SS":[null]}}}', "Lists must not contain null values"),
        (b'{"Item":{"a":{"L":' + b'[{"L":' * 60 + b"[]" + b"}]" * 60 + b"}}}", "The request body nests too deep."),
        (b"[" * 100_000, "The request body nests too deep"),
    ],
)
def test_refused(body: bytes, message: str) -> None:
    with pytest.raises(AwsError) as caught:
        parse(body)
    assert (caught.value.code, caught.value.message) == ("SerializationException", message)


@pytest.mark.parametrize("number", ["1.5", "99999999999", '"1"', "1e400"])
def test_what_is_no_integer(number: str) -> None:
    with pytest.raises(AwsError, match=r"can not be converted to an Integer|Could not parse"):
        parse(b'{"MaxResults":%s}' % number.encode(), compile_operation("ssm", "DescribeParameters", "json"))


def test_numbers_that_are_whole_are_integers() -> None:
    assert parse(b'{"MaxResults":5.0}', compile_operation("ssm", "DescribeParameters", "json")) == {"MaxResults": 5}


def test_error_names_are_absolute_in_json_1_0() -> None:
    body = put_item().serialize_error(AwsError("ResourceNotFoundException", "none"), "r").body
    assert json.loads(body) == {"__type": "com.amazonaws.dynamodb#ResourceNotFoundException", "message": "none"}
    body = (
        compile_operation("ssm", "GetParameter", "json")
        .serialize_error(AwsError("ParameterNotFound", "none"), "r")
        .body
    )
    assert json.loads(body) == {"__type": "ParameterNotFound", "message": "none"}


def test_numbers_that_json_has_not_are_words() -> None:
    compiled = compile_operation("cloudwatch", "GetMetricData", "json")
    body = compiled.serialize({"MetricDataResults": [{"Values": [float("nan"), float("inf"), 1.5]}]}, "r").body
    assert json.loads(body) == {"MetricDataResults": [{"Values": ["NaN", "Infinity", 1.5]}]}


def test_fragment_is_written_as_its_structure() -> None:
    compiled = compile_operation("ssm", "GetParameters", "json")
    parameters = [{"Name": "a", "LastModifiedDate": 1.5}, {"Name": "b"}]
    fragments = [compiled.encoder("Parameter")(one) for one in parameters]
    assert (
        compiled.serialize({"Parameters": fragments}, "r").body
        == compiled.serialize({"Parameters": parameters}, "r").body
    )


def test_unknown_operation() -> None:
    with pytest.raises(AwsError, match="UnknownOperationException"):
        compile_operation("ssm", "Foo", "json")


class _Line(Ready, frozen=True, rename="camel"):
    timestamp: int
    message: str
    ingestion_time: int


def test_ready_structures_are_written_as_they_stand() -> None:
    compiled = compile_operation("logs", "GetLogEvents", "json")
    dicts = [{"timestamp": n, "message": f'"{n}"\n é', "ingestionTime": 7} for n in range(3)]
    ready = [_Line(n, f'"{n}"\n é', 7) for n in range(3)]
    assert compiled.serialize({"events": ready}, "r").body == compiled.serialize({"events": dicts}, "r").body
    repaired = compiled.serialize({"events": [_Line(1, "\ud800", 2)]}, "r").body
    assert repaired == b'{"events":[{"timestamp":1,"message":"\xef\xbf\xbd","ingestionTime":2}]}'
