"""Accounts and regions are apart, credentials of STS carry their account, signatures are checked when asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError


def client(url: str, service: str, account: str = "111122223333", region: str = "us-east-1", **keys: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=keys.get("key", account),
        aws_secret_access_key=keys.get("secret", "test"),
        aws_session_token=keys.get("token"),
        config=Config(retries={"max_attempts": 1}),
    )


def vpcs(ec2: Any) -> set[str]:
    return {one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"]}


def test_accounts_and_regions_see_only_their_own(endpoint: Any) -> None:
    places = [("111122223333", "us-east-1"), ("111122223333", "eu-west-1"), ("444455556666", "us-east-1")]
    seen = [vpcs(client(endpoint.url, "ec2", account, region)) for account, region in places]
    assert all(len(one) == 1 for one in seen), "each has its default VPC"
    assert len(set.union(*seen)) == 3
    foreign = next(iter(seen[1]))
    with pytest.raises(ClientError) as refused:
        client(endpoint.url, "ec2", *places[0]).describe_vpcs(VpcIds=[foreign])
    assert refused.value.response["Error"]["Code"] == "InvalidVpcID.NotFound"


def test_an_unknown_key_is_the_default_account(endpoint: Any) -> None:
    assert client(endpoint.url, "sts", "AKIAEXAMPLE").get_caller_identity()["Account"] == "000000000000"


def test_an_assumed_role_acts_in_its_account(endpoint: Any) -> None:
    sts = client(endpoint.url, "sts")
    answer = sts.assume_role(RoleArn="arn:aws:iam::777788889999:role/deploy", RoleSessionName="me")
    given = answer["Credentials"]
    keys = {"key": given["AccessKeyId"], "secret": given["SecretAccessKey"], "token": given["SessionToken"]}
    who = client(endpoint.url, "sts", **keys).get_caller_identity()
    assert who["Account"] == "777788889999"
    assert who["Arn"] == "arn:aws:sts::777788889999:assumed-role/deploy/me"
    assert who["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]
    stored = b"".join(entry.value for entry in endpoint.world.client.store.range("sts."))
    assert given["SecretAccessKey"].encode() not in stored
    assert given["SessionToken"].encode() not in stored


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]},
            "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
        ),
        (
            {"Tags": [{"Key": "a", "Value": "1"}], "TransitiveTagKeys": ["b"]},
            "The specified transitive tag key must be included in the requested tags.",
        ),
    ],
)
def test_session_tags_are_checked_as_on_aws(endpoint: Any, params: dict[str, Any], text: str) -> None:
    """Recorded by LocalStack's test_assume_role_tag_validation."""
    role = {"RoleArn": "arn:aws:iam::777788889999:role/deploy", "RoleSessionName": "me"}
    with pytest.raises(ClientError) as refused:
        client(endpoint.url, "sts").assume_role(**role, **params)
    error = refused.value.response["Error"]
    assert (error["Code"], error["Message"]) == ("InvalidParameterValue", text)
    tags = [{"Key": "a", "Value": "1"}]
    assert client(endpoint.url, "sts").assume_role(**role, Tags=tags, TransitiveTagKeys=["A"])["Credentials"]


def test_session_tokens_are_not_for_sessions(endpoint: Any) -> None:
    given = client(endpoint.url, "sts").get_session_token(DurationSeconds=900)["Credentials"]
    keys = {"key": given["AccessKeyId"], "secret": given["SecretAccessKey"], "token": given["SessionToken"]}
    with pytest.raises(ClientError) as refused:
        client(endpoint.url, "sts", **keys).get_session_token()
    assert refused.value.response["Error"]["Code"] == "AccessDenied"


def test_a_federated_user_is_who_it_was_made_for(endpoint: Any) -> None:
    made = client(endpoint.url, "sts").get_federation_token(Name="Bob", DurationSeconds=7200)
    account = made["FederatedUser"]["FederatedUserId"].removesuffix(":Bob")
    given = made["Credentials"]
    assert 3500 < (given["Expiration"] - datetime.now(UTC)).total_seconds() <= 3600
    keys = {"key": given["AccessKeyId"], "secret": given["SecretAccessKey"], "token": given["SessionToken"]}
    told = client(endpoint.url, "sts", **keys).get_caller_identity()
    assert (told["UserId"], told["Account"]) == (f"{account}:Bob", account)
    assert told["Arn"] == made["FederatedUser"]["Arn"] == f"arn:aws:sts::{account}:federated-user/Bob"
    with pytest.raises(ClientError) as refused:
        client(endpoint.url, "sts", **keys).get_federation_token(Name="Eve")
    assert refused.value.response["Error"]["Code"] == "AccessDenied"


@pytest.mark.parametrize("arn", ["arn:aws:iam::1:role/x", "role/x" + "y" * 20, "arn:aws:iam::123456789012:user/bob"])
def test_a_role_that_is_none_is_refused(endpoint: Any, arn: str) -> None:
    with pytest.raises(ClientError) as refused:
        client(endpoint.url, "sts").assume_role(RoleArn=arn.ljust(20, "z"), RoleSessionName="me")
    assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_operations_that_are_not_built_say_so(endpoint: Any) -> None:
    with pytest.raises(ClientError) as refused:
        client(endpoint.url, "ec2").create_transit_gateway()
    answer = refused.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("NotImplemented", 501)
    assert "CreateTransitGateway" in answer["Error"]["Message"]
    with pytest.raises(ClientError) as refused:
        client(endpoint.url, "dynamodb").list_tables()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_dry_runs_change_nothing_and_say_what_would_be(endpoint: Any) -> None:
    ec2 = client(endpoint.url, "ec2")
    before = vpcs(ec2)
    for call in (lambda: ec2.create_vpc(CidrBlock="10.9.0.0/16", DryRun=True), lambda: ec2.describe_vpcs(DryRun=True)):
        with pytest.raises(ClientError) as refused:
            call()
        answer = refused.value.response
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("DryRunOperation", 412)
    assert vpcs(ec2) == before


def test_a_region_that_is_none_is_refused(endpoint: Any) -> None:
    for region in ("mars", "us-east-1x", "x" * 60):
        with pytest.raises(ClientError) as refused:
            client(endpoint.url, "sts", region=region).get_caller_identity()
        assert "valid region" in refused.value.response["Error"]["Message"]
