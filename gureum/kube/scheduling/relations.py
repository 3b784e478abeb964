"""Pods beside pods: affinity, anti-affinity and even spread, over places that labels of nodes make.

What a pod asks is counted once over all that is placed; each node is then a look-up of its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from gureum.kube.objects import Object
from gureum.kube.scheduling.facts import Known, NodeFacts, PodFacts, Term, is_meant, terms_of
from gureum.kube.selectors import Selector, from_object, matches

NamespaceLabels = Callable[[str], dict[str, str]]
Place = tuple[str, str]
"""The label of nodes, and its value."""
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
AFFINITY = "node(s) didn't match pod affinity rules"
ANTI = "node(s) didn't match pod anti-affinity rules"
SPREAD = "node(s) didn't match pod topology spread constraints"


class Spread(msgspec.Struct):
    """One constraint, counted: pods of its kind in each place, the fewest in any, and whether the pod itself is of its kind."""

    key: str
    most: int
    counts: dict[str, int]
    fewest: int
    self_meant: int


class Relations:
    """`gone`: keys of pods that are taken as gone; `is_eligible`: which nodes a constraint counts, but for its own words on it."""

    def __init__(
        self,
        pod: PodFacts,
        known: Known,
        namespace_labels: NamespaceLabels,
        is_eligible: Callable[[NodeFacts, Object], bool],
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self._pod = pod
        self._known = known
        self._labels = namespace_labels
        self._is_eligible = is_eligible
        self._gone = gone
        wanted = terms_of(pod.spec, "podAffinity", pod.namespace, pod.labels)
        self._forbidden = self._by_others() if known.shy else set()
        self._wanted = [(term.key, self._counted(term)) for term in wanted]
        self._shunned = [(term.key, self._counted(term)) for term in pod.anti]
        # The first of those that want each other's company may go anywhere.
        self._first = bool(wanted) and not any(counts for _, counts in self._wanted)
        self._first = self._first and all(is_meant(term, pod, namespace_labels) for term in wanted)
        self._spreads = [
            self._spread(one) for one in constraints_of(pod.spec) if one.get("whenUnsatisfiable") != "ScheduleAnyway"
        ]
        self.asks = bool(self._forbidden or wanted or pod.anti or self._spreads)

    def misfit(self, node: NodeFacts) -> tuple[str, bool]:
        """Why the node is none, and whether it could help that others went; "" when it is one."""
        if not self.asks:
            return "", False
        labels = node.labels
        for spread in self._spreads:
            value = labels.get(spread.key)
            if value is None:
                return f"{SPREAD} (missing required label)", False
            if spread.counts.get(value, 0) + spread.self_meant - spread.fewest > spread.most:
                return SPREAD, True
        for key, counts in self._wanted:
            value = labels.get(key)
            if value is None or (not counts.get(value) and not self._first):
                return AFFINITY, False
        for key, counts in self._shunned:
            if counts.get(labels.get(key, "")):
                return ANTI, True
        if any(labels.get(key) == value for key, value in self._forbidden):
            return EXISTING, True
        return "", False

    def _placed(self) -> Iterable[tuple[PodFacts, NodeFacts]]:
        nodes = self._known.nodes
        for pod in self._known.pods.values():
            if pod.key not in self._gone and pod.node in nodes:
                yield pod, nodes[pod.node]

    def _counted(self, term: Term) -> dict[str, int]:
        counts: dict[str, int] = {}
        for pod, node in self._placed():
            value = node.labels.get(term.key)
            if value is not None and is_meant(term, pod, self._labels):
                counts[value] = counts.get(value, 0) + 1
        return counts

    def _by_others(self) -> set[Place]:
        found = set()
        for other in self._known.shy.values():
            node = self._known.nodes.get(other.node)
            if node is None or other.key in self._gone:
                continue
            for term in other.anti:
                if term.key in node.labels and is_meant(term, self._pod, self._labels):
                    found.add((term.key, node.labels[term.key]))
        return found

    def _spread(self, constraint: Object) -> Spread:
        key = constraint.get("topologyKey") or ""
        selector = selector_of(constraint, self._pod.labels)
        counts: dict[str, int] = {}
        for node in self._known.nodes.values():
            if key in node.labels and self._is_eligible(node, constraint):
                number = sum(
                    pod.key not in self._gone and is_counted(pod, self._pod.namespace, selector)
                    for pod in node.pods.values()
                )
                counts[node.labels[key]] = counts.get(node.labels[key], 0) + number
        least = int(constraint.get("minDomains") or 1)
        fewest = min(counts.values(), default=0) if len(counts) >= least else 0
        own = int(selector is not None and matches(selector, self._pod.labels))
        return Spread(key, int(constraint.get("maxSkew") or 1), counts, fewest, own)


def constraints_of(spec: Object) -> list[Any]:
    return spec.get("topologySpreadConstraints") or []


def selector_of(constraint: Object, labels: dict[str, str]) -> Selector | None:
    """With what it takes from the pod's own labels."""
    found = from_object(constraint.get("labelSelector"))
    more = {key: labels[key] for key in constraint.get("matchLabelKeys") or () if key in labels}
    return found if found is None or not more else (*found, *(from_object({"matchLabels": more}) or ()))


def is_counted(pod: PodFacts, namespace: str, selector: Selector | None) -> bool:
    """Whether a constraint of that namespace counts the pod."""
    return selector is not None and pod.namespace == namespace and not pod.deleting and matches(selector, pod.labels)
