"""The journal is played: after `kill -9` all services tell what they told before, whatever mixture of calls came before it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.cloud.running import Cloud
from tests.wire.neighbours.answers import answers, different
from tests.wire.neighbours.asking import kill_daemon
from tests.wire.neighbours.clients import patient_clients
from tests.wire.neighbours.mixed_calls import MixedCalls
from tests.wire.neighbours.mixed_services import CALLS

CALLS_SHORT, CALLS_LONG = 900, 10_000
SEEDS = [int(seed) for seed in os.environ.get("GUREUM_SEEDS", "1").split(",")]


def same_after_kill(cloud: Cloud, seed: int, count: int) -> None:
    """Twice: what is done after the first death, with ids and receipts of before it, is in the journal like all else."""
    client = patient_clients(lambda: cloud.url)
    calls = MixedCalls(client, seed, calls=CALLS)
    for part in (count, count // 10):
        calls.run(part)
        before = answers(client)
        kill_daemon(cloud)
        assert different(before, answers(client)) == []
    assert calls.faults == []
    logs = "".join(path.read_text() for path in (cloud.home / "logs").glob("*.log"))
    assert "ended otherwise" not in logs


@pytest.mark.parametrize("seed", SEEDS)
def test_mixed_calls_are_the_same_after_kill(cloud: Cloud, seed: int) -> None:
    same_after_kill(cloud, seed, CALLS_SHORT)


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_ten_thousand_mixed_calls_are_the_same_after_kill(cloud: Cloud, seed: int) -> None:
    same_after_kill(cloud, 1000 + seed, CALLS_LONG)


def test_receipts_hold_after_the_daemons_death(cloud: Cloud) -> None:
    sqs: Any = cloud.client("sqs", account="888811112222")
    queue = sqs.create_queue(QueueName="receipts")["QueueUrl"]
    sqs.send_message_batch(
        QueueUrl=queue, Entries=[{"Id": str(one), "MessageBody": f"message {one}"} for one in range(3)]
    )
    got = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=3)["Messages"]
    kill_daemon(cloud)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=got[0]["ReceiptHandle"])
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=got[1]["ReceiptHandle"], VisibilityTimeout=0)
    again = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=3)["Messages"]
    assert [one["Body"] for one in again] == [got[1]["Body"]]


def test_a_topics_messages_keep_their_bytes(cloud: Cloud) -> None:
    """Their signatures were by a key that was drawn anew for each subscription at each start."""
    sns, sqs = (cloud.client(name, account="888811112222") for name in ("sns", "sqs"))
    queue = sqs.create_queue(QueueName="signed", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:888811112222:signed"
    topic = sns.create_topic(Name="signed")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    sns.publish(TopicArn=topic, Message="text", Subject="about")

    def body() -> str:
        return str(sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"])

    before = body()
    kill_daemon(cloud)
    assert body() == before


def test_what_a_bucket_tells_a_topic_keeps_its_bytes(cloud: Cloud) -> None:
    """A call to S3 signed it: the key must be kept with that, not with the next call to SNS."""
    s3, sns, sqs = (cloud.client(name, account="888811113333") for name in ("s3", "sns", "sqs"))
    queue = sqs.create_queue(QueueName="told", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    topic = sns.create_topic(Name="told")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:888811113333:told")
    s3.create_bucket(Bucket="topics")
    wanted = {"TopicConfigurations": [{"Id": "all", "TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket="topics", NotificationConfiguration=wanted)
    s3.put_object(Bucket="topics", Key="key", Body=b"text")
    before = [one["Body"] for one in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]]
    kill_daemon(cloud)
    assert [one["Body"] for one in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]] == before
