"""What may be changed of an instance, and when. Expected errors: docs.aws.amazon.com/ec2/latest/devguide/ec2-api-errors.html, the model's texts."""

from __future__ import annotations

import asyncio
import base64

import msgspec
import pytest

from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.ec2.instances.kinds import Instance, InstanceStatus

IMAGE = BUILTINS[0].id


@pytest.fixture
def launch(cloud):
    def run(**params):
        wanted = {"ImageId": IMAGE, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1} | params
        return cloud("RunInstances", **wanted)["Instances"][0]["InstanceId"]

    return run


def put_into(cloud, instance, state):
    """The state that the machine would bring it to."""
    call = cloud.call()
    found = call.get(Instance, instance)
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(found, status=InstanceStatus(state)))
    asyncio.run(transaction.commit())


def attribute(cloud, instance, name):
    told = cloud("DescribeInstanceAttribute", InstanceId=instance, Attribute=name)
    return next(value for member, value in told.items() if member != "InstanceId")


def test_type_and_user_data_only_while_stopped(cloud, launch):
    instance = launch()
    for change in (
        {"InstanceType": {"Value": "t3.micro"}},
        {"UserData": {"Value": b"#!/bin/sh\n"}},
        {"EbsOptimized": {"Value": True}},
    ):
        assert cloud.refused("ModifyInstanceAttribute", InstanceId=instance, **change) == (
            "IncorrectInstanceState",
            f"The instance '{instance}' is not in the 'stopped' state.",
        )
    put_into(cloud, instance, "stopped")
    cloud("ModifyInstanceAttribute", InstanceId=instance, InstanceType={"Value": "t3.micro"})
    cloud("ModifyInstanceAttribute", InstanceId=instance, UserData={"Value": b"#!/bin/sh\n"})
    cloud("ModifyInstanceAttribute", InstanceId=instance, Attribute="ebsOptimized", Value="true")
    assert attribute(cloud, instance, "instanceType") == {"Value": "t3.micro"}
    assert base64.b64decode(attribute(cloud, instance, "userData")["Value"]) == b"#!/bin/sh\n"
    assert attribute(cloud, instance, "ebsOptimized") == {"Value": True}
    modify = "ModifyInstanceAttribute"
    assert cloud.code(modify, InstanceId=instance, InstanceType={"Value": "t3.huge"}) == "InvalidInstanceAttributeValue"
    assert cloud.code(modify, InstanceId=instance, UserData={"Value": bytes(16385)}) == "InvalidParameterValue"


def test_protection(cloud, launch):
    instance = launch()
    cloud("ModifyInstanceAttribute", InstanceId=instance, DisableApiTermination={"Value": True})
    cloud("ModifyInstanceAttribute", InstanceId=instance, DisableApiStop={"Value": True})
    assert cloud.code("TerminateInstances", InstanceIds=[instance]) == "OperationNotPermitted"
    assert cloud.code("StopInstances", InstanceIds=[instance]) == "OperationNotPermitted"
    assert attribute(cloud, instance, "disableApiTermination") == {"Value": True}
    assert attribute(cloud, instance, "disableApiStop") == {"Value": True}
    cloud("ModifyInstanceAttribute", InstanceId=instance, Attribute="disableApiTermination", Value="False")
    cloud("TerminateInstances", InstanceIds=[instance])


def test_one_attribute_a_call(cloud, launch):
    instance = launch()
    two = {"DisableApiStop": {"Value": True}, "DisableApiTermination": {"Value": True}}
    assert cloud.code("ModifyInstanceAttribute", InstanceId=instance, **two) == "InvalidParameterCombination"
    assert cloud.code("ModifyInstanceAttribute", InstanceId=instance) == "MissingParameter"
    assert (
        cloud.code("ModifyInstanceAttribute", InstanceId="i-0123456789abcdef0", **two) == "InvalidInstanceID.NotFound"
    )
    behavior = {"InstanceInitiatedShutdownBehavior": {"Value": "sleep"}}
    assert cloud.code("ModifyInstanceAttribute", InstanceId=instance, **behavior) == "InvalidParameterValue"


