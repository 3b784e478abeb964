"""Calls that gureum itself makes to a neighbour: written and read by botocore's own serialisers, so that they come as a client's would."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import urlencode

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from gureum.aws.protocols import Request, Response
from gureum.core.neighbours import NeighbourRefused


def request_of(service: str, operation: str, params: dict[str, Any]) -> Request:
    """The request that a client would send for these parameters."""
    model = _operation(service, operation)
    made = create_serializer(_protocol(service), include_validation=False).serialize_to_request(params, model)
    body, headers = made["body"], {name.lower(): str(value) for name, value in dict(made["headers"]).items()}
    if isinstance(body, dict):
        body = urlencode(body).encode()
        headers.setdefault("content-type", "application/x-www-form-urlencoded; charset=utf-8")
    data = body.encode() if isinstance(body, str) else bytes(body or b"")
    query = made["query_string"]
    text = query if isinstance(query, str) else urlencode(query, doseq=True)
    path, _, more = str(made["url_path"]).partition("?")
    joined = "&".join(part for part in (more, text) if part)
    headers["content-length"] = str(len(data))
    # Who calls is told beside the request; moto only wants to see that somebody has signed, else it takes a reader of S3 for anonymous.
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential=gureum/20000101/us-east-1/{service}/aws4_request"
    return Request(method=made["method"], path=path, query=joined, headers=headers, body=data)


def result_of(service: str, operation: str, response: Response) -> dict[str, Any]:
    """What the answer says. NeighbourRefused when it is an error."""
    parser, shape = create_parser(_protocol(service)), _operation(service, operation).output_shape
    payload = shape.serialization.get("payload") if shape is not None and response.status < 300 else None
    raw = payload if payload and shape.members[payload].type_name == "blob" else None
    # The parser would read bytes as text.
    body = b"" if raw else response.body
    answer = {"headers": response.headers, "body": body, "status_code": response.status}
    found: dict[str, Any] = parser.parse(answer, shape)
    if raw:
        found[raw] = response.body
    if response.status >= 300:
        error = found.get("Error", {})
        raise NeighbourRefused(str(error.get("Code", response.status)), str(error.get("Message", "")))
    return found


@functools.cache
def _model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def _operation(service: str, operation: str) -> OperationModel:
    return _model(service).operation_model(operation)


def _protocol(service: str) -> str:
    return str(_model(service).resolved_protocol)
