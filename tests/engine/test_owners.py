from __future__ import annotations

import asyncio

from gureum.engine.owners import WRITES_AT_ONCE, begin_delete, cascade, finish
from gureum.engine.resource import key_of
from tests.engine.things import SCOPE, Box, Shelf, box, client, create, shelf


def test_what_an_object_owns_goes_with_it() -> None:
    async def run() -> None:
        at = client()
        owner = key_of(shelf("s"))
        await create(at, shelf("s"), box("a", owner=owner), box("b", owner=owner), box("c"))
        assert await cascade(at, owner), "while the owner is there nothing goes"
        assert len(at.all(Box, SCOPE)) == 3
        found = at.get(Shelf, SCOPE, "s")
        assert found is not None
        transaction = at.transaction()
        transaction.delete(found)
        await transaction.commit()
        assert await cascade(at, owner)
        assert [one.meta.name for one in at.all(Box, SCOPE)] == ["c"]

    asyncio.run(run())


def test_many_owned_objects_go_in_steps() -> None:
    async def run() -> None:
        at = client()
        owner = "test.Shelf/gone/gone"
        await create(at, *(box(f"b{number}", owner=owner) for number in range(WRITES_AT_ONCE + 10)))
        assert not await cascade(at, owner)
        assert len(at.all(Box, SCOPE)) == 10
        assert await cascade(at, owner)
        assert at.all(Box, SCOPE) == []

    asyncio.run(run())


def test_an_object_with_finalizers_goes_when_the_last_one_is_off() -> None:
    async def run() -> None:
        at = client()
        await create(at, box("a", finalizers=("unplug", "wipe")))
        for step in ("begin", "unplug", "wipe"):
            found = at.get(Box, SCOPE, "a")
            assert found is not None
            transaction = at.transaction()
            if step == "begin":
                begin_delete(transaction, found, 5.0)
            else:
                assert found.meta.deleting == 5.0
                finish(transaction, found, step)
            await transaction.commit()
        assert at.get(Box, SCOPE, "a") is None

    asyncio.run(run())
