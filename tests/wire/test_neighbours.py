"""Services that moto answers behind gureum's endpoint, with their own clients; and that what they were told outlives the daemon.

AWS: the API references of S3, IAM, SQS, SNS, KMS, DynamoDB, Route 53, Secrets Manager.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import BUSYBOX, NANO, Cloud, until
from tests.wire.conftest import _running
from tests.wire.terraform_runs import Terraform

ACCOUNT = "111122223333"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    settings = {"simulate": "true", "ephemeral": "true", "alarm_evaluation_s": "0.5", "alarm_minute_s": "1"}
    yield from _running(Cloud(tmp_path_factory.mktemp("gureum"), **settings), "up", "--simulate")


def kill_daemon(cloud: Cloud) -> None:
    old = cloud.process("daemon")
    os.kill(old, signal.SIGKILL)
    until(lambda: cloud.process("daemon") != old)


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


@pytest.mark.parametrize(
    ("signing", "kind", "code"),
    [
        ("monitoring", "application/x-www-form-urlencoded", "MissingAction"),
        ("monitoring", "application/cbor", "UnknownOperationException"),
        ("elasticloadbalancing", "application/x-www-form-urlencoded", "MissingAction"),
        ("nonesuch", "application/x-www-form-urlencoded", "InvalidAction"),
    ],
)
def test_what_is_signed_for_another_service_is_not_for_s3(cloud: Cloud, signing: str, kind: str, code: str) -> None:
    credential = f"Credential={ACCOUNT}/20261129/us-east-1/{signing}/aws4_request"
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0",
        "Content-Type": kind,
    }
    path = "/service/GraniteServiceVersion20100801/operation/ListMetrics"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(cloud.url + path, b"Foo=1", headers), timeout=10)
    assert (refused.value.code, code.encode() in refused.value.read()) == (400, True)


def test_objects(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="photos")
    key = "a folder/ü+%2F&?.txt"
    s3.put_object(Bucket="photos", Key=key, Body=b"hello", Metadata={"my_key": "v"}, ContentType="text/plain")
    found = s3.get_object(Bucket="photos", Key=key)
    assert (found["Body"].read(), found["Metadata"], found["ContentType"]) == (b"hello", {"my_key": "v"}, "text/plain")
    assert s3.head_object(Bucket="photos", Key=key)["ContentLength"] == 5
    s3.upload_fileobj(io.BytesIO(b"x" * 9_000_000), "photos", "large")
    assert s3.head_object(Bucket="photos", Key="large")["ContentLength"] == 9_000_000
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="photos")["Contents"]] == [key, "large"]
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket="photos", Key="none")
    assert code_of(error) == "NoSuchKey"
    address = s3.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": key})
    assert urllib.request.urlopen(address).read() == b"hello"


def test_what_s3_refuses_is_not_a_fault_of_the_cloud(cloud: Cloud) -> None:
    """A 500 is made again by clients, and tells them nothing."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="refused")
    upload = {"Bucket": "refused", "Key": "k", "UploadId": "none"}
    parts = {"Parts": [{"PartNumber": 1, "ETag": "x"}]}
    for call in (
        lambda: s3.complete_multipart_upload(**upload, MultipartUpload=parts),
        lambda: s3.upload_part(**upload, PartNumber=1, Body=b"x"),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert code_of(error) == "NoSuchUpload"
    credential = f"Credential={ACCOUNT}/20261129/us-east-1/s3/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"}
    for path, body, expected in (
        ("/nonsense", b"x", (412, b"PreconditionFailed")),
        ("/no/such/path", b"{}", (405, b"MethodNotAllowed")),
        ("/refused?delete", b"<x", (400, b"MalformedXML")),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(cloud.url + path, body, headers), timeout=10)
        assert (refused.value.code, expected[1] in refused.value.read()) == (expected[0], True)


def test_a_bucket_by_the_name_of_the_host(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="by-host")
    s3.put_object(Bucket="by-host", Key="page", Body=b"here", ACL="public-read")
    asked = urllib.request.Request(f"{cloud.url}/page", headers={"Host": "by-host.s3.localhost"})
    assert urllib.request.urlopen(asked).read() == b"here"


def test_accounts_are_apart(cloud: Cloud) -> None:
    cloud.client("iam").create_user(UserName="mine")
    with pytest.raises(ClientError) as error:
        cloud.client("iam", account="444455556666").get_user(UserName="mine")
    assert code_of(error) == "NoSuchEntity"


def test_a_topic_fills_a_queue_and_a_long_poll_sees_it_without_holding_others_up(cloud: Cloud) -> None:
    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    queue = sqs.create_queue(QueueName="orders")["QueueUrl"]
    assert queue.startswith(cloud.url)
    topic = sns.create_topic(Name="orders")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT}:orders")
    got: list[Any] = []
    waits = threading.Thread(
        target=lambda: got.extend(sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20).get("Messages", []))
    )
    begun = time.monotonic()
    waits.start()
    cloud.client("iam").list_users()
    assert time.monotonic() - begun < 15
    sns.publish(TopicArn=topic, Message="one book")
    waits.join(20)
    assert json.loads(got[0]["Body"])["Message"] == "one book"
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)


def test_the_command_line_uses_a_queue(cloud: Cloud) -> None:
    """It calls the queue by the URL that it was given."""

    def aws(*words: str) -> Any:
        keys = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        command = [sys.executable, "-m", "awscli", "--endpoint-url", cloud.url, *words]
        made = subprocess.run(command, env={**cloud.environment, **keys}, capture_output=True, text=True, check=True)
        return json.loads(made.stdout) if made.stdout.strip() else None

    url = aws("sqs", "create-queue", "--queue-name", "by-cli")["QueueUrl"]
    aws("sqs", "send-message", "--queue-url", url, "--message-body", "hello")
    assert aws("sqs", "receive-message", "--queue-url", url)["Messages"][0]["Body"] == "hello"


