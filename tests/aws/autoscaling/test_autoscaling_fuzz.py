"""Auto Scaling under random calls: no operation may end in anything but an answer or a refusal, and whatever happens in whatever order, the instances
that live are those of the group, each once."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from gureum.aws.errors import AwsError
from gureum.engine.registry import Registry
from tests.aws.autoscaling.conftest import IMAGE, Cloud, impair

_model = botocore.session.get_session().get_service_model("autoscaling")
TEXTS = (
    "g",
    "h",
    "",
    "ABANDON",
    "CONTINUE",
    "Launch",
    "Default",
    "us-east-1a",
    "no",
    "1",
    "\u00e9/%;",
    "* * * * *",
    "61 * * * *",
    "EC2,ELB",
)
G = {"AutoScalingGroupName": "g"}
REFUSALS = (
    "ValidationError",
    "InstanceRefreshInProgress",
    "ScalingActivityInProgress",
    "ActiveInstanceRefreshNotFound",
    "ResourceInUse",
)
NUMBERS = (-2, -1, 0, 1, 2, 5, 60, 100, 10**6)


def operations() -> list[str]:
    registry = Registry()
    registry.scan("gureum.aws.autoscaling")
    return sorted(name.partition(":")[2] for name in registry.marks("operation") if name.startswith("autoscaling:"))


def value(shape: Any, dice: random.Random, name: str, known: dict[str, list[str]]) -> Any:
    """Something that the model lets through."""
    if shape.type_name == "structure":
        wanted = [one for one in shape.members if one in shape.required_members or dice.random() < 0.15]
        return {one: value(shape.members[one], dice, one, known) for one in wanted}
    if shape.type_name == "list":
        return [value(shape.member, dice, name, known) for _ in range(dice.randint(0, 2))]
    if shape.type_name in ("integer", "long"):
        return int(dice.choice(known.get(name) or NUMBERS))
    if shape.type_name in ("double", "float"):
        return dice.choice((-1.0, 0.0, 0.5, 50.0, 1e300))
    if shape.type_name == "boolean":
        return dice.random() < 0.5
    if shape.type_name == "timestamp":
        return dice.choice((0.0, 1_750_000_000.0, 1_760_000_000.0))
    return dice.choice(getattr(shape, "enum", None) or known.get(name) or TEXTS)


@pytest.mark.parametrize("seed", range(6))
def test_any_call_is_answered_or_refused(cloud, seed):
    dice = random.Random(seed)
    names, answered = operations(), set()
    cloud.group("g", size=2)
    for _ in range(250):
        ids = sorted(cloud.alive()) or ["i-0123456789abcdef0"]
        known = {
            "AutoScalingGroupName": ["g"] * 6 + ["h"], "InstanceId": ids, "InstanceIds": ids, "ImageId": [IMAGE],
            "MinSize": ["-1", "0", "1"], "MaxSize": ["0", "2", "8"],
            "PolicyName": ["p", "q"], "LifecycleHookName": ["h"], "LaunchTemplateId": [cloud.template], "InstanceType": ["t3.nano"],
            "PolicyType": ["SimpleScaling", "StepScaling", "TargetTrackingScaling"], "AdjustmentType": ["ChangeInCapacity", "ExactCapacity"],
            "LifecycleTransition": ["autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"],
        }  # fmt: skip
        name = dice.choice(names)
        shape = _model.operation_model(name).input_shape
        with refusals():
            cloud(name, **(value(shape, dice, name, known) if shape is not None else {}))
            answered.add(name)
        if dice.random() < 0.2:
            cloud.through(20)
    assert len(answered) > len(names) / 4


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_the_group_comes_to_its_count_and_nothing_is_left_over(cloud, seed):
    dice = random.Random(seed)
    cloud.group("g", size=2)
    for _ in range(60):
        with refusals(*REFUSALS):
            step(cloud, dice)
        told = cloud.told()
        assert len(told["Instances"]) + told.get("WarmPoolSize", 0) == len(cloud.members())
        assert cloud.alive() <= cloud.members()
    cloud.through(300)
    assert len(cloud.ids()) == cloud.told()["DesiredCapacity"]
    assert cloud.alive() | set(cloud.ids("Standby")) == cloud.members()
    cloud("DeleteAutoScalingGroup", **G, ForceDelete=True)
    cloud.through(20)
    assert cloud.alive() == cloud.members() == set()


def step(cloud: Cloud, dice: random.Random) -> None:
    """Something happens: to the group, to the daemon or the machine, or to an instance."""
    dice.choice((of_group, of_machine, of_instance))(cloud, dice)


def of_group(cloud: Cloud, dice: random.Random) -> None:
    what = dice.choice(("size", "refresh", "cancel", "zones", "exit", "policy", "pool"))
    if what == "size":
        # Without waiting for what follows: it may be killed in between.
        cloud.loop.run_until_complete(cloud.run("SetDesiredCapacity", **G, DesiredCapacity=dice.randint(0, 6)))
    elif what == "refresh":
        wanted = {"MinHealthyPercentage": 50, "StandbyInstances": dice.choice(("Wait", "Ignore", "Terminate"))}
        more = {"BakeTime": dice.choice((0, 50)), "InstanceWarmup": 0}
        cloud("StartInstanceRefresh", **G, Preferences=wanted | more)
    elif what == "pool":
        if dice.random() < 0.3:
            cloud("DeleteWarmPool", **G, ForceDelete=dice.random() < 0.7)
        reuse = {"ReuseOnScaleIn": dice.random() < 0.5}
        prepared, kind = dice.randint(0, 6), dice.choice(("Stopped", "Running"))
        cloud("PutWarmPool", **G, MaxGroupPreparedCapacity=prepared, PoolState=kind, InstanceReusePolicy=reuse)
    elif what == "cancel":
        cloud("CancelInstanceRefresh", **G, WaitForTransitioningInstances=dice.random() < 0.5)
    elif what == "policy":
        least, most = dice.choice(((-1, -1), (50, 100), (100, 150), (90, 120), (100, 100), (100, 200)))
        policy = {"MinHealthyPercentage": least, "MaxHealthyPercentage": most}
        cloud(
            "UpdateAutoScalingGroup", **G, InstanceMaintenancePolicy=policy, DefaultInstanceWarmup=dice.choice((0, 20))
        )
    elif what == "zones":
        zones = [f"us-east-1{one}" for one in dice.sample("abc", dice.randint(1, 3))]
        cloud("UpdateAutoScalingGroup", **G, AvailabilityZones=zones)
    else:
        cloud("ExitStandby", **G, InstanceIds=cloud.ids("Standby")[:1])


def of_machine(cloud: Cloud, dice: random.Random) -> None:
    what = dice.choice(("boot", "end", "kill", "wait"))
    if what == "kill":
        cloud.kill()
        cloud.start()
    elif what == "wait":
        cloud.wait(dice.choice((1, 100)))
    else:
        getattr(cloud, what)()


def of_instance(cloud: Cloud, dice: random.Random) -> None:
    for one in dice.sample(cloud.ids(), min(1, len(cloud.ids()))):
        what = dice.choice(("die", "unhealthy", "impaired", "terminate", "standby"))
        if what == "die":
            cloud.die(one, state=dice.choice(("stopped", "terminated")))
        elif what == "impaired":
            impair(cloud, one, instance=cloud.clock.time)
        elif what == "unhealthy":
            cloud("SetInstanceHealth", InstanceId=one, HealthStatus="Unhealthy")
        elif what == "terminate":
            less = dice.random() < 0.5
            cloud("TerminateInstanceInAutoScalingGroup", InstanceId=one, ShouldDecrementDesiredCapacity=less)
        else:
            cloud("EnterStandby", **G, InstanceIds=[one], ShouldDecrementDesiredCapacity=True)


@contextlib.contextmanager
def refusals(*codes: str) -> Iterator[None]:
    """The call may be refused with one of these codes; without codes with any that is no fault of ours."""
    try:
        yield
    except AwsError as refused:
        if refused.status == 500 or (codes and refused.code not in codes):
            raise
