"""What S3 takes beside signed requests, with signatures checked: presigned addresses of both versions, browsers' forms, bodies in signed chunks.

AWS: S3, "Browser-based uploads using POST", "Signature calculations … transferring payload in multiple chunks", "… Including trailing headers";
what boto3 makes of it unasked (Version 2 in us-east-1).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from gureum.aws.chunk_signatures import SIGNED, SIGNED_WITH_TRAILER, UNSIGNED_WITH_TRAILER, verify_chunks
from gureum.aws.signatures import derived_key
from tests.cloud.running import Cloud
from tests.wire.conftest import _running
from tests.wire.test_identities import ACCOUNT, SECRET

VERSIONS = ("s3", "s3v4")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    settings = {"simulate": "true", "ephemeral": "true", "verify_signatures": "true", "secret_key": SECRET}
    yield from _running(Cloud(tmp_path_factory.mktemp("gureum"), **settings), "up", "--simulate")


def s3_of(cloud: Cloud, version: str = "s3v4", secret: str = SECRET, **more: Any) -> Any:
    keys: dict[str, Any] = {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": secret} | more
    config = Config(signature_version=version, retries={"total_max_attempts": 1})
    return boto3.client("s3", endpoint_url=cloud.url, region_name="us-east-1", config=config, **keys)


@pytest.fixture(scope="module")
def s3(cloud: Cloud) -> Any:
    made = s3_of(cloud)
    made.create_bucket(Bucket="drops")
    made.put_object(Bucket="drops", Key="a b", Body=b"content")
    return made


def send(url: str, body: bytes | None = None, method: str = "GET", **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        text = refused.read().decode()
        return refused.code, text.partition("<Code>")[2].partition("</Code>")[0] + text.partition("<Message>")[2]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_presigned_address_is_good_as_it_is_and_until_it_ends(cloud: Cloud, s3: Any, version: str) -> None:
    wanted = {"Bucket": "drops", "Key": "a b"}
    url = s3_of(cloud, version).generate_presigned_url("get_object", Params=wanted)
    assert send(url) == (200, "content")
    assert send(url, method="DELETE")[1].startswith("SignatureDoesNotMatch")
    assert send(url.replace("/a%20b?", "/other?"))[1].startswith("SignatureDoesNotMatch")
    assert send(url.split("?")[0])[0] == 403
    forged = s3_of(cloud, version, "wrong").generate_presigned_url("get_object", Params=wanted)
    assert send(forged)[1].startswith("SignatureDoesNotMatch")
    over = s3_of(cloud, version).generate_presigned_url("get_object", Params=wanted, ExpiresIn=-5)
    assert send(over)[0] in (400, 403)
    named = {**wanted, "ResponseContentType": "text/plain", "VersionId": "null"}
    assert send(s3_of(cloud, version).generate_presigned_url("get_object", Params=named))[0] == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_a_presigned_upload_carries_the_headers_that_were_signed(cloud: Cloud, s3: Any, version: str) -> None:
    wanted = {"Bucket": "drops", "Key": f"put-{version}", "ContentType": "text/plain", "Metadata": {"who": "anna"}}
    url = s3_of(cloud, version).generate_presigned_url("put_object", Params=wanted)
    told = {"content-type": "text/plain", "x-amz-meta-who": "anna"}
    assert send(url, b"x", "PUT", **{**told, "content-type": "text/html"})[1].startswith("SignatureDoesNotMatch")
    assert send(url, b"x", "PUT", **told)[0] == 200
    assert s3.head_object(Bucket="drops", Key=f"put-{version}")["ContentType"] == "text/plain"


@pytest.mark.parametrize("version", VERSIONS)
def test_credentials_of_a_session_sign_addresses_and_forms_too(cloud: Cloud, s3: Any, version: str) -> None:
    keys = {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    given = boto3.client("sts", endpoint_url=cloud.url, **keys).get_session_token()["Credentials"]
    for token, status in ((given["SessionToken"], 200), ("another", 403)):
        of = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"]}
        client = s3_of(cloud, version, **of, aws_session_token=token)
        url = client.generate_presigned_url("get_object", Params={"Bucket": "drops", "Key": "a b"})
        assert send(url)[0] == status
        made = client.generate_presigned_post("drops", "by-session")
        assert post(made["url"], made["fields"], b"x")[0] == (204 if status == 200 else 403)


def post(
    url: str, fields: dict[str, str], content: bytes, after: dict[str, str] | None = None, filename: str = "me.txt"
) -> tuple[int, str]:
    """As a browser sends it: the fields in their order, the file."""
    mark = "----WebKitFormBoundaryx7"

    def part(name: str, value: str) -> bytes:
        return f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()

    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: text/plain\r\n\r\n'
    parts = [part(name, value) for name, value in fields.items()]
    parts += [head.encode(), content, b"\r\n"] if content is not None else []
    parts += [part(name, value) for name, value in (after or {}).items()]
    body = b"".join([*parts, f"--{mark}--\r\n".encode()])
    return send(url, body, "POST", **{"content-type": f"multipart/form-data; boundary={mark}"})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_browsers_form_puts_what_its_policy_lets_it(cloud: Cloud, s3: Any, version: str) -> None:
    fields = {"acl": "private", "Content-Type": "image/png", "x-amz-meta-who": "anna", "success_action_status": "201"}
    conditions: list[Any] = [
        {"acl": "private"},
        ["starts-with", "$Content-Type", "image/"],
        {"x-amz-meta-who": "anna"},
        {"success_action_status": "201"},
        ["content-length-range", 2, 8],
    ]
    signer = s3_of(cloud, version)
    made = signer.generate_presigned_post("drops", "up/${filename}", Fields=fields, Conditions=conditions)
    content = b"a\r\n--b\0"
    assert post(made["url"], made["fields"], content)[0] == 201
    found = s3.get_object(Bucket="drops", Key="up/me.txt")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (content, "image/png", {"who": "anna"})
    refused = [
        ({}, b"123456789", "EntityTooLarge"),
        ({}, b"1", "EntityTooSmall"),
        ({"key": "elsewhere"}, b"123", "AccessDeniedInvalid according to Policy: Policy Condition failed: ["),
        ({"acl": "public-read"}, b"123", "AccessDeniedInvalid according to Policy: Policy Condition failed: ["),
        (
            {"x-amz-meta-more": "x"},
            b"123",
            "AccessDeniedInvalid according to Policy: Extra input fields: x-amz-meta-more",
        ),
        ({"policy": base64.b64encode(b"{}").decode()}, b"123", "SignatureDoesNotMatch"),
        ({"policy": ""}, b"123", "AccessDenied"),
    ]
    for changed, body, code in refused:
        assert post(made["url"], made["fields"] | changed, body)[1].startswith(code), (changed, body)
    assert post(made["url"], made["fields"] | {"x-ignore-me": "x"}, b"123")[0] == 201
    assert post(made["url"] + "/other", made["fields"], b"123")[0] >= 400
    forged = s3_of(cloud, version, "wrong").generate_presigned_post("drops", "a")
    assert post(forged["url"], forged["fields"], b"1")[1].startswith("SignatureDoesNotMatch")
    over = signer.generate_presigned_post("drops", "a", ExpiresIn=-5)
    assert "Policy expired." in post(over["url"], over["fields"], b"1")[1]
    without = {name: value for name, value in made["fields"].items() if "ignature" not in name}
    assert post(made["url"], without, b"1")[1].startswith("InvalidArgumentBucket POST must contain a field named")


def test_a_form_that_could_be_read_in_two_ways_puts_only_what_was_judged(cloud: Cloud, s3: Any) -> None:
    s3.create_bucket(Bucket="another")
    made = s3_of(cloud).generate_presigned_post("drops", "mine", Conditions=[["content-length-range", 0, 8]])
    assert post(made["url"], made["fields"], b"1", after={"key": "theirs", "acl": "public-read"})[0] == 204
    assert post(made["url"], made["fields"] | {"KEY": "theirs"}, b"1")[1].startswith("MalformedPOSTRequest")
    assert post(made["url"].replace("/drops", "/another"), made["fields"], b"1")[0] == 403
    assert post(made["url"], made["fields"], b"1", after={"file": "x" * 100})[0] == 204
    named = s3_of(cloud).generate_presigned_post("drops", "by-name/${filename}")
    assert post(named["url"], named["fields"], b"1", filename="a${filename}/${filename}z")[0] == 204
    keys = {one["Key"] for one in s3.list_objects_v2(Bucket="drops")["Contents"]}
    assert {key for key in keys if key.startswith("by-name")} == {"by-name/${filename}z"}
    assert "theirs" not in keys
    assert s3.get_object(Bucket="drops", Key="mine")["Body"].read() == b"1"
    assert "Contents" not in s3.list_objects_v2(Bucket="another")


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (b"no JSON", "InvalidPolicyDocument"),
        (b"[" * 9000, "InvalidPolicyDocument"),
        (b'{"conditions": []}', "InvalidPolicyDocument"),
        (b'{"expiration": "2999-01-01T00:00:00Z"}', "InvalidPolicyDocument"),
        (b'{"expiration": "soon", "conditions": []}', "InvalidPolicyDocument"),
        (b'{"expiration": "2999-01-01T00:00:00Z", "conditions": [1]}', "InvalidPolicyDocument"),
        (b'{"expiration": "2999-01-01T00:00:00Z", "conditions": [{"a": "b", "c": "d"}]}', "InvalidPolicyDocument"),
        (b'{"expiration": "2999-01-01T00:00:00Z", "conditions": [["in", "$key", "a"]]}', "InvalidPolicyDocument"),
        (b'{"expiration": "2999-01-01T00:00:00Z", "conditions": [["content-length-range", "a", []]]}', "InvalidPol"),
        (b'{"expiration": "2999-01-01T00:00:00Z", "conditions": [["eq", "key", "a"]]}', "AccessDenied"),
        (b'{"expiration": "2999-01-01T00:00:00Z", "conditions": []}', "AccessDenied"),
    ],
)
def test_a_policy_that_is_none_is_refused(cloud: Cloud, s3: Any, policy: bytes, code: str) -> None:
    text = base64.b64encode(policy).decode()
    signature = base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()).decode()
    fields = {"key": "a", "AWSAccessKeyId": ACCOUNT, "policy": text, "signature": signature}
    assert post(f"{cloud.url}/drops", fields, b"1")[1].startswith(code)


DOCUMENTED = ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524T000000Z", "20130524/us-east-1/s3/aws4_request")
"""AWS: the example's secret, time and scope; what follows are its signatures."""


