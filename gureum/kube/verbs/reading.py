"""Get and list: objects as they lie in the store, joined.

A list is of one revision of the store. One with a limit keeps its entries (which never change, so they cost a reference each) for as long as its
reader may come back: each page is of the same revision, whatever is written meanwhile. A reader that comes too late hears 410, with a token
to go on from where he was in the present state.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from typing import Any

import msgspec

from gureum.kube.errors import StatusError, bad_request, expired, not_found, too_large_revision
from gureum.kube.forms import Forms
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Objects
from gureum.kube.requests import Request, Response, Target, Wish, wish_of
from gureum.kube.selectors import FieldSelector, Filter, make_filter, parse_fields, parse_labels
from gureum.store.contract import Entry

LIMIT_SNAPSHOTS = 64


class _Token(msgspec.Struct):
    """Of a list that goes on: after which key (below the list's prefix), at which revision. -1: whatever there is now."""

    rv: int
    start: str
    v: str = "meta.k8s.io/v1"


class Reading:
    def __init__(self, objects: Objects, forms: Forms) -> None:
        self._objects = objects
        self._forms = forms
        self._snapshots: OrderedDict[tuple[str, int], list[Entry]] = OrderedDict()

    def get(self, request: Request, target: Target) -> Response:
        """StatusError: not there; a revision that is not reached yet."""
        wish = wish_of(request.headers.get("accept", ""))
        self._require_reached(request)
        entry = self._objects.entry(target.kind.storage, target.namespace, target.name)
        if entry is None:
            raise not_found(target.kind, target.name)
        return Response(200, self.one(request, target.kind, entry, wish), wish.content_type)

    def one(self, request: Request, kind: Kind, entry: Entry, wish: Wish) -> bytes:
        value = self._forms.shown(kind, entry)
        if not wish.form:
            return value + b"\n"
        if wish.form == "Table":
            return self._forms.table(kind, value, wish, request.parameter("includeObject"))
        return self._forms.partial(value, wish)

    def read_list(self, request: Request, target: Target) -> Response:
        kind = target.kind
        wish = wish_of(request.headers.get("accept", ""))
        if "sendInitialEvents" in request.query:
            raise invalid_options("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list")
        selected = self.filter_of(request, target)
        entries, revision = self._entries(request, target)
        limit = request.number("limit") or 0
        found, last = _chosen(self._objects, entries, selected, limit)
        left = len(entries) - last
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if left:
            self._keep(target, revision, entries)
            prefix = self._objects.prefix(kind.storage)
            metadata["continue"] = _encode(_Token(revision, entries[last - 1].key[len(prefix) :]))
            if selected is None:
                metadata["remainingItemCount"] = left
        return Response(
            200, self._forms.list_of(kind, found, metadata, wish, request.parameter("includeObject")), wish.content_type
        )

    def _entries(self, request: Request, target: Target) -> tuple[list[Entry], int]:
        """What the request's list is of, from where it goes on, and its revision."""
        objects = self._objects
        prefix = objects.prefix(target.kind.storage, target.namespace)
        token = _decode(request.parameter("continue")) if request.parameter("continue") else None
        if token is None:
            exact = self._require_reached(request)
            if exact is not None and exact != objects.revision:
                kept = self._snapshots.get((prefix, exact))
                if kept is None:
                    raise expired(f"The resourceVersion for the provided list is too old: {exact}")
                return kept, exact
            return objects.store.range(prefix), objects.revision
        if request.parameter("resourceVersionMatch"):
            raise invalid_options(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"
            )
        if request.parameter("resourceVersion") not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        after = objects.prefix(target.kind.storage) + token.start
        if not after.startswith(prefix):
            raise bad_request("continue key is not valid: the token is of another list")
        if token.rv in (-1, objects.revision):
            return objects.store.range(prefix, after=after), objects.revision
        kept = self._snapshots.get((prefix, token.rv))
        if kept is None:
            raise _too_late(token)
        self._snapshots.move_to_end((prefix, token.rv))
        return [entry for entry in kept if entry.key > after], token.rv

    def _keep(self, target: Target, revision: int, entries: list[Entry]) -> None:
        place = self._objects.prefix(target.kind.storage, target.namespace), revision
        if place not in self._snapshots:
            self._snapshots[place] = entries
            while len(self._snapshots) > LIMIT_SNAPSHOTS:
                self._snapshots.popitem(last=False)

    def _require_reached(self, request: Request) -> int | None:
        """The revision that is asked for exactly, if one is."""
        text, match = request.parameter("resourceVersion"), request.parameter("resourceVersionMatch")
        if match and match not in ("Exact", "NotOlderThan"):
            raise invalid_options(
                f'resourceVersionMatch: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
            )
        if match and not text:
            raise invalid_options(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
            )
        revision = revision_of(text)
        if match == "Exact" and revision == 0:
            raise invalid_options(
                'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            )
        if revision > self._objects.revision:
            raise too_large_revision(revision, self._objects.revision)
        return revision if match == "Exact" else None

    def filter_of(self, request: Request, target: Target) -> Filter | None:
        """By the selectors of the request, and by the name when a single object is watched."""
        labels = parse_labels(request.parameter("labelSelector"))
        fields = self._fields(request, target)
        return make_filter(labels, fields)

    def _fields(self, request: Request, target: Target) -> FieldSelector:
        text = request.parameter("fieldSelector")
        extra = tuple(target.kind.custom.selectable) if target.kind.custom is not None else ()
        found = parse_fields(text, target.kind.storage, extra) if text else ()
        return (*found, *parse_fields(f"metadata.name={target.name}", "")) if target.name else found


def _chosen(objects: Objects, entries: list[Entry], selected: Filter | None, limit: int) -> tuple[list[Entry], int]:
    """The first `limit` (0: all) that are selected, and how many entries were looked at for that."""
    if selected is None:
        end = min(limit, len(entries)) if limit > 0 else len(entries)
        return entries[:end], end
    found: list[Entry] = []
    for at, entry in enumerate(entries):
        if 0 < limit <= len(found):
            return found, at
        if selected(objects.plain(entry)):
            found.append(entry)
    return found, len(entries)


def revision_of(text: str) -> int:
    """A resourceVersion as a number; 0 where none is given."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise invalid_options(
            f'resourceVersion: Invalid value: "{text[:100]}": strconv.ParseUint: parsing "{text[:100]}": invalid syntax'
        )
    return int(text)


def invalid_options(text: str) -> StatusError:
    return StatusError(
        422,
        "Invalid",
        f'ListOptions.meta.k8s.io "" is invalid: {text}',
        {"group": "meta.k8s.io", "kind": "ListOptions"},
    )


def _too_late(token: _Token) -> StatusError:
    error = expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
        "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided "
        "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was "
        "returned and now may show up in the list."
    )
    error.metadata = {"continue": _encode(_Token(-1, token.start))}
    return error


def _encode(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def _decode(text: str) -> _Token:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (ValueError, msgspec.DecodeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    if not token.start or token.v != "meta.k8s.io/v1":
        raise bad_request("continue key is not valid: incorrect encoded start resourceVersion")
    return token
