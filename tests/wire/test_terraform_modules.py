"""Terraform with the real AWS provider: what widely used modules make (a network of three zones, groups with rules, machines with a role that scale
behind a load balancer): apply, nothing to do, change, nothing to do, destroy. The machine is simulated.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import pytest

from tests.cloud.running import BUSYBOX
from tests.wire.terraform_runs import Terraform

ACCOUNT = "333344447777"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, simulated_cloud):
    Terraform(
        tmp_path,
        "modules",
        port=str(simulated_cloud.identity["aws_port"]),
        access_key=ACCOUNT,
        image=BUSYBOX,
    ).apply_change_destroy()
    ec2 = simulated_cloud.client("ec2", account=ACCOUNT)
    states = {one["State"]["Name"] for page in ec2.describe_instances()["Reservations"] for one in page["Instances"]}
    assert states <= {"shutting-down", "terminated"}
    assert {one["State"] for one in ec2.describe_nat_gateways()["NatGateways"]} <= {"deleted", "deleting"}
    for look, name in (
        (ec2.describe_launch_templates, "LaunchTemplates"),
        (ec2.describe_flow_logs, "FlowLogs"),
        (ec2.describe_addresses, "Addresses"),
        (simulated_cloud.client("iam", account=ACCOUNT).list_instance_profiles, "InstanceProfiles"),
        (simulated_cloud.client("elbv2", account=ACCOUNT).describe_load_balancers, "LoadBalancers"),
    ):
        assert look()[name] == []
    assert all(one["IsDefault"] for one in ec2.describe_vpcs()["Vpcs"])
