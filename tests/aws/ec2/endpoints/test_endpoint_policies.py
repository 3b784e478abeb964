"""What a policy of an endpoint may be (AWS: "IAM JSON policy grammar"), and what of it is not pretended."""

from __future__ import annotations

import json
from typing import Any

import pytest

FULL = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
READ = {"Sid": "Read", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": ["s3:Get*"], "Resource": "*"}


def code(cloud: Any, document: Any, **params: Any) -> str:
    text = document if isinstance(document, str) else json.dumps(document)
    service = {"VpcId": cloud.vpc(), "ServiceName": "com.amazonaws.us-east-1.s3", "PolicyDocument": text, **params}
    return str(cloud.code("CreateVpcEndpoint", **service))


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        "[" * 5000,
        {},
        {"Version": "2011-01-01", "Statement": [FULL]},
        {"Statement": [FULL], "Statements": []},
        {"Statement": "all"},
        {"Statement": [{**FULL, "Effect": "allow"}]},
        {"Statement": [{**FULL, "NotAction": "s3:*"}]},
        {"Statement": [{key: value for key, value in FULL.items() if key != "Resource"}]},
        {"Statement": [{**FULL, "Action": []}]},
        {"Statement": [{**FULL, "Action": [7]}]},
        {"Statement": [{**FULL, "Condition": "none"}]},
        {"Statement": [{**FULL, "Comment": "?"}]},
        {"Statement": [FULL] * 400},
    ],
    ids=lambda one: str(one)[:40],
)
def test_what_is_no_policy_is_refused(cloud, document):
    assert code(cloud, document) == "InvalidPolicyDocument"
    assert cloud("DescribeVpcEndpoints")["VpcEndpoints"] == []


def test_a_gateway_keeps_it_and_an_interface_refuses_what_would_keep_somebody_out(cloud):
    text = json.dumps({"Version": "2012-10-17", "Statement": READ})
    vpc = cloud.vpc()
    made = cloud("CreateVpcEndpoint", VpcId=vpc, ServiceName="com.amazonaws.us-east-1.s3", PolicyDocument=text)[
        "VpcEndpoint"
    ]
    assert made["PolicyDocument"] == text
    interface = {"VpcEndpointType": "Interface", "ServiceName": "com.amazonaws.us-east-1.ec2"}
    for statements in ([READ], [FULL, {**READ, "Effect": "Deny"}], [{**FULL, "Condition": {"Bool": {}}}], []):
        assert code(cloud, {"Statement": statements}, **interface) == "NotImplemented"
