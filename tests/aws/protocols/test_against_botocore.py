"""botocore as the independent opinion on the wire: what its clients send we must read, what we write its clients must
read.

Parameters and results are random, made from botocore's own view of the model, so that no code of ours decides what is
tested.
"""

from __future__ import annotations

import functools
import random
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize
import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ParamValidationError
from botocore.utils import is_json_value_header

from gureum.aws.protocols import Request, Response, Target, compile_operation, identify, service_index
from gureum.aws.protocols.models import service_protocols

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
WILD = LETTERS + " &<>\"'/+%=;:?#\n\t가é\u2028\U0001f600"
MAX_DEPTH = 4


@functools.cache
def model_of(service: str) -> botocore.model.ServiceModel:
    data = botocore.loaders.Loader().load_service_model(service, "service-2")
    return botocore.model.ServiceModel(data, service)


class Maker:
    """Random values of shapes. `direction`: "input" or "output"; `wire`: the protocol, which limits what can be
    carried."""

    def __init__(self, seed: int, direction: str, wire: str) -> None:
        self.random = random.Random(seed)
        self.direction = direction
        self.wire = wire

    def structure(self, shape: Any, depth: int = 0, *, top: bool = False) -> dict[str, Any]:
        members = dict(shape.members)
        names = list(members)
        if getattr(shape, "is_tagged_union", False):
            names = [self.random.choice(names)]
        made = {}
        for name in names:
            member = members[name]
            wanted = top and (name in shape.required_members or member.serialization.get("location") == "uri")
            if not wanted and depth and not getattr(shape, "is_tagged_union", False) and self.random.random() < 0.4:
                continue
            if member.serialization.get("eventstream") or not self.fits(member, depth):
                continue
            value = self.value(member, depth + 1, location=member.serialization.get("location", "") if top else "")
            if value is not None:
                made[name] = value
        return made

    def fits(self, shape: Any, depth: int) -> bool:
        """Deep recursion is cut where a member can be left out."""
        return depth < MAX_DEPTH or shape.type_name not in ("structure", "list", "map")

    def value(self, shape: Any, depth: int, location: str = "") -> Any:
        kind = shape.type_name
        if kind == "structure":
            if shape.is_document_type:
                return {"a": [1, "b", None, 2.5, {"c": True}]}
            if getattr(shape, "is_tagged_union", False) and not any(
                self.fits(one, depth) for one in shape.members.values()
            ):
                return None
            # Query has no way to say "an empty structure", and unions have no empty form.
            made = self.structure(shape, depth)
            can_be_empty = self.wire not in ("query", "ec2") or self.direction == "output"
            return made if made or (can_be_empty and not getattr(shape, "is_tagged_union", False)) else None
        if kind == "list":
            items = [self.value(shape.member, depth + 1, location) for _ in range(self.random.randint(1, 3))]
            return [item for item in items if item is not None] or None
        if kind == "map":
            keys = {self.text(shape.key, location or "key") for _ in range(self.random.randint(1, 2))}
            if location == "headers":
                keys = {key.lower() for key in keys}
            made = {key: self.value(shape.value, depth + 1, location) for key in keys}
            return {key: value for key, value in made.items() if value is not None} or None
        if is_json_value_header(shape):
            return {"json": [1, "x"]} if location == "header" else self.text(shape, location)
        return getattr(self, f"_{kind}", self.text)(shape, location)

    def text(self, shape: Any, location: str = "") -> str:
        if getattr(shape, "enum", None):
            return self.random.choice(shape.enum)
        alphabet = LETTERS if location in ("header", "headers", "key") else WILD
        text = "".join(self.random.choice(alphabet) for _ in range(self.random.randint(1, 12)))
        # A dot segment is not a name in a path; an XML body may lose spaces at its ends nowhere, a header does.
        return text.strip(". ") or "x" if location in ("uri", "header", "headers", "key") else text

    _string = _character = text

    def _boolean(self, shape: Any, location: str) -> bool:
        return self.random.random() < 0.5

    def _integer(self, shape: Any, location: str) -> int:
        return (
            200
            if location == "statusCode"
            else self.random.choice((0, 1, -1, 2**31 - 1, -(2**31), self.random.randint(0, 10000)))
        )

    def _long(self, shape: Any, location: str) -> int:
        return self.random.choice((0, 2**63 - 1, -(2**63), self.random.randint(-(10**12), 10**12)))

    def _float(self, shape: Any, location: str) -> float:
        return self.random.choice((0.0, 0.5, -1.25, 1e10, 3.0))

    def _double(self, shape: Any, location: str) -> float:
        return self.random.choice((0.0, 0.1, -1.5, 1e100, 1e-7, self.random.random()))

    def _blob(self, shape: Any, location: str) -> bytes:
        raw = self.random.randbytes(self.random.randint(1, 20))
        # botocore takes a payload that is not a stream as text.
        return raw if self.direction == "input" else raw.hex().encode()

    def _timestamp(self, shape: Any, location: str) -> datetime:
        when = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=self.random.randint(0, 10**9))
        form = shape.serialization.get("timestampFormat", "")
        return (
            when
            if location == "header" or form == "rfc822"
            else when + timedelta(milliseconds=self.random.choice((0, 1, 250, 999)))
        )


