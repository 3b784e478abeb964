"""The forms an object is answered in: itself, in the version that is asked for; a row of a Table; its metadata alone; and lists of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from gureum.kube.errors import bad_request
from gureum.kube.kinds.conversion import convert
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Objects, with_revision
from gureum.kube.requests import Wish
from gureum.kube.tables.table import cells, definitions, table_of
from gureum.ports.clock import Clock
from gureum.store.contract import Entry

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Forms:
    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    def shown(self, kind: Kind, entry: Entry) -> bytes:
        """The object's JSON in the kind's version."""
        value = self._objects.plain(entry)
        if not value.startswith(b'{"apiVersion":"%b",' % kind.api_version.encode()):
            value = _encode(convert(_decode(value), kind))
        return with_revision(value, entry.revision)

    def list_of(self, kind: Kind, entries: list[Entry], metadata: dict[str, Any], wish: Wish, include: str) -> bytes:
        if wish.form == "Table":
            return self._table(kind, [self.shown(kind, entry) for entry in entries], metadata, wish, include)
        name, version = f"{kind.kind}List", kind.api_version
        if wish.form:
            name, version = "PartialObjectMetadataList", f"meta.k8s.io/{wish.version}"
        head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
            name.encode(),
            version.encode(),
            _encode(metadata),
        )
        parts: list[bytes | memoryview] = [head]
        if wish.form:
            for entry in entries:
                parts += (self.partial(self.shown(kind, entry), wish, end=b""), b",")
        else:
            self._put_all(parts, kind, entries)
        if entries:
            parts.pop()
        parts.append(b"]}\n")
        return b"".join(parts)

    def _put_all(self, parts: list[bytes | memoryview], kind: Kind, entries: list[Entry]) -> None:
        """Each object in pieces, so that its bytes are copied once, by the join. They all begin alike, but for those of another version."""
        start = b'{"apiVersion":"%b","kind":"%b","metadata":{' % (kind.api_version.encode(), kind.kind.encode())
        size, plain = len(start), self._objects.plain
        for entry in entries:
            value = plain(entry)
            if value.startswith(start):
                parts += (start, b'"resourceVersion":"%d",' % entry.revision, memoryview(value)[size:], b",")
            else:
                parts += (self.shown(kind, entry), b",")

    def table(self, kind: Kind, value: bytes, wish: Wish, include: str, *, headed: bool = True) -> bytes:
        """One object. `headed`: with the columns (later events of a watch have none)."""
        revision = _decode(value)["metadata"].get("resourceVersion", "")  # of reviews, which are not kept
        return self._table(kind, [value], {"resourceVersion": revision}, wish, include, headed=headed)

    def partial(self, value: bytes, wish: Wish, end: bytes = b"\n") -> bytes:
        metadata = _decode(value, type=_Raw).metadata
        return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%b","metadata":%b}%b' % (
            wish.version.encode(),
            bytes(metadata),
            end,
        )

    def _table(
        self,
        kind: Kind,
        values: list[bytes],
        metadata: dict[str, Any],
        wish: Wish,
        include: str,
        *,
        headed: bool = True,
    ) -> bytes:
        if include not in ("", "None", "Metadata", "Object"):
            raise bad_request(f"unrecognized includeObject value: {include!r}")
        table = table_of(kind.group, kind.kind, None if kind.custom is None else kind.custom.columns)
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        rows = []
        for value in values:
            row: dict[str, Any] = {"cells": cells(table, _decode(value), now)}
            if include == "Object":
                row["object"] = msgspec.Raw(value)
            elif include != "None":
                row["object"] = msgspec.Raw(self.partial(value, wish, end=b""))
            rows.append(row)
        return (
            _encode(
                {
                    "kind": "Table",
                    "apiVersion": f"meta.k8s.io/{wish.version}",
                    "metadata": metadata,
                    "columnDefinitions": definitions(table) if headed else [],
                    "rows": rows,
                }
            )
            + b"\n"
        )


class _Raw(msgspec.Struct):
    metadata: msgspec.Raw
