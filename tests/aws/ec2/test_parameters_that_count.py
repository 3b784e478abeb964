"""Parameters that are easily taken and forgotten: each is kept, has its effect, or is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gureum.aws.ec2.images.images import BUILTINS
from tests.aws.ec2.conftest import Cloud

ZONE, DAY_S = "us-east-1a", 86400.0
KIND = {"InstanceType": "t3.nano", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": ZONE}


def tagged(type_: str) -> list[dict[str, Any]]:
    return [{"ResourceType": type_, "Tags": [{"Key": "Name", "Value": "mine"}]}]


def reservation(cloud: Cloud, count: int) -> str:
    made = cloud("CreateCapacityReservation", **KIND, InstanceCount=count)
    return str(made["CapacityReservation"]["CapacityReservationId"])


def test_tags_come_with_an_address_that_is_accepted(cloud: Cloud, new_cloud: type[Cloud]) -> None:
    other = new_cloud(cloud.client, account="999900001111")
    made = cloud("AllocateAddress", TagSpecifications=tagged("elastic-ip"))
    cloud("EnableAddressTransfer", AllocationId=made["AllocationId"], TransferAccountId=other.account)
    accept = {"Address": made["PublicIp"]}
    assert other.code("AcceptAddressTransfer", **accept, TagSpecifications=tagged("vpc")) == "InvalidParameterValue"
    other("AcceptAddressTransfer", **accept, TagSpecifications=tagged("elastic-ip"))
    assert other.one("DescribeAddresses", "Addresses")["Tags"] == [{"Key": "Name", "Value": "mine"}]


def test_an_address_is_released_from_its_own_border_group_only(cloud: Cloud) -> None:
    """AWS: ReleaseAddress, NetworkBorderGroup."""
    made = cloud("AllocateAddress")["AllocationId"]
    other = {"AllocationId": made, "NetworkBorderGroup": "us-west-2-lax-1"}
    assert cloud.code("ReleaseAddress", **other) == "InvalidAddress.NotFound"
    cloud("ReleaseAddress", AllocationId=made, NetworkBorderGroup=cloud.region)


def test_capacity_that_is_moved_twice_with_one_token_is_moved_once(cloud: Cloud) -> None:
    source, target = reservation(cloud, 5), reservation(cloud, 1)
    move = {"SourceCapacityReservationId": source, "DestinationCapacityReservationId": target, "ClientToken": "once"}
    first = cloud("MoveCapacityReservationInstances", **move, InstanceCount=2)
    assert cloud("MoveCapacityReservationInstances", **move, InstanceCount=2) == first
    assert first["DestinationCapacityReservation"]["TotalInstanceCount"] == 3
    other = cloud.code("MoveCapacityReservationInstances", **move, InstanceCount=1)
    assert other == "IdempotentParameterMismatch"


@pytest.mark.parametrize("name", ["GetCapacityReservationUsage", "GetGroupsForCapacityReservation"])
def test_what_is_told_of_a_reservation_has_pages(cloud: Cloud, name: str) -> None:
    params = {"CapacityReservationId": reservation(cloud, 1), "MaxResults": 1}
    assert "NextToken" not in cloud(name, **params)
    assert cloud.code(name, **params, NextToken="bad!") == "InvalidParameterValue"


def test_a_token_of_a_change_is_good_for_this_change(cloud: Cloud) -> None:
    image = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano"}
    template = {"LaunchTemplateName": "web"}
    cloud("CreateLaunchTemplate", **template, LaunchTemplateData=image)
    cloud("CreateLaunchTemplateVersion", **template, LaunchTemplateData=image)
    change = {**template, "ClientToken": "once"}
    cloud("ModifyLaunchTemplate", **change, DefaultVersion="2")
    cloud("ModifyLaunchTemplate", **template, DefaultVersion="1")
    cloud("ModifyLaunchTemplate", **change, DefaultVersion="2")
    assert cloud.one("DescribeLaunchTemplates", "LaunchTemplates")["DefaultVersionNumber"] == 1
    assert cloud.code("ModifyLaunchTemplate", **change, DefaultVersion="1") == "IdempotentParameterMismatch"


def test_a_token_of_credits_is_good_for_these_credits(cloud: Cloud) -> None:
    launch = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    name = cloud("RunInstances", **launch)["Instances"][0]["InstanceId"]

    def change(wanted: str, **token: str) -> dict[str, Any]:
        wish = [{"InstanceId": name, "CpuCredits": wanted}]
        return cloud("ModifyInstanceCreditSpecification", InstanceCreditSpecifications=wish, **token)

    first = change("standard", ClientToken="once")
    change("unlimited")
    assert change("standard", ClientToken="once") == first
    shown = cloud.one("DescribeInstanceCreditSpecifications", "InstanceCreditSpecifications", InstanceIds=[name])
    assert shown["CpuCredits"] == "unlimited"


@pytest.mark.parametrize(
    ("name", "params", "code"),
    [
        ("AssociateVpcCidrBlock", {"CidrBlock": "10.1.0.0/16", "AmazonProvidedIpv6CidrBlock": True}, "NotImplemented"),
        ("AssociateVpcCidrBlock", {"CidrBlock": "10.1.0.0/16", "Ipv4IpamPoolId": "ipam-pool-1"}, "NotImplemented"),
        ("CreateVolume", {"AvailabilityZone": ZONE, "Size": 1, "Operator": {"Principal": "x"}}, "NotImplemented"),
        (
            "CreateLaunchTemplate",
            {"LaunchTemplateName": "web", "LaunchTemplateData": {}, "Operator": {"Principal": "x"}},
            "NotImplemented",
        ),
    ],
)
def test_what_is_not_built_is_refused_beside_what_is(
    cloud: Cloud, name: str, params: dict[str, Any], code: str
) -> None:
    vpc = {"VpcId": cloud.vpc()} if name == "AssociateVpcCidrBlock" else {}
    assert cloud.code(name, **vpc, **params) == code


def test_only_a_regional_nat_gateway_has_addresses_of_a_zone(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    cloud.gateway(vpc)
    first, second = (cloud("AllocateAddress")["AllocationId"] for _ in range(2))
    made = cloud("CreateNatGateway", SubnetId=subnet, AllocationId=first)["NatGateway"]["NatGatewayId"]
    more = {"NatGatewayId": made, "AllocationIds": [second], "AvailabilityZone": ZONE}
    assert cloud.code("AssociateNatGatewayAddress", **more) == "InvalidParameterCombination"


def test_services_are_those_of_the_regions_that_are_asked_for(cloud: Cloud) -> None:
    assert cloud("DescribeVpcEndpointServices", ServiceRegions=["eu-west-1"])["ServiceDetails"] == []
    assert cloud("DescribeVpcEndpointServices", ServiceRegions=[cloud.region])["ServiceDetails"]


def test_only_the_launch_permission_of_an_image_is_reset(cloud: Cloud) -> None:
    made = cloud("CopyImage", SourceRegion="us-east-1", SourceImageId=BUILTINS[0].id, Name="mine")["ImageId"]
    assert cloud.code("ResetImageAttribute", ImageId=made, Attribute="description") == "InvalidParameterValue"
    cloud("ResetImageAttribute", ImageId=made, Attribute="launchPermission")


def test_the_price_that_is_asked_for_is_the_one_of_its_time(cloud: Cloud) -> None:
    """AWS: "Spot Instance pricing history": by MaxResults 1 programs learn what a type costs now."""
    now = cloud.client.clock.now()
    ask = {"InstanceTypes": ["t3.nano"], "AvailabilityZone": ZONE, "MaxResults": 1}
    latest = cloud.one("DescribeSpotPriceHistory", "SpotPriceHistory", **ask, StartTime=now)["Timestamp"]
    earlier = cloud.one("DescribeSpotPriceHistory", "SpotPriceHistory", **ask, EndTime=now - 3 * DAY_S)["Timestamp"]
    assert now - DAY_S < latest <= now
    assert earlier == latest - 3 * DAY_S
    backwards = {"StartTime": now, "EndTime": now - DAY_S}
    assert cloud.code("DescribeSpotPriceHistory", **ask, **backwards) == "InvalidParameterValue"


def test_types_whose_spot_price_is_above_a_part_of_the_optimal_price_are_left_out(cloud: Cloud) -> None:
    """AWS: "Price protection": of the lowest On-Demand price of a current C, M or R type."""
    ask = {"ArchitectureTypes": ["x86_64"], "VirtualizationTypes": ["hvm"]}

    def found(**more: Any) -> set[str]:
        wanted = {"VCpuCount": {"Min": 2}, "MemoryMiB": {"Min": 4096}, **more}
        rows = cloud("GetInstanceTypesFromInstanceRequirements", **ask, InstanceRequirements=wanted)["InstanceTypes"]
        return {one["InstanceType"] for one in rows}

    everything, cheap = found(), found(MaxSpotPriceAsPercentageOfOptimalOnDemandPrice=35)
    assert set() < cheap < everything
    assert found(MaxSpotPriceAsPercentageOfOptimalOnDemandPrice=1) == set()
    both = {"MaxSpotPriceAsPercentageOfOptimalOnDemandPrice": 50, "SpotMaxPricePercentageOverLowestPrice": 50}
    wanted = {"VCpuCount": {"Min": 2}, "MemoryMiB": {"Min": 4096}, **both}
    code = cloud.code("GetInstanceTypesFromInstanceRequirements", **ask, InstanceRequirements=wanted)
    assert code == "InvalidParameterCombination"


WEB = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}
HERE = [{**WEB, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]


@pytest.mark.parametrize(
    ("name", "params", "code"),
    [
        (
            "AuthorizeSecurityGroupIngress",
            {"IpPermissions": HERE, "CidrIp": "0.0.0.0/0"},
            "InvalidParameterCombination",
        ),
        ("AuthorizeSecurityGroupIngress", {"IpPermissions": HERE, "FromPort": 22}, "InvalidParameterCombination"),
        (
            "AuthorizeSecurityGroupIngress",
            {**WEB, "CidrIp": "10.0.0.0/8", "SourceSecurityGroupName": "default"},
            "InvalidParameterCombination",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            {"SourceSecurityGroupName": "default", "SourceSecurityGroupOwnerId": "999900001111"},
            "InvalidGroup.NotFound",
        ),
        ("AuthorizeSecurityGroupIngress", {"GroupName": "other", "IpPermissions": HERE}, "InvalidParameterCombination"),
        (
            "RevokeSecurityGroupEgress",
            {"SecurityGroupRuleIds": ["$rule"], "IpPermissions": HERE},
            "InvalidParameterCombination",
        ),
        (
            "UpdateSecurityGroupRuleDescriptionsEgress",
            {"SecurityGroupRuleDescriptions": [{"SecurityGroupRuleId": "$rule"}], "IpPermissions": HERE},
            "InvalidParameterCombination",
        ),
    ],
)
def test_two_ways_to_say_which_rule_are_not_taken_for_one(
    cloud: Cloud, name: str, params: dict[str, Any], code: str
) -> None:
    group = cloud.group(cloud.vpc())
    of_group = [{"Name": "group-id", "Values": [group]}]
    rule = cloud.one("DescribeSecurityGroupRules", "SecurityGroupRules", Filters=of_group)["SecurityGroupRuleId"]
    filled = {
        key: [rule if one == "$rule" else {**one, "SecurityGroupRuleId": rule} for one in value]
        if key.startswith("SecurityGroupRule")
        else value
        for key, value in params.items()
    }
    assert cloud.code(name, GroupId=group, **filled) == code


def fleet_of(cloud: Cloud, type_: str, **more: Any) -> dict[str, Any]:
    data = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "UserData": "ZXhpdCAw"}
    cloud("CreateLaunchTemplate", LaunchTemplateName="web", LaunchTemplateData=data)
    template = {"LaunchTemplateName": "web", "Version": "1", **more.pop("template", {})}
    return {
        "Type": type_,
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": template}],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
        **more,
    }


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"OnDemandOptions": {"MaxTotalPrice": "1"}}, "NotImplemented"),
        ({"SpotOptions": {"MaxTotalPrice": "1"}}, "NotImplemented"),
        ({"OnDemandOptions": {"AllocationStrategy": "dearest"}}, "InvalidParameterValue"),
        ({"template": {"LaunchTemplateSpecificationUserData": "ZXhpdCAx"}}, "InvalidFleetConfig"),
    ],
)
def test_what_a_fleet_cannot_do_is_refused_when_it_is_made(cloud: Cloud, options: dict[str, Any], code: str) -> None:
    assert cloud.code("CreateFleet", **fleet_of(cloud, "maintain", **options)) == code


def test_an_instant_fleet_has_user_data_of_its_own(cloud: Cloud) -> None:
    """AWS: FleetLaunchTemplateSpecificationRequest."""
    own = {"LaunchTemplateSpecificationUserData": "ZXhpdCAx"}
    made = cloud("CreateFleet", **fleet_of(cloud, "instant", template=own))
    (name,) = made["Instances"][0]["InstanceIds"]
    shown = cloud("DescribeInstanceAttribute", InstanceId=name, Attribute="userData")
    assert shown["UserData"]["Value"] == "ZXhpdCAx"


def test_a_fleet_that_is_asked_for_again_is_told_as_at_first(cloud: Cloud) -> None:
    wanted = fleet_of(cloud, "maintain", ClientToken="once")
    assert cloud("CreateFleet", **wanted) == cloud("CreateFleet", **wanted)


@pytest.mark.parametrize("member", ["EbsCardIndex", "AvailabilityZone"])
def test_places_of_volumes_that_cannot_be_chosen_are_refused(cloud: Cloud, member: str) -> None:
    value = 1 if member == "EbsCardIndex" else ZONE
    disks = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, member: value}}]
    launch = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    assert cloud.code("RunInstances", **launch, BlockDeviceMappings=disks) == "NotImplemented"


def test_what_is_said_of_a_disk_that_is_imported_is_told(cloud: Cloud) -> None:
    said = {"Description": "from home", "DeviceName": "/dev/sda1"}
    disk = {"Url": "oci://127.0.0.1:5000/web:1.0", **said}
    detail = cloud("ImportImage", DiskContainers=[disk])["SnapshotDetails"][0]
    assert {name: detail[name] for name in said} == said


def test_scores_are_for_types_of_the_virtualization_that_is_asked_for(cloud: Cloud) -> None:
    wanted = {
        "InstanceRequirements": {
            "VCpuCount": {"Min": 2},
            "MemoryMiB": {"Min": 4096},
            "InstanceGenerations": ["current"],
        }
    }
    ask = {"TargetCapacity": 1, "TargetCapacityUnitType": "units"}
    assert cloud("GetSpotPlacementScores", **ask, InstanceRequirementsWithMetadata=wanted)["SpotPlacementScores"]
    old = {**wanted, "VirtualizationTypes": ["paravirtual"]}
    assert cloud.code("GetSpotPlacementScores", **ask, InstanceRequirementsWithMetadata=old) == "InvalidParameterValue"


def test_a_word_that_is_none_shares_no_image(cloud: Cloud) -> None:
    """AWS: OperationType is "add" or "remove"; what was neither was taken for the first."""
    image = cloud("CopyImage", SourceRegion="us-east-1", SourceImageId=BUILTINS[0].id, Name="mine")["ImageId"]
    wish = {"ImageId": image, "Attribute": "launchPermission", "UserIds": ["999900001111"]}
    assert cloud.code("ModifyImageAttribute", **wish, OperationType="revoke") == "InvalidParameterValue"
    cloud("ModifyImageAttribute", **wish, OperationType="add")
    cloud("ModifyImageAttribute", **wish, OperationType="remove")
    shown = cloud("DescribeImageAttribute", ImageId=image, Attribute="launchPermission")
    assert shown["LaunchPermissions"] == []


@pytest.mark.parametrize("name", ["CpuManufacturers", "InstanceGenerations", "LocalStorageTypes", "AcceleratorTypes"])
def test_words_of_requirements_are_those_of_the_reference(cloud: Cloud, name: str) -> None:
    wanted = {"VCpuCount": {"Min": 2}, "MemoryMiB": {"Min": 4096}, name: ["no-such"]}
    ask = {"ArchitectureTypes": ["x86_64"], "VirtualizationTypes": ["hvm"], "InstanceRequirements": wanted}
    assert cloud.code("GetInstanceTypesFromInstanceRequirements", **ask) == "InvalidParameterValue"


def test_options_of_the_metadata_service_are_words_of_the_reference(cloud: Cloud) -> None:
    launch = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    name = cloud("RunInstances", **launch)["Instances"][0]["InstanceId"]
    change = {"InstanceId": name, "HttpProtocolIpv6": "maybe"}
    assert cloud.code("ModifyInstanceMetadataOptions", **change) == "InvalidParameterValue"


def test_files_of_flow_logs_have_a_format_of_the_reference(cloud: Cloud) -> None:
    logs = {"ResourceIds": [cloud.vpc()], "ResourceType": "VPC", "TrafficType": "ALL"}
    place = {"LogDestinationType": "s3", "LogDestination": "arn:aws:s3:::flows"}
    code = cloud.code("CreateFlowLogs", **logs, **place, DestinationOptions={"FileFormat": "csv"})
    assert code == "InvalidParameterValue"


def test_a_fleet_of_reservations_has_no_types_of_other_platforms(cloud: Cloud) -> None:
    types = [{"InstanceType": "t3.nano", "InstancePlatform": name} for name in ("Linux/UNIX", "Windows")]
    types = [{**one, "Priority": at} for at, one in enumerate(types)]
    wish = {"AvailabilityZone": ZONE, "TotalTargetCapacity": 1, "InstanceTypeSpecifications": types}
    assert cloud.code("CreateCapacityReservationFleet", **wish) == "NotImplemented"
