"""VPC Block Public Access: who may pass to and from internet gateways."""

from __future__ import annotations

import asyncio

import pytest

from gureum.aws.ec2.interfaces.interfaces import new_interface
from gureum.aws.ec2.networks.kinds import Attachment, Subnet


@pytest.fixture
def vpc(cloud):
    return cloud.vpc()


@pytest.fixture
def subnet(cloud, vpc):
    """A public subnet with a machine."""
    subnet = cloud.subnet(vpc)
    table = cloud.one("DescribeRouteTables", "RouteTables", Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    params = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": "0.0.0.0/0"}
    cloud("CreateRoute", **params, GatewayId=cloud.gateway(vpc))
    call = cloud.call()
    transaction = call.transaction()
    attachment = Attachment("eni-attach-0123456789abcdef0", "i-1", 0, 0.0)
    new_interface(call, transaction, call.get(Subnet, subnet), attachment=attachment, sandbox="i-1")
    asyncio.run(transaction.commit())
    return subnet


def block(cloud, mode):
    return cloud("ModifyVpcBlockPublicAccessOptions", InternetGatewayBlockMode=mode)["VpcBlockPublicAccessOptions"]


def exclude(cloud, mode, **resource):
    made = cloud("CreateVpcBlockPublicAccessExclusion", InternetGatewayExclusionMode=mode, **resource)
    return made["VpcBlockPublicAccessExclusion"]["ExclusionId"]


def ways(cloud, vpc):
    network = cloud.wished("Network")[vpc]
    return network.internet, network.egress_only


@pytest.mark.parametrize(
    ("mode", "exclusion", "expected"),
    [
        ("off", None, (("10.0.1.0/24",), ())),
        ("block-bidirectional", None, ((), ())),
        ("block-bidirectional", "allow-egress", (("10.0.1.0/24",), ("10.0.1.0/24",))),
        ("block-bidirectional", "allow-bidirectional", (("10.0.1.0/24",), ())),
        ("block-ingress", None, ((), ())),
        ("block-ingress", "allow-egress", ((), ())),
        ("block-ingress", "allow-bidirectional", (("10.0.1.0/24",), ())),
    ],
)
@pytest.mark.parametrize("of", ["vpc", "subnet"])
def test_mode_and_exclusion_decide_what_may_take_the_uplink(cloud, vpc, subnet, mode, exclusion, expected, of):
    block(cloud, mode)
    if exclusion:
        exclude(cloud, exclusion, **({"VpcId": vpc} if of == "vpc" else {"SubnetId": subnet}))
    assert ways(cloud, vpc) == expected
    block(cloud, "off")
    assert ways(cloud, vpc) == (("10.0.1.0/24",), ())


def test_nat_gateways_go_on_while_ingress_is_blocked(cloud, vpc, subnet):
    allocation = cloud("AllocateAddress")["AllocationId"]
    made = cloud("CreateNatGateway", SubnetId=subnet, AllocationId=allocation)["NatGateway"]
    block(cloud, "block-ingress")
    assert ways(cloud, vpc) == ((f"{made['NatGatewayAddresses'][0]['PrivateIp']}/32",), ())


def test_a_subnets_own_exclusion_counts_before_its_vpcs(cloud, vpc, subnet):
    block(cloud, "block-bidirectional")
    exclude(cloud, "allow-bidirectional", VpcId=vpc)
    own = exclude(cloud, "allow-egress", SubnetId=subnet)
    assert ways(cloud, vpc) == (("10.0.1.0/24",), ("10.0.1.0/24",))
    cloud("DeleteVpcBlockPublicAccessExclusion", ExclusionId=own)
    assert ways(cloud, vpc) == (("10.0.1.0/24",), ())


def test_what_holds_is_shown(cloud, vpc, subnet):
    options = cloud("DescribeVpcBlockPublicAccessOptions")["VpcBlockPublicAccessOptions"]
    assert (options["State"], options["InternetGatewayBlockMode"]) == ("default-state", "off")
    assert block(cloud, "block-ingress")["InternetGatewayBlockMode"] == "block-ingress"
    shown = cloud.one("DescribeSubnets", "Subnets", SubnetIds=[subnet])["BlockPublicAccessStates"]
    assert shown == {"InternetGatewayBlockMode": "block-ingress"}
    name = exclude(cloud, "allow-bidirectional", VpcId=vpc)
    shown = cloud.one("DescribeVpcs", "Vpcs", VpcIds=[vpc])["BlockPublicAccessStates"]
    assert shown == {"InternetGatewayBlockMode": "off"}
    changed = {"ExclusionId": name, "InternetGatewayExclusionMode": "allow-egress"}
    cloud("ModifyVpcBlockPublicAccessExclusion", **changed)
    found = cloud.one("DescribeVpcBlockPublicAccessExclusions", "VpcBlockPublicAccessExclusions", ExclusionIds=[name])
    assert (found["InternetGatewayExclusionMode"], found["State"]) == ("allow-egress", "update-complete")
    assert found["ResourceArn"].endswith(f":vpc/{vpc}")


def test_what_cannot_be_is_refused(cloud, other_region, vpc, subnet):
    create = "CreateVpcBlockPublicAccessExclusion"
    mode = {"InternetGatewayExclusionMode": "allow-egress"}
    assert cloud.code(create, **mode) == "MissingParameter"
    assert cloud.code(create, **mode, VpcId=vpc, SubnetId=subnet) == "InvalidParameterCombination"
    assert cloud.code("ModifyVpcBlockPublicAccessOptions", InternetGatewayBlockMode="on") == "InvalidParameterValue"
    exclude(cloud, "allow-egress", VpcId=vpc)
    assert cloud.code(create, **mode, VpcId=vpc) == "VpcBlockPublicAccessExclusionAlreadyExists"
    unknown = {"ExclusionId": "vpcbpa-exclude-0123456789abcdef0"}
    assert cloud.code("DeleteVpcBlockPublicAccessExclusion", **unknown) == (
        "InvalidVpcBlockPublicAccessExclusionId.NotFound"
    )
    assert other_region("DescribeVpcBlockPublicAccessExclusions")["VpcBlockPublicAccessExclusions"] == []
