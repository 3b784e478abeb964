"""DaemonSets: a pod on every node that fits.

Source: Kubernetes, "DaemonSet"; k8s.io/kubernetes/pkg/controller/daemon.
"""

from __future__ import annotations

import asyncio

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.events import record
from gureum.kube.controllers.loop import Controller, Seen, its_controller, itself
from gureum.kube.controllers.workloads.pods import PODS, available_in, count, is_ready, phase, pod_of
from gureum.kube.controllers.workloads.revised import RevisedSet, reconciler
from gureum.kube.controllers.workloads.revisions import LABEL, Revisions
from gureum.kube.objects import Object
from gureum.kube.scheduling.filters import is_tolerated, matches_terms

SETS, NODES = "apps/daemonsets", "core/nodes"
NAME = "daemonset-controller"
NODE_FIELD = "metadata.name"
# A pod of a daemon set stays on a node that is in trouble (Kubernetes, "DaemonSet", taints and tolerations).
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


class _Set(RevisedSet):
    """One look at a set, its pods and the nodes."""

    def __init__(self, client: Client, owner: Object, pods: list[Object], revisions: Revisions) -> None:
        super().__init__(client, owner, pods, revisions)
        self._template: Object = self._spec["template"]
        spec, nodes = self._template.get("spec") or {}, client.objects.all(NODES)
        self._nodes = [node for node in nodes if fits(spec, node)]
        # What came with a taint that only keeps new pods away stays.
        self._kept = {node["metadata"]["name"] for node in nodes if fits(spec, node, ("NoExecute",))}

    def _on(self, node: str) -> list[Object]:
        return [pod for pod in self.pods if (pod.get("spec") or {}).get("nodeName") == node]

    async def act(self) -> None:
        names = {node["metadata"]["name"] for node in self._nodes}
        gone = [pod for pod in self.pods if (pod.get("spec") or {}).get("nodeName") not in self._kept]
        dead = [pod for pod in self.pods if phase(pod) in ("Failed", "Succeeded")]
        await self._end([*gone, *(pod for pod in dead if pod not in gone)])
        missing = [name for name in sorted(names) if not [pod for pod in self._on(name) if pod not in dead]]
        missing += await self._roll(names)
        made = await asyncio.gather(*(self._make(name) for name in missing), return_exceptions=True)
        self.pods += [one for one in made if isinstance(one, dict)]
        for one in made:
            if isinstance(one, BaseException):
                raise one

    async def _roll(self, names: set[str]) -> list[str]:
        """Ends pods of old revisions as far as may be missing; nodes that get a second pod first."""
        strategy = self._spec.get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return []
        rolling = strategy.get("rollingUpdate") or {}
        surge = count(rolling.get("maxSurge", 0), len(names), up=True)
        most = count(rolling.get("maxUnavailable", 1), len(names), up=True)
        old: list[Object] = []
        unavailable = surging = 0
        ending: list[Object] = []
        for name in sorted(names):
            here = [pod for pod in self._on(name) if not pod["metadata"].get("deletionTimestamp")]
            new = [pod for pod in here if self._revisions.name_of(pod) == self._new]
            before = [pod for pod in here if pod not in new]
            if before and new:
                surging += 1
                if any(self._is_available(pod) for pod in new):
                    ending += before  # the second one is up
            elif not any(self._is_available(pod) for pod in here):
                unavailable += 1
                ending += before  # it serves nobody: it may go at once
            else:
                old += before
        if surge:
            await self._end(ending)
            return [pod["spec"]["nodeName"] for pod in old[: max(0, surge - surging)]]
        await self._end([*ending, *old[: max(0, most - unavailable)]])
        return []

    async def _make(self, node: str) -> Object:
        pod = pod_of(self._template, self._owner)
        labels = pod["metadata"].setdefault("labels", {})
        labels |= {LABEL: self._new, "pod-template-generation": str(self._meta.get("generation", 1))}
        spec = pod["spec"]
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {
            "nodeSelectorTerms": [{"matchFields": [{"key": NODE_FIELD, "operator": "In", "values": [node]}]}]
        }
        tolerations = spec["tolerations"] = [*(spec.get("tolerations") or ())]
        for key, effect in _TOLERATED:
            one = {"key": key, "operator": "Exists", "effect": effect}
            if one not in tolerations:
                tolerations.append(one)
        spec["nodeName"] = node
        made = await self._client.create(PODS, pod, NAME)
        record(
            self._client, self._owner, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}", NAME
        )
        return made

    async def _end(self, pods: list[Object]) -> None:
        for pod in pods:
            metadata = pod["metadata"]
            if metadata.get("deletionTimestamp"):
                continue
            await self._client.delete(PODS, metadata["namespace"], metadata["name"], NAME, uid=metadata["uid"])
            record(self._client, self._owner, "Normal", "SuccessfulDelete", f"Deleted pod: {metadata['name']}", NAME)

    async def tell(self) -> float | None:
        names = {node["metadata"]["name"] for node in self._nodes}
        now = self._client.clock.now()
        alive = [pod for pod in self.pods if not pod["metadata"].get("deletionTimestamp")]
        placed = {name: [pod for pod in alive if (pod.get("spec") or {}).get("nodeName") == name] for name in names}
        waits = {name: [available_in(pod, self._min_ready_s, now) for pod in here] for name, here in placed.items()}
        available = sum(any(wait == 0 for wait in found) for found in waits.values())
        status: Object = {
            "currentNumberScheduled": sum(bool(here) for here in placed.values()),
            "numberMisscheduled": len({(pod.get("spec") or {}).get("nodeName") for pod in alive} - names),
            "desiredNumberScheduled": len(names),
            "numberReady": sum(any(is_ready(pod) for pod in here) for here in placed.values()),
            "observedGeneration": self._meta.get("generation", 1),
            "updatedNumberScheduled": sum(
                any(self._revisions.name_of(pod) == self._new for pod in here) for here in placed.values()
            ),
            "numberAvailable": available,
            "numberUnavailable": len(names) - available,
        }
        optional = ("updatedNumberScheduled", "numberAvailable", "numberUnavailable")
        status = {name: value for name, value in status.items() if value or name not in optional}
        await self._set_status(SETS, status, NAME)
        later = [wait for found in waits.values() for wait in found if wait]
        return min(later) if later else None


