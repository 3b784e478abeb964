"""Faults: the words for malformed input, and how each protocol writes an error.

    ec2        <Response><Errors><Error><Code/><Message/></Error></Errors><RequestID/></Response>
    query      <ErrorResponse xmlns="…"><Error><Type/><Code/><Message/>…</Error><RequestId/></ErrorResponse>
    rest-xml   the same as query; S3: <Error><Code/><Message/>…<RequestId/></Error>
    json       {"__type": "…", "message": "…", …}; rest-json with x-amzn-errortype; cbor the same as CBOR

Services that once spoke query (CloudWatch, SQS) add x-amzn-query-error, so that clients see the code they always saw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gureum.aws.errors import AwsError
from gureum.aws.protocols.models import ServiceModel, Shape
from gureum.aws.protocols.scalars import BadValue
from gureum.aws.protocols.wire import Response, clean_header
from gureum.aws.protocols.xml_writer import XmlWriters, escape

XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
# Errors that the model knows by shape only, but clients of the former query API know by code. AWS: SQS, "Error
# responses" of its JSON protocol.
_QUERY_CODES = {
    "sqs": {
        "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDeletedRecently": "AWS.SimpleQueueService.QueueDeletedRecently",
        "QueueNameExists": "QueueAlreadyExists",
        "EmptyBatchRequest": "AWS.SimpleQueueService.EmptyBatchRequest",
        "BatchEntryIdsNotDistinct": "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        "BatchRequestTooLong": "AWS.SimpleQueueService.BatchRequestTooLong",
        "InvalidBatchEntryId": "AWS.SimpleQueueService.InvalidBatchEntryId",
        "TooManyEntriesInBatchRequest": "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        "MessageNotInflight": "AWS.SimpleQueueService.MessageNotInflight",
        "PurgeQueueInProgress": "AWS.SimpleQueueService.PurgeQueueInProgress",
        "UnsupportedOperation": "AWS.SimpleQueueService.UnsupportedOperation",
    }
}
# AWS: common errors; those that no service models.
_COMMON_STATUS = {
    "AccessDenied": 403,
    "AccessDeniedException": 403,
    "AuthFailure": 401,
    "UnauthorizedOperation": 403,
    "InvalidClientTokenId": 403,
    "SignatureDoesNotMatch": 403,
    "ExpiredToken": 403,
    "MissingAuthenticationToken": 403,
    "OptInRequired": 403,
    "InternalFailure": 500,
    "InternalError": 500,
    "InternalServerError": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
    "NotImplemented": 501,
    "RequestEntityTooLarge": 413,
}


class Fault(msgspec.Struct, frozen=True):
    """An error with all that a protocol may want to say. `name`: the shape's name, `code`: the wire code of XML
    protocols."""

    name: str
    code: str
    message: str
    status: int
    sender: bool
    shape: Shape | None
    fields: dict[str, Any]


def describe(error: AwsError, service: ServiceModel | None) -> Fault:
    """Joins an error with its model, if it has one."""
    name, shape = error.code, None
    if service is not None and error.code in service.errors_by_code:
        name = service.errors_by_code[error.code]
        shape = service.shape(name)
    trait = shape.error if shape is not None else None
    code = trait.code if trait is not None and trait.code else name
    if service is not None:
        code = _QUERY_CODES.get(service.name, {}).get(name, code)
    status = error.status or (trait.http_status_code if trait is not None else 0)
    if not status:
        status = 500 if shape is not None and shape.fault else _COMMON_STATUS.get(error.code, 400)
    sender = error.sender if error.sender is not None else status < 500
    return Fault(name, code, error.message, status, sender, shape, error.fields)


def refuse_query(bad: BadValue, *, ec2: bool) -> AwsError:
    """A query parameter that its shape does not allow."""
    if not ec2:
        return AwsError(
            "MalformedInput",
            _MALFORMED.get(bad.kind, "Unexpected value") if bad.kind != "integer" else _integer_text(bad),
        )
    if bad.kind == "unknown":
        return AwsError("UnknownParameter", f"The parameter {bad.name[:200]} is not recognized")
    if bad.value.__class__ is dict or bad.kind in ("structure", "list", "map"):
        return AwsError("InvalidParameterValue", f"The parameter {bad.name[:200]} has an invalid format.")
    expected = _EXPECTED.get(bad.kind, "")
    return AwsError(
        "InvalidParameterValue", f"Invalid value '{str(bad.value)[:200]}' for {bad.name[:200]}. {expected}".rstrip()
    )


def _integer_text(bad: BadValue) -> str:
    return f'For input string: "{str(bad.value)[:200]}"' if bad.value.__class__ is str else "Unexpected complex element"


_MALFORMED = {
    "boolean": "boolean must follow xsd1.1 definition",
    "structure": "Unexpected complex element termination",
    "list": "Unexpected list element termination",
    "map": "Unexpected map element termination",
    "unknown": "Key is not a number",
    "timestamp": "timestamp must follow ISO8601",
    "blob": "Invalid base64 data",
    "double": "Invalid number",
    "string": "Unexpected complex element",
}
_EXPECTED = {
    "integer": "It must be an integer.",
    "double": "It must be a number.",
    "boolean": "It must be true or false.",
    "timestamp": "It must be a time in the format YYYY-MM-DDTHH:MM:SSZ.",
    "blob": "It must be base64-encoded.",
}


def unknown_operation(operation: str, protocol: str, version: str = "") -> AwsError:
    """The service has no such operation."""
    if protocol in ("ec2", "query"):
        if not operation:
            return AwsError("MissingAction", "The request must contain the parameter Action")
        if protocol == "ec2":
            return AwsError("InvalidAction", f"The action {operation[:100]} is not valid for this web service.")
        return AwsError("InvalidAction", f"Could not find operation {operation[:100]} for version {version}")
    if protocol == "rest-xml":
        return AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", status=405)
    status = 404 if protocol == "rest-json" else 400
    return AwsError(
        "UnknownOperationException", f"There is no operation {operation[:100]}.".replace(" .", "."), status=status
    )


def ec2_error(fault: Fault, request_id: str) -> Response:
    """EC2 has no modelled errors, so there is nothing but code and message."""
    body = (
        f"{XML_HEAD}<Response><Errors><Error><Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message></Error></Errors>"
        f"<RequestID>{escape(request_id)}</RequestID></Response>"
    )
    return Response(
        fault.status, {"content-type": "text/xml;charset=UTF-8", "x-amzn-requestid": request_id}, body.encode()
    )


def query_error(fault: Fault, request_id: str, namespace: str, writers: XmlWriters | None) -> Response:
    """Also rest-xml's."""
    extra, sender = _xml_fields(fault, writers), "Sender" if fault.sender else "Receiver"
    body = (
        f'<ErrorResponse xmlns="{namespace}"><Error><Type>{sender}</Type><Code>{escape(fault.code)}</Code>'
        f"<Message>{escape(fault.message)}</Message>{extra}</Error><RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
    )
    return Response(fault.status, {"content-type": "text/xml", "x-amzn-requestid": request_id}, body.encode())


