"""Terraform with the real AWS provider against a simulated cloud: apply, nothing to do, change, nothing to do, destroy, of a group with policies, a
schedule, a lifecycle hook and a target group, of alarms and a dashboard.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import pytest

from tests.cloud.running import BUSYBOX
from tests.wire.terraform_runs import Terraform

ACCOUNT = "555500002222"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, simulated_cloud):
    Terraform(
        tmp_path,
        "scaling",
        port=str(simulated_cloud.identity["aws_port"]),
        access_key=ACCOUNT,
        image=BUSYBOX,
    ).apply_change_destroy()
    asg = simulated_cloud.client("autoscaling", account=ACCOUNT)
    assert asg.describe_auto_scaling_groups()["AutoScalingGroups"] == []
    ec2 = simulated_cloud.client("ec2", account=ACCOUNT)
    states = {one["State"]["Name"] for page in ec2.describe_instances()["Reservations"] for one in page["Instances"]}
    assert states <= {"shutting-down", "terminated"}
    assert simulated_cloud.client("cloudwatch", account=ACCOUNT).describe_alarms()["MetricAlarms"] == []
