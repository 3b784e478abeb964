"""A machine's role: its credentials by the metadata service, and the API that it reaches with them. What is asked inside a machine's network is asked
by stock clients that enter it: they find metadata and endpoint as they would in any instance."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.cloud.running import Cloud, until

ACCOUNT = "111122223333"
API = "http://169.254.169.249"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


@pytest.fixture(scope="module")
def iam(cloud: Cloud) -> Any:
    made = cloud.client("iam")
    for name in ("web", "db"):
        made.create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument=json.dumps(TRUST))
        made.create_instance_profile(InstanceProfileName=name)
        made.add_role_to_instance_profile(InstanceProfileName=name, RoleName=f"{name}-role")
    return made


def make_role(iam: Any, name: str, trusts: str) -> str:
    """ARN of a role that `trusts` may assume."""
    statement = {"Effect": "Allow", "Principal": {"AWS": trusts}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"])


@pytest.fixture(scope="module")
def machine(cloud: Cloud, ec2: Any, iam: Any) -> str:
    """With the profile "web", which it keeps."""
    return str(cloud.launch(ec2, UserData="", IamInstanceProfile={"Name": "web"})[0]["InstanceId"])


@pytest.fixture(scope="module")
def bucket(cloud: Cloud) -> str:
    cloud.client("s3").create_bucket(Bucket="from-inside")
    return "from-inside"


def metadata(cloud: Cloud, machine: str, path: str) -> str:
    return cloud.inside(machine, "wget", "-q", "-O", "-", f"http://169.254.169.254/latest/meta-data/{path}").stdout


def told(cloud: Cloud, machine: str, role: str = "web-role") -> dict[str, Any]:
    text = until(lambda: metadata(cloud, machine, f"iam/security-credentials/{role}"))
    return dict(json.loads(text))


def client_of(cloud: Cloud, service: str, keys: dict[str, Any]) -> Any:
    return boto3.client(
        service,
        endpoint_url=cloud.url,
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["Token"],
        config=Config(retries={"max_attempts": 1}),
    )


ASKING = """
import json, sys, boto3, botocore
from botocore.config import Config
for line in sys.stdin:
    service, operation, params, keys = json.loads(line)
    session = boto3.Session(region_name='us-east-1', **keys)
    client = session.client(service, endpoint_url=sys.argv[1], config=Config(retries={'max_attempts': 0}))
    try:
        answer = getattr(client, operation)(**params)
        answer.pop('Body', None)
    except botocore.exceptions.ClientError as error:
        answer = {'Refused': error.response['Error']['Code']}
    print(json.dumps(answer, default=str), flush=True)
