"""PodDisruptionBudgets: how many pods may be away now.

Source: Kubernetes, "Disruptions"; k8s.io/kubernetes/pkg/controller/disruption.
"""

from __future__ import annotations

from typing import Any

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.index import PODS
from gureum.kube.controllers.loop import Controller, Seen, itself
from gureum.kube.controllers.workloads.choices import Choices
from gureum.kube.controllers.workloads.pods import count, is_ready, phase
from gureum.kube.objects import Object
from gureum.kube.selectors import from_object, matches
from gureum.kube.times import seconds_of, timestamp

BUDGETS = "policy/poddisruptionbudgets"
NAME = "disruption-controller"
EVICTION_S = 120
"""How long an evicted pod that does not go is believed to be going."""
_SCALED = {
    "ReplicaSet": "apps/replicasets",
    "StatefulSet": "apps/statefulsets",
    "ReplicationController": "core/replicationcontrollers",
}


async def reconcile(client: Client, key: str) -> float | None:
    namespace, _, name = key.partition("/")
    budget = client.get(BUDGETS, namespace, name)
    if budget is None:
        return None
    spec = budget.get("spec") or {}
    pods = _pods(client, namespace, spec.get("selector"))
    expected, desired = _wishes(client, spec, pods)
    now = client.clock.now()
    away, again = _disrupted(budget, pods, now)
    healthy = sum(
        is_ready(pod) and not pod["metadata"].get("deletionTimestamp") and pod["metadata"]["name"] not in away
        for pod in pods
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    status: Object = {
        "observedGeneration": budget["metadata"].get("generation", 1),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": [_condition(budget, now, allowed=allowed > 0)],
    }
    if away:
        status["disruptedPods"] = away
    await client.set_status(BUDGETS, namespace, name, status, NAME, budget["metadata"]["uid"])
    return again


def _pods(client: Client, namespace: str, selector: Any) -> list[Object]:
    wanted = from_object(selector)
    if wanted is None:
        return []
    prefix = client.objects.prefix(PODS, namespace)
    keys = [
        key for key, facts in client.index.facts.items() if key.startswith(prefix) and matches(wanted, facts.labels)
    ]
    return [pod for pod in client.many(sorted(keys)) if phase(pod) not in ("Succeeded", "Failed")]


def _wishes(client: Client, spec: Object, pods: list[Object]) -> tuple[int, int]:
    """How many pods there should be, and how many must be healthy."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if isinstance(least, int):
        return len(pods), least
    expected = _scale(client, pods)
    if most is not None:
        return expected, max(0, expected - count(most, expected, up=True))
    return expected, count(least, expected, up=True) if least is not None else 0


def _scale(client: Client, pods: list[Object]) -> int:
    """The wished sizes of what controls the pods; a pod without controller counts for itself."""
    sizes: dict[str, int] = {}
    for pod in pods:
        owner = next((one for one in pod["metadata"].get("ownerReferences") or () if one.get("controller")), None)
        if owner is None:
            sizes[pod["metadata"]["uid"]] = 1
            continue
        storage = _SCALED.get(owner["kind"])
        found = client.get(storage, pod["metadata"]["namespace"], owner["name"]) if storage else None
        if owner["kind"] == "ReplicaSet" and found is not None:
            above = next((one for one in found["metadata"].get("ownerReferences") or () if one.get("controller")), None)
            deployment = client.get("apps/deployments", pod["metadata"]["namespace"], above["name"]) if above else None
            if above is not None and deployment is not None:
                owner, found = above, deployment
        sizes[owner["uid"]] = int(found["spec"].get("replicas", 1)) if found else 0
    return sum(sizes.values())


def _disrupted(budget: Object, pods: list[Object], now: float) -> tuple[dict[str, str], float | None]:
    """Pods that were evicted and are still there; in how many seconds the first of them is believed to stay."""
    there = {pod["metadata"]["name"]: pod for pod in pods}
    found: dict[str, str] = {}
    waits = []
    for name, moment in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        pod = there.get(name)
        left = seconds_of(moment) + EVICTION_S - now
        if pod is not None and not pod["metadata"].get("deletionTimestamp") and left > 0:
            found[name] = moment
            waits.append(left)
    return found, min(waits) if waits else None


def _condition(budget: Object, now: float, *, allowed: bool) -> Object:
    status = "True" if allowed else "False"
    known = next(
        (one for one in (budget.get("status") or {}).get("conditions") or () if one["type"] == "DisruptionAllowed"),
        None,
    )
    same = known is not None and known["status"] == status
    return {
        "type": "DisruptionAllowed",
        "status": status,
        "observedGeneration": budget["metadata"].get("generation", 1),
        "lastTransitionTime": known["lastTransitionTime"] if same and known else timestamp(now),
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
    }


def controller(client: Client) -> Controller:
    """Anew for each cluster: it keeps what budgets choose."""
    known = Choices()

    def of_budget(seen: Seen) -> list[str]:
        found = client.get(BUDGETS, seen.place.namespace, seen.place.name)
        known.put(seen, from_object((found or {}).get("spec", {}).get("selector")))
        return itself(seen)

    return Controller("disruption", {BUDGETS: of_budget, PODS: known.of_pod}, reconcile)
