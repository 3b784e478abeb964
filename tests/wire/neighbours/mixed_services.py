"""Calls of services that name, permit and tell: IAM, KMS, SNS, SQS, EventBridge, Route 53, ECR, SES, resource groups, S3 Control."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.wire.neighbours.mixed_calls import TRUST, Call, MixedCalls
from tests.wire.neighbours.mixed_data import DATA

Ways = list[tuple[str, dict[str, Any]]]
FOR_LONG = "40000"
"""Seconds: nothing becomes visible by itself while answers are compared."""


def one(s: MixedCalls, service: str, ways: Ways) -> dict[str, Any]:
    operation, more = s.random.choice(ways)
    return s.call(service, operation, **more)


def iam_user(s: MixedCalls) -> None:
    user, group, policy = s.name("user"), s.name("group"), s.name("policy")
    key = s.known("access key", {"UserName": user, "AccessKeyId": "AKIA0000000000000000"})
    ways: Ways = [
        ("create_user", {"UserName": user, "Path": s.one_of("/", "/team/"), "Tags": s.tags()}),
        ("create_user", {"UserName": user}),
        ("update_user", {"UserName": user, "NewUserName": s.name("user")}),
        ("tag_user", {"UserName": user, "Tags": s.tags()}),
        ("untag_user", {"UserName": user, "TagKeys": ["team"]}),
        ("delete_user", {"UserName": user}),
        ("create_group", {"GroupName": group}),
        ("add_user_to_group", {"GroupName": group, "UserName": user}),
        ("remove_user_from_group", {"GroupName": group, "UserName": user}),
        ("delete_group", {"GroupName": group}),
        ("put_user_policy", {"UserName": user, "PolicyName": policy, "PolicyDocument": s.policy()}),
        ("put_group_policy", {"GroupName": group, "PolicyName": policy, "PolicyDocument": s.policy()}),
        ("delete_user_policy", {"UserName": user, "PolicyName": policy}),
        ("attach_user_policy", {"UserName": user, "PolicyArn": s.arn("iam", f"policy/{policy}")}),
        ("create_login_profile", {"UserName": user, "Password": "Abc-12345678"}),
        ("delete_login_profile", {"UserName": user}),
        ("update_access_key", {**key, "Status": s.one_of("Active", "Inactive")}),
        ("delete_access_key", key),
        ("create_virtual_mfa_device", {"VirtualMFADeviceName": s.name("mfa")}),
    ]
    one(s, "iam", ways)


def access_key(s: MixedCalls) -> None:
    user = s.name("user")
    if found := s.call("iam", "create_access_key", UserName=user):
        s.remember("access key", {"UserName": user, "AccessKeyId": found["AccessKey"]["AccessKeyId"]})


def iam_role(s: MixedCalls) -> None:
    role, policy, profile = s.name("role"), s.name("policy"), s.name("profile")
    arn = s.one_of(s.arn("iam", f"policy/{policy}"), "arn:aws:iam::aws:policy/ReadOnlyAccess")
    provider = {"Url": f"https://{s.name('oidc')}.example", "ThumbprintList": ["a" * 40], "ClientIDList": ["c"]}
    ways: Ways = [
        ("create_role", {"RoleName": role, "AssumeRolePolicyDocument": TRUST, "Tags": s.tags(), "Description": "d"}),
        ("create_role", {"RoleName": role, "AssumeRolePolicyDocument": TRUST, "MaxSessionDuration": 7200}),
        ("update_role", {"RoleName": role, "Description": s.name("text")}),
        ("update_assume_role_policy", {"RoleName": role, "PolicyDocument": TRUST}),
        ("tag_role", {"RoleName": role, "Tags": s.tags()}),
        ("put_role_policy", {"RoleName": role, "PolicyName": policy, "PolicyDocument": s.policy()}),
        ("attach_role_policy", {"RoleName": role, "PolicyArn": arn}),
        ("detach_role_policy", {"RoleName": role, "PolicyArn": arn}),
        ("delete_role_policy", {"RoleName": role, "PolicyName": policy}),
        ("delete_role", {"RoleName": role}),
        ("create_policy", {"PolicyName": policy, "PolicyDocument": s.policy(), "Tags": s.tags()}),
        ("create_policy_version", {"PolicyArn": arn, "PolicyDocument": s.policy(), "SetAsDefault": True}),
        ("delete_policy", {"PolicyArn": arn}),
        ("create_instance_profile", {"InstanceProfileName": profile}),
        ("add_role_to_instance_profile", {"InstanceProfileName": profile, "RoleName": role}),
        ("remove_role_from_instance_profile", {"InstanceProfileName": profile, "RoleName": role}),
        ("delete_instance_profile", {"InstanceProfileName": profile}),
        ("create_open_id_connect_provider", provider),
        ("create_service_linked_role", {"AWSServiceName": f"{s.name('svc')}.amazonaws.com"}),
        ("create_account_alias", {"AccountAlias": s.name("alias")}),
        ("update_account_password_policy", {"MinimumPasswordLength": s.random.randint(6, 20)}),
    ]
    one(s, "iam", ways)


def make_key(s: MixedCalls) -> None:
    specs = ("SYMMETRIC_DEFAULT",) * 4 + ("RSA_2048", "ECC_NIST_P256", "HMAC_256")
    spec = s.one_of(*specs)
    usage = {"SYMMETRIC_DEFAULT": "ENCRYPT_DECRYPT", "HMAC_256": "GENERATE_VERIFY_MAC"}.get(spec, "SIGN_VERIFY")
    tags = [{"TagKey": "team", "TagValue": "a"}]
    found = s.call("kms", "create_key", KeySpec=spec, KeyUsage=usage, Description=s.text(20), Tags=tags)
    if found:
        s.remember("key", found["KeyMetadata"]["KeyId"])


def change_key(s: MixedCalls) -> None:
    key, alias = s.known("key", "00000000-0000-0000-0000-000000000000"), f"alias/{s.name('a')}"
    ways: Ways = [
        ("create_alias", {"AliasName": alias, "TargetKeyId": key}),
        ("update_alias", {"AliasName": alias, "TargetKeyId": key}),
        ("delete_alias", {"AliasName": alias}),
        ("enable_key_rotation", {"KeyId": key, "RotationPeriodInDays": s.random.randint(90, 300)}),
        ("disable_key_rotation", {"KeyId": key}),
        ("rotate_key_on_demand", {"KeyId": key}),
        ("disable_key", {"KeyId": key}),
        ("enable_key", {"KeyId": key}),
        ("schedule_key_deletion", {"KeyId": key, "PendingWindowInDays": 7}),
        ("cancel_key_deletion", {"KeyId": key}),
        ("put_key_policy", {"KeyId": key, "PolicyName": "default", "Policy": s.policy("*", {"AWS": "*"})}),
        ("update_key_description", {"KeyId": key, "Description": s.text(20)}),
        ("tag_resource", {"KeyId": key, "Tags": [{"TagKey": "x", "TagValue": s.name("v")}]}),
        ("create_grant", {"KeyId": key, "GranteePrincipal": s.arn("iam", "root"), "Operations": ["Encrypt"]}),
    ]
    one(s, "kms", ways)


def encrypt(s: MixedCalls) -> None:
    key = s.known("key", "alias/aws/s3")
    found = s.call("kms", "encrypt", KeyId=key, Plaintext=b"plain")
    if found:
        s.remember("ciphertext", found["CiphertextBlob"])


def topic(s: MixedCalls) -> None:
    name = s.name("topic")
    arn, queue = s.arn("sns", name), s.arn("sqs", s.name("queue"))
    rule = json.dumps({"kind": ["a"]})
    subscription = s.known("subscription", f"{arn}:00000000-0000-0000-0000-000000000000")
    attribute = {"kind": {"DataType": "String", "StringValue": s.one_of("a", "b")}}
    entries = [{"Id": str(number), "Message": s.text()} for number in range(3)]
    ways: Ways = [
        ("create_topic", {"Name": name, "Tags": s.tags(), "Attributes": {"DisplayName": "d"}}),
        ("create_topic", {"Name": name}),
        ("set_topic_attributes", {"TopicArn": arn, "AttributeName": "DisplayName", "AttributeValue": s.name("d")}),
        ("tag_resource", {"ResourceArn": arn, "Tags": s.tags()}),
        ("publish", {"TopicArn": arn, "Message": s.text(), "MessageAttributes": attribute}),
        ("publish", {"TopicArn": arn, "Message": s.text(), "Subject": "s"}),
        ("publish_batch", {"TopicArn": arn, "PublishBatchRequestEntries": entries}),
        (
            "set_subscription_attributes",
            {"SubscriptionArn": subscription, "AttributeName": "FilterPolicy", "AttributeValue": rule},
        ),
        ("unsubscribe", {"SubscriptionArn": subscription}),
        ("delete_topic", {"TopicArn": arn}),
    ]
    if s.random.random() < 0.3:
        more = s.one_of({}, {"RawMessageDelivery": "true"}, {"FilterPolicy": rule})
        found = s.call("sns", "subscribe", TopicArn=arn, Protocol="sqs", Endpoint=queue, Attributes=more)
        s.remember("subscription", found.get("SubscriptionArn"))
    operation, more = s.random.choices(ways, (5, 5, 3, 2, 6, 6, 3, 2, 1, 1))[0]
    s.call("sns", operation, **more)


def queue(s: MixedCalls) -> None:
    name = s.name("queue")
    url = s.queue(name)
    redrive = json.dumps({"deadLetterTargetArn": s.arn("sqs", s.name("queue")), "maxReceiveCount": 2})
    attribute = {"kind": {"DataType": "String", "StringValue": "a"}}
    entries = [{"Id": str(number), "MessageBody": s.text(), "DelaySeconds": 900 * (number % 2)} for number in range(4)]
    ways: Ways = [
        ("create_queue", {"QueueName": name, "Attributes": {"VisibilityTimeout": FOR_LONG}, "tags": {"a": "b"}}),
        (
            "create_queue",
            {"QueueName": f"{name}.fifo", "Attributes": {"FifoQueue": "true", "VisibilityTimeout": FOR_LONG}},
        ),
        ("set_queue_attributes", {"QueueUrl": url, "Attributes": {"RedrivePolicy": redrive}}),
        ("set_queue_attributes", {"QueueUrl": url, "Attributes": {"Policy": s.policy(url, "*")}}),
        ("tag_queue", {"QueueUrl": url, "Tags": {"team": s.name("t")}}),
        ("send_message", {"QueueUrl": url, "MessageBody": s.text(), "MessageAttributes": attribute}),
        ("send_message_batch", {"QueueUrl": url, "Entries": entries}),
        (
            "send_message",
            {
                "QueueUrl": f"{url}.fifo",
                "MessageBody": s.text(),
                "MessageGroupId": "g",
                "MessageDeduplicationId": s.name("d"),
            },
        ),
        ("purge_queue", {"QueueUrl": url}),
        ("delete_queue", {"QueueUrl": url}),
    ]
    operation, more = s.random.choices(ways, (8, 3, 3, 2, 2, 12, 5, 4, 1, 1))[0]
    s.call("sqs", operation, **more)


def receive(s: MixedCalls) -> None:
    url = s.queue()
    found = s.call("sqs", "receive_message", QueueUrl=url, MaxNumberOfMessages=3, WaitTimeSeconds=0)
    for message in found.get("Messages", []):
        s.remember("receipt", {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]})
    receipt = s.known("receipt")
    if receipt is None:
        return
    if s.random.random() < 0.5:
        s.call("sqs", "delete_message", **receipt)
    else:
        s.call("sqs", "change_message_visibility", **receipt, VisibilityTimeout=s.one_of(0, int(FOR_LONG)))


def events(s: MixedCalls) -> None:
    rule, bus = s.name("rule"), s.one_of("default", s.name("bus"))
    pattern = json.dumps({"source": ["shop"]})
    target = {"Id": "q", "Arn": s.arn("sqs", s.name("queue"))}
    entry = {"Source": "shop", "DetailType": "order", "Detail": json.dumps({"text": s.text()}), "EventBusName": bus}
    ways: Ways = [
        ("create_event_bus", {"Name": s.name("bus")}),
        ("put_rule", {"Name": rule, "EventPattern": pattern, "EventBusName": bus}),
        ("put_rule", {"Name": rule, "ScheduleExpression": "rate(1 day)"}),
        ("put_targets", {"Rule": rule, "EventBusName": bus, "Targets": [target]}),
        ("remove_targets", {"Rule": rule, "EventBusName": bus, "Ids": ["q"]}),
        ("put_events", {"Entries": [entry, entry]}),
        ("disable_rule", {"Name": rule, "EventBusName": bus}),
        ("delete_rule", {"Name": rule, "EventBusName": bus}),
        ("create_archive", {"ArchiveName": s.name("arc"), "EventSourceArn": s.arn("events", f"event-bus/{bus}")}),
        ("delete_event_bus", {"Name": s.name("bus")}),
    ]
    operation, more = s.random.choices(ways, (3, 5, 2, 5, 1, 6, 1, 1, 1, 1))[0]
    s.call("events", operation, **more)


def zone(s: MixedCalls) -> None:
    found = s.call("route53", "create_hosted_zone", Name=f"{s.name('zone')}.example", CallerReference=s.name("ref"))
    if found:
        s.remember("zone", found["HostedZone"]["Id"].rpartition("/")[2])


def records(s: MixedCalls) -> None:
    id_ = s.known("zone", "Z000")
    action, name = s.one_of("UPSERT", "UPSERT", "CREATE", "DELETE"), f"{s.name('www')}.zone.example"
    plain = {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "198.18.0.1"}]}
    weighted = {**plain, "SetIdentifier": s.name("w"), "Weight": 3}
    check = {"IPAddress": "198.18.0.9", "Port": 80, "Type": "TCP"}
    change = {"Action": action, "ResourceRecordSet": s.one_of(plain, weighted)}
    ways: Ways = [
        ("change_resource_record_sets", {"HostedZoneId": id_, "ChangeBatch": {"Changes": [change]}}),
        ("change_resource_record_sets", {"HostedZoneId": id_, "ChangeBatch": {"Changes": [change, change]}}),
        ("update_hosted_zone_comment", {"Id": id_, "Comment": s.name("text")}),
        ("change_tags_for_resource", {"ResourceType": "hostedzone", "ResourceId": id_, "AddTags": s.tags()}),
        ("create_health_check", {"CallerReference": s.name("ref"), "HealthCheckConfig": check}),
        ("create_reusable_delegation_set", {"CallerReference": s.name("ref")}),
        ("delete_hosted_zone", {"Id": id_}),
    ]
    operation, more = s.random.choices(ways, (10, 5, 2, 2, 1, 1, 1))[0]
    s.call("route53", operation, **more)


def ecr(s: MixedCalls) -> None:
    name = s.name("repo")
    digest = "sha256:" + hashlib.sha256(s.name("layer").encode()).hexdigest()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1, "digest": digest},
            "layers": [],
        }
    )
    rules = {
        "rulePriority": 1,
        "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 3},
    }
    lifecycle = json.dumps({"rules": [{**rules, "action": {"type": "expire"}}]})
    ways: Ways = [
        ("create_repository", {"repositoryName": name, "tags": s.tags(), "imageTagMutability": "IMMUTABLE"}),
        ("create_repository", {"repositoryName": name}),
        ("put_image", {"repositoryName": name, "imageManifest": manifest, "imageTag": s.name("tag")}),
        ("batch_delete_image", {"repositoryName": name, "imageIds": [{"imageTag": s.name("tag")}]}),
        ("put_lifecycle_policy", {"repositoryName": name, "lifecyclePolicyText": lifecycle}),
        ("set_repository_policy", {"repositoryName": name, "policyText": s.policy("*", "*")}),
        (
            "put_image_scanning_configuration",
            {"repositoryName": name, "imageScanningConfiguration": {"scanOnPush": True}},
        ),
        ("delete_repository", {"repositoryName": name, "force": s.one_of(True, False)}),
    ]
    operation, more = s.random.choices(ways, (3, 3, 8, 2, 2, 2, 1, 1))[0]
    s.call("ecr", operation, **more)


def small(s: MixedCalls) -> None:
    mail = f"{s.name('who')}@example.com"
    query = {
        "Type": "TAG_FILTERS_1_0",
        "Query": json.dumps({"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": []}),
    }
    body = {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": s.text()}}}
    block = {
        name: s.one_of(True, False)
        for name in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    }
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("ses", "verify_email_identity", {"EmailAddress": mail}),
        ("ses", "verify_domain_identity", {"Domain": f"{s.name('domain')}.example"}),
        ("ses", "create_template", {"Template": {"TemplateName": s.name("t"), "SubjectPart": "s", "TextPart": "t"}}),
        ("ses", "create_configuration_set", {"ConfigurationSet": {"Name": s.name("set")}}),
        ("ses", "send_email", {"Source": mail, "Destination": {"ToAddresses": [mail]}, "Message": body}),
        ("resource-groups", "create_group", {"Name": s.name("rg"), "ResourceQuery": query, "Tags": {"a": "b"}}),
        ("resource-groups", "delete_group", {"GroupName": s.name("rg")}),
        (
            "s3control",
            "put_public_access_block",
            {"AccountId": s.account, "PublicAccessBlockConfiguration": block},
        ),
        ("s3control", "create_access_point", {"AccountId": s.account, "Name": s.name("ap"), "Bucket": s.bucket()}),
        ("organizations", "create_organization", {"FeatureSet": "ALL"}),
        ("organizations", "create_account", {"Email": mail, "AccountName": s.name("acct")}),
    ]
    service, operation, more = s.random.choice(ways)
    s.call(service, operation, **more)


CALLS: dict[str, list[tuple[int, Call]]] = {
    **DATA,
    "iam": [(12, iam_user), (3, access_key), (14, iam_role)],
    "kms": [(3, make_key), (6, change_key), (2, encrypt)],
    "sns": [(14, topic)],
    "sqs": [(20, queue), (6, receive)],
    "events": [(8, events)],
    "route53": [(3, zone), (8, records)],
    "ecr": [(8, ecr)],
    "small": [(5, small)],
}
