"""The event stream: what happened, in EventBridge's form, for whoever in this process wants to know (and later for EventBridge itself).

Publishing never waits and never fails for a listener's sake. The newest are kept in memory, for those who come late and for people.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger("gureum.events")
LIMIT_KEPT = 1000
Listener = Callable[[dict[str, Any]], None]


class EventStream:
    """Events are dicts: version, id, detail-type, source, account, time, region, resources, detail (AWS: "EventBridge event structure")."""

    def __init__(self) -> None:
        self._kept: deque[dict[str, Any]] = deque(maxlen=LIMIT_KEPT)
        self._listeners: list[Listener] = []

    def publish(self, event: dict[str, Any]) -> None:
        self._kept.append(event)
        log.info("event", extra={"type": event["detail-type"], "resources": event["resources"]})
        for listener in list(self._listeners):
            listener(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """`listener` is called in the loop with every event from now on; it must not wait, and must not raise. Returns the way to stop it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def recent(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return list(self._kept)
