"""APIServices: one for each version of a group that is served, as `kubectl get apiservices` lists them.

Those of built-in kinds are there from the cluster's first moment; those of custom kinds come and go with them. Who makes one that names a service
wants another API server to be asked for a group: that is not built, and the object's status says so.
Source: Kubernetes, "Kubernetes API Aggregation Layer"; k8s.io/kube-aggregator.
"""

from __future__ import annotations

from typing import Any

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.definitions import DEFINITIONS
from gureum.kube.controllers.loop import Controller, Seen, itself
from gureum.kube.objects import Object
from gureum.kube.times import timestamp

APISERVICES = "apiregistration.k8s.io/apiservices"
NAME = "apiservice-registration-controller"
MANAGED = "kube-aggregator.kubernetes.io/automanaged"
_PRIORITIES = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600, "autoscaling": 17500,
    "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
    "apiregistration.k8s.io": 18000,
}  # fmt: skip
_CUSTOM = 1000
_ALL = "*"
AGAIN_S = 30.0
"""The service that is named may come."""
_LOCAL = ("True", "Local", "Local APIServices are always available")


def local(group: str, version: str, now: str) -> Object:
    """That of a group that is served here."""
    priority = _PRIORITIES.get(group)
    spec: dict[str, Any] = {"group": group} if group else {}
    spec |= {"version": version, "groupPriorityMinimum": priority or _CUSTOM}
    spec["versionPriority"] = 100 if priority is None else 30 if (group, version) == ("autoscaling", "v2") else 15
    metadata = {"name": f"{version}.{group}", "labels": {MANAGED: "true" if priority is None else "onstart"}}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": metadata,
        "spec": spec,
        "status": {"conditions": [_condition(_LOCAL, now)]},
    }


def _condition(words: tuple[str, str, str], now: str) -> Object:
    status, reason, message = words
    return {"type": "Available", "status": status, "lastTransitionTime": now, "reason": reason, "message": message}


async def reconcile(client: Client, key: str) -> float | None:
    if key == _ALL:
        for each in _known(client) | _served(client):
            await _settle(client, each)
        return None
    return await _settle(client, key.removeprefix("/"))


def _served(client: Client) -> set[str]:
    groups = [("", ["v1"]), *client.catalog.groups()]
    return {f"{version}.{group}" for group, versions in groups for version in versions}


def _known(client: Client) -> set[str]:
    return {one["metadata"]["name"] for one in client.objects.all(APISERVICES)}


async def _settle(client: Client, name: str) -> float | None:
    version, _, group = name.partition(".")
    one = client.get(APISERVICES, "", name)
    service = ((one or {}).get("spec") or {}).get("service")
    now = timestamp(client.clock.now())
    if one is not None and service:
        await client.set_status(APISERVICES, "", name, _aggregated(client, one, service, now), NAME)
        return AGAIN_S
    if name not in _served(client):
        if one is not None and (one["metadata"].get("labels") or {}).get(MANAGED):
            await client.delete(APISERVICES, "", name, NAME)
        return None
    wanted = local(group, version, now)
    if one is None:
        # Its status is left out by a create; the event of it brings us here again.
        await client.create(APISERVICES, wanted, NAME)
    elif not (one.get("status") or {}).get("conditions"):
        await client.set_status(APISERVICES, "", name, wanted["status"], NAME)
    return None


def _aggregated(client: Client, one: Object, service: Object, now: str) -> Object:
    place = str(service.get("namespace", "")), str(service.get("name", ""))
    words = ("False", "NotServed", "API servers beside this one are not asked")
    if client.get("core/services", *place) is None:
        words = ("False", "ServiceNotFound", f'service/{place[1]} in "{place[0]}" is not present')
    known = ((one.get("status") or {}).get("conditions") or [{}])[0]
    since = known.get("lastTransitionTime", now) if known.get("status") == words[0] else now
    return {"conditions": [_condition(words, since)]}


def _of_definition(_seen: Seen) -> list[str]:
    """What a definition served before is nowhere any more: all are looked at."""
    return [_ALL]


CONTROLLER = Controller("apiservices", {APISERVICES: itself, DEFINITIONS: _of_definition}, reconcile)
