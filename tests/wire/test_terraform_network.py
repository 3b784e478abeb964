"""Terraform with the real AWS provider: apply, nothing to do, change, nothing to do, destroy, of everything the network half has.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import boto3
import pytest

from tests.wire.terraform_runs import Terraform


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, endpoint):
    Terraform(
        tmp_path,
        "network",
        port=str(endpoint.port),
        access_key="210987654321",
    ).apply_change_destroy()
    ec2 = boto3.client(
        "ec2",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id="210987654321",
        aws_secret_access_key="x",
    )
    assert [vpc["IsDefault"] for vpc in ec2.describe_vpcs()["Vpcs"]] == [True]
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert ec2.describe_addresses()["Addresses"] == []
