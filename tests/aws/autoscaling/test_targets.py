"""Groups behind load balancers: registration, draining, health. AWS: "Use Elastic Load Balancing to distribute incoming application traffic"."""

from __future__ import annotations


def test_instances_are_registered_when_they_serve(cloud):
    arn = cloud.targets()
    cloud.group(size=2, boot=False, TargetGroupARNs=[arn])
    assert cloud.registered(arn) == set()
    cloud.boot()
    assert cloud.registered(arn) == set(cloud.ids())


def test_attaching_registers_and_detaching_deregisters(cloud):
    arn = cloud.targets()
    cloud.group(size=1)
    cloud("AttachLoadBalancerTargetGroups", AutoScalingGroupName="g", TargetGroupARNs=[arn])
    assert cloud.registered(arn) == set(cloud.ids())
    cloud("DetachTrafficSources", AutoScalingGroupName="g", TrafficSources=[{"Identifier": arn}])
    assert cloud.registered(arn) == set()
    assert cloud.told()["TargetGroupARNs"] == []


def test_nothing_is_registered_while_adding_is_suspended(cloud):
    arn = cloud.targets()
    cloud.group(size=0, TargetGroupARNs=[arn])
    cloud("SuspendProcesses", AutoScalingGroupName="g", ScalingProcesses=["AddToLoadBalancer"])
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=1)
    cloud.boot()
    assert cloud.states() == ["InService"]
    assert cloud.registered(arn) == set()


def behind_a_balancer(cloud, **params):
    arn = cloud.targets()
    subnets = [one["SubnetId"] for one in cloud("ec2:DescribeSubnets")["Subnets"]]
    balancer = cloud("elbv2:CreateLoadBalancer", Name="web", Subnets=subnets[:2])["LoadBalancers"][0]
    forward = [{"Type": "forward", "TargetGroupArn": arn}]
    listener = {"LoadBalancerArn": balancer["LoadBalancerArn"], "Protocol": "HTTP", "Port": 80}
    cloud("elbv2:CreateListener", **listener, DefaultActions=forward)
    cloud.group(size=1, TargetGroupARNs=[arn], **params)
    return arn


def test_an_instance_drains_before_it_is_terminated(cloud):
    arn = behind_a_balancer(cloud)
    (id_,) = cloud.ids()
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=0)
    assert cloud.registered(arn, draining=True) == {id_}
    assert cloud.activities()[0]["StatusCode"] == "WaitingForELBConnectionDraining"
    assert id_ in cloud.alive()
    cloud.wait(310)
    assert id_ not in cloud.alive()


def test_a_target_that_is_unhealthy_is_replaced_after_its_grace_period(cloud):
    arn = behind_a_balancer(cloud, HealthCheckType="ELB", HealthCheckGracePeriod=60)
    (id_,) = cloud.ids()
    cloud.see(arn, **{id_.replace("-", "_"): "unhealthy"})
    assert cloud.states() == ["InService"]
    cloud.wait(70)
    assert cloud.states() == ["Pending", "Terminating"]
    causes = " ".join(one["Cause"] for one in cloud.activities())
    assert "an instance was taken out of service in response to an ELB system health check failure." in causes


def test_what_was_seen_of_an_earlier_registration_replaces_nobody(cloud):
    arn = behind_a_balancer(cloud, HealthCheckType="ELB", HealthCheckGracePeriod=0)
    (id_,) = cloud.ids()
    cloud.see(arn, registration="of another time", **{id_.replace("-", "_"): "unhealthy"})
    cloud.wait(70)
    assert cloud.states() == ["InService"]


def test_target_health_is_nothing_to_a_group_with_ec2_checks_only(cloud):
    arn = behind_a_balancer(cloud)
    (id_,) = cloud.ids()
    cloud.see(arn, **{id_.replace("-", "_"): "unhealthy"})
    assert cloud.ids() == [id_]


def test_target_groups_that_are_not_there_are_refused(cloud):
    arn = "arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/no/0123456789abcdef"
    cloud.group(size=0)
    refused = cloud.refused("AttachLoadBalancerTargetGroups", AutoScalingGroupName="g", TargetGroupARNs=[arn])
    assert refused == (
        "ValidationError",
        "Provided Target Groups may not be valid. Please ensure they exist and try again.",
    )


def test_classic_load_balancers_are_not_there(cloud):
    """The text: ansible/autoscaling-blog issue 8; attached by an ALB's ARN: terraform-aws-modules/terraform-aws-autoscaling issue 16."""
    cloud.group(size=0)
    arn = "arn:aws:elasticloadbalancing:us-east-1:111122223333:loadbalancer/app/web/0123456789abcdef"
    words = ("ValidationError", "Provided Load Balancers may not be valid. Please ensure they exist and try again.")
    assert cloud.refused("AttachLoadBalancers", AutoScalingGroupName="g", LoadBalancerNames=[arn]) == words
    assert (
        cloud.refused(
            "CreateAutoScalingGroup",
            AutoScalingGroupName="other",
            LaunchTemplate={"LaunchTemplateName": "t"},
            MinSize=0,
            MaxSize=1,
            LoadBalancerNames=["classic"],
        )
        == words
    )
