"""Mutating and validating webhooks: who has one is asked about each write that its rules mean, and may change or refuse it.

Only URLs on loopback are called; a webhook that is a service of the cluster cannot be reached, since no pod runs, and one with match conditions
(CEL) cannot be judged: both fail, and their failure policy says what that means.
Source: Kubernetes, "Dynamic Admission Control".
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import http.client
import ssl
import uuid
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gureum.kube.access.reviews import user_info
from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.bodies import Shaper
from gureum.kube.errors import StatusError, bad_request, shown
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.conversion import convert
from gureum.kube.objects import Object, Objects
from gureum.kube.patches.errors import BadPatch, PatchFailed
from gureum.kube.patches.plain import json_patch
from gureum.kube.selectors import from_object, matches
from gureum.kube.writing_options import dry_run

GROUP = "admissionregistration.k8s.io"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LIMIT_ANSWER_BYTES = 3 * 1024 * 1024
LONGEST_S = 30


class Failed(Exception):
    """The webhook could not be asked, or its answer makes no sense."""


def webhooks(objects: Objects, catalog: Catalog, *, mutating: bool) -> Plugin:
    storage = f"{GROUP}/{'mutating' if mutating else 'validating'}webhookconfigurations"

    async def admit(attributes: Attributes) -> list[Extra] | None:
        if attributes.target.kind.group == GROUP:
            return None
        for configuration in objects.all(storage):
            for hook in configuration.get("webhooks") or ():
                if _is_meant(objects, hook, attributes):
                    await _ask(catalog, hook, attributes, mutating=mutating)
        return None

    return Plugin(admit, parts=True)


def _is_meant(objects: Objects, hook: Object, attributes: Attributes) -> bool:
    if not any(_rule_means(rule, attributes) for rule in hook.get("rules") or ()):
        return False
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


def _rule_means(rule: Object, attributes: Attributes) -> bool:
    kind = attributes.target.kind
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


async def _ask(catalog: Catalog, hook: Object, attributes: Attributes, *, mutating: bool) -> None:
    name = hook.get("name", "")
    if dry_run(attributes.request) and hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
        raise bad_request(f'admission webhook "{name}" does not support dry run')
    try:
        if hook.get("matchConditions"):
            raise Failed("match conditions are not built")
        review = _review(catalog, attributes)
        response = (await _call(hook, review)).get("response")
        if not isinstance(response, dict) or not isinstance(response.get("allowed"), bool):
            raise Failed("the answer has no response")
        if response.get("uid") != review["request"]["uid"]:  # it is the answer to something else
            raise Failed(
                f"expected response.uid={shown(review['request']['uid'])}, got {shown(response.get('uid', ''))}"
            )
        if response["allowed"] and mutating and response.get("patch"):
            _change(catalog, attributes, response)
    except Failed as failure:
        if hook.get("failurePolicy") == "Ignore":
            return
        text = f'failed calling webhook "{name}": failed to call webhook: {failure}'
        raise StatusError(
            500, "InternalError", f"Internal error occurred: {text}", {"causes": [{"message": text}]}
        ) from failure
    warnings = [str(one) for one in response.get("warnings") or ()][:20]
    attributes.request.warnings = [*attributes.request.warnings, *warnings]
    if not response["allowed"]:
        status = response.get("status") if isinstance(response.get("status"), dict) else {}
        assert isinstance(status, dict)
        why = (
            f": {status.get('message') or status.get('reason')}"
            if status.get("message") or status.get("reason")
            else ""
        )
        text = f'admission webhook "{name}" denied the request{why or " without explanation"}'
        code = status.get("code")
        code = code if isinstance(code, int) and 400 <= code < 600 else 400
        raise StatusError(code, str(status.get("reason") or ""), text, {})


def _review(catalog: Catalog, attributes: Attributes) -> Object:
    target, kind = attributes.target, attributes.target.kind
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    resource = {"group": kind.group, "version": kind.version, "resource": kind.plural}
    deleting = attributes.operation == "DELETE"
    request: Object = {
        "uid": str(uuid.uuid4()),
        "kind": gvk,
        "resource": resource,
        "requestKind": gvk,
        "requestResource": resource,
        "name": attributes.obj["metadata"].get("name", target.name),
        "operation": attributes.operation,
        "userInfo": user_info(attributes.request.user),
        "object": None if deleting else convert(attributes.obj, kind),
        "oldObject": None if attributes.old is None else convert(attributes.old, kind),
        "dryRun": dry_run(attributes.request),
        "options": None,
    }
    if kind.namespaced:
        request["namespace"] = attributes.namespace
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    del catalog
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def _change(catalog: Catalog, attributes: Attributes, response: Object) -> None:
    kind = attributes.target.kind
    try:
        operations = msgspec.json.decode(base64.b64decode(response["patch"], validate=True))
        changed = json_patch(convert(attributes.obj, kind), operations)
        schema = catalog.schema(kind)
        if schema is not None:
            changed = Shaper(kind).shape(changed, schema)
    except (binascii.Error, msgspec.DecodeError, BadPatch, PatchFailed, TypeError, StatusError) as error:
        raise Failed(f"its patch cannot be applied: {error}") from error
    if not isinstance(changed.get("metadata"), dict) or not isinstance(changed["metadata"].get("name"), str):
        raise Failed("its patch takes the object's metadata away")
    changed = convert(changed, catalog.storage_version(kind))
    catalog.rules(kind).default(changed)
    attributes.obj = changed


async def _call(hook: Object, review: Object) -> Object:
    config = hook.get("clientConfig") or {}
    url = config.get("url")
    if not url:
        service = config.get("service") or {}
        raise Failed(f"service {service.get('namespace')}/{service.get('name')} has no endpoints: pods do not run yet")
    parts = urlsplit(str(url))
    if parts.scheme != "https" or parts.hostname not in LOOPBACK:
        raise Failed("only https URLs on loopback are called")
    limit_s = min(int(hook.get("timeoutSeconds") or 10), LONGEST_S)
    try:
        async with asyncio.timeout(limit_s + 1):
            answer: Any = await asyncio.to_thread(
                _post, parts.hostname, parts.port or 443, parts, config, review, limit_s
            )
    except (OSError, http.client.HTTPException, ValueError, TimeoutError) as error:
        raise Failed(str(error) or type(error).__name__) from error
    return answer if isinstance(answer, dict) else {}


def _post(host: str, port: int, parts: Any, config: Object, review: Object, limit_s: int) -> Any:
    """In a thread."""
    bundle = base64.b64decode(config.get("caBundle") or "").decode()
    context = ssl.create_default_context(cadata=bundle or None)
    connection = http.client.HTTPSConnection(host, port, timeout=limit_s, context=context)
    try:
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        connection.request("POST", path, msgspec.json.encode(review), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read(LIMIT_ANSWER_BYTES)
    finally:
        connection.close()
    if response.status != 200:
        raise ValueError(f"status {response.status}")
    return msgspec.json.decode(body)