def test_the_documented_upload_in_chunks_verifies() -> None:
    secret, when, scope = DOCUMENTED
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    signatures = (
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    )
    parts = (b"a" * 65536, b"a" * 1024, b"")
    body = b"".join(
        f"{len(data):x};chunk-signature={one}\r\n".encode() + data + b"\r\n"
        for data, one in zip(parts, signatures, strict=True)
    )
    verify_chunks(body, SIGNED, seed, derived_key(secret, scope), when, scope)


class Upload:
    """A PUT in signed chunks, as AWS's SDKs for Java and C++ make it."""

    def __init__(self, cloud: Cloud, kind: str, parts: list[bytes], trailer: dict[str, str] | None = None) -> None:
        self._kind, self._parts, self._trailer = kind, parts, trailer or {}
        self.url = f"{cloud.url}/drops/chunks"
        length = sum(len(one) for one in parts)
        headers = {"x-amz-content-sha256": kind, "content-encoding": "aws-chunked"}
        headers |= {"x-amz-decoded-content-length": str(length)}
        headers |= {"x-amz-trailer": ",".join(self._trailer)} if trailer else {}
        request = AWSRequest("PUT", self.url, headers=headers)
        signer = S3SigV4Auth(Credentials(ACCOUNT, SECRET), "s3", "us-east-1")
        signer.payload = lambda _: kind  # type: ignore[method-assign]
        signer.add_auth(request)
        self.headers = dict(request.headers.items())
        self._before = self.headers["Authorization"].rpartition("Signature=")[2]
        self._when = self.headers["X-Amz-Date"]

    def _sign(self, of: str, *texts: str) -> str:
        day = datetime.now(UTC).strftime("%Y%m%d")
        scope = f"{day}/us-east-1/s3/aws4_request"
        text = "\n".join([f"AWS4-HMAC-SHA256-{of}", self._when, scope, self._before, *texts])
        self._before = hmac.new(derived_key(SECRET, scope), text.encode(), hashlib.sha256).hexdigest()
        return self._before

    def body(self) -> bytes:
        signed, nothing = self._kind != UNSIGNED_WITH_TRAILER, hashlib.sha256(b"").hexdigest()
        out = b""
        for data in [*self._parts, b""]:
            mark = (
                f";chunk-signature={self._sign('PAYLOAD', nothing, hashlib.sha256(data).hexdigest())}" if signed else ""
            )
            out += f"{len(data):x}{mark}\r\n".encode() + (data + b"\r\n" if data or not self._trailer else b"")
        if self._trailer:
            text = "".join(f"{name}:{value}\n" for name, value in self._trailer.items())
            out += text.replace("\n", "\r\n").encode()
            if signed:
                out += f"x-amz-trailer-signature:{self._sign('TRAILER', hashlib.sha256(text.encode()).hexdigest())}\r\n".encode()
            out += b"\r\n"
        return out

    def send(self, body: bytes) -> tuple[int, str]:
        return send(self.url, body, "PUT", **self.headers)


