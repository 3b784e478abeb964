"""Addresses and ports of services: each is claimed in the commit that writes the service, so that no two have the same.

~claims/ip/10.96.0.10 -> "default/web"      ~claims/port/30080 -> "default/web"
"""

from __future__ import annotations

import ipaddress
import secrets
from typing import Any

from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.errors import Cause, StatusError, invalid_object
from gureum.kube.objects import Objects
from gureum.store.contract import Delete, Put, Unchanged

NETWORK = ipaddress.ip_network("10.96.0.0/16")
SERVICE_ADDRESS = "10.96.0.1"
"""Of the API's own service."""
RESERVED = 256
"""The first addresses are left for those that are asked for by number."""
PORTS = range(30000, 32768)
TRIES = 64
Object = dict[str, Any]


def service_addresses(objects: Objects) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        if attributes.storage != "core/services" or attributes.subresource:
            return None
        if attributes.operation == "DELETE":
            return [*(Delete(claim_key(objects, *one)) for one in _held(attributes.obj))]
        claims = _Claims(objects, attributes)
        claims.give()
        return claims.extra()

    return admit


class _Claims:
    """Of one service. What it had and has no more is given up."""

    def __init__(self, objects: Objects, attributes: Attributes) -> None:
        self._objects = objects
        self._attributes = attributes
        metadata = attributes.obj["metadata"]
        self._owner = f"{metadata.get('namespace')}/{metadata.get('name')}".encode()
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
            spec["clusterIP"] = self._free("ip", _random_address)
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
        found: list[Extra] = [Delete(claim_key(self._objects, *one)) for one in self._had - has]
        for space, value in sorted(has - self._had):
            self._check(space, value)
            key = claim_key(self._objects, space, value)
            if self._objects.store.get(key) is not None:
                raise self._taken(
                    space,
                    value,
                    "provided IP is already allocated" if space == "ip" else "provided port is already allocated",
                )
            found += [Unchanged(key, 0), Put(key, self._owner)]
        return found

    def _check(self, space: str, value: str) -> None:
        if space == "port":
            if int(value) not in PORTS:
                raise self._taken(
                    space,
                    value,
                    f"provided port is not in the valid range. The range of valid ports is {PORTS.start}-{PORTS.stop - 1}",
                )
            return
        try:
            inside = ipaddress.ip_address(value) in NETWORK
        except ValueError:
            raise self._taken(space, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)") from None
        if not inside:
            raise self._taken(
                space,
                value,
                f"failed to allocate IP {value}: the provided IP ({value}) is not in the valid range. The range of valid IPs is {NETWORK}",
            )

    def _free(self, space: str, pick: Any) -> str:
        for _ in range(TRIES):
            value: str = pick()
            if self._objects.store.get(claim_key(self._objects, space, value)) is None:
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


def _random_address() -> str:
    return str(NETWORK[RESERVED + secrets.randbelow(NETWORK.num_addresses - RESERVED - 1)])


def _random_port() -> str:
    return str(PORTS[secrets.randbelow(len(PORTS))])
