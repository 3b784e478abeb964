"""Calls of services that hold data: S3, DynamoDB, Secrets Manager, Kinesis."""

from __future__ import annotations

from typing import Any

from tests.wire.neighbours.mixed_calls import Call, MixedCalls


def create_bucket(s: MixedCalls) -> None:
    where = {} if s.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": s.region}}
    name = s.bucket()
    s.call("s3", "create_bucket", Bucket=name, **where)
    if s.random.random() < 0.6:
        status = s.one_of("Enabled", "Enabled", "Suspended")
        s.call("s3", "put_bucket_versioning", Bucket=name, VersioningConfiguration={"Status": status})


def delete_object(s: MixedCalls) -> None:
    version = s.known("version")
    if version and s.random.random() < 0.5:
        s.call("s3", "delete_object", **version)
    else:
        s.call("s3", "delete_object", Bucket=s.bucket(), Key=s.name("key"))


def delete_objects(s: MixedCalls) -> None:
    keys = [{"Key": s.name("key")} for _ in range(4)]
    s.call("s3", "delete_objects", Bucket=s.bucket(), Delete={"Objects": keys, "Quiet": s.one_of(True, False)})


def put_object(s: MixedCalls) -> None:
    more: dict[str, Any] = s.one_of(
        {},
        {"ContentType": "text/css", "ContentEncoding": "gzip"},
        {"Metadata": {"a": "b"}, "Tagging": "team=a&x=y", "StorageClass": "STANDARD_IA"},
        {"ServerSideEncryption": "aws:kms", "CacheControl": "no-cache"},
        {"ContentType": "application/x-www-form-urlencoded", "ACL": "public-read"},
    )
    bucket, key = s.bucket(), s.name("key")
    found = s.call("s3", "put_object", Bucket=bucket, Key=key, Body=s.text(2000).encode(), **more)
    if "VersionId" in found:
        s.remember("version", {"Bucket": bucket, "Key": key, "VersionId": found["VersionId"]})


def copy_object(s: MixedCalls) -> None:
    source = {"Bucket": s.bucket(), "Key": s.name("key")}
    s.call("s3", "copy_object", Bucket=s.bucket(), Key=s.name("key"), CopySource=source)


def begin_upload(s: MixedCalls) -> None:
    place = {"Bucket": s.bucket(), "Key": s.name("part")}
    found = s.call("s3", "create_multipart_upload", **place, Metadata={"m": "p"})
    if found:
        s.remember("upload", {**place, "UploadId": found["UploadId"]})


def go_on_upload(s: MixedCalls) -> None:
    upload = s.known("upload")
    if upload is None:
        return begin_upload(s)
    way = s.random.random()
    if way < 0.6:
        number = s.random.randint(1, 3)
        s.call("s3", "upload_part", **upload, PartNumber=number, Body=s.text(400).encode())
    elif way < 0.7:
        s.call("s3", "abort_multipart_upload", **upload)
    else:
        found = s.call("s3", "list_parts", **upload).get("Parts", [])
        parts = [{"PartNumber": one["PartNumber"], "ETag": one["ETag"]} for one in found][:1]
        s.call("s3", "complete_multipart_upload", **upload, MultipartUpload={"Parts": parts})
    return None


