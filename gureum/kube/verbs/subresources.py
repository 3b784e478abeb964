"""Subresources that are more than a part of their object: scale, eviction, binding, tokens.

scale      an autoscaling/v1 Scale in place of the object's own replicas
eviction   a deletion that PodDisruptionBudgets may refuse (429)
binding    puts a pod on a node
token      a token of a service account
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.kube.access.tokens import LONGEST_S, SHORTEST_S, Tokens
from gureum.kube.admission import Admission, Attributes
from gureum.kube.controllers.nodes.scheduler import bound
from gureum.kube.errors import StatusError, bad_request, conflict, invalid, invalid_object, not_found, too_many
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.conversion import convert
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Object, Objects, show
from gureum.kube.patches.errors import BadPatch, PatchFailed
from gureum.kube.patches.plain import json_patch, merge_patch
from gureum.kube.requests import Request, Response, Target
from gureum.kube.selectors import from_object, matches
from gureum.kube.times import timestamp
from gureum.kube.verbs.answers import Answers
from gureum.kube.verbs.applying import Applying
from gureum.kube.verbs.bodies import document_of, fitting, read_body, read_json
from gureum.kube.verbs.deleting import Deleting, read_options
from gureum.kube.verbs.options import check_options, dry_run
from gureum.kube.verbs.patching import APPLY
from gureum.kube.verbs.preconditions import wanted_revision
from gureum.kube.verbs.storing import LIMIT_TRIES, Storing
from gureum.ports.clock import Clock
from gureum.store.contract import Conflict, Put, Unchanged

NAMES = frozenset({"scale", "eviction", "binding", "token"})
DEFAULT_TOKEN_S = 3600


class Subresources:
    def __init__(
        self,
        objects: Objects,
        catalog: Catalog,
        storing: Storing,
        applying: Applying,
        answers: Answers,
        deleting: Deleting,
        admission: Admission,
        tokens: Tokens,
        clock: Clock,
    ) -> None:
        self._objects = objects
        self._catalog = catalog
        self._storing = storing
        self._applying = applying
        self._answers = answers
        self._deleting = deleting
        self._admission = admission
        self._tokens = tokens
        self._clock = clock

    async def answer(self, request: Request, target: Target, verb: str) -> Response:
        assert target.subresource is not None
        name = target.subresource.name
        if name == "scale":
            return self._get_scale(request, target) if verb == "get" else await self._set_scale(request, target, verb)
        if name == "eviction":
            return await self._evict(request, target)
        if name == "binding":
            return await self._bind(request, target)
        return self._token(request, target)

    # Scale

    def _get_scale(self, request: Request, target: Target) -> Response:
        return self._answers.of(request, _SCALE, self._scale_of(target.kind, self._found(target)), 200)

    async def _set_scale(self, request: Request, target: Target, verb: str) -> Response:
        applies = verb == "patch" and request.headers.get("content-type", "").partition(";")[0] == APPLY
        check_options(request, applies=applies)
        for _ in range(LIMIT_TRIES):
            entry = self._objects.entry(target.kind.storage, target.namespace, target.name)
            if entry is None:
                raise not_found(target.kind, target.name)
            obj = self._objects.decode(entry)
            scale = self._scale_of(target.kind, obj)
            wanted = fitting(self._read_scale(request, scale, verb), _SCALE)
            if wanted_revision(wanted) not in ("", str(entry.revision)):
                raise conflict(target.kind, target.name)
            whole = {**scale, "spec": wanted.get("spec") or {}}
            attributes = Attributes(request, target, "UPDATE", whole, self._scale_of(target.kind, obj), part=_SCALE)
            admitted = await self._admission.admit(attributes)
            replicas = (attributes.obj.get("spec") or {}).get("replicas", 0)
            if not isinstance(replicas, int) or replicas < 0:
                cause = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
                raise invalid_object(_SCALE, target.name, [cause])
            path = self._paths(target.kind)["spec"]
            plain = msgspec.structs.replace(target, subresource=None)
            new = _with(obj, path, replicas)
            if applies:
                head = {
                    "apiVersion": target.kind.api_version,
                    "kind": target.kind.kind,
                    "metadata": {"name": target.name},
                }
                manager = request.parameter("fieldManager")
                obj = convert(obj, target.kind)
                new = self._applying.merged(request, plain, obj, _with(head, path, replicas), manager, way="scale")
            try:
                changed = await self._storing.replace(
                    request, plain, new, entry, tracked=not applies, way="scale", admitted=admitted
                )
            except Conflict:
                continue
            return self._answers.of(request, _SCALE, self._scale_of(target.kind, changed), 200)
        raise conflict(target.kind, target.name)

    def _read_scale(self, request: Request, scale: Object, verb: str) -> Object:
        if verb == "update":
            return read_body(request)
        media = request.headers.get("content-type", "").partition(";")[0]
        try:
            if media == "application/json-patch+json":
                patched: Object = json_patch(scale, read_json(request.body))
                return patched
            patch = document_of(request).value if media == APPLY else read_json(request.body)
            if media != APPLY and (patch.get("metadata") or {}).get("resourceVersion") is None:
                scale["metadata"].pop("resourceVersion", None)
            merged: Object = merge_patch(scale, patch)
            return merged
        except (BadPatch, AttributeError) as error:
            raise bad_request(str(error)) from error
        except PatchFailed as error:
            raise StatusError(422, "Invalid", str(error), {}) from error

    def _scale_of(self, kind: Kind, obj: Object) -> Object:
        paths = self._paths(kind)
        metadata = {
            name: obj["metadata"][name]
            for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if name in obj["metadata"]
        }
        status: Object = {"replicas": _at(obj, paths["status"]) or 0}
        selector = _at(obj, paths.get("selector", ""))
        if selector:
            status["selector"] = selector if isinstance(selector, str) else _selector_text(selector)
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": metadata,
            "spec": {"replicas": _at(obj, paths["spec"]) or 0},
            "status": status,
        }

    def _paths(self, kind: Kind) -> dict[str, str]:
        """Where an object keeps its replicas."""
        if kind.custom is not None:
            found: dict[str, str] = kind.custom.scale_paths
            return found
        return {"spec": ".spec.replicas", "status": ".status.replicas", "selector": ".spec.selector"}

    # Eviction

    async def _evict(self, request: Request, target: Target) -> Response:
        body = fitting(read_body(request), _EVICTION)
        pod = self._found(target)
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Pending")
        options = body.get("deleteOptions") or {}
        if body.get("metadata", {}).get("name") not in (None, "", target.name):
            raise bad_request("name in URL does not match name in Eviction object")
        head = {"apiVersion": "policy/v1", "kind": "Eviction"}
        named = {**(body.get("metadata") or {}), "name": target.name, "namespace": target.namespace}
        eviction = {**body, **head, "metadata": named}
        await self._admission.admit(Attributes(request, target, "CREATE", eviction, None, part=_EVICTION))
        plain = msgspec.structs.replace(target, subresource=None)
        asked = Request(
            "DELETE",
            request.path,
            {**request.query},
            {**request.headers, "content-type": "application/json"},
            show(options),
            None,
            request.user,
        )
        read_options(asked)  # a dry run may be wished there, too
        for _ in range(LIMIT_TRIES):
            extra: list[Any] = []
            if not ended and not pod["metadata"].get("deletionTimestamp"):
                extra = self._disrupt(request, target, pod)
            try:
                if extra and not dry_run(asked):
                    await self._objects.commit(
                        [one for one in extra if isinstance(one, Unchanged)],
                        [one for one in extra if isinstance(one, Put)],
                    )
                break
            except Conflict:
                continue
        else:  # without its budget no pod goes
            raise too_many("Cannot evict pod: its disruption budget is written again and again.", [], 1)
        await self._deleting.delete(asked, plain, admitted=True)
        return Response(
            201, show({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}) + b"\n"
        )

    def _disrupt(self, request: Request, target: Target, pod: Object) -> list[Any]:
        """Takes one of what the pod's budget allows; TooManyRequests when none is left."""
        del request
        labels = pod["metadata"].get("labels") or {}
        budgets = []
        for one in self._objects.all("policy/poddisruptionbudgets", target.namespace):
            selector = from_object((one.get("spec") or {}).get("selector"))
            if selector is not None and matches(selector, labels):
                budgets.append(one)
        if not budgets:
            return []
        if len(budgets) > 1:
            text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise StatusError(500, "InternalError", text, {})
        budget = budgets[0]
        name = budget["metadata"]["name"]
        status = budget.get("status") or {}
        if _is_unguarded(pod, budget):
            return []
        if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
            cause = {
                "reason": "DisruptionBudget",
                "message": f"The disruption budget {name} is still being processed by the server.",
            }
            raise too_many("Cannot evict pod as it would violate the pod's disruption budget.", [cause], 10)
        allowed = int(status.get("disruptionsAllowed") or 0)
        if allowed <= 0:
            text = (
                f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and has "
                f"{status.get('currentHealthy', 0)} currently"
            )
            cause = {"reason": "DisruptionBudget", "message": text}
            raise too_many("Cannot evict pod as it would violate the pod's disruption budget.", [cause])
        disrupted = {**(status.get("disruptedPods") or {}), pod["metadata"]["name"]: timestamp(self._clock.now())}
        changed = {**budget, "status": {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}}
        put = self._objects.put("policy/poddisruptionbudgets", changed)
        return [Unchanged(put.key, int(budget["metadata"]["resourceVersion"])), put]

    # Binding and tokens

    async def _bind(self, request: Request, target: Target) -> Response:
        body = fitting(read_body(request), _BINDING)
        node = (body.get("target") or {}).get("name")
        if not node:
            raise bad_request("target.name: Required value")
        for _ in range(LIMIT_TRIES):
            entry = self._objects.entry(target.kind.storage, target.namespace, target.name)
            if entry is None:
                raise not_found(target.kind, target.name)
            pod = self._objects.decode(entry)
            placed = bound(pod, str(node), self._clock.now())
            if placed is None:
                text = f'pod {target.name} is being deleted or is already assigned to node "{pod["spec"].get("nodeName", "")}"'
                raise conflict(target.kind, target.name, text)
            try:
                await self._storing.replace(request, target, placed, entry)
            except Conflict:
                continue
            return Response(
                201,
                show({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}) + b"\n",
            )
        raise conflict(target.kind, target.name)

    def _token(self, request: Request, target: Target) -> Response:
        review = fitting(read_body(request), _TOKEN_REQUEST)
        account = self._found(target)
        spec = review.get("spec") or {}
        seconds = spec.get("expirationSeconds") or DEFAULT_TOKEN_S
        if not isinstance(seconds, int) or not SHORTEST_S <= seconds <= LONGEST_S:
            cause = invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
            raise invalid_object(_TOKEN_REQUEST, "", [cause])
        reference = spec.get("boundObjectRef")
        subject = self._bound_to(target, reference) if reference else None
        token, end = self._tokens.issue(account, list(spec.get("audiences") or ()), seconds, subject)
        review = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "creationTimestamp": timestamp(self._clock.now()),
            },
            "spec": {**spec, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": timestamp(end)},
        }
        return Response(201, show(review) + b"\n")

    def _bound_to(self, target: Target, reference: Object) -> Object:
        """What a token ends with: a pod, a Secret or a node. StatusError."""
        version, name = str(reference.get("apiVersion") or "v1"), str(reference.get("name"))
        kind = self._catalog.by_kind(version, str(reference.get("kind")))
        if kind is None or kind.storage not in ("core/pods", "core/secrets", "core/nodes"):
            raise bad_request(
                f"cannot bind token to object of type {'' if '/' in version else '/'}{version}, Kind={reference.get('kind')}"
            )
        subject = self._objects.get(kind.storage, target.namespace if kind.namespaced else "", name)
        if subject is None:
            raise not_found(kind, name)
        if kind.storage == "core/pods" and subject["spec"].get("serviceAccountName") != target.name:
            text = f'cannot bind token for serviceaccount "{target.name}" to pod running with different serviceaccount name.'
            raise bad_request(text)
        if reference.get("uid") not in (None, "", subject["metadata"]["uid"]):
            text = (
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise StatusError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {kind.kind} "{name}": {text}',
                {"name": name, "kind": kind.kind},
            )
        return subject

    def _found(self, target: Target) -> Object:
        obj = self._objects.get(target.kind.storage, target.namespace, target.name)
        if obj is None:
            raise not_found(target.kind, target.name)
        return obj


