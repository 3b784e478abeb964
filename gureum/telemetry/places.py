"""Where an event stands in its group: by time, then by arrival. Ids and places are made from that alone, so they outlive flushes and restarts.

A place is the gap before a position: a reader forward takes what stands at it or after, a reader backward what stands before. What comes later
with an earlier time is behind those who read forward.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_TIME_MS = 10**18
_PLACE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})\Z")


class Position(NamedTuple):
    """`sequence`: the number of the event in the whole store, never given twice."""

    time_ms: int
    sequence: int

    @property
    def after(self) -> Position:
        return Position(self.time_ms, self.sequence + 1)


def render_place(position: Position) -> str:
    return f"{position.time_ms}-{position.sequence}"


def parse_place(text: str) -> Position:
    """ValueError."""
    found = _PLACE.match(text)
    if found is None:
        raise ValueError(f"no place in a log: {text!r}")
    return Position(int(found[1]), int(found[2]))
