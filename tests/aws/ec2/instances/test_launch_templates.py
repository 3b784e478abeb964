"""Launch templates. Expected errors: docs.aws.amazon.com/ec2/latest/devguide/ec2-api-errors.html and the model's texts."""

from __future__ import annotations

import base64

import pytest

from gureum.aws.ec2.instances.launch_template_data import merge

DATA = {"ImageId": "ami-00000000", "InstanceType": "t3.nano"}


def make(cloud, name="web", **params):
    return cloud("CreateLaunchTemplate", LaunchTemplateName=name, LaunchTemplateData=DATA, **params)["LaunchTemplate"]


def versions(cloud, **params):
    found = cloud("DescribeLaunchTemplateVersions", **params)["LaunchTemplateVersions"]
    return [version["VersionNumber"] for version in found]


def test_a_template_and_its_versions(cloud):
    template = make(cloud, VersionDescription="first")
    assert (template["DefaultVersionNumber"], template["LatestVersionNumber"]) == (1, 1)
    made = cloud(
        "CreateLaunchTemplateVersion",
        LaunchTemplateName="web",
        SourceVersion="1",
        LaunchTemplateData={"InstanceType": "t3.micro"},
    )["LaunchTemplateVersion"]
    assert made["LaunchTemplateData"] == {"ImageId": "ami-00000000", "InstanceType": "t3.micro"}
    assert (made["VersionNumber"], made["DefaultVersion"]) == (2, False)
    alone = cloud("CreateLaunchTemplateVersion", LaunchTemplateName="web", LaunchTemplateData={"KeyName": "k"})[
        "LaunchTemplateVersion"
    ]
    assert alone["LaunchTemplateData"] == {"KeyName": "k"}
    changed = cloud("ModifyLaunchTemplate", LaunchTemplateId=template["LaunchTemplateId"], DefaultVersion="2")
    assert changed["LaunchTemplate"]["DefaultVersionNumber"] == 2
    web = {"LaunchTemplateName": "web"}
    assert versions(cloud, **web) == [3, 2, 1]
    assert versions(cloud, **web, Versions=["$Latest", "$Default", "3"]) == [3, 2]
    assert versions(cloud, **web, MinVersion="2") == [3, 2]
    assert versions(cloud, **web, MaxVersion="$Default") == [2, 1]
    assert versions(cloud, Versions=["$Default"]) == [2]
    assert versions(cloud, **web, Filters=[{"Name": "instance-type", "Values": ["t3.n*"]}]) == [1]
    assert versions(cloud, **web, Filters=[{"Name": "is-default-version", "Values": ["true"]}]) == [2]


