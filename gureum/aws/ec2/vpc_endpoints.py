"""VPC endpoints of the kind "Gateway": a route in some route tables to the prefix list of S3 or DynamoDB.

The route is not stored with the table: whoever shows a table's routes looks for endpoints that name it. The list holds no ranges
(service_prefix_lists.py), so no packet goes another way; policies are kept and shown. Interface endpoints and those of one's own services
are refused by name.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.network_kinds import RouteTable, Vpc, VpcEndpoint, VpcEndpointSpec
from gureum.aws.ec2.regions import zones_of
from gureum.aws.ec2.service_prefix_lists import GATEWAY_SERVICES, list_id, service_name
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id

ALL_ALLOWED = json.dumps(
    {"Version": "2008-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}
)
_MOST_POLICY_BYTES = 20_480
_OF_INTERFACES = (
    "SubnetIds", "SecurityGroupIds", "PrivateDnsEnabled", "SubnetConfigurations", "DnsOptions", "ServiceNetworkArn",
    "ResourceConfigurationArn", "ServiceRegion", "IpAddressType",
)  # fmt: skip


@operation("CreateVpcEndpoint", level="state")
async def create_vpc_endpoint(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateVpcEndpoint, of the kind Gateway."""
    done = call.done_before()
    if done is not None:
        return {"VpcEndpoint": show_endpoint(call, ids.find(call, VpcEndpoint, ids.ENDPOINT, done[0]))}
    params = call.params
    kinds = ("Gateway", "Interface", "GatewayLoadBalancer", "Resource", "ServiceNetwork", "Tunnel")
    kind = ids.choice(params, "VpcEndpointType", *kinds)
    if kind != "Gateway":
        raise ids.not_built(f"CreateVpcEndpoint with VpcEndpointType {kind}")
    _refuse_unbuilt(call, _OF_INTERFACES)
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    service = ids.need(call, "ServiceName")
    if service not in [service_name(call.region, one) for one in GATEWAY_SERVICES]:
        raise AwsError("InvalidServiceName", f"The Vpc Endpoint Service '{service}' does not exist")
    if len(call.all(VpcEndpoint)) >= call.settings.quota_gateway_endpoints:
        raise AwsError("VpcEndpointLimitExceeded", "The maximum number of VPC endpoints has been reached.")
    tables = _tables(call, vpc.meta.name, service, params.get("RouteTableIds") or ())
    endpoint = VpcEndpoint(
        meta=call.meta(new_id("vpce-"), tags=tags_of(call, "vpc-endpoint")),
        spec=VpcEndpointSpec(vpc.meta.name, service, _policy(params.get("PolicyDocument")), tuple(tables)),
    )
    transaction = call.transaction()
    transaction.require(vpc)
    transaction.require_no_newer(VpcEndpoint, call.scope)
    for table in tables.values():
        transaction.require(table)
    transaction.create(endpoint)
    call.remember(transaction, (endpoint.meta.name,))
    await call.commit(transaction)
    token = params.get("ClientToken")
    return {"VpcEndpoint": show_endpoint(call, endpoint)} | ({"ClientToken": token} if token else {})


