"""Delete: at once, or step by step where something must happen before.

grace (pods on a node)        deletionTimestamp = now + grace; who runs the pod deletes it with grace 0
finalizers                    deletionTimestamp; the last one who takes his finalizer away ends it (storing.py)
propagation Orphan, Foreground   become finalizers; the garbage collector works them off
namespaces                    status Terminating; the namespace controller empties them
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.kube.admission import Admission, Attributes
from gureum.kube.errors import (
    bad_request,
    conflict,
    invalid,
    invalid_object,
    not_found,
    unsupported,
)
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Object, Objects, show
from gureum.kube.requests import Request, Response, Target
from gureum.kube.times import timestamp
from gureum.kube.verbs.answers import Answers
from gureum.kube.verbs.bodies import fitting, read_body
from gureum.kube.verbs.options import dry_run
from gureum.kube.verbs.reading import Reading
from gureum.kube.verbs.storing import LIMIT_TRIES, is_finished
from gureum.ports.clock import Clock
from gureum.store.contract import Conflict, Entry

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
POLICIES = ("Orphan", "Background", "Foreground")
_OPTIONS = Kind("meta.k8s.io", "v1", "DeleteOptions", "deleteoptions", "deleteoptions", namespaced=False)
RETURNED = frozenset(
    {"core/pods", "core/persistentvolumeclaims", "core/persistentvolumes", "core/serviceaccounts", "core/services"}
)
"""Kinds whose deletion answers with the object (ReturnDeletedObject)."""


class Options(msgspec.Struct, frozen=True):
    """DeleteOptions. `grace_s` None: the object's own."""

    policy: str
    grace_s: int | None
    uid: str
    revision: str


