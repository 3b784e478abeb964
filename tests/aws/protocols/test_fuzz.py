"""Any bytes on any protocol: an answer or an AwsError, never another exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request, compile_operation, error_response, identify

OPERATIONS = [
    ("ec2", "RunInstances", "ec2"),
    ("ec2", "DescribeInstances", "ec2"),
    ("autoscaling", "CreateAutoScalingGroup", "query"),
    ("sqs", "SendMessageBatch", "query"),
    ("cloudwatch", "PutMetricAlarm", "query"),
    ("dynamodb", "PutItem", "json"),
    ("ecs", "RegisterTaskDefinition", "json"),
    ("cloudwatch", "PutMetricData", "smithy-rpc-v2-cbor"),
    ("lambda", "CreateFunction", "rest-json"),
    ("apigatewayv2", "ImportApi", "rest-json"),
    ("s3", "PutBucketLifecycleConfiguration", "rest-xml"),
    ("route53", "ChangeResourceRecordSets", "rest-xml"),
]
names = st.sampled_from(
    [
        "Filter",
        "Name",
        "Value",
        "InstanceId",
        "MaxResults",
        "Tags",
        "member",
        "entry",
        "key",
        "value",
        "NetworkInterface",
        "BlockDeviceMapping",
        "Ebs",
        "TagSpecification",
        "Tag",
        "Key",
        "1",
        "2",
        "x",
        "999999999",
        "00",
        "-1",
        "DryRun",
        "Overrides",
        "LaunchTemplate",
        "MetricData",
        "Dimensions",
        "Item",
        "S",
        "M",
        "L",
        "Rule",
        "ID",
        "Filter",
        "And",
        "Prefix",
    ]
)
texts = st.one_of(
    st.text(max_size=12), st.sampled_from(["", "1", "true", "-1", "1e9", "2024-01-01T00:00:00Z", "AA==", "NaN"])
)
forms = st.lists(st.tuples(st.lists(names, min_size=1, max_size=6).map(".".join), texts), max_size=8).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "surrogatepass")
)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())
element_names = st.sampled_from(["Rule", "ID", "Filter", "And", "Tag", "Prefix", "Changes", "Change", "Action"])
elements = st.recursive(
    texts.map(lambda text: "".join(c for c in text if c.isalnum())),
    lambda inner: st.lists(st.tuples(element_names, inner), max_size=4).map(
        lambda pairs: "".join(f"<{name}>{value}</{name}>" for name, value in pairs)
    ),
    max_leaves=12,
).map(lambda text: f"<Root>{text}</Root>".encode("utf-8", "surrogatepass"))
bodies = st.one_of(st.binary(max_size=200), forms, documents, elements)
header_names = st.sampled_from(
    [
        "authorization",
        "content-type",
        "host",
        "x-amz-target",
        "smithy-protocol",
        "x-amz-meta-a",
        "x-amz-account-id",
        "date",
        "expires",
    ]
)
header_values = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "AWS4-HMAC-SHA256 Credential=A/20240101/us-east-1/ec2/aws4_request",
            "AWS4-HMAC-SHA256 Credential=A/20240101/us-east-1/s3/aws4_request",
            "AWS4-HMAC-SHA256 Credential=A/20240101/us-east-1/../aws4_request",
            "AmazonSSM.GetParameter",
            "DynamoDB_20120810.PutItem",
            "application/x-www-form-urlencoded",
            "s3.localhost:4566",
        ]
    ),
)
paths = st.one_of(
    st.text(max_size=30).map(lambda text: "/" + text),
    st.sampled_from(
        [
            "/",
            "//",
            "/b",
            "/b/",
            "/b/k%2",
            "/b/%ff",
            "/2015-03-31/functions/",
            "/service/GraniteServiceVersion20100801/operation/PutMetricData",
            "",
        ]
    ),
)
queries = st.one_of(
    st.text(max_size=30),
    forms.map(lambda raw: raw.decode("utf-8", "replace")),
    st.just("Action=DescribeVpcs&Version=2016-11-15"),
)


@pytest.mark.parametrize(("service", "operation", "protocol"), OPERATIONS)
@settings(max_examples=120, deadline=None)
@given(body=bodies, path=paths, query=queries, headers=st.dictionaries(header_names, header_values, max_size=3))
def test_parse_and_validate(
    service: str, operation: str, protocol: str, body: bytes, path: str, query: str, headers: dict[str, str]
) -> None:
    compiled = compile_operation(service, operation, protocol)
    try:
        params = compiled.parse(Request("POST", path, query, headers, body))
        compiled.validate(params)
    except AwsError as error:
        compiled.serialize_error(error, "r")


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "", "é"]),
    path=paths,
    query=queries,
    headers=st.dictionaries(header_names, header_values, max_size=4),
    body=bodies,
)
@example("POST", "/", "", {"authorization": "Credential=" * 500}, b"Action=" * 5000)
def test_whole_way(method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> None:
    request = Request(method, path, query, headers, body)
    target = identify(request)
    try:
        compiled = compile_operation(target.service, target.operation, target.protocol) if target.service else None
        if compiled is not None:
            compiled.validate(compiled.parse(request))
    except AwsError as error:
        refused = error_response(target.service or None, target.protocol, error, "r").status
    else:
        refused = 400
    assert refused >= 400


@pytest.mark.parametrize("protocol", ["query", "ec2", "json", "rest-json", "rest-xml", "smithy-rpc-v2-cbor"])
@given(
    code=st.text(min_size=1),
    message=st.text(st.characters(exclude_categories=())),
    fields=st.dictionaries(names, st.text(), max_size=2),
)
@example(code="Code", message="\ud800", fields={"x": "\ud800"})
def test_any_error_can_be_written(protocol: str, code: str, message: str, fields: dict[str, Any]) -> None:
    response = error_response(None, protocol, AwsError(code, message, fields=fields), "r")
    assert isinstance(response.body, bytes)
    assert not any(character in value for value in response.headers.values() for character in "\r\n")