def test_subscriptions_do_not_reach_outside(cloud: Cloud) -> None:
    sns = cloud.client("sns")
    topic = sns.create_topic(Name="closed")["TopicArn"]
    with pytest.raises(ClientError) as error:
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://198.51.100.7/")
    assert code_of(error) == "NotImplemented"
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def test_services_that_would_have_to_run_something_are_absent(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as error:
        cloud.client("lambda").list_functions()
    assert code_of(error) == "NotImplemented"


def test_what_is_not_known_of_a_bucket_or_an_object_leaves_them_as_they_are(cloud: Cloud) -> None:
    """Taking away the metrics of an empty bucket took away the bucket; renaming an object wrote an empty one."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="unknown")
    for call in (
        lambda: s3.delete_bucket_metrics_configuration(Bucket="unknown", Id="x"),
        lambda: s3.delete_bucket_inventory_configuration(Bucket="unknown", Id="x"),
        lambda: s3.rename_object(Bucket="unknown", Key="new", RenameSource="/unknown/old"),
        lambda: s3.get_bucket_request_payment(Bucket="unknown"),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert code_of(error) == "NotImplemented"
    assert s3.list_objects_v2(Bucket="unknown")["KeyCount"] == 0


def raw(
    cloud: Cloud, service: str, body: bytes, path: str = "/", method: str = "POST", target: str = ""
) -> tuple[int, str]:
    """Status and body of what no client would send."""
    credential = f"Credential={ACCOUNT}/20261129/us-east-1/{service}/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"}
    headers["Content-Type"] = "application/x-amz-json-1.0" if target else "application/x-www-form-urlencoded"
    if target:
        headers["X-Amz-Target"] = target
    try:
        with urllib.request.urlopen(urllib.request.Request(cloud.url + path, body, headers, method=method)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


@pytest.mark.parametrize(
    ("service", "body", "where", "status", "code"),
    [
        ("dynamodb", b"{", {"target": "DynamoDB_20120810.PutItem"}, 400, "SerializationException"),
        ("dynamodb", b'{"TableName":5}', {"target": "DynamoDB_20120810.PutItem"}, 400, "SerializationException"),
        ("dynamodb", b'{"a":' * 5000 + b"1" + b"}" * 5000, {"target": "DynamoDB_20120810.PutItem"}, 400, "SerializationException"),
        ("dynamodb", b"{}", {"target": "DynamoDB_20120810.DeleteTable"}, 400, "ValidationException"),
        ("kms", b'{"KeyId":[1]}', {"target": "TrentService.Encrypt"}, 400, "SerializationException"),
        ("iam", b"Action=CreateUser&Version=2010-05-08", {}, 400, "ValidationError"),
        ("iam", b"Action=NoSuch&Version=2010-05-08", {}, 400, "InvalidAction"),
        ("sqs", b'{"QueueName":"q","Attributes":{"VisibilityTimeout":"x"}}', {"target": "AmazonSQS.CreateQueue"}, 400, "InvalidAttributeValue"),
        ("route53", b"<x", {"path": "/2013-04-01/hostedzone"}, 400, "MalformedInput"),
        ("route53", b"", {"path": "/2013-04-01/trafficpolicies", "method": "GET"}, 501, "NotImplemented"),
        ("s3", b"<CORSConfiguration/>", {"path": "/refused?cors", "method": "PUT"}, 400, "MalformedXML"),
        ("s3", b"<Delete/>", {"path": "/refused?delete"}, 400, "MalformedXML"),
        ("s3", b"", {"path": "/refused?max-keys=x", "method": "GET"}, 400, "InvalidArgument"),
        ("s3", b"", {"path": "/refused?versioning", "method": "PUT"}, 400, "MalformedXML"),
        ("s3", b"no policy", {"path": "/refused?policy", "method": "PUT"}, 400, "MalformedPolicy"),
        ("s3", b'{"Statement": [7]}', {"path": "/refused?policy", "method": "PUT"}, 400, "MalformedPolicy"),
    ],
)  # fmt: skip
def test_what_moto_would_fail_at_is_refused_in_the_services_words(
    cloud: Cloud, service: str, body: bytes, where: dict[str, str], status: int, code: str
) -> None:
    cloud.client("s3").create_bucket(Bucket="refused")
    answered, text = raw(cloud, service, body, **where)
    assert (answered, code in text) == (status, True), text


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("VisibilityTimeout", "43201", "InvalidAttributeValue"),
        ("DelaySeconds", "-1", "InvalidAttributeValue"),
        ("MessageRetentionPeriod", "59", "InvalidAttributeValue"),
        ("MaximumMessageSize", "1048577", "InvalidAttributeValue"),
        ("ReceiveMessageWaitTimeSeconds", "x", "InvalidAttributeValue"),
        ("KmsDataKeyReusePeriodSeconds", "59", "InvalidAttributeValue"),
        ("Policy", "{", "InvalidAttributeValue"),
        ("RedrivePolicy", "{}", "InvalidParameterValue"),
        ("RedrivePolicy", "no map", "InvalidParameterValue"),
        ("Nonsense", "1", "InvalidAttributeName"),
    ],
)
def test_attributes_of_queues_have_ranges(cloud: Cloud, name: str, value: str, code: str) -> None:
    """AWS: SQS SetQueueAttributes."""
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName="ranges")["QueueUrl"]
    with pytest.raises(ClientError) as refused:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: value})
    assert code_of(refused) == code


def test_a_bucket_tells_only_who_is_there(cloud: Cloud) -> None:
    s3, sqs, sns = (cloud.client(name) for name in ("s3", "sqs", "sns"))
    s3.create_bucket(Bucket="telling")
    url, topic = sqs.create_queue(QueueName="told-by-bucket")["QueueUrl"], sns.create_topic(Name="told")["TopicArn"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events = {"Events": ["s3:ObjectCreated:*"]}
    function = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"
    for wrong in (
        {"QueueConfigurations": [{"QueueArn": f"{queue}-not", **events}]},
        {"TopicConfigurations": [{"TopicArn": f"{topic}-not", **events}]},
        {"LambdaFunctionConfigurations": [{"LambdaFunctionArn": function, **events}]},
    ):
        with pytest.raises(ClientError) as refused:
            s3.put_bucket_notification_configuration(Bucket="telling", NotificationConfiguration=wrong)
        assert code_of(refused) == "InvalidArgument"
        s3.put_bucket_notification_configuration(
            Bucket="telling", NotificationConfiguration=wrong, SkipDestinationValidation=True
        )
    right = {
        "QueueConfigurations": [{"QueueArn": queue, **events}],
        "TopicConfigurations": [{"TopicArn": topic, **events}],
    }
    s3.put_bucket_notification_configuration(Bucket="telling", NotificationConfiguration=right)
    s3.put_object(Bucket="telling", Key="k", Body=b"1")
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)["Messages"]
    assert "ObjectCreated:Put" in "".join(one["Body"] for one in found)


def test_rules_of_a_buckets_lifecycle_are_read_as_they_were_told(cloud: Cloud) -> None:
    """Terraform waited for what moto had lost of them, and gave up."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="living")
    both = {"Prefix": "y", "Tags": [{"Key": "a", "Value": "b"}], "ObjectSizeGreaterThan": 10, "ObjectSizeLessThan": 99}
    transition = [{"NoncurrentDays": 30, "StorageClass": "GLACIER", "NewerNoncurrentVersions": 3}]
    rules = [
        {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "NoncurrentVersionTransitions": transition},
        {"ID": "b", "Status": "Enabled", "Filter": {"And": both}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"ID": "c", "Status": "Disabled", "Filter": {"ObjectSizeGreaterThan": 5}, "Expiration": {"Days": 1}},
    ]
    rules[0]["NoncurrentVersionExpiration"] = {"NoncurrentDays": 4, "NewerNoncurrentVersions": 2}
    told = {"Bucket": "living", "LifecycleConfiguration": {"Rules": rules}}
    minimum = "TransitionDefaultMinimumObjectSize"
    assert s3.put_bucket_lifecycle_configuration(**told)[minimum] == "all_storage_classes_128K"
    s3.put_bucket_lifecycle_configuration(**told, TransitionDefaultMinimumObjectSize="varies_by_storage_class")
    found = s3.get_bucket_lifecycle_configuration(Bucket="living")
    assert (found["Rules"], found[minimum]) == (rules, "varies_by_storage_class")
    s3.delete_bucket_lifecycle(Bucket="living")
    with pytest.raises(ClientError) as none:
        s3.get_bucket_lifecycle_configuration(Bucket="living")
    assert code_of(none) == "NoSuchLifecycleConfiguration"


def test_a_bucket_may_log_to_another_of_its_owner(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    for name in ("logging", "logged-to"):
        s3.create_bucket(Bucket=name)
    target = {"TargetBucket": "logged-to", "TargetPrefix": "log/"}
    s3.put_bucket_logging(Bucket="logging", BucketLoggingStatus={"LoggingEnabled": target})
    assert s3.get_bucket_logging(Bucket="logging")["LoggingEnabled"] == target


def test_an_object_whose_latest_version_is_a_marker_is_deleted_after_versions_were_suspended(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="versions")
    for status in ("Enabled", "Suspended"):
        s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": status})
        s3.put_object(Bucket="versions", Key="k", Body=b"1")
        s3.delete_object(Bucket="versions", Key="k")
        s3.delete_object(Bucket="versions", Key="k")
    assert "Contents" not in s3.list_objects_v2(Bucket="versions")


def test_how_often_a_key_is_rotated_is_read_back(cloud: Cloud) -> None:
    kms = cloud.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert "RotationPeriodInDays" not in kms.get_key_rotation_status(KeyId=key)
    for said, days in (({}, 365), ({"RotationPeriodInDays": 180}, 180)):
        kms.enable_key_rotation(KeyId=key, **said)
        found = kms.get_key_rotation_status(KeyId=key)
        assert (found["KeyId"], found["KeyRotationEnabled"], found["RotationPeriodInDays"]) == (key, True, days)
    with pytest.raises(ClientError) as refused:
        kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=2561)
    assert code_of(refused) in ("ValidationException", "ParamValidationError")


def test_the_key_of_encrypted_tables_outlives_the_daemon(cloud: Cloud) -> None:
    key = {"KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    kinds = [{"AttributeName": "k", "AttributeType": "S"}]
    made = cloud.client("dynamodb").create_table(
        TableName="encrypted", AttributeDefinitions=kinds, SSESpecification={"Enabled": True, "SSEType": "KMS"}, **key
    )
    kms = cloud.client("kms")
    sealed = kms.encrypt(KeyId=made["TableDescription"]["SSEDescription"]["KMSMasterKeyArn"], Plaintext=b"x")
    kill_daemon(cloud)
    assert kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"])["Plaintext"] == b"x"
    assert kms.describe_key(KeyId="alias/aws/dynamodb")["KeyMetadata"]["KeyManager"] == "AWS"


def test_what_a_text_says_is_no_call(cloud: Cloud) -> None:
    """Whoever may write into a queue could empty it; items and secrets with such a text were not there."""
    sqs, table, secrets = (cloud.client(name) for name in ("sqs", "dynamodb", "secretsmanager"))
    url, other = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("texts", "texts-other"))
    sqs.send_message(QueueUrl=url, MessageBody="first")
    texts = ["http://x/?a=1&Action=PurgeQueue&b=2", f"x&QueueUrl={other}&MessageBody=y&z"]
    for text in texts:
        sqs.send_message(QueueUrl=url, MessageBody=text)
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert sorted(one["Body"] for one in found) == sorted(["first", *texts])
    key = [{"AttributeName": "k", "KeyType": "HASH"}]
    kinds = [{"AttributeName": "k", "AttributeType": "S"}]
    table.create_table(TableName="texts", KeySchema=key, AttributeDefinitions=kinds, BillingMode="PAY_PER_REQUEST")
    table.put_item(TableName="texts", Item={"k": {"S": "a&Action=ListTables&b"}})
    assert table.scan(TableName="texts")["Count"] == 1
    secrets.create_secret(Name="texts", SecretString="s&Action=ListSecrets&Name=another&t")
    assert secrets.get_secret_value(SecretId="texts")["SecretString"].startswith("s&Action")


@pytest.mark.parametrize(
    ("service", "path", "headers", "body"),
    [
        ("iam", "/?Action=ListUsers&Version=2010-05-08", {}, "Action=CreateUser&Version=2010-05-08&UserName=unseen"),
        ("iam", "/", {}, "%41ction=CreateUser&Version=2010-05-08&UserName=unseen&Action=ListUsers"),
        (
            "secretsmanager",
            "/?Action=CreateSecret",
            {"X-Amz-Target": "secretsmanager.ListSecrets", "Content-Type": "application/x-amz-json-1.1"},
            '{"Name": "unseen", "SecretString": "s"}',
        ),
        (
            "secretsmanager",
            "/",
            {"X-Amz-Target": "secretsmanager.ListSecrets"},
            "Action=CreateSecret&Name=unseen&SecretString=s",
        ),
    ],
)
def test_what_looks_like_a_look_changes_nothing(
    cloud: Cloud, service: str, path: str, headers: dict[str, str], body: str
) -> None:
    """It would be in no journal."""
    credential = f"Credential={ACCOUNT}/20261129/us-east-1/{service}/aws4_request"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    signed = {"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"}
    with contextlib.suppress(urllib.error.HTTPError):
        sent = urllib.request.Request(cloud.url + path, body.encode(), {**form, **headers, **signed})
        urllib.request.urlopen(sent, timeout=30)
    assert "unseen" not in [one["UserName"] for one in cloud.client("iam").list_users()["Users"]]
    assert "unseen" not in [one["Name"] for one in cloud.client("secretsmanager").list_secrets()["SecretList"]]


def test_a_zone_that_is_made_with_a_vpc_is_private(cloud: Cloud) -> None:
    """AWS: route53 CreateHostedZone; Terraform says nothing but the VPC."""
    route53, vpc = cloud.client("route53"), {"VPCRegion": "us-east-1", "VPCId": "vpc-0123456789abcdef0"}
    for reference, more in (("1", {}), ("2", {"HostedZoneConfig": {"Comment": "c"}})):
        made = route53.create_hosted_zone(Name="inner.test", CallerReference=reference, VPC=vpc, **more)
        told = route53.get_hosted_zone(Id=made["HostedZone"]["Id"])
        assert (told["HostedZone"]["Config"]["PrivateZone"], told["VPCs"]) == (True, [vpc])


def test_replication_is_read_back_as_it_was_told(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    for bucket in ("replicated", "replica"):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {
        "ID": "r",
        "Priority": 3,
        "Filter": {"And": {"Prefix": "p/", "Tags": [{"Key": "a", "Value": "b"}]}},
        "Status": "Enabled",
        "Destination": {"Bucket": "arn:aws:s3:::replica", "StorageClass": "STANDARD_IA"},
        "DeleteMarkerReplication": {"Status": "Enabled"},
    }
    told = {"Role": f"arn:aws:iam::{ACCOUNT}:role/r", "Rules": [rule, {**rule, "ID": "s", "Filter": {"Prefix": "q"}}]}
    s3.put_bucket_replication(Bucket="replicated", ReplicationConfiguration=told)
    assert s3.get_bucket_replication(Bucket="replicated")["ReplicationConfiguration"] == told


@pytest.mark.parametrize("encoding", ["gzip", "br", ""])
@pytest.mark.parametrize("kind", ["text/css", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_an_object_is_what_was_put_whatever_it_is_said_to_be(cloud: Cloud, kind: str, encoding: str) -> None:
    """moto unpacked what was compressed, and read as a form what curl sends as one: nothing was kept of it."""
    s3, body = cloud.client("s3"), gzip.compress(b"a=b&c=d")
    s3.create_bucket(Bucket="bodies")
    said = {"ContentType": kind, **({"ContentEncoding": encoding} if encoding else {})}
    s3.put_object(Bucket="bodies", Key="put", Body=body, **said)
    upload = {"Bucket": "bodies", "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, **said)["UploadId"]
    address = s3.generate_presigned_url("upload_part", Params={**upload, "PartNumber": 1})
    sent = urllib.request.Request(address, body, {"Content-Type": kind}, method="PUT")
    part = {"PartNumber": 1, "ETag": urllib.request.urlopen(sent).headers["ETag"]}
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    for key in ("put", "parts"):
        found = s3.get_object(Bucket="bodies", Key=key)
        assert (found["Body"].read(), found["ContentType"]) == (body, kind)
        assert found.get("ContentEncoding", "") == encoding


def test_a_bucket_that_wants_tls_can_be_used(cloud: Cloud) -> None:
    """Conditions are judged by nobody; what is denied to all is denied."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="wants-tls")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::wants-tls/*"}
    with_condition = {**deny, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    policy = {"Version": "2012-10-17", "Statement": [with_condition]}
    s3.put_bucket_policy(Bucket="wants-tls", Policy=json.dumps(policy))
    s3.put_object(Bucket="wants-tls", Key="k", Body=b"x")
    assert s3.get_object(Bucket="wants-tls", Key="k")["Body"].read() == b"x"
    assert json.loads(s3.get_bucket_policy(Bucket="wants-tls")["Policy"]) == policy
    s3.put_bucket_policy(Bucket="wants-tls", Policy=json.dumps({**policy, "Statement": [deny]}))
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket="wants-tls", Key="k")
    assert code_of(error) == "AccessDenied"


def test_a_queue_keeps_what_it_was_told(cloud: Cloud) -> None:
    sqs = cloud.client("sqs")
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    queue = sqs.create_queue(QueueName="told", Attributes={"Policy": policy})["QueueUrl"]
    allow = json.dumps({"redrivePermission": "denyAll"})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "5", "RedriveAllowPolicy": allow})

    def told() -> dict[str, str]:
        return dict(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"])

    assert json.loads(told()["Policy"]) == json.loads(policy)
    assert json.loads(told()["RedriveAllowPolicy"]) == json.loads(allow)
    assert int(told()["CreatedTimestamp"]) <= int(told()["LastModifiedTimestamp"])
    with pytest.raises(ClientError) as error:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Nonsense": "1"})
    assert code_of(error) == "InvalidAttributeName"
    kill_daemon(cloud)
    assert json.loads(told()["RedriveAllowPolicy"]) == json.loads(allow)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": "", "RedriveAllowPolicy": ""})
    assert not told().keys() & {"Policy", "RedriveAllowPolicy"}


def test_uploads_of_several_accounts_outlive_the_daemon(cloud: Cloud) -> None:
    """A second upload took the place of a first that was under way, when another account had called between."""
    s3, other = cloud.client("s3", account="666611114444"), cloud.client("s3", account="666611115555")
    s3.create_bucket(Bucket="uploads")
    uploads = []
    for key in ("a", "b", "c"):
        uploads.append({"Bucket": "uploads", "Key": key})
        uploads[-1]["UploadId"] = s3.create_multipart_upload(**uploads[-1])["UploadId"]
        other.create_bucket(Bucket=f"between-{key}")
    kill_daemon(cloud)
    for one in uploads:
        part = s3.upload_part(**one, PartNumber=1, Body=one["Key"].encode())
        s3.complete_multipart_upload(**one, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        assert s3.get_object(Bucket="uploads", Key=one["Key"])["Body"].read() == one["Key"].encode()


def test_looks_at_a_bucket_that_logs_leave_nothing_that_a_restart_would_change(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    for bucket in ("logged", "logs-of-it"):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_acl(Bucket="logs-of-it", ACL="log-delivery-write")
    status = {"LoggingEnabled": {"TargetBucket": "logs-of-it", "TargetPrefix": "log/"}}
    s3.put_bucket_logging(Bucket="logged", BucketLoggingStatus=status)
    s3.list_objects_v2(Bucket="logged")
    assert s3.get_bucket_logging(Bucket="logged")["LoggingEnabled"] == status["LoggingEnabled"]
    before = s3.list_objects_v2(Bucket="logs-of-it").get("Contents", [])
    kill_daemon(cloud)
    assert s3.list_objects_v2(Bucket="logs-of-it").get("Contents", []) == before == []


def test_dates_that_services_make_by_clocks_of_their_own_outlive_the_daemon(cloud: Cloud) -> None:
    secrets, ecr = cloud.client("secretsmanager"), cloud.client("ecr")
    secrets.create_secret(Name="dated", SecretString="x")
    ecr.create_repository(repositoryName="dated")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}
    ecr.put_image(repositoryName="dated", imageManifest=json.dumps(manifest), imageTag="1")

    def dates() -> Any:
        secret = secrets.describe_secret(SecretId="dated")
        image = ecr.describe_images(repositoryName="dated")["imageDetails"][0]
        return secret["CreatedDate"], secret["LastChangedDate"], image["imagePushedAt"]

    before = dates()
    until(lambda: time.time() > max(one.timestamp() for one in before) + 2)
    kill_daemon(cloud)
    assert dates() == before


def test_a_subscriber_that_is_gone_is_not_the_publishers_fault(cloud: Cloud) -> None:
    """And what is published comes once, also when the journal is played."""
    sns, heard = cloud.client("sns"), []

    class Listening(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["Message"])
            self.send_response(200)
            self.end_headers()

    server = http.server.HTTPServer(("127.0.0.1", 0), Listening)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    topic = sns.create_topic(Name="by-http")["TopicArn"]
    for port in (1, server.server_port):
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"http://127.0.0.1:{port}/x")
    assert sns.publish(TopicArn=topic, Message="one")["MessageId"]
    until(lambda: "one" in heard)
    kill_daemon(cloud)
    sns.publish(TopicArn=topic, Message="two")
    until(lambda: "two" in heard)
    assert heard == ["one", "two"]
    with pytest.raises(ClientError) as error:
        sns.publish(PhoneNumber="+15555550100", Message="x")
    assert code_of(error) == "NotImplemented"
    server.shutdown()
    server.server_close()


def test_events_reach_the_queues_of_their_rules(cloud: Cloud) -> None:
    events, sqs = cloud.client("events"), cloud.client("sqs")
    queue = sqs.create_queue(QueueName="events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="mine", EventPattern=json.dumps({"source": ["mine"]}))
    events.put_targets(Rule="mine", Targets=[{"Id": "1", "Arn": arn}])
    entries = [{"Source": source, "DetailType": "d", "Detail": '{"a": 1}'} for source in ("other", "mine")]
    assert events.put_events(Entries=entries)["FailedEntryCount"] == 0
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [(json.loads(one["Body"])["source"], json.loads(one["Body"])["detail"]) for one in found] == [
        ("mine", {"a": 1})
    ]


def test_a_queue_that_is_gone_keeps_a_message_from_nobody_else(cloud: Cloud) -> None:
    """The sender was refused; and what the others had got was lost by a restart."""
    sqs, sns, events = (cloud.client(name) for name in ("sqs", "sns", "events"))
    topic = sns.create_topic(Name="half-gone")["TopicArn"]
    urls = [sqs.create_queue(QueueName=f"half-gone-{number}")["QueueUrl"] for number in range(2)]
    for number, url in enumerate(urls):
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        events.put_rule(Name=f"half-gone-{number}", EventPattern='{"source": ["half"]}')
        events.put_targets(Rule=f"half-gone-{number}", Targets=[{"Id": "1", "Arn": arn}])
    sqs.delete_queue(QueueUrl=urls[1])
    sns.publish(TopicArn=topic, Message="m")
    done = events.put_events(Entries=[{"Source": "half", "DetailType": "d", "Detail": "{}"}])
    assert done["FailedEntryCount"] == 0
    count = "ApproximateNumberOfMessages"
    for _ in range(2):
        assert sqs.get_queue_attributes(QueueUrl=urls[0], AttributeNames=[count])["Attributes"][count] == "2"
        kill_daemon(cloud)


def test_versions_of_a_secret_keep_their_dates(cloud: Cloud) -> None:
    secrets = cloud.client("secretsmanager")
    made = secrets.create_secret(Name="versioned", SecretString="1")
    secrets.put_secret_value(SecretId="versioned", SecretString="2")
    told = secrets.list_secret_version_ids(SecretId=made["ARN"])
    assert (told["ARN"], told["Name"]) == (made["ARN"], "versioned")
    assert sorted(one["VersionStages"] for one in told["Versions"]) == [["AWSCURRENT"], ["AWSPREVIOUS"]]
    kill_daemon(cloud)
    assert secrets.list_secret_version_ids(SecretId="versioned")["Versions"] == told["Versions"]
    with pytest.raises(ClientError) as none:
        secrets.list_secret_version_ids(SecretId="no-such-secret")
    assert code_of(none) == "ResourceNotFoundException"


def test_statements_in_partiql(cloud: Cloud) -> None:
    dynamodb = cloud.client("dynamodb")
    dynamodb.create_table(
        TableName="partiql",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    dynamodb.execute_statement(Statement="INSERT INTO partiql VALUE {'id': 'a', 'n': 5}")
    found = dynamodb.execute_statement(Statement="SELECT n FROM partiql WHERE id = 'a'")["Items"]
    assert found == [{"n": {"N": "5"}}]


def test_messages_are_counted_by_what_can_be_done_with_them(cloud: Cloud) -> None:
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="counted")["QueueUrl"]
    for body, delay in (("seen", 0), ("waits", 0), ("later", 900)):
        sqs.send_message(QueueUrl=queue, MessageBody=body, DelaySeconds=delay)
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "seen"
    names = [f"ApproximateNumberOfMessages{what}" for what in ("", "NotVisible", "Delayed")]
    told = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    assert [told[name] for name in names] == ["1", "1", "1"]
    assert [one["Body"] for one in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]] == ["waits"]


def test_all_of_it_outlives_the_daemon(cloud: Cloud) -> None:
    """Ids, dates, secrets and half-done uploads are the same after `kill -9`."""
    s3, iam, kms, sqs = (cloud.client(name) for name in ("s3", "iam", "kms", "sqs"))
    s3.create_bucket(Bucket="kept")
    upload = s3.create_multipart_upload(Bucket="kept", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="kept", Key="parts", UploadId=upload, PartNumber=1, Body=b"p" * 5_300_000)
    role = iam.create_role(RoleName="kept", AssumeRolePolicyDocument="{}")["Role"]
    access = iam.create_access_key(UserName=iam.create_user(UserName="kept")["User"]["UserName"])["AccessKey"]
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    pair = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    public = kms.get_public_key(KeyId=pair)["PublicKey"]
    queue = sqs.create_queue(QueueName="kept")["QueueUrl"]
    sent = sqs.send_message(QueueUrl=queue, MessageBody="still here")["MessageId"]
    buckets = s3.list_buckets()["Buckets"]

    kill_daemon(cloud)

    assert iam.get_role(RoleName="kept")["Role"]["RoleId"] == role["RoleId"]
    assert iam.get_role(RoleName="kept")["Role"]["CreateDate"] == role["CreateDate"]
    assert iam.list_access_keys(UserName="kept")["AccessKeyMetadata"][0]["AccessKeyId"] == access["AccessKeyId"]
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret"
    assert kms.get_public_key(KeyId=pair)["PublicKey"] == public
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["MessageId"] == sent
    assert s3.list_buckets()["Buckets"] == buckets
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket="kept", Key="parts", UploadId=upload, MultipartUpload=parts)

    kill_daemon(cloud)

    assert s3.head_object(Bucket="kept", Key="parts")["ContentLength"] == 5_300_000
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)  # it was received before: it is invisible for a while


def test_a_key_outlives_the_daemon_though_a_look_came_before_it_was_made(cloud: Cloud) -> None:
    """The look, which is in no journal, had made moto's state of IAM; when the key was made again, that state's ids took of its randomness."""
    kms = cloud.client("kms", account="666611112222")
    assert kms.list_keys()["Keys"] == []
    made = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=made, Plaintext=b"text")["CiphertextBlob"]
    kill_daemon(cloud)
    assert [one["KeyId"] for one in kms.list_keys()["Keys"]] == [made]
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"text"


def test_the_key_of_an_alias_of_aws_outlives_the_daemon(cloud: Cloud) -> None:
    """It comes into being with the first look at it, which is in no journal: what it had encrypted was lost."""
    kms = cloud.client("kms", account="666611113333")
    listed = {one["AliasName"]: one["TargetKeyId"] for one in kms.list_aliases()["Aliases"]}
    key = kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]
    assert (key["KeyId"], key["KeyManager"]) == (listed["alias/aws/ebs"], "AWS")
    sealed = kms.encrypt(KeyId="alias/aws/s3", Plaintext=b"text")["CiphertextBlob"]
    kill_daemon(cloud)
    assert kms.decrypt(CiphertextBlob=sealed, KeyId="alias/aws/s3")["Plaintext"] == b"text"
    assert kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"] == key["Arn"]


def test_killed_while_it_is_told_nothing_acknowledged_is_lost(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="under-fire")
    acknowledged: list[str] = []
    stop = threading.Event()

    def put(number: int) -> None:
        mine = cloud.client("s3")
        for count in range(200):
            if stop.is_set():
                return
            mine.put_object(Bucket="under-fire", Key=f"{number}/{count}", Body=f"{number}-{count}".encode())
            acknowledged.append(f"{number}/{count}")

    threads = [threading.Thread(target=put, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for count in (20, 40):
        until(lambda count=count: len(acknowledged) >= count)
        kill_daemon(cloud)
    stop.set()
    for thread in threads:
        thread.join(60)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="under-fire")
    there = {one["Key"] for page in pages for one in page["Contents"]}
    assert set(acknowledged) <= there
    last = acknowledged[-1]
    assert s3.get_object(Bucket="under-fire", Key=last)["Body"].read() == last.replace("/", "-").encode()


def test_an_alarm_reaches_a_queue_through_its_topic(cloud: Cloud) -> None:
    """AWS: CloudWatch User Guide, alarm actions; the message is what SNS delivers of an alarm."""
    sqs, sns, cloudwatch = (cloud.client(name) for name in ("sqs", "sns", "cloudwatch"))
    queue = sqs.create_queue(QueueName="alarms")["QueueUrl"]
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT}:alarms")
    cloudwatch.put_metric_alarm(
        AlarmName="hot",
        Namespace="Test",
        MetricName="Heat",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=10,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[topic],
    )
    cloudwatch.set_alarm_state(AlarmName="hot", StateValue="ALARM", StateReason="it burns")
    found = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"][0]
    envelope = json.loads(found["Body"])
    assert envelope["Subject"].startswith('ALARM: "hot"')
    message = json.loads(envelope["Message"])
    assert (message["AlarmName"], message["NewStateValue"], message["NewStateReason"]) == ("hot", "ALARM", "it burns")


def test_a_lifecycle_hook_tells_its_queue_who_waits(cloud: Cloud) -> None:
    """AWS: PutLifecycleHook, NotificationTargetARN: a test message, then JSON of each that waits."""
    sqs, scaling, ec2 = (cloud.client(name) for name in ("sqs", "autoscaling", "ec2"))
    queue = sqs.create_queue(QueueName="hooks")["QueueUrl"]
    data = {"ImageId": BUSYBOX, "InstanceType": NANO}
    ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    group = {"AutoScalingGroupName": "hooked"}
    scaling.create_auto_scaling_group(
        **group, LaunchTemplate={"LaunchTemplateName": "web"}, MinSize=0, MaxSize=1, AvailabilityZones=["us-east-1a"]
    )
    scaling.put_lifecycle_hook(
        **group,
        LifecycleHookName="up",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
        NotificationTargetARN=f"arn:aws:sqs:us-east-1:{ACCOUNT}:hooks",
        RoleARN=f"arn:aws:iam::{ACCOUNT}:role/hooks",
    )

    def heard() -> dict[str, Any]:
        found = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"][0]
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=found["ReceiptHandle"])
        return dict(json.loads(found["Body"]))

    assert heard()["Event"] == "autoscaling:TEST_NOTIFICATION"
    scaling.set_desired_capacity(**group, DesiredCapacity=1)
    message = heard()
    assert message["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING"
    scaling.complete_lifecycle_action(
        **group,
        LifecycleHookName="up",
        LifecycleActionToken=message["LifecycleActionToken"],
        LifecycleActionResult="CONTINUE",
    )
    told = scaling.describe_auto_scaling_instances
    until(
        lambda: told(InstanceIds=[message["EC2InstanceId"]])["AutoScalingInstances"][0]["LifecycleState"] == "InService"
    )
    scaling.delete_auto_scaling_group(**group, ForceDelete=True)


def test_log_files_become_objects_when_there_is_a_bucket(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    key = f"flows/AWSLogs/{ACCOUNT}/vpcflowlogs/us-east-1/2026/11/29/{ACCOUNT}_vpcflowlogs_x.log.gz"
    file = Path(cloud.home) / "s3-local" / "flow-bucket" / key
    file.parent.mkdir(parents=True)
    file.write_bytes(b"records")
    s3.create_bucket(Bucket="flow-bucket")

    until(lambda: not file.exists())
    assert s3.get_object(Bucket="flow-bucket", Key=key)["Body"].read() == b"records"


def test_a_flow_log_to_a_bucket_that_is_not_there_is_not_made(cloud: Cloud) -> None:
    """AWS answers 200 and says so in Unsuccessful (recorded by LocalStack's test_ec2_flow_logs_s3_validation)."""
    ec2, vpc = cloud.client("ec2"), cloud.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    wanted = {"ResourceIds": [vpc], "ResourceType": "VPC", "TrafficType": "ALL", "LogDestinationType": "s3"}
    made = ec2.create_flow_logs(**wanted, LogDestination="arn:aws:s3:::no-such-flow-bucket/a")
    error = {"Code": "400", "Message": "LogDestination: no-such-flow-bucket does not exist"}
    assert made["Unsuccessful"] == [{"ResourceId": vpc, "Error": error}]
    assert made["FlowLogIds"] == ec2.describe_flow_logs()["FlowLogs"] == []
    cloud.client("s3").create_bucket(Bucket="such-flow-bucket")
    made = ec2.create_flow_logs(**wanted, LogDestination="arn:aws:s3:::such-flow-bucket/a")
    assert made["Unsuccessful"] == []
    ec2.delete_flow_logs(FlowLogIds=made["FlowLogIds"])


def test_a_log_group_is_exported_to_a_bucket(cloud: Cloud) -> None:
    s3, logs = cloud.client("s3"), cloud.client("logs")
    logs.create_log_group(logGroupName="exported")
    logs.create_log_stream(logGroupName="exported", logStreamName="a/b")
    now = int(time.time() * 1000)
    event = {"timestamp": now, "message": "hello"}
    logs.put_log_events(logGroupName="exported", logStreamName="a/b", logEvents=[event])
    wanted = {"logGroupName": "exported", "fromTime": now - 1000, "to": now + 1000, "destination": "export-bucket"}
    with pytest.raises(ClientError, match="The given bucket does not exist"):
        logs.create_export_task(**wanted)
    s3.create_bucket(Bucket="export-bucket")
    task = logs.create_export_task(**wanted)["taskId"]
    until(lambda: logs.describe_export_tasks(taskId=task)["exportTasks"][0]["status"]["code"] == "COMPLETED")
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="export-bucket")["Contents"]]
    assert keys == ["aws-logs-write-test", f"exportedlogs/{task}/a-b/000000.gz"]
    text = gzip.decompress(s3.get_object(Bucket="export-bucket", Key=keys[1])["Body"].read()).decode()
    assert text.endswith("Z hello\n")
    with pytest.raises(logs.exceptions.InvalidOperationException):
        logs.cancel_export_task(taskId=task)


def test_a_secret_parameter_stands_and_falls_with_its_key(cloud: Cloud) -> None:
    """AWS: ssm PutParameter KeyId, InvalidKeyId."""
    kms, ssm = cloud.client("kms"), cloud.client("ssm")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    secret = {"Name": "/app/secret", "Value": "s3cret", "Type": "SecureString"}
    for bad in ("alias/none", "00000000-0000-0000-0000-000000000000", "arn:aws:kms:us-east-1:1:key/x"):
        with pytest.raises(ClientError) as error:
            ssm.put_parameter(**secret, KeyId=bad)
        assert code_of(error) == "InvalidKeyId"
    signing = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    with pytest.raises(ClientError) as error:
        ssm.put_parameter(**secret, KeyId=signing)
    assert code_of(error) == "InvalidKeyId"
    ssm.put_parameter(**secret, KeyId="alias/app")
    assert ssm.get_parameter(Name="/app/secret", WithDecryption=True)["Parameter"]["Value"] == "s3cret"
    ssm.put_parameter(Name="/app/secret", Value="s3cret", Overwrite=True)
    assert ssm.describe_parameters()["Parameters"][0]["KeyId"] == "alias/app"
    kms.disable_key(KeyId=key)
    looks = (
        lambda: ssm.get_parameter(Name="/app/secret", WithDecryption=True),
        lambda: ssm.get_parameters(Names=["/app/secret"], WithDecryption=True),
        lambda: ssm.get_parameters_by_path(Path="/app", WithDecryption=True),
        lambda: ssm.get_parameter_history(Name="/app/secret", WithDecryption=True),
        lambda: ssm.put_parameter(**secret, KeyId="alias/app", Overwrite=True),
    )
    for look in looks:
        with pytest.raises(ClientError) as error:
            look()
        assert code_of(error) == "InvalidKeyId"
    assert "s3cret" not in ssm.get_parameter(Name="/app/secret")["Parameter"]["Value"]
    kms.enable_key(KeyId=key)
    assert ssm.get_parameter(Name="/app/secret", WithDecryption=True)["Parameter"]["Value"] == "s3cret"


def test_another_account_uses_the_version_that_is_shared(cloud: Cloud) -> None:
    """AWS: ssm ModifyDocumentPermission SharedDocumentVersion."""
    owner, other = cloud.client("ssm"), cloud.client("ssm", account="444455556666")
    for number in (1, 2):
        step = {"name": "x", "action": "aws:runShellScript", "inputs": {"runCommand": [f"echo {number}"]}}
        content = {"Name": "lent", "Content": json.dumps({"schemaVersion": "2.2", "mainSteps": [step]})}
        if number == 1:
            made = owner.create_document(**content, DocumentType="Command")["DocumentDescription"]
        else:
            owner.update_document(**content, DocumentVersion="$LATEST")
    arn = f"arn:aws:ssm:us-east-1:{made['Owner']}:document/lent"

    def seen(**version: str) -> str:
        try:
            return str(other.get_document(Name=arn, **version)["DocumentVersion"])
        except ClientError as error:
            return str(error.response["Error"]["Code"])

    none = "InvalidDocumentVersion"
    for shared, expected in (("$DEFAULT", ["1", "1", none]), ("$LATEST", ["2", none, "2"]), ("$ALL", ["1", "1", "2"])):
        owner.modify_document_permission(
            Name="lent", PermissionType="Share", AccountIdsToAdd=["444455556666"], SharedDocumentVersion=shared
        )
        assert [seen(), seen(DocumentVersion="1"), seen(DocumentVersion="2")] == expected
    owner.add_tags_to_resource(
        ResourceType="Document", ResourceId="lent", Tags=[{"Key": "who", "Value": "owner alone"}]
    )
    shown = other.describe_document(Name=arn)["Document"]
    assert (shown["Name"], shown["Owner"], shown["Tags"]) == (arn, made["Owner"], [])
    assert owner.describe_document(Name=arn)["Document"]["Name"] == "lent"


def test_a_secret_is_read_as_a_parameter(cloud: Cloud) -> None:
    """AWS: Referencing AWS Secrets Manager secrets from Parameter Store parameters."""
    secrets, ssm = cloud.client("secretsmanager"), cloud.client("ssm")
    name = "/aws/reference/secretsmanager/db/password"
    with pytest.raises(ClientError) as error:
        ssm.get_parameter(Name=name, WithDecryption=True)
    assert code_of(error) == "ParameterNotFound"
    made = secrets.create_secret(Name="db/password", SecretString="one")
    shown = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    assert [shown[key] for key in ("Name", "Type", "Value", "Version", "ARN")] == [
        name,
        "SecureString",
        "one",
        0,
        made["ARN"],
    ]
    source = json.loads(shown["SourceResult"])
    assert [source[key] for key in ("name", "versionId", "secretString", "versionStages", "ARN")] == [
        "db/password",
        made["VersionId"],
        "one",
        ["AWSCURRENT"],
        made["ARN"],
    ]
    secrets.put_secret_value(SecretId="db/password", SecretString="two")
    names = [name, f"{name}:AWSPREVIOUS", f"{name}:{made['VersionId']}", f"{name}:NONE"]
    many = ssm.get_parameters(Names=names, WithDecryption=True)
    assert [one["Value"] for one in many["Parameters"]] == ["two", "one", "one"]
    assert many["InvalidParameters"] == [f"{name}:NONE"]
    for look in (lambda: ssm.get_parameter(Name=name), lambda: ssm.get_parameters(Names=[name])):
        with pytest.raises(ClientError) as error:
            look()
        assert code_of(error) == "ValidationException"


def test_policies_of_aws_itself_are_there(cloud: Cloud) -> None:
    iam = cloud.client("iam")
    iam.create_role(RoleName="managed", AssumeRolePolicyDocument="{}")
    arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
    iam.attach_role_policy(RoleName="managed", PolicyArn=arn)
    assert iam.list_attached_role_policies(RoleName="managed")["AttachedPolicies"][0]["PolicyArn"] == arn
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1


def test_coverage_names_what_moto_answers(cloud: Cloud) -> None:
    found = json.loads(cloud.command("coverage", "--json").stdout)
    assert found["s3"]["PutObject"] == "moto"
    assert found["s3"]["RenameObject"] == "absent"
    assert "lambda" not in found


@pytest.mark.long
def test_terraform_has_nothing_to_do_after_each_step(cloud: Cloud, tmp_path: Path) -> None:
    Terraform(tmp_path, "neighbours", endpoint=cloud.url).apply_change_destroy()
    assert cloud.client("iam", account="210987654330").list_roles()["Roles"] == []


def test_reset_forgets_it_all(cloud: Cloud) -> None:
    """The last test of the module: nothing is left after it."""
    cloud.client("iam").create_user(UserName="gone")
    asked = urllib.request.Request(f"{cloud.url}/_gureum/reset", method="POST")
    assert urllib.request.urlopen(asked).status == 200
    assert cloud.client("iam").list_users()["Users"] == []
    kill_daemon(cloud)
    assert cloud.client("iam").list_users()["Users"] == []
    assert cloud.client("s3").list_buckets()["Buckets"] == []
