from __future__ import annotations

import asyncio

import msgspec
import pytest

from gureum.engine.client import Change
from gureum.engine.resource import key_of, kind_of, make_key, split_key
from gureum.store.contract import Conflict, Put, StoreBroken
from gureum.store.memory import MemoryStore
from tests.engine.things import SCOPE, Box, BoxSpec, Shelf, box, client, create, shelf


def test_keys_are_taken_apart_as_they_were_made() -> None:
    assert split_key(make_key("ec2.Vpc", "0000/us-east-1", "vpc-1")) == ("ec2.Vpc", "0000/us-east-1", "vpc-1")


def test_reads_are_the_same_object_until_it_changes() -> None:
    async def run() -> None:
        at = client()
        await create(at, box("a", "left"))
        first = at.get(Box, SCOPE, "a")
        assert first is not None
        assert first is at.get(Box, SCOPE, "a") is at.by(Box, SCOPE, "shelf", "left")[0]
        transaction = at.transaction()
        transaction.update(msgspec.structs.replace(first, spec=BoxSpec("right")))
        await transaction.commit()
        second = at.get(Box, SCOPE, "a")
        assert second is not None
        assert (second.meta.generation, second.meta.revision) == (2, first.meta.revision + 1)
        assert at.by(Box, SCOPE, "shelf", "left") == []
        assert at.by(Box, SCOPE, "shelf", "right") == [second]

    asyncio.run(run())


def test_a_change_of_the_status_alone_is_no_new_generation() -> None:
    async def run() -> None:
        at = client()
        await create(at, box("a"))
        found = at.get(Box, SCOPE, "a")
        assert found is not None
        transaction = at.transaction()
        transaction.update(msgspec.structs.replace(found, status=msgspec.structs.replace(found.status, seen=1)))
        await transaction.commit()
        again = at.get(Box, SCOPE, "a")
        assert again is not None
        assert again.meta.generation == 1

    asyncio.run(run())


def test_who_decided_on_an_old_version_loses() -> None:
    async def run() -> None:
        at = client()
        await create(at, box("a"))
        old = at.get(Box, SCOPE, "a")
        assert old is not None
        for spec in (BoxSpec("first"), BoxSpec("second")):
            transaction = at.transaction()
            transaction.update(msgspec.structs.replace(old, spec=spec))
            if spec.shelf == "first":
                await transaction.commit()
            else:
                with pytest.raises(Conflict):
                    await transaction.commit()
        found = at.get(Box, SCOPE, "a")
        assert found is not None
        assert found.spec.shelf == "first"

    asyncio.run(run())


def test_deleting_an_empty_shelf_cannot_pass_a_box_that_is_put_on_it() -> None:
    async def run() -> None:
        at = client()
        await create(at, shelf("s"))
        found = at.get(Shelf, SCOPE, "s")
        assert found is not None
        removal = at.transaction()
        removal.delete(found)
        removal.require_no_newer(Box, SCOPE)
        addition = at.transaction()
        addition.create(box("a", "s"))
        addition.require(found)
        outcomes = await asyncio.gather(addition.commit(), removal.commit(), return_exceptions=True)
        assert [isinstance(one, Conflict) for one in outcomes] == [False, True]

    asyncio.run(run())


def test_a_claim_is_held_by_one_only_until_it_is_released() -> None:
    async def run() -> None:
        at = client()
        for name in ("a", "b"):
            transaction = at.transaction()
            transaction.create(box(name))
            transaction.claim("address", "10.0.0.1", key_of(box(name)))
            if name == "a":
                await transaction.commit()
            else:
                with pytest.raises(Conflict):
                    await transaction.commit()
        assert at.claimed("address", "10.0.0.1") == key_of(box("a"))
        transaction = at.transaction()
        transaction.release("address", "10.0.0.1")
        await transaction.commit()
        assert at.claimed("address", "10.0.0.1") is None

    asyncio.run(run())


def test_listeners_hear_of_every_change_before_commit_returns() -> None:
    async def run() -> None:
        at = client()
        heard: list[Change] = []
        stop = at.listen(heard.extend)
        await create(at, box("a"), box("b"))
        assert [change.key for change in heard] == [key_of(box("a")), key_of(box("b"))]
        found = at.get(Box, SCOPE, "a")
        assert found is not None
        transaction = at.transaction()
        transaction.delete(found)
        await transaction.commit()
        assert (heard[-1].before, heard[-1].after) == (found, None)
        stop()
        await create(at, box("c"))
        assert len(heard) == 3

    asyncio.run(run())


def test_kinds_that_are_loaded_later_find_what_is_stored() -> None:
    async def run() -> None:
        store = MemoryStore()
        await create(client(store), box("a", "s"))
        later = client(store)
        assert later.by(Box, SCOPE, "shelf", "s")[0].meta.name == "a"
        later.add_kinds([kind_of(Box)])
        assert len(later.all(Box, SCOPE)) == 1

    asyncio.run(run())


def test_an_unknown_index_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        client().by(Box, SCOPE, "colour", "red")


def test_what_points_at_an_object_is_found_by_index_and_owner() -> None:
    async def run() -> None:
        at = client()
        await create(at, shelf("s"), box("a", "s"), box("b", owner=key_of(shelf("s"))), box("c"))
        found = at.get(Shelf, SCOPE, "s")
        assert found is not None
        assert [one.meta.name for one in at.pointing_at(found)] == ["a", "b"]
        assert at.named("c") == [at.by_key(key_of(box("c")))]

    asyncio.run(run())


def test_what_could_not_be_read_back_is_never_written() -> None:
    at = client()
    wrong = box("a", 7)  # type: ignore[arg-type]
    with pytest.raises(msgspec.ValidationError):
        at.transaction().create(wrong)


def test_what_another_version_has_stored_is_refused_by_its_name() -> None:
    async def run() -> None:
        store = MemoryStore()
        key = make_key("test.Box", SCOPE, "a")
        await store.commit([], [Put(key, b'{"meta":{"scope":"x","name":"a","uid":"u"},"spec":{"shelf":7}}')])
        with pytest.raises(StoreBroken, match=f"{key} was written by another version of gureum"):
            client(store)

    asyncio.run(run())
