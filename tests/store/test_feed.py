"""The feed's bounds: what it keeps, and what a reader that is slow or late gets."""

from __future__ import annotations

import asyncio

import pytest

from gureum.store.contract import Compacted, Entry, Event
from gureum.store.feed import Feed, Watch


def event(revision: int, key: str = "a", size: int = 1) -> Event:
    return Event(revision, key, Entry(key, bytes(size), 1, revision), None)


def publish(feed: Feed, count: int, *, key: str = "a", size: int = 1) -> None:
    for _ in range(count):
        feed.publish([event(feed.revision + 1, key, size)])


class Older:
    """A store's own history: three revisions at a time. `asked` tells what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    async def read(self, prefix: str, after: int, until: int) -> tuple[list[Event], int]:
        self.asked.append((prefix, after, until))
        end = min(after + 3, until)
        return [event(revision) for revision in range(after + 1, end + 1) if "a".startswith(prefix)], end


async def read_until(watch: Watch, revision: int) -> list[int]:
    seen: list[int] = []
    while not seen or seen[-1] < revision:
        seen += [each.revision for each in await asyncio.wait_for(anext(watch), timeout=5)]
    return seen


async def until_asleep(feed: Feed, count: int) -> None:
    while feed.asleep < count:  # the feed does not tell of its sleepers, and need not
        await asyncio.sleep(0)


def test_the_ring_keeps_a_bounded_number_of_revisions() -> None:
    feed = Feed(0, 0, keep_revisions=100, keep_bytes=1 << 30)
    for _ in range(1000):
        publish(feed, 1)
        assert min(feed.revision, 100) <= feed.revision - feed.first + 1 <= 112
    assert [each.revision for each in feed.read("", feed.first - 1)[0]] == list(range(feed.first, 1001))


def test_the_ring_keeps_a_bounded_number_of_bytes() -> None:
    feed = Feed(0, 0, keep_revisions=1000, keep_bytes=100_000)
    publish(feed, 500, size=10_000)
    assert 8 <= feed.revision - feed.first + 1 <= 10
    publish(feed, 1, size=1_000_000)
    assert feed.first == feed.revision, "the newest stays, whatever its size"
    publish(feed, 900)
    assert feed.revision - feed.first + 1 > 200, "the count of bytes must go down with what is dropped"


def test_a_reader_behind_the_ring_is_served_from_the_history_then_from_the_ring() -> None:
    feed, older = Feed(0, 0, keep_revisions=8, keep_bytes=1 << 30), Older()
    publish(feed, 20)
    until = feed.first - 1
    assert asyncio.run(read_until(Watch(feed, "", 5, older.read), 20)) == list(range(6, 21))
    assert older.asked == [("", after, until) for after in range(5, until, 3)]


def test_a_reader_of_a_rare_prefix_gets_through_what_is_not_its_own() -> None:
    async def story() -> None:
        feed, older = Feed(0, 0, keep_revisions=8, keep_bytes=1 << 30), Older()
        publish(feed, 20)
        watch = Watch(feed, "rare", 0, older.read)
        waiting = asyncio.ensure_future(anext(watch))
        await until_asleep(feed, 1)
        publish(feed, 1, key="rare")
        assert [each.revision for each in await waiting] == [21]
        asked = len(older.asked)
        publish(feed, 5)
        publish(feed, 1, key="rare")
        assert await read_until(watch, 27) == [27]
        assert len(older.asked) == asked

    asyncio.run(story())


def test_a_reader_behind_the_history_is_told_so() -> None:
    feed = Feed(0, 0, keep_revisions=8, keep_bytes=1 << 30)
    publish(feed, 20)
    watch = Watch(feed, "", 0, Older().read)
    feed.compacted = 4
    with pytest.raises(Compacted) as late:
        asyncio.run(read_until(watch, 20))
    assert (late.value.asked, late.value.compacted) == (0, 4)


def test_a_watch_that_is_given_up_leaves_nothing_behind() -> None:
    async def story() -> None:
        feed = Feed(0, 0, keep_revisions=8, keep_bytes=1 << 30)
        waiting = [asyncio.ensure_future(anext(Watch(feed, "", 0, Older().read))) for _ in range(3)]
        await until_asleep(feed, 3)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert feed.asleep == 0
        publish(feed, 1)

    asyncio.run(story())
