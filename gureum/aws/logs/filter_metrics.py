"""What a metric filter makes of log events: datums, one per minute and set of dimensions (pure).

A minute of the batch in which no event matched gets the default value once for every event, as AWS's guide counts it ("Configuring metric values for
a metric filter"). An event without the field that the value or a dimension names gives nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from gureum.aws.logs.kinds import MetricFilterSpec
from gureum.aws.logs.pattern_values import as_number, as_text
from gureum.aws.logs.patterns import Lookup
from gureum.ports.telemetry import Datum, LogEvent, Series

MINUTE_MS = 60_000
LIMIT_VALUES = 150
"""AWS: values of a datum."""
LIMIT_DIMENSION = 255
Dimensions = tuple[tuple[str, str], ...]


def datums_of(
    spec: MetricFilterSpec, scope: str, events: Sequence[LogEvent], lookups: Sequence[Lookup | None]
) -> list[Datum]:
    """`lookups`: what the filter's pattern reads of each event."""
    values: dict[tuple[int, Dimensions], Counter[float]] = {}
    matched: set[int] = set()
    missed: Counter[int] = Counter()
    for event, lookup in zip(events, lookups, strict=True):
        minute = event.time_ms - event.time_ms % MINUTE_MS
        if lookup is None:
            missed[minute] += 1
            continue
        matched.add(minute)
        value, dimensions = _value(spec, lookup), _dimensions(spec, lookup)
        if value is not None and dimensions is not None:
            values.setdefault((minute, dimensions), Counter())[value] += 1
    if spec.default is not None:
        for minute, times in missed.items():
            if minute not in matched:
                values.setdefault((minute, ()), Counter())[spec.default] += times
    return [
        datum
        for (minute, dimensions), counts in values.items()
        for datum in _datums(
            Series(scope, spec.namespace, spec.metric, dimensions), minute, counts, spec.unit or "None"
        )
    ]


def _value(spec: MetricFilterSpec, lookup: Lookup) -> float | None:
    found = lookup(spec.value) if spec.value.startswith("$") else spec.value
    number = None if found is None else as_number(found)
    return number if number is not None and math.isfinite(number) else None


def _dimensions(spec: MetricFilterSpec, lookup: Lookup) -> Dimensions | None:
    """None when the event does not have all of them: a metric is one set of dimensions."""
    found: list[tuple[str, str]] = []
    for name, field in sorted(spec.dimensions.items()):
        value = lookup(field)
        if value is None or not (text := as_text(value)) or len(text) > LIMIT_DIMENSION:
            return None
        found.append((name, text))
    return tuple(found)


def _datums(series: Series, minute: int, counts: Counter[float], unit: str) -> list[Datum]:
    items = sorted(counts.items())
    return [
        Datum(
            series=series,
            time_ms=minute,
            count=float(sum(times for _, times in part)),
            sum=sum(value * times for value, times in part),
            min=part[0][0],
            max=part[-1][0],
            values=tuple(value for value, _ in part),
            counts=tuple(float(times) for _, times in part),
            unit=unit,
        )
        for part in (items[start : start + LIMIT_VALUES] for start in range(0, len(items), LIMIT_VALUES))
    ]
