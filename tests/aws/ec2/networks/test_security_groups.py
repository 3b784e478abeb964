"""Security groups and their rules."""

from __future__ import annotations

import pytest

HTTP = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


@pytest.fixture
def vpc(cloud):
    return cloud.vpc()


@pytest.fixture
def group(cloud, vpc):
    return cloud.group(vpc)


def shown(cloud, group):
    return cloud.one("DescribeSecurityGroups", "SecurityGroups", GroupIds=[group])


def rules(cloud, group, *, egress=False):
    found = cloud("DescribeSecurityGroupRules", Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    return [rule for rule in found if rule["IsEgress"] == egress]


def test_a_new_group_lets_nothing_in_and_everything_out(cloud, vpc, group):
    found = shown(cloud, group)
    assert (found["GroupName"], found["Description"], found["VpcId"]) == ("web", "a group", vpc)
    assert found["SecurityGroupArn"] == f"arn:aws:ec2:us-east-1:111122223333:security-group/{group}"
    assert found["IpPermissions"] == []
    assert found["IpPermissionsEgress"][0]["IpProtocol"] == "-1"


def test_the_answer_to_a_new_group_has_tags_only_where_it_has_some(cloud, vpc):
    """As LocalStack's suite recorded it from AWS."""
    plain = cloud("CreateSecurityGroup", VpcId=vpc, GroupName="plain", Description="x")
    assert set(plain) == {"GroupId", "SecurityGroupArn"}
    given = [{"Key": "team", "Value": "a"}]
    specification = [{"ResourceType": "security-group", "Tags": given}]
    tagged = cloud("CreateSecurityGroup", VpcId=vpc, GroupName="b", Description="x", TagSpecifications=specification)
    assert tagged["Tags"] == given


def test_names_are_unique_in_a_vpc_and_free_again_after_deletion(cloud, vpc, group):
    assert cloud.refused("CreateSecurityGroup", VpcId=vpc, GroupName="web", Description="x") == (
        "InvalidGroup.Duplicate",
        f"The security group 'web' already exists for VPC '{vpc}'",
    )
    cloud.group(cloud.vpc())
    cloud("DeleteSecurityGroup", GroupId=group)
    assert cloud.group(vpc) != group


@pytest.mark.parametrize("name", ["default", "sg-web", "w" * 256, "caf\u00e9", "a%b"])
def test_bad_names_are_refused(cloud, vpc, name):
    assert cloud.code("CreateSecurityGroup", VpcId=vpc, GroupName=name, Description="x") == "InvalidParameterValue"


def test_rules_of_one_port_are_one_permission(cloud, group):
    answer = cloud(
        "AuthorizeSecurityGroupIngress",
        GroupId=group,
        IpPermissions=[
            {
                "IpProtocol": "6",
                "FromPort": 22,
                "ToPort": 22,
                "IpRanges": [{"CidrIp": "10.0.0.5/8", "Description": "office"}, {"CidrIp": "192.0.2.1/32"}],
                "Ipv6Ranges": [{"CidrIpv6": "2001:DB8::/32"}],
            },
            {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "UserIdGroupPairs": [{"GroupId": group}]},
        ],
    )
    assert answer["Return"]
    assert len(answer["SecurityGroupRules"]) == 4
    ssh, ping = shown(cloud, group)["IpPermissions"]
    assert (ssh["IpProtocol"], ssh["FromPort"], ssh["ToPort"]) == ("tcp", 22, 22)
    assert ssh["IpRanges"] == [{"CidrIp": "10.0.0.0/8", "Description": "office"}, {"CidrIp": "192.0.2.1/32"}]
    assert ssh["Ipv6Ranges"] == [{"CidrIpv6": "2001:db8::/32"}]
    assert (ping["FromPort"], ping["ToPort"]) == (8, -1)
    assert ping["UserIdGroupPairs"] == [{"GroupId": group, "UserId": "111122223333"}]


def test_duplicates_are_refused_whatever_their_description(cloud, group):
    cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[HTTP])
    again = HTTP | {"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "again"}]}
    assert cloud.refused("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[again]) == (
        "InvalidPermission.Duplicate",
        'the specified rule "peer: 0.0.0.0/0, TCP, from port: 80, to port: 80, ALLOW" already exists',
    )
    assert (
        cloud.code("AuthorizeSecurityGroupEgress", GroupId=group, IpPermissions=[HTTP, HTTP]) == "InvalidParameterValue"
    )
    everything = {"IpProtocol": "-1", "FromPort": 1, "ToPort": 2, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    assert (
        cloud.code("AuthorizeSecurityGroupEgress", GroupId=group, IpPermissions=[everything])
        == "InvalidPermission.Duplicate"
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"FromPort": 70000}, "InvalidParameterValue"),
        ({"FromPort": 81}, "InvalidParameterValue"),
        ({"FromPort": -1, "ToPort": -1}, "InvalidParameterValue"),
        ({"IpProtocol": "256"}, "InvalidParameterValue"),
        ({"IpProtocol": "tcpp"}, "InvalidParameterValue"),
        ({"IpProtocol": "icmp", "FromPort": 300}, "InvalidParameterValue"),
        ({"IpRanges": [{"CidrIp": "10.0.0.0"}]}, "InvalidParameterValue"),
        ({"IpRanges": [{"CidrIp": "10.0.0.0/33"}]}, "InvalidParameterValue"),
        ({"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "<b>"}]}, "InvalidParameterValue"),
        ({"IpRanges": []}, "MissingParameter"),
        ({"UserIdGroupPairs": [{"GroupId": "sg-0123456789abcdef0"}]}, "InvalidGroup.NotFound"),
        ({"UserIdGroupPairs": [{"GroupId": "sg-nope"}]}, "InvalidGroupId.Malformed"),
        ({"PrefixListIds": [{"PrefixListId": "pl-12345678"}]}, "InvalidPrefixListID.NotFound"),
    ],
)
def test_bad_permissions_are_refused(cloud, group, change, code):
    assert cloud.code("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[HTTP | change]) == code


def test_a_group_of_another_vpc_cannot_be_named(cloud, group):
    other = cloud.group(cloud.vpc())
    pair = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": other}]}
    assert cloud.refused("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[pair]) == (
        "InvalidGroup.NotFound",
        "You have specified two resources that belong to different networks.",
    )


def test_rules_are_revoked_by_permission_and_by_id(cloud, group):
    made = cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[HTTP, HTTP | {"FromPort": 1}])
    revoked = cloud("RevokeSecurityGroupIngress", GroupId=group, IpPermissions=[HTTP])["RevokedSecurityGroupRules"]
    assert [one["SecurityGroupRuleId"] for one in revoked] == [made["SecurityGroupRules"][0]["SecurityGroupRuleId"]]
    assert cloud.refused("RevokeSecurityGroupIngress", GroupId=group, IpPermissions=[HTTP]) == (
        "InvalidPermission.NotFound",
        "The specified rule does not exist in this security group.",
    )
    rule = rules(cloud, group)[0]["SecurityGroupRuleId"]
    assert (
        cloud.code("RevokeSecurityGroupEgress", GroupId=group, SecurityGroupRuleIds=[rule])
        == "InvalidSecurityGroupRuleId.NotFound"
    )
    cloud("RevokeSecurityGroupIngress", GroupId=group, SecurityGroupRuleIds=[rule])
    assert rules(cloud, group) == []
    cloud(
        "RevokeSecurityGroupEgress",
        GroupId=group,
        IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    )
    assert shown(cloud, group)["IpPermissionsEgress"] == []


def test_a_group_in_use_stays(cloud, vpc, group):
    other = cloud.group(vpc, "other")
    pair = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    cloud("AuthorizeSecurityGroupIngress", GroupId=other, IpPermissions=[pair])
    cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[pair])
    refusal = ("DependencyViolation", f"resource {group} has a dependent object")
    assert cloud.refused("DeleteSecurityGroup", GroupId=group) == refusal
    cloud("RevokeSecurityGroupIngress", GroupId=other, IpPermissions=[pair])
    interface = cloud.interface(cloud.subnet(vpc), Groups=[group])
    assert cloud.refused("DeleteSecurityGroup", GroupId=group) == refusal
    cloud("DeleteNetworkInterface", NetworkInterfaceId=interface)
    cloud("DeleteSecurityGroup", GroupId=group)
    default = cloud.one(
        "DescribeSecurityGroups",
        "SecurityGroups",
        Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}],
    )
    assert cloud.code("DeleteSecurityGroup", GroupId=default["GroupId"]) == "CannotDelete"


