"""Endpoint services of one's own (AWS PrivateLink): network load balancers that machines of other networks reach by interface endpoints.

    CreateVpcEndpointServiceConfiguration ─► somebody's CreateVpcEndpoint: pendingAcceptance ─► Accept: available
                                                                                  └► Reject: rejected

Load balancers with security groups are refused: they would have to judge clients by addresses that mean nothing in their network.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.endpoints.endpoint_services import show_own_service
from gureum.aws.ec2.endpoints.interface_endpoints import dns_entries, remove_exit
from gureum.aws.ec2.endpoints.kinds import (
    EndpointConnection,
    EndpointService,
    EndpointServiceOwner,
    EndpointServiceOwnerSpec,
    EndpointServiceSpec,
    ServicePrincipal,
    VpcEndpoint,
    VpcEndpointStatus,
)
from gureum.aws.ec2.endpoints.own_services import own_service_name, owners_scope
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.elbv2.arns import arn_of_balancer
from gureum.aws.elbv2.kinds import LoadBalancer
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

_PRINCIPAL = re.compile(r"\*|arn:aws[a-z-]*:iam::[0-9]{12}:(root|(user|role)/[\w+=,.@/-]{1,512})", re.ASCII)
_TYPES = {"root": "Account", "user": "User", "role": "Role"}
_NOT_BUILT = (
    "PrivateDnsName", "GatewayLoadBalancerArns", "AddGatewayLoadBalancerArns", "RemoveGatewayLoadBalancerArns", "SupportedRegions",
    "AddSupportedRegions", "RemoveSupportedRegions",
)  # fmt: skip
_ACTIVE = ("pendingAcceptance", "pending", "available")


@operation("CreateVpcEndpointServiceConfiguration")
async def create_vpc_endpoint_service_configuration(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateVpcEndpointServiceConfiguration, of network load balancers."""
    done = call.done_before()
    if done is not None:
        service = ids.find(call, EndpointService, ids.ENDPOINT_SERVICE, done[0])
        return {"ServiceConfiguration": _show(call, service)} | call.told_token()
    _check_parameters(call)
    balancers = _balancers(call, call.params.get("NetworkLoadBalancerArns") or ())
    if not balancers:
        raise ids.missing("NetworkLoadBalancerArns")
    acceptance = call.params.get("AcceptanceRequired")
    spec = EndpointServiceSpec(tuple(balancers), True if acceptance is None else bool(acceptance))
    meta = call.meta(new_id("vpce-svc-"), tags=tags_of(call, "vpc-endpoint-service"))
    transaction = call.transaction()
    for one in balancers.values():
        transaction.require(one)
    service = transaction.create(EndpointService(meta=meta, spec=spec))
    owner = msgspec.structs.replace(meta, scope=owners_scope(call.region), uid=new_id("", 32), tags={})
    transaction.create(EndpointServiceOwner(meta=owner, spec=EndpointServiceOwnerSpec(call.account)))
    call.remember(transaction, (meta.name,))
    await call.commit(transaction)
    return {"ServiceConfiguration": _show(call, service)} | call.told_token()


