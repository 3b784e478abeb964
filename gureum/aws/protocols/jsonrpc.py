"""The protocols json 1.0 and 1.1: the operation is named in X-Amz-Target, parameters and results are one JSON object
each.

Smithy: aws.protocols#awsJson1_0, #awsJson1_1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gureum.aws.protocols.events import stream_serializer
from gureum.aws.protocols.faults import Fault, error_type, json_fields, query_error_header, serialization_error
from gureum.aws.protocols.json_reader import JsonReaders
from gureum.aws.protocols.json_writer import JsonWriters, encode_json
from gureum.aws.protocols.models import Member, Operation, ServiceModel
from gureum.aws.protocols.scalars import BadValue
from gureum.aws.protocols.typed import json_reader
from gureum.aws.protocols.wire import Encoded, Request, Response, clean_header

_decode = msgspec.json.Decoder().decode


class JsonCodec:
    """One service in json; readers and writers are shared by its operations."""

    def __init__(self, service: ServiceModel, protocol: str) -> None:
        self._service = service
        self._readers = JsonReaders(service)
        self._writers = JsonWriters(service, protocol)
        self._content_type = f"application/x-amz-json-{service.metadata.json_version}"

    def wire_name(self, member: Member, default: str) -> str:
        return member.location_name or default

    def parser(self, operation: Operation) -> Callable[[Request], dict[str, Any]]:
        read = self._readers.whole(operation.input) if operation.input else _read_nothing
        return lambda request: read_json(request.body, read)

    def quick_reader(self, operation: Operation) -> Callable[[Request], dict[str, Any]] | None:
        read = json_reader(self._service, operation)
        return None if read is None else lambda request: read(request.body or b"{}")

    def serializer(self, operation: Operation) -> Callable[[dict[str, Any], str], Response]:
        content_type = self._content_type
        if operation.output and (stream := self._service.stream_member(operation.output.shape)):
            return stream_serializer(stream)
        write = self._writers.structure(operation.output.shape) if operation.output else None

        def serialize(result: dict[str, Any], request_id: str) -> Response:
            body = encode_json(write(result)) if write is not None else b""
            return Response(200, {"content-type": content_type, "x-amzn-requestid": request_id}, body)

        return serialize

    def error(self, fault: Fault, request_id: str) -> Response:
        convert = self._writers.structure(fault.name) if fault.shape is not None else None
        body = {"__type": error_type(fault, self._service), **json_fields(fault, convert)}
        headers = {"content-type": self._content_type, "x-amzn-requestid": request_id}
        if self._service.metadata.aws_query_compatible is not None:
            headers["x-amzn-query-error"] = query_error_header(fault)
        return Response(fault.status, headers, encode_json(body))

    def pack(self, shape_name: str, value: dict[str, Any]) -> tuple[bytes, str]:
        return encode_json(self._writers.structure(shape_name)(value)), "application/json"

    def encode(self, shape_name: str, value: dict[str, Any]) -> Encoded:
        return self._writers.encode(shape_name, value)


def read_json(body: bytes, read: Callable[[Any], Any]) -> Any:
    """Decodes and reads; an empty body is an empty object. Raises AwsError SerializationException."""
    try:
        return read(_decode(body) if body else {})
    except BadValue as bad:
        raise serialization_error(bad.text) from bad
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise serialization_error("Could not parse request body into json") from error
    except RecursionError as error:
        raise serialization_error("The request body nests too deep") from error


def plain_json_error(fault: Fault, request_id: str) -> Response:
    """An error of a service that could not be told."""
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "x-amzn-requestid": request_id,
        "x-amzn-errortype": clean_header(fault.name),
    }
    return Response(fault.status, headers, encode_json({"__type": fault.name, **json_fields(fault, None)}))


def _read_nothing(value: Any) -> dict[str, Any]:
    if value.__class__ is not dict:
        raise BadValue("structure", text="The request body is not a JSON object")
    return {}
