"""What a target group is on the machine: its targets' addresses and how they are checked, from the nodes of the load balancer that uses it.

A group that no load balancer uses is nothing. A target that cannot get anything (its instance does not run, its zone is not enabled) is left
out; one that drains stays, and gets nothing new, until its delay is over (lifecycle.py). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gureum.aws.ec2.networks.kinds import NetworkInterface
from gureum.aws.elbv2.attributes import attributes_of_group, crosses_zones
from gureum.aws.elbv2.health_settings import TRAFFIC_PORT
from gureum.aws.elbv2.kinds import LoadBalancer, TargetGroup
from gureum.aws.elbv2.target_health import core_name, registration_of
from gureum.aws.elbv2.target_places import balancers_of, enabled_zones, locate, nodes_addresses
from gureum.core import specs
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower
from gureum.engine.resource import key_of
from gureum.ports.checks import Probe


@lower(TargetGroup)
def lower_target_group(group: TargetGroup, read: Reader) -> Iterable[Desired]:
    balancers = balancers_of(group, read)
    if not balancers:
        return
    spec, attributes = group.spec, attributes_of_group(group)
    http = spec.protocol in ("HTTP", "HTTPS")
    lowered = specs.TargetGroup(
        probe=probe_of(group) if spec.health.enabled else None,
        targets=tuple(_targets(group, balancers, read)),
        places=tuple(_places(group, balancers, read)),
        interval_s=float(spec.health.interval_s),
        healthy_threshold=spec.health.healthy_threshold,
        unhealthy_threshold=spec.health.unhealthy_threshold,
        failover=failover_of(attributes),
        end_unhealthy=attributes.get("target_health_state.unhealthy.connection_termination.enabled") == "true",
        unhealthy_draining_s=float(attributes.get("target_health_state.unhealthy.draining_interval_seconds", "0")),
        end_deregistered=http or attributes["deregistration_delay.connection_termination.enabled"] == "true",
    )
    yield Desired("TargetGroup", core_name(group), key_of(group), lowered)


def probe_of(group: TargetGroup) -> Probe:
    """How targets are asked. AWS: HTTP/2 groups are checked by HTTP/2, gRPC groups by a call; those that expect the PROXY protocol get its header."""
    health, version = group.spec.health, group.spec.version
    if health.protocol == "TCP":
        return Probe("TCP", path="", matcher="", timeout_s=float(health.timeout_s))
    protocol = health.protocol
    if version == "GRPC":
        return Probe(
            "GRPC" if protocol == "HTTP" else "GRPCS",
            health.path,
            health.matcher,
            float(health.timeout_s),
            "HTTP2",
        )
    return Probe(
        protocol,
        health.path,
        health.matcher,
        float(health.timeout_s),
        "HTTP2" if version == "HTTP2" else "HTTP1",
        announced=attributes_of_group(group).get("proxy_protocol_v2.enabled") == "true",
    )


def failover_of(attributes: dict[str, str]) -> specs.Failover:
    """AWS: target_group_health.*; "off" is 0."""

    def number(name: str) -> int:
        value = attributes[f"target_group_health.{name}"]
        return 0 if value == "off" else int(value)

    return specs.Failover(
        dns_count=number("dns_failover.minimum_healthy_targets.count"),
        dns_percent=number("dns_failover.minimum_healthy_targets.percentage"),
        routing_count=number("unhealthy_state_routing.minimum_healthy_targets.count"),
        routing_percent=number("unhealthy_state_routing.minimum_healthy_targets.percentage"),
    )


def _targets(group: TargetGroup, balancers: list[LoadBalancer], read: Reader) -> Iterator[specs.Target]:
    zones, port = enabled_zones(balancers), group.spec.health.port
    taken = nodes_addresses(group, read)
    for target in group.spec.targets:
        for place in locate(target, group, zones, read, taken).places:
            yield specs.Target(
                name=place.name,
                address=place.address,
                port=target.port,
                check_port=target.port if port == TRAFFIC_PORT else int(port),
                zone=place.zone,
                draining=bool(target.draining_until),
                registration=registration_of(target),
            )


def _places(group: TargetGroup, balancers: list[LoadBalancer], read: Reader) -> Iterator[specs.Place]:
    for balancer in balancers:
        cross_zone = crosses_zones(balancer, group)
        for node in balancer.spec.zones:
            interface = read.get(NetworkInterface, balancer.meta.scope, node.interface)
            if interface is not None:
                yield specs.Place(node.interface, interface.spec.primary.address, node.zone, cross_zone)
