"""AWS/EC2's metrics of CPU credits (AWS: "Monitor your CPU credits": five minutes' period, whatever the monitoring; the last two are of unlimited
instances only)."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gureum.aws.ec2.instances.kinds import Instance
from gureum.core.credit_accounts import Counted
from tests.aws.ec2.conftest import Cloud
from tests.aws.ec2.instances.test_metrics import START, Published, sample

NAMES = ("CPUCreditUsage", "CPUCreditBalance", "CPUSurplusCreditBalance", "CPUSurplusCreditsCharged")


class Burst(Published):
    def look(self, at: float, cpu_s: float, balance: float, surplus: float = 0.0, charged: float = 0.0) -> None:
        self._clock.time = at
        credits_ = {self.name: Counted(balance, surplus, charged)}
        self.agent.sample = msgspec.structs.replace(sample(at, cpu_s, name=self.name), credits=credits_)
        asyncio.run(self.publisher.work(""))

    def told(self) -> dict[str, list[tuple[int, float]]]:
        found = {name: self.points(name, InstanceId=self.name) for name in NAMES}
        return {name: [(at - START, value) for at, value in points] for name, points in found.items() if points}

    def become_standard(self, cloud: Cloud) -> None:
        instance = next(iter(cloud.client.everywhere(Instance)))
        transaction = cloud.client.transaction()
        spec = msgspec.structs.replace(instance.spec, cpu_credits="standard")
        transaction.update(msgspec.structs.replace(instance, spec=spec))
        asyncio.run(transaction.commit())


@pytest.mark.parametrize("monitoring", [False, True])
def test_an_unlimited_instance_tells_all_four_every_five_minutes(cloud: Cloud, monitoring: bool) -> None:
    published = Burst(cloud, monitoring=monitoring)
    for minute in range(11):
        published.look(START + 60 * minute, 120.0 * minute, 0.0, surplus=10.0 + minute, charged=3.0 * (minute // 10))
    assert published.told() == {
        "CPUCreditUsage": [(0, 10.0), (300, 10.0)],
        "CPUCreditBalance": [(0, 0.0), (300, 0.0)],
        "CPUSurplusCreditBalance": [(0, 15.0), (300, 20.0)],
        "CPUSurplusCreditsCharged": [(0, 0.0), (300, 3.0)],
    }
    assert len(published.points("CPUCreditBalance", AutoScalingGroupName="group")) == 2
    assert published.points("CPUCreditBalance") == []


def test_a_standard_instance_tells_usage_and_balance(cloud: Cloud) -> None:
    """AWS: CPUCreditBalance = 2 + [0.5 - 1] = 1.5."""
    published = Burst(cloud)
    published.become_standard(cloud)
    published.look(START, 0.0, 2.0)
    published.look(START + 300, 60.0, 1.5)
    assert published.told() == {"CPUCreditUsage": [(0, 1.0)], "CPUCreditBalance": [(0, 1.5)]}


def test_what_a_switch_to_standard_has_charged_is_told(cloud: Cloud) -> None:
    published = Burst(cloud)
    published.look(START, 0.0, 0.0, surplus=7.0)
    published.become_standard(cloud)
    published.look(START + 300, 0.0, 0.0, charged=7.0)
    published.look(START + 600, 0.0, 0.0, charged=7.0)
    assert published.told()["CPUSurplusCreditsCharged"] == [(0, 7.0)]


def test_after_a_start_what_is_charged_is_counted_anew(cloud: Cloud) -> None:
    published = Burst(cloud, metrics_period_s=1)
    published.look(START, 50.0, 0.0, charged=9.0)
    published.look(START + 1, 1.0, 0.0, charged=2.0)
    assert published.told()["CPUSurplusCreditsCharged"] == [(0, 2.0)]


def test_one_without_an_account_tells_none(cloud: Cloud) -> None:
    published = Burst(cloud)
    published.tick(START, 0.0)
    published.tick(START + 300, 1.0)
    assert published.told() == {}
