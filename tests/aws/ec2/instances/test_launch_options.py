"""What a launch asks beside image, type and network is done, or refused by name; nothing that was passed is ignored."""

from __future__ import annotations

from typing import Any

import pytest

from gureum.aws.ec2.images.images import BUILTINS
from tests.aws.ec2.conftest import Cloud

LAUNCH: dict[str, Any] = {"ImageId": BUILTINS[0].id, "MinCount": 1, "MaxCount": 1}


def launched(cloud: Cloud, **params: Any) -> dict[str, Any]:
    instance: dict[str, Any] = cloud("RunInstances", **LAUNCH, **params)["Instances"][0]
    return instance


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"KernelId": "aki-1"}, "NotImplemented"),
        ({"RamdiskId": "ari-1"}, "NotImplemented"),
        ({"Ipv6AddressCount": 1}, "NotImplemented"),
        ({"Ipv6Addresses": [{"Ipv6Address": "::1"}]}, "NotImplemented"),
        ({"LicenseSpecifications": [{"LicenseConfigurationArn": "x"}]}, "NotImplemented"),
        ({"HibernationOptions": {"Configured": True}}, "NotImplemented"),
        ({"EnclaveOptions": {"Enabled": True}}, "NotImplemented"),
        ({"InstanceMarketOptions": {"MarketType": "capacity-block"}}, "NotImplemented"),
        ({"CpuOptions": {"AmdSevSnp": "enabled"}}, "NotImplemented"),
        ({"Placement": {"HostId": "h-1"}}, "NotImplemented"),
        ({"Placement": {"Tenancy": "host"}}, "NotImplemented"),
        ({"Placement": {"PartitionNumber": 1}}, "InvalidParameterCombination"),
        ({"Placement": {"Tenancy": "shared"}}, "InvalidParameterValue"),
        ({"Placement": {"GroupName": "rack"}}, "InvalidPlacementGroup.Unknown"),
        ({"Placement": {"AvailabilityZone": "us-east-1z"}}, "InvalidParameterValue"),
        ({"Placement": {"AvailabilityZone": "us-east-1a", "AvailabilityZoneId": "use1-az2"}}, "InvalidParameterValue"),
        ({"MaintenanceOptions": {"AutoRecovery": "maybe"}}, "InvalidParameterValue"),
        ({"InstanceInitiatedShutdownBehavior": "sleep"}, "InvalidParameterValue"),
        ({"CreditSpecification": {"CpuCredits": "endless"}}, "InvalidInstanceCreditSpecification"),
        (
            {"InstanceType": "m5.large", "CreditSpecification": {"CpuCredits": "unlimited"}},
            "InstanceCreditSpecification.NotSupported",
        ),
        ({"CpuOptions": {"CoreCount": 3, "ThreadsPerCore": 1}}, "InvalidParameterValue"),
        ({"CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 4}}, "InvalidParameterValue"),
        ({"CpuOptions": {"CoreCount": 1}}, "MissingParameter"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0, "InterfaceType": "efa"}]}, "NotImplemented"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0, "PrimaryIpv6": True}]}, "NotImplemented"),
        ({"NetworkInterfaces": [{"DeviceIndex": index} for index in range(3)]}, "AttachmentLimitExceeded"),
        ({"CapacityReservationSpecification": {"CapacityReservationPreference": "maybe"}}, "InvalidParameterValue"),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 0}}]},
            "InvalidBlockDeviceMapping",
        ),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "OutpostArn": "x"}}]},
            "NotImplemented",
        ),
        (
            {
                "BlockDeviceMappings": [
                    {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 9, "VolumeInitializationRate": 100}}
                ]
            },
            "NotImplemented",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(cloud: Cloud, params: dict[str, Any], code: str) -> None:
    assert cloud.code("RunInstances", **LAUNCH, **{"InstanceType": "t3.micro", **params}) == code


def test_a_group_is_named_in_the_default_subnet_only(cloud: Cloud) -> None:
    """Reported many times (aws/aws-cli issue 1555): names of groups and a subnet exclude each other, wherever the subnet is."""
    subnet = cloud("DescribeSubnets")["Subnets"][0]["SubnetId"]
    refused = cloud.refused("RunInstances", **LAUNCH, SubnetId=subnet, SecurityGroups=["default"])
    assert refused == (
        "InvalidParameterCombination",
        "The parameter groupName cannot be used with the parameter subnet",
    )
    assert launched(cloud, SecurityGroups=["default"])["SecurityGroups"][0]["GroupName"] == "default"
    code, text = cloud.refused("RunInstances", **LAUNCH, SecurityGroups=["nobody"])
    assert code == "InvalidGroup.NotFound"
    assert text.startswith("The security group 'nobody' does not exist in default VPC 'vpc-")


@pytest.mark.parametrize("kind", ["st1", "sc1"])
def test_nothing_starts_from_a_hard_disk(cloud: Cloud, kind: str) -> None:
    def disk(device: str) -> dict[str, Any]:
        return {"BlockDeviceMappings": [{"DeviceName": device, "Ebs": {"VolumeSize": 125, "VolumeType": kind}}]}

    assert cloud.code("RunInstances", **LAUNCH, **disk("/dev/xvda")) == "InvalidParameterCombination"
    launched(cloud, **disk("/dev/sdf"))


