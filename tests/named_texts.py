"""What a function can name: the texts in its code and in all code of the project that it may reach.

Reached is what a function's code speaks of by name: functions, classes and tables of its module, those of modules it imports, and methods
of `Call`. That is more than it runs; what is not among the texts it surely never looks at.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

from gureum.aws.call import Call

WITHIN = "gureum.aws"
METHODS = types.FunctionType | classmethod | staticmethod | property


def named_texts(function: Any) -> set[str]:
    """Every text that `function` can name."""
    return set(_texts(function, set()))


def _texts(value: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _all([*value, *value.values()], seen)
    elif isinstance(value, tuple | list | set | frozenset):
        yield from _all(value, seen)
    elif id(value) not in seen:
        seen.add(id(value))
        yield from _reached(value, seen)


def _all(values: Any, seen: set[int]) -> Iterator[str]:
    for value in values:
        yield from _texts(value, seen)


def _reached(value: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(value, types.FunctionType) and value.__module__.startswith(WITHIN):
        yield from _all((value.__defaults__ or (), value.__kwdefaults__ or {}), seen)
        yield from _all([cell.cell_contents for cell in value.__closure__ or ()], seen)
        yield from _of_code(value.__code__, value.__globals__, seen)
    elif isinstance(value, classmethod | staticmethod):
        yield from _texts(value.__func__, seen)
    elif isinstance(value, property):
        yield from _texts(value.fget, seen)
    elif isinstance(value, functools.partial):
        yield from _all((value.func, value.args, value.keywords), seen)
    elif isinstance(value, type) and value.__module__.startswith(WITHIN) and value is not Call:
        yield from _all([one for one in vars(value).values() if isinstance(one, METHODS)], seen)


def _of_code(code: types.CodeType, names: dict[str, Any], seen: set[int]) -> Iterator[str]:
    for constant in code.co_consts:
        yield from _of_code(constant, names, seen) if isinstance(constant, types.CodeType) else _texts(constant, seen)
    spoken = [names[name] for name in code.co_names if name in names]
    places = [vars(one) for one in spoken if isinstance(one, types.ModuleType) and one.__name__.startswith(WITHIN)]
    for place in (*places, vars(Call)):
        spoken += [place[name] for name in code.co_names if name in place]
    yield from _all(spoken, seen)
