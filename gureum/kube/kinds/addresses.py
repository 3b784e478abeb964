"""ServiceCIDRs, the ranges that services get their addresses from, and IPAddresses, one for each that is given.

Source: Kubernetes, "Service ClusterIP allocation", "Extend Service IP Ranges"; pkg/apis/networking/validation. IPv6 is not there.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from gureum.kube.errors import Cause, invalid, required
from gureum.kube.kinds.rules import Rules

Object = dict[str, Any]
CIDRS, ADDRESSES = "networking.k8s.io/servicecidrs", "networking.k8s.io/ipaddresses"
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGED = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
READY = ("True", "", "Kubernetes Service CIDR is ready")
Network = ipaddress.IPv4Network


def networks_of(one: Object) -> list[Network]:
    """Of a ServiceCIDR."""
    return [ipaddress.IPv4Network(text) for text in (one.get("spec") or {}).get("cidrs") or ()]


def condition(words: tuple[str, str, str], since: str) -> Object:
    """Of a ServiceCIDR: (status, reason, message)."""
    status, reason, message = words
    return {"type": "Ready", "status": status, "lastTransitionTime": since, "reason": reason, "message": message}


def address_of(address: str, namespace: str, name: str) -> Object:
    """The IPAddress of a service's address, without what every new object gets."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": address, "labels": {"ipaddress.kubernetes.io/ip-family": "IPv4", MANAGED: ALLOCATOR}},
        "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name}},
    }


def _validate_cidr(one: Object, old: Object | None) -> list[Cause]:
    cidrs = (one.get("spec") or {}).get("cidrs") or []
    if old is not None and cidrs != ((old.get("spec") or {}).get("cidrs") or []):
        return [invalid("spec.cidrs", cidrs, "field is immutable")]
    if not cidrs:
        return [required("spec.cidrs", "at least one CIDR required")]
    causes: list[Cause] = []
    for number, text in enumerate(cidrs):
        at = f"spec.cidrs[{number}]"
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            causes.append(invalid(at, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))
            continue
        if network.version != 4:
            causes.append(invalid(at, text, "IPv6 is not built"))
    if len(cidrs) > 1 and not causes:
        causes.append(
            invalid("spec.cidrs", cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
        )  # fmt: skip
    return causes


def _validate_address(one: Object, old: Object | None) -> list[Cause]:
    name, parent = one["metadata"].get("name", ""), (one.get("spec") or {}).get("parentRef")
    causes: list[Cause] = []
    try:
        if str(ipaddress.ip_address(name)) != name:
            causes.append(invalid("metadata.name", name, "must be a valid IP address in canonical format"))
    except ValueError:
        causes.append(invalid("metadata.name", name, "must be a valid IP address in canonical format"))
    if not parent:
        causes.append(required("spec.parentRef"))
    else:
        causes += [required(f"spec.parentRef.{field}") for field in ("resource", "name") if not parent.get(field)]
    if old is not None and parent != (old.get("spec") or {}).get("parentRef"):
        causes.append(invalid("spec.parentRef", parent, "field is immutable"))
    return causes


RULES = {
    CIDRS: Rules(validate=_validate_cidr, generation=False),
    ADDRESSES: Rules(validate=_validate_address, generation=False),
}
