"""Trust policies: whom a role lets assume it. Pure.

Judged are principals, actions, and conditions on what is known of a call for a role and of who makes it. A condition on another key (addresses,
organizations, principals' tags) cannot be judged here: it counts as met where it allows, and as not met where it denies. One that is no condition,
an operator that there is none of, or one that is not judged, counts the other way: nobody is let in by a mistake. The account's root in a policy is
everybody of the account, since IAM's other policies are judged by nobody.
AWS: IAM user guide, "AWS JSON policy elements" (Principal, NotPrincipal with Allow, Condition operators, variables), "IAM and AWS STS condition
context keys" (those of web identities).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from gureum.base.globs import glob

_ACCOUNT = re.compile(r"(?:arn:aws[a-z-]*:iam::)?(\d{12})(?::root)?")

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NOTHING = "\0"
_OF_THE_CALL = "aws:requesttag/"


class Asking(msgspec.Struct, frozen=True):
    """Who asks. `arns`: all by which a policy may name him (a session: its own and its role's). `context`: condition keys, lower-case, with their
    values; () where the call does not have one. Keys that are not in it are unknown. `provider`: ARN of the identity provider that vouches for
    who is nobody else; its keys begin with its name and are all known ("keys.example.com:sub")."""

    account: str
    arns: frozenset[str]
    context: Mapping[str, tuple[str, ...]]
    provider: str = ""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Of condition keys that are the provider's."""
        name = self.provider.partition("/")[2].lower()
        return (f"{name}:",) if name else ()


def lets(policy: Any, asking: Asking, action: str) -> bool:
    """Whether some statement allows `action` ("sts:AssumeRole") and none denies it. `policy`: JSON text, URL-encoded as IAM answers it, or the
    document itself; what is none lets nobody."""
    try:
        document = policy if isinstance(policy, dict) else json.loads(unquote(str(policy)))
    except ValueError:
        return False
    statements = _several(document.get("Statement")) if isinstance(document, dict) else []
    meant = [one for one in statements if isinstance(one, dict) and _acts(one, action) and _names(one, asking)]
    allowed = any(
        one.get("Effect") == "Allow" and "NotPrincipal" not in one and _holds(one, asking, allows=True) for one in meant
    )
    return allowed and not any(one.get("Effect") == "Deny" and _holds(one, asking, allows=False) for one in meant)


def _acts(statement: dict[str, Any], action: str) -> bool:
    def named(element: str) -> bool:
        return any(glob(str(one).lower())(action.lower()) for one in _several(statement.get(element)))

    return not named("NotAction") if "NotAction" in statement else named("Action")


def _names(statement: dict[str, Any], asking: Asking) -> bool:
    if asking.provider:
        return _is_vouched(statement, asking)
    if "NotPrincipal" in statement:
        return not _is_named(statement["NotPrincipal"], asking)
    return _is_named(statement.get("Principal"), asking)


def _is_vouched(statement: dict[str, Any], asking: Asking) -> bool:
    """A provider is allowed by its name alone: "everybody" is everybody of AWS's. It is denied with everybody else."""
    denies = statement.get("Effect") == "Deny"
    principal = statement.get("NotPrincipal" if "NotPrincipal" in statement else "Principal")
    names = _several(principal.get("Federated")) if isinstance(principal, dict) else []
    named = asking.provider in names or (denies and (principal == "*" or "*" in names))
    return not named if "NotPrincipal" in statement else named


def _is_named(principal: Any, asking: Asking) -> bool:
    if principal == "*":
        return True
    names = _several(principal.get("AWS")) if isinstance(principal, dict) else []
    return any(_is_meant(str(name), asking) for name in names)


def _is_meant(name: str, asking: Asking) -> bool:
    account = _ACCOUNT.fullmatch(name)
    return name == "*" or name in asking.arns or (account is not None and account[1] == asking.account)


def _holds(statement: dict[str, Any], asking: Asking, *, allows: bool) -> bool:
    blocks = statement.get("Condition", {})
    if not isinstance(blocks, dict) or not all(isinstance(keys, dict) for keys in blocks.values()):
        return not allows
    for operator, keys in blocks.items():
        for key, wanted in keys.items():
            met = _is_met(str(operator), str(key).lower(), [_text(one) for one in _several(wanted)], asking, allows)
            if not met:
                return False
    return True


def _is_met(operator: str, key: str, wanted: list[str], asking: Asking, allows: bool) -> bool:
    if key not in asking.context and not key.startswith((_OF_THE_CALL, *asking.prefixes)):
        return allows
    found = asking.context.get(key, ())
    if operator == "Null":
        return ("false" if found else "true") in [one.lower() for one in wanted]
    quantifier, _, name = operator.rpartition(":")
    compare = _OPERATORS.get(name.removesuffix("IfExists"))
    if compare is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        return not allows
    negative, alike = compare
    if not found:
        return name.endswith("IfExists") or quantifier == "ForAllValues" or (negative and not quantifier)
    patterns = [_filled(one, asking) for one in wanted]
    hits = [any(alike(pattern, one) for pattern in patterns) is not negative for one in found]
    return all(hits) if quantifier == "ForAllValues" or (negative and not quantifier) else any(hits)


def _filled(pattern: str, asking: Asking) -> str:
    """With what variables ("${aws:username}") stand for; one that stands for nothing is like nothing."""

    def value(found: re.Match[str]) -> str:
        values = asking.context.get(found[1].strip().lower(), ())
        return values[0] if len(values) == 1 and not set("*?") & set(values[0]) else _NOTHING

    return _VARIABLE.sub(value, pattern)


def _like(pattern: str, text: str) -> bool:
    return glob(pattern.replace("\\", "\\\\"))(text)  # in policies a backslash is nothing special


def _same(pattern: str, text: str) -> bool:
    return pattern == text


def _number(text: str) -> float:
    """A number, or a date as a number of seconds; NaN, which is like nothing, for others."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def _same_but_case(pattern: str, text: str) -> bool:
    return pattern.lower() == text.lower()


_COMPARED: dict[str, tuple[bool, Callable[[str, str], bool]]] = {
    "Equals": (False, lambda pattern, text: _number(text) == _number(pattern)),
    "NotEquals": (True, lambda pattern, text: _number(text) == _number(pattern)),
    "LessThan": (False, lambda pattern, text: _number(text) < _number(pattern)),
    "LessThanEquals": (False, lambda pattern, text: _number(text) <= _number(pattern)),
    "GreaterThan": (False, lambda pattern, text: _number(text) > _number(pattern)),
    "GreaterThanEquals": (False, lambda pattern, text: _number(text) >= _number(pattern)),
}
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
    **{f"{kind}{name}": compare for kind in ("Numeric", "Date") for name, compare in _COMPARED.items()},
}
"""Operator → whether it wants that nothing is alike; and what alike is."""


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