@operation("ModifyVpcEndpoint", level="state")
async def modify_vpc_endpoint(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyVpcEndpoint: its policy and route tables."""
    endpoint = ids.find(call, VpcEndpoint, ids.ENDPOINT, ids.need(call, "VpcEndpointId"))
    params, spec = call.params, endpoint.spec
    _refuse_unbuilt(
        call, (*_OF_INTERFACES, "AddSubnetIds", "AddSecurityGroupIds", "RemoveSubnetIds", "RemoveSecurityGroupIds")
    )
    if params.get("PolicyDocument") and params.get("ResetPolicy"):
        raise AwsError("InvalidParameterCombination", "Only one of PolicyDocument and ResetPolicy can be specified.")
    removed = set(params.get("RemoveRouteTableIds") or ())
    if missing := sorted(removed - set(spec.tables)):
        raise ids.not_found(ids.ROUTE_TABLE, *missing)
    added = _tables(call, spec.vpc, spec.service, params.get("AddRouteTableIds") or (), endpoint)
    kept = [name for name in spec.tables if name not in removed and name not in added]
    policy = _policy(params["PolicyDocument"]) if params.get("PolicyDocument") else spec.policy
    if params.get("ResetPolicy"):
        policy = ALL_ALLOWED
    transaction = call.transaction()
    transaction.require_no_newer(VpcEndpoint, call.scope)
    for table in added.values():
        transaction.require(table)
    spec = msgspec.structs.replace(spec, policy=policy, tables=(*kept, *added))
    transaction.update(msgspec.structs.replace(endpoint, spec=spec))
    await call.commit(transaction)
    return {"Return": True}


@operation("DeleteVpcEndpoints", level="state")
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
            transaction.delete(endpoint)
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
        "vpc-endpoint-state": lambda _: "available",
        "vpc-endpoint-type": lambda _: "Gateway",
        "ip-address-type": lambda _: "ipv4",
        "service-region": lambda _: call.region,
    }
    found, token = listing(call, VpcEndpoint, ids.ENDPOINT, "VpcEndpointIds", filters)
    return answer("VpcEndpoints", [show_endpoint(call, one) for one in found], token)


@operation("DescribeVpcEndpointServices")
def describe_vpc_endpoint_services(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcEndpointServices: those that have endpoints here."""
    details = [_service(call, one) for one in GATEWAY_SERVICES]
    wanted = call.params.get("ServiceNames")
    known = {one["ServiceName"] for one in details}
    for name in wanted or ():
        if name not in known:
            raise AwsError("InvalidServiceName", f"The Vpc Endpoint Service '{name}' does not exist")
    filters: FilterTable = {
        "owner": lambda row: row.shown["Owner"],
        "service-name": lambda row: row.shown["ServiceName"],
        "service-type": lambda _: "Gateway",
        "service-region": lambda _: call.region,
        "supported-ip-address-types": lambda _: "ipv4",
    }
    rows = [
        SimpleNamespace(shown=one, meta=SimpleNamespace(tags={}))  # filters look for tags there
        for one in details
        if not wanted or one["ServiceName"] in wanted
    ]
    found: list[Any] = apply_filters(rows, call.params.get("Filters"), filters)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda row: str(row.shown["ServiceName"]))
    names = [row.shown["ServiceName"] for row in shown]
    return answer("ServiceDetails", [row.shown for row in shown], token) | {"ServiceNames": names}


def _refuse_unbuilt(call: Call, names: tuple[str, ...]) -> None:
    for name in names:
        if call.params.get(name) and (name, call.params[name]) != ("IpAddressType", "ipv4"):
            raise ids.not_built(f"{call.operation} with {name}")


def _tables(call: Call, vpc: str, service: str, wanted: Any, own: VpcEndpoint | None = None) -> dict[str, RouteTable]:
    """Route tables that get the route. AWS: RouteAlreadyExists where another endpoint has made it."""
    found = {one.meta.name: one for one in ids.find_all(call, RouteTable, ids.ROUTE_TABLE, list(wanted))}
    for name, table in found.items():
        if table.spec.vpc != vpc:
            raise ids.invalid(f"Route table {name} and vpc {vpc} belong to different networks")
        for other in call.by(VpcEndpoint, "route-table", name):
            if other.spec.service == service and (own is None or other.meta.name != own.meta.name):
                text = f"route table {name} already has a route with destination-prefix-list-id {list_id(service)}"
                raise AwsError("RouteAlreadyExists", text)
    return found


def _policy(text: str | None) -> str:
    """AWS: InvalidPolicyDocument for what is no JSON object."""
    if not text:
        return ALL_ALLOWED
    try:
        sound = len(text.encode()) <= _MOST_POLICY_BYTES and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        sound = False
    if not sound:
        raise AwsError("InvalidPolicyDocument", "The policy document is not valid.")
    return text


def show_endpoint(call: Call, one: VpcEndpoint) -> dict[str, Any]:
    """API form. AWS: ec2 VpcEndpoint."""
    return {
        "VpcEndpointId": one.meta.name,
        "VpcEndpointType": "Gateway",
        "VpcId": one.spec.vpc,
        "ServiceName": one.spec.service,
        "State": "available",
        "PolicyDocument": one.spec.policy,
        "RouteTableIds": list(one.spec.tables),
        "SubnetIds": [],
        "Groups": [],
        "PrivateDnsEnabled": False,
        "RequesterManaged": False,
        "NetworkInterfaceIds": [],
        "DnsEntries": [],
        "CreationTimestamp": one.meta.created,
        "OwnerId": call.account,
        "Tags": show_tags(one.meta.tags),
    }


def _service(call: Call, service: str) -> dict[str, Any]:
    """API form. AWS: ec2 ServiceDetail."""
    name = service_name(call.region, service)
    return {
        "ServiceName": name,
        "ServiceId": f"vpce-svc-{list_id(name)[3:]}",
        "ServiceType": [{"ServiceType": "Gateway"}],
        "ServiceRegion": call.region,
        "AvailabilityZones": [zone.name for zone in zones_of(call.region)],
        "Owner": "amazon",
        "BaseEndpointDnsNames": [f"{service}.{call.region}.amazonaws.com"],
        "VpcEndpointPolicySupported": True,
        "AcceptanceRequired": False,
        "ManagesVpcEndpoints": False,
        "SupportedIpAddressTypes": ["ipv4"],
        "Tags": [],
    }
