"""Trust policies: whom a role lets assume it. Pure.

Judged are principals, actions, and conditions on what a call of AssumeRole tells by itself. A condition on anything else (MFA, addresses,
organizations) cannot be judged here: it counts as met where it allows, and as not met where it denies. The account's root in a policy is everybody of
the account, since IAM's other policies are judged by nobody.
AWS: IAM user guide, "AWS JSON policy elements" (Principal, Condition operators), "IAM and AWS STS condition context keys".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from gureum.base.globs import glob

_ACCOUNT = re.compile(r"(?:arn:aws[a-z-]*:iam::)?(\d{12})(?::root)?")


class Asking(msgspec.Struct, frozen=True):
    """Who asks. `arns`: all by which a policy may name him (a session: its own and its role's). `context`: condition keys, lower-case, with their
    values; () where the call does not have one. Keys that are not in it are unknown."""

    account: str
    arns: frozenset[str]
    context: Mapping[str, tuple[str, ...]]


def lets(policy: Any, asking: Asking, action: str) -> bool:
    """Whether some statement allows `action` ("sts:AssumeRole") and none denies it. `policy`: JSON text, URL-encoded as IAM answers it, or the
    document itself; what is none lets nobody."""
    try:
        document = policy if isinstance(policy, dict) else json.loads(unquote(str(policy)))
    except ValueError:
        return False
    statements = _several(document.get("Statement")) if isinstance(document, dict) else []
    meant = [one for one in statements if isinstance(one, dict) and _acts(one, action) and _names(one, asking)]
    allowed = any(one.get("Effect") == "Allow" and _holds(one, asking, unknown=True) for one in meant)
    return allowed and not any(one.get("Effect") == "Deny" and _holds(one, asking, unknown=False) for one in meant)


def _acts(statement: dict[str, Any], action: str) -> bool:
    def named(element: str) -> bool:
        return any(glob(str(one).lower())(action.lower()) for one in _several(statement.get(element)))

    return not named("NotAction") if "NotAction" in statement else named("Action")


def _names(statement: dict[str, Any], asking: Asking) -> bool:
    if "NotPrincipal" in statement:
        return not _is_named(statement["NotPrincipal"], asking)
    return _is_named(statement.get("Principal"), asking)


def _is_named(principal: Any, asking: Asking) -> bool:
    if principal == "*":
        return True
    names = _several(principal.get("AWS")) if isinstance(principal, dict) else []
    return any(_is_meant(str(name), asking) for name in names)


def _is_meant(name: str, asking: Asking) -> bool:
    account = _ACCOUNT.fullmatch(name)
    return name == "*" or name in asking.arns or (account is not None and account[1] == asking.account)


def _holds(statement: dict[str, Any], asking: Asking, *, unknown: bool) -> bool:
    blocks = statement.get("Condition")
    for operator, keys in blocks.items() if isinstance(blocks, dict) else ():
        for key, wanted in keys.items() if isinstance(keys, dict) else ():
            met = _is_met(str(operator), str(key).lower(), [_text(one) for one in _several(wanted)], asking)
            if not (unknown if met is None else met):
                return False
    return True


def _is_met(operator: str, key: str, wanted: list[str], asking: Asking) -> bool | None:
    """None: nobody can say."""
    if key not in asking.context:
        return None
    found = asking.context[key]
    if operator == "Null":
        return ("false" if found else "true") in [one.lower() for one in wanted]
    quantifier, _, name = operator.rpartition(":")
    if_there = name.endswith("IfExists")
    compare = _OPERATORS.get(name.removesuffix("IfExists"))
    if compare is None:
        return None
    negative, alike = compare
    hits = [any(alike(pattern, one) for pattern in wanted) is not negative for one in found]
    if not found:
        return if_there or negative or quantifier == "ForAllValues"
    return all(hits) if quantifier == "ForAllValues" or (negative and not quantifier) else any(hits)


def _like(pattern: str, text: str) -> bool:
    return glob(pattern.replace("\\", "\\\\"))(text)  # in policies a backslash is nothing special


def _same(pattern: str, text: str) -> bool:
    return pattern == text


def _same_but_case(pattern: str, text: str) -> bool:
    return pattern.lower() == text.lower()


_OPERATORS: dict[str, tuple[bool, Callable[[str, str], bool]]] = {
    "StringEquals": (False, _same),
    "StringNotEquals": (True, _same),
    "StringEqualsIgnoreCase": (False, _same_but_case),
    "StringNotEqualsIgnoreCase": (True, _same_but_case),
    "StringLike": (False, _like),
    "StringNotLike": (True, _like),
    "ArnEquals": (False, _like),
    "ArnNotEquals": (True, _like),
    "ArnLike": (False, _like),
    "ArnNotLike": (True, _like),
    "Bool": (False, _same_but_case),
}
"""Operator → whether it wants that nothing is alike; and what alike is."""


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
