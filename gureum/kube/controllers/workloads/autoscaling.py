"""HorizontalPodAutoscalers: within their bounds the target is held; beyond that they say that nobody measures.

The cluster serves no metrics API (`metrics.k8s.io`), so what the original says where none is registered holds for every one of them.
Source: Kubernetes, "Horizontal Pod Autoscaling"; k8s.io/kubernetes/pkg/controller/podautoscaler (conditions, texts).
"""

from __future__ import annotations

from typing import Any

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.events import record
from gureum.kube.controllers.loop import Controller, itself
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Object
from gureum.kube.times import timestamp

SCALERS = "autoscaling/horizontalpodautoscalers"
NAME = "horizontal-pod-autoscaler"
AGAIN_S = 15.0
_NO_METRICS = "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
Condition = tuple[str, str, str, str]
"""Type, status, reason, message."""


async def reconcile(client: Client, key: str) -> float | None:
    namespace, _, name = key.partition("/")
    scaler = client.get(SCALERS, namespace, name)
    if scaler is None or scaler["metadata"].get("deletionTimestamp"):
        return None
    target = scaler["spec"]["scaleTargetRef"]
    kind = client.catalog.by_kind(target.get("apiVersion") or "v1", target["kind"])
    found = client.get(kind.storage, namespace, target["name"]) if kind is not None else None
    if kind is None or found is None or kind.subresource("scale") is None:
        await _tell_no_target(client, scaler, kind)
        return AGAIN_S
    current = replicas_of(kind, found)
    wanted, why = bounded(scaler["spec"], current)
    conditions: list[Condition] = []
    if wanted is not None:
        await client.update(kind.storage, namespace, target["name"], lambda obj: scaled(kind, obj, wanted), NAME)
        record(client, scaler, "Normal", "SuccessfulRescale", f"New size: {wanted}; reason: {why}", NAME)
        text = f"the HPA controller was able to update the target scale to {wanted}"
        conditions.append(("AbleToScale", "True", "SucceededRescale", text))
    else:
        text = "the HPA controller was able to get the target's current scale"
        conditions.append(("AbleToScale", "True", "SucceededGetScale", text))
        if current == 0:
            text = "scaling is disabled since the replica count of the target is zero"
            conditions.append(("ScalingActive", "False", "ScalingDisabled", text))
        else:
            reason, why = unmeasured(scaler["spec"]["metrics"][0], namespace)
            text = f"the HPA was unable to compute the replica count: {why}"
            conditions.append(("ScalingActive", "False", reason, text))
            if _is_news(scaler, conditions[-1]):
                record(client, scaler, "Warning", reason, why, NAME)
    await _tell(client, scaler, conditions, current, current if wanted is None else wanted)
    return AGAIN_S


def bounded(spec: Object, current: int) -> tuple[int | None, str]:
    """What the target must become whatever is measured, and why; None: it is within bounds."""
    least, most = int(spec.get("minReplicas") or 1), int(spec["maxReplicas"])
    if current == 0:
        return None, ""
    if current > most:
        return most, "Current number of replicas above Spec.MaxReplicas"
    if current < least:
        return least, "Current number of replicas below Spec.MinReplicas"
    return None, ""


def unmeasured(metric: Object, namespace: str) -> tuple[str, str]:
    """Why a metric has no value: reason and text."""
    kind = metric["type"]
    if kind == "Resource":
        name, target = metric["resource"]["name"], metric["resource"].get("target") or {}
        what = "utilization" if target.get("averageUtilization") is not None else "usage"
        return (
            "FailedGetResourceMetric",
            f"failed to get {name} {what}: unable to get metrics for resource {name}: {_NO_METRICS}",
        )
    if kind == "ContainerResource":
        name = metric["containerResource"]["name"]
        return (
            "FailedGetContainerResourceMetric",
            f"failed to get {name} utilization: unable to get metrics for resource {name}: {_NO_METRICS}",
        )
    name = (metric.get(kind.lower()) or {}).get("metric", {}).get("name", "")
    api = "external" if kind == "External" else "custom"
    none = f"unable to fetch metrics from {api} metrics API: no {api} metrics API ({api}.metrics.k8s.io) registered"
    what = f"external metric {namespace}/{name}" if kind == "External" else f"metric {name}"
    return f"FailedGet{kind}Metric", f"unable to get {what}: {none}"


def replicas_of(kind: Kind, obj: Object) -> int:
    value: Any = obj
    for part in _path(kind):
        value = (value or {}).get(part)
    return int(value if value is not None else 1)


def scaled(kind: Kind, obj: Object, replicas: int) -> Object | None:
    """The object with so many; None when it has them."""
    return None if replicas_of(kind, obj) == replicas else _with(obj, _path(kind), replicas)


def _path(kind: Kind) -> list[str]:
    if kind.custom is None:
        return ["spec", "replicas"]
    return str(kind.custom.scale_paths["spec"]).strip(".").split(".")


def _with(obj: Object, path: list[str], value: int) -> Object:
    name, *rest = path
    return {**obj, name: _with(obj.get(name) or {}, rest, value) if rest else value}


async def _tell_no_target(client: Client, scaler: Object, kind: Kind | None) -> None:
    target = scaler["spec"]["scaleTargetRef"]
    why = f'{kind.qualified} "{target["name"]}" not found' if kind is not None else ""
    if kind is None:
        group, _, version = str(target.get("apiVersion") or "v1").rpartition("/")
        why = f'no matches for kind "{target["kind"]}" in group "{group}"' if version else ""
    text = f"the HPA controller was unable to get the target's current scale: {why}"
    told = "AbleToScale", "False", "FailedGetScale", text
    if _is_news(scaler, told):
        record(client, scaler, "Warning", "FailedGetScale", why, NAME)
    await _tell(client, scaler, [told], None, 0)


def _is_news(scaler: Object, told: Condition) -> bool:
    known = (scaler.get("status") or {}).get("conditions") or ()
    return not any((one["type"], one["status"], one["reason"], one["message"]) == told for one in known)


async def _tell(client: Client, scaler: Object, told: list[Condition], current: int | None, desired: int) -> None:
    moment = timestamp(client.clock.now())

    def change(obj: Object) -> Object | None:
        status = obj.get("status") or {}
        known = {one["type"]: one for one in status.get("conditions") or ()}
        for type_, state, reason, message in told:
            before = known.get(type_)
            since = before["lastTransitionTime"] if before and before["status"] == state else moment
            known[type_] = {
                "type": type_,
                "status": state,
                "lastTransitionTime": since,
                "reason": reason,
                "message": message,
            }
        after = {**status, "desiredReplicas": desired, "currentMetrics": None, "conditions": list(known.values())}
        if current is not None:
            after["currentReplicas"] = current
        return None if after == status else {**obj, "status": after}

    meta = scaler["metadata"]
    await client.update(SCALERS, meta["namespace"], meta["name"], change, NAME, "status")


CONTROLLER = Controller("autoscaling", {SCALERS: itself}, reconcile)
