"""The scheduler: a node for every pod that has none. Plain: what fits, the emptiest first; no preemption.

Source: Kubernetes, "Kubernetes Scheduler", "Assigning Pods to Nodes", "Taints and Tolerations".
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.client import Seen as Found
from gureum.kube.controllers.events import event_of
from gureum.kube.controllers.index import PODS
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.controllers.pods import condition
from gureum.kube.kinds.quantities import BadQuantity, as_text, value_of
from gureum.kube.objects import Object
from gureum.kube.selectors import Requirement
from gureum.kube.times import timestamp

NAME = "default-scheduler"
NODES = "core/nodes"
DEFAULT_PODS = 110
Amounts = dict[str, Fraction]


class Scheduler:
    """Keeps what is asked for on each node, by the events of pods and nodes."""

    def __init__(self) -> None:
        self._nodes: dict[str, Object] = {}
        self._used: dict[str, Amounts] = {}
        self._placed: dict[str, tuple[str, Amounts]] = {}
        self._client: Client | None = None

    def controller(self) -> Controller:
        return Controller("scheduler", {PODS: self._on_pod, NODES: self._on_node}, self.reconcile, self._initial)

    def _initial(self, client: Client) -> list[str]:
        self._client = client
        for key, facts in client.index.facts.items():
            if key.startswith(client.objects.prefix(NODES)):
                self._learn_node(client, key)
            elif facts.node and key.startswith(client.objects.prefix(PODS)):
                self._learn_pod(client, key, facts.node)
        return []

    def _on_pod(self, seen: Seen) -> list[str]:
        key = seen.event.key
        if self._client is None:
            return [] if seen.facts.node else [key]
        self._forget_pod(key)
        if seen.after is None:
            return self._pending() if seen.facts.node else []
        if seen.after.node:
            self._learn_pod(self._client, key, seen.after.node)
            return []
        # A change of its status alone (by us) asks for nothing new.
        return [key] if seen.before is None or seen.before.deleting != seen.after.deleting else []

    def _on_node(self, seen: Seen) -> list[str]:
        if self._client is None:
            return []
        if seen.after is None:
            self._nodes.pop(seen.place.name, None)
            return []
        self._learn_node(self._client, seen.event.key)
        return self._pending()

    def _pending(self) -> list[str]:
        assert self._client is not None
        return self._client.index.on_node("")

    def _learn_node(self, client: Client, key: str) -> None:
        node = client.by_key(key)
        if node is not None:
            self._nodes[node["metadata"]["name"]] = node

    def _learn_pod(self, client: Client, key: str, node: str) -> None:
        pod = client.by_key(key)
        if pod is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return
        self._take(key, node, requests_of(pod))

    def _take(self, key: str, node: str, amounts: Amounts) -> None:
        self._forget_pod(key)
        self._placed[key] = node, amounts
        used = self._used.setdefault(node, {})
        for name, amount in amounts.items():
            used[name] = used.get(name, Fraction(0)) + amount

    def _forget_pod(self, key: str) -> None:
        node, amounts = self._placed.pop(key, ("", {}))
        for name, amount in amounts.items():
            self._used[node][name] -= amount

    async def reconcile(self, client: Client, key: str) -> None:
        found = client.seen(key)
        if found is None:
            return
        pod = found[1]
        if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            return
        if pod["spec"].get("schedulerName") != NAME or pod["spec"].get("schedulingGates"):
            return
        amounts = requests_of(pod)
        node, reasons = self._choose(pod, amounts)
        if node is None:
            await self._tell_unschedulable(client, found, reasons)
            return
        # Counted at once: the next pod is decided on before this one's binding is durable.
        self._take(key, node, amounts)
        place = client.objects.place(key)
        now = client.clock.now()
        text = f"Successfully assigned {place.namespace}/{place.name} to {node}"
        done = await client.update(
            PODS,
            *place[1:],
            lambda obj: bound(obj, node, now),
            NAME,
            "binding",
            lambda: event_of(client, pod, "Normal", "Scheduled", text, NAME),
            found,
        )
        if done is None:
            self._forget_pod(key)

    def _choose(self, pod: Object, amounts: Amounts) -> tuple[str | None, dict[str, int]]:
        best: tuple[Fraction, str] | None = None
        reasons: dict[str, int] = {}
        for name, node in self._nodes.items():
            used = self._used.get(name, {})
            why = misfit(pod, node, amounts, used)
            if why:
                reasons[why] = reasons.get(why, 0) + 1
                continue
            score = (_fullness(node, amounts, used), name)
            if best is None or score < best:
                best = score
        return (best[1] if best else None), reasons

    async def _tell_unschedulable(self, client: Client, found: Found, reasons: dict[str, int]) -> None:
        pod = found[1]
        total = len(self._nodes)
        parts = ", ".join(f"{number} {why}" for why, number in sorted(reasons.items()))
        text = f"0/{total} nodes are available: {parts}." if total else "no nodes available to schedule pods"
        known = condition(pod, "PodScheduled")
        if known is not None and known.get("message") == text:
            return
        now = timestamp(client.clock.now())
        made = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": now,
            "reason": "Unschedulable",
            "message": text,
        }
        place = pod["metadata"]["namespace"], pod["metadata"]["name"]
        await client.update(
            PODS,
            *place,
            lambda obj: with_condition(obj, made),
            NAME,
            "status",
            lambda: event_of(client, pod, "Warning", "FailedScheduling", text, NAME),
            found,
        )


def bound(pod: Object, node: str, now: float) -> Object | None:
    """The pod on its node; None when it is on one."""
    if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
        return None
    moment = timestamp(now)
    made = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": moment}
    changed = with_condition(pod, made)
    return {**changed, "spec": {**pod["spec"], "nodeName": node}}


def with_condition(obj: Object, made: Object) -> Object:
    status = obj.get("status") or {}
    others = [one for one in status.get("conditions") or () if one.get("type") != made["type"]]
    return {**obj, "status": {**status, "conditions": [*others, made]}}


def requests_of(pod: Object) -> Amounts:
    """The sum over containers, or what an init container needs if that is more."""
    spec = pod["spec"]
    total: Amounts = {}
    for container in spec.get("containers") or ():
        for name, amount in _requests(container).items():
            total[name] = total.get(name, Fraction(0)) + amount
    for container in spec.get("initContainers") or ():
        for name, amount in _requests(container).items():
            total[name] = max(total.get(name, Fraction(0)), amount)
    for name, value in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, Fraction(0)) + _amount(value)
    total["pods"] = Fraction(1)
    return total


def _requests(container: Object) -> Amounts:
    found = (container.get("resources") or {}).get("requests") or {}
    return {name: _amount(value) for name, value in found.items()}


def _amount(value: Any) -> Fraction:
    """Nothing, where it is no quantity: a node's status is not checked."""
    try:
        return value_of(as_text(value))
    except BadQuantity:
        return Fraction(0)


