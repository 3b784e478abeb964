"""What an object uses of a namespace's quota, in the names that a ResourceQuota has for it.

Source: Kubernetes, "Resource Quotas".
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from gureum.kube.kinds.pods.pods import qos_class
from gureum.kube.kinds.quantities import BadQuantity, as_text, value_of

Object = dict[str, Any]
Usage = dict[str, Fraction]
COMPUTE = ("cpu", "memory", "ephemeral-storage")
_COUNTED = {
    "core/pods": "pods",
    "core/services": "services",
    "core/replicationcontrollers": "replicationcontrollers",
    "core/resourcequotas": "resourcequotas",
    "core/secrets": "secrets",
    "core/configmaps": "configmaps",
    "core/persistentvolumeclaims": "persistentvolumeclaims",
}


def usage_of(storage: str, obj: Object) -> Usage:
    """By name: `pods`, `requests.cpu`, `count/deployments.apps`. A pod that has ended uses nothing but its place in the count."""
    group, _, plural = storage.partition("/")
    found: Usage = {f"count/{plural}" if group == "core" else f"count/{plural}.{group}": Fraction(1)}
    if storage == "core/pods" and (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return found
    if storage in _COUNTED:
        found[_COUNTED[storage]] = Fraction(1)
    if storage == "core/pods":
        found |= _of_pod(obj.get("spec") or {})
    elif storage == "core/services":
        found |= _of_service(obj.get("spec") or {})
    elif storage == "core/persistentvolumeclaims":
        found |= _of_claim(obj.get("spec") or {})
    return found


def _of_pod(spec: Object) -> Usage:
    found: Usage = {}
    for member in ("requests", "limits"):
        names = {name for one in _containers(spec) for name in _amounts(one, member)}
        for name in names:
            found[f"{member}.{name}"] = _of_resource(spec, member, name)
        for name, amount in (spec.get("overhead") or {}).items():
            if member == "requests" or name in names:
                full = f"{member}.{name}"
                found[full] = found.get(full, Fraction(0)) + _value(amount)
    for name in COMPUTE:
        if f"requests.{name}" in found:
            found[name] = found[f"requests.{name}"]
    return found


def _of_resource(spec: Object, member: str, name: str) -> Fraction:
    """The sum over containers and the sidecars beside them, or what starting needs if that is more: an init container beside the
    sidecars before it. Source: k8s.io/component-helpers/resource (PodRequests)."""
    running = sidecars = peak = Fraction(0)
    for one in spec.get("containers") or ():
        running += _amounts(one, member).get(name, Fraction(0))
    for one in spec.get("initContainers") or ():
        wanted = _amounts(one, member).get(name, Fraction(0))
        if one.get("restartPolicy") == "Always":
            sidecars += wanted
            wanted = Fraction(0)
        peak = max(peak, sidecars + wanted)
    return max(running + sidecars, peak)


def _containers(spec: Object) -> list[Object]:
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]


def _amounts(container: Object, member: str) -> Usage:
    found = ((container.get("resources") or {}).get(member)) or {}
    return {name: _value(amount) for name, amount in found.items()}


def _value(amount: Any) -> Fraction:
    try:
        return value_of(as_text(amount))
    except BadQuantity:
        return Fraction(0)


def _of_service(spec: Object) -> Usage:
    ports = len(spec.get("ports") or ())
    type_ = spec.get("type")
    if type_ == "NodePort":
        return {"services.nodeports": Fraction(ports)}
    if type_ == "LoadBalancer":
        given = ports if spec.get("allocateLoadBalancerNodePorts", True) else 0
        return {"services.loadbalancers": Fraction(1), "services.nodeports": Fraction(given)}
    return {}


def _of_claim(spec: Object) -> Usage:
    wanted = _value(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))
    found: Usage = {"requests.storage": wanted}
    if spec.get("storageClassName"):
        prefix = f"{spec['storageClassName']}.storageclass.storage.k8s.io"
        found |= {f"{prefix}/requests.storage": wanted, f"{prefix}/persistentvolumeclaims": Fraction(1)}
    return found


def missing_of(spec: Object, wanted: set[str]) -> list[str]:
    """What a pod must say since a quota counts it, and does not: `limits.cpu for: a,b`."""
    found = []
    for name in sorted(wanted):
        member, _, resource = name.rpartition(".")
        member, resource = (member, resource) if member in ("requests", "limits") else ("requests", name)
        if resource not in COMPUTE:
            continue
        silent = [one["name"] for one in _containers(spec) if resource not in _amounts(one, member)]
        if silent:
            found.append(f"{name} for: {','.join(silent)}")
    return found


def in_scope(quota: Object, storage: str, obj: Object) -> bool:
    """Whether a quota counts an object: its scopes are about pods."""
    spec = quota.get("spec") or {}
    scopes: list[tuple[str, str, list[str]]] = [(scope, "Exists", []) for scope in spec.get("scopes") or ()]
    expressions = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    scopes += [(one.get("scopeName", ""), one.get("operator", ""), one.get("values") or []) for one in expressions]
    if not scopes:
        return True
    return storage == "core/pods" and all(_scope(*one, obj.get("spec") or {}) for one in scopes)


def _scope(name: str, operator: str, values: list[str], spec: Object) -> bool:
    if name in ("BestEffort", "NotBestEffort"):
        return (qos_class(spec) == "BestEffort") is (name == "BestEffort")
    if name in ("Terminating", "NotTerminating"):
        return (spec.get("activeDeadlineSeconds") is not None) is (name == "Terminating")
    if name == "PriorityClass":
        given = spec.get("priorityClassName")
        checks = {
            "In": given in values,
            "NotIn": given not in values,
            "Exists": bool(given),
            "DoesNotExist": not given,
        }
        return checks.get(operator, False)
    return False
