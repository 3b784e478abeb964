"""Stored shapes of VPC endpoints: ways from a VPC to a service of AWS."""

from __future__ import annotations

from typing import Literal

import msgspec

from gureum.engine.resource import Resource, kind


class EndpointNode(msgspec.Struct, frozen=True):
    """An interface endpoint in one zone. `interface`: its ENI's id."""

    zone: str
    subnet: str
    interface: str


class VpcEndpointSpec(msgspec.Struct, frozen=True):
    """`service`: "com.amazonaws.us-east-1.s3"; `policy`: JSON as it was given. A gateway endpoint has `tables`: ids of route tables that have its
    route. An interface endpoint has `nodes`, `groups` (security groups of their interfaces), and `private_dns`: the service's own names lead to
    it in the VPC."""

    vpc: str
    service: str
    policy: str
    tables: tuple[str, ...] = ()
    type: Literal["Gateway", "Interface"] = "Gateway"
    nodes: tuple[EndpointNode, ...] = ()
    groups: tuple[str, ...] = ()
    private_dns: bool = False


class VpcEndpointStatus(msgspec.Struct, frozen=True):
    """`reason`: why it failed."""

    state: Literal["pending", "available", "failed"] = "available"
    reason: str = ""


@kind("ec2.VpcEndpoint", indexes={"vpc": lambda one: one.spec.vpc, "route-table": lambda one: tuple(one.spec.tables)})
class VpcEndpoint(Resource, frozen=True):
    """A VPC's way to a service of AWS."""

    spec: VpcEndpointSpec
    status: VpcEndpointStatus = VpcEndpointStatus()
