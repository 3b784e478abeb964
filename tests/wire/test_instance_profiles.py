"""Instance profiles as IAM's neighbour knows them: launches of every kind are held against it. AWS: ec2 RunInstances, IamInstanceProfile;
EC2 API error codes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import BUSYBOX, NANO, Cloud, until

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
LAUNCH = {"ImageId": BUSYBOX, "InstanceType": NANO}
ACCOUNT = "333344445555"


def make_profile(iam: Any, name: str, trust: Any = TRUST, path: str = "/") -> dict[str, Any]:
    iam.create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument=json.dumps(trust))
    made = iam.create_instance_profile(InstanceProfileName=name, Path=path)["InstanceProfile"]
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=f"{name}-role")
    return dict(made)


@pytest.fixture(scope="session")
def iam(simulated_cloud: Cloud) -> Any:
    made = simulated_cloud.client("iam", account=ACCOUNT)
    make_profile(made, "web")
    return made


@pytest.fixture(scope="module")
def ec2(simulated_cloud: Cloud) -> Any:
    return simulated_cloud.client("ec2", account=ACCOUNT)


def refusal(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def run(ec2: Any, **params: Any) -> dict[str, Any]:
    return dict(ec2.run_instances(MinCount=1, MaxCount=1, **LAUNCH, **params)["Instances"][0])


def test_a_launch_names_a_profile_that_is_there(ec2: Any, iam: Any) -> None:
    profile = iam.get_instance_profile(InstanceProfileName="web")["InstanceProfile"]
    shown = {"Arn": profile["Arn"], "Id": profile["InstanceProfileId"]}
    by_name = run(ec2, IamInstanceProfile={"Name": "web"})
    by_arn = run(ec2, IamInstanceProfile={"Arn": profile["Arn"]})
    assert by_name["IamInstanceProfile"] == by_arn["IamInstanceProfile"] == shown
    association = ec2.describe_iam_instance_profile_associations(
        Filters=[{"Name": "instance-id", "Values": [by_name["InstanceId"]]}]
    )["IamInstanceProfileAssociations"][0]
    assert association["IamInstanceProfile"] == shown


@pytest.mark.parametrize("name", ["none", "bad name"])
def test_a_launch_with_a_profile_that_is_not_there_is_refused(ec2: Any, iam: Any, name: str) -> None:
    before = len(ec2.describe_instances()["Reservations"])
    code, text = refusal(ec2.run_instances, MinCount=1, MaxCount=1, **LAUNCH, IamInstanceProfile={"Name": name})
    assert code == "InvalidParameterValue"
    assert text == f"Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
    assert len(ec2.describe_instances()["Reservations"]) == before


def test_a_profile_just_made_or_deleted_is_known_at_once(ec2: Any, iam: Any) -> None:
    wanted = {"MinCount": 1, "MaxCount": 1, **LAUNCH, "IamInstanceProfile": {"Name": "late"}}
    assert refusal(ec2.run_instances, **wanted)[0] == "InvalidParameterValue"
    iam.create_instance_profile(InstanceProfileName="late")
    arn = iam.get_instance_profile(InstanceProfileName="late")["InstanceProfile"]["Arn"]
    text = f'IAM Instance Profile "{arn}" has no associated IAM Roles'
    assert refusal(ec2.run_instances, **wanted) == ("InvalidParameterValue", text)
    iam.add_role_to_instance_profile(InstanceProfileName="late", RoleName="web-role")
    ec2.run_instances(**wanted)
    iam.remove_role_from_instance_profile(InstanceProfileName="late", RoleName="web-role")
    iam.delete_instance_profile(InstanceProfileName="late")
    assert refusal(ec2.run_instances, **wanted)[0] == "InvalidParameterValue"


def test_an_arn_must_be_the_profiles_own(ec2: Any, iam: Any) -> None:
    made = make_profile(iam, "deep", path="/team/")
    run(ec2, IamInstanceProfile={"Arn": made["Arn"]})
    for arn in (
        f"arn:aws:iam::{ACCOUNT}:instance-profile/deep",
        "arn:aws:iam::999999999999:instance-profile/team/deep",
        "arn:aws:iam::1:role/x",
    ):
        code, text = refusal(ec2.run_instances, MinCount=1, MaxCount=1, **LAUNCH, IamInstanceProfile={"Arn": arn})
        assert code == "InvalidParameterValue"
        assert (
            text == f"Value ({arn}) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN"
        )


def test_associations_are_held_against_iam(ec2: Any, iam: Any) -> None:
    instance = run(ec2)["InstanceId"]
    wanted = {"InstanceId": instance, "IamInstanceProfile": {"Name": "none"}}
    assert refusal(ec2.associate_iam_instance_profile, **wanted)[0] == "InvalidParameterValue"
    wanted["IamInstanceProfile"] = {"Name": "web"}
    made = ec2.associate_iam_instance_profile(**wanted)["IamInstanceProfileAssociation"]
    replace = {"AssociationId": made["AssociationId"], "IamInstanceProfile": {"Name": "none"}}
    assert refusal(ec2.replace_iam_instance_profile_association, **replace)[0] == "InvalidParameterValue"
    assert ec2.describe_iam_instance_profile_associations(AssociationIds=[made["AssociationId"]])


def test_a_template_may_name_what_is_not_there_but_its_launch_may_not(ec2: Any, iam: Any) -> None:
    for name, profile in (("good", "web"), ("bad", "none")):
        data = {**LAUNCH, "IamInstanceProfile": {"Name": profile}}
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    launch = {"MinCount": 1, "MaxCount": 1}
    made = ec2.run_instances(**launch, LaunchTemplate={"LaunchTemplateName": "good"})["Instances"][0]
    assert made["IamInstanceProfile"]["Arn"].endswith("/web")
    code, _ = refusal(ec2.run_instances, **launch, LaunchTemplate={"LaunchTemplateName": "bad"})
    assert code == "InvalidParameterValue"


def test_fleets_and_spot_requests_are_held_against_iam(ec2: Any, iam: Any) -> None:
    ec2.create_launch_template(
        LaunchTemplateName="fleet", LaunchTemplateData={**LAUNCH, "IamInstanceProfile": {"Name": "none"}}
    )
    template = {"LaunchTemplateName": "fleet", "Version": "$Latest"}
    fleet = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template}],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    )
    assert [one["ErrorCode"] for one in fleet["Errors"]] == ["InvalidParameterValue"]
    specification = {**LAUNCH, "IamInstanceProfile": {"Name": "none"}}
    assert refusal(ec2.request_spot_instances, LaunchSpecification=specification)[0] == "InvalidParameterValue"
    specification["IamInstanceProfile"] = {"Name": "web"}
    spot = ec2.request_spot_instances(LaunchSpecification=specification)["SpotInstanceRequests"][0]
    ids = [spot["SpotInstanceRequestId"]]

    def launched() -> Any:
        return ec2.describe_spot_instance_requests(SpotInstanceRequestIds=ids)["SpotInstanceRequests"][0].get(
            "InstanceId"
        )

    instance = ec2.describe_instances(InstanceIds=[until(launched)])["Reservations"][0]["Instances"][0]
    assert instance["IamInstanceProfile"]["Arn"].endswith("/web")


def test_a_group_tells_that_the_profile_is_not_there_and_launches_when_it_is(
    simulated_cloud: Cloud, ec2: Any, iam: Any
) -> None:
    scaling = simulated_cloud.client("autoscaling", account=ACCOUNT)
    ec2.create_launch_template(
        LaunchTemplateName="group", LaunchTemplateData={**LAUNCH, "IamInstanceProfile": {"Name": "scaled"}}
    )
    group = {
        "AutoScalingGroupName": "profiled",
        "MinSize": 0,
        "MaxSize": 1,
        "LaunchTemplate": {"LaunchTemplateName": "group"},
        "AvailabilityZones": ["us-east-1a"],
    }
    code, text = refusal(scaling.create_auto_scaling_group, **group)
    assert code == "ValidationError"
    assert "Invalid IAM Instance Profile name" in text
    make_profile(iam, "scaled")
    scaling.create_auto_scaling_group(**group)
    role = {"InstanceProfileName": "scaled", "RoleName": "scaled-role"}
    iam.remove_role_from_instance_profile(**role)
    iam.delete_instance_profile(InstanceProfileName="scaled")
    scaling.set_desired_capacity(AutoScalingGroupName="profiled", DesiredCapacity=1)

    def failed() -> Any:
        found = scaling.describe_scaling_activities(AutoScalingGroupName="profiled")["Activities"]
        return [one["StatusMessage"] for one in found if one["StatusCode"] == "Failed"]

    assert "Invalid IAM Instance Profile name" in until(failed)[0]
    iam.create_instance_profile(InstanceProfileName="scaled")
    iam.add_role_to_instance_profile(**role)

    def members() -> Any:
        group = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["profiled"])["AutoScalingGroups"][0]
        return [one["InstanceId"] for one in group["Instances"]]

    instance = ec2.describe_instances(InstanceIds=until(members))["Reservations"][0]["Instances"][0]
    assert instance["IamInstanceProfile"]["Arn"].endswith("/scaled")
    scaling.delete_auto_scaling_group(AutoScalingGroupName="profiled", ForceDelete=True)
