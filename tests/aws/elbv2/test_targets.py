"""Targets and their health. Rules: elbv2 RegisterTargets, DeregisterTargets, TargetHealth (API Reference); states and words: "Health checks for
your target groups" (User Guide)."""

from __future__ import annotations

from typing import Any

import pytest

NOT_IN_USE = ("unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")
REGISTERING = ("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
DRAINING = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")


@pytest.fixture
def used(cloud):
    """A group that a load balancer in zones a and b sends to."""
    group = cloud.group()
    cloud.listener(cloud.application(), group)
    return group


def test_a_target_of_a_group_without_a_load_balancer_is_unused(cloud):
    group, instance = cloud.group(), cloud.instance()
    cloud.register(group, instance)
    assert cloud.health(group) == {instance: NOT_IN_USE}


def test_health_is_what_the_agent_sees(cloud, used):
    instance = cloud.instance()
    cloud.register(used, instance)
    assert cloud.health(used) == {instance: REGISTERING}
    name = f"{instance}:80"
    cloud.sees(used, {name: ["initial", "", ""]})
    assert cloud.health(used)[instance] == (
        "initial",
        "Elb.InitialHealthChecking",
        "Initial health checks in progress",
    )
    cloud.sees(used, {name: ["healthy", "", ""]})
    assert cloud.health(used)[instance] == ("healthy",)
    words = "Health checks failed with these codes: [500]"
    cloud.sees(used, {name: ["unhealthy", "Target.ResponseCodeMismatch", words]})
    assert cloud.health(used)[instance] == ("unhealthy", "Target.ResponseCodeMismatch", words)
    cloud.sees(used, {name: ["unhealthy", "Target.Timeout", ""]})
    assert cloud.health(used)[instance] == ("unhealthy", "Target.Timeout", "Request timed out")


def test_the_checked_port_is_told(cloud, used):
    instance = cloud.instance()
    cloud.register(used, instance, Port=8080)
    (one,) = cloud("DescribeTargetHealth", TargetGroupArn=used)["TargetHealthDescriptions"]
    assert (one["Target"], one["HealthCheckPort"]) == ({"Id": instance, "Port": 8080}, "8080")
    assert one["AdministrativeOverride"]["State"] == "no_override"
    cloud("ModifyTargetGroup", TargetGroupArn=used, HealthCheckPort="9000")
    (one,) = cloud("DescribeTargetHealth", TargetGroupArn=used)["TargetHealthDescriptions"]
    assert one["HealthCheckPort"] == "9000"


@pytest.mark.parametrize("include", ["AnomalyDetection", "All"])
def test_anomalies_are_told_of_three_healthy_targets_who_ask(cloud, used, include):
    """AWS: elbv2 AnomalyDetection; "Automatic Target Weights": "a minimum of three healthy targets"."""
    instances = [cloud.instance() for _ in range(3)]
    for one in instances:
        cloud.register(used, one)

    def told(**more: Any) -> dict[str, Any]:
        found = cloud("DescribeTargetHealth", TargetGroupArn=used, **more)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: one.get("AnomalyDetection") for one in found}

    healthy = {f"{one}:80": ["healthy", "", ""] for one in instances}
    odd = {f"{instances[0]}:80": [True, True], f"{instances[1]}:80": [False, True]}
    cloud.sees(used, healthy, anomalies=odd)
    assert set(told().values()) == {None}
    assert told(Include=[include]) == {
        instances[0]: {"Result": "anomalous", "MitigationInEffect": "yes"},
        instances[1]: {"Result": "normal", "MitigationInEffect": "yes"},
        instances[2]: {"Result": "normal", "MitigationInEffect": "no"},
    }
    cloud.sees(used, healthy | {f"{instances[2]}:80": ["unhealthy", "Target.Timeout", ""]})
    assert set(told(Include=[include]).values()) == {None}


def test_a_target_that_is_asked_for_need_not_be_registered(cloud, used):
    asked = {"TargetGroupArn": used, "Targets": [{"Id": "i-0123456789abcdef0"}]}
    (one,) = cloud("DescribeTargetHealth", **asked)["TargetHealthDescriptions"]
    words = "Target is not registered to the target group"
    assert one["TargetHealth"] == {"State": "unused", "Reason": "Target.NotRegistered", "Description": words}
    assert "AdministrativeOverride" not in one


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("stopped", "Target is in the stopped state"),
        ("terminated", "Target is in the terminated state"),
        ("stopping", "Target is in an invalid state"),
    ],
)
def test_a_machine_that_does_not_run_is_unused_and_gets_nothing(cloud, used, state, words):
    instance = cloud.instance()
    cloud.register(used, instance)
    assert len(cloud.wished("TargetGroup")) == len(next(iter(cloud.wished("TargetGroup").values())).targets) == 1
    cloud.move(instance, state)
    assert cloud.health(used)[instance] == ("unused", "Target.InvalidState", words)
    assert next(iter(cloud.wished("TargetGroup").values())).targets == ()


