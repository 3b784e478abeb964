"""Rules that change in a running worker: where two configurations differ in nothing but their maps, the maps are changed. Pure.

At no moment between two commands does a request meet a rule that is neither of before nor of after: what a rule does is there before the rule can be
found, and goes after it; the rules themselves change all at once, as a version of their map, and so do the weights; and where both a rule that
stays would do something else and rules would be found otherwise (priorities that were exchanged), only a reload will do.

HAProxy management guide: "add map", "set map", "del map", "prepare map", "commit map".
"""

from __future__ import annotations

import msgspec

from gureum.drivers.haproxy.control import Step

SUFFIXES = (".hosts", ".rules", ".actions", ".bodies", ".weights")
_MOST_BYTES = 16384


class Changes(msgspec.Struct, frozen=True):
    """In this order: `before`; each of `versions` (map → its lines) as a whole; `after`."""

    before: list[Step]
    versions: dict[str, str]
    after: list[Step]


def plan(old: dict[str, str], new: dict[str, str]) -> Changes | None:
    """From the rendered files of before and after; None when only a reload will do."""
    if old.keys() != new.keys():
        return None
    changed = [name for name in new if old[name] != new[name]]
    if not all(name.endswith(SUFFIXES) for name in changed):
        return None
    before: list[Step] = []
    after: list[Step] = []
    versions: dict[str, str] = {}
    for name in changed:
        if name.endswith((".rules", ".weights")):
            if name.endswith(".weights") and _rules_beside(name) in changed:
                return None
            versions[name] = new[name]
            continue
        had, wished = _entries(old[name]), _entries(new[name])
        added = [key for key in wished if key not in had]
        moved = [key for key in wished if key in had and had[key] != wished[key]]
        if moved and _rules_beside(name) in changed:
            return None
        adding = [Step(f"add map {name} {key} {wished[key]}") for key in added]
        # A host is known when its rules can be found; what a rule does, before it can be.
        if name.endswith(".hosts"):
            after += adding
        else:
            before += adding
        before += [Step(f"set map {name} {key} {wished[key]}") for key in moved]
        after += [Step(f"del map {name} {key}") for key in had if key not in wished]
    return Changes(before, versions, after)


def pieces(lines: str) -> list[str]:
    """A version of a map in as many bodies as it needs: HAProxy gives up a command that does not fit its buffer (config.py: tune.bufsize)."""
    found: list[list[str]] = []
    size = _MOST_BYTES
    for line in lines.splitlines(keepends=True):
        if size + len(line) > _MOST_BYTES:
            found.append([])
            size = 0
        found[-1].append(line)
        size += len(line)
    return ["".join(piece) for piece in found]


def _rules_beside(name: str) -> str:
    """The map by which the rules of the same listener are found."""
    return f"{name.partition('.')[0]}.rules"


def _entries(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())
