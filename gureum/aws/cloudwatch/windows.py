"""Time windows of a query: which periods there are, how the start is rounded, and how long data of which period is kept.

AWS: GetMetricStatistics. Buckets begin at the rounded start, not at multiples of the period (start 23:18, period one hour: 23:18, 00:18 …).
Pure. Times are Unix milliseconds, periods seconds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HIGH_RESOLUTION_PERIODS = frozenset({1, 5, 10, 20, 30})
KEPT_FOR = ((3600, 455 * DAY_MS), (300, 63 * DAY_MS), (60, 15 * DAY_MS), (1, 3 * HOUR_MS))
"""(data points of periods that are a multiple of so many seconds, are kept for so long)."""


class Window(NamedTuple):
    """[start, end) in buckets of `period_ms`. `step_ms`: in which the store is asked, so that its buckets, aligned since 1970, fill ours."""

    start_ms: int
    end_ms: int
    period_ms: int

    @property
    def step_ms(self) -> int:
        return math.gcd(self.period_ms, self.start_ms % self.period_ms)

    @property
    def buckets(self) -> int:
        return max(0, -((self.start_ms - self.end_ms) // self.period_ms))

    def available_from(self, now_ms: int) -> int:
        """From when on data of this period is kept, on a bucket's edge."""
        oldest = now_ms - kept_for_ms(self.period_ms // 1000)
        if oldest <= self.start_ms:
            return self.start_ms
        return self.start_ms - ((self.start_ms - oldest) // self.period_ms) * self.period_ms


def is_period(period_s: int) -> bool:
    """AWS: 1, 5, 10, 20, 30, or a multiple of 60."""
    return period_s in HIGH_RESOLUTION_PERIODS or (period_s > 0 and period_s % 60 == 0)


def kept_for_ms(period_s: int) -> int:
    return next(kept for multiple, kept in KEPT_FOR if period_s % multiple == 0)


def wrong_order(start_ms: int, end_ms: int, later: str) -> str | None:
    """What AWS says of a start that does not come before the end; it looks at whole seconds. `later`: of one that comes after it."""
    if start_ms // 1000 == end_ms // 1000:
        return "The parameter StartTime must not equal parameter EndTime."
    return later if start_ms > end_ms else None


def window(start_ms: int, end_ms: int, period_s: int, now_ms: int) -> Window:
    """AWS: the start is rounded down to the minute, to five minutes when it is 15 to 63 days ago, to the hour when it is longer ago; of a period
    under a minute to a multiple of it."""
    if period_s < 60:
        unit_ms = period_s * 1000
    else:
        age = now_ms - start_ms
        unit_ms = 60_000 if age < 15 * DAY_MS else 300_000 if age <= 63 * DAY_MS else HOUR_MS
    return Window(start_ms - start_ms % unit_ms, end_ms, period_s * 1000)
