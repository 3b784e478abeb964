"""Who chooses which labels: a pod's event wakes those that choose it, before or after."""

from __future__ import annotations

from gureum.kube.controllers.loop import Seen
from gureum.kube.selectors import Selector, matches


class Choices:
    """Selectors of one kind of object, by namespace and name."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Selector]] = {}

    def put(self, seen: Seen, selector: Selector | None) -> None:
        """None: it chooses nothing (any more)."""
        here = self._known.setdefault(seen.place.namespace, {})
        here.pop(seen.place.name, None)
        if selector is not None and seen.after is not None:
            here[seen.place.name] = selector

    def of_pod(self, seen: Seen) -> list[str]:
        """Keys of those that choose the pod."""
        namespace = seen.place.namespace
        found = []
        for name, selector in self._known.get(namespace, {}).items():
            if any(facts is not None and matches(selector, facts.labels) for facts in (seen.before, seen.after)):
                found.append(f"{namespace}/{name}")
        return found
