"""What the SQLite store does beyond the contract: its file, its size limit, failures of the machine, changes of format."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gureum.store.contract import Conflict, Delete, Event, Put, StoreBroken, StoreFull, Unchanged
from gureum.store.logfile import MIGRATIONS
from gureum.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), timeout=60))

    return run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "store.db"


# The file


@in_loop
async def test_only_the_owner_may_read_the_files(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.commit([], [Put("secret", b"")])
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in [path.parent, *path.parent.iterdir()]}
    assert modes == {"home": 0o700, "store.db": 0o600, "store.db-wal": 0o600}
    await store.close()
    assert [each.name for each in path.parent.iterdir()] == ["store.db"]


@in_loop
async def test_commits_go_into_room_that_the_log_has_already(path: Path) -> None:
    """Were the file to grow, each sync would wait for the file system's own journal too."""
    store = await SqliteStore.open(path, checkpoint_pages=100)
    log = path.with_name("store.db-wal")
    room = log.stat().st_size
    assert room >= 100 * 4096
    for number in range(50):
        await store.commit([], [Put(f"a/{number}", bytes(1000))])
    assert log.stat().st_size == room
    await store.close()


@in_loop
async def test_one_process_at_a_time_has_the_file(path: Path) -> None:
    store = await SqliteStore.open(path)
    with pytest.raises(StoreBroken, match="in use"):  # and trying must not loosen the hold on it, as POSIX locks invite
        await SqliteStore.open(path)
    opening = "import asyncio, pathlib, sys; from gureum.store.sqlite import SqliteStore; "
    opening += "asyncio.run(SqliteStore.open(pathlib.Path(sys.argv[1])))"
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", opening, str(path), env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE
    )
    _, said = await other.communicate()
    assert b"StoreBroken: the store is in use by another process" in said
    await store.commit([], [Put("a", b"")])
    await store.close()


def test_what_is_not_a_store_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"precious notes, no database" * 100)
    with pytest.raises(StoreBroken, match="NOTADB"):
        asyncio.run(SqliteStore.open(path))
    assert path.read_bytes() == b"precious notes, no database" * 100


