"""Filters: `Filters=[{Name, Values}]` as EC2 and its relatives use them.

A table per resource says which values a filter looks at; values of one filter are OR-ed, filters AND-ed; `*` and `?` are wildcards, a
backslash takes their meaning away; comparison is case-sensitive. `tag:KEY`, `tag-key` and `tag-value` work for every resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from gureum.aws.errors import AwsError
from gureum.base.globs import glob
from gureum.engine.resource import Resource

T = TypeVar("T", bound=Resource)
FilterValues = Callable[[Any], "str | Iterable[str] | None"]
FilterTable = Mapping[str, FilterValues]
LIMIT_FILTERS, LIMIT_VALUES = 50, 200


def apply_filters(items: Iterable[T], filters: list[dict[str, Any]] | None, table: FilterTable) -> list[T]:
    """Those that match all filters. AWS: InvalidParameterValue for a filter name the operation does not have, FilterLimitExceeded
    for more than 50 filters, or 200 values of one ("List and filter using the CLI and API")."""
    if len(filters or ()) > LIMIT_FILTERS:
        raise AwsError(
            "FilterLimitExceeded", f"The maximum number of filters specified on a single call is {LIMIT_FILTERS}"
        )
    tests = [_test(one, table) for one in filters or ()]
    return [item for item in items if all(test(item) for test in tests)]


def _test(one: dict[str, Any], table: FilterTable) -> Callable[[Any], bool]:
    name, values = one.get("Name"), one.get("Values") or []
    if not name:
        raise AwsError("InvalidParameterValue", "The filter 'null' is invalid")
    if len(values) > LIMIT_VALUES:
        raise AwsError(
            "FilterLimitExceeded", f"The maximum number of filter values specified on a single call is {LIMIT_VALUES}"
        )
    if not values:
        raise AwsError("InvalidParameterValue", f"The filter '{name}' must have at least one value")
    look = _tag_values(name) or table.get(name)
    if look is None:
        raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
    matches = [glob(str(value)) for value in values]
    return lambda item: any(match(found) for found in _many(look(item)) for match in matches)


def _many(found: str | Iterable[str] | None) -> Iterable[str]:
    if found is None:
        return ()
    return (found,) if isinstance(found, str) else found


def _tag_values(name: str) -> FilterValues | None:
    if name == "tag-key":
        return lambda item: item.meta.tags.keys()
    if name == "tag-value":
        return lambda item: item.meta.tags.values()
    if name.startswith("tag:"):
        tag = name[4:]
        return lambda item: item.meta.tags.get(tag)
    return None


def boolean(value: bool) -> str:
    """How AWS writes booleans in filters."""
    return "true" if value else "false"
