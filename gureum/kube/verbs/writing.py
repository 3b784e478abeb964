"""Create, update and patch: the way of a write, as one list of steps.

    body ► shape (schema) ► defaults ► managed fields ► admission ► checks ► commit, if nobody was faster

A write is decided on what is visible now and committed on the condition that it still is. PUT tells the client of a conflict; PATCH, which has
not seen the object, is decided again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from gureum.kube.admission import Admission, Attributes, Extra
from gureum.kube.errors import (
    Cause,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    invalid_object,
    not_found,
    required,
)
from gureum.kube.forms import Forms
from gureum.kube.kinds.amounts import settled
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.conversion import convert
from gureum.kube.kinds.kind import Kind
from gureum.kube.kinds.metadata import carry_over, generated, validate_metadata
from gureum.kube.kinds.warnings import TEMPLATES, of_new, of_template
from gureum.kube.objects import SEALED, Object, Objects, show
from gureum.kube.patches.apply import apply
from gureum.kube.patches.errors import BadPatch
from gureum.kube.patches.errors import Conflict as ApplyConflict
from gureum.kube.patches.managers import updated
from gureum.kube.patches.typed import as_text, misfits
from gureum.kube.requests import Request, Response, Target, wish_of
from gureum.kube.times import timestamp
from gureum.kube.verbs import duplicates
from gureum.kube.verbs.bodies import decode_object, document_of, shape_object
from gureum.kube.verbs.options import check_options, dry_run, field_validation
from gureum.kube.verbs.patching import APPLY, STRATEGIC, patched, read_patch, shaped_patch
from gureum.ports.clock import Clock
from gureum.store.contract import Check, Conflict, Entry, Write

LIMIT_TRIES = 10
LIMIT_GENERATE_TRIES = 8
LIMIT_SHOWN = 253
LIMIT_WARNINGS = 100
_FREE = frozenset({"binding", "ephemeralcontainers", "resize", "finalize"})
"""Subresources that change what a write of the object itself may not."""
_UNDEFAULTED = frozenset({"status", "binding"})
"""Subresources whose part of a built-in kind has no defaults."""
MADE_WITH_STATUS = frozenset({"core/nodes", "core/namespaces"})
"""Kinds whose new objects keep the status that they come with."""


class Writing:
    def __init__(
        self,
        objects: Objects,
        catalog: Catalog,
        forms: Forms,
        admission: Admission,
        clock: Clock,
        require: Callable[[Request, Target, str], None],
    ) -> None:
        """`require`: Forbidden, unless who asks may do that (a verb)."""
        self._require = require
        self._objects = objects
        self._catalog = catalog
        self._forms = forms
        self._admission = admission
        self._clock = clock

    # Create

    async def create(self, request: Request, target: Target) -> Response:
        check_options(request)
        kind = target.kind
        obj = decode_object(request, kind, self._catalog.schema(kind))
        self._place(obj, target)
        created = await self._create(request, target, obj)
        _warn(request, of_new(kind.storage, created))
        return self.answer(request, kind, created, 201)

    async def create_object(self, request: Request, target: Target, obj: Object) -> Object:
        """One that is made here and needs no reading: of controllers."""
        return await self._create(request, target, obj)

    async def _create(self, request: Request, target: Target, obj: Object, *, tracked: bool = True) -> Object:
        kind = target.kind
        metadata = obj["metadata"]
        base = metadata.get("generateName", "")
        given = metadata.get("name", "")
        if not given and not base:
            raise invalid_object(kind, "", [required("metadata.name", "name or generateName is required")])
        for attempt in range(LIMIT_GENERATE_TRIES):
            if not given and base:
                metadata["name"] = generated(base)
            try:
                return await self._create_once(request, target, obj, tracked=tracked)
            except Conflict as lost:
                taken = lost.key == self._objects.key(kind.storage, metadata.get("namespace", ""), metadata["name"])
                if taken and (given or attempt == LIMIT_GENERATE_TRIES - 1):
                    raise already_exists(kind, metadata["name"]) from lost
        raise StatusError(500, "InternalError", "the write met others' again and again")

    async def _create_once(self, request: Request, target: Target, obj: Object, *, tracked: bool) -> Object:
        kind, objects = target.kind, self._objects
        rules = self._catalog.rules(kind)
        self._prepare_new(kind, obj)
        obj = convert(obj, self._catalog.storage_version(kind))
        obj = self._settled(kind, obj)
        rules.default(obj)
        if tracked:  # before admission: what the cluster adds is nobody's
            self._track(request, kind, None, obj, "")
        attributes = Attributes(request, target, "CREATE", obj, None)
        more = await self._admission.admit(attributes)
        if attributes.changed:
            obj = self._own_of_new(kind, attributes.obj, obj)
        rules.create(obj)
        causes = validate_metadata(kind.storage, obj, namespaced=kind.namespaced)
        causes += self._catalog.validate(kind, obj, None)
        if causes:
            raise invalid_object(kind, obj["metadata"].get("name", ""), causes)
        if objects.entry(kind.storage, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) is not None:
            raise already_exists(kind, obj["metadata"]["name"])
        if dry_run(request):
            return obj
        return await objects.create(kind.storage, obj, *more)

    def _place(self, obj: Object, target: Target) -> None:
        """Namespace and name of the path and of the object must agree."""
        metadata = obj["metadata"]
        if target.kind.namespaced:
            namespace = metadata.get("namespace") or target.namespace
            if namespace != target.namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            if not namespace:
                raise bad_request("an empty namespace may not be set during creation")
            metadata["namespace"] = namespace
        elif metadata.get("namespace"):
            raise (
                bad_request("namespace may not be set for cluster-scoped kinds")
                if target.namespace
                else bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            )
        if target.name and metadata.get("name", target.name) != target.name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
            )
        if target.name:
            metadata["name"] = target.name

    def _prepare_new(self, kind: Kind, obj: Object) -> None:
        metadata = obj["metadata"]
        if metadata.get("resourceVersion") not in (None, "", "0"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
            metadata.pop(name, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = timestamp(self._clock.now())
        if self._catalog.rules(kind).generation:
            metadata["generation"] = 1
        if kind.subresource("status") and kind.storage not in MADE_WITH_STATUS:
            obj.pop("status", None)

    def _settled(self, kind: Kind, obj: Object) -> Object:
        """One in the stored version, with its quantities as they are kept: also of those that were written before they were so."""
        stored = self._catalog.storage_version(kind)
        return obj if stored.custom is not None else settled(obj, self._catalog.schema(stored))

    def _own_of_new(self, kind: Kind, obj: Object, made: Object) -> Object:
        """What a webhook made of a new object, without what is the server's to say: that is as it was `made`."""
        own = {
            name: made["metadata"][name]
            for name in ("uid", "creationTimestamp", "generation")
            if name in made["metadata"]
        }
        obj = {**obj, "metadata": {**obj["metadata"], **own}}
        if kind.subresource("status") and kind.storage not in MADE_WITH_STATUS:
            obj.pop("status", None)
            obj |= {"status": made["status"]} if "status" in made else {}
        return obj

    # Update

    async def update(self, request: Request, target: Target) -> Response:
        check_options(request)
        kind = target.kind
        obj = decode_object(request, kind, self._catalog.schema(kind))
        self._place(obj, target)
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
                changed = await self.replace_object(request, target, obj, entry, tracked=True)
            except Conflict as lost:
                if wanted:
                    raise conflict(kind, target.name) from lost
                continue
            self._warn_of_change(request, kind, changed, entry)
            return self.answer(request, kind, changed, 200)
        raise conflict(kind, target.name)

    async def replace_object(
        self,
        request: Request,
        target: Target,
        obj: Object,
        entry: Entry,
        also: Sequence[Write | Check] = (),
        *,
        tracked: bool = False,
        way: str = "",
        old: Object | None = None,
        admitted: list[Extra] | None = None,
    ) -> Object:
        """Puts `obj` in the place of what `entry` holds, `also` in the same commit. `tracked`: whose fields these are is noted,
        with the subresource that they came by (`way`, where it is not the target's).
        `old`: what `entry` holds, where it is known; it may share with `obj`. `admitted`: what admission adds, where it was asked before.
        store.Conflict when it has changed meanwhile."""
        obj = {**obj, "metadata": dict(obj["metadata"])}
        kind, objects = target.kind, self._objects
        stored = self._catalog.storage_version(kind)
        old = self._settled(kind, old or objects.decode(entry))
        obj = self._settled(kind, convert(obj, stored))
        subresource = target.subresource.name if target.subresource else ""
        metadata = obj["metadata"]
        if metadata.get("uid") not in (None, "", old["metadata"]["uid"]):
            raise _another(kind, target.name, metadata["uid"], old["metadata"]["uid"])
        causes = carry_over(obj, old)
        rules = self._catalog.rules(kind)
        obj = self._prepared(kind, subresource, obj, old)
        if tracked:
            self._track(request, kind, old, obj, way or subresource)
        if admitted is None:
            obj, admitted, wrong = await self._admit_update(request, target, obj, old)
            causes += wrong
        if _unmanaged(obj["metadata"]) != _unmanaged(old["metadata"]):
            causes += validate_metadata(kind.storage, obj, namespaced=kind.namespaced)
        if subresource not in _FREE and (kind.custom is not None or subresource != "status"):
            causes += self._wrong(kind, obj, old)
        if causes:
            raise invalid_object(kind, target.name, causes)
        # Who binds a pod makes no other of it (test/e2e/node/pods.go: one that runs still has generation 1).
        if rules.generation and subresource != "binding" and _spec_of(obj) != _spec_of(old):
            obj["metadata"]["generation"] = int(old["metadata"].get("generation") or 0) + 1
        obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if _same(obj, old):
            return old
        if dry_run(request):
            return obj
        if is_finished(kind, obj):
            await objects.remove(entry, *admitted)
            return obj
        return await objects.replace(kind.storage, obj, entry, *admitted, *also)

    def _prepared(self, kind: Kind, subresource: str, obj: Object, old: Object) -> Object:
        """The part that this write may change, with its defaults, laid over the rest."""
        rules = self._catalog.rules(kind)
        obj = self._catalog.part_of(kind, subresource, obj, old)
        if kind.custom is not None or subresource not in _UNDEFAULTED:
            rules.default(obj)
        if not subresource:
            rules.update(obj, old)
        return obj

    def _wrong(self, kind: Kind, obj: Object, old: Object) -> list[Cause]:
        """What is wrong with a changed object. Who changes nothing but its head and its number of replicas is not told what was wrong
        before: an object that was stored when less was refused can be labelled, scaled and let go."""
        causes = self._catalog.validate(kind, obj, old)
        if not causes or kind.custom is not None or _unscaled(obj) != _unscaled(old):
            return causes
        known = self._catalog.validate(kind, old, old)
        return [one for one in causes if one not in known]

    async def _admit_update(
        self, request: Request, target: Target, obj: Object, old: Object
    ) -> tuple[Object, list[Extra], list[Cause]]:
        """The object, what is to be committed with it, and what is wrong with what webhooks made of it."""
        attributes = Attributes(request, target, "UPDATE", obj, old)
        more = await self._admission.admit(attributes)
        if not attributes.changed:
            return attributes.obj, more, []
        obj = attributes.obj
        causes = carry_over(obj, old)
        return self._catalog.part_of(target.kind, attributes.subresource, obj, old), more, causes

    # Patch

    async def patch(self, request: Request, target: Target) -> Response:
        kind = target.kind
        media = request.headers.get("content-type", "").partition(";")[0].strip()
        check_options(request, applies=media == APPLY)
        if media == APPLY:
            return await self._apply(request, target)
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
            self._place(obj, target)
            if wanted_revision(obj) not in ("", str(entry.revision)):
                raise conflict(kind, target.name)
            try:
                changed = await self.replace_object(request, target, obj, entry, tracked=True)
            except Conflict:
                continue
            self._warn_of_change(request, kind, changed, entry)
            return self.answer(request, kind, changed, 200)
        raise conflict(kind, target.name)

    async def _apply(self, request: Request, target: Target) -> Response:
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
            live = None if entry is None else convert(self._settled(kind, self._objects.decode(entry)), kind)
            obj = self.merged(request, target, live, applied, manager)
            try:
                if entry is None:
                    obj["metadata"].pop("resourceVersion", None)
                    created = await self._create(request, target, obj, tracked=False)
                    _warn(request, of_new(kind.storage, created))
                    return self.answer(request, kind, created, 201)
                if obj is live:
                    return self.answer(request, kind, obj, 200)
                changed = await self.replace_object(request, target, obj, entry)
                self._warn_of_change(request, kind, changed, entry)
                return self.answer(request, kind, changed, 200)
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
        self._place(applied, target)
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

    # What all have in common

    def _track(self, request: Request, kind: Kind, old: Object | None, obj: Object, subresource: str) -> None:
        """Writes down who manages which fields after this change. What an object is made with has no status."""
        made = obj
        if old is None and kind.subresource("status"):
            made = {name: value for name, value in obj.items() if name != "status"}
        try:
            fields = updated(
                old,
                made,
                self._catalog.schema(self._catalog.storage_version(kind)),
                manager=manager_of(request),
                api_version=kind.api_version,
                now=timestamp(self._clock.now()),
                subresource=subresource,
            )
        except BadPatch:
            # Items without their keys: nobody's, as the original has it.
            fields = (old or {}).get("metadata", {}).get("managedFields")
        if fields:
            obj["metadata"]["managedFields"] = fields
        else:
            obj["metadata"].pop("managedFields", None)

    def _warn_of_change(self, request: Request, kind: Kind, obj: Object, before: Entry) -> None:
        """Of a template, if what it is in was changed."""
        if kind.storage in TEMPLATES:
            known = self._objects.decode(before)["metadata"].get("generation")
            if obj["metadata"].get("generation") != known:
                _warn(request, of_template(kind.storage, obj))

    def answer(self, request: Request, kind: Kind, obj: Object, status: int) -> Response:
        wish = wish_of(request.headers.get("accept", ""))
        value = show(convert(obj, kind)) if dry_run(request) else self._shown(kind, obj)
        if wish.form == "Table":
            return Response(
                status, self._forms.table(kind, value, wish, request.parameter("includeObject")), wish.content_type
            )
        if wish.form:
            return Response(status, self._forms.partial(value, wish), wish.content_type)
        return Response(status, value + b"\n")

    def _shown(self, kind: Kind, obj: Object) -> bytes:
        """As the store has it, if it is what was stored."""
        metadata = obj["metadata"]
        if kind.storage not in SEALED:
            entry = self._objects.entry(kind.storage, metadata.get("namespace", ""), metadata.get("name", ""))
            if entry is not None and str(entry.revision) == metadata.get("resourceVersion"):
                return self._forms.shown(kind, entry)
        return show(convert(obj, kind))


