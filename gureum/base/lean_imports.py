"""Imports of a package without a module that its `__init__` loads and nobody here uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without(module: str, *names: str) -> Iterator[None]:
    """While it lasts, importing `module` gives an empty one in which the `names` are None. Afterwards it can be imported as ever; what has
    taken names from the empty one keeps None. Does nothing when the module has been imported already."""
    if module in sys.modules:
        yield
        return
    empty = ModuleType(module)
    for name in names:
        setattr(empty, name, None)
    sys.modules[module] = empty
    try:
        yield
    finally:
        if sys.modules.get(module) is empty:
            del sys.modules[module]
