"""How a new or changed object gets into the store, whoever wrote it: clients by any verb, and controllers.

    defaults ► managed fields ► admission ► checks ► commit, if nobody was faster

A write is decided on what is visible now and committed on the condition that it still is; who loses against another hears `store.Conflict` and
decides again, or tells the client. It reads no bodies and makes no answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from gureum.kube.admission import Admission, Attributes, Extra
from gureum.kube.errors import Cause, StatusError, already_exists, bad_request, conflict, invalid_object, required
from gureum.kube.kinds import amounts
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.conversion import convert
from gureum.kube.kinds.kind import Kind
from gureum.kube.kinds.metadata import carry_over, generated, validate_metadata
from gureum.kube.objects import Object, Objects
from gureum.kube.patches.errors import BadPatch
from gureum.kube.patches.managers import updated
from gureum.kube.requests import Request, Target
from gureum.kube.times import timestamp
from gureum.kube.verbs.options import dry_run
from gureum.ports.clock import Clock
from gureum.store.contract import Check, Conflict, Entry, Write

LIMIT_TRIES = 10
LIMIT_GENERATE_TRIES = 8
_FREE = frozenset({"binding", "ephemeralcontainers", "resize", "finalize"})
"""Subresources that change what a write of the object itself may not."""
_UNDEFAULTED = frozenset({"status", "binding"})
"""Subresources whose part of a built-in kind has no defaults."""
MADE_WITH_STATUS = frozenset({"core/nodes", "core/namespaces"})
"""Kinds whose new objects keep the status that they come with."""


class Storing:
    def __init__(self, objects: Objects, catalog: Catalog, admission: Admission, clock: Clock) -> None:
        self._objects = objects
        self._catalog = catalog
        self._admission = admission
        self._clock = clock

    async def create(self, request: Request, target: Target, obj: Object, *, tracked: bool = True) -> Object:
        """A new object, under a name made from its generateName where it has none. `tracked`: whose fields these are is noted."""
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
        obj = self.settled(kind, obj)
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

    def settled(self, kind: Kind, obj: Object) -> Object:
        """One in the stored version, with its quantities as they are kept: also of those that were written before they were so."""
        stored = self._catalog.storage_version(kind)
        return obj if stored.custom is not None else amounts.settled(obj, self._catalog.schema(stored))

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

    async def replace(
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
        old = self.settled(kind, old or objects.decode(entry))
        obj = self.settled(kind, convert(obj, stored))
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
