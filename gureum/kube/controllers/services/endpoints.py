"""Which addresses are behind a service: its EndpointSlices, and the older Endpoints.

Source: Kubernetes, "EndpointSlices"; k8s.io/kubernetes/pkg/controller/endpointslice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from gureum.kube.controllers.client import Client, owner_reference
from gureum.kube.controllers.index import PODS
from gureum.kube.controllers.loop import Controller, Seen, its_controller, itself
from gureum.kube.controllers.workloads.choices import Choices
from gureum.kube.controllers.workloads.pods import is_ready, phase
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.selectors import from_labels, matches

SERVICES, SLICES, ENDPOINTS = "core/services", "discovery.k8s.io/endpointslices", "core/endpoints"
NAME = "endpointslice-controller"
SERVICE_LABEL, MANAGED_LABEL = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
LIMIT_PER_SLICE = 100
LIMIT_ENDPOINTS = 1000
Ports = tuple[tuple[str, str, int], ...]
"""Name, protocol, number; sorted."""


async def reconcile(client: Client, key: str) -> None:
    namespace, _, name = key.partition("/")
    service = client.get(SERVICES, namespace, name)
    if service is None or service["metadata"].get("deletionTimestamp"):
        if service is None:
            await client.delete(ENDPOINTS, namespace, name, NAME)
        return
    spec = service["spec"]
    if not spec.get("selector") or spec.get("type") == "ExternalName":
        return
    groups: dict[Ports, list[Object]] = {}
    for pod in _pods(client, namespace, spec["selector"]):
        groups.setdefault(_ports(spec, pod), []).append(pod)
    await _write_slices(client, service, groups)
    await _write_endpoints(client, service, groups)


def _pods(client: Client, namespace: str, selector: dict[str, str]) -> list[Object]:
    """Those that have an address and have not ended, by their names."""
    wanted = from_labels(selector)
    prefix = client.objects.prefix(PODS, namespace)
    keys = [
        key for key, facts in client.index.facts.items() if key.startswith(prefix) and matches(wanted, facts.labels)
    ]
    found = client.many(sorted(keys))
    return [
        pod for pod in found if (pod.get("status") or {}).get("podIP") and phase(pod) not in ("Succeeded", "Failed")
    ]


def _ports(spec: Object, pod: Object) -> Ports:
    """Where the service's ports lead in a pod; names are looked up in its containers."""
    found = []
    for port in spec.get("ports") or ():
        target, protocol = port.get("targetPort", port["port"]), port.get("protocol", "TCP")
        number = target if isinstance(target, int) else _named(pod, target, protocol)
        if number:
            found.append((port.get("name", ""), protocol, number))
    return tuple(sorted(found))


def _named(pod: Object, name: str, protocol: str) -> int:
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == name and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return 0


async def _write_slices(client: Client, service: Object, groups: dict[Ports, list[Object]]) -> None:
    metadata = service["metadata"]
    wished: dict[str, Object] = {}
    for ports, pods in groups.items() or [((), [])]:
        for start in range(0, max(len(pods), 1), LIMIT_PER_SLICE):
            name = _slice_name(metadata["name"], ports, start)
            wished[name] = _slice(service, name, ports, pods[start : start + LIMIT_PER_SLICE])
    known = {
        one["metadata"]["name"]: one
        for one in client.many(client.index.dependents(metadata["uid"], SLICES))
        if (one["metadata"].get("labels") or {}).get(MANAGED_LABEL) == MANAGER
    }
    for name, one in wished.items():
        if name in known:
            await client.update(
                SLICES, metadata["namespace"], name, _with(one, ("addressType", "endpoints", "ports")), NAME
            )
        else:
            await _create(client, SLICES, one)
    for name, one in known.items():
        if name not in wished:
            await client.delete(SLICES, metadata["namespace"], name, NAME, uid=one["metadata"]["uid"])


def _slice_name(service: str, ports: Ports, start: int) -> str:
    digest = hashlib.sha256(msgspec.json.encode([ports, start])).hexdigest()
    return f"{service[:200]}-{digest[:5]}"


