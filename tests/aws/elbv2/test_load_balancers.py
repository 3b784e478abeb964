"""Load balancers. Rules: elbv2 CreateLoadBalancer, SetSubnets, SetSecurityGroups (API Reference); "Subnets for your load balancer",
"Network Load Balancers" (User Guides)."""

from __future__ import annotations

import re

import pytest


def test_an_application_load_balancer_is_shown_as_made(cloud):
    shown = cloud.application(Tags=[{"Key": "a", "Value": "b"}])
    arn = shown["LoadBalancerArn"]
    assert re.fullmatch(
        r"arn:aws:elasticloadbalancing:us-east-1:111122223333:loadbalancer/app/web/[0-9a-f]{16}",
        shown["LoadBalancerArn"],
    )
    assert re.fullmatch(r"web-\d{9,10}\.us-east-1\.elb\.amazonaws\.com", shown["DNSName"])
    assert (shown["Type"], shown["Scheme"], shown["IpAddressType"]) == ("application", "internet-facing", "ipv4")
    assert (shown["CanonicalHostedZoneId"], shown["VpcId"]) == ("Z35SXDOTRQ7X7K", cloud.vpc)
    assert shown["State"] == {"Code": "provisioning"}
    assert [zone["ZoneName"] for zone in shown["AvailabilityZones"]] == ["us-east-1a", "us-east-1b"]
    assert [zone["SubnetId"] for zone in shown["AvailabilityZones"]] == cloud.subnets[:2]
    default = cloud("ec2:DescribeSecurityGroups", Filters=[{"Name": "vpc-id", "Values": [cloud.vpc]}])
    assert shown["SecurityGroups"] == [default["SecurityGroups"][0]["GroupId"]]
    assert cloud("DescribeLoadBalancers", Names=["web"])["LoadBalancers"] == [shown]
    assert cloud("DescribeLoadBalancers", LoadBalancerArns=[arn])["LoadBalancers"] == [shown]
    assert cloud("DescribeTags", ResourceArns=[arn])["TagDescriptions"] == [
        {"ResourceArn": arn, "Tags": [{"Key": "a", "Value": "b"}]}
    ]


def test_names_in_dns_are_formed_as_documented(cloud):
    internal = cloud.application("inside", Scheme="internal")
    assert re.fullmatch(r"internal-inside-\d+\.us-east-1\.elb\.amazonaws\.com", internal["DNSName"])
    network = cloud.network()
    id_ = network["LoadBalancerArn"].rpartition("/")[2]
    assert network["DNSName"] == f"net-{id_}.elb.us-east-1.amazonaws.com"
    assert "loadbalancer/net/net/" in network["LoadBalancerArn"]
    assert network["CanonicalHostedZoneId"] == "Z26RNL4JYFTOTI"
    assert "SecurityGroups" not in network


def test_each_zone_has_an_interface_that_only_the_service_manages(cloud):
    balancer = cloud.application()
    first, second = cloud.interfaces(balancer)
    assert [first["SubnetId"], second["SubnetId"]] == cloud.subnets[:2]
    assert (first["RequesterId"], first["RequesterManaged"], first["Status"]) == ("amazon-elb", True, "in-use")
    assert first["Attachment"]["InstanceOwnerId"] == "amazon-elb"
    assert "InstanceId" not in first["Attachment"]
    assert first["Association"]["IpOwnerId"] == "amazon-elb"
    filters = [{"Name": "association.ip-owner-id", "Values": ["amazon-elb"]}]
    assert len(cloud("ec2:DescribeNetworkInterfaces", Filters=filters)["NetworkInterfaces"]) == 2
    assert first["InterfaceType"] == "interface"
    eni, attachment = first["NetworkInterfaceId"], first["Attachment"]["AttachmentId"]
    assert cloud.code("ec2:DetachNetworkInterface", AttachmentId=attachment) == "OperationNotPermitted"
    assert cloud.code("ec2:DeleteNetworkInterface", NetworkInterfaceId=eni) == "InvalidParameterValue"
    changes = {
        "ec2:ModifyNetworkInterfaceAttribute": {"Groups": balancer["SecurityGroups"]},
        "ec2:ResetNetworkInterfaceAttribute": {"SourceDestCheck": "value"},
        "ec2:AssignPrivateIpAddresses": {"SecondaryPrivateIpAddressCount": 1},
        "ec2:UnassignPrivateIpAddresses": {"PrivateIpAddresses": ["10.0.1.9"]},
    }
    for name, params in changes.items():
        assert cloud.code(name, NetworkInterfaceId=eni, **params) == "AuthFailure", name
    allocation = cloud("ec2:AllocateAddress")["AllocationId"]
    assert cloud.code("ec2:AssociateAddress", AllocationId=allocation, NetworkInterfaceId=eni) == "AuthFailure"