def test_groups_and_source_check_are_those_of_the_only_interface(cloud, launch):
    instance = launch()
    told = cloud("DescribeInstances", InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    group = cloud.group(told["VpcId"])
    cloud("ModifyInstanceAttribute", InstanceId=instance, Groups=[group])
    cloud("ModifyInstanceAttribute", InstanceId=instance, SourceDestCheck={"Value": False})
    assert [one["GroupId"] for one in attribute(cloud, instance, "groupSet")] == [group]
    assert attribute(cloud, instance, "sourceDestCheck") == {"Value": False}
    cloud("ResetInstanceAttribute", InstanceId=instance, Attribute="sourceDestCheck")
    assert attribute(cloud, instance, "sourceDestCheck") == {"Value": True}
    second = cloud.interface(told["SubnetId"])
    cloud("AttachNetworkInterface", InstanceId=instance, NetworkInterfaceId=second, DeviceIndex=1)
    assert cloud.code("ModifyInstanceAttribute", InstanceId=instance, Groups=[group]) == "InvalidInstanceID"


def test_whether_a_disk_goes_with_its_instance(cloud, launch):
    disks = [{"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 1}}]
    instance = launch(BlockDeviceMappings=disks)
    wanted = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}, {"DeviceName": "/dev/sdb", "Ebs": {}}]
    cloud("ModifyInstanceAttribute", InstanceId=instance, BlockDeviceMappings=wanted)
    shown = {
        one["DeviceName"]: one["Ebs"]["DeleteOnTermination"] for one in attribute(cloud, instance, "blockDeviceMapping")
    }
    assert shown == {"/dev/xvda": False, "/dev/sdb": True}
    volumes = cloud("DescribeVolumes", Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["Volumes"]
    assert {one["Attachments"][0]["Device"]: one["Attachments"][0]["DeleteOnTermination"] for one in volumes} == shown
    none = [{"DeviceName": "/dev/sdz", "Ebs": {}}]
    assert (
        cloud.code("ModifyInstanceAttribute", InstanceId=instance, BlockDeviceMappings=none)
        == "InvalidInstanceAttributeValue"
    )


def test_interfaces_are_attached_up_to_the_type_s_limit(cloud, launch):
    instance = launch(InstanceType="t3.small")
    told = cloud("DescribeInstances", InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    attach = {"InstanceId": instance}
    first, second, third = (cloud.interface(told["SubnetId"]) for _ in range(3))
    assert (
        cloud.code("AttachNetworkInterface", **attach, NetworkInterfaceId=first, DeviceIndex=0)
        == "InvalidParameterValue"
    )
    text = "Value (-1) for parameter deviceIndex is invalid."
    wrong = cloud.refused("AttachNetworkInterface", **attach, NetworkInterfaceId=first, DeviceIndex=-1)
    assert wrong == ("InvalidParameterValue", text)
    made = cloud("AttachNetworkInterface", **attach, NetworkInterfaceId=first, DeviceIndex=1)
    assert (
        cloud.code("AttachNetworkInterface", **attach, NetworkInterfaceId=first, DeviceIndex=2)
        == "InvalidNetworkInterface.InUse"
    )
    cloud("AttachNetworkInterface", **attach, NetworkInterfaceId=second, DeviceIndex=2)
    assert cloud.refused("AttachNetworkInterface", **attach, NetworkInterfaceId=third, DeviceIndex=3) == (
        "AttachmentLimitExceeded",
        "Interface count 4 exceeds the limit for t3.small",
    )
    assert set(cloud.wished("Container")[instance].interfaces) >= {first, second}
    cloud("DetachNetworkInterface", AttachmentId=made["AttachmentId"])
    assert first not in cloud.wished("Container")[instance].interfaces
    assert cloud.code("DetachNetworkInterface", AttachmentId=made["AttachmentId"]) == "InvalidAttachmentID.NotFound"
    primary = told["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]
    assert cloud.code("DetachNetworkInterface", AttachmentId=primary) == "OperationNotPermitted"
    zones = cloud("DescribeSubnets", Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    elsewhere = next(
        one["SubnetId"] for one in zones if one["AvailabilityZone"] != told["Placement"]["AvailabilityZone"]
    )
    other = cloud.interface(elsewhere)
    assert (
        cloud.code("AttachNetworkInterface", **attach, NetworkInterfaceId=other, DeviceIndex=1)
        == "InvalidParameterCombination"
    )


def test_metadata_options(cloud, launch):
    instance = launch(MetadataOptions={"HttpTokens": "required"})
    told = cloud("ModifyInstanceMetadataOptions", InstanceId=instance, HttpPutResponseHopLimit=3)
    assert told["InstanceMetadataOptions"]["HttpTokens"] == "required"
    assert told["InstanceMetadataOptions"]["HttpPutResponseHopLimit"] == 3
    assert cloud.wished("Metadata")[instance].document.options.hop_limit == 3
    modify = "ModifyInstanceMetadataOptions"
    assert cloud.code(modify, InstanceId=instance, HttpPutResponseHopLimit=65) == "InvalidParameterValue"
    cloud("CreateTags", Resources=[instance], Tags=[{"Key": "a b", "Value": ""}])
    assert cloud.code(modify, InstanceId=instance, InstanceMetadataTags="enabled") == "InvalidParameterValue"


def test_the_account_s_metadata_defaults_hold_for_launches_that_do_not_say(cloud, launch, other_region):
    cloud("ModifyInstanceMetadataDefaults", HttpTokens="required", HttpPutResponseHopLimit=2)
    cloud("ModifyInstanceMetadataDefaults", InstanceMetadataTags="enabled", HttpPutResponseHopLimit=-1)
    assert cloud("GetInstanceMetadataDefaults")["AccountLevel"] == {
        "ManagedBy": "account",
        "HttpTokens": "required",
        "InstanceMetadataTags": "enabled",
    }
    assert other_region("GetInstanceMetadataDefaults")["AccountLevel"] == {"ManagedBy": "account"}

    def options(instance):
        told = cloud("DescribeInstances", InstanceIds=[instance])["Reservations"][0]["Instances"][0]["MetadataOptions"]
        return told["HttpTokens"], told["InstanceMetadataTags"], told["HttpPutResponseHopLimit"]

    assert options(launch()) == ("required", "enabled", 1)
    assert options(launch(MetadataOptions={"HttpTokens": "optional"})) == ("optional", "enabled", 1)
    cloud("ModifyInstanceMetadataDefaults", HttpTokensEnforced="enabled")
    run = {"ImageId": IMAGE, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    assert cloud.code("RunInstances", **run, MetadataOptions={"HttpTokens": "optional"}) == "UnsupportedOperation"


def test_instance_profiles(cloud, launch):
    instance = launch()
    made = cloud("AssociateIamInstanceProfile", InstanceId=instance, IamInstanceProfile={"Name": "web"})
    association = made["IamInstanceProfileAssociation"]
    assert association["IamInstanceProfile"]["Arn"] == "arn:aws:iam::111122223333:instance-profile/web"
    again = {"InstanceId": instance, "IamInstanceProfile": {"Name": "db"}}
    assert cloud.code("AssociateIamInstanceProfile", **again) == "IncorrectState"
    replaced = cloud(
        "ReplaceIamInstanceProfileAssociation",
        AssociationId=association["AssociationId"],
        IamInstanceProfile={"Name": "db"},
    )["IamInstanceProfileAssociation"]
    assert replaced["AssociationId"] != association["AssociationId"]
    filters = [{"Name": "instance-id", "Values": [instance]}, {"Name": "state", "Values": ["associated"]}]
    shown = cloud.one("DescribeIamInstanceProfileAssociations", "IamInstanceProfileAssociations", Filters=filters)
    assert shown == replaced | {"State": "associated"}
    cloud("DisassociateIamInstanceProfile", AssociationId=replaced["AssociationId"])
    gone = {"AssociationId": replaced["AssociationId"]}
    assert cloud.code("DisassociateIamInstanceProfile", **gone) == "InvalidAssociationID.NotFound"


def test_credits(cloud, launch):
    burstable, other = launch(), launch(InstanceType="m5.large")
    specs = [{"InstanceId": one, "CpuCredits": "standard"} for one in (burstable, other, "i-0123456789abcdef0")]
    found = cloud("ModifyInstanceCreditSpecification", InstanceCreditSpecifications=specs)
    assert found["SuccessfulInstanceCreditSpecifications"] == [{"InstanceId": burstable}]
    errors = [one["Error"]["Code"] for one in found["UnsuccessfulInstanceCreditSpecifications"]]
    assert errors == ["InstanceCreditSpecification.NotSupported", "InvalidInstanceID.NotFound"]
    told = cloud("DescribeInstanceCreditSpecifications", InstanceIds=[burstable, other])
    # AWS's reference: for an instance that does not burst, the standard credit option is returned.
    shown = [(one["InstanceId"], one["CpuCredits"]) for one in told["InstanceCreditSpecifications"]]
    assert sorted(shown) == sorted([(burstable, "standard"), (other, "standard")])
    twice = [{"InstanceId": burstable, "CpuCredits": wanted} for wanted in ("standard", "unlimited")]
    code = cloud.code("ModifyInstanceCreditSpecification", InstanceCreditSpecifications=twice)
    assert code == "InvalidInstanceCreditSpecification.DuplicateInstanceId"


def test_small_options(cloud, launch):
    instance = launch()
    assert cloud("MonitorInstances", InstanceIds=[instance])["InstanceMonitorings"][0]["Monitoring"] == {
        "State": "pending"
    }
    told = cloud("DescribeInstances", InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert told["Monitoring"] == {"State": "enabled"}
    cloud("ModifyInstanceMaintenanceOptions", InstanceId=instance, AutoRecovery="disabled")
    names = {"InstanceId": instance, "PrivateDnsHostnameType": "resource-name"}
    assert cloud.code("ModifyPrivateDnsNameOptions", **names) == "IncorrectInstanceState"
    assert cloud.code("ModifyInstancePlacement", InstanceId=instance, HostId="h-1") == "NotImplemented"
    put_into(cloud, instance, "stopped")
    cloud("ModifyPrivateDnsNameOptions", **names)
    cloud("ModifyInstancePlacement", InstanceId=instance, Tenancy="dedicated")
    put_into(cloud, instance, "terminated")
    assert cloud.code("MonitorInstances", InstanceIds=[instance]) == "IncorrectInstanceState"
