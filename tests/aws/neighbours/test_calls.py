"""What is decided of a call to a neighbour before moto sees it."""

from __future__ import annotations

import json

import botocore.session
import pytest

from gureum.aws.errors import AwsError
from gureum.aws.neighbours.front import _bucket_of_host
from gureum.aws.neighbours.implemented import implemented
from gureum.aws.neighbours.offered import OFFERED, changes, chosen
from gureum.aws.neighbours.refusals import refuse, refuse_post, refuse_subresource
from gureum.aws.neighbours.waiting import queue_name, wait_of, without_wait
from gureum.aws.protocols import Request, load_service


def json_request(**params: object) -> Request:
    return Request("POST", "/", "", {"content-type": "application/x-amz-json-1.0"}, json.dumps(params).encode())


def form_request(body: str, path: str = "/") -> Request:
    return Request("POST", path, "", {"content-type": "application/x-www-form-urlencoded"}, body.encode())


@pytest.mark.parametrize(
    ("service", "method", "operation", "expected"),
    [
        ("iam", "POST", "GetRole", False),
        ("iam", "POST", "CreateRole", True),
        ("sqs", "POST", "ReceiveMessage", True),
        ("kms", "POST", "Decrypt", False),
        ("kms", "POST", "EnableKey", True),
        ("dynamodb", "POST", "BatchGetItem", False),
        ("dynamodb", "POST", "BatchWriteItem", True),
        ("dynamodb", "POST", "ExecuteStatement", True),
        ("s3", "GET", "", False),
        ("s3", "POST", "", True),
        ("route53", "DELETE", "DeleteHostedZone", True),
        ("ses", "POST", "VerifyEmailIdentity", True),
        ("ses", "POST", "VerifyDomainIdentity", True),
        ("kms", "POST", "Verify", False),
        ("kms", "POST", "VerifyMac", False),
    ],
)
def test_what_changes_something_is_kept(service: str, method: str, operation: str, expected: bool) -> None:
    assert changes(service, method, operation) is expected


@pytest.mark.parametrize("service", OFFERED)
def test_neighbours_are_named_as_botocore_names_them(service: str) -> None:
    assert load_service(service).operations


def test_the_setting_names_services() -> None:
    assert chosen("off") == frozenset()
    assert chosen("on") == frozenset(OFFERED)
    assert chosen("s3, iam") == {"s3", "iam"}
    with pytest.raises(ValueError, match="no such neighbour: lambda"):
        chosen("s3,lambda")


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("127.0.0.1:4566", ""),
        ("localhost:4566", ""),
        ("aws.gureum.test:4566", ""),
        ("s3.localhost:4566", ""),
        ("photos.localhost:4566", "photos"),
        ("photos.s3.localhost:4566", "photos"),
        ("a.b.s3.eu-west-1.aws.gureum.test", "a.b"),
        ("photos.s3.us-east-1.amazonaws.com", "photos"),
        ("s3.us-east-1.amazonaws.com", ""),
        ("s3-eu-west-1.amazonaws.com", ""),
        ("photos.s3.localhost.localstack.cloud:4566", "photos"),
    ],
)
def test_a_bucket_may_stand_in_the_host(host: str, bucket: str) -> None:
    assert _bucket_of_host(host, "aws.gureum.test") == bucket


def test_long_polls_are_taken_apart() -> None:
    asked = json_request(QueueUrl="http://127.0.0.1:1/111111111111/q", WaitTimeSeconds=7)
    assert wait_of(asked) == 7
    assert json.loads(without_wait(asked).body)["WaitTimeSeconds"] == 0
    assert wait_of(json_request(QueueUrl="x")) is None
    assert wait_of(json_request(WaitTimeSeconds=21)) == 0  # moto refuses it, at once
    form = form_request("Action=ReceiveMessage&WaitTimeSeconds=3&QueueUrl=http%3A%2F%2Fh%2F1%2Fq2")
    assert wait_of(form) == 3
    assert b"WaitTimeSeconds=0" in without_wait(form).body
    assert b"WaitTimeSeconds=3" not in without_wait(form).body
    assert queue_name(form) == "q2"
    assert queue_name(form_request("Action=ReceiveMessage", "/111111111111/q3")) == "q3"


@pytest.mark.parametrize(
    ("protocol", "endpoint", "refused"),
    [
        ("http", "http://198.51.100.1/x", True),
        ("https", "https://example.com", True),
        ("http", "http://127.0.0.1:9000/x", False),
        ("http", "http://127.0.0.1@example.com/", True),
        ("sqs", "arn:aws:sqs:us-east-1:111111111111:q", False),
        ("lambda", "arn:aws:lambda:us-east-1:111111111111:function:f", True),
        ("email", "a@example.com", True),
    ],
)
def test_nothing_is_sent_outside(protocol: str, endpoint: str, refused: bool) -> None:
    request = json_request(Protocol=protocol, Endpoint=endpoint)
    if not refused:
        refuse("sns", "Subscribe", request)
        return
    with pytest.raises(AwsError) as error:
        refuse("sns", "Subscribe", request)
    assert error.value.code == "NotImplemented"


@pytest.mark.parametrize(
    ("path", "query", "operation", "kind", "code"),
    [
        ("/", "", "ListBuckets", "", "MethodNotAllowed"),
        ("/none", "", "", "", "PreconditionFailed"),
        ("/none", "", "", "application/x-www-form-urlencoded", "PreconditionFailed"),
        ("/photos/key", "", "CompleteMultipartUpload", "", "MethodNotAllowed"),
        ("/photos/key", "nonsense&uploadIdx=1", "CompleteMultipartUpload", "", "MethodNotAllowed"),
        ("/photos", "", "", "multipart/form-data; boundary=x", None),
        ("/photos", "delete", "DeleteObjects", "", None),
        ("/photos/key", "uploads", "CreateMultipartUpload", "", None),
        ("/photos/key", "uploadId=x", "CompleteMultipartUpload", "", None),
        ("/photos/key", "restore", "RestoreObject", "", None),
    ],
)
def test_s3_knows_few_posts(path: str, query: str, operation: str, kind: str, code: str | None) -> None:
    request = Request("POST", path, query, {"content-type": kind}, b"")
    if code is None:
        refuse_post(operation, path, request)
        return
    with pytest.raises(AwsError) as error:
        refuse_post(operation, path, request)
    assert error.value.code == code


def _subresources() -> list[tuple[str, str, str, str]]:
    """Operations of S3 whose path names a subresource: name, method, path, and that."""
    loader = botocore.session.get_session().get_component("data_loader")
    found = loader.load_service_model("s3", "service-2")["operations"]
    ways = [
        (name, one["http"]["method"], *one["http"]["requestUri"].partition("?")[::2]) for name, one in found.items()
    ]
    return [(name, method, path, query) for name, method, path, query in ways if query and not query.startswith("x-id")]


@pytest.mark.parametrize(("operation", "method", "path", "query"), _subresources())
def test_a_subresource_that_moto_does_not_know_never_becomes_the_bucket_or_the_object(
    operation: str, method: str, path: str, query: str
) -> None:
    """`DELETE /bucket?metrics` deleted the bucket."""
    known = implemented(frozenset({"s3"}))["s3"][operation] == "moto"
    where = path.replace("{Bucket}", "photos").replace("{Key+}", "key")
    request = Request(method, where, f"{query}&id=x", {}, b"")
    if known or operation == "PutBucketNotification":  # which is another's older name
        refuse_subresource(operation, where, request)
        return
    with pytest.raises(AwsError, match="NotImplemented"):
        refuse_subresource(operation, where, request)
