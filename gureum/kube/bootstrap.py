"""What every cluster has from its first moment on: namespaces, the default service account of each, roles and bindings, priority
classes, APIServices, the API's own service."""

from __future__ import annotations

import uuid
from typing import Any

from gureum.kube.access.roles import default_roles
from gureum.kube.admission.addresses import NETWORK
from gureum.kube.controllers.apiservices import APISERVICES, local
from gureum.kube.controllers.services.own_service import make_own_service
from gureum.kube.kinds.addresses import CIDRS, FINALIZER, READY, condition
from gureum.kube.kinds.builtin import builtin_kinds
from gureum.kube.objects import Object, Objects
from gureum.kube.times import timestamp
from gureum.ports.clock import Clock
from gureum.store.contract import Check, Unchanged, Write

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
WRITES_AT_ONCE = 200


async def bootstrap(objects: Objects, clock: Clock) -> None:
    """Idempotent: what is there stays as it is."""
    now = timestamp(clock.now())
    missing = [
        (storage, obj)
        for storage, obj in _wanted(now)
        if objects.entry(storage, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) is None
    ]
    await make_own_service(objects, now)
    for start in range(0, len(missing), WRITES_AT_ONCE):
        checks: list[Check] = []
        writes: list[Write] = []
        for storage, obj in missing[start : start + WRITES_AT_ONCE]:
            obj["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
            put = objects.put(storage, obj)
            checks.append(Unchanged(put.key, 0))
            writes.append(put)
        await objects.commit(checks, writes)


def _wanted(now: str) -> list[tuple[str, Object]]:
    found = [("core/namespaces", _namespace(name)) for name in NAMESPACES]
    found += [("core/serviceaccounts", _account(name)) for name in NAMESPACES]
    versions = dict.fromkeys((kind.group, kind.version) for kind in builtin_kinds())
    found += [(APISERVICES, local(group, version, now)) for group, version in versions]
    found.append((CIDRS, _service_range(now)))
    return found + default_roles() + [("scheduling.k8s.io/priorityclasses", one) for one in _priorities()]


def _service_range(now: str) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes", "finalizers": [FINALIZER]},
        "spec": {"cidrs": [str(NETWORK)]},
        "status": {"conditions": [condition(READY, now)]},
    }


def _namespace(name: str) -> Object:
    metadata: dict[str, Any] = {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": metadata,
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def _account(namespace: str) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}


def _priorities() -> list[Object]:
    texts = {
        "system-cluster-critical": (
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        "system-node-critical": (
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    }
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name, "generation": 1},
            "value": value,
            "description": text,
            "preemptionPolicy": "PreemptLowerPriority",
        }
        for name, (value, text) in texts.items()
    ]
