"""All that neighbours tell of what they hold, asked by boto3: lists, then what each thing in them says, then what lies below it.

A question is a row: operation, parameters, where the answers lie ("Users[]": in each), what of each names it, and the questions below. An answer
that is an error is its code: that must be the same, too. `answers` is a flat table, so that two of them differ in readable lines (`different`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from tests.wire.neighbours.mixed_calls import ACCOUNTS, GLOBAL, REGIONS

Row = tuple[Any, ...]
LIMIT_PAGES = 100
PAGES = {
    "NextToken": "NextToken",
    "nextToken": "nextToken",
    "Marker": "Marker",
    "NextMarker": "Marker",
    "NextContinuationToken": "ContinuationToken",
    "LastEvaluatedTableName": "ExclusiveStartTableName",
    "LastEvaluatedKey": "ExclusiveStartKey",
}
"""Where an answer says that there is more → the parameter that asks for it."""
OWN = object()
"""For the parent's own value among the parameters."""

_BUCKET = [
    (f"get_bucket_{name}", {"Bucket": OWN})
    for name in [
        *("acl", "accelerate_configuration", "cors", "encryption", "lifecycle_configuration", "location", "logging"),
        *("notification_configuration", "ownership_controls", "policy", "policy_status", "replication", "tagging"),
        *("versioning", "website"),
    ]
]
_USER = [
    ("get_user", {"UserName": OWN}),
    ("list_access_keys", {"UserName": OWN}),
    ("list_user_tags", {"UserName": OWN}),
    ("list_groups_for_user", {"UserName": OWN}),
    ("list_attached_user_policies", {"UserName": OWN}),
    ("list_user_policies", {"UserName": OWN}, "PolicyNames[]", None, [("get_user_policy", {"UserName": OWN})]),
    ("get_login_profile", {"UserName": OWN}),
    ("list_mfa_devices", {"UserName": OWN}),
]
_ROLE = [
    ("get_role", {"RoleName": OWN}),
    ("list_role_tags", {"RoleName": OWN}),
    ("list_attached_role_policies", {"RoleName": OWN}),
    ("list_role_policies", {"RoleName": OWN}),
    ("list_instance_profiles_for_role", {"RoleName": OWN}),
]
_POLICY = [("get_policy", {"PolicyArn": OWN}), ("list_policy_versions", {"PolicyArn": OWN})]
_KEY = [
    (name, {"KeyId": OWN})
    for name in [
        "describe_key",
        "get_key_rotation_status",
        "get_public_key",
        "list_grants",
        "list_resource_tags",
        "list_key_rotations",
    ]
] + [("get_key_policy", {"KeyId": OWN, "PolicyName": "default"})]
_TABLE = [
    ("describe_table", {"TableName": OWN}),
    ("scan", {"TableName": OWN}),
    ("describe_time_to_live", {"TableName": OWN}),
    ("describe_continuous_backups", {"TableName": OWN}),
]
_REPOSITORY = [
    (name, {"repositoryName": OWN})
    for name in ["list_images", "describe_images", "get_lifecycle_policy", "get_repository_policy"]
]
_QUEUE = [
    ("get_queue_attributes", {"QueueUrl": OWN, "AttributeNames": ["All"]}),
    ("list_queue_tags", {"QueueUrl": OWN}),
    ("list_dead_letter_source_queues", {"QueueUrl": OWN}),
]
_ZONE = [
    ("get_hosted_zone", {"Id": OWN}),
    ("list_resource_record_sets", {"HostedZoneId": OWN}),
    ("list_tags_for_resource", {"ResourceType": "hostedzone", "ResourceId": OWN}),
]
_SECRET = [
    ("describe_secret", {"SecretId": OWN}),
    ("get_secret_value", {"SecretId": OWN}),
    ("list_secret_version_ids", {"SecretId": OWN}),
    ("get_resource_policy", {"SecretId": OWN}),
]
_TOPIC = [
    ("get_topic_attributes", {"TopicArn": OWN}),
    ("list_subscriptions_by_topic", {"TopicArn": OWN}),
    ("list_tags_for_resource", {"ResourceArn": OWN}),
]
_BUS = [
    ("describe_event_bus", {"Name": OWN}),
    ("list_rules", {"EventBusName": OWN}),
]
QUESTIONS: dict[str, list[Row]] = {
    "s3": [
        (
            "list_buckets",
            {},
            "Buckets[]",
            "Name",
            [
                *_BUCKET,
                ("get_public_access_block", {"Bucket": OWN}),
                ("list_object_versions", {"Bucket": OWN}),
                ("list_multipart_uploads", {"Bucket": OWN}),
            ],
        )
    ],
    "iam": [
        ("list_users", {}, "Users[]", "UserName", _USER),
        ("list_roles", {}, "Roles[]", "RoleName", _ROLE),
        ("list_policies", {"Scope": "Local"}, "Policies[]", "Arn", _POLICY),
        ("list_groups", {}, "Groups[]", "GroupName", [("get_group", {"GroupName": OWN})]),
        ("list_instance_profiles", {}),
        ("list_account_aliases", {}),
        ("get_account_password_policy", {}),
        ("list_open_id_connect_providers", {}),
        ("list_virtual_mfa_devices", {}),
        ("get_account_authorization_details", {"Filter": ["User", "Role", "Group", "LocalManagedPolicy"]}),
    ],
    "kms": [("list_keys", {}, "Keys[]", "KeyId", _KEY), ("list_aliases", {})],
    "dynamodb": [("list_tables", {}, "TableNames[]", None, _TABLE), ("list_backups", {})],
    "dynamodbstreams": [("list_streams", {}, "Streams[]", "StreamArn", [("describe_stream", {"StreamArn": OWN})])],
    "secretsmanager": [("list_secrets", {"IncludePlannedDeletion": True}, "SecretList[]", "ARN", _SECRET)],
    "kinesis": [
        (
            "list_streams",
            {},
            "StreamNames[]",
            None,
            [
                ("describe_stream", {"StreamName": OWN}),
                ("describe_stream_summary", {"StreamName": OWN}),
                ("list_tags_for_stream", {"StreamName": OWN}),
            ],
        )
    ],
    "sns": [
        ("list_topics", {}, "Topics[]", "TopicArn", _TOPIC),
        (
            "list_subscriptions",
            {},
            "Subscriptions[]",
            "SubscriptionArn",
            [("get_subscription_attributes", {"SubscriptionArn": OWN})],
        ),
    ],
    "sqs": [("list_queues", {}, "QueueUrls[]", None, _QUEUE)],
    "events": [
        ("list_event_buses", {}, "EventBuses[]", "Name", _BUS),
        ("list_rules", {}, "Rules[]", "Name", [("list_targets_by_rule", {"Rule": OWN})]),
        ("list_archives", {}, "Archives[]", "ArchiveName", [("describe_archive", {"ArchiveName": OWN})]),
    ],
    "route53": [
        ("list_hosted_zones", {}, "HostedZones[]", "Id", _ZONE),
        ("list_health_checks", {}),
        ("list_reusable_delegation_sets", {}),
    ],
    "ecr": [("describe_repositories", {}, "repositories[]", "repositoryName", _REPOSITORY)],
    "ses": [
        ("list_identities", {}),
        ("list_templates", {}),
        ("list_configuration_sets", {}),
        ("get_send_quota", {}),
    ],
    "resource-groups": [("list_groups", {}, "GroupIdentifiers[]", "GroupName", [("get_group", {"GroupName": OWN})])],
    "organizations": [("describe_organization", {}), ("list_accounts", {}), ("list_roots", {})],
}


