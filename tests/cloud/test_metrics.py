"""Metrics of machines that really run, and the loop that they close: load, metric, alarm, action."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import time
from typing import Any

from tests.cloud.balancing import Site, fetch, serves
from tests.cloud.running import BY_THE_SECOND, Cloud, until

SETTINGS = BY_THE_SECOND


def statistic(cloud: Cloud, instance: str, name: str, stat: str) -> list[float]:
    """By the second, of the last minute."""
    now = dt.datetime.now(dt.UTC)
    found = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/EC2",
        MetricName=name,
        Dimensions=[{"Name": "InstanceId", "Value": instance}],
        StartTime=now - dt.timedelta(seconds=60),
        EndTime=now + dt.timedelta(seconds=5),
        Period=1,
        Statistics=[stat],
    )
    return [point[stat] for point in found["Datapoints"]]


def test_load_shows_raises_an_alarm_and_stops_the_machine(cloud: Cloud) -> None:
    ec2, cloudwatch = cloud.client("ec2"), cloud.client("cloudwatch")
    busy, idle = (one["InstanceId"] for one in cloud.launch(ec2, count=2))
    until(lambda: statistic(cloud, idle, "CPUUtilization", "Average"))
    cloudwatch.put_metric_alarm(
        AlarmName="busy",
        Namespace="AWS/EC2",
        MetricName="CPUUtilization",
        Dimensions=[{"Name": "InstanceId", "Value": busy}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=2,
        Threshold=2,  # a machine that tests share with others gives a loop but a part of a processor
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=["arn:aws:automate:us-east-1:ec2:stop"],
    )
    until(lambda: cloudwatch.describe_alarms(AlarmNames=["busy"])["MetricAlarms"][0]["StateValue"] == "OK")
    cloud.inside(busy, "sh", "-c", "(while :; do :; done) >/dev/null 2>&1 &")
    cloud.until_state(ec2, [busy], "stopped")
    peak = max(statistic(cloud, busy, "CPUUtilization", "Maximum"))
    assert 2 < peak <= 100
    assert peak > 2 * min(statistic(cloud, idle, "CPUUtilization", "Average"))
    cloud.until_state(ec2, [idle], "running")
    history = cloudwatch.describe_alarm_history(AlarmName="busy", HistoryItemType="Action")["AlarmHistoryItems"]
    assert history[0]["HistorySummary"].startswith("Successfully executed action")
    ec2.terminate_instances(InstanceIds=[busy, idle])


def test_network_bytes_are_those_that_went(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    server, client = cloud.launch(ec2, count=2)
    until(lambda: statistic(cloud, client["InstanceId"], "NetworkIn", "Sum"))
    cloud.inside(server["InstanceId"], "sh", "-c", "head -c 3000000 /dev/zero > /www/file")
    command = ("wget", "-q", "-O", "/dev/null", f"http://{server['PrivateIpAddress']}/file")
    until(lambda: cloud.inside(client["InstanceId"], *command).returncode == 0)

    def moved() -> bool:
        sent = sum(statistic(cloud, server["InstanceId"], "NetworkOut", "Sum"))
        came = sum(statistic(cloud, client["InstanceId"], "NetworkIn", "Sum"))
        return 3_000_000 <= came <= 3_600_000 and 3_000_000 <= sent <= 3_600_000

    until(moved)
    ec2.terminate_instances(InstanceIds=[server["InstanceId"], client["InstanceId"]])


def test_a_volumes_metrics_are_what_its_device_did(cloud: Cloud) -> None:
    ec2, cloudwatch = cloud.client("ec2"), cloud.client("cloudwatch")
    (instance,) = cloud.launch(ec2)
    (volume,) = [one["Ebs"]["VolumeId"] for one in instance["BlockDeviceMappings"]]

    def told(name: str, stat: str = "Sum") -> float:
        now = dt.datetime.now(dt.UTC)
        window = {"StartTime": now - dt.timedelta(seconds=60), "EndTime": now + dt.timedelta(seconds=5), "Period": 1}
        dimensions = [{"Name": "VolumeId", "Value": volume}]
        found = cloudwatch.get_metric_statistics(
            Namespace="AWS/EBS", MetricName=name, Dimensions=dimensions, Statistics=[stat], **window
        )
        return sum(point[stat] for point in found["Datapoints"])

    until(lambda: told("VolumeIdleTime") > 0)
    cloud.inside(instance["InstanceId"], "sh", "-c", "head -c 8000000 /dev/urandom > /file; sync")
    until(lambda: 8_000_000 <= told("VolumeWriteBytes") <= 24_000_000)
    assert told("VolumeWriteOps") > 0
    assert told("VolumeTotalWriteTime") > 0
    assert told("VolumeStalledIOCheck") == 0
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])


def test_status_checks_and_disks(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    (instance,) = cloud.launch(ec2)
    name: Any = instance["InstanceId"]
    until(lambda: statistic(cloud, name, "StatusCheckFailed", "Maximum"))
    until(lambda: statistic(cloud, name, "CPUUtilization", "Maximum"))
    assert set(statistic(cloud, name, "StatusCheckFailed", "Maximum")) == {0.0}
    names = {one["MetricName"] for one in cloud.client("cloudwatch").list_metrics(Namespace="AWS/EC2")["Metrics"]}
    assert {"CPUUtilization", "NetworkIn", "NetworkPacketsOut", "EBSWriteBytes", "StatusCheckFailed_System"} <= names
    ec2.terminate_instances(InstanceIds=[name])


def seconds_told(cloud: Cloud, namespace: str, name: str, stat: str, **dimensions: str) -> dict[int, float]:
    """Unix second → what was told of it, of the last minutes."""
    now = dt.datetime.now(dt.UTC)
    found = cloud.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - dt.timedelta(seconds=180),
        EndTime=now + dt.timedelta(seconds=5),
        Period=1,
        Statistics=[stat],
    )
    return {int(point["Timestamp"].timestamp()): point[stat] for point in found["Datapoints"]}


AWAY_S = 6


def test_metrics_of_the_time_in_which_no_daemon_ran_are_there_and_nothing_is_told_twice(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    default = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][0]
    ec2.authorize_security_group_ingress(
        GroupId=default["GroupId"], IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0"
    )
    site = Site(cloud, ec2)
    group = site.group("web", "HTTP")
    arn, name = site.balancer("front", "application")
    site.listener(arn, group, "HTTP", 80)
    until(lambda: site.states(group) == ["healthy", "healthy"], 60)
    address = until(lambda: site.addresses(name))[0]
    until(lambda: serves(address))
    balancer = {"LoadBalancer": arn.partition("loadbalancer/")[2]}
    hosts = {"TargetGroup": group.rpartition(":")[2], **balancer}
    instance = {"InstanceId": site.ids[0]}
    volume = {"VolumeId": site.instances[0]["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]}

    def requests() -> float:
        return sum(seconds_told(cloud, "AWS/ApplicationELB", "RequestCount", "Sum", **balancer).values())

    before = until(lambda: (told := requests()) and told == requests() and told)
    daemon = cloud.process("daemon")
    os.kill(daemon, signal.SIGSTOP)
    stopped = time.time()
    sent = 0
    while time.time() < stopped + AWAY_S:
        assert fetch(address)[0] == 200
        sent += 1
        time.sleep(0.05)  # the pace of the load
    os.kill(daemon, signal.SIGKILL)
    until(lambda: cloud.process("daemon") not in (0, daemon))
    until(lambda: requests() == before + sent)
    away = range(int(stopped) + 1, int(stopped) + AWAY_S - 1)
    for namespace, metric, stat, dimensions in (
        ("AWS/EC2", "CPUUtilization", "SampleCount", instance),
        ("AWS/EC2", "NetworkIn", "SampleCount", instance),
        ("AWS/EC2", "StatusCheckFailed", "SampleCount", instance),
        ("AWS/EBS", "VolumeIdleTime", "SampleCount", volume),
        ("AWS/ApplicationELB", "RequestCount", "Sum", balancer),
        ("AWS/ApplicationELB", "NewConnectionCount", "Sum", balancer),
        ("AWS/ApplicationELB", "ConsumedLCUs", "Sum", balancer),
        ("AWS/ApplicationELB", "HealthyHostCount", "Minimum", hosts),
        ("AWS/ApplicationELB", "AnomalousHostCount", "Maximum", hosts),
        ("AWS/ApplicationELB", "MitigatedHostCount", "Maximum", hosts),
        ("AWS/ApplicationELB", "HealthyStateDNS", "Minimum", hosts),
        ("AWS/ApplicationELB", "UnhealthyStateRouting", "Minimum", hosts),
    ):
        told = seconds_told(cloud, namespace, metric, stat, **dimensions)
        # A busy machine may take a look a second too late.
        assert sum(second in told for second in away) >= len(away) // 2, (metric, sorted(told), list(away))
    assert set(seconds_told(cloud, "AWS/EC2", "StatusCheckFailed", "Maximum", **instance).values()) == {0.0}
    healthy = seconds_told(cloud, "AWS/ApplicationELB", "HealthyHostCount", "Minimum", **hosts)
    assert {value for second, value in healthy.items() if second in away} == {2.0}
    zones = seconds_told(cloud, "AWS/ApplicationELB", "HealthyStateRouting", "Minimum", **hosts)
    assert {value for second, value in zones.items() if second in away} == {2.0}, "both zones"
    # Each request had a connection of its own, and one to its target.
    opened = seconds_told(cloud, "AWS/ApplicationELB", "NewConnectionCount", "Sum", **balancer)
    assert sum(opened.values()) > 1.5 * requests()
    with socket.create_connection((address, 80)):  # that waits
        until(lambda: seconds_told(cloud, "AWS/ApplicationELB", "ActiveConnectionCount", "Maximum", **balancer))
    site.elb.delete_load_balancer(LoadBalancerArn=arn)
    flows_are_told(cloud, site)
    ec2.terminate_instances(InstanceIds=site.ids)


def flows_are_told(cloud: Cloud, site: Site) -> None:
    """AWS: "CloudWatch metrics for your Network Load Balancer": what is always reported, also while there is no flow, and how many zones are
    healthy."""
    group = site.group("flows", "TCP")
    arn, _ = site.balancer("flows", "network")
    site.listener(arn, group, "TCP", 80)
    balancer = {"LoadBalancer": arn.partition("loadbalancer/")[2]}

    def told(name: str, stat: str = "Sum") -> dict[int, float]:
        return seconds_told(cloud, "AWS/NetworkELB", name, stat, **balancer)

    def zones(stat: str) -> float | None:
        found = told("ZonalHealthStatus", stat)
        return found[max(found)] if found else None

    both_crossing = [{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}]
    site.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=both_crossing)
    until(lambda: zones("Minimum") == 1.0)
    for name in ("RejectedFlowCount", "PeakPacketsPerSecond", "PeakBytesPerSecond", "ConsumedLCUs"):
        until(lambda name=name: set(told(name).values()) == {0.0})
    for one in site.ids:
        site.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": one}])
    until(lambda: zones("Maximum") == 0.0)
    site.elb.delete_load_balancer(LoadBalancerArn=arn)
