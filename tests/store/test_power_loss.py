"""Loss of power, replayed: what the store promised is on the disk whatever the disk did with writes that were not synced.

A process writes under strace, which records its calls on the store's files and the lines in which it tells what is
visible and acknowledged. The test replays the calls on a model of a disk and cuts the power after each: what was synced
is there; of the rest, the disk kept nothing, all, or any sectors in any order. The store is then opened on what is left.

Debian: strace. The container or machine must allow ptrace.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gureum.store.contract import StoreBroken
from gureum.store.logfile import MIGRATIONS, open_log

ROOT = Path(__file__).parents[2]
SECTOR_BYTES = 512
WRITERS = 4
COMMITS_EACH = 16


def _can_trace() -> bool:
    return (
        bool(shutil.which("strace"))
        and subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False).returncode == 0
    )


pytestmark = pytest.mark.skipif(not _can_trace(), reason="needs strace (apt install strace) and leave to ptrace")


class Call(NamedTuple):
    """A call on a file of the store, or (`say`) a line told."""

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""


# The recording

CALLS = (
    "openat,creat,pwrite64,pwritev,pwritev2,write,writev,fsync,fdatasync,sync_file_range,ftruncate,truncate,fallocate"
)
CALLS += ",unlink,unlinkat,rename,renameat,renameat2,link,linkat,copy_file_range,sendfile,mmap"
LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
OPEN_FILE = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})*)>")


def _record(folder: Path, *, synchronous: bool) -> list[Call]:
    """Calls of a whole life of a store: making it, commits with checkpoints and compaction in between, closing it."""
    trace, store = folder / "trace", folder / "store"
    load = [sys.executable, str(ROOT / "tests/store/load.py"), "run", str(store / "store.db")]
    load += [str(WRITERS), str(COMMITS_EACH), "24", "8", str(int(synchronous))]
    subprocess.run(
        ["strace", "-f", "-qq", "-y", "-xx", "-s", "100000", "-e", f"trace={CALLS}", "-o", str(trace), *load],
        input=b"\n",
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=120,
    )
    return list(_parse(trace.read_text().splitlines(), str(store)))


def _parse(lines: list[str], folder: str) -> Iterator[Call]:
    escaped = "".join(f"\\x{byte:02x}" for byte in folder.encode())
    begun: dict[str, str] = {}
    for text in lines:
        thread, line = text.split(" ", 1)[0], text
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix(" <unfinished ...>")
            continue
        if "resumed>" in line:
            line = begun.pop(thread) + line.split("resumed>", 1)[1]
        match = LINE.match(line)
        if match is None or int(match[3]) < 0:
            continue
        call = _call(match[1], match[2], int(match[3]), escaped)
        if call is not None:
            yield call


def _call(verb: str, arguments: str, result: int, folder: str) -> Call | None:
    opened, text = OPEN_FILE.match(arguments), TEXT.search(arguments)
    if verb == "write" and opened and opened[1] == "1":
        assert text is not None
        return Call("say", _bytes(text[1]).decode())
    if folder not in arguments:
        return None
    path = opened[2] if opened else text[1] if text else ""
    name = _bytes(path).decode()
    match verb:
        case "openat":
            return Call("create", name) if "O_CREAT" in arguments else None
        case "pwrite64":
            assert text is not None
            assert not text[2], "the recording is cut short"
            data = _bytes(text[1])
            assert result == len(data)
            return Call("write", name, int(arguments.rsplit(",", 1)[1]), data)
        case "fsync" | "fdatasync":
            return Call("sync", name)
        case "ftruncate":
            return Call("truncate", name, int(arguments.rsplit(",", 1)[1]))
        case "unlink":
            return Call("unlink", name)
    raise AssertionError(f"the model of the disk does not know {verb}: {arguments[:200]}")


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


# The disk


class File:
    """`synced`: what is on the disk for certain; `pending`: calls since the last sync."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.pending: list[Call] = []

    def content(self, keep: Callable[[Call], Iterator[Call]]) -> bytes:
        content = bytearray(self.synced)
        for call in self.pending:
            for kept in keep(call):
                _apply(content, kept)
        return bytes(content)

    def sync(self) -> None:
        for call in self.pending:
            _apply(self.synced, call)
        self.pending.clear()


def _apply(content: bytearray, call: Call) -> None:
    if call.kind == "truncate":
        del content[call.offset :]
    size = call.offset + len(call.data)
    content.extend(bytes(max(0, size - len(content))))
    content[call.offset : size] = call.data


class Disk:
    """Files of one folder. A name made or removed is certain once the folder is synced."""

    def __init__(self) -> None:
        self.names: dict[str, File] = {}
        self.synced_names: dict[str, File] = {}

    def apply(self, call: Call) -> None:
        if call.kind == "create":
            self.names.setdefault(call.name, File())
        elif call.kind == "unlink":
            del self.names[call.name]
        elif call.kind == "sync" and call.name not in self.names:
            self.synced_names = dict(self.names)
        elif call.kind == "sync":
            self.names[call.name].sync()
        else:
            self.names[call.name].pending.append(call)

    def after_power_loss(self, names: dict[str, File], keep: Callable[[Call], Iterator[Call]]) -> dict[str, bytes]:
        return {name: file.content(keep) for name, file in names.items()}


