"""What moto answers behind gureum's endpoint beside objects and messages, what it does not, and what is refused. AWS: the API references of IAM, KMS,
DynamoDB, Route 53, Secrets Manager."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import Cloud
from tests.wire.neighbours.asking import ACCOUNT, code_of, raw


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


def test_accounts_are_apart(cloud: Cloud) -> None:
    cloud.client("iam").create_user(UserName="mine")
    with pytest.raises(ClientError) as error:
        cloud.client("iam", account="444455556666").get_user(UserName="mine")
    assert code_of(error) == "NoSuchEntity"


def test_services_that_would_have_to_run_something_are_absent(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as error:
        cloud.client("lambda").list_functions()
    assert code_of(error) == "NotImplemented"


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


def profile_without_its_role(cloud: Cloud) -> None:
    iam = cloud.client("iam")
    iam.create_role(RoleName="apart", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="apart")
    iam.remove_role_from_instance_profile(InstanceProfileName="apart", RoleName="apart")


def tags_of_no_object(cloud: Cloud) -> None:
    cloud.client("s3").create_bucket(Bucket="untagged")
    cloud.client("s3").delete_object_tagging(Bucket="untagged", Key="none")


NO_KEY = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (profile_without_its_role, "NoSuchEntity"),
        (tags_of_no_object, "NoSuchKey"),
        (lambda cloud: cloud.client("ecr").put_image(repositoryName="none", imageManifest="{}"), "RepositoryNotFoundException"),
        (lambda cloud: cloud.client("kms").create_grant(KeyId=NO_KEY, GranteePrincipal="x", Operations=["Encrypt"]), "NotFoundException"),
        (lambda cloud: cloud.client("dynamodb").execute_statement(Statement='SELECT * FROM "none"'), "ResourceNotFoundException"),
        (lambda cloud: cloud.client("dynamodb").execute_statement(Statement="INSERT INTO \"none\" value {'id': 'x'}"), "ResourceNotFoundException"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_no_fault(cloud: Cloud, ask: Callable[[Cloud], Any], code: str) -> None:
    with pytest.raises(ClientError) as error:
        ask(cloud)
    assert code_of(error) == code


def test_a_key_that_encrypts_has_no_public_one(cloud: Cloud) -> None:
    kms = cloud.client("kms")
    with pytest.raises(ClientError) as error:
        kms.get_public_key(KeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    assert code_of(error) == "UnsupportedOperationException"


def test_a_key_is_switched_off_and_deleted_by_its_arn(cloud: Cloud) -> None:
    kms = cloud.client("kms")
    arn = kms.create_key()["KeyMetadata"]["Arn"]

    def state() -> str:
        return str(kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"])

    kms.disable_key(KeyId=arn)
    assert state() == "Disabled"
    kms.enable_key(KeyId=arn)
    assert state() == "Enabled"
    kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    assert state() == "PendingDeletion"
    kms.cancel_key_deletion(KeyId=arn)
    assert state() == "Disabled"
    with pytest.raises(ClientError) as error:
        kms.enable_key(KeyId=arn.replace(":us-east-1:", ":eu-west-1:"))
    assert code_of(error) == "NotFoundException"


def test_clients_of_an_identity_provider_come_and_go(cloud: Cloud) -> None:
    iam = cloud.client("iam")
    made = iam.create_open_id_connect_provider(
        Url="https://clients.example", ClientIDList=["one"], ThumbprintList=["a" * 40]
    )
    named = {"OpenIDConnectProviderArn": made["OpenIDConnectProviderArn"]}
    for _ in range(2):
        iam.add_client_id_to_open_id_connect_provider(**named, ClientID="two")
    assert iam.get_open_id_connect_provider(**named)["ClientIDList"] == ["one", "two"]
    for _ in range(2):
        iam.remove_client_id_from_open_id_connect_provider(**named, ClientID="one")
    assert iam.get_open_id_connect_provider(**named)["ClientIDList"] == ["two"]
    with pytest.raises(ClientError) as error:
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=f"{made}x"[:100], ClientID="two")
    assert code_of(error) == "NoSuchEntity"


def test_a_stream_has_the_tags_that_it_was_made_with(cloud: Cloud) -> None:
    kinesis = cloud.client("kinesis")
    kinesis.create_stream(StreamName="tagged", ShardCount=1, Tags={"team": "a"})
    assert kinesis.list_tags_for_stream(StreamName="tagged")["Tags"] == [{"Key": "team", "Value": "a"}]


def test_tags_of_a_virtual_mfa_device(cloud: Cloud) -> None:
    iam = cloud.client("iam")
    tags = [{"Key": "team", "Value": "a"}, {"Key": "cost", "Value": "1"}]
    serial = iam.create_virtual_mfa_device(VirtualMFADeviceName="tagged", Tags=tags)["VirtualMFADevice"]["SerialNumber"]
    iam.tag_mfa_device(SerialNumber=serial, Tags=[{"Key": "team", "Value": "b"}])
    iam.untag_mfa_device(SerialNumber=serial, TagKeys=["cost"])
    assert iam.list_mfa_device_tags(SerialNumber=serial)["Tags"] == [{"Key": "team", "Value": "b"}]
    with pytest.raises(ClientError) as error:
        iam.list_mfa_device_tags(SerialNumber=f"{serial}-none")
    assert code_of(error) == "NoSuchEntity"


def test_settings_of_a_table_are_read_back(cloud: Cloud) -> None:
    tables, limits = cloud.client("dynamodb"), {"MaxReadRequestUnits": 10, "MaxWriteRequestUnits": 5}
    index = {
        "IndexName": "by-kind",
        "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
        "OnDemandThroughput": limits,
    }
    tables.create_table(
        TableName="limited",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("id", "kind")],
        GlobalSecondaryIndexes=[index],
        OnDemandThroughput=limits,
    )
    found = tables.describe_table(TableName="limited")["Table"]
    assert [found["OnDemandThroughput"], found["GlobalSecondaryIndexes"][0]["OnDemandThroughput"]] == [limits] * 2
    tables.update_table(
        TableName="limited",
        OnDemandThroughput={"MaxReadRequestUnits": 20},
        TableClass="STANDARD_INFREQUENT_ACCESS",
        SSESpecification={"Enabled": True},
    )
    found = tables.describe_table(TableName="limited")["Table"]
    assert found["OnDemandThroughput"] == {**limits, "MaxReadRequestUnits": 20}
    assert found["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    assert found["SSEDescription"]["KMSMasterKeyArn"].startswith("arn:aws:kms:")


def test_names_of_users_and_groups_are_changed(cloud: Cloud) -> None:
    """A user that got another's name took his place; a group could not be moved under its own."""
    iam = cloud.client("iam")
    tags = [{"Key": "team", "Value": "a"}]
    ids = [iam.create_user(UserName=name, Tags=tags)["User"]["UserId"] for name in ("first", "second")]
    with pytest.raises(ClientError) as error:
        iam.update_user(UserName="first", NewUserName="second")
    assert code_of(error) == "EntityAlreadyExists"
    assert [iam.get_user(UserName=name)["User"]["UserId"] for name in ("first", "second")] == ids
    iam.update_user(UserName="first", NewUserName="first", NewPath="/team/")
    iam.create_group(GroupName="moved")
    iam.update_group(GroupName="moved", NewGroupName="moved", NewPath="/one/")
    iam.update_group(GroupName="moved", NewPath="/two/")
    iam.update_group(GroupName="moved", NewGroupName="renamed")
    assert iam.get_group(GroupName="renamed")["Group"]["Path"] == "/two/"
    assert iam.get_user(UserName="first")["User"]["Path"] == "/team/"
    iam.update_user(UserName="first", NewUserName="third")
    assert iam.list_user_tags(UserName="third")["Tags"] == tags
