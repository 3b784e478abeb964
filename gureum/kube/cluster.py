"""One cluster: its objects, its kinds, and the way of a request as one list of steps.

    who asks (authentication) ► may he (authorization) ► which kind, which verb ► reading, watching, writing, deleting, subresources

A cluster knows nothing of HTTP beyond the plain request; server.py brings it there.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from gureum.base.keyring import Keyring
from gureum.kube.access.entrance import Entrance
from gureum.kube.access.issuers import issuer_of, openid_configuration
from gureum.kube.access.rbac import Rbac
from gureum.kube.access.reviews import STORAGES as REVIEWS
from gureum.kube.access.reviews import answer
from gureum.kube.access.tokens import Tokens
from gureum.kube.admission import Admission
from gureum.kube.admission.access import no_escalation
from gureum.kube.admission.addresses import service_addresses
from gureum.kube.admission.certificates import certificates
from gureum.kube.admission.limits import limits
from gureum.kube.admission.namespaces import namespace_lifecycle
from gureum.kube.admission.nodes import not_ready
from gureum.kube.admission.pod_security import pod_security
from gureum.kube.admission.pods import priority, service_account, storage_class, tolerations
from gureum.kube.admission.quotas import quotas
from gureum.kube.admission.unjudged import unjudged_rules
from gureum.kube.admission.webhooks import webhooks
from gureum.kube.bootstrap import bootstrap
from gureum.kube.controllers.all import all_controllers
from gureum.kube.controllers.certificates import Sign
from gureum.kube.controllers.certificates import controller as certificate_controller
from gureum.kube.controllers.client import Client
from gureum.kube.controllers.definitions import serve_definitions
from gureum.kube.controllers.index import Index
from gureum.kube.controllers.loop import ControllerLoop
from gureum.kube.controllers.namespaces import furnisher
from gureum.kube.controllers.tokens import controller as token_controller
from gureum.kube.discovery import Discovery
from gureum.kube.errors import StatusError, method_not_allowed, no_such_path, not_implemented
from gureum.kube.forms import Forms
from gureum.kube.health import Health
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.warnings import DEPRECATED
from gureum.kube.objects import Objects
from gureum.kube.requests import Request, Response, Target, target_of
from gureum.kube.verbs.answers import Answers
from gureum.kube.verbs.applying import Applying
from gureum.kube.verbs.bodies import decode_object, read_aside
from gureum.kube.verbs.deleting import Deleting
from gureum.kube.verbs.reading import Reading
from gureum.kube.verbs.storing import Storing
from gureum.kube.verbs.subresources import NAMES as SUBRESOURCES
from gureum.kube.verbs.subresources import Subresources
from gureum.kube.verbs.watching import Watching
from gureum.kube.verbs.writing import Writing
from gureum.kube.yaml_answers import in_json, in_yaml
from gureum.ports.clock import Clock
from gureum.store.contract import Store

log = logging.getLogger("gureum.kube")


LIMIT_WARNINGS_CHARACTERS = 4096
LIMIT_WARNING_CHARACTERS = 256
_PARTS = frozenset({"status", "finalize", "approval", "ephemeralcontainers", "resize"})
"""Subresources that are a part of their object."""


class Cluster:
    """`name`: of the cluster; stands in its keys. `authority`: PEM of what clients are to trust. `sign`: None leaves certificate requests alone."""

    def __init__(
        self,
        name: str,
        store: Store,
        keyring: Keyring,
        clock: Clock,
        authority: str = "",
        token_key: ec.EllipticCurvePrivateKey | None = None,
        sign: Sign | None = None,
    ) -> None:
        self.name = name
        self._sign = sign
        self._authority = authority
        self.clock = clock
        self.objects = Objects(store, keyring, name)
        self.catalog = Catalog()
        self.forms = Forms(self.objects, clock)
        self.reading = Reading(self.objects, self.forms)
        self.watching = Watching(self.objects, self.forms, self.reading)
        self.rbac = Rbac(self.objects)
        self.tokens = Tokens(self.objects, token_key, clock, issuer_of(name))
        self.entrance = Entrance(self.rbac, self.tokens)
        self.admission = self._make_admission(clock)
        self.answers = Answers(self.objects, self.forms)
        self.storing = Storing(self.objects, self.catalog, self.admission, clock)
        applying = Applying(self.objects, self.catalog, self.storing, self.answers, clock, self.entrance.require)
        self.writing = Writing(self.objects, self.catalog, self.storing, applying, self.answers)
        self.deleting = Deleting(self.objects, self.catalog, self.reading, self.answers, self.admission, clock)
        self.subresources = Subresources(
            self.objects,
            self.catalog,
            self.storing,
            applying,
            self.answers,
            self.deleting,
            self.admission,
            self.tokens,
            clock,
        )
        self.discovery = Discovery(self.catalog)
        self.health = Health(self.objects, lambda: self.controllers.listens)
        self.unexpected = 0
        """How many requests failed by a fault of ours."""

    def _make_admission(self, clock: Clock) -> Admission:
        """What changes a write, then what judges it, in this order."""
        return Admission(
            [
                namespace_lifecycle(self.objects, self.catalog, clock),
                service_account(self.objects),
                priority(self.objects),
                tolerations,
                not_ready,
                storage_class(self.objects),
                limits(self.objects),
                webhooks(self.objects, self.catalog, mutating=True),
            ],
            [
                service_addresses(self.objects, clock),
                no_escalation(self.rbac),
                certificates(self.rbac, clock),
                unjudged_rules,
                pod_security(self.objects),
                webhooks(self.objects, self.catalog, mutating=False),
                quotas(self.objects),
            ],
        )

    async def start(self) -> None:
        """Makes what every cluster has, where it is missing, and starts the controllers."""
        await bootstrap(self.objects, self.clock)
        self._unserve = serve_definitions(self.objects, self.catalog)
        index = Index(self.objects)
        self.client = Client(self.objects, self.catalog, self.storing, self.deleting, index, self.clock)
        controllers = [*all_controllers(self.client), furnisher(self._authority)]
        if self.tokens.signs:
            controllers.append(token_controller(self.tokens.issue_kept, self._authority))
        if self._sign is not None:
            controllers.append(certificate_controller(self._sign, self.rbac))
        self.controllers = ControllerLoop(self.objects, index, self.client, controllers)
        self.controllers.start()

    async def close(self) -> None:
        """Ends the controllers."""
        await self.controllers.close()
        self.rbac.close()
        self._unserve()
        for task in list(self.client.tasks):
            task.cancel()
        await asyncio.gather(*self.client.tasks, return_exceptions=True)

    async def handle(self, request: Request) -> Response:
        """Never raises but for cancellation."""
        same = in_json(request.headers.get("accept", ""))
        if not same:
            return await self._handle(request)
        request.headers = request.headers | {"accept": same}
        return await in_yaml(await self._handle(request))

    async def _handle(self, request: Request) -> Response:
        try:
            response = await self._answer(request)
        except StatusError as error:
            response = Response(error.code, error.body())
            if error.retry_after_s:
                response.headers["retry-after"] = str(error.retry_after_s)
        except Exception:
            self.unexpected += 1
            log.exception("kube.unexpected", extra={"method": request.method, "path": request.path[:200]})
            response = Response(500, StatusError(500, "InternalError", "Internal error occurred").body())
        if request.warnings:
            response.headers["warning"] = ", ".join(f"299 - {_quoted(text)}" for text in _fitting(request.warnings))
        return response

    async def _answer(self, request: Request) -> Response:
        self.entrance.enter(request)
        parts = request.path.strip("/").split("/")
        if len(parts) < {"api": 3, "apis": 4}.get(parts[0], 1000):
            self.entrance.require_path(request)
        if request.method == "GET" and (found := await self._plain_path(request)) is not None:
            return found
        target = target_of(request.path, self.catalog.find)
        verb = verb_of(request, target)
        if verb not in (target.subresource.verbs if target.subresource else target.kind.verbs):
            raise method_not_allowed(target.kind)
        self.entrance.require(request, target, verb)
        await read_aside(request)
        if target.kind.custom is not None and target.kind.custom.deprecated:
            request.warn([target.kind.custom.deprecated])
        if target.kind.storage in DEPRECATED:
            request.warn([DEPRECATED[target.kind.storage]])
        if target.subresource and target.subresource.name not in _PARTS:
            if target.subresource.name not in SUBRESOURCES:
                raise not_implemented(f"the subresource {target.subresource.name} is not built")
            return await self.subresources.answer(request, target, verb)
        if target.kind.storage in REVIEWS:
            return self._review(request, target)
        return await self._serve(request, target, verb)

    async def _serve(self, request: Request, target: Target, verb: str) -> Response:
        if verb == "watch":
            return self.watching.watch(request, target)
        if verb == "list":
            return self.reading.read_list(request, target)
        if verb == "get":
            return self.reading.get(request, target)
        if verb == "create":
            return await self.writing.create(request, target)
        if verb == "update":
            return await self.writing.update(request, target)
        if verb == "patch":
            return await self.writing.patch(request, target)
        if verb == "deletecollection":
            return await self.deleting.delete_collection(request, target)
        return await self.deleting.delete(request, target)

    def _review(self, request: Request, target: Target) -> Response:
        obj = decode_object(request, target.kind, self.catalog.schema(target.kind))
        answered = answer(obj, request.user, self.rbac, self.tokens, target.namespace)
        return self.answers.of(request, target.kind, answered, 201)

    async def _plain_path(self, request: Request) -> Response | None:
        if (health := await self.health.answer(request)) is not None:
            return health
        path = request.path.rstrip("/") or "/"
        if path == "/":
            return Response(200, msgspec.json.encode({"paths": self._paths()}))
        if path == "/.well-known/openid-configuration":
            return Response(200, msgspec.json.encode(openid_configuration(self.tokens.issuer)))
        if path == "/openid/v1/jwks":
            return Response(200, msgspec.json.encode(self.tokens.public_keys()), "application/jwk-set+json")
        return self.discovery.answer(request)

    def _paths(self) -> list[str]:
        groups: list[Any] = [f"/apis/{name}" for name, _ in self.catalog.groups()]
        return [
            "/.well-known/openid-configuration",
            "/api",
            "/api/v1",
            "/apis",
            *groups,
            "/healthz",
            "/livez",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]


def verb_of(request: Request, target: Target) -> str:
    """What the request wants, in the API's words. StatusError when the method fits nothing there."""
    method = request.method
    if method in ("GET", "HEAD"):
        if request.flag("watch"):
            return "watch"
        return "get" if target.name else "list"
    if method == "POST" and (not target.name or target.subresource):
        return "create"
    if method in ("PUT", "PATCH") and target.name:
        return "update" if method == "PUT" else "patch"
    if method == "DELETE":
        if target.subresource:
            raise method_not_allowed(target.kind)
        return "delete" if target.name else "deletecollection"
    raise method_not_allowed(target.kind) if method in ("POST", "PUT", "PATCH") else no_such_path()


def _fitting(warnings: list[str]) -> list[str]:
    """As many as a header can carry that clients take, each once; each shorter where they are long together.
    Source: k8s.io/apiserver/pkg/endpoints/filters (warning.go)."""
    told = list(dict.fromkeys(warnings))
    if sum(map(len, told)) > LIMIT_WARNINGS_CHARACTERS:
        told = [text[:LIMIT_WARNING_CHARACTERS] for text in told]
    left = LIMIT_WARNINGS_CHARACTERS
    found = []
    for text in told:
        left -= len(text)
        if left < 0:
            break
        found.append(text)
    return found


def _quoted(text: str) -> str:
    """As a header can carry it."""
    clean = "".join(char if char.isprintable() and ord(char) < 256 else "?" for char in text)[:2000]
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
