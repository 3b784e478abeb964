"""The scripts once more by the AWS command line, and the proof that it drives every operation that is built.

boto3 runs each script (test_every_operation.py). What scripts cannot say (a group whose machines come and go, a tail that goes on) has tests of its
own. Terraform's resources stand in the folder `terraform`.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from awscli.clidriver import create_clidriver
from botocore import xform_name

from gureum.engine.registry import Registry
from tests.cloud.running import Cloud
from tests.wire.test_every_operation import SCRIPTS, SERVICES, Play, Step, given, model, steps

HERE = Path(__file__).parent
__all__ = ["given"]
QUICK = {
    "alarms",
    "certificates",
    "flow_logs",
    "images",
    "launch_templates",
    "load_balancers",
    "logs",
    "metrics",
    "neighbouring_services",
    "root_replacements",
    "tags_and_keys",
}
"""Those of `make test`: something of each service, in a few seconds. `make test-long` runs all others."""
OWN_TESTS = {
    "logs.StartLiveTail",
    "logs.CreateExportTask",
    "logs.CancelExportTask",
    "sts.AssumeRoleWithWebIdentity",
}
"""Operations whose answers do not end (test_logs.py), or that need a bucket (neighbours/) or a token (test_web_identities.py). Those of
Auto Scaling are in test_scaling_cli.py, which counts them itself."""
REFUSED = {
    "ebs.GetSnapshotBlock",
    "ec2-instance-connect.SendSSHPublicKey",
    "ec2-instance-connect.SendSerialConsoleSSHPublicKey",
    "ec2.AcceptAddressTransfer",
    "ec2.CancelImageLaunchPermission",
    "ec2.CancelImportTask",
    "ec2.CreateRestoreImageTask",
    "ec2.CreateStoreImageTask",
    "ec2.DescribeVpcClassicLink",
    "ec2.DescribeVpcClassicLinkDnsSupport",
    "ec2.GetConsoleScreenshot",
    "ec2.ModifyInstanceEventStartTime",
    "ec2.PurchaseReservedInstancesOffering",
    "ec2.RestoreImageFromRecycleBin",
    "ec2.RestoreSnapshotFromRecycleBin",
    "ec2.RestoreVolumeFromRecycleBin",
    "sts.DecodeAuthorizationMessage",
}
"""What one account in a simulated cloud is always refused: no other account, no bucket, no machine that runs, no disk that anything was
written to, or never anything else."""
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
    """Steps by the command line, in this process (its start takes longer than all that it does here). Waiters stay boto3's, and sessions, of which it
    tells nothing but to the plugin that it starts (tests/cloud/test_sessions.py)."""

    loader: Any = None  # the models are read once

    def run(self, step: Step) -> None:
        if step.call.startswith("wait ") or step.call == "ssm.StartSession":
            super().run(step)
            return
        service, _, operation = step.call.rpartition(".")
        service = service or "ec2"
        words = ["s3api" if service == "s3" else service, xform_name(operation, "-"), "--no-paginate"]
        params = self.filled(step.params)
        if model(service, operation).has_streaming_output:
            # These take no parameters from a file, but one that they write to.
            words += [os.devnull, *(f"--{xform_name(name, '-')}={value}" for name, value in params.items())]
        else:
            words += ["--cli-input-json", json.dumps(params)]
        out, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(errors):
            code = self._driver().main(["--endpoint-url", self.url, *words])
        found = re.search(r"An error occurred \((\w+(?:\.\w+)*)\)", errors.getvalue())
        assert (found[1] if found else "") == step.refusal, errors.getvalue()
        assert (code != 0) == bool(step.refusal), errors.getvalue()
        if not step.refusal:
            self.check(step, json.loads(out.getvalue() or "{}"))

    @classmethod
    def _driver(cls) -> Any:
        """A new one for each call: what one operation hooks in for its boolean arguments breaks the next that has none of that name."""
        driver = create_clidriver()
        if cls.loader is None:
            cls.loader = driver.session.get_component("data_loader")
        driver.session.register_component("data_loader", cls.loader)
        return driver


@pytest.mark.parametrize(
    "script", [pytest.param(one, id=one.stem, marks=[] if one.stem in QUICK else pytest.mark.long) for one in SCRIPTS]
)
def test_script(simulated_cloud: Cloud, given: dict[str, str], monkeypatch: pytest.MonkeyPatch, script: Path) -> None:
    account = str(next(accounts))
    settings = {"ACCESS_KEY_ID": account, "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1", "PAGER": ""}
    for key, value in (settings | {"CONFIG_FILE": "/dev/null", "SHARED_CREDENTIALS_FILE": "/dev/null"}).items():
        monkeypatch.setenv(f"AWS_{key}", value)
    play = CliPlay(simulated_cloud, account, given)
    for step in steps(script):
        try:
            play.run(step)
        except Exception as error:
            error.add_note(f"{script.name}: {step.call} {step.params}")
            raise


def test_the_command_line_drives_every_operation_that_is_built() -> None:
    called, refused = set(), set()
    for step in itertools.chain.from_iterable(steps(script) for script in SCRIPTS):
        (refused if step.refusal else called).add(step.call if "." in step.call else f"ec2.{step.call}")
    registry = Registry()
    for service in sorted(set(SERVICES) - {"autoscaling", "iam", "s3"}):
        registry.scan(f"gureum.aws.{service.replace('-', '_')}")
    operations = {name.replace(":", ".") for name in registry.marks("operation")}
    assert operations - called - OWN_TESTS == {one for one in REFUSED if one in refused}
    assert refused >= REFUSED


def test_every_service_has_a_script_that_is_run_at_once() -> None:
    run = {step.call.rpartition(".")[0] for one in SCRIPTS if one.stem in QUICK for step in steps(one)}
    assert {service or "ec2" for service in run} >= set(SERVICES) - {"autoscaling", "iam", "s3"}


def test_terraform_drives_every_resource_whose_operations_are_built() -> None:
    text = "\n".join(path.read_text() for path in (HERE / "terraform").rglob("*.tf"))
    assert set(re.findall(r'^resource "(\w+)"', text, re.MULTILINE)) >= RESOURCES
