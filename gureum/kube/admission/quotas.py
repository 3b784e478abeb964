"""ResourceQuota: what would be more than a namespace may have is refused; what is taken stands in the quota's status in the same commit, so
that two who come at once cannot both have the last of it.

Source: Kubernetes, "Resource Quotas".
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.errors import forbidden
from gureum.kube.kinds.quantities import BadQuantity, as_text, canonical, value_of
from gureum.kube.kinds.usage import Usage, in_scope, missing_of, usage_of
from gureum.kube.objects import Objects
from gureum.store.contract import Unchanged

QUOTAS = "core/resourcequotas"
Object = dict[str, Any]


def quotas(objects: Objects) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        if not attributes.target.kind.namespaced or attributes.storage == QUOTAS:
            return None
        found: list[Extra] = []
        for entry in objects.store.range(objects.prefix(QUOTAS, attributes.namespace)):
            quota = objects.decode(entry)
            changed = _charged(quota, attributes)
            if changed is not None:
                found += [Unchanged(entry.key, entry.revision), objects.put(QUOTAS, changed)]
        return found

    return Plugin(admit, operations=frozenset({"CREATE", "UPDATE"}))


def _charged(quota: Object, attributes: Attributes) -> Object | None:
    """The quota with the object counted; None when it does not concern it. StatusError when it is too much."""
    if not in_scope(quota, attributes.storage, attributes.obj):
        return None
    hard = (quota.get("status") or {}).get("hard") or (quota.get("spec") or {}).get("hard") or {}
    more = _delta(attributes, hard)
    name = quota["metadata"]["name"]
    if attributes.storage == "core/pods" and attributes.operation == "CREATE":
        missing = missing_of(attributes.obj["spec"], set(hard))
        if missing:
            raise _refused(attributes, f"failed quota: {name}: must specify {'; '.join(missing)}")
    more = {resource: amount for resource, amount in more.items() if amount}
    if not more:
        return None
    status = quota.get("status") or {}
    used = {resource: _amount(text) for resource, text in (status.get("used") or {}).items()}
    over = [
        one for one in sorted(more) if more[one] > 0 and used.get(one, Fraction(0)) + more[one] > _amount(hard[one])
    ]
    if over:
        parts = (
            ",".join(f"{one}={text_of(more[one])}" for one in over),
            ",".join(f"{one}={text_of(used.get(one, Fraction(0)))}" for one in over),
            ",".join(f"{one}={hard[one]}" for one in over),
        )
        text = f"exceeded quota: {name}, requested: {parts[0]}, used: {parts[1]}, limited: {parts[2]}"
        raise _refused(attributes, text)
    after = {**(status.get("used") or {})}
    for resource, amount in more.items():
        after[resource] = text_of(max(Fraction(0), used.get(resource, Fraction(0)) + amount))
    return {**quota, "status": {**status, "hard": hard, "used": after}}


def _delta(attributes: Attributes, hard: Object) -> Usage:
    now = usage_of(attributes.storage, attributes.obj)
    before = usage_of(attributes.storage, attributes.old) if attributes.old else {}
    return {name: now.get(name, Fraction(0)) - before.get(name, Fraction(0)) for name in hard}


def _refused(attributes: Attributes, text: str) -> Exception:
    return forbidden(attributes.target.kind, attributes.obj["metadata"].get("name", ""), text)


def _amount(value: Any) -> Fraction:
    try:
        return value_of(as_text(value))
    except BadQuantity:
        return Fraction(0)


def text_of(amount: Fraction) -> str:
    """An amount as a quota tells it."""
    if amount.denominator == 1:
        whole = int(amount)
        for suffix, size in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
            if whole and whole % size == 0:
                return f"{whole // size}{suffix}"
        return canonical(str(whole))
    return canonical(f"{-(-amount.numerator * 1000 // amount.denominator)}m")
