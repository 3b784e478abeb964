"""`/healthz`, `/livez`, `/readyz`: whether the API serves, as one word, check by check (`?verbose`), or one of them (`/readyz/etcd`).

Source: k8s.io/apiserver/pkg/server/healthz (handleRootHealth), whose words these are. The names are the original's, so that what
asks for one of them finds it; `etcd` is the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gureum.kube.errors import StatusError, no_such_path
from gureum.kube.objects import Objects
from gureum.kube.requests import Request, Response

ROOTS = ("healthz", "livez", "readyz")
LIMIT_S = 2.0
TEXT = "text/plain; charset=utf-8"
Check = Callable[[], Awaitable[bool]]


class Health:
    """`watches`: whether the controllers hear what is written."""

    def __init__(self, objects: Objects, watches: Callable[[], bool]) -> None:
        self._objects = objects
        self._watches = watches

    async def answer(self, request: Request) -> Response | None:
        """None when the path is another's."""
        root, _, name = request.path.strip("/").partition("/")
        if root not in ROOTS:
            return None
        checks = self._checks(root)
        if name:
            return await _one(name, checks)
        return await _all(root, checks, request)

    def _checks(self, root: str) -> dict[str, Check]:
        checks: dict[str, Check] = {"ping": _ping, "etcd": self._takes_writes}
        return checks | ({"informer-sync": self._hears} if root == "readyz" else {})

    async def _takes_writes(self) -> bool:
        """Whether the store still works: a commit that changes nothing."""
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._objects.commit([], [])
        except (StatusError, TimeoutError):
            return False
        return True

    async def _hears(self) -> bool:
        return self._watches()


async def _ping() -> bool:
    return True


async def _one(name: str, checks: dict[str, Check]) -> Response:
    if name not in checks:
        raise no_such_path()
    if await checks[name]():
        return Response(200, b"ok", TEXT)
    return Response(500, b"internal server error: reason withheld\n", TEXT)


async def _all(root: str, checks: dict[str, Check], request: Request) -> Response:
    excluded = set(request.query.get("exclude", ()))
    lines, failed = [], False
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif await check():
            lines.append(f"[+]{name} ok")
        else:
            failed = True
            lines.append(f"[-]{name} failed: reason withheld")
    if excluded - set(checks):
        unknown = ",".join(f'"{name[:100]}"' for name in sorted(excluded - set(checks)))
        lines.append(f"warn: some health checks cannot be excluded: no matches for {unknown}")
    if failed:
        return Response(500, "\n".join([*lines, f"{root} check failed", ""]).encode(), TEXT)
    if "verbose" not in request.query:
        return Response(200, b"ok", TEXT)
    return Response(200, "\n".join([*lines, f"{root} check passed", ""]).encode(), TEXT)
