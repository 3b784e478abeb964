"""Networks' things that cannot be made here, and so there are none of: what lists them says so, as programs ask that look at an account as a whole.

Their Create operations answer NotImplemented. The calls are checked as any other: ids that are named do not exist, unknown filters are refused.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.listing import nothing
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation


def _none(call: Call, member: str, ids_name: str, code: str, filters: str) -> dict[str, Any]:
    """`ids_name`: the parameter that lists ids, "" for none; `code`: what AWS answers for one that is not there; `filters`: their names."""
    for id_ in (call.params.get(ids_name) or ()) if ids_name else ():
        raise AwsError(code, f"The ID '{id_}' does not exist")
    return nothing(call, member, *filters.split())


@operation("DescribeEgressOnlyInternetGateways", level="state")
def describe_egress_only_internet_gateways(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeEgressOnlyInternetGateways: they are for IPv6, which the networks do not carry."""
    filters = ""
    return _none(
        call,
        "EgressOnlyInternetGateways",
        "EgressOnlyInternetGatewayIds",
        "InvalidEgressOnlyInternetGatewayId.NotFound",
        filters,
    )


@operation("DescribeTransitGateways", level="state")
def describe_transit_gateways(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeTransitGateways: not built."""
    filters = (
        "options.propagation-default-route-table-id options.amazon-side-asn "
        "options.association-default-route-table-id options.auto-accept-shared-attachments "
        "options.default-route-table-association options.default-route-table-propagation options.dns-support "
        "options.vpn-ecmp-support owner-id state transit-gateway-id"
    )
    return _none(call, "TransitGateways", "TransitGatewayIds", "InvalidTransitGatewayID.NotFound", filters)


@operation("DescribeTransitGatewayAttachments", level="state")
def describe_transit_gateway_attachments(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeTransitGatewayAttachments: of transit gateways."""
    filters = (
        "association.state association.transit-gateway-route-table-id resource-id resource-owner-id "
        "resource-type state transit-gateway-attachment-id transit-gateway-id transit-gateway-owner-id"
    )
    return _none(
        call,
        "TransitGatewayAttachments",
        "TransitGatewayAttachmentIds",
        "InvalidTransitGatewayAttachmentID.NotFound",
        filters,
    )


@operation("DescribeTransitGatewayVpcAttachments", level="state")
def describe_transit_gateway_vpc_attachments(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeTransitGatewayVpcAttachments: of transit gateways."""
    filters = "state transit-gateway-attachment-id transit-gateway-id vpc-id"
    return _none(
        call,
        "TransitGatewayVpcAttachments",
        "TransitGatewayAttachmentIds",
        "InvalidTransitGatewayAttachmentID.NotFound",
        filters,
    )


@operation("DescribeTransitGatewayRouteTables", level="state")
def describe_transit_gateway_route_tables(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeTransitGatewayRouteTables: of transit gateways."""
    filters = (
        "default-association-route-table default-propagation-route-table state transit-gateway-id "
        "transit-gateway-route-table-id"
    )
    return _none(
        call, "TransitGatewayRouteTables", "TransitGatewayRouteTableIds", "InvalidRouteTableID.NotFound", filters
    )


@operation("DescribeVpnConnections", level="state")
def describe_vpn_connections(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpnConnections: there is no network outside to connect to."""
    filters = (
        "customer-gateway-configuration customer-gateway-id state option.static-routes-only "
        "route.destination-cidr-block bgp-asn type vpn-connection-id vpn-gateway-id transit-gateway-id"
    )
    return _none(call, "VpnConnections", "VpnConnectionIds", "InvalidVpnConnectionID.NotFound", filters)


@operation("DescribeCarrierGateways", level="state")
def describe_carrier_gateways(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeCarrierGateways: no zone is a Wavelength Zone."""
    filters = "carrier-gateway-id state owner-id vpc-id"
    return _none(call, "CarrierGateways", "CarrierGatewayIds", "InvalidCarrierGatewayID.NotFound", filters)


@operation("DescribeLocalGateways", level="state")
def describe_local_gateways(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeLocalGateways: there are no Outposts."""
    filters = "local-gateway-id outpost-arn owner-id state"
    return _none(call, "LocalGateways", "LocalGatewayIds", "InvalidLocalGatewayID.NotFound", filters)


@operation("DescribeCoipPools", level="state")
def describe_coip_pools(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeCoipPools: there are no Outposts."""
    filters = "coip-pool.local-gateway-route-table-id coip-pool.pool-id"
    return _none(call, "CoipPools", "PoolIds", "InvalidPoolID.NotFound", filters)


@operation("DescribeIpv6Pools", level="state")
def describe_ipv6_pools(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeIpv6Pools: the networks carry IPv4 only."""
    filters = ""
    return _none(call, "Ipv6Pools", "PoolIds", "InvalidPoolID.NotFound", filters)


@operation("DescribePublicIpv4Pools", level="state")
def describe_public_ipv4_pools(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribePublicIpv4Pools: nobody can bring addresses; the home has one pool for all."""
    filters = ""
    return _none(call, "PublicIpv4Pools", "PoolIds", "InvalidPublicIpv4PoolID.NotFound", filters)


@operation("DescribeTrafficMirrorSessions", level="state")
def describe_traffic_mirror_sessions(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeTrafficMirrorSessions: not built."""
    filters = (
        "description network-interface-id owner-id packet-length session-number traffic-mirror-filter-id "
        "traffic-mirror-session-id traffic-mirror-target-id virtual-network-id"
    )
    return _none(
        call, "TrafficMirrorSessions", "TrafficMirrorSessionIds", "InvalidTrafficMirrorSessionId.NotFound", filters
    )


@operation("DescribeMovingAddresses", level="state")
def describe_moving_addresses(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeMovingAddresses: EC2-Classic is retired."""
    filters = "moving-status"
    return _none(call, "MovingAddressStatuses", "", "", filters)


@operation("DescribeTransitGatewayPeeringAttachments", level="state")
def describe_transit_gateway_peering_attachments(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeTransitGatewayPeeringAttachments: of transit gateways."""
    filters = "transit-gateway-attachment-id local-owner-id remote-owner-id state transit-gateway-id"
    return _none(
        call,
        "TransitGatewayPeeringAttachments",
        "TransitGatewayAttachmentIds",
        "InvalidTransitGatewayAttachmentID.NotFound",
        filters,
    )


@operation("DescribeClientVpnEndpoints", level="state")
def describe_client_vpn_endpoints(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeClientVpnEndpoints: not built."""
    code = "InvalidClientVpnEndpointId.NotFound"
    return _none(call, "ClientVpnEndpoints", "ClientVpnEndpointIds", code, "endpoint-id transport-protocol")


@operation("DescribeInstanceConnectEndpoints", level="state")
def describe_instance_connect_endpoints(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeInstanceConnectEndpoints: not built."""
    filters = "instance-connect-endpoint-id state subnet-id vpc-id"
    code = "InvalidInstanceConnectEndpointId.NotFound"
    return _none(call, "InstanceConnectEndpoints", "InstanceConnectEndpointIds", code, filters)


@operation("DescribeIpams", level="state")
def describe_ipams(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeIpams: not built."""
    return _none(call, "Ipams", "IpamIds", "InvalidIpamId.NotFound", "ipam-id ipam-region owner-id state")


@operation("DescribeIpamPools", level="state")
def describe_ipam_pools(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeIpamPools: of an IPAM."""
    filters = "address-family ipam-pool-id ipam-scope-id locale owner-id state"
    return _none(call, "IpamPools", "IpamPoolIds", "InvalidIpamPoolId.NotFound", filters)


@operation("DescribeIpamScopes", level="state")
def describe_ipam_scopes(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeIpamScopes: of an IPAM."""
    filters = "ipam-arn ipam-scope-id ipam-scope-type is-default owner-id state"
    return _none(call, "IpamScopes", "IpamScopeIds", "InvalidIpamScopeId.NotFound", filters)


@operation("DescribeByoipCidrs", level="state")
def describe_byoip_cidrs(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeByoipCidrs: nobody can bring addresses."""
    return _none(call, "ByoipCidrs", "", "", "")


@operation("DescribeTrafficMirrorFilters", level="state")
def describe_traffic_mirror_filters(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeTrafficMirrorFilters: not built."""
    code = "InvalidTrafficMirrorFilterId.NotFound"
    return _none(call, "TrafficMirrorFilters", "TrafficMirrorFilterIds", code, "description traffic-mirror-filter-id")


@operation("DescribeTrafficMirrorTargets", level="state")
def describe_traffic_mirror_targets(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeTrafficMirrorTargets: not built."""
    filters = "description network-interface-id network-load-balancer-arn owner-id traffic-mirror-target-id"
    code = "InvalidTrafficMirrorTargetId.NotFound"
    return _none(call, "TrafficMirrorTargets", "TrafficMirrorTargetIds", code, filters)
