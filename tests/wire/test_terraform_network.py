"""Terraform with the real AWS provider: apply, nothing to do, change, nothing to do, destroy, of everything the network half has.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import boto3
import pytest

CONFIGURATION = Path(__file__).parent / "terraform" / "network"
PROVIDER = "registry.terraform.io/hashicorp/aws"


def find_mirror() -> Path | None:
    places = [os.environ.get("GUREUM_TF_PLUGINS", ""), "/opt/tf-plugins", "/usr/local/share/tf-plugins", "~/tf-plugins"]
    found = [Path(place).expanduser() for place in places if place]
    return next((place for place in found if (place / PROVIDER).is_dir()), None)


@pytest.fixture
def terraform(tmp_path, endpoint):
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
        "TF_VAR_port": str(endpoint.port),
        "TF_VAR_access_key": "210987654321",
    }

    def run(*args: str) -> int:
        command = [binary, *args, "-no-color"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode not in (0, 2):
            print(endpoint.gateway.counters.calls)
            pytest.fail(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.returncode

    run("init")
    return run


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(terraform, endpoint):
    plan = ("plan", "-detailed-exitcode")
    terraform("apply", "-auto-approve")
    assert terraform(*plan) == 0
    changed = ("-var", "changed=true")
    assert terraform(*plan, *changed) == 2
    terraform("apply", "-auto-approve", *changed)
    assert terraform(*plan, *changed) == 0
    terraform("destroy", "-auto-approve", *changed)
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
