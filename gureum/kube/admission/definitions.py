"""CustomResourceDefinitions with rules that nobody judges by, or webhooks that nobody asks: their writer is told so."""

from __future__ import annotations

from typing import Any

from gureum.kube.admission import Attributes, Extra, Plugin

DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
RULES = "x-kubernetes-validations"
LIMIT_DEPTH, LIMIT_WARNINGS = 64, 10


async def _warn(attributes: Attributes) -> list[Extra] | None:
    found: list[str] = []
    for number, version in enumerate((attributes.obj.get("spec") or {}).get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        _look(schema, f"spec.versions[{number}].schema.openAPIV3Schema", found, 0)
    warnings = []
    if ((attributes.obj.get("spec") or {}).get("conversion") or {}).get("strategy") == "Webhook":
        warnings = [
            "spec.conversion: kept, and not asked: objects are the same in all versions but for their apiVersion"
        ]
    warnings += [f"{path}.{RULES}: kept, and not evaluated: CEL is not built" for path in found[:LIMIT_WARNINGS]]
    attributes.request.warnings = [*attributes.request.warnings, *warnings]
    return None


unjudged_rules = Plugin(_warn, frozenset({DEFINITIONS}), frozenset({"CREATE", "UPDATE"}))


def _look(node: Any, path: str, found: list[str], depth: int) -> None:
    if not isinstance(node, dict) or depth > LIMIT_DEPTH:
        return
    if node.get(RULES):
        found.append(path)
    for name, child in (node.get("properties") or {}).items():
        _look(child, f"{path}.properties[{name}]", found, depth + 1)
    for name in ("items", "additionalProperties"):
        _look(node.get(name), f"{path}.{name}", found, depth + 1)
