"""What a deployment says of itself: how far it has come, and its conditions. Pure.

Source: Kubernetes, "Deployment status"; k8s.io/kubernetes/pkg/controller/deployment (progress.go, sync.go).
"""

from __future__ import annotations

import msgspec

from gureum.kube.controllers.workloads.pods import condition
from gureum.kube.controllers.workloads.replica_set_facts import available_of, replicas_of, status_number
from gureum.kube.objects import Object
from gureum.kube.times import seconds_of, timestamp


class Seen(msgspec.Struct, frozen=True):
    """One look at a deployment. `new`: the set of its template, if there is one; `unavailable`: how many pods may be away."""

    obj: Object
    sets: list[Object]
    new: Object | None
    wished: int
    unavailable: int
    paused: bool


def is_complete(seen: Seen) -> bool:
    """Whether all pods are of the newest template, and there are as many as wished."""
    new = seen.new
    return new is not None and all(
        value == seen.wished
        for value in (
            replicas_of(new),
            status_number(new, "replicas"),
            available_of(new),
            sum(status_number(one, "replicas") for one in seen.sets),
        )
    )


def status_of(seen: Seen, now: float) -> tuple[Object, float | None]:
    """The status, and after how many seconds it is to be looked at again. `now`: seconds since the epoch."""
    known: Object = seen.obj.get("status") or {}
    total = sum(status_number(one, "replicas") for one in seen.sets)
    available = sum(available_of(one) for one in seen.sets)
    status: Object = {
        "observedGeneration": seen.obj["metadata"].get("generation", 1),
        "replicas": total,
        "updatedReplicas": status_number(seen.new, "replicas") if seen.new else 0,
        "readyReplicas": sum(status_number(one, "readyReplicas") for one in seen.sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, max(total, seen.wished) - available),
    }
    status = {name: value for name, value in status.items() if value}
    if known.get("collisionCount"):
        status["collisionCount"] = known["collisionCount"]
    enough = available >= seen.wished - seen.unavailable
    conditions = [
        _condition(
            seen.obj,
            "Available",
            "True" if enough else "False",
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "Deployment has minimum availability." if enough else "Deployment does not have minimum availability.",
            now,
        )
    ]
    progressing, again = _progressing(seen, status, known, now)
    conditions.append(progressing)
    failures = [found for one in seen.sets if (found := condition(one, "ReplicaFailure")) is not None]
    if failures:
        conditions.append({**failures[0], "lastUpdateTime": failures[0]["lastTransitionTime"]})
    status["conditions"] = conditions
    return status, again


def _progressing(seen: Seen, status: Object, known: Object, now: float) -> tuple[Object, float | None]:
    before = condition(seen.obj, "Progressing")
    if seen.paused:
        return _condition(seen.obj, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now), None
    what = (
        f'ReplicaSet "{seen.new["metadata"]["name"]}"' if seen.new else f'Deployment "{seen.obj["metadata"]["name"]}"'
    )
    if is_complete(seen) and seen.new is not None:
        return _condition(
            seen.obj, "Progressing", "True", "NewReplicaSetAvailable", f"{what} has successfully progressed.", now
        ), None
    made = before is None or before.get("reason") in ("NewReplicaSetAvailable", "DeploymentPaused")
    names = ("updatedReplicas", "readyReplicas", "availableReplicas")
    moved = any(status.get(name, 0) > known.get(name, 0) for name in names) or (
        status.get("replicas", 0) - status.get("updatedReplicas", 0)
        < known.get("replicas", 0) - known.get("updatedReplicas", 0)
    )
    deadline = seen.obj["spec"].get("progressDeadlineSeconds", 600)
    if made or moved or before is None:
        reason = "NewReplicaSetCreated" if made and not moved else "ReplicaSetUpdated"
        text = (
            f"{what} is progressing."
            if reason == "ReplicaSetUpdated"
            else f"Created new replica set {what.partition(' ')[2]}"
        )
        found = _condition(seen.obj, "Progressing", "True", reason, text, now)
        return {**found, "lastUpdateTime": timestamp(now)}, float(deadline)
    waited = now - seconds_of(before.get("lastUpdateTime") or timestamp(now))
    if waited > deadline:
        return _condition(
            seen.obj, "Progressing", "False", "ProgressDeadlineExceeded", f"{what} has timed out progressing.", now
        ), None
    return before, deadline - waited + 1


def _condition(obj: Object, type_: str, status: str, reason: str, message: str, now: float) -> Object:
    """As it was, when nothing is new."""
    before = condition(obj, type_)
    moment = timestamp(now)
    if before is not None and (before["status"], before["reason"]) == (status, reason):
        if before["message"] == message:
            return before
        return {**before, "message": message}
    since = before["lastTransitionTime"] if before is not None and before["status"] == status else moment
    return {
        "type": type_,
        "status": status,
        "lastUpdateTime": moment,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
