"""Services, what is behind them, and ways in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gureum.kube.tables.column import NONE, Object, age, at, labels, listed, name_of, selector, table


@table("Name,Type,Cluster-IP,External-IP,Port(s),Age", "Selector")
def services(one: Object, now: datetime) -> list[Any]:
    type_ = at(one, "spec", "type", default="ClusterIP")
    return [
        name_of(one),
        type_,
        at(one, "spec", "clusterIP") or NONE,
        _external(one, type_),
        ",".join(_port(port) for port in at(one, "spec", "ports", default=[])) or NONE,
        age(one, now),
        labels(at(one, "spec", "selector")),
    ]


def _external(service: Object, type_: str) -> str:
    own = at(service, "spec", "externalIPs", default=[])
    if type_ == "ExternalName":
        return str(at(service, "spec", "externalName", default=""))
    if type_ == "LoadBalancer":
        given = _addresses(service)
        return ",".join([*own, *given]) or "<pending>"
    return ",".join(own) or NONE


def _addresses(thing: Object) -> list[str]:
    found = at(thing, "status", "loadBalancer", "ingress", default=[])
    return [one.get("ip") or one.get("hostname") or "" for one in found]


def _port(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', '')}{node}/{port.get('protocol', 'TCP')}"


@table("Name,Endpoints,Age")
def endpoints(one: Object, now: datetime) -> list[Any]:
    return [
        name_of(one),
        listed([address for part in at(one, "subsets", default=[]) for address in _of_subset(part)]),
        age(one, now),
    ]


def _of_subset(subset: Object) -> list[str]:
    hosts = [one.get("ip", "") for one in subset.get("addresses") or ()]
    ports = subset.get("ports") or ()
    return [f"{host}:{port.get('port')}" for port in ports for host in hosts] if ports else hosts


@table("Name,AddressType,Ports,Endpoints,Age")
def endpoint_slices(one: Object, now: datetime) -> list[Any]:
    ports = one.get("ports")
    if ports is None:
        shown = "<unset>"
    else:
        shown = listed([str(port.get("port", "<unset>")) for port in ports])
    found = [address for each in one.get("endpoints") or () for address in each.get("addresses") or ()]
    return [name_of(one), one.get("addressType", ""), shown, "<unset>" if not found else listed(found), age(one, now)]


@table("Name,Class,Hosts,Address,Ports,Age")
def ingresses(one: Object, now: datetime) -> list[Any]:
    hosts = [rule.get("host") for rule in at(one, "spec", "rules", default=[]) if rule.get("host")]
    return [
        name_of(one),
        at(one, "spec", "ingressClassName") or NONE,
        listed(hosts) if hosts else "*",
        ",".join(_addresses(one)),
        "80, 443" if at(one, "spec", "tls") else "80",
        age(one, now),
    ]


@table("Name,Controller,Parameters,Age")
def ingress_classes(one: Object, now: datetime) -> list[Any]:
    chosen = at(one, "spec", "parameters")
    shown = NONE
    if chosen:
        group = f".{chosen['apiGroup']}" if chosen.get("apiGroup") else ""
        shown = f"{chosen.get('kind', '')}{group}/{chosen.get('name', '')}"
    return [name_of(one), at(one, "spec", "controller", default=""), shown, age(one, now)]


@table("Name,Pod-Selector,Age")
def network_policies(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), selector(at(one, "spec", "podSelector")), age(one, now)]


@table("Name,CIDRs,Age")
def service_cidrs(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), ",".join(at(one, "spec", "cidrs", default=[])), age(one, now)]


@table("Name,ParentRef,Age")
def ip_addresses(one: Object, now: datetime) -> list[Any]:
    parent = at(one, "spec", "parentRef", default={})
    parts = [parent.get("resource", ""), parent.get("namespace", ""), parent.get("name", "")]
    group = f".{parent['group']}" if parent.get("group") else ""
    parts[0] += group
    return [name_of(one), "/".join(part for part in parts if part) or "<none>", age(one, now)]