def answers(client: Callable[..., Any], *, messages: bool = True) -> dict[str, Any]:
    """Question → answer, of all accounts and regions. `messages`: also those in queues that can be received; which is a change of its own: each look
    counts."""
    found: dict[str, Any] = {}
    for account in ACCOUNTS:
        for region in REGIONS:
            for service, rows in QUESTIONS.items():
                if service in GLOBAL and region != REGIONS[0]:
                    continue
                ask = client(service, account=account, region=region)
                for row in rows:
                    for name, told in _answers(ask, row, None):
                        found[f"{account} {region} {service} {name}"] = told
            if messages:
                found |= _messages(client("sqs", account=account, region=region), f"{account} {region}")
            found |= _objects(client("s3", account=account, region=region), f"{account} {region}")
    return found


def different(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs, a line each."""
    lines = [f"- {name}" for name in before.keys() - after.keys()]
    lines += [f"+ {name}" for name in after.keys() - before.keys()]
    for name in before.keys() & after.keys():
        lines += [f"{name}{line}" for line in _apart(before[name], after[name])]
    return sorted(lines)


def _apart(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys(), key=str):
            yield from _apart(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, its) in enumerate(zip(one, other, strict=True)):
            yield from _apart(mine, its, f"{path}[{number}]")
    elif one != other:
        yield f"{path}: {str(one)[:300]} is now {str(other)[:300]}"


def _answers(client: Any, row: Row, own: Any) -> Iterator[tuple[str, Any]]:
    operation, params, *below = row
    params = {name: own if value is OWN else value for name, value in params.items()}
    if operation == "get_user_policy":
        params["PolicyName"] = own
    told = _whole(client, operation, params)
    yield f"{operation} {own or ''}", told
    if not below or not isinstance(told, dict):
        return
    where, name, rows = below
    for each in told.get(where.removesuffix("[]"), []):
        value = each[name] if name else each
        if operation == "list_hosted_zones":
            value = value.rpartition("/")[2]
        for one in rows:
            if one[0] == "get_user_policy":
                one = ("get_user_policy", {"UserName": own, "PolicyName": value})
            yield from _answers(client, one, value)


def _whole(client: Any, operation: str, params: dict[str, Any]) -> Any:
    """An answer with all its pages; or an error's code."""
    whole: dict[str, Any] = {}
    for _ in range(LIMIT_PAGES):
        try:
            page = getattr(client, operation)(**params)
        except ClientError as error:
            return error.response["Error"]["Code"]
        page.pop("ResponseMetadata")
        page.pop("lastEvaluatedAt", None)  # ECR GetLifecyclePolicy: now
        for name, value in page.items():
            whole[name] = whole[name] + value if isinstance(whole.get(name), list) else value
        more = {ask: page[said] for said, ask in PAGES.items() if page.get(said)}
        if "KeyMarker" in page and page.get("IsTruncated"):
            more = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}
        if not more:
            return whole
        params = {**params, **more}
    raise AssertionError(f"{operation} has no end")


