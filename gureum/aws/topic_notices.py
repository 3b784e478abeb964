"""Messages to topics that must not be lost with the daemon: kept with the commit of what they tell, until they are delivered.

    what is told ──one commit──► a kind whose spec is NoticeSpec ──reconcile──► delivered (topic_messages.py), gone

One may be delivered twice. What cannot be delivered is tried again for an hour, ever less often; of each kind at most MOST_WAITING wait meanwhile.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gureum.aws.errors import AwsError
from gureum.aws.topic_messages import publish
from gureum.core.world import World
from gureum.engine.client import Client, Transaction
from gureum.engine.errors import Retry
from gureum.engine.resource import Resource, key_of

PATIENCE_S = 3600.0
MOST_WAITING = 1000
"""Of a kind, in an account and region; what comes on top of them while nothing can be delivered is not told."""


class NoticeSpec(msgspec.Struct, frozen=True):
    """`message`: JSON text. `made`: Unix seconds."""

    topic: str
    subject: str
    message: str
    made: float


def put_notice(client: Client, transaction: Transaction, notice: Resource) -> None:
    """With the commit of what it tells, while there is room for it."""
    same = key_of(notice).removesuffix(notice.meta.name)
    waiting = len(client.all(type(notice), notice.meta.scope)) + sum(
        key.startswith(same) for key in transaction.written
    )
    if waiting < MOST_WAITING:
        transaction.create(notice)


async def deliver_notice(world: World, notice: Any) -> None:
    """Of a resource whose spec is a NoticeSpec: it goes once it was told, or was tried for long enough. Retry until then."""
    spec = notice.spec
    try:
        await publish(world, spec.topic, spec.subject, json.loads(spec.message))
    except AwsError as failed:
        if world.clock.now() < spec.made + PATIENCE_S:
            raise Retry(failed.message) from failed
        text = f"{spec.topic}: {failed.message}"
        world.events.record(key_of(notice), world.clock.now(), "NotDelivered", text, warning=True)
    transaction = world.client.transaction()
    transaction.delete(notice)
    await transaction.commit()
