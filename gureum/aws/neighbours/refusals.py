"""What moto would do and a local cloud must not: send to addresses outside, or pretend that a program ran. Such calls are refused by name. And what
S3 refuses and moto has no answer to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request
from gureum.base.numerals import natural

QUEUE_ATTRIBUTES = frozenset(
    (
        "ContentBasedDeduplication",
        "DeduplicationScope",
        "DelaySeconds",
        "FifoQueue",
        "FifoThroughputLimit",
        "KmsDataKeyReusePeriodSeconds",
        "KmsMasterKeyId",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "Policy",
        "ReceiveMessageWaitTimeSeconds",
        "RedriveAllowPolicy",
        "RedrivePolicy",
        "SqsManagedSseEnabled",
        "VisibilityTimeout",
    )
)
"""AWS: SQS CreateQueue and SetQueueAttributes. moto takes others, and forgets them."""
QUEUE_RANGES = {
    "DelaySeconds": (0, 900),
    "KmsDataKeyReusePeriodSeconds": (60, 86400),
    "MaximumMessageSize": (1024, 1048576),
    "MessageRetentionPeriod": (60, 1209600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43200),
}
_DESTINATION = re.compile(
    rb"<(?:Queue|Topic|CloudFunction|[A-Za-z]+Arn)>\s*arn:[^:<]*:(sqs|sns|lambda):([^:<]*):(\d{12}):([^<\s]+)\s*<"
)
_Absent = dict[str, tuple[str, ...]]
OF_BUCKETS: _Absent = {
    **dict.fromkeys(("abac", "analytics", "intelligent-tiering", "metrics", "requestPayment", "session"), ()),
    **dict.fromkeys(("metadataConfiguration", "metadataTable"), ()),
    **dict.fromkeys(("metadataAnnotationTable", "metadataInventoryTable", "metadataJournalTable"), ()),
    "inventory": ("DELETE",),
}
OF_OBJECTS: _Absent = {
    **dict.fromkeys(("annotation", "renameObject", "select", "torrent"), ()),
    "encryption": ("PUT",),
    "retention": ("GET",),
}
"""AWS: subresources of S3's operations that moto does not look at, with the methods; () all."""
REFUSED = {"s3": frozenset({"SelectObjectContent"})}
"""Operations that moto has methods for, and are refused all the same: AWS gives S3 Select to no new customers."""
_NUMBERED = re.compile(r"(Attribute\.\d{1,3})\.Name")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def refuse(service: str, operation: str, request: Request) -> None:
    """NotImplemented for what is not answered."""
    if service == "sns" and operation == "Subscribe":
        protocol, endpoint = (parameter(request, name) for name in ("Protocol", "Endpoint"))
        if protocol in ("http", "https") and urlsplit(endpoint).hostname not in LOOPBACK:
            raise _not_built("Subscriptions of SNS to addresses other than loopback")
        if protocol in ("lambda", "firehose", "sms", "email", "email-json", "application"):
            raise _not_built(f"Subscriptions of SNS with protocol {protocol}")
    if service == "sns" and operation == "Publish" and parameter(request, "PhoneNumber"):
        raise _not_built("Messages of SNS to telephones")
    if service == "sqs" and operation in ("CreateQueue", "SetQueueAttributes"):
        _refuse_attributes(_attributes(request))


def _attributes(request: Request) -> dict[str, Any]:
    """Of a queue, in JSON or in a form."""
    found = parameters(request)
    named = found.get("Attributes")
    if isinstance(named, dict):
        return named
    numbered = (_NUMBERED.fullmatch(name) for name in found)
    return {str(found[one[0]]): found.get(f"{one[1]}.Value") for one in numbered if one is not None}


def _refuse_attributes(named: dict[str, Any]) -> None:
    """AWS: SQS SetQueueAttributes, InvalidAttributeName and InvalidAttributeValue."""
    for name, value in named.items():
        if name not in QUEUE_ATTRIBUTES:
            raise AwsError("InvalidAttributeName", f"Unknown Attribute {name}.", status=400)
        least, most = QUEUE_RANGES.get(name, (0, 0))
        number = natural(str(value))
        wrong = name in QUEUE_RANGES and (number is None or not least <= number <= most)
        if wrong or (name == "Policy" and value and not _is_object(value)):
            raise AwsError("InvalidAttributeValue", f"Invalid value for the parameter {name}.", status=400)
        if name == "RedrivePolicy" and value:
            _refuse_redrive(value)


