"""CPU credits of instances: the table of AWS's page "Key concepts for burstable performance instances", what a launch and a start give, and what
a stop leaves ("Standard mode concepts")."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gureum.aws.ec2.instances.credits import KEPT_S, credits_per_hour
from gureum.aws.ec2.instances.types import all_types, find_instance_type
from gureum.core.cpu_credits import CpuCredits
from gureum.core.machine import Status
from tests.aws.ec2.conftest import Cloud
from tests.aws.ec2.instances.test_faults import BUILTINS, RUNNING, told

TABLE = """
t2.nano 3 72 1 5       t2.micro 6 144 1 10     t2.small 12 288 1 20    t2.medium 24 576 2 20   t2.large 36 864 2 30
t2.xlarge 54 1296 4 22.5   t2.2xlarge 81.6 1958.4 8 17
t3.nano 6 144 2 5      t3.micro 12 288 2 10    t3.small 24 576 2 20    t3.medium 24 576 2 20   t3.large 36 864 2 30
t3.xlarge 96 2304 4 40     t3.2xlarge 192 4608 8 40
t3a.nano 6 144 2 5     t3a.micro 12 288 2 10   t3a.small 24 576 2 20   t3a.medium 24 576 2 20  t3a.large 36 864 2 30
t3a.xlarge 96 2304 4 40    t3a.2xlarge 192 4608 8 40
t4g.nano 6 144 2 5     t4g.micro 12 288 2 10   t4g.small 24 576 2 20   t4g.medium 24 576 2 20  t4g.large 36 864 2 30
t4g.xlarge 96 2304 4 40    t4g.2xlarge 192 4608 8 40
"""
"""Type, credits earned an hour, at most kept, virtual processors, baseline of each in percent."""


def rows() -> list[tuple[str, float, float, int, float]]:
    found = zip(*(iter(TABLE.split()),) * 5, strict=True)
    return [(name, float(hour), float(most), int(cpus), float(share)) for name, hour, most, cpus, share in found]


@pytest.mark.parametrize(("name", "per_hour", "most", "cpus", "percent"), rows())
def test_types_earn_and_keep_what_awss_table_says(
    name: str, per_hour: float, most: float, cpus: int, percent: float
) -> None:
    type_ = find_instance_type(name)
    assert type_ is not None
    wish = CpuCredits(credits_per_hour(type_), unlimited=False)
    assert (wish.per_hour, wish.most, type_.vcpus) == (per_hour, pytest.approx(most), cpus)
    assert wish.baseline / type_.vcpus * 100 == pytest.approx(percent)


def test_all_types_that_burst_and_no_others_earn_credits() -> None:
    earning = {name for name, type_ in all_types().items() if credits_per_hour(type_)}
    assert earning == {row[0] for row in rows()} & set(all_types())
    assert earning == {name for name, type_ in all_types().items() if type_.default_credits}


@pytest.fixture(autouse=True)
def roomy(cloud: Cloud) -> None:
    cloud.settings = msgspec.structs.replace(cloud.settings, memory_promise=16.0)


def launch(cloud: Cloud, type_: str, credits_: str = "", **params: Any) -> str:
    if credits_:
        params["CreditSpecification"] = {"CpuCredits": credits_}
    found = cloud("RunInstances", ImageId=BUILTINS[0].id, InstanceType=type_, MinCount=1, MaxCount=1, **params)
    name = str(found["Instances"][0]["InstanceId"])
    told(cloud, name, RUNNING)
    return name


def wished(cloud: Cloud, name: str) -> CpuCredits | None:
    found = cloud.wished("Container")[name].credits
    assert found is None or isinstance(found, CpuCredits)
    return found


def stop(cloud: Cloud, name: str, **left: float) -> None:
    cloud("StopInstances", InstanceIds=[name])
    told(cloud, name, Status("Container/x", "", "ready", data={"state": "stopped", **left}))


def start(cloud: Cloud, name: str) -> CpuCredits:
    cloud("StartInstances", InstanceIds=[name])
    found = wished(cloud, name)
    assert found is not None
    return found


def test_a_standard_t2_launches_with_thirty_credits_a_processor_and_no_other_with_any(cloud: Cloud) -> None:
    for type_, credits_, unlimited, credit in (
        ("t2.micro", "", False, 30),
        ("t2.xlarge", "", False, 120),
        ("t2.micro", "unlimited", True, 0),
        ("t3.micro", "", True, 0),
        ("t3.micro", "standard", False, 0),
    ):
        found = wished(cloud, launch(cloud, type_, credits_))
        assert found is not None
        assert (found.unlimited, found.launch, found.earned) == (unlimited, credit, 0)
    assert wished(cloud, launch(cloud, "m5.large")) is None


def test_the_accounts_default_and_launch_templates_decide_too(cloud: Cloud) -> None:
    cloud("ModifyDefaultCreditSpecification", InstanceFamily="t3", CpuCredits="standard")
    found = wished(cloud, launch(cloud, "t3.nano"))
    assert found is not None
    assert not found.unlimited
    data = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "CreditSpecification": {"CpuCredits": "unlimited"}}
    cloud("CreateLaunchTemplate", LaunchTemplateName="fast", LaunchTemplateData=data)
    made = cloud("RunInstances", LaunchTemplate={"LaunchTemplateName": "fast"}, MinCount=1, MaxCount=1)
    found = wished(cloud, made["Instances"][0]["InstanceId"])
    assert found is not None
    assert found.unlimited


def test_switching_reaches_the_machine_and_leaves_the_rest_of_its_wish_alone(cloud: Cloud) -> None:
    name = launch(cloud, "t3.nano")
    before = cloud.wished("Container")[name]
    cloud(
        "ModifyInstanceCreditSpecification",
        InstanceCreditSpecifications=[{"InstanceId": name, "CpuCredits": "standard"}],
    )
    after = cloud.wished("Container")[name]
    assert (before.credits.unlimited, after.credits.unlimited) == (True, False)
    assert msgspec.structs.replace(after, credits=before.credits) == before


def test_what_is_left_comes_back_for_seven_days_and_a_t2_loses_it(cloud: Cloud) -> None:
    clock: Any = cloud.client.clock
    kept, lost, late = (launch(cloud, type_, "standard") for type_ in ("t3.micro", "t2.micro", "t3a.micro"))
    for name in (kept, lost, late):
        stop(cloud, name, credits=42.5)
    clock.time += KEPT_S
    found = start(cloud, kept)
    assert (found.earned, found.launch, found.start) == (42.5, 0, 2)
    found = start(cloud, lost)
    assert (found.earned, found.launch, found.start) == (0, 30, 2)
    clock.time += 1
    assert start(cloud, late).earned == 0


def test_a_reboot_is_no_start(cloud: Cloud) -> None:
    name = launch(cloud, "t2.micro")
    before = wished(cloud, name)
    cloud("RebootInstances", InstanceIds=[name])
    assert wished(cloud, name) == before


def test_one_that_was_started_again_does_not_begin_with_it_twice(cloud: Cloud) -> None:
    """Its second stop tells nothing, as when the machine knows it no more: what it had at its first is spent."""
    name = launch(cloud, "t3.micro", "standard")
    stop(cloud, name, credits=42.5)
    start(cloud, name)
    told(cloud, name, RUNNING)
    stop(cloud, name)
    assert start(cloud, name).earned == 0


def test_another_type_keeps_what_was_earned_and_launches_as_it_does(cloud: Cloud) -> None:
    name = launch(cloud, "t3.micro", "standard")
    stop(cloud, name, credits=200.0)
    cloud("ModifyInstanceAttribute", InstanceId=name, InstanceType={"Value": "t2.nano"})
    found = start(cloud, name)
    assert (found.per_hour, found.earned, found.launch) == (3, 200, 30)
    told(cloud, name, RUNNING)
    stop(cloud, name, credits=60.0)
    cloud("ModifyInstanceAttribute", InstanceId=name, InstanceType={"Value": "m5.large"})
    cloud("StartInstances", InstanceIds=[name])
    assert wished(cloud, name) is None


def test_one_that_was_unlimited_is_listed_with_a_type_that_does_not_burst_too(cloud: Cloud) -> None:
    """ "If you resize a T2 instance, while it is configured as unlimited, to an M4 instance, Amazon EC2 returns the M4 instance." """
    names = [launch(cloud, "t3.micro"), launch(cloud, "t3.micro", "standard"), launch(cloud, "m5.large")]
    stop(cloud, names[0])
    cloud("ModifyInstanceAttribute", InstanceId=names[0], InstanceType={"Value": "m5.large"})
    found = cloud("DescribeInstanceCreditSpecifications")["InstanceCreditSpecifications"]
    assert found == [{"InstanceId": names[0], "CpuCredits": "unlimited"}]
    data = cloud("GetLaunchTemplateData", InstanceId=names[0])["LaunchTemplateData"]
    assert "CreditSpecification" not in data