@operation("ModifyVpcEndpointServiceConfiguration")
async def modify_vpc_endpoint_service_configuration(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyVpcEndpointServiceConfiguration: its load balancers, and whether endpoints are to be accepted."""
    service, spec = _find(call), _find(call).spec
    _check_parameters(call)
    added = _balancers(call, call.params.get("AddNetworkLoadBalancerArns") or ())
    removed = _balancers(call, call.params.get("RemoveNetworkLoadBalancerArns") or ())
    balancers = tuple(dict.fromkeys((*spec.balancers, *added)))
    balancers = tuple(name for name in balancers if name not in removed)
    if not balancers:
        raise AwsError("InvalidParameter", "An endpoint service must have at least one load balancer.")
    acceptance = call.params.get("AcceptanceRequired")
    wanted = spec.acceptance if acceptance is None else bool(acceptance)
    transaction = call.transaction()
    spec = msgspec.structs.replace(spec, balancers=balancers, acceptance=wanted)
    transaction.update(msgspec.structs.replace(service, spec=spec))
    await call.commit(transaction)
    return {"Return": True}


@operation("DeleteVpcEndpointServiceConfigurations")
async def delete_vpc_endpoint_service_configurations(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteVpcEndpointServiceConfigurations: one with endpoints that it has not rejected stays, and is told."""
    transaction, errors = call.transaction(), []
    for id_ in dict.fromkeys(call.params.get("ServiceIds") or ()):
        service = call.get(EndpointService, ids.check_id(ids.ENDPOINT_SERVICE, id_))
        if service is None:
            errors.append(_unsuccessful(id_, ids.not_found(ids.ENDPOINT_SERVICE, id_)))
            continue
        connections = call.by(EndpointConnection, "service", id_)
        if any(one is not None and one.status.state in _ACTIVE for one in (_endpoint(call, c) for c in connections)):
            text = "Service has existing active VPC Endpoint connections!"
            errors.append(_unsuccessful(id_, AwsError("ExistingVpcEndpointConnections", text)))
            continue
        owner = call.client.get(EndpointServiceOwner, owners_scope(call.region), id_)
        transaction.require_no_newer(EndpointConnection, call.scope)
        for gone in (service, owner, *connections):
            if gone is not None:
                transaction.delete(gone)
    await call.commit(transaction)
    return {"Unsuccessful": errors}


@operation("DescribeVpcEndpointServiceConfigurations")
def describe_vpc_endpoint_service_configurations(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcEndpointServiceConfigurations."""
    filters: FilterTable = {
        "service-name": lambda one: own_service_name(call.region, one.meta.name),
        "service-id": lambda one: one.meta.name,
        "service-state": lambda _: "Available",
        "supported-ip-address-types": lambda _: "ipv4",
    }
    found, token = listing(call, EndpointService, ids.ENDPOINT_SERVICE, "ServiceIds", filters, capped=True)
    return answer("ServiceConfigurations", [_show(call, one) for one in found], token)


@operation("ModifyVpcEndpointServicePermissions")
async def modify_vpc_endpoint_service_permissions(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyVpcEndpointServicePermissions: who may have endpoints."""
    service = _find(call)
    if call.params.get("PermissionType") not in (None, "", "vpc-endpoint"):
        raise ids.not_built(f"Permissions of type {call.params['PermissionType']}")
    added, removed = call.params.get("AddAllowedPrincipals") or (), call.params.get("RemoveAllowedPrincipals") or ()
    for one in (*added, *removed):
        if _PRINCIPAL.fullmatch(one) is None:
            raise AwsError("InvalidPrincipal", f"Invalid Principal: '{one}'")
    kept = [one for one in service.spec.principals if one.principal not in removed]
    known = {one.principal for one in kept}
    new = [ServicePrincipal(new_id("vpce-svc-perm-"), one) for one in dict.fromkeys(added) if one not in known]
    transaction = call.transaction()
    spec = msgspec.structs.replace(service.spec, principals=(*kept, *new))
    transaction.update(msgspec.structs.replace(service, spec=spec))
    await call.commit(transaction)
    return {"AddedPrincipals": [_show_principal(service, one) for one in new], "ReturnValue": True}


@operation("DescribeVpcEndpointServicePermissions")
def describe_vpc_endpoint_service_permissions(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcEndpointServicePermissions."""
    filters: FilterTable = {
        "principal": lambda row: row.it.principal,
        "principal-type": lambda row: _principal_type(row.it),
        "permission-type": lambda _: "vpc-endpoint",
    }
    apply_filters((), call.params.get("Filters"), filters)  # an unknown filter is told before an unknown service
    service = _find(call)
    untagged = SimpleNamespace(tags={})  # filters look for tags there
    rows: list[Any] = [SimpleNamespace(it=one, meta=untagged) for one in service.spec.principals]
    found = apply_filters(rows, call.params.get("Filters"), filters)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda row: str(row.it.id), capped=True)
    return answer("AllowedPrincipals", [_show_principal(service, row.it) | {"Tags": []} for row in shown], token)


@operation("AcceptVpcEndpointConnections")
async def accept_vpc_endpoint_connections(call: Call) -> dict[str, Any]:
    """AWS: ec2 AcceptVpcEndpointConnections: what waits, or was rejected, may pass."""
    return await _decide(call, VpcEndpointStatus("pending"), "pendingAcceptance", "rejected")


@operation("RejectVpcEndpointConnections")
async def reject_vpc_endpoint_connections(call: Call) -> dict[str, Any]:
    """AWS: ec2 RejectVpcEndpointConnections: nothing passes, from now on."""
    return await _decide(call, VpcEndpointStatus("rejected"), *_ACTIVE)


@operation("DescribeVpcEndpointConnections")
def describe_vpc_endpoint_connections(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcEndpointConnections: the endpoints of others, and one's own, to one's services."""
    connections = ((one, _endpoint(call, one)) for one in call.all(EndpointConnection))
    rows: list[Any] = [
        SimpleNamespace(connection=one, endpoint=endpoint, meta=one.meta)
        for one, endpoint in connections
        if endpoint is not None
    ]
    filters: FilterTable = {
        "ip-address-type": lambda _: "ipv4",
        "service-id": lambda row: row.connection.spec.service,
        "vpc-endpoint-owner": lambda row: row.endpoint.meta.scope.partition("/")[0],
        "vpc-endpoint-region": lambda _: call.region,
        "vpc-endpoint-state": lambda row: row.endpoint.status.state,
        "vpc-endpoint-id": lambda row: row.endpoint.meta.name,
        "transit-gateway-attachment-id": lambda _: None,
    }
    found = apply_filters(rows, call.params.get("Filters"), filters)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda row: str(row.endpoint.meta.name), capped=True)
    answers = [_show_connection(call, row.connection, row.endpoint) for row in shown]
    return answer("VpcEndpointConnections", answers, token)


async def _decide(call: Call, status: VpcEndpointStatus, *before: str) -> dict[str, Any]:
    """Each by itself: what cannot be is told."""
    service, transaction, errors = _find(call), call.transaction(), []
    if call.params.get("TransitGatewayAttachmentIds"):
        raise ids.not_built(f"{call.operation} with TransitGatewayAttachmentIds")
    for id_ in dict.fromkeys(call.params.get("VpcEndpointIds") or ()):
        connection = call.get(EndpointConnection, ids.check_id(ids.ENDPOINT, id_))
        endpoint = _endpoint(call, connection) if connection is not None else None
        if connection is None or endpoint is None or connection.spec.service != service.meta.name:
            errors.append(
                _unsuccessful(id_, AwsError("InvalidVpcEndpoint.NotFound", f"VpcEndpoint Id '{id_}' not found"))
            )
        elif endpoint.status.state not in before:
            text = f"VpcEndpoint {id_} is in the state {endpoint.status.state}"
            errors.append(_unsuccessful(id_, AwsError("InvalidState", text)))
        else:
            _move(call, transaction, endpoint, status)
    await call.commit(transaction)
    return {"Unsuccessful": errors}


def _move(call: Call, transaction: Transaction, endpoint: VpcEndpoint, status: VpcEndpointStatus) -> None:
    spec = endpoint.spec
    if status.state == "rejected":
        for node in spec.nodes:
            remove_exit(call, transaction, endpoint, node)
        nodes = tuple(msgspec.structs.replace(node, exit="") for node in spec.nodes)
        spec = msgspec.structs.replace(spec, nodes=nodes)
    transaction.update(msgspec.structs.replace(endpoint, spec=spec, status=status))


def _find(call: Call) -> EndpointService:
    return ids.find(call, EndpointService, ids.ENDPOINT_SERVICE, ids.need(call, "ServiceId"))


def _endpoint(call: Call, connection: EndpointConnection) -> VpcEndpoint | None:
    return call.client.get(VpcEndpoint, connection.spec.consumer, connection.meta.name)


def _check_parameters(call: Call) -> None:
    for name in _NOT_BUILT:
        if call.params.get(name):
            raise ids.not_built(f"{call.operation} with {name}")
    for name in ("SupportedIpAddressTypes", "AddSupportedIpAddressTypes", "RemoveSupportedIpAddressTypes"):
        if set(call.params.get(name) or ()) - {"ipv4"}:
            raise ids.not_built(f"{call.operation} with {name} other than ipv4")


def _balancers(call: Call, arns: Any) -> dict[str, LoadBalancer]:
    """By name. AWS: InvalidParameter for what is no network load balancer of the account's."""
    found = {}
    for arn in arns:
        balancer = call.get(LoadBalancer, arn.rpartition("/")[2])
        if balancer is None or arn_of_balancer(balancer) != arn or balancer.spec.type != "network":
            raise AwsError("InvalidParameter", f"The network load balancer '{arn}' does not exist.")
        if balancer.spec.groups:
            raise ids.not_built("An endpoint service of a load balancer with security groups")
        found[balancer.meta.name] = balancer
    return found


def _unsuccessful(id_: str, error: AwsError) -> dict[str, Any]:
    return {"ResourceId": id_, "Error": {"Code": error.code, "Message": error.message}}


def _show(call: Call, service: EndpointService) -> dict[str, Any]:
    """API form, as its owner sees it. AWS: ec2 ServiceConfiguration."""
    shown = show_own_service(call, service)
    same = (
        "ServiceType", "ServiceId", "ServiceName", "AvailabilityZones", "AcceptanceRequired", "ManagesVpcEndpoints",
        "SupportedIpAddressTypes", "BaseEndpointDnsNames", "Tags",
    )  # fmt: skip
    return {name: shown[name] for name in same} | {
        "ServiceState": "Available",
        "NetworkLoadBalancerArns": _arns(call, service),
    }


def _arns(call: Call, service: EndpointService) -> list[str]:
    found = (call.get(LoadBalancer, name) for name in service.spec.balancers)
    return [arn_of_balancer(one) for one in found if one is not None]


def _principal_type(one: ServicePrincipal) -> str:
    return "All" if one.principal == "*" else _TYPES[one.principal.split(":", 5)[5].partition("/")[0]]


def _show_principal(service: EndpointService, one: ServicePrincipal) -> dict[str, Any]:
    return {
        "PrincipalType": _principal_type(one),
        "Principal": one.principal,
        "ServicePermissionId": one.id,
        "ServiceId": service.meta.name,
    }


def _show_connection(call: Call, connection: EndpointConnection, endpoint: VpcEndpoint) -> dict[str, Any]:
    """API form. AWS: ec2 VpcEndpointConnection."""
    service = call.get(EndpointService, connection.spec.service)
    return {
        "ServiceId": connection.spec.service,
        "VpcEndpointId": endpoint.meta.name,
        "VpcEndpointOwner": endpoint.meta.scope.partition("/")[0],
        "VpcEndpointState": endpoint.status.state,
        "VpcEndpointRegion": call.region,
        "VpcEndpointConnectionId": f"vpce-con-{endpoint.meta.name.partition('-')[2]}",
        "CreationTimestamp": endpoint.meta.created,
        "DnsEntries": dns_entries(endpoint),
        "NetworkLoadBalancerArns": _arns(call, service) if service is not None else [],
        "IpAddressType": "ipv4",
        "Tags": show_tags(connection.meta.tags),
    }
