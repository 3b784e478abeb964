"""The store's file: a log of changes in SQLite. Blocking; one thread at a time uses it. Decides nothing.

    meta    name, value  format (migrations applied), compacted, voided
    change  id        revision << 12 | position in the commit (a commit has at most 4096 writes)
            key
            value     NULL: the key was deleted
            created   revision that created the key; for a deletion, that of what was deleted
            previous  revision of the key before this change; 0: there was none

The state is the last row of each key. New rows go to the end of the one table, so a commit mostly writes one page. The
latest revision is that of the last row, or `compacted` when compaction took the last row (a deletion) away. Compaction
up to R walks the rows that compaction has not seen yet and removes what each replaced, and deletions themselves; a row
that a watch from R on needs as `previous` was replaced after R, so it stays.

Invariants:
- A transaction that ended well is on the disk (WAL with synchronous=FULL syncs at each commit).
- One process has the file open (locking_mode=EXCLUSIVE), through one connection. Nothing else in this process may open
  it: POSIX drops a process's locks on a file when any of its descriptors for it is closed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from gureum.store.contract import MAX_OPERATIONS, Compacted, Entry, Event, StoreBroken, StoreFull

Migration = Callable[[sqlite3.Connection], None]

READ_ROWS = 2 * MAX_OPERATIONS
"""Rows of one history read; more than one commit can have, so a read always ends with a whole revision."""
COMPACT_REVISIONS = 1024
"""Revisions that one transaction compacts at most, so that it stays short."""
_POSITION_BITS = 12
_PAGE_BYTES = 4096
_FRAME_BYTES = 24
"""What the log adds to each page."""
_ROOM_SHARE = 16
"""The log's room is made ahead where the disk has this many times as much left."""


class Loaded(NamedTuple):
    """What a file held when it was opened. `entries`: in the order of their revisions."""

    entries: dict[str, Entry]
    revision: int
    compacted: int


