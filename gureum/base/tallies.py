"""Tallies: how often which duration came, rounded to two digits, so that percentiles can be told of thousands without keeping them."""

from __future__ import annotations

import math

LIMIT_VALUES = 150
"""Different values of one tally; of more the nearest is counted. AWS takes as many in one datum."""

Tally = dict[str, int]
"""Seconds as `rounded` writes them → how often."""


def add(tally: Tally, seconds: float, count: int = 1) -> None:
    text = rounded(seconds)
    if text in tally or len(tally) < LIMIT_VALUES:
        tally[text] = tally.get(text, 0) + count
    else:
        nearest = min(tally, key=lambda one: abs(float(one) - seconds))
        tally[nearest] += count


def rounded(seconds: float) -> str:
    """Two digits: "0.0013"; less than a tenth of a millisecond is nothing."""
    if seconds < 0.0001:
        return "0"
    return f"{round(seconds, 1 - math.floor(math.log10(seconds))):.6g}"
