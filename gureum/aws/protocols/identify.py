"""Identify: which service, protocol and operation a request is for, before anything of it is parsed.

    signature scope, target prefix, path, host   →   candidates   →   protocol by content   →   operation by name or
    route

Looks at the head of a request and the first parameters only. Never raises for what a client sends: what cannot be told
stays empty and the gateway answers with the error of the protocol that comes nearest.
"""

from __future__ import annotations

import functools
import re

import msgspec

from gureum.aws.protocols.models import Metadata, load_service, service_index, service_metadata, service_protocols
from gureum.aws.protocols.routes import match_route
from gureum.aws.protocols.wire import Request

_CREDENTIAL = re.compile(r"Credential=([^/,\s]{1,200})/(\d{8})/([a-z0-9-]{0,60})/([a-z0-9._-]{1,60})/aws4_request")
_QUERY_CREDENTIAL = re.compile(
    r"(?:^|&)X-Amz-Credential=([^%/&]{1,200})/(\d{8})/([a-z0-9-]{0,60})/([a-z0-9._-]{1,60})/aws4_request".replace(
        "/(", "(?:%2F|/)("
    ).replace("/aws4", "(?:%2F|/)aws4"),
    re.IGNORECASE,
)
_RPC_PATH = re.compile(r"/service/([A-Za-z0-9_.]{1,120})/operation/([A-Za-z0-9_]{1,120})$")
_ACTION = re.compile(r"(?:^|&)Action=([A-Za-z0-9_.:-]{0,120})(?=&|$)")
_VERSION = re.compile(r"(?:^|&)Version=(\d{4}-\d\d-\d\d)(?=&|$)")
# Letters that a path must have before other services with the same signing name are not looked at.
_CERTAIN_WEIGHT = 8
_KINDS = {"json": ("json", "rest-json"), "cbor": ("smithy-rpc-v2-cbor",), "x-www-form-urlencoded": ("query", "ec2")}
# Form bodies name their action near the start; real clients put it first.
_BODY_HEAD_BYTES = 1 << 16


class Scope(msgspec.Struct, frozen=True):
    """The credential scope of a SigV4 signature, as claimed (nothing is verified here)."""

    access_key: str
    date: str
    region: str
    signing_name: str


class Target(msgspec.Struct, frozen=True):
    """`service`: botocore's name, or "" when it cannot be told. `protocol`: never empty. `operation`: as the client
    named it, perhaps not in the model; "" when it named none."""

    service: str
    protocol: str
    operation: str


def credential_scope(request: Request) -> Scope | None:
    """Of the Authorization header, else of a presigned query string; None for an anonymous request."""
    header = request.headers.get("authorization", "")[:2000]
    if header and (kept := _scope_of(header.partition(", SignedHeaders=")[0])) is not None:
        return kept
    found = _CREDENTIAL.search(header) or _QUERY_CREDENTIAL.search(request.query[:20000])
    return None if found is None else _scope(found)


@functools.lru_cache(maxsize=1024)
def _scope_of(credential: str) -> Scope | None:
    """Kept, since a client's is the same all day; only what is behind it, the signature, is another each time."""
    found = _CREDENTIAL.search(credential)
    return None if found is None else _scope(found)


def _scope(found: re.Match[str]) -> Scope:
    return Scope(found[1], found[2], found[3], found[4].lower())


def identify(request: Request) -> Target:
    """Which operation of which service in which protocol."""
    scope = credential_scope(request)
    signing_name = scope.signing_name if scope is not None else ""
    target = request.headers.get("x-amz-target", "")
    if target:
        return _by_target(target, signing_name)
    rpc = _RPC_PATH.search(request.path)
    if rpc is not None and "smithy-protocol" in request.headers:
        return _by_prefix(rpc[1], rpc[2], "smithy-rpc-v2-cbor", signing_name)
    action = _action(request)
    if action is not None:
        found = _by_action(action[0], action[1], signing_name)
        if found is not None:
            return found
    return _by_route(request, signing_name)


def _by_target(target: str, signing_name: str) -> Target:
    prefix, _, operation = target.rpartition(".")
    return _by_prefix(prefix, operation, "json", signing_name)


def _by_prefix(prefix: str, operation: str, protocol: str, signing_name: str) -> Target:
    own = service_metadata(signing_name) if signing_name else None
    if own is not None and own.target_prefix == prefix:
        return Target(signing_name, protocol, operation)
    names = _by_target_prefix().get(prefix, ())
    if len(names) > 1:
        names = [name for name in names if _has_operation(name, operation)] or names
    return Target(names[0] if names else "", protocol, operation)


