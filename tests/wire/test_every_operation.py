"""Every operation that is built, called with boto3 as its users call it, and what it then answers.

The scripts are in `operations/`:

    > CreateVpc {"CidrBlock": "10.0.0.0/16"}     an operation (of EC2, or `service.Operation`) and its parameters
        Vpc.State = "pending"                    JMESPath into the result = what it is
        vpc := Vpc.VpcId                         keeps a value: "$vpc" in what follows
        ! InvalidVpc.Range                       the error that is expected instead
    > wait instance_running {…}                  a waiter (of EC2, or `service.waiter`)

An operation that takes DryRun is first called so: that must say that it would succeed, or why not, and change nothing. The machine is
simulated: states move, nothing runs.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import jmespath
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import rsa

from gureum.engine.registry import Registry
from tests.cloud.running import BUSYBOX, Cloud
from tests.wire.test_certificates import Authority, key_pem, named, pem

TESTS = Path(__file__).parent.parent
SCRIPTS = sorted((Path(__file__).parent / "operations").glob("*.txt"))
SERVICES = (
    "acm",
    "autoscaling",
    "cloudwatch",
    "ebs",
    "ec2",
    "ec2-instance-connect",
    "elbv2",
    "iam",
    "logs",
    "s3",
    "ssm",
    "sts",
)
WAIT = {"Delay": 0.05, "MaxAttempts": 400}
accounts = itertools.count(444400000000)
_models = {name: botocore.session.get_session().get_service_model(name) for name in SERVICES}


class Step:
    """`call`: "CreateVpc", "sts.GetCallerIdentity" or "wait instance_running". `lines`: what is expected."""

    def __init__(self, call: str, params: str) -> None:
        self.call, self.params = call, params
        self.lines: list[str] = []

    @property
    def refusal(self) -> str:
        return next((line[2:] for line in self.lines if line.startswith("! ")), "")


def steps(path: Path) -> Iterator[Step]:
    step = None
    for line in path.read_text().splitlines():
        if line.startswith("> "):
            if step is not None:
                yield step
            call, _, params = line[2:].partition(" {")
            step = Step(call, "{" + params)
        elif line.strip() and not line.startswith("#"):
            assert step is not None
            step.lines.append(line.strip())
    if step is not None:
        yield step


class Play:
    """Runs steps as one account. `kept`: what "$name" stands for."""

    def __init__(self, cloud: Cloud, account: str, kept: dict[str, str]) -> None:
        self.url = cloud.url
        self.clients = {name: cloud.client(name, account=account) for name in SERVICES}
        now = time.time()
        times = {"now": str(int(now * 1000)), "hour": iso(now - 3600), "later": iso(now + 3600)}
        self.kept = {"account": account, "busybox": BUSYBOX, **times, **kept}

    def filled(self, text: str) -> Any:
        return json.loads(re.sub(r"\$([a-z]+)", lambda found: escaped(self.kept.get(found[1], found[0])), text))

    def run(self, step: Step) -> None:
        params = self.filled(step.params)
        if step.call.startswith("wait "):
            owner, _, waiter = step.call[5:].rpartition(".")
            self.clients[owner or "ec2"].get_waiter(waiter).wait(**params, WaiterConfig=WAIT)
            return
        service, _, operation = step.call.rpartition(".")
        service = service or "ec2"
        call = getattr(self.clients[service], xform_name(operation))
        if takes_dry_run(service, operation):
            assert outcome(call, **params, DryRun=True) == (step.refusal or "DryRunOperation")
        if step.refusal:
            assert outcome(call, **params) == step.refusal
            return
        self.check(step, call(**params))

    def check(self, step: Step, result: dict[str, Any]) -> None:
        for line in step.lines:
            name, keeps, path = line.partition(" := ")
            if keeps:
                self.kept[name] = jmespath.search(path, result)
                assert self.kept[name], line
            else:
                path, _, expected = line.rpartition(" = ")
                assert jmespath.search(path, result) == self.filled(expected), line


def escaped(text: str) -> str:
    """As it stands within a string of JSON."""
    return json.dumps(text)[1:-1]


def iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def model(service: str, operation: str) -> Any:
    """botocore's."""
    return _models[service].operation_model(operation)


def takes_dry_run(service: str, operation: str) -> bool:
    shape = model(service, operation).input_shape
    return shape is not None and "DryRun" in shape.members


def outcome(call: Any, **params: Any) -> str:
    """The error's code, "" for success."""
    try:
        call(**params)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@pytest.fixture
def given(simulated_cloud: Cloud) -> dict[str, str]:
    """`archive`: the name of a root file system among the files that images may be made from. `leaf`, `key`: a certificate in PEM."""
    folder = simulated_cloud.home / "imports"
    folder.mkdir(mode=0o700, exist_ok=True)
    with tarfile.open(folder / "root.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("sbin/init"), io.BytesIO())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    leaf = Authority().sign(key.public_key(), named("www.example.com"), "www.example.com")
    return {"archive": "root.tar", "leaf": pem(leaf).decode(), "key": key_pem(key).decode()}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(simulated_cloud: Cloud, given: dict[str, str], script: Path) -> None:
    play = Play(simulated_cloud, str(next(accounts)), given)
    for step in steps(script):
        try:
            play.run(step)
        except Exception as error:
            error.add_note(f"{script.name}: {step.call} {step.params}")
            raise


def test_every_operation_that_is_built_is_called_on_the_wire() -> None:
    registry = Registry()
    for service in set(SERVICES) - {"iam", "s3"}:  # neighbours
        registry.scan(f"gureum.aws.{service.replace('-', '_')}")
    files = [path for name in ("wire", "cloud") for path in (TESTS / name).rglob("*") if path.suffix in (".py", ".txt")]
    words = set(re.findall(r"\w+", "\n".join(path.read_text() for path in files)))
    operations = [name.partition(":")[2] for name in registry.marks("operation")]
    assert [one for one in operations if not {one, xform_name(one)} & words] == []
