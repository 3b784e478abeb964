"""VPC flow logs of machines that run: what passed and what was refused is read as records by a stock client."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.running import Cloud, until, whole_life


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that tells flows each second, not each minute."""
    with whole_life(Cloud(tmp_path_factory.mktemp("gureum"), flow_log_interval_s="1")) as made:
        yield made


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


def test_files_of_records_arrive_in_a_bucket_under_the_names_that_aws_gives_them(quick: Cloud) -> None:
    """AWS: VPC user guide, "Flow log files": AWSLogs/ACCOUNT/vpcflowlogs/REGION/YEAR/MONTH/DAY/HOUR/ACCOUNT_vpcflowlogs_REGION_ID_TIME_HASH."""
    ec2, s3 = quick.client("ec2"), quick.client("s3")
    s3.create_bucket(Bucket="flow-files")
    (machine,) = quick.launch(ec2)
    made = ec2.create_flow_logs(
        ResourceIds=[machine["NetworkInterfaces"][0]["NetworkInterfaceId"]],
        ResourceType="NetworkInterface",
        TrafficType="ALL",
        LogDestinationType="s3",
        LogDestination="arn:aws:s3:::flow-files/of/mine",
        DestinationOptions={"PerHourPartition": True},
        LogFormat="${interface-id} ${dstport} ${action}",
    )
    assert made["Unsuccessful"] == []
    name = re.compile(
        r"of/mine/AWSLogs/111122223333/vpcflowlogs/us-east-1/\d{4}/\d{2}/\d{2}/\d{2}/"
        rf"111122223333_vpcflowlogs_us-east-1_{made['FlowLogIds'][0]}_\d{{8}}T\d{{4}}Z_[0-9a-f]{{8}}\.log\.gz"
    )

    def told() -> bool:
        quick.inside(machine["InstanceId"], "sh", "-c", "wget -qO- http://10.99.0.1:8443/ & sleep 0.2; kill $!")
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket="flow-files").get("Contents", [])]
        assert all(name.fullmatch(key) for key in keys), keys
        texts = [gzip.decompress(s3.get_object(Bucket="flow-files", Key=key)["Body"].read()).decode() for key in keys]
        assert all(text.startswith("interface-id dstport action\n") for text in texts)
        return any(f"{machine['NetworkInterfaces'][0]['NetworkInterfaceId']} 8443 " in text for text in texts)

    until(told, pause_s=0.5)
    ec2.delete_flow_logs(FlowLogIds=made["FlowLogIds"])
    ec2.terminate_instances(InstanceIds=[machine["InstanceId"]])
