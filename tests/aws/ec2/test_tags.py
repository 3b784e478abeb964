"""Tags on everything. Limits: docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html."""

from __future__ import annotations

import pytest

from gureum.aws.ec2.images.images import BUILTINS


def tag(key, value=""):
    return {"Key": key, "Value": value}


def test_tags_come_with_creation_and_are_found(cloud):
    specification = {"ResourceType": "vpc", "Tags": [tag("Name", "prod"), tag("env", "p")]}
    vpc = cloud("CreateVpc", CidrBlock="10.0.0.0/16", TagSpecifications=[specification])["Vpc"]
    assert vpc["Tags"] == [tag("Name", "prod"), tag("env", "p")]
    for one in (("tag:Name", "pr*"), ("tag-key", "env"), ("tag-value", "p")):
        found = cloud.one("DescribeVpcs", "Vpcs", Filters=[{"Name": one[0], "Values": [one[1]]}])
        assert found["VpcId"] == vpc["VpcId"]
    rows = cloud("DescribeTags", Filters=[{"Name": "resource-type", "Values": ["vpc"]}])["Tags"]
    assert rows[0] == {"ResourceId": vpc["VpcId"], "ResourceType": "vpc", "Key": "Name", "Value": "prod"}
    assert len(rows) == 2


def test_every_kind_of_network_resource_takes_tags(cloud):
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    here = [{"Name": "vpc-id", "Values": [vpc]}]
    everything = [
        vpc,
        subnet,
        cloud.gateway(vpc),
        cloud.interface(subnet),
        cloud.group(vpc),
        cloud("AllocateAddress")["AllocationId"],
        cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"],
        cloud.one("DescribeNetworkAcls", "NetworkAcls", Filters=here)["NetworkAclId"],
        cloud.one("DescribeDhcpOptions", "DhcpOptions")["DhcpOptionsId"],
    ]
    cloud("CreateTags", Resources=everything, Tags=[tag("all", "yes")])
    found = cloud("DescribeTags", Filters=[{"Name": "key", "Values": ["all"]}])["Tags"]
    assert {one["ResourceId"] for one in found} == set(everything)
    assert "" not in {one["ResourceType"] for one in found}
    cloud("DeleteTags", Resources=everything, Tags=[{"Key": "all"}])
    assert cloud("DescribeTags")["Tags"] == []


def test_deleting_with_a_value_spares_other_values(cloud):
    vpc = cloud.vpc()
    cloud("CreateTags", Resources=[vpc], Tags=[tag("a", "1"), tag("b", "2"), tag("c")])
    cloud("DeleteTags", Resources=[vpc], Tags=[tag("a", "9"), tag("b", "2")])
    assert cloud.one("DescribeVpcs", "Vpcs", VpcIds=[vpc])["Tags"] == [tag("a", "1"), tag("c")]
    cloud("DeleteTags", Resources=[vpc])
    assert cloud.one("DescribeVpcs", "Vpcs", VpcIds=[vpc]).get("Tags") is None


def test_tags_that_aws_made_stay(cloud):
    """AWS: "We do not delete Amazon Web Services-generated tags (tags that have the aws: prefix)" (ec2 DeleteTags)."""
    data = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano"}
    cloud("CreateLaunchTemplate", LaunchTemplateName="web", LaunchTemplateData=data)
    made = cloud("RunInstances", LaunchTemplate={"LaunchTemplateName": "web"}, MinCount=1, MaxCount=1)["Instances"][0]
    cloud("CreateTags", Resources=[made["InstanceId"]], Tags=[tag("own")])
    cloud("DeleteTags", Resources=[made["InstanceId"]])
    rows = cloud("DescribeTags", Filters=[{"Name": "resource-id", "Values": [made["InstanceId"]]}])["Tags"]
    assert [row["Key"] for row in rows] == ["aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version"]
    given = [{"Key": "aws:ec2launchtemplate:id"}]
    assert cloud.code("DeleteTags", Resources=[made["InstanceId"]], Tags=given) == "InvalidParameterValue"


@pytest.mark.parametrize(
    "tags",
    [[tag("")], [tag("k" * 129)], [tag("k", "v" * 257)], [tag("aws:x")], [tag("a", "1"), tag("a", "2")]],
)
def test_bad_tags_are_refused(cloud, tags):
    vpc = cloud.vpc()
    assert cloud.code("CreateTags", Resources=[vpc], Tags=tags) == "InvalidParameterValue"
    specification = [{"ResourceType": "vpc", "Tags": tags}]
    assert cloud.code("CreateVpc", CidrBlock="10.0.0.0/16", TagSpecifications=specification) == "InvalidParameterValue"


