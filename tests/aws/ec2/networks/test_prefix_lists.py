"""Managed prefix lists: what they count as, their versions, and what they are lowered to."""

from __future__ import annotations

from typing import Any


def made(cloud, *cidrs: str, size: int = 10, family: str = "IPv4") -> str:
    entries = [{"Cidr": cidr} for cidr in cidrs]
    params = {"PrefixListName": "list", "AddressFamily": family, "MaxEntries": size, "Entries": entries}
    return cloud("CreateManagedPrefixList", **params)["PrefixList"]["PrefixListId"]


def web(**source: Any) -> list[dict[str, Any]]:
    return [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, **source}]


def from_list(id_: str) -> list[dict[str, Any]]:
    return web(PrefixListIds=[{"PrefixListId": id_}])


def plugged(cloud) -> str:
    """A VPC that is on the machine."""
    vpc = cloud.vpc()
    cloud("CreateNatGateway", SubnetId=cloud.subnet(vpc), ConnectivityType="private")
    return vpc


def test_a_rule_allows_what_the_list_has_now(cloud):
    group, id_ = cloud.group(plugged(cloud)), made(cloud, "192.0.2.0/24", "198.51.100.0/24")
    cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=from_list(id_))

    def allowed() -> set[str]:
        rules = cloud.wished("FirewallGroup")[group].group.rules
        return {one.cidr for one in rules if one.direction == "in"}

    assert allowed() == {"192.0.2.0/24", "198.51.100.0/24"}
    change = {"AddEntries": [{"Cidr": "203.0.113.7/32"}], "RemoveEntries": [{"Cidr": "192.0.2.0/24"}]}
    cloud("ModifyManagedPrefixList", PrefixListId=id_, CurrentVersion=1, **change)
    assert allowed() == {"198.51.100.0/24", "203.0.113.7/32"}
    cloud("RestoreManagedPrefixListVersion", PrefixListId=id_, PreviousVersion=1, CurrentVersion=2)
    assert allowed() == {"192.0.2.0/24", "198.51.100.0/24"}


def test_a_reference_counts_as_many_rules_as_the_list_may_have(cloud):
    group = cloud.group(cloud.vpc())
    large, small = made(cloud, size=59), made(cloud, size=2)
    cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=from_list(large))
    refused = cloud.code("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=from_list(small))
    assert refused == "RulesPerSecurityGroupLimitExceeded"
    cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=web(IpRanges=[{"CidrIp": "10.0.0.0/8"}]))
    grown = cloud("ModifyManagedPrefixList", PrefixListId=large, MaxEntries=60)["PrefixList"]
    assert (grown["State"], grown["MaxEntries"]) == ("modify-failed", 59)


def test_routes_to_a_list_are_routes_to_its_entries_and_a_named_range_wins(cloud):
    vpc = plugged(cloud)
    gateway = cloud.gateway(vpc)
    id_ = made(cloud, "198.51.100.0/24", "203.0.113.0/24", size=20)
    table = cloud("DescribeRouteTables", Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0][
        "RouteTableId"
    ]
    cloud("CreateRoute", RouteTableId=table, DestinationPrefixListId=id_, GatewayId=gateway)
    nat = cloud("DescribeNatGateways")["NatGateways"][0]
    cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock="203.0.113.0/24", NatGatewayId=nat["NatGatewayId"])
    routes = cloud.wished("Network")[vpc].network.subnets[0].routes
    last = {one.destination: one.target for one in routes}  # as the machine takes them
    interface = nat["NatGatewayAddresses"][0]["NetworkInterfaceId"]
    assert last["198.51.100.0/24"] == "internet"
    assert last["203.0.113.0/24"] == f"interface:{interface}"
    other = made(cloud, size=50)
    refused = cloud.code("CreateRoute", RouteTableId=table, DestinationPrefixListId=other, GatewayId=gateway)
    assert refused == "RouteLimitExceeded"


def test_refusals_change_nothing(cloud):
    id_ = made(cloud, "192.0.2.0/24", size=1)

    def code(**params: Any) -> str:
        return cloud.code("ModifyManagedPrefixList", PrefixListId=id_, **params)

    more = [{"Cidr": "198.51.100.0/24"}]
    assert code(AddEntries=more) == "MissingParameter"
    assert code(AddEntries=more, CurrentVersion=1) == "PrefixListMaxEntriesExceeded"
    assert code(AddEntries=more, CurrentVersion=2) == "PrefixListVersionMismatch"
    assert code(RemoveEntries=more, CurrentVersion=2) == "PrefixListVersionMismatch"
    assert code(RemoveEntries=more, CurrentVersion=1) == "InvalidParameterValue"
    assert code(AddEntries=[{"Cidr": "2001:db8::/32"}], CurrentVersion=1) == "InvalidParameterValue"
    assert code(MaxEntries=1001) == "InvalidParameterValue"
    # The text as told in the Terraform provider's resource aws_ec2_managed_prefix_list.
    again = [{"Cidr": "192.0.2.0/24"}]
    both = {"CurrentVersion": 1, "AddEntries": again, "RemoveEntries": again}
    assert cloud.refused("ModifyManagedPrefixList", PrefixListId=id_, **both) == (
        "InvalidParameterValue",
        "Request cannot contain Cidr 192.0.2.0/24 in both AddPrefixListEntries and RemovePrefixListEntries",
    )
    entries = {"PrefixListId": id_, "TargetVersion": 2}
    assert cloud.code("GetManagedPrefixListEntries", **entries) == "InvalidParameterValue"
    group = cloud.group(cloud.vpc())
    unknown = from_list("pl-0123456789abcdef0")
    assert cloud.code("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=unknown) == (
        "InvalidPrefixListID.NotFound"
    )


def test_earlier_versions_are_kept_up_to_a_limit(cloud):
    id_ = made(cloud, *(f"10.{a}.{b}.0/24" for a in range(4) for b in range(250)), size=1000)
    for version in range(1, 14):
        cidr = f"10.0.{version}.0/24"
        cloud("ModifyManagedPrefixList", PrefixListId=id_, CurrentVersion=version, RemoveEntries=[{"Cidr": cidr}])
    recent = cloud("GetManagedPrefixListEntries", PrefixListId=id_, TargetVersion=13, MaxResults=100)
    assert len(recent["Entries"]) == 100
    old = {"PrefixListId": id_, "TargetVersion": 1}
    assert cloud.code("GetManagedPrefixListEntries", **old) == "InvalidParameterValue"
