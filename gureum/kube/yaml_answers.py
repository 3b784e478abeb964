"""Answers in YAML, to clients that ask for it first: what they would get as JSON, written in blocks, names in order.

Source: Kubernetes, "API concepts", encodings of resources; there is no watch in YAML.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from gureum.kube.errors import StatusError
from gureum.kube.requests import JSON, Response

YAML = "application/yaml"
_ASIDE_FROM_BYTES = 64 * 1024
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*", re.ASCII)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Texts that YAML reads as something else."""
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def in_json(accept: str) -> str:
    """The Accept header of the same question in JSON, where it is YAML that is wanted; else "" """
    clauses = [clause.strip() for clause in accept.split(",")]
    for at, clause in enumerate(clauses):
        media, semicolon, rest = clause.partition(";")
        if media.strip() == YAML:
            return ", ".join([*clauses[:at], f"{JSON}{semicolon}{rest}", *clauses[at + 1 :]])
        if media.strip() in (JSON, "*/*", "application/*"):
            return ""
    return ""


async def in_yaml(response: Response) -> Response:
    """The answer in YAML; a stream is none."""
    body = response.body
    if not isinstance(body, bytes):
        text = f"only the following media types are accepted: {JSON};stream=watch"
        return Response(406, _written(StatusError(406, "NotAcceptable", text).body()), YAML)
    if not response.content_type.startswith(JSON):
        return response
    # A long list takes a while, in which others are to be answered.
    written = await asyncio.to_thread(_written, body) if len(body) >= _ASIDE_FROM_BYTES else _written(body)
    return msgspec.structs.replace(response, body=written, content_type=response.content_type.replace(JSON, YAML, 1))


def _written(body: bytes) -> bytes:
    lines = list(_lines(msgspec.json.decode(body), ""))
    return ("\n".join(lines) + "\n").encode()


def _lines(value: Any, start: str) -> Iterator[str]:
    """The lines of a value that begin with `start`."""
    if isinstance(value, dict) and value:
        for name in sorted(value):
            yield from _member(f"{start}{_scalar(name)}:", value[name], start)
    elif isinstance(value, list) and value:
        for item in value:
            first, *others = _lines(item, start + "  ")
            yield f"{start}- {first[len(start) + 2 :]}"
            yield from others
    else:
        yield start + _scalar(value)


def _member(head: str, value: Any, start: str) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        yield from _lines(value, start if isinstance(value, list) else start + "  ")
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    text = msgspec.json.encode(value).decode()
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
