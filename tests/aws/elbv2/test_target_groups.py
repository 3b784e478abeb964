"""Target groups: defaults and rules of elbv2 CreateTargetGroup, ModifyTargetGroup and TargetGroupAttribute (API Reference)."""

from __future__ import annotations

import pytest


def shown(cloud, **params):
    wanted = {"Name": "t", "Protocol": "HTTP", "Port": 80, "VpcId": cloud.vpc} | params
    return cloud("CreateTargetGroup", **wanted)["TargetGroups"][0]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ("HTTP", "/", {"HttpCode": "200"}, 30, 5, 5, 2)),
        ({"Protocol": "HTTPS"}, ("HTTP", "/", {"HttpCode": "200"}, 30, 5, 5, 2)),
        ({"ProtocolVersion": "HTTP2"}, ("HTTP", "/", {"HttpCode": "200"}, 30, 5, 5, 2)),
        ({"ProtocolVersion": "GRPC"}, ("HTTP", "/AWS.ALB/healthcheck", {"GrpcCode": "12"}, 30, 5, 5, 2)),
        ({"Protocol": "TCP"}, ("TCP", None, None, 30, 10, 5, 2)),
        ({"Protocol": "TLS"}, ("TCP", None, None, 30, 10, 5, 2)),
        ({"Protocol": "UDP"}, ("TCP", None, None, 30, 10, 5, 2)),
        ({"Protocol": "TCP_UDP"}, ("TCP", None, None, 30, 10, 5, 2)),
        ({"Protocol": "TCP", "HealthCheckProtocol": "HTTP"}, ("HTTP", "/", {"HttpCode": "200-399"}, 30, 6, 5, 2)),
        ({"Protocol": "TCP", "HealthCheckProtocol": "HTTPS"}, ("HTTPS", "/", {"HttpCode": "200-399"}, 30, 10, 5, 2)),
        ({"Protocol": "TCP", "TargetType": "alb"}, ("HTTP", "/", {"HttpCode": "200-399"}, 30, 6, 5, 2)),
    ],
    ids=str,
)
def test_health_checks_have_the_documented_defaults(cloud, params, expected):
    group = shown(cloud, **params)
    names = "Protocol", "Path", "IntervalSeconds", "TimeoutSeconds"
    protocol, path, interval, timeout = (group.get(f"HealthCheck{name}") for name in names)
    thresholds = group["HealthyThresholdCount"], group["UnhealthyThresholdCount"]
    assert (protocol, path, group.get("Matcher"), interval, timeout, *thresholds) == expected
    assert (group["HealthCheckPort"], group["HealthCheckEnabled"]) == ("traffic-port", True)


