"""Automatic public addresses of instances: who gets one, when it is lost, when another comes.

AWS: "EC2 instance IP addressing" and "Elastic IP addresses" (EC2 user guide).
"""

from __future__ import annotations

from typing import Any

import pytest

from gureum.aws.ec2.images.images import BUILTINS
from gureum.core.machine import Status
from tests.aws.ec2.conftest import Cloud
from tests.aws.ec2.instances.test_faults import told


def launch(cloud: Cloud, **params: Any) -> str:
    launched = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **params}
    return str(cloud("RunInstances", **launched)["Instances"][0]["InstanceId"])


def tell(cloud: Cloud, name: str, state: str) -> None:
    """The machine tells the state of the instance's container."""
    told(cloud, name, Status(f"Container/{name}", "", "ready", data={"state": state}))


def public(cloud: Cloud, name: str) -> str:
    shown = cloud("DescribeInstances", InstanceIds=[name])["Reservations"][0]["Instances"][0]
    return str(shown.get("PublicIpAddress", ""))


def elastic(cloud: Cloud, name: str) -> tuple[str, str]:
    """An Elastic IP on the instance: (its address, the association)."""
    made = cloud("AllocateAddress", Domain="vpc")
    association = cloud("AssociateAddress", InstanceId=name, AllocationId=made["AllocationId"])["AssociationId"]
    return made["PublicIp"], association


def stop(cloud: Cloud, name: str) -> None:
    cloud("StopInstances", InstanceIds=[name])
    tell(cloud, name, "stopped")


def further_interface(cloud: Cloud, name: str) -> None:
    subnet = cloud("DescribeInstances", InstanceIds=[name])["Reservations"][0]["Instances"][0]["SubnetId"]
    cloud("AttachNetworkInterface", InstanceId=name, NetworkInterfaceId=cloud.interface(subnet), DeviceIndex=1)


@pytest.fixture
def instance(cloud: Cloud) -> str:
    name = launch(cloud)
    tell(cloud, name, "running")
    return name


def test_elastic_ip_replaces_the_automatic_address_and_another_comes_after_it(cloud: Cloud, instance: str) -> None:
    first = public(cloud, instance)
    address, association = elastic(cloud, instance)
    assert public(cloud, instance) == address != first
    cloud("DisassociateAddress", AssociationId=association)
    assert public(cloud, instance) not in ("", address)


def test_elastic_ip_that_moves_away_leaves_an_automatic_address(cloud: Cloud, instance: str) -> None:
    other = launch(cloud)
    address, _ = elastic(cloud, instance)
    cloud("AssociateAddress", InstanceId=other, PublicIp=address)
    assert public(cloud, other) == address
    assert public(cloud, instance) not in ("", address)


def test_elastic_ip_goes_to_the_instance_when_the_interface_named_beside_it_is_gone(
    cloud: Cloud, instance: str
) -> None:
    """As Terraform asks for an address whose instance has been replaced."""
    made = cloud("AllocateAddress", Domain="vpc")
    gone = {"NetworkInterfaceId": "eni-0123456789abcdef0", "AllocationId": made["AllocationId"]}
    cloud("AssociateAddress", InstanceId=instance, **gone)
    assert public(cloud, instance) == made["PublicIp"]
    assert cloud.code("AssociateAddress", **gone) == "InvalidNetworkInterfaceID.NotFound"


def test_stopped_instance_gets_it_when_it_starts(cloud: Cloud, instance: str) -> None:
    address, association = elastic(cloud, instance)
    stop(cloud, instance)
    assert public(cloud, instance) == address
    cloud("DisassociateAddress", AssociationId=association)
    assert public(cloud, instance) == ""
    cloud("StartInstances", InstanceIds=[instance])
    assert public(cloud, instance) != ""


def test_instance_with_further_interfaces_gets_no_new_one(cloud: Cloud, instance: str) -> None:
    further_interface(cloud, instance)
    assert public(cloud, instance) != "", "what it has stays"
    stop(cloud, instance)
    cloud("StartInstances", InstanceIds=[instance])
    assert public(cloud, instance) == ""


def test_instance_launched_without_one_gets_none(cloud: Cloud) -> None:
    name = launch(cloud, NetworkInterfaces=[{"DeviceIndex": 0, "AssociatePublicIpAddress": False}])
    tell(cloud, name, "running")
    _, association = elastic(cloud, name)
    cloud("DisassociateAddress", AssociationId=association)
    assert public(cloud, name) == ""


def test_launch_with_several_interfaces_has_none_and_may_ask_for_none(cloud: Cloud) -> None:
    assert public(cloud, launch(cloud, NetworkInterfaces=[{"DeviceIndex": 0}, {"DeviceIndex": 1}])) == ""
    asking = [{"DeviceIndex": 0, "AssociatePublicIpAddress": True}, {"DeviceIndex": 1}]
    code = cloud.code("RunInstances", ImageId=BUILTINS[0].id, MinCount=1, MaxCount=1, NetworkInterfaces=asking)
    assert code == "InvalidParameterCombination"
