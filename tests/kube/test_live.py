"""Watches of those who have seen all there is: lines go straight to their connections, and none is lost when a client falls behind."""

from __future__ import annotations

import asyncio
import json

from tests.kube.api import Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


class Client:
    """A connection that keeps up or does not, and what came on it, on either way."""

    def __init__(self, api: Api, query: str = "") -> None:
        self._api, self._query = api, query
        self.keeps_up = True
        self.straight: list[bytes] = []
        self.names: list[str] = []

    async def start(self):
        response = await self._api.respond(
            "GET", f"{MAPS}?watch=1&resourceVersion={self._api.store.revision}{self._query}"
        )
        response.attach(self)
        self._body = response.body
        self._task = asyncio.create_task(self._read())
        await asyncio.sleep(0.01)

    def write_piece(self, piece: bytes) -> bool:
        if not self.keeps_up:
            return False
        size, _, rest = piece.partition(b"\r\n")
        assert len(rest) == int(size, 16) + 2
        self.straight.append(piece)
        self._take(rest[:-2])
        return True

    async def _read(self):
        async for piece in self._body:
            self._take(piece)

    def _take(self, lines: bytes) -> None:
        self.names += [json.loads(line)["object"]["metadata"]["name"] for line in lines.splitlines()]

    async def has(self, count: int) -> list[str]:
        async with asyncio.timeout(10):
            while len(self.names) < count:
                await asyncio.sleep(0.001)
        return self.names

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def test_the_same_bytes_go_to_all_that_watch_alike_and_nothing_is_lost_behind_a_slow_client():
    async def run():
        async with Api() as api:
            clients = [Client(api), Client(api), Client(api, "&labelSelector=a%3Db")]
            for client in clients:
                await client.start()
            await api.ok("POST", MAPS, config_map("one", labels={"a": "b"}))
            await api.ok("POST", MAPS, config_map("two"))
            assert clients[0].names == clients[1].names == ["one", "two"]
            assert all(one is other for one, other in zip(clients[0].straight, clients[1].straight, strict=True))
            assert clients[2].names == ["one"]
            clients[0].keeps_up = False
            for number in range(5):
                await api.ok("POST", MAPS, config_map(f"more-{number}"))
            wanted = ["one", "two", *(f"more-{number}" for number in range(5))]
            assert await clients[0].has(7) == await clients[1].has(7) == wanted
            clients[0].keeps_up = True
            await api.ok("POST", MAPS, config_map("last"))
            assert await clients[0].has(8) == [*wanted, "last"]
            await asyncio.sleep(0.01)
            straight = len(clients[0].straight)
            await api.ok("POST", MAPS, config_map("after"))
            assert len(clients[0].straight) == straight + 1
            for client in clients:
                await client.stop()
            assert not api.cluster.watching.live._followers
            assert api.cluster.watching.open == 0

    asyncio.run(run())
