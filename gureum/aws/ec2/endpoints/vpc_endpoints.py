"""VPC endpoints: the operations on them, and what those of the kind "Gateway" are: a route in some route tables to the prefix list of S3 or DynamoDB.

That route is not stored with the table: whoever shows a table's routes looks for endpoints that name it. The list holds no ranges
(service_prefix_lists.py), so no packet goes another way; policies are kept and shown. Those of the kind "Interface" are in
interface_endpoints.py; other kinds are refused by name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.endpoints.endpoint_policies import ALL_ALLOWED, wanted_policy
from gureum.aws.ec2.endpoints.interface_endpoints import (
    check_dns,
    dns_entries,
    new_interface_endpoint,
    remove_endpoint,
    with_changed_nodes,
)
from gureum.aws.ec2.endpoints.kinds import VpcEndpoint, VpcEndpointSpec
from gureum.aws.ec2.endpoints.service_prefix_lists import GATEWAY_SERVICES, list_id, service_name
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.networks.kinds import RouteTable, SecurityGroup, Vpc
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

_NOT_BUILT = ("ServiceNetworkArn", "ResourceConfigurationArn")
_OF_INTERFACES = (
    "SubnetIds", "SecurityGroupIds", "PrivateDnsEnabled", "SubnetConfigurations", "DnsOptions", "AddSubnetIds", "RemoveSubnetIds",
    "AddSecurityGroupIds", "RemoveSecurityGroupIds",
)  # fmt: skip
_OF_GATEWAYS = ("RouteTableIds", "AddRouteTableIds", "RemoveRouteTableIds")
_TABLE = msgspec.structs.replace(ids.ROUTE_TABLE, not_found="InvalidRouteTableId.NotFound")
"""Endpoints spell it their own way: Terraform takes a table that is gone for an association that is gone by this code."""


@operation("CreateVpcEndpoint")
async def create_vpc_endpoint(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateVpcEndpoint, of the kinds Gateway and Interface."""
    done = call.done_before()
    if done is not None:
        endpoint = ids.find(call, VpcEndpoint, ids.ENDPOINT, done[0])
        return {"VpcEndpoint": show_endpoint(call, endpoint)} | call.told_token()
    params = call.params
    kinds = ("Gateway", "Interface", "GatewayLoadBalancer", "Resource", "ServiceNetwork", "Tunnel")
    kind = ids.choice(params, "VpcEndpointType", *kinds)
    if kind not in ("Gateway", "Interface"):
        raise ids.not_built(f"CreateVpcEndpoint with VpcEndpointType {kind}")
    _check_parameters(call, kind)
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    transaction = call.transaction()
    make = new_interface_endpoint if kind == "Interface" else _new_gateway_endpoint
    endpoint = VpcEndpoint(
        meta=call.meta(new_id("vpce-"), tags=tags_of(call, "vpc-endpoint")),
        spec=VpcEndpointSpec(vpc.meta.name, ids.need(call, "ServiceName"), wanted_policy(call, kind)),
    )
    endpoint = make(call, transaction, vpc, endpoint)
    transaction.require(vpc)
    transaction.require_no_newer(VpcEndpoint, call.scope)
    transaction.create(endpoint)
    call.remember(transaction, (endpoint.meta.name,))
    await call.commit(transaction)
    return {"VpcEndpoint": show_endpoint(call, endpoint)} | call.told_token()


