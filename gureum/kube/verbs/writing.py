"""Create, update and patch, as clients ask for them.

    body ► shape (bodies.py, schemas.py; patching.py) ► of this place and revision? (preconditions.py) ► storing.py ► answers.py

PUT tells the client of a conflict; PATCH, which has not seen the object, is decided again. Server-side apply, which may create, is applying.py.
"""

from __future__ import annotations

from gureum.kube.errors import StatusError, conflict, not_found
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.conversion import convert
from gureum.kube.objects import Objects
from gureum.kube.requests import Request, Response, Target
from gureum.kube.verbs import duplicates
from gureum.kube.verbs.answers import Answers
from gureum.kube.verbs.applying import Applying
from gureum.kube.verbs.bodies import decode_object
from gureum.kube.verbs.options import check_options, field_validation
from gureum.kube.verbs.patching import APPLY, STRATEGIC, patched, read_patch, shaped_patch
from gureum.kube.verbs.preconditions import settle_place, wanted_revision
from gureum.kube.verbs.storing import LIMIT_TRIES, Storing
from gureum.store.contract import Conflict


class Writing:
    def __init__(
        self, objects: Objects, catalog: Catalog, storing: Storing, applying: Applying, answers: Answers
    ) -> None:
        self._objects = objects
        self._catalog = catalog
        self._storing = storing
        self._applying = applying
        self._answers = answers

    async def create(self, request: Request, target: Target) -> Response:
        check_options(request)
        kind = target.kind
        obj = decode_object(request, kind, self._catalog.schema(kind))
        settle_place(obj, target)
        created = await self._storing.create(request, target, obj)
        return self._answers.of_created(request, kind, created)

    async def update(self, request: Request, target: Target) -> Response:
        check_options(request)
        kind = target.kind
        obj = decode_object(request, kind, self._catalog.schema(kind))
        settle_place(obj, target)
        wanted = wanted_revision(obj)
        for _ in range(LIMIT_TRIES):
            entry = self._objects.entry(kind.storage, target.namespace, target.name)
            if entry is None:
                raise not_found(kind, target.name)
            if not wanted and self._catalog.rules(kind).conditional:
                text = "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
                raise StatusError(422, "Invalid", f'{kind.qualified} "{target.name}" is invalid: {text}')
            if wanted and wanted != str(entry.revision):
                raise conflict(kind, target.name)
            try:
                changed = await self._storing.replace(request, target, obj, entry, tracked=True)
            except Conflict as lost:
                if wanted:
                    raise conflict(kind, target.name) from lost
                continue
            return self._answers.of_changed(request, kind, changed, entry)
        raise conflict(kind, target.name)

    async def patch(self, request: Request, target: Target) -> Response:
        kind = target.kind
        media = request.headers.get("content-type", "").partition(";")[0].strip()
        check_options(request, applies=media == APPLY)
        if media == APPLY:
            return await self._applying.apply(request, target)
        schema = self._catalog.schema(kind)
        patch = read_patch(request, kind, media)
        twice = duplicates.of_json(request.body, patch) if field_validation(request) != "Ignore" else []
        for _ in range(LIMIT_TRIES):
            entry = self._objects.entry(kind.storage, target.namespace, target.name)
            if entry is None:
                raise not_found(kind, target.name)
            live = convert(self._objects.decode(entry), kind)
            obj = patched(kind, media, live, patch, schema)
            obj = shaped_patch(request, kind, obj, schema, twice, of=patch if media == STRATEGIC else None)
            settle_place(obj, target)
            if wanted_revision(obj) not in ("", str(entry.revision)):
                raise conflict(kind, target.name)
            try:
                changed = await self._storing.replace(request, target, obj, entry, tracked=True)
            except Conflict:
                continue
            return self._answers.of_changed(request, kind, changed, entry)
        raise conflict(kind, target.name)
