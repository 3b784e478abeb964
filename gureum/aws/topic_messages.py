"""Messages to SNS topics and SQS queues: each goes to the topic or queue, where its service is a neighbour and has it; to the log; and to the URL of
the setting `alarm_webhook`, which leads to loopback only (the setting checks that). Whoever sends decides what an error means and whether it is tried
again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from urllib.parse import urlsplit

from gureum.aws.errors import AwsError
from gureum.core.neighbours import NeighbourRefused
from gureum.core.world import World

log = logging.getLogger("gureum.topics")
TIMEOUT_S = 5.0
LIMIT_LINE_BYTES = 8192
LIMIT_SUBJECT = 100
"""AWS: sns Publish, Subject."""


async def publish(world: World, topic: str, subject: str, message: dict[str, Any]) -> None:
    """`topic`: its ARN, or a queue's. Delivered when it was taken there and the webhook answers with 2xx; with neither, the log is all there is, and
    that is success. AwsError: EndpointUnavailable, EndpointRefused, the topic's own."""
    log.warning("topic message", extra={"topic": topic, "subject": subject})
    await _to_topic(world, topic, subject, json.dumps(message))
    url = world.settings.alarm_webhook
    if not url:
        return
    body = json.dumps({"TopicArn": topic, "Subject": subject, "Message": message}).encode()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status = await _post(url, body)
    except (OSError, TimeoutError, ValueError) as error:
        raise AwsError("EndpointUnavailable", f"The webhook does not answer: {error}") from error
    if not 200 <= status < 300:
        raise AwsError("EndpointRefused", f"The webhook answered {status}.")


async def _to_topic(world: World, topic: str, subject: str, message: str) -> None:
    """AWS: sns Publish, sqs SendMessage. What is not there takes nothing."""
    parts = topic.split(":")
    if len(parts) != 6 or parts[2] not in _NOT_THERE or not world.neighbours.answers(parts[2]):
        return
    service, region, account = parts[2:5]
    try:
        if service == "sns":
            params = {"TopicArn": topic, "Subject": subject[:LIMIT_SUBJECT], "Message": message}
            await world.neighbours.ask("sns", "Publish", account, region, params)
        else:
            found = await world.neighbours.ask("sqs", "GetQueueUrl", account, region, {"QueueName": parts[5]})
            params = {"QueueUrl": found["QueueUrl"], "MessageBody": message}
            await world.neighbours.ask("sqs", "SendMessage", account, region, params)
    except NeighbourRefused as refused:
        if refused.code not in _NOT_THERE[service]:
            raise AwsError(refused.code, refused.text) from refused


_NOT_THERE = {
    "sns": ("NotFound", "NotFoundException"),
    "sqs": ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"),
}


async def _post(url: str, body: bytes) -> int:
    """The status of the answer. ValueError when it is no HTTP answer."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    reader, writer = await asyncio.open_connection(host, port, limit=LIMIT_LINE_BYTES)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        words = (await reader.readline()).split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/"):
            raise ValueError("it speaks no HTTP")
        return int(words[1])
    finally:
        writer.close()