def test_what_a_load_balancer_is_in_cannot_be_deleted(cloud):
    group = cloud("ec2:CreateSecurityGroup", VpcId=cloud.vpc, GroupName="lb", Description="d")["GroupId"]
    balancer = cloud.application(SecurityGroups=[group])
    assert cloud.code("ec2:DeleteSubnet", SubnetId=cloud.subnets[0]) == "DependencyViolation"
    assert cloud.code("ec2:DeleteSecurityGroup", GroupId=group) == "DependencyViolation"
    assert cloud.code("ec2:DeleteVpc", VpcId=cloud.vpc) == "DependencyViolation"
    gateway = cloud("ec2:DescribeInternetGateways", Filters=[{"Name": "attachment.vpc-id", "Values": [cloud.vpc]}])
    id_ = gateway["InternetGateways"][0]["InternetGatewayId"]
    assert cloud.code("ec2:DetachInternetGateway", InternetGatewayId=id_, VpcId=cloud.vpc) == "DependencyViolation"
    cloud("DeleteLoadBalancer", LoadBalancerArn=balancer["LoadBalancerArn"])
    cloud("ec2:DeleteSecurityGroup", GroupId=group)
    cloud("ec2:DeleteSubnet", SubnetId=cloud.subnets[0])
    cloud("ec2:DetachInternetGateway", InternetGatewayId=id_, VpcId=cloud.vpc)


def test_deleting_takes_listeners_rules_and_interfaces_along(cloud):
    balancer, group = cloud.application(), cloud.group()
    listener = cloud.listener(balancer, group)
    cloud.rule(listener, group, 1)
    assert cloud.code("DeleteTargetGroup", TargetGroupArn=group) == "ResourceInUse"
    cloud("DeleteLoadBalancer", LoadBalancerArn=balancer["LoadBalancerArn"])
    assert cloud.interfaces(balancer) == []
    assert cloud.code("DescribeListeners", ListenerArns=[listener]) == "ListenerNotFound"
    assert cloud.code("DescribeLoadBalancers", Names=["web"]) == "LoadBalancerNotFound"
    cloud("DeleteTargetGroup", TargetGroupArn=group)
    # What is gone is deleted with success, as the API Reference says.
    cloud("DeleteLoadBalancer", LoadBalancerArn=balancer["LoadBalancerArn"])
    assert [one for one in cloud.desired() if one.kind in ("Proxy", "Sandbox", "BalancerNames", "TargetGroup")] == []


