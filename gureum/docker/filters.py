"""Filters of lists and prunes: their names, the values that they take, and what they match. Refused in moby's words (api/types/filters at 28.3).

Values of one filter are alternatives, but for labels, which all must fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from gureum.docker.containers import options
from gureum.docker.errors import DockerError, bad_parameter, not_built

Wanted = dict[str, list[str]]
"""{"label": ["a=b"]}"""
PRUNE = ("label", "label!", "until")
_TRUE, _FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
LIMIT_PATTERN, LIMIT_REPEATS = 256, 3
_REPEATED_GROUP, _REPEAT = re.compile(r"\)\s*[*+?{]"), re.compile(r"(?<!\\)[*+{]")


def check(wanted: Wanted, accepted: Iterable[str]) -> None:
    """DockerError 400 for a filter that there is not."""
    if unknown := set(wanted) - set(accepted):
        raise bad_parameter(f"invalid filter '{min(unknown)}'")


def truth(wanted: Wanted, key: str, default: bool) -> bool:
    """DockerError 400 for what is neither true nor false, and for both at once."""
    if key not in wanted:
        return default
    values = set(wanted[key])
    if not values:
        raise bad_parameter(f"invalid filter '{key}'")
    if bool(values & _TRUE) == bool(values & _FALSE):
        raise bad_parameter(f"invalid filter '{key}=[{' '.join(wanted[key])}]'")
    return bool(values & _TRUE)


def one_of(wanted: Wanted, key: str, known: Iterable[str], refuse: Callable[[str], DockerError]) -> None:
    """Throws what `refuse` makes of a value that is not known."""
    for value in wanted.get(key, ()):
        if value not in known:
            raise refuse(value)


def until(wanted: Wanted, now: float) -> float | None:
    """The moment before which a prune's things were made; None where that does not matter."""
    texts = wanted.get("until", [])
    if len(texts) > 1:
        raise bad_parameter("more than one until filter specified")
    return moment(texts[0], now) if texts else None


def moment(text: str, now: float) -> float:
    """ "1700000000", "1700000000.5", "10m" (so long ago), "2026-01-01T00:00:00Z". DockerError 400."""
    from_parts = options.duration_s(text)
    return now - from_parts if from_parts is not None else options.moment(text)


def ports(wanted: Wanted, key: str) -> set[str]:
    """ "80", "80/udp" and "8000-8010/tcp" as {"80/tcp", …}."""
    found: set[str] = set()
    for text in wanted.get(key, ()):
        if ":" in text:
            raise bad_parameter(f"filter for '{key}' should not contain ':': {text}")
        parts = _PORTS.fullmatch(text)
        first, last = (int(parts[1]), int(parts[2] or parts[1])) if parts else (1, 0)
        if parts is None or not first <= last < 65536:
            raise bad_parameter(f"error while looking up for {key} {text}: invalid port range")
        found |= {f"{port}/{parts[3] or 'tcp'}" for port in range(first, last + 1)}
    return found


def names(wanted: Wanted, key: str) -> Callable[[str], bool]:
    """Whether a name is one of them or has a part that one of them describes as a regular expression. An expression that is none fits nothing. What
    could take long to be matched is refused (501)."""
    texts = wanted.get(key)
    if not texts:
        return lambda name: True
    patterns = [found for text in texts if (found := _compiled(text)) is not None]
    return lambda name: name in texts or any(pattern.search(name) for pattern in patterns)


def _compiled(text: str) -> re.Pattern[str] | None:
    if len(text) > LIMIT_PATTERN or len(_REPEAT.findall(text)) > LIMIT_REPEATS or _REPEATED_GROUP.search(text):
        raise not_built("filters by expressions with many or nested repetitions")
    try:
        return re.compile(text, re.ASCII)
    except (re.error, OverflowError, RecursionError):
        return None


def label_matches(labels: dict[str, Any], wanted: Wanted) -> bool:
    """`label` and `label!` of a filter: "key" or "key=value"."""

    def has(text: str) -> bool:
        key, equals, value = text.partition("=")
        return key in labels and (not equals or str(labels[key]) == value)

    return all(has(one) for one in wanted.get("label", ())) and not any(has(one) for one in wanted.get("label!", ()))
