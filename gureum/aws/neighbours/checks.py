"""Parameters of calls to neighbours, held against the API's model: moto checks few, and fails where they are wrong."""

from __future__ import annotations

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request, compile_operation

CHECKED_BEFORE = frozenset({"dynamodb", "ecr", "events", "iam", "kinesis", "kms", "secretsmanager"})
"""Of whose calls it is known what AWS says to a parameter that is missing or of another type."""
WHOLLY_CHECKED = frozenset({"UploadServerCertificate", "UpdateServerCertificate"})
"""Of IAM: their names are parts of ARNs that others keep, and moto takes any."""
LIMIT_BYTES = 1024 * 1024
_MISSING = "Member must not be null"


def check(service: str, operation: str, protocol: str, request: Request) -> None:
    """Before moto is asked: operations that there are none of, what is no JSON, wrong types and missing members. Limits and patterns are moto's to
    tell, which knows those that hold. AWS: InvalidAction, UnknownOperationException, SerializationException, ValidationException."""
    if (
        service not in CHECKED_BEFORE
        or not protocol
        or (len(request.body) > LIMIT_BYTES and operation not in WHOLLY_CHECKED)
    ):
        return
    refused = fault_of(service, operation, protocol, request)
    if refused is None:
        return
    if operation in WHOLLY_CHECKED or not refused.code.startswith("Validation") or _MISSING in refused.message:
        raise refused


def fault_of(service: str, operation: str, protocol: str, request: Request) -> AwsError | None:
    """What is wrong with the parameters by the API's model; None when nothing is, or nobody can tell."""
    if not protocol or (not operation and protocol.startswith("rest")):
        return None
    try:
        compile_operation(service, operation, protocol).read(request)
    except AwsError as refused:
        return refused
    return None
