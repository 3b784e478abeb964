"""HorizontalPodAutoscaler. Source: Kubernetes API reference (autoscaling/v2)."""

from __future__ import annotations

from typing import Any

from gureum.kube.errors import Cause, invalid, required, unsupported
from gureum.kube.kinds.rules import Rules

Object = dict[str, Any]
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
_MEMBERS = {
    "Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object", "External": "external",
}  # fmt: skip
_UP = [
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
]


def _default(one: Object) -> None:
    spec = one.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        spec["metrics"] = [{**CPU, "resource": {**CPU["resource"]}}]  # type: ignore[dict-item]
    behavior = spec.get("behavior")
    if behavior is None:
        return
    for name, policies in (("scaleUp", _UP), ("scaleDown", [_UP[1]])):
        rules = behavior.setdefault(name, {})
        rules.setdefault("selectPolicy", "Max")
        rules.setdefault("policies", [dict(policy) for policy in policies])
        if name == "scaleUp":
            rules.setdefault("stabilizationWindowSeconds", 0)


def _validate(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes: list[Cause] = []
    least, most, target = spec["minReplicas"], spec.get("maxReplicas"), spec.get("scaleTargetRef") or {}
    causes += [required(f"spec.scaleTargetRef.{name}") for name in ("kind", "name") if not target.get(name)]
    if least < 1:
        causes.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if not isinstance(most, int) or most < 1:
        causes.append(invalid("spec.maxReplicas", most or 0, "must be greater than 0"))
    elif most < least:
        causes.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    for number, metric in enumerate(spec["metrics"]):
        causes += _metric(metric, f"spec.metrics[{number}]")
    return causes


def _metric(metric: Object, at: str) -> list[Cause]:
    member = _MEMBERS.get(metric.get("type", ""))
    if member is None:
        return [unsupported(f"{at}.type", metric.get("type", ""), _MEMBERS)]
    found = metric.get(member)
    if found is None:
        return [required(f"{at}.{member}", "must populate information for the given metric source")]
    target = found.get("target") or {}
    if target.get("type") not in ("Utilization", "Value", "AverageValue"):
        return [
            invalid(
                f"{at}.{member}.target.type",
                target.get("type", ""),
                "must be either Utilization, Value, or AverageValue",
            )
        ]
    share = target.get("averageUtilization")
    if share is not None and share < 1:
        return [invalid(f"{at}.{member}.target.averageUtilization", share, "must be greater than 0")]
    return []


RULES = {"autoscaling/horizontalpodautoscalers": Rules(default=_default, validate=_validate)}
