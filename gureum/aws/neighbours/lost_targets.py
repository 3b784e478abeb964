"""Topics and rules that lead to a queue that is gone: moto refuses the message to its sender, after others have got it, and a refused call is in no
journal, so theirs were gone after a restart. AWS: SNS and EventBridge take a message first; who cannot be reached does not get it.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from moto.sns.models import Subscription
from moto.sqs.exceptions import QueueDoesNotExist

_PUBLISH = Subscription.publish
LIMIT_PATHS = 1024


def install() -> None:
    """Idempotent."""
    setattr(Subscription, "publish", _publish)  # noqa: B010 - moto has no other way in


def lead_events() -> None:
    """Idempotent; before the first call of EventBridge. Paths into events are read once: moto made a new parser for each of eight for each target of
    each event, which took most of the time of playing a journal with events."""
    rules = importlib.import_module("moto.events.models").Rule
    paths = importlib.import_module("jsonpath_ng.ext")
    if hasattr(paths.parse, "cache_info"):
        return
    vars(paths)["parse"] = functools.lru_cache(LIMIT_PATHS)(paths.parse)
    send = rules._send_to_sqs_queue

    def sent(rule: Any, *given: Any, **named: Any) -> None:
        try:
            send(rule, *given, **named)
        except QueueDoesNotExist:
            return

    rules._send_to_sqs_queue = sent


def _publish(subscription: Any, *given: Any, **named: Any) -> None:
    try:
        _PUBLISH(subscription, *given, **named)
    except QueueDoesNotExist:
        return
