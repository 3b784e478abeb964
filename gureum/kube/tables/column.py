"""A table: its columns, and the cells of an object."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

Object = dict[str, Any]
Cells = Callable[[Object, datetime], list[Any]]
NONE = "<none>"
UNKNOWN = "<unknown>"


class Column(msgspec.Struct, frozen=True):
    """A column. `priority` 0 is always shown, 1 with `-o wide`."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""


class Table(msgspec.Struct, frozen=True):
    """The columns of a kind, and what makes an object's cells, in their order."""

    columns: tuple[Column, ...]
    cells: Cells


def table(shown: str, wide: str = "") -> Callable[[Cells], Table]:
    """A table of a function that makes cells. Names are divided by commas; `#` at the end means a number."""
    columns = [_column(name, 0) for name in shown.split(",")] + [_column(name, 1) for name in wide.split(",") if name]
    return lambda cells: Table(tuple(columns), cells)


def _column(name: str, priority: int) -> Column:
    plain = name.strip().removesuffix("#").removesuffix("!")
    type_ = "integer" if name.endswith("#") else "string"
    # `!`: not always shown, though it stands among those that are.
    return Column(plain, type_, 1 if name.endswith("!") else priority, "name" if plain == "Name" else "")


def at(value: Any, *path: str | int, default: Any = None) -> Any:
    """A member far below; `default` where the way ends."""
    for part in path:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and len(value) > part else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            return default
    return value


def name_of(thing: Object) -> str:
    return str(at(thing, "metadata", "name", default=""))


def age(thing: Object, now: datetime) -> str:
    return since(at(thing, "metadata", "creationTimestamp"), now)


def since(moment: Any, now: datetime) -> str:
    """How long ago, as people say it: `5m3s`, `7d`."""
    found = parsed(moment)
    return human(int((now - found).total_seconds())) if found else UNKNOWN


def parsed(moment: Any) -> datetime | None:
    """A time of RFC 3339; None where there is none."""
    if not isinstance(moment, str) or not moment:
        return None
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def human(seconds: int) -> str:
    """A span in at most two units (k8s.io/apimachinery/pkg/util/duration: HumanDuration)."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
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
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if days < 2920 else f"{years}y"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def listed(values: list[str] | None, limit: int = 3) -> str:
    """Up to `limit` of them, and how many more."""
    if not values:
        return NONE
    more = len(values) - limit
    return ",".join(values[:limit]) + (f" + {more} more..." if more > 0 else "")


def labels(found: Any) -> str:
    """`a=b,c=d`."""
    return ",".join(f"{name}={found[name]}" for name in sorted(found)) if found else NONE


def selector(found: Any) -> str:
    """A label selector in the words of kubectl's `-l`."""
    if not found:
        return NONE
    parts = [f"{name}={value}" for name, value in sorted(at(found, "matchLabels", default={}).items())]
    for one in at(found, "matchExpressions", default=[]):
        key, operator = one.get("key", ""), one.get("operator", "")
        values = ",".join(sorted(one.get("values") or ()))
        forms = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(forms.get(operator, key))
    return ",".join(parts) or NONE


def containers(spec: Any) -> tuple[str, str]:
    """Names and images of a pod's containers."""
    found = at(spec, "containers", default=[])
    return ",".join(one.get("name", "") for one in found), ",".join(one.get("image", "") for one in found)


def condition(thing: Object, type_: str) -> Object | None:
    """The condition of that type."""
    return next((one for one in at(thing, "status", "conditions", default=[]) if one.get("type") == type_), None)
