"""Interfaces of other accounts: who may attach them, what both accounts see of it, and that they come back."""

from __future__ import annotations

from typing import Any

import pytest

from gureum.aws.ec2.interfaces.lending import BorrowedInterface
from tests.cloud.running import BUSYBOX

BORROWER = "222233334444"


class Two:
    """`owner` has the interface `eni` (with a group of its own), `borrower` the instance `machine`."""

    def __init__(self, owner: Any, new_cloud: Any) -> None:
        self.owner, self.borrower = owner, new_cloud(owner.client, account=BORROWER)
        self.vpc = owner.vpc("10.9.0.0/16")
        self.subnet = owner.subnet(self.vpc, "10.9.1.0/24", AvailabilityZone="us-east-1a")
        self.eni = owner.interface(self.subnet, Groups=[owner.group(self.vpc)])
        self.machine = self.launched()

    def launched(self, **params: Any) -> str:
        wish = {"ImageId": BUSYBOX, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
        place = {} if "NetworkInterfaces" in params else {"Placement": {"AvailabilityZone": "us-east-1a"}}
        return str(self.borrower("RunInstances", **wish, **place, **params)["Instances"][0]["InstanceId"])

    def permit(self) -> str:
        made = self.owner(
            "CreateNetworkInterfacePermission",
            NetworkInterfaceId=self.eni,
            AwsAccountId=BORROWER,
            Permission="INSTANCE-ATTACH",
        )
        return str(made["InterfacePermission"]["NetworkInterfacePermissionId"])

    def attach(self) -> str:
        wish = {"NetworkInterfaceId": self.eni, "InstanceId": self.machine, "DeviceIndex": 1}
        return str(self.borrower("AttachNetworkInterface", **wish)["AttachmentId"])

    def borrowed(self) -> list[str]:
        return [one.meta.name for one in self.owner.client.everywhere(BorrowedInterface)]

    def seen(self) -> dict[str, Any]:
        return dict(self.owner.one("DescribeNetworkInterfaces", "NetworkInterfaces", NetworkInterfaceIds=[self.eni]))


@pytest.fixture
def two(cloud: Any, new_cloud: Any) -> Two:
    return Two(cloud, new_cloud)


def test_without_a_permission_it_is_not_there(two: Two) -> None:
    wish = {"NetworkInterfaceId": two.eni, "InstanceId": two.machine, "DeviceIndex": 1}
    assert two.borrower.code("AttachNetworkInterface", **wish) == "InvalidNetworkInterfaceID.NotFound"
    two.permit()
    other = {"NetworkInterfaceId": two.eni, "AwsAccountId": BORROWER, "Permission": "INSTANCE-ATTACH"}
    assert two.owner.code("CreateNetworkInterfacePermission", **other) == "InvalidPermission.Duplicate"
    assert two.borrower.code("DescribeNetworkInterfaces", NetworkInterfaceIds=[two.eni]).endswith("NotFound")
    assert two.borrower("DescribeNetworkInterfacePermissions")["NetworkInterfacePermissions"] == []


def test_both_accounts_see_what_is_theirs(two: Two) -> None:
    two.permit()
    attachment = two.attach()
    shown = two.seen()
    assert (shown["Status"], shown["OwnerId"]) == ("in-use", two.owner.account)
    assert (shown["Attachment"]["InstanceId"], shown["Attachment"]["InstanceOwnerId"]) == (two.machine, BORROWER)
    instance = two.borrower("DescribeInstances", InstanceIds=[two.machine])["Reservations"][0]["Instances"][0]
    second = instance["NetworkInterfaces"][1]
    assert (second["OwnerId"], second["VpcId"]) == (two.owner.account, two.vpc)
    assert [one["GroupName"] for one in second["Groups"]] == ["web"]
    assert second["Attachment"]["AttachmentId"] == attachment
    container = two.borrower.wished("Container")[two.machine]
    assert container.interfaces[1] == two.eni
    assert two.borrower.wished("Interface")[two.eni].interface.sandbox == two.machine


@pytest.mark.parametrize("who", ["owner", "borrower"])
def test_either_account_detaches_it(two: Two, who: str) -> None:
    two.permit()
    attachment = two.attach()
    assert two.owner.code("DeleteNetworkInterface", NetworkInterfaceId=two.eni) == "InvalidParameterValue"
    getattr(two, who)("DetachNetworkInterface", AttachmentId=attachment)
    assert two.borrowed() == []
    assert two.seen()["Status"] == "available"
    two.attach()


def test_a_permission_in_use_goes_only_by_force_and_the_interface_stays(two: Two) -> None:
    permission = two.permit()
    two.attach()
    wish = {"NetworkInterfacePermissionId": permission}
    assert two.owner.code("DeleteNetworkInterfacePermission", **wish) == "OperationNotPermitted"
    two.owner("DeleteNetworkInterfacePermission", **wish, Force=True)
    assert two.seen()["Status"] == "in-use"
    assert two.owner.code("DeleteNetworkInterfacePermission", **wish) == "InvalidPermissionID.NotFound"


def test_a_launch_takes_it_as_a_further_interface_only(two: Two) -> None:
    two.permit()
    lent = {"NetworkInterfaceId": two.eni}
    wish = {"ImageId": BUSYBOX, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    code = two.borrower.code("RunInstances", **wish, NetworkInterfaces=[{"DeviceIndex": 0, **lent}])
    assert code == "NotImplemented"
    subnets = two.borrower("DescribeSubnets", Filters=[{"Name": "availability-zone", "Values": ["us-east-1a"]}])
    first = {"DeviceIndex": 0, "SubnetId": subnets["Subnets"][0]["SubnetId"]}
    machine = two.launched(NetworkInterfaces=[first, {"DeviceIndex": 1, **lent}])
    assert two.seen()["Attachment"]["InstanceId"] == machine
    assert two.borrowed() == [two.eni]


def test_an_elastic_ip_of_another_account_leads_to_it(two: Two) -> None:
    two.owner.gateway(two.vpc)
    address = two.borrower("AllocateAddress")
    give = {"AllocationId": address["AllocationId"], "NetworkInterfaceId": two.eni}
    assert two.borrower.code("AssociateAddress", **give) == "InvalidNetworkInterfaceID.NotFound"
    two.permit()
    assert two.borrower.code("AssociateAddress", **give) == "InvalidNetworkInterfaceID.NotFound"
    wish = {"NetworkInterfaceId": two.eni, "AwsAccountId": BORROWER, "Permission": "EIP-ASSOCIATE"}
    made = two.owner("CreateNetworkInterfacePermission", **wish)["InterfacePermission"]
    assert two.owner.code("CreateNetworkInterfacePermission", **wish) == "InvalidPermission.Duplicate"
    association = two.borrower("AssociateAddress", **give)["AssociationId"]
    seen = two.seen()["Association"]
    assert (seen["PublicIp"], seen["IpOwnerId"]) == (address["PublicIp"], BORROWER)
    (shown,) = two.borrower("DescribeAddresses")["Addresses"]
    owner = two.owner.call().account
    assert (shown["NetworkInterfaceId"], shown["NetworkInterfaceOwnerId"]) == (two.eni, owner)
    here = [{"Name": "network-interface-owner-id", "Values": [owner]}]
    assert len(two.borrower("DescribeAddresses", Filters=here)["Addresses"]) == 1
    assert two.owner("DescribeAddresses")["Addresses"] == []
    assert two.borrower.code("ReleaseAddress", AllocationId=address["AllocationId"]) == "InvalidIPAddress.InUse"
    gone = {"NetworkInterfacePermissionId": made["NetworkInterfacePermissionId"]}
    assert two.owner.code("DeleteNetworkInterfacePermission", **gone) == "OperationNotPermitted"
    two.borrower("DisassociateAddress", AssociationId=association)
    assert "Association" not in two.seen()
    two.borrower("AssociateAddress", **give)
    two.owner("DeleteNetworkInterfacePermission", **gone, Force=True)
    assert two.seen()["Association"]["PublicIp"] == address["PublicIp"]
    two.owner("DeleteNetworkInterface", NetworkInterfaceId=two.eni)
    (shown,) = two.borrower("DescribeAddresses")["Addresses"]
    assert "AssociationId" not in shown
    two.borrower("ReleaseAddress", AllocationId=address["AllocationId"])


def test_an_elastic_ip_of_another_account_is_translated_on_the_machine(two: Two) -> None:
    two.owner.gateway(two.vpc)
    own = two.owner("AllocateAddress")
    two.owner("AssociateAddress", AllocationId=own["AllocationId"], NetworkInterfaceId=two.eni)
    wish = {"NetworkInterfaceId": two.eni, "AwsAccountId": BORROWER, "Permission": "EIP-ASSOCIATE"}
    two.owner("CreateNetworkInterfacePermission", **wish)
    two.permit()
    two.attach()
    address = two.borrower("AllocateAddress")
    two.borrower("AssociateAddress", AllocationId=address["AllocationId"], NetworkInterfaceId=two.eni)
    assert "AssociationId" not in two.owner("DescribeAddresses")["Addresses"][0], "an address leads to one Elastic IP"
    private = two.seen()["PrivateIpAddress"]
    assert two.owner.wished("Interface")[two.eni].interface.public == ((private, address["PublicIp"]),)
