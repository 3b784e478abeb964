"""Terraform with the real AWS provider: Spot Fleet requests, a snapshot that is archived and restored, and a permission for an interface."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.running import BUSYBOX, Cloud
from tests.wire.terraform_runs import Terraform

ACCOUNT = "555566667788"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path: Path, simulated_cloud: Cloud) -> None:
    port = str(simulated_cloud.identity["aws_port"])
    Terraform(tmp_path, "fleets", port=port, access_key=ACCOUNT, image=BUSYBOX).apply_change_destroy()
    ec2 = simulated_cloud.client("ec2", account=ACCOUNT)
    requests = ec2.describe_spot_fleet_requests()["SpotFleetRequestConfigs"]
    assert all(one["SpotFleetRequestState"].startswith("cancelled") for one in requests)
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert ec2.describe_network_interface_permissions()["NetworkInterfacePermissions"] == []
