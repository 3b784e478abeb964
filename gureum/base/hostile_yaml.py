"""Reads YAML that a stranger wrote, within limits: depth, number of nodes, and the number of nodes *after* aliases are followed, so
that a few lines cannot grow into gigabytes ("billion laughs"). Only plain data comes out; no tag makes an object.

The parser is imported with the first text: no daemon needs it to start, which it would delay by 30 ms.
"""

from __future__ import annotations

import importlib

LIMIT_DEPTH = 40
LIMIT_NODES = 20_000


class HostileYaml(Exception):
    """The text is no YAML, or goes beyond the limits. The message is for the one who wrote it."""


def load(text: bytes, *, depth: int = LIMIT_DEPTH, nodes: int = LIMIT_NODES) -> object:
    """The only document: None, bool, int, float, str, dates, lists and dicts. `nodes`: also with aliases written out. Raises HostileYaml."""
    found: object = importlib.import_module("gureum.base.yaml_limits").load(text, depth, nodes)
    return found


def doubles(text: bytes) -> list[tuple[int, str]]:
    """Keys that stand once more in their mapping, of a text that `load` reads: the line of the value, from 1, and the key."""
    found: list[tuple[int, str]] = importlib.import_module("gureum.base.yaml_limits").doubles(text)
    return found
