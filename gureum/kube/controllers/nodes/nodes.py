"""Life of nodes: one that nobody hears of becomes unknown, is tainted, and its pods go as their tolerations say.

    lease or heartbeat ─► heard of ─┬─ in time: left alone
                                    └─ not: conditions Unknown ─► taints ─► its pods not ready ─► those that do not tolerate it end (evictions)
    node is gone ─► its pods, a while later

While no node at all is ready, nobody is evicted: then it is rather we who hear nothing. Simulated nodes need no sign of life.
Source: Kubernetes, "Nodes", "Taints and Tolerations"; k8s.io/kubernetes/pkg/controller/nodelifecycle and tainteviction 1.34.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gureum.kube.controllers.client import Change, Client
from gureum.kube.controllers.events import record
from gureum.kube.controllers.index import PODS
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.controllers.nodes.simulated_nodes import ANNOTATION as SIMULATED
from gureum.kube.controllers.workloads.pods import condition, disruption, with_condition
from gureum.kube.objects import Object
from gureum.kube.scheduling.filters import is_tolerated
from gureum.kube.times import seconds_of, timestamp

NODES, LEASES = "core/nodes", "coordination.k8s.io/leases"
LEASE_NAMESPACE = "kube-node-lease"
NAME, EVICTOR, COLLECTOR = "node-controller", "taint-eviction-controller", "pod-garbage-collector"
GRACE_S, STARTUP_GRACE_S = 50.0, 60.0
ORPHANS_AFTER_S = 40.0
_PREFIX = "node.kubernetes.io/"
_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
# Condition and its status to the taint that says it.
_TAINTS = {
    ("Ready", "False"): "not-ready",
    ("Ready", "Unknown"): "unreachable",
    ("MemoryPressure", "True"): "memory-pressure",
    ("DiskPressure", "True"): "disk-pressure",
    ("PIDPressure", "True"): "pid-pressure",
    ("NetworkUnavailable", "True"): "network-unavailable",
}
_OURS = {_PREFIX + name for name in (*_TAINTS.values(), "unschedulable")}


class NodeLife:
    """`heard`: when a node last gave a sign of life, by our clock and since we run."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._heard: dict[str, float] = {}
        self._signs: dict[str, str] = {}
        self._ready: dict[str, bool] = {}

    def controller(self) -> Controller:
        wakes = {NODES: self._on_node, LEASES: self._on_lease}
        return Controller("nodes", wakes, self.reconcile, self._initial)

    def _initial(self, client: Client) -> list[str]:
        self._client = client
        return [one["metadata"]["name"] for one in client.objects.all(NODES)]

    def _on_node(self, seen: Seen) -> list[str]:
        name = seen.place.name
        if seen.after is None:
            for known in (self._heard, self._signs, self._ready):
                known.pop(name, None)
        return [name] if self._client is not None else []

    def _on_lease(self, seen: Seen) -> list[str]:
        if self._client is not None and seen.place.namespace == LEASE_NAMESPACE and seen.after is not None:
            self._heard[seen.place.name] = self._client.clock.now()
        return []

    async def reconcile(self, client: Client, name: str) -> float | None:
        node = client.get(NODES, "", name)
        if node is None:
            return await _collect(client, name)
        left = self._hear(client, node)
        if left is not None and left <= 0:
            node = await _tell_unknown(client, node) or node
        ready = condition(node, "Ready")
        is_ready = ready is not None and ready.get("status") == "True"
        was_ready = self._ready.get(name)
        self._ready[name] = is_ready
        if was_ready != is_ready and was_ready is not None:
            # Whether anybody is ready may have changed for all.
            for other in [one for one in self._ready if one != name]:
                await self._taint(client, client.get(NODES, "", other))
        await self._taint(client, node)
        if was_ready and not is_ready:
            record(client, node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady", NAME)
        if ready is not None and not is_ready:
            await _mark_pods(client, name)
        return left if left is not None and left > 0 else None

    def _hear(self, client: Client, node: Object) -> float | None:
        """In how many seconds it counts as silent; None where it needs no sign, or has been told so."""
        meta, now = node["metadata"], client.clock.now()
        if (meta.get("annotations") or {}).get(SIMULATED) == "true":
            return None
        ready = condition(node, "Ready")
        sign = "" if ready is None else f"{ready.get('lastHeartbeatTime')} {ready.get('status')}"
        told = ready is not None and ready.get("status") == "Unknown"
        name = meta["name"]
        if name not in self._heard or (self._signs.get(name) != sign and not told):
            self._heard[name] = now
        self._signs[name] = sign
        grace = STARTUP_GRACE_S if ready is None else GRACE_S
        return None if told else self._heard[name] + grace - now

    async def _taint(self, client: Client, node: Object | None) -> None:
        if node is None:
            return
        evicts = any(self._ready.values())
        now = client.clock.now()

        def change(obj: Object) -> Object | None:
            before = (obj.get("spec") or {}).get("taints") or []
            after = tainted(obj, now, evicts=evicts)
            return None if after == before else {**obj, "spec": {**(obj.get("spec") or {}), "taints": after}}

        await client.update(NODES, "", node["metadata"]["name"], change, NAME)


def tainted(node: Object, now: float, *, evicts: bool) -> list[Object]:
    """The taints that it is to have: others' as they are, and what its conditions say."""
    spec = node.get("spec") or {}
    before = spec.get("taints") or []
    kept = [one for one in before if one.get("key") not in _OURS]
    wanted: list[tuple[str, str]] = []
    for one in (node.get("status") or {}).get("conditions") or ():
        name = _TAINTS.get((one.get("type", ""), one.get("status", "")))
        if name:
            wanted.append((_PREFIX + name, "NoSchedule"))
            if one["type"] == "Ready" and evicts:
                wanted.append((_PREFIX + name, "NoExecute"))
    if spec.get("unschedulable"):
        wanted.append((f"{_PREFIX}unschedulable", "NoSchedule"))
    found = []
    for key, effect in wanted:
        known = next((one for one in before if (one.get("key"), one.get("effect")) == (key, effect)), None)
        found.append(known or {"key": key, "effect": effect, "timeAdded": timestamp(now)})
    ours = [one for one in before if one.get("key") in _OURS]
    same = len(ours) == len(found) and all(one in found for one in ours)
    return before if same else [*kept, *found]


async def _tell_unknown(client: Client, node: Object) -> Object | None:
    moment = timestamp(client.clock.now())

    def change(obj: Object) -> Object | None:
        status = obj.get("status") or {}
        known = {one.get("type"): one for one in status.get("conditions") or ()}
        if (known.get("Ready") or {}).get("status") == "Unknown":
            return None
        for type_ in _CONDITIONS:
            before = known.get(type_)
            never = {"type": type_, "lastHeartbeatTime": obj["metadata"].get("creationTimestamp")}
            known[type_] = {
                **(before or never),
                "status": "Unknown",
                "lastTransitionTime": moment,
                "reason": "NodeStatusUnknown" if before else "NodeStatusNeverUpdated",
                "message": "Kubelet stopped posting node status." if before else "Kubelet never posted node status.",
            }
        return {**obj, "status": {**status, "conditions": list(known.values())}}

    return await client.update(NODES, "", node["metadata"]["name"], change, NAME, "status")


async def _mark_pods(client: Client, node: str) -> None:
    moment = timestamp(client.clock.now())

    def change(pod: Object) -> Object | None:
        ready = condition(pod, "Ready")
        if ready is None or ready.get("status") != "True":
            return None
        return with_condition(pod, {**ready, "status": "False", "lastTransitionTime": moment})

    await asyncio.gather(
        *(client.update(*client.objects.place(key), change, NAME, "status") for key in client.index.on_node(node))
    )


async def _collect(client: Client, node: str) -> float | None:
    """Pods of a node that is gone go a while later: it may come back under its name."""
    waits: list[float] = []
    for key in client.index.on_node(node):
        pod = client.by_key(key)
        if pod is None:
            continue
        place = client.objects.place(key)
        since = (condition(pod, "DisruptionTarget") or {}).get("lastTransitionTime")
        if since is None:
            await client.update(*place, _orphaned(client.clock.now()), COLLECTOR, "status")
            waits.append(ORPHANS_AFTER_S)
            continue
        left = seconds_of(str(since)) + ORPHANS_AFTER_S - client.clock.now()
        if left > 0:
            waits.append(left)
            continue
        await client.delete(PODS, place.namespace, place.name, COLLECTOR, uid=pod["metadata"]["uid"], grace_s=0)
    return min(waits) if waits else None


def _orphaned(now: float) -> Change:
    made = disruption("DeletionByPodGC", "PodGC: node no longer exists", now)
    return lambda pod: with_condition(pod, made)


class Evictions:
    """Pods whose node has taints (NoExecute) that they do not tolerate, or not for as long. `taints`: of the nodes that have some, and
    since when we know, which counts where they do not say."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._taints: dict[str, list[Object]] = {}
        self._since: dict[str, float] = {}

    def controller(self) -> Controller:
        return Controller("evictions", {PODS: self._on_pod, NODES: self._on_node}, self.reconcile, self._initial)

    def _initial(self, client: Client) -> list[str]:
        self._client = client
        return [
            key for node in client.objects.all(NODES) for key in self._learn(client, node["metadata"]["name"], node)
        ]

    def _on_node(self, seen: Seen) -> list[str]:
        client = self._client
        if client is None:
            return []
        return self._learn(client, seen.place.name, client.by_key(seen.event.key) if seen.after is not None else None)

    def _on_pod(self, seen: Seen) -> list[str]:
        return [seen.event.key] if seen.after is not None and seen.after.node in self._taints else []

    def _learn(self, client: Client, name: str, node: Object | None) -> list[str]:
        spec = (node or {}).get("spec") or {}
        taints = [one for one in spec.get("taints") or () if one.get("effect") == "NoExecute"]
        if taints == self._taints.get(name, []):
            return []
        if taints:
            self._taints[name] = taints
            self._since.setdefault(name, client.clock.now())
        else:
            del self._taints[name], self._since[name]
        return client.index.on_node(name)

    async def reconcile(self, client: Client, key: str) -> float | None:
        pod = client.by_key(key)
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            return None
        node = pod["spec"].get("nodeName") or ""
        due = due_of(pod, self._taints.get(node, []), self._since.get(node, 0.0))
        if due is None:
            return None
        left = due - client.clock.now()
        if left > 0:
            return left
        meta = pod["metadata"]
        text = f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
        record(client, pod, "Normal", "TaintManagerEviction", text, EVICTOR)
        made = disruption(
            "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", client.clock.now()
        )
        place = client.objects.place(key)
        await client.update(*place, lambda obj: with_condition(obj, made), EVICTOR, "status")
        await client.delete(PODS, place.namespace, place.name, EVICTOR, uid=meta["uid"])
        return None


def due_of(pod: Object, taints: list[Object], since: float) -> float | None:
    """When the pod has to go; None: never. `since`: when taints came that do not say so."""
    dues: list[float] = []
    for taint in taints:
        tolerating = [one for one in pod["spec"].get("tolerations") or () if is_tolerated(taint, [one])]
        if not tolerating:
            return since
        limits: list[Any] = [one.get("tolerationSeconds") for one in tolerating]
        bounded = [max(0, one) for one in limits if one is not None]
        if bounded:
            added = taint.get("timeAdded")
            dues.append((seconds_of(added) if added else since) + min(bounded))
    return min(dues) if dues else None
