"""ReplicaSets and ReplicationControllers: as many pods as wished.

Source: Kubernetes, "ReplicaSet"; k8s.io/kubernetes/pkg/controller/replicaset.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.events import record
from gureum.kube.controllers.index import Facts
from gureum.kube.controllers.loop import Controller, its_controller, itself
from gureum.kube.controllers.workloads.pods import PODS, available_after, claimed, deletion_rank, pod_of
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.selectors import Selector, from_labels, from_object
from gureum.kube.times import timestamp

SETS, CONTROLLERS = "apps/replicasets", "core/replicationcontrollers"
BATCH = 500
LONGEST_EVENTS = 20


def _reconciler(storage: str, manager: str) -> Any:
    async def reconcile(client: Client, key: str) -> float | None:
        namespace, _, name = key.partition("/")
        owner = client.get(storage, namespace, name)
        if owner is None:
            return None
        selector = _selector(owner)
        active = _active(client, await claimed(client, owner, PODS, selector, manager))
        failure = None
        if not owner["metadata"].get("deletionTimestamp") and len(active) != int(owner["spec"].get("replicas", 1)):
            failure = await _scale(client, owner, active, manager)
            active = _active(client, client.index.dependents(owner["metadata"]["uid"], PODS))
        status, again = _status(client, owner, list(active.values()), failure)
        await client.set_status(storage, namespace, name, status, manager, owner["metadata"]["uid"])
        if failure is not None:
            raise failure
        return again

    return reconcile


def _active(client: Client, keys: list[str]) -> dict[str, Facts]:
    """The index knows enough of pods: a set may have thousands, and looks at all with every change of one."""
    facts = client.index.facts
    return {key: known for key in keys if (known := facts.get(key)) is not None and known.active}


def _selector(owner: Object) -> Selector:
    selector = (owner.get("spec") or {}).get("selector")
    if owner["kind"] == "ReplicationController":
        return from_labels(selector)
    return from_object(selector) or ()


async def _scale(client: Client, owner: Object, active: dict[str, Facts], manager: str) -> StatusError | None:
    """Makes or ends pods. What kept some from being made, if anything did."""
    wished = int(owner["spec"].get("replicas", 1))
    missing = min(wished - len(active), BATCH)
    if missing > 0:
        made = await asyncio.gather(
            *(client.create(PODS, pod_of(owner["spec"]["template"], owner), manager) for _ in range(missing)),
            return_exceptions=True,
        )
        failures = [one for one in made if isinstance(one, BaseException)]
        pods = [one for one in made if isinstance(one, dict)]
        for pod in pods[:LONGEST_EVENTS]:
            record(client, owner, "Normal", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}", manager)
        for failure in failures:
            if not isinstance(failure, StatusError):
                raise failure
        if failures:
            assert isinstance(failures[0], StatusError)
            record(client, owner, "Warning", "FailedCreate", f"Error creating: {failures[0].message}", manager)
            return failures[0]
    elif missing < 0:
        surplus = sorted(client.many(list(active)), key=deletion_rank)[: len(active) - wished]
        await asyncio.gather(
            *(
                client.delete(
                    PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], manager, uid=pod["metadata"]["uid"]
                )
                for pod in surplus
            )
        )
        for pod in surplus[:LONGEST_EVENTS]:
            record(client, owner, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}", manager)
    return None


def _status(
    client: Client, owner: Object, active: list[Facts], failure: StatusError | None
) -> tuple[Object, float | None]:
    spec = owner["spec"]
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    min_ready_s = int(spec.get("minReadySeconds") or 0)
    now = client.clock.now()
    ready = [pod.ready_since for pod in active if pod.ready_since is not None]
    waits = [available_after(since, min_ready_s, now) for since in ready]
    status: Object = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(labels.items() <= pod.labels.items() for pod in active),
        "readyReplicas": len(ready),
        "availableReplicas": sum(wait == 0 for wait in waits),
        "observedGeneration": owner["metadata"].get("generation", 1),
    }
    status = {name: value for name, value in status.items() if value or name in ("replicas", "observedGeneration")}
    if failure is not None:
        before = next(
            (one for one in (owner.get("status") or {}).get("conditions") or () if one["type"] == "ReplicaFailure"),
            None,
        )
        # It stays as it first was: each failure has other words (of another name), and a status that changes wakes who wrote it.
        status["conditions"] = [
            before
            or {
                "type": "ReplicaFailure",
                "status": "True",
                "lastTransitionTime": timestamp(now),
                "reason": "FailedCreate",
                "message": failure.message,
            }
        ]
    later = [wait for wait in waits if wait]
    return status, min(later) if later else None


REPLICA_SETS = Controller(
    "replicaset",
    {SETS: itself, PODS: its_controller("ReplicaSet")},
    _reconciler(SETS, "replicaset-controller"),
)
REPLICATION_CONTROLLERS = Controller(
    "replicationcontroller",
    {CONTROLLERS: itself, PODS: its_controller("ReplicationController")},
    _reconciler(CONTROLLERS, "replication-controller"),
)
