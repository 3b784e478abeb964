"""Terraform with the real AWS provider: an endpoint service and an endpoint that its owner accepts. The machine is simulated.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import pytest

from tests.wire.terraform_runs import Terraform

ACCOUNT = "333344448888"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, simulated_cloud):
    port = str(simulated_cloud.identity["aws_port"])
    Terraform(tmp_path, "endpoint_services", port=port, access_key=ACCOUNT).apply_change_destroy()
    ec2 = simulated_cloud.client("ec2", account=ACCOUNT)
    assert ec2.describe_vpc_endpoint_service_configurations()["ServiceConfigurations"] == []
    assert ec2.describe_vpc_endpoints()["VpcEndpoints"] == []
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
