"""A disk that is really full: a small tmpfs in a mount namespace of its own, which goes with the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: needs root")]

STORY = """
import asyncio, json, os, pathlib, subprocess, sys
from gureum.store.contract import Put, StoreFull
from gureum.store.sqlite import SqliteStore

folder = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "store", str(folder)], check=True)
ballast = folder / "ballast"

def fill() -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass

async def main() -> dict[str, object]:
    store = await SqliteStore.open(folder / "store.db")
    await store.commit([], [Put("before", os.urandom(1000))])
    fill()
    heard = []
    store.listen(heard.append)
    commits = [store.commit([], [Put(f"full/{number}", os.urandom(100_000))]) for number in range(3)]
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    while_full = [type(outcome).__name__ for outcome in outcomes], [entry.key for entry in store.range("")], len(heard)
    ballast.unlink()
    after = await store.commit([], [Put("after", os.urandom(100_000))])
    await store.close()
    store = await SqliteStore.open(folder / "store.db")
    reopened = store.revision, [entry.key for entry in store.range("")]
    fill()
    await store.close()
    store = await SqliteStore.open(folder / "store.db")
    still = [entry.key for entry in store.range("")]
    await store.close()
    try:
        await SqliteStore.open(folder / "new.db")
    except StoreFull as error:
        new = str(error)
    return {"while_full": while_full, "after": after, "reopened": reopened, "still": still, "new": new}

print(json.dumps(asyncio.run(main())))
"""


def test_a_full_disk_fails_commits_clearly_and_nothing_else(tmp_path: Path) -> None:
    run = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", STORY, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(run.stdout) == {
        "while_full": [["StoreFull"] * 3, ["before"], 0],
        "after": 2,
        "reopened": [2, ["after", "before"]],
        "still": ["after", "before"],
        "new": "the disk or the store's size limit is full",
    }
