"""Where a pod could be if pods of lower priority went: as few and as cheap as possible, and budgets kept where that can be."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.kube.scheduling.facts import Known, NodeFacts, PodFacts
from gureum.kube.scheduling.filters import Misfit, Wish, misfit
from gureum.kube.selectors import Selector, matches

NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NEVER = "not eligible due to preemptionPolicy=Never."
TERMINATING = "not eligible due to a terminating pod on the nominated node."


class Budget(msgspec.Struct):
    """A PodDisruptionBudget: how many of those that it protects may go."""

    namespace: str
    selector: Selector
    allowed: int


class Candidate(msgspec.Struct, frozen=True):
    """`broken`: how many victims a budget protects."""

    node: str
    victims: list[PodFacts]
    broken: int

    @property
    def rank(self) -> tuple[Any, ...]:
        """The smallest is taken; then the node whose dearest victims came last."""
        highest = max((one.priority for one in self.victims), default=-(2**31))
        first = min((one.created for one in self.victims if one.priority == highest), default="")
        return (
            self.broken,
            highest,
            sum(one.priority + 2**31 for one in self.victims),
            len(self.victims),
            [-ord(char) for char in first],
        )


def refusal(pod: PodFacts, known: Known) -> str:
    """Why the pod may not have others go; "" when it may."""
    if pod.spec.get("preemptionPolicy") == "Never":
        return NEVER
    node = known.nodes.get(pod.nominated)
    if node is not None and any(one.deleting and one.priority < pod.priority for one in node.pods.values()):
        return TERMINATING
    return ""


def preempt(
    wish: Wish, misfits: dict[str, Misfit], known: Known, budgets: list[Budget]
) -> tuple[Candidate | None, dict[str, int]]:
    """The node that costs least, and else why there is none."""
    best: Candidate | None = None
    reasons: dict[str, int] = {}
    lowest = known.lowest
    nobody = lowest is None or lowest >= wish.pod.priority
    for name, why in misfits.items():
        found: Candidate | tuple[str, ...] = (NO_VICTIMS if why.helps else NOT_HELPFUL,)
        if why.helps and not nobody and name in known.nodes:
            found = _on_node(wish, known.nodes[name], known, budgets)
        if isinstance(found, Candidate):
            best = found if best is None or found.rank < best.rank else best
            continue
        for reason in found:
            reasons[reason] = reasons.get(reason, 0) + 1
    return best, reasons


def _on_node(wish: Wish, node: NodeFacts, known: Known, budgets: list[Budget]) -> Candidate | tuple[str, ...]:
    lower = [one for one in node.pods.values() if one.priority < wish.pod.priority]
    if not lower:
        return (NO_VICTIMS,)

    def why_not(gone: set[str]) -> Misfit | None:
        relations = wish.related(frozenset(gone)) if wish.relations.asks else wish.relations
        return misfit(wish, node.without(gone), known, relations)

    gone = {one.key for one in lower}
    still = why_not(gone)
    if still is not None:
        return still.reasons
    lower.sort(key=lambda one: (-one.priority, one.created))
    protected = _protected(lower, budgets)
    # Those that a budget protects may stay first, then the dearest, then the eldest.
    for one in sorted(lower, key=lambda one: one.key not in protected):
        if why_not(gone - {one.key}) is None:
            gone.discard(one.key)
    victims = [one for one in lower if one.key in gone]
    return Candidate(node.name, victims, len(gone & protected))


def _protected(pods: list[PodFacts], budgets: list[Budget]) -> set[str]:
    """Keys of those whose end would break a budget, in this order."""
    left = {id(budget): budget.allowed for budget in budgets}
    found = set()
    for pod in pods:
        for budget in budgets:
            if budget.namespace == pod.namespace and budget.selector and matches(budget.selector, pod.labels):
                left[id(budget)] -= 1
                if left[id(budget)] < 0:
                    found.add(pod.key)
    return found
