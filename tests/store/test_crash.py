"""Death of the process, many times: SIGKILL at random points of a write load (tests/store/load.py)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gureum.store.logfile import MIGRATIONS, open_log

ROOT = Path(__file__).parents[2]
KILLS = 25
WRITERS = 8

Changes = dict[str, str | None]


class Witness:
    """All that was ever told or found about revisions. A revision's changes, once known, must never be others."""

    def __init__(self) -> None:
        self.told = 0
        self.changes: dict[int, Changes] = {}

    def learn(self, revision: int, changes: Changes) -> None:
        assert self.changes.setdefault(revision, changes) == changes, f"revision {revision} was given out twice"

    def hear(self, line: str) -> None:
        """A line of the load."""
        word, revision, *rest = line.split(" ", 2)
        self.told = max(self.told, int(revision))
        if word == "seen":
            self.learn(int(revision), json.loads(rest[0]))

    def inspect(self, path: Path) -> int:
        """Opens what a dead process left and holds it against what is known. Returns its revision."""
        log, loaded = open_log(path, synchronous=True, max_bytes=2**30, checkpoint_pages=1000, migrations=MIGRATIONS)
        after, found = loaded.compacted, dict[int, Changes]()
        while after < loaded.revision:
            events, after = log.read("", after, loaded.revision)
            for event in events:
                found.setdefault(event.revision, {})[event.key] = event.entry.value.decode() if event.entry else None
        log.close()
        assert loaded.revision >= self.told, "an acknowledged commit is lost"
        assert list(found) == list(range(loaded.compacted + 1, loaded.revision + 1)), "a revision is missing"
        for revision, changes in found.items():
            self.learn(revision, changes)
        state = {key: entry.value.decode() for key, entry in loaded.entries.items()}
        assert state == self.state_at(loaded.revision), "the state is not what its history makes"
        for writer in range(WRITERS):
            assert state.get(f"left/{writer}") == state.get(f"right/{writer}"), "half a commit"
        return loaded.revision

    def state_at(self, revision: int) -> dict[str, str]:
        state: dict[str, str | None] = {}
        for each in range(1, revision + 1):
            state |= self.changes[each]
        return {key: value for key, value in state.items() if value is not None}


@contextmanager
def _load(run: str, path: Path, keep_revisions: int) -> Iterator[subprocess.Popen[str]]:
    """A process that starts writing when it gets a line, so that starting Python is not part of what is killed."""
    command = [sys.executable, str(ROOT / "tests/store/load.py"), run, str(path)]
    command += [str(WRITERS), "1000000", str(keep_revisions), "32", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as load:
        try:
            yield load
        finally:
            load.kill()


@pytest.mark.parametrize("keep_revisions", [10, 100_000], ids=["compacting", "keeping all history"])
def test_killed_at_random_points_it_loses_nothing_and_halves_nothing(tmp_path: Path, keep_revisions: int) -> None:
    dice, path, witness = random.Random(keep_revisions), tmp_path / "store.db", Witness()
    before = 0
    for kill in range(KILLS // 2 + 1):
        with _load(f"run{kill}", path, keep_revisions) as load:
            assert load.stdin is not None
            assert load.stdout is not None
            load.stdin.write("go\n")
            load.stdin.flush()
            for _ in range(dice.randrange(120)):
                witness.hear(load.stdout.readline())
            load.kill()
            rest = load.stdout.read()
            for line in rest.splitlines()[: None if rest.endswith("\n") else -1]:
                witness.hear(line)
        after = witness.inspect(path)
        assert after >= before
        before = after
    assert before > KILLS
