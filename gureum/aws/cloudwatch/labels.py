"""Labels of returned data, with dynamic values: "[max: ${MAX}] ${LABEL}".

AWS: CloudWatch User Guide, "Using dynamic labels". How numbers and times are written is not documented: four decimals at most, and
"2026-01-31 12:00:00". Pure.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence

from gureum.aws.cloudwatch.queries import Query
from gureum.aws.cloudwatch.refusals import validation
from gureum.aws.errors import AwsError

LIMIT_DYNAMIC = 5
_PLACE = re.compile(r"\$\{(?:(?P<name>[A-Z_]+)|PROP\('(?P<property>[^'}]{1,300})'\))\}")
_ZONE = re.compile(r"([+-])(\d{2})(\d{2})", re.ASCII)
Points = list[tuple[int, float]]
"""(Unix milliseconds, value), oldest first; not empty."""


def timezone(text: str) -> dt.timezone:
    """AWS: LabelOptions.Timezone, "+0130". ValidationError."""
    found = _ZONE.fullmatch(text)
    if found is None or int(found.group(2)) > 14 or int(found.group(3)) > 59:
        raise validation(f"The value {text[:20]} for parameter LabelOptions.Timezone is not valid.")
    offset = dt.timedelta(hours=int(found.group(2)), minutes=int(found.group(3)))
    return dt.timezone(-offset if found.group(1) == "-" else offset)


def check_label(label: str) -> None:
    """AWS: at most five dynamic values, ${LABEL} once."""
    names = [found.group("name") for found in _PLACE.finditer(label) if found.group("name")]
    if names.count("LABEL") > 1 or len([name for name in names if name != "LABEL"]) > LIMIT_DYNAMIC:
        raise _bad_label(label)


def plain_labels(queries: Sequence[Query]) -> dict[str, str]:
    """What metrics are called that have no label, by the ids of their queries: their name, and what tells those of the same metric apart (AWS's
    answers: "load Sum 60", "load Sum" where the periods are alike, "load 60" where the statistics are)."""
    alike: dict[tuple[object, ...], list[Query]] = {}
    for query in queries:
        if not query.expression:
            alike.setdefault((query.namespace, query.metric, query.dimensions), []).append(query)
    found = {}
    for group in alike.values():
        stats, periods = ({one.stat for one in group}, {one.period_s for one in group})
        for query in group:
            stat = [query.stat] if len(stats) > 1 else []
            found[query.id] = " ".join([query.metric, *stat, *([str(query.period_s)] if len(periods) > 1 else [])])
    return found


def fill_label(
    label: str, plain: str, points: Points, properties: dict[str, str], now_ms: int, zone: dt.timezone
) -> str:
    """`plain`: what ${LABEL} stands for; `properties`: what ${PROP('Stat')} …. An unknown placeholder stays as it is."""
    ordered = sorted(points)

    def value(found: re.Match[str]) -> str:
        name = found.group("name")
        if name is None:
            return properties.get(found.group("property"), "")
        if name == "LABEL":
            return plain
        tell = _VALUES.get(name)
        if tell is None:
            return found.group()
        return tell(ordered, now_ms, zone) if ordered else "--"

    return _PLACE.sub(value, label)


def _bad_label(label: str) -> AwsError:
    text = f"A label may have {LIMIT_DYNAMIC} dynamic values and one LABEL at most: {label[:100]}"
    return validation(text)


def _number(value: float) -> str:
    return f"{round(value, 4):.15g}"


def _moment(time_ms: int, zone: dt.timezone) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")


def _length(milliseconds: int) -> str:
    seconds = abs(milliseconds) // 1000
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _lowest(points: Points) -> tuple[int, float]:
    return min(points, key=lambda point: point[1])


def _highest(points: Points) -> tuple[int, float]:
    return max(points, key=lambda point: point[1])


_Tell = Callable[[Points, int, dt.timezone], str]
_VALUES: dict[str, _Tell] = {
    "AVG": lambda points, now, zone: _number(sum(value for _, value in points) / len(points)),
    "DATAPOINT_COUNT": lambda points, now, zone: str(len(points)),
    "FIRST": lambda points, now, zone: _number(points[0][1]),
    "FIRST_LAST_RANGE": lambda points, now, zone: _number(points[-1][1] - points[0][1]),
    "FIRST_LAST_TIME_RANGE": lambda points, now, zone: _length(points[-1][0] - points[0][0]),
    "FIRST_TIME": lambda points, now, zone: _moment(points[0][0], zone),
    "FIRST_TIME_RELATIVE": lambda points, now, zone: _length(now - points[0][0]),
    "LAST": lambda points, now, zone: _number(points[-1][1]),
    "LAST_TIME": lambda points, now, zone: _moment(points[-1][0], zone),
    "LAST_TIME_RELATIVE": lambda points, now, zone: _length(now - points[-1][0]),
    "MAX": lambda points, now, zone: _number(_highest(points)[1]),
    "MAX_TIME": lambda points, now, zone: _moment(_highest(points)[0], zone),
    "MAX_TIME_RELATIVE": lambda points, now, zone: _length(now - _highest(points)[0]),
    "MIN": lambda points, now, zone: _number(_lowest(points)[1]),
    "MIN_MAX_RANGE": lambda points, now, zone: _number(_highest(points)[1] - _lowest(points)[1]),
    "MIN_MAX_TIME_RANGE": lambda points, now, zone: _length(_highest(points)[0] - _lowest(points)[0]),
    "MIN_TIME": lambda points, now, zone: _moment(_lowest(points)[0], zone),
    "MIN_TIME_RELATIVE": lambda points, now, zone: _length(now - _lowest(points)[0]),
    "SUM": lambda points, now, zone: _number(sum(value for _, value in points)),
}
