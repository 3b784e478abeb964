"""query and ec2: what malformed and unusual parameters get, in the words of the services.

The words: EC2 API reference, "Error codes"; for query the recorded answers of Auto Scaling and CloudFormation.
"""

from __future__ import annotations

import tracemalloc
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Compiled, Encoded, Request, compile_operation


def ec2(operation: str = "DescribeInstances") -> Compiled:
    return compile_operation("ec2", operation, "ec2")


def post(body: str, query: str = "") -> Request:
    return Request("POST", "/", query, {}, body.encode())


def refusal(compiled: Compiled, body: str) -> tuple[str, str]:
    with pytest.raises(AwsError) as caught:
        compiled.validate(compiled.parse(post(body)))
    return caught.value.code, caught.value.message


def test_ec2_names_and_lists() -> None:
    body = (
        "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1&NetworkInterface.1.SecurityGroupId.1=sg-1"
        "&NetworkInterface.1.Ipv6Addresses.1.Ipv6Address=::1"
    )
    assert ec2("RunInstances").parse(post(body)) == {
        "MinCount": 1,
        "MaxCount": 1,
        "NetworkInterfaces": [{"Groups": ["sg-1"], "Ipv6Addresses": [{"Ipv6Address": "::1"}]}],
    }


def test_lists_are_in_the_order_of_their_numbers_and_may_have_gaps() -> None:
    assert ec2().parse(post("InstanceId.10=c&InstanceId.2=b&InstanceId.1=a")) == {"InstanceIds": ["a", "b", "c"]}


def test_huge_index_costs_nothing() -> None:
    compiled = ec2()
    tracemalloc.start()
    try:
        assert compiled.parse(post("Filter.999999999.Name=x")) == {"Filters": [{"Name": "x"}]}
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_parameters_come_in_query_string_or_body() -> None:
    assert ec2().parse(post("", "Action=DescribeInstances&InstanceId.1=i+1")) == {"InstanceIds": ["i 1"]}


def test_parameters_of_signing_are_no_parameters_of_the_operation() -> None:
    signed = "Action=X&Version=1&X-Amz-Algorithm=A&X-Amz-Signature=B&AWSAccessKeyId=C&Signature=D&Timestamp=E&SignatureVersion=2"
    assert ec2().parse(post("", signed)) == {}


def test_same_parameter_twice() -> None:
    assert ec2().parse(post("MaxResults=5", "MaxResults=5")) == {"MaxResults": 5}
    assert refusal(ec2(), "MaxResults=5&MaxResults=6")[0] == "MalformedQueryString"


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("Foo=1", "UnknownParameter", "The parameter Foo is not recognized"),
        ("Filter.1.Foo.2=1", "UnknownParameter", "The parameter Filter.1.Foo.2 is not recognized"),
        ("Filter.a.Name=1", "UnknownParameter", "The parameter Filter.a is not recognized"),
        ("Filter.99999999999.Name=1", "UnknownParameter", "The parameter Filter.99999999999 is not recognized"),
        ("MaxResults=x", "InvalidParameterValue", "Invalid value 'x' for MaxResults. It must be an integer."),
        (
            "MaxResults=99999999999",
            "InvalidParameterValue",
            "Invalid value '99999999999' for MaxResults. It must be an integer.",
        ),
        ("DryRun=x", "InvalidParameterValue", "Invalid value 'x' for DryRun. It must be true or false."),
        ("Filter=x", "InvalidParameterValue", "The parameter Filter has an invalid format."),
        ("MaxResults.1=1", "InvalidParameterValue", "The parameter MaxResults has an invalid format."),
        (
            "MaxResults=1&MaxResults.1=1",
            "MalformedQueryString",
            "The parameter MaxResults.1 has both a value and parts.",
        ),
        ("A=%ff", "MalformedQueryString", "The query string is not UTF-8."),
        (".".join("a" * 60) + "=1", "MalformedQueryString", "The query string nests too deep."),
        (
            "&".join(f"a{i}=1" for i in range(60_000)),
            "MalformedQueryString",
            "The query string has too many parameters.",
        ),
    ],
)
def test_ec2_refuses(body: str, code: str, message: str) -> None:
    assert refusal(ec2(), body) == (code, message)


