"""TaintNodesByCondition: a new node takes no pods until the controller of nodes has seen that it is ready.

Source: k8s.io/kubernetes/plugin/pkg/admission/nodetaint.
"""

from __future__ import annotations

from gureum.kube.admission import Attributes, Extra, Plugin

_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


async def _not_ready(attributes: Attributes) -> list[Extra] | None:
    spec = attributes.obj.setdefault("spec", {})
    taints = spec.get("taints") or []
    if not any((one.get("key"), one.get("effect")) == (_TAINT["key"], _TAINT["effect"]) for one in taints):
        spec["taints"] = [*taints, dict(_TAINT)]
    return None


not_ready = Plugin(_not_ready, frozenset({"core/nodes"}), frozenset({"CREATE"}))
