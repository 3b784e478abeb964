"""HorizontalPodAutoscalers in their two versions: autoscaling/v1 knows CPU only, and carries the rest of v2 as JSON in annotations.

Source: Kubernetes, pkg/apis/autoscaling/v1/conversion.go and autoscaling/v1's MetricSpec.
"""

from __future__ import annotations

from typing import Any

import msgspec

Object = dict[str, Any]
_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT, CONDITIONS, BEHAVIOR = (
    f"{_PREFIX}{name}" for name in ("metrics", "current-metrics", "conditions", "behavior")
)
ANNOTATIONS = (METRICS, CURRENT, CONDITIONS, BEHAVIOR)
CPU_SHARE = "targetCPUUtilizationPercentage"
CURRENT_CPU_SHARE = "currentCPUUtilizationPercentage"
_MEMBERS = {"Pods": "pods", "Object": "object", "External": "external", "Resource": "resource", "ContainerResource": "containerResource"}  # fmt: skip


def to_v1(obj: Object) -> Object:
    """The members of a v2 object but its head, as v1 has them."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    kept: Object = {}
    metrics = spec.pop("metrics", None) or []
    cpu = next((one for one in metrics if _is_cpu(one, "target")), None)
    if cpu is not None:
        spec[CPU_SHARE] = cpu["resource"]["target"]["averageUtilization"]
    kept[METRICS] = [_old_metric(one, "target") for one in metrics if one is not cpu]
    kept[BEHAVIOR] = spec.pop("behavior", None)
    current = status.pop("currentMetrics", None) or []
    cpu = next((one for one in current if _is_cpu(one, "current")), None)
    if cpu is not None:
        status[CURRENT_CPU_SHARE] = cpu["resource"]["current"]["averageUtilization"]
    kept[CURRENT] = [_old_metric(one, "current") for one in current if one is not cpu]
    kept[CONDITIONS] = status.pop("conditions", None)
    annotations = dict(obj["metadata"].get("annotations") or {})
    annotations |= {name: msgspec.json.encode(value).decode() for name, value in kept.items() if value}
    metadata = obj["metadata"] | ({"annotations": annotations} if annotations else {})
    return {"metadata": metadata, "spec": spec} | ({"status": status} if "status" in obj else {})


def to_v2(obj: Object) -> Object:
    """The members of a v1 object but its head, as v2 has them. What the annotations hold and is not understood is left out."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict(obj["metadata"].get("annotations") or {})
    kept = {name: _read(annotations.pop(name, "")) for name in ANNOTATIONS}
    metrics = [_new_metric(one, "target") for one in _list(kept[METRICS])]
    share = spec.pop(CPU_SHARE, None)
    if share is not None:
        metrics.insert(0, _cpu("target", {"type": "Utilization", "averageUtilization": share}))
    if metrics:
        spec["metrics"] = metrics
    if isinstance(kept[BEHAVIOR], dict):
        spec["behavior"] = kept[BEHAVIOR]
    current = [_new_metric(one, "current") for one in _list(kept[CURRENT])]
    share = status.pop(CURRENT_CPU_SHARE, None)
    if share is not None:
        current.insert(0, _cpu("current", {"averageUtilization": share}))
    if current:
        status["currentMetrics"] = current
    if _list(kept[CONDITIONS]):
        status["conditions"] = kept[CONDITIONS]
    metadata = {name: value for name, value in obj["metadata"].items() if name != "annotations"}
    metadata |= {"annotations": annotations} if annotations else {}
    return {"metadata": metadata, "spec": spec} | ({"status": status} if "status" in obj else {})


def _is_cpu(metric: Object, member: str) -> bool:
    found = metric.get("resource") or {}
    share = (found.get(member) or {}).get("averageUtilization")
    return metric.get("type") == "Resource" and found.get("name") == "cpu" and share is not None


def _cpu(member: str, value: Object) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", member: value}}


def _words(member: str, kind: str) -> dict[str, str]:
    """Names of a value of v2 in v1. `member`: target or current."""
    average = "averageValue" if kind == "Object" else f"{member}AverageValue"
    return {"averageUtilization": f"{member}AverageUtilization", "averageValue": average, "value": f"{member}Value"}


def _old_metric(one: Object, member: str) -> Object:
    kind = str(one.get("type"))
    name = _MEMBERS.get(kind, "")
    source = dict(one.get(name) or {})
    value, metric = source.pop(member, None) or {}, source.pop("metric", None)
    source |= {old: value[new] for new, old in _words(member, kind).items() if new in value}
    if metric:
        source["metricName"] = metric.get("name")
        if metric.get("selector"):
            source["metricSelector" if kind == "External" else "selector"] = metric["selector"]
    if kind == "Object":
        source["target"] = source.pop("describedObject", None)
    return {"type": kind, name: source}


def _new_metric(one: Any, member: str) -> Object:
    kind = str(one.get("type")) if isinstance(one, dict) else ""
    name = _MEMBERS.get(kind, "")
    source = dict(one.get(name) or {}) if name else {}
    value = {new: source.pop(old) for new, old in _words(member, kind).items() if old in source}
    if member == "target":
        kinds = {"averageUtilization": "Utilization", "averageValue": "AverageValue", "value": "Value"}
        value["type"] = next((kinds[each] for each in kinds if each in value), "")
    if kind == "Object":
        source["describedObject"] = source.pop("target", None)
    if "metricName" in source:
        selector = source.pop("metricSelector", None) or source.pop("selector", None)
        source["metric"] = {"name": source.pop("metricName")} | ({"selector": selector} if selector else {})
    return {"type": kind, name: source | {member: value}} if name else {"type": kind}


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
