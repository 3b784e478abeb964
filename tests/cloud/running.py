"""A running gureum with its own home, as a test drives it: the command line, stock clients, processes to kill, and what must not be left."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from gureum.aws.ec2.images.images import BUILTINS
from tests import living_clouds
from tests.quotas import ROOMY

BUSYBOX = BUILTINS[0].id
NANO = "t3.nano"
PAGE = "#!/bin/sh\nmkdir -p /www\necho hello $(hostname) > /www/index.html\nhttpd -p 80 -h /www\n"


class Cloud:
    """One gureum. `clients` are stock boto3 clients against it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        living_clouds.note(self)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GUREUM_", "AWS_"))},
            "GUREUM_HOME": str(home),
            **{f"GUREUM_{name.upper()}": str(value) for name, value in (ROOMY | settings).items()},
        }

    def command(self, *words: str, timeout_s: float = 60.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`gureum WORDS`."""
        return subprocess.run(
            [sys.executable, "-m", "gureum.cli.main", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )

    @property
    def identity(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "identity.json").read_text()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.identity['aws_port']}"

    @property
    def pool(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.identity["pool"])

    def client(self, service: str, *, account: str = "111122223333", region: str = "us-east-1") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=account,
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 8}, read_timeout=30),
        )

    def process(self, name: str) -> int:
        """The pid of "agent" or "daemon". Never 0, as of one that is being restarted: a signal to it would be for the test itself."""

        def look() -> int:
            status = json.loads(self.command("status", "--json", check=False).stdout)
            return int(next(one["pid"] for one in status["supervisor"]["processes"] if one["name"] == name))

        return int(until(look))

    def own(self, address: str) -> str:
        """The address, when it is this home's: tests dial no other."""
        assert ipaddress.IPv4Address(address) in self.pool
        return address

    def launch(self, ec2: Any, count: int = 1, **wanted: Any) -> list[dict[str, Any]]:
        """Instances of the small image in the default VPC; waits until they run."""
        wanted = {"ImageId": BUSYBOX, "InstanceType": NANO, "UserData": PAGE, **wanted}
        made = ec2.run_instances(MinCount=count, MaxCount=count, **wanted)["Instances"]
        return self.until_state(ec2, [one["InstanceId"] for one in made], "running")

    def until_state(self, ec2: Any, ids: list[str], state: str, limit_s: float = 60.0) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]] | None:
            pages = ec2.describe_instances(InstanceIds=ids)["Reservations"]
            found = [one for page in pages for one in page["Instances"]]
            return found if all(one["State"]["Name"] == state for one in found) else None

        return until(look, limit_s)

    def inside(self, instance: str, *command: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """`gureum exec`: a program in the machine."""
        return self.command("exec", instance, "--", *command, timeout_s=timeout_s, check=False)


SHOWN_CHARACTERS = 8000
FAULT = "Traceback"
BY_THE_SECOND = {"metrics_period_s": "1", "alarm_evaluation_s": "0.5", "alarm_minute_s": "2"}
"""Settings: what metrics and alarms do each minute is done each second or two."""


@contextmanager
def whole_life(cloud: Cloud, *options: str) -> Iterator[Cloud]:
    """Up, with the options of `gureum up`, while the block runs. Afterwards nothing of it is left, and its logs tell of no fault."""
    if "--simulate" not in options and os.geteuid() != 0:
        pytest.skip("machines need root")
    cloud.command("up", *options)
    home_id = cloud.identity["id"]
    yield cloud
    with ExitStack() as held:  # what they say on the way down can be read after their names are gone
        files = [held.enter_context(path.open(errors="replace")) for path in (cloud.home / "logs").glob("*.log")]
        down = cloud.command("down", "--purge", check=False)
        logs = {Path(file.name).name: file.read() for file in files}
    assert down.returncode == 0, (down.stderr, {name: text[-SHOWN_CHARACTERS:] for name, text in logs.items()})
    assert leftovers(home_id) == []
    assert not cloud.home.exists()
    faults = {
        name: text[max(0, text.index(FAULT) - 2000) :][:SHOWN_CHARACTERS]
        for name, text in logs.items()
        if FAULT in text
    }
    assert faults == {}


def until(look: Callable[[], Any], limit_s: float = 30.0, pause_s: float = 0.02) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + limit_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(pause_s)


def leftovers(home_id: str) -> list[str]:
    """What of a home is still on the machine."""
    looks = [
        ["ip", "netns", "list"],
        ["ip", "-brief", "link"],
        ["mount"],
        ["ip", "route", "show", "table", "all"],
        ["ps", "-ewwo", "args"],
    ]
    found = []
    for look in looks:
        text = subprocess.run(look, capture_output=True, text=True, check=True).stdout
        found += [line for line in text.splitlines() if home_id in line and "pytest" not in line]
    for root in ("/sys/fs/cgroup",):
        for folder, names, _ in os.walk(root):
            found += [f"{folder}/{name}" for name in names if home_id in name]
    return found


def program(name: str) -> str:
    """Path of a program the test needs; skips loudly without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