def test_a_target_in_a_zone_that_is_not_enabled_is_unused(cloud, used):
    instance = cloud.instance(cloud.subnets[2])
    cloud.register(used, instance)
    words = "Target is in an Availability Zone that is not enabled for the load balancer"
    assert cloud.health(used)[instance] == ("unused", "Target.NotInUse", words)
    arn = cloud("DescribeLoadBalancers")["LoadBalancers"][0]["LoadBalancerArn"]
    cloud("SetSubnets", LoadBalancerArn=arn, Subnets=cloud.subnets)
    assert cloud.health(used)[instance] == REGISTERING


@pytest.mark.parametrize("state", ["pending", "stopped", "terminated"])
def test_only_running_machines_are_registered(cloud, used, state):
    instance = cloud.instance(state=state)
    targets = [{"Id": instance}]
    text = f"The following targets are not in a running state and cannot be registered: '{instance}'"
    assert cloud.refused("RegisterTargets", TargetGroupArn=used, Targets=targets) == ("InvalidTarget", text)


def test_targets_that_are_no_machines_of_the_vpc_are_refused(cloud, used):
    unknown = [{"Id": "i-0123456789abcdef0"}]
    assert cloud.code("RegisterTargets", TargetGroupArn=used, Targets=unknown) == "InvalidTarget"
    assert cloud.code("RegisterTargets", TargetGroupArn=used, Targets=[{"Id": "10.0.1.9"}]) == "ValidationError"
    vpc = cloud("ec2:CreateVpc", CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnet = cloud("ec2:CreateSubnet", VpcId=vpc, CidrBlock="10.1.0.0/24")["Subnet"]["SubnetId"]
    foreign = cloud.instance(subnet)
    refused = cloud.refused("RegisterTargets", TargetGroupArn=used, Targets=[{"Id": foreign}])
    text = f"The following targets are not in the target group VPC '{cloud.vpc}': '{foreign}'"
    assert refused == ("InvalidTarget", text)
    zoned = [{"Id": cloud.instance(), "AvailabilityZone": "us-east-1a"}]
    assert cloud.code("RegisterTargets", TargetGroupArn=used, Targets=zoned) == "ValidationError"
    served = [{"Id": cloud.instance(), "QuicServerId": "0x0123456789abcdef"}]
    assert cloud.code("RegisterTargets", TargetGroupArn=used, Targets=served) == "NotImplemented"


def test_a_machine_is_registered_once_per_port(cloud, used):
    instance = cloud.instance()
    cloud.register(used, instance)
    revision = cloud.client.store.revision
    cloud.register(used, instance)
    assert cloud.client.store.revision == revision
    cloud.register(used, instance, Port=8080)
    assert [target.port for target in cloud.stored_group(used).spec.targets] == [80, 8080]
    cloud.deregister(used, instance)
    told = cloud("DescribeTargetHealth", TargetGroupArn=used)["TargetHealthDescriptions"]
    assert {one["Target"]["Port"]: one["TargetHealth"]["State"] for one in told} == {80: "draining", 8080: "initial"}


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ({"Id": "10.0.1.200"}, ""),
        ({"Id": "10.0.200.1"}, ""),
        ({"Id": "192.168.5.5", "AvailabilityZone": "all"}, ""),
        ({"Id": "100.64.1.1", "AvailabilityZone": "all"}, ""),
        ({"Id": "192.168.5.5"}, "ValidationError"),
        ({"Id": "8.8.8.8", "AvailabilityZone": "all"}, "ValidationError"),
        ({"Id": "10.0.1.200", "AvailabilityZone": "us-east-1b"}, "ValidationError"),
        ({"Id": "2001:db8::1"}, "ValidationError"),
        ({"Id": "web"}, "ValidationError"),
    ],
    ids=str,
)
def test_addresses_are_of_the_vpc_or_of_private_ranges(cloud, target, code):
    group = cloud.group(TargetType="ip")
    if code:
        assert cloud.code("RegisterTargets", TargetGroupArn=group, Targets=[target]) == code
    else:
        cloud("RegisterTargets", TargetGroupArn=group, Targets=[target])