def _action(request: Request) -> tuple[str, str] | None:
    """(action, version) of a form in query string or body."""
    texts = [request.query[:_BODY_HEAD_BYTES]] if request.query else []
    kind = request.headers.get("content-type", "")
    if request.body and (not kind or kind.startswith("application/x-www-form-urlencoded")):
        texts.append(request.body[:_BODY_HEAD_BYTES].decode("latin-1"))
    for text in texts:
        action = _ACTION.search(text)
        if action is not None:
            version = _VERSION.search(text)
            return action[1], version[1] if version else ""
    return None


def _by_action(action: str, version: str, signing_name: str) -> Target | None:
    own = service_metadata(signing_name) if signing_name else None
    protocol = _form_protocol(signing_name, own) if own is not None else ""
    if own is not None and protocol and (version in ("", own.api_version) or protocol == "ec2"):
        # The usual case: a service called as it signs, in its own version. Needs no look at the others.
        return Target(signing_name, protocol, action)
    names = _query_services().get(version, [])
    if signing_name:
        signed = [
            name for name in _by_signing_name().get(signing_name, ()) if _form_protocol(name, service_index()[name])
        ]
        names = [name for name in signed if name in names] or signed
    if not names:
        # EC2 takes every version it ever had; an unsigned call of it (curl in a script) may name an old one, or none.
        return Target("ec2", "ec2", action) if not signing_name and _has_operation("ec2", action) else None
    # rds, docdb and neptune share a version and most operations.
    best = next((name for name in names if _has_operation(name, action)), names[0]) if len(names) > 1 else names[0]
    return Target(best, _form_protocol(best, service_index()[best]), action)


def _by_route(request: Request, signing_name: str) -> Target:
    own = service_metadata(signing_name) if signing_name else None
    if own is not None and (protocol := _rest_protocol(signing_name, own)):
        operation, weight = match_route(signing_name, request)
        if weight >= _CERTAIN_WEIGHT:
            return Target(signing_name, protocol, operation)
    names = _rest_candidates(request, signing_name)
    found = [(match_route(name, request), name) for name in names]
    (operation, _), name = max(found, key=lambda one: one[0][1] if one[0][0] else -1, default=(("", 0), ""))
    if name:
        return Target(name, _rest_protocol(name, service_index()[name]), operation)
    kind = request.headers.get("content-type", "")
    meant = _signed_for(signing_name)
    if meant:
        return Target(meant, _protocol_of_kind(kind, service_protocols(meant, service_index()[meant])), "")
    return Target("", _protocol_of_kind(kind, ("query", "json", "smithy-rpc-v2-cbor")), "")


def _signed_for(signing_name: str) -> str:
    """Whose refusal a signed request gets that names no operation: the newest API of those that sign so (of the load
    balancers' two the later one). "" when nobody does."""
    index = service_index()
    if signing_name in index:
        return signing_name
    return max(_by_signing_name().get(signing_name, ()), key=lambda name: index[name].api_version, default="")


def _protocol_of_kind(kind: str, protocols: tuple[str, ...]) -> str:
    """Which of the protocols a body of this content type is in: the first one where it tells nothing."""
    wanted = next((ours for part, ours in _KINDS.items() if part in kind), ())
    return next((one for one in protocols if one in wanted), protocols[0])


def _rest_candidates(request: Request, signing_name: str) -> list[str]:
    """Services that may be meant, the likeliest first: the one the host is named after, the one named as it signs."""
    label = request.headers.get("host", "").partition(".")[0].partition(":")[0].lower()
    by_host = _by_endpoint().get(label, [])
    names = _by_signing_name().get(signing_name, []) if signing_name else by_host
    ordered = [name for name in names if name in by_host] + [name for name in names if name not in by_host]
    return [name for name in ordered if _rest_protocol(name, service_index()[name])]


def _rest_protocol(name: str, metadata: Metadata) -> str:
    return next((one for one in service_protocols(name, metadata) if one.startswith("rest-")), "")


def _form_protocol(name: str, metadata: Metadata) -> str:
    return next((one for one in service_protocols(name, metadata) if one in ("ec2", "query")), "")


def _has_operation(name: str, operation: str) -> bool:
    return operation in load_service(name).operations


def _group(key: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, metadata in service_index().items():
        found = getattr(metadata, key) or (metadata.endpoint_prefix if key == "signing_name" else "")
        if found:
            groups.setdefault(found, []).append(name)
    for found, names in groups.items():
        names.sort(key=lambda name: (name != found, name))
    return groups


@functools.cache
def _by_signing_name() -> dict[str, list[str]]:
    return _group("signing_name")


@functools.cache
def _by_target_prefix() -> dict[str, list[str]]:
    return _group("target_prefix")


@functools.cache
def _by_endpoint() -> dict[str, list[str]]:
    return _group("endpoint_prefix")


@functools.cache
def _query_services() -> dict[str, list[str]]:
    """API version → services that speak query or ec2 in it."""
    groups: dict[str, list[str]] = {}
    for name, metadata in service_index().items():
        if _form_protocol(name, metadata):
            groups.setdefault(metadata.api_version, []).append(name)
    return groups
