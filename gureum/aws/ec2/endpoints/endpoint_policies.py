"""Policies of VPC endpoints: what a document must be, and where one would have to keep somebody out.

No IAM policy is enforced here, so neither is an endpoint's. A gateway endpoint's is kept and shown, as templates have them; at an interface
endpoint, by which machines reach gureum's own API, one that does not allow everything is refused. AWS: "IAM JSON policy grammar".
"""

from __future__ import annotations

import json
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.errors import AwsError

ALL_ALLOWED = json.dumps(
    {"Version": "2008-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}
)
_MOST_BYTES = 20_480
_VERSIONS = ("2008-10-17", "2012-10-17")
_ONE_OF = (("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource"))
_OTHERS = {"Sid", "Effect", "Condition"}


def wanted_policy(call: Call, kind: str) -> str:
    """The call's PolicyDocument as it was given, or the one that allows everything. `kind`: of the endpoint. AWS: InvalidPolicyDocument.
    NotImplemented where it would have to keep somebody out."""
    text = call.params.get("PolicyDocument")
    if not text:
        return ALL_ALLOWED
    try:
        found = json.loads(text) if len(text.encode()) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not _is_policy(found):
        text = "The specified policy document is not a valid JSON policy document."
        raise AwsError("InvalidPolicyDocument", text)
    if kind == "Interface" and not _allows_all(_statements(found)):
        raise ids.not_built("A policy of an interface endpoint that does not allow everything")
    return str(text)


def _is_policy(policy: dict[str, Any]) -> bool:
    statements = _statements(policy)
    known = not policy.keys() - {"Version", "Id", "Statement"} and policy.get("Version", _VERSIONS[0]) in _VERSIONS
    return known and all(map(_is_statement, statements))


def _is_statement(statement: Any) -> bool:
    """Of each pair one, and nothing unknown."""
    if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
        return False
    if any((one in statement) == (other in statement) for one, other in _ONE_OF):
        return False
    if statement.keys() - _OTHERS - {name for pair in _ONE_OF for name in pair}:
        return False
    words = (statement.get(name, "*") for pair in _ONE_OF[1:] for name in pair)
    return all(map(_are_words, words)) and isinstance(statement.get("Condition", {}), dict)


def _are_words(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
    )


def _statements(policy: dict[str, Any]) -> list[Any]:
    found = policy.get("Statement")
    return found if isinstance(found, list) else [found]


def _allows_all(statements: list[Any]) -> bool:
    return any(map(_is_full, statements)) and not any(one["Effect"] == "Deny" for one in statements)


def _is_full(statement: dict[str, Any]) -> bool:
    everybody = statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
    everything = all(statement.get(name) in ("*", ["*"]) for name in ("Action", "Resource"))
    return everybody and everything and statement["Effect"] == "Allow" and "Condition" not in statement
