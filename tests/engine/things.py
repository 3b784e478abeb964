"""A kind and a world small enough to test the engine with."""

from __future__ import annotations

import asyncio
import heapq
from typing import Any

import msgspec

from gureum.engine.client import Client
from gureum.engine.resource import Meta, Resource, kind, kind_of
from gureum.store.memory import MemoryStore

SCOPE = "000000000000/us-east-1"


class FakeClock:
    """Time that stands still until `advance`; sleepers wake in order."""

    def __init__(self) -> None:
        self._now = 1_000_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, self._count, future))
        await future

    async def advance(self, seconds: float) -> None:
        end = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await settle()
        self._now = end


async def settle() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


class BoxSpec(msgspec.Struct, frozen=True):
    shelf: str = ""
    labels: tuple[str, ...] = ()


class BoxStatus(msgspec.Struct, frozen=True):
    seen: int = 0


@kind(
    "test.Box",
    indexes={"shelf": lambda box: (box.spec.shelf,) if box.spec.shelf else (), "label": lambda box: box.spec.labels},
)
class Box(Resource, frozen=True):
    spec: BoxSpec = BoxSpec()
    status: BoxStatus = BoxStatus()


@kind("test.Shelf")
class Shelf(Resource, frozen=True):
    spec: BoxSpec = BoxSpec()


def box(
    name: str, shelf: str = "", *, owner: str = "", finalizers: tuple[str, ...] = (), labels: tuple[str, ...] = ()
) -> Box:
    meta = Meta(scope=SCOPE, name=name, uid=name, created=0.0, owner=owner, finalizers=finalizers)
    return Box(meta=meta, spec=BoxSpec(shelf, labels))


def shelf(name: str) -> Shelf:
    return Shelf(meta=Meta(scope=SCOPE, name=name, uid=name, created=0.0))


def client(store: Any = None, clock: Any = None) -> Client:
    return Client(store or MemoryStore(), clock or FakeClock(), [kind_of(Box), kind_of(Shelf)])


async def create(at: Client, *objects: Resource) -> None:
    transaction = at.transaction()
    for obj in objects:
        transaction.create(obj)
    await transaction.commit()
