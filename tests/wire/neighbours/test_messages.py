"""SQS, SNS and EventBridge, as moto answers them behind gureum's endpoint. AWS: their API references."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import Cloud, until
from tests.wire.neighbours.asking import ACCOUNT, code_of, kill_daemon


def test_a_topic_fills_a_queue_and_a_long_poll_sees_it_without_holding_others_up(cloud: Cloud) -> None:
    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    queue = sqs.create_queue(QueueName="orders")["QueueUrl"]
    assert queue.startswith(cloud.url)
    topic = sns.create_topic(Name="orders")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT}:orders")
    got: list[Any] = []
    waits = threading.Thread(
        target=lambda: got.extend(sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20).get("Messages", []))
    )
    begun = time.monotonic()
    waits.start()
    cloud.client("iam").list_users()
    assert time.monotonic() - begun < 15
    sns.publish(TopicArn=topic, Message="one book")
    waits.join(20)
    assert json.loads(got[0]["Body"])["Message"] == "one book"
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)


def test_the_command_line_uses_a_queue(cloud: Cloud) -> None:
    """It calls the queue by the URL that it was given."""

    def aws(*words: str) -> Any:
        keys = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        command = [sys.executable, "-m", "awscli", "--endpoint-url", cloud.url, *words]
        made = subprocess.run(command, env={**cloud.environment, **keys}, capture_output=True, text=True, check=True)
        return json.loads(made.stdout) if made.stdout.strip() else None

    url = aws("sqs", "create-queue", "--queue-name", "by-cli")["QueueUrl"]
    aws("sqs", "send-message", "--queue-url", url, "--message-body", "hello")
    assert aws("sqs", "receive-message", "--queue-url", url)["Messages"][0]["Body"] == "hello"


def test_subscriptions_do_not_reach_outside(cloud: Cloud) -> None:
    sns = cloud.client("sns")
    topic = sns.create_topic(Name="closed")["TopicArn"]
    with pytest.raises(ClientError) as error:
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://198.51.100.7/")
    assert code_of(error) == "NotImplemented"
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("VisibilityTimeout", "43201", "InvalidAttributeValue"),
        ("DelaySeconds", "-1", "InvalidAttributeValue"),
        ("MessageRetentionPeriod", "59", "InvalidAttributeValue"),
        ("MaximumMessageSize", "1048577", "InvalidAttributeValue"),
        ("ReceiveMessageWaitTimeSeconds", "x", "InvalidAttributeValue"),
        ("KmsDataKeyReusePeriodSeconds", "59", "InvalidAttributeValue"),
        ("Policy", "{", "InvalidAttributeValue"),
        ("RedrivePolicy", "{}", "InvalidParameterValue"),
        ("RedrivePolicy", "no map", "InvalidParameterValue"),
        ("Nonsense", "1", "InvalidAttributeName"),
    ],
)
def test_attributes_of_queues_have_ranges(cloud: Cloud, name: str, value: str, code: str) -> None:
    """AWS: SQS SetQueueAttributes."""
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName="ranges")["QueueUrl"]
    with pytest.raises(ClientError) as refused:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: value})
    assert code_of(refused) == code


def test_what_a_text_says_is_no_call(cloud: Cloud) -> None:
    """Whoever may write into a queue could empty it; items and secrets with such a text were not there."""
    sqs, table, secrets = (cloud.client(name) for name in ("sqs", "dynamodb", "secretsmanager"))
    url, other = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("texts", "texts-other"))
    sqs.send_message(QueueUrl=url, MessageBody="first")
    texts = ["http://x/?a=1&Action=PurgeQueue&b=2", f"x&QueueUrl={other}&MessageBody=y&z"]
    for text in texts:
        sqs.send_message(QueueUrl=url, MessageBody=text)
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert sorted(one["Body"] for one in found) == sorted(["first", *texts])
    key = [{"AttributeName": "k", "KeyType": "HASH"}]
    kinds = [{"AttributeName": "k", "AttributeType": "S"}]
    table.create_table(TableName="texts", KeySchema=key, AttributeDefinitions=kinds, BillingMode="PAY_PER_REQUEST")
    table.put_item(TableName="texts", Item={"k": {"S": "a&Action=ListTables&b"}})
    assert table.scan(TableName="texts")["Count"] == 1
    secrets.create_secret(Name="texts", SecretString="s&Action=ListSecrets&Name=another&t")
    assert secrets.get_secret_value(SecretId="texts")["SecretString"].startswith("s&Action")


def test_a_queue_keeps_what_it_was_told(cloud: Cloud) -> None:
    sqs = cloud.client("sqs")
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    queue = sqs.create_queue(QueueName="told", Attributes={"Policy": policy})["QueueUrl"]
    allow = json.dumps({"redrivePermission": "denyAll"})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "5", "RedriveAllowPolicy": allow})

    def told() -> dict[str, str]:
        return dict(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"])

    assert json.loads(told()["Policy"]) == json.loads(policy)
    assert json.loads(told()["RedriveAllowPolicy"]) == json.loads(allow)
    assert int(told()["CreatedTimestamp"]) <= int(told()["LastModifiedTimestamp"])
    with pytest.raises(ClientError) as error:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Nonsense": "1"})
    assert code_of(error) == "InvalidAttributeName"
    kill_daemon(cloud)
    assert json.loads(told()["RedriveAllowPolicy"]) == json.loads(allow)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": "", "RedriveAllowPolicy": ""})
    assert not told().keys() & {"Policy", "RedriveAllowPolicy"}


def test_a_subscriber_that_is_gone_is_not_the_publishers_fault(cloud: Cloud) -> None:
    """And what is published comes once, also when the journal is played."""
    sns, heard = cloud.client("sns"), []

    class Listening(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["Message"])
            self.send_response(200)
            self.end_headers()

    server = http.server.HTTPServer(("127.0.0.1", 0), Listening)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    topic = sns.create_topic(Name="by-http")["TopicArn"]
    for port in (1, server.server_port):
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"http://127.0.0.1:{port}/x")
    assert sns.publish(TopicArn=topic, Message="one")["MessageId"]
    until(lambda: "one" in heard)
    kill_daemon(cloud)
    sns.publish(TopicArn=topic, Message="two")
    until(lambda: "two" in heard)
    assert heard == ["one", "two"]
    with pytest.raises(ClientError) as error:
        sns.publish(PhoneNumber="+15555550100", Message="x")
    assert code_of(error) == "NotImplemented"
    server.shutdown()
    server.server_close()


def test_events_reach_the_queues_of_their_rules(cloud: Cloud) -> None:
    events, sqs = cloud.client("events"), cloud.client("sqs")
    queue = sqs.create_queue(QueueName="events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="mine", EventPattern=json.dumps({"source": ["mine"]}))
    events.put_targets(Rule="mine", Targets=[{"Id": "1", "Arn": arn}])
    entries = [{"Source": source, "DetailType": "d", "Detail": '{"a": 1}'} for source in ("other", "mine")]
    assert events.put_events(Entries=entries)["FailedEntryCount"] == 0
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [(json.loads(one["Body"])["source"], json.loads(one["Body"])["detail"]) for one in found] == [
        ("mine", {"a": 1})
    ]


def test_a_queue_that_is_gone_keeps_a_message_from_nobody_else(cloud: Cloud) -> None:
    """The sender was refused; and what the others had got was lost by a restart."""
    sqs, sns, events = (cloud.client(name) for name in ("sqs", "sns", "events"))
    topic = sns.create_topic(Name="half-gone")["TopicArn"]
    urls = [sqs.create_queue(QueueName=f"half-gone-{number}")["QueueUrl"] for number in range(2)]
    for number, url in enumerate(urls):
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        events.put_rule(Name=f"half-gone-{number}", EventPattern='{"source": ["half"]}')
        events.put_targets(Rule=f"half-gone-{number}", Targets=[{"Id": "1", "Arn": arn}])
    sqs.delete_queue(QueueUrl=urls[1])
    sns.publish(TopicArn=topic, Message="m")
    done = events.put_events(Entries=[{"Source": "half", "DetailType": "d", "Detail": "{}"}])
    assert done["FailedEntryCount"] == 0
    count = "ApproximateNumberOfMessages"
    for _ in range(2):
        assert sqs.get_queue_attributes(QueueUrl=urls[0], AttributeNames=[count])["Attributes"][count] == "2"
        kill_daemon(cloud)


def test_messages_are_counted_by_what_can_be_done_with_them(cloud: Cloud) -> None:
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="counted")["QueueUrl"]
    for body, delay in (("seen", 0), ("waits", 0), ("later", 900)):
        sqs.send_message(QueueUrl=queue, MessageBody=body, DelaySeconds=delay)
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "seen"
    names = [f"ApproximateNumberOfMessages{what}" for what in ("", "NotVisible", "Delayed")]
    told = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    assert [told[name] for name in names] == ["1", "1", "1"]
    assert [one["Body"] for one in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]] == ["waits"]
