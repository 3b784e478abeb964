"""The daemon is killed for good while a group is at work: what was promised comes about, and no machine, interface or disk is doubled or left.

Everything is counted twice: what the API tells, and what is there on the machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, NANO, Cloud, until, whole_life

GROUP = {"AutoScalingGroupName": "g"}
LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"
LIMIT_S = 60.0


class Scaled:
    """A group of the small machine, empty at first."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.ec2, self.asg = cloud.client("ec2"), cloud.client("autoscaling")
        data = {"ImageId": BUSYBOX, "InstanceType": NANO}
        self.ec2.create_launch_template(LaunchTemplateName="small", LaunchTemplateData=data)
        self.asg.create_auto_scaling_group(
            **GROUP, MinSize=0, MaxSize=12, LaunchTemplate={"LaunchTemplateName": "small", "Version": "$Latest"},
            AvailabilityZones=["us-east-1a", "us-east-1b"],
        )  # fmt: skip

    def size(self, desired: int) -> None:
        self.asg.set_desired_capacity(**GROUP, DesiredCapacity=desired)

    def members(self, state: str = "") -> list[str]:
        found = self.asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]
        return sorted(one["InstanceId"] for one in found if state in ("", one["LifecycleState"]))

    def kill(self) -> None:
        """The daemon, with no chance to tidy up; its successor is not waited for."""
        os.kill(self.cloud.process("daemon"), signal.SIGKILL)

    def size_and_kill(self, desired: int, delay_s: float) -> None:
        """The daemon dies so long after it has promised the size."""
        pid = self.cloud.process("daemon")
        self.size(desired)
        time.sleep(delay_s)  # where the death falls, not a wait for anything
        os.kill(pid, signal.SIGKILL)

    def settled(self, size: int) -> list[str]:
        """Waits until so many serve, nothing else of the group is there, and the machine holds exactly what belongs to them."""

        def look() -> list[str] | bool:
            serving = self.members("InService")
            return len(serving) == size and (serving or True) and self.members() == serving and self.agrees(serving)

        until(look, LIMIT_S, pause_s=0.1)
        return self.members("InService")

    def agrees(self, ids: list[str]) -> bool:
        alive = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        pages = self.ec2.describe_instances(Filters=alive)["Reservations"]
        told = sorted(one["InstanceId"] for page in pages for one in page["Instances"])
        interfaces = self.ec2.describe_network_interfaces()["NetworkInterfaces"]
        volumes = {one["VolumeId"] for one in self.ec2.describe_volumes()["Volumes"]}
        return (
            told == ids
            and sorted(one["Attachment"]["InstanceId"] for one in interfaces) == ids
            and len(volumes) == len(ids)
            and self._on_the_machine() == (ids, volumes, len(ids))
        )

    def _on_the_machine(self) -> tuple[list[str], set[str], int]:
        """Monitors of machines by name, files of volumes, and links of the routers to machines."""
        home_id = self.cloud.identity["id"]
        args = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout
        words = [line.split() for line in args.splitlines() if "conmon" in line.split(" ", 1)[0] and home_id in line]
        running = sorted(line[line.index("--name") + 1].removeprefix(f"{home_id}-") for line in words)
        volumes = {path.stem for path in (self.cloud.home / "volumes").glob("vol-*.img")}
        return running, volumes, links(home_id)


def links(home_id: str) -> int:
    """Of all machines of the home: the pairs' ends in their sandboxes."""
    namespaces = [path.name for path in Path("/run/netns").glob(f"*{home_id}-s-i-*")]
    shown = [
        subprocess.run(["ip", "-netns", name, "-brief", "link"], capture_output=True, text=True, check=False).stdout
        for name in namespaces
    ]
    return sum(line.startswith("eth") for text in shown for line in text.splitlines())


