"""VPC flow logs of machines that run: what passed and what was refused is read as records by a stock client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.running import Cloud, leftovers, until


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that tells flows each second, not each minute."""
    if os.geteuid() != 0:
        pytest.skip("machines need root")
    made = Cloud(tmp_path_factory.mktemp("gureum"), flow_log_interval_s="1")
    made.command("up")
    home_id = made.identity["id"]
    yield made
    down = made.command("down", "--purge", check=False)
    assert down.returncode == 0, down.stderr
    assert leftovers(home_id) == []


def records(logs: Any, group: str) -> list[list[str]]:
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
    return [event["message"].split() for page in pages for event in page["events"]]


def test_records_tell_what_passed_and_what_was_refused(quick: Cloud) -> None:
    ec2, logs = quick.client("ec2"), quick.client("logs")
    group = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][0]
    other = ec2.create_security_group(GroupName="client", Description="client", VpcId=group["VpcId"])["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"], IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0"
    )
    (server,) = quick.launch(ec2)
    (client,) = quick.launch(ec2, SecurityGroupIds=[other])
    logs.create_log_group(logGroupName="flows")
    made = ec2.create_flow_logs(
        ResourceIds=[group["VpcId"]],
        ResourceType="VPC",
        TrafficType="ALL",
        LogGroupName="flows",
        DeliverLogsPermissionArn="arn:aws:iam::111122223333:role/flows",
        MaxAggregationInterval=60,
    )
    assert made["Unsuccessful"] == []
    near, far = client["PrivateIpAddress"], server["PrivateIpAddress"]
    interfaces = {one["InstanceId"]: one["NetworkInterfaces"][0]["NetworkInterfaceId"] for one in (client, server)}

    def told(instance: dict[str, Any], source: str, port: str, action: str, place: int = 6) -> bool:
        return any(
            one[2] == interfaces[instance["InstanceId"]]
            and one[3] == source
            and one[place] == port
            and one[12:] == [action, "OK"]
            for one in records(logs, "flows")
        )

    def passed() -> bool:
        assert quick.inside(client["InstanceId"], "wget", "-qO-", f"http://{far}/").stdout.startswith("hello")
        return told(server, near, "80", "ACCEPT")

    def refused() -> bool:
        knock = f"wget -qO- http://{far}:81/ & sleep 1; kill $!"
        quick.inside(client["InstanceId"], "sh", "-c", knock)
        return told(server, near, "81", "REJECT")

    until(lambda: quick.inside(client["InstanceId"], "wget", "-qO-", f"http://{far}/").returncode == 0)
    until(passed)
    until(refused)
    # Both interfaces, both directions; the sender was allowed to send.
    assert told(client, near, "80", "ACCEPT")
    until(lambda: told(server, far, "80", "ACCEPT", place=5) and told(client, far, "80", "ACCEPT", place=5))
    until(lambda: told(client, near, "81", "ACCEPT"))
    assert not told(client, near, "81", "REJECT")
    until(lambda: any(one[13] == "NODATA" for one in records(logs, "flows")))
    log = ec2.describe_flow_logs(FlowLogIds=made["FlowLogIds"])["FlowLogs"][0]
    assert (log["FlowLogStatus"], log["DeliverLogsStatus"]) == ("ACTIVE", "SUCCESS")
    ec2.delete_flow_logs(FlowLogIds=made["FlowLogIds"])
    ec2.terminate_instances(InstanceIds=[client["InstanceId"], server["InstanceId"]])
