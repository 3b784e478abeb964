"""Mutating and validating webhooks: who has one is asked about each write that its rules mean, and may change or refuse it.

Only URLs on loopback are called; a webhook that is a service of the cluster cannot be reached, since no pod runs, and one with match conditions
(CEL) cannot be judged: both fail, and their failure policy says what that means.
Source: Kubernetes, "Dynamic Admission Control".
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import ssl
import uuid
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from gureum.kube.access.reviews import user_info
from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.admission.asking import BadAnswer, post
from gureum.kube.errors import StatusError, bad_request, shown
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.conversion import convert
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Object, Objects, show
from gureum.kube.patches.errors import BadPatch, PatchFailed
from gureum.kube.patches.plain import json_patch
from gureum.kube.selectors import from_object, matches
from gureum.kube.verbs.bodies import Misfit, Shaper, read_body
from gureum.kube.verbs.options import dry_run

GROUP = "admissionregistration.k8s.io"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LONGEST_S = 30
_SAFE = "%/:@!$&'()*+,;=~"


class Failed(Exception):
    """The webhook could not be asked, or its answer makes no sense."""


def webhooks(objects: Objects, catalog: Catalog, *, mutating: bool) -> Plugin:
    storage = f"{GROUP}/{'mutating' if mutating else 'validating'}webhookconfigurations"

    async def admit(attributes: Attributes) -> list[Extra] | None:
        if attributes.target.kind.group == GROUP:
            return None
        hooks = [
            (hook, f"{configuration['metadata']['name']}/{number}")
            for configuration in objects.all(storage)
            for number, hook in enumerate(configuration.get("webhooks") or ())
        ]
        if mutating:
            await change(attributes, hooks)
        elif hooks:
            await judge(attributes, [hook for hook, _ in hooks])
        return None

    async def change(attributes: Attributes, hooks: list[tuple[Object, str]]) -> None:
        """One after another: each sees what those before it have changed."""
        for hook, place in hooks:
            kind = _meant(objects, catalog, hook, attributes) if _is_due(hook, place, attributes) else None
            if kind is not None:
                await _ask(catalog, hook, attributes, kind, mutating=True)
                if hook.get("reinvocationPolicy") == "IfNeeded":
                    attributes.left = {**attributes.left, place: show(attributes.obj)}

    async def judge(attributes: Attributes, hooks: list[Object]) -> None:
        """All at once; of several refusals the first one's is told."""
        meant = [(hook, _meant(objects, catalog, hook, attributes)) for hook in hooks]
        asked = [_ask(catalog, hook, attributes, kind, mutating=False) for hook, kind in meant if kind is not None]
        for result in await asyncio.gather(*asked, return_exceptions=True):
            if result is not None:
                raise result

    return Plugin(admit, parts=True, again=mutating)


def _is_due(hook: Object, place: str, attributes: Attributes) -> bool:
    """In the second round only who wants it is asked again, if others have changed the object since."""
    if attributes.asked is None:
        return True
    left = attributes.asked.get(place)
    return hook.get("reinvocationPolicy") == "IfNeeded" and left is not None and left != show(attributes.obj)


def _meant(objects: Objects, catalog: Catalog, hook: Object, attributes: Attributes) -> Kind | None:
    """The kind as which the webhook wants the object: the request's own, else (matchPolicy Equivalent) another version of it."""
    kind = attributes.target.kind
    kinds = [kind] if hook.get("matchPolicy") == "Exact" else catalog.versions_of(kind)
    rules = hook.get("rules") or ()
    found = next((one for one in kinds if any(_rule_means(rule, attributes, one) for rule in rules)), None)
    return found if found is not None and _is_selected(objects, hook, attributes) else None


def _is_selected(objects: Objects, hook: Object, attributes: Attributes) -> bool:
    kind = attributes.target.kind
    selector = from_object(hook.get("namespaceSelector")) or ()
    if selector and (kind.namespaced or kind.storage == "core/namespaces"):
        name = attributes.namespace if kind.namespaced else str(attributes.obj["metadata"].get("name", ""))
        namespace = objects.get("core/namespaces", "", name) or attributes.obj
        if not matches(selector, namespace["metadata"].get("labels") or {}):
            return False
    chosen = from_object(hook.get("objectSelector")) or ()
    states = [one for one in (attributes.obj, attributes.old) if one]
    return not chosen or any(matches(chosen, one["metadata"].get("labels") or {}) for one in states)


