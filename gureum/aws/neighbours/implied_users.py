"""Calls of IAM that name no user: they are about who calls. moto tells that by the key, if it knows it, and makes up a user if not.

AWS: IAM GetUser, ListAccessKeys, ListMFADevices …, UserName: "If you do not specify a user name, IAM determines the user name implicitly based on the
AWS access key ID signing the request."
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, quote

from gureum.aws.credentials import Principal
from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request, Response, compile_operation

_OF_ROOT: dict[str, dict[str, Any]] = {
    "ListAccessKeys": {"AccessKeyMetadata": [], "IsTruncated": False},
    "ListMFADevices": {"MFADevices": [], "IsTruncated": False},
    "ListSigningCertificates": {"Certificates": [], "IsTruncated": False},
}
"""What is told of the account's root, which has no keys, devices and certificates of IAM's here."""
_OF_USERS = frozenset(
    (
        "CreateAccessKey",
        "DeleteAccessKey",
        "DeleteSigningCertificate",
        "GetUser",
        "UpdateAccessKey",
        "UpdateSigningCertificate",
        "UploadSigningCertificate",
        *_OF_ROOT,
    )
)


def complete(operation: str, request: Request, caller: Principal) -> Request | Response:
    """The request with its user's name, or the answer to root's. AWS: ValidationError for sessions. NotImplemented: what root would have to get."""
    form = request.body.decode("latin-1")
    if operation not in _OF_USERS or _names_user(form) or _names_user(request.query):
        return request
    kind, _, name = caller.arn.rpartition(":")[2].partition("/")
    if kind == "user":
        named = f"UserName={quote(name.rpartition('/')[2])}"
        if form:
            return _changed(request, request.query, f"{form}&{named}".encode())
        return _changed(request, f"{request.query}&{named}", b"")
    if kind != "root":
        text = "Must specify userName when calling with non-User credentials"
        raise AwsError("ValidationError", text, status=400)
    result = {"User": {"UserId": caller.id, "Arn": caller.arn}} if operation == "GetUser" else _OF_ROOT.get(operation)
    if result is None:
        raise AwsError("NotImplemented", f"{operation} for the account's root is not built.", status=501)
    return compile_operation("iam", operation, "query").serialize(result, "")


def _names_user(text: str) -> bool:
    return "UserName" in text and bool(parse_qs(text).get("UserName"))


def _changed(request: Request, query: str, body: bytes) -> Request:
    return Request(request.method, request.path, query, request.headers, body)
