"""What every cluster has from its first moment on: namespaces, the default service account of each, roles and bindings, priority
classes, APIServices, the API's own service."""

from __future__ import annotations

import uuid
from typing import Any

from gureum.kube.access.roles import default_roles
from gureum.kube.admission.addresses import NETWORK, SERVICE_ADDRESS, claim_key
from gureum.kube.controllers.apiservices import APISERVICES, local
from gureum.kube.kinds.addresses import ADDRESSES, CIDRS, FINALIZER, READY, address_of, condition
from gureum.kube.kinds.builtin import builtin_kinds
from gureum.kube.objects import Object, Objects
from gureum.kube.times import timestamp
from gureum.ports.clock import Clock
from gureum.store.contract import Check, Put, Unchanged, Write

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
    await _own_service(objects, now)
    for start in range(0, len(missing), WRITES_AT_ONCE):
        checks: list[Check] = []
        writes: list[Write] = []
        for storage, obj in missing[start : start + WRITES_AT_ONCE]:
            obj["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
            put = objects.put(storage, obj)
            checks.append(Unchanged(put.key, 0))
            writes.append(put)
        await objects.commit(checks, writes)


async def _own_service(objects: Objects, now: str) -> None:
    """The API's own, with its address; left out where somebody has that."""
    claim = claim_key(objects, "ip", SERVICE_ADDRESS)
    if objects.entry("core/services", "default", "kubernetes") is not None or objects.store.get(claim) is not None:
        return
    port = {"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}
    metadata = {"name": "kubernetes", "namespace": "default", "uid": str(uuid.uuid4()), "creationTimestamp": now}
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**metadata, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": SERVICE_ADDRESS,
            "clusterIPs": [SERVICE_ADDRESS],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [port],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }
    put = objects.put("core/services", service)
    shown = address_of(SERVICE_ADDRESS, "default", "kubernetes")
    shown["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
    address = objects.put(ADDRESSES, shown)
    checks = [Unchanged(key, 0) for key in (put.key, claim)]
    await objects.commit(checks, [put, Put(claim, b"default/kubernetes"), address])


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