def _rule_means(rule: Object, attributes: Attributes, kind: Kind) -> bool:
    scope = rule.get("scope", "*")
    if scope != "*" and (scope == "Namespaced") != kind.namespaced:
        return False
    resources = rule.get("resources") or ()
    sub = attributes.subresource
    full = f"{kind.plural}/{sub}" if sub else kind.plural
    named = full in resources or "*/*" in resources or f"{kind.plural}/*" in resources
    named = named or (not sub and "*" in resources) or (bool(sub) and f"*/{sub}" in resources)
    return named and all(
        "*" in (rule.get(name) or ()) or value in (rule.get(name) or ())
        for name, value in (
            ("operations", attributes.operation),
            ("apiGroups", kind.group),
            ("apiVersions", kind.version),
        )
    )


async def _ask(catalog: Catalog, hook: Object, attributes: Attributes, kind: Kind, *, mutating: bool) -> None:
    name = hook.get("name", "")
    if dry_run(attributes.request) and hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
        raise bad_request(f'admission webhook "{name}" does not support dry run')
    try:
        if hook.get("matchConditions"):
            raise Failed("failed to call webhook: match conditions are not built")
        review = _review(attributes, kind, hook)
        response = _response_of(await _call(hook, review), review, mutating=mutating)
    except Failed as failure:
        if hook.get("failurePolicy") == "Ignore":
            return
        text = f'failed calling webhook "{name}": {failure}'
        raise _internal(text, {"causes": [{"message": text}]}) from failure
    warnings = [str(one) for one in response.get("warnings") or ()][:20]
    attributes.request.warn(warnings)
    if not response["allowed"]:
        raise _denied(name, response)
    if mutating and response.get("patch"):
        _change(catalog, attributes, kind, response)


def _response_of(answer: Object, review: Object, *, mutating: bool) -> Object:
    """What was answered to the review; Failed when it is no answer to it."""
    version, uid = review["apiVersion"], review["request"]["uid"]
    response = answer.get("response")
    start = "received invalid webhook response: "
    if (answer.get("apiVersion"), answer.get("kind")) != (version, "AdmissionReview") and version.endswith("/v1"):
        got = f"{answer.get('apiVersion') or ''}, Kind={answer.get('kind') or ''}"
        raise Failed(f"{start}expected webhook response of {version}, Kind=AdmissionReview, got {got}")
    if not isinstance(response, dict) or not isinstance(response.get("allowed", False), bool):
        raise Failed(f"{start}webhook response was absent")
    if response.get("uid") != uid and version.endswith("/v1"):  # it is the answer to something else
        raise Failed(f"{start}expected response.uid={shown(uid)}, got {shown(response.get('uid', ''))}")
    if mutating and response.get("patch") and version.endswith("/v1") and response.get("patchType") != "JSONPatch":
        if response.get("patchType") is None:
            raise Failed(f"{start}webhook returned response.patch but not response.patchType")
        raise Failed(f"{start}webhook returned invalid response.patchType of {shown(response['patchType'])}")
    return {**response, "allowed": response.get("allowed", False)}


def _denied(name: str, response: Object) -> StatusError:
    status = response.get("status")
    status = status if isinstance(status, dict) else {}
    why = status.get("message") or status.get("reason")
    text = f'admission webhook "{name}" denied the request{f": {why}" if why else " without explanation"}'
    code = status.get("code")
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    return StatusError(code, str(status.get("reason") or ""), text, {})


def _internal(text: str, details: Object) -> StatusError:
    return StatusError(500, "InternalError", f"Internal error occurred: {text}", details)


def _review(attributes: Attributes, kind: Kind, hook: Object) -> Object:
    """The question about the object as `kind`, which may be another version of what the request is about."""
    target, asked = attributes.target, attributes.target.kind
    deleting = attributes.operation == "DELETE"
    request: Object = {
        "uid": str(uuid.uuid4()),
        "kind": _kind_words(attributes.part or kind),
        "resource": _resource_words(kind),
        "requestKind": _kind_words(attributes.part or asked),
        "requestResource": _resource_words(asked),
        "name": attributes.obj["metadata"].get("name", target.name),
        "operation": attributes.operation,
        "userInfo": user_info(attributes.request.user),
        "object": None if deleting else _as_kind(attributes, attributes.obj, kind),
        "oldObject": None if attributes.old is None else _as_kind(attributes, attributes.old, kind),
        "dryRun": dry_run(attributes.request),
        "options": _options(attributes),
    }
    if kind.namespaced:
        request["namespace"] = attributes.namespace
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    version = next((one for one in hook.get("admissionReviewVersions") or () if one in ("v1", "v1beta1")), "v1")
    return {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request}


