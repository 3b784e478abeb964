"""Pages of Describe operations: `PageSize` and `Marker`, at most 400 items each. AWS: the common form of elbv2's lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gureum.aws import paging
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.faults import invalid
from gureum.aws.errors import AwsError

T = TypeVar("T")


def page(params: dict[str, Any], items: Sequence[T], key: Callable[[T], str]) -> tuple[list[T], dict[str, str]]:
    """The page that is asked for, and {"NextMarker": …} when there is more. AWS: ValidationError for a marker that is none."""
    try:
        shown, marker = paging.page(
            params,
            items,
            key,
            limit_name="PageSize",
            token_name="Marker",  # noqa: S106
            least=1,
            most=limits.PAGE,
            default=limits.PAGE,
        )
    except AwsError as error:
        raise invalid("The marker or page size is invalid") from error
    return shown, {"NextMarker": marker} if marker else {}
