"""What concerns clusters as a whole, on paths of gureum's own beside the API, as the default cluster's roles allow them (nonResourceURLs).

GET    /clusters          the clusters beside the default one
POST   /clusters          {"name": …} makes one
DELETE /clusters/NAME     removes one, with all that is in it
POST   /rotate-key        another key for Secrets; answers when none is sealed with an older one
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gureum.kube.cluster import Cluster
from gureum.kube.clusters import DEFAULT, Clusters, Record
from gureum.kube.errors import bad_request
from gureum.kube.requests import Request, Response
from gureum.kube.verbs.bodies import read_body

CLUSTERS, ROTATE_KEY = "/clusters", "/rotate-key"


def concerns(method: str, path: str) -> bool:
    """Whether a request is for what is here."""
    path = path.rstrip("/")
    if path == CLUSTERS:
        return method in ("GET", "POST")
    if path == ROTATE_KEY:
        return method == "POST"
    return method == "DELETE" and path.startswith(f"{CLUSTERS}/") and path.count("/") == 2


class Management:
    """`endpoint`: the API's URL as a client uses it."""

    def __init__(self, clusters: Clusters, endpoint: str) -> None:
        self._clusters = clusters
        self._endpoint = endpoint

    def url(self, name: str) -> str:
        """Of a cluster."""
        return self._endpoint if name == DEFAULT else f"{self._endpoint}{CLUSTERS}/{name}"

    async def answer(self, default: Cluster, request: Request, end_streams: Callable[[str], None]) -> Response:
        """`end_streams`: of a cluster. StatusError."""
        default.entrance.enter(request)
        default.entrance.require_path(request)
        path = request.path.rstrip("/")
        if path == ROTATE_KEY:
            return _answer(200, {"secrets": await self._clusters.rotate_key()})
        if request.method == "GET":
            return _answer(
                200, {"clusters": [self._shown(one) for one in self._clusters.records() if not one.deleting]}
            )
        if request.method == "POST":
            name = read_body(request).get("name")
            if not isinstance(name, str):
                raise bad_request("name: Required value")
            return _answer(201, self._shown(await self._clusters.create(name)))
        name = path.rpartition("/")[2]
        await self._clusters.delete(name)
        end_streams(name)
        return _answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _shown(self, record: Record) -> dict[str, str]:
        return {"name": record.name, "server": self.url(record.name), "created": record.created}


def _answer(status: int, body: object) -> Response:
    return Response(status, msgspec.json.encode(body))
