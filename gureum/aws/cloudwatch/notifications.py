"""Notifications of alarms whose action is an SNS topic. The message goes to the topic, where SNS is a neighbour and has it; to the log; and to the
URL of the setting `alarm_webhook`, which leads to loopback only (the setting checks that).
"""

from __future__ import annotations

import asyncio
import json
import logging
from urllib.parse import urlsplit

from gureum.aws.cloudwatch.alarm_actions import AlarmContext
from gureum.aws.cloudwatch.alarm_events import topic_message
from gureum.aws.errors import AwsError
from gureum.aws.neighbours.topics import publish
from gureum.core.world import World
from gureum.engine.registry import mark

log = logging.getLogger("gureum.alarms")
TIMEOUT_S = 5.0
LIMIT_LINE_BYTES = 8192


@mark("alarm-action", "arn:aws:sns")
async def notify(world: World, context: AlarmContext) -> None:
    """Delivers to the topic, and when the webhook answers with 2xx; with neither, the log is all there is, and that is success."""
    message = topic_message(context.alarm, context.before)
    log.warning("alarm", extra={"topic": context.arn, "alarm_name": message["AlarmName"], "state": context.state})
    subject = f'{context.state}: "{message["AlarmName"]}" in {message["Region"]}'
    await publish(world, context.arn, subject, json.dumps(message))
    url = world.settings.alarm_webhook
    if not url:
        return
    body = json.dumps({"TopicArn": context.arn, "Message": message}).encode()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status = await _post(url, body)
    except (OSError, TimeoutError, ValueError) as error:
        raise AwsError("EndpointUnavailable", f"The webhook does not answer: {error}") from error
    if not 200 <= status < 300:
        raise AwsError("EndpointRefused", f"The webhook answered {status}.")


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
