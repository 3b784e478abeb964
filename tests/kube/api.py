"""A cluster on a store in memory, called without HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

from gureum.base.clock import SystemClock
from gureum.base.keyring import Keyring
from gureum.base.sealing import Sealer
from gureum.kube.cluster import Cluster
from gureum.kube.requests import Request, Response, User, parse_query
from gureum.store.memory import MemoryStore

ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"


def keyring(folder: Path) -> Keyring:
    return Keyring(folder / "ring", Sealer(folder / "key"))


class Api:
    """`call` answers status and body; `ok` the body, of calls that must succeed."""

    def __init__(self, store: Any = None) -> None:
        self.folder = Path(mkdtemp())
        self.store = store or MemoryStore()
        self.cluster = Cluster("default", self.store, keyring(self.folder), SystemClock())

    async def __aenter__(self) -> Self:
        await self.cluster.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cluster.close()
        shutil.rmtree(self.folder)
        assert self.cluster.unexpected == 0

    async def respond(
        self, method: str, path: str, body: Any = None, *, user: User = ADMIN, **headers: str
    ) -> Response:
        path, _, query = path.partition("?")
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method, path, parse_query(query), lines, content, user)
        return await self.cluster.handle(request)

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        response = await self.respond(method, path, body, **options)
        assert isinstance(response.body, bytes)
        return response.status, json.loads(response.body or b"null")

    async def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        status, answer = await self.call(method, path, body, **options)
        assert status < 300, answer
        return answer

    async def patch(self, path: str, body: Any, kind: str = MERGE, **options: Any) -> Any:
        return await self.ok("PATCH", path, body, content_type=kind, **options)

    async def events(self, path: str) -> Events:
        response = await self.respond("GET", path)
        assert not isinstance(response.body, bytes), response.body
        return Events(response.body)


class Events:
    """Lines of a watch, each awaited for at most ten seconds."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._lines: list[bytes] = []

    async def next(self) -> Any:
        while not self._lines:
            self._lines = (await asyncio.wait_for(anext(self._pieces), 10)).splitlines()
        return json.loads(self._lines.pop(0))

    async def ended(self) -> bool:
        try:
            await self.next()
        except StopAsyncIteration:
            return True
        return False

    async def close(self) -> None:
        await self._pieces.aclose()  # type: ignore[attr-defined]


def config_map(name: str, data: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": data or {}}