def _warn(request: Request, texts: list[str]) -> None:
    if texts:
        request.warnings = [*request.warnings, *texts[:LIMIT_WARNINGS]]


def wanted_revision(obj: Object) -> str:
    """The revision that a write is meant for; "" when it is meant for any, which "0" says, too."""
    said = str((obj.get("metadata") or {}).get("resourceVersion") or "")
    return "" if said == "0" else said


def manager_of(request: Request) -> str:
    """Who changes, for managed fields: as said, else the program's name."""
    return (
        request.parameter("fieldManager")
        or request.headers.get("user-agent", "unknown").partition("/")[0][:128]
        or "unknown"
    )


def _another(kind: Kind, name: str, uid: str, known: str) -> StatusError:
    text = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {known}"
    return conflict(kind, name, text)


def is_finished(kind: Kind, obj: Object) -> bool:
    """Whether nothing keeps an object that is being deleted."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    return not (kind.storage == "core/namespaces" and (obj.get("spec") or {}).get("finalizers"))


def _spec_of(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status", "apiVersion", "kind")}


def _unscaled(obj: Object) -> Object:
    spec = obj.get("spec")
    rest = {name: value for name, value in spec.items() if name != "replicas"} if isinstance(spec, dict) else spec
    return {**_spec_of(obj), "spec": rest}


def _same(obj: Object, old: Object) -> bool:
    """Whether a write would change nothing but the times of managers."""
    if {**obj, "metadata": 0} != {**old, "metadata": 0}:
        return False
    return _timeless(obj["metadata"]) == _timeless(old["metadata"])


def _unmanaged(metadata: Object) -> Object:
    return {name: value for name, value in metadata.items() if name != "managedFields"}


def _timeless(metadata: Object) -> Object:
    fields = [{**one, "time": ""} for one in metadata.get("managedFields") or ()]
    return {**metadata, "managedFields": fields}