@operation("ModifyVpcEndpoint")
async def modify_vpc_endpoint(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyVpcEndpoint: its policy, and its route tables or its subnets, security groups and names."""
    endpoint = ids.find(call, VpcEndpoint, ids.ENDPOINT, ids.need(call, "VpcEndpointId"))
    params, spec = call.params, endpoint.spec
    _check_parameters(call, spec.type)
    if params.get("PolicyDocument") and params.get("ResetPolicy"):
        raise AwsError("InvalidParameterCombination", "Only one of PolicyDocument and ResetPolicy can be specified.")
    policy = wanted_policy(call, spec.type) if params.get("PolicyDocument") else spec.policy
    if params.get("ResetPolicy"):
        policy = ALL_ALLOWED
    transaction = call.transaction()
    transaction.require_no_newer(VpcEndpoint, call.scope)
    change = with_changed_nodes if spec.type == "Interface" else _with_changed_tables
    endpoint = change(call, transaction, endpoint)
    spec = msgspec.structs.replace(endpoint.spec, policy=policy)
    transaction.update(msgspec.structs.replace(endpoint, spec=spec))
    await call.commit(transaction)
    return {"Return": True}


@operation("DeleteVpcEndpoints")
async def delete_vpc_endpoints(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteVpcEndpoints: what cannot be deleted is told, the others go."""
    wanted = list(dict.fromkeys(ids.check_id(ids.ENDPOINT, id_) for id_ in call.params.get("VpcEndpointIds") or ()))
    transaction = call.transaction()
    missing = []
    for id_ in wanted:
        endpoint = call.get(VpcEndpoint, id_)
        if endpoint is None:
            missing.append(id_)
        else:
            remove_endpoint(call, transaction, endpoint)
    await call.commit(transaction)
    text = "The vpc endpoint ID '{}' does not exist"
    errors = [
        {"ResourceId": id_, "Error": {"Code": ids.ENDPOINT.not_found, "Message": text.format(id_)}} for id_ in missing
    ]
    return {"Unsuccessful": errors}


@operation("DescribeVpcEndpoints")
def describe_vpc_endpoints(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcEndpoints."""
    filters: FilterTable = {
        "service-name": lambda one: one.spec.service,
        "vpc-id": lambda one: one.spec.vpc,
        "vpc-endpoint-id": lambda one: one.meta.name,
        "vpc-endpoint-state": lambda one: one.status.state,
        "vpc-endpoint-type": lambda one: one.spec.type,
        "ip-address-type": lambda _: "ipv4",
        "service-region": lambda _: call.region,
    }
    found, token = listing(call, VpcEndpoint, ids.ENDPOINT, "VpcEndpointIds", filters, capped=True)
    return answer("VpcEndpoints", [show_endpoint(call, one) for one in found], token)


def _check_parameters(call: Call, kind: str) -> None:
    """Those of the other kind are refused. AWS: InvalidParameter."""
    params = call.params
    for name in _NOT_BUILT:
        if params.get(name):
            raise ids.not_built(f"{call.operation} with {name}")
    if params.get("IpAddressType") not in (None, "", "ipv4"):
        raise ids.not_built(f"{call.operation} with IpAddressType {params['IpAddressType']}")
    if params.get("ServiceRegion") not in (None, "", call.region):
        raise ids.not_built(f"{call.operation} with the ServiceRegion of another region")
    check_dns(call)
    others, only = (_OF_INTERFACES, "Interface") if kind == "Gateway" else (_OF_GATEWAYS, "Gateway")
    for name in others:
        if params.get(name) and name != "DnsOptions":
            raise AwsError("InvalidParameter", f"{name} is applicable only to {only} VPC Endpoints.")


def _new_gateway_endpoint(call: Call, transaction: Transaction, vpc: Vpc, endpoint: VpcEndpoint) -> VpcEndpoint:
    spec = endpoint.spec
    if spec.service not in [service_name(call.region, one) for one in GATEWAY_SERVICES]:
        raise AwsError("InvalidServiceName", f"The Vpc Endpoint Service '{spec.service}' does not exist")
    there = [one for one in call.all(VpcEndpoint) if one.spec.type == "Gateway"]
    if len(there) >= call.settings.quota_gateway_endpoints:
        raise AwsError("VpcEndpointLimitExceeded", "The maximum number of VPC endpoints has been reached.")
    tables = _tables(call, vpc.meta.name, spec.service, call.params.get("RouteTableIds") or ())
    for table in tables.values():
        transaction.require(table)
    return msgspec.structs.replace(endpoint, spec=msgspec.structs.replace(spec, tables=tuple(tables)))


def _with_changed_tables(call: Call, transaction: Transaction, endpoint: VpcEndpoint) -> VpcEndpoint:
    spec = endpoint.spec
    removed = set(call.params.get("RemoveRouteTableIds") or ())
    if missing := sorted(removed - set(spec.tables)):
        raise ids.not_found(_TABLE, *missing)
    added = _tables(call, spec.vpc, spec.service, call.params.get("AddRouteTableIds") or (), endpoint)
    kept = [name for name in spec.tables if name not in removed and name not in added]
    for table in added.values():
        transaction.require(table)
    return msgspec.structs.replace(endpoint, spec=msgspec.structs.replace(spec, tables=(*kept, *added)))


def _tables(call: Call, vpc: str, service: str, wanted: Any, own: VpcEndpoint | None = None) -> dict[str, RouteTable]:
    """Route tables that get the route. AWS: RouteAlreadyExists where another endpoint has made it."""
    found = {one.meta.name: one for one in ids.find_all(call, RouteTable, _TABLE, list(wanted))}
    for name, table in found.items():
        if table.spec.vpc != vpc:
            raise ids.invalid(f"Route table {name} and vpc {vpc} belong to different networks")
        for other in call.by(VpcEndpoint, "route-table", name):
            if other.spec.service == service and (own is None or other.meta.name != own.meta.name):
                text = f"route table {name} already has a route with destination-prefix-list-id {list_id(service)}"
                raise AwsError("RouteAlreadyExists", text)
    return found


def show_endpoint(call: Call, one: VpcEndpoint) -> dict[str, Any]:
    """API form. AWS: ec2 VpcEndpoint."""
    spec = one.spec
    shown: dict[str, Any] = {
        "VpcEndpointId": one.meta.name,
        "VpcEndpointType": spec.type,
        "VpcId": spec.vpc,
        "ServiceName": spec.service,
        "State": one.status.state,
        "PolicyDocument": spec.policy,
        "RouteTableIds": list(spec.tables),
        "SubnetIds": [node.subnet for node in spec.nodes],
        "Groups": [_show_group(call, name) for name in spec.groups],
        "PrivateDnsEnabled": spec.private_dns,
        "RequesterManaged": False,
        "NetworkInterfaceIds": [node.interface for node in spec.nodes],
        "DnsEntries": dns_entries(one),
        "CreationTimestamp": one.meta.created,
        "OwnerId": call.account,
        "Tags": show_tags(one.meta.tags),
    }
    if spec.type == "Interface":
        shown |= {
            "IpAddressType": "ipv4",
            "DnsOptions": {"DnsRecordIpType": "ipv4"},
            "ServiceRegion": call.region,
        }
    if one.status.state == "failed":
        shown["LastError"] = {"Code": "InternalError", "Message": one.status.reason}
    return shown


def _show_group(call: Call, name: str) -> dict[str, Any]:
    group = call.get(SecurityGroup, name)
    return {"GroupId": name, "GroupName": group.spec.group_name if group is not None else ""}
