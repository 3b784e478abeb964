"""A process that writes to a store until it has made its commits or is killed. Run as a script by the crash tests.

    load.py RUN PATH WRITERS COMMITS KEEP_REVISIONS CHECKPOINT_PAGES SYNCHRONOUS

It opens the store when a line comes on its standard input and tells on standard output, each as one line written at once:

    seen REVISION {"key": "value", "gone": null}     a listener heard of the revision: it is visible
    done REVISION                                    the commit returned to its caller: it is acknowledged

Each commit of writer W sets left/W and right/W to the same value, which no other commit of any run has, and lets a few keys come and go.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from gureum.store.contract import Delete, Event, Put, Store, Write
from gureum.store.sqlite import SqliteStore

STDOUT = 1


def tell(*words: object) -> None:
    os.write(STDOUT, (" ".join(map(str, words)) + "\n").encode())


def tell_seen(events: list[Event]) -> None:
    state = {event.key: event.entry.value.decode() if event.entry else None for event in events}
    tell("seen", events[0].revision, json.dumps(state))


async def write(store: Store, run: str, writer: int, commits: int) -> None:
    for number in range(commits):
        value = f"{run}-{writer}-{number}".encode()
        writes: list[Write] = [Put(f"left/{writer}", value), Put(f"right/{writer}", value)]
        if number % 4 == 1:
            writes.append(Put(f"come/{writer}/{run}", value * (number % 7 * 40)))
        if number % 4 == 3:
            writes.insert(1, Delete(f"come/{writer}/{run}"))
        tell("done", await store.commit([], writes))


async def main(
    run: str, path: str, writers: int, commits: int, keep: int, checkpoint_pages: int, synchronous: int
) -> None:
    store = await SqliteStore.open(
        Path(path), keep_revisions=keep, checkpoint_pages=checkpoint_pages, synchronous=bool(synchronous)
    )
    store.listen(tell_seen)
    async with asyncio.TaskGroup() as group:
        for writer in range(writers):
            group.create_task(write(store, run, writer, commits))
    await store.close()


if __name__ == "__main__":
    sys.stdin.readline()
    asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:8])))
