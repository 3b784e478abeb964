"""Notices of commands: messages to an SNS topic when a command, or one of its invocations, comes into another state.

    state changes ──one commit──► CommandNotice ──reconcile──► delivered (aws/topic_notices.py), gone

So none is lost with the daemon; one may be delivered twice, and not in order. What cannot be delivered is tried again for an hour, ever less often.

AWS: "Monitoring Systems Manager status changes using Amazon SNS notifications", "Example Amazon SNS notifications for AWS Systems Manager".
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.partitions import without_partition
from gureum.aws.ssm.command_kinds import Command, Invocation, Notify
from gureum.aws.topic_notices import NoticeSpec, deliver_notice, put_notice
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.client import Client, Transaction
from gureum.engine.registry import reconcile
from gureum.engine.resource import Meta, Resource, kind

TOLD = ("InProgress", "Success", "TimedOut", "Cancelled", "Failed")
"""States of which one may hear."""
_TOPIC = re.compile(r"arn:aws:sns:[a-z0-9-]+:(\d{12}):[A-Za-z0-9_.-]{1,256}")


@kind("ssm.CommandNotice")
class CommandNotice(Resource, frozen=True):
    spec: NoticeSpec


def wish_of(call: Call) -> Notify | None:
    """What a SendCommand wants to hear. AWS: InvalidNotificationConfig. A machine that asks may name topics of its account only."""
    wanted = call.params.get("NotificationConfig") or {}
    topic = wanted.get("NotificationArn") or ""
    if not topic:
        return None
    found = _TOPIC.fullmatch(without_partition(topic))
    if found is None or (call.guest and found[1] != call.account):
        text = "One or more configuration items isn't valid: NotificationArn must be the ARN of an SNS topic."
        raise AwsError("InvalidNotificationConfig", text)
    events = tuple(wanted.get("NotificationEvents") or ("All",))
    return Notify(topic, events, wanted.get("NotificationType") or "Command")


def show_wish(command: Command) -> dict[str, Any]:
    """API form. AWS: ssm NotificationConfig."""
    wish = command.spec.notify or Notify("", (), "")
    return {
        "NotificationArn": wish.topic,
        "NotificationEvents": list(wish.events),
        "NotificationType": wish.type,
    }


def tell_command(client: Client, transaction: Transaction, command: Command, state: str, now: float) -> None:
    """The command comes into this state; one that ends before it was seen at work was at work all the same."""
    spec, wish = command.spec, command.spec.notify
    if wish is None or wish.type != "Command":
        return
    missed = command.status.state == "Pending" and state not in ("InProgress", "Cancelling") and bool(spec.instances)
    for one in ("InProgress", state) if missed else (state,):
        message = {
            "commandId": command.meta.name,
            "documentName": spec.document,
            "instanceIds": list(spec.asked),
            "requestedDateTime": _iso(spec.requested),
            "expiresAfter": _iso(spec.expires),
            "outputS3BucketName": spec.bucket.name if spec.bucket else "",
            "outputS3KeyPrefix": spec.bucket.prefix if spec.bucket else "",
            "status": one,
            "eventTime": _iso(now),
        }
        _put(client, transaction, command, wish, message, now)


def tell_invocation(
    client: Client, transaction: Transaction, command: Command, invocation: Invocation, state: str, now: float
) -> None:
    """One of its invocations comes into this state."""
    wish = command.spec.notify
    if wish is not None and wish.type == "Invocation":
        message = {
            "commandId": command.meta.name,
            "documentName": command.spec.document,
            "instanceId": invocation.spec.instance,
            "requestedDateTime": _iso(command.spec.requested),
            "status": state,
            "eventTime": _iso(now),
        }
        _put(client, transaction, command, wish, message, now)


def _put(
    client: Client, transaction: Transaction, command: Command, wish: Notify, message: dict[str, Any], now: float
) -> None:
    state, scope = message["status"], command.meta.scope
    if state in TOLD and ("All" in wish.events or state in wish.events):
        subject = f"EC2 Run Command Notification {scope.rpartition('/')[2]}"
        meta = Meta(scope=scope, name=str(uuid.uuid4()), uid=new_id("", 32), created=now)
        spec = NoticeSpec(wish.topic, subject, json.dumps(message), now)
        put_notice(client, transaction, CommandNotice(meta=meta, spec=spec))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@reconcile(CommandNotice)
async def deliver(world: World, notice: CommandNotice) -> None:
    await deliver_notice(world, notice)
