"""Hundreds of instances by one request: one commit, or a refusal that changes nothing."""

from __future__ import annotations

import base64
import re

from gureum.aws.ec2.images.images import BUILTINS

WANTED = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano"}


def test_two_hundred_instances_come_and_go_by_one_request_each(cloud, monkeypatch):
    monkeypatch.setattr("gureum.aws.ec2.instances.host_room.host_memory_bytes", lambda: 1 << 40)
    made = [one["InstanceId"] for one in cloud("RunInstances", **WANTED, MinCount=200, MaxCount=200)["Instances"]]
    assert len(set(made)) == 200
    for action in ("StopInstances", "TerminateInstances"):
        cloud(action, InstanceIds=made)


def test_more_than_one_commit_holds_is_refused_and_the_number_told_goes(cloud, monkeypatch):
    monkeypatch.setattr("gureum.aws.ec2.instances.host_room.host_memory_bytes", lambda: 1 << 40)
    large = WANTED | {"UserData": base64.b64encode(b"#" * 16000).decode()}
    assert cloud.code("RunInstances", **large, MinCount=1001, MaxCount=1001) == "InstanceLimitExceeded"
    refused = cloud.refused("RunInstances", **large, MinCount=300, MaxCount=300)
    assert refused[0] == "InstanceLimitExceeded"
    assert cloud("DescribeInstances")["Reservations"] == []
    assert cloud("DescribeVolumes")["Volumes"] == []
    (most,) = re.findall(r"at most (\d+) such", refused[1])
    assert len(cloud("RunInstances", **large, MinCount=int(most), MaxCount=int(most))["Instances"]) == int(most)
    # AWS: MaxCount: "the largest possible number of instances above the minimum".
    assert len(cloud("RunInstances", **large, MinCount=1, MaxCount=300)["Instances"]) == int(most)


def test_as_many_as_fit_are_launched_when_fewer_would_do(cloud, monkeypatch):
    monkeypatch.setattr("gureum.aws.ec2.instances.host_room.host_memory_bytes", lambda: 3 << 30)
    assert len(cloud("RunInstances", **WANTED, MinCount=1, MaxCount=100_000)["Instances"]) in range(1, 7)