def test_a_group_is_shown_as_made(cloud):
    group = shown(cloud)
    id_ = group["TargetGroupArn"].rpartition("/")[2]
    assert group["TargetGroupArn"] == f"arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/t/{id_}"
    assert (group["TargetType"], group["ProtocolVersion"], group["IpAddressType"]) == ("instance", "HTTP1", "ipv4")
    assert group["LoadBalancerArns"] == []
    assert cloud("DescribeTargetGroups", Names=["t"])["TargetGroups"] == [group]
    assert cloud("DescribeTargetGroups", TargetGroupArns=[group["TargetGroupArn"]])["TargetGroups"] == [group]
    assert "ProtocolVersion" not in shown(cloud, Name="u", Protocol="TCP")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"Name": "x" * 33}, "ValidationError"),
        ({"Name": "a_b"}, "ValidationError"),
        ({"Name": "-a"}, "ValidationError"),
        ({"TargetType": "lambda"}, "NotImplemented"),
        ({"Protocol": "GENEVE"}, "NotImplemented"),
        ({"Protocol": "QUIC"}, "NotImplemented"),
        ({"IpAddressType": "ipv6"}, "NotImplemented"),
        ({"TargetControlPort": 99}, "NotImplemented"),
        ({"VpcId": "vpc-0123456789abcdef0"}, "ValidationError"),
        ({"VpcId": ""}, "ValidationError"),
        ({"Protocol": "HTTP", "TargetType": "alb"}, "ValidationError"),
        ({"Protocol": "TCP", "ProtocolVersion": "HTTP1"}, "ValidationError"),
        ({"ProtocolVersion": "HTTP3"}, "ValidationError"),
        ({"HealthCheckProtocol": "TCP"}, "ValidationError"),
        ({"Protocol": "TCP", "HealthCheckProtocol": "UDP"}, "ValidationError"),
        ({"HealthCheckEnabled": False}, "ValidationError"),
        ({"HealthCheckPort": "0"}, "ValidationError"),
        ({"HealthCheckPort": "65536"}, "ValidationError"),
        ({"HealthCheckPath": "no-slash"}, "ValidationError"),
        ({"HealthCheckPath": "/a b"}, "ValidationError"),
        ({"HealthCheckIntervalSeconds": 5}, "ValidationError"),
        ({"HealthCheckIntervalSeconds": 4, "HealthCheckTimeoutSeconds": 2}, "ValidationError"),
        ({"HealthyThresholdCount": 11}, "ValidationError"),
        ({"Matcher": {"HttpCode": "600"}}, "ValidationError"),
        ({"Matcher": {"HttpCode": "500"}}, "ValidationError"),
        ({"Matcher": {"HttpCode": "299-200"}}, "ValidationError"),
        ({"Matcher": {"HttpCode": "ok"}}, "ValidationError"),
        ({"Matcher": {"GrpcCode": "12"}}, "ValidationError"),
        ({"ProtocolVersion": "GRPC", "Matcher": {"GrpcCode": "100"}}, "ValidationError"),
        ({"ProtocolVersion": "GRPC", "HealthCheckPath": "/healthz"}, "ValidationError"),
        ({"Protocol": "TCP", "Matcher": {"HttpCode": "200"}}, "ValidationError"),
        ({"Protocol": "TCP", "HealthCheckPath": "/"}, "ValidationError"),
        ({"Tags": [{"Key": "a"}, {"Key": "a"}]}, "DuplicateTagKeys"),
        ({"Tags": [{"Key": "aws:a"}]}, "ValidationError"),
        ({"Tags": [{"Key": str(i)} for i in range(51)]}, "TooManyTags"),
    ],
    ids=str,
)
def test_settings_that_are_refused(cloud, params, code):
    wanted = {"Name": "t", "Protocol": "HTTP", "Port": 80, "VpcId": cloud.vpc} | params
    assert cloud.code("CreateTargetGroup", **wanted) == code


@pytest.mark.parametrize("missing", ["Protocol", "Port", "VpcId"])
def test_what_a_group_needs_is_named(cloud, missing):
    wanted = {"Name": "t", "Protocol": "HTTP", "Port": 80, "VpcId": cloud.vpc}
    del wanted[missing]
    code, text = cloud.refused("CreateTargetGroup", **wanted)
    assert (code, text) == (
        "ValidationError",
        f"A {missing.replace('VpcId', 'VPC ID').replace('P', 'p', missing != 'VpcId')} must be specified",
    )


def test_the_same_settings_again_answer_the_same_group(cloud):
    first = shown(cloud)
    assert shown(cloud)["TargetGroupArn"] == first["TargetGroupArn"]
    other = cloud.refused("CreateTargetGroup", Name="t", Protocol="HTTP", Port=81, VpcId=cloud.vpc)
    assert other == (
        "DuplicateTargetGroupName",
        "A target group with the same name 't' exists, but with different settings",
    )


def test_the_health_check_of_a_group_changes(cloud):
    arn = shown(cloud)["TargetGroupArn"]
    changes = {
        "HealthCheckPath": "/healthz?full=1",
        "HealthCheckPort": "8080",
        "HealthCheckIntervalSeconds": 10,
        "HealthCheckTimeoutSeconds": 3,
        "HealthyThresholdCount": 2,
        "Matcher": {"HttpCode": "200, 204,300-302"},
    }
    after = cloud("ModifyTargetGroup", TargetGroupArn=arn, **changes)["TargetGroups"][0]
    assert after["Matcher"] == {"HttpCode": "200,204,300-302"}
    assert {name: after[name] for name in changes if name != "Matcher"} == {
        name: value for name, value in changes.items() if name != "Matcher"
    }
    assert cloud.code("ModifyTargetGroup", TargetGroupArn=arn, HealthCheckProtocol="TCP") == "ValidationError"
    network = shown(cloud, Name="n", Protocol="TCP")["TargetGroupArn"]
    after = cloud("ModifyTargetGroup", TargetGroupArn=network, HealthCheckProtocol="HTTP")["TargetGroups"][0]
    assert (after["HealthCheckPath"], after["Matcher"]) == ("/", {"HttpCode": "200-399"})
    after = cloud("ModifyTargetGroup", TargetGroupArn=network, HealthCheckProtocol="TCP")["TargetGroups"][0]
    assert "HealthCheckPath" not in after