def test_cpu_options_are_shown_and_limit_the_machine(cloud: Cloud) -> None:
    made = launched(cloud, InstanceType="c5.2xlarge", CpuOptions={"CoreCount": 2, "ThreadsPerCore": 1})
    assert made["CpuOptions"] == {"CoreCount": 2, "ThreadsPerCore": 1}
    assert cloud.wished("Container")[made["InstanceId"]].limits.cpus == 2.0
    whole = launched(cloud, InstanceType="c5.large")
    assert whole["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 2}
    assert cloud.wished("Container")[whole["InstanceId"]].limits.cpus == 2.0


def test_zone_is_chosen_by_name_and_by_id(cloud: Cloud) -> None:
    for placement in ({"AvailabilityZone": "us-east-1c"}, {"AvailabilityZoneId": "use1-az3"}):
        made = launched(cloud, InstanceType="t3.nano", Placement=placement)
        assert made["Placement"]["AvailabilityZone"] == "us-east-1c"


def test_what_asks_for_what_is_so_anyway_is_taken(cloud: Cloud) -> None:
    made = launched(
        cloud,
        InstanceType="t3.micro",
        EnclaveOptions={"Enabled": False},
        HibernationOptions={"Configured": False},
        Placement={"Tenancy": "default", "Affinity": "default"},
        CpuOptions={"CoreCount": 1, "ThreadsPerCore": 2},
        CreditSpecification={"CpuCredits": "standard"},
        CapacityReservationSpecification={"CapacityReservationPreference": "none"},
        Ipv6AddressCount=0,
    )
    assert made["StateReason"] == {"Code": "pending", "Message": "pending"}
    assert made["CapacityReservationSpecification"] == {"CapacityReservationPreference": "none"}


def test_an_interface_has_as_many_addresses_as_the_type_allows(cloud: Cloud) -> None:
    """AWS: "Maximum IP addresses per network interface" (EC2 user guide): two for t3.micro."""
    code = "PrivateIpAddressLimitExceeded"
    wished = [{"DeviceIndex": 0, "SecondaryPrivateIpAddressCount": 2}]
    assert cloud.code("RunInstances", **LAUNCH, InstanceType="t3.micro", NetworkInterfaces=wished) == code
    wished[0]["SecondaryPrivateIpAddressCount"] = 1
    interface = launched(cloud, InstanceType="t3.micro", NetworkInterfaces=wished)["NetworkInterfaces"][0]
    name = interface["NetworkInterfaceId"]
    more = {"NetworkInterfaceId": name, "SecondaryPrivateIpAddressCount": 1}
    assert cloud.code("AssignPrivateIpAddresses", **more) == code
    subnet = interface["SubnetId"]
    large = cloud.interface(subnet, SecondaryPrivateIpAddressCount=2)
    instance = launched(cloud, InstanceType="t3.micro", SubnetId=subnet)["InstanceId"]
    attached = {"NetworkInterfaceId": large, "InstanceId": instance, "DeviceIndex": 1}
    assert cloud.code("AttachNetworkInterface", **attached) == code
    existing = [{"DeviceIndex": 0, "NetworkInterfaceId": large}]
    assert cloud.code("RunInstances", **LAUNCH, InstanceType="t3.micro", NetworkInterfaces=existing) == code
    assert launched(cloud, InstanceType="t3.large", NetworkInterfaces=existing)


def test_prefixes_come_with_a_launch_and_are_told_to_the_machine(cloud: Cloud) -> None:
    wished = [{"DeviceIndex": 0, "Ipv4PrefixCount": 2}]
    code = cloud.code("RunInstances", **LAUNCH, InstanceType="t3.micro", NetworkInterfaces=wished)
    assert code == "PrivateIpAddressLimitExceeded"  # two slots, one is the primary address's
    wished[0]["Ipv4PrefixCount"] = 1
    made = launched(cloud, InstanceType="t3.micro", NetworkInterfaces=wished)
    (interface,) = made["NetworkInterfaces"]
    (prefix,) = (one["Ipv4Prefix"] for one in interface["Ipv4Prefixes"])
    document = cloud.wished("Metadata")[made["InstanceId"]].document
    assert document.tree[f"meta-data/network/interfaces/macs/{interface['MacAddress']}/ipv4-prefix"] == prefix
    assert prefix.partition("/")[0] in document.addresses


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("CreateVpc", {"CidrBlock": "10.0.0.0/16", "VpcEncryptionControl": {"Mode": "enforce"}}, "NotImplemented"),
        ("CreateVpc", {"Ipv4NetmaskLength": 24}, "NotImplemented"),
        ("AllocateAddress", {"NetworkBorderGroup": "us-east-1-wl1"}, "InvalidParameterValue"),
        ("DescribeAddressesAttribute", {"Attribute": "colour"}, "InvalidParameterValue"),
        ("RunInstances", {"PrivateDnsNameOptions": {"HostnameType": "nickname"}}, "InvalidParameterValue"),
        ("RunInstances", {"MetadataOptions": {"HttpProtocolIpv6": "maybe"}}, "InvalidParameterValue"),
        ("RunInstances", {"InstanceMarketOptions": {"SpotOptions": {"MaxPrice": "1"}}}, "InvalidParameterValue"),
    ],
)
def test_options_of_others_are_not_ignored_either(
    cloud: Cloud, operation: str, params: dict[str, Any], code: str
) -> None:
    if operation == "RunInstances":
        params = {**LAUNCH, "InstanceType": "t3.micro", **params}
    assert cloud.code(operation, **params) == code


def test_metadata_tell_of_the_hypervisor_and_of_no_maintenance(cloud):
    """AWS: "Instance metadata categories": `system`, and `events/maintenance`, whose lists are empty while there are none."""
    new, old = (launched(cloud, InstanceType=name)["InstanceId"] for name in ("t3.micro", "t2.micro"))
    trees = {name: one.document.tree for name, one in cloud.wished("Metadata").items()}
    assert (trees[new]["meta-data/system"], trees[old]["meta-data/system"]) == ("nitro", "xen")
    for when in ("scheduled", "history"):
        assert trees[new][f"meta-data/events/maintenance/{when}"] == "[]"
