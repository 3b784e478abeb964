"""Terraform with the real AWS provider: log groups, streams, metric filters, subscriptions and flow logs are made, changed and destroyed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import boto3
import pytest

from tests.wire.test_terraform_network import find_mirror

CONFIGURATION = Path(__file__).parent / "terraform" / "logs"
ACCOUNT = "210987654322"


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
        "TF_VAR_access_key": ACCOUNT,
    }

    def run(*args: str) -> int:
        command = [binary, *args, "-no-color"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode not in (0, 2):
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
    clients = {
        name: boto3.client(
            name,
            endpoint_url=endpoint.url,
            region_name="us-east-1",
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="x",
        )
        for name in ("ec2", "logs")
    }
    assert clients["logs"].describe_log_groups()["logGroups"] == []
    assert clients["ec2"].describe_flow_logs()["FlowLogs"] == []
