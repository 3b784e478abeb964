"""Terraform with what templates use of neighbours: applied, nothing is left to do, though the daemon was killed between; changed, and destroyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.running import Cloud
from tests.wire.neighbours.asking import kill_daemon
from tests.wire.terraform_runs import Terraform

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("configuration", "account"),
    [
        ("neighbours", "210987654330"),
        ("storage", "210987654331"),
        ("messages", "210987654332"),
        ("rarer", "210987654333"),
    ],
)
def test_terraform_has_nothing_to_do_after_each_step(
    cloud: Cloud, tmp_path: Path, configuration: str, account: str
) -> None:
    run = Terraform(tmp_path, configuration, endpoint=cloud.url)
    run.apply_change_destroy(after_each=lambda: kill_daemon(cloud))
    assert cloud.client("iam", account=account).list_roles()["Roles"] == []
    assert cloud.client("s3", account=account).list_buckets()["Buckets"] == []
    assert "QueueUrls" not in cloud.client("sqs", account=account).list_queues()