def s3_error(fault: Fault, request_id: str, writers: XmlWriters | None) -> Response:
    """S3's errors have no wrapper; `fields` outside of the model (Key, BucketName, Resource) are shown too."""
    extra = _xml_fields(fault, writers)
    body = (
        f"{XML_HEAD}<Error><Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message>{extra}"
        f"<RequestId>{escape(request_id)}</RequestId><HostId>{escape(request_id)}</HostId></Error>"
    )
    headers = {"content-type": "application/xml", "x-amz-request-id": request_id, "x-amz-id-2": request_id}
    return Response(fault.status, headers, body.encode())


def _xml_fields(fault: Fault, writers: XmlWriters | None) -> str:
    modelled = {
        name: value for name, value in fault.fields.items() if fault.shape is not None and name in fault.shape.members
    }
    others = "".join(
        f"<{name}>{escape(str(value))}</{name}>" for name, value in fault.fields.items() if name not in modelled
    )
    if not modelled or writers is None:
        return others
    return str(writers.encode(fault.name, modelled).data) + others


def json_fields(fault: Fault, convert: Callable[[dict[str, Any]], dict[str, Any]] | None) -> dict[str, Any]:
    """The body of a JSON or CBOR error without its `__type`."""
    fields = convert(fault.fields) if convert is not None and fault.fields else dict(fault.fields)
    return {message_member(fault): fault.message, **fields}


def message_member(fault: Fault) -> str:
    """`message` or `Message`, as the model has it."""
    if fault.shape is None:
        return "message"
    return next((name for name in fault.shape.members if name.lower() == "message"), "message")


def query_error_header(fault: Fault) -> str:
    """AWS: aws_query_compatible, x-amzn-query-error."""
    return f"{clean_header(fault.code)};{'Sender' if fault.sender else 'Receiver'}"


def serialization_error(text: str) -> AwsError:
    """JSON and CBOR services: the body is not what the model says. AWS (Coral): SerializationException, 400."""
    return AwsError("SerializationException", text, status=400)


def error_type(fault: Fault, service: ServiceModel) -> str:
    """`__type`: absolute in json 1.0 and cbor, the bare name in json 1.1. Clients look behind the `#`."""
    if service.metadata.json_version == "1.1":
        return fault.name
    if fault.shape is not None:
        return f"com.amazonaws.{service.name}#{fault.name}"
    return f"com.amazon.coral.{'validate' if fault.name == 'ValidationException' else 'service'}#{fault.name}"


def refuse_rest(bad: BadValue, *, xml: bool, s3: bool) -> AwsError:
    """A part of a REST request that its shape does not allow."""
    if bad.kind == "path":
        return unknown_operation("", "rest-xml" if xml else "rest-json")
    if not xml:
        return serialization_error(bad.text or f"{str(bad.value)[:200]!r} is not a valid {bad.kind}")
    if not s3:
        return AwsError("MalformedInput", bad.text or f"{str(bad.value)[:200]!r} is not a valid {bad.kind}")
    if bad.text or bad.path:
        return AwsError(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    return AwsError("InvalidArgument", f"Provided argument {str(bad.value)[:200]!r} is not a valid {bad.kind}")
