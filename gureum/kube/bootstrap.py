"""What every cluster has from its first moment on: namespaces, the default service account of each, roles and bindings, priority classes."""

from __future__ import annotations

import uuid
from typing import Any

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
        for storage, obj in _wanted()
        if objects.entry(storage, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) is None
    ]
    for start in range(0, len(missing), WRITES_AT_ONCE):
        checks: list[Check] = []
        writes: list[Write] = []
        for storage, obj in missing[start : start + WRITES_AT_ONCE]:
            obj["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
            put = objects.put(storage, obj)
            checks.append(Unchanged(put.key, 0))
            writes.append(put)
        await objects.commit(checks, writes)


def _wanted() -> list[tuple[str, Object]]:
    return [("core/namespaces", _namespace(name)) for name in NAMESPACES]


def _namespace(name: str) -> Object:
    metadata: dict[str, Any] = {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": metadata,
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
