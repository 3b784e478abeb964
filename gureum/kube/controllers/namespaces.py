"""Namespaces: emptied when they are deleted; each has a service account and the cluster's root certificate.

Source: Kubernetes, "Namespaces"; the namespace, service account and root CA controllers.
"""

from __future__ import annotations

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Controller, Seen, itself
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.times import timestamp

NAME = "namespace-controller"
ROOT_CA = "kube-root-ca.crt"
AGAIN_S = 1.0


def _of_object(seen: Seen) -> list[str]:
    """What goes from a namespace may have been its last."""
    return [f"/{seen.place.namespace}"] if seen.after is None and seen.place.namespace else []


async def empty(client: Client, key: str) -> float | None:
    """Deletes everything in a namespace that is being deleted, then lets it go."""
    name = key.removeprefix("/")
    namespace = client.get("core/namespaces", "", name)
    if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
        return None
    left: dict[str, int] = {}
    waits: dict[str, int] = {}
    # Pods last but one would do; the order does not matter, since nothing can be created there any more.
    for kind in client.catalog.stored():
        if not kind.namespaced:
            continue
        for entry in client.objects.store.range(client.objects.prefix(kind.storage, name)):
            facts = client.index.facts.get(entry.key)
            if facts is not None and not facts.deleting:
                await client.delete(*client.objects.place(entry.key), NAME, policy="Background")
        rest = client.objects.store.range(client.objects.prefix(kind.storage, name))
        if rest:
            left[kind.qualified] = len(rest)
            for entry in rest:
                for finalizer in client.index.facts[entry.key].finalizers:
                    waits[finalizer] = waits.get(finalizer, 0) + 1
    if left:
        await client.set_status("core/namespaces", "", name, _status(client, namespace, left, waits), NAME)
        return AGAIN_S

    def finish(obj: Object) -> Object:
        spec = obj.get("spec") or {}
        finalizers = [one for one in spec.get("finalizers") or () if one != "kubernetes"]
        return {**obj, "spec": {**spec, "finalizers": finalizers}}

    await client.update("core/namespaces", "", name, finish, NAME, "finalize")
    return None


def _status(client: Client, namespace: Object, left: dict[str, int], waits: dict[str, int]) -> Object:
    now = timestamp(client.clock.now())
    texts = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(left.items()))
    held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(waits.items()))
    wanted = [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", "False", "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain", f"Some resources are remaining: {texts}"),
    ]  # fmt: skip
    if waits:
        wanted.append(
            (
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                f"Some content in the namespace has finalizers remaining: {held}",
            )
        )
    else:
        wanted.append(
            (
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            )
        )
    known = {one["type"]: one for one in (namespace.get("status") or {}).get("conditions") or ()}
    conditions = []
    for type_, status, reason, message in wanted:
        same = known.get(type_, {}).get("status") == status
        since = known[type_]["lastTransitionTime"] if same else now
        conditions.append(
            {"type": type_, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
        )
    return {"phase": "Terminating", "conditions": conditions}


def furnisher(authority: str) -> Controller:
    """Makes the service account `default` and the config map with the authority's certificate in every namespace, and again when they are deleted."""

    def wake(seen: Seen) -> list[str]:
        return [seen.place.namespace or seen.place.name]

    def only(name: str) -> object:
        return lambda seen: wake(seen) if seen.place.name == name else ()

    async def furnish(client: Client, name: str) -> None:
        namespace = client.get("core/namespaces", "", name)
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return
        metadata = {"namespace": name}
        account = {"metadata": {**metadata, "name": "default"}}
        if client.get("core/serviceaccounts", name, "default") is None:
            await _create(client, "core/serviceaccounts", account)
        note = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."  # noqa: E501
        data = {"ca.crt": authority}
        known = client.get("core/configmaps", name, ROOT_CA)
        if not authority:
            return
        if known is None:
            labelled = {**metadata, "name": ROOT_CA, "annotations": {"kubernetes.io/description": note}}
            await _create(client, "core/configmaps", {"metadata": labelled, "data": data})
        elif known.get("data") != data:
            await client.update(
                "core/configmaps", name, ROOT_CA, lambda obj: {**obj, "data": data}, "root-ca-cert-publisher"
            )

    wakes = {"core/namespaces": wake, "core/serviceaccounts": only("default"), "core/configmaps": only(ROOT_CA)}
    return Controller("namespace-furnisher", wakes, furnish)  # type: ignore[arg-type]


async def _create(client: Client, storage: str, obj: Object) -> None:
    try:
        await client.create(storage, obj, "service-account-controller")
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise


NAMESPACES = Controller("namespace", {"core/namespaces": itself, "*": _of_object}, empty)
