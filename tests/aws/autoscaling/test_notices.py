"""What topics and the event stream hear of a group. AWS: "Amazon SNS notification options for Amazon EC2 Auto Scaling", "Amazon EC2 Auto Scaling
event reference"; the messages' members are those of recorded ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gureum.aws.autoscaling.kinds import Notice
from tests.aws.autoscaling.conftest import ACCOUNT, HUGE, SCOPE, Cloud

TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:topic"
G = {"AutoScalingGroupName": "g"}
LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"
LAUNCH, TERMINATE = "autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_TERMINATE"


class Webhook:
    """A web server in the cloud's own loop that keeps what it is sent and answers `status`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.heard: list[dict[str, Any]] = []
        self.status = 200
        self.server = loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/hook"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.partition("Content-Length: ")[2].split("\r\n")[0])
        self.heard.append(json.loads(await reader.readexactly(length)))
        writer.write(f"HTTP/1.1 {self.status} x\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[tuple[Cloud, Webhook]]:
    hook = Webhook(loop := asyncio.new_event_loop())
    made = Cloud(tmp_path, loop=loop, alarm_webhook=hook.url)
    yield made, hook
    made.kill()
    assert made.world.loop.faults == 0
    hook.server.close()
    loop.run_until_complete(hook.server.wait_closed())
    loop.close()


def types(hook: Webhook) -> list[str]:
    return [one["Message"].get("Event") or one["Message"]["LifecycleTransition"] for one in hook.heard]


def test_a_topic_hears_a_test_and_then_of_what_it_asked_for(told) -> None:
    cloud, hook = told
    cloud.group(size=0)
    cloud("PutNotificationConfiguration", **G, TopicARN=TOPIC, NotificationTypes=[LAUNCH])
    assert types(hook) == ["autoscaling:TEST_NOTIFICATION"]
    assert hook.heard[0]["Subject"] == 'Auto Scaling: test notification for group "g"'
    cloud("SetDesiredCapacity", **G, DesiredCapacity=1)
    assert types(hook)[1:] == []
    cloud.boot()
    assert types(hook)[1:] == [LAUNCH]
    (id_,) = cloud.ids()
    sent = hook.heard[1]
    assert (sent["TopicArn"], sent["Subject"]) == (TOPIC, 'Auto Scaling: launch for group "g"')
    activity = cloud.activities()[0]
    message = sent["Message"]
    assert message["EC2InstanceId"] == id_
    assert message["AutoScalingGroupARN"] == cloud.told()["AutoScalingGroupARN"]
    assert (message["Service"], message["AccountId"], message["Progress"]) == ("AWS Auto Scaling", ACCOUNT, 50)
    assert message["ActivityId"] == message["RequestId"] == activity["ActivityId"]
    assert (message["StatusCode"], message["Cause"]) == ("InProgress", activity["Cause"])
    assert message["Details"]["Availability Zone"].startswith("us-east-1")
    cloud("SetDesiredCapacity", **G, DesiredCapacity=0)
    cloud.end()
    assert types(hook)[2:] == []


def test_errors_are_told_apart(told) -> None:
    cloud, hook = told
    bad = cloud.new_template("bad", type_=HUGE)
    cloud.group(size=0, LaunchTemplate={"LaunchTemplateId": bad})
    both = [f"{LAUNCH}_ERROR", TERMINATE]
    cloud("PutNotificationConfiguration", **G, TopicARN=TOPIC, NotificationTypes=both)
    cloud("SetDesiredCapacity", **G, DesiredCapacity=1)
    assert types(hook)[1:] == [f"{LAUNCH}_ERROR"]
    assert hook.heard[1]["Subject"] == 'Auto Scaling: failed launch for group "g"'
    message = hook.heard[1]["Message"]
    assert (message["StatusCode"], message["Progress"]) == ("Failed", 100)
    assert message["StatusMessage"].endswith("Launching EC2 instance failed.")


def test_a_forced_end_is_told_to_its_last_instance(told) -> None:
    cloud, hook = told
    cloud.group(size=2)
    cloud("PutNotificationConfiguration", **G, TopicARN=TOPIC, NotificationTypes=[TERMINATE])
    cloud("DeleteAutoScalingGroup", **G, ForceDelete=True)
    cloud.end()
    assert types(hook)[1:] == [TERMINATE] * 2


def test_the_topic_of_a_hook_hears_who_waits(told) -> None:
    cloud, hook = told
    spec = {"LifecycleHookName": "up", "LifecycleTransition": LAUNCHING, "NotificationMetadata": "more"}
    cloud.group(size=0)
    cloud("PutLifecycleHook", **G, **spec, NotificationTargetARN=TOPIC, RoleARN=f"arn:aws:iam::{ACCOUNT}:role/r")
    assert types(hook) == ["autoscaling:TEST_NOTIFICATION"]
    cloud("PutLifecycleHook", **G, **spec)  # names no target: nobody hears a test
    cloud("SetDesiredCapacity", **G, DesiredCapacity=1)
    cloud.boot()
    assert types(hook)[1:] == [LAUNCHING]
    message = hook.heard[1]["Message"]
    assert (message["LifecycleHookName"], message["NotificationMetadata"]) == ("up", "more")
    token = {"LifecycleActionToken": message["LifecycleActionToken"]}
    cloud("CompleteLifecycleAction", **G, LifecycleHookName="up", LifecycleActionResult="CONTINUE", **token)
    assert cloud.ids() == [message["EC2InstanceId"]]
    function = "arn:aws:lambda:us-east-1:111122223333:function:f"
    assert cloud.refused("PutLifecycleHook", **G, **spec, NotificationTargetARN=function)[0] == "NotImplemented"


def test_what_was_not_delivered_is_tried_again_also_by_the_next_daemon_and_given_up_in_the_end(told) -> None:
    cloud, hook = told
    cloud.group(size=0)
    hook.status = 503
    cloud("PutNotificationConfiguration", **G, TopicARN=TOPIC, NotificationTypes=[LAUNCH])
    assert len(cloud.world.client.all(Notice, SCOPE)) == 1
    cloud.kill()
    hook.status = 200
    cloud.start()
    assert types(hook)[-1:] == ["autoscaling:TEST_NOTIFICATION"]
    assert cloud.world.client.all(Notice, SCOPE) == []
    hook.status = 503
    cloud("PutNotificationConfiguration", **G, TopicARN=TOPIC, NotificationTypes=[LAUNCH])
    cloud.clock.time += 4000
    cloud.kill()
    cloud.start()
    assert cloud.world.client.all(Notice, SCOPE) == []


def test_launches_ends_and_waits_are_events(cloud: Cloud, events: list[dict[str, Any]]) -> None:
    hooks = [
        {"LifecycleHookName": "up", "LifecycleTransition": LAUNCHING, "NotificationMetadata": "more"},
        {"LifecycleHookName": "down", "LifecycleTransition": TERMINATING},
    ]
    cloud.group(size=1, LifecycleHookSpecificationList=hooks)
    (wait,) = events
    assert (wait["source"], wait["detail-type"]) == ("aws.autoscaling", "EC2 Instance-launch Lifecycle Action")
    (id_,) = cloud.ids("Pending:Wait")
    arn = cloud.told()["AutoScalingGroupARN"]
    token = wait["detail"].pop("LifecycleActionToken")
    assert wait["resources"] == [arn]
    assert wait["detail"] == {
        "AutoScalingGroupName": "g", "LifecycleHookName": "up", "EC2InstanceId": id_, "LifecycleTransition": LAUNCHING,
        "NotificationMetadata": "more", "Origin": "EC2", "Destination": "AutoScalingGroup",
    }  # fmt: skip
    done = G | {"LifecycleHookName": "up", "LifecycleActionToken": token}
    cloud("CompleteLifecycleAction", **done, LifecycleActionResult="CONTINUE")
    launched = events[-1]
    assert launched["detail-type"] == "EC2 Instance Launch Successful"
    assert launched["resources"] == [arn, f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/{id_}"]
    assert (launched["detail"]["StatusCode"], launched["detail"]["EC2InstanceId"]) == ("InProgress", id_)
    cloud("SetDesiredCapacity", **G, DesiredCapacity=0)
    cloud("DeleteAutoScalingGroup", **G, ForceDelete=True)
    cloud.end()
    assert [one["detail-type"] for one in events[2:]] == [
        "EC2 Instance-terminate Lifecycle Action",
        "EC2 Instance Terminate Successful",
    ]
    assert (events[-1]["detail"]["Origin"], events[-1]["detail"]["Destination"]) == ("AutoScalingGroup", "EC2")


def test_waits_on_the_way_through_the_warm_pool_tell_where_from_and_where_to(
    cloud: Cloud, events: list[dict[str, Any]]
) -> None:
    hooks = [
        {
            "LifecycleHookName": "up",
            "LifecycleTransition": LAUNCHING,
            "HeartbeatTimeout": 30,
            "DefaultResult": "CONTINUE",
        },
        {"LifecycleHookName": "down", "LifecycleTransition": TERMINATING, "HeartbeatTimeout": 30},
    ]
    cloud.group(size=0, MaxSize=1, LifecycleHookSpecificationList=hooks)
    cloud("PutWarmPool", **G, InstanceReusePolicy={"ReuseOnScaleIn": True})
    for size in (0, 1, 0):
        cloud("SetDesiredCapacity", **G, DesiredCapacity=size)
        cloud.through(200)
    cloud("DeleteWarmPool", **G)
    cloud.through(200)
    ways = [
        (one["detail"]["Origin"], one["detail"]["Destination"]) for one in events if "Lifecycle" in one["detail-type"]
    ]
    assert ways == [
        ("EC2", "WarmPool"),
        ("WarmPool", "AutoScalingGroup"),
        ("AutoScalingGroup", "WarmPool"),
        ("AutoScalingGroup", "WarmPool"),
        ("WarmPool", "EC2"),
    ]
    assert cloud.members() == set()


def test_refreshes_are_events(cloud: Cloud, events: list[dict[str, Any]]) -> None:
    cloud.group(size=2)
    wanted = {"CheckpointPercentages": [50, 100], "CheckpointDelay": 30, "InstanceWarmup": 0, "MinHealthyPercentage": 0}
    made = cloud("StartInstanceRefresh", **G, Preferences=wanted)
    cloud.through(300)
    told = [one for one in events if "Refresh" in one["detail-type"]]
    assert [one["detail-type"].removeprefix("EC2 Auto Scaling Instance Refresh ") for one in told] == [
        "Started",
        "Checkpoint Reached",
        "Succeeded",
    ]
    assert {one["detail"]["InstanceRefreshId"] for one in told} == {made["InstanceRefreshId"]}
    assert told[1]["detail"]["CheckpointPercentage"] == "50"


def test_a_detached_instance_is_an_event(cloud: Cloud, events: list[dict[str, Any]]) -> None:
    cloud.group(size=1)
    cloud("DetachInstances", **G, InstanceIds=cloud.ids(), ShouldDecrementDesiredCapacity=True)
    assert events[-1]["detail-type"] == "EC2 Instance Detach Successful"
