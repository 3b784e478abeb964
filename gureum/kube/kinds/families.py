"""Which rules hold for which kind."""

from __future__ import annotations

from gureum.kube.kinds.rules import PLAIN, Rules

RULES: dict[str, Rules] = {
    "coordination.k8s.io/leases": Rules(generation=False, conditional=True),
    "core/configmaps": PLAIN,
}