def configure_bucket(s: MixedCalls) -> None:
    name = s.bucket()
    rule: dict[str, Any] = {"ID": s.name("rule"), "Status": "Enabled", "Expiration": {"Days": s.random.randint(1, 90)}}
    both = {"And": {"Prefix": "logs/", "Tags": s.tags()}}
    owner = {"Principal": "*"}["Principal"]
    arn = f"arn:aws:s3:::{name}"
    ways: list[tuple[str, dict[str, Any]]] = [
        ("put_bucket_tagging", {"Tagging": {"TagSet": s.tags()}}),
        ("delete_bucket_tagging", {}),
        ("put_bucket_policy", {"Policy": s.policy(f"{arn}/*", owner)}),
        ("delete_bucket_policy", {}),
        ("put_bucket_lifecycle_configuration", {"LifecycleConfiguration": {"Rules": [{**rule, "Filter": both}]}}),
        ("delete_bucket_lifecycle", {}),
        (
            "put_bucket_cors",
            {"CORSConfiguration": {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}},
        ),
        ("delete_bucket_cors", {}),
        ("put_bucket_website", {"WebsiteConfiguration": {"IndexDocument": {"Suffix": "index.html"}}}),
        ("put_bucket_acl", {"ACL": s.one_of("private", "public-read", "log-delivery-write")}),
        (
            "put_bucket_logging",
            {"BucketLoggingStatus": {"LoggingEnabled": {"TargetBucket": name, "TargetPrefix": "l"}}},
        ),
        (
            "put_bucket_ownership_controls",
            {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}},
        ),
        (
            "put_public_access_block",
            {"PublicAccessBlockConfiguration": {"BlockPublicAcls": s.one_of(True, False), "IgnorePublicAcls": True}},
        ),
        (
            "put_bucket_encryption",
            {
                "ServerSideEncryptionConfiguration": {
                    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]
                }
            },
        ),
        (
            "put_bucket_notification_configuration",
            {
                "NotificationConfiguration": {
                    "QueueConfigurations": [
                        {"QueueArn": s.arn("sqs", s.name("queue")), "Events": ["s3:ObjectCreated:*"]}
                    ]
                }
            },
        ),
        ("delete_bucket", {}),
    ]
    operation, more = s.random.choice(ways)
    s.call("s3", operation, Bucket=name, **more)


def tag_object(s: MixedCalls) -> None:
    place = {"Bucket": s.bucket(), "Key": s.name("key")}
    if s.random.random() < 0.3:
        s.call("s3", "delete_object_tagging", **place)
    else:
        s.call("s3", "put_object_tagging", **place, Tagging={"TagSet": s.tags()})


def look_at_objects(s: MixedCalls) -> None:
    s.call("s3", "get_object", Bucket=s.bucket(), Key=s.name("key"))
    s.call("s3", "list_objects_v2", Bucket=s.bucket())


def create_table(s: MixedCalls) -> None:
    more: dict[str, Any] = s.one_of(
        {},
        {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}},
        {"SSESpecification": {"Enabled": True}},
        {"TableClass": "STANDARD_INFREQUENT_ACCESS", "DeletionProtectionEnabled": True},
    )
    index = {
        "IndexName": "by-kind",
        "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }
    s.call(
        "dynamodb",
        "create_table",
        TableName=s.name("table"),
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("id", "kind")],
        GlobalSecondaryIndexes=[index],
        Tags=s.tags(),
        **more,
    )


def item(s: MixedCalls) -> dict[str, Any]:
    return {
        "id": {"S": s.name("item")},
        "kind": {"S": s.one_of("a", "b")},
        "n": {"N": str(s.random.randrange(1000))},
        "text": {"S": s.text()},
        "blob": {"B": s.text(30).encode()},
        "set": {"SS": ["x", "y"]},
    }


def write_item(s: MixedCalls) -> None:
    table, key = s.name("table"), {"id": {"S": s.name("item")}}
    requests = [{"PutRequest": {"Item": {**item(s), "id": {"S": f"batch-{number}"}}}} for number in range(5)]
    adding = {
        "UpdateExpression": "ADD n :one SET kind = :k",
        "ExpressionAttributeValues": {":one": {"N": "1"}, ":k": {"S": "c"}},
    }
    put = {"Put": {"TableName": table, "Item": item(s)}}
    check = {
        "ConditionCheck": {
            "TableName": table,
            "Key": {"id": {"S": "never"}},
            "ConditionExpression": "attribute_not_exists(id)",
        }
    }
    ways: list[tuple[str, dict[str, Any]]] = [
        ("put_item", {"TableName": table, "Item": item(s)}),
        ("put_item", {"TableName": table, "Item": item(s), "ConditionExpression": "attribute_not_exists(id)"}),
        ("update_item", {"TableName": table, "Key": key, **adding}),
        ("delete_item", {"TableName": table, "Key": key, "ReturnValues": "ALL_OLD"}),
        ("batch_write_item", {"RequestItems": {table: requests}}),
        ("transact_write_items", {"TransactItems": [put, check]}),
        (
            "execute_statement",
            {"Statement": f"INSERT INTO \"{table}\" value {{'id': '{s.name('item')}', 'kind': 'p'}}"},
        ),
    ]
    operation, more = s.random.choice(ways)
    s.call("dynamodb", operation, **more)


