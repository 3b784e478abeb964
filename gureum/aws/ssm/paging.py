"""Pages as Systems Manager has them: its own word for a token that is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gureum.aws import paging
from gureum.aws.errors import AwsError

T = TypeVar("T")


def page(
    params: dict[str, Any], items: Sequence[T], key: Callable[[T], str], *, least: int, most: int, default: int
) -> tuple[list[T], str | None]:
    """AWS: InvalidNextToken; ValidationException for a number of results that is out of bounds (the model has said so before)."""
    try:
        return paging.page(params, items, key, least=least, most=most, default=default)
    except AwsError as error:
        bad_token = "NextToken" in error.message
        raise AwsError("InvalidNextToken" if bad_token else "ValidationException", error.message) from error