def test_ec2_missing_parameter_is_called_as_it_is_sent() -> None:
    assert refusal(ec2("CreateSecurityGroup"), "GroupName=x") == (
        "MissingParameter",
        "The request must contain the parameter GroupDescription",
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("MinSize=x", 'For input string: "x"'),
        ("NewInstancesProtectedFromScaleIn=x", "boolean must follow xsd1.1 definition"),
        ("MixedInstancesPolicy=x", "Unexpected complex element termination"),
        ("Tags=x", "Unexpected list element termination"),
    ],
)
def test_query_refuses(body: str, message: str) -> None:
    assert refusal(compile_operation("autoscaling", "CreateAutoScalingGroup", "query"), body) == (
        "MalformedInput",
        message,
    )


def test_query_ignores_unknown_parameters_and_takes_empty_lists() -> None:
    compiled = compile_operation("autoscaling", "DescribeAutoScalingGroups", "query")
    assert compiled.parse(post("Foo.1=x&AutoScalingGroupNames=")) == {"AutoScalingGroupNames": []}


def test_ec2_response_form() -> None:
    body = ec2("DescribeVpcs").serialize({"Vpcs": []}, "r-1").body.decode()
    assert body == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        "<requestId>r-1</requestId><vpcSet></vpcSet></DescribeVpcsResponse>"
    )


def test_ec2_operation_without_result_says_that_it_is_done() -> None:
    assert (
        "<requestId>r-1</requestId><return>true</return></DeleteVpcResponse>"
        in ec2("DeleteVpc").serialize({}, "r-1").body.decode()
    )


def test_query_response_form() -> None:
    body = compile_operation("sts", "GetCallerIdentity", "query").serialize({"Account": "1"}, "r-1").body.decode()
    assert body == (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Account>1</Account>'
        "</GetCallerIdentityResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )


def test_error_forms() -> None:
    error = AwsError("ValidationError", "a < b")
    assert ec2().serialize_error(error, "r-1").body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>ValidationError</Code><Message>a &lt; b</Message>'
        "</Error></Errors><RequestID>r-1</RequestID></Response>"
    )
    assert compile_operation("sts", "GetCallerIdentity", "query").serialize_error(error, "r-1").body.decode() == (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>ValidationError</Code>'
        "<Message>a &lt; b</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
    )


def test_unknown_actions() -> None:
    with pytest.raises(AwsError, match=r"InvalidAction: The action Foo is not valid for this web service\."):
        ec2("Foo")
    with pytest.raises(AwsError, match="InvalidAction: Could not find operation Foo for version 2011-06-15"):
        compile_operation("sts", "Foo", "query")
    with pytest.raises(AwsError, match="MissingAction"):
        ec2("")


def test_fragment_is_written_as_its_structure() -> None:
    compiled = ec2("DescribeVpcs")
    vpcs: list[Any] = [{"VpcId": "vpc-1", "Tags": [{"Key": "k", "Value": "<&>"}]}, {"VpcId": "vpc-2"}]
    fragments = [compiled.encoder("Vpc")(vpc) for vpc in vpcs]
    assert compiled.serialize({"Vpcs": fragments}, "r").body == compiled.serialize({"Vpcs": vpcs}, "r").body


def test_fragment_in_a_wrong_place_is_our_own_mistake() -> None:
    with pytest.raises(TypeError, match="Subnet"):
        ec2("DescribeVpcs").serialize({"Vpcs": [Encoded("Subnet", "ec2", "")]}, "r")


def test_result_that_does_not_fit_its_shape_is_our_own_mistake() -> None:
    with pytest.raises(TypeError, match="Vpc has no member Foo"):
        ec2("DescribeVpcs").serialize({"Vpcs": [{"Foo": "x"}]}, "r")
    with pytest.raises(TypeError, match="<vpcId> holds int"):
        ec2("DescribeVpcs").serialize({"Vpcs": [{"VpcId": 1}]}, "r")


def test_ec2_times_have_milliseconds() -> None:
    body = ec2().serialize({"Reservations": [{"Instances": [{"LaunchTime": 1700000000}]}]}, "r").body
    assert b"<launchTime>2023-11-14T22:13:20.000Z</launchTime>" in body
    ET.fromstring(body)
