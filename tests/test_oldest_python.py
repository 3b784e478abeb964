"""Python 3.11.2, which is Debian 12's own, does some things wrong that later ones do right: none of them is used."""

from __future__ import annotations

import re
from pathlib import Path

import gureum

_SOURCES = sorted(Path(gureum.__file__).parent.rglob("*.py"))
_WRONG_THERE = {
    "a group repeated possessively takes half a repetition more (gh-106052, mended in 3.11.5)": re.compile(
        r"\)[*+?]\+(?=[^+]*\", re\.|\"\))"
    ),
    "archives have no filters and entries no `replace` (3.11.4)": re.compile(
        r"extractall\([^)]*filter=|entry\.replace\("
    ),
}


def test_nothing_is_used_that_the_oldest_python_does_wrong() -> None:
    found = [
        f"{path.name}: {why}"
        for path in _SOURCES
        for line in path.read_text().splitlines()
        for why, pattern in _WRONG_THERE.items()
        if not line.lstrip().startswith("#") and pattern.search(line)
    ]
    assert found == []
