"""Which of the nodes that can have a pod is best: each view gives 0 to 100, and has its weight.

What is free (1) and evenly used (1), tolerated soft taints (3), preferred nodes (2), even spread (2), preferred company (2): the original's
default weights. Pods of one owner without a wish of their own are spread over nodes.
"""

from __future__ import annotations

from collections.abc import Callable

from gureum.kube.scheduling.facts import Known, NodeFacts, PodFacts, Term, is_meant, terms_of
from gureum.kube.scheduling.filters import Wish, is_tolerated, matches_term
from gureum.kube.scheduling.relations import NamespaceLabels, constraints_of, is_counted, selector_of

_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NOTHING = 1e-9
View = Callable[[NodeFacts], float]


def best_of(wish: Wish, nodes: list[NodeFacts], known: Known, namespace_labels: NamespaceLabels) -> NodeFacts:
    """The first of the best. `nodes`: at least one."""
    if len(nodes) == 1:
        return nodes[0]
    totals = _free(wish.pod, nodes)
    if any(node.soft_taints for node in nodes):
        _add(totals, nodes, lambda node: -_soft(wish, node), 3)
    if wish.preferred:
        _add(totals, nodes, lambda node: _preferred(wish, node), 2)
    for view in _spreads(wish.pod, known):
        _add(totals, nodes, lambda node, view=view: -view(node), 2)  # type: ignore[misc]
    company = _company(wish.pod, known, namespace_labels)
    if company is not None:
        _add(totals, nodes, company, 2)
    return nodes[max(range(len(nodes)), key=totals.__getitem__)]


def _free(pod: PodFacts, nodes: list[NodeFacts]) -> list[float]:
    """How much is left, and how evenly CPU and memory are used. What a node has none of counts as full."""
    cpu, memory = pod.amounts.get("cpu", 0), pod.amounts.get("memory", 0)
    found = []
    for node in nodes:
        used, sizes = node.used, node.allocatable
        one = (used.get("cpu", 0) + cpu) / (sizes.get("cpu") or _NOTHING)
        other = (used.get("memory", 0) + memory) / (sizes.get("memory") or _NOTHING)
        # The mean of both is left, and so is their difference: together that is the fuller one.
        found.append(200 - 100 * min(1.0, max(one, other)))
    return found


def _add(totals: list[float], nodes: list[NodeFacts], view: View, weight: int) -> None:
    values = [view(node) for node in nodes]
    low, high = min(values), max(values)
    if high > low:
        for at, value in enumerate(values):
            totals[at] += weight * 100 * (value - low) / (high - low)


def _soft(wish: Wish, node: NodeFacts) -> int:
    return sum(not is_tolerated(taint, wish.tolerations) for taint in node.soft_taints)


def _preferred(wish: Wish, node: NodeFacts) -> int:
    return sum(
        int(one.get("weight") or 0)
        for one in wish.preferred
        if matches_term(one.get("preference") or {}, node.labels, node.name)
    )


def _spreads(pod: PodFacts, known: Known) -> list[View]:
    """How many of its kind are in the node's place."""
    constraints = constraints_of(pod.spec)
    if not constraints:
        return [lambda node: node.owners.get(pod.owner, 0)] if pod.owner else []
    found: list[View] = []
    for constraint in constraints:
        if constraint.get("whenUnsatisfiable") != "ScheduleAnyway":
            continue
        key = constraint.get("topologyKey") or ""
        selector = selector_of(constraint, pod.labels)
        counts: dict[str, int] = {}
        for node in known.nodes.values():
            if key in node.labels:
                number = sum(is_counted(one, pod.namespace, selector) for one in node.pods.values())
                counts[node.labels[key]] = counts.get(node.labels[key], 0) + number
        found.append(lambda node, key=key, counts=counts: counts.get(node.labels.get(key, ""), 0))  # type: ignore[misc]
    return found


def _company(pod: PodFacts, known: Known, namespace_labels: NamespaceLabels) -> View | None:
    terms: list[tuple[Term, int]] = []
    for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
        terms += [(term, sign) for term in terms_of(pod.spec, kind, pod.namespace, pod.labels, _PREFERRED)]
    if not terms:
        return None
    places: dict[tuple[str, str], int] = {}
    for other in known.pods.values():
        node = known.nodes.get(other.node)
        for term, sign in terms if node is not None else ():
            assert node is not None
            if term.key in node.labels and is_meant(term, other, namespace_labels):
                place = term.key, node.labels[term.key]
                places[place] = places.get(place, 0) + sign * term.weight
    keys = {term.key for term, _ in terms}
    return lambda node: sum(places.get((key, node.labels.get(key, "")), 0) for key in keys)
