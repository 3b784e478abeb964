from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.engine.client import Client
from gureum.engine.lowering import Desired, Lowering, Reader
from gureum.engine.resource import key_of
from tests.engine.things import SCOPE, Box, BoxSpec, Shelf, box, client, create, shelf


class Count(msgspec.Struct, frozen=True):
    boxes: tuple[str, ...]


def lower_shelf(one: Any, read: Reader) -> Iterable[Desired]:
    """A shelf is a Count of the boxes on it; an empty one is nothing."""
    names = tuple(sorted(found.meta.name for found in read.by(Box, one.meta.scope, "shelf", one.meta.name)))
    if names:
        yield Desired("Count", one.meta.name, key_of(one), Count(names))


class Machine:
    """What has been asked of the machine."""

    def __init__(self, at: Client) -> None:
        self.asked: list[tuple[list[Desired], list[str]]] = []
        self.lowering = Lowering(
            at, {"test.Shelf": lower_shelf}, lambda changed, removed: self.asked.append((changed, removed))
        )


async def change(at: Client, name: str, spec: BoxSpec | None) -> None:
    found = at.get(Box, SCOPE, name)
    assert found is not None
    transaction = at.transaction()
    if spec is None:
        transaction.delete(found)
    else:
        transaction.update(msgspec.structs.replace(found, spec=spec))
    await transaction.commit()


def test_an_object_is_lowered_again_when_something_it_looked_at_changes() -> None:
    async def run() -> None:
        at = client()
        machine = Machine(at)
        await create(at, shelf("s"), shelf("t"))
        assert machine.asked == []
        await create(at, box("a", "s"))
        assert machine.asked.pop() == ([Desired("Count", "s", key_of(shelf("s")), Count(("a",)))], [])
        await change(at, "a", BoxSpec("t"))
        changed, removed = machine.asked.pop()
        assert [one.id for one in changed] == ["Count/t"]
        assert removed == ["Count/s"]
        await change(at, "a", None)
        assert machine.asked.pop() == ([], ["Count/t"])
        assert machine.lowering.desired() == []

    asyncio.run(run())


def test_a_field_looked_at_alone_hides_what_else_changes() -> None:
    async def run() -> None:
        at, lowered = client(), list[str]()

        def lower(one: Any, read: Reader) -> Iterable[Desired]:
            lowered.append(read.field(Box, SCOPE, "a", "shelf"))
            return []

        Lowering(at, {"test.Shelf": lower}, lambda changed, removed: None)
        await create(at, shelf("s"))
        await create(at, box("a", "s"))
        await change(at, "a", BoxSpec("s", labels=("new",)))
        assert lowered == [None, "s"]
        await change(at, "a", BoxSpec("t", labels=("new",)))
        await change(at, "a", None)
        assert lowered == [None, "s", "t", None]

    asyncio.run(run())


def test_what_changes_nothing_of_the_machine_asks_nothing() -> None:
    async def run() -> None:
        at = client()
        machine = Machine(at)
        await create(at, shelf("s"), box("a", "s"), box("loose"))
        machine.asked.clear()
        await change(at, "a", BoxSpec("s", labels=("new",)))
        await change(at, "loose", BoxSpec(labels=("x",)))
        assert machine.asked == []

    asyncio.run(run())


def test_a_service_loaded_later_is_lowered_then_and_kept_true() -> None:
    async def run() -> None:
        at = client()
        await create(at, shelf("s"), box("a", "s"))
        machine = Machine(at)
        assert machine.lowering.desired() == []
        machine.lowering.relower([key_of(shelf("s"))])
        assert [one.id for one in machine.lowering.of(key_of(shelf("s")))] == ["Count/s"]
        found = at.get(Shelf, SCOPE, "s")
        assert found is not None
        transaction = at.transaction()
        transaction.delete(found)
        await transaction.commit()
        assert machine.asked[-1] == ([], ["Count/s"])
        machine.lowering.close()
        await create(at, shelf("s"))
        assert machine.asked[-1] == ([], ["Count/s"])

    asyncio.run(run())


def test_what_an_object_is_lowered_to_is_told_of_its_present_form_also_while_the_work_is_put_off() -> None:
    async def run() -> None:
        at = client()
        put_off: list[Any] = []
        asked: list[Any] = []
        lowering = Lowering(
            at, {"test.Shelf": lower_shelf}, lambda changed, removed: asked.append(changed), put_off.append
        )
        await create(at, shelf("s"), box("a", "s"))
        assert len(put_off) == 1
        assert [one.spec for one in lowering.of(key_of(shelf("s")))] == [Count(("a",))]
        assert len(asked) == 1
        put_off.pop()()
        assert len(asked) == 1
        await create(at, box("b", "s"))
        assert len(put_off) == 1
        assert [one.spec for one in lowering.of(key_of(shelf("s")))] == [Count(("a", "b"))]

    asyncio.run(run())
