"""Every store against the simplest possible model of the contract, under random stories (hypothesis)."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gureum.store.contract import (
    Check,
    Compacted,
    Conflict,
    Delete,
    Entry,
    Event,
    NoneNewer,
    Put,
    Store,
    Unchanged,
    Write,
)
from gureum.store.memory import MemoryStore
from gureum.store.sqlite import SqliteStore

KEYS = st.sampled_from(["a", "a/1", "a/2", "a/\U0010ffff", "a0", "b", "b/가", "ㄱ"])
PREFIXES = st.sampled_from(["", "a", "a/", "b", "b/", "\U0010ffff"])
VALUES = st.sampled_from([b"", b"1", b"2"])
RECENT = st.integers(-2, 12)
WRITES = st.lists(
    st.one_of(st.builds(Put, KEYS, VALUES), st.builds(Delete, KEYS)), max_size=4, unique_by=lambda w: w.key
)
"""Revisions are drawn as a distance from the present one, so that checks often hold by a hair."""
CHECKS = st.lists(st.one_of(st.tuples(KEYS, RECENT), st.tuples(PREFIXES, RECENT, st.none())), max_size=2)


class Model:
    """States by revision, and the events between them. What a commit does, said as plainly as can be."""

    def __init__(self) -> None:
        self.states: list[dict[str, Entry]] = [{}]
        self.events: list[Event] = []

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    @property
    def state(self) -> dict[str, Entry]:
        return self.states[-1]

    def commit(self, checks: list[Check], writes: list[Write]) -> int | None:
        """None: refused."""
        for check in checks:
            if isinstance(check, Unchanged):
                known = self.state.get(check.key)
                if (known.revision if known else 0) != check.revision:
                    return None
            elif any(e.key.startswith(check.prefix) and e.revision > check.revision for e in self.state.values()):
                return None
        state, revision = dict(self.state), self.revision + 1
        for write in writes:
            known = state.get(write.key)
            if isinstance(write, Put) and (known is None or known.value != write.value):
                state[write.key] = Entry(write.key, write.value, known.created if known else revision, revision)
            elif isinstance(write, Delete):
                state.pop(write.key, None)
            if state.get(write.key) != known:
                self.events.append(Event(revision, write.key, state.get(write.key), known))
        if state != self.state:
            self.states.append(state)
        return self.revision


class Story(RuleBasedStateMachine):
    """Commits alone and many at once, reads, watches, compactions."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model = Model()
        self.heard: list[Event] = []
        self.compacted = 0
        self.folder = Path(tempfile.mkdtemp())
        self.store: Store
        self.open()

    async def make(self) -> Store:
        return MemoryStore()

    def open(self) -> None:
        self.store = self.loop.run_until_complete(self.make())
        self.store.listen(self.heard.extend)

    def checks(self, drawn: list[Any]) -> list[Check]:
        present = self.model.revision
        return [
            NoneNewer(each[0], max(0, present - each[1])) if len(each) == 3 else self.unchanged(*each) for each in drawn
        ]

    def unchanged(self, key: str, off: int) -> Unchanged:
        known = self.model.state.get(key)
        return Unchanged(key, max(0, (known.revision if known else 0) - max(0, off - 8)))

    @rule(drawn=CHECKS, writes=WRITES)
    def commit(self, drawn: list[Any], writes: list[Write]) -> None:
        self.commit_at_once([(drawn, writes)])

    @rule(commits=st.lists(st.tuples(CHECKS, WRITES), max_size=6))
    def commit_at_once(self, commits: list[tuple[list[Any], list[Write]]]) -> None:
        """Commits that wait together are decided in the order they came, each on what the ones before it did."""
        asked = [(self.checks(drawn), writes) for drawn, writes in commits]

        async def ask() -> list[int | BaseException]:
            return await asyncio.gather(
                *(self.store.commit(checks, writes) for checks, writes in asked), return_exceptions=True
            )

        outcomes = self.loop.run_until_complete(ask())
        expected = [self.model.commit(checks, writes) for checks, writes in asked]
        assert [None if isinstance(outcome, Conflict) else outcome for outcome in outcomes] == expected

    @rule(prefix=PREFIXES, after=st.one_of(st.just(""), KEYS), limit=st.integers(0, 3))
    def read(self, prefix: str, after: str, limit: int) -> None:
        expected = [e for k, e in sorted(self.model.state.items()) if k.startswith(prefix) and k > after]
        assert self.store.range(prefix, after=after, limit=limit) == (expected[:limit] if limit else expected)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        assert self.store.get(key) == self.model.state.get(key)

    @rule(prefix=PREFIXES, back=RECENT)
    def watch(self, prefix: str, back: int) -> None:
        revision = max(0, self.model.revision - back)
        expected = [e for e in self.model.events if e.revision > revision and e.key.startswith(prefix)]

        async def read() -> list[Event]:
            events: list[Event] = []
            watch = self.store.watch(prefix, revision)
            while len(events) < len(expected):
                events += await asyncio.wait_for(anext(watch), timeout=10)
            return events

        if revision >= self.compacted:
            assert self.loop.run_until_complete(read()) == expected
        elif expected:
            with pytest.raises(Compacted):
                self.loop.run_until_complete(read())

    @rule(back=RECENT)
    def compact(self, back: int) -> None:
        revision = min(max(0, self.model.revision - back), self.model.revision)
        self.loop.run_until_complete(self.store.compact(revision))
        self.compacted = max(self.compacted, revision)

    @invariant()
    def agrees(self) -> None:
        assert self.store.revision == self.model.revision
        assert self.store.compacted == self.compacted
        assert self.heard == self.model.events
        assert self.store.range("") == [entry for _, entry in sorted(self.model.state.items())]

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)


class DurableStory(Story):
    """And closed and opened again in between."""

    async def make(self) -> Store:
        return await SqliteStore.open(self.folder / "store.db", synchronous=False)

    @precondition(lambda self: self.model.revision > 0)
    @rule()
    def reopen(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.open()


@pytest.mark.parametrize(("story", "examples"), [(Story, 100), (DurableStory, 60)], ids=["memory", "sqlite"])
def test_every_story_ends_as_in_the_model(story: type[Story], examples: int) -> None:
    run_state_machine_as_test(
        story,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            database=None,
        ),
    )
