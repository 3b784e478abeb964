"""The same object in another version of its API."""

from __future__ import annotations

from typing import Any

from gureum.kube.kinds.kind import Kind

Object = dict[str, Any]
_TO_NEW = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_TO_OLD = {new: old for old, new in _TO_NEW.items()}


def convert(obj: Object, kind: Kind) -> Object:
    """`obj` as `kind`; only events have two shapes, other versions differ by their names alone."""
    if obj["apiVersion"] == kind.api_version:
        return obj
    if kind.storage == "core/events":
        names = _TO_NEW if kind.group else _TO_OLD
        obj = {names.get(name, name): value for name, value in obj.items()}
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": obj["metadata"]}
    return head | {name: value for name, value in obj.items() if name not in head}
