"""Notifications of alarms whose action is an SNS topic (aws/topic_messages.py has the way to topics)."""

from __future__ import annotations

from gureum.aws.cloudwatch.alarm_actions import AlarmContext
from gureum.aws.cloudwatch.alarm_events import name_of_region, topic_message
from gureum.aws.topic_messages import publish
from gureum.core.world import World
from gureum.engine.registry import mark


@mark("alarm-action", "arn:aws:sns")
async def notify(world: World, context: AlarmContext) -> None:
    """Raises AwsError when the topic's message was not delivered."""
    region = name_of_region(context.scope.partition("/")[2])
    subject = f'{context.state}: "{context.alarm.spec.name}" in {region}'
    await publish(world, context.arn, subject, topic_message(context.alarm, context.before))
