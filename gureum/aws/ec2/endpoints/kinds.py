"""Stored shapes of VPC endpoints: ways from a VPC to a service of AWS or to somebody's own, and of such own services.

    VpcEndpoint (consumer's scope) ─► EndpointService (provider's scope) ─► elbv2.LoadBalancer
    EndpointConnection (provider's scope) ─► VpcEndpoint        EndpointServiceOwner (the region's scope) ─► EndpointService

A connection is made and deleted in the same commit as its endpoint, an owner in that of its service.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gureum.engine.resource import Resource, kind


class EndpointNode(msgspec.Struct, frozen=True):
    """An interface endpoint in one zone. `interface`: its ENI's id. `exit`: of an endpoint service's, the ENI in the provider's network by which
    flows come out there; "" until it is made."""

    zone: str
    subnet: str
    interface: str
    exit: str = ""


class VpcEndpointSpec(msgspec.Struct, frozen=True):
    """`service`: "com.amazonaws.us-east-1.s3"; `policy`: JSON as it was given. A gateway endpoint has `tables`: ids of route tables that have its
    route. An interface endpoint has `nodes`, `groups` (security groups of their interfaces), and `private_dns`: the service's own names lead to
    it in the VPC. `provider`: scope of the account whose endpoint service it is, "" for AWS's."""

    vpc: str
    service: str
    policy: str
    tables: tuple[str, ...] = ()
    type: Literal["Gateway", "Interface"] = "Gateway"
    nodes: tuple[EndpointNode, ...] = ()
    groups: tuple[str, ...] = ()
    private_dns: bool = False
    provider: str = ""


class VpcEndpointStatus(msgspec.Struct, frozen=True):
    """`reason`: why it failed."""

    state: Literal["pendingAcceptance", "pending", "available", "rejected", "failed"] = "available"
    reason: str = ""


@kind("ec2.VpcEndpoint", indexes={"vpc": lambda one: one.spec.vpc, "route-table": lambda one: tuple(one.spec.tables)})
class VpcEndpoint(Resource, frozen=True):
    """A VPC's way to a service of AWS."""

    spec: VpcEndpointSpec
    status: VpcEndpointStatus = VpcEndpointStatus()


class ServicePrincipal(msgspec.Struct, frozen=True):
    """Who may have endpoints: "*" or "arn:aws:iam::111122223333:root"."""

    id: str
    principal: str


class EndpointServiceSpec(msgspec.Struct, frozen=True):
    """`balancers`: names (the last part of their ARNs) of network load balancers."""

    balancers: tuple[str, ...]
    acceptance: bool = True
    principals: tuple[ServicePrincipal, ...] = ()


@kind("ec2.EndpointService", indexes={"balancer": lambda one: one.spec.balancers})
class EndpointService(Resource, frozen=True):
    """A service of an account's own, behind its network load balancers."""

    spec: EndpointServiceSpec


class EndpointServiceOwnerSpec(msgspec.Struct, frozen=True):
    account: str


@kind("ec2.EndpointServiceOwner")
class EndpointServiceOwner(Resource, frozen=True):
    """Whose a service of the region is."""

    spec: EndpointServiceOwnerSpec


class EndpointConnectionSpec(msgspec.Struct, frozen=True):
    """`consumer`: the endpoint's scope."""

    service: str
    consumer: str


@kind("ec2.EndpointConnection", indexes={"service": lambda one: one.spec.service})
class EndpointConnection(Resource, frozen=True):
    """An endpoint as the service's owner sees it; it has the endpoint's name."""

    spec: EndpointConnectionSpec
