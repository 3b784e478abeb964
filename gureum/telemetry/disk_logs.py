"""Logs on disk: fills `ports.telemetry.Logs` over the log of writes, chunks in memory and Parquet files.

An event's place is its time and its number, both fixed when it is taken, so ids and places outlive flushes, merges and restarts. What is dropped
is noted with the number up to which it holds; files and chunks that still have such events are read past them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import merge
from itertools import chain, islice, pairwise, takewhile
from operator import attrgetter
from typing import NamedTuple

from gureum.ports.telemetry import LogEvent, LogPage, StreamInfo, TelemetryBroken
from gureum.telemetry.archive import Archive
from gureum.telemetry.catalog import FileInfo
from gureum.telemetry.frames import decode_events, encode, events_frame, events_of
from gureum.telemetry.generations import Generations, Limits
from gureum.telemetry.hot_logs import LogsChunk
from gureum.telemetry.jobs import Events, ReadLogs, Sealed, SealLogs
from gureum.telemetry.log_upkeep import DAY_MS, is_gone, tend_logs
from gureum.telemetry.pages import Page, Span, has_all, require_events, require_names, span_of
from gureum.telemetry.places import Position
from gureum.telemetry.wal import decoded, open_wal

_position_of = attrgetter("time_ms", "sequence")
HOT_AT_ONCE = 50_000
"""So many events in memory are searched in one turn of the loop."""


class DiskLogs:
    """Made by `store.open_telemetry`."""

    def __init__(self, archive: Archive, limits: Limits) -> None:
        """Blocking: reads the log. TelemetryFull, TelemetryBroken."""
        self._archive = archive
        # A number up to which something was dropped may have been given to a write that failed: what comes now is not dropped.
        dropped = [upto for streams in archive.catalog.dropped.values() for upto in streams.values()]
        self._next = max(archive.catalog.sequence(), *dropped, 0) + 1
        folder = archive.folder / "wal-logs"
        wal, left = open_wal(folder, archive.catalog.sealed("logs"))
        chunks = [self._replayed(generation, frames) for generation, frames in left] or [LogsChunk(wal.generation)]
        self._generations = Generations(folder, wal, chunks, LogsChunk, self._seal, self._tend, limits)

    async def append(self, scope: str, group: str, events: Sequence[LogEvent]) -> None:
        if not events:
            return
        require_events(scope, group, events)
        key, first, events = _key(scope, group), self._next, tuple(events)
        payload = encode(events_frame(key, first, events))
        self._next = first + len(events)
        await self._generations.commit(payload, lambda: self._show(key, first, events))

    async def read(
        self,
        scope: str,
        group: str,
        *,
        streams: Sequence[str] = (),
        start_ms: int = 0,
        end_ms: int | None = None,
        limit: int = 10_000,
        limit_bytes: int = 1_048_576,
        forward: bool = True,
        place: str = "",
        needles: Sequence[Sequence[str]] = (),
        look_at: int = 0,
    ) -> LogPage:
        key = _key(scope, group)
        span = self._kept(key, span_of(start_ms, end_ms, forward=forward, place=place))
        wish = _Wish(span, list(dict.fromkeys(streams)), limit, limit_bytes, forward, needles, look_at)
        hot = _Hot([], 0, None)
        await self._settle(key)

        def job() -> ReadLogs | None:
            # In one turn of the loop: what is in memory, and which files hold the rest.
            nonlocal hot
            hot = self._in_memory(key, wish)
            return self._question(key, wish, hot)

        answer = await self._archive.ask(job)
        if answer is not None and not isinstance(answer, Events):
            raise TelemetryBroken("the worker gave another answer than was asked for")
        return _page(wish, hot, answer)

    def _in_memory(self, key: str, wish: _Wish) -> _Hot:
        """What is in memory of it."""
        most = 0 if wish.needles else wish.limit + 1
        runs = [
            run.between(wish.span.first, wish.span.end, most, forward=wish.forward)
            for chunk in self._generations.chunks
            for run in chunk.runs(key, wish.streams)
        ]
        if not wish.needles:
            return _Hot(runs, 0, None)
        return _searched(runs, wish.needles, wish.look_at, forward=wish.forward)

    def _question(self, key: str, wish: _Wish, hot: _Hot) -> ReadLogs | None:
        """What the worker is asked for beside it; None where no file holds anything."""
        span, forward = wish.span, wish.forward
        files = self._files(key, span, wish.streams)
        if not files:
            return None
        there = {name for one in files for name in one.streams}
        return ReadLogs(
            [(one.name, one.min_ms, one.max_ms) for one in files],
            # All of a group of one stream are that stream's: of one the worker knows more.
            list(there) if len(there) == 1 else wish.streams,
            self._archive.catalog.dropped.get(key, {}),
            max(span.first, hot.bound) if hot.bound and not forward else span.first,
            min(span.end, hot.bound) if hot.bound and forward else span.end,
            wish.limit + 1,
            wish.limit_bytes,
            forward,
            int((wish.limit + 1) / _share(files, wish.streams)),
            [list(texts) for texts in wish.needles],
            wish.look_at if wish.needles else 0,
        )

    async def streams(self, scope: str, group: str) -> list[StreamInfo]:
        key = _key(scope, group)
        await self._settle(key)
        cutoff_ms = self._cutoff_ms(key)
        infos: dict[str, StreamInfo] = {}
        dropped = self._archive.catalog.dropped.get(key, {})
        for file in self._archive.catalog.files_of(key):
            for name, (first_ms, last_ms, last_ingested_ms, stored_bytes) in file.streams.items():
                if file.max_sequence > max(dropped.get("", 0), dropped.get(name, 0)):
                    _add(infos, StreamInfo(name, first_ms, last_ms, last_ingested_ms, stored_bytes))
        for chunk in self._generations.chunks:
            for info in chunk.infos(key):
                _add(infos, info)
        return [infos[name] for name in sorted(infos) if infos[name].last_ms >= cutoff_ms]

    async def keep(self, scope: str, group: str, days: int | None) -> None:
        key, catalog = _key(scope, group), self._archive.catalog
        await self._archive.write(lambda: catalog.keep(key, days))
        if days is None:
            catalog.kept.pop(key, None)
        else:
            catalog.kept[key] = days

    async def drop(self, scope: str, group: str, stream: str = "") -> None:
        require_names(scope, group, stream)
        key, catalog, upto = _key(scope, group), self._archive.catalog, self._next - 1
        await self._archive.write(lambda: catalog.drop(key, stream, upto))
        if not stream:
            catalog.dropped[key] = {}
            catalog.kept.pop(key, None)
        catalog.dropped.setdefault(key, {})[stream] = upto
        for chunk in self._generations.chunks:
            chunk.drop(key, stream, upto)
        gone = [one for one in self._archive.catalog.files_of(key) if is_gone(one, catalog.dropped[key])]
        if gone:
            await self._archive.replace([], gone)

    async def flush(self) -> None:
        """All into files, then the upkeep of files: for tests and tools; otherwise it happens by itself."""
        await self._generations.seal_now()
        await tend_logs(self._archive)

    async def close(self) -> None:
        await self._generations.close()

    async def _settle(self, key: str) -> None:
        for chunk in list(self._generations.chunks):
            await chunk.settle(key)

    def _show(self, key: str, first: int, events: Sequence[LogEvent]) -> None:
        chunk = self._generations.active
        chunk.last_sequence = first + len(events) - 1
        chunk.extend(key, first, events)
        for stream, upto in self._archive.catalog.dropped.get(key, {}).items():
            if upto >= first:  # dropped while they were written
                chunk.drop(key, stream, upto)

    def _replayed(self, generation: int, frames: Sequence[bytes]) -> LogsChunk:
        chunk = LogsChunk(generation)
        for frame in decoded(self._archive.folder / "wal-logs", generation, frames, decode_events):
            chunk.last_sequence = frame.first + len(frame) - 1
            self._next = max(self._next, frame.first + len(frame))
            chunk.extend(frame.group, frame.first, events_of(frame))
        for key, streams in self._archive.catalog.dropped.items():
            for stream, upto in streams.items():
                chunk.drop(key, stream, upto)
        return chunk

    def _cutoff_ms(self, key: str) -> int:
        days = self._archive.catalog.kept.get(key)
        return 0 if days is None else self._archive.now_ms - days * DAY_MS

    def _kept(self, key: str, span: Span) -> Span:
        return span._replace(first=max(span.first, Position(self._cutoff_ms(key), 0)))

    def _files(self, key: str, span: Span, streams: Sequence[str]) -> list[FileInfo]:
        return [
            one
            for one in self._archive.catalog.files_of(key)
            if one.max_ms >= span.first.time_ms
            and one.min_ms <= span.end.time_ms
            and (not streams or any(name in one.streams for name in streams))
        ]

    async def _seal(self, chunk: LogsChunk, then: Callable[[], None]) -> None:
        catalog = self._archive.catalog
        cutoffs = {key: self._cutoff_ms(key) for key in catalog.kept}
        before = {key: dict(streams) for key, streams in catalog.dropped.items()}
        result = await self._archive.worker.do(SealLogs(chunk.generation, before, cutoffs))
        if not isinstance(result, Sealed):
            raise TelemetryBroken("the worker gave another answer than was asked for")
        meta = {"sealed logs": chunk.generation, "sequence": max(catalog.sequence(), chunk.last_sequence)}
        await self._archive.replace(result.files, meta=meta, then=then)

    async def _tend(self, busy: Callable[[], bool]) -> None:
        await tend_logs(self._archive, busy)


def _key(scope: str, group: str) -> str:
    return f"{scope}\0{group}"


def _merged(parts: list[list[LogEvent]], *, forward: bool) -> Iterable[LogEvent]:
    """In the order of reading. Parts are sorted by position, but what files gave is in the order of reading already."""
    *hot, cold = parts
    if not forward:
        hot = [part[::-1] for part in hot]
    filled = [part for part in (*hot, cold) if part]
    filled.sort(key=lambda part: _position_of(part[0]), reverse=not forward)
    ends = [(_position_of(part[-1]), _position_of(after[0])) for part, after in pairwise(filled)]
    if all((last < first) is forward for last, first in ends):  # most are of other times
        return chain.from_iterable(filled)
    # A page takes few of them: a hundred streams have half a million events, which to sort would take the daemon's loop most of a second.
    return merge(*filled, key=_position_of, reverse=not forward)


class _Wish(NamedTuple):
    """What one read wants, with the words of `Logs.read`."""

    span: Span
    streams: list[str]
    limit: int
    limit_bytes: int
    forward: bool
    needles: Sequence[Sequence[str]]
    look_at: int


class _Hot(NamedTuple):
    """What memory holds. `bound`: nothing beyond it was looked at."""

    runs: list[list[LogEvent]]
    looked: int
    bound: Position | None


def _page(wish: _Wish, hot: _Hot, answer: Events | None) -> LogPage:
    """What is in memory and what the worker has found, in one order."""
    forward, bound = wish.forward, hot.bound
    page = Page(wish.span, wish.limit, wish.limit_bytes, forward=forward)
    if answer is not None and answer.bound_ms is not None:
        here = Position(answer.bound_ms, 0)
        bound = here if bound is None else (min(here, bound) if forward else max(here, bound))
    page.looked(hot.looked + (answer.looked if answer is not None else 0), bound)
    lines = _merged([*hot.runs, answer.events if answer is not None else []], forward=forward)
    if bound is not None:
        lines = takewhile(lambda one: _position_of(one) < bound if forward else _position_of(one) >= bound, lines)
    # One more than asked for tells whether there is more.
    page.fill(list(islice(lines, wish.limit + 1)))
    return page.end()


def _searched(runs: list[list[LogEvent]], needles: Sequence[Sequence[str]], look_at: int, *, forward: bool) -> _Hot:
    """Those with the needles, as far as one look goes."""
    bound = None
    # Of each run one at least: a read that looks at nothing would not lead on.
    most = max(min(look_at or HOT_AT_ONCE, HOT_AT_ONCE) // max(len(runs), 1), 1)
    for run in runs:
        if len(run) > most:
            line = run[most] if forward else run[-1 - most]
            here = Position(line.time_ms, line.sequence) if forward else Position(line.time_ms, line.sequence + 1)
            bound = here if bound is None else (min(bound, here) if forward else max(bound, here))
    cut = [(run[:most] if forward else run[-most:]) if len(run) > most else run for run in runs]
    return _Hot([_with_needles(run, needles) for run in cut], sum(map(len, cut)), bound)


def _with_needles(run: list[LogEvent], needles: Sequence[Sequence[str]]) -> list[LogEvent]:
    for texts in needles:
        if len(texts) == 1:  # nearly always: then it costs a tenth
            [text] = texts
            run = [line for line in run if text in line.message]
        else:
            run = [line for line in run if has_all(line.message, [texts])]
    return run


def _share(files: Sequence[FileInfo], streams: Sequence[str]) -> float:
    """About how much of the files is of the streams."""
    if not streams:
        return 1.0
    theirs = sum(one.streams[name][3] for one in files for name in streams if name in one.streams)
    whole = sum(stored_bytes for one in files for *_, stored_bytes in one.streams.values())
    return max(theirs / whole, 0.001)


def _add(infos: dict[str, StreamInfo], more: StreamInfo) -> None:
    known = infos.get(more.stream)
    infos[more.stream] = (
        more
        if known is None
        else StreamInfo(
            more.stream,
            min(known.first_ms, more.first_ms),
            max(known.last_ms, more.last_ms),
            max(known.last_ingested_ms, more.last_ingested_ms),
            known.stored_bytes + more.stored_bytes,
        )
    )
