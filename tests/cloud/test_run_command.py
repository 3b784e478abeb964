"""Run Command with real machines: exit codes, outputs, rate control, timeouts, cancellation, a daemon that is killed, logs."""

from __future__ import annotations

import json
import os
import signal
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import Cloud, until


@pytest.fixture(scope="module")
def ssm(cloud: Cloud) -> Any:
    return cloud.client("ssm")


@pytest.fixture(scope="module")
def machines(cloud: Cloud, ec2: Any) -> list[str]:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "role", "Value": "web"}]}]
    return [one["InstanceId"] for one in cloud.launch(ec2, 3, UserData="", TagSpecifications=tags)]


def send(ssm: Any, instances: list[str], *commands: str, **wanted: Any) -> str:
    parameters = {"commands": list(commands), **wanted.pop("Parameters", {})}
    target = {} if "Targets" in wanted else {"InstanceIds": instances}
    sent = ssm.send_command(DocumentName="AWS-RunShellScript", Parameters=parameters, **target, **wanted)
    return str(sent["Command"]["CommandId"])


def ended(ssm: Any, command: str, instance: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = ssm.get_command_invocation(CommandId=command, InstanceId=instance)
        return found if found["Status"] not in ("Pending", "InProgress", "Delayed", "Cancelling") else None

    return dict(until(look))


def over(ssm: Any, command: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        (found,) = ssm.list_commands(CommandId=command)["Commands"]
        return found if found["Status"] not in ("Pending", "InProgress", "Cancelling") else None

    return dict(until(look))


def test_command_tells_exit_code_and_both_outputs(ssm: Any, machines: list[str]) -> None:
    name = machines[0]
    script = ["id -un; pwd", "echo wrong >&2", "echo $AWS_SSM_INSTANCE_ID", "exit 3"]
    command = send(ssm, [name], *script, Parameters={"workingDirectory": ["/etc"]}, Comment="try")
    found = ended(ssm, command, name)
    assert (found["Status"], found["StatusDetails"], found["ResponseCode"]) == ("Failed", "Failed", 3)
    assert found["StandardOutputContent"] == f"root\n/etc\n{name}\n"
    assert found["StandardErrorContent"] == "wrong\nfailed to run commands: exit status 3"
    assert found["PluginName"] == "aws:runShellScript"
    assert found["ExecutionElapsedTime"].startswith("PT0.")
    shown = over(ssm, command)
    assert (shown["Status"], shown["ErrorCount"], shown["CompletedCount"], shown["Comment"]) == ("Failed", 1, 1, "try")
    (row,) = ssm.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"]
    assert row["CommandPlugins"][0]["ResponseCode"] == 3
    assert row["CommandPlugins"][0]["Output"].startswith("root\n/etc")


def test_waiter_and_truncated_output_and_logs(cloud: Cloud, ssm: Any, machines: list[str]) -> None:
    name = machines[0]
    script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done"
    output = {"CloudWatchOutputEnabled": True, "CloudWatchLogGroupName": "commands"}
    command = send(ssm, [name], script, CloudWatchOutputConfig=output)
    ssm.get_waiter("command_executed").wait(
        CommandId=command, InstanceId=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 300}
    )
    text = ended(ssm, command, name)["StandardOutputContent"]
    assert len(text) == 24000
    assert text.startswith("line 1\nline 2\n")
    assert text.endswith("---Output truncated---")
    logs = cloud.client("logs")
    stream = f"{command}/{name}/aws-runShellScript/stdout"
    page = logs.get_log_events(logGroupName="commands", logStreamName=stream, limit=10)
    assert [one["message"] for one in page["events"]][-1] == "line 20000"


def test_whole_outputs_go_to_a_bucket(cloud: Cloud, ssm: Any, machines: list[str]) -> None:
    """AWS: "Configuring S3 for command output". The daemon is killed in the middle: nothing lacks, nothing is there twice."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="outputs")
    name = machines[0]
    script = "n=0; while [ $n -lt 30000 ]; do echo line $n; n=$((n+1)); done; echo half > /tmp/half; sleep 1; echo end; echo bad >&2"
    command = send(ssm, [name], script, OutputS3BucketName="outputs", OutputS3KeyPrefix="runs/of/today")
    until(lambda: cloud.inside(name, "cat", "/tmp/half").stdout)
    os.kill(cloud.process("daemon"), signal.SIGKILL)
    found = ended(ssm, command, name)
    place = f"runs/of/today/{command}/{name}/awsrunShellScript/0.awsrunShellScript"
    assert found["StandardOutputUrl"] == f"https://s3.us-east-1.amazonaws.com/outputs/{place}/stdout"
    assert len(found["StandardOutputContent"]) == 24000

    def keys() -> list[str] | None:
        listed = [one["Key"] for one in s3.list_objects_v2(Bucket="outputs").get("Contents", [])]
        return listed if len(listed) == 2 else None

    assert until(keys) == [f"{place}/stderr", f"{place}/stdout"]
    body = s3.get_object(Bucket="outputs", Key=f"{place}/stdout")["Body"].read()
    assert body == "".join(f"line {number}\n" for number in range(30000)).encode() + b"end\n"
    assert s3.get_object(Bucket="outputs", Key=f"{place}/stderr")["Body"].read() == b"bad\n"
    shown = ssm.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"][0]
    assert shown["CommandPlugins"][0]["OutputS3BucketName"] == "outputs"
    assert list((cloud.home / "s3-local" / "outputs").rglob("*.part")) == []


@pytest.mark.parametrize(
    ("bucket", "prefix"), [("none-such", ""), ("outputs", "../up"), ("outputs", "a/../../b"), ("outputs", ".hidden")]
)
def test_places_that_are_none_are_refused(ssm: Any, machines: list[str], bucket: str, prefix: str) -> None:
    with pytest.raises(ClientError) as error:
        send(ssm, machines[:1], "true", OutputS3BucketName=bucket, OutputS3KeyPrefix=prefix)
    assert error.value.response["Error"]["Code"] == "InvalidOutputFolder"


def test_parameters_count_to_the_size_of_their_document(ssm: Any, machines: list[str]) -> None:
    """AWS: CreateDocument, Content."""
    with pytest.raises(ClientError, match="MaxDocumentSizeExceeded"):
        send(ssm, machines[:1], "#" * 65537)
    steps = [
        {"action": "aws:runShellScript", "name": f"s{at}", "inputs": {"runCommand": ["{{ p }}"]}} for at in range(20)
    ]
    content = {"schemaVersion": "2.2", "parameters": {"p": {"type": "String"}}, "mainSteps": steps}
    ssm.create_document(Name="twenty", DocumentType="Command", Content=json.dumps(content))
    with pytest.raises(ClientError, match="MaxDocumentSizeExceeded"):
        ssm.send_command(DocumentName="twenty", InstanceIds=machines[:1], Parameters={"p": ["#" * 60000]})


def test_targets_by_tag_one_at_a_time_stop_after_the_first_error(ssm: Any, machines: list[str]) -> None:
    targets = [{"Key": "tag:role", "Values": ["web"]}]
    command = send(ssm, [], "exit 9", Targets=targets, MaxConcurrency="1", MaxErrors="0")
    shown = over(ssm, command)
    assert (shown["Status"], shown["TargetCount"], shown["ErrorCount"]) == ("Failed", 3, 1)
    rows = ssm.list_command_invocations(CommandId=command)["CommandInvocations"]
    assert sorted(one["StatusDetails"] for one in rows) == ["Failed", "Terminated", "Terminated"]
    terminated = ssm.list_command_invocations(CommandId=command, Filters=[{"key": "Status", "value": "Terminated"}])
    assert {one["Status"] for one in terminated["CommandInvocations"]} == {"Cancelled"}
    command = send(ssm, [], "[ $AWS_SSM_INSTANCE_ID != " + machines[1] + " ]", Targets=targets, MaxErrors="1")
    assert over(ssm, command)["StatusDetails"] == "Incomplete"
    nobody = send(ssm, [], "id", Targets=[{"Key": "tag:role", "Values": ["none"]}])
    assert over(ssm, nobody)["TargetCount"] == 0
    detailed = [{"key": "Status", "value": "NoInstancesInTag"}]
    assert [one["CommandId"] for one in ssm.list_commands(Filters=detailed)["Commands"]] == [nobody]


def test_a_resource_group_is_a_target(cloud: Cloud, ssm: Any, machines: list[str]) -> None:
    """AWS: ssm Target, `Key=resource-groups:Name`."""
    groups = cloud.client("resource-groups")
    cases = (
        ("web", "AWS::EC2::Instance", ["web"], 3),
        ("db", "AWS::EC2::Instance", ["db"], 0),
        ("no", "AWS::S3::Bucket", ["web"], 0),
    )
    for name, kind, values, count in cases:
        query = {"ResourceTypeFilters": [kind], "TagFilters": [{"Key": "role", "Values": values}]}
        groups.create_group(Name=name, ResourceQuery={"Type": "TAG_FILTERS_1_0", "Query": json.dumps(query)})
        command = send(ssm, [], "true", Targets=[{"Key": "resource-groups:Name", "Values": [name]}])
        assert over(ssm, command)["TargetCount"] == count
    for wrong in (["none"], ["web", "db"]):
        with pytest.raises(ClientError, match="InvalidTarget"):
            send(ssm, [], "true", Targets=[{"Key": "resource-groups:Name", "Values": wrong}])


def test_what_takes_too_long_is_ended_with_all_it_started(cloud: Cloud, ssm: Any, machines: list[str]) -> None:
    name = machines[0]
    command = send(ssm, [name], "echo begun; sleep 981 & sleep 982", Parameters={"executionTimeout": ["1"]})
    found = ended(ssm, command, name)
    assert (found["Status"], found["StatusDetails"], found["ResponseCode"]) == ("TimedOut", "ExecutionTimedOut", 137)
    assert found["StandardOutputContent"] == "begun\n"
    assert over(ssm, command)["Status"] == "TimedOut"
    command = send(ssm, [name], "cat /dev/zero", Parameters={"executionTimeout": ["1"]})
    assert ended(ssm, command, name)["StatusDetails"] == "ExecutionTimedOut"  # that it never rests does not spare it
    command = send(ssm, [name], "sleep 983")
    until(lambda: "sleep 983" in cloud.inside(name, "ps").stdout)
    ssm.cancel_command(CommandId=command)
    assert ended(ssm, command, name)["Status"] == "Cancelled"
    assert over(ssm, command)["Status"] == "Cancelled"
    until(lambda: "sleep 98" not in cloud.inside(name, "ps").stdout)


def test_command_goes_on_while_the_daemon_is_killed_and_runs_once(cloud: Cloud, ssm: Any, machines: list[str]) -> None:
    name = machines[1]
    command = send(
        ssm, [name], "echo run >> /root/runs; echo before; until [ -e /root/go ]; do sleep 0.1; done; echo after"
    )
    until(lambda: cloud.inside(name, "cat", "/root/runs").stdout)
    daemon = cloud.process("daemon")
    os.kill(daemon, signal.SIGKILL)
    until(lambda: cloud.process("daemon") != daemon)
    cloud.inside(name, "touch", "/root/go")
    found = ended(ssm, command, name)
    assert (found["Status"], found["StandardOutputContent"]) == ("Success", "before\nafter\n")
    runs = cloud.inside(name, "cat", "/root/runs")
    assert (runs.returncode, runs.stdout) == (0, "run\n"), runs


def test_what_a_command_has_said_outlives_its_agent(cloud: Cloud, ssm: Any, machines: list[str]) -> None:
    name = machines[1]
    command = send(ssm, [name], "echo one; echo two >&2; : > /root/said; sleep 1000")
    until(lambda: cloud.inside(name, "ls", "/root/said").returncode == 0)
    agent = cloud.process("agent")
    os.kill(agent, signal.SIGKILL)
    found = ended(ssm, command, name)
    assert (found["Status"], found["StandardOutputContent"]) == ("Failed", "one\n")
    assert found["StandardErrorContent"].startswith("two\nfailed to run commands: ")
    until(lambda: cloud.inside(name, "true").returncode == 0)  # the next agent is there


def heard(sqs: Any, queue: str, count: int) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}  # by the message's id: one may come twice

    def all_there() -> bool:
        for one in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            told = json.loads(one["Body"])
            assert told["Subject"] == "EC2 Run Command Notification us-east-1"
            found[one["MessageId"]] = json.loads(told["Message"])
        return len(found) >= count

    until(all_there)
    return list(found.values())


@pytest.mark.parametrize(
    ("type_", "events", "told"),
    [
        ("Command", ["All"], {("", "InProgress"), ("", "Failed")}),
        ("Command", ["Failed", "TimedOut"], {("", "Failed")}),
        ("Invocation", ["Success", "Failed"], {("0", "Success"), ("1", "Failed")}),
    ],
)
def test_a_topic_hears_how_a_command_stands(
    cloud: Cloud, ssm: Any, machines: list[str], type_: str, events: list[str], told: set[tuple[str, str]]
) -> None:
    """AWS: "Example Amazon SNS notifications for AWS Systems Manager"."""
    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    name = f"told-{uuid.uuid4()}"
    queue, topic = sqs.create_queue(QueueName=name)["QueueUrl"], sns.create_topic(Name=name)["TopicArn"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    wanted = {"NotificationArn": topic, "NotificationEvents": events, "NotificationType": type_}
    script = f"[ $AWS_SSM_INSTANCE_ID = {machines[0]} ]"
    role = "arn:aws:iam::111122223333:role/notify"
    command = send(ssm, machines[:2], script, NotificationConfig=wanted, ServiceRoleArn=role)
    found = heard(sqs, queue, len(told))
    assert {one["commandId"] for one in found} == {command}
    places = {"": "", **{instance: str(at) for at, instance in enumerate(machines)}}
    assert {(places[one.get("instanceId", "")], one["status"]) for one in found} == told
    for one in found:
        assert ("expiresAfter" in one, one.get("instanceIds", machines[:2])) == (type_ == "Command", machines[:2])
    shown = over(ssm, command)
    assert (shown["NotificationConfig"], shown["ServiceRole"]) == (wanted, role)


def test_what_is_no_topic_is_refused(ssm: Any, machines: list[str]) -> None:
    for arn in ("topic", "arn:aws:sqs:us-east-1:111122223333:queue", "arn:aws:sns:us-east-1:1:x"):
        with pytest.raises(ClientError, match="InvalidNotificationConfig"):
            send(ssm, machines[:1], "id", NotificationConfig={"NotificationArn": arn})


def test_code_194_reboots_the_machine_and_runs_the_script_again(cloud: Cloud, ssm: Any, machines: list[str]) -> None:
    """AWS: "Handling reboots when running commands"."""
    name = machines[2]
    script = ["echo run >> /root/runs", "if [ -e /run/mark ]; then echo not rebooted; exit 1; fi", ": > /run/mark"]
    script += ["if [ $(wc -l < /root/runs) -lt 3 ]; then echo again; exit 194; fi", "echo done"]
    command = send(ssm, [name], *script)
    daemon = cloud.process("daemon")
    until(lambda: "run" in cloud.inside(name, "cat", "/root/runs").stdout)
    os.kill(daemon, signal.SIGKILL)  # whoever comes after goes on with it
    found = ended(ssm, command, name)
    assert (found["Status"], found["ResponseCode"]) == ("Success", 0)
    assert found["StandardOutputContent"] == "again\nagain\ndone\n"
    assert found["StandardErrorContent"] == ""
    runs = cloud.inside(name, "cat", "/root/runs")
    assert (runs.returncode, runs.stdout) == (0, "run\nrun\nrun\n"), runs


@pytest.mark.parametrize(
    ("control", "exit_code", "status", "run"),
    [
        ({}, 3, "Failed", "one next last"),
        ({"onFailure": "exit"}, 3, "Failed", "one last"),
        ({"onFailure": "successAndExit"}, 3, "Success", "one last"),
        ({"onFailure": "exit", "onSuccess": "exit"}, 0, "Success", "one last"),
        ({"onFailure": "exit"}, 0, "Success", "one next last"),
    ],
)
def test_a_step_ends_its_document(
    ssm: Any, machines: list[str], control: dict[str, str], exit_code: int, status: str, run: str
) -> None:
    """AWS: "finallyStep", "onFailure" and "onSuccess" among the shared inputs of the plugins."""
    inputs = {
        "one": {"runCommand": ["echo one", f"exit {exit_code}"], **control},
        "next": {"runCommand": ["echo next"]},
        "last": {"runCommand": ["echo last"], "finallyStep": True},
    }
    steps = [{"action": "aws:runShellScript", "name": name, "inputs": one} for name, one in inputs.items()]
    name = f"ends-{uuid.uuid4().hex}"
    ssm.create_document(
        Name=name, Content=json.dumps({"schemaVersion": "2.2", "mainSteps": steps}), DocumentType="Command"
    )
    sent = ssm.send_command(DocumentName=name, InstanceIds=[machines[2]])["Command"]["CommandId"]
    assert over(ssm, sent)["Status"] == status
    told = ssm.list_command_invocations(CommandId=sent, Details=True)["CommandInvocations"][0]["CommandPlugins"]
    outputs = (one["Output"].partition("\n")[0] for one in told)
    assert " ".join(output for output in outputs if "skipped" not in output) == run


def test_a_document_names_parameters_of_the_store(ssm: Any, machines: list[str]) -> None:
    """AWS: "Working with parameters using Run Command commands"; not what a value says is looked up, and no secret is."""
    ssm.put_parameter(Name="/greeting", Value="hello", Type="String")
    ssm.put_parameter(Name="/who", Value="{{ssm:/greeting}}", Type="String")
    ssm.put_parameter(Name="/hidden", Value="s3cret", Type="SecureString")
    run = ["echo {{ssm:/greeting}} '{{ who }}'"]
    declared = {"who": {"type": "String", "default": "{{ ssm:/who }}"}}
    steps = [{"action": "aws:runShellScript", "name": "say", "inputs": {"runCommand": run}}]
    content = {"schemaVersion": "2.2", "parameters": declared, "mainSteps": steps}
    ssm.create_document(Name="greeting", DocumentType="Command", Content=json.dumps(content))
    name = machines[0]
    for given, told in (({}, "hello {{ssm:/greeting}}\n"), ({"who": ["me"]}, "hello me\n")):
        sent = ssm.send_command(DocumentName="greeting", InstanceIds=[name], Parameters=given)
        assert ended(ssm, sent["Command"]["CommandId"], name)["StandardOutputContent"] == told
    for wrong in ("{{ssm:/hidden}}", "{{ssm:/none}}"):
        text = json.dumps(content).replace("{{ssm:/greeting}}", wrong)
        ssm.update_document(Name="greeting", DocumentVersion="$LATEST", Content=text)
        with pytest.raises(ClientError, match="InvalidParameters"):
            ssm.send_command(DocumentName="greeting", DocumentVersion="$LATEST", InstanceIds=[name])


def test_a_parameter_as_a_variable_is_no_command(ssm: Any, machines: list[str]) -> None:
    """AWS: "Data elements and parameters", interpolationType ENV_VAR."""
    content = {
        "schemaVersion": "2.2",
        "parameters": {"say": {"type": "String", "interpolationType": "ENV_VAR"}},
        "mainSteps": [
            {"action": "aws:runShellScript", "name": "say", "inputs": {"runCommand": ['echo "$SSM_say"']}},
        ],
    }
    ssm.create_document(Name="say", Content=json.dumps(content), DocumentType="Command")
    hostile = 'x"; $(id) `id`\nand 구름'
    sent = ssm.send_command(DocumentName="say", InstanceIds=[machines[2]], Parameters={"say": [hostile]})["Command"]
    assert over(ssm, sent["CommandId"])["Status"] == "Success"
    told = ssm.get_command_invocation(CommandId=sent["CommandId"], InstanceId=machines[2])
    assert told["StandardOutputContent"] == f"{hostile}\n"


def test_own_document_with_steps_and_patterns(ssm: Any, machines: list[str]) -> None:
    content = {
        "schemaVersion": "2.2",
        "parameters": {"who": {"type": "String", "allowedPattern": "^[a-z]{1,8}$", "default": "world"}},
        "mainSteps": [
            {"action": "aws:runShellScript", "name": "greet", "inputs": {"runCommand": ["echo hello {{ who }}"]}},
            {
                "action": "aws:runPowerShellScript",
                "name": "windows",
                "precondition": {"StringEquals": ["platformType", "Windows"]},
                "inputs": {"runCommand": ["dir"]},
            },
            {
                "action": "aws:runShellScript",
                "name": "elsewhere",
                "precondition": {"StringEquals": ["platformType", "MacOS"]},
                "inputs": {"runCommand": ["touch /root/elsewhere"]},
            },
            {"action": "aws:runShellScript", "name": "shebang", "inputs": {"runCommand": ["#!/bin/cat", "itself"]}},
        ],
    }
    ssm.create_document(Name="greet", Content=json.dumps(content), DocumentType="Command")
    name = machines[2]
    sent = ssm.send_command(DocumentName="greet", InstanceIds=[name], Parameters={"who": ["you"]})["Command"]
    assert over(ssm, sent["CommandId"])["Status"] == "Success"
    told = {
        step: ssm.get_command_invocation(CommandId=sent["CommandId"], InstanceId=name, PluginName=step)
        for step in ("greet", "windows", "elsewhere", "shebang")
    }
    assert told["greet"]["StandardOutputContent"] == "hello you\n"
    assert "skipped" in told["windows"]["StandardOutputContent"]
    assert "skipped due to unsatisfied preconditions" in told["elsewhere"]["StandardOutputContent"]
    content["mainSteps"][0]["precondition"] = {"StringNotEquals": ["platformType", "Windows"]}
    ssm.create_document(Name="unknown-operator", Content=json.dumps(content), DocumentType="Command")
    refused = ssm.send_command(DocumentName="unknown-operator", InstanceIds=[name])["Command"]["CommandId"]
    assert over(ssm, refused)["Status"] == "Failed"
    step = ssm.get_command_invocation(CommandId=refused, InstanceId=name, PluginName="greet")
    assert (step["Status"], step["ResponseCode"], step["StandardOutputContent"]) == ("Failed", 1, "")
    assert 'unrecognized operator: "StringNotEquals"' in step["StandardErrorContent"]
    assert told["shebang"]["StandardOutputContent"] == "#!/bin/cat\nitself\n"
    for bad in ({"who": ["$(reboot)"]}, {"nobody": ["x"]}, {"who": ["a", "b"]}):
        with pytest.raises(ClientError, match="InvalidParameters"):
            ssm.send_command(DocumentName="greet", InstanceIds=[name], Parameters=bad)
    with pytest.raises(ClientError, match="InvalidInstanceId"):
        ssm.send_command(DocumentName="greet", InstanceIds=["i-0123456789abcdef0"])
    with pytest.raises(ClientError, match="DuplicateInstanceId"):
        ssm.send_command(DocumentName="greet", InstanceIds=[name, name])
    with pytest.raises(ClientError, match="InvocationDoesNotExist"):
        ssm.get_command_invocation(CommandId=sent["CommandId"], InstanceId=machines[0])
