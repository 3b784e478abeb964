"""The common way of EC2's Describe operations: by ids or all of the scope, then filters, then the page that was asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.ids import IdForm, find_all
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.paging import page
from gureum.engine.resource import Resource

T = TypeVar("T", bound=Resource)


def listing(
    call: Call,
    cls: type[T],
    form: IdForm,
    ids_name: str,
    filters: FilterTable,
    *,
    least: int = 5,
    default: int | None = None,
    capped: bool = False,
) -> tuple[list[T], str | None]:
    """The objects that a Describe call asks for, sorted by id, and the next page's token. `ids_name`: the parameter that lists ids; `least`: how
    short a page may be; `capped`: as paging.page has it.
    AWS: InvalidParameterCombination for ids together with MaxResults."""
    ids = call.params.get(ids_name)
    not_with_pages(call, ids_name, ids_name[:1].lower() + ids_name[1:])
    items = find_all(call, cls, form, ids) if ids else call.all(cls)
    items = apply_filters(items, call.params.get("Filters"), filters)
    call.end_dry_run()
    return page(call.params, items, lambda item: item.meta.name, least=least, default=default, capped=capped)


def not_with_pages(call: Call, ids_name: str, told: str) -> None:
    """Of operations that take ids or give pages, not both. `told`: what AWS calls the ids. AWS: InvalidParameterCombination."""
    if call.params.get(ids_name) and call.params.get("MaxResults") is not None:
        text = f"The parameter {told} cannot be used with the parameter maxResults"
        raise AwsError("InvalidParameterCombination", text)


def as_shared(call: Call, item: T) -> T:
    """What of others is shared with the caller comes without its owner's tags. AWS: "Share an AMI with specific AWS accounts"."""
    if item.meta.scope.split("/")[0] == call.account or not item.meta.tags:
        return item
    return msgspec.structs.replace(item, meta=msgspec.structs.replace(item.meta, tags={}))


def answer(name: str, items: list[dict[str, Any]], token: str | None) -> dict[str, Any]:
    """The result of a Describe operation: the items under `name`, the token only when there is more."""
    return {name: items, "NextToken": token} if token else {name: items}


def nothing(
    call: Call, name: str, *filters: str, parameter: str = "Filters", least: int = 1, most: int = 1000
) -> dict[str, Any]:
    """The result of a Describe operation of what there is none of and cannot be: the call is checked as any other. `least`, `most`: how long a page
    may be, where the service's model does not say it."""
    none: list[Resource] = []
    apply_filters(none, call.params.get(parameter), dict.fromkeys(filters, lambda _: ()))
    call.end_dry_run()
    page(call.params, none, lambda one: one.meta.name, least=least, most=most)
    return {name: []}


def show_tags(tags: dict[str, str]) -> list[dict[str, str]]:
    """API form of tags, sorted by key so that answers do not change without cause."""
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def show_own_tags(tags: dict[str, str]) -> dict[str, Any]:
    """For kinds whose API form has no empty list of tags: `{"Tags": …}` or nothing."""
    return {"Tags": show_tags(tags)} if tags else {}


def iso_time(seconds: float) -> str:
    """Unix seconds as EC2 writes times in filters: "2026-01-02T03:04:05.000Z"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(seconds * 1000) % 1000:03d}Z"
