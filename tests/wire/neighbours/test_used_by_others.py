"""Where neighbours matter to what gureum itself builds: alarms, hooks, log files, parameters."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import BUSYBOX, NANO, Cloud, until
from tests.wire.neighbours.asking import ACCOUNT, code_of


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