def test_the_zone_of_an_address_is_found(cloud):
    group = cloud.group(TargetType="ip")
    balancer = cloud.application()
    cloud.listener(balancer, group)
    own = {one["PrivateIpAddress"] for one in cloud.interfaces(balancer)}
    address = next(one for one in ("10.0.2.200", "10.0.2.201", "10.0.2.202") if one not in own)
    cloud.register(group, address)
    cloud.register(group, "192.168.5.5", AvailabilityZone="all")
    told = cloud("DescribeTargetHealth", TargetGroupArn=group)["TargetHealthDescriptions"]
    assert {one["Target"]["Id"]: one["Target"]["AvailabilityZone"] for one in told} == {
        address: "us-east-1b",
        "192.168.5.5": "all",
    }
    (lowered,) = cloud.wished("TargetGroup").values()
    assert {one.address: one.zone for one in lowered.targets} == {address: "us-east-1b", "192.168.5.5": ""}


def test_a_load_balancers_own_address_is_no_target(cloud):
    group = cloud.group(TargetType="ip")
    balancer = cloud.application()
    cloud.listener(balancer, group)
    address = cloud.interfaces(balancer)[0]["PrivateIpAddress"]
    cloud.register(group, address)
    words = "The IP address cannot be used as a target, as it is in use by a load balancer"
    assert cloud.health(group)[address] == ("unused", "Target.IpUnusable", words)


def test_deregistered_targets_drain_for_the_delay(cloud, used):
    instance = cloud.instance()
    cloud.register(used, instance)
    cloud.deregister(used, instance)
    assert cloud.health(used) == {instance: DRAINING}
    (target,) = cloud.stored_group(used).spec.targets
    assert target.draining_until == cloud.clock.now() + 300
    (lowered,) = cloud.wished("TargetGroup").values()
    assert [one.draining for one in lowered.targets] == [True]
    # What is not there is deregistered with success, as the API Reference says.
    cloud.deregister(used, instance, "i-0123456789abcdef0")
    cloud.register(used, instance)
    assert cloud.health(used) == {instance: REGISTERING}


@pytest.mark.parametrize("delay_s", [300, 0])
def test_what_was_seen_of_a_target_says_nothing_once_it_is_registered_anew(cloud, used, delay_s):
    """AWS: "If you register the target again" it is `initial` until it has passed a check."""
    delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": str(delay_s)}]
    cloud("ModifyTargetGroupAttributes", TargetGroupArn=used, Attributes=delay)
    instance = cloud.instance()
    cloud.register(used, instance)
    (first,) = next(iter(cloud.wished("TargetGroup").values())).targets
    cloud.sees(used, {first.name: ["healthy", "", "", first.registration]})
    assert cloud.health(used) == {instance: ("healthy",)}
    cloud.deregister(used, instance)
    cloud.clock.time += 1.0
    cloud.register(used, instance)
    assert cloud.health(used) == {instance: REGISTERING}
    (second,) = next(iter(cloud.wished("TargetGroup").values())).targets
    assert second.registration != first.registration
    cloud.sees(used, {second.name: ["healthy", "", "", second.registration]})
    assert cloud.health(used) == {instance: ("healthy",)}


def test_nothing_drains_without_a_delay_or_a_load_balancer(cloud, used):
    no_delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
    cloud("ModifyTargetGroupAttributes", TargetGroupArn=used, Attributes=no_delay)
    unused = cloud.group("unused")
    for group in (used, unused):
        instance = cloud.instance()
        cloud.register(group, instance)
        cloud.deregister(group, instance)
        assert cloud.health(group) == {}


def test_an_application_load_balancer_is_the_target_of_a_network_one(cloud):
    inner = cloud.application()
    cloud.listener(inner, cloud.group(), port=80)
    group = cloud.group("to-alb", "TCP", 80, TargetType="alb")
    outer = cloud.network()
    cloud.listener(outer, group, "TCP", 80)
    arn = inner["LoadBalancerArn"]
    cloud.register(group, arn)
    assert cloud.health(group)[arn] == REGISTERING
    lowered = cloud.wished("TargetGroup")[f"tg-{group.rpartition('/')[2]}"]
    addresses = [one["PrivateIpAddress"] for one in cloud.interfaces(inner)]
    assert [one.address for one in lowered.targets] == addresses
    cloud.sees(group, {lowered.targets[0].name: ["healthy", "", ""], lowered.targets[1].name: ["unhealthy", "", ""]})
    assert cloud.health(group)[arn] == ("healthy",)
    assert cloud.code("DeleteLoadBalancer", LoadBalancerArn=arn) == "ResourceInUse"
    (listener,) = cloud("DescribeListeners", LoadBalancerArn=arn)["Listeners"]
    assert cloud.code("DeleteListener", ListenerArn=listener["ListenerArn"]) == "ResourceInUse"
    wrong = [{"Id": outer["LoadBalancerArn"]}]
    assert cloud.code("RegisterTargets", TargetGroupArn=group, Targets=wrong) == "InvalidTarget"
    second = cloud.application("second")
    assert (
        cloud.code("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": second["LoadBalancerArn"]}])
        == "InvalidTarget"
    )
    cloud.listener(second, cloud.group("g2"), port=80)
    assert (
        cloud.code("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": second["LoadBalancerArn"]}])
        == "TooManyTargets"
    )


