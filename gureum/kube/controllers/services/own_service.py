"""The service `kubernetes`, by which pods are to reach the API: there from the cluster's first moment, and made again when it is deleted."""

from __future__ import annotations

import uuid

from gureum.kube.admission.addresses import SERVICE_ADDRESS, claim_key
from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.kinds.addresses import ADDRESSES, address_of
from gureum.kube.objects import Object, Objects
from gureum.kube.times import timestamp
from gureum.store.contract import Conflict, Put, Unchanged


async def make_own_service(objects: Objects, now: str) -> None:
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


def _gone(seen: Seen) -> list[str]:
    own = (seen.place.namespace, seen.place.name) == ("default", "kubernetes")
    return ["default/kubernetes"] if own and seen.after is None else []


async def reconcile(client: Client, _key: str) -> float | None:
    try:
        await make_own_service(client.objects, timestamp(client.clock.now()))
    except Conflict:  # somebody was faster
        return 1.0
    return None


CONTROLLER = Controller("own-service", {"core/services": _gone}, reconcile)
