"""What a load balancer is on the machine: per zone a sandbox with its interface, a proxy in it, or a balancer in the VPC's router. Pure.

LoadBalancer ─► per zone: Sandbox ENI, and (its Interface is the ENI's own, ec2/networks/lowering.py)
   │              Proxy ENI       HTTP, HTTPS, TLS listeners; TCP ones whose groups want TLS or the PROXY protocol
   │              Balancer ENI    the other TCP, UDP and TCP_UDP listeners
   └──────────► BalancerNames     the DNS name, of network load balancers also one per zone

Listeners, rules and the target groups they name are read here; the groups' targets are not (target_lowering.py), so that a registration
does not touch the proxy's wish.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from gureum.aws.ec2.networks.kinds import NetworkInterface, Subnet
from gureum.aws.elbv2 import attribute_tables as tables
from gureum.aws.elbv2.arns import arn_of_group, arn_of_listener, label_of
from gureum.aws.elbv2.attributes import attributes_of_balancer, attributes_of_group, crosses_zones, mitigates_anomalies
from gureum.aws.elbv2.certificates import lower_certificates
from gureum.aws.elbv2.dns import zonal_name
from gureum.aws.elbv2.kinds import (
    Action,
    Forward,
    Listener,
    LoadBalancer,
    Protocol,
    Redirect,
    Rule,
    TargetGroup,
    ZoneNode,
)
from gureum.aws.elbv2.target_health import core_name
from gureum.core import specs
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower
from gureum.engine.resource import key_of
from gureum.ports import proxies
from gureum.ports.networks import SandboxSpec

_ALGORITHMS: dict[str, Literal["round_robin", "least_outstanding_requests", "weighted_random"]] = {
    "round_robin": "round_robin",
    "least_outstanding_requests": "least_outstanding_requests",
    "weighted_random": "weighted_random",
}
_SPOKEN: dict[Protocol, Literal["HTTP", "HTTPS", "TCP", "TLS"]] = {
    "HTTP": "HTTP",
    "HTTPS": "HTTPS",
    "TCP": "TCP",
    "TLS": "TLS",
    "TCP_UDP": "TCP",
}
_PROXY_ATTRIBUTES = (
    "idle_timeout.",
    "client_keep_alive.",
    "routing.",
    "access_logs.",
    "connection_logs.",
    "health_check_logs.",
)
_OWN_ZONE = {"availability_zone_affinity": 100, "partial_availability_zone_affinity": 85}
"""AWS: of a hundred who ask, so many are told addresses of their own zone."""
UDP_IDLE_S = 120
"""AWS: the idle timeout of UDP flows is 120 seconds."""


class Bound(msgspec.Struct, frozen=True):
    """A listener with what belongs to it. `rules`: by priority, the default one last. `groups`: by name, those that the rules name."""

    listener: Listener
    rules: tuple[Rule, ...]
    groups: dict[str, TargetGroup]

    @property
    def proxied(self) -> bool:
        """Whether a program has to see the connections."""
        if self.listener.spec.protocol in ("HTTP", "HTTPS", "TLS"):
            return True
        return any(
            group.spec.protocol == "TLS" or attributes_of_group(group).get("proxy_protocol_v2.enabled") == "true"
            for group in self.groups.values()
        )


@lower(LoadBalancer)
def lower_load_balancer(balancer: LoadBalancer, read: Reader) -> Iterable[Desired]:
    """Nodes and names; a node without a listener is an address that answers nothing."""
    owner, bounds = key_of(balancer), _bounds(balancer, read)
    nodes = [(node, found) for node in balancer.spec.zones if (found := _interface(balancer, node, read)) is not None]
    proxied, balanced = [one for one in bounds if one.proxied], [one for one in bounds if not one.proxied]
    shared = _proxy_spec(
        balancer, proxied, {one.listener.meta.name: lower_certificates(one.listener, read) for one in proxied}
    )
    for node, interface in nodes:
        name = node.interface
        yield Desired("Sandbox", name, owner, specs.Sandbox(SandboxSpec(name, guest=False)))
        if proxied:
            yield Desired("Proxy", name, owner, _proxy(balancer, node, interface, proxied, shared))
        if balanced:
            yield Desired("Balancer", name, owner, _balancer(balancer, node, interface, balanced))
    if nodes:
        names = _by_zone(balancer, _names(balancer, nodes, bounds), read)
        yield Desired("BalancerNames", balancer.meta.name, owner, names)


def _bounds(balancer: LoadBalancer, read: Reader) -> list[Bound]:
    scope = balancer.meta.scope
    listeners = read.by(Listener, scope, "load-balancer", balancer.meta.name)
    found = []
    for listener in sorted(listeners, key=lambda one: one.spec.port):
        rules = read.by(Rule, scope, "listener", listener.meta.name)
        ordered = sorted(rules, key=lambda rule: (not rule.spec.priority, rule.spec.priority))
        names = dict.fromkeys(name for rule in ordered for name in rule.groups)
        groups = {name: group for name in names if (group := read.get(TargetGroup, scope, name)) is not None}
        if ordered:
            found.append(Bound(listener, tuple(ordered), groups))
    return found


def _interface(balancer: LoadBalancer, node: ZoneNode, read: Reader) -> NetworkInterface | None:
    return read.get(NetworkInterface, balancer.meta.scope, node.interface)


# Layer 7, TLS and the PROXY protocol


def _proxy(
    balancer: LoadBalancer,
    node: ZoneNode,
    interface: NetworkInterface,
    bounds: list[Bound],
    shared: proxies.ProxySpec,
) -> specs.Proxy:
    spec = msgspec.structs.replace(shared, name=node.interface, address=interface.spec.primary.address)
    return specs.Proxy(node.interface, node.interface, node.zone, spec, _uses(balancer, _groups(bounds)))


def _proxy_spec(
    balancer: LoadBalancer, bounds: list[Bound], certificates: dict[str, list[proxies.Certificate]]
) -> proxies.ProxySpec:
    """What is the same at all nodes, made once. `certificates`: of each listener, by its name; one without any serves nothing."""
    return proxies.ProxySpec(
        name="",
        sandbox_net="",
        address="",
        label=label_of(balancer),
        listeners=tuple(_proxied(balancer, bound, certificates[bound.listener.meta.name]) for bound in bounds),
        groups=tuple(_proxied_group(group) for group in _groups(bounds)),
        certificates=tuple({one.name: one for held in certificates.values() for one in held}.values()),
        attributes=_of_proxy(attributes_of_balancer(balancer)),
        dns_name=balancer.spec.dns_name,
    )


def _of_proxy(attributes: dict[str, str]) -> dict[str, str]:
    """Those that say how connections are treated and logged; the others (deletion protection …) need not touch the proxy."""
    return {key: value for key, value in attributes.items() if key.startswith(_PROXY_ATTRIBUTES)}


def _groups(bounds: list[Bound]) -> list[TargetGroup]:
    found = {name: group for bound in bounds for name, group in bound.groups.items()}
    return [found[name] for name in sorted(found)]


def _uses(balancer: LoadBalancer, groups: list[TargetGroup]) -> tuple[specs.Use, ...]:
    return tuple(
        specs.Use(core_name(group), crosses_zones(balancer, group), mitigates_anomalies(group)) for group in groups
    )


def _proxied(balancer: LoadBalancer, bound: Bound, certificates: list[proxies.Certificate]) -> proxies.Listener:
    spec = bound.listener.spec
    table = tables.of_listener(bound.listener)
    return proxies.Listener(
        port=spec.port,
        protocol=_SPOKEN[spec.protocol],
        arn=arn_of_listener(balancer, bound.listener.meta.name),
        rules=tuple(_rule(rule, bound.groups) for rule in bound.rules),
        certificates=tuple(one.name for one in certificates),
        policy=spec.policy,
        alpn=spec.alpn or "None",
        attributes={key: value for key, value in tables.in_force(table, spec.attributes).items() if value},
    )


def _rule(rule: Rule, groups: dict[str, TargetGroup]) -> proxies.Rule:
    conditions = tuple(
        proxies.Condition(field=one.field, values=one.values, name=one.name, pairs=one.pairs)
        for one in rule.spec.conditions
    )
    return proxies.Rule(rule.spec.priority, _action(rule.spec.action, groups), conditions)


def _action(
    action: Action, groups: dict[str, TargetGroup]
) -> proxies.Forward | proxies.Redirect | proxies.FixedResponse:
    if isinstance(action, Forward):
        weights = tuple((core_name(groups[one.group]), one.share) for one in action.groups if one.group in groups)
        return proxies.Forward(weights, action.stickiness_s)
    if isinstance(action, Redirect):
        status = int(action.status.removeprefix("HTTP_"))
        return proxies.Redirect(status, action.protocol, action.host, action.port, action.path, action.query)
    return proxies.FixedResponse(int(action.status), action.content_type, action.body)


def _proxied_group(group: TargetGroup) -> proxies.Group:
    spec, attributes = group.spec, attributes_of_group(group)
    http = spec.protocol in ("HTTP", "HTTPS")
    return proxies.Group(
        name=core_name(group),
        arn=arn_of_group(group),
        protocol=_SPOKEN[spec.protocol],
        version=spec.version or "HTTP1",
        algorithm=_ALGORITHMS[attributes.get("load_balancing.algorithm.type", "round_robin")],
        slow_start_s=int(attributes.get("slow_start.duration_seconds", "0")),
        stickiness=_stickiness(attributes),
        preserve_client=not http and attributes["preserve_client_ip.enabled"] == "true",
        proxy_protocol=attributes.get("proxy_protocol_v2.enabled") == "true",
    )


def _stickiness(attributes: dict[str, str]) -> proxies.Stickiness | None:
    if attributes.get("stickiness.enabled") != "true":
        return None
    kind = attributes["stickiness.type"]
    if kind == "app_cookie":
        duration_s = int(attributes["stickiness.app_cookie.duration_seconds"])
        return proxies.Stickiness("app_cookie", duration_s, attributes["stickiness.app_cookie.cookie_name"])
    if kind == "lb_cookie":
        return proxies.Stickiness("lb_cookie", int(attributes["stickiness.lb_cookie.duration_seconds"]))
    return proxies.Stickiness("source_ip")


# Layer 4


def _balancer(
    balancer: LoadBalancer, node: ZoneNode, interface: NetworkInterface, bounds: list[Bound]
) -> specs.Balancer:
    return specs.Balancer(
        sandbox=node.interface,
        network=balancer.spec.vpc,
        interface=node.interface,
        zone=node.zone,
        address=interface.spec.primary.address,
        listeners=tuple(one for bound in bounds for one in _balanced(bound)),
        public=interface.spec.primary.public,
        uses=_uses(balancer, _groups(bounds)),
    )


def _balanced(bound: Bound) -> Iterator[specs.BalancedListener]:
    """One listener per transport protocol. Of several groups the strictest choice holds, as a flow's treatment is the port's."""
    spec = bound.listener.spec
    action = bound.rules[-1].spec.action
    if not isinstance(action, Forward):
        return
    named = [(bound.groups[one.group], one.share) for one in action.groups if one.group in bound.groups]
    attributes = [attributes_of_group(group) for group, _ in named]
    idle_s = int(
        tables.in_force(tables.of_listener(bound.listener), spec.attributes).get("tcp.idle_timeout.seconds", "0")
    )
    by_source = any(one.get("stickiness.enabled") == "true" for one in attributes)
    preserve = all(one["preserve_client_ip.enabled"] == "true" for one in attributes)
    weights = tuple((core_name(group), share) for group, share in named)
    if spec.protocol in ("TCP", "TCP_UDP"):
        yield specs.BalancedListener("tcp", spec.port, weights, "source" if by_source else "flow", preserve, idle_s)
    if spec.protocol in ("UDP", "TCP_UDP"):
        yield specs.BalancedListener("udp", spec.port, weights, "source" if by_source else "flow", preserve, UDP_IDLE_S)


# Names


def _names(
    balancer: LoadBalancer, nodes: list[tuple[ZoneNode, NetworkInterface]], bounds: list[Bound]
) -> specs.BalancerNames:
    """The public addresses of an internet-facing one for all who ask, the private ones of an internal one too, as on AWS."""
    used = _groups(bounds)
    groups = tuple(core_name(group) for group in used)
    zonal = tuple(core_name(group) for group in used if not crosses_zones(balancer, group))
    named = tuple(
        specs.NodeName(
            node.interface, interface.spec.primary.public or interface.spec.primary.address, node.zone, groups, zonal
        )
        for node, interface in nodes
    )
    dns_name = balancer.spec.dns_name
    every = tuple(range(len(named)))
    names = [
        (dns_name, every),
        (f"dualstack.{dns_name}", every),
    ]  # the second is what Route 53's console writes in aliases
    if balancer.spec.type == "network":
        names += [(zonal_name(node.zone, dns_name), (i,)) for i, (node, _) in enumerate(nodes)]
    return specs.BalancerNames(names=tuple(names), nodes=named)


def _by_zone(balancer: LoadBalancer, names: specs.BalancerNames, read: Reader) -> specs.BalancerNames:
    """AWS: "DNS affinity" of network load balancers, for who asks in the VPC."""
    own_zone = _OWN_ZONE.get(attributes_of_balancer(balancer).get("dns_record.client_routing_policy", ""), 0)
    if not own_zone:
        return names
    subnets = read.by(Subnet, balancer.meta.scope, "vpc", balancer.spec.vpc)
    ranges = tuple(sorted((subnet.spec.zone, subnet.spec.cidr) for subnet in subnets))
    return msgspec.structs.replace(names, network=balancer.spec.vpc, ranges=ranges, own_zone=own_zone)
