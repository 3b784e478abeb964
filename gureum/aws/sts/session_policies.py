"""Policies that a session is given: checked and counted as on AWS, and, as all policies of IAM, judged by nobody. Pure.

AWS: sts AssumeRole and GetFederationToken, Policy and PolicyArns; IAM user guide, "IAM JSON policy elements".
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from gureum.aws.errors import AwsError

LIMIT_PLAIN = 2048
LIMIT_ARNS = 10
_VERSIONS = ("2012-10-17", "2008-10-17")


def packed_size(params: dict[str, Any]) -> int | None:
    """How many percent of what a session may carry its policies and tags take; None when there are none. AWS packs them in a way of its own; here
    it is deflate. AWS: ValidationError, MalformedPolicyDocument, PackedPolicyTooLarge."""
    policy, arns, tags = params.get("Policy"), params.get("PolicyArns") or [], params.get("Tags") or []
    if policy is None and not arns and not tags:
        return None
    if policy is not None:
        _check(policy)
    if len(arns) > LIMIT_ARNS:
        raise _too_long("policyArns", LIMIT_ARNS)
    plain = json.dumps(
        [policy or "", [one.get("arn", "") for one in arns], [[one["Key"], one["Value"]] for one in tags]]
    )
    percent = max(1, len(zlib.compress(plain.encode(), 9)) * 100 // LIMIT_PLAIN)
    if percent > 100:
        text = f"Packed policy consumes {percent}% of allotted space, please use smaller policy."
        raise AwsError("PackedPolicyTooLarge", text)
    return percent


def _check(text: str) -> None:
    if len(text) > LIMIT_PLAIN:
        raise _too_long("policy", LIMIT_PLAIN)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed("The policy is not in the valid JSON format.") from error
    if not isinstance(document, dict) or str(document.get("Version", _VERSIONS[0])) not in _VERSIONS:
        raise _malformed("Syntax errors in policy.")
    statements = document.get("Statement")
    several: list[Any] = statements if isinstance(statements, list) else [statements]
    if not several or not all(_is_statement(one) for one in several):
        raise _malformed("Syntax errors in policy.")
    if any("Principal" in one or "NotPrincipal" in one for one in several):
        raise _malformed("Policy document should not specify a principal.")


def _is_statement(one: Any) -> bool:
    if not isinstance(one, dict) or one.get("Effect") not in ("Allow", "Deny"):
        return False
    return ("Action" in one) is not ("NotAction" in one) and ("Resource" in one) is not ("NotResource" in one)


def _too_long(member: str, limit: int) -> AwsError:
    text = f"Value at '{member}' failed to satisfy constraint: Member must have length less than or equal to {limit}"
    return AwsError("ValidationError", f"1 validation error detected: {text}")


def _malformed(text: str) -> AwsError:
    return AwsError("MalformedPolicyDocument", text)
