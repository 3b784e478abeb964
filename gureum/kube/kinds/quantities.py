"""Amounts: `500m`, `1.5Gi`, `2e3`; their values and the one form in which each is kept.

Source: k8s.io/apimachinery/pkg/api/resource (Quantity): no precision below nano, the largest suffix that leaves a whole number.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?", re.ASCII)
_BINARY = {f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1), "k": Fraction(10**3),
    "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15), "E": Fraction(10**18),
}  # fmt: skip
LIMIT_TEXT = 64
_FACTORS = 18
"""How many decimal digits are sure to fit 64 bits."""
_LARGEST = Fraction(2**63 - 1)
_SCANNED = re.compile(r"[+-]?\d*(?:\.\d*)?[eEinumkKMGTP]*[+-]?\d*", re.ASCII)
SUFFIX_TEXT = "unable to parse quantity's suffix"
TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class BadQuantity(ValueError):
    """It is none. The text is Kubernetes'."""


@lru_cache(maxsize=4096)
def value_of(text: str) -> Fraction:
    """The amount. BadQuantity."""
    return _parsed(text)[0]


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The form in which it is kept: `0.5` is `500m`, `1024Mi` is `1Gi`, `1000` with a suffix the largest that fits. BadQuantity."""
    value, suffix = _parsed(text)
    if value == 0:
        return "0"
    if suffix in _BINARY and abs(value) >= 1024 and value.denominator == 1:
        return _with_suffix(value, _BINARY)
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return _exponent(value)
    return _with_suffix(value, _DECIMAL)


@lru_cache(maxsize=4096)
def kept(text: str) -> str:
    """As the original writes back what it has read: the canonical form, but for what looks canonical to its reader, which stays as it
    was written (`1.500`, `+5`, `01Gi`). BadQuantity. Source: ParseQuantity, "if the number is in canonical form, reuse the string"."""
    text = text.strip()
    match = _FORM.fullmatch(text) if len(text) <= LIMIT_TEXT else None
    if match is None:
        return canonical(text)
    whole, _, part = match[1].lstrip("+-").lstrip("0").partition(".")
    digits, suffix = (whole or "0") + part, match[2] or ""
    if suffix in _BINARY:
        power = 10 * (1 + "KMGTPE".index(suffix[0]))
        fits = not part and 15 - len(digits) - power * 3 // 10 - 1 >= 0
        return text if fits and int(digits) & 7 else canonical(text)
    scale = _exponent_of(suffix) - len(part)
    fits = len(digits) <= _FACTORS and scale >= -9 and scale % 3 == 0
    return text if fits and digits[0] != "0" and not digits.endswith("000") else canonical(text)


def _exponent_of(suffix: str) -> int:
    """Of a decimal suffix: 3 for `k` and `e3`."""
    if len(suffix) > 1:
        return int(suffix[1:])
    return 3 * ("numkMGTPE".index(suffix) - 3 + (suffix in "kMGTPE")) if suffix else 0


def as_text(value: Any) -> str:
    """JSON may hold it as a number, too."""
    return value if isinstance(value, str) else str(value)


def is_quantity(value: Any) -> bool:
    try:
        value_of(as_text(value))
    except BadQuantity:
        return False
    return True


def _parsed(text: str) -> tuple[Fraction, str]:
    match = _FORM.fullmatch(text) if len(text) <= LIMIT_TEXT else None
    if match is None:
        scanned = 0 < len(text) <= LIMIT_TEXT and _SCANNED.fullmatch(text)
        raise BadQuantity(SUFFIX_TEXT if scanned else TEXT)
    suffix = match[2] or ""
    number = Fraction(match[1])
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix not in _BINARY:
        exponent = int(suffix[1:])
        if abs(exponent) > 30:
            raise BadQuantity(TEXT)
        number *= Fraction(10) ** exponent
    else:
        number *= _BINARY.get(suffix) or _DECIMAL[suffix]
    nanos = Fraction(math.ceil(abs(number) * 10**9), 10**9)
    nanos = min(nanos, _LARGEST) if suffix in _BINARY else nanos
    return -nanos if number < 0 else nanos, suffix


def _with_suffix(value: Fraction, table: dict[str, Fraction]) -> str:
    for suffix in reversed(table):
        size = table[suffix]
        if (value / size).denominator == 1:
            return f"{value / size}{suffix}"
    return str(value)  # a whole number that no binary suffix divides


def _exponent(value: Fraction) -> str:
    for power in range(18, -10, -3):
        number = value / Fraction(10) ** power
        if number.denominator == 1:
            return f"{number}e{power}" if power else str(number)
    raise AssertionError("nothing is finer than nano")