def _slice(service: Object, name: str, ports: Ports, pods: list[Object]) -> Object:
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    headless = {"service.kubernetes.io/headless": ""} if service["spec"].get("clusterIP") == "None" else {}
    labels = {**(service["metadata"].get("labels") or {}), **headless}
    return {
        "metadata": {
            "name": name,
            "namespace": service["metadata"]["namespace"],
            "labels": {**labels, SERVICE_LABEL: service["metadata"]["name"], MANAGED_LABEL: MANAGER},
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": [_endpoint(pod, publish=publish) for pod in pods],
        "ports": [{"name": port, "protocol": protocol, "port": number} for port, protocol, number in ports],
    }


def _endpoint(pod: Object, *, publish: bool) -> Object:
    ready, ending = is_ready(pod), bool(pod["metadata"].get("deletionTimestamp"))
    found: Object = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": publish or (ready and not ending), "serving": publish or ready, "terminating": ending},
        "targetRef": _reference(pod),
    }
    if pod["spec"].get("nodeName"):
        found["nodeName"] = pod["spec"]["nodeName"]
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain"):
        found["hostname"] = pod["spec"]["hostname"]
    return found


def _reference(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


async def _write_endpoints(client: Client, service: Object, groups: dict[Ports, list[Object]]) -> None:
    """The older form: all addresses in one object, those of pods that end left out."""
    metadata = service["metadata"]
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    subsets = []
    for ports, pods in sorted(groups.items()):
        subset: Object = {}
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")][:LIMIT_ENDPOINTS]
        ready = [_address(pod) for pod in alive if publish or is_ready(pod)]
        others = [_address(pod) for pod in alive if not publish and not is_ready(pod)]
        if ready:
            subset["addresses"] = ready
        if others:
            subset["notReadyAddresses"] = others
        if subset:
            subset["ports"] = [
                {**({"name": port} if port else {}), "port": number, "protocol": protocol}
                for port, protocol, number in ports
            ]
            subsets.append(subset)
    wished: Object = {
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {**(metadata.get("labels") or {}), "endpoints.kubernetes.io/managed-by": "endpoint-controller"},
        },
        **({"subsets": subsets} if subsets else {}),
    }
    if client.get(ENDPOINTS, metadata["namespace"], metadata["name"]) is None:
        await _create(client, ENDPOINTS, wished)
    else:
        await client.update(ENDPOINTS, metadata["namespace"], metadata["name"], _with(wished, ("subsets",)), NAME)


def _address(pod: Object) -> Object:
    found: Object = {"ip": pod["status"]["podIP"], "targetRef": _reference(pod)}
    if pod["spec"].get("nodeName"):
        found["nodeName"] = pod["spec"]["nodeName"]
    return found


async def _create(client: Client, storage: str, one: Object) -> None:
    try:
        await client.create(storage, one, NAME)
    except StatusError as error:
        if error.reason not in ("AlreadyExists", "Forbidden"):  # somebody was faster; the namespace is going
            raise


def _with(wished: Object, names: tuple[str, ...]) -> Callable[[Object], Object | None]:
    """Changes an object to what is wished, where it is another."""

    def change(one: Object) -> Object | None:
        labels = {**(one["metadata"].get("labels") or {}), **wished["metadata"]["labels"]}
        same = {name: one.get(name) for name in names} == {name: wished.get(name) for name in names}
        if same and labels == one["metadata"].get("labels"):
            return None
        kept = {name: value for name, value in one.items() if name not in names}
        changed = {name: wished[name] for name in names if name in wished}
        return {**kept, "metadata": {**one["metadata"], "labels": labels}, **changed}

    return change


def controller(client: Client) -> Controller:
    """Anew for each cluster: it keeps what services choose."""
    known = Choices()

    def of_service(seen: Seen) -> list[str]:
        entry = seen.event.entry
        place = seen.place
        found = client.objects.decode(entry) if entry is not None else client.get(SERVICES, place.namespace, place.name)
        selector = (found or {}).get("spec", {}).get("selector")
        known.put(seen, from_labels(selector) if selector else None)
        return itself(seen)

    wakes = {SERVICES: of_service, PODS: known.of_pod, SLICES: its_controller("Service")}
    return Controller("endpointslice", wakes, reconcile)
