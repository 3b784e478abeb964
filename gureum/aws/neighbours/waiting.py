"""Long polls of SQS: moto would wait in the one thread that all calls share, so the wait is made here, between short looks.

AWS: SQS ReceiveMessage, WaitTimeSeconds 0 to 20; without it the queue's ReceiveMessageWaitTimeSeconds.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlencode

import msgspec

from gureum.aws.neighbours.refusals import parameters
from gureum.aws.protocols import Request

LOOK_S = 0.05
LIMIT_WAIT_S = 20


def wait_of(request: Request) -> float | None:
    """Seconds that the request wants to wait; None when it leaves that to the queue. A value that is wrong is left for moto to refuse."""
    value = parameters(request).get("WaitTimeSeconds")
    if value is None:
        return None
    try:
        seconds = int(value)
    except (TypeError, ValueError):
        return 0.0
    return float(seconds) if 0 <= seconds <= LIMIT_WAIT_S else 0.0


def without_wait(request: Request) -> Request:
    """The same request, for one look."""
    if "json" in request.headers.get("content-type", ""):
        body = json.dumps({**parameters(request), "WaitTimeSeconds": 0}).encode()
    else:
        pairs = parse_qsl(request.body.decode("latin-1"), keep_blank_values=True)
        kept = [(name, value) for name, value in pairs if name != "WaitTimeSeconds"]
        body = urlencode([*kept, ("WaitTimeSeconds", "0")]).encode()
    headers = {**request.headers, "content-length": str(len(body))}
    return msgspec.structs.replace(request, headers=headers, body=body)


def has_message(body: bytes) -> bool:
    """Whether an answer to ReceiveMessage, JSON or XML, holds a message."""
    return b'"MessageId"' in body or b"<MessageId>" in body


def queue_name(request: Request) -> str:
    """AWS: the last part of the queue's URL, given or called."""
    url = str(parameters(request).get("QueueUrl") or request.path)
    return url.rstrip("/").rpartition("/")[2]
