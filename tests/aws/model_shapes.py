"""Parameters and results held against botocore's models."""

from __future__ import annotations

import datetime as dt
from typing import Any


def check_shape(value: Any, shape: Any, path: str) -> None:
    """Only members that the model knows, of the model's types."""
    if shape is None:
        assert value == {}, path
        return
    kinds = {
        "structure": dict, "list": list, "map": dict, "string": str, "integer": int, "long": int, "boolean": bool,
        "timestamp": (int, float, dt.datetime), "blob": (bytes, str), "double": (int, float), "float": (int, float),
    }  # fmt: skip
    assert isinstance(value, kinds[shape.type_name]), f"{path}: {value!r} is no {shape.type_name}"
    if shape.type_name == "structure":
        for name, inner in value.items():
            assert name in shape.members, f"{path} has no member {name}"
            check_shape(inner, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for inner in value:
            check_shape(inner, shape.member, f"{path}[]")
