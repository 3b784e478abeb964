"""What scheduling knows of pods and nodes: amounts as numbers, terms as selectors; and who is where."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from gureum.kube.kinds.quantities import BadQuantity, as_text, value_of
from gureum.kube.objects import Object
from gureum.kube.selectors import Selector, from_object, matches

PODS = "pods"
Amounts = dict[str, int]
"""Of each resource, in thousandths."""
Port = tuple[str, str, int]
"""Address of the host ("" for all), protocol, number."""


class Term(msgspec.Struct, frozen=True):
    """One of a pod's wishes for or against the company of others. `namespaces`: by name; `chosen`: by their labels; `key`: the label of
    nodes that makes them one place."""

    key: str
    selector: Selector | None
    namespaces: frozenset[str]
    chosen: Selector | None
    weight: int = 0


class PodFacts(msgspec.Struct, eq=False):
    """`spec`: as the pod has it, until it is placed; `created`: for who came first; `owner`: uid of its controller; `ended`: it uses nothing
    any more."""

    key: str
    namespace: str
    name: str
    uid: str
    labels: dict[str, str]
    spec: Object
    priority: int
    created: str
    amounts: Amounts
    ports: tuple[Port, ...]
    anti: tuple[Term, ...]
    owner: str
    deleting: bool
    ended: bool
    node: str
    nominated: str


class NodeFacts:
    """A node, and what is on it."""

    def __init__(self, node: Object) -> None:
        spec, status = node.get("spec") or {}, node.get("status") or {}
        taints = [one for one in spec.get("taints") or () if isinstance(one, dict)]
        self.name: str = node["metadata"]["name"]
        self.labels: dict[str, str] = node["metadata"].get("labels") or {}
        self.unschedulable = bool(spec.get("unschedulable"))
        self.taints = [one for one in taints if one.get("effect") in ("NoSchedule", "NoExecute")]
        self.soft_taints = [one for one in taints if one.get("effect") == "PreferNoSchedule"]
        sizes = status.get("allocatable") or status.get("capacity") or {}
        self.allocatable: Amounts = {name: amount_of(as_text(value)) for name, value in sizes.items()}
        self.used: Amounts = {}
        self.pods: dict[str, PodFacts] = {}
        self.owners: dict[str, int] = {}

    def is_like(self, other: NodeFacts) -> bool:
        """Whether a pod finds the same here, but for who is on it."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("labels", "unschedulable", "taints", "soft_taints", "allocatable")
        )

    def take_over(self, other: NodeFacts) -> None:
        """The pods of the node as it was known before."""
        self.used, self.pods, self.owners = other.used, other.pods, other.owners

    def put(self, pod: PodFacts) -> None:
        self.pods[pod.key] = pod
        self._count(pod, 1)

    def remove(self, key: str) -> None:
        pod = self.pods.pop(key, None)
        if pod is not None:
            self._count(pod, -1)

    def without(self, keys: set[str]) -> NodeFacts:
        """The node as it would be if they were gone."""
        left = object.__new__(NodeFacts)
        left.__dict__.update(self.__dict__)
        left.used, left.pods, left.owners = dict(self.used), dict(self.pods), dict(self.owners)
        for key in keys:
            left.remove(key)
        return left

    def _count(self, pod: PodFacts, sign: int) -> None:
        used = self.used
        for name, amount in pod.amounts.items():
            used[name] = used.get(name, 0) + sign * amount
        if pod.owner:
            self.owners[pod.owner] = self.owners.get(pod.owner, 0) + sign
            if not self.owners[pod.owner]:
                del self.owners[pod.owner]


