"""Addresses and ports of services: each is claimed in the commit that writes the service, so that no two have the same.

    ~claims/ip/10.96.0.10 -> "default/web", with an IPAddress that shows it      ~claims/port/30080 -> "default/web"

Addresses are of the ServiceCIDRs that are there and stay.
"""

from __future__ import annotations

import ipaddress
import secrets
import uuid
from typing import Any

from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.errors import Cause, StatusError, invalid_object
from gureum.kube.kinds.addresses import ADDRESSES, CIDRS, address_of, networks_of
from gureum.kube.objects import Objects
from gureum.kube.times import timestamp
from gureum.ports.clock import Clock
from gureum.store.contract import Delete, Put, Unchanged

NETWORK = ipaddress.IPv4Network("10.96.0.0/16")
"""Of the ServiceCIDR that a cluster has from the beginning."""
SERVICE_ADDRESS = "10.96.0.1"
"""Of the API's own service."""
RESERVED = 256
"""So many of the first addresses, or a sixteenth of a small range, are left for those that are asked for by number."""
PORTS = range(30000, 32768)
TRIES = 64
Object = dict[str, Any]


def service_addresses(objects: Objects, clock: Clock) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        if attributes.operation == "DELETE":
            return [write for one in _held(attributes.obj) for write in _given_up(objects, *one)]
        claims = _Claims(objects, attributes, timestamp(clock.now()))
        claims.give()
        return claims.extra()

    return Plugin(admit, frozenset({"core/services"}))


class _Claims:
    """Of one service. What it had and has no more is given up."""

    def __init__(self, objects: Objects, attributes: Attributes, now: str) -> None:
        self._objects = objects
        self._now = now
        self._attributes = attributes
        metadata = attributes.obj["metadata"]
        self._namespace, self._name = str(metadata.get("namespace")), str(metadata.get("name"))
        self._had = set(_held(attributes.old)) if attributes.old else set()

    def give(self) -> None:
        spec = self._attributes.obj["spec"]
        if spec.get("type") == "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                spec.pop(name, None)
            return
        if spec.get("clusterIPs") and not spec.get("clusterIP"):
            spec["clusterIP"] = spec["clusterIPs"][0]
        if not spec.get("clusterIP"):
            spec["clusterIP"] = self._free("ip", self._random_address)
        spec["clusterIPs"] = [spec["clusterIP"]]
        wants = spec.get("type") == "NodePort" or (
            spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)
        )
        for port in spec.get("ports") or ():
            if not wants:
                port.pop("nodePort", None)
            elif not port.get("nodePort"):
                port["nodePort"] = int(self._free("port", _random_port))

    def extra(self) -> list[Extra]:
        has = set(_held(self._attributes.obj))
        found: list[Extra] = [write for one in self._had - has for write in _given_up(self._objects, *one)]
        for space, value in sorted(has - self._had):
            self._check(space, value)
            key = claim_key(self._objects, space, value)
            if self._is_taken(space, value):
                raise self._taken(
                    space,
                    value,
                    "provided IP is already allocated" if space == "ip" else "provided port is already allocated",
                )
            found += [Unchanged(key, 0), Put(key, f"{self._namespace}/{self._name}".encode())]
            if space == "ip":
                found += self._shown(value)
        return found

    def _shown(self, address: str) -> list[Extra]:
        """The IPAddress."""
        obj = address_of(address, self._namespace, self._name)
        obj["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._now}
        put = self._objects.put(ADDRESSES, obj)
        return [Unchanged(put.key, 0), put]

    def _is_taken(self, space: str, value: str) -> bool:
        if space == "ip" and self._objects.entry(ADDRESSES, "", value) is not None:
            return True
        return self._objects.store.get(claim_key(self._objects, space, value)) is not None

    def _networks(self) -> list[ipaddress.IPv4Network]:
        found = [
            network
            for one in self._objects.all(CIDRS)
            if not one["metadata"].get("deletionTimestamp")
            for network in networks_of(one)
        ]
        return found or [NETWORK]

    def _random_address(self) -> str:
        network = secrets.choice(self._networks())
        last = max(network.num_addresses - 2, 0)
        first = min(max(1, min(RESERVED, network.num_addresses // 16)), last)
        return str(network[first + secrets.randbelow(last - first + 1)])

    def _check(self, space: str, value: str) -> None:
        if space == "port":
            if int(value) not in PORTS:
                raise self._taken(
                    space,
                    value,
                    f"provided port is not in the valid range. The range of valid ports is {PORTS.start}-{PORTS.stop - 1}",
                )
            return
        networks = self._networks()
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            raise self._taken(space, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)") from None
        if not any(address in network for network in networks):
            valid = ", ".join(str(network) for network in networks)
            raise self._taken(
                space,
                value,
                f"failed to allocate IP {value}: the provided IP ({value}) is not in the valid range. The range of valid IPs is {valid}",
            )

    def _free(self, space: str, pick: Any) -> str:
        for _ in range(TRIES):
            value: str = pick()
            if not self._is_taken(space, value):
                return value
        raise StatusError(500, "InternalError", f"failed to allocate a serviceIP: range is full ({space})")

    def _taken(self, space: str, value: str, text: str) -> StatusError:
        metadata = self._attributes.obj["metadata"]
        field = "spec.clusterIPs" if space == "ip" else "spec.ports[0].nodePort"
        shown = f'["{value}"]' if space == "ip" else value
        cause = Cause("FieldValueInvalid", field, f"Invalid value: {shown}: {text}")
        return invalid_object(self._attributes.target.kind, metadata.get("name", ""), [cause])


def _held(obj: Object) -> list[tuple[str, str]]:
    spec = obj.get("spec") or {}
    found = []
    address = spec.get("clusterIP")
    if address and address != "None" and spec.get("type") != "ExternalName":
        found.append(("ip", str(address)))
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        found += [("port", str(one["nodePort"])) for one in spec.get("ports") or () if one.get("nodePort")]
    return found


def claim_key(objects: Objects, space: str, value: str) -> str:
    return f"{objects.claims}{space}/{value}"


def _given_up(objects: Objects, space: str, value: str) -> list[Extra]:
    shown = [Delete(objects.key(ADDRESSES, "", value))] if space == "ip" else []
    return [Delete(claim_key(objects, space, value)), *shown]


def _random_port() -> str:
    return str(PORTS[secrets.randbelow(len(PORTS))])
