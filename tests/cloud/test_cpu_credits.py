"""CPU credits act on machines that really run: who has none is held to its baseline, by the kernel, whoever of gureum is alive. How fast a machine
is comes from its control group's own counter over a while; the bounds leave room for a host that is busy with others."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.running import Cloud, until

SETTINGS = {"metrics_period_s": "1", "memory_promise": "16"}
BASELINE = 0.1  # of a t3.nano: 5 % of each of its two processors
FAST = 2.5 * BASELINE
WINDOW_S = 3.0
LOOPS = "for i in 1 2; do (while :; do :; done) >/dev/null 2>&1 & done"


class Machine:
    """An instance and its control group on the host."""

    def __init__(self, cloud: Cloud, ec2: Any, **wanted: Any) -> None:
        (found,) = cloud.launch(ec2, UserData="", **wanted)
        self.cloud, self.ec2, self.name = cloud, ec2, str(found["InstanceId"])
        self._group = f"gureum-{cloud.identity['id']}/{self.name}"

    def _file(self, controller: str, file: str) -> str:
        root = Path("/sys/fs/cgroup")
        tree = root if (root / "cgroup.controllers").exists() else root / controller
        return (tree / self._group / file).read_text()

    @property
    def used_s(self) -> float:
        if Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return int(self._file("", "cpu.stat").split()[1]) / 1e6
        return int(self._file("cpuacct", "cpuacct.usage")) / 1e9

    @property
    def quota(self) -> float:
        """Processors."""
        if Path("/sys/fs/cgroup/cgroup.controllers").exists():
            quota, period = self._file("", "cpu.max").split()
            return int(quota) / int(period)
        return int(self._file("cpu", "cpu.cfs_quota_us")) / int(self._file("cpu", "cpu.cfs_period_us"))

    def speed(self) -> float:
        """Processors that it uses now."""
        began, used = time.monotonic(), self.used_s
        time.sleep(WINDOW_S)
        return (self.used_s - used) / (time.monotonic() - began)

    def throttled_s(self) -> float:
        """How long the kernel has kept its threads from running, in all."""
        unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        fields = dict(line.split() for line in self._file("" if unified else "cpu", "cpu.stat").splitlines())
        return int(fields["throttled_usec"]) / 1e6 if unified else int(fields["throttled_time"]) / 1e9

    def unhindered(self) -> bool:
        """It has all its processors, and the kernel lets it use what others leave."""
        before, speed = self.throttled_s(), self.speed()
        busy = os.getloadavg()[0] > 4 * (os.cpu_count() or 1)
        return self.quota == 2.0 and self.throttled_s() - before < WINDOW_S / 10 and (speed > FAST or busy)

    def burn(self) -> None:
        self.cloud.inside(self.name, "sh", "-c", LOOPS)

    def become(self, credits_: str) -> None:
        """By the AWS CLI."""
        wish = f"InstanceId={self.name},CpuCredits={credits_}"
        words = ["ec2", "modify-instance-credit-specification", "--instance-credit-specification", wish]
        done = subprocess.run(
            [sys.executable, "-m", "awscli", "--endpoint-url", self.cloud.url, "--output", "json", *words],
            env={
                **os.environ,
                "AWS_ACCESS_KEY_ID": "111122223333",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout)["SuccessfulInstanceCreditSpecifications"] == [{"InstanceId": self.name}]

    def metric(self, name: str) -> list[float]:
        """By the second, of the last two minutes, the oldest first."""
        now = dt.datetime.now(dt.UTC)
        found = self.cloud.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/EC2",
            MetricName=name,
            Dimensions=[{"Name": "InstanceId", "Value": self.name}],
            StartTime=now - dt.timedelta(seconds=120),
            EndTime=now + dt.timedelta(seconds=5),
            Period=1,
            Statistics=["Average"],
        )
        points = sorted(found["Datapoints"], key=lambda point: point["Timestamp"])
        assert {point["Unit"] for point in points} <= {"Count"}
        return [float(point["Average"]) for point in points]

    def balance(self) -> float:
        return float(until(lambda: self.metric("CPUCreditBalance"))[-1])

    def end(self) -> None:
        self.ec2.terminate_instances(InstanceIds=[self.name])


def standard(credits_: str = "standard") -> dict[str, Any]:
    return {"CreditSpecification": {"CpuCredits": credits_}}


def test_a_standard_machine_without_credits_has_its_baseline_and_an_unlimited_one_all(cloud: Cloud, ec2: Any) -> None:
    machine = Machine(cloud, ec2, **standard())
    machine.burn()
    assert BASELINE / 5 < machine.speed() < 2 * BASELINE
    assert "it may use 0.1 of its 2 processors" in cloud.command("explain", machine.name).stdout
    machine.become("unlimited")
    until(machine.unhindered, 90)
    until(lambda: machine.metric("CPUSurplusCreditBalance")[-1:] > [0.05], 60)
    assert max(machine.metric("CPUCreditUsage")) > BASELINE / 60  # in a second
    machine.become("standard")
    until(lambda: machine.quota < 2 * BASELINE)
    assert machine.speed() < 2 * BASELINE
    assert until(lambda: [one for one in machine.metric("CPUSurplusCreditsCharged") if one > 0])
    machine.end()


def test_what_holds_it_outlives_the_daemon_and_the_agent(cloud: Cloud, ec2: Any) -> None:
    machine = Machine(cloud, ec2, **standard())
    machine.burn()
    until(lambda: machine.metric("CPUCreditBalance"))
    daemon, agent = cloud.process("daemon"), cloud.process("agent")
    for pid in (daemon, agent):
        os.kill(pid, signal.SIGSTOP)
    try:
        assert machine.speed() < 2 * BASELINE
    finally:
        for pid in (daemon, agent):
            os.kill(pid, signal.SIGKILL)
    until(lambda: cloud.process("agent") != agent and cloud.process("daemon") != daemon, 90)
    until(lambda: cloud.command("status", check=False).returncode == 0, 90)
    assert machine.speed() < 2 * BASELINE
    machine.become("unlimited")
    until(machine.unhindered, 90)
    machine.end()


def test_launch_credits_are_spent_and_kept_over_kills_and_lost_with_a_stop(cloud: Cloud, ec2: Any) -> None:
    machine = Machine(cloud, ec2, InstanceType="t2.micro")
    assert machine.quota == 1.0
    assert 29 < machine.balance() <= 30.1
    machine.burn()
    until(lambda: machine.used_s > 12, 120)
    spent = until(lambda: one if (one := machine.balance()) < 29.9 else None)
    for name in ("agent", "daemon"):
        pid = cloud.process(name)
        os.kill(pid, signal.SIGKILL)
        until(lambda name=name, pid=pid: cloud.process(name) != pid)
    until(lambda: cloud.command("status", check=False).returncode == 0)
    seen = len(machine.metric("CPUCreditBalance"))
    until(lambda: len(machine.metric("CPUCreditBalance")) > seen + 1)
    assert machine.balance() < spent
    assert machine.balance() > spent - 1.5
    ec2.stop_instances(InstanceIds=[machine.name])
    cloud.until_state(ec2, [machine.name], "stopped")
    ec2.start_instances(InstanceIds=[machine.name])
    cloud.until_state(ec2, [machine.name], "running")
    until(lambda: machine.metric("CPUCreditBalance")[-1:] > [29.95])
    machine.end()


def test_a_newer_machine_keeps_what_it_earned_over_a_stop(cloud: Cloud, ec2: Any) -> None:
    machine = Machine(cloud, ec2, InstanceType="t3.2xlarge", **standard())
    earned = until(lambda: one if (one := machine.balance()) > 0.02 else None, 60)
    ec2.stop_instances(InstanceIds=[machine.name])
    cloud.until_state(ec2, [machine.name], "stopped")
    ec2.start_instances(InstanceIds=[machine.name])
    cloud.until_state(ec2, [machine.name], "running")
    seen = len(machine.metric("CPUCreditBalance"))
    until(lambda: len(machine.metric("CPUCreditBalance")) > seen + 1)
    assert machine.metric("CPUCreditBalance")[-1] > earned
    machine.end()


@pytest.mark.parametrize("type_", ["t3.nano", "m5.large"])
def test_others_are_as_fast_as_ever(cloud: Cloud, ec2: Any, type_: str) -> None:
    machine = Machine(cloud, ec2, InstanceType=type_)
    assert machine.quota == 2.0
    machine.end()
