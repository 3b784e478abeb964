"""Signature Version 4 as botocore makes it, against our check; with every part of it spoiled once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from gureum.aws.credentials import SCOPE, Session, SessionSpec, identify_caller
from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request
from gureum.aws.signatures import verify_signature
from gureum.base.clock import SystemClock
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.cli import ssh
from gureum.engine.client import Client
from gureum.engine.resource import Meta, kind_of
from gureum.store.memory import MemoryStore
from tests.wire.conftest import Endpoint

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def signed(
    method: str = "POST", url: str = "http://127.0.0.1:4566/", body: bytes = b"Action=DescribeVpcs", **more: Any
) -> Request:
    request = AWSRequest(
        method=method, url=url, data=body, headers={"content-type": "application/x-www-form-urlencoded", **more}
    )
    SigV4Auth(Credentials("111122223333", SECRET), "ec2", "us-east-1").add_auth(request)
    return received(request, body)


def received(request: Any, body: bytes) -> Request:
    parts = urlsplit(request.url)
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    return Request(request.method, parts.path, parts.query, {"host": parts.netloc, **headers}, body)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {
            "method": "GET",
            "url": "http://127.0.0.1:4566/?Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=a%20b",
            "body": b"",
        },
        {"method": "GET", "url": "http://127.0.0.1:4566/some%20path/with%2Fslash?x=1&x=0", "body": b""},
        {"x-note": "  two   spaces  "},
    ],
)
def test_what_botocore_signs_is_accepted(wanted: dict[str, Any]) -> None:
    verify_signature(signed(**wanted), SECRET, time.time())


def test_a_presigned_url_is_accepted_until_it_expires() -> None:
    request = AWSRequest(method="GET", url="http://127.0.0.1:4566/?Action=GetCallerIdentity&Version=2011-06-15")
    SigV4QueryAuth(Credentials("111122223333", SECRET), "sts", "us-east-1", expires=60).add_auth(request)
    found = received(request, b"")
    verify_signature(found, SECRET, time.time())
    with pytest.raises(AwsError, match="RequestExpired"):
        verify_signature(found, SECRET, time.time() + 3600)


def test_a_presigned_url_of_s3_ends_to_the_second() -> None:
    """AWS: S3, "Authenticating requests: using query parameters". Its body is not signed."""
    request = AWSRequest(method="PUT", url="http://127.0.0.1:4566/bucket/key")
    S3SigV4QueryAuth(Credentials("111122223333", SECRET), "s3", "us-east-1", expires=60).add_auth(request)
    found = received(request, b"any body")
    verify_signature(found, SECRET, time.time() + 50)
    with pytest.raises(AwsError, match="Request has expired"):
        verify_signature(found, SECRET, time.time() + 62)
    with pytest.raises(AwsError, match="not yet valid"):
        verify_signature(found, SECRET, time.time() - 3600)


@pytest.mark.parametrize("of", ["another day", "another key as well"])
def test_a_credential_is_one_and_of_the_day_of_its_request(of: str) -> None:
    good = signed()
    header = good.headers["authorization"]
    day = good.headers["x-amz-date"][:8]
    header = header.replace(day, "20200101") if of == "another day" else header.replace(", S", ", Credential=x/y, S", 1)
    bad = Request(good.method, good.path, good.query, {**good.headers, "authorization": header}, good.body)
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        verify_signature(bad, SECRET, time.time())


@pytest.mark.parametrize("spoiled", ["secret", "body", "path", "query", "header", "date"])
def test_what_was_changed_on_the_way_is_refused(spoiled: str) -> None:
    good = signed()
    headers = {**good.headers, **({"content-type": "text/plain"} if spoiled == "header" else {})}
    bad = Request(
        "POST",
        "/other" if spoiled == "path" else good.path,
        "x=1" if spoiled == "query" else good.query,
        headers,
        b"Action=TerminateInstances" if spoiled == "body" else good.body,
    )
    secret = "another" if spoiled == "secret" else SECRET
    with pytest.raises(AwsError) as refused:
        verify_signature(bad, secret, time.time() + (7200 if spoiled == "date" else 0))
    assert refused.value.code == ("RequestExpired" if spoiled == "date" else "SignatureDoesNotMatch")


def test_no_signature_is_missing_authentication() -> None:
    with pytest.raises(AwsError, match="MissingAuthenticationToken"):
        verify_signature(Request("POST", "/", "", {}, b""), SECRET, time.time())


def test_a_temporary_key_needs_its_token_and_its_own_secret(tmp_path: Path) -> None:
    async def run() -> None:
        sealer, clock = Sealer(tmp_path / "key"), SystemClock()
        client = Client(MemoryStore(), clock, [kind_of(Session)])
        key, secret, token = "ASIAEXAMPLE", "its-own-secret", "its-token"
        spec = SessionSpec(
            account="777788889999",
            arn="arn:aws:sts::777788889999:assumed-role/deploy/me",
            user_id="AROA:me",
            expires=clock.now() + 900,
            sealed_secret=sealer.seal(secret, key),
            sealed_token=sealer.seal(token, f"{key}/token"),
        )
        transaction = client.transaction()
        transaction.create(Session(meta=Meta(scope=SCOPE, name=key, uid=key, created=0.0), spec=spec))
        await transaction.commit()
        settings = Settings(verify_signatures=True)
        for given, with_secret, refusal in (
            (token, secret, ""),
            ("another", secret, "InvalidClientTokenId"),
            (None, secret, "InvalidClientTokenId"),
            (token, "test", "SignatureDoesNotMatch"),
        ):
            request = AWSRequest(method="POST", url="http://127.0.0.1:4566/", data=b"Action=X")
            SigV4Auth(Credentials(key, with_secret, given), "sts", "us-east-1").add_auth(request)
            found = received(request, b"Action=X")
            if refusal:
                with pytest.raises(AwsError, match=refusal):
                    identify_caller(found, settings, client, sealer)
            else:
                assert identify_caller(found, settings, client, sealer).account == "777788889999"

    asyncio.run(run())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    made = Endpoint(tmp_path_factory.mktemp("guarded"), verify_signatures=True, secret_key=SECRET)
    yield made
    made.close()


def client(endpoint: Endpoint, service: str, secret: str) -> Any:
    keys = {"aws_access_key_id": "111122223333", "aws_secret_access_key": secret, "region_name": "us-east-1"}
    return boto3.client(service, endpoint_url=endpoint.url, config=Config(retries={"total_max_attempts": 1}), **keys)


@pytest.mark.parametrize(
    ("service", "operation", "code", "status"),
    [
        ("ec2", "describe_vpcs", "AuthFailure", 401),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch", 403),
        ("ssm", "describe_parameters", "InvalidSignatureException", 400),
        ("dynamodb", "list_tables", "InvalidSignatureException", 400),
        ("s3", "list_buckets", "SignatureDoesNotMatch", 403),
        ("sqs", "list_queues", "SignatureDoesNotMatch", 403),
    ],
)
def test_a_wrong_secret_is_refused_in_each_service_s_words(
    guarded: Endpoint, service: str, operation: str, code: str, status: int
) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(client(guarded, service, "wrong"), operation)()
    answer = refused.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert client(guarded, "sts", SECRET).get_caller_identity()["Account"] == "111122223333"


def test_what_gureum_ssh_signs_is_accepted() -> None:
    body = "Action=DescribeInstances&Version=2016-11-15"
    headers = ssh.signature(SECRET, "111122223333", "us-east-1", "127.0.0.1:4566", body, time.time())
    verify_signature(
        Request("POST", "/", "", {"host": "127.0.0.1:4566", **headers}, body.encode()), SECRET, time.time()
    )


@pytest.mark.parametrize(
    ("head", "passes"),
    [
        ({}, True),
        ({"content-length": "70000"}, False),
        ({"content-length": ""}, False),
        ({"content-type": "multipart/form-data; boundary=x"}, False),
        ({"authorization": "AWS key:signature"}, False),
    ],
)
def test_of_a_guest_without_a_key_only_a_small_form_is_read(
    guarded: Endpoint, head: dict[str, str], passes: bool
) -> None:
    """Its body may be AssumeRoleWithWebIdentity, which has no signature; any other operation is refused then."""
    form = {"host": "h", "content-type": "application/x-www-form-urlencoded", "content-length": "20"}
    request = Request("POST", "/", "", form | head, b"")
    assert (guarded.run(guarded.gateway.look_at_guest(request)) is None) is passes
    assert guarded.run(guarded.gateway.look_at_guest(request, "ec2")) is not None
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    asked = Request("POST", "/", "", form, body)
    assert guarded.run(guarded.gateway.handle(asked, guest=True)).status == 403
