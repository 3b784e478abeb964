"""CBOR: written as the standard says, read with nothing in it that a request has no use for."""

from __future__ import annotations

import struct
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Compiled, Request, cbor, compile_operation
from gureum.aws.protocols.cbor import write_text
from gureum.aws.protocols.scalars import BadValue


def put_metrics() -> Compiled:
    return compile_operation("cloudwatch", "PutMetricData", "smithy-rpc-v2-cbor")


def parse(body: bytes) -> dict[str, Any]:
    return put_metrics().parse(Request("POST", "/", "", {}, body))


def test_times_indefinite_lengths_and_nulls() -> None:
    body = bytes.fromhex(
        "bf69 4e616d657370616365 7f 6161 6162 ff 6a 4d657472696344617461 9f bf 69 54696d657374616d70 c1 fb"
    ) + struct.pack(">d", 1.5)
    body += bytes.fromhex("64 556e6974 f6 ff ff ff".replace(" ", ""))
    assert parse(body) == {"Namespace": "ab", "MetricData": [{"Timestamp": datetime.fromtimestamp(1.5, UTC)}]}


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"\x9b" + b"\xff" * 8,  # a list of 2^64 items
        b"\x5b\x7f" + b"\xff" * 7,  # 2^63 bytes
        b"\x81" * 5000,
        b"\xc2\x41\x01",  # a big number
        b"\xd8\x1c\x80",  # a shared value
        b"\xd8\x23\x61a",  # a regular expression
        b"\xc1\x61a",  # a time that is a text
        b"\xc1\xfb" + struct.pack(">d", 1e300),
        b"\xa1\x80\x01",  # a key that is a list
        b"\x61\xff",  # a text that is not UTF-8
    ],
)
def test_refused_without_cost(body: bytes) -> None:
    put_metrics()
    tracemalloc.start()
    try:
        with pytest.raises(AwsError, match="SerializationException"):
            parse(body)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=64))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    try:
        cbor.decode_cbor(body)
    except BadValue:
        pass


@given(st.text(st.characters(exclude_categories=())))
def test_text_survives(text: str) -> None:
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert cbor2.loads(write_text(text)) == expected


def test_error_form() -> None:
    response = put_metrics().serialize_error(AwsError("InvalidParameterValue", "no"), "r-1")
    assert response.headers == {
        "content-type": "application/cbor",
        "smithy-protocol": "rpc-v2-cbor",
        "x-amzn-requestid": "r-1",
        "x-amzn-query-error": "InvalidParameterValue;Sender",
    }
    assert cbor2.loads(response.body) == {
        "__type": "com.amazonaws.cloudwatch#InvalidParameterValueException",
        "message": "no",
    }
