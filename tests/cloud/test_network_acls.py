"""Network ACLs by the API, felt by packets to and from a machine that runs."""

from __future__ import annotations

import urllib.request
from typing import Any

from tests.cloud.running import Cloud, until

EVERYWHERE = "0.0.0.0/0"


def answers(address: str) -> bool:
    """Whether the machine's web server is reached and its answer comes back."""
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=0.5) as page:
            return bool(page.read().startswith(b"hello"))
    except OSError:
        return False


def test_an_entry_is_enforced_and_its_end_too(cloud: Cloud, ec2: Any) -> None:
    (instance,) = cloud.launch(ec2)
    name, address = instance["InstanceId"], cloud.own(instance["PublicIpAddress"])
    until(lambda: answers(address))
    of_subnet = [{"Name": "association.subnet-id", "Values": [instance["SubnetId"]]}]
    first = ec2.describe_network_acls(Filters=of_subnet)["NetworkAcls"][0]
    web = {"NetworkAclId": first["NetworkAclId"], "RuleNumber": 50, "Egress": False}
    ports = {"Protocol": "6", "PortRange": {"From": 80, "To": 80}}
    ec2.create_network_acl_entry(RuleAction="deny", CidrBlock=EVERYWHERE, **web, **ports)
    until(lambda: not answers(address))
    ec2.replace_network_acl_entry(RuleAction="deny", CidrBlock="192.0.2.0/24", **web, **ports)
    until(lambda: answers(address))
    # An ACL of its own that lets requests in and no answers out; then those, too.
    acl = ec2.create_network_acl(VpcId=instance["VpcId"])["NetworkAcl"]["NetworkAclId"]
    ec2.create_network_acl_entry(
        NetworkAclId=acl, RuleNumber=100, Egress=False, RuleAction="allow", CidrBlock=EVERYWHERE, **ports
    )
    link = next(one for one in first["Associations"] if one["SubnetId"] == instance["SubnetId"])
    moved = ec2.replace_network_acl_association(AssociationId=link["NetworkAclAssociationId"], NetworkAclId=acl)
    until(lambda: not answers(address))
    # Names and metadata are no matter of ACLs.
    inside = cloud.inside(name, "wget", "-qO-", "http://169.254.169.254/latest/meta-data/instance-id")
    assert inside.stdout.strip() == name
    assert cloud.inside(name, "nslookup", instance["PrivateDnsName"]).returncode == 0
    ec2.create_network_acl_entry(
        NetworkAclId=acl,
        RuleNumber=100,
        Egress=True,
        RuleAction="allow",
        CidrBlock=EVERYWHERE,
        Protocol="6",
        PortRange={"From": 1024, "To": 65535},
    )
    until(lambda: answers(address))
    ec2.replace_network_acl_association(AssociationId=moved["NewAssociationId"], NetworkAclId=first["NetworkAclId"])
    ec2.delete_network_acl(NetworkAclId=acl)
    ec2.delete_network_acl_entry(**web)
    ec2.terminate_instances(InstanceIds=[name])
