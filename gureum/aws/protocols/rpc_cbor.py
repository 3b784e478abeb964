"""The protocol smithy-rpc-v2-cbor: the path names service and operation, parameters and results are one CBOR map each.

Smithy: smithy.protocols#rpcv2Cbor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gureum.aws.protocols.cbor import CborWriters, decode_cbor, map_head, write_text
from gureum.aws.protocols.events import stream_serializer
from gureum.aws.protocols.faults import Fault, error_type, message_member, query_error_header, serialization_error
from gureum.aws.protocols.json_reader import JsonReaders
from gureum.aws.protocols.models import Member, Operation, ServiceModel
from gureum.aws.protocols.scalars import BadValue
from gureum.aws.protocols.typed import Refused, value_reader
from gureum.aws.protocols.wire import Encoded, Request, Response


class RpcCborCodec:
    """One service in smithy-rpc-v2-cbor; readers and writers are shared by its operations."""

    def __init__(self, service: ServiceModel, _protocol: str) -> None:
        self._service = service
        self._readers = JsonReaders(service, cbor=True)
        self._writers = CborWriters(service)

    def wire_name(self, _member: Member, default: str) -> str:
        return default

    def parser(self, operation: Operation) -> Callable[[Request], dict[str, Any]]:
        read = self._readers.whole(operation.input) if operation.input else _read_nothing

        def parse(request: Request) -> dict[str, Any]:
            try:
                found: dict[str, Any] = read(decode_cbor(request.body) if request.body else {})
            except BadValue as bad:
                raise serialization_error(bad.text) from bad
            return found

        return parse

    def quick_reader(self, operation: Operation) -> Callable[[Request], dict[str, Any]] | None:
        read = value_reader(self._service, operation)
        if read is None:
            return None

        def read_body(request: Request) -> dict[str, Any]:
            try:
                value = decode_cbor(request.body) if request.body else {}
            except BadValue as bad:
                raise Refused from bad
            return read(value)

        return read_body

    def serializer(self, operation: Operation) -> Callable[[dict[str, Any], str], Response]:
        if operation.output is None:
            return lambda _result, request_id: Response(
                200, {"smithy-protocol": "rpc-v2-cbor", "x-amzn-requestid": request_id}, b""
            )
        if stream := self._service.stream_member(operation.output.shape):
            return stream_serializer(stream, {"smithy-protocol": "rpc-v2-cbor"})
        write = self._writers.structure(operation.output.shape)

        def serialize(result: dict[str, Any], request_id: str) -> Response:
            parts: list[bytes] = []
            write(result, parts.append)
            return Response(200, _headers(request_id), b"".join(parts))

        return serialize

    def error(self, fault: Fault, request_id: str) -> Response:
        headers = _headers(request_id)
        if self._service.metadata.aws_query_compatible is not None:
            headers["x-amzn-query-error"] = query_error_header(fault)
        parts: list[bytes] = []
        _write_error(fault, error_type(fault, self._service), self._writers, parts.append)
        return Response(fault.status, headers, b"".join(parts))

    def pack(self, shape_name: str, value: dict[str, Any]) -> tuple[bytes, str]:
        return self._writers.dump(shape_name, value), "application/cbor"

    def encode(self, shape_name: str, value: dict[str, Any]) -> Encoded:
        return self._writers.encode(shape_name, value)


def plain_cbor_error(fault: Fault, request_id: str) -> Response:
    """An error of a service that could not be told."""
    parts: list[bytes] = []
    _write_error(fault, fault.name, None, parts.append)
    return Response(fault.status, _headers(request_id), b"".join(parts))


def _headers(request_id: str) -> dict[str, str]:
    return {"content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor", "x-amzn-requestid": request_id}


def _write_error(fault: Fault, kind: str, writers: CborWriters | None, out: Callable[[bytes], None]) -> None:
    """A map of `__type` and message, and the modelled members behind them."""
    head = write_text("__type") + write_text(kind) + write_text(message_member(fault)) + write_text(fault.message)
    fields = fault.fields if fault.shape is not None and writers is not None else {}
    rest = writers.members(fault.name, fields) if writers is not None and fields else b""
    out(map_head(2 + len(fields)) + head + rest)


def _read_nothing(value: Any) -> dict[str, Any]:
    if value.__class__ is not dict:
        raise BadValue("structure", text="The request body is not a CBOR map")
    return {}
