"""What controllers ask of pods: is it there, is it ready, which is to go first."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.base.numerals import natural, whole
from gureum.kube.controllers.client import Client, owner_reference
from gureum.kube.controllers.index import PODS
from gureum.kube.objects import Object
from gureum.kube.selectors import Selector, matches
from gureum.kube.times import seconds_of, timestamp

HASH = "pod-template-hash"


def is_active(pod: Object) -> bool:
    return phase(pod) not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def condition(obj: Object, type_: str) -> Object | None:
    return next((one for one in (obj.get("status") or {}).get("conditions") or () if one.get("type") == type_), None)


def with_condition(obj: Object, made: Object) -> Object:
    status = obj.get("status") or {}
    others = [one for one in status.get("conditions") or () if one.get("type") != made["type"]]
    return {**obj, "status": {**status, "conditions": [*others, made]}}


def disruption(reason: str, message: str, now: float) -> Object:
    """The condition that tells why a pod is ended."""
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(now),
        "reason": reason,
        "message": message,
    }


def is_ready(pod: Object) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found.get("status") == "True"


def available_in(pod: Object, min_ready_s: int, now: float) -> float | None:
    """0 when it is available, else the seconds until it will be; None: it is not ready."""
    found = condition(pod, "Ready")
    if found is None or found.get("status") != "True":
        return None
    return available_after(found.get("lastTransitionTime") or "", min_ready_s, now)


def available_after(ready_since: str, min_ready_s: int, now: float) -> float:
    """The seconds until a pod is available that has been ready since then: "" counts as now."""
    if not min_ready_s:
        return 0
    return max(0.0, seconds_of(ready_since) + min_ready_s - now) if ready_since else float(min_ready_s)


def deletion_rank(pod: Object) -> tuple[Any, ...]:
    """Smallest goes first: not placed, pending, not ready, cheap, ready for the shortest time, youngest."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    ready = condition(pod, "Ready")
    cost = (pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    order = {"Pending": 0, "Unknown": 1, "Running": 2}
    return (
        bool(spec.get("nodeName")),
        order.get(str(status.get("phase")), 0),
        is_ready(pod),
        whole(cost) or 0,
        _reversed(ready.get("lastTransitionTime", "") if ready else ""),
        _reversed(pod["metadata"].get("creationTimestamp", "")),
    )


def _reversed(time: str) -> float:
    return -seconds_of(time) if time else 0.0


async def claim(client: Client, owner: Object, storage: str, selector: Selector, manager: str) -> list[Object]:
    """What the owner controls: it takes orphans that its selector chooses, and lets go what it does not choose any more."""
    return client.many(await claimed(client, owner, storage, selector, manager))


async def claimed(client: Client, owner: Object, storage: str, selector: Selector, manager: str) -> list[str]:
    """As `claim`, the keys alone."""
    uid, namespace = owner["metadata"]["uid"], owner["metadata"]["namespace"]
    deleting = bool(owner["metadata"].get("deletionTimestamp"))
    found = []
    for key in client.index.dependents(uid, storage):
        facts = client.index.facts.get(key)
        if facts is None:  # gone while another was let go
            continue
        controller = facts.controller
        if controller is None or controller.uid != uid:
            continue
        if matches(selector, facts.labels) or deleting:
            found.append(key)
        else:
            await _release(client, key, uid, manager)
    if deleting:
        return found
    for key in client.index.orphans(storage, namespace):
        facts = client.index.facts.get(key)
        if facts is None or facts.deleting or not matches(selector, facts.labels) or not selector:
            continue
        if await _adopt(client, key, owner, manager) is not None:
            found.append(key)
    return found


async def _adopt(client: Client, key: str, owner: Object, manager: str) -> Object | None:
    def change(obj: Object) -> Object | None:
        owners = obj["metadata"].get("ownerReferences") or []
        if any(one.get("controller") for one in owners):
            return None
        return {**obj, "metadata": {**obj["metadata"], "ownerReferences": [*owners, owner_reference(owner)]}}

    return await client.update(*client.objects.place(key), change, manager)


async def _release(client: Client, key: str, uid: str, manager: str) -> None:
    def change(obj: Object) -> Object | None:
        left = [one for one in obj["metadata"].get("ownerReferences") or () if one.get("uid") != uid]
        metadata = {**obj["metadata"], "ownerReferences": left}
        if not left:
            del metadata["ownerReferences"]
        return {**obj, "metadata": metadata}

    await client.update(*client.objects.place(key), change, manager)


def copied(value: Any) -> Any:
    """Of its own, down to the leaves."""
    return msgspec.json.decode(msgspec.json.encode(value))


def pod_of(template: Object, owner: Object, name: str = "") -> Object:
    """A pod as the template says, controlled by the owner; named `name`, or after the owner."""
    template = copied(template)
    inner = template.get("metadata") or {}
    metadata: Object = {
        "namespace": owner["metadata"]["namespace"],
        "labels": inner.get("labels") or {},
        "annotations": inner.get("annotations") or {},
        "finalizers": inner.get("finalizers") or [],
        "ownerReferences": [owner_reference(owner)],
    }
    metadata |= {"name": name} if name else {"generateName": f"{owner['metadata']['name']}-"}
    return {"metadata": {key: value for key, value in metadata.items() if value}, "spec": template.get("spec") or {}}


def count(value: Any, total: int, *, up: bool) -> int:
    """A number, or a percentage of the total."""
    if isinstance(value, int):
        return value
    share = natural(value[:-1]) if isinstance(value, str) and value.endswith("%") else None
    if share is None:
        return 0
    return -(-total * share // 100) if up else total * share // 100


__all__ = ["PODS", "claim", "count", "is_active", "is_ready", "phase", "pod_of"]