def test_a_description_has_255_characters_at_most(cloud):
    """The text as aws-samples/bottlerocket-images-cache issue 8 has it, of CreateSnapshot; the limit as the model has it."""
    long = "d" * 256
    wish = {"LaunchTemplateName": "web", "LaunchTemplateData": DATA}
    assert cloud.refused("CreateLaunchTemplate", **wish, VersionDescription=long) == (
        "InvalidParameterValue",
        f"Value ({long}) for parameter versionDescription is invalid. It exceeds 255 characters",
    )
    make(cloud, VersionDescription="d" * 255)
    assert cloud.code("CreateLaunchTemplateVersion", **wish, VersionDescription=long) == "InvalidParameterValue"
    volume = cloud("CreateVolume", AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    assert cloud.refused("CreateSnapshot", VolumeId=volume, Description=long) == (
        "InvalidParameterValue",
        f"Value ({long}) for parameter description is invalid. It exceeds 255 characters",
    )


def test_pages_of_versions(cloud):
    make(cloud)
    for number in range(4):
        cloud("CreateLaunchTemplateVersion", LaunchTemplateName="web", LaunchTemplateData={"KeyName": f"k{number}"})
    first = cloud("DescribeLaunchTemplateVersions", LaunchTemplateName="web", MaxResults=3)
    second = cloud(
        "DescribeLaunchTemplateVersions", LaunchTemplateName="web", MaxResults=3, NextToken=first["NextToken"]
    )
    numbers = [version["VersionNumber"] for page in (first, second) for version in page["LaunchTemplateVersions"]]
    assert numbers == [5, 4, 3, 2, 1]
    assert "NextToken" not in second


def test_deleting_versions_tells_of_each(cloud):
    make(cloud)
    for _ in range(2):
        cloud("CreateLaunchTemplateVersion", LaunchTemplateName="web", LaunchTemplateData=DATA)
    found = cloud("DeleteLaunchTemplateVersions", LaunchTemplateName="web", Versions=["3", "1", "9"])
    assert [one["VersionNumber"] for one in found["SuccessfullyDeletedLaunchTemplateVersions"]] == [3]
    kept = {
        one["VersionNumber"]: one["ResponseError"]["Code"]
        for one in found["UnsuccessfullyDeletedLaunchTemplateVersions"]
    }
    assert kept == {1: "unexpectedError", 9: "launchTemplateVersionDoesNotExist"}
    assert cloud.one("DescribeLaunchTemplates", "LaunchTemplates")["LatestVersionNumber"] == 2
    made = cloud("CreateLaunchTemplateVersion", LaunchTemplateName="web", LaunchTemplateData=DATA)
    assert made["LaunchTemplateVersion"]["VersionNumber"] == 4, "numbers are not used again"


def test_names_and_ids(cloud):
    template = make(
        cloud, TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "a", "Value": "1"}]}]
    )
    id_ = template["LaunchTemplateId"]
    create = {"LaunchTemplateData": DATA}
    taken = cloud.refused("CreateLaunchTemplate", LaunchTemplateName="web", **create)
    assert taken == ("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
    for bad in ("ab", "x" * 129, "a b c", "é-é"):
        code = cloud.code("CreateLaunchTemplate", LaunchTemplateName=bad, **create)
        assert code == "InvalidLaunchTemplateName.MalformedException"
    missing = "lt-0123456789abcdef0"
    assert cloud.refused("DeleteLaunchTemplate", LaunchTemplateId=missing) == (
        "InvalidLaunchTemplateId.NotFound",
        f"The specified launch template, with template ID {missing}, does not exist.",
    )
    assert cloud.code("DeleteLaunchTemplate", LaunchTemplateId="lt-x") == "InvalidLaunchTemplateId.Malformed"
    assert (
        cloud.code("DescribeLaunchTemplates", LaunchTemplateNames=["no"])
        == "InvalidLaunchTemplateName.NotFoundException"
    )
    assert (
        cloud.code("DeleteLaunchTemplate", LaunchTemplateId=id_, LaunchTemplateName="web")
        == "InvalidParameterCombination"
    )
    assert cloud.refused(
        "ModifyLaunchTemplate", LaunchTemplateId=id_, LaunchTemplateName="web", DefaultVersion="1"
    ) == (
        "InvalidParameterCombination",
        "Either provide launch template ID or launch template name to modify the template.",
    )
    assert cloud.code("DeleteLaunchTemplate") == "MissingParameter"
    for text in ("7", "0"):
        code, message = cloud.refused("ModifyLaunchTemplate", LaunchTemplateId=id_, DefaultVersion=text)
        assert code == "InvalidLaunchTemplateId.VersionNotFound"
        assert message == f"The launch template version {text} is not found for the specified launch template."
    assert cloud.code("ModifyLaunchTemplate", LaunchTemplateId=id_, DefaultVersion="new") == "InvalidParameterValue"
    found = cloud.one("DescribeLaunchTemplates", "LaunchTemplates", Filters=[{"Name": "tag:a", "Values": ["1"]}])
    assert found == template
    cloud("DeleteLaunchTemplate", LaunchTemplateName="web")
    assert make(cloud)["LaunchTemplateId"] != id_


def test_a_repeated_call_with_one_token_makes_one_template(cloud):
    first = make(cloud, ClientToken="t")
    assert make(cloud, ClientToken="t") == first
    assert cloud.code("CreateLaunchTemplate", LaunchTemplateName="other", LaunchTemplateData=DATA, ClientToken="t") == (
        "IdempotentParameterMismatch"
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"UserData": "%"}, "InvalidUserData.Malformed"),
        ({"UserData": base64.b64encode(bytes(16385)).decode()}, "InvalidUserData.Malformed"),
        ({"TagSpecifications": [{"ResourceType": "vpc", "Tags": []}]}, "InvalidParameterValue"),
        ({"SecurityGroupIds": ["sg-1"], "NetworkInterfaces": [{"DeviceIndex": 0}]}, "InvalidParameterCombination"),
    ],
)
def test_data_that_no_launch_could_use(cloud, data, code):
    assert cloud.code("CreateLaunchTemplate", LaunchTemplateName="web", LaunchTemplateData=data) == code