def test_groups_are_found_in_one_way_at_a_time(cloud):
    balancer, group = cloud.application(), cloud.group()
    cloud.listener(balancer, group)
    arn = balancer["LoadBalancerArn"]
    cloud.group("other")
    (found,) = cloud("DescribeTargetGroups", LoadBalancerArn=arn)["TargetGroups"]
    assert found["LoadBalancerArns"] == [arn]
    assert cloud.code("DescribeTargetGroups", LoadBalancerArn=arn, Names=["other"]) == "ValidationError"
    assert cloud.code("DescribeTargetGroups", Names=["nothing"]) == "TargetGroupNotFound"
    assert cloud.code("DescribeTargetGroups", TargetGroupArns=[group + "0"]) == "TargetGroupNotFound"


def test_who_names_one_group_is_told_which_is_missing(cloud):
    """As AWS's answers to AddTags, DescribeTargetHealth and ModifyTargetGroupAttributes stand in reports of Terraform's and of controllers."""
    cloud.application()
    gone = cloud.group()
    cloud("DeleteTargetGroup", TargetGroupArn=gone)
    told = ("TargetGroupNotFound", f"Target groups '{gone}' not found")
    assert cloud.refused("DescribeTargetHealth", TargetGroupArn=gone) == told
    assert cloud.refused("RegisterTargets", TargetGroupArn=gone, Targets=[{"Id": "i-0123456789abcdef0"}]) == told
    assert cloud.refused("AddTags", ResourceArns=[gone], Tags=[{"Key": "a"}]) == told
    many = ("TargetGroupNotFound", "One or more target groups not found")
    assert cloud.refused("DescribeTargetGroups", TargetGroupArns=[gone]) == many


def test_a_group_in_use_stays(cloud):
    balancer, group = cloud.application(), cloud.group()
    listener = cloud.listener(balancer, group)
    expected = ("ResourceInUse", f"Target group '{group}' is currently in use by a listener or a rule")
    assert cloud.refused("DeleteTargetGroup", TargetGroupArn=group) == expected
    cloud("DeleteListener", ListenerArn=listener)
    cloud("DeleteTargetGroup", TargetGroupArn=group)
    cloud("DeleteTargetGroup", TargetGroupArn=group)
    assert cloud("DescribeTargetGroups")["TargetGroups"] == []


def test_tags_come_and_go(cloud):
    balancer, group = cloud.application(), cloud.group()
    listener = cloud.listener(balancer, group)
    rule = cloud.rule(listener, group, 1)
    arns = [balancer["LoadBalancerArn"], group, listener, rule]
    cloud("AddTags", ResourceArns=arns, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
    cloud("RemoveTags", ResourceArns=arns, TagKeys=["a", "never"])
    told = cloud("DescribeTags", ResourceArns=arns)["TagDescriptions"]
    assert told == [{"ResourceArn": arn, "Tags": [{"Key": "b", "Value": ""}]} for arn in arns]
    store = "arn:aws:elasticloadbalancing:us-east-1:111122223333:truststore/a/0123456789abcdef"
    assert cloud.code("DescribeTags", ResourceArns=[store]) == "NotImplemented"
    assert cloud.code("AddTags", ResourceArns=["nonsense"], Tags=[{"Key": "a"}]) == "ValidationError"
    many = [{"Key": str(i)} for i in range(50)]
    assert cloud.code("AddTags", ResourceArns=[group], Tags=many) == "TooManyTags"
