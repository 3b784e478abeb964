"""Cron expressions: five fields, in a time zone. Pure.

crontab(5): minute, hour, day of the month, month, day of the week; lists, ranges, steps, names of months and days; when both days are
restricted, either matches. So read by AWS (autoscaling PutScheduledUpdateGroupAction) and Kubernetes (CronJob).
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import msgspec

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SHORT = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
LIMIT_DAYS = 366 * 9
"""The 29th of February may be eight years away."""


class Cron(msgspec.Struct, frozen=True):
    """What each field allows. `days`, `weekdays`: None for "*"."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None


def parse_cron(text: str) -> Cron:
    """ValueError for what is none."""
    fields = _SHORT.get(text.strip().lower(), text).lower().split()
    if len(fields) != 5:
        raise ValueError(f"a cron expression has five fields: {text!r}")
    minutes, hours, days, months, weekdays = fields
    found = _field(weekdays, 0, 7, _DAYS)
    return Cron(
        _field(minutes, 0, 59, ()),
        _field(hours, 0, 23, ()),
        None if days == "*" else _field(days, 1, 31, ()),
        _field(months, 1, 12, _MONTHS),
        None if weekdays == "*" else frozenset(day % 7 for day in found),
    )


def next_time(cron: Cron, after: float, zone: str) -> float:
    """Unix seconds of the first match after `after`; 0.0 when there is none within nine years. A local time that a clock change leaves out is
    passed over."""
    place = ZoneInfo(zone or "UTC")
    start = dt.datetime.fromtimestamp(int(after), place).replace(second=0, microsecond=0)
    for offset in range(LIMIT_DAYS):
        day = (start + dt.timedelta(days=offset)).date()
        if not _matches(cron, day):
            continue
        for hour in sorted(cron.hours):
            for minute in sorted(cron.minutes):
                local = dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=place)
                seconds = local.timestamp()
                if seconds > after and dt.datetime.fromtimestamp(seconds, place).hour == hour:
                    return seconds
    return 0.0


def _matches(cron: Cron, day: dt.date) -> bool:
    if day.month not in cron.months:
        return False
    in_month = cron.days is None or day.day in cron.days
    in_week = cron.weekdays is None or day.isoweekday() % 7 in cron.weekdays
    if cron.days is not None and cron.weekdays is not None:
        return in_month or in_week
    return in_month and in_week


def _field(text: str, least: int, most: int, names: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = int(step_text) if slash else 1
        if step < 1:
            raise ValueError(f"a step must be 1 at least: {part!r}")
        first, dash, last = span.partition("-")
        low = least if span == "*" else _number(first, least, names)
        high = most if span == "*" or (slash and not dash) else _number(last if dash else first, least, names)
        if not least <= low <= high <= most:
            raise ValueError(f"{part!r} is outside {least}-{most}")
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _number(text: str, least: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + least
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{text!r} is no number")
    return int(text)
