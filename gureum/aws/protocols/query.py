"""The protocols query and ec2: parameters come as a form (body or query string), results go as XML.

AWS: "Query requests" of the services; Smithy: aws.protocols#awsQuery, #ec2Query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gureum.aws.errors import AwsError
from gureum.aws.protocols.faults import XML_HEAD, Fault, ec2_error, query_error, refuse_query
from gureum.aws.protocols.form import grow_tree, malformed, parse_form
from gureum.aws.protocols.layouts import Layouts
from gureum.aws.protocols.models import Member, Operation, ServiceModel
from gureum.aws.protocols.query_reader import QueryReaders
from gureum.aws.protocols.scalars import BadValue
from gureum.aws.protocols.typed import value_reader
from gureum.aws.protocols.wire import Encoded, Request, Response
from gureum.aws.protocols.xml_writer import Extend, Write, XmlWriters, join

# Parameters of the transport: the operation's name, versions and the older and newer ways to sign in a query string.
_TRANSPORT = frozenset(
    (
        "Action",
        "Version",
        "AWSAccessKeyId",
        "Signature",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
        "Expires",
        "SecurityToken",
    )
)
_SIGNING = ("X-Amz-", "x-amz-")


class QueryCodec:
    """One service in query or ec2; readers and writers are shared by its operations."""

    def __init__(self, service: ServiceModel, protocol: str) -> None:
        self._service = service
        self._ec2 = protocol == "ec2"
        self._readers = QueryReaders(service, ec2=self._ec2)
        self._writers = XmlWriters(service, protocol)

    def wire_name(self, member: Member, default: str) -> str:
        return self._readers.wire_name(member, default)

    def parser(self, operation: Operation) -> Callable[[Request], dict[str, Any]]:
        """Forms in the body, whose names came before, by their layout."""
        ec2 = self._ec2
        read = self._readers.structure(operation.input.shape) if operation.input else _read_nothing
        layouts = Layouts(self._service, self._readers, operation.input, _is_transport) if operation.input else None

        def parse(request: Request) -> dict[str, Any]:
            if layouts is not None and not request.query:
                found = _by_layout(layouts, request.body)
                if found is not None:
                    return found
            pairs = [pair for pair in read_pairs(request) if not _is_transport(pair[0])]
            try:
                found = read(grow_tree(pairs))
            except BadValue as bad:
                raise refuse_query(bad, ec2=ec2) from bad
            assert found is not None
            return found

        return parse

    def quick_reader(self, operation: Operation) -> Callable[[Request], dict[str, Any]] | None:
        """EC2 checks less, in words of its own."""
        check = None if self._ec2 else value_reader(self._service, operation)
        if check is None:
            return None
        parse = self.parser(operation)

        def read(request: Request) -> dict[str, Any]:
            params = parse(request)
            check(params)
            return params

        return read

    def serializer(self, operation: Operation) -> Callable[[dict[str, Any], str], Response]:
        return self._ec2_serializer(operation) if self._ec2 else self._query_serializer(operation)

    def _ec2_serializer(self, operation: Operation) -> Callable[[dict[str, Any], str], Response]:
        name = f"{operation.name}Response"
        opening = f'{XML_HEAD}<{name} xmlns="{self._service.xml_namespace}"><requestId>'
        # Operations without a modelled result answer that it is done.
        write = self._writers.body(operation.output.shape) if operation.output else _write_done
        closing = f"</{name}>"

        def serialize(result: dict[str, Any], request_id: str) -> Response:
            parts = [opening, request_id, "</requestId>"]
            write(result, parts.extend)
            headers = {"content-type": "text/xml;charset=UTF-8", "x-amzn-requestid": request_id}
            return Response(200, headers, f"{join(parts)}{closing}".encode())

        return serialize

    def _query_serializer(self, operation: Operation) -> Callable[[dict[str, Any], str], Response]:
        name = operation.name
        wrapper = (operation.output.result_wrapper if operation.output else "") or f"{name}Result"
        opening, closing = (
            f'<{name}Response xmlns="{self._service.xml_namespace}">',
            f"</ResponseMetadata></{name}Response>",
        )
        write: Write | None = None
        if operation.output:
            write = self._writers.body(operation.output.shape)

        def serialize(result: dict[str, Any], request_id: str) -> Response:
            parts = [opening, "", ""]
            if write is not None:
                parts += (f"<{wrapper}>", "", "")
                write(result, parts.extend)
                parts += (f"</{wrapper}>", "", "")
            parts += ("<ResponseMetadata><RequestId>", request_id, "</RequestId>")
            return Response(
                200, {"content-type": "text/xml", "x-amzn-requestid": request_id}, f"{join(parts)}{closing}".encode()
            )

        return serialize

    def error(self, fault: Fault, request_id: str) -> Response:
        if self._ec2:
            return ec2_error(fault, request_id)
        return query_error(fault, request_id, self._service.xml_namespace, self._writers)

    def pack(self, shape_name: str, value: dict[str, Any]) -> tuple[bytes, str]:
        return self._writers.encode(shape_name, value).data.encode(), "text/xml"

    def encode(self, shape_name: str, value: dict[str, Any]) -> Encoded:
        return self._writers.encode(shape_name, value)


def read_pairs(request: Request) -> list[tuple[str, str]]:
    """The pairs of the query string, then those of the body. Raises AwsError MalformedQueryString."""
    pairs = parse_form(request.query) if request.query else []
    if request.body:
        try:
            pairs += parse_form(request.body.decode())
        except UnicodeDecodeError as error:
            raise malformed("The request body is not UTF-8.") from error
    return pairs


def _is_transport(name: str) -> bool:
    return name in _TRANSPORT or name.startswith(_SIGNING)


def _by_layout(layouts: Layouts, body: bytes) -> dict[str, Any] | None:
    try:
        return layouts.read(body.decode())
    except (UnicodeDecodeError, AwsError, BadValue):
        return None  # the long way says what is wrong


def _read_nothing(_tree: Any) -> dict[str, Any]:
    return {}


def _write_done(_result: Any, out: Extend) -> None:
    out(("<return>", "true", "</return>"))
