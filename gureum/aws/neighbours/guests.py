"""What machines of the cloud may ask of neighbours: nothing of other accounts.

moto looks up what an ARN, a queue's URL or an account's number names in the account that stands there, whoever asks, and judges no policies. Buckets,
whose names say nothing of their accounts, it can keep apart itself (`Wanted.guest`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request, Target

_ARN = re.compile(r"\s*[^:\s\"]{0,100}:[^:]{0,100}:[^:]{0,100}:[^:]{0,100}:\s*(\d{12})\s*:")
_QUEUE = re.compile(r"/(\d{12})(?:/|$)")
_NUMBER = re.compile(r"\s*(\d{12})\s*")
ACCOUNT_WORDS = ("account", "registry", "owner")
LIMIT_DEPTH = 32


def stay_in_account(target: Target, request: Request, account: str) -> None:
    """AWS: AccessDenied where a parameter is another account's ARN, queue URL or number. Texts that only speak of one (policies, messages) pass."""
    for name, value in _values(target, request):
        found = [_ARN.match(value)]
        if any(word in name.lower() for word in ACCOUNT_WORDS):
            found.append(_NUMBER.fullmatch(value))
        if target.service == "sqs":
            found.append(_QUEUE.search(value))
        if any(one is not None and one[1] != account for one in found):
            what = f"{target.service}:{target.operation}" if target.operation else target.service
            text = f"User is not authorized to perform: {what} on a resource of another account"
            raise AwsError("AccessDenied", text, status=403)


def _values(target: Target, request: Request) -> Iterator[tuple[str, str]]:
    """Parameters by their names, wherever they stand."""
    yield "x-amz-account-id", request.headers.get("x-amz-account-id", "")
    if target.service == "s3":
        return
    for part in unquote(request.path).split("/"):
        yield "", part
    if target.service == "sqs":
        yield "", request.path
    yield from parse_qsl(request.query, keep_blank_values=True)
    if target.service == "s3control":
        return
    text = request.body.decode("utf-8", "replace")
    if target.protocol == "query":  # read as a form, also where it is JSON as well
        yield from parse_qsl(text, keep_blank_values=True)
        return
    try:
        yield from _leaves("", json.loads(text), 0)
    except (ValueError, RecursionError):
        yield from parse_qsl(text, keep_blank_values=True)


def _leaves(name: str, value: object, depth: int) -> Iterator[tuple[str, str]]:
    if depth > LIMIT_DEPTH:
        raise AwsError("AccessDenied", "The request is nested too deeply", status=403)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield "", str(key)
            yield from _leaves(str(key), inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(name, inner, depth + 1)
    elif isinstance(value, str | int):
        yield name, str(value)
