"""Scalars: numbers, booleans, blobs and timestamps as text and back.

Readers raise `BadValue` with what was wrong; the protocol turns that into its service's error. Timestamps in results
may be Unix seconds (int or float) or datetimes (naive means UTC); read timestamps are aware datetimes in UTC.
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

INTEGER_BITS = {"integer": 32, "long": 64, "short": 16, "byte": 8}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,60})?|\.[0-9]{1,60})([eE][+-]?[0-9]{1,4})?", re.ASCII)
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# Seconds of the years 1 and 9999: what a datetime can hold.
_EARLIEST_S, _LATEST_S = -62135596800, 253402300799


class BadValue(Exception):
    """A value that its shape does not allow. `kind`: the shape's type, or "unknown", "structure", "list", "map" for
    parameters that are not there or have another form. `path`: the names that lead to it, the innermost first."""

    def __init__(self, kind: str, value: Any = "", text: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.value = value
        self.text = text
        self.path: list[str] = []

    @property
    def name(self) -> str:
        return ".".join(reversed(self.path))


def read_integer(text: str, bits: int = 32) -> int:
    """Raises BadValue for anything but a decimal number that fits into `bits`."""
    if _INTEGER.fullmatch(text) is None:
        raise BadValue("integer", text)
    value = int(text)
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise BadValue("integer", text)
    return value


def read_float(text: str) -> float:
    """A decimal number, NaN, Infinity or -Infinity."""
    if _NUMBER.fullmatch(text) is not None:
        return float(text)
    if text in _SPECIAL:
        return _SPECIAL[text]
    raise BadValue("double", text)


def read_boolean(text: str) -> bool:
    """XML Schema's booleans, in any case as EC2 takes them."""
    lower = text.lower()
    if lower in ("true", "1"):
        return True
    if lower in ("false", "0"):
        return False
    raise BadValue("boolean", text)


def read_blob(text: str) -> bytes:
    """Base64, line breaks allowed, padding required."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadValue("blob", text[:100]) from error


def read_timestamp(value: Any) -> datetime:
    """All forms are taken whatever the model asks for, since they cannot be confused: ISO 8601, RFC 7231, Unix seconds
    (number or text)."""
    if value.__class__ in (int, float):
        return _from_seconds(value)
    if value.__class__ is not str or len(value) > 64:
        raise BadValue("timestamp", value)
    try:
        if value[:1].isdigit() and (value[4:5] == "-" or value[8:9] == "T"):
            return _utc(datetime.fromisoformat(value))
        if value[:1].isalpha():
            return _utc(parsedate_to_datetime(value))
    except (ValueError, OverflowError, TypeError, IndexError) as error:
        raise BadValue("timestamp", value) from error
    try:
        return _from_seconds(read_float(value))
    except BadValue as error:
        raise BadValue("timestamp", value) from error


def _from_seconds(seconds: float) -> datetime:
    if not _EARLIEST_S <= seconds <= _LATEST_S:
        raise BadValue("timestamp", seconds)
    return datetime.fromtimestamp(seconds, UTC)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def to_datetime(value: datetime | float) -> datetime:
    """Aware and in UTC."""
    return _utc(value) if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)


# A describe writes the same few times again and again.
@functools.lru_cache(maxsize=2048)
def iso8601(value: datetime | float) -> str:
    """Seconds; milliseconds only where there are some."""
    when = to_datetime(value)
    if when.microsecond < 1000:
        return when.isoformat(timespec="seconds")[:19] + "Z"
    return when.isoformat(timespec="milliseconds")[:23] + "Z"


@functools.lru_cache(maxsize=2048)
def iso8601_milliseconds(value: datetime | float) -> str:
    """Always with milliseconds: EC2's form."""
    return to_datetime(value).isoformat(timespec="milliseconds")[:23] + "Z"


def http_date(value: datetime | float) -> str:
    """RFC 7231 IMF-fixdate."""
    return format_datetime(to_datetime(value).replace(microsecond=0), usegmt=True)


def unix_seconds(value: datetime | float) -> float | int:
    """A whole number where there is no fraction; to the millisecond."""
    seconds = value.replace(tzinfo=value.tzinfo or UTC).timestamp() if isinstance(value, datetime) else value
    whole = int(seconds)
    return whole if whole == seconds else round(seconds, 3)


def write_boolean(value: bool) -> str:
    """XML Schema's words."""
    return "true" if value else "false"


def write_float(value: float) -> str:
    """Special numbers by Smithy's names."""
    if value != value:
        return "NaN"
    if value in (math.inf, -math.inf):
        return "Infinity" if value > 0 else "-Infinity"
    return str(value)


def write_blob(value: bytes | str) -> str:
    """Base64; text is taken as UTF-8."""
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")


def timestamp_writer(form: str, *, ec2: bool = False) -> Callable[[datetime | float], str]:
    """`form`: the model's timestampFormat, "" for the default of XML protocols."""
    if form == "rfc822":
        return http_date
    if form == "unixTimestamp":
        return lambda value: str(unix_seconds(value))
    return iso8601_milliseconds if ec2 else iso8601


def text_writer(kind: str, form: str, *, ec2: bool = False) -> Callable[[Any], str] | None:
    """How a scalar of shape type `kind` becomes text; None for strings, which are text already."""
    if kind == "timestamp":
        return timestamp_writer(form, ec2=ec2)
    return _TEXT_WRITERS.get(kind)


_TEXT_WRITERS: dict[str, Callable[[Any], str]] = {
    "boolean": write_boolean,
    "integer": str,
    "long": str,
    "float": write_float,
    "double": write_float,
    "blob": write_blob,
}


def text_reader(kind: str) -> Callable[[str], Any]:
    """How text becomes a scalar of shape type `kind`."""
    if kind in INTEGER_BITS:
        bits = INTEGER_BITS[kind]
        return lambda text: read_integer(text, bits)
    return _TEXT_READERS.get(kind, str)


_TEXT_READERS: dict[str, Callable[[str], Any]] = {
    "boolean": read_boolean,
    "timestamp": read_timestamp,
    "float": read_float,
    "double": read_float,
    "blob": read_blob,
}
