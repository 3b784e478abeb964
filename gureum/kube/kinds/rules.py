"""What is special about a kind: its defaults, what it checks, what a change may not touch. Kinds that are not named here have no rules of their own.

Each family of kinds has a file; the table below brings them together by storage (`apps/deployments`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gureum.kube.errors import Cause

Object = dict[str, Any]


def _nothing(_obj: Object) -> None:
    pass


def _no_change(_obj: Object, _old: Object) -> None:
    pass


def _no_causes(_obj: Object, _old: Object | None) -> list[Cause]:
    return []


class Rules(msgspec.Struct, frozen=True):
    """`default` fills in what is not said (in place). `create` and `update` prepare a write: what the client may not decide is put right.
    `validate(obj, old)`: what is wrong; `old` None for a create. `generation`: whether spec changes are counted."""

    default: Callable[[Object], None] = _nothing
    create: Callable[[Object], None] = _nothing
    update: Callable[[Object, Object], None] = _no_change
    validate: Callable[[Object, Object | None], list[Cause]] = _no_causes
    generation: bool = True
    conditional: bool = False
    """A PUT must say which resourceVersion it replaces."""


PLAIN = Rules(generation=False)
"""Of kinds without a spec."""
