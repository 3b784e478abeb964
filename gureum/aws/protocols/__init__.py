"""AWS protocols, server side: parse, validate and write for query, ec2, json, rest-json, rest-xml and
smithy-rpc-v2-cbor.

    target = identify(request)
    compiled = compile_operation(target.service, target.operation, target.protocol)
    params = compiled.read(request)
    response = compiled.serialize(result, request_id)     or compiled.serialize_error(error, request_id)

Everything is compiled from botocore's service models, once per operation. Nothing here knows what an operation does.
"""

from __future__ import annotations

from gureum.aws.protocols.compiled import Compiled, compile_operation, error_response
from gureum.aws.protocols.identify import Scope, Target, credential_scope, identify
from gureum.aws.protocols.models import ServiceModel, load_service, service_index
from gureum.aws.protocols.wire import Encoded, Ready, Request, Response, chunks_of, decode_body

__all__ = [
    "Compiled",
    "Encoded",
    "Ready",
    "Request",
    "Response",
    "Scope",
    "ServiceModel",
    "Target",
    "chunks_of",
    "compile_operation",
    "credential_scope",
    "decode_body",
    "error_response",
    "identify",
    "load_service",
    "service_index",
]