def _refuse_redrive(value: Any) -> None:
    text = f"Value {value} for parameter RedrivePolicy is invalid. Reason: "
    if not _is_object(value):
        raise AwsError("InvalidParameterValue", f"{text}Redrive policy is not a valid JSON map.", status=400)
    policy = json.loads(value)
    for name in ("maxReceiveCount", "deadLetterTargetArn"):
        if name not in policy:
            why = f"Redrive policy does not contain mandatory attribute: {name}."
            raise AwsError("InvalidParameterValue", text + why, status=400)
    count = natural(str(policy["maxReceiveCount"]))
    if count is None or not 1 <= count <= 1000:
        why = "Invalid value for maxReceiveCount: "
        raise AwsError("InvalidParameterValue", f"{text}{why}{policy['maxReceiveCount']}.", status=400)


def _is_object(value: Any) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except (TypeError, ValueError, RecursionError):
        return False


def missing_destination(
    service: str, request: Request, is_there: Callable[[str, str, str, str], bool]
) -> AwsError | None:
    """A bucket's events are sent to what there is; functions there are none of. `is_there`: service, account, region, ARN. AWS: S3
    PutBucketNotificationConfiguration, InvalidArgument; not with "x-amz-skip-destination-validation"."""
    named = {part.partition("=")[0] for part in request.query.split("&")}
    if service != "s3" or request.method != "PUT" or "notification" not in named:
        return None
    if request.headers.get("x-amz-skip-destination-validation", "").lower() == "true":
        return None
    for found in _DESTINATION.finditer(request.body):
        kind, region, account, name = (part.decode("latin-1") for part in found.groups())
        if kind == "lambda" or not is_there(kind, account, region, f"arn:aws:{kind}:{region}:{account}:{name}"):
            text = "Unable to validate the following destination configurations"
            return AwsError("InvalidArgument", text, status=400)
    return None


def taken_name(request: Request, users: Collection[str]) -> AwsError | None:
    """A user's name that another has: with moto the other was gone. Asked of live calls only: journals of before hold such. AWS: IAM UpdateUser,
    EntityAlreadyExists."""
    name = parameter(request, "NewUserName")
    if name == parameter(request, "UserName") or name not in users:
        return None
    return AwsError("EntityAlreadyExists", f"User with name {name} already exists.", status=409)


def refuse_post(operation: str, path: str, request: Request) -> None:
    """S3 knows no POST but its operations and, to a bucket, browsers' forms. `path`: with the bucket."""
    if request.method != "POST":
        return
    bucket, _, key = path.removeprefix("/").partition("/")
    query = {part.partition("=")[0] for part in request.query.split("&")}
    if not bucket or (key and operation in ("", "CompleteMultipartUpload") and "uploadId" not in query):
        text = "The specified method is not allowed against this resource."
        raise AwsError("MethodNotAllowed", text, status=405)
    if not key and not operation and "multipart/form-data" not in request.headers.get("content-type", ""):
        text = "At least one of the pre-conditions you specified did not hold"
        raise AwsError("PreconditionFailed", text, status=412)


def refuse_subresource(operation: str, path: str, request: Request) -> None:
    """What moto does not know of a bucket or an object: it would take the call for one to the bucket or the object itself, and delete that, or write
    over it. `path`: with the bucket."""
    bucket, _, key = path.removeprefix("/").partition("/")
    if not bucket or not request.query:
        return
    named = {unquote(part.partition("=")[0]) for part in request.query.split("&")}
    absent = OF_OBJECTS if key else OF_BUCKETS
    for name in named & absent.keys():
        if request.method in (absent[name] or (request.method,)):
            text = f"{operation or request.method} of S3 (?{name}) is not built."
            raise AwsError("NotImplemented", text, status=501)


def refuse_policy(operation: str, request: Request) -> None:
    """moto takes any text for a bucket's policy, and fails with each later call to its objects. AWS: MalformedPolicy."""
    if operation != "PutBucketPolicy":
        return
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        text = "Policies must be valid JSON and the first byte must be '{'"
        raise AwsError("MalformedPolicy", text, status=400)
    statements = document.get("Statement")
    several = statements if isinstance(statements, list) else [statements]
    if not all(isinstance(one, dict) for one in several):
        raise AwsError("MalformedPolicy", "Missing required field Statement", status=400)


def parameter(request: Request, name: str) -> str:
    """A top-level text parameter of a request in JSON or form; "" when there is none."""
    return str(parameters(request).get(name, ""))


def parameters(request: Request) -> dict[str, Any]:
    """Top-level parameters of a request in JSON or form; forms keep the last value. {} when the body is neither, or has more fields than any call."""
    if "json" in request.headers.get("content-type", ""):
        try:
            found = json.loads(request.body or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
    text = f"{request.query}&{request.body.decode('latin-1')}"
    try:
        found = parse_qs(text, keep_blank_values=True, max_num_fields=50_000)
    except ValueError:
        return {}
    return {key: values[-1] for key, values in found.items()}


def _not_built(what: str) -> AwsError:
    return AwsError("NotImplemented", f"{what} are not built.", status=501)
