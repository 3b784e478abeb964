"""Signature Version 4, checked when `verify_signatures` is set.

Keys that STS handed out or IAM made are checked with their own secret; every other key with the setting `secret_key`, which is what `gureum env`
prints.
Of bodies that are signed chunk by chunk the head's signature is checked, and not the chunks'.
AWS: "Create a signed AWS API request" (IAM user guide): canonical request, string to sign, derived key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request
from gureum.base.numerals import natural

LIMIT_SKEW_S = 15 * 60
_PARTS = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")


def verify_signature(request: Request, secret: str, now: float) -> None:
    """AWS: MissingAuthenticationToken, SignatureDoesNotMatch, RequestExpired (403 each)."""
    parts, amz_date, query, expires_s = _signature_of(request)
    if not {"Credential", "SignedHeaders", "Signature"} <= parts.keys() or not amz_date:
        raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", status=403)
    _check_time(amz_date, now, expires_s)
    scope = parts["Credential"].split("/", 1)[1]
    canonical = _canonical_request(request, parts["SignedHeaders"].split(";"), query, scope.split("/")[2])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", amz_date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    expected = hmac.new(_derived_key(secret, scope), to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, parts["Signature"]):
        raise AwsError(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
            status=403,
        )


def _signature_of(request: Request) -> tuple[dict[str, str], str, list[tuple[str, str]], float]:
    """Its parts, the time, the query that is signed, and for how long a presigned one is good."""
    query = parse_qsl(request.query, keep_blank_values=True)
    header = request.headers.get("authorization", "")
    if header:
        return dict(_PARTS.findall(header)), request.headers.get("x-amz-date", ""), query, float(LIMIT_SKEW_S)
    values = dict(query)
    names = {"Credential": "X-Amz-Credential", "SignedHeaders": "X-Amz-SignedHeaders", "Signature": "X-Amz-Signature"}
    parts = {part: values[name] for part, name in names.items() if name in values}
    signed = [(name, value) for name, value in query if name != "X-Amz-Signature"]
    expires = values.get("X-Amz-Expires", "0")
    return parts, values.get("X-Amz-Date", ""), signed, float(natural(expires) or 0)


def _check_time(amz_date: str, now: float, expires_s: float) -> None:
    try:
        signed_at = datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise AwsError("IncompleteSignature", "Date must be in ISO-8601 'basic format'", status=400) from error
    if not signed_at - LIMIT_SKEW_S <= now <= signed_at + max(expires_s, LIMIT_SKEW_S):
        raise AwsError("RequestExpired", "Request has expired.", status=400)


def _canonical_request(request: Request, signed: list[str], query: list[tuple[str, str]], service: str) -> str:
    # S3 signs the path as it is sent, all others encode it once more.
    path = request.path if service == "s3" else quote(request.path, safe="/-_.~")
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed)
    payload = request.headers.get("x-amz-content-sha256") or hashlib.sha256(request.body).hexdigest()
    told = payload == "UNSIGNED-PAYLOAD" or payload.startswith("STREAMING-")
    if not told and payload != hashlib.sha256(request.body).hexdigest():
        payload = "mismatch"
    text = "&".join(f"{name}={value}" for name, value in pairs)
    return "\n".join([request.method, path or "/", text, headers, ";".join(signed), payload])


def _derived_key(secret: str, scope: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