class Deleting:
    def __init__(
        self, objects: Objects, catalog: Catalog, reading: Reading, answers: Answers, admission: Admission, clock: Clock
    ) -> None:
        self._objects = objects
        self._catalog = catalog
        self._reading = reading
        self._answers = answers
        self._admission = admission
        self._clock = clock

    async def delete(self, request: Request, target: Target, *, admitted: bool = False) -> Response:
        """`admitted`: by another name, as an eviction."""
        options = read_options(request)
        kind = target.kind
        for _ in range(LIMIT_TRIES):
            entry = self._objects.entry(kind.storage, target.namespace, target.name)
            if entry is None:
                raise not_found(kind, target.name)
            try:
                obj, gone = await self.delete_entry(request, target, entry, options, admitted=admitted)
            except Conflict:
                continue
            if not gone or kind.storage in RETURNED:
                return self._answers.of(request, kind, obj, 200)
            return Response(200, show(_success(kind, obj)) + b"\n")
        raise conflict(kind, target.name)

    async def delete_collection(self, request: Request, target: Target) -> Response:
        """All that the selectors choose. What others delete meanwhile is gone all the same."""
        options = read_options(request)
        kind = target.kind
        selected = self._reading.filter_of(request, target)
        found = []
        for entry in self._objects.store.range(self._objects.prefix(kind.storage, target.namespace)):
            if selected is not None and not selected(self._objects.plain(entry)):
                continue
            place = self._objects.place(entry.key)
            one = msgspec.structs.replace(target, namespace=place.namespace, name=place.name)
            for _ in range(LIMIT_TRIES):
                now = self._objects.store.get(entry.key)
                if now is None:
                    break
                try:
                    found.append((await self.delete_entry(request, one, now, options))[0])
                    break
                except Conflict:
                    continue
        metadata = {"resourceVersion": str(self._objects.revision)}
        body = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": found}
        return Response(200, show(body) + b"\n")

    async def delete_entry(
        self, request: Request, target: Target, entry: Entry, options: Options, *, admitted: bool = False
    ) -> tuple[Object, bool]:
        """The object after one step, and whether it is gone. store.Conflict when it has changed meanwhile."""
        kind, objects = target.kind, self._objects
        obj = objects.decode(entry)
        _check_preconditions(kind, obj, options)
        more = [] if admitted else await self._admission.admit(Attributes(request, target, "DELETE", obj, obj))
        marked = self._marked(kind, obj, options)
        if is_finished(kind, marked):
            if not dry_run(request):
                marked["metadata"]["resourceVersion"] = str(await objects.remove(entry, *more))
            return marked, True
        if dry_run(request) or marked == obj:
            return marked, False
        return await objects.replace(kind.storage, marked, entry, *more), False

    def _marked(self, kind: Kind, obj: Object, options: Options) -> Object:
        """The object as one that is being deleted."""
        metadata = dict(obj["metadata"])
        before = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
        grace = _grace(kind, obj, options)
        finalizers = _finalizers(metadata.get("finalizers") or [], options)
        marked: dict[str, Any] = {**obj, "metadata": metadata}
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        if before[0] is None:
            metadata["deletionTimestamp"] = timestamp(self._clock.now() + grace)
            metadata["deletionGracePeriodSeconds"] = grace
            if metadata.get("generation"):
                metadata["generation"] += 1
        elif before[1] is not None and grace < before[1]:
            metadata["deletionTimestamp"] = timestamp(self._clock.now() + grace)
            metadata["deletionGracePeriodSeconds"] = grace
        if kind.storage == "core/namespaces":
            marked["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        return marked


def read_options(request: Request) -> Options:
    """From the body, else from the query. BadRequest."""
    body = read_body(request)
    if body and body.get("kind") not in (None, "DeleteOptions"):
        raise bad_request(f'no kind "{body.get("kind")}" is registered for DeleteOptions')
    body = fitting(body, _OPTIONS)
    preconditions = body.get("preconditions") or {}
    policy = body.get("propagationPolicy") or request.parameter("propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is None and request.parameter("orphanDependents"):
        orphan = request.flag("orphanDependents")
    causes = []
    if policy and orphan is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(invalid("propagationPolicy", policy, text))
    if policy and policy not in POLICIES:
        causes.append(unsupported("propagationPolicy", policy, (*POLICIES, "nil")))
    if causes:
        raise invalid_object(_OPTIONS, "", causes)
    if orphan is not None and not policy:
        policy = "Orphan" if orphan else "Background"
    if body.get("dryRun") and "dryRun" not in request.query:
        request.query["dryRun"] = [str(one) for one in body["dryRun"]]
    dry_run(request)
    grace = body.get("gracePeriodSeconds")
    if grace is None:
        grace = request.number("gracePeriodSeconds")
    return Options(policy, grace, str(preconditions.get("uid") or ""), str(preconditions.get("resourceVersion") or ""))


def _check_preconditions(kind: Kind, obj: Object, options: Options) -> None:
    metadata = obj["metadata"]
    if options.uid and options.uid != metadata["uid"]:
        text = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {metadata['uid']}"
        raise conflict(kind, metadata["name"], text)
    if options.revision and options.revision != metadata["resourceVersion"]:
        text = (
            f"Precondition failed: ResourceVersion in precondition: {options.revision}, ResourceVersion in object meta: "
            f"{metadata['resourceVersion']}"
        )
        raise conflict(kind, metadata["name"], text)


def _grace(kind: Kind, obj: Object, options: Options) -> int:
    """How many seconds who runs it has to end it: only pods that are on a node and have not ended get any."""
    if kind.storage != "core/pods":
        return 0
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    grace = spec.get("terminationGracePeriodSeconds", 30) if options.grace_s is None else options.grace_s
    return 1 if grace < 0 else int(grace)


def _finalizers(finalizers: list[str], options: Options) -> list[str]:
    policy = options.policy
    if not policy:
        if ORPHAN in finalizers or FOREGROUND in finalizers:
            return finalizers
        policy = "Background"
    kept = [one for one in finalizers if one not in (ORPHAN, FOREGROUND)]
    if policy == "Orphan":
        return [*kept, ORPHAN]
    return [*kept, FOREGROUND] if policy == "Foreground" else kept


def _success(kind: Kind, obj: Object) -> Object:
    details = {"name": obj["metadata"]["name"]}
    if kind.group:
        details["group"] = kind.group
    details |= {"kind": kind.plural, "uid": obj["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
