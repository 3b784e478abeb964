"""What a machine may ask of neighbours: nothing that names another account."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from gureum.aws.errors import AwsError
from gureum.aws.neighbours.guests import stay_in_account
from gureum.aws.protocols import Request, Target

OWN, OTHER = "111122223333", "444455556666"


def asks(service: str, body: Any = b"", path: str = "/", query: str = "", **headers: str) -> bool:
    """Whether the call may go on."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        stay_in_account(Target(service, "json", "Do"), Request("POST", path, query, names, data), OWN)
    except AwsError as refused:
        return refused.code != "AccessDenied"
    return True


def topic(account: str) -> str:
    return f"arn:aws:sns:us-east-1:{account}:t"


def test_a_form_that_is_json_as_well_is_read_as_a_form() -> None:
    """As moto reads it."""
    text = f'{{"x": "&Action=Publish&TopicArn={topic(OTHER)}&Message=m&y"}}'
    with pytest.raises(AwsError, match="AccessDenied"):
        stay_in_account(Target("sns", "query", "Publish"), Request("POST", "/", "", {}, text.encode()), OWN)


@pytest.mark.parametrize("account", [OWN, OTHER])
@pytest.mark.parametrize(
    ("service", "made"),
    [
        ("sns", lambda account: {"body": urlencode({"TopicArn": topic(account)}).encode()}),
        ("kms", lambda account: {"body": {"KeyId": f"arn:aws:kms:us-east-1:{account}:key/k"}}),
        ("kms", lambda account: {"body": {"KeyId": f" arn:aws:kms:us-east-1:{account}:key/k"}}),
        ("kms", lambda account: {"body": f'{{"KeyId": "arn\\u003aaws:kms:us-east-1:{account}:key/k"}}'.encode()}),
        ("dynamodb", lambda account: {"body": {"TableName": f"arn:aws:dynamodb:us-east-1:{account}:table/t"}}),
        ("dynamodb", lambda account: {"body": {"RequestItems": {f"arn:aws:dynamodb:r:{account}:table/t": {}}}}),
        ("ecr", lambda account: {"body": {"registryId": account}}),
        ("sqs", lambda account: {"body": {"QueueUrl": f"http://x/{account}/q"}}),
        ("sqs", lambda account: {"path": f"/{account}/q"}),
        ("sqs", lambda account: {"query": f"QueueUrl=http%3A%2F%2Fx%2F{account}%2Fq"}),
        ("s3control", lambda account: {"x_amz_account_id": account}),
        ("route53", lambda account: {"path": f"/2013-04-01/tags/arn%3Aaws%3Aroute53%3A%3A{account}%3Ax"}),
    ],
)
def test_names_of_accounts(service: str, made: Any, account: str) -> None:
    assert asks(service, **made(account)) is (account == OWN)


@pytest.mark.parametrize(
    ("service", "made"),
    [
        ("s3", {"path": f"/bucket/AWSLogs/{OTHER}/file", "body": topic(OTHER).encode()}),
        ("sqs", {"body": {"QueueUrl": f"http://x/{OWN}/q", "MessageBody": f"see {topic(OTHER)}"}}),
        ("dynamodb", {"body": {"TableName": "t", "Item": {"phone": {"N": OTHER}, "url": {"S": f"/{OTHER}/x"}}}}),
        ("iam", {"body": urlencode({"PolicyDocument": json.dumps({"AWS": f"arn:aws:iam::{OTHER}:root"})}).encode()}),
    ],
)
def test_what_is_only_spoken_of_passes(service: str, made: Any) -> None:
    assert asks(service, **made)


def test_nesting_is_bounded() -> None:
    assert not asks("kms", b'{"a":' * 40 + b"1" + b"}" * 40)
    assert asks("kms", b'{"a":' * 100_000)
