"""Constraints of the models in the words of the services (recorded answers of STS, SSM, DynamoDB, ELB)."""

from __future__ import annotations

from typing import Any

import pytest

from gureum.aws.errors import AwsError
from gureum.aws.protocols import compile_operation


def refusal(service: str, operation: str, protocol: str, params: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(AwsError) as caught:
        compile_operation(service, operation, protocol).validate(params)
    return caught.value.code, caught.value.message


def test_missing_member() -> None:
    assert refusal("ssm", "GetParameter", "json", {}) == (
        "ValidationException",
        "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null",
    )


def test_several_faults_in_one_sentence() -> None:
    code, message = refusal("sts", "AssumeRole", "query", {"RoleSessionName": "x"})
    assert code == "ValidationError"
    assert message == (
        "2 validation errors detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null; "
        "Value 'x' at 'roleSessionName' failed to satisfy constraint: Member must have length greater than or equal to 2"
    )


def test_nested_member_is_named_by_its_way() -> None:
    code, message = refusal(
        "dynamodb", "CreateTable", "json", {"TableName": "tbl", "KeySchema": [{"AttributeName": "k"}]}
    )
    assert code == "ValidationException"
    assert "Value null at 'keySchema.1.member.keyType' failed to satisfy constraint: Member must not be null" in message


def test_enumerations_are_listed() -> None:
    _, message = refusal("elbv2", "CreateLoadBalancer", "query", {"Name": "x", "Type": "classic"})
    assert "Value 'classic' at 'type' failed to satisfy constraint: Member must satisfy enum value set: [" in message


def test_numbers_have_limits() -> None:
    _, message = refusal(
        "sts", "AssumeRole", "query", {"RoleArn": "r" * 20, "RoleSessionName": "me", "DurationSeconds": 1}
    )
    assert message == (
        "1 validation error detected: Value '1' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or "
        "equal to 900"
    )


def test_scalars_in_a_list_share_one_fault() -> None:
    _, message = refusal("ssm", "GetParameters", "json", {"Names": ["x", ""]})
    assert (
        "Value '[x, ]' at 'names' failed to satisfy constraint: Member must satisfy constraint: [Member must have length"
        in message
    )


def test_secrets_are_not_repeated() -> None:
    _, message = refusal("iam", "CreateLoginProfile", "query", {"UserName": "u", "Password": ""})
    assert "Value at 'password' failed" in message


def test_a_refused_identifier_of_a_log_group_is_not_repeated() -> None:
    """As in github.com/getmoto/moto, tests that were run against AWS."""
    arn = "arn:aws:logs:us-east-1:111122223333:log-group:app:*"
    code, message = refusal("logs", "DescribeLogStreams", "json", {"logGroupIdentifier": arn})
    assert code == "InvalidParameterException"
    assert message == (
        "1 validation error detected: Value at 'logGroupIdentifier' failed to satisfy constraint: "
        r"Member must satisfy regular expression pattern: [\w#+=/:,.@-]*"
    )


def test_ec2_leaves_enumerations_to_the_operation() -> None:
    compile_operation("ec2", "RunInstances", "ec2").validate(
        {"MinCount": 1, "MaxCount": 1, "InstanceType": "of-tomorrow"}
    )


def test_ec2_limits_numbers() -> None:
    assert refusal("ec2", "DescribeVpcs", "ec2", {"MaxResults": 1}) == (
        "InvalidParameterValue",
        "Value ( 1 ) for parameter maxResults is invalid. Expecting a value greater than 5.",
    )


def test_what_fits_passes() -> None:
    compile_operation("sts", "AssumeRole", "query").validate(
        {"RoleArn": "arn:aws:iam::000000000000:role/x", "RoleSessionName": "me"}
    )


def test_ec2_ends_no_instances_in_words_of_its_own() -> None:
    """AWS: as github.com/gruntwork-io/cloud-nuke, issue 731, shows it."""
    told = ("InvalidParameterCombination", "No instances specified")
    assert refusal("ec2", "TerminateInstances", "ec2", {}) == told
    assert refusal("ec2", "StopInstances", "ec2", {}) == (
        "MissingParameter",
        "The request must contain the parameter InstanceId",
    )
