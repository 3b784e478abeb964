"""Server-side apply: what a client wishes to be so is laid over what is there; whose fields these are decides who conflicts with whom.

A patch in its media type, which may also create. How fields are merged stands in patches/apply.py.
"""

from __future__ import annotations

from collections.abc import Callable

from gureum.kube.errors import StatusError, bad_request, conflict, not_found
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.conversion import convert
from gureum.kube.objects import Object, Objects
from gureum.kube.patches.apply import apply
from gureum.kube.patches.errors import BadPatch
from gureum.kube.patches.errors import Conflict as ApplyConflict
from gureum.kube.patches.typed import as_text, misfits
from gureum.kube.requests import Request, Response, Target
from gureum.kube.times import timestamp
from gureum.kube.verbs import duplicates
from gureum.kube.verbs.answers import Answers
from gureum.kube.verbs.bodies import document_of, shape_object
from gureum.kube.verbs.options import field_validation
from gureum.kube.verbs.preconditions import settle_place
from gureum.kube.verbs.storing import LIMIT_TRIES, MADE_WITH_STATUS, Storing
from gureum.ports.clock import Clock
from gureum.store.contract import Conflict

LIMIT_SHOWN = 253


class Applying:
    def __init__(
        self,
        objects: Objects,
        catalog: Catalog,
        storing: Storing,
        answers: Answers,
        clock: Clock,
        require: Callable[[Request, Target, str], None],
    ) -> None:
        """`require`: Forbidden, unless who asks may do that (a verb)."""
        self._objects = objects
        self._catalog = catalog
        self._storing = storing
        self._answers = answers
        self._clock = clock
        self._require = require

    async def apply(self, request: Request, target: Target) -> Response:
        kind = target.kind
        manager = request.parameter("fieldManager")
        read = document_of(request)
        applied = read.value
        if not isinstance(applied, dict):
            raise bad_request("error decoding YAML: the configuration is no object")
        twice = read.twice if field_validation(request) != "Ignore" else []
        if twice and field_validation(request) == "Strict":
            raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: {duplicates.in_one(twice)}")
        self._check_applied(request, target, applied, twice)
        for _ in range(LIMIT_TRIES):
            entry = self._objects.entry(kind.storage, target.namespace, target.name)
            if entry is None and target.subresource:
                raise not_found(kind, target.name)
            if entry is None:  # whoever may patch may not yet create
                self._require(request, target, "create")
            live = None if entry is None else convert(self._storing.settled(kind, self._objects.decode(entry)), kind)
            obj = self.merged(request, target, live, applied, manager)
            try:
                if entry is None:
                    obj["metadata"].pop("resourceVersion", None)
                    created = await self._storing.create(request, target, obj, tracked=False)
                    return self._answers.of_created(request, kind, created)
                if obj is live:
                    return self._answers.of(request, kind, obj, 200)
                changed = await self._storing.replace(request, target, obj, entry)
                return self._answers.of_changed(request, kind, changed, entry)
            except Conflict:
                continue
            except StatusError as error:
                if entry is not None or error.reason != "AlreadyExists":
                    raise
        raise conflict(kind, target.name)

    def _check_applied(self, request: Request, target: Target, applied: Object, twice: list[str]) -> None:
        kind = target.kind
        if applied.get("apiVersion") != kind.api_version or applied.get("kind") != kind.kind:
            said, name = (str(applied.get(one))[:LIMIT_SHOWN] for one in ("apiVersion", "kind"))
            raise bad_request(
                f"invalid object type: {said}, Kind={name}: {kind.api_version}, Kind={kind.kind} was expected"
            )
        if not isinstance(applied.setdefault("metadata", {}), dict):
            raise bad_request("metadata is no object")
        settle_place(applied, target)
        schema = self._catalog.schema(kind)
        wrong = misfits(applied, schema)
        if wrong:
            place = f"{target.namespace}/{target.name}; {kind.api_version}, Kind={kind.kind}"
            raise StatusError(500, "", f"failed to create typed patch object ({place}): {as_text(wrong)}")
        whole = shape_object(request, applied, kind, schema, twice)
        applied.clear()
        applied.update(whole)

    def merged(
        self, request: Request, target: Target, live: Object | None, applied: Object, manager: str, *, way: str = ""
    ) -> Object:
        """`applied` laid over `live`, with its managed fields (server-side apply). StatusError: conflicts, and what is no configuration."""
        kind = target.kind
        way = way or (target.subresource.name if target.subresource else "")
        if live is not None or kind.storage not in MADE_WITH_STATUS:
            applied = self._catalog.applied_part(kind, way, applied)
        version = applied["metadata"].get("resourceVersion")
        if version and live is None:
            raise not_found(kind, target.name)
        if version and live is not None and version != live["metadata"]["resourceVersion"]:
            raise conflict(kind, target.name)
        try:
            return apply(
                live,
                applied,
                self._catalog.schema(kind),
                manager=manager,
                api_version=kind.api_version,
                now=timestamp(self._clock.now()),
                force=request.flag("force"),
                subresource=way,
            )
        except BadPatch as error:
            raise bad_request(str(error)) from error
        except ApplyConflict as error:
            causes = [
                {"reason": "FieldManagerConflict", "message": one.message, "field": one.field} for one in error.causes
            ]
            raise StatusError(409, "Conflict", str(error), {"causes": causes}) from error
