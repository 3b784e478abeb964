"""Names of instances: by address, by id, and what a public address is called.

AWS: "EC2 instance hostnames and domains" (EC2 user guide), ec2 ModifyAddressAttribute.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.ec2.images.images import BUILTINS
from gureum.ports.names import Record
from tests.aws.ec2.conftest import Cloud


def launch(cloud: Cloud, **options: Any) -> dict[str, Any]:
    wanted = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    instance: dict[str, Any] = cloud("RunInstances", **wanted, PrivateDnsNameOptions=options)["Instances"][0]
    return instance


def told(cloud: Cloud, path: str, instance: dict[str, Any]) -> str:
    """What the metadata service tells the instance."""
    return str(cloud.wished("Metadata")[instance["InstanceId"]].document.tree[f"meta-data/{path}"])


def records(cloud: Cloud) -> list[Record]:
    return [record for names in cloud.wished("Names").values() for record in names.records]


def test_an_instance_is_named_by_its_address(cloud: Cloud) -> None:
    made = launch(cloud)
    name = f"ip-{made['PrivateIpAddress'].replace('.', '-')}.ec2.internal"
    assert made["PrivateDnsName"] == told(cloud, "local-hostname", made) == name
    assert [one.values for one in records(cloud) if one.name == name] == [(made["PrivateIpAddress"],)]


def test_or_by_its_id_which_leads_to_it_when_that_is_asked_for(cloud: Cloud) -> None:
    made = launch(cloud, HostnameType="resource-name", EnableResourceNameDnsARecord=True)
    name = f"{made['InstanceId']}.ec2.internal"
    assert made["PrivateDnsName"] == told(cloud, "local-hostname", made) == name
    assert Record(name, "A", (made["PrivateIpAddress"],), view=made["VpcId"]) in records(cloud)
    filters = [{"Name": "private-dns-name", "Values": [name]}]
    assert len(cloud("DescribeInstances", Filters=filters)["Reservations"]) == 1
    other = launch(cloud, HostnameType="resource-name")
    assert not [one for one in records(cloud) if one.name.startswith(other["InstanceId"])]


def test_without_dns_support_no_name_leads_anywhere(cloud: Cloud) -> None:
    made = launch(cloud, HostnameType="resource-name", EnableResourceNameDnsARecord=True)
    cloud("ModifyVpcAttribute", VpcId=made["VpcId"], EnableDnsSupport={"Value": False})
    assert records(cloud) == []


def test_a_public_address_is_called_as_its_owner_wishes(cloud: Cloud) -> None:
    made = launch(cloud)
    elastic = cloud("AllocateAddress", Domain="vpc")
    cloud("AssociateAddress", InstanceId=made["InstanceId"], AllocationId=elastic["AllocationId"])
    reverse = ".".join(reversed(elastic["PublicIp"].split("."))) + ".in-addr.arpa"

    def called() -> list[tuple[str, ...]]:
        return [one.values for one in records(cloud) if one.name == reverse]

    assert called() == [(f"ec2-{elastic['PublicIp'].replace('.', '-')}.compute-1.amazonaws.com",)]
    cloud("ModifyAddressAttribute", AllocationId=elastic["AllocationId"], DomainName="mail.example.com")
    assert called() == [("mail.example.com",)]
    cloud("ResetAddressAttribute", AllocationId=elastic["AllocationId"], Attribute="domain-name")
    assert called() == [(f"ec2-{elastic['PublicIp'].replace('.', '-')}.compute-1.amazonaws.com",)]
