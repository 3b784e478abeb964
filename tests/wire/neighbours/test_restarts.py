"""What neighbours were told outlives the daemon, killed at any moment."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import Cloud, until
from tests.wire.neighbours.asking import code_of, kill_daemon


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


def test_reset_forgets_it_all(cloud: Cloud) -> None:
    """The last test of the module: nothing is left after it."""
    cloud.client("iam").create_user(UserName="gone")
    asked = urllib.request.Request(f"{cloud.url}/_gureum/reset", method="POST")
    assert urllib.request.urlopen(asked).status == 200
    assert cloud.client("iam").list_users()["Users"] == []
    kill_daemon(cloud)
    assert cloud.client("iam").list_users()["Users"] == []
    assert cloud.client("s3").list_buckets()["Buckets"] == []
