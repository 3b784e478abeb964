"""ResourceQuotas: what is used, counted anew when the quota or what it counts changes.

Admission writes what comes; this finds what went. Source: Kubernetes, "Resource Quotas".
"""

from __future__ import annotations

from fractions import Fraction

from gureum.kube.admission.quotas import QUOTAS, text_of
from gureum.kube.controllers.client import Client
from gureum.kube.controllers.index import PODS
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.kinds.usage import in_scope, usage_of
from gureum.kube.objects import Object

NAME = "resourcequota-controller"


async def reconcile(client: Client, namespace: str) -> None:
    """All quotas of a namespace."""
    for quota in client.objects.all(QUOTAS, namespace):
        hard = (quota.get("spec") or {}).get("hard") or {}
        status = {"hard": hard, "used": _used(client, quota, hard)}
        await client.set_status(QUOTAS, namespace, quota["metadata"]["name"], status, NAME, quota["metadata"]["uid"])


def _used(client: Client, quota: Object, hard: Object) -> dict[str, str]:
    total = dict.fromkeys(hard, Fraction(0))
    for kind in client.catalog.stored():
        if not kind.namespaced or not _concerns(kind.storage, hard):
            continue
        for obj in client.objects.all(kind.storage, quota["metadata"]["namespace"]):
            if in_scope(quota, kind.storage, obj):
                for name, amount in usage_of(kind.storage, obj).items():
                    if name in total:
                        total[name] += amount
    return {name: text_of(amount) for name, amount in total.items()}


def _concerns(storage: str, hard: Object) -> bool:
    """Whether a quota counts that kind at all."""
    empty: Object = {"spec": {}, "status": {}, "metadata": {}}
    names = set(usage_of(storage, empty))
    if storage == PODS:
        return any(not name.startswith(("count/", "services", "persistent")) or name == "count/pods" for name in hard)
    if storage == "core/persistentvolumeclaims":
        return any("storage" in name or "persistentvolumeclaims" in name for name in hard)
    if storage == "core/services":
        return any(name.startswith("services") or name == "count/services" for name in hard)
    return bool(names & set(hard))


class _Namespaces:
    """Which namespaces have quotas."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def wake(self, seen: Seen) -> list[str]:
        namespace = seen.place.namespace
        if seen.place.storage == QUOTAS:
            here = self._known.setdefault(namespace, set())
            if seen.after is None:
                here.discard(seen.place.name)
            else:
                here.add(seen.place.name)
            return [namespace] if here else []
        # What comes is counted by admission; pods change what they use when they end.
        gone_or_pod = seen.after is None or seen.place.storage == PODS
        return [namespace] if gone_or_pod and self._known.get(namespace) else []


def controller() -> Controller:
    """Anew for each cluster: it keeps where quotas are."""
    return Controller("resourcequota", {"*": _Namespaces().wake}, reconcile)