@in_loop
async def test_a_folder_that_cannot_be_made_is_named(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    with pytest.raises(StoreBroken, match=r"store\.db cannot be opened"):
        await SqliteStore.open(path)


@in_loop
async def test_compaction_leaves_only_what_lives(path: Path) -> None:
    store = await SqliteStore.open(path)
    for number in range(5):
        await store.commit([], [Put("a", b"%d" % number), Put(f"b/{number}", b""), Delete(f"b/{number - 1}")])
        await store.commit([], [Delete("a"), Put("c", b"%d" % number)])
    await store.compact(store.revision)
    await store.close()
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT key, id >> 12 FROM change ORDER BY key").fetchall()
    connection.close()
    assert rows == [("b/4", 9), ("c", 10)]


# Failures


@in_loop
async def test_a_full_store_fails_whole_groups_shows_nothing_and_goes_on(path: Path) -> None:
    store = await SqliteStore.open(path, max_bytes=256 * 1024)
    heard: list[list[Event]] = []
    await asyncio.gather(*(store.commit([], [Put("a", os.urandom(8000))]) for _ in range(20)))
    with pytest.raises(StoreFull):
        await asyncio.gather(*(store.commit([], [Put("a", os.urandom(8000))]) for _ in range(20)))
    revision, state = store.revision, store.range("")
    store.listen(heard.append)
    outcomes = await asyncio.gather(
        *(store.commit([], [Put(f"b/{number}", os.urandom(50_000))]) for number in range(5)),
        store.commit([Unchanged("b/0", 0)], [Put("c", b"")]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [StoreFull] * 6
    assert (store.revision, store.range(""), heard) == (revision, state, [])
    await store.compact(revision)
    assert await store.commit([], [Put("b", os.urandom(8000))]) == revision + 1
    state = store.range("")
    await store.close()
    store = await SqliteStore.open(path)
    assert (store.revision, store.range("")) == (revision + 1, state)
    await store.close()


@in_loop
async def test_a_refused_commit_fails_too_when_the_one_that_refused_it_is_not_made(path: Path) -> None:
    """Two create the same key in one group and the disk is full: "exists" would be a lie to the second."""
    store = await SqliteStore.open(path, max_bytes=256 * 1024)
    outcomes = await asyncio.gather(
        store.commit([Unchanged("a", 0)], [Put("a", bytes(500_000))]),
        store.commit([Unchanged("a", 0)], [Put("a", b"")]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [StoreFull, StoreFull]
    assert await store.commit([Unchanged("a", 0)], [Put("a", b"")]) == 1
    with pytest.raises(Conflict):
        await store.commit([Unchanged("a", 0)], [Put("a", b"")])
    await store.close()


FAILING_SYNC = """
import asyncio, json, os, pathlib, signal, sys
from gureum.store.contract import Put, StoreBroken
from gureum.store.sqlite import SqliteStore

async def main() -> None:
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]))
    outcomes = []
    for number in range(40):
        try:
            outcomes.append(await store.commit([], [Put("a", b"%d" % number), Put(f"b/{number}", b"")]))
        except StoreBroken as error:
            outcomes.append(str(error))
        if outcomes[-1] != store.revision and sys.argv[2] == "die":
            break
    print(json.dumps([outcomes, [entry.key for entry in store.range("")]]), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace (apt install strace)")
@pytest.mark.parametrize("then", ["go on", "die"])
@in_loop
async def test_a_commit_whose_sync_fails_never_shows_again(path: Path, then: str) -> None:
    """Its last frame is in the log and looks valid: without being overwritten it would be back after a crash."""
    inject = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:error=EIO:when=20",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = await asyncio.create_subprocess_exec(
        *inject, sys.executable, "-c", FAILING_SYNC, str(path), then, env=environment, stdout=subprocess.PIPE
    )
    said, _ = await run.communicate()
    outcomes, keys = json.loads(said)
    failed = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(failed) == 1
    assert "SQLITE_IOERR_FSYNC" in failed[0]
    revisions = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert revisions == list(range(1, len(revisions) + 1))
    store = await SqliteStore.open(path)
    assert [entry.key for entry in store.range("")] == keys
    assert f"b/{outcomes.index(failed[0])}" not in keys
    assert store.revision == len(revisions)
    await store.close()


# Formats


def _add_color(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE change SET value = cast(value || '-colored' AS BLOB) WHERE value IS NOT NULL")


def _stumble(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM change")
    connection.execute("no SQL at all")


@in_loop
async def test_a_newer_gureum_migrates_the_file_once_and_an_older_one_refuses_it(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.commit([], [Put("a", b"1")])
    await store.close()
    for _ in range(2):
        store = await SqliteStore.open(path, migrations=[*MIGRATIONS, _add_color])
        assert [(entry.value, entry.revision) for entry in store.range("")] == [(b"1-colored", 1)]
        await store.close()
    with pytest.raises(StoreBroken, match="format 2, this gureum knows up to 1"):
        await SqliteStore.open(path)


@in_loop
async def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.commit([], [Put("a", b"1")])
    await store.close()
    with pytest.raises(StoreBroken, match="syntax error"):
        await SqliteStore.open(path, migrations=[*MIGRATIONS, _add_color, _stumble])
    store = await SqliteStore.open(path)
    assert [(entry.value, entry.revision) for entry in store.range("")] == [(b"1", 1)]
    await store.close()


# Many commits


@in_loop
async def test_commits_that_wait_share_a_sync(path: Path) -> None:
    """Seen from outside: while the first group is written, all others gather into the next ones."""
    store = await SqliteStore.open(path)
    steps: list[int] = []
    commits = [asyncio.ensure_future(store.commit([], [Put(f"{number}", b"")])) for number in range(400)]
    last = -1
    while not all(commit.done() for commit in commits):
        if store.revision != last:
            last = store.revision
            steps.append(last)
        await asyncio.wait([commit for commit in commits if not commit.done()], return_when=asyncio.FIRST_COMPLETED)
    assert len(steps) <= 3
    assert store.revision == 400
    await store.close()


@in_loop
async def test_a_lowered_history_is_caught_up_in_short_steps(path: Path) -> None:
    store = await SqliteStore.open(path, synchronous=False)
    await asyncio.gather(*(store.commit([], [Put("a", b"%d" % number)]) for number in range(3000)))
    await store.close()
    store = await SqliteStore.open(path, synchronous=False, keep_revisions=100)
    compacted = []
    for number in range(5):
        await store.commit([], [Put("a", b"again%d" % number)])
        compacted.append(store.compacted)
    assert compacted == [1024, 2048, 2903, 2903, 2903]
    await store.close()
