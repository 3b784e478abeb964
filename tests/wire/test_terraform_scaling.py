"""Terraform with the real AWS provider against a simulated cloud: apply, nothing to do, change, nothing to do, destroy, of a group with policies, a
schedule, a lifecycle hook and a target group.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cloud.running import BUSYBOX
from tests.wire.test_terraform_network import find_mirror

CONFIGURATION = Path(__file__).parent / "terraform" / "scaling"
ACCOUNT = "555500002222"


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
        "TF_VAR_image": BUSYBOX,
    }

    def run(*args: str) -> int:
        command = [binary, *args, "-no-color"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        print(done.stdout[-4000:])
        if done.returncode not in (0, 2):
            pytest.fail(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
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
    asg = simulated_cloud.client("autoscaling", account=ACCOUNT)
    assert asg.describe_auto_scaling_groups()["AutoScalingGroups"] == []
    ec2 = simulated_cloud.client("ec2", account=ACCOUNT)
    states = {one["State"]["Name"] for page in ec2.describe_instances()["Reservations"] for one in page["Instances"]}
    assert states <= {"shutting-down", "terminated"}
    assert simulated_cloud.client("cloudwatch", account=ACCOUNT).describe_alarms()["MetricAlarms"] == []
