"""S3, as moto answers it behind gureum's endpoint, with its own clients. AWS: the API reference of S3."""

from __future__ import annotations

import gzip
import io
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import Cloud
from tests.wire.neighbours.asking import ACCOUNT, code_of


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


def test_a_destination_of_events_that_is_refused_changes_nothing(cloud: Cloud) -> None:
    """moto had taken it before it refused it; and since a refused call was in no journal, events went elsewhere after a restart."""
    s3, near, far = (cloud.client("s3"), cloud.client("sqs"), cloud.client("sqs", region="eu-west-1"))
    s3.create_bucket(Bucket="tells")

    def lead_to(sqs: Any) -> None:
        url = sqs.create_queue(QueueName="told")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        wanted = {"QueueConfigurations": [{"Id": "all", "QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
        s3.put_bucket_notification_configuration(Bucket="tells", NotificationConfiguration=wanted)

    lead_to(near)
    before = s3.get_bucket_notification_configuration(Bucket="tells")["QueueConfigurations"]
    with pytest.raises(ClientError) as error:
        lead_to(far)
    assert code_of(error) == "InvalidArgument"
    assert s3.get_bucket_notification_configuration(Bucket="tells")["QueueConfigurations"] == before


@pytest.mark.parametrize("source", ["a/b%20c%2Bd.txt", "a/b+c%2Bd.txt", "a%2Fb+c%2Bd.txt"])
def test_an_object_is_copied_however_its_name_is_written(cloud: Cloud, source: str) -> None:
    """A "+" in a copy's source is a space: programs that write names raw are told NoSuchKey by S3 (aws/aws-cli issue 614)."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="copied")
    s3.put_object(Bucket="copied", Key="a/b c+d.txt", Body=b"text")

    def written(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-amz-copy-source"] = f"copied/{source}"

    s3.meta.events.register("before-call.s3.CopyObject", written)
    s3.copy_object(Bucket="copied", Key="copy", CopySource="copied/…")
    assert s3.get_object(Bucket="copied", Key="copy")["Body"].read() == b"text"
