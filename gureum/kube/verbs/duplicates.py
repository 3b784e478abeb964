"""Names that stand twice in one object of a body: the decoder takes the last, which a client may wish to be told.

Source: sigs.k8s.io/json (UnmarshalStrict), sigs.k8s.io/yaml (UnmarshalStrict), whose words these are.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gureum.base.hostile_yaml import doubles

LIMIT_FOUND = 100


class _Members(list[tuple[str, Any]]):
    """Of one object, with those that the decoder would drop."""


def of_json(body: bytes, value: Any) -> list[str]:
    """`duplicate field "spec.replicas"`, of a JSON body. `value`: what the decoder made of it."""
    if not _may_have(body, value):
        return []
    try:
        read = json.loads(body, object_pairs_hook=_Members)
    except ValueError:
        return []  # YAML that begins like JSON
    found: list[str] = []
    _look(read, "", found)
    return found[:LIMIT_FOUND]


def in_order(body: bytes, unknown: list[str]) -> list[str]:
    """What is wrong with the names of a JSON body in the order in which its decoder meets it. `unknown`: paths of fields that are none."""
    found: list[str] = []
    _look(json.loads(body, object_pairs_hook=_Members), "", found, frozenset(unknown))
    return found


def of_yaml(body: bytes) -> list[str]:
    """`line 3: key "replicas" already set in map`, of a YAML body that can be read."""
    return [f'line {line}: key "{name}" already set in map' for line, name in doubles(body)[:LIMIT_FOUND]]


def of_applied(body: bytes, value: Any) -> list[str]:
    """The same of a configuration that is applied, which is YAML even where it is JSON."""
    if body[:1] == b"{" and not _may_have(body, value):
        return []
    try:  # which is far faster than YAML, and kubectl writes \\u003c for each <
        read = json.loads(body, object_pairs_hook=_Members)
    except ValueError:
        return of_yaml(body)
    found: list[str] = []
    _look(read, "", found)
    return of_yaml(body) if found else []


def in_one(lines: list[str]) -> str:
    """What is wrong with a YAML text as one error."""
    return "\n  ".join(["yaml: unmarshal errors:", *lines])


def _may_have(body: bytes, value: Any) -> bool:
    """Each name that was dropped took its colon along, and no other can have come in."""
    return b"\\u" in body or body.count(b":") != msgspec.json.encode(value).count(b":")


def _look(value: Any, path: str, found: list[str], unknown: frozenset[str] = frozenset()) -> None:
    if isinstance(value, _Members):
        seen: set[str] = set()
        for name, item in value:
            below = f"{path}.{name}" if path else name
            if name in seen:
                found.append(f'duplicate field "{below}"')
            elif below in unknown:
                found.append(f'unknown field "{below}"')
            seen.add(name)
            _look(item, below, found, unknown)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            _look(item, f"{path}[{at}]", found, unknown)
