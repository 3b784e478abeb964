"""What DescribeInstances' filters find is what the instance shows."""

from __future__ import annotations

from typing import Any

import pytest

from gureum.aws.ec2.images.images import BUILTINS
from tests.aws.ec2.conftest import Cloud


def launch(cloud: Cloud, **params: Any) -> dict[str, Any]:
    launched = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    instance: dict[str, Any] = cloud("RunInstances", **launched, **params)["Instances"][0]
    return instance


def found(cloud: Cloud, name: str, value: str) -> list[str]:
    shown = cloud("DescribeInstances", Filters=[{"Name": name, "Values": [value]}])["Reservations"]
    return [one["InstanceId"] for reservation in shown for one in reservation["Instances"]]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("instance-id", "InstanceId"),
        ("private-ip-address", "PrivateIpAddress"),
        ("ip-address", "PublicIpAddress"),
        ("dns-name", "PublicDnsName"),
        ("private-dns-name", "PrivateDnsName"),
        ("subnet-id", "SubnetId"),
        ("reservation-id", "ReservationId"),
        ("group-id", "SecurityGroups.0.GroupId"),
        ("instance.group-name", "SecurityGroups.0.GroupName"),
        ("availability-zone-id", "Placement.AvailabilityZoneId"),
        ("iam-instance-profile.arn", "IamInstanceProfile.Arn"),
        ("iam-instance-profile.id", "IamInstanceProfile.Id"),
        ("metadata-options.state", "MetadataOptions.State"),
        ("current-instance-boot-mode", "CurrentInstanceBootMode"),
        ("private-dns-name-options.hostname-type", "PrivateDnsNameOptions.HostnameType"),
        ("block-device-mapping.volume-id", "BlockDeviceMappings.0.Ebs.VolumeId"),
        ("network-interface.network-interface-id", "NetworkInterfaces.0.NetworkInterfaceId"),
        ("network-interface.public-dns-name", "NetworkInterfaces.0.Association.PublicDnsName"),
        ("network-interface.addresses.association.ip-owner-id", "NetworkInterfaces.0.Association.IpOwnerId"),
        ("network-interface.addresses.private-dns-name", "NetworkInterfaces.0.PrivateDnsName"),
        ("network-interface.attachment.attachment-id", "NetworkInterfaces.0.Attachment.AttachmentId"),
    ],
)
def test_filter_finds_the_instance_that_shows_the_value(cloud: Cloud, name: str, path: str) -> None:
    made = launch(cloud, IamInstanceProfile={"Name": "web"})
    value: Any = made | {"ReservationId": cloud("DescribeInstances")["Reservations"][0]["ReservationId"]}
    for step in path.split("."):
        value = value[int(step) if step.isdigit() else step]
    assert found(cloud, name, value) == [made["InstanceId"]]
    assert found(cloud, name, f"{value}x") == []


def test_filters_on_an_interface_s_tags(cloud: Cloud) -> None:
    tags = [{"ResourceType": "network-interface", "Tags": [{"Key": "side", "Value": "left"}]}]
    made = launch(cloud, TagSpecifications=tags)["InstanceId"]
    assert (
        found(cloud, "network-interface.tag-key", "side")
        == found(cloud, "network-interface.tag-value", "le*")
        == [made]
    )
    assert found(cloud, "tag:side", "left") == []


def test_without_dns_hostnames_public_addresses_have_no_names(cloud: Cloud) -> None:
    """AWS: "VPC DNS attributes" (VPC user guide)."""
    made = launch(cloud)
    told = cloud.wished("Metadata")[made["InstanceId"]].document.tree
    assert told["meta-data/public-hostname"] == made["PublicDnsName"]
    cloud("ModifyVpcAttribute", VpcId=made["VpcId"], EnableDnsHostnames={"Value": False})
    shown = cloud("DescribeInstances")["Reservations"][0]["Instances"][0]
    assert shown["PublicDnsName"] == shown["NetworkInterfaces"][0]["Association"]["PublicDnsName"] == ""
    assert shown["PublicIpAddress"] == made["PublicIpAddress"]
    assert found(cloud, "dns-name", made["PublicDnsName"]) == []
    told = cloud.wished("Metadata")[made["InstanceId"]].document.tree
    assert [path for path in told if path.endswith("public-hostname")] == []
    assert told["meta-data/public-ipv4"] == made["PublicIpAddress"]
