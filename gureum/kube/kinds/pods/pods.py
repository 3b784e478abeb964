"""The rules of pods and of templates as objects of their own, and what an update of a pod may touch.

Source: Kubernetes API reference (Pod v1, "Pod update and replacement").
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from gureum.kube.errors import Cause, forbidden_field
from gureum.kube.kinds.pods.checks import validate_spec, validate_template
from gureum.kube.kinds.pods.defaults import CONTAINER_LISTS, default_spec, default_template
from gureum.kube.kinds.pods.further_checks import host_network_ports, of_a_new_pod
from gureum.kube.kinds.quantities import as_text, is_quantity, value_of
from gureum.kube.kinds.rules import Rules

Object = dict[str, Any]
UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
)


def _default_pod(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    default_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for name in CONTAINER_LISTS[:2]:
        for one in spec.get(name) or ():
            resources = one["resources"]
            limits = resources.get("limits") or {}
            for resource, amount in limits.items():
                resources.setdefault("requests", {}).setdefault(resource, amount)


def _create_pod(pod: Object) -> None:
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod.get("spec") or {})}


def _update_pod(pod: Object, old: Object) -> None:
    # What admission and the scheduler filled in stays, where an update leaves it out.
    for name in ("nodeName", "serviceAccountName", "serviceAccount", "priority", "preemptionPolicy"):
        if name in old.get("spec", {}):
            pod["spec"].setdefault(name, old["spec"][name])


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort (Kubernetes, "Pod Quality of Service Classes")."""
    guaranteed, any_ = True, False
    for one in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        resources = one.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit, request = limits.get(name), requests.get(name, limits.get(name))
            any_ = any_ or bool(limit or request)
            guaranteed = guaranteed and limit is not None and _same(limit, request)
    if not any_:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _same(one: Any, other: Any) -> bool:
    both = is_quantity(one) and is_quantity(other)
    return both and value_of(as_text(one)) == value_of(as_text(other))


def _validate_pod(pod: Object, old: Object | None) -> list[Cause]:
    spec = pod.get("spec") or {}
    causes = [*validate_spec(spec, "spec"), *host_network_ports(spec, "spec")]
    causes += of_a_new_pod(spec) if old is None else []
    if old is not None and not causes and not _only_allowed(spec, old.get("spec") or {}):
        causes.append(forbidden_field("spec", UPDATE_TEXT))
    return causes


def _only_allowed(new: Object, old: Object) -> bool:
    """Whether an update touches only what it may."""
    before, after = copy.deepcopy(old), copy.deepcopy(new)
    for spec in (before, after):
        for one in _containers(spec):
            one.pop("image", None)
    wished, had = after.pop("activeDeadlineSeconds", None), before.pop("activeDeadlineSeconds", None)
    if had is not None and (wished is None or wished > had):
        return False
    added, known = after.pop("tolerations", None) or [], before.pop("tolerations", None) or []
    if any(one not in added for one in known):
        return False
    if before.get("terminationGracePeriodSeconds", 0) < 0 and after.get("terminationGracePeriodSeconds") == 1:
        before["terminationGracePeriodSeconds"] = 1
    if before.get("schedulingGates"):  # gates may go, one by one
        gates, left = before.pop("schedulingGates"), after.pop("schedulingGates", None) or []
        if any(one not in gates for one in left):
            return False
    return before == after


def _containers(spec: Object) -> Iterator[Object]:
    lists: Iterable[str] = CONTAINER_LISTS
    for name in lists:
        yield from spec.get(name) or ()


def _default_pod_template(one: Object) -> None:
    default_template(one.setdefault("template", {}))


RULES = {
    "core/pods": Rules(default=_default_pod, create=_create_pod, update=_update_pod, validate=_validate_pod),
    "core/podtemplates": Rules(
        default=_default_pod_template,
        validate=lambda one, _: validate_template(one["template"], "template"),
        generation=False,
    ),
}