"""


class Inside:
    """Programs in the network of a machine, as if they ran there: without keys of their own. One process with boto3 answers what tests ask."""

    def __init__(self, cloud: Cloud, machine: str, folder: Path) -> None:
        self.enter = ["nsenter", f"--net=/run/netns/gm-{cloud.identity['id']}-s-{machine}"]
        names = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GUREUM_"))}
        self.environment = {**names, "HOME": str(folder), "AWS_ENDPOINT_URL": API, "AWS_DEFAULT_REGION": "us-east-1"}
        self.asking = subprocess.Popen(
            [*self.enter, sys.executable, "-c", ASKING, API],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, service: str, operation: str, keys: dict[str, str] | None = None, **params: Any) -> dict[str, Any]:
        """The result, or {"Refused": code}. Without `keys` those of the machine's role, found as the client finds them."""
        assert self.asking.stdin
        assert self.asking.stdout
        self.asking.stdin.write(json.dumps([service, operation, params, keys or {}]) + "\n")
        self.asking.stdin.flush()
        return dict(json.loads(self.asking.stdout.readline()))

    def refused(self, service: str, operation: str, keys: dict[str, str] | None = None, **params: Any) -> str:
        return str(self.ask(service, operation, keys, **params).get("Refused", "not refused"))

    def aws(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.enter, sys.executable, "-m", "awscli", "--output", "json", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def curl(self, *words: str) -> str:
        command = [*self.enter, "curl", "-s", "--max-time", "20", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    def close(self) -> None:
        assert self.asking.stdin
        self.asking.stdin.close()
        self.asking.wait(20)


@pytest.fixture(scope="module")
def inside(cloud: Cloud, machine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    told(cloud, machine)
    made = Inside(cloud, machine, tmp_path_factory.mktemp("guest"))
    yield made
    made.close()


def test_metadata_tells_the_role_and_its_credentials(cloud: Cloud, machine: str, iam: Any) -> None:
    keys = told(cloud, machine)
    assert metadata(cloud, machine, "iam/") == "info\nsecurity-credentials/"
    assert metadata(cloud, machine, "iam/security-credentials/") == "web-role"
    assert (keys["Code"], keys["Type"]) == ("Success", "AWS-HMAC")
    assert keys["AccessKeyId"].startswith("ASIA")
    info = json.loads(metadata(cloud, machine, "iam/info"))
    profile = iam.get_instance_profile(InstanceProfileName="web")["InstanceProfile"]
    assert (info["InstanceProfileArn"], info["InstanceProfileId"]) == (profile["Arn"], profile["InstanceProfileId"])
    who = client_of(cloud, "sts", keys).get_caller_identity()
    role = profile["Roles"][0]["RoleId"]
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/web-role/{machine}"
    assert who["UserId"] == f"{role}:{machine}"


def test_the_secret_lies_open_nowhere(cloud: Cloud, machine: str) -> None:
    keys = told(cloud, machine)
    for path in cloud.home.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 100_000_000:
            data = path.read_bytes()
            assert keys["SecretAccessKey"].encode() not in data, path
            assert keys["Token"].encode() not in data, path


def test_a_stock_client_inside_finds_its_role_and_calls_the_api(inside: Inside, machine: str) -> None:
    who = json.loads(inside.aws("sts", "get-caller-identity").stdout)
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/web-role/{machine}"
    assert inside.ask("sts", "get_caller_identity")["Arn"] == who["Arn"]
    found = inside.ask("ec2", "describe_instances", InstanceIds=[machine])
    assert found["Reservations"][0]["Instances"][0]["InstanceId"] == machine


def test_objects_and_messages_from_inside(cloud: Cloud, inside: Inside, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(300_000))
    put = inside.aws("s3", "cp", "--quiet", str(tmp_path / "file"), f"s3://{bucket}/logs/{ACCOUNT}/file")
    assert put.returncode == 0, put.stderr
    body = cloud.client("s3").get_object(Bucket=bucket, Key=f"logs/{ACCOUNT}/file")["Body"].read()
    assert body == (tmp_path / "file").read_bytes()
    queue = cloud.client("sqs").create_queue(QueueName="inside")["QueueUrl"]
    assert inside.ask("sqs", "send_message", QueueUrl=queue, MessageBody="hello")["MessageId"]
    assert cloud.client("sqs").receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "hello"


def test_the_machine_itself_resolves_and_reaches_the_endpoint(cloud: Cloud, machine: str) -> None:
    answer = cloud.inside(machine, "wget", "-S", "-O", "-", "http://aws.gureum.test/")
    assert "403" in answer.stderr, answer
    for name in ("aws.gureum.test", "bucket.aws.gureum.test", "stream-logs.aws.gureum.test"):
        assert "169.254.169.249" in cloud.inside(machine, "nslookup", name).stdout


@pytest.mark.parametrize("key", [ACCOUNT, "999999999999", "ASIAAAAAAAAAAAAAAAAA", "test"])
def test_only_keys_that_sts_gave_are_good_inside(inside: Inside, key: str) -> None:
    keys = {"aws_access_key_id": key, "aws_secret_access_key": "test"}
    assert inside.refused("sts", "get_caller_identity", keys) == "InvalidClientTokenId"
    assert inside.refused("ec2", "describe_vpcs", keys) == "AuthFailure"


def test_a_users_own_key_is_good_inside_with_its_secret(inside: Inside, iam: Any) -> None:
    """AWS: `aws configure` in a machine."""
    user = iam.create_user(UserName="inside")["User"]
    made = iam.create_access_key(UserName="inside")["AccessKey"]
    keys = {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}
    assert inside.ask("sts", "get_caller_identity", keys)["UserId"] == user["UserId"]
    assert inside.ask("sqs", "list_queues", keys)["ResponseMetadata"]["HTTPStatusCode"] == 200
    wrong = {**keys, "aws_secret_access_key": "test"}
    assert inside.refused("sts", "get_caller_identity", wrong) == "SignatureDoesNotMatch"
    iam.delete_access_key(UserName="inside", AccessKeyId=made["AccessKeyId"])
    assert inside.refused("sts", "get_caller_identity", keys) == "InvalidClientTokenId"


def test_a_session_needs_its_own_secret_and_token(cloud: Cloud, inside: Inside, machine: str) -> None:
    found = told(cloud, machine)
    keys = {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["Token"],
    }
    assert inside.ask("sts", "get_caller_identity", keys)["Account"] == ACCOUNT
    wrong = {**keys, "aws_secret_access_key": "test"}
    assert inside.refused("sts", "get_caller_identity", wrong) == "SignatureDoesNotMatch"
    other = {**keys, "aws_session_token": "other"}
    assert inside.refused("sts", "get_caller_identity", other) == "InvalidClientTokenId"


def test_ways_that_are_not_a_guests(inside: Inside) -> None:
    for path in ("/_gureum/health", "/_gureum/reset", "/metrics", "/bucket/key", "/", "/v1/data-channel/x"):
        assert "MissingAuthenticationToken" in inside.curl(f"{API}{path}"), path
        assert "<Code>AccessDenied</Code>" in inside.curl("-X", "POST", "-d", "x", f"{API}{path}"), "in the words of S3"
    upgrade = ("-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13")
    answer = inside.curl(
        "-i", *upgrade, "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"{API}/v1/data-channel/x"
    )
    assert answer.startswith("HTTP/1.1 403")
    # The whole API of the host is somewhere else: on its loopback, which is not the machine's.
    assert inside.curl("--max-time", "0.5", "http://169.254.169.249:4566/") == ""


def test_a_guest_stays_in_its_account(cloud: Cloud, inside: Inside, bucket: str, machine: str) -> None:
    other = "444455556666"
    role = {"RoleArn": f"arn:aws:iam::{other}:role/x", "RoleSessionName": "xx"}
    assert inside.refused("sts", "assume_role", **role) == "AccessDenied"
    mine = make_role(cloud.client("iam"), "of-web", f"arn:aws:iam::{ACCOUNT}:role/web-role")
    own = inside.ask("sts", "assume_role", RoleArn=mine, RoleSessionName="xx")
    assert own["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/of-web/xx"
    s3 = cloud.client("s3", account=other)
    s3.create_bucket(Bucket="theirs")
    s3.put_object(Bucket="theirs", Key="secret", Body=b"s")
    assert inside.refused("s3", "get_object", Bucket="theirs", Key="secret") == "AccessDenied"
    assert inside.refused("s3", "put_object", Bucket="theirs", Key="mine") == "AccessDenied"
    copy = {"Bucket": bucket, "Key": "stolen", "CopySource": "theirs/secret"}
    assert inside.refused("s3", "copy_object", **copy) == "AccessDenied"
    topic = cloud.client("sns", account=other).create_topic(Name="theirs")["TopicArn"]
    assert inside.refused("sns", "publish", TopicArn=topic, Message="x") == "AccessDenied"
    queue = cloud.client("sqs", account=other).create_queue(QueueName="theirs")["QueueUrl"]
    cloud.client("sqs", account=other).send_message(QueueUrl=queue, MessageBody="secret")
    assert inside.refused("sqs", "receive_message", QueueUrl=queue) == "AccessDenied"
    key = cloud.client("kms", account=other).create_key()["KeyMetadata"]["Arn"]
    assert inside.refused("kms", "describe_key", KeyId=key) == "AccessDenied"
    send = {"DocumentName": "AWS-RunShellScript", "InstanceIds": [machine], "Parameters": {"commands": ["id"]}}
    assert inside.refused("ssm", "send_command", **send, OutputS3BucketName="theirs") == "InvalidOutputFolder"
    assert inside.ask("ssm", "send_command", **send, OutputS3BucketName=bucket)["Command"]["CommandId"]
    assert s3.get_object(Bucket="theirs", Key="secret")["Body"].read() == b"s"


def test_many_connections_of_one_guest_leave_others_theirs(cloud: Cloud, inside: Inside, ec2: Any) -> None:
    """It may hold sixteen; what is more is cut. The metadata service and the host's API go on."""
    holding = (
        "import contextlib, socket\n"
        "held = []\n"
        "for _ in range(40):\n"
        "    one = socket.create_connection(('169.254.169.249', 80), 5)\n"
        "    with contextlib.suppress(OSError):  # cut already\n"
        "        one.sendall(b'GET / HT')\n"
        "    held.append(one)\n"
        "cut = 0\n"
        "for one in held:\n"
        "    one.settimeout(0.5 if cut < 24 else 0.01)\n"
        "    try:\n"
        "        cut += one.recv(1) == b''\n"
        "    except TimeoutError:\n"
        "        pass\n"
        "    except OSError:\n"
        "        cut += 1\n"
        "print(cut)\n"
    )
    made = subprocess.run(
        [*inside.enter, sys.executable, "-c", holding], capture_output=True, text=True, timeout=60, check=True
    )
    assert 24 <= int(made.stdout) < 40
    assert ec2.describe_vpcs()["Vpcs"]
    assert "MissingAuthenticationToken" in until(lambda: inside.curl(f"{API}/"))


def test_credentials_outlive_agent_and_daemon(cloud: Cloud, inside: Inside, machine: str) -> None:
    keys = told(cloud, machine)
    for name in ("agent", "daemon"):
        old = cloud.process(name)
        os.kill(old, signal.SIGKILL)
        assert told(cloud, machine) == keys
        until(lambda name=name, old=old: cloud.process(name) != old)
    assert machine in inside.ask("sts", "get_caller_identity")["Arn"]


def test_another_profile_brings_other_credentials_and_none_takes_them_away(cloud: Cloud, ec2: Any, iam: Any) -> None:
    machine = cloud.launch(ec2, UserData="", IamInstanceProfile={"Name": "web"})[0]["InstanceId"]
    told(cloud, machine)
    of_it = [{"Name": "instance-id", "Values": [machine]}]
    (made,) = ec2.describe_iam_instance_profile_associations(Filters=of_it)["IamInstanceProfileAssociations"]
    replaced = ec2.replace_iam_instance_profile_association(
        AssociationId=made["AssociationId"], IamInstanceProfile={"Name": "db"}
    )["IamInstanceProfileAssociation"]
    keys = told(cloud, machine, "db-role")
    assert "assumed-role/db-role/" in client_of(cloud, "sts", keys).get_caller_identity()["Arn"]
    until(lambda: metadata(cloud, machine, "iam/security-credentials/") == "db-role")
    ec2.disassociate_iam_instance_profile(AssociationId=replaced["AssociationId"])
    until(lambda: metadata(cloud, machine, "iam/") == "")


def test_a_role_that_ec2_may_not_assume_is_told_as_such(cloud: Cloud, ec2: Any, iam: Any) -> None:
    machine = cloud.launch(ec2, UserData="")[0]["InstanceId"]
    iam.create_role(RoleName="closed", AssumeRolePolicyDocument=json.dumps({**TRUST, "Statement": []}))
    iam.create_instance_profile(InstanceProfileName="closed")
    iam.add_role_to_instance_profile(InstanceProfileName="closed", RoleName="closed")
    ec2.associate_iam_instance_profile(InstanceId=machine, IamInstanceProfile={"Name": "closed"})
    assert told(cloud, machine, "closed")["Code"] == "AssumeRoleUnauthorizedAccess"


def test_credentials_that_are_over_are_refused(cloud: Cloud) -> None:
    sts = cloud.client("sts")
    role = make_role(cloud.client("iam"), "short", f"arn:aws:iam::{ACCOUNT}:root")
    made = sts.assume_role(RoleArn=role, RoleSessionName="xx", DurationSeconds=900)
    keys = made["Credentials"] | {"Token": made["Credentials"]["SessionToken"]}
    assert client_of(cloud, "sts", keys).get_caller_identity()["Account"] == ACCOUNT
    with pytest.raises(ClientError):
        client_of(cloud, "sts", keys).get_session_token()
