"""LimitRanger: pods get the namespace's default amounts, and pods and claims beyond its least and most are refused.

Source: Kubernetes, "Limit Ranges".
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.errors import forbidden
from gureum.kube.kinds.quantities import BadQuantity, as_text, value_of
from gureum.kube.objects import Objects

RANGES = "core/limitranges"
ANNOTATION = "kubernetes.io/limit-ranger"
Object = dict[str, Any]


def limits(objects: Objects) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        if attributes.storage == "core/pods" and attributes.operation != "CREATE":
            return None
        found = objects.all(RANGES, attributes.namespace)
        limits_ = [limit for one in found for limit in (one.get("spec") or {}).get("limits") or ()]
        wrong: list[str] = []
        if attributes.storage == "core/pods":
            for limit in limits_:
                if limit.get("type") == "Container":
                    _fill(attributes.obj, limit)
            wrong = _check_pod(attributes.obj["spec"], limits_)
        else:
            requests = (attributes.obj["spec"].get("resources") or {}).get("requests") or {}
            for limit in limits_:
                if limit.get("type") == "PersistentVolumeClaim":
                    wrong += _check(limit, "PersistentVolumeClaim", requests, requests)
        if wrong:
            text = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
            raise forbidden(attributes.target.kind, attributes.obj["metadata"].get("name", ""), text)
        return None

    storages = frozenset({"core/pods", "core/persistentvolumeclaims"})
    return Plugin(admit, storages, frozenset({"CREATE", "UPDATE"}), again=True)


def _fill(pod: Object, limit: Object) -> None:
    """The defaults, and a note of them."""
    notes = []
    for kind, container in _containers(pod["spec"]):
        resources = container.setdefault("resources", {})
        said = {member: dict(resources.get(member) or {}) for member in ("limits", "requests")}
        for member, source, word in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
            added = [name for name in limit.get(source) or {} if name not in said[member]]
            # A request that is not said follows the limit that is.
            added = [name for name in added if not (member == "requests" and name in said["limits"])]
            for name in added:
                resources.setdefault(member, {})[name] = limit[source][name]
            if added:
                notes.append(f"{', '.join(sorted(added))} {word} for {kind} {container['name']}")
    if notes:
        pod["metadata"].setdefault("annotations", {})[ANNOTATION] = f"LimitRanger plugin set: {'; '.join(notes)}"


def _containers(spec: Object) -> list[tuple[str, Object]]:
    plain = [("container", one) for one in spec.get("containers") or ()]
    return plain + [("init container", one) for one in spec.get("initContainers") or ()]


def _check_pod(spec: Object, limits_: list[Object]) -> list[str]:
    wrong: list[str] = []
    for limit in limits_:
        if limit.get("type") == "Container":
            for _, container in _containers(spec):
                resources = container.get("resources") or {}
                wrong += _check(limit, "Container", resources.get("limits") or {}, resources.get("requests") or {})
        elif limit.get("type") == "Pod":
            wrong += _check(limit, "Pod", _total(spec, "limits"), _total(spec, "requests"))
    return list(dict.fromkeys(wrong))


def _total(spec: Object, member: str) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for one in spec.get("containers") or ():
        for name, amount in ((one.get("resources") or {}).get(member) or {}).items():
            found[name] = found.get(name, Fraction(0)) + _amount(amount)
    return found


def _check(limit: Object, what: str, most: Object, least: Object) -> list[str]:
    """`most`: what an object may use at most (its limits); `least`: what it asks for."""
    wrong = []
    for name, bound in (limit.get("min") or {}).items():
        if name not in least:
            wrong.append(f"minimum {name} usage per {what} is {bound}.  No request is specified")
        elif _amount(least[name]) < _amount(bound):
            wrong.append(f"minimum {name} usage per {what} is {bound}, but request is {_shown(least[name])}")
    for name, bound in (limit.get("max") or {}).items():
        if name not in most:
            if what != "PersistentVolumeClaim":
                wrong.append(f"maximum {name} usage per {what} is {bound}.  No limit is specified")
        elif _amount(most[name]) > _amount(bound):
            word = "request" if what == "PersistentVolumeClaim" else "limit"
            wrong.append(f"maximum {name} usage per {what} is {bound}, but {word} is {_shown(most[name])}")
    for name, ratio in (limit.get("maxLimitRequestRatio") or {}).items():
        if name not in most or not _amount(least.get(name, 0)):
            wrong.append(
                f"{name} max limit to request ratio per {what} is {ratio}, but no limit or request is specified"
            )
        elif _amount(most[name]) / _amount(least[name]) > _amount(ratio):
            found = float(_amount(most[name]) / _amount(least[name]))
            wrong.append(f"{name} max limit to request ratio per {what} is {ratio}, but provided ratio is {found:f}")
    return wrong


def _amount(value: Any) -> Fraction:
    if isinstance(value, Fraction):
        return value
    try:
        return value_of(as_text(value))
    except BadQuantity:
        return Fraction(0)


def _shown(value: Any) -> str:
    return str(float(value)) if isinstance(value, Fraction) and value.denominator != 1 else str(value)