def test_fifty_tags_and_no_more(cloud):
    vpc = cloud.vpc()
    cloud("CreateTags", Resources=[vpc], Tags=[tag(f"k{i}") for i in range(50)])
    cloud("CreateTags", Resources=[vpc], Tags=[tag("k1", "again")])
    assert cloud.code("CreateTags", Resources=[vpc], Tags=[tag("one-more")]) == "TagLimitExceeded"


def test_ids_that_are_none(cloud):
    tags = [tag("a")]
    assert cloud.code("CreateTags", Resources=["vpc-12345678"], Tags=tags) == "InvalidVpcID.NotFound"
    assert cloud.code("CreateTags", Resources=["i-12345678"], Tags=tags) == "InvalidInstanceID.NotFound"
    assert cloud.code("CreateTags", Resources=["sgr-12345678"], Tags=tags) == "InvalidSecurityGroupRuleId.NotFound"
    assert cloud.code("CreateTags", Resources=["nonsense"], Tags=tags) == "InvalidID"
    assert cloud.code("CreateTags", Resources=[cloud.vpc()]) == "MissingParameter"


def test_a_tag_for_another_kind_of_thing_is_refused(cloud):
    specification = [{"ResourceType": "subnet", "Tags": [tag("a")]}]
    assert cloud.refused("CreateVpc", CidrBlock="10.0.0.0/16", TagSpecifications=specification) == (
        "InvalidParameterValue",
        "'subnet' is not a valid taggable resource type for this operation.",
    )


def test_an_instance_whose_tags_are_in_its_metadata_takes_keys_that_can_be_paths(cloud):
    """AWS: "Work with instance tags in instance metadata" (EC2 user guide)."""
    wanted = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    name = cloud("RunInstances", **wanted)["Instances"][0]["InstanceId"]
    cloud("CreateTags", Resources=[name], Tags=[tag("a/b")])
    show = {"InstanceId": name, "InstanceMetadataTags": "enabled"}
    assert cloud.code("ModifyInstanceMetadataOptions", **show) == "InvalidParameterValue"
    cloud("DeleteTags", Resources=[name], Tags=[{"Key": "a/b"}])
    cloud("ModifyInstanceMetadataOptions", **show)
    for key in ("a/b", "a b", "_index"):
        assert cloud.code("CreateTags", Resources=[name], Tags=[tag(key)]) == "InvalidParameterValue"
    cloud("CreateTags", Resources=[name], Tags=[tag("a.b:c")])


def test_a_type_of_thing_is_named_once_in_tag_specifications(cloud):
    twice = [{"ResourceType": "vpc", "Tags": [{"Key": key, "Value": "1"}]} for key in ("a", "b")]
    assert cloud.refused("CreateVpc", CidrBlock="10.0.0.0/16", TagSpecifications=twice) == (
        "InvalidParameterValue",
        "The same resource type may not be specified more than once in tag specifications.",
    )


def test_fleets_and_spot_requests_take_tags(cloud):
    image = cloud("DescribeImages", Owners=["amazon"])["Images"][0]["ImageId"]
    launch = {"ImageId": image, "InstanceType": "t3.nano"}
    template = cloud("CreateLaunchTemplate", LaunchTemplateName="for-fleets", LaunchTemplateData=launch)[
        "LaunchTemplate"
    ]
    chosen = {"LaunchTemplateSpecification": {"LaunchTemplateId": template["LaunchTemplateId"], "Version": "1"}}
    capacity = {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"}
    made = {
        "fleet": cloud("CreateFleet", LaunchTemplateConfigs=[chosen], TargetCapacitySpecification=capacity)["FleetId"],
        "spot-instances-request": cloud("RequestSpotInstances", LaunchSpecification=launch)["SpotInstanceRequests"][0][
            "SpotInstanceRequestId"
        ],
    }
    cloud("CreateTags", Resources=list(made.values()), Tags=[tag("a", "b")])
    for type_, id_ in made.items():
        found = cloud("DescribeTags", Filters=[{"Name": "resource-id", "Values": [id_]}])["Tags"]
        assert [(one["ResourceType"], one["Key"], one["Value"]) for one in found] == [(type_, "a", "b")]
    assert cloud.code("CreateTags", Resources=["fleet-none"], Tags=[tag("a", "b")]).startswith("InvalidFleetId.")
