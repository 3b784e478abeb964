"""Columns handed to DuckDB as they lie in memory, through the Arrow C stream interface (no copy, no object per value).

Source: "The Arrow C data interface" and "The Arrow C stream interface" (arrow.apache.org/docs/format). Only what the worker needs: one batch of
columns without nulls, of 8-byte integers and of text.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

INT64, TEXT = b"l", b"u"
MAX_TEXT_BYTES = 2**31 - 1
"""Of a column of text: its offsets are of 4 bytes."""
_EINVAL = 22


class _Schema(ctypes.Structure):
    pass


class _Array(ctypes.Structure):
    pass


class _Stream(ctypes.Structure):
    pass


_FreeSchema = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))
_FreeArray = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))
_FreeStream = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Stream))
_GetSchema = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Schema))
_GetNext = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))
_GetError = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(_Stream))

_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(_Schema))),
    ("dictionary", ctypes.c_void_p),
    ("release", _FreeSchema),
    ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
    ("dictionary", ctypes.c_void_p),
    ("release", _FreeArray),
    ("private_data", ctypes.c_void_p),
]
_Stream._fields_ = [
    ("get_schema", _GetSchema),
    ("get_next", _GetNext),
    ("get_last_error", _GetError),
    ("release", _FreeStream),
    ("private_data", ctypes.c_void_p),
]

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


def _freed(pointed: Any) -> None:
    # What is pointed to belongs to the Columns; only the mark is asked for.
    ctypes.cast(ctypes.byref(pointed.contents, type(pointed.contents).release.offset), ctypes.POINTER(ctypes.c_void_p))[
        0
    ] = None


_free_schema, _free_array, _free_stream = _FreeSchema(_freed), _FreeArray(_freed), _FreeStream(_freed)


class Columns:
    """A batch of columns. It must outlive the queries that read it."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: list[tuple[bytes, bytes, list[Any]]] = []
        self._alive: list[Any] = []

    def integers(self, name: str, values: Any) -> None:
        """`values`: integers of 8 bytes."""
        self._add(name, INT64, np.ascontiguousarray(values, "<i8"), len(values))

    def text(self, name: str, lengths: Any, data: bytes) -> None:
        """`data`: the values in UTF-8, one after the other; `lengths`: of each, in bytes. ValueError for more than `MAX_TEXT_BYTES`."""
        if len(data) > MAX_TEXT_BYTES:
            raise ValueError(f"{len(data)} bytes of text")
        offsets = np.zeros(len(lengths) + 1, "<i4")
        np.cumsum(lengths, out=offsets[1:])
        self._add(name, TEXT, offsets, len(lengths), np.frombuffer(data or b"\0", "u1"))

    def _add(self, name: str, kind: bytes, first: Any, rows: int, *more: Any) -> None:
        self.rows = rows
        self._columns.append((name.encode(), kind, [first, *more]))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        told = False

        def get_schema(stream: Any, out: Any) -> int:
            return self._answer(out, self._schema)

        def get_next(stream: Any, out: Any) -> int:
            nonlocal told
            if told:
                ctypes.memset(out, 0, ctypes.sizeof(_Array))
                return 0
            told = True
            return self._answer(out, self._array)

        stream = _Stream(_GetSchema(get_schema), _GetNext(get_next), _GetError(lambda stream: None), _free_stream, None)
        self._alive.append(stream)
        return _new_capsule(ctypes.addressof(stream), b"arrow_array_stream", None)

    def _answer(self, out: Any, make: Callable[[], Any]) -> int:
        try:
            made = make()
        except MemoryError:
            return _EINVAL
        self._alive.append(made)
        ctypes.memmove(out, ctypes.addressof(made), ctypes.sizeof(made))
        return 0

    def _schema(self) -> _Schema:
        children = [_Schema(kind, name, None, 0, 0, None, None, _free_schema, None) for name, kind, _ in self._columns]
        return _Schema(b"+s", b"", None, 0, len(children), _pointers(_Schema, children), None, _free_schema, None)

    def _array(self) -> _Array:
        children = [self._child(buffers) for _, _, buffers in self._columns]
        none = (ctypes.c_void_p * 1)(None)
        return _Array(self.rows, 0, 0, 1, len(children), none, _pointers(_Array, children), None, _free_array, None)

    def _child(self, buffers: list[Any]) -> _Array:
        pointers = (ctypes.c_void_p * (len(buffers) + 1))(None, *[one.ctypes.data for one in buffers])
        return _Array(self.rows, 0, 0, len(pointers), 0, pointers, None, None, _free_array, None)


def _pointers(kind: Any, made: list[Any]) -> Any:
    return (ctypes.POINTER(kind) * len(made))(*[ctypes.pointer(one) for one in made])