def misfit(pod: Object, node: Object, amounts: Amounts, used: Amounts) -> str:
    """Why the pod cannot go there, in the original's words; "" when it can."""
    spec = node.get("spec") or {}
    labels = node["metadata"].get("labels") or {}
    if node["metadata"].get("deletionTimestamp"):
        return "node(s) were being deleted"
    taints = list(spec.get("taints") or ())
    if spec.get("unschedulable"):
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    for taint in taints:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not is_tolerated(
            taint, pod["spec"].get("tolerations") or ()
        ):
            if taint["key"] == "node.kubernetes.io/unschedulable":
                return "node(s) were unschedulable"
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not matches_node(pod["spec"], labels, node["metadata"]["name"]):
        return "node(s) didn't match Pod's node affinity/selector"
    ready = condition(node, "Ready")
    if ready is not None and ready.get("status") != "True":
        return "node(s) were not ready"
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    for name, amount in amounts.items():
        total = _amount(allocatable.get(name, DEFAULT_PODS if name == "pods" else 0))
        if amount and used.get(name, Fraction(0)) + amount > total:
            return "Too many pods" if name == "pods" else f"Insufficient {name}"
    return ""


def is_tolerated(taint: Object, tolerations: Any) -> bool:
    for one in tolerations:
        if one.get("effect") not in (None, "", taint.get("effect")):
            continue
        if one.get("operator") == "Exists" and not one.get("key"):
            return True
        if one.get("key") == taint.get("key") and (
            one.get("operator") == "Exists" or (one.get("value") or "") == (taint.get("value") or "")
        ):
            return True
    return False


def matches_node(spec: Object, labels: dict[str, str], name: str) -> bool:
    """The pod's nodeSelector, and what its affinity requires."""
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not affinity:
        return True
    return any(_matches_term(term, labels, name) for term in affinity.get("nodeSelectorTerms") or ())


_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!exists", "Gt": "gt", "Lt": "lt"}


def _matches_term(term: Object, labels: dict[str, str], name: str) -> bool:
    fields = {"metadata.name": name}
    pairs = [(one, labels) for one in term.get("matchExpressions") or ()]
    pairs += [(one, fields) for one in term.get("matchFields") or ()]
    return bool(pairs) and all(
        Requirement(one["key"], _OPERATORS.get(one["operator"], "in"), frozenset(one.get("values") or ())).matches(
            values
        )
        for one, values in pairs
    )


def _fullness(node: Object, amounts: Amounts, used: Amounts) -> Fraction:
    """How full it would be: the mean of CPU, memory and pods."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    total = Fraction(0)
    for name in ("cpu", "memory", "pods"):
        size = _amount(allocatable.get(name, DEFAULT_PODS if name == "pods" else 0))
        if size:
            total += (used.get(name, Fraction(0)) + amounts.get(name, Fraction(0))) / size
    return total
