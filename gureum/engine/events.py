"""Events: what happened to an object, in words a user reads in `gureum explain`. Kept in memory, the newest
`LIMIT_PER_OBJECT` of each object.

The same event again is counted, not repeated.
"""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec

LIMIT_PER_OBJECT = 50
LIMIT_OBJECTS = 20_000


class ObjectEvent(msgspec.Struct):
    """`first` and `last` are Unix seconds; `kind` is "Normal" or "Warning"."""

    kind: str
    reason: str
    message: str
    first: float
    last: float
    count: int = 1


class Events:
    def __init__(self) -> None:
        self._by_key: OrderedDict[str, deque[ObjectEvent]] = OrderedDict()

    def record(self, key: str, now: float, reason: str, message: str, *, warning: bool = False) -> None:
        kind = "Warning" if warning else "Normal"
        queue = self._by_key.setdefault(key, deque(maxlen=LIMIT_PER_OBJECT))
        self._by_key.move_to_end(key)
        if queue and (queue[-1].kind, queue[-1].reason, queue[-1].message) == (kind, reason, message):
            queue[-1].last = now
            queue[-1].count += 1
        else:
            queue.append(ObjectEvent(kind, reason, message, now, now))
        while len(self._by_key) > LIMIT_OBJECTS:
            self._by_key.popitem(last=False)

    def of(self, key: str) -> list[ObjectEvent]:
        return list(self._by_key.get(key, ()))
