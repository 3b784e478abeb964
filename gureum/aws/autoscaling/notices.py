"""Notices: messages to topics, from the commit of what they tell until they are delivered.

    activity ends, hook begins to be waited for, topic is named ──one commit──► Notice ──reconcile──► delivered (aws/topic_notices.py), gone

So none is lost with the daemon; one may be delivered twice. What cannot be delivered is tried again for an hour, ever less often.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable

from gureum.aws.autoscaling.kinds import Activity, Group, Hook, Member, Notice
from gureum.aws.autoscaling.messages import Told, activity_message, test_message, wait_message
from gureum.aws.call import Call
from gureum.aws.topic_notices import NoticeSpec, deliver_notice, put_notice
from gureum.core.world import World
from gureum.engine.client import Transaction
from gureum.engine.registry import reconcile


def tell_activity(call: Call, transaction: Transaction, group: Group, activity: Activity) -> None:
    """To the topics of the group that want to hear of it."""
    told = activity_message(group, activity) if group.spec.notifications else None
    if told is not None:
        for one in group.spec.notifications:
            if told.type in one.types:
                _put(call, transaction, one.topic, told)


def tell_waits(call: Call, transaction: Transaction, group: Group, hooks: Iterable[Hook], member: Member) -> None:
    """To the topics of the hooks that the member begins to wait for."""
    known = {hook.spec.name: hook.spec for hook in hooks}
    for wait in member.spec.waits:
        hook = known[wait.hook]
        if hook.target:
            told = wait_message(group, member, wait, hook.metadata, call.now)
            _put(call, transaction, hook.target, told)


def tell_test(call: Call, transaction: Transaction, group: Group, topic: str) -> None:
    """AWS: a topic that is named hears a test notification."""
    _put(call, transaction, topic, test_message(group, call.now))


@reconcile(Notice)
async def deliver(world: World, notice: Notice) -> None:
    await deliver_notice(world, notice)


def _put(call: Call, transaction: Transaction, topic: str, told: Told) -> None:
    spec = NoticeSpec(topic, told.subject, json.dumps(told.message), call.now)
    put_notice(call.client, transaction, Notice(meta=call.meta(str(uuid.uuid4())), spec=spec))
