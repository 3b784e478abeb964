"""Services, endpoints, ingresses and network policies.

Which addresses a service gets is not decided here (see service_addresses): only what it says and may say. Source: Kubernetes API reference
(Service v1, networking.k8s.io/v1, discovery.k8s.io/v1).
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from gureum.base.addresses import is_ip
from gureum.kube.errors import Cause, duplicate, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.metadata import DNS_LABEL, LABEL_TEXT, SUBDOMAIN, SUBDOMAIN_TEXT, validate_labels
from gureum.kube.kinds.pods.container_checks import PROTOCOLS, port_name, port_number
from gureum.kube.kinds.rules import Rules
from gureum.kube.kinds.workloads import validate_selector

Object = dict[str, Any]
ADDRESS_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_TEXT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
AFFINITY_S = 10_800
LONGEST_AFFINITY_S = 86_400


# Services


def _service(one: Object) -> None:
    spec = one.setdefault("spec", {})
    _unbalanced(one)
    type_ = spec.setdefault("type", "ClusterIP")
    affinity = spec.setdefault("sessionAffinity", "None")
    if affinity == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault("timeoutSeconds", AFFINITY_S)
    elif affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port")
    if type_ in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if type_ != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("ipFamilies", ["IPv4"])
    if type_ == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]


def _unbalanced(one: Object) -> None:
    """The status says of load balancers, even when there is none."""
    one.setdefault("status", {}).setdefault("loadBalancer", {})


def _update_service(one: Object, old: Object) -> None:
    """What the server chose stays, where the client says nothing and the type still has it."""
    spec, before = one.setdefault("spec", {}), old.get("spec") or {}
    type_ = spec.get("type", "ClusterIP")
    if type_ == "ExternalName" or before.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP") and before.get("clusterIP"):
        spec["clusterIP"], spec["clusterIPs"] = before["clusterIP"], before.get("clusterIPs", [before["clusterIP"]])
    for name in ("ipFamilies", "ipFamilyPolicy"):
        if name in before:
            spec.setdefault(name, before[name])
    if type_ in ("NodePort", "LoadBalancer"):
        had = {
            (port.get("protocol", "TCP"), port.get("port")): port.get("nodePort") for port in before.get("ports") or ()
        }
        for port in spec.get("ports") or ():
            known = had.get((port.get("protocol", "TCP"), port.get("port")))
            if not port.get("nodePort") and known:
                port["nodePort"] = known
        if before.get("healthCheckNodePort") and spec.get("externalTrafficPolicy") == "Local":
            spec.setdefault("healthCheckNodePort", before["healthCheckNodePort"])


def _validate_service(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    type_ = spec.get("type")
    if type_ not in TYPES:
        return [unsupported("spec.type", type_, TYPES)]
    causes = _ports(spec, type_)
    causes += validate_labels("spec.selector", spec.get("selector") or {})
    if spec.get("sessionAffinity") not in ("ClientIP", "None"):
        causes.append(unsupported("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None")))
    causes += _external_name(spec) if type_ == "ExternalName" else _own_address(spec, type_)
    for number, address in enumerate(spec.get("externalIPs") or ()):
        if not is_ip(address):
            causes.append(invalid(f"spec.externalIPs[{number}]", address, ADDRESS_TEXT))
    if spec.get("externalTrafficPolicy") and type_ not in ("NodePort", "LoadBalancer"):
        text = "may only be set for externally-accessible services"
        causes.append(invalid("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], text))
    causes += _settings(spec, type_)
    for number, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        if not _is_network(cidr.strip()):
            causes.append(invalid(f"spec.LoadBalancerSourceRanges[{number}]", cidr, CIDR_TEXT))
    return causes + _fixed_address(spec, old)


def _settings(spec: Object, type_: str) -> list[Cause]:
    """What only some services may say, and what this cluster has not: a second family of addresses."""
    causes: list[Cause] = []
    policy = spec.get("internalTrafficPolicy")
    if policy is not None and policy not in ("Cluster", "Local"):
        causes.append(unsupported("spec.internalTrafficPolicy", policy, ("Cluster", "Local")))
    if spec.get("loadBalancerClass") is not None and type_ != "LoadBalancer":
        text = "may only be used when `type` is 'LoadBalancer'"
        causes.append(forbidden_field("spec.loadBalancerClass", text))
    client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    lasts_s = client.get("timeoutSeconds", AFFINITY_S)
    if not 0 < lasts_s <= LONGEST_AFFINITY_S:
        text = f"must be greater than 0 and less than {LONGEST_AFFINITY_S}"
        causes.append(invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", lasts_s, text))
    for number, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in ("IPv4", "IPv6"):
            causes.append(unsupported(f"spec.ipFamilies[{number}]", family, ("IPv4", "IPv6")))
        elif family == "IPv6" and number == 0:
            causes.append(invalid(f"spec.ipFamilies[{number}]", family, "not configured on this cluster"))
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        text = "this cluster is not configured for dual-stack services"
        causes.append(invalid("spec.ipFamilyPolicy", "RequireDualStack", text))
    return causes


def _external_name(spec: Object) -> list[Cause]:
    name = spec.get("externalName", "")
    causes = (
        [forbidden_field("spec.clusterIPs", "may not be set for ExternalName services")]
        if spec.get("clusterIP")
        else []
    )
    if not name:
        return [*causes, required("spec.externalName")]
    return (
        causes
        if SUBDOMAIN.match(name.removesuffix("."))
        else [*causes, invalid("spec.externalName", name, SUBDOMAIN_TEXT)]
    )


def _own_address(spec: Object, type_: str) -> list[Cause]:
    address = spec.get("clusterIP")
    if address == "None":
        text = f"may not be set to 'None' for {type_} services"
        return [] if type_ == "ClusterIP" else [invalid("spec.clusterIPs[0]", "None", text)]
    return [invalid("spec.clusterIPs[0]", address, ADDRESS_TEXT)] if address and not is_ip(address) else []


def _ports(spec: Object, type_: str) -> list[Cause]:
    ports = spec.get("ports") or []
    causes: list[Cause] = []
    if not ports and type_ != "ExternalName" and spec.get("clusterIP") != "None":
        return [required("spec.ports")]
    names: set[str] = set()
    seen: set[tuple[Any, Any]] = set()
    nodes: set[tuple[Any, Any]] = set()
    for number, port in enumerate(ports):
        at, name = f"spec.ports[{number}]", port.get("name", "")
        if not name and len(ports) > 1:
            causes.append(required(f"{at}.name"))
        if name in names and name:
            causes.append(duplicate(f"{at}.name", name))
        names.add(name)
        causes += _port(port, at, type_)
        key, node = (port.get("protocol"), port.get("port")), (port.get("protocol"), port.get("nodePort"))
        if key in seen:
            causes.append(duplicate(at, {"protocol": key[0], "port": key[1]}))
        if port.get("nodePort") and node in nodes:
            causes.append(duplicate(f"{at}.nodePort", port["nodePort"]))
        seen.add(key)
        nodes.add(node)
    return causes


def _port(port: Object, at: str, type_: str) -> list[Cause]:
    name, target = port.get("name", ""), port.get("targetPort")
    causes = [invalid(f"{at}.name", name, LABEL_TEXT)] if name and not DNS_LABEL.match(name) else []
    causes += port_number(f"{at}.port", port.get("port"))
    if port.get("protocol") not in PROTOCOLS:
        causes.append(unsupported(f"{at}.protocol", port.get("protocol"), PROTOCOLS))
    if isinstance(target, int):
        causes += port_number(f"{at}.targetPort", target)
    elif isinstance(target, str):
        causes += port_name(f"{at}.targetPort", target)
    if port.get("nodePort") and type_ in ("ClusterIP", "ExternalName"):
        causes.append(forbidden_field(f"{at}.nodePort", f"may not be used when `type` is '{type_}'"))
    return causes


def _fixed_address(spec: Object, old: Object | None) -> list[Cause]:
    before = (old or {}).get("spec") or {}
    if not before.get("clusterIP") or "ExternalName" in (spec.get("type"), before.get("type")):
        return []
    if spec.get("clusterIP") == before["clusterIP"]:
        return []
    return [invalid("spec.clusterIPs[0]", spec.get("clusterIPs") or [spec.get("clusterIP")], "may not change once set")]


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


# What is behind them


def _endpoints(one: Object) -> None:
    for subset in one.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _validate_endpoints(one: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    for number, subset in enumerate(one.get("subsets") or ()):
        at = f"subsets[{number}]"
        for name in ("addresses", "notReadyAddresses"):
            for index, address in enumerate(subset.get(name) or ()):
                text = address.get("ip", "")
                if not is_ip(text):
                    causes.append(invalid(f"{at}.{name}[{index}].ip", text, ADDRESS_TEXT))
                elif ip_address(text).is_loopback:
                    why = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
                    causes.append(invalid(f"{at}.{name}[{index}].ip", text, why))
        for index, port in enumerate(subset.get("ports") or ()):
            causes += port_number(f"{at}.ports[{index}].port", port.get("port"))
    return causes


def _slice(one: Object) -> None:
    for port in one.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _validate_slice(one: Object, old: Object | None) -> list[Cause]:
    type_, choices = one.get("addressType", ""), ("FQDN", "IPv4", "IPv6")
    causes: list[Cause] = [] if type_ in choices else [unsupported("addressType", type_, choices)]
    if not type_:
        causes = [required("addressType")]
    if old is not None and old.get("addressType") != type_:
        causes.append(invalid("addressType", type_, "field is immutable"))
    for number, endpoint in enumerate(one.get("endpoints") or ()):
        if not endpoint.get("addresses"):
            causes.append(required(f"endpoints[{number}].addresses", "must contain at least 1 address"))
        for index, address in enumerate(endpoint.get("addresses") or ()):
            if type_ in ("IPv4", "IPv6") and not is_ip(address):
                causes.append(invalid(f"endpoints[{number}].addresses[{index}]", address, ADDRESS_TEXT))
    return causes


# Ways in, and what is let in


def _validate_ingress(one: Object, old: Object | None) -> list[Cause]:
    spec = one.get("spec") or {}
    causes: list[Cause] = []
    if not spec.get("rules") and not spec.get("defaultBackend"):
        causes.append(invalid("spec", spec, "either `defaultBackend` or `rules` must be specified"))
    if spec.get("defaultBackend") is not None:
        causes += _backend(spec["defaultBackend"], "spec.defaultBackend")
    for number, rule in enumerate(spec.get("rules") or ()):
        host = rule.get("host", "")
        if host and is_ip(host):
            causes.append(invalid(f"spec.rules[{number}].host", host, "must be a DNS name, not an IP address"))
        elif host and not SUBDOMAIN.match(host.removeprefix("*.")):
            causes.append(invalid(f"spec.rules[{number}].host", host, SUBDOMAIN_TEXT))
        paths = (rule.get("http") or {}).get("paths")
        if rule.get("http") is not None and not paths:
            causes.append(required(f"spec.rules[{number}].http.paths"))
        for index, path in enumerate(paths or ()):
            at = f"spec.rules[{number}].http.paths[{index}]"
            causes += _path(path, at) + _backend(path.get("backend") or {}, f"{at}.backend")
    return causes


def _path(path: Object, at: str) -> list[Cause]:
    kind, text = path.get("pathType"), path.get("path", "")
    if kind is None:
        return [required(f"{at}.pathType", "pathType must be specified")]
    if kind not in ("Exact", "ImplementationSpecific", "Prefix"):
        return [unsupported(f"{at}.pathType", kind, ("Exact", "ImplementationSpecific", "Prefix"))]
    if kind != "ImplementationSpecific" and not text.startswith("/"):
        return [invalid(f"{at}.path", text, "must be an absolute path")]
    return []


def _backend(backend: Object, at: str) -> list[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(at, "", "cannot set both resource and service backends")]
    if service is None and resource is None:
        return [required(at, "a service or a resource is required")]
    if service is None:
        return []
    causes = [] if service.get("name") else [required(f"{at}.service.name")]
    port = service.get("port") or {}
    if not port.get("name") and not port.get("number"):
        causes.append(required(f"{at}", "port name or number is required"))
    elif port.get("name") and port.get("number"):
        causes.append(invalid(f"{at}", "", "cannot set both port name & port number"))
    elif port.get("number"):
        causes += port_number(f"{at}.service.port.number", port["number"])
    return causes


def _policy(one: Object) -> None:
    spec = one.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _validate_policy(one: Object, old: Object | None) -> list[Cause]:
    spec = one["spec"]
    causes = validate_selector(spec.get("podSelector") or {}, "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for number, rule in enumerate(spec.get(direction) or ()):
            for index, peer in enumerate(rule.get(peers) or ()):
                causes += _peer(peer, f"spec.{direction}[{number}].{peers}[{index}]")
            for index, port in enumerate(rule.get("ports") or ()):
                if isinstance(port.get("port"), int):
                    causes += port_number(f"spec.{direction}[{number}].ports[{index}].port", port["port"])
    for number, type_ in enumerate(spec.get("policyTypes") or ()):
        if type_ not in ("Egress", "Ingress"):
            causes.append(unsupported(f"spec.policyTypes[{number}]", type_, ("Egress", "Ingress")))
    return causes


def _peer(peer: Object, at: str) -> list[Cause]:
    block = peer.get("ipBlock")
    if not any(peer.get(name) is not None for name in ("podSelector", "namespaceSelector", "ipBlock")):
        return [required(at, "must specify a peer")]
    if block is None:
        return []
    if peer.get("podSelector") is not None or peer.get("namespaceSelector") is not None:
        return [forbidden_field(at, "may not specify both ipBlock and another peer")]
    cidr = block.get("cidr", "")
    if not _is_network(cidr):
        return [invalid(f"{at}.ipBlock.cidr", cidr, CIDR_TEXT)]
    whole = ip_network(cidr)
    for number, one in enumerate(block.get("except") or ()):
        inside = _is_network(one) and ip_network(one).version == whole.version and ip_network(one) != whole
        if not inside or not ip_network(one).subnet_of(whole):  # type: ignore[arg-type]
            return [invalid(f"{at}.ipBlock.except[{number}]", one, f'must be a strict subset of `cidr`: "{cidr}"')]
    return []


RULES = {
    "core/services": Rules(default=_service, update=_update_service, validate=_validate_service, generation=False),
    "core/endpoints": Rules(default=_endpoints, validate=_validate_endpoints, generation=False),
    "discovery.k8s.io/endpointslices": Rules(default=_slice, validate=_validate_slice),
    "networking.k8s.io/ingresses": Rules(default=_unbalanced, validate=_validate_ingress),
    "networking.k8s.io/ingressclasses": Rules(),
    "networking.k8s.io/networkpolicies": Rules(default=_policy, validate=_validate_policy),
}