class Webhook(ThreadingHTTPServer):
    """Keeps the types of the messages that it took; takes none while `closed`."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.refused = 0
        self.closed = False
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["Message"]
        if self.server.closed:
            self.server.refused += 1
        else:
            self.server.heard.append(f"{message['Event']} {message.get('EC2InstanceId', '')}".strip())
        self.send_response(503 if self.server.closed else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook) -> Iterator[Cloud]:
    url = f"http://127.0.0.1:{webhook.server_port}/"
    with whole_life(Cloud(tmp_path_factory.mktemp("gureum"), alarm_webhook=url)) as made:
        yield made


@pytest.fixture(scope="module")
def scaled(cloud: Cloud) -> Iterator[Scaled]:
    made = Scaled(cloud)
    yield made
    made.asg.delete_auto_scaling_group(**GROUP, ForceDelete=True)
    until(lambda: not made.asg.describe_auto_scaling_groups()["AutoScalingGroups"], LIMIT_S)


@pytest.mark.parametrize("delay_s", [0.02, *(pytest.param(late, marks=pytest.mark.long) for late in (0.0, 0.05, 0.2))])
def test_a_scale_out_and_a_scale_in_survive_the_daemons_death(scaled: Scaled, delay_s: float) -> None:
    scaled.size_and_kill(6, delay_s)
    ids = scaled.settled(6)
    scaled.size_and_kill(2, delay_s)
    assert set(scaled.settled(2)) < set(ids)
    scaled.size(0)
    scaled.settled(0)


def test_an_instance_refresh_goes_on_over_deaths(scaled: Scaled) -> None:
    scaled.size(4)
    old = scaled.settled(4)
    wanted = {"InstanceWarmup": 0, "MinHealthyPercentage": 50}
    scaled.asg.start_instance_refresh(**GROUP, Preferences=wanted)

    def replaced(count: int) -> Callable[[], bool]:
        return lambda: len(set(old) - set(scaled.members("InService"))) >= count

    for count in (1, 3):
        until(replaced(count), LIMIT_S)
        scaled.kill()
    until(lambda: refresh(scaled)["Status"] == "Successful", LIMIT_S)
    assert not set(scaled.settled(4)) & set(old)
    scaled.size(0)
    scaled.settled(0)


def refresh(scaled: Scaled) -> dict[str, Any]:
    return dict(scaled.asg.describe_instance_refreshes(**GROUP)["InstanceRefreshes"][0])


def test_hooks_wait_over_deaths(scaled: Scaled) -> None:
    for name, transition in (("up", LAUNCHING), ("down", TERMINATING)):
        scaled.asg.put_lifecycle_hook(**GROUP, LifecycleHookName=name, LifecycleTransition=transition)
    scaled.size(2)
    for name, waiting, size in (("up", "Pending:Wait", 2), ("down", "Terminating:Wait", 0)):
        ids = until(lambda waiting=waiting: found if len(found := scaled.members(waiting)) == 2 else [], LIMIT_S)
        scaled.kill()
        assert scaled.members(waiting) == ids, "the new daemon does not know what is waited for"
        for id_ in ids:
            done = {"LifecycleHookName": name, "InstanceId": id_, "LifecycleActionResult": "CONTINUE"}
            scaled.asg.complete_lifecycle_action(**GROUP, **done)
        assert scaled.settled(size) == (ids if size else [])
        if size:
            scaled.size(0)
    for name in ("up", "down"):
        scaled.asg.delete_lifecycle_hook(**GROUP, LifecycleHookName=name)


def test_a_group_grows_from_its_warm_pool_over_deaths(scaled: Scaled) -> None:
    scaled.asg.put_warm_pool(**GROUP, MaxGroupPreparedCapacity=2)

    def warm() -> list[str]:
        found = scaled.asg.describe_warm_pool(**GROUP)["Instances"]
        return sorted(one["InstanceId"] for one in found if one["LifecycleState"] == "Warmed:Stopped")

    ids = until(lambda: found if len(found := warm()) == 2 else [], LIMIT_S)
    scaled.size_and_kill(2, 0.02)
    assert scaled.settled(2) == ids
    scaled.asg.delete_warm_pool(**GROUP, ForceDelete=True)
    scaled.size(0)
    scaled.settled(0)


def test_what_a_topic_was_promised_it_hears_from_the_next_daemon(scaled: Scaled, webhook: Webhook) -> None:
    topic = "arn:aws:sns:us-east-1:111122223333:told"
    launch = "autoscaling:EC2_INSTANCE_LAUNCH"
    scaled.asg.put_notification_configuration(**GROUP, TopicARN=topic, NotificationTypes=[launch])
    until(lambda: webhook.heard == ["autoscaling:TEST_NOTIFICATION"])
    webhook.closed = True
    scaled.size(2)
    ids = scaled.settled(2)
    until(lambda: webhook.refused >= 2)
    scaled.kill()
    webhook.closed = False
    until(lambda: set(webhook.heard[1:]) == {f"{launch} {id_}" for id_ in ids}, LIMIT_S)
    scaled.asg.delete_notification_configuration(**GROUP, TopicARN=topic)
    scaled.size(0)
    scaled.settled(0)