def test_an_application_load_balancer_that_drains_may_be_deleted(cloud):
    """Terraform's destroy: the attachment goes first, and the listener that leads to it in no set order."""
    inner, outer = cloud.application(), cloud.network()
    listener = cloud.listener(inner, cloud.group(), port=80)
    group = cloud.group("to-alb", "TCP", 80, TargetType="alb")
    cloud.listener(outer, group, "TCP", 80)
    arn = inner["LoadBalancerArn"]
    cloud.register(group, arn)
    cloud.deregister(group, arn)
    assert cloud.health(group)[arn][0] == "draining"
    cloud("DeleteListener", ListenerArn=listener)
    cloud("DeleteLoadBalancer", LoadBalancerArn=arn)
    assert cloud.health(group)[arn][0] == "draining"
    cloud("DeleteLoadBalancer", LoadBalancerArn=outer["LoadBalancerArn"])
    cloud("DeleteTargetGroup", TargetGroupArn=group)


def test_a_thousand_targets_are_one_write_and_no_more_are_taken(cloud):
    group = cloud.group(TargetType="ip")
    targets = [{"Id": f"10.0.{i // 250}.{i % 250 + 1}"} for i in range(1000)]
    revision = cloud.client.store.revision
    cloud("RegisterTargets", TargetGroupArn=group, Targets=targets)
    assert cloud.client.store.revision == revision + 1
    more = [{"Id": "10.0.1.254"}]
    assert cloud.code("RegisterTargets", TargetGroupArn=group, Targets=more) == "TooManyTargets"
    assert len(cloud.health(group)) == 1000


def test_a_network_load_balancer_has_as_many_targets_in_a_zone_as_over_zones_it_crosses(cloud):
    """AWS, "Quotas for your Network Load Balancers": 500 per zone; 500 in all where zones are crossed; an application load balancer counts for 50."""
    balancer, group = cloud.network(), cloud.group("net", "TCP", TargetType="ip")
    cloud.listener(balancer, group, "TCP")
    here, there = [{"Id": "10.0.1.9", "Port": port} for port in range(1, 502)], [{"Id": "10.0.2.9", "Port": 1}]
    register = {"TargetGroupArn": group}
    assert cloud.refused("RegisterTargets", **register, Targets=here) == (
        "TooManyTargets",
        "The maximum number of targets per Availability Zone per load balancer is 500",
    )
    cloud("RegisterTargets", **register, Targets=[*here[:500], *there])
    wanted = [{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}]
    cross = {"LoadBalancerArn": balancer["LoadBalancerArn"], "Attributes": wanted}
    too_many = ("InvalidConfigurationRequest", "The maximum number of targets per load balancer is 500")
    assert cloud.refused("ModifyLoadBalancerAttributes", **cross) == too_many
    cloud("DeregisterTargets", **register, Targets=there)
    cloud("ModifyLoadBalancerAttributes", **cross)
    crossing = cloud.network("crossing")
    cloud("ModifyLoadBalancerAttributes", LoadBalancerArn=crossing["LoadBalancerArn"], Attributes=wanted)
    other = cloud.group("other", "TCP", TargetType="ip")
    cloud.listener(crossing, other, "TCP")
    assert cloud.refused("RegisterTargets", TargetGroupArn=other, Targets=[*here[:500], *there]) == (
        "TooManyTargets",
        "The maximum number of targets per load balancer is 500",
    )
    cloud("RegisterTargets", TargetGroupArn=other, Targets=here[:450])
    inner = cloud.application("inner")
    cloud.listener(inner, cloud.group("inner"))
    to_balancer = cloud.group("alb", "TCP", TargetType="alb")
    cloud("RegisterTargets", TargetGroupArn=to_balancer, Targets=[{"Id": inner["LoadBalancerArn"]}])
    listen = {"LoadBalancerArn": crossing["LoadBalancerArn"], "Protocol": "TCP", "Port": 81}
    actions = [cloud.forward(to_balancer)]
    assert cloud.code("CreateListener", **listen, DefaultActions=actions) == "TooManyTargets"
    cloud("DeregisterTargets", TargetGroupArn=other, Targets=here[400:450])
    cloud("CreateListener", **listen, DefaultActions=actions)
