"""Where moto's answer differs from AWS's in a way that clients stumble over: its body is mended on the way out, and its failure is the error that AWS
answers."""

from __future__ import annotations

import json
import re

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request

WITH_QUEUE_URLS = frozenset({"CreateQueue", "GetQueueUrl", "ListQueues", "ListDeadLetterSourceQueues"})


OF_OBJECTS = {"content-type": "x-gureum-content-type", "content-encoding": "x-gureum-content-encoding"}
"""Headers that say what an object is → their names on the way to moto (front.py, overrides.py)."""
BY_ID_ALONE = frozenset({"EnableKey", "DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion"})
OPERATION, BY_ADDRESS = "x-gureum-operation", "-"
"""A header that tells moto the operation that the call was taken for (front.py, overrides.py); or that its address tells it."""
PRIVATE = b"<PrivateZone>true</PrivateZone>"
_PRIVATE = re.compile(rb"<PrivateZone>\s*true")
_NO_REPOSITORY = re.compile(r"Exception: (.+) is not a repository")
_IN_PARTIQL = frozenset({"ExecuteStatement", "ExecuteTransaction", "BatchExecuteStatement"})
_OF_UPLOADS = frozenset({"CompleteMultipartUpload", "UploadPart", "UploadPartCopy"})


def error_of(
    service: str, operation: str, method: str, failed: str, fault: AwsError | None = None, *, account: str = ""
) -> AwsError:
    """What a failure of moto means. Clients make a call again that has failed with 500, and none that has failed with these. `fault`: what is wrong
    with the call's parameters (checks.py)."""
    if missing := _missing(service, operation, failed, account):
        return missing
    if service == "s3" and operation in _OF_UPLOADS and failed.startswith("KeyError"):
        text = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
        return AwsError("NoSuchUpload", text, status=404)
    if service == "s3" and (
        failed.startswith("ExpatError") or (fault is not None and fault.code.startswith("Validation"))
    ):
        text = "The XML you provided was not well-formed or did not validate against our published schema"
        return AwsError("MalformedXML", text, status=400)
    if fault is not None:
        return fault
    if service == "sqs" and failed.startswith("ValueError: invalid literal for int()"):
        return AwsError("InvalidAttributeValue", "Invalid value for a parameter that is a number.", status=400)
    return AwsError("InternalFailure", f"moto failed in {operation or method}: {failed}", status=500)


def _missing(service: str, operation: str, failed: str, account: str) -> AwsError | None:
    """Where moto fails at what is not there."""
    if service == "ecr" and (found := _NO_REPOSITORY.fullmatch(failed)):
        text = f"The repository with name '{found[1]}' does not exist in the registry with id '{account}'"
        return AwsError("RepositoryNotFoundException", text, status=400)
    if service == "dynamodb" and operation in _IN_PARTIQL and failed.startswith("KeyError: "):
        return AwsError("ResourceNotFoundException", "Requested resource not found", status=400)
    if service == "kms" and failed.startswith("KeyError: "):
        name = failed.removeprefix("KeyError: ").strip("'")
        text = "Invalid keyId" if name == "None" else f"Key '{name}' does not exist"
        return AwsError("NotFoundException", text, status=400)
    if operation == "RemoveRoleFromInstanceProfile" and failed.startswith("ValueError"):
        return AwsError("NoSuchEntity", "The role is not in the instance profile.", status=404)
    if service == "s3" and operation == "DeleteObjectTagging" and "'NoneType'" in failed:
        return AwsError("NoSuchKey", "The specified key does not exist.", status=404)
    return None


def prepared(service: str, operation: str, account: str, region: str, body: bytes) -> bytes:
    """The body that moto gets. AWS: a hosted zone that is made with a VPC is a private one, be that said or not; moto forgets the VPC. A key is
    named by its ARN as well as by its id; moto knows some operations' keys by their ids alone."""
    if service == "kms" and operation in BY_ID_ALONE:
        return re.sub(rb'"arn:[a-z-]+:kms:%b:%b:key\\?/([\w-]+)"' % (region.encode(), account.encode()), rb'"\1"', body)
    if service != "route53" or operation != "CreateHostedZone" or b"<VPC>" not in body or _PRIVATE.search(body):
        return body
    if b"<HostedZoneConfig>" in body:
        said = re.sub(rb"<PrivateZone>\s*\w*\s*</PrivateZone>", b"", body)
        return said.replace(b"<HostedZoneConfig>", b"<HostedZoneConfig>" + PRIVATE, 1)
    config = b"<HostedZoneConfig>" + PRIVATE + b"</HostedZoneConfig>"
    return body.replace(b"</CreateHostedZoneRequest>", config + b"</CreateHostedZoneRequest>", 1)


def mend(service: str, operation: str, region: str, request: Request, body: bytes) -> bytes:
    """The body to be sent. Queues' URLs lead here, since clients call a queue by the URL that they were given; policies in queues' attributes
    have no spaces, since Terraform compares them as texts; times are whole seconds, as programs read them."""
    if service != "sqs":
        return body
    host = request.headers.get("host")
    if operation in WITH_QUEUE_URLS and host:
        return body.replace(f"https://sqs.{region}.amazonaws.com/".encode(), f"http://{host}/".encode())
    if operation == "GetQueueAttributes" and body.startswith(b"{"):
        found = json.loads(body)
        for name, value in found.get("Attributes", {}).items():
            if name.startswith("Redrive") and isinstance(value, str):
                found["Attributes"][name] = json.dumps(json.loads(value), separators=(",", ":"))
            if name.endswith("Timestamp"):
                found["Attributes"][name] = str(value).partition(".")[0]
        return json.dumps(found).encode()
    return body
