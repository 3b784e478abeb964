"""Lifecycle hooks. AWS: "Amazon EC2 Auto Scaling lifecycle hooks", autoscaling PutLifecycleHook, CompleteLifecycleAction."""

from __future__ import annotations

import pytest

from gureum.aws.autoscaling.kinds import Member
from tests.aws.autoscaling.conftest import SCOPE

LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"


@pytest.fixture
def hooked(cloud):
    """A group of one that waits at its launch, 100 seconds."""
    hook = {"LifecycleHookName": "up", "LifecycleTransition": LAUNCHING, "HeartbeatTimeout": 100}
    cloud.group(size=1, LifecycleHookSpecificationList=[hook])
    return cloud


def complete(cloud, result, name="up", **who):
    params = {"AutoScalingGroupName": "g", "LifecycleHookName": name, "LifecycleActionResult": result}
    cloud("CompleteLifecycleAction", **params, **who)


def test_a_launch_waits_for_its_hook(hooked):
    (id_,) = hooked.ids("Pending:Wait")
    assert hooked.activities()[0]["StatusCode"] == "MidLifecycleAction"
    complete(hooked, "CONTINUE", InstanceId=id_)
    assert hooked.ids() == [id_]
    assert hooked.activities()[0]["StatusCode"] == "Successful"


def test_a_token_completes_too_and_only_once(hooked):
    (id_,) = hooked.ids("Pending:Wait")
    token = hooked.world.client.get(Member, SCOPE, id_).spec.waits[0].token
    complete(hooked, "CONTINUE", LifecycleActionToken=token)
    params = {"AutoScalingGroupName": "g", "LifecycleHookName": "up", "LifecycleActionResult": "CONTINUE"}
    assert hooked.refused("CompleteLifecycleAction", **params, LifecycleActionToken=token) == (
        "ValidationError",
        f"No active Lifecycle Action found with token {token}",
    )


def test_an_abandoned_launch_is_terminated_and_another_one_begins(hooked):
    (id_,) = hooked.ids("Pending:Wait")
    complete(hooked, "ABANDON", InstanceId=id_)
    assert hooked.states() == ["Pending", "Terminating"]
    assert id_ not in hooked.alive()


def test_a_wait_ends_at_its_timeout_with_the_default_abandon(hooked):
    (id_,) = hooked.ids("Pending:Wait")
    hooked.wait(90)
    assert hooked.ids("Pending:Wait") == [id_]
    hooked.wait(20)
    assert id_ not in hooked.alive()


def test_a_heartbeat_begins_the_timeout_again(hooked):
    (id_,) = hooked.ids("Pending:Wait")
    hooked.wait(90)
    hooked("RecordLifecycleActionHeartbeat", AutoScalingGroupName="g", LifecycleHookName="up", InstanceId=id_)
    hooked.wait(90)
    assert hooked.ids("Pending:Wait") == [id_]


def test_a_killed_daemon_goes_on_waiting_and_keeps_the_deadline(hooked):
    (id_,) = hooked.ids("Pending:Wait")
    hooked.kill()
    hooked.start()
    assert hooked.ids("Pending:Wait") == [id_]
    hooked.clock.time += 200
    hooked.kill()
    hooked.start()
    assert id_ not in hooked.alive()


@pytest.mark.parametrize("result", ["CONTINUE", "ABANDON"])
def test_either_result_ends_a_terminating_wait(cloud, result):
    cloud.group(size=1)
    hook = {"LifecycleHookName": "down", "LifecycleTransition": TERMINATING}
    cloud("PutLifecycleHook", AutoScalingGroupName="g", **hook)
    (id_,) = cloud.ids()
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=0)
    assert cloud.ids("Terminating:Wait") == [id_]
    assert id_ in cloud.alive()
    complete(cloud, result, "down", InstanceId=id_)
    assert id_ not in cloud.alive()


def test_an_instance_that_dies_while_it_waits_is_forgotten(hooked):
    (id_,) = hooked.ids("Pending:Wait")
    hooked("ec2:TerminateInstances", InstanceIds=[id_])
    hooked.end()
    assert id_ not in hooked.members()
    assert hooked.states() == ["Pending"]


def test_a_deleted_launch_hook_abandons(hooked):
    (id_,) = hooked.ids("Pending:Wait")
    hooked("DeleteLifecycleHook", AutoScalingGroupName="g", LifecycleHookName="up")
    assert id_ not in hooked.alive()


@pytest.mark.parametrize("wrong", [{"HeartbeatTimeout": 29}, {"DefaultResult": "MAYBE"}, {"LifecycleTransition": "x"}])
def test_what_no_hook_can_be_is_refused(cloud, wrong):
    cloud.group(size=0)
    params = {"LifecycleHookName": "h", "LifecycleTransition": LAUNCHING} | wrong
    assert cloud.refused("PutLifecycleHook", AutoScalingGroupName="g", **params)[0] == "ValidationError"
