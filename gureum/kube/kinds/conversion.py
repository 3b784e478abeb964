"""The same object in another version of its API."""

from __future__ import annotations

from typing import Any

from gureum.kube.kinds.kind import Kind
from gureum.kube.kinds.scaling_versions import to_v1, to_v2

AUTOSCALERS = "autoscaling/horizontalpodautoscalers"
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
    """`obj` as `kind`; only events and autoscalers have two shapes, other versions differ by their names alone."""
    if obj["apiVersion"] == kind.api_version:
        return obj
    if kind.storage == AUTOSCALERS:
        obj = obj | (to_v1(obj) if kind.version == "v1" else to_v2(obj))
    if kind.storage == "core/events":
        names = _TO_NEW if kind.group else _TO_OLD
        obj = {names.get(name, name): value for name, value in obj.items()}
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": obj["metadata"]}
    return head | {name: value for name, value in obj.items() if name not in head}
