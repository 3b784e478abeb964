"""StateReason and StateReasonData, in AWS's words.

AWS: CloudWatch User Guide, "Alarm events and EventBridge" (its examples), and the reasons that alarms have shown to their users:

    Threshold Crossed: 1 datapoint [3.0 (26/10/24 18:59:00)] was greater than or equal to the threshold (1.0).
    Threshold Crossed: 2 out of the last 3 datapoints [3.0 (…), 2.0 (…)] were greater than … (minimum 2 datapoints for OK -> ALARM transition).
    Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as [Breaching].
    Insufficient Data: 1 datapoint was unknown.

Pure. Times are Unix milliseconds.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from gureum.aws.cloudwatch.alarm_kinds import MetricAlarm, MetricAlarmSpec, State
from gureum.aws.cloudwatch.evaluation import Rule, Verdict

LIMIT_REASON, LIMIT_DATA, LIMIT_SHOWN = 1023, 4000, 10
WORDS = {
    "GreaterThanOrEqualToThreshold": "greater than or equal to",
    "GreaterThanThreshold": "greater than",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "less than or equal to",
}
_TREATED = {"breaching": "Breaching", "notBreaching": "NonBreaching", "missing": "Missing", "ignore": "Ignored"}


class Point(NamedTuple):
    """`value` None: missing. `samples` None: of an expression."""

    time_ms: int
    value: float | None
    samples: float | None = None


def reason(alarm: MetricAlarm, rule: Rule, verdict: Verdict, points: Sequence[Point], state: State) -> str:
    """Why it is `state` now."""
    spec = alarm.spec
    if state == "INSUFFICIENT_DATA":
        unknown = verdict.filled or spec.n
        return f"Insufficient Data: {_counted(unknown, 'datapoint')} {_were(unknown)} unknown."
    used = [points[index] for index in verdict.used]
    treated = _treated(rule, verdict)
    if not used:
        text = f"Threshold Crossed: no datapoints were received for {_counted(spec.n, 'period')}{treated}."
        return text[:LIMIT_REASON]
    breaching = [point for point in used if rule.breaches(point.value)]  # type: ignore[arg-type]
    shown = breaching if state == "ALARM" else [point for point in used if point not in breaching]
    if not shown:
        # What is there speaks for the other state: what is missing has decided.
        return f"Threshold Crossed:{treated.removeprefix(' and')}{_minimum(spec, state)}."[:LIMIT_REASON]
    verb = _were(len(shown)) + (" " if state == "ALARM" else " not ") + WORDS[spec.comparison]
    listed = ", ".join(f"{_number(point.value)} ({_short(point.time_ms)})" for point in shown[:LIMIT_SHOWN])
    what = f"[{listed}] {verb} the threshold ({_number(spec.threshold)})"
    many = _counted(len(shown), "datapoint") if spec.m is None else f"{len(shown)} out of the last {spec.n} datapoints"
    return f"Threshold Crossed: {many} {what}{treated}{_minimum(spec, state)}."[:LIMIT_REASON]


def _minimum(spec: MetricAlarmSpec, state: State) -> str:
    """What a transition needs, where DatapointsToAlarm was given."""
    if spec.m is None:
        return ""
    least = spec.m if state == "ALARM" else spec.n - spec.m + 1
    before = "OK -> ALARM" if state == "ALARM" else "ALARM -> OK"
    return f" (minimum {_counted(least, 'datapoint')} for {before} transition)"


def reason_data(alarm: MetricAlarm, verdict: Verdict, points: Sequence[Point], now_ms: int) -> str:
    """JSON, newest data points first."""
    watched = alarm.watched
    used = [points[index] for index in verdict.used]
    judged = sorted((points[index] for index in (*verdict.used, *verdict.gaps)), reverse=True)
    told: dict[str, Any] = {"version": "1.0", "queryDate": precise(now_ms)}
    if used:
        told["startDate"] = precise(used[-1].time_ms)
    if watched.unit:
        told["unit"] = watched.unit
    if alarm.spec.single:
        told["statistic"] = watched.stat
    told |= {"period": alarm.period_s, "recentDatapoints": [point.value for point in reversed(used)]}
    told |= {"threshold": alarm.spec.threshold, "evaluatedDatapoints": [_evaluated(point) for point in judged]}
    while len(text := json.dumps(told, separators=(",", ":"))) > LIMIT_DATA:
        told["evaluatedDatapoints"] = told["evaluatedDatapoints"][: len(told["evaluatedDatapoints"]) // 2]
        told["recentDatapoints"] = told["recentDatapoints"][-LIMIT_SHOWN:]
    return text


def precise(time_ms: int) -> str:
    """ "2019-10-02T17:04:40.985+0000" """
    moment = dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03}+0000"


def _evaluated(point: Point) -> dict[str, Any]:
    told: dict[str, Any] = {"timestamp": precise(point.time_ms)}
    if point.value is not None:
        told |= ({} if point.samples is None else {"sampleCount": point.samples}) | {"value": point.value}
    return told


def _treated(rule: Rule, verdict: Verdict) -> str:
    if not verdict.filled or rule.treat_missing not in ("breaching", "notBreaching"):
        return ""
    word = _TREATED[rule.treat_missing]
    return f" and {_counted(verdict.filled, 'missing datapoint')} {_were(verdict.filled)} treated as [{word}]"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _number(value: float | None) -> str:
    return repr(float(value)) if value is not None else ""


def _short(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC).strftime("%d/%m/%y %H:%M:%S")
