"""Pagination: opaque tokens over a list sorted by a stable key.

A token names the last item shown, so pages stay right while items come and go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gureum.aws.errors import AwsError

T = TypeVar("T")


def page(
    params: dict[str, Any],
    items: Sequence[T],
    key: Callable[[T], str],
    *,
    limit_name: str = "MaxResults",
    token_name: str = "NextToken",
    least: int = 5,
    most: int = 1000,
    default: int | None = None,
    capped: bool = False,
) -> tuple[list[T], str | None]:
    """The page that `params` ask for and the token of the next one (None at the end). EC2: InvalidParameterValue for a bad limit or token;
    without a limit and a default everything is one page. `capped`: a limit above `most` is `most` (as of VPC endpoints)."""
    ordered = sorted(items, key=key)
    limit = params.get(limit_name)
    if capped and limit is not None:
        limit = min(limit, most)
    if limit is not None and not least <= limit <= most:
        raise AwsError(
            "InvalidParameterValue",
            f"Value ( {limit} ) for parameter maxResults is invalid. Expecting a value between {least} and {most}.",
        )
    token = params.get(token_name)
    if token:
        after = decode_token(token)
        ordered = [item for item in ordered if key(item) > after]
    size = limit or default
    if size is None or len(ordered) <= size:
        return ordered, None
    return ordered[:size], encode_token(key(ordered[size - 1]))


def encode_token(key: str) -> str:
    """The token of what comes behind `key`."""
    return base64.urlsafe_b64encode(b"1:" + key.encode()).decode()


def decode_token(token: str) -> str:
    """The key in a token. EC2, CloudWatch: InvalidParameterValue."""
    try:
        raw = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raw = ""
    if not raw.startswith("1:"):
        raise AwsError("InvalidParameterValue", "Invalid value for parameter NextToken.")
    return raw[2:]
