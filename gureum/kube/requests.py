"""A request as the handlers get it, and what its path and headers mean.

/api/v1/namespaces/NS/pods/NAME/status      group "", a subresource
/apis/apps/v1/deployments                   all namespaces
/api/v1/namespaces/NS/status                the namespace's own subresource
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from gureum.kube.errors import StatusError, bad_request, no_such_path, shown
from gureum.kube.kinds.kind import Kind, Subresource

JSON = "application/json"
LIMIT_QUERY_PARAMETERS = 200
LIMIT_DIGITS = 100
_NUMBER = re.compile(r"[+-]?\d+", re.ASCII)
BETWEEN = "\n"
"""Between the values of an impersonation header that comes several times: they may have commas of their own."""


class User(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = {}


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
STRANGER = User("")
"""Who comes with a certificate that is not of the cluster's authority."""


class Document(msgspec.Struct, frozen=True):
    """A YAML body, read. `twice`: what is told of names that stand twice in one map. `error`: why it cannot be read."""

    value: Any
    twice: list[str]
    error: StatusError | None = None


class Request(msgspec.Struct):
    """`path`: as sent, within the cluster ("/api/v1/…"); `headers`: names in lower case; `peer`: subject of the client's certificate."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""
    peer: User | None = None
    user: User = ANONYMOUS
    warnings: list[str] = []
    document: Document | None = None
    """What a YAML body says, once it is read."""

    def warn(self, texts: list[str]) -> None:
        """Tells the client beside the answer. How many that may be, who warns decides."""
        self.warnings = [*self.warnings, *texts]

    def parameter(self, name: str, default: str = "") -> str:
        values = self.query.get(name)
        return values[0] if values else default

    def flag(self, name: str) -> bool:
        """BadRequest when it is neither true nor false."""
        text = self.parameter(name)
        if text in ("", "0", "f", "F", "false", "FALSE", "False"):
            return False
        if text in ("1", "t", "T", "true", "TRUE", "True"):
            return True
        raise bad_request(f'strconv.ParseBool: parsing "{text}": invalid syntax')

    def number(self, name: str) -> int | None:
        """BadRequest when it is no number of 64 bits."""
        text = self.parameter(name)
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            raise bad_request(f"strconv.ParseInt: parsing {shown(text[:100])}: invalid syntax")
        if len(text) > LIMIT_DIGITS or not -(2**63) <= int(text) < 2**63:
            raise bad_request(f"strconv.ParseInt: parsing {shown(text[:100])}: value out of range")
        return int(text)


class Sink(Protocol):
    """The client's connection while a body goes out in pieces."""

    def write_piece(self, piece: bytes) -> bool:
        """Sends it at once, if the client keeps up; whether it does."""
        ...


class Response(msgspec.Struct):
    """`body`: bytes, or pieces that come as they are made; `attach` is told where further pieces can go straight."""

    status: int
    body: bytes | AsyncIterator[bytes]
    content_type: str = JSON
    headers: dict[str, str] = {}
    attach: Callable[[Sink], None] | None = None


def parse_query(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=LIMIT_QUERY_PARAMETERS)
    except ValueError as error:
        raise bad_request(f"the query is not understood: {error}") from error
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


class Target(msgspec.Struct, frozen=True):
    """What a path names. `name` "": the collection."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: Subresource | None = None
    rest: str = ""
    """Of the path behind a subresource (proxy)."""


Find = Callable[[str, str, str], Kind | None]
"""(group, version, plural) to the kind."""


def target_of(path: str, find: Find) -> Target:
    """StatusError (404) when nothing is there."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_path()
    if rest[:2] == ["namespaces", ""] and len(rest) > 2:
        rest = rest[2:]  # no namespace: all of them, as clients with an empty one write it
    if any(not part for part in rest):
        raise no_such_path()
    namespace = ""
    if (
        rest[0] == "namespaces"
        and len(rest) >= 3
        and not (len(rest) == 3 and rest[2] in ("status", "finalize") and not group)
    ):
        namespace, rest = rest[1], rest[2:]
    kind = find(group, version, rest[0])
    if kind is None or (namespace and not kind.namespaced):
        raise no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    if name and kind.namespaced and not namespace:
        raise no_such_path()
    subresource = None
    if len(rest) > 2:
        subresource = kind.subresource(rest[2])
        if subresource is None:
            raise no_such_path()
    if len(rest) > 3 and rest[2] != "proxy":  # what is behind a proxy has paths of its own
        raise no_such_path()
    return Target(kind, namespace, name, subresource)


# What the client wants to get


class Wish(msgspec.Struct, frozen=True):
    """`form`: "" (the objects), Table, PartialObjectMetadata, PartialObjectMetadataList; `version`: of that form's group meta.k8s.io."""

    form: str = ""
    version: str = ""
    content_type: str = JSON


def wish_of(accept: str) -> Wish:
    """The first of the Accept header that we have. StatusError 406 when there is none."""
    for part in accept.split(",") if accept else ["*/*"]:
        media, *parameters = [word.strip() for word in part.split(";")]
        values = dict(word.split("=", 1) for word in parameters if "=" in word)
        form = values.get("as", "")
        if media not in (JSON, "*/*", "application/*"):
            continue
        if form in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList") and values.get("g") == "meta.k8s.io":
            if values.get("v") in ("v1", "v1beta1"):
                return Wish(form, values["v"], f"{JSON};as={form};v={values['v']};g=meta.k8s.io")
            continue
        if not form:
            return Wish()
    text = "only the following media types are accepted: application/json, application/yaml"
    raise StatusError(406, "NotAcceptable", text)


Body = dict[str, Any]
