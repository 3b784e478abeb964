"""Presigned addresses of S3 in Signature Version 2: what boto3 makes in regions that are as old as that (us-east-1), if nothing else is said. Pure.

AWS: S3, "Signing and authenticating REST requests", query string authentication. Signature Version 4 is in signatures.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qsl, unquote, unquote_plus

import msgspec

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request
from gureum.base.numerals import natural

_PLAIN = """
accelerate acl analytics cors delete inventory lifecycle location logging metrics notification object-lock partNumber policy replication
requestPayment restore select select-type storageClass tagging torrent uploadId uploads versionId versioning versions website
response-cache-control response-content-disposition response-content-encoding response-content-language response-content-type
response-expires
"""
SUBRESOURCES = frozenset(_PLAIN.split())
"""Parameters that are signed."""
_NAMES = ("AWSAccessKeyId", "Signature", "Expires")


class SignedQuery(msgspec.Struct, frozen=True):
    """What a request says of who signed its address (credentials.Proof)."""

    access_key: str
    token: str
    request: Request
    bucket: str
    region: str = ""

    def verify(self, secret: str, now: float) -> None:
        """AWS: AccessDenied, SignatureDoesNotMatch (403 each)."""
        query = parse_qsl(self.request.query, keep_blank_values=True)
        values = dict(query)
        expires = natural(values["Expires"])
        if expires is None:
            raise AwsError(
                "AccessDenied", f"Invalid date (should be seconds since epoch): {values['Expires']}", status=403
            )
        if now > expires:
            raise AwsError("AccessDenied", "Request has expired", status=403)
        digest = hmac.new(secret.encode(), self._text(query).encode(), hashlib.sha1).digest()
        if not hmac.compare_digest(base64.b64encode(digest), values["Signature"].encode()):
            raise mismatch()

    def plain(self, request: Request) -> Request:
        """The request with its headers where others have them: those that were signed stand in the query."""
        pairs = [one.partition("=") for one in request.query.split("&")]
        moved = {name.lower(): unquote_plus(value) for name, _, value in pairs if _is_header(name)}
        query = "&".join(f"{name}{mark}{value}" for name, mark, value in pairs if not _is_header(name))
        return msgspec.structs.replace(request, query=query, headers={**moved, **request.headers})

    def _text(self, query: list[tuple[str, str]]) -> str:
        """The string to sign. Headers may stand in the query; those that are sent as well are what counts."""
        told = {**{name.lower(): value for name, value in query if _is_header(name)}, **self.request.headers}
        amz = sorted((name, value) for name, value in told.items() if name.startswith("x-amz-"))
        lines = [self.request.method, told.get("content-md5", ""), told.get("content-type", ""), dict(query)["Expires"]]
        lines += [f"{name}:{' '.join(value.split())}" for name, value in amz]
        signed = sorted((name, value) for name, value in query if name in SUBRESOURCES)
        named = "&".join(f"{name}={value}" if value else name for name, value in signed)
        path = (f"/{self.bucket}" if self.bucket else "") + self.request.path
        return "\n".join([*lines, path + (f"?{named}" if named else "")])


def signed_query(request: Request, bucket: str) -> SignedQuery | None:
    """None where the address is not signed so. `bucket`: that the host names, "" where the path does."""
    if "Signature=" not in request.query:
        return None
    values = dict(parse_qsl(request.query, keep_blank_values=True))
    if not all(values.get(name) for name in _NAMES):
        return None
    token = next((value for name, value in values.items() if name.lower() == "x-amz-security-token"), "")
    return SignedQuery(values["AWSAccessKeyId"], token, request, unquote(bucket))


def _is_header(name: str) -> bool:
    return name.lower() in ("content-type", "content-md5") or name.lower().startswith("x-amz-")


def mismatch() -> AwsError:
    text = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
    return AwsError("SignatureDoesNotMatch", text, status=403)
