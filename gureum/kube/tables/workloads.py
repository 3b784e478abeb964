"""Pods and what makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gureum.kube.tables.column import (
    NONE,
    Object,
    age,
    at,
    condition,
    containers,
    human,
    labels,
    name_of,
    parsed,
    selector,
    since,
    table,
)

NODE_LOST = "NodeLost"


@table("Name,Ready,Status,Restarts,Age", "IP,Node,Nominated Node,Readiness Gates")
def pods(pod: Object, now: datetime) -> list[Any]:
    statuses = at(pod, "status", "containerStatuses", default=[])
    total = len(at(pod, "spec", "containers", default=[]))
    ready = sum(bool(one.get("ready")) and "running" in one.get("state", {}) for one in statuses)
    sidecars = _sidecars(pod)
    total += len(sidecars)
    init = at(pod, "status", "initContainerStatuses", default=[])
    ready += sum(
        bool(one.get("ready")) and "running" in one.get("state", {}) for one in init if one.get("name") in sidecars
    )
    gates = at(pod, "spec", "readinessGates", default=[])
    passed = sum(at(condition(pod, gate.get("conditionType", "")), "status") == "True" for gate in gates)
    return [
        name_of(pod),
        f"{ready}/{total}",
        _pod_status(pod),
        _restarts(pod, now),
        age(pod, now),
        at(pod, "status", "podIPs", 0, "ip") or at(pod, "status", "podIP") or NONE,
        at(pod, "spec", "nodeName") or NONE,
        at(pod, "status", "nominatedNodeName") or NONE,
        f"{passed}/{len(gates)}" if gates else NONE,
    ]


def _sidecars(pod: Object) -> set[str]:
    """Init containers that go on beside the others."""
    found = at(pod, "spec", "initContainers", default=[])
    return {one["name"] for one in found if one.get("restartPolicy") == "Always"}


def _pod_status(pod: Object) -> str:
    reason = at(pod, "status", "reason") or at(pod, "status", "phase", default="")
    scheduled = condition(pod, "PodScheduled")
    if scheduled and scheduled.get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    starting = _init_status(pod)
    if starting is not None:
        reason = starting
    if starting is None or at(condition(pod, "Initialized"), "status") == "True":
        running = False
        for one in reversed(at(pod, "status", "containerStatuses", default=[])):
            state = one.get("state", {})
            if at(state, "waiting", "reason"):
                reason = state["waiting"]["reason"]
            elif "terminated" in state:
                reason = _ended(state["terminated"], "")
            elif one.get("ready") and "running" in state:
                running = True
        if reason == "Completed" and running:
            reason = "Running" if at(condition(pod, "Ready"), "status") == "True" else "NotReady"
    if at(pod, "metadata", "deletionTimestamp"):
        if at(pod, "status", "reason") == NODE_LOST:
            return "Unknown"
        if at(pod, "status", "phase") not in ("Failed", "Succeeded"):
            return "Terminating"
    return str(reason)


def _init_status(pod: Object) -> str | None:
    """What the first init container that is not through is at; None when all are."""
    sidecars = _sidecars(pod)
    total = len(at(pod, "spec", "initContainers", default=[]))
    for number, one in enumerate(at(pod, "status", "initContainerStatuses", default=[])):
        state = one.get("state", {})
        ended = state.get("terminated")
        if ended is not None and not ended.get("exitCode"):
            continue
        if one.get("name") in sidecars and one.get("started"):
            continue
        if ended is not None:
            return _ended(ended, "Init:")
        waiting = at(state, "waiting", "reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{number}/{total}"
    return None


def _ended(terminated: Object, prefix: str) -> str:
    if terminated.get("reason"):
        return prefix + str(terminated["reason"])
    if terminated.get("signal"):
        return f"{prefix}Signal:{terminated['signal']}"
    return f"{prefix}ExitCode:{terminated.get('exitCode', 0)}"


def _restarts(pod: Object, now: datetime) -> str:
    statuses = at(pod, "status", "containerStatuses", default=[])
    init = at(pod, "status", "initContainerStatuses", default=[])
    counted = [*statuses, *(one for one in init if one.get("name") in _sidecars(pod))] if statuses else init
    count = sum(one.get("restartCount", 0) for one in counted)
    moments = [parsed(at(one, "lastState", "terminated", "finishedAt")) for one in counted]
    last = max((one for one in moments if one), default=None)
    return f"{count} ({human(int((now - last).total_seconds()))} ago)" if count and last else str(count)


@table("Name,Containers,Images,Pod Labels")
def pod_templates(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), *containers(at(one, "template", "spec")), labels(at(one, "template", "metadata", "labels"))]


@table("Name,Ready,Up-to-date,Available,Age", "Containers,Images,Selector")
def deployments(one: Object, now: datetime) -> list[Any]:
    status = at(one, "status", default={})
    return [
        name_of(one),
        f"{status.get('readyReplicas', 0)}/{at(one, 'spec', 'replicas', default=0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(one, now),
        *containers(at(one, "spec", "template", "spec")),
        selector(at(one, "spec", "selector")),
    ]


@table("Name,Desired#,Current#,Ready#,Age", "Containers,Images,Selector")
def replica_sets(one: Object, now: datetime) -> list[Any]:
    chosen = at(one, "spec", "selector")
    return [
        name_of(one),
        at(one, "spec", "replicas", default=0),
        at(one, "status", "replicas", default=0),
        at(one, "status", "readyReplicas", default=0),
        age(one, now),
        *containers(at(one, "spec", "template", "spec")),
        labels(chosen) if one.get("kind") == "ReplicationController" else selector(chosen),
    ]


@table("Name,Ready,Age", "Containers,Images")
def stateful_sets(one: Object, now: datetime) -> list[Any]:
    ready = f"{at(one, 'status', 'readyReplicas', default=0)}/{at(one, 'spec', 'replicas', default=0)}"
    return [name_of(one), ready, age(one, now), *containers(at(one, "spec", "template", "spec"))]


@table("Name,Desired#,Current#,Ready#,Up-to-date#,Available#,Node Selector,Age", "Containers,Images,Selector")
def daemon_sets(one: Object, now: datetime) -> list[Any]:
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    return [
        name_of(one),
        *(at(one, "status", name, default=0) for name in names),
        labels(at(one, "spec", "template", "spec", "nodeSelector")),
        age(one, now),
        *containers(at(one, "spec", "template", "spec")),
        selector(at(one, "spec", "selector")),
    ]


@table("Name,Status,Completions,Duration,Age", "Containers,Images,Selector")
def jobs(one: Object, now: datetime) -> list[Any]:
    succeeded = at(one, "status", "succeeded", default=0)
    wanted, parallelism = at(one, "spec", "completions"), at(one, "spec", "parallelism", default=0)
    if wanted is not None:
        completions = f"{succeeded}/{wanted}"
    else:
        completions = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    started, ended = parsed(at(one, "status", "startTime")), parsed(at(one, "status", "completionTime"))
    duration = human(int(((ended or now) - started).total_seconds())) if started else ""
    return [
        name_of(one),
        _job_status(one),
        completions,
        duration,
        age(one, now),
        *containers(at(one, "spec", "template", "spec")),
        selector(at(one, "spec", "selector")),
    ]


def _job_status(one: Object) -> str:
    for type_, text in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if at(condition(one, type_), "status") == "True":
            return text
    return "Terminating" if at(one, "metadata", "deletionTimestamp") else "Running"


@table("Name,Schedule,Timezone,Suspend,Active#,Last Schedule,Age", "Containers,Images,Selector")
def cron_jobs(one: Object, now: datetime) -> list[Any]:
    last = at(one, "status", "lastScheduleTime")
    template = at(one, "spec", "jobTemplate", "spec", default={})
    return [
        name_of(one),
        at(one, "spec", "schedule", default=""),
        at(one, "spec", "timeZone") or NONE,
        str(bool(at(one, "spec", "suspend"))),
        len(at(one, "status", "active", default=[])),
        since(last, now) if last else NONE,
        age(one, now),
        *containers(at(template, "template", "spec")),
        selector(template.get("selector")),
    ]


@table("Name,Controller,Revision#,Age")
def controller_revisions(one: Object, now: datetime) -> list[Any]:
    owners = at(one, "metadata", "ownerReferences", default=[])
    owner = next((ref for ref in owners if ref.get("controller")), None)
    if owner is None:
        shown = NONE
    else:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = owner.get("kind", "").lower()
        shown = f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return [name_of(one), shown, one.get("revision", 0), age(one, now)]


@table("Name,Min Available,Max Unavailable,Allowed Disruptions#,Age")
def disruption_budgets(one: Object, now: datetime) -> list[Any]:
    least, most = at(one, "spec", "minAvailable"), at(one, "spec", "maxUnavailable")
    return [
        name_of(one),
        "N/A" if least is None else str(least),
        "N/A" if most is None else str(most),
        at(one, "status", "disruptionsAllowed", default=0),
        age(one, now),
    ]


@table("Name,Reference,Targets,MinPods,MaxPods,Replicas#,Age")
def autoscalers(one: Object, now: datetime) -> list[Any]:
    target = at(one, "spec", "scaleTargetRef", default={})
    least = at(one, "spec", "minReplicas")
    return [
        name_of(one),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(one),
        "<unset>" if least is None else str(least),
        str(at(one, "spec", "maxReplicas", default=0)),
        at(one, "status", "currentReplicas", default=0),
        age(one, now),
    ]


def _targets(scaler: Object) -> str:
    specs = at(scaler, "spec", "metrics", default=[])
    seen = at(scaler, "status", "currentMetrics", default=[])
    shown = [_target(one, seen[number] if number < len(seen) else {}) for number, one in enumerate(specs)]
    more = f" + {len(shown) - 2} more..." if len(shown) > 2 else ""
    return ", ".join(shown[:2]) + more if shown else NONE


def _target(spec: Object, seen: Object) -> str:
    names = {
        "Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object", "External": "external",
    }  # fmt: skip
    member = names.get(spec.get("type", ""), "")
    wished, current = at(spec, member, "target", default={}), at(seen, member, "current", default={})
    name = at(spec, member, "name")
    prefix = f"{name}: " if member in ("resource", "containerResource") and name else ""
    if wished.get("averageUtilization") is not None:
        now = current.get("averageUtilization")
        return f"{prefix}{'<unknown>' if now is None else f'{now}%'}/{wished['averageUtilization']}%"
    kind = "averageValue" if wished.get("averageValue") is not None else "value"
    suffix = " (avg)" if kind == "averageValue" and member in ("object", "external") else ""
    return f"{prefix}{current.get(kind, '<unknown>')}/{wished.get(kind, '<auto>')}{suffix}"