class Known:
    """All nodes, the pods on them, and those that are promised a place."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeFacts] = {}
        self.pods: dict[str, PodFacts] = {}
        self.shy: dict[str, PodFacts] = {}
        """Those on nodes that will not have certain others beside them."""
        self.nominated: dict[str, PodFacts] = {}
        self._priorities: dict[int, int] = {}

    @property
    def lowest(self) -> int | None:
        """The lowest priority of any that is placed; None while there is none."""
        return min(self._priorities, default=None)

    def put_node(self, node: NodeFacts) -> bool:
        """Whether it is another node than before to a pod."""
        before = self.nodes.get(node.name)
        self.nodes[node.name] = node
        if before is not None:
            node.take_over(before)
            return not before.is_like(node)
        for pod in self.pods.values():
            if pod.node == node.name:
                node.put(pod)
        return True

    def remove_node(self, name: str) -> None:
        self.nodes.pop(name, None)

    def place(self, pod: PodFacts, node: str) -> None:
        self.remove(pod.key)
        pod.node = node
        pod.spec = {}  # the largest part of it, and nobody asks for it any more
        self.pods[pod.key] = pod
        self._priorities[pod.priority] = self._priorities.get(pod.priority, 0) + 1
        if pod.anti:
            self.shy[pod.key] = pod
        if node in self.nodes:
            self.nodes[node].put(pod)

    def remove(self, key: str) -> bool:
        """Whether it was somewhere."""
        self.nominated.pop(key, None)
        pod = self.pods.pop(key, None)
        if pod is None:
            return False
        self._priorities[pod.priority] -= 1
        if not self._priorities[pod.priority]:
            del self._priorities[pod.priority]
        self.shy.pop(key, None)
        if pod.node in self.nodes:
            self.nodes[pod.node].remove(key)
        return True


def pod_facts(key: str, pod: Object) -> PodFacts:
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    namespace = metadata.get("namespace", "")
    owners = metadata.get("ownerReferences") or ()
    labels = metadata.get("labels") or {}
    return PodFacts(
        key=key,
        namespace=namespace,
        name=metadata["name"],
        uid=metadata["uid"],
        labels=labels,
        spec=spec,
        priority=int(spec.get("priority") or 0),
        created=metadata.get("creationTimestamp") or "",
        amounts=requests_of(spec),
        ports=_ports(spec),
        anti=terms_of(spec, "podAntiAffinity", namespace, labels),
        owner=next((str(one.get("uid")) for one in owners if one.get("controller")), ""),
        deleting=bool(metadata.get("deletionTimestamp")),
        ended=status.get("phase") in ("Succeeded", "Failed"),
        node=spec.get("nodeName") or "",
        nominated=status.get("nominatedNodeName") or "",
    )


@lru_cache(maxsize=4096)
def amount_of(text: str) -> int:
    """In thousandths, rounded up. Nothing, where it is no quantity: a node's status is not checked."""
    try:
        value = value_of(text)
    except BadQuantity:
        return 0
    return -(-value.numerator * 1000 // value.denominator)


def requests_of(spec: Object) -> Amounts:
    """The sum over containers, or what starting it needs if that is more: an init container beside the sidecars before it."""
    total = _sum(one for one in spec.get("containers") or ())
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            sidecars = _plus(sidecars, _requests(container))
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _plus(sidecars, _requests(container)))
    total = _most(_plus(total, sidecars), peak) if sidecars or peak else total
    for name, value in ((spec.get("resources") or {}).get("requests") or {}).items():
        total[name] = amount_of(as_text(value))
    for name, value in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + amount_of(as_text(value))
    total[PODS] = 1000
    return total


def terms_of(
    spec: Object,
    kind: str,
    namespace: str,
    labels: dict[str, str],
    when: str = "requiredDuringSchedulingIgnoredDuringExecution",
) -> tuple[Term, ...]:
    """`kind`: podAffinity or podAntiAffinity."""
    found = ((spec.get("affinity") or {}).get(kind) or {}).get(when)
    if not found:
        return ()
    return tuple(_term(one, namespace, labels) for one in found)


def is_meant(term: Term, pod: PodFacts, labels_of_namespace: Any) -> bool:
    """Whether the term speaks of the pod. `labels_of_namespace`: by its name."""
    here = pod.namespace in term.namespaces or (
        term.chosen is not None and matches(term.chosen, labels_of_namespace(pod.namespace))
    )
    return here and term.selector is not None and matches(term.selector, pod.labels)


def _term(one: Object, namespace: str, labels: dict[str, str]) -> Term:
    weight = int(one.get("weight") or 0)
    one = one.get("podAffinityTerm") or one
    wanted = dict(one.get("labelSelector") or {}) if one.get("labelSelector") is not None else None
    more = [
        {"key": key, "operator": operator, "values": [labels[key]]}
        for member, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
        for key in one.get(member) or ()
        if key in labels
    ]
    if wanted is not None and more:
        wanted["matchExpressions"] = [*(wanted.get("matchExpressions") or ()), *more]
    names = frozenset(one.get("namespaces") or ())
    chosen = from_object(one.get("namespaceSelector"))
    if not names and chosen is None:
        names = frozenset([namespace])
    return Term(one.get("topologyKey") or "", from_object(wanted), names, chosen, weight)


def _requests(container: Object) -> Amounts:
    found = (container.get("resources") or {}).get("requests") or {}
    return {name: amount_of(as_text(value)) for name, value in found.items()}


def _sum(containers: Any) -> Amounts:
    total: Amounts = {}
    for container in containers:
        total = _plus(total, _requests(container)) if total else _requests(container)
    return total


def _plus(one: Amounts, other: Amounts) -> Amounts:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _most(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def _ports(spec: Object) -> tuple[Port, ...]:
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    found = []
    for container in containers:
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                address = port.get("hostIP") or ""
                found.append(("" if address == "0.0.0.0" else address, port.get("protocol") or "TCP", port["hostPort"]))
    return tuple(found)