def _as_kind(attributes: Attributes, obj: Object, kind: Kind) -> Object:
    return obj if attributes.part is not None else convert(obj, kind)


def _kind_words(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _resource_words(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "resource": kind.plural}


def _options(attributes: Attributes) -> Object:
    """The options of the write, as an object."""
    request = attributes.request
    options: Object = {"kind": f"{attributes.operation.capitalize()}Options", "apiVersion": "meta.k8s.io/v1"}
    if attributes.operation == "DELETE":
        with contextlib.suppress(StatusError):  # of evictions and such
            options = {**read_body(request), **options}
        if request.parameter("propagationPolicy"):
            options.setdefault("propagationPolicy", request.parameter("propagationPolicy"))
    else:
        said = {name: request.parameter(name) for name in ("fieldManager", "fieldValidation")}
        options |= {name: value for name, value in said.items() if value}
    if dry_run(request):
        options["dryRun"] = ["All"]
    return options


def _change(catalog: Catalog, attributes: Attributes, kind: Kind, response: Object) -> None:
    """Takes the patch over. StatusError when it cannot be applied, whatever the failure policy says."""
    before, shape = _as_kind(attributes, attributes.obj, kind), attributes.part or kind
    try:
        operations = msgspec.json.decode(base64.b64decode(response["patch"], validate=True))
        changed = json_patch(before, operations)
        schema = catalog.schema(shape)
        if schema is not None:
            changed = Shaper(shape).shape(changed, schema)
    except (binascii.Error, msgspec.DecodeError, BadPatch, PatchFailed, TypeError, Misfit) as error:
        raise _internal(f"its patch cannot be applied: {error}", {}) from error
    if not isinstance(changed.get("metadata"), dict) or changed.get("kind") != before["kind"]:
        raise _internal("the patch of a webhook takes the object's metadata or kind away", {})
    for name in ("name", "namespace"):
        if changed["metadata"].get(name) != before["metadata"].get(name):
            raise bad_request(f"the {name} of the provided object does not match the {name} sent on the request")
    changed = {**changed, "apiVersion": shape.api_version}
    if attributes.part is None:
        changed = convert(changed, catalog.storage_version(kind))
        catalog.rules(kind).default(changed)
    attributes.changed = attributes.changed or changed != attributes.obj
    attributes.obj = changed


@lru_cache(maxsize=64)
def _context(bundle: str) -> ssl.SSLContext:
    """What trusts the authorities of a bundle (PEM), or those of this machine."""
    return ssl.create_default_context(cadata=bundle or None)


async def _call(hook: Object, review: Object) -> Object:
    config = hook.get("clientConfig") or {}
    url = config.get("url")
    if not url:
        service = config.get("service") or {}
        raise Failed(
            f"failed to call webhook: service {service.get('namespace')}/{service.get('name')} has no endpoints: pods do not run yet"
        )
    parts = urlsplit(str(url))
    if parts.scheme != "https" or parts.hostname not in LOOPBACK:
        raise Failed("failed to call webhook: only https URLs on loopback are called")
    limit_s = min(int(hook.get("timeoutSeconds") or 10), LONGEST_S)
    try:
        context = _context(base64.b64decode(config.get("caBundle") or "").decode())
        path = quote(parts.path or "/", safe=_SAFE)
        async with asyncio.timeout(limit_s):
            answer: Any = msgspec.json.decode(
                await post(parts.hostname, parts.port or 443, path, msgspec.json.encode(review), context)
            )
    except TimeoutError as error:
        raise Failed("failed to call webhook: context deadline exceeded") from error
    except (OSError, BadAnswer, ValueError) as error:
        raise Failed(f"failed to call webhook: {error or type(error).__name__}") from error
    return answer if isinstance(answer, dict) else {}
