"""Terraform with the real AWS provider against machines that boot: apply, nothing to do, change, nothing to do, destroy, of what the instance
half has (instances, key pairs, launch templates, volumes, image and parameter look-ups).

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import pytest

from tests.wire.terraform_runs import Terraform

ACCOUNT = "333344445555"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIJ5FYQPFDA2ZHGcmW3PuRkwEW3TVWCyAS5mMEmqSPLg me@here"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, real_cloud):
    Terraform(
        tmp_path,
        "instances",
        port=str(real_cloud.identity["aws_port"]),
        access_key=ACCOUNT,
        public_key=PUBLIC_KEY,
    ).apply_change_destroy()
    ec2 = real_cloud.client("ec2", account=ACCOUNT)
    states = {one["State"]["Name"] for page in ec2.describe_instances()["Reservations"] for one in page["Instances"]}
    assert states == {"terminated"}
    assert ec2.describe_volumes()["Volumes"] == []
    assert ec2.describe_launch_templates()["LaunchTemplates"] == []
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
