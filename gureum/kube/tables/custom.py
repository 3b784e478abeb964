"""Tables of custom resources: `additionalPrinterColumns`, whose values simple JSONPaths name.

Source: Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions", additional printer columns; "JSONPath Support".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from gureum.kube.tables.column import UNKNOWN, Column, Object, Table, age, name_of, parsed, since

# `.name`, `.a\.b`, `['a.b']`, `[0]`, `[*]`, `[?(@.type=="Ready")]`
_STEP = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\\])+)|\['(?P<quoted>[^']*)'\]|\["(?P<double>[^"]*)"\]|\[(?P<index>-?\d+)\]|\[(?P<all>\*)\]"""
    r"""|\[\?\(\s*@\.(?P<key>[\w.\-]+)\s*(?P<op>==|!=)\s*(?P<quote>['"])(?P<value>.*?)(?P=quote)\s*\)\]"""
)
Step = Callable[[Any], list[Any]]


def custom_table(printer_columns: list[Object]) -> Table:
    """Name, then the columns that are asked for; the age alone where none are."""
    if not printer_columns:
        return Table(
            (Column("Name", format="name"), Column("Age", "date")), lambda one, now: [name_of(one), age(one, now)]
        )
    columns = [Column("Name", format="name")]
    readers: list[tuple[str, Callable[[Object], list[Any]]]] = []
    for one in printer_columns:
        type_ = one.get("type", "string")
        columns.append(
            Column(
                one.get("name", ""), type_, one.get("priority", 0), one.get("format", ""), one.get("description", "")
            )
        )
        readers.append((type_, json_path(one.get("jsonPath", ""))))

    def cells(thing: Object, now: datetime) -> list[Any]:
        return [name_of(thing), *(_cell(type_, read(thing), now) for type_, read in readers)]

    return Table(tuple(columns), cells)


def json_path(text: str) -> Callable[[Any], list[Any]]:
    """What finds all values that a path names. ValueError: it is none."""
    steps: list[Step] = []
    place = 0
    path = text.strip().removeprefix("{").removesuffix("}")
    path = path.removeprefix("$")
    while place < len(path):
        match = _STEP.match(path, place)
        if match is None:
            raise ValueError(f"invalid JSONPath {text!r}")
        steps.append(_step(match))
        place = match.end()

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = [inner for one in found for inner in step(one)]
        return found

    return find


def _step(match: re.Match[str]) -> Step:
    if match["index"] is not None:
        number = int(match["index"])
        return lambda value: (
            value[number:][:1] if isinstance(value, list) and -len(value) <= number < len(value) else []
        )
    if match["all"]:
        return lambda value: (
            list(value) if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        )
    if match["key"] is not None:
        path, wanted, equal = match["key"].split("."), match["value"], match["op"] == "=="
        return lambda value: [one for one in _listed(value) if (_below(one, path) == wanted) is equal]
    name = match["quoted"] or match["double"] or re.sub(r"\\(.)", r"\1", match["name"] or "")
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _below(value: Any, path: list[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _cell(type_: str, found: list[Any], now: datetime) -> Any:
    found = [one for one in found if one is not None]
    if not found:
        return None
    if type_ == "date":
        return since(found[0], now) if parsed(found[0]) else UNKNOWN
    if type_ == "integer":
        return int(found[0]) if isinstance(found[0], int | float) else None
    if type_ == "number":
        return found[0] if isinstance(found[0], int | float) else None
    if type_ == "boolean":
        return found[0] if isinstance(found[0], bool) else None
    return ",".join(one if isinstance(one, str) else json.dumps(one) for one in found)
