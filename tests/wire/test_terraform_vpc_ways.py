"""Terraform with the real AWS provider: apply, nothing to do, change, nothing to do, destroy, of ways between networks (NAT gateways, peering,
prefix lists, DHCP options, virtual private gateways). The machine is simulated.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import pytest

from tests.wire.terraform_runs import Terraform

ACCOUNT = "333344446666"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, simulated_cloud):
    Terraform(
        tmp_path,
        "vpc_ways",
        port=str(simulated_cloud.identity["aws_port"]),
        access_key=ACCOUNT,
    ).apply_change_destroy()
    ec2 = simulated_cloud.client("ec2", account=ACCOUNT)
    assert {one["State"] for one in ec2.describe_nat_gateways()["NatGateways"]} == {"deleted"}
    peerings = ec2.describe_vpc_peering_connections()["VpcPeeringConnections"]
    assert {one["Status"]["Code"] for one in peerings} == {"deleted"}
    own = [{"Name": "owner-id", "Values": [ACCOUNT]}]
    assert ec2.describe_managed_prefix_lists(Filters=own)["PrefixLists"] == []
    assert {one["State"] for one in ec2.describe_vpn_gateways()["VpnGateways"]} == {"deleted"}
    assert {one["State"] for one in ec2.describe_customer_gateways()["CustomerGateways"]} == {"deleted"}
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert ec2.describe_addresses()["Addresses"] == []
