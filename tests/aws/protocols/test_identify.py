"""Which service and operation a request is for."""

from __future__ import annotations

import pytest

from gureum.aws.protocols import Request, Target, credential_scope, identify


def request(
    signing: str = "", *, body: str = "", path: str = "/", query: str = "", method: str = "POST", **headers: str
) -> Request:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if signing:
        given["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240101/eu-west-1/{signing}/aws4_request, SignedHeaders=host, Signature=0"
        )
    return Request(method, path, query, given, body.encode())


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        (request("ec2", body="Action=DescribeVpcs&Version=2016-11-15"), Target("ec2", "ec2", "DescribeVpcs")),
        (request("ec2", query="Action=DescribeVpcs", method="GET"), Target("ec2", "ec2", "DescribeVpcs")),
        (request("ec2", body="Version=2016-11-15&VpcId=x&Action=DeleteVpc"), Target("ec2", "ec2", "DeleteVpc")),
        (request(query="Action=DescribeVpcs", method="GET"), Target("ec2", "ec2", "DescribeVpcs")),
        (request(body="Action=DescribeVpcs&Version=2014-10-01"), Target("ec2", "ec2", "DescribeVpcs")),
        (request(body="Action=NobodyHasThis&Version=2014-10-01"), Target("", "query", "")),
        (request("elasticloadbalancing", body="Action=X&Version=2015-12-01"), Target("elbv2", "query", "X")),
        (request("elasticloadbalancing", body="Action=X&Version=2012-06-01"), Target("elb", "query", "X")),
        (
            request("monitoring", body="Action=PutMetricData&Version=2010-08-01"),
            Target("cloudwatch", "query", "PutMetricData"),
        ),
        (request("monitoring", body="Foo=1"), Target("cloudwatch", "smithy-rpc-v2-cbor", "")),
        (
            request("monitoring", body="Foo=1", content_type="application/x-www-form-urlencoded"),
            Target("cloudwatch", "query", ""),
        ),
        (
            request("monitoring", path="/service/x/operation/ListMetrics", content_type="application/cbor"),
            Target("cloudwatch", "smithy-rpc-v2-cbor", ""),
        ),
        (request("elasticloadbalancing", body="Foo=1"), Target("elbv2", "query", "")),
        (request("nonesuch", body="Foo=1"), Target("", "query", "")),
        (request("sqs", body="Action=SendMessage&Version=2012-11-05"), Target("sqs", "query", "SendMessage")),
        (
            request(body="Action=AssumeRoleWithWebIdentity&Version=2011-06-15"),
            Target("sts", "query", "AssumeRoleWithWebIdentity"),
        ),
        (request("logs", body="{}", x_amz_target="Logs_20140328.PutLogEvents"), Target("logs", "json", "PutLogEvents")),
        (request(x_amz_target="AmazonSSM.GetParameter"), Target("ssm", "json", "GetParameter")),
        (request(x_amz_target="Nobody.Knows"), Target("", "json", "Knows")),
        (
            request(
                "monitoring",
                path="/service/GraniteServiceVersion20100801/operation/PutMetricData",
                smithy_protocol="rpc-v2-cbor",
            ),
            Target("cloudwatch", "smithy-rpc-v2-cbor", "PutMetricData"),
        ),
        (
            request("lambda", path="/2015-03-31/functions/", method="GET"),
            Target("lambda", "rest-json", "ListFunctions"),
        ),
        (
            request("lambda", path="/2015-03-31/functions/a%2Fb/policy", method="GET"),
            Target("lambda", "rest-json", "GetPolicy"),
        ),
        (request("lambda", path="/nowhere", method="GET"), Target("lambda", "rest-json", "")),
        (request("s3", method="GET"), Target("s3", "rest-xml", "ListBuckets")),
        (request("s3", path="/b/", method="GET"), Target("s3", "rest-xml", "ListObjects")),
        (
            request("s3", path="/b", query="list-type=2&prefix=a", method="GET"),
            Target("s3", "rest-xml", "ListObjectsV2"),
        ),
        (request("s3", path="/b/a/b/c", method="PUT"), Target("s3", "rest-xml", "PutObject")),
        (
            request("s3", path="/b/k", query="partNumber=1&uploadId=u", method="PUT"),
            Target("s3", "rest-xml", "UploadPart"),
        ),
        (request("s3", path="/b/k", method="PUT", x_amz_copy_source="x/y"), Target("s3", "rest-xml", "CopyObject")),
        (
            request("s3", path="/v20180820/jobs", method="GET", x_amz_account_id="000000000000"),
            Target("s3control", "rest-xml", "ListJobs"),
        ),
        (request(host="s3.localhost:4566", path="/b/k", method="GET"), Target("s3", "rest-xml", "GetObject")),
        (request(), Target("", "query", "")),
        (request("nobody"), Target("", "query", "")),
        (request(content_type="application/json", body="{}"), Target("", "json", "")),
        (request("ec2"), Target("ec2", "ec2", "")),
    ],
)
def test_target(asked: Request, target: Target) -> None:
    assert identify(asked) == target


def test_scope_of_a_presigned_request() -> None:
    scope = credential_scope(
        request(query="X-Amz-Credential=AKID%2F20240101%2Feu-west-1%2Fsts%2Faws4_request&Action=GetCallerIdentity")
    )
    assert scope is not None
    assert (scope.access_key, scope.region, scope.signing_name) == ("AKID", "eu-west-1", "sts")


def test_anonymous_request_has_no_scope() -> None:
    assert credential_scope(request(authorization="Bearer x")) is None
