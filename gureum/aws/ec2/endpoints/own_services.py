"""Endpoint services of accounts' own, as who wants an endpoint finds them: by name, in the region, where the owner lets him."""

from __future__ import annotations

from collections.abc import Iterator

from gureum.aws.call import Call
from gureum.aws.ec2.endpoints.kinds import EndpointService, EndpointServiceOwner
from gureum.aws.elbv2.kinds import LoadBalancer, ZoneNode
from gureum.aws.partitions import without_partition
from gureum.engine.client import Client
from gureum.engine.lowering import Reader

_PREFIX = "com.amazonaws.vpce"


def owners_scope(region: str) -> str:
    """Where it is written down whose the services of a region are."""
    return f"-/{region}"


def own_service_name(region: str, id_: str) -> str:
    """ "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0"."""
    return f"{_PREFIX}.{region}.{id_}"


def own_service_id(service: str) -> str:
    """The id at the end of a service's name; "" for one of AWS's."""
    return service.rpartition(".")[2] if service.startswith(f"{_PREFIX}.") else ""


def permits(service: EndpointService, account: str) -> bool:
    """Whether an account may have endpoints: the owner's own, and who is named."""
    if service.meta.scope.partition("/")[0] == account:
        return True
    return any(
        one.principal == "*" or without_partition(one.principal).startswith(f"arn:aws:iam::{account}:")
        for one in service.spec.principals
    )


def find_own_service(call: Call, name: str) -> EndpointService | None:
    """The service of that name; None when there is none for the caller."""
    owner = call.client.get(EndpointServiceOwner, owners_scope(call.region), own_service_id(name))
    if owner is None or own_service_name(call.region, owner.meta.name) != name:
        return None
    found = call.client.get(EndpointService, f"{owner.spec.account}/{call.region}", owner.meta.name)
    return found if found is not None and permits(found, call.account) else None


def own_services(call: Call) -> list[EndpointService]:
    """All that the caller may have endpoints of."""
    names = (
        own_service_name(call.region, one.meta.name)
        for one in call.client.all(EndpointServiceOwner, owners_scope(call.region))
    )
    return [found for name in names if (found := find_own_service(call, name)) is not None]


def balancer_nodes(read: Reader | Client, service: EndpointService) -> Iterator[tuple[LoadBalancer, ZoneNode]]:
    """The nodes of a service's load balancers, the first of each zone."""
    seen = set()
    for name in service.spec.balancers:
        balancer = read.get(LoadBalancer, service.meta.scope, name)
        for node in balancer.spec.zones if balancer is not None else ():
            if node.zone not in seen:
                seen.add(node.zone)
                yield balancer, node  # type: ignore[misc]
