"""The way of a call of the Engine API: version, operation, answer; every refusal becomes `{"message": …}`.

/v1.45/containers/abc/json ──► version (1, 45), operation "GET /containers/{id}/json", args {"id": "abc"}
"""

from __future__ import annotations

import logging
import re
from urllib.parse import unquote

from gureum.core.world import World
from gureum.docker.call import Call, Operation
from gureum.docker.errors import DockerError
from gureum.docker.server import BadRequest, Request, Responder
from gureum.docker.system import API_VERSION, MIN_API_VERSION
from gureum.ports import PortError
from gureum.store.contract import StoreBroken, StoreFull

log = logging.getLogger("gureum.docker")
_VERSION = re.compile(r"/v(\d+)\.(\d+)(/.*)")
_VARIABLE = re.compile(r"\\\{(\w+)(:path)?\\\}")


class Api:
    """Answers requests. `faults` counts what nobody expected."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.faults = 0
        self._routes: list[tuple[str, re.Pattern[str], Operation]] = []
        marks = world.registry.marks("docker")
        # Fixed paths before those with variables: /containers/json is no container.
        for name in sorted(marks, key=lambda one: (one.count("{"), one.count(":path"), -len(one))):
            method, _, path = name.partition(" ")
            self._routes.append((method, _pattern(path), marks[name].target))

    async def handle(self, request: Request, responder: Responder) -> None:
        responder.headers |= {
            "Api-Version": API_VERSION,
            "Docker-Experimental": "false",
            "Ostype": "linux",
            "Server": "gureum",
        }
        try:
            call, operation = self._find(request, responder)
            await operation(call)
        except DockerError as refused:
            await self._refuse(responder, refused)
        except BadRequest as refused:
            await self._refuse(responder, DockerError(400, str(refused)))
        except PortError as refused:
            await self._refuse(responder, DockerError(500, refused.why))
        except (StoreFull, StoreBroken) as failed:
            await self._refuse(responder, DockerError(500, f"the store cannot write: {failed}"))
        except ConnectionError:
            responder.keep = False
        except Exception as error:
            self.faults += 1
            log.exception("a docker call failed", extra={"method": request.method, "path": request.path})
            await self._refuse(responder, DockerError(500, f"{type(error).__name__}: {error}"))

    async def _refuse(self, responder: Responder, error: DockerError) -> None:
        if responder.begun:
            responder.keep = False  # the answer is cut off: the client sees that it is not whole
        else:
            await responder.send(error.status, {"message": error.message})

    def _find(self, request: Request, responder: Responder) -> tuple[Call, Operation]:
        path, version = request.path, _numbers(API_VERSION)
        if found := _VERSION.fullmatch(path):
            version, path = (int(found[1]), int(found[2])), found[3]
            if version < _numbers(MIN_API_VERSION):
                shown = f"{version[0]}.{version[1]}"
                raise DockerError(
                    400,
                    f"client version {shown} is too old. Minimum supported API version is {MIN_API_VERSION}, "
                    "please upgrade your client to a newer version",
                )
            if version > _numbers(API_VERSION):
                shown = f"{version[0]}.{version[1]}"
                raise DockerError(
                    400, f"client version {shown} is too new. Maximum supported API version is {API_VERSION}"
                )
        for method, pattern, operation in self._routes:
            if method == request.method and (matched := pattern.fullmatch(path)):
                args = {name: unquote(value) for name, value in matched.groupdict().items()}
                return Call(self._world, request, responder, args, version), operation
        raise DockerError(404, "page not found")


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _pattern(path: str) -> re.Pattern[str]:
    escaped = re.escape(path)
    return re.compile(_VARIABLE.sub(lambda found: f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})", escaped))
