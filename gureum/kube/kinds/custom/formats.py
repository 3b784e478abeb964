"""Formats of texts that schemas of custom resources may ask for; a format that is not known here is not checked, as in the original.

Source: Kubernetes, "CustomResourceDefinitions", supported formats; k8s.io/kube-openapi/pkg/validation/strfmt.
"""

from __future__ import annotations

import binascii
import datetime as dt
import ipaddress
import re
from base64 import b64decode
from collections.abc import Callable
from urllib.parse import urlsplit

_HOST = re.compile(
    r"(?=.{1,255}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?)*\.?"
)
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_DURATION = re.compile(
    r"[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+|[+-]?0"  # as Go's
    r"|\d+\s*(nano|ns|nanos?|us|µs|micros?|ms|millis?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)"
)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})")
_MAC = re.compile(r"(?i)([0-9a-f]{2}[:-]){5}[0-9a-f]{2}|([0-9a-f]{4}\.){2}[0-9a-f]{4}")
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+")


def fits_format(value: str, form: str) -> bool:
    check = _FORMATS.get(form)
    return check is None or check(value)


def _tries(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def fits(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return fits


def _moment(value: str) -> bool:
    if not _MOMENT.fullmatch(value):
        return False
    return _tries(dt.datetime.fromisoformat)(value[:19].replace("t", "T").replace(" ", "T"))


def _cidr(value: str) -> bool:
    return "/" in value and _tries(lambda text: ipaddress.ip_network(text, strict=False))(value)


def _bytes(value: str) -> bool:
    try:
        b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _date(value: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) is not None and _tries(dt.date.fromisoformat)(value)


_FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _moment,
    "datetime": _moment,
    "date": _date,
    "duration": lambda value: _DURATION.fullmatch(value) is not None,
    "byte": _bytes,
    "uuid": lambda value: _UUID.fullmatch(value) is not None,
    "ipv4": _tries(ipaddress.IPv4Address),
    "ipv6": _tries(ipaddress.IPv6Address),
    "cidr": _cidr,
    "mac": lambda value: _MAC.fullmatch(value) is not None,
    "hostname": lambda value: _HOST.fullmatch(value) is not None,
    "email": lambda value: _EMAIL.fullmatch(value) is not None,
    "uri": _tries(urlsplit),
}
