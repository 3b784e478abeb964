"""How an alarm judges its data points: M out of N, missing data, and the rule against alarming too early. Pure.

AWS: CloudWatch User Guide, "Using Amazon CloudWatch alarms": "How alarm state is evaluated when data is missing" and "Avoiding premature
transitions to alarm state". Its tables are the tests.

    points, oldest first, one per period; None is missing:      0 - X - X      N = 3, more are looked at than N

    N real ones or more     the newest N real ones are judged, missing data play no part
    fewer                   the rest of N is filled as TreatMissingData says
        breaching, notBreaching    with that
        missing, ignore            ALARM when M real ones breach; OK when one does not breach; else (all that is there breaches, but too little):
                                   missing: ALARM when the oldest is M periods old or older, else INSUFFICIENT_DATA; ignore: stays
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gureum.aws.cloudwatch.alarm_kinds import State

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


class Rule(NamedTuple):
    """`m` of `n` points; `breaches(value)`; `treat_missing`: AWS's word."""

    n: int
    m: int
    breaches: Callable[[float], bool]
    treat_missing: str = "missing"


class Verdict(NamedTuple):
    """`state` None: it stays what it is. `used`: indexes of the real points that were judged, newest first; `filled`: how many more were filled;
    `gaps`: indexes of missing points that the filled ones stand for, newest first."""

    state: State | None
    used: tuple[int, ...]
    filled: int
    gaps: tuple[int, ...]


def range_of(n: int) -> int:
    """How many points are looked at for N (5 for 3, as in the documents)."""
    return n + max(n // 3, 2)


def judge(points: Sequence[float | None], rule: Rule) -> Verdict:
    """`points`: oldest first, `range_of(n)` of them."""
    newest_first = range(len(points) - 1, -1, -1)
    real = [index for index in newest_first if points[index] is not None][: rule.n]
    filled = rule.n - len(real)
    gaps = tuple(index for index in newest_first if points[index] is None)[:filled]
    breaching = [index for index in real if rule.breaches(points[index])]  # type: ignore[arg-type]
    return Verdict(_state(points, rule, real, breaching), tuple(real), filled, gaps)


def _state(points: Sequence[float | None], rule: Rule, real: list[int], breaching: list[int]) -> State | None:
    if len(breaching) >= rule.m:
        return "ALARM"
    if len(real) >= rule.n or rule.treat_missing == "notBreaching":
        return "OK"
    if rule.treat_missing == "breaching":
        return "ALARM" if len(breaching) + rule.n - len(real) >= rule.m else "OK"
    if len(breaching) < len(real):
        return "OK"
    if rule.treat_missing == "ignore":
        return None
    age = len(points) - real[-1] if real else 0
    return "ALARM" if real and age >= rule.m else "INSUFFICIENT_DATA"


def too_few_samples(percentile: float, samples: float) -> bool:
    """AWS: "Percentile-based alarms and low data samples"."""
    share = percentile / 100
    if share >= 1 or share <= 0:
        return False
    return samples < (10 / (1 - share) if share >= 0.5 else 10 / share)
