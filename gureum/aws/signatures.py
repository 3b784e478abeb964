"""Signature Version 4, checked when `verify_signatures` is set.

Keys that STS handed out or IAM made are checked with their own secret; every other key with the setting `secret_key`, which is what `gureum env`
prints.
What S3 has beside it stands apart: bodies signed chunk by chunk (chunk_signatures.py), forms (s3_policies.py) and Version 2 (s3_queries.py).
AWS: "Create a signed AWS API request" (IAM user guide): canonical request, string to sign, derived key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from gureum.aws.chunk_signatures import SIGNED, SIGNED_WITH_TRAILER, UNSIGNED_WITH_TRAILER, verify_chunks
from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request
from gureum.base.numerals import natural

LIMIT_SKEW_S = 15 * 60
LIMIT_EXPIRES_S = 7 * 86400
_PARTS = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")


def verify_signature(request: Request, secret: str, now: float) -> None:
    """AWS: MissingAuthenticationToken, SignatureDoesNotMatch (403 each), RequestExpired (400). S3, "Error responses" and "Authenticating requests:
    using query parameters": AccessDenied and RequestTimeTooSkewed (403), AuthorizationQueryParametersError (400)."""
    parts, amz_date, query, expires = _signature_of(request)
    if not {"Credential", "SignedHeaders", "Signature"} <= parts.keys() or not amz_date:
        raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", status=403)
    signed_at = _signed_at(amz_date)
    scope = parts["Credential"].partition("/")[2]
    if scope.count("/") != 3 or not amz_date.startswith(f"{scope.partition('/')[0]}T"):
        raise AwsError(
            "SignatureDoesNotMatch", f"Credential is not scoped to the day of '{amz_date[:20]}'.", status=403
        )
    service = scope.split("/")[2]
    if service == "s3":
        _check_time_of_s3(signed_at, now, expires)
    else:
        _check_time(signed_at, now, float(natural(expires or "0") or 0))
    unsigned = "UNSIGNED-PAYLOAD" if service == "s3" and expires is not None else ""
    canonical = _canonical_request(request, parts["SignedHeaders"].split(";"), query, service, unsigned)
    to_sign = "\n".join(["AWS4-HMAC-SHA256", amz_date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = derived_key(secret, scope)
    expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, parts["Signature"]):
        raise AwsError(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
            status=403,
        )
    kind = request.headers.get("x-amz-content-sha256", "")
    if kind in (SIGNED, SIGNED_WITH_TRAILER):
        verify_chunks(request.body, kind, expected, key, amz_date, scope)
    elif kind.startswith("STREAMING-") and kind != UNSIGNED_WITH_TRAILER:
        raise AwsError("NotImplemented", f"Bodies that are signed as {kind[:60]} are not built.", status=501)


def _signature_of(request: Request) -> tuple[dict[str, str], str, list[tuple[str, str]], str | None]:
    """Its parts, the time, the query that is signed, and for how long a presigned one is said to be good; None where it is not in the query."""
    query = parse_qsl(request.query, keep_blank_values=True)
    header = request.headers.get("authorization", "")
    if header:
        return dict(_PARTS.findall(header)), request.headers.get("x-amz-date", ""), query, None
    values = dict(query)
    names = {"Credential": "X-Amz-Credential", "SignedHeaders": "X-Amz-SignedHeaders", "Signature": "X-Amz-Signature"}
    parts = {part: values[name] for part, name in names.items() if name in values}
    signed = [(name, value) for name, value in query if name != "X-Amz-Signature"]
    return parts, values.get("X-Amz-Date", ""), signed, values.get("X-Amz-Expires", "")


def _signed_at(amz_date: str) -> float:
    try:
        return datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise AwsError("IncompleteSignature", "Date must be in ISO-8601 'basic format'", status=400) from error


def _check_time_of_s3(signed_at: float, now: float, expires: str | None) -> None:
    """A presigned URL is good for as long as it says, to the second."""
    if expires is None:
        if abs(now - signed_at) > LIMIT_SKEW_S:
            text = "The difference between the request time and the current time is too large."
            raise AwsError("RequestTimeTooSkewed", text, status=403)
        return
    expires_s = natural(expires)
    if expires_s is None or expires_s > LIMIT_EXPIRES_S:
        text = "X-Amz-Expires should be a number" if expires_s is None else "X-Amz-Expires must be less than a week"
        raise AwsError("AuthorizationQueryParametersError", text, status=400)
    if now < signed_at - LIMIT_SKEW_S:
        raise AwsError("AccessDenied", "Request is not yet valid", status=403)
    if now > signed_at + expires_s:
        raise AwsError("AccessDenied", "Request has expired", status=403)


def _check_time(signed_at: float, now: float, expires_s: float) -> None:
    """Other services take presigned requests for a quarter of an hour, also where less is said."""
    if not signed_at - LIMIT_SKEW_S <= now <= signed_at + max(expires_s, LIMIT_SKEW_S):
        raise AwsError("RequestExpired", "Request has expired.", status=400)


def _canonical_request(
    request: Request, signed: list[str], query: list[tuple[str, str]], service: str, unsigned: str
) -> str:
    """`unsigned`: what stands for the body where no header tells of it; "": its digest."""
    # S3 signs the path as it is sent, all others encode it once more.
    path = request.path if service == "s3" else quote(request.path, safe="/-_.~")
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed)
    payload = request.headers.get("x-amz-content-sha256") or unsigned or hashlib.sha256(request.body).hexdigest()
    told = payload == "UNSIGNED-PAYLOAD" or payload.startswith("STREAMING-")
    if not told and payload != hashlib.sha256(request.body).hexdigest():
        payload = "mismatch"
    text = "&".join(f"{name}={value}" for name, value in pairs)
    return "\n".join([request.method, path or "/", text, headers, ";".join(signed), payload])


def derived_key(secret: str, scope: str) -> bytes:
    """The key that signs in `scope` ("20261130/us-east-1/s3/aws4_request")."""
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
