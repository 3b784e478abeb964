"""Quantities: "500m", "1.5Gi", "2e3"; exact numbers.

Source: Kubernetes API reference, Quantity.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import Any

_FORM = re.compile(r"^([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)$")
_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{name: Decimal(1000) ** power for power, name in enumerate("kMGTPE", 1)},
    **{f"{name}i": Decimal(1024) ** power for power, name in enumerate("KMGTPE", 1)},
}
TEXT = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class BadQuantity(ValueError):
    """It is none. The text is for the client."""


def parse_quantity(value: Any) -> Decimal:
    """Cores, bytes, or pieces. BadQuantity."""
    return _parse(str(value))


@lru_cache(4096)
def _parse(text: str) -> Decimal:
    match = _FORM.match(text) if len(text) <= 64 else None
    if match is None:
        raise BadQuantity(TEXT)
    number, exponent, suffix = match.groups()
    if exponent:
        return Decimal(number + exponent)
    return Decimal(number) * _SUFFIXES[suffix] if suffix else Decimal(number)


def show_quantity(amount: Decimal, *, binary: bool = False) -> str:
    """The shortest usual form: whole numbers with the largest suffix that divides them, parts as thousandths."""
    if amount != amount.to_integral_value():
        thousandths = (amount * 1000).to_integral_value(rounding="ROUND_CEILING")
        return f"{thousandths}m"
    whole = int(amount)
    names = [f"{name}i" for name in "KMGTPE"] if binary else list("kMGTPE")
    base, suffix = (1024 if binary else 1000), ""
    for name in names:
        if whole == 0 or whole % base:
            break
        whole //= base
        suffix = name
    return f"{whole}{suffix}"
