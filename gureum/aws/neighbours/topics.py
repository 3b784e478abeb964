"""What gureum itself publishes to SNS topics (alarms, Auto Scaling)."""

from __future__ import annotations

from gureum.aws.errors import AwsError
from gureum.core.neighbours import NeighbourRefused
from gureum.core.world import World

LIMIT_SUBJECT = 100


async def publish(world: World, topic: str, subject: str, message: str) -> bool:
    """AWS: sns Publish. `topic`: its ARN. False when no topic of that name is here to take it; AwsError when one is and refuses."""
    parts = topic.split(":")
    if len(parts) != 6 or not world.neighbours.answers("sns"):
        return False
    params = {"TopicArn": topic, "Subject": subject[:LIMIT_SUBJECT], "Message": message}
    try:
        await world.neighbours.ask("sns", "Publish", parts[4], parts[3], params)
    except NeighbourRefused as refused:
        if refused.code in ("NotFound", "NotFoundException"):
            return False
        raise AwsError(refused.code, refused.text) from refused
    return True
