"""PutMetricData: checks what is published and gives it to the store in one piece.

What AWS keeps by the minute is stamped with its minute (or, at storage resolution 1, its second), so that all of a minute falls into every
bucket that begins within it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from gureum.aws.call import Call
from gureum.aws.cloudwatch.refusals import both, clash, invalid, missing, not_built
from gureum.aws.cloudwatch.series import UNITS
from gureum.aws.marks import Result, operation
from gureum.ports.telemetry import Datum, Series

LIMIT_DATUMS, LIMIT_VALUES = 1000, 150
LIMIT_VALUE = 2.0**360
KEPT_SERIES = 20_000
OLDEST_S, NEWEST_S = 14 * 86400, 2 * 3600
_IS_UNIT = frozenset(UNITS)


@operation("PutMetricData")
async def put_metric_data(call: Call) -> Result:
    """AWS: cloudwatch PutMetricData. Durable when answered."""
    await call.metrics.write(datums_of(call))
    return {}


def datums_of(call: Call) -> list[Datum]:
    """All data of the call, checked. AWS: InvalidParameterValue, InvalidParameterCombination, MissingParameter."""
    params = call.params
    if params.get("EntityMetricData") or params.get("StrictEntityValidation"):
        raise not_built("EntityMetricData and StrictEntityValidation")
    namespace, data = params["Namespace"], params.get("MetricData") or ()
    if namespace.startswith("AWS/"):
        raise invalid("The value AWS/ for parameter Namespace is invalid.")
    if namespace.startswith(":") or not _is_text(namespace):
        raise invalid(f"The value {namespace[:255]!r} for parameter Namespace is invalid.")
    if not data:
        raise missing("The parameter MetricData is required.")
    if len(data) > LIMIT_DATUMS:
        raise invalid(f"The collection MetricData must not have a size greater than {LIMIT_DATUMS}.")
    _check_units(data)
    scope, now, keep_seconds = call.scope, call.now, call.settings.alarm_minute_s < 60
    return [_datum(scope, now, namespace, one, number, keep_seconds) for number, one in enumerate(data, start=1)]


def _check_units(data: Sequence[dict[str, Any]]) -> None:
    """AWS answers a line for each that is none."""
    wrong = [number for number, one in enumerate(data, start=1) if one.get("Unit", "None") not in _IS_UNIT]
    if wrong:
        known = f"must be a value in the set [ {', '.join(UNITS)} ]."
        raise invalid("\n".join([f"The parameter MetricData.member.{number}.Unit {known}" for number in wrong]))


def _datum(scope: str, now: float, namespace: str, one: dict[str, Any], number: int, keep_seconds: bool) -> Datum:
    where = f"MetricData.member.{number}"
    resolution = one.get("StorageResolution", 60)
    if resolution not in (1, 60):
        raise invalid(f"The value {resolution} for parameter {where}.StorageResolution is invalid. Use 1 or 60.")
    dimensions = one.get("Dimensions") or ()
    series = _series(scope, namespace, one["MetricName"], tuple([(each["Name"], each["Value"]) for each in dimensions]))
    if series is None:
        _check_dimensions(dimensions, where)
        raise invalid(f"The value for parameter {where}.MetricName contains non-ASCII or control characters.")
    step_ms = 1000 if resolution == 1 or keep_seconds else 60_000
    time_ms = _time_ms(now, one, where)
    count, total, low, high, values, counts = _measured(one, where)
    return Datum(
        series,
        time_ms - time_ms % step_ms,
        count,
        total,
        low,
        high,
        values,
        counts,
        one.get("Unit", "None"),
        1 if step_ms == 1000 else 60,
    )


@functools.lru_cache(maxsize=KEPT_SERIES)
def _series(scope: str, namespace: str, name: str, dimensions: tuple[tuple[str, str], ...]) -> Series | None:
    """Kept, since programs measure the same again and again. None when name or dimensions are not right."""
    right = _is_text(name) and len({one for one, _ in dimensions}) == len(dimensions)
    if not right or not all(_is_text(one) and not one.startswith(":") and _is_text(value) for one, value in dimensions):
        return None
    return Series(scope, namespace, name, tuple(sorted(dimensions)))


Measured = tuple[float, float, float, float, tuple[float, ...], tuple[float, ...]]


def _measured(one: dict[str, Any], where: str) -> Measured:
    """count, sum, min, max, values, counts. A single value need not be told twice (`ports.telemetry.Datum`)."""
    ways = [way for way in ("Value", "Values", "StatisticValues") if way in one]
    if len(ways) > 1:
        raise both(f"{where}.{ways[0]}", f"{where}.{ways[1]}")
    if not ways:
        text = f"At least one of the parameters {where}.Value, {where}.Values and {where}.StatisticValues must be specified."
        raise missing(text)
    if "Counts" in one and ways != ["Values"]:
        raise clash(f"The parameter {where}.Counts can only be used with {where}.Values.")
    if ways == ["Value"]:
        value = _number(one["Value"], f"{where}.Value")
        return 1.0, value, value, value, (), ()
    return _values(one, where) if ways == ["Values"] else _statistic_set(one["StatisticValues"], where)


def _values(one: dict[str, Any], where: str) -> Measured:
    values = [_number(value, f"{where}.Values.member.{n}") for n, value in enumerate(one["Values"], start=1)]
    counts = [float(count) for count in one.get("Counts") or [1.0] * len(values)]
    if not values:
        raise missing(f"The parameter {where}.Values is required.")
    if len(values) > LIMIT_VALUES:
        raise invalid(f"The collection {where}.Values must not have a size greater than {LIMIT_VALUES}.")
    if len(values) != len(counts):
        raise invalid(f"The parameters {where}.Values and {where}.Counts must be of the same size.")
    for n, count in enumerate(counts, start=1):
        if not (math.isfinite(count) and 0 < count <= LIMIT_VALUE):
            raise invalid(f"The value {count} for parameter {where}.Counts.member.{n} is invalid.")
    total = math.fsum(value * count for value, count in zip(values, counts, strict=True))
    return math.fsum(counts), total, min(values), max(values), tuple(values), tuple(counts)


def _statistic_set(found: dict[str, Any], where: str) -> Measured:
    """A set of equal values is as good as the values. AWS: PutMetricData, "percentile statistics"."""
    count, total, low, high = (
        _number(found[name], f"{where}.StatisticValues.{name}") for name in ("SampleCount", "Sum", "Minimum", "Maximum")
    )
    if count <= 0:
        raise invalid(f"The value {count} for parameter {where}.StatisticValues.SampleCount is invalid.")
    if low > high:
        text = f"The parameter {where}.StatisticValues.Maximum must be greater than or equal to Minimum."
        raise invalid(text)
    known = low == high and math.isclose(total, low * count, rel_tol=1e-9)
    return count, total, low, high, (low,) if known else (), (count,) if known else ()


def _number(value: float, where: str) -> float:
    if not math.isfinite(value):
        text = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        raise invalid(f"The value {text} for parameter {where} is invalid.")
    if abs(value) > LIMIT_VALUE:
        raise invalid(f"The value {value} for parameter {where} is out of range (-2^360 to 2^360).")
    return float(value)


def _time_ms(now: float, one: dict[str, Any], where: str) -> int:
    stamp = one.get("Timestamp")
    seconds = now if stamp is None else stamp.timestamp()
    if seconds < now - OLDEST_S:
        raise invalid(f"The parameter {where}.Timestamp must specify a time within the past two weeks.")
    if seconds > now + NEWEST_S:
        raise invalid(f"The parameter {where}.Timestamp must specify a time no more than two hours in the future.")
    return int(seconds * 1000)


def _check_dimensions(dimensions: Any, where: str) -> None:
    if len({one["Name"] for one in dimensions}) != len(dimensions):
        raise invalid(f"No Dimension name may be given twice in {where}.Dimensions.")
    for number, one in enumerate(dimensions, start=1):
        if one["Name"].startswith(":") or not _is_text(one["Name"]):
            raise invalid(
                f"The value {one['Name'][:255]!r} for parameter {where}.Dimensions.member.{number}.Name is invalid."
            )
        if not _is_text(one["Value"]):
            text = (
                f"The value {one['Value'][:255]!r} for parameter {where}.Dimensions.member.{number}.Value is invalid."
            )
            raise invalid(text)


def _is_text(text: str) -> bool:
    """ASCII without control characters, not only blanks."""
    return text.isascii() and text.isprintable() and not text.isspace()
