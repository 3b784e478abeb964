"""Policies of browsers' forms: what their writer lets who has the form put where, and that he signed it. Pure.

AWS: S3, "POST policy", "Calculating a signature" for POST (Signature Version 4), and the same of Version 2 ("Browser uploads using HTML forms").
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import msgspec

from gureum.aws.errors import AwsError
from gureum.aws.s3_forms import Form, missing
from gureum.aws.s3_queries import mismatch
from gureum.aws.signatures import derived_key

ALGORITHM = "AWS4-HMAC-SHA256"
NOT_JUDGED = frozenset({"policy", "x-amz-signature", "signature", "awsaccesskeyid", "file"})
"""Fields that no condition needs to name, beside those that begin so:"""
IGNORED = "x-ignore-"
_OF_V4 = ("x-amz-credential", "x-amz-algorithm", "x-amz-signature", "x-amz-date")


class SignedForm(msgspec.Struct, frozen=True):
    """Who signed a form's policy (credentials.Proof). `scope`: day, region and service of Signature Version 4; "" in Version 2."""

    access_key: str
    token: str
    region: str
    scope: str
    signature: str
    policy: str

    def verify(self, secret: str, now: float) -> None:
        """AWS: SignatureDoesNotMatch (403). For how long it is good, the policy says."""
        if self.scope:
            made = hmac.new(derived_key(secret, self.scope), self.policy.encode(), hashlib.sha256).hexdigest()
        else:
            made = base64.b64encode(hmac.new(secret.encode(), self.policy.encode(), hashlib.sha1).digest()).decode()
        if not hmac.compare_digest(made.encode(), self.signature.encode()):
            raise mismatch()


def signed_form(form: Form) -> SignedForm | None:
    """None for a form without a policy, which nobody signed. AWS: InvalidArgument (400)."""
    fields = form.fields
    if not fields.get("policy"):
        return None
    token = fields.get("x-amz-security-token", "")
    if "awsaccesskeyid" in fields or "signature" in fields:
        _require(fields, ("awsaccesskeyid", "signature"))
        return SignedForm(fields["awsaccesskeyid"], token, "", "", fields["signature"], fields["policy"])
    _require(fields, _OF_V4)
    key, _, scope = fields["x-amz-credential"].partition("/")
    parts = scope.split("/")
    dated = len(parts) == 4 and fields["x-amz-date"].startswith(f"{parts[0]}T")
    if not dated or parts[2:] != ["s3", "aws4_request"] or fields["x-amz-algorithm"] != ALGORITHM:
        text = "The request signature we calculated does not match: algorithm, credential and date do not fit."
        raise AwsError("InvalidArgument", text, status=400)
    return SignedForm(key, token, parts[1], scope, fields["x-amz-signature"], fields["policy"])


def judge(form: Form, bucket: str, now: float) -> None:
    """That the form keeps to its policy, if it has one. AWS: InvalidPolicyDocument, EntityTooLarge, EntityTooSmall (400), AccessDenied (403)."""
    text = form.fields.get("policy")
    if not text:
        return
    document = _document(text)
    ends, conditions = document.get("expiration"), document.get("conditions")
    if not isinstance(ends, str):
        raise _invalid("Policy missing expiration.")
    if not isinstance(conditions, list):
        raise _invalid("Policy missing conditions.")
    if _time(ends) < now:
        raise _denied("Policy expired.")
    told = {**form.fields, "bucket": bucket}
    named = {"bucket"}
    for one in conditions:
        named.add(_judge_one(one, told, len(form.content)))
    for name in form.fields:
        if name not in named | NOT_JUDGED and not name.startswith(IGNORED):
            raise _denied(f"Extra input fields: {name}")


def _judge_one(condition: Any, told: dict[str, str], size: int) -> str:
    """The field that it names, lower-case; "" where it is about none."""
    if isinstance(condition, dict):
        if len(condition) != 1:
            raise _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
        ((name, value),) = condition.items()
        condition = ["eq", f"${name}", value]
    if not isinstance(condition, list) or len(condition) != 3:
        raise _invalid("Invalid Condition.")
    kind, name, value = condition
    if str(kind).lower() == "content-length-range":
        _judge_size(name, value, size)
        return ""
    if not isinstance(name, str) or not isinstance(value, str) or str(kind).lower() not in ("eq", "starts-with"):
        raise _invalid("Invalid Condition.")
    field = name.removeprefix("$").lower()
    if not name.startswith("$") or field not in told or not _fits(str(kind).lower(), field, told[field], value):
        raise _denied("Policy Condition failed: " + json.dumps([str(kind), name, value], ensure_ascii=False))
    return field


def _fits(kind: str, field: str, found: str, wanted: str) -> bool:
    if kind == "eq":
        return found == wanted
    several = [one.strip() for one in found.split(",")] if field == "content-type" else [found]
    return all(one.startswith(wanted) for one in several)


def _judge_size(low: Any, high: Any, size: int) -> None:
    try:
        least, most = int(low), int(high)
    except (TypeError, ValueError, OverflowError) as error:
        raise _invalid("Invalid content-length-range.") from error
    if size > most:
        fields = {"ProposedSize": str(size), "MaxSizeAllowed": str(most)}
        text = "Your proposed upload exceeds the maximum allowed size"
        raise AwsError("EntityTooLarge", text, status=400, fields=fields)
    if size < least:
        fields = {"ProposedSize": str(size), "MinSizeAllowed": str(least)}
        text = "Your proposed upload is smaller than the minimum allowed size"
        raise AwsError("EntityTooSmall", text, status=400, fields=fields)


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.b64decode(text, validate=False))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _invalid("Invalid JSON.") from error
    if not isinstance(found, dict):
        raise _invalid("Invalid JSON.")
    return found


def _time(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise _invalid(f"Invalid 'expiration' value: '{text}'") from error
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _require(fields: dict[str, str], names: tuple[str, ...]) -> None:
    for name in names:
        if not fields.get(name):
            raise missing(name)


def _invalid(why: str) -> AwsError:
    return AwsError("InvalidPolicyDocument", f"Invalid Policy: {why}", status=400)


def _denied(why: str) -> AwsError:
    return AwsError("AccessDenied", f"Invalid according to Policy: {why}", status=403)