def fits(spec: Object, node: Object, effects: tuple[str, ...] = ("NoSchedule", "NoExecute")) -> bool:
    """Whether a pod of that spec belongs on a node: its labels, its name, its taints of these effects."""
    labels, name = node["metadata"].get("labels") or {}, node["metadata"]["name"]
    if spec.get("nodeName") and spec["nodeName"] != name:
        return False
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if affinity and not matches_terms(affinity.get("nodeSelectorTerms") or (), labels, name):
        return False
    taints = (node.get("spec") or {}).get("taints") or ()
    tolerations = [*(spec.get("tolerations") or ())]
    tolerations += [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED]
    return all(is_tolerated(taint, tolerations) for taint in taints if taint.get("effect") in effects)


def _every_set(client: Client) -> list[str]:
    return [f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in client.objects.all(SETS)]


class _Nodes:
    """Nodes concern every set: the controller keeps the keys of all."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def set(self, seen: Seen) -> list[str]:
        key = itself(seen)[0]
        if seen.after is None:
            self._keys.discard(key)
        else:
            self._keys.add(key)
        return [key]

    def node(self, seen: Seen) -> list[str]:
        return sorted(self._keys)


def controller() -> Controller:
    """Anew for each cluster, since it keeps which sets there are."""
    known = _Nodes()
    return Controller(
        "daemonset",
        {SETS: known.set, NODES: known.node, PODS: its_controller("DaemonSet")},
        reconciler(SETS, _Set, NAME),
        _every_set,
    )
