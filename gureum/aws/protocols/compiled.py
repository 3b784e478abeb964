"""Compiled operations: all that one operation needs in one protocol, made from the model on its first call and kept.

compiled = compile_operation("ec2", "DescribeVpcs", "ec2")
params = compiled.read(request)
response = compiled.serialize(result, request_id)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

from gureum.aws.errors import AwsError
from gureum.aws.protocols.events import encode_event, encode_exception
from gureum.aws.protocols.faults import Fault, describe, ec2_error, query_error, s3_error, unknown_operation
from gureum.aws.protocols.jsonrpc import JsonCodec, plain_json_error
from gureum.aws.protocols.models import Member, Operation, ServiceModel, load_service
from gureum.aws.protocols.query import QueryCodec
from gureum.aws.protocols.rest import RestCodec
from gureum.aws.protocols.rpc_cbor import RpcCborCodec, plain_cbor_error
from gureum.aws.protocols.typed import Refused
from gureum.aws.protocols.validate import Validate, compile_validator
from gureum.aws.protocols.wire import Encoded, Request, Response

Parse = Callable[[Request], dict[str, Any]]
Quick = Callable[[Request], dict[str, Any]]
Serialize = Callable[[dict[str, Any], str], Response]
QUICK_FROM = 5
"""The call of an operation from which on it is read the quick way."""


class Codec(Protocol):
    """One service in one protocol."""

    def parser(self, operation: Operation) -> Parse: ...
    def quick_reader(self, operation: Operation) -> Quick | None: ...
    def serializer(self, operation: Operation) -> Serialize: ...
    def error(self, fault: Fault, request_id: str) -> Response: ...
    def encode(self, shape_name: str, value: dict[str, Any]) -> Encoded: ...
    def pack(self, shape_name: str, value: dict[str, Any]) -> tuple[bytes, str]: ...
    def wire_name(self, member: Member, default: str) -> str: ...


class Compiled:
    """`read(request)`: `parse` and `validate`, in one pass where that can be. `parse(request)`: botocore's member names,
    only what was given; blobs are bytes, timestamps aware datetimes in UTC, documents plain JSON values. Raises AwsError
    for input that is not well-formed. `validate(params)`: raises AwsError where the model's constraints fail.
    `serialize(result, request_id)`: members that are None are left out; timestamps may be datetimes or Unix seconds; an
    `Encoded` may stand for a structure. A result that does not fit its shape is our own mistake and raises TypeError."""

    def __init__(self, service: ServiceModel, protocol: str, operation: Operation, codec: Codec) -> None:
        self.service = service.name
        self.protocol = protocol
        self.operation = operation.name
        self.output_shape = operation.output.shape if operation.output else ""
        self.stream = service.stream_member(self.output_shape) if self.output_shape else ""
        self._model = service
        self._codec = codec
        self._described = operation
        self._reads = 0
        self._quick: Quick | None = None
        self.parse: Parse = codec.parser(operation)
        self.validate: Validate = compile_validator(service, operation.input, protocol, codec.wire_name)
        self.serialize: Serialize = codec.serializer(operation)

    def read(self, request: Request) -> dict[str, Any]:
        """The parameters, checked. The quick way costs some milliseconds to make and is made for operations that are called again."""
        self._reads += 1
        if self._reads == QUICK_FROM:
            self._quick = self._codec.quick_reader(self._described)
        if self._quick is not None:
            try:
                return self._quick(request)
            except Refused:
                pass  # the long way says why, or takes it
        params = self.parse(request)
        self.validate(params)
        return params

    def serialize_error(self, error: AwsError, request_id: str) -> Response:
        return self._codec.error(describe(error, self._model), request_id)

    def event(self, name: str, value: dict[str, Any]) -> bytes:
        """A frame of the operation's event stream: event `name` (a member of the stream's shape), or "initial-response"
        with the result's other members, which in json and cbor comes first."""
        if name == "initial-response":
            return encode_event(name, *self._codec.pack(self.output_shape, value)[::-1])
        stream = self._model.shape(self._model.shape(self.output_shape).members[self.stream].shape)
        shape_name = stream.members[name].shape
        shape = self._model.shape(shape_name)
        for member, traits in shape.members.items():
            if traits.eventpayload and isinstance(value.get(member), bytes):
                return encode_event(name, "application/octet-stream", value[member])
        payload, content_type = self._codec.pack(shape_name, value)
        encode = encode_exception if shape.exception else encode_event
        return encode(name, content_type, payload)

    def encoder(self, shape_name: str) -> Callable[[dict[str, Any]], Encoded]:
        """Writes a structure of `shape_name` once, to be given out many times."""
        return functools.partial(self._codec.encode, shape_name)


@functools.cache
def codec_of(service: str, protocol: str) -> Codec:
    """Cached. KeyError for a protocol that is none."""
    model = load_service(service)
    return _CODECS[protocol](model, protocol)


def compile_operation(service: str, operation: str, protocol: str) -> Compiled:
    """Cached; a few hundred microseconds when new. Raises AwsError in the protocol's own words when the service has no
    such operation."""
    model = load_service(service)
    if operation not in model.operations or protocol not in _CODECS:
        raise unknown_operation(operation, protocol, model.metadata.api_version)
    return _compile(service, operation, protocol)


@functools.cache
def _compile(service: str, operation: str, protocol: str) -> Compiled:
    model = load_service(service)
    return Compiled(model, protocol, model.operations[operation], codec_of(service, protocol))


def error_response(service: str | None, protocol: str, error: AwsError, request_id: str) -> Response:
    """An error before any operation is known. `service`: None when that is unknown too."""
    if service is not None and protocol in _CODECS:
        return codec_of(service, protocol).error(describe(error, load_service(service)), request_id)
    fault = describe(error, None)
    if protocol == "ec2":
        return ec2_error(fault, request_id)
    if protocol == "rest-xml":
        return s3_error(fault, request_id, None)
    if protocol in ("json", "rest-json"):
        return plain_json_error(fault, request_id)
    if protocol == "smithy-rpc-v2-cbor":
        return plain_cbor_error(fault, request_id)
    return query_error(fault, request_id, "http://webservices.amazon.com/AWSFault/2005-15-09", None)


_CODECS: dict[str, Callable[[ServiceModel, str], Codec]] = {
    "ec2": QueryCodec,
    "query": QueryCodec,
    "json": JsonCodec,
    "smithy-rpc-v2-cbor": RpcCborCodec,
    "rest-json": RestCodec,
    "rest-xml": RestCodec,
}