def change_table(s: MixedCalls) -> None:
    table = s.name("table")
    ways: list[tuple[str, dict[str, Any]]] = [
        ("update_time_to_live", {"TimeToLiveSpecification": {"Enabled": s.one_of(True, False), "AttributeName": "n"}}),
        ("update_table", {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}}),
        ("update_table", {"DeletionProtectionEnabled": s.one_of(True, False)}),
        ("update_continuous_backups", {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}),
        ("create_backup", {"BackupName": s.name("backup")}),
        ("delete_table", {}),
    ]
    operation, more = s.random.choice(ways)
    s.call("dynamodb", operation, TableName=table, **more)


def secret(s: MixedCalls) -> None:
    id_ = s.name("secret")
    ways: list[tuple[str, dict[str, Any]]] = [
        ("create_secret", {"Name": id_, "SecretString": s.text(), "Tags": s.tags(), "Description": "d"}),
        ("create_secret", {"Name": id_, "SecretBinary": s.text().encode()}),
        ("put_secret_value", {"SecretId": id_, "SecretString": s.text()}),
        ("put_secret_value", {"SecretId": id_, "SecretString": s.text(), "VersionStages": ["AWSPENDING", "mine"]}),
        ("update_secret", {"SecretId": id_, "Description": s.text(30), "SecretString": s.text()}),
        ("tag_resource", {"SecretId": id_, "Tags": s.tags()}),
        ("untag_resource", {"SecretId": id_, "TagKeys": ["team"]}),
        ("put_resource_policy", {"SecretId": id_, "ResourcePolicy": s.policy("*", {"AWS": s.account})}),
        ("delete_secret", {"SecretId": id_, "RecoveryWindowInDays": 7}),
        ("delete_secret", {"SecretId": id_, "ForceDeleteWithoutRecovery": True}),
        ("restore_secret", {"SecretId": id_}),
        ("get_random_password", {"PasswordLength": 20}),
        ("get_secret_value", {"SecretId": id_}),
    ]
    operation, more = s.random.choice(ways)
    s.call("secretsmanager", operation, **more)


def kinesis(s: MixedCalls) -> None:
    stream = s.name("stream")
    records = [{"Data": s.text().encode(), "PartitionKey": str(number)} for number in range(3)]
    ways: list[tuple[str, dict[str, Any]]] = [
        ("create_stream", {"ShardCount": s.random.randint(1, 3)}),
        ("put_record", {"Data": s.text().encode(), "PartitionKey": s.name("k")}),
        ("put_records", {"Records": records}),
        ("add_tags_to_stream", {"Tags": {"a": "b"}}),
        ("increase_stream_retention_period", {"RetentionPeriodHours": 48}),
        ("update_shard_count", {"TargetShardCount": 4, "ScalingType": "UNIFORM_SCALING"}),
        ("delete_stream", {}),
    ]
    operation, more = s.random.choices(ways, (4, 6, 3, 2, 1, 1, 1))[0]
    s.call("kinesis", operation, StreamName=stream, **more)


DATA: dict[str, list[tuple[int, Call]]] = {
    "s3": [
        (10, create_bucket),
        (20, put_object),
        (5, copy_object),
        (6, delete_object),
        (2, delete_objects),
        (4, begin_upload),
        (8, go_on_upload),
        (12, configure_bucket),
        (4, tag_object),
        (2, look_at_objects),
    ],
    "dynamodb": [(6, create_table), (20, write_item), (6, change_table)],
    "secretsmanager": [(14, secret)],
    "kinesis": [(8, kinesis)],
}