def test_deletion_protection_keeps_it(cloud):
    arn = cloud.application()["LoadBalancerArn"]
    protect = [{"Key": "deletion_protection.enabled", "Value": "true"}]
    cloud("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=protect)
    assert cloud.code("DeleteLoadBalancer", LoadBalancerArn=arn) == "OperationNotPermitted"


def test_the_same_settings_again_answer_the_same_load_balancer(cloud):
    first = cloud.application()
    assert cloud.application()["LoadBalancerArn"] == first["LoadBalancerArn"]
    code, text = cloud.refused("CreateLoadBalancer", Name="web", Subnets=cloud.subnets[1:3])
    assert code == "DuplicateLoadBalancerName"
    assert text == "A load balancer with the same name 'web' exists, but with different settings"
    assert cloud.code("CreateLoadBalancer", Name="web", Type="network", Subnets=cloud.subnets[:2]) == code


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x" * 33, f"Load balancer name '{'x' * 33}' cannot be longer than '32' characters"),
        ("a_b", "Load balancer name 'a_b' can only contain characters that are alphanumeric characters or hyphens(-)"),
        ("-ab", "Load balancer name '-ab' cannot begin or end with '-'"),
        ("ab-", "Load balancer name 'ab-' cannot begin or end with '-'"),
        ("internal-a", "Load balancer name 'internal-a' cannot begin with 'internal-'"),
    ],
)
def test_names_that_are_refused(cloud, name, text):
    assert cloud.refused("CreateLoadBalancer", Name=name, Subnets=cloud.subnets[:2]) == ("ValidationError", text)


def test_an_application_load_balancer_needs_two_zones(cloud):
    text = "At least two subnets in two different Availability Zones must be specified"
    assert cloud.refused("CreateLoadBalancer", Name="a", Subnets=cloud.subnets[:1]) == ("ValidationError", text)
    other = cloud("ec2:CreateSubnet", VpcId=cloud.vpc, CidrBlock="10.0.9.0/24", AvailabilityZone="us-east-1a")
    code, text = cloud.refused("CreateLoadBalancer", Name="a", Subnets=[cloud.subnets[0], other["Subnet"]["SubnetId"]])
    assert code == "InvalidConfigurationRequest"
    assert text == "A load balancer cannot be attached to multiple subnets in the same Availability Zone"
    assert cloud.network(Subnets=cloud.subnets[:1])["AvailabilityZones"][0]["ZoneName"] == "us-east-1a"


