"""The protocols rest-json and rest-xml: members live in path, query string, headers, status and body.

    POST /2015-03-31/functions/{FunctionName}/invocations?Qualifier=1     uri and querystring members
    X-Amz-Invocation-Type: Event                                          header members
    …                                                                     the payload, or the members that are left

Smithy: aws.protocols#restJson1, #restXml and the HTTP binding traits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from gureum.aws.errors import AwsError
from gureum.aws.protocols.events import CONTENT_TYPE
from gureum.aws.protocols.faults import (
    XML_HEAD,
    Fault,
    json_fields,
    query_error,
    refuse_rest,
    s3_error,
)
from gureum.aws.protocols.form import parse_form
from gureum.aws.protocols.json_reader import JsonReaders
from gureum.aws.protocols.json_writer import JsonWriters, encode_json
from gureum.aws.protocols.jsonrpc import read_json
from gureum.aws.protocols.models import Member, Operation, ServiceModel, Shape
from gureum.aws.protocols.routes import path_labels, path_pattern
from gureum.aws.protocols.scalars import BadValue, read_blob, text_reader, text_writer, write_blob
from gureum.aws.protocols.wire import Encoded, Request, Response, clean_header
from gureum.aws.protocols.xml_reader import XmlReaders, parse_xml
from gureum.aws.protocols.xml_writer import XmlWriters, join

# Fills in members from one part of a request.
Bind = Callable[[Request, dict[str, Any]], None]
ReadBody = Callable[[bytes, dict[str, Any]], None]
# Body and content type of a result, or None for a streaming body's own type.
WriteBody = Callable[[dict[str, Any]], tuple[Any, str]]
S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_LIST_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*))\s*(?:,|$)')
_DATE_LIST = re.compile(r"\s*,\s*(?=[A-Z][a-z]{2},)")


class RestCodec:
    """One service in rest-json or rest-xml; readers and writers are shared by its operations."""

    def __init__(self, service: ServiceModel, protocol: str) -> None:
        self._service = service
        self._xml = protocol == "rest-xml"
        self._s3 = self._xml and service.name in ("s3", "s3control")
        self._json_readers = JsonReaders(service)
        self._json_writers = JsonWriters(service, protocol)
        self._xml_readers = XmlReaders(service)
        self._xml_writers = XmlWriters(service, protocol)

    def wire_name(self, member: Member, default: str) -> str:
        return member.location_name or default

    def parser(self, operation: Operation) -> Callable[[Request], dict[str, Any]]:
        if operation.input is None:
            return lambda _request: {}
        shape = self._service.shape(operation.input.shape)
        binds = [
            *self._bind_path(operation, shape),
            *self._bind_query(operation, shape),
            *self._bind_headers(shape),
        ]
        read_body = self._read_body(operation.input.shape, shape)
        refuse = self._refuse

        def parse(request: Request) -> dict[str, Any]:
            found: dict[str, Any] = {}
            try:
                for bind in binds:
                    bind(request, found)
                if read_body is not None:
                    read_body(request.body, found)
            except BadValue as bad:
                raise refuse(bad) from bad
            return found

        return parse

    def _refuse(self, bad: BadValue) -> AwsError:
        return refuse_rest(bad, xml=self._xml, s3=self._s3)

    def _located(self, shape: Shape, location: str) -> list[tuple[str, Member, Shape]]:
        return [
            (name, member, self._service.shape(member.shape))
            for name, member in shape.members.items()
            if member.location == location
        ]

    def _bind_path(self, operation: Operation, shape: Shape) -> list[Bind]:
        members = {member.location_name or name: (name, one) for name, member, one in self._located(shape, "uri")}
        labels = path_labels(operation.http.request_uri)
        if not members:
            return []
        pattern = path_pattern(operation.http.request_uri)
        readers = [
            (f"label{i}", members[label][0], text_reader(members[label][1].type))
            for i, label in enumerate(labels)
            if label in members
        ]

        def bind(request: Request, found: dict[str, Any]) -> None:
            match = pattern.fullmatch(request.path) or pattern.fullmatch(request.path.removesuffix("/"))
            if match is None:
                raise BadValue("path", request.path)
            for group, name, read in readers:
                found[name] = read(_unquote(match[group]))

        return [bind]

    def _bind_query(self, operation: Operation, shape: Shape) -> list[Bind]:
        located = self._located(shape, "querystring")
        if not located:
            return []
        single: dict[str, tuple[str, Callable[[str], Any]]] = {}
        many: dict[str, tuple[str, Callable[[str], Any]]] = {}
        rest: tuple[str, bool] | None = None
        for name, member, one in located:
            wire = member.location_name or name
            if one.type == "list":
                assert one.member is not None
                many[wire] = (name, text_reader(self._service.shape(one.member.shape).type))
            elif one.type == "map":
                assert one.value is not None
                rest = (name, self._service.shape(one.value.shape).type == "list")
            else:
                single[wire] = (name, text_reader(one.type))
        literals = {pair.partition("=")[0] for pair in operation.http.request_uri.partition("?")[2].split("&")}

        def bind(request: Request, found: dict[str, Any]) -> None:
            for wire, value in parse_form(request.query) if request.query else ():
                if wire in single:
                    name, read = single[wire]
                    found.setdefault(name, read(value))
                elif wire in many:
                    name, read = many[wire]
                    found.setdefault(name, []).append(read(value))
                elif rest is not None and wire not in literals and not wire.startswith("X-Amz-"):
                    if rest[1]:
                        found.setdefault(rest[0], {}).setdefault(wire, []).append(value)
                    else:
                        found.setdefault(rest[0], {}).setdefault(wire, value)

        return [bind]

    def _bind_headers(self, shape: Shape) -> list[Bind]:
        readers = [
            ((member.location_name or name).lower(), name, self._header_reader(member, one))
            for name, member, one in self._located(shape, "header")
        ]
        prefixes = [(member.location_name.lower(), name) for name, member, _ in self._located(shape, "headers")]

        def bind(request: Request, found: dict[str, Any]) -> None:
            headers = request.headers
            for wire, name, read in readers:
                value = headers.get(wire)
                if value is not None:
                    found[name] = read(value)
            for prefix, name in prefixes:
                given = {key[len(prefix) :]: value for key, value in headers.items() if key.startswith(prefix)}
                if given:
                    found[name] = given

        return [bind] if readers or prefixes else []

    def _header_reader(self, member: Member, shape: Shape) -> Callable[[str], Any]:
        if shape.type == "list":
            assert shape.member is not None
            kind = self._service.shape(shape.member.shape).type
            read, split = text_reader(kind), _DATE_LIST.split if kind == "timestamp" else _split_list
            return lambda text: [read(item) for item in split(text)]
        return _read_json_header if member.jsonvalue else text_reader(shape.type)

    def _read_body(self, shape_name: str, shape: Shape) -> ReadBody | None:
        if shape.payload:
            return self._read_payload(shape.payload, shape.members[shape.payload])
        if all(member.location for member in shape.members.values()):
            return None
        if self._xml:
            read_xml = self._xml_readers.structure(shape_name)
            return lambda body, found: found.update(read_xml(parse_xml(body))) if body.strip() else None
        read = self._json_readers.whole(Member(shape_name))
        return lambda body, found: found.update(read_json(body, read))

    def _read_payload(self, name: str, member: Member) -> ReadBody:
        shape = self._service.shape(member.shape)
        if shape.type == "blob" or shape.eventstream:
            return lambda body, found: _put(found, name, body) if body else None
        if shape.type == "string":
            return lambda body, found: _put(found, name, _decode_text(body)) if body else None
        if self._xml:
            read_xml = self._xml_readers.reader(member)
            return lambda body, found: _put(found, name, read_xml(parse_xml(body))) if body.strip() else None
        read = self._json_readers.whole(member)
        return lambda body, found: _put(found, name, read_json(body, read)) if body else None

    def quick_reader(self, _operation: Operation) -> None:
        """None: parameters are in too many places."""

    def serializer(self, operation: Operation) -> Callable[[dict[str, Any], str], Response]:
        status = operation.http.response_code
        id_header = "x-amz-request-id" if self._s3 else "x-amzn-requestid"
        if operation.output is None:
            return lambda _result, request_id: Response(status, {id_header: request_id}, b"")
        shape = self._service.shape(operation.output.shape)
        write_headers = self._header_writer(shape)
        write_body = self._body_writer(operation.output.shape, shape)
        status_members = [name for name, _, _ in self._located(shape, "statusCode")]

        def serialize(result: dict[str, Any], request_id: str) -> Response:
            body, content_type = write_body(result)
            headers = {id_header: request_id}
            if content_type:
                headers["content-type"] = content_type
            write_headers(result, headers)
            given = [result[name] for name in status_members if result.get(name) is not None]
            return Response(given[0] if given else status, headers, body)

        return serialize

    def _header_writer(self, shape: Shape) -> Callable[[dict[str, Any], dict[str, str]], None]:
        writers = {
            name: ((member.location_name or name).lower(), self._header_text(member, one))
            for name, member, one in self._located(shape, "header")
        }
        prefixes = {name: member.location_name.lower() for name, member, _ in self._located(shape, "headers")}

        def write(result: dict[str, Any], headers: dict[str, str]) -> None:
            for name, (wire, convert) in writers.items():
                value = result.get(name)
                if value is not None:
                    headers[wire] = clean_header(convert(value))
            for name, prefix in prefixes.items():
                for key, value in (result.get(name) or {}).items():
                    headers[prefix + clean_header(key).lower()] = clean_header(value)

        return write

    def _header_text(self, member: Member, shape: Shape) -> Callable[[Any], str]:
        if member.jsonvalue:
            return lambda value: write_blob(encode_json(value))
        form = member.timestamp_format or shape.timestamp_format or "rfc822"
        if shape.type == "list":
            assert shape.member is not None
            item = self._header_text(shape.member, self._service.shape(shape.member.shape))
            return lambda value: ",".join(item(one) for one in value)
        return text_writer(shape.type, form) or str

    def _body_writer(self, shape_name: str, shape: Shape) -> WriteBody:
        if shape.payload:
            return self._payload_writer(shape.payload, shape.members[shape.payload])
        in_body = [name for name, member in shape.members.items() if not member.location]
        if stream := self._service.stream_member(shape_name):
            return _stream_writer(stream, CONTENT_TYPE)
        if self._xml:
            # S3 answers operations whose members are all elsewhere with no body at all.
            return self._xml_writer(shape_name) if in_body else (lambda _result: (b"", ""))
        write = self._json_writers.structure(shape_name)
        return lambda result: (encode_json(write(result)), "application/json")

    def _payload_writer(self, name: str, member: Member) -> WriteBody:
        shape = self._service.shape(member.shape)
        if shape.eventstream:
            return _stream_writer(name, CONTENT_TYPE)
        if shape.type == "blob":
            return _stream_writer(name, "application/octet-stream")
        if shape.type == "string":
            return lambda result: ((result.get(name) or "").encode(), "text/plain")
        if self._xml:
            write_xml = self._xml_writer(member.shape, member.location_name)
            return lambda result: (b"", "") if result.get(name) is None else write_xml(result[name])
        write = self._json_writers.writer(member)
        return lambda result: (
            (b"", "")
            if result.get(name) is None
            else (encode_json(result[name] if write is None else write(result[name])), "application/json")
        )

    def _xml_writer(self, shape_name: str, name: str = "") -> WriteBody:
        root = name or self._service.shape(shape_name).location_name or shape_name
        namespace = S3_NAMESPACE if self._service.name == "s3" else self._service.xml_namespace
        write = self._xml_writers.element(Member(shape_name), root, f' xmlns="{namespace}"')

        def write_body(value: Any) -> tuple[bytes, str]:
            parts = [XML_HEAD, "", ""]
            write(value, parts.extend)
            return join(parts).encode(), "application/xml"

        return write_body

    def error(self, fault: Fault, request_id: str) -> Response:
        if self._s3:
            return s3_error(fault, request_id, self._xml_writers)
        if self._xml:
            return query_error(fault, request_id, self._service.xml_namespace, self._xml_writers)
        convert = self._json_writers.structure(fault.name) if fault.shape is not None else None
        headers = {
            "content-type": "application/json",
            "x-amzn-requestid": request_id,
            "x-amzn-errortype": clean_header(fault.name),
        }
        if fault.shape is not None:
            # Members such as Retry-After live in headers of errors too.
            self._header_writer(fault.shape)(fault.fields, headers)
        return Response(fault.status, headers, encode_json(json_fields(fault, convert)))

    def pack(self, shape_name: str, value: dict[str, Any]) -> tuple[bytes, str]:
        if self._xml:
            body: tuple[bytes, str] = self._xml_writer(shape_name)(value)
            return body
        return encode_json(self._json_writers.structure(shape_name)(value)), "application/json"

    def encode(self, shape_name: str, value: dict[str, Any]) -> Encoded:
        writers = self._xml_writers if self._xml else self._json_writers
        return writers.encode(shape_name, value)


def _stream_writer(name: str, content_type: str) -> WriteBody:
    """The operation's own bytes or iterator, as they are."""

    def write(result: dict[str, Any]) -> tuple[Any, str]:
        body = result.get(name)
        return (body.encode() if isinstance(body, str) else b"" if body is None else body), content_type

    return write


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    found[name] = value


def _unquote(text: str) -> str:
    return _decode_text(unquote_to_bytes(text)) if "%" in text else text


def _decode_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadValue("string", text="Text is not UTF-8.") from error


def _split_list(text: str) -> list[str]:
    """RFC 7230, 7: comma-separated, items may be quoted."""
    found, start = [], 0
    while start < len(text):
        match = _LIST_ITEM.match(text, start)
        if match is None:
            raise BadValue("list", text)
        found.append(re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2].strip())
        start = match.end()
    return found


def _read_json_header(text: str) -> Any:
    try:
        return msgspec.json.decode(read_blob(text))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadValue("blob", text[:100]) from error
