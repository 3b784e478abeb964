"""Which nodes can have a pod, and why not, in the original's words and order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.kube.objects import Object
from gureum.kube.scheduling.facts import PODS, Known, NodeFacts, PodFacts
from gureum.kube.scheduling.relations import NamespaceLabels, Relations
from gureum.kube.selectors import Requirement

_UNSCHEDULABLE: Object = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!exists", "Gt": "gt", "Lt": "lt"}


class Misfit(msgspec.Struct, frozen=True):
    """`helps`: whether it could help that others went."""

    reasons: tuple[str, ...]
    helps: bool


class Volumes(msgspec.Struct, frozen=True):
    """What a pod's claims ask of nodes. `terms`: of the volumes they are bound to, one list of terms each; `free`: those of volumes of which
    one must be found there, for each claim that waits for a node."""

    terms: tuple[Any, ...] = ()
    free: tuple[tuple[Any, ...], ...] = ()


class Wish:
    """One pod, as it asks of nodes."""

    def __init__(
        self, pod: PodFacts, known: Known, namespace_labels: NamespaceLabels, volumes: Volumes | None = None
    ) -> None:
        spec = pod.spec
        self.pod = pod
        self.volumes = volumes or Volumes()
        self._known = known
        self._namespace_labels = namespace_labels
        self.tolerations: list[Object] = spec.get("tolerations") or []
        self.selector: dict[str, str] = spec.get("nodeSelector") or {}
        node_affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        self.required: list[Object] | None = None if not required else required.get("nodeSelectorTerms") or []
        self.preferred: list[Object] = node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
        self.amounts = tuple((name, amount) for name, amount in pod.amounts.items() if amount)
        self.relations = self.related(frozenset())

    def related(self, gone: frozenset[str]) -> Relations:
        """The pod's relations as they would be if these were gone."""
        return Relations(self.pod, self._known, self._namespace_labels, self._is_counted, gone)

    def _is_counted(self, node: NodeFacts, constraint: Object) -> bool:
        """Whether a constraint of spread counts the node."""
        if constraint.get("nodeAffinityPolicy") != "Ignore" and not self.suits(node):
            return False
        return constraint.get("nodeTaintsPolicy") != "Honor" or all(
            is_tolerated(taint, self.tolerations) for taint in node.taints
        )

    def suits(self, node: NodeFacts) -> bool:
        """Whether its nodeSelector and what its affinity requires are fulfilled."""
        if self.selector and not self.selector.items() <= node.labels.items():
            return False
        return self.required is None or any(matches_term(term, node.labels, node.name) for term in self.required)


def misfit(wish: Wish, node: NodeFacts, known: Known, relations: Relations | None = None) -> Misfit | None:
    """Why the pod cannot go there; None when it can. `relations`: when they are others than the wish's."""
    if node.unschedulable and not is_tolerated(_UNSCHEDULABLE, wish.tolerations):
        return Misfit(("node(s) were unschedulable",), helps=False)
    for taint in node.taints:
        if not is_tolerated(taint, wish.tolerations):
            return Misfit(
                (f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}",), helps=False
            )
    if (wish.selector or wish.required is not None) and not wish.suits(node):
        return Misfit(("node(s) didn't match Pod's node affinity/selector",), helps=False)
    if wish.pod.ports and _is_taken(wish.pod, node):
        return Misfit(("node(s) didn't have free ports for the requested pod ports",), helps=True)
    lacking = _lacking(wish, node, known)
    if lacking is not None:
        return lacking
    for terms in wish.volumes.terms:
        if not matches_terms(terms, node.labels, node.name):
            return Misfit(("node(s) didn't match PersistentVolume's node affinity",), helps=False)
    for choice in wish.volumes.free:
        if not any(not terms or matches_terms(terms, node.labels, node.name) for terms in choice):
            return Misfit(("node(s) didn't find available persistent volumes to bind",), helps=False)
    reason, helps = (relations or wish.relations).misfit(node)
    return Misfit((reason,), helps=helps) if reason else None


def _lacking(wish: Wish, node: NodeFacts, known: Known) -> Misfit | None:
    used, sizes = node.used, node.allocatable
    if known.nominated:
        used = _with_promised(wish.pod, node, known.nominated.values())
    for name, amount in wish.amounts:
        if used.get(name, 0) + amount > sizes.get(name, 0):
            break
    else:
        return None
    lacking = [name for name, amount in wish.amounts if used.get(name, 0) + amount > sizes.get(name, 0)]
    reasons = tuple("Too many pods" if name == PODS else f"Insufficient {name}" for name in lacking)
    return Misfit(reasons, helps=all(wish.pod.amounts[name] <= sizes.get(name, 0) for name in lacking))


def _with_promised(pod: PodFacts, node: NodeFacts, nominated: Iterable[PodFacts]) -> dict[str, int]:
    """What is used, with those that are promised a place there before the pod."""
    used = node.used
    for one in nominated:
        if one.nominated == node.name and one.priority >= pod.priority and one.key != pod.key:
            used = {name: used.get(name, 0) + one.amounts.get(name, 0) for name in {**used, **one.amounts}}
    return used


def _is_taken(pod: PodFacts, node: NodeFacts) -> bool:
    taken = [port for other in node.pods.values() for port in other.ports]
    return any(
        one[1:] == other[1:] and (not one[0] or not other[0] or one[0] == other[0])
        for one in pod.ports
        for other in taken
    )


def is_tolerated(taint: Object, tolerations: Iterable[Object]) -> bool:
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


def matches_terms(terms: Iterable[Object], labels: dict[str, str], name: str) -> bool:
    """One of them is enough."""
    return any(matches_term(term, labels, name) for term in terms)


def matches_term(term: Object, labels: dict[str, str], name: str) -> bool:
    fields = {"metadata.name": name}
    pairs = [(one, labels) for one in term.get("matchExpressions") or ()]
    pairs += [(one, fields) for one in term.get("matchFields") or ()]
    return bool(pairs) and all(
        Requirement(one["key"], _OPERATORS.get(one["operator"], "in"), frozenset(one.get("values") or ())).matches(
            values
        )
        for one, values in pairs
    )