def _messages(sqs: Any, place: str) -> dict[str, Any]:
    """Those that can be received now, left as they are but for the count of their receipts: so only where that moves none elsewhere, nor holds up
    its group."""
    found = {}
    for url in _whole(sqs, "list_queues", {}).get("QueueUrls", []):
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy", "FifoQueue"])
        if told.get("Attributes"):
            continue
        told = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            MessageAttributeNames=["All"],
            AttributeNames=["All"],
        )
        each = told.get("Messages", [])
        for one in each:
            one.pop("ReceiptHandle")
            for name in ("ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp"):
                one["Attributes"].pop(name, None)
        found[f"{place} messages {url}"] = each
    return found


def _objects(s3: Any, place: str) -> dict[str, Any]:
    """Bytes, tags and permissions of every version of every object."""
    found: dict[str, Any] = {}
    for bucket in _whole(s3, "list_buckets", {})["Buckets"]:
        told = _whole(s3, "list_object_versions", {"Bucket": bucket["Name"]})
        for one in told.get("Versions", []) if isinstance(told, dict) else []:
            where = {"Bucket": bucket["Name"], "Key": one["Key"], "VersionId": one["VersionId"]}
            name = f"{place} object {bucket['Name']} {one['Key']} {one['VersionId']}"
            try:
                got = s3.get_object(**where)
            except ClientError as error:
                found[name] = error.response["Error"]["Code"]
                continue
            got["Body"] = got["Body"].read()
            got.pop("ResponseMetadata")
            found[name] = got
            found[f"{name} tags"] = _whole(s3, "get_object_tagging", where)
            found[f"{name} acl"] = _whole(s3, "get_object_acl", where)
    return found