def checksum(content: bytes) -> dict[str, str]:
    return {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(content).to_bytes(4)).decode()}


def _sums(*contents: bytes) -> list[str]:
    return [value for one in contents for value in checksum(one).values()]


@pytest.mark.parametrize("kind", [SIGNED, SIGNED_WITH_TRAILER, UNSIGNED_WITH_TRAILER])
def test_a_body_in_chunks_is_what_was_signed(cloud: Cloud, s3: Any, kind: str) -> None:
    content = b"first part" + b"second"
    trailer = None if kind == SIGNED else checksum(content)
    upload = Upload(cloud, kind, [b"first part", b"second"], trailer)
    body = upload.body()
    assert upload.send(body)[0] == 200
    assert s3.get_object(Bucket="drops", Key="chunks")["Body"].read() == content
    changed = upload.send(body.replace(b"second", b"SECOND"))
    assert changed[1].startswith("SignatureDoesNotMatch" if kind == SIGNED else "BadDigest")
    if kind == SIGNED_WITH_TRAILER:
        both = body.replace(b"second", b"SECOND").replace(
            *(one.encode() for one in _sums(content, b"first partSECOND"))
        )
        assert upload.send(both)[1].startswith("SignatureDoesNotMatch")
    assert upload.send(body[:-40])[0] >= 400 or kind == UNSIGNED_WITH_TRAILER
    if kind != UNSIGNED_WITH_TRAILER:
        assert upload.send(b"10\r\n" + content + b"\r\n0\r\n\r\n")[1].startswith("SignatureDoesNotMatch")
    assert s3.get_object(Bucket="drops", Key="chunks")["Body"].read() == content


