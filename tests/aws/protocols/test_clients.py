"""The stock client on top: botocore builds, signs, sends and parses; the bytes go through identify, parse, validate,
serialise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request, compile_operation, decode_body, identify

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class _Raw:
    """urllib3's response, as far as botocore looks at it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Any:
        yield self._body

    def read(self, *_: Any, **__: Any) -> bytes:
        body, self._body = self._body, b""
        return body


class Cloud:
    """Answers every call of its clients with `answer`; remembers the protocol and the parameters it was asked with."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.protocol = self.operation = ""
        self.params: dict[str, Any] = {}

    def client(self, service: str, *, secure: bool = False, **config: Any) -> Any:
        session = botocore.session.Session()
        session.set_credentials("AKIDEXAMPLE", "secret")
        client = session.create_client(
            service,
            region_name="us-east-1",
            endpoint_url=f"http{'s' if secure else ''}://127.0.0.1:4566",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False, **config),
        )
        client.meta.events.register("before-send.*.*", self._send)
        return client

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        url = urlsplit(request.url)
        body = request.body or b""
        if hasattr(body, "read"):
            body = body.read()
        body = decode_body(headers, body.encode() if isinstance(body, str) else bytes(body), 1 << 20)
        received = Request(request.method, url.path, url.query, headers, body)
        target = identify(received)
        compiled = compile_operation(target.service, target.operation, target.protocol)
        self.protocol, self.operation = target.protocol, target.operation
        try:
            self.params = compiled.parse(received)
            compiled.validate(self.params)
            response = compiled.serialize(self._answer(self.params), "request-1")
        except AwsError as error:
            response = compiled.serialize_error(error, "request-1")
        return AWSResponse(
            request.url,
            response.status,
            response.headers,
            _Raw(response.body),
        )


def failing(error: AwsError) -> Cloud:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise error

    return Cloud(refuse)


def echo(**result: Any) -> Cloud:
    return Cloud(lambda _: result)


def test_ec2_call_and_answer() -> None:
    cloud = echo(
        Vpcs=[{"VpcId": "vpc-1", "Tags": [{"Key": "a<b", "Value": "x & y"}], "IsDefault": True}], NextToken=None
    )
    answer = cloud.client("ec2").describe_vpcs(Filters=[{"Name": "tag:k", "Values": ["v 1", "v+2"]}], MaxResults=5)
    assert cloud.params == {"Filters": [{"Name": "tag:k", "Values": ["v 1", "v+2"]}], "MaxResults": 5}
    assert answer["Vpcs"] == [{"VpcId": "vpc-1", "Tags": [{"Key": "a<b", "Value": "x & y"}], "IsDefault": True}]
    assert answer["ResponseMetadata"]["RequestId"] == "request-1"
    assert "NextToken" not in answer


def test_sts_call_and_answer() -> None:
    answer = (
        echo(Account="000000000000", UserId="AKID", Arn="arn:aws:iam::000000000000:root")
        .client("sts")
        .get_caller_identity()
    )
    assert answer["Account"] == "000000000000"
    assert answer["ResponseMetadata"]["RequestId"] == "request-1"


@pytest.mark.parametrize(
    ("service", "call", "params", "protocol"),
    [
        (
            "cloudwatch",
            "put_metric_data",
            {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.5}]},
            "json",
        ),
        ("eventbridgev2", "list_event_buses", {"MaxResults": 3, "NextToken": "ä"}, "smithy-rpc-v2-cbor"),
        ("dynamodb", "put_item", {"TableName": "tbl", "Item": {"k": {"S": "v"}, "b": {"B": b"\x00\xff"}}}, "json"),
        ("sqs", "send_message", {"QueueUrl": "http://q", "MessageBody": "hello"}, "json"),
        (
            "lambda",
            "invoke",
            {"FunctionName": "f", "Payload": b'{"a":1}', "Qualifier": "1", "InvocationType": "Event"},
            "rest-json",
        ),
        ("s3", "put_object", {"Bucket": "b", "Key": "k/ä 1", "Body": b"data", "Metadata": {"x": "1"}}, "rest-xml"),
        ("route53", "list_resource_record_sets", {"HostedZoneId": "Z1", "MaxItems": "3"}, "rest-xml"),
    ],
)
def test_parameters_arrive_in_every_protocol(service: str, call: str, params: dict[str, Any], protocol: str) -> None:
    cloud = echo()
    getattr(cloud.client(service), call)(**params)
    assert cloud.protocol == protocol
    assert {name: cloud.params[name] for name in params} == params


def test_large_metric_call_comes_gzipped() -> None:
    cloud = echo()
    data = [
        {"MetricName": f"metric-{i}", "Value": float(i), "Timestamp": datetime(2024, 1, 1, tzinfo=UTC)}
        for i in range(900)
    ]
    cloud.client("cloudwatch").put_metric_data(Namespace="n", MetricData=data)
    assert cloud.params["MetricData"] == data


def test_s3_streamed_upload_comes_in_chunks() -> None:
    cloud = echo()
    cloud.client("s3", secure=True, request_checksum_calculation="when_supported").put_object(
        Bucket="b", Key="k", Body=b"x" * 100_000
    )
    assert cloud.params["Body"] == b"x" * 100_000


def test_s3_object_comes_back_as_it_is() -> None:
    cloud = echo(Body=b"\x00\xffdata", ContentType="text/x", Metadata={"a": "1"}, ETag='"e"', LastModified=1700000000)
    answer = cloud.client("s3").get_object(Bucket="b", Key="k")
    assert answer["Body"].read() == b"\x00\xffdata"
    assert (answer["ContentType"], answer["Metadata"], answer["ETag"]) == ("text/x", {"a": "1"}, '"e"')
    assert answer["LastModified"] == datetime.fromtimestamp(1700000000, UTC)


@pytest.mark.parametrize(
    ("service", "call", "params", "error", "status"),
    [
        ("ec2", "describe_vpcs", {}, AwsError("InvalidVpcID.NotFound", "The vpc ID 'vpc-1' does not exist"), 400),
        ("ec2", "describe_vpcs", {}, AwsError("NotImplemented", "not built", status=501), 501),
        ("sts", "get_caller_identity", {}, AwsError("ExpiredToken", "The security token is <expired>"), 403),
        ("elbv2", "describe_load_balancers", {}, AwsError("LoadBalancerNotFound", "none"), 400),
        ("dynamodb", "list_tables", {}, AwsError("ResourceNotFoundException", "none"), 400),
        ("ssm", "get_parameter", {"Name": "x"}, AwsError("ParameterNotFound", "none"), 400),
        ("ssm", "get_parameter", {"Name": "x"}, AwsError("NotImplemented", "not built", status=501), 501),
        (
            "lambda",
            "get_function",
            {"FunctionName": "x"},
            AwsError("ResourceNotFoundException", "Function not found"),
            404,
        ),
        ("lambda", "get_function", {"FunctionName": "x"}, AwsError("NotImplemented", "not built", status=501), 501),
        (
            "s3",
            "list_objects_v2",
            {"Bucket": "x"},
            AwsError("NoSuchBucket", "The specified bucket does not exist", status=404),
            404,
        ),
        ("s3", "list_objects_v2", {"Bucket": "x"}, AwsError("NotImplemented", "not built", status=501), 501),
        ("route53", "get_hosted_zone", {"Id": "Z"}, AwsError("NoSuchHostedZone", "none"), 404),
        ("cloudwatch", "list_dashboards", {}, AwsError("NotImplemented", "not built", status=501), 501),
        ("eventbridgev2", "list_event_buses", {}, AwsError("AccessDeniedException", "none"), 403),
        ("eventbridgev2", "list_event_buses", {}, AwsError("NotImplemented", "not built", status=501), 501),
    ],
)
def test_error_reaches_the_client(
    service: str, call: str, params: dict[str, Any], error: AwsError, status: int
) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(failing(error).client(service), call)(**params)
    response = caught.value.response
    assert (response["Error"]["Code"], response["Error"]["Message"]) == (error.code, error.message)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["ResponseMetadata"]["RequestId"] == "request-1"


def test_modelled_error_is_an_exception_class_of_the_client() -> None:
    client = failing(AwsError("ConditionalCheckFailedException", "no", fields={"Item": {"k": {"S": "v"}}})).client(
        "dynamodb"
    )
    with pytest.raises(client.exceptions.ConditionalCheckFailedException) as caught:
        client.put_item(TableName="tbl", Item={})
    assert caught.value.response["Item"] == {"k": {"S": "v"}}


def test_lambda_throttle_tells_when_to_retry() -> None:
    client = failing(
        AwsError("TooManyRequestsException", "slow", fields={"retryAfterSeconds": "7", "Reason": "x"})
    ).client("lambda")
    with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
        client.get_function(FunctionName="f")
    assert caught.value.response["retryAfterSeconds"] == "7"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429


def test_services_that_left_query_keep_its_codes() -> None:
    client = failing(AwsError("QueueDoesNotExist", "gone")).client("sqs")
    with pytest.raises(client.exceptions.QueueDoesNotExist) as caught:
        client.get_queue_url(QueueName="q")
    assert caught.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert caught.value.response["Error"]["Type"] == "Sender"
    with pytest.raises(ClientError) as limit:
        failing(AwsError("LimitExceededFault", "full")).client("cloudwatch").put_metric_alarm()
    assert limit.value.response["Error"]["Code"] == "ValidationError"


def test_event_stream_is_read_by_the_client() -> None:
    compiled = compile_operation("logs", "StartLiveTail", "json")
    frames = [
        compiled.event("initial-response", {}),
        compiled.event("sessionStart", {"sessionId": "s1"}),
        compiled.event("sessionUpdate", {"sessionResults": [{"message": "line", "timestamp": 1}]}),
    ]
    client = echo(responseStream=b"".join(frames)).client("logs")
    stream = client.start_live_tail(logGroupIdentifiers=["arn:aws:logs:us-east-1:000000000000:log-group:a"])[
        "responseStream"
    ]
    events = list(stream)
    assert events[0]["sessionStart"]["sessionId"] == "s1"
    assert events[1]["sessionUpdate"]["sessionResults"] == [{"message": "line", "timestamp": 1}]
