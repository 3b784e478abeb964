"""Takes user data apart into its parts: scripts, cloud-config texts, boot hooks. Pure; the bytes are hostile.

Understood, as cloud-init does: gzip (also inside), MIME multi-part, and the first line of each part ("#!", "#cloud-config",
"#cloud-boothook", "#cloud-config-archive"). What would make the machine fetch or run something we cannot (`#include`, part handlers,
templates) is named in `warnings`, never passed over in silence.

Source: cloud-init's documentation, "User-data formats".
"""

from __future__ import annotations

import email
import email.message
import zlib
from collections.abc import Iterator
from typing import Literal

import msgspec

from gureum.base.hostile_yaml import HostileYaml, load

PartKind = Literal["script", "script-per-boot", "script-once", "config", "boothook"]

LIMIT_BYTES = 1024 * 1024
"""Of all parts together, unpacked. EC2 takes 16 KiB as sent."""

_PARTS_LIMIT = 100
_DEPTH_LIMIT = 8
_GZIP = b"\x1f\x8b"

_BY_FIRST_LINE: tuple[tuple[str, str], ...] = (
    ("## template: jinja", "text/jinja2"),
    ("#!", "text/x-shellscript"),
    ("#cloud-boothook", "text/cloud-boothook"),
    ("#cloud-config-archive", "text/cloud-config-archive"),
    ("#cloud-config-jsonp", "text/cloud-config-jsonp"),
    ("#cloud-config", "text/cloud-config"),
    ("#include-once", "text/x-include-once-url"),
    ("#include", "text/x-include-url"),
    ("#part-handler", "text/part-handler"),
    ("#upstart-job", "text/upstart-job"),
)
_KINDS: dict[str, PartKind] = {
    "text/x-shellscript": "script",
    "text/x-shellscript-per-instance": "script",
    "text/x-shellscript-per-boot": "script-per-boot",
    "text/x-shellscript-per-once": "script-once",
    "text/cloud-config": "config",
    "text/cloud-boothook": "boothook",
}
_NO_TYPE = frozenset({"text/plain", "text/x-not-multipart", "application/octet-stream"})
_REASONS = {
    "text/x-include-url": "it names addresses to fetch user data from, which gureum does not do: put the text itself there",
    "text/x-include-once-url": "it names addresses to fetch user data from, which gureum does not do: put the text itself there",
    "text/jinja2": "templates are not supported",
    "text/part-handler": "part handlers are Python code for cloud-init itself",
    "text/upstart-job": "there is no Upstart",
    "text/cloud-config-jsonp": "JSON patches are not supported: write the keys in #cloud-config",
}


class Part(msgspec.Struct, frozen=True):
    """`body` is as it was sent, without transfer encoding or compression."""

    kind: PartKind
    body: bytes


class UserData(msgspec.Struct, frozen=True):
    """`warnings`: sentences for the console, on what was left out and why."""

    parts: tuple[Part, ...] = ()
    warnings: tuple[str, ...] = ()


def read_user_data(data: bytes) -> UserData:
    """Never raises: what cannot be used is in `warnings`."""
    warnings: list[str] = []
    parts: list[Part] = []
    try:
        for content_type, body in _flatten(data, "", 0, [LIMIT_BYTES, _PARTS_LIMIT]):
            _take(content_type, body, parts, warnings)
    except _Refused as error:
        return UserData((), (str(error),))
    return UserData(tuple(parts), tuple(warnings))


class _Refused(Exception):
    """All of it is refused."""


def _take(content_type: str, body: bytes, parts: list[Part], warnings: list[str]) -> None:
    kind = _KINDS.get(content_type)
    if kind == "script" and not body.lstrip().startswith(b"#!"):
        warnings.append("a shell script part has no '#!' line and is not run")
    elif kind is not None:
        parts.append(Part(kind, body.lstrip() if kind.startswith("script") else body))
    elif content_type in _REASONS:
        warnings.append(f"{content_type} user data is not used: {_REASONS[content_type]}")
    elif body.strip():
        warnings.append(f"unhandled user data ({content_type[:60]!a}): {body[:40]!a}…")


def _flatten(data: bytes, declared: str, depth: int, left: list[int]) -> Iterator[tuple[str, bytes]]:
    """The parts in order with their types. `left`: bytes and parts that may still come."""
    if depth > _DEPTH_LIMIT:
        raise _Refused("user data is nested too deeply")
    if data.startswith(_GZIP):
        data = _gunzip(data, left[0])
    left[0] -= len(data)
    left[1] -= 1
    if min(left) < 0:
        raise _Refused(f"user data is larger than {LIMIT_BYTES} bytes or has more than {_PARTS_LIMIT} parts")
    content_type = declared if declared and declared not in _NO_TYPE else _type_of(data)
    if content_type == "multipart":
        yield from _split_mime(data, depth, left)
    elif content_type == "text/cloud-config-archive":
        yield from _split_archive(data, depth, left)
    else:
        yield content_type, data


def _type_of(data: bytes) -> str:
    head = data[:200].lstrip().lower().decode("latin-1")
    if head.startswith(("content-type:", "mime-version:", "from ")):
        return "multipart"
    return next((kind for start, kind in _BY_FIRST_LINE if head.startswith(start)), "text/x-not-multipart")


def _split_mime(data: bytes, depth: int, left: list[int]) -> Iterator[tuple[str, bytes]]:
    try:
        message = email.message_from_bytes(data.lstrip())
        leaves = [part for part in message.walk() if not part.is_multipart()]
    except RecursionError:
        raise _Refused("user data is nested too deeply") from None
    for leaf in leaves:
        body = leaf.get_payload(decode=True)
        yield from _flatten(body if isinstance(body, bytes) else b"", leaf.get_content_type(), depth + 1, left)


def _split_archive(data: bytes, depth: int, left: list[int]) -> Iterator[tuple[str, bytes]]:
    """A YAML list of texts, or of {type, content}."""
    try:
        entries = load(data)
    except HostileYaml as error:
        raise _Refused(f"the cloud-config archive cannot be read: {error}") from None
    for entry in entries if isinstance(entries, list) else []:
        content = entry.get("content") if isinstance(entry, dict) else entry
        declared = entry.get("type") if isinstance(entry, dict) else ""
        if isinstance(content, str):
            yield from _flatten(content.encode(), declared if isinstance(declared, str) else "", depth + 1, left)


def _gunzip(data: bytes, limit: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        unpacked = decompressor.decompress(data, limit + 1)
    except zlib.error as error:
        raise _Refused(f"user data looks like gzip, but cannot be unpacked: {error}") from None
    if not decompressor.eof and len(unpacked) <= limit:
        raise _Refused("user data looks like gzip, but ends too early")
    return unpacked
