"""Forms: `application/x-www-form-urlencoded` text as pairs, and their dotted names as a tree.

    Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1   →   {"Filter": {"1": {"Name": "vpc-id", "Value": {"1": "vpc-1"}}}}

Indices are names here: a huge one costs nothing. Number and depth of names are limited.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from gureum.aws.errors import AwsError
from gureum.aws.protocols.wire import MAX_NAME_DEPTH, MAX_QUERY_PARAMETERS

Tree = dict[str, Any]


def malformed(text: str) -> AwsError:
    """AWS: common errors, MalformedQueryString."""
    return AwsError("MalformedQueryString", text, status=400)


def parse_form(text: str) -> list[tuple[str, str]]:
    """Pairs in order, duplicates included. Raises AwsError MalformedQueryString."""
    if text.count("&") >= MAX_QUERY_PARAMETERS:
        raise malformed("The query string has too many parameters.")
    pairs = []
    for field in text.split("&"):
        if field:
            name, _, value = field.partition("=")
            pairs.append((decode_text(name), decode_text(value)))
    return pairs


def decode_text(text: str) -> str:
    """A name or a value. Raises AwsError MalformedQueryString."""
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise malformed("The query string is not UTF-8.") from error


def grow_tree(pairs: list[tuple[str, str]]) -> Tree:
    """Raises AwsError MalformedQueryString for a name that is both a value and a prefix, given twice with different
    values, or too deep."""
    root: Tree = {}
    for name, value in pairs:
        branch, leaf = root, name
        if "." in name:
            *parts, leaf = name.split(".", MAX_NAME_DEPTH)
            if "." in leaf:
                raise malformed("The query string nests too deep.")
            for part in parts:
                found = branch.setdefault(part, {})
                if found.__class__ is str:
                    raise malformed(f"The parameter {name[:200]} has both a value and parts.")
                branch = found
        if branch.setdefault(leaf, value) != value:
            raise malformed(f"The parameter {name[:200]} is given more than once.")
    return root
