"""What groups launch from: an instance that is taken for a model, Spot prices, templates named in all the ways there are."""

from __future__ import annotations

from gureum.aws.ec2.instances.kinds import Instance
from tests.aws.autoscaling.conftest import IMAGE, SCOPE

ZONES = {"AvailabilityZones": ["us-east-1a"]}


def _model(cloud, **params):
    made = cloud("ec2:RunInstances", ImageId=IMAGE, InstanceType="t3.micro", MinCount=1, MaxCount=1, **params)
    cloud.boot()
    return made["Instances"][0]


def _configurations(cloud):
    return cloud("DescribeLaunchConfigurations")["LaunchConfigurations"]


def test_a_group_takes_after_an_instance(cloud):
    model = _model(cloud, UserData="I2Nsb3VkLWNvbmZpZw==", Monitoring={"Enabled": False})
    cloud("CreateAutoScalingGroup", AutoScalingGroupName="g", InstanceId=model["InstanceId"], MinSize=1, MaxSize=2)
    cloud.boot()
    (made,) = _configurations(cloud)
    assert made["LaunchConfigurationName"] == cloud.told()["LaunchConfigurationName"] == "g"
    assert (made["ImageId"], made["InstanceType"], made["UserData"]) == (IMAGE, "t3.micro", "I2Nsb3VkLWNvbmZpZw==")
    assert made["SecurityGroups"] == [one["GroupId"] for one in model["SecurityGroups"]]
    assert made["InstanceMonitoring"] == {"Enabled": False}
    assert cloud.told()["VPCZoneIdentifier"] == model["SubnetId"]
    (id_,) = cloud.ids()
    instance = cloud.world.client.get(Instance, SCOPE, id_)
    assert (instance.spec.type, instance.spec.subnet) == ("t3.micro", model["SubnetId"])


def test_a_configuration_takes_after_an_instance_but_for_what_it_says_itself(cloud):
    model = _model(cloud)["InstanceId"]
    cloud("CreateLaunchConfiguration", LaunchConfigurationName="lc", InstanceId=model, InstanceType="t3.nano")
    (made,) = _configurations(cloud)
    assert (made["ImageId"], made["InstanceType"]) == (IMAGE, "t3.nano")


def test_an_instance_that_is_not_there_or_ends_is_no_model(cloud):
    group = {"AutoScalingGroupName": "g", "MinSize": 0, "MaxSize": 1} | ZONES
    told = ("ValidationError", "Instance [i-0123456789abcdef0] is invalid.")
    assert cloud.refused("CreateAutoScalingGroup", InstanceId="i-0123456789abcdef0", **group) == told
    model = _model(cloud)["InstanceId"]
    cloud("CreateLaunchConfiguration", LaunchConfigurationName="g", InstanceId=model)
    assert cloud.refused("CreateAutoScalingGroup", InstanceId=model, **group)[0] == "AlreadyExists"
    both = cloud.refused("CreateAutoScalingGroup", InstanceId=model, LaunchConfigurationName="g", **group)
    assert both[1].startswith("Valid requests must contain either")
    cloud("ec2:TerminateInstances", InstanceIds=[model])
    told = ("ValidationError", f"Instance [{model}] is invalid.")
    assert cloud.refused("CreateLaunchConfiguration", LaunchConfigurationName="lc", InstanceId=model) == told


def test_a_spot_price_makes_spot_instances(cloud):
    base = {"LaunchConfigurationName": "lc", "ImageId": IMAGE, "InstanceType": "t3.micro"}
    assert cloud.refused("CreateLaunchConfiguration", SpotPrice="cheap", **base)[0] == "ValidationError"
    cloud("CreateLaunchConfiguration", SpotPrice="1.5", **base)
    assert _configurations(cloud)[0]["SpotPrice"] == "1.5"
    cloud.group(size=1, LaunchConfigurationName="lc")
    assert cloud.world.client.get(Instance, SCOPE, cloud.ids()[0]).spec.spot_request.startswith("sir-")


def test_a_template_is_named_by_id_or_name_and_shown_with_the_version_that_was_given(cloud):
    group = {"AutoScalingGroupName": "g", "MinSize": 1, "MaxSize": 1} | ZONES
    told = ("ValidationError", "Valid requests must contain either launchTemplateId or LaunchTemplateName")
    both = {"LaunchTemplateId": cloud.template, "LaunchTemplateName": "web"}
    for wrong in (both, {"Version": "1"}):
        assert cloud.refused("CreateAutoScalingGroup", LaunchTemplate=wrong, **group) == told
    cloud("CreateAutoScalingGroup", LaunchTemplate={"LaunchTemplateName": "web"}, **group)
    cloud.boot()
    named = {"LaunchTemplateId": cloud.template, "LaunchTemplateName": "web"}
    assert cloud.told()["LaunchTemplate"] == named
    assert [one["LaunchTemplate"] for one in cloud.told()["Instances"]] == [named | {"Version": "1"}]


def test_a_group_that_is_not_there_is_told_in_each_operations_words(cloud):
    assert cloud.refused("UpdateAutoScalingGroup", AutoScalingGroupName="g", MinSize=1) == (
        "ValidationError",
        "AutoScalingGroup name not found - null",
    )
    tag = {"ResourceId": "g", "ResourceType": "auto-scaling-group", "Key": "k", "Value": "v"}
    assert cloud.refused("CreateOrUpdateTags", Tags=[tag]) == (
        "ValidationError",
        "AutoScalingGroup not found - AutoScaling Group g not found",
    )


def test_tags_are_found_by_whether_they_are_passed_on(cloud):
    cloud.group(size=0, Tags=[{"Key": "a", "PropagateAtLaunch": True}, {"Key": "b", "PropagateAtLaunch": False}])
    for text in ("True", "true"):
        found = cloud("DescribeTags", Filters=[{"Name": "propagate-at-launch", "Values": [text]}])["Tags"]
        assert [one["Key"] for one in found] == ["a"]


def test_the_oldest_configuration_goes_first_also_of_those_that_are_the_groups_no_more(cloud):
    names = ("first", "second", "third")
    for name in names:
        base = {"LaunchConfigurationName": name, "ImageId": IMAGE, "InstanceType": "t3.nano"}
        cloud("CreateLaunchConfiguration", **base)
    cloud.group(
        size=0,
        LaunchConfigurationName="first",
        AvailabilityZones=["us-east-1a"],
        TerminationPolicies=["OldestLaunchConfiguration"],
    )
    for size, name in enumerate((*names[:2], *names[:2], "third"), start=1):
        cloud("UpdateAutoScalingGroup", AutoScalingGroupName="g", LaunchConfigurationName=name, DesiredCapacity=size)
        cloud.boot()
    left = []
    for size in (4, 3, 2, 1):
        cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=size)
        serving = [one for one in cloud.told()["Instances"] if one["LifecycleState"] == "InService"]
        left.append(sorted(one["LaunchConfigurationName"] for one in serving))
    assert left == [
        ["first", "second", "second", "third"],
        ["second", "second", "third"],
        ["second", "third"],
        ["third"],
    ]
