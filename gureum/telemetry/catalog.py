"""The catalog of the telemetry store, in SQLite: which Parquet files count, which series there are, what was dropped, how long groups keep.

A file counts when it stands here; the others in the folders are remains of a crash and are removed at the start. One transaction takes files in
and notes which generation of the log they came from, so that after a crash nothing is lost and nothing doubled. Blocking; small transactions,
each synced. All of it is also in memory, which is what reads see.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gureum.ports.telemetry import TelemetryBroken, TelemetryFull

SCHEMA = """
CREATE TABLE IF NOT EXISTS file (name TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS dropped (log_group TEXT, stream TEXT, upto INTEGER NOT NULL, PRIMARY KEY (log_group, stream));
CREATE TABLE IF NOT EXISTS kept (log_group TEXT PRIMARY KEY, days INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


METRICS = ""
"""The group of files of metrics: no log group's key."""


class FileInfo(msgspec.Struct, frozen=True):
    """A Parquet file. `signal`: "metrics" or "logs". `resolution_s`: of metrics, 1 for data as they came. `group`: a group's key, of logs.
    `max_sequence`: the last event's number. `streams`: stream → (first_ms, last_ms, last_ingested_ms, stored_bytes)."""

    name: str
    signal: str
    min_ms: int
    max_ms: int
    rows: int
    size_bytes: int
    resolution_s: int = 0
    group: str = ""
    max_sequence: int = 0
    min_sequence: int = 0
    streams: dict[str, tuple[int, int, int, int]] = {}


class SeriesRow(msgspec.Struct, frozen=True):
    """A series of one unit. `last_ms`: of its newest datum in files."""

    id: int
    scope: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    unit: str
    last_ms: int = 0


class Catalog:
    def __init__(self, path: Path) -> None:
        """TelemetryBroken, TelemetryFull."""
        with translated():
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(SCHEMA)
            rows = self._connection.execute
            self.files = {
                name: msgspec.msgpack.decode(body, type=FileInfo) for name, body in rows("SELECT name, body FROM file")
            }
            self._by_group: dict[str, dict[str, FileInfo]] = {}
            for one in self.files.values():
                self._by_group.setdefault(one.group, {})[one.name] = one
            self.series = [msgspec.msgpack.decode(body, type=SeriesRow) for (body,) in rows("SELECT body FROM series")]
            self.dropped: dict[str, dict[str, int]] = {}
            for group, stream, upto in rows("SELECT log_group, stream, upto FROM dropped"):
                self.dropped.setdefault(group, {})[stream] = upto
            self.kept: dict[str, int] = dict(rows("SELECT log_group, days FROM kept"))
            self._meta: dict[str, int] = dict(rows("SELECT name, value FROM meta"))

    def sealed(self, signal: str) -> int:
        """The last generation of the signal's log that is in files."""
        return self._meta.get(f"sealed {signal}", 0)

    def sequence(self) -> int:
        """The last number of an event that is in files, or was."""
        return self._meta.get("sequence", 0)

    def merged(self) -> int:
        """How many merged files there have been: their names count on."""
        return self._meta.get("merged", 0)

    def files_of(self, group: str) -> list[FileInfo]:
        """Those of a group of logs; of METRICS the files of metrics. As many others as there are cost nothing."""
        return list(self._by_group.get(group, {}).values())

    def replace(
        self,
        added: Sequence[FileInfo],
        removed: Iterable[str] = (),
        *,
        series: Sequence[SeriesRow] = (),
        meta: dict[str, int] | None = None,
    ) -> None:
        """Files come and go, at once. Makes it durable only: `apply` shows it."""
        with self._transaction():
            many = self._connection.executemany
            many("DELETE FROM file WHERE name = ?", [(name,) for name in removed])
            many(
                "INSERT OR REPLACE INTO file VALUES (?, ?)", [(one.name, msgspec.msgpack.encode(one)) for one in added]
            )
            many(
                "INSERT OR REPLACE INTO series VALUES (?, ?)", [(one.id, msgspec.msgpack.encode(one)) for one in series]
            )
            many("INSERT OR REPLACE INTO meta VALUES (?, ?)", list((meta or {}).items()))

    def apply(self, added: Sequence[FileInfo], removed: Iterable[str] = (), meta: dict[str, int] | None = None) -> None:
        for name in removed:
            gone = self.files.pop(name, None)
            if gone is not None:
                theirs = self._by_group[gone.group]
                del theirs[name]
                if not theirs:
                    del self._by_group[gone.group]
        for one in added:
            self.files[one.name] = self._by_group.setdefault(one.group, {})[one.name] = one
        self._meta.update(meta or {})

    def keep(self, group: str, days: int | None) -> None:
        with self._transaction():
            self._connection.execute("DELETE FROM kept WHERE log_group = ?", (group,))
            if days is not None:
                self._connection.execute("INSERT INTO kept VALUES (?, ?)", (group, days))

    def drop(self, group: str, stream: str, upto: int) -> None:
        """The group's (stream "") or a stream's events up to this number are gone."""
        with self._transaction():
            if not stream:
                self._connection.execute("DELETE FROM dropped WHERE log_group = ?", (group,))
                self._connection.execute("DELETE FROM kept WHERE log_group = ?", (group,))
            self._connection.execute("INSERT OR REPLACE INTO dropped VALUES (?, ?, ?)", (group, stream, upto))

    def forget_dropped(self, over: Sequence[tuple[str, str]]) -> None:
        """Nothing of these is left anywhere."""
        with self._transaction():
            self._connection.executemany("DELETE FROM dropped WHERE log_group = ? AND stream = ?", over)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise TelemetryFull("the telemetry's disk is full") from error
        raise TelemetryBroken(f"the telemetry's catalog fails: {error}") from error