def _is_unguarded(pod: Object, budget: Object) -> bool:
    """Whether a pod that is not ready may go whatever its budget allows (unhealthyPodEvictionPolicy)."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    if any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions):
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    wanted = int(status.get("desiredHealthy") or 0)
    return int(status.get("currentHealthy") or 0) >= wanted > 0


_SCALE = Kind("autoscaling", "v1", "Scale", "scales", "scale", namespaced=True)
_BINDING = Kind("", "v1", "Binding", "bindings", "binding", namespaced=True)
_EVICTION = Kind("policy", "v1", "Eviction", "evictions", "eviction", namespaced=True)
_TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", "tokenrequest", namespaced=True)


def _at(obj: Object, path: str) -> Any:
    """`.spec.replicas`; None where nothing is."""
    value: Any = obj
    for part in filter(None, path.split(".")):
        value = value.get(part) if isinstance(value, dict) else None
    return value if path else None


def _with(obj: Object, path: str, value: Any) -> Object:
    first, _, rest = path.strip(".").partition(".")
    return {**obj, first: _with(obj.get(first) or {}, rest, value) if rest else value}


def _selector_text(selector: Object) -> str:
    """A LabelSelector, or a map of labels, as text: `app=web,tier in (a,b)`."""
    if not {"matchLabels", "matchExpressions"} & set(selector):
        selector = {"matchLabels": selector}
    labels = [(name, f"{name}={value}") for name, value in (selector.get("matchLabels") or {}).items()]
    said = [(one.get("key", ""), _expression_text(one)) for one in selector.get("matchExpressions") or ()]
    return ",".join(text for _, text in sorted(labels + said))


def _expression_text(one: Object) -> str:
    key, values = one.get("key", ""), ",".join(sorted(one.get("values") or ()))
    texts: dict[str, str] = {"Exists": key, "DoesNotExist": f"!{key}", "In": f"{key} in ({values})"}
    return texts.get(str(one.get("operator")), f"{key} notin ({values})")