def test_the_limit_of_rules_holds_per_direction(cloud, group):
    many = [HTTP | {"FromPort": port, "ToPort": port} for port in range(1, 61)]
    cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=many)
    assert (
        cloud.code("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[HTTP])
        == "RulesPerSecurityGroupLimitExceeded"
    )
    cloud("AuthorizeSecurityGroupEgress", GroupId=group, IpPermissions=[HTTP])


def test_rules_can_be_modified_and_described_anew(cloud, group):
    made = cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[HTTP])["SecurityGroupRules"][0]
    rule = {"SecurityGroupRuleId": made["SecurityGroupRuleId"]}
    wished = {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIpv4": "192.0.2.0/24", "Description": "names"}
    cloud("ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=[rule | {"SecurityGroupRule": wished}])
    found = rules(cloud, group)[0]
    assert {name: found[name] for name in wished} == wished
    half = rule | {"SecurityGroupRule": {"IpProtocol": "UDP", "ToPort": 53, "CidrIpv4": "192.0.2.0/24"}}
    assert cloud.refused("ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=[half]) == (
        "InvalidParameterValue",
        "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.",
    )
    to_group = {"IpProtocol": "-1", "ReferencedGroupId": group}
    assert (
        cloud.code(
            "ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=[rule | {"SecurityGroupRule": to_group}]
        )
        == "InvalidParameterValue"
    )
    cloud(
        "UpdateSecurityGroupRuleDescriptionsIngress",
        GroupId=group,
        SecurityGroupRuleDescriptions=[rule | {"Description": "other"}],
    )
    assert rules(cloud, group)[0]["Description"] == "other"
    permission = {
        "IpProtocol": "udp",
        "FromPort": 53,
        "ToPort": 53,
        "IpRanges": [{"CidrIp": "192.0.2.0/24", "Description": "third"}],
    }
    cloud("UpdateSecurityGroupRuleDescriptionsIngress", GroupId=group, IpPermissions=[permission])
    assert rules(cloud, group)[0]["Description"] == "third"


def test_rules_have_tags_of_their_own(cloud, group):
    specification = {"ResourceType": "security-group-rule", "Tags": [{"Key": "Name", "Value": "http"}]}
    made = cloud(
        "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[HTTP], TagSpecifications=[specification]
    )
    rule = made["SecurityGroupRules"][0]
    assert rule["Tags"] == [{"Key": "Name", "Value": "http"}]
    cloud("CreateTags", Resources=[rule["SecurityGroupRuleId"], group], Tags=[{"Key": "team", "Value": "a"}])
    by_tag = cloud("DescribeSecurityGroupRules", Filters=[{"Name": "tag:team", "Values": ["a"]}])["SecurityGroupRules"]
    assert [one["SecurityGroupRuleId"] for one in by_tag] == [rule["SecurityGroupRuleId"]]
    assert (
        cloud("DescribeSecurityGroupRules", SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])["SecurityGroupRules"]
        == by_tag
    )
    assert shown(cloud, group)["Tags"] == [{"Key": "team", "Value": "a"}]


def test_old_parameters_still_work(cloud):
    group = cloud("CreateSecurityGroup", GroupName="old", Description="x")["GroupId"]
    cloud("AuthorizeSecurityGroupIngress", GroupName="old", IpProtocol="tcp", FromPort=1, ToPort=2, CidrIp="10.0.0.0/8")
    cloud("AuthorizeSecurityGroupIngress", GroupName="old", SourceSecurityGroupName="default")
    assert len(rules(cloud, group)) == 2
    assert cloud.one("DescribeSecurityGroups", "SecurityGroups", GroupNames=["old"])["GroupId"] == group
    assert cloud.code("DescribeSecurityGroups", GroupNames=["nope"]) == "InvalidGroup.NotFound"
    cloud("DeleteSecurityGroup", GroupName="old")


def test_filters_look_into_rules(cloud, vpc, group):
    pair = {"IpProtocol": "tcp", "FromPort": 1000, "ToPort": 1001, "UserIdGroupPairs": [{"GroupId": group}]}
    cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[pair, HTTP])
    for name, value in {
        "group-id": group,
        "group-name": "web",
        "description": "a gr*",
        "ip-permission.cidr": "0.0.0.0/0",
        "ip-permission.from-port": "1000",
        "ip-permission.to-port": "1001",
        "ip-permission.protocol": "tcp",
        "ip-permission.group-id": group,
        "ip-permission.group-name": "web",
    }.items():
        found = cloud.one("DescribeSecurityGroups", "SecurityGroups", Filters=[{"Name": name, "Values": [value]}])
        assert found["GroupId"] == group, name
    here = cloud("GetSecurityGroupsForVpc", VpcId=vpc)["SecurityGroupForVpcs"]
    assert sorted(one["GroupName"] for one in here) == ["default", "web"]
    assert cloud("DescribeSecurityGroupReferences", GroupId=[group]) == {"SecurityGroupReferenceSet": []}
    assert cloud("DescribeStaleSecurityGroups", VpcId=vpc) == {"StaleSecurityGroupSet": []}