def send(service: str, operation: str, protocol: str, params: dict[str, Any]) -> Request:
    """What botocore's client sends for `params`."""
    model = model_of(service)
    made = botocore.serialize.create_serializer(protocol, include_validation=False).serialize_to_request(
        params, model.operation_model(operation)
    )
    path, _, literals = made["url_path"].partition("?")
    request = AWSRequest(
        method=made["method"],
        url=f"https://localhost{path}" + (f"?{literals}" if literals else ""),
        headers=made["headers"],
        data=made["body"],
        params=made["query_string"] or None,
    ).prepare()
    url = urlsplit(request.url)
    body = request.body or b""
    signing = model.signing_name
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else str(value)
        for name, value in request.headers.items()
    }
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240101/us-east-1/{signing}/aws4_request, SignedHeaders=host, Signature=0"
    )
    return Request(
        request.method, url.path, url.query, headers, body.encode() if isinstance(body, str) else bytes(body)
    )


def receive(service: str, operation: str, protocol: str, response: Response) -> dict[str, Any]:
    """What botocore's client makes of `response`, without the metadata it adds."""
    shape = model_of(service).operation_model(operation).output_shape
    parsed = botocore.parsers.create_parser(protocol).parse(
        {"body": response.body, "headers": _Headers(response.headers), "status_code": response.status}, shape
    )
    parsed.pop("ResponseMetadata", None)
    return parsed


class _Headers(dict):  # type: ignore[type-arg]
    """Names in any case, as HTTP has them."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


def streams(service: str, operation: str) -> bool:
    model = model_of(service).operation_model(operation)
    return bool(model.has_event_stream_input or model.has_event_stream_output)


def normal(value: Any) -> Any:
    """Comparable: datetimes in UTC; structures that are empty or None are the same as nothing."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [normal(item) for item in value]
    return value


SERVICES = [
    "apigatewayv2",
    "autoscaling",
    "cloudformation",
    "cloudfront",
    "cloudwatch",
    "dynamodb",
    "ec2",
    "ecr",
    "ecs",
    "efs",
    "eks",
    "elb",
    "elbv2",
    "events",
    "iam",
    "kms",
    "lambda",
    "logs",
    "route53",
    "s3",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "stepfunctions",
    "sts",
]

# What cannot be told apart on one host: same signing name and same paths, targets or versions as another service.
SHARED = frozenset(
    [
        "bedrock-agent-runtime",
        "bedrock-data-automation",
        "chime-sdk-media-pipelines",
        "chime-sdk-meetings",
        "chime-sdk-messaging",
        "chime-sdk-voice",
        "docdb",
        "greengrassv2",
        "ivs-realtime",
        "lambda-microvms",
        "lexv2-models",
        "neptune",
        "pinpoint-sms-voice",
        "qconnect",
        "signer-data",
        "timestream-write",
    ]
)

