"""Columns and rows of Tables: of built-in kinds as `kubectl get` is known for, of custom resources as their definitions say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gureum.kube.kinds.kind import Kind

Columns = list[dict[str, Any]]
NAME = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}
AGE = {"name": "Age", "type": "string", "format": "", "description": "Age of the object.", "priority": 0}


def columns_of(_kind: Kind) -> Columns:
    return [NAME, AGE]


def row_of(_kind: Kind, obj: dict[str, Any], now: float) -> list[Any]:
    return [obj["metadata"]["name"], age(obj["metadata"].get("creationTimestamp"), now)]


def age(created: str | None, now: float) -> str:
    """As kubectl: two units at most, one where that is enough (k8s.io/apimachinery/pkg/util/duration)."""
    if not created:
        return "<unknown>"
    seconds = int(now - datetime.fromisoformat(created).timestamp())
    if seconds < -1:
        return "<invalid>"
    return human_duration(max(seconds, 0))


def human_duration(seconds: int) -> str:
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