def test_rules_of_a_group_are_asked_for_by_what_is_an_id(cloud):
    """As in github.com/getmoto/moto, tests that were run against AWS."""

    def rules_of(group: str):
        filters = [{"Name": "group-id", "Values": [group]}]
        return cloud("DescribeSecurityGroupRules", Filters=filters)["SecurityGroupRules"]

    group = cloud.group(cloud.vpc())
    assert len(rules_of(group)) == len(rules_of(group[:-1] + "?")) == 1
    assert rules_of("sg-005216b55886f0fdc") == []
    filters = [{"Name": "group-id", "Values": ["foobar"]}]
    assert cloud.refused("DescribeSecurityGroupRules", Filters=filters) == (
        "InvalidGroupId.Malformed",
        "The security group ID 'foobar' is malformed",
    )


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (
            {"IpProtocol": None},
            (
                "InvalidParameterValue",
                "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly.",
            ),
        ),
        (
            {"CidrIpv4": None},
            (
                "MissingParameter",
                "The request must contain exactly one of: cidrIp, cidrIpv6, prefixListId, or referencedGroupId",
            ),
        ),
        (
            {"CidrIpv6": "2001:db8::/32"},
            (
                "InvalidParameterCombination",
                "Only one of cidrIp, cidrIpv6, prefixListId, or referencedGroupId can be specified",
            ),
        ),
    ],
)
def test_what_a_rule_cannot_become(cloud, change, refusal):
    """As in github.com/getmoto/moto, tests that were run against AWS."""
    group = cloud.group(cloud.vpc())
    rule = cloud("DescribeSecurityGroupRules", Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"][
        0
    ]
    wanted = {"IpProtocol": "udp", "FromPort": 27010, "ToPort": 27011, "CidrIpv4": "2.3.4.5/32"} | change
    wanted = {name: value for name, value in wanted.items() if value is not None}
    update = {"SecurityGroupRuleId": rule["SecurityGroupRuleId"], "SecurityGroupRule": wanted}
    assert cloud.refused("ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=[update]) == refusal