def test_subnets_must_exist_be_of_one_vpc_have_room_and_a_way_out(cloud):
    assert (
        cloud.code("CreateLoadBalancer", Name="a", Subnets=["subnet-0123456789abcdef0", *cloud.subnets])
        == "SubnetNotFound"
    )
    vpc = cloud("ec2:CreateVpc", CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    elsewhere = [
        cloud("ec2:CreateSubnet", VpcId=vpc, CidrBlock=f"10.1.{i}.0/28", AvailabilityZone=f"us-east-1{zone}")["Subnet"][
            "SubnetId"
        ]
        for i, zone in enumerate("ab")
    ]
    mixed = [cloud.subnets[0], elsewhere[1]]
    assert cloud.code("CreateLoadBalancer", Name="a", Subnets=mixed) == "InvalidConfigurationRequest"
    refused = cloud.refused("CreateLoadBalancer", Name="a", Subnets=elsewhere)
    assert refused == ("InvalidSubnet", f"VPC {vpc} has no internet gateway")
    for _ in range(4):
        cloud("ec2:CreateNetworkInterface", SubnetId=elsewhere[0])
    refused = cloud.refused("CreateLoadBalancer", Name="a", Subnets=elsewhere, Scheme="internal")
    assert refused[0] == "InvalidSubnet"
    assert "ELB requires at least 8 free IP addresses" in refused[1]
    assert cloud.network(Subnets=elsewhere, Scheme="internal")["Scheme"] == "internal"


@pytest.mark.parametrize(
    "params",
    [
        {"Type": "gateway"},
        {"CustomerOwnedIpv4Pool": "ipv4pool-coip-1"},
        {"IpamPools": {"Ipv4IpamPoolId": "ipam-pool-1"}},
        {"EnablePrefixForIpv6SourceNat": "on"},
    ],
    ids=str,
)
def test_what_is_not_built_says_so(cloud, params):
    assert cloud.code("CreateLoadBalancer", Name="a", Subnets=cloud.subnets[:2], **params) == "NotImplemented"


def test_no_subnet_here_has_ipv6(cloud):
    expected = ("InvalidConfigurationRequest", "You must specify subnets with an associated IPv6 CIDR block.")
    wanted = {"Name": "a", "Subnets": cloud.subnets[:2], "IpAddressType": "dualstack"}
    assert cloud.refused("CreateLoadBalancer", **wanted) == expected
    arn = cloud.application()["LoadBalancerArn"]
    assert cloud.refused("SetIpAddressType", LoadBalancerArn=arn, IpAddressType="dualstack") == expected
    assert cloud("SetIpAddressType", LoadBalancerArn=arn, IpAddressType="ipv4") == {"IpAddressType": "ipv4"}


def test_a_network_load_balancer_takes_the_users_addresses(cloud):
    allocated = cloud("ec2:AllocateAddress")
    allocation = allocated["AllocationId"]
    mapping = [{"SubnetId": cloud.subnets[0], "AllocationId": allocation}]
    balancer = cloud.network(SubnetMappings=mapping)
    assert balancer["AvailabilityZones"][0]["LoadBalancerAddresses"] == [
        {"IpAddress": allocated["PublicIp"], "AllocationId": allocation}
    ]
    (interface,) = cloud.interfaces(balancer)
    assert interface["Association"]["PublicIp"] == allocated["PublicIp"]
    assert interface["Groups"] == []
    assert interface["InterfaceType"] == "network_load_balancer"
    (shown,) = cloud("ec2:DescribeAddresses", AllocationIds=[allocation])["Addresses"]
    assert shown["NetworkInterfaceId"] == interface["NetworkInterfaceId"]
    assert cloud.code("ec2:DisassociateAddress", AssociationId=shown["AssociationId"]) == "AuthFailure"
    assert cloud.code("ec2:ReleaseAddress", AllocationId=allocation) == "InvalidIPAddress.InUse"
    assert cloud.code("CreateLoadBalancer", Name="b", Type="network", SubnetMappings=mapping) == "ResourceInUse"
    cloud("DeleteLoadBalancer", LoadBalancerArn=balancer["LoadBalancerArn"])
    cloud("ec2:ReleaseAddress", AllocationId=allocation)


def test_an_internal_network_load_balancer_takes_a_private_address(cloud):
    mapping = [{"SubnetId": cloud.subnets[0], "PrivateIPv4Address": "10.0.1.77"}]
    balancer = cloud.network(SubnetMappings=mapping, Scheme="internal")
    assert balancer["AvailabilityZones"][0]["LoadBalancerAddresses"] == [{"PrivateIPv4Address": "10.0.1.77"}]
    assert cloud.interfaces(balancer)[0]["PrivateIpAddress"] == "10.0.1.77"
    wanted = {"Name": "b", "Type": "network", "Scheme": "internal"}
    assert cloud.code("CreateLoadBalancer", **wanted, SubnetMappings=mapping) == "InvalidConfigurationRequest"
    outside = [{"SubnetId": cloud.subnets[0], "PrivateIPv4Address": "10.9.1.77"}]
    assert cloud.code("CreateLoadBalancer", **wanted, SubnetMappings=outside) == "InvalidConfigurationRequest"


@pytest.mark.parametrize(
    ("params", "mapping", "code"),
    [
        ({"Type": "application"}, {"AllocationId": "eipalloc-0123456789abcdef0"}, "InvalidConfigurationRequest"),
        (
            {"Type": "network", "Scheme": "internal"},
            {"AllocationId": "eipalloc-0123456789abcdef0"},
            "InvalidConfigurationRequest",
        ),
        ({"Type": "network"}, {"AllocationId": "eipalloc-0123456789abcdef0"}, "AllocationIdNotFound"),
        ({"Type": "network"}, {"PrivateIPv4Address": "10.0.1.9"}, "InvalidConfigurationRequest"),
        ({"Type": "network"}, {"IPv6Address": "2001:db8::1"}, "NotImplemented"),
        ({"Type": "network"}, {"SourceNatIpv6Prefix": "auto_assigned"}, "NotImplemented"),
    ],
)
def test_addresses_that_do_not_fit_are_refused(cloud, params, mapping, code):
    mappings = [{"SubnetId": subnet, **mapping} for subnet in cloud.subnets[:2]]
    assert cloud.code("CreateLoadBalancer", Name="a", SubnetMappings=mappings, **params) == code
    both = cloud.code("CreateLoadBalancer", Name="a", SubnetMappings=mappings, Subnets=cloud.subnets, **params)
    assert both == "ValidationError"


def test_security_groups_are_checked_and_set_on_all_nodes(cloud):
    group = cloud("ec2:CreateSecurityGroup", VpcId=cloud.vpc, GroupName="lb", Description="d")["GroupId"]
    foreign = cloud("ec2:CreateVpc", CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    other = cloud("ec2:CreateSecurityGroup", VpcId=foreign, GroupName="lb", Description="d")["GroupId"]
    balancer = cloud.application()
    arn = balancer["LoadBalancerArn"]
    assert cloud("SetSecurityGroups", LoadBalancerArn=arn, SecurityGroups=[group]) == {"SecurityGroupIds": [group]}
    assert [one["Groups"][0]["GroupId"] for one in cloud.interfaces(balancer)] == [group, group]
    missing = "sg-0123456789abcdef0"
    assert cloud.code("SetSecurityGroups", LoadBalancerArn=arn, SecurityGroups=[missing]) == "InvalidSecurityGroup"
    assert cloud.code("SetSecurityGroups", LoadBalancerArn=arn, SecurityGroups=[other]) == "InvalidConfigurationRequest"
    assert (
        cloud.code("CreateLoadBalancer", Name="b", Subnets=cloud.subnets[:2], SecurityGroups=[missing])
        == "InvalidSecurityGroup"
    )


def test_a_network_load_balancer_without_security_groups_never_gets_any(cloud):
    group = cloud("ec2:CreateSecurityGroup", VpcId=cloud.vpc, GroupName="lb", Description="d")["GroupId"]
    arn = cloud.network()["LoadBalancerArn"]
    assert cloud.code("SetSecurityGroups", LoadBalancerArn=arn, SecurityGroups=[group]) == "InvalidConfigurationRequest"
    grouped = cloud.network("grouped", SecurityGroups=[group])
    assert grouped["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] == "on"
    arn = grouped["LoadBalancerArn"]
    assert cloud("SetSecurityGroups", LoadBalancerArn=arn, SecurityGroups=[group])["SecurityGroupIds"] == [group]


def test_what_groups_do_with_traffic_by_private_link_is_kept_as_none_comes(cloud):
    """AWS: elbv2 SetSecurityGroups, `on` or `off`; what is not given stays."""
    group = cloud("ec2:CreateSecurityGroup", VpcId=cloud.vpc, GroupName="lb", Description="d")["GroupId"]
    made = cloud.network("grouped", SecurityGroups=[group])
    wanted, word = (
        {"LoadBalancerArn": made["LoadBalancerArn"], "SecurityGroups": [group]},
        "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic",
    )
    for given, after in (("off", "off"), (None, "off"), ("on", "on")):
        answer = cloud("SetSecurityGroups", **wanted, **({word: given} if given else {}))
        assert answer[word] == after
        (shown,) = cloud("DescribeLoadBalancers")["LoadBalancers"]
        assert shown[word] == after
    arns = {"NetworkLoadBalancerArns": [made["LoadBalancerArn"]]}
    # Else `off` would have to open a way past the groups.
    assert cloud.code("ec2:CreateVpcEndpointServiceConfiguration", **arns) == "NotImplemented"
    application = cloud.application("a")["LoadBalancerArn"]
    refused = cloud.code("SetSecurityGroups", LoadBalancerArn=application, SecurityGroups=[group], **{word: "off"})
    assert refused == "InvalidConfigurationRequest"


def test_other_subnets_keep_the_nodes_that_stay(cloud):
    balancer = cloud.application()
    before = {one["SubnetId"]: one["NetworkInterfaceId"] for one in cloud.interfaces(balancer)}
    arn = balancer["LoadBalancerArn"]
    shown = cloud("SetSubnets", LoadBalancerArn=arn, Subnets=cloud.subnets[1:])
    assert [zone["ZoneName"] for zone in shown["AvailabilityZones"]] == ["us-east-1b", "us-east-1c"]
    after = {one["SubnetId"]: one["NetworkInterfaceId"] for one in cloud.interfaces(balancer)}
    assert list(after) == cloud.subnets[1:]
    assert after[cloud.subnets[1]] == before[cloud.subnets[1]]
    assert cloud("DescribeLoadBalancers")["LoadBalancers"][0]["AvailabilityZones"] == shown["AvailabilityZones"]
    assert cloud.code("SetSubnets", LoadBalancerArn=arn, Subnets=cloud.subnets[:1]) == "ValidationError"
    assert sorted(cloud.wished("Sandbox")) == sorted(after.values())


def test_lists_come_in_pages(cloud):
    for i in range(3):
        cloud.network(f"n{i}", Subnets=cloud.subnets[:1])
    first = cloud("DescribeLoadBalancers", PageSize=2)
    assert [one["LoadBalancerName"] for one in first["LoadBalancers"]] == ["n0", "n1"]
    rest = cloud("DescribeLoadBalancers", PageSize=2, Marker=first["NextMarker"])
    assert [one["LoadBalancerName"] for one in rest["LoadBalancers"]] == ["n2"]
    assert "NextMarker" not in rest
    assert cloud.code("DescribeLoadBalancers", Marker="nonsense") == "ValidationError"


@pytest.mark.parametrize(
    ("operation", "parameter", "arn", "noun"),
    [
        ("DescribeLoadBalancers", "LoadBalancerArns", "loadbalancer/app/a/1", "load balancers"),
        ("DescribeLoadBalancers", "Names", "", "load balancers"),
        ("DescribeTargetGroups", "TargetGroupArns", "targetgroup/a/1", "target groups"),
        ("DescribeTargetGroups", "Names", "", "target groups"),
        ("DescribeListeners", "ListenerArns", "listener/app/a/1/1", "listeners"),
        ("DescribeRules", "RuleArns", "listener-rule/app/a/1/1/1", "listener rules"),
    ],
)
def test_a_call_names_twenty_and_no_more(cloud, operation, parameter, arn, noun):
    """The words are AWS's, as clients have reported them."""
    named = [f"arn:aws:elasticloadbalancing:us-east-1:111122223333:{arn}{i}" if arn else f"n{i}" for i in range(21)]
    refused = cloud.refused(operation, **{parameter: named})
    assert refused == ("ValidationError", f"You cannot describe more than '20' {noun} at a time")
    assert cloud.code(operation, **{parameter: named[:20]}) != "ValidationError"


def test_account_limits_are_those_that_are_kept(cloud):
    told = {one["Name"]: one["Max"] for one in cloud("DescribeAccountLimits")["Limits"]}
    assert told["application-load-balancers"] == "50"
    assert told["rules-per-application-load-balancer"] == "100"
    assert told["targets-per-target-group"] == "1000"


def test_nothing_is_reserved(cloud):
    arn = cloud.application()["LoadBalancerArn"]
    assert cloud("DescribeCapacityReservation", LoadBalancerArn=arn) == {"CapacityReservationState": []}
    assert cloud.code("DescribeCapacityReservation", LoadBalancerArn=arn[:-1] + "x") == "LoadBalancerNotFound"
    assert cloud.code("DescribeCapacityReservation", LoadBalancerArn="nonsense") == "ValidationError"


def test_an_arn_of_another_name_or_account_finds_nothing(cloud):
    arn = cloud.application()["LoadBalancerArn"]
    for other in (
        arn.replace("/web/", "/wob/"),
        arn.replace("111122223333", "222233334444"),
        arn.replace("/app/", "/net/"),
    ):
        assert cloud.code("DescribeLoadBalancers", LoadBalancerArns=[other]) == "LoadBalancerNotFound"
