"""The scripts of what observes and scales, and of networks, run once more by the AWS command line, and the proof that clients drive every
operation of what observes and scales.

boto3 runs each script (test_every_operation.py), the command line those named here; what scripts cannot say (a group whose machines come and go, a
tail that goes on) has tests of its own. Terraform's resources stand in the folder `terraform`.
"""

from __future__ import annotations

import io
import itertools
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from awscli.clidriver import create_clidriver
from botocore import xform_name

from gureum.engine.registry import Registry
from tests.cloud.running import Cloud
from tests.wire.test_every_operation import Play, Step, steps

HERE = Path(__file__).parent
BY_CLI = ("alarms", "flow_logs", "logs", "metrics")
NETWORKS = (
    "address_transfers",
    "block_public_access",
    "dhcp_options",
    "endpoint_services",
    "interfaces",
    "nat_gateways",
    "network_acls",
    "network_insights",
    "peerings",
    "prefix_lists",
    "routes",
    "security_groups",
    "vpc_endpoints",
    "vpcs",
    "vpn_gateways",
)
OWN_TESTS = {"logs.StartLiveTail", "logs.CreateExportTask", "logs.CancelExportTask"}
"""Operations whose answers do not end (test_logs.py), or that need a bucket (test_neighbours.py). Those of Auto Scaling are in test_scaling_cli.py,
which counts them itself."""
FLOW_LOGS = ("CreateFlowLogs", "DescribeFlowLogs", "DeleteFlowLogs")
RESOURCES = {
    "aws_autoscaling_attachment",
    "aws_autoscaling_group",
    "aws_autoscaling_group_tag",
    "aws_autoscaling_lifecycle_hook",
    "aws_autoscaling_notification",
    "aws_autoscaling_policy",
    "aws_autoscaling_schedule",
    "aws_autoscaling_traffic_source_attachment",
    "aws_cloudwatch_composite_alarm",
    "aws_cloudwatch_dashboard",
    "aws_cloudwatch_log_group",
    "aws_cloudwatch_log_metric_filter",
    "aws_cloudwatch_log_resource_policy",
    "aws_cloudwatch_log_stream",
    "aws_cloudwatch_log_subscription_filter",
    "aws_cloudwatch_metric_alarm",
    "aws_flow_log",
    "aws_launch_configuration",
}
"""All of the provider whose operations are built."""
accounts = itertools.count(444500000000)


class CliPlay(Play):
    """Steps by the command line, in this process (its start takes longer than all that it does here). Waiters stay boto3's."""

    def __init__(self, cloud: Cloud, account: str, *, fresh: bool) -> None:
        super().__init__(cloud, account, {})
        self._fresh = fresh
        self._url = cloud.url
        self._driver: Any = None

    def run(self, step: Step) -> None:
        if step.call.startswith("wait "):
            super().run(step)
            return
        service, _, operation = step.call.rpartition(".")
        service = "s3api" if service == "s3" else service or "ec2"
        words = [service, xform_name(operation, "-"), "--cli-input-json", json.dumps(self.filled(step.params))]
        out, errors = io.StringIO(), io.StringIO()
        if self._driver is None or self._fresh:
            # What one operation has hooked in for its boolean arguments breaks the next one that has none of that name.
            self._driver = create_clidriver()
        with redirect_stdout(out), redirect_stderr(errors):
            code = self._driver.main(["--endpoint-url", self._url, *words])
        assert re.findall(r"An error occurred \((\w+(?:\.\w+)*)\)", errors.getvalue()) == (
            [step.refusal] if step.refusal else []
        )
        assert (code != 0) == bool(step.refusal), errors.getvalue()
        if not step.refusal:
            self.check(step, json.loads(out.getvalue() or "{}"))


@pytest.mark.parametrize("name", [*BY_CLI, *(pytest.param(name, marks=pytest.mark.long) for name in NETWORKS)])
def test_script(simulated_cloud: Cloud, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    account = str(next(accounts))
    settings = {"ACCESS_KEY_ID": account, "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1", "PAGER": ""}
    for key, value in (settings | {"CONFIG_FILE": "/dev/null", "SHARED_CREDENTIALS_FILE": "/dev/null"}).items():
        monkeypatch.setenv(f"AWS_{key}", value)
    play = CliPlay(simulated_cloud, account, fresh=name in NETWORKS)
    for step in steps(HERE / "operations" / f"{name}.txt"):
        try:
            play.run(step)
        except Exception as error:
            error.add_note(f"{name}.txt: {step.call} {step.params}")
            raise


def test_the_command_line_drives_every_operation_that_is_built() -> None:
    run = {step.call for name in BY_CLI for step in steps(HERE / "operations" / f"{name}.txt") if not step.refusal}
    for service in ("cloudwatch", "logs"):
        for operation in built(service):
            assert f"{service}.{operation}" in run or f"{service}.{operation}" in OWN_TESTS, operation
    assert set(FLOW_LOGS) <= run


def test_terraform_drives_every_resource_whose_operations_are_built() -> None:
    text = "\n".join(path.read_text() for path in (HERE / "terraform").rglob("*.tf"))
    assert set(re.findall(r'^resource "(\w+)"', text, re.MULTILINE)) >= RESOURCES


def built(service: str) -> list[str]:
    registry = Registry()
    registry.scan(f"gureum.aws.{service}")
    marks: list[Any] = [mark for mark in registry.marks("operation").values() if mark.name.startswith(f"{service}:")]
    return sorted(mark.options["operation"] for mark in marks)
