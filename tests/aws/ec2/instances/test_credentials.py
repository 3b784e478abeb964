"""What a role's trust policy says of EC2, and what the metadata tells of credentials (IAM user guide: "Troubleshoot IAM and Amazon EC2")."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.ec2.instances.credential_kinds import InstanceCredentials, InstanceCredentialsSpec, name_of
from gureum.aws.ec2.instances.credentials import lets_assume

ALLOW = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}


@pytest.mark.parametrize(
    ("statement", "lets"),
    [
        (ALLOW, True),
        ([ALLOW], True),
        ([{**ALLOW, "Principal": {"Service": ["ssm.amazonaws.com", "ec2.amazonaws.com"]}}], True),
        ([{**ALLOW, "Action": ["sts:TagSession", "sts:AssumeRole"]}], True),
        ([{**ALLOW, "Principal": "*"}], True),
        ([{**ALLOW, "Action": "sts:AssumeRoleWithWebIdentity"}], False),
        ([{**ALLOW, "Principal": {"Service": "lambda.amazonaws.com"}}], False),
        ([{**ALLOW, "Principal": {"AWS": "*"}}], False),
        ([ALLOW, {**ALLOW, "Effect": "Deny"}], False),
        ([], False),
        ("text", False),
        (None, False),
    ],
)
def test_trust_policies(statement: Any, lets: bool) -> None:
    policy = {"Version": "2012-10-17", "Statement": statement}
    assert lets_assume(policy) is lets
    assert lets_assume(quote(json.dumps(policy))) is lets


@pytest.mark.parametrize("policy", ["", "no json", "[]", "%7B", 7])
def test_what_is_no_policy_lets_nobody(policy: Any) -> None:
    assert lets_assume(policy) is False


@pytest.fixture
def launch(cloud: Any) -> Any:
    def run(**params: Any) -> str:
        wanted = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1, **params}
        return str(cloud("RunInstances", **wanted)["Instances"][0]["InstanceId"])

    return run


def test_secrets_are_lowered_sealed_and_faults_told(cloud: Any, launch: Any) -> None:
    instance = launch(IamInstanceProfile={"Name": "web"})
    made = cloud.client.get(InstanceCredentials, "111122223333/us-east-1", name_of(instance))
    arn = "arn:aws:iam::111122223333:instance-profile/web"
    assert made.spec == InstanceCredentialsSpec(arn)
    document = cloud.wished("Metadata")[instance].document
    assert not document.sealed
    assert not [path for path in document.tree if "/iam/" in path]


def test_a_profile_is_given_and_taken_together_with_its_credentials(cloud: Any, launch: Any) -> None:
    instance = launch()

    def credentials() -> Any:
        return cloud.client.get(InstanceCredentials, "111122223333/us-east-1", name_of(instance))

    assert credentials() is None
    cloud("AssociateIamInstanceProfile", InstanceId=instance, IamInstanceProfile={"Name": "web"})
    assert credentials().spec.profile.endswith("/web")
    association = cloud("DescribeIamInstanceProfileAssociations")["IamInstanceProfileAssociations"][0]["AssociationId"]
    replaced = cloud(
        "ReplaceIamInstanceProfileAssociation", AssociationId=association, IamInstanceProfile={"Name": "db"}
    )["IamInstanceProfileAssociation"]
    assert credentials().spec.profile.endswith("/db")
    cloud("DisassociateIamInstanceProfile", AssociationId=replaced["AssociationId"])
    assert credentials() is None


def test_tags_of_an_instance_with_a_profile_are_its_own(cloud: Any, launch: Any) -> None:
    instance = launch(IamInstanceProfile={"Name": "web"})
    cloud("CreateTags", Resources=[instance], Tags=[{"Key": "Name", "Value": "one"}])
    cloud("CreateTags", Resources=[instance], Tags=[{"Key": "Name", "Value": "two"}])
    (found,) = cloud("DescribeInstances", InstanceIds=[instance])["Reservations"][0]["Instances"]
    assert found["Tags"] == [{"Key": "Name", "Value": "two"}]
    filters = [{"Name": "resource-id", "Values": [instance]}]
    assert [one["Value"] for one in cloud("DescribeTags", Filters=filters)["Tags"]] == ["two"]
