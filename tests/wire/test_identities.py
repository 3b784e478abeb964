"""Who calls: users of IAM, roles that are assumed, and what STS makes of them, with signatures checked.

AWS: sts GetCallerIdentity, AssumeRole, GetSessionToken, GetFederationToken, GetAccessKeyInfo; IAM user guide, "IAM identifiers".
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.cloud.running import BUSYBOX, NANO, Cloud, until
from tests.wire.conftest import _running

ACCOUNT, OTHER = "111122223333", "444455556666"
SECRET = "a secret of everybody"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    settings = {"simulate": "true", "ephemeral": "true", "verify_signatures": "true", "secret_key": SECRET}
    yield from _running(Cloud(tmp_path_factory.mktemp("gureum"), **settings), "up", "--simulate")


def client(
    cloud: Cloud, service: str, key: str = ACCOUNT, secret: str = SECRET, token: str | None = None, **more: Any
) -> Any:
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret, "aws_session_token": token}
    config = Config(retries={"total_max_attempts": 1}, **more)
    return boto3.client(service, endpoint_url=cloud.url, region_name="us-east-1", config=config, **keys)


def with_credentials(cloud: Cloud, service: str, given: dict[str, Any]) -> Any:
    return client(cloud, service, given["AccessKeyId"], given["SecretAccessKey"], given.get("SessionToken"))


def refusal(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def trust(principal: Any, *actions: str, **more: Any) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": [*(actions or ("sts:AssumeRole",))], **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def make_user(iam: Any, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return iam.create_user(UserName=name, Path="/team/")["User"], iam.create_access_key(UserName=name)["AccessKey"]


def make_role(cloud: Cloud, name: str, policy: str, account: str = ACCOUNT, **more: Any) -> dict[str, Any]:
    made = client(cloud, "iam", account).create_role(RoleName=name, AssumeRolePolicyDocument=policy, **more)
    return dict(made["Role"])


def who(cloud: Cloud, given: dict[str, Any]) -> tuple[str, str, str]:
    told = with_credentials(cloud, "sts", given).get_caller_identity()
    return told["Arn"], told["UserId"], told["Account"]


def test_a_users_key_is_its_user_also_after_a_crash(cloud: Cloud) -> None:
    user, key = make_user(client(cloud, "iam", OTHER), "anna")
    expected = (f"arn:aws:iam::{OTHER}:user/team/anna", user["UserId"], OTHER)
    assert user["UserId"].startswith("AIDA")
    assert who(cloud, key) == expected
    assert with_credentials(cloud, "iam", key).get_user()["User"]["UserName"] == "anna"
    old = cloud.process("daemon")
    os.kill(old, signal.SIGKILL)
    until(lambda: cloud.process("daemon") != old)
    assert who(cloud, key) == expected


def test_what_a_user_makes_is_in_his_account_and_by_his_name(cloud: Cloud) -> None:
    user, key = make_user(client(cloud, "iam", OTHER), "berta")
    data = {"ImageId": BUSYBOX, "InstanceType": NANO}
    ec2 = with_credentials(cloud, "ec2", key)
    made = ec2.create_launch_template(LaunchTemplateName="of-berta", LaunchTemplateData=data)["LaunchTemplate"]
    assert made["CreatedBy"] == user["Arn"]
    assert client(cloud, "ec2", OTHER).describe_launch_templates(LaunchTemplateNames=["of-berta"])["LaunchTemplates"]
    with_credentials(cloud, "ssm", key).put_parameter(Name="/of/berta", Value="x", Type="String")
    told = client(cloud, "ssm", OTHER).get_parameter_history(Name="/of/berta")["Parameters"][0]
    assert told["LastModifiedUser"] == user["Arn"]


def test_keys_that_are_turned_off_deleted_or_wrong_are_refused(cloud: Cloud) -> None:
    iam = client(cloud, "iam")
    _, key = make_user(iam, "carl")
    named = {"UserName": "carl", "AccessKeyId": key["AccessKeyId"]}
    wrong = client(cloud, "sts", key["AccessKeyId"], SECRET)
    assert refusal(wrong.get_caller_identity)[0] == "SignatureDoesNotMatch"
    sts, ec2 = with_credentials(cloud, "sts", key), with_credentials(cloud, "ec2", key)
    iam.update_access_key(**named, Status="Inactive")
    invalid = ("InvalidClientTokenId", "The security token included in the request is invalid.")
    assert refusal(sts.get_caller_identity) == invalid
    assert refusal(ec2.describe_vpcs)[0] == "AuthFailure"
    for service, operation, code in (
        ("s3", "list_buckets", "InvalidAccessKeyId"),
        ("ssm", "describe_parameters", "UnrecognizedClientException"),
        ("kms", "list_keys", "UnrecognizedClientException"),
        ("sqs", "list_queues", "InvalidClientTokenId"),
        ("iam", "list_users", "InvalidClientTokenId"),
    ):
        assert refusal(getattr(with_credentials(cloud, service, key), operation))[0] == code
    iam.update_access_key(**named, Status="Active")
    assert sts.get_caller_identity()["Arn"].endswith("/carl")
    iam.delete_access_key(**named)
    assert refusal(sts.get_caller_identity) == invalid
    old = cloud.process("daemon")
    os.kill(old, signal.SIGKILL)
    until(lambda: cloud.process("daemon") != old)
    assert refusal(sts.get_caller_identity) == invalid


def test_a_key_that_is_deleted_by_get_is_deleted(cloud: Cloud) -> None:
    _, key = make_user(client(cloud, "iam"), "hans")
    assert who(cloud, key)
    url = f"{cloud.url}/?Action=DeleteAccessKey&Version=2010-05-08&UserName=hans&AccessKeyId={key['AccessKeyId']}"
    request = AWSRequest("GET", url)
    SigV4Auth(Credentials(ACCOUNT, SECRET), "iam", "us-east-1").add_auth(request)
    urllib.request.urlopen(urllib.request.Request(url, headers=dict(request.headers)), timeout=30)
    for _ in range(2):
        assert refusal(with_credentials(cloud, "sts", key).get_caller_identity)[0] == "InvalidClientTokenId"
        old = cloud.process("daemon")
        os.kill(old, signal.SIGKILL)
        until(lambda old=old: cloud.process("daemon") != old)


def test_a_presigned_url_of_an_object_is_good_until_it_ends(cloud: Cloud) -> None:
    _, key = make_user(client(cloud, "iam"), "ida")
    client(cloud, "s3").create_bucket(Bucket="presigned-objects")
    token = with_credentials(cloud, "sts", key).get_session_token()["Credentials"]
    name = {"Bucket": "presigned-objects", "Key": "a b/ü+&=?.txt"}
    for given in (key, token):
        keys = (given["AccessKeyId"], given["SecretAccessKey"], given.get("SessionToken"))
        s3 = client(cloud, "s3", *keys, signature_version="s3v4")
        put = s3.generate_presigned_url("put_object", Params=name, ExpiresIn=60)
        assert urllib.request.urlopen(urllib.request.Request(put, b"text", method="PUT"), timeout=30).status == 200
        params = {**name, "ResponseContentDisposition": 'attachment; filename="x y.txt"'}
        got = urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=params, ExpiresIn=60), timeout=30)
        assert got.read() == b"text"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=name, ExpiresIn=604801), timeout=30)
        assert b"AuthorizationQueryParametersError" in refused.value.read()


def test_a_user_with_keys_is_not_deleted(cloud: Cloud) -> None:
    iam = client(cloud, "iam")
    _, key = make_user(iam, "gerd")
    assert refusal(iam.delete_user, UserName="gerd")[0] == "DeleteConflict"
    assert iam.list_service_specific_credentials(UserName="gerd")["ServiceSpecificCredentials"] == []
    assert refusal(iam.list_service_specific_credentials, UserName="none")[0] == "NoSuchEntity"
    iam.delete_access_key(UserName="gerd", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="gerd")


def test_what_is_compressed_for_the_way_is_signed_as_it_was_sent(cloud: Cloud) -> None:
    """Large metric data; and objects that are compressed for good."""
    data = [{"MetricName": f"m{number}", "Value": 1.0} for number in range(900)]
    client(cloud, "cloudwatch").put_metric_data(Namespace="Signed", MetricData=data)
    s3, body = client(cloud, "s3"), gzip.compress(b"text" * 1000)
    s3.create_bucket(Bucket="signed-objects")
    s3.put_object(Bucket="signed-objects", Key="k", Body=body, ContentEncoding="gzip")
    assert s3.get_object(Bucket="signed-objects", Key="k")["Body"].read() == body


def test_an_assumed_role_is_known_by_its_own_id(cloud: Cloud) -> None:
    role = make_role(cloud, "deploy", trust({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}), OTHER, Path="/ci/")
    made = client(cloud, "sts").assume_role(RoleArn=role["Arn"], RoleSessionName="me")
    arn, id_ = f"arn:aws:sts::{OTHER}:assumed-role/deploy/me", f"{role['RoleId']}:me"
    assert role["RoleId"].startswith("AROA")
    assert made["AssumedRoleUser"] == {"AssumedRoleId": id_, "Arn": arn}
    assert who(cloud, made["Credentials"]) == (arn, id_, OTHER)
    assert "PackedPolicySize" not in made


def test_a_role_that_is_not_there_or_trusts_others_is_denied(cloud: Cloud) -> None:
    user, key = make_user(client(cloud, "iam"), "dora")
    _, stranger = make_user(client(cloud, "iam"), "emil")
    role = make_role(cloud, "of-dora", trust({"AWS": user["Arn"]}))
    service = make_role(cloud, "of-ec2", trust({"Service": "ec2.amazonaws.com"}))
    dora, emil = (with_credentials(cloud, "sts", one) for one in (key, stranger))
    assert dora.assume_role(RoleArn=role["Arn"], RoleSessionName="me")["Credentials"]
    for arn in (
        role["Arn"],
        service["Arn"],
        f"arn:aws:iam::{ACCOUNT}:role/x/of-dora",
        f"arn:aws:iam::{ACCOUNT}:role/none",
    ):
        me = f"arn:aws:iam::{ACCOUNT}:user/team/emil"
        text = f"User: {me} is not authorized to perform: sts:AssumeRole on resource: {arn}"
        assert refusal(emil.assume_role, RoleArn=arn, RoleSessionName="me") == ("AccessDenied", text)


def test_an_external_id_must_be_the_one_that_was_agreed(cloud: Cloud) -> None:
    condition = {"StringEquals": {"sts:ExternalId": "agreed"}}
    role = make_role(cloud, "external", trust({"AWS": ACCOUNT}, Condition=condition), OTHER)
    wanted = {"RoleArn": role["Arn"], "RoleSessionName": "me"}
    sts = client(cloud, "sts")
    assert refusal(sts.assume_role, **wanted)[0] == "AccessDenied"
    assert refusal(sts.assume_role, **wanted, ExternalId="another")[0] == "AccessDenied"
    assert sts.assume_role(**wanted, ExternalId="agreed")["Credentials"]


def test_calls_of_iam_that_name_no_user_are_about_who_calls(cloud: Cloud) -> None:
    """moto made a user up."""
    iam = client(cloud, "iam")
    user, key = make_user(iam, "kurt")
    kurt = with_credentials(cloud, "iam", key)
    assert kurt.get_user()["User"]["UserName"] == "kurt"
    assert kurt.list_mfa_devices()["MFADevices"] == []
    token = with_credentials(cloud, "sts", key).get_session_token()["Credentials"]
    assert with_credentials(cloud, "iam", token).get_user()["User"]["UserId"] == user["UserId"]
    second = kurt.create_access_key()["AccessKey"]
    assert second["UserName"] == "kurt"
    assert len(with_credentials(cloud, "iam", second).list_access_keys()["AccessKeyMetadata"]) == 2
    kurt.delete_access_key(AccessKeyId=second["AccessKeyId"])
    root = iam.get_user()["User"]
    assert (root["Arn"], root["UserId"]) == (f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)
    assert iam.list_mfa_devices()["MFADevices"] == iam.list_access_keys()["AccessKeyMetadata"] == []
    assert refusal(iam.create_access_key)[0] == "NotImplemented"
    role = make_role(cloud, "nobody", trust({"AWS": ACCOUNT}))["Arn"]
    made = client(cloud, "sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    text = "Must specify userName when calling with non-User credentials"
    assert refusal(with_credentials(cloud, "iam", made).get_user) == ("ValidationError", text)


def test_mfa_and_the_callers_name_may_be_wanted(cloud: Cloud) -> None:
    """AWS: IAM user guide, "MFA-protected API operations"; "Naming individual sessions"."""
    _, key = make_user(client(cloud, "iam"), "jana")
    mfa = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    name = {"StringLike": {"sts:RoleSessionName": "${aws:username}"}}
    guarded, named = (
        make_role(cloud, role, trust({"AWS": ACCOUNT}, Condition=condition))["Arn"]
        for role, condition in (("with-mfa", mfa), ("by-name", name))
    )
    jana = with_credentials(cloud, "sts", key)
    assert refusal(jana.assume_role, RoleArn=guarded, RoleSessionName="me")[0] == "AccessDenied"
    code = {"SerialNumber": f"arn:aws:iam::{ACCOUNT}:mfa/jana", "TokenCode": "123456"}
    assert jana.assume_role(RoleArn=guarded, RoleSessionName="me", **code)["Credentials"]
    assert refusal(jana.assume_role, RoleArn=named, RoleSessionName="me")[0] == "AccessDenied"
    assert jana.assume_role(RoleArn=named, RoleSessionName="jana")["Credentials"]


def test_federated_users_assume_no_roles(cloud: Cloud) -> None:
    role = make_role(cloud, "open-to-all", trust("*"))["Arn"]
    made = client(cloud, "sts").get_federation_token(Name="fed")["Credentials"]
    federated = with_credentials(cloud, "sts", made)
    assert refusal(federated.assume_role, RoleArn=role, RoleSessionName="me")[0] == "AccessDenied"


def test_tags_and_source_identities_need_their_own_permission_and_go_along(cloud: Cloud) -> None:
    plain = make_role(cloud, "plain", trust({"AWS": ACCOUNT}))["Arn"]
    every = trust({"AWS": ACCOUNT}, "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
    first, second = (make_role(cloud, name, every)["Arn"] for name in ("first", "second"))
    sts, tags = client(cloud, "sts"), [{"Key": "Team", "Value": "a"}, {"Key": "Cost", "Value": "b"}]
    refused = refusal(sts.assume_role, RoleArn=plain, RoleSessionName="me", Tags=tags)
    assert refused[0] == "AccessDenied"
    assert "sts:TagSession" in refused[1]
    refused = refusal(sts.assume_role, RoleArn=plain, RoleSessionName="me", SourceIdentity="anna")
    assert refused[0] == "AccessDenied"
    assert "sts:SetSourceIdentity" in refused[1]
    more = {"Tags": tags, "TransitiveTagKeys": ["team"], "SourceIdentity": "anna"}
    made = sts.assume_role(RoleArn=first, RoleSessionName="me", **more)
    assert made["SourceIdentity"] == "anna"
    assert 0 < made["PackedPolicySize"] < 20
    chained = with_credentials(cloud, "sts", made["Credentials"])
    wanted = {"RoleArn": second, "RoleSessionName": "me"}
    assert chained.assume_role(**wanted)["SourceIdentity"] == "anna"
    assert refusal(chained.assume_role, **wanted, SourceIdentity="berta")[0] == "AccessDenied"
    text = "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."
    again = [{"Key": "TEAM", "Value": "x"}]
    assert refusal(chained.assume_role, **wanted, Tags=again) == ("InvalidParameterValue", text)
    assert chained.assume_role(**wanted, Tags=[{"Key": "cost", "Value": "x"}])["Credentials"]


def test_no_session_is_longer_than_its_role_or_its_chain_allows(cloud: Cloud) -> None:
    short = make_role(cloud, "short", trust({"AWS": ACCOUNT}))["Arn"]
    long = make_role(cloud, "long", trust({"AWS": ACCOUNT}), MaxSessionDuration=43200)["Arn"]
    sts = client(cloud, "sts")
    code, text = refusal(sts.assume_role, RoleArn=short, RoleSessionName="me", DurationSeconds=3601)
    assert (code, text) == (
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    )
    wanted = {"RoleArn": long, "RoleSessionName": "me"}
    assert refusal(sts.assume_role, **wanted, DurationSeconds=43201)[0] == "ValidationError"
    made = sts.assume_role(RoleArn=long, RoleSessionName="me", DurationSeconds=43200)["Credentials"]
    assert 43100 < (made["Expiration"] - datetime.now(UTC)).total_seconds() <= 43200
    chained = with_credentials(cloud, "sts", made)
    code, text = refusal(chained.assume_role, RoleArn=long, RoleSessionName="me", DurationSeconds=3601)
    assert code == "ValidationError"
    assert "role chaining" in text
    assert chained.assume_role(RoleArn=long, RoleSessionName="me", DurationSeconds=3600)["Credentials"]


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ("{", "MalformedPolicyDocument"),
        ("[]", "MalformedPolicyDocument"),
        ("[" * 2000, "MalformedPolicyDocument"),
        ('{"Version": "2012-10-17"}', "MalformedPolicyDocument"),
        ('{"Version": [], "Statement": []}', "MalformedPolicyDocument"),
        ('{"Statement": {"Effect": "Maybe", "Action": "*", "Resource": "*"}}', "MalformedPolicyDocument"),
        ('{"Statement": {"Effect": [], "Action": "*", "Resource": "*"}}', "MalformedPolicyDocument"),
        ('{"Statement": {"Effect": "Allow", "Action": "*"}}', "MalformedPolicyDocument"),
        (
            '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}',
            "MalformedPolicyDocument",
        ),
        ("x" * 2049, "ValidationError"),
    ],
)
def test_a_sessions_policy_must_be_one(cloud: Cloud, policy: str, code: str) -> None:
    sts = client(cloud, "sts")
    wanted = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/none", "RoleSessionName": "me"}
    assert refusal(sts.assume_role, **wanted, Policy=policy)[0] == code
    assert refusal(sts.get_federation_token, Name="bob", Policy=policy)[0] == code


def test_tokens_of_a_user_are_his_and_last_half_a_day(cloud: Cloud) -> None:
    user, key = make_user(client(cloud, "iam"), "fritz")
    sts = with_credentials(cloud, "sts", key)
    made = sts.get_session_token()["Credentials"]
    assert who(cloud, made) == (user["Arn"], user["UserId"], ACCOUNT)
    policy = json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    federated = sts.get_federation_token(Name="Bob", Policy=policy)
    for given in (made, federated["Credentials"]):
        assert 43100 < (given["Expiration"] - datetime.now(UTC)).total_seconds() <= 43200
    assert federated["PackedPolicySize"] > 0
    assert sts.get_access_key_info(AccessKeyId=key["AccessKeyId"])["Account"] == ACCOUNT
    assert client(cloud, "sts", OTHER).get_access_key_info(AccessKeyId=key["AccessKeyId"])["Account"] == ACCOUNT
    root = client(cloud, "sts").get_session_token(DurationSeconds=7200)["Credentials"]
    assert (root["Expiration"] - datetime.now(UTC)).total_seconds() <= 3600
