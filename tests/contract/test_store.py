"""The store's contract, run on every implementation."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from gureum.store.contract import (
    MAX_COMMIT_BYTES,
    MAX_KEY_BYTES,
    MAX_OPERATIONS,
    Compacted,
    Conflict,
    Delete,
    Entry,
    Event,
    NoneNewer,
    Put,
    Store,
    StoreBroken,
    Unchanged,
)
from gureum.store.memory import MemoryStore
from gureum.store.sqlite import SqliteStore

Open = Callable[..., Awaitable[Store]]
"""Opens the store under test; opened again after a close, a durable store holds what it held."""


async def _open_memory(_path: Path, **options: Any) -> Store:
    return MemoryStore(**options)


async def _open_sqlite(path: Path, **options: Any) -> Store:
    return await SqliteStore.open(path, **options)


ALL: list[Open] = [_open_memory, _open_sqlite]
DURABLE: list[Open] = [_open_sqlite]


@pytest.fixture(params=ALL, ids=["memory", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return functools.partial(request.param, tmp_path / "store.db")


@pytest.fixture(params=DURABLE, ids=["sqlite"])
def open_durable(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return functools.partial(request.param, tmp_path / "store.db")


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), timeout=60))

    return run


async def take(watch: AsyncIterator[list[Event]], count: int) -> list[Event]:
    """The next events, as many as asked for."""
    events: list[Event] = []
    while len(events) < count:
        events += await asyncio.wait_for(anext(watch), timeout=10)
    assert len(events) == count
    return events


@in_loop
async def test_a_new_store_is_empty_at_revision_zero(open_store: Open) -> None:
    store = await open_store()
    assert (store.revision, store.compacted, store.get("a"), store.range("")) == (0, 0, None, [])
    assert await store.commit([], []) == 0
    await store.close()


@in_loop
async def test_the_example_of_the_contract_holds(open_store: Open) -> None:
    store = await open_store()
    assert await store.commit([Unchanged("vpc/a", 0)], [Put("vpc/a", b"1")]) == 1
    assert await store.commit([], [Put("subnet/b", b"2"), Put("vpc/a", b"3")]) == 2
    assert store.range("") == [Entry("subnet/b", b"2", 2, 2), Entry("vpc/a", b"3", 1, 2)]
    with pytest.raises(Conflict) as refused:
        await store.commit([NoneNewer("subnet/", 1)], [Delete("vpc/a")])
    assert (refused.value.check, refused.value.key, refused.value.revision) == (NoneNewer("subnet/", 1), "subnet/b", 2)
    assert await store.commit([NoneNewer("subnet/", 2)], [Delete("vpc/a")]) == 3
    assert await store.commit([], [Put("subnet/b", b"2")]) == 3
    await store.close()


@in_loop
async def test_a_put_keeps_the_creation_until_the_key_is_deleted(open_store: Open) -> None:
    store = await open_store()
    for value in (b"1", b"2"):
        await store.commit([], [Put("a", value)])
    assert store.get("a") == Entry("a", b"2", created=1, revision=2)
    await store.commit([], [Delete("a")])
    assert store.get("a") is None
    await store.commit([], [Put("a", b"2")])
    assert store.get("a") == Entry("a", b"2", created=4, revision=4)
    await store.close()


@in_loop
async def test_a_failed_check_changes_nothing(open_store: Open) -> None:
    store = await open_store()
    await store.commit([], [Put("a", b"1")])
    for checks in ([Unchanged("a", 0)], [Unchanged("a", 2)], [Unchanged("b", 1)], [NoneNewer("", 0)]):
        with pytest.raises(Conflict):
            await store.commit([Unchanged("a", 1), *checks], [Put("b", b"1"), Delete("a")])
    assert (store.range(""), store.revision) == ([Entry("a", b"1", 1, 1)], 1)
    await store.close()


@in_loop
async def test_checks_without_writes_are_decided_too(open_store: Open) -> None:
    store = await open_store()
    await store.commit([], [Put("a", b"1")])
    assert await store.commit([Unchanged("a", 1), Unchanged("b", 0)], []) == 1
    with pytest.raises(Conflict):
        await store.commit([Unchanged("b", 1)], [])
    await store.close()


@in_loop
async def test_none_newer_counts_only_what_exists_under_the_prefix(open_store: Open) -> None:
    store = await open_store()
    await store.commit([], [Put("in/old", b"1"), Put("in/gone", b"1")])
    await store.commit([], [Put("in/gone", b"2"), Put("out", b"2")])
    await store.commit([], [Delete("in/gone")])
    assert await store.commit([NoneNewer("in/", 1)], [Put("in/old", b"2")]) == 4
    with pytest.raises(Conflict):
        await store.commit([NoneNewer("in/", 3)], [])
    assert await store.commit([NoneNewer("in/", 4)], []) == 4
    await store.close()


@in_loop
async def test_none_newer_sees_what_commits_before_it_in_the_same_wait_did(open_store: Open) -> None:
    store = await open_store()
    await store.commit([], [Put("in/a", b"1")])
    outcomes = await asyncio.gather(
        store.commit([NoneNewer("in/", 0)], [Put("x", b"")]),
        store.commit([], [Delete("in/a")]),
        store.commit([NoneNewer("in/", 0)], [Put("y", b"")]),
        store.commit([], [Put("in/b", b"1")]),
        store.commit([NoneNewer("in/", 3)], [Put("z", b"")]),
        store.commit([NoneNewer("in/", 4)], [Put("z", b"")]),
        return_exceptions=True,
    )
    assert [0 if isinstance(outcome, Conflict) else outcome for outcome in outcomes] == [0, 2, 3, 4, 0, 5]
    await store.close()


@in_loop
async def test_what_changes_nothing_makes_no_revision_and_no_event(open_store: Open) -> None:
    store = await open_store()
    heard: list[list[Event]] = []
    await store.commit([], [Put("a", b"1")])
    store.listen(heard.append)
    assert await store.commit([], [Put("a", b"1"), Delete("b")]) == 1
    assert heard == []
    assert await store.commit([], [Put("a", b"1"), Put("b", b"1")]) == 2
    assert heard == [[Event(2, "b", Entry("b", b"1", 2, 2), None)]]
    await store.close()


@pytest.mark.parametrize(
    ("checks", "writes"),
    [
        ([], [Put("", b"")]),
        ([], [Put("a\0b", b"")]),
        ([], [Put("\ud800", b"")]),
        ([Unchanged("", 0)], []),
        ([], [Delete("가" * (MAX_KEY_BYTES // 3 + 1))]),
        ([], [Put("a", b"1"), Delete("a")]),
        ([], [Put("a", bytes(MAX_COMMIT_BYTES))]),
        ([Unchanged("c", 0)], [Put(f"{number}", b"") for number in range(MAX_OPERATIONS)]),
    ],
    ids=["empty", "nul", "surrogate", "empty check", "long key", "twice", "large", "many"],
)
@in_loop
async def test_commits_over_a_limit_are_refused_whole(open_store: Open, checks: Any, writes: Any) -> None:
    store = await open_store()
    with pytest.raises(ValueError):  # noqa: PT011  the contract promises the type alone
        await store.commit(checks, writes)
    assert store.revision == 0
    await store.close()


@in_loop
async def test_commits_at_the_limits_are_taken(open_store: Open) -> None:
    store = await open_store()
    key = "가" * (MAX_KEY_BYTES // 3)
    assert await store.commit([], [Put(f"{number:03}", b"") for number in range(MAX_OPERATIONS)]) == 1
    assert await store.commit([], [Put(key, bytes(MAX_COMMIT_BYTES - len(key.encode())))]) == 2
    assert len(await take(store.watch("", 0), MAX_OPERATIONS + 1)) == MAX_OPERATIONS + 1
    await store.close()


KEYS = ["a", "a/", "a/1", "a/2", "a/20", "a/\U0010ffff", "a/\U0010ffff1", "a0", "ab", "b", "가", "각", "\U0010ffff"]


@in_loop
async def test_ranges_are_sorted_by_code_point_and_end_with_the_prefix(open_store: Open) -> None:
    store = await open_store()
    for key in reversed(KEYS):
        await store.commit([], [Put(key, key.encode())])
    assert [entry.key for entry in store.range("")] == sorted(KEYS) == sorted(KEYS, key=str.encode)
    for prefix in ["a", "a/", "a/2", "a/\U0010ffff", "b", "c", "가", "\U0010ffff", "\ud7ff"]:
        assert [entry.key for entry in store.range(prefix)] == sorted(key for key in KEYS if key.startswith(prefix))
    await store.close()


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@in_loop
async def test_pages_put_together_are_the_range(open_store: Open, limit: int) -> None:
    store = await open_store()
    for key in KEYS:
        await store.commit([], [Put(key, b"")])
    for prefix in ("", "a", "a/"):
        pages: list[Entry] = []
        while page := store.range(prefix, after=pages[-1].key if pages else "", limit=limit):
            assert len(page) <= limit
            pages += page
        assert pages == store.range(prefix)
    assert store.range("a/", after="a/15") == store.range("a/2")[:2] + store.range("a/\U0010ffff")
    assert store.range("a/", after="b") == []
    await store.close()


@in_loop
async def test_sixteen_writers_of_one_counter_lose_no_update(open_store: Open) -> None:
    store = await open_store()
    revisions: list[int] = []

    async def count() -> None:
        for _ in range(20):
            while True:
                known = store.get("counter")
                value = int(known.value) if known else 0
                checks = [Unchanged("counter", known.revision if known else 0)]
                try:
                    revisions.append(await store.commit(checks, [Put("counter", b"%d" % (value + 1))]))
                    break
                except Conflict:
                    pass

    await asyncio.gather(*(count() for _ in range(16)))
    counter = store.get("counter")
    assert counter is not None
    assert (counter.value, counter.created, counter.revision) == (b"320", 1, 320)
    assert sorted(revisions) == list(range(1, 321))
    await store.close()


@in_loop
async def test_a_check_of_a_prefix_keeps_two_writers_apart(open_store: Open) -> None:
    """DeleteVpc against CreateSubnet: whichever comes second is refused, even when both wait for the same sync."""
    store = await open_store()
    for turn in range(20):
        vpc = f"vpc/{turn}"
        revision = await store.commit([], [Put(vpc, b"")])
        outcomes = await asyncio.gather(
            store.commit([Unchanged(vpc, revision)], [Put(f"subnet/{turn}/a", b"")]),
            store.commit([Unchanged(vpc, revision), NoneNewer(f"subnet/{turn}/", revision)], [Delete(vpc)]),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes].count(Conflict) == 1
        assert (store.get(vpc) is None) == (store.range(f"subnet/{turn}/") == [])
    await store.close()


@in_loop
async def test_a_cancelled_caller_leaves_the_store_whole(open_store: Open) -> None:
    store = await open_store()
    callers = [asyncio.ensure_future(store.commit([], [Put(f"{number}", b"")])) for number in range(50)]
    await asyncio.sleep(0)
    for caller in callers[::2]:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    kept = {entry.key for entry in store.range("")}
    assert {f"{number}" for number in range(1, 50, 2)} <= kept
    assert store.revision == len(kept) == await store.commit([], [])
    await store.close()


# Watch and listen


async def _history(store: Store) -> list[list[Event]]:
    """Thirteen commits of all sorts; the events of each, as a listener heard them."""
    heard: list[list[Event]] = []
    unlisten = store.listen(heard.append)
    for number in range(4):
        await store.commit([], [Put(f"a/{number}", b"1"), Put("b", b"%d" % number)])
        await store.commit([], [Put(f"a/{number}", b"2"), Delete("b")])
        await store.commit([], [Delete(f"a/{number}"), Put(f"c/{number}", b"")])
    await store.commit([], [Delete("c/0")])
    unlisten()
    assert [events[0].revision for events in heard] == list(range(1, 14))
    return heard


@in_loop
async def test_a_watch_from_every_revision_gets_all_that_followed(open_store: Open) -> None:
    store = await open_store()
    heard = await _history(store)
    for prefix in ("", "a/", "b", "c/"):
        for revision in range(14):
            events = [event for event in itertools.chain(*heard[revision:]) if event.key.startswith(prefix)]
            assert await take(store.watch(prefix, revision), len(events)) == events
    await store.close()


@in_loop
async def test_events_carry_what_was_before(open_store: Open) -> None:
    store = await open_store()
    for writes in ([Put("a", b"1")], [Put("a", b"2")], [Delete("a")], [Put("a", b"3")]):
        await store.commit([], writes)
    one, two, three = Entry("a", b"1", 1, 1), Entry("a", b"2", 1, 2), Entry("a", b"3", 4, 4)
    assert await take(store.watch("a", 0), 4) == [
        Event(1, "a", one, None),
        Event(2, "a", two, one),
        Event(3, "a", None, two),
        Event(4, "a", three, None),
    ]
    await store.close()


@in_loop
async def test_a_waiting_watch_wakes_for_its_prefix_only(open_store: Open) -> None:
    store = await open_store()
    watch = store.watch("a/", 0)
    waiting = asyncio.ensure_future(anext(watch))
    for number in range(5):
        await store.commit([], [Put(f"b/{number}", b"")])
    assert not waiting.done()
    await store.commit([], [Put("b/x", b""), Put("a/x", b"")])
    assert [event.key for event in await waiting] == ["a/x"]
    await store.close()


@in_loop
async def test_a_watch_from_the_future_begins_there(open_store: Open) -> None:
    store = await open_store()
    waiting = asyncio.ensure_future(anext(store.watch("", 3)))
    for number in range(1, 5):
        await store.commit([], [Put(f"{number}", b"")])
    assert [event.revision for event in await waiting] == [4]
    await store.close()


@in_loop
async def test_a_batch_never_ends_within_a_revision(open_store: Open) -> None:
    store = await open_store()
    for number in range(40):
        await store.commit([], [Put(f"{number}/{key}", b"") for key in range(100)])
    watch, after = store.watch("", 0), 0
    while after < 40:
        events = await anext(watch)
        assert [event.revision for event in events] == sorted(
            revision for revision in range(after + 1, events[-1].revision + 1) for _ in range(100)
        )
        after = events[-1].revision
    await store.close()


@in_loop
async def test_many_watches_and_writers_at_once_see_one_order(open_store: Open) -> None:
    store = await open_store()

    async def write(writer: int) -> None:
        for number in range(25):
            await store.commit([], [Put(f"{writer}/{number}", b""), Put("last", b"%d/%d" % (writer, number))])

    async def read(revision: int) -> list[Event]:
        events: list[Event] = []
        watch = store.watch("last", revision)
        while not events or events[-1].revision < 16 * 25:
            events += await anext(watch)
        return events

    readers = [asyncio.ensure_future(read(revision)) for revision in (0, 0, 7, 100)]
    await asyncio.gather(*(write(writer) for writer in range(16)))
    seen = await asyncio.gather(*readers)
    assert [event.revision for event in seen[0]] == list(range(1, 16 * 25 + 1))
    assert [events == seen[0][start:] for events, start in zip(seen, (0, 0, 7, 100), strict=True)] == [True] * 4
    await store.close()


@in_loop
async def test_listeners_hear_in_order_when_it_is_visible_and_before_the_caller(open_store: Open) -> None:
    store = await open_store()
    story: list[tuple[str, int]] = []

    def listen(events: list[Event]) -> None:
        revision = events[0].revision
        assert store.revision == revision
        assert all(store.get(event.key) == event.entry for event in events)
        story.append(("heard", revision))

    async def write(key: str) -> None:
        story.append(("returned", await store.commit([], [Put(key, b""), Put("shared", key.encode())])))

    store.listen(listen)
    await asyncio.gather(*(write(f"{number}") for number in range(30)))
    assert [revision for word, revision in story if word == "heard"] == list(range(1, 31))
    assert sorted(revision for word, revision in story if word == "returned") == list(range(1, 31))
    for revision in range(1, 31):
        assert story.index(("heard", revision)) < story.index(("returned", revision))
    await store.close()


@in_loop
async def test_a_listener_that_fails_harms_no_one(open_store: Open) -> None:
    store = await open_store()
    heard: list[list[Event]] = []

    def fail(_events: list[Event]) -> None:
        raise RuntimeError("a mistake in a listener")

    store.listen(fail)
    unlisten = store.listen(heard.append)
    assert await store.commit([], [Put("a", b"")]) == 1
    unlisten()
    unlisten()
    assert await store.commit([], [Put("b", b"")]) == 2
    assert len(heard) == 1
    await store.close()


# Compaction and the end


@pytest.mark.parametrize("revision", [0, 1, 2, 3, 7, 12, 13])
@in_loop
async def test_compaction_keeps_the_state_and_later_history(open_store: Open, revision: int) -> None:
    store = await open_store()
    heard = await _history(store)
    state = store.range("")
    await store.compact(revision)
    await store.compact(revision // 2)  # what is gone is gone
    assert (store.compacted, store.revision, store.range("")) == (revision, 13, state)
    rest = list(itertools.chain(*heard[revision:]))
    assert await take(store.watch("", revision), len(rest)) == rest
    for gone in range(revision):
        with pytest.raises(Compacted) as refused:
            await anext(store.watch("", gone))
        assert (refused.value.asked, refused.value.compacted) == (gone, revision)
    assert await store.commit([], [Put("next", b"")]) == 14
    await store.close()


@in_loop
async def test_the_future_cannot_be_compacted(open_store: Open) -> None:
    store = await open_store()
    with pytest.raises(ValueError, match="future"):
        await store.compact(1)
    await store.close()


@in_loop
async def test_old_history_goes_by_itself_and_a_late_watch_is_told(open_store: Open) -> None:
    store = await open_store(keep_revisions=10)
    late = store.watch("", 0)
    for number in range(100):
        await store.commit([], [Put("a", b"%d" % number), Put(f"b/{number}", b"")])
    assert 85 <= store.compacted <= 90
    with pytest.raises(Compacted):
        await anext(late)
    assert [event.revision for event in await take(store.watch("a", 90), 10)] == list(range(91, 101))
    assert len(store.range("b/")) == 100
    await store.close()


@in_loop
async def test_a_watch_asleep_is_not_late_however_much_happens_elsewhere(open_store: Open) -> None:
    store = await open_store(keep_revisions=10)
    waiting = asyncio.ensure_future(anext(store.watch("mine", 0)))
    await asyncio.sleep(0)
    for number in range(100):
        await store.commit([], [Put("other", b"%d" % number)])
    await store.commit([], [Put("mine", b"")])
    assert [event.revision for event in await waiting] == [101]
    await store.close()


@in_loop
async def test_closing_finishes_commits_ends_watches_and_refuses_the_rest(open_store: Open) -> None:
    store = await open_store()

    async def read() -> int:
        return sum([len(events) async for events in store.watch("", 0)])

    reader = asyncio.ensure_future(read())
    commits = [asyncio.ensure_future(store.commit([], [Put(f"{number}", b"")])) for number in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert sorted(await asyncio.gather(*commits)) == list(range(1, 21))
    assert await reader <= 20
    with pytest.raises(StoreBroken):
        await store.commit([], [Put("late", b"")])


# What outlives the process


@in_loop
async def test_state_history_and_revision_are_there_after_reopening(open_durable: Open) -> None:
    store = await open_durable()
    heard = await _history(store)
    await store.compact(5)
    state = store.range("")
    await store.close()
    for _ in range(2):
        store = await open_durable()
        assert (store.range(""), store.revision, store.compacted) == (state, 13, 5)
        rest = list(itertools.chain(*heard[5:]))
        assert await take(store.watch("", 5), len(rest)) == rest
        with pytest.raises(Compacted):
            await anext(store.watch("", 4))
        await store.close()
    store = await open_durable()
    assert await store.commit([NoneNewer("", 13)], [Put("next", b"")]) == 14
    await store.close()


@in_loop
async def test_a_revision_that_compaction_took_away_is_not_given_out_again(open_durable: Open) -> None:
    store = await open_durable()
    await store.commit([], [Put("a", b"")])
    await store.commit([], [Delete("a")])
    await store.compact(2)
    await store.close()
    store = await open_durable()
    assert (store.revision, store.range("")) == (2, [])
    assert await store.commit([], [Put("a", b"")]) == 3
    await store.close()


@in_loop
async def test_checks_see_the_order_of_revisions_after_reopening(open_durable: Open) -> None:
    store = await open_durable()
    await store.commit([], [Put("z", b"1"), Put("a", b"1")])
    await store.commit([], [Put("m", b"1")])
    await store.commit([], [Put("z", b"2")])
    await store.close()
    store = await open_durable()
    assert await store.commit([NoneNewer("a", 1), NoneNewer("m", 2), NoneNewer("z", 3)], []) == 3
    for late in (NoneNewer("a", 0), NoneNewer("m", 1), NoneNewer("z", 2)):
        with pytest.raises(Conflict):
            await store.commit([late], [])
    await store.close()


@in_loop
async def test_long_history_is_read_in_batches_after_reopening(open_durable: Open) -> None:
    store = await open_durable()
    writes: Sequence[Any] = [[Put(f"{number % 7}/{key}", b"%d" % number) for key in range(100)] for number in range(60)]
    await asyncio.gather(*(store.commit([], put) for put in writes))
    await store.close()
    store = await open_durable()
    everything = await take(store.watch("", 0), 6000)
    assert [event.revision for event in everything] == [revision for revision in range(1, 61) for _ in range(100)]
    some = [event for event in everything if event.key.startswith("3/")]
    assert await take(store.watch("3/", 0), len(some)) == some
    await store.close()