class LogFile:
    """One open file. Failing verbs raise StoreFull or StoreBroken and leave the file as it was and usable."""

    def __init__(self, connection: sqlite3.Connection, compacted: int) -> None:
        self._connection = connection
        self._doubtful = False
        self.compacted = compacted

    def append(self, events: Sequence[Event], compact_until: int) -> None:
        """Makes the events durable, in one transaction; on the way compacts up to a revision, or as far as one
        transaction should."""
        self._settle_doubt()
        compact_until = min(compact_until, self.compacted + COMPACT_REVISIONS)
        try:
            with self._transaction():
                self._connection.executemany("INSERT INTO change VALUES (?, ?, ?, ?, ?)", _rows(events))
                if compact_until > self.compacted:
                    self._remove_history(compact_until)
        except StoreBroken:
            with suppress(StoreBroken, StoreFull):  # if not now, then before the next commit
                self._settle_doubt()
            raise
        self.compacted = max(self.compacted, compact_until)

    def read(self, prefix: str, after: int, until: int) -> tuple[list[Event], int]:
        """The first of the prefix's events in the revisions after < r <= until, and the revision read up to.
        Compacted."""
        if after < self.compacted:
            raise Compacted(after, self.compacted)
        with _translated():
            span = (_first_id(after + 1), _first_id(until + 1))
            rows = self._connection.execute(_READ, (*span, len(prefix), prefix, READ_ROWS)).fetchall()
        if len(rows) == READ_ROWS:
            until = _revision(rows[-1][0]) - 1  # its last revision may be cut off
        return [_event(*row) for row in rows if _revision(row[0]) <= until], until

    def compact(self, revision: int) -> None:
        """Compacts up to the revision, or as far as one transaction should: call again until `compacted` is there."""
        self.append((), revision)

    def close(self) -> None:
        self._connection.close()

    def _remove_history(self, until: int) -> None:
        seen = (_first_id(self.compacted + 1), _first_id(until + 1))
        changes = self._connection.execute("SELECT previous, key FROM change WHERE id >= ? AND id < ?", seen).fetchall()
        replaced = [(_first_id(previous), _first_id(previous + 1), key) for previous, key in changes if previous]
        self._connection.executemany("DELETE FROM change WHERE id >= ? AND id < ? AND key = ?", replaced)
        self._connection.execute("DELETE FROM change WHERE id >= ? AND id < ? AND value IS NULL", seen)
        self._connection.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (until,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _translated():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException as error:
                # The commit's last frame may have reached the file though its sync failed: then a crash would bring the
                # failed commit back. Overwriting it, now or before the next commit, ends the doubt. A full disk leaves
                # none, since the write itself failed.
                if isinstance(error, sqlite3.Error) and _primary_code(error) != sqlite3.SQLITE_FULL:
                    self._doubtful = True
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _settle_doubt(self) -> None:
        if self._doubtful:
            with self._transaction():
                self._connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'voided'")
            self._doubtful = False


def open_log(
    path: Path, *, synchronous: bool, max_bytes: int, checkpoint_pages: int, migrations: Sequence[Migration]
) -> tuple[LogFile, Loaded]:
    """Opens or creates the file, brings it to the present format and reads its state. StoreBroken, StoreFull."""
    with _translated():
        _create(path)
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            _configure(connection, synchronous, max_bytes, checkpoint_pages)
            _migrate(connection, migrations)
            loaded = _load(connection)
            if synchronous:
                _make_room(Path(f"{path}-wal"), checkpoint_pages * (_PAGE_BYTES + _FRAME_BYTES))
        except BaseException:
            connection.close()
            raise
    return LogFile(connection, loaded.compacted), loaded


def _create(path: Path) -> None:
    """SQLite gives its own files (WAL) the mode of this one."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            for folder in (path.parent, path.parent.parent):
                _sync_folder(folder)
    except OSError as error:
        raise StoreBroken(f"{path} cannot be opened: {error.strerror}") from error


def _make_room(wal: Path, size: int) -> None:
    """Lengthens the log to what it grows to before SQLite begins it anew, unless the disk is short. A sync of bytes that only take the place of
    others spares the file system a commit of its own journal: a third of the time. SQLite reads no further than its own checksums."""
    try:
        descriptor = os.open(wal, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        disk, have = os.fstatvfs(descriptor), os.fstat(descriptor).st_size
        if have < size < disk.f_bavail * disk.f_frsize // _ROOM_SHARE:
            os.pwrite(descriptor, bytes(size - have), have)
    except OSError:
        pass  # then it grows as it goes, and says so when it cannot
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _configure(connection: sqlite3.Connection, synchronous: bool, max_bytes: int, checkpoint_pages: int) -> None:
    for pragma in (
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",
        f"synchronous = {'FULL' if synchronous else 'NORMAL'}",
        f"max_page_count = {max_bytes // _PAGE_BYTES}",
        f"wal_autocheckpoint = {checkpoint_pages}",
        "secure_delete = FAST",  # Debian's default writes zeros over all that is deleted: twice compaction's writes
        "temp_store = MEMORY",
        "automatic_index = OFF",  # would index the whole log for each read of history
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _migrate(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    """Applies the steps the file has not seen, all or none. The format's number is the count of steps applied."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]
        applied = _meta(connection, "format") if known else 0
        if applied > len(steps):
            raise StoreBroken(
                f"the store is of format {applied}, this gureum knows up to {len(steps)}: start the newer one"
            )
        for step in steps[applied:]:
            step(connection)
        if applied < len(steps):
            connection.execute("UPDATE meta SET value = ? WHERE name = 'format'", (len(steps),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _create_log(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID")
    connection.execute("INSERT INTO meta VALUES ('format', 0), ('compacted', 0), ('voided', 0)")
    connection.execute(
        "CREATE TABLE change ("
        "id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, created INTEGER NOT NULL, previous INTEGER NOT NULL)"
    )


MIGRATIONS: tuple[Migration, ...] = (_create_log,)
"""One step per format, each in the transaction of all. Steps are never changed, only added."""


def _load(connection: sqlite3.Connection) -> Loaded:
    entries: dict[str, Entry] = {}
    row_id = 0
    for row_id, key, value, created in connection.execute("SELECT id, key, value, created FROM change ORDER BY id"):
        entries.pop(key, None)  # a key put anew moves to the end: the order of revisions
        if value is not None:
            entries[key] = Entry(key, value, created, row_id >> _POSITION_BITS)
    compacted = _meta(connection, "compacted")
    return Loaded(entries, max(_revision(row_id), compacted), compacted)


def _meta(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]
    return value


_READ = """
SELECT new.id, new.key, new.value, new.created, old.value, old.created, new.previous
FROM change AS new LEFT JOIN change AS old ON old.id >= new.previous << 12 AND old.id < new.previous + 1 << 12 AND old.key =
new.key AND new.previous > 0 WHERE new.id >= ? AND new.id < ? AND substr(new.key, 1, ?) = ? ORDER BY new.id LIMIT ?
"""


def _rows(events: Sequence[Event]) -> Iterator[tuple[int, str, bytes | None, int, int]]:
    revision = position = 0
    for event in events:
        position = position + 1 if event.revision == revision else 0
        revision = event.revision
        state = event.entry or event.previous
        assert state is not None
        assert position >> _POSITION_BITS == 0
        value = event.entry.value if event.entry else None
        previous = event.previous.revision if event.previous else 0
        yield _first_id(revision) + position, event.key, value, state.created, previous


def _event(
    row_id: int,
    key: str,
    value: bytes | None,
    created: int,
    old_value: bytes | None,
    old_created: int | None,
    previous: int,
) -> Event:
    revision = _revision(row_id)
    entry = None if value is None else Entry(key, value, created, revision)
    old = None if old_value is None or old_created is None else Entry(key, old_value, old_created, previous)
    return Event(revision, key, entry, old)


def _first_id(revision: int) -> int:
    return revision << _POSITION_BITS


def _revision(row_id: int) -> int:
    return row_id >> _POSITION_BITS


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = _primary_code(error)
        if code == sqlite3.SQLITE_FULL:
            raise StoreFull("the disk or the store's size limit is full") from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreBroken("the store is in use by another process") from error
        raise StoreBroken(f"{getattr(error, 'sqlite_errorname', 'SQLITE_ERROR')}: {error}") from error


def _primary_code(error: sqlite3.Error) -> int:
    """Extended codes (SQLITE_IOERR_FSYNC) carry the primary one in their low byte. Errors of the module itself have
    none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF
