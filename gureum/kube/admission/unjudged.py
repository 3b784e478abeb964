"""What is kept though nobody judges by it: rules in CEL, patterns beyond our engine, webhooks of conversion. Whoever writes it is told so.

A warning names each place. Nothing is refused that the original takes, and nobody believes in a rule that does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.kinds.custom.patterns import unjudged

Object = dict[str, Any]
DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
GROUP = "admissionregistration.k8s.io"
WEBHOOKS = frozenset({f"{GROUP}/mutatingwebhookconfigurations", f"{GROUP}/validatingwebhookconfigurations"})
RULES = "x-kubernetes-validations"
LIMIT_DEPTH, LIMIT_WARNINGS = 64, 10
NO_CEL = "kept, and not evaluated: CEL is not built"


async def _warn(attributes: Attributes) -> list[Extra] | None:
    spec = attributes.obj.get("spec") or {}
    if attributes.storage == DEFINITIONS:
        found = _of_definition(spec)
    else:
        found = _of_webhooks(attributes.obj)
    warnings = [text for text, _ in zip(found, range(LIMIT_WARNINGS), strict=False)]
    attributes.request.warn(warnings)
    return None


unjudged_rules = Plugin(_warn, frozenset({DEFINITIONS}) | WEBHOOKS, frozenset({"CREATE", "UPDATE"}))


def _of_webhooks(configuration: Object) -> Iterator[str]:
    for number, hook in enumerate(configuration.get("webhooks") or ()):
        if hook.get("matchConditions"):
            fails = "so a write that it means goes on without it"
            if hook.get("failurePolicy", "Fail") == "Fail":
                fails = "so each write that it means fails"
            yield f"webhooks[{number}].matchConditions: {NO_CEL}, {fails}"


def _of_definition(spec: Object) -> Iterator[str]:
    if (spec.get("conversion") or {}).get("strategy") == "Webhook":
        yield "spec.conversion: kept, and not asked: objects are the same in all versions but for their apiVersion"
    for number, version in enumerate(spec.get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        yield from _of_schema(schema, f"spec.versions[{number}].schema.openAPIV3Schema", 0)


def _of_schema(node: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(node, dict) or depth > LIMIT_DEPTH:
        return
    if node.get(RULES):
        yield f"{path}.{RULES}: {NO_CEL}"
    if node.get("pattern") and unjudged(node["pattern"]):
        yield f"{path}.pattern: kept, and not evaluated: it is more than can be matched in bounded time here"
    for name, child in (node.get("properties") or {}).items():
        yield from _of_schema(child, f"{path}.properties[{name}]", depth + 1)
    for name in ("items", "additionalProperties", "not"):
        yield from _of_schema(node.get(name), f"{path}.{name}", depth + 1)
    for name in ("allOf", "anyOf", "oneOf"):
        for number, child in enumerate(node.get(name) or ()):
            yield from _of_schema(child, f"{path}.{name}[{number}]", depth + 1)
