"""Terraform with the real AWS provider: apply, nothing to do, change, nothing to do, destroy, of ways between networks (NAT gateways, peering,
prefix lists, DHCP options). The machine is simulated.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.wire.test_terraform_network import find_mirror

CONFIGURATION = Path(__file__).parent / "terraform" / "vpc_ways"
ACCOUNT = "333344446666"


@pytest.fixture
def terraform(tmp_path, simulated_cloud):
    mirror, binary = find_mirror(), shutil.which("terraform")
    if mirror is None or binary is None:
        pytest.skip("terraform or its provider mirror (GUREUM_TF_PLUGINS) is missing: Terraform is NOT tested here")
    shutil.copy(CONFIGURATION / "main.tf", tmp_path)
    (tmp_path / "rc").write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
    environment = os.environ | {
        "TF_CLI_CONFIG_FILE": str(tmp_path / "rc"),
        "TF_IN_AUTOMATION": "1",
        "CHECKPOINT_DISABLE": "1",
        "NO_PROXY": "127.0.0.1",
        "TF_VAR_port": str(simulated_cloud.identity["aws_port"]),
        "TF_VAR_access_key": ACCOUNT,
    }

    def run(*args: str) -> int:
        command = [binary, *args, "-no-color"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode not in (0, 2):
            pytest.fail(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        if done.returncode == 2:
            print(done.stdout)
        return done.returncode

    run("init")
    return run


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(terraform, simulated_cloud):
    plan = ("plan", "-detailed-exitcode")
    terraform("apply", "-auto-approve")
    assert terraform(*plan) == 0
    changed = ("-var", "changed=true")
    assert terraform(*plan, *changed) == 2
    terraform("apply", "-auto-approve", *changed)
    assert terraform(*plan, *changed) == 0
    terraform("destroy", "-auto-approve", *changed)
    ec2 = simulated_cloud.client("ec2", account=ACCOUNT)
    assert {one["State"] for one in ec2.describe_nat_gateways()["NatGateways"]} == {"deleted"}
    peerings = ec2.describe_vpc_peering_connections()["VpcPeeringConnections"]
    assert {one["Status"]["Code"] for one in peerings} == {"deleted"}
    own = [{"Name": "owner-id", "Values": [ACCOUNT]}]
    assert ec2.describe_managed_prefix_lists(Filters=own)["PrefixLists"] == []
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert ec2.describe_addresses()["Addresses"] == []