def test_merge_lays_the_request_over_the_template():
    data = {
        "ImageId": "ami-1",
        "InstanceType": "t3.nano",
        "SecurityGroups": ["a"],
        "RamDiskId": "ari-1",
        "InstanceRequirements": {"VCpuCount": {"Min": 1}},
        "IamInstanceProfile": {"Arn": "arn"},
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}},
            {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 1}},
        ],
        "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": ["sg-1"], "SubnetId": "subnet-1"}],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}]}
        ],
    }
    params = {
        "InstanceType": "t3.micro",
        "MinCount": 1,
        "SecurityGroupIds": ["sg-2"],
        "IamInstanceProfile": {"Name": "n"},
        "MetadataOptions": {"HttpTokens": "optional"},
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}},
            {"DeviceName": "/dev/sdb", "NoDevice": ""},
        ],
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": "subnet-2"}, {"DeviceIndex": 1, "SubnetId": "subnet-3"}],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "b", "Value": "2"}]},
            {"ResourceType": "volume", "Tags": []},
        ],
    }
    assert merge(data, params) == {
        "ImageId": "ami-1",
        "InstanceType": "t3.micro",
        "RamdiskId": "ari-1",
        "MinCount": 1,
        "SecurityGroupIds": ["sg-2"],
        "IamInstanceProfile": {"Name": "n"},
        "MetadataOptions": {"HttpTokens": "optional", "HttpPutResponseHopLimit": 2},
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3"}},
            {"DeviceName": "/dev/sdb", "NoDevice": ""},
        ],
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "Groups": ["sg-1"], "SubnetId": "subnet-2"},
            {"DeviceIndex": 1, "SubnetId": "subnet-3"},
        ],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]},
            {"ResourceType": "volume", "Tags": []},
        ],
    }


def test_an_instance_from_a_template(cloud):
    image = cloud("DescribeImages", Owners=["amazon"])["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "from-template"}]}]
    data = {"ImageId": image, "InstanceType": "t3.nano", "TagSpecifications": tags}
    template = cloud("CreateLaunchTemplate", LaunchTemplateName="web", LaunchTemplateData=data)["LaunchTemplate"]
    id_ = template["LaunchTemplateId"]
    made = cloud("RunInstances", LaunchTemplate={"LaunchTemplateName": "web"}, MinCount=1, MaxCount=1)["Instances"][0]
    assert (made["ImageId"], made["InstanceType"]) == (image, "t3.nano")
    assert {tag["Key"]: tag["Value"] for tag in made["Tags"]} == {
        "Name": "from-template",
        "aws:ec2launchtemplate:id": id_,
        "aws:ec2launchtemplate:version": "1",
    }
    run = {"MinCount": 1, "MaxCount": 1}
    wrong = {"LaunchTemplateId": id_, "Version": "4"}
    assert cloud.code("RunInstances", LaunchTemplate=wrong, **run) == "InvalidLaunchTemplateId.VersionNotFound"
    told = cloud("GetLaunchTemplateData", InstanceId=made["InstanceId"])["LaunchTemplateData"]
    assert (told["ImageId"], told["InstanceType"]) == (image, "t3.nano")
    assert told["TagSpecifications"] == tags


def test_versions_of_no_template_are_the_latest_and_the_default(cloud):
    """As in github.com/getmoto/moto, tests that were run against AWS."""
    make(cloud)
    (latest,) = cloud("DescribeLaunchTemplateVersions", Versions=["$Latest"])["LaunchTemplateVersions"]
    assert latest["VersionNumber"] == 1
    for versions, code in (({}, "MissingParameter"), ({"Versions": ["1"]}, "InvalidParameterValue")):
        refused, text = cloud.refused("DescribeLaunchTemplateVersions", **versions)
        assert refused == code
        assert text.startswith(
            "To describe the launch template data for all your launch templates, for \u2018--versions\u2019 "
        )