# Deprecated operations in the same place as their successors, which are what a request is taken for.
S3_TWINS = {
    "GetBucketLifecycle",
    "GetBucketNotification",
    "ListDirectoryBuckets",  # ListBuckets on another host
    "PutBucketLifecycle",
    "PutBucketNotification",
}
SIGNED_ELSEWHERE = {
    "CopyDBClusterSnapshot",
    "CopyDBSnapshot",
    "CreateDBCluster",
    "CreateDBInstanceReadReplica",
    "StartDBInstanceAutomatedBackupsReplication",
}
# Quirks of the client, not of the wire.
QUIRKS = {
    # S3's Expires is text in the model and a time in botocore's amendments to it.
    ("s3", "in"): {"CopyObject", "CreateMultipartUpload", "PutObject", "WriteGetObjectResponse", *S3_TWINS},
    # Two members with one element name, left from the first version of the API.
    ("s3", "out"): {"GetBucketNotification"},
    # SourceRegion is an amendment of botocore's, used to sign and never sent.
    **{(name, "in"): SIGNED_ELSEWHERE for name in ("rds", "docdb", "neptune")},
    # All headers of the response are a member.
    ("dataexchange", "out"): {"SendApiAsset"},
}
# botocore knows SQS's query form no more: it looks for the members outside of the result's wrapper.
UNREADABLE = {("sqs", "query")}


def _cases(names: list[str]) -> list[tuple[str, str]]:
    return [(name, protocol) for name in names for protocol in service_protocols(name, service_index()[name])]


def _operations(service: str) -> list[str]:
    return [name for name in model_of(service).operation_names if not streams(service, name)]


def check_requests(service: str, protocol: str, seed: int = 0) -> list[str]:
    """What botocore sends and we read differently, an operation per line."""
    faults = []
    for operation in _operations(service):
        shape = model_of(service).operation_model(operation).input_shape
        maker = Maker(zlib.crc32(f"{service}{operation}{seed}".encode()), "input", protocol)
        params = maker.structure(shape, top=True) if shape is not None else {}
        try:
            request = send(service, operation, protocol, params)
        except ParamValidationError:
            continue  # a random host label that botocore itself refuses
        if operation in QUIRKS.get((service, "in"), ()):
            continue
        target = identify(request)
        if target != Target(service, protocol, operation) and service not in SHARED:
            faults.append(f"{operation}: taken for {target}")
        else:
            read = normal(compile_operation(service, operation, protocol).parse(request))
            if read != normal(params):
                faults.append(f"{operation}: {normal(params)} read as {read}")
    return faults


def check_responses(service: str, protocol: str, seed: int = 0) -> list[str]:
    """What we write and botocore reads differently, an operation per line."""
    faults = []
    for operation in _operations(service):
        shape = model_of(service).operation_model(operation).output_shape
        maker = Maker(zlib.crc32(f"{service}{operation}{seed}".encode()), "output", protocol)
        result = maker.structure(shape, top=True) if shape is not None else {}
        response = compile_operation(service, operation, protocol).serialize(result, "request-1")
        if operation in QUIRKS.get((service, "out"), ()) or (service, protocol) in UNREADABLE:
            continue
        seen = receive(service, operation, protocol, response)
        payload = shape.serialization.get("payload") if shape is not None else None
        if payload in result and isinstance(result[payload], bytes):
            seen[payload] = seen[payload].encode()
        if normal(seen) != normal(result):
            faults.append(f"{operation}: {normal(result)} seen as {normal(seen)}")
    return faults


@pytest.mark.parametrize(("service", "protocol"), _cases(SERVICES))
def test_what_botocore_sends_is_read(service: str, protocol: str) -> None:
    assert check_requests(service, protocol) == []


@pytest.mark.parametrize(("service", "protocol"), _cases(SERVICES))
def test_what_is_written_botocore_reads(service: str, protocol: str) -> None:
    assert check_responses(service, protocol) == []


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("service", sorted(service_index()))
def test_every_service_of_aws_goes_to_and_fro(service: str, seed: int) -> None:
    for _, protocol in _cases([service]):
        assert check_requests(service, protocol, seed) == []
        assert check_responses(service, protocol, seed) == []
