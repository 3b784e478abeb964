"""Traces: a span per API call and per reconcile, so that a call can be followed to what it changed.

A span that runs because of another (a reconcile after a commit) carries its trace id: the tracer remembers which trace last wrote
a key. Kept in memory, the newest `LIMIT_SPANS`; names and ids follow OpenTelemetry.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from contextvars import ContextVar

import msgspec

LIMIT_SPANS = 5_000
LIMIT_KEYS = 20_000


class Span(msgspec.Struct):
    """`start` in Unix seconds, `duration_s` in seconds. `key`: the object it worked on, "" for none."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: float
    duration_s: float = 0.0
    key: str = ""
    error: str = ""


_current: ContextVar[Span | None] = ContextVar("gureum_span", default=None)


class _Running:
    """A span while its work is under way: `with tracer.span(…) as span`."""

    __slots__ = ("_done", "_span", "_started", "_token")

    def __init__(self, done: deque[Span], span: Span) -> None:
        self._done = done
        self._span = span

    def __enter__(self) -> Span:
        self._token = _current.set(self._span)
        self._started = time.perf_counter()
        return self._span

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        _current.reset(self._token)
        span = self._span
        span.duration_s = time.perf_counter() - self._started
        if error is not None:
            span.error = f"{type(error).__name__}: {error}"
        self._done.append(span)


class Tracer:
    def __init__(self) -> None:
        self._spans: deque[Span] = deque(maxlen=LIMIT_SPANS)
        self._writer: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def span(self, name: str, *, key: str = "") -> _Running:
        """A span around a piece of work; its parent is the running span, else the trace that last wrote `key`."""
        parent = _current.get()
        trace_id, parent_id = (parent.trace_id, parent.span_id) if parent else self._writer.get(key, ("", ""))
        ids = os.urandom(24).hex()
        return _Running(self._spans, Span(trace_id or ids[:32], ids[32:], parent_id, name, time.time(), key=key))

    def wrote(self, keys: list[str]) -> None:
        """The running span wrote these keys: later work on them belongs to its trace."""
        span = _current.get()
        if span is None:
            return
        for key in keys:
            self._writer[key] = (span.trace_id, span.span_id)
            self._writer.move_to_end(key)
        while len(self._writer) > LIMIT_KEYS:
            self._writer.popitem(last=False)

    def trace_of(self, key: str) -> list[Span]:
        """All spans of the trace that last wrote `key`, the oldest first."""
        trace_id = self._writer.get(key, ("", ""))[0]
        return [span for span in self._spans if trace_id and span.trace_id == trace_id]

    def about(self, key: str) -> list[Span]:
        return [span for span in self._spans if span.key == key]
