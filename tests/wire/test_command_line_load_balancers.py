"""The AWS command line with every operation of load balancing: the script that boto3 plays (test_every_operation.py), played by `aws elbv2 …`. The
client's own code, called in this process: 50 starts of Python would cost more than all they do."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
from awscli.clidriver import create_clidriver
from botocore import xform_name

from tests.cloud.running import Cloud
from tests.wire.test_every_operation import Play, Step, accounts, steps

SCRIPT = Path(__file__).parent / "operations" / "load_balancers.txt"


class CommandLine(Play):
    """Steps of elbv2 are typed, as it were; the others are as before."""

    def __init__(self, cloud: Cloud, account: str) -> None:
        super().__init__(cloud, account, {})
        self.cloud = cloud
        self.driver = create_clidriver()
        self.typed: set[str] = set()

    def run(self, step: Step) -> None:
        service, _, operation = step.call.rpartition(".")
        if service != "elbv2":
            super().run(step)
            return
        command = xform_name(operation, "-")
        self.typed.add(command)
        status, output, error = self.type(
            "elbv2", command, "--no-paginate", "--cli-input-json", json.dumps(self.filled(step.params))
        )
        if step.refusal:
            found = re.search(r"An error occurred \((\w+)\)", error)
            assert found, error
            assert (status != 0, found[1]) == (True, step.refusal)
            return
        assert status == 0, error
        self.check(step, json.loads(output) if output.strip() else {})

    def type(self, *words: str) -> tuple[int, str, str]:
        """Exit code and what is written to both streams."""
        output, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
            place = ("--endpoint-url", self.cloud.url, "--region", "us-east-1", "--output", "json")
            status = int(self.driver.main([*words, *place]))
        return status, output.getvalue(), error.getvalue()


def test_every_operation_of_load_balancing_is_typed(simulated_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    account = str(next(accounts))
    for name, value in {
        "AWS_ACCESS_KEY_ID": account,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_PAGER": "",
    }.items():
        monkeypatch.setenv(name, value)
    play = CommandLine(simulated_cloud, account)
    wished = {xform_name(one.call.partition(".")[2], "-") for one in steps(SCRIPT) if one.call.startswith("elbv2.")}
    for step in steps(SCRIPT):
        try:
            play.run(step)
        except Exception as error:
            error.add_note(f"{step.call} {step.params}")
            raise
    assert play.typed == wished


def test_a_load_balancer_is_explained_by_its_name_and_by_its_arn(simulated_cloud: Cloud) -> None:
    account = str(next(accounts))
    ec2, elbv2 = (simulated_cloud.client(name, account=account) for name in ("ec2", "elbv2"))
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]][:2]
    (made,) = elbv2.create_load_balancer(Name="told-by-name", Subnets=subnets)["LoadBalancers"]
    for known_as in ("told-by-name", made["LoadBalancerArn"]):
        id_ = made["LoadBalancerArn"].rpartition("/")[2]
        assert f"elbv2.LoadBalancer {id_}" in simulated_cloud.command("explain", known_as).stdout