def test_a_body_in_chunks_has_the_length_that_was_signed(cloud: Cloud, s3: Any) -> None:
    s3.put_object(Bucket="drops", Key="chunks", Body=b"before")
    for content in (b"content that is longer", b"less"):
        upload = Upload(cloud, UNSIGNED_WITH_TRAILER, [b"content"], checksum(content))
        upload._parts = [content]
        status, text = upload.send(upload.body())
        assert status == 400
        assert text.startswith("IncompleteBody")
    assert s3.get_object(Bucket="drops", Key="chunks")["Body"].read() == b"before"


def test_a_trailers_checksum_is_its_objects(cloud: Cloud, s3: Any) -> None:
    content = b"content"
    upload = Upload(cloud, SIGNED_WITH_TRAILER, [content], checksum(content))
    assert upload.send(upload.body())[0] == 200
    told = s3.head_object(Bucket="drops", Key="chunks", ChecksumMode="ENABLED")
    assert told["ChecksumCRC32"] == checksum(content)["x-amz-checksum-crc32"]
    wrong = Upload(cloud, SIGNED_WITH_TRAILER, [content], checksum(b"another"))
    assert wrong.send(wrong.body())[1].startswith("BadDigest")
    changed = upload.body().replace(checksum(content)["x-amz-checksum-crc32"].encode(), b"AAAAAA==")
    assert upload.send(changed)[0] >= 400
    assert json.dumps(told["Metadata"]) == "{}"