def _keep_nothing(_call: Call) -> Iterator[Call]:
    return iter(())


def _keep_all(call: Call) -> Iterator[Call]:
    yield call


def _keep_some(dice: random.Random) -> Callable[[Call], Iterator[Call]]:
    """Each write wholly, or not at all, or some of its sectors."""

    def keep(call: Call) -> Iterator[Call]:
        fate = dice.random()
        if fate < 0.4 or (fate < 0.7 and call.kind == "truncate"):
            yield call
        elif fate < 0.7:
            start = 0
            while start < len(call.data):
                end = min(len(call.data), start + SECTOR_BYTES - (call.offset + start) % SECTOR_BYTES)
                if dice.random() < 0.5:
                    yield Call("write", call.name, call.offset + start, call.data[start:end])
                start = end

    return keep


# What must be there


class Left(NamedTuple):
    """What the store found in the files. `history`: changed keys by revision."""

    revision: int
    state: dict[str, str]
    history: dict[int, dict[str, str | None]]


def _open(files: dict[str, bytes], folder: Path) -> Left:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / Path(name).name).write_bytes(content)
    path = folder / "store.db"
    log, loaded = open_log(path, synchronous=False, max_bytes=2**30, checkpoint_pages=1000, migrations=MIGRATIONS)
    history: dict[int, dict[str, str | None]] = {}
    for event in log.read("", loaded.compacted, loaded.revision)[0]:
        history.setdefault(event.revision, {})[event.key] = event.entry.value.decode() if event.entry else None
    log.close()
    assert sorted(history) == list(range(loaded.compacted + 1, loaded.revision + 1))
    return Left(loaded.revision, {key: entry.value.decode() for key, entry in loaded.entries.items()}, history)


class Replay:
    """Plays a recording and looks, after each call, at what a loss of power would leave."""

    def __init__(self, calls: list[Call], folder: Path) -> None:
        self.calls = calls
        self.folder = folder
        self.changes: dict[int, dict[str, str | None]] = {}
        self.states: list[dict[str, str]] = [{}]
        for call in calls:
            if call.kind == "say" and call.name.startswith("seen "):
                _, revision, changes = call.name.split(" ", 2)
                self.changes[int(revision)] = json.loads(changes)
                state = {**self.states[-1], **self.changes[int(revision)]}
                self.states.append({key: value for key, value in state.items() if value is not None})
        assert list(self.changes) == list(range(1, WRITERS * COMMITS_EACH + 1))
        self._known: dict[frozenset[tuple[str, bytes]], Left] = {}

    def run(self, seed: int) -> int:
        """Fails if a state is found that never was. Returns how often a revision was lost that had been told of before."""
        disk, dice, told, lost = Disk(), random.Random(seed), 0, 0
        for call in self.calls:
            if call.kind == "say":
                told = max(told, int(call.name.split()[1]))
                continue
            disk.apply(call)
            for names, keep in (
                (disk.synced_names, _keep_nothing),
                (disk.names, _keep_all),
                (dice.choice([disk.names, disk.synced_names]), _keep_some(dice)),
            ):
                left = self._left(disk.after_power_loss(names, keep))
                assert left.state == self.states[left.revision]
                assert all(changes == self.changes[revision] for revision, changes in left.history.items())
                lost += left.revision < told
        assert told == len(self.states) - 1
        return lost

    def _left(self, files: dict[str, bytes]) -> Left:
        key = frozenset(files.items())
        if key not in self._known:
            self._known[key] = _open(files, self.folder)
        return self._known[key]


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where possible: the test's own files need no syncing."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name)


def test_nothing_told_is_lost_and_no_half_write_is_seen(folder: Path) -> None:
    calls = _record(folder, synchronous=True)
    assert {"store.db", "store.db-wal"} <= {Path(call.name).name for call in calls if call.kind == "sync"}
    assert sum(call.kind == "write" and call.name.endswith("-wal") and call.offset == 0 for call in calls) > 1, (
        "no restart of the log"
    )
    replay = Replay(calls, folder / "left")
    assert [replay.run(seed) for seed in range(10)] == [0] * 10


def test_the_relaxed_store_may_lose_the_newest_but_shows_no_half_write(folder: Path) -> None:
    calls = _record(folder, synchronous=False)
    replay = Replay(calls, folder / "left")
    assert all(replay.run(seed) > 0 for seed in range(5))


@pytest.mark.parametrize("ignored", ["store.db-wal", "store.db"])
def test_this_test_notices_when_a_sync_is_missing(folder: Path, ignored: str) -> None:
    """The same recording on a disk that ignores one file's syncs: the replay must find the damage."""
    calls = [
        call for call in _record(folder, synchronous=True) if (call.kind, Path(call.name).name) != ("sync", ignored)
    ]
    try:
        lost = Replay(calls, folder / "left").run(seed=3)
    except (AssertionError, StoreBroken):
        return
    assert lost > 0
