"""Claims of volumes go when no pod uses them any more.

Source: Kubernetes, "Persistent Volumes", storage object in use protection.
"""

from __future__ import annotations

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.index import PODS
from gureum.kube.controllers.loop import Controller, Seen, itself
from gureum.kube.controllers.workloads.pods import phase
from gureum.kube.objects import Object
from gureum.kube.scheduling.claims import CLAIMS, claims_of

PROTECTION = "kubernetes.io/pvc-protection"
NAME = "pvc-protection-controller"


def _of_pod(seen: Seen) -> list[str]:
    """All claims of its namespace (key "namespace/") when a pod is gone."""
    return [f"{seen.place.namespace}/"] if seen.after is None else []


async def reconcile(client: Client, key: str) -> None:
    namespace, _, name = key.partition("/")
    prefix = client.objects.prefix(CLAIMS, namespace)
    keys = [prefix + name] if name else [entry.key for entry in client.objects.store.range(prefix)]
    waiting = [
        one
        for one in keys
        if (facts := client.index.facts.get(one)) and facts.deleting and PROTECTION in facts.finalizers
    ]
    used = _used(client, namespace) if waiting else set()
    for one in waiting:
        place = client.objects.place(one)
        if place.name not in used:
            await client.update(CLAIMS, namespace, place.name, _released, NAME)


def _used(client: Client, namespace: str) -> set[str]:
    found: set[str] = set()
    for entry in client.objects.store.range(client.objects.prefix(PODS, namespace)):
        pod = client.objects.decode(entry)
        if phase(pod) in ("Succeeded", "Failed"):
            continue
        found.update(claims_of(pod))
    return found


def _released(claim: Object) -> Object:
    left = [one for one in claim["metadata"].get("finalizers") or () if one != PROTECTION]
    metadata = {**claim["metadata"], "finalizers": left}
    if not left:
        del metadata["finalizers"]
    return {**claim, "metadata": metadata}


CONTROLLER = Controller("claims", {CLAIMS: itself, PODS: _of_pod}, reconcile)
