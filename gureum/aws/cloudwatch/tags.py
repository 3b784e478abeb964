"""Tags of alarms and dashboards: TagResource, UntagResource, ListTagsForResource."""

from __future__ import annotations

import msgspec

from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_kinds import CompositeAlarm, MetricAlarm, object_name
from gureum.aws.cloudwatch.dashboards import Dashboard, dashboards_scope
from gureum.aws.cloudwatch.refusals import invalid
from gureum.aws.cloudwatch.tag_sets import LIMIT_TAGS, tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.partitions import without_partition

Tagged = MetricAlarm | CompositeAlarm | Dashboard


@operation("TagResource")
async def tag_resource(call: Call) -> Result:
    """AWS: cloudwatch TagResource. ResourceNotFoundException."""
    resource = _find(call)
    await _replace(call, resource, resource.meta.tags | tags_of(call.params))
    return {}


@operation("UntagResource")
async def untag_resource(call: Call) -> Result:
    """AWS: cloudwatch UntagResource. Keys that are not there are passed over."""
    resource = _find(call)
    gone = set(call.params["TagKeys"])
    await _replace(call, resource, {key: value for key, value in resource.meta.tags.items() if key not in gone})
    return {}


@operation("ListTagsForResource")
def list_tags_for_resource(call: Call) -> Result:
    """AWS: cloudwatch ListTagsForResource."""
    return {"Tags": [{"Key": key, "Value": value} for key, value in _find(call).meta.tags.items()]}


async def _replace(call: Call, resource: Tagged, tags: dict[str, str]) -> None:
    if len(tags) > LIMIT_TAGS:
        raise invalid(f"A resource can have at most {LIMIT_TAGS} tags.")
    if tags == resource.meta.tags:
        return
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(resource, meta=msgspec.structs.replace(resource.meta, tags=tags)))
    await call.commit(transaction)


def _find(call: Call) -> Tagged:
    arn = call.params["ResourceARN"]
    alarms, dashboards = call.arn("alarm:"), call.arn("dashboard/", region="")
    found: Tagged | None = None
    if arn.startswith(alarms):
        name = object_name(arn.removeprefix(alarms))
        found = call.get(MetricAlarm, name) or call.get(CompositeAlarm, name)
    elif arn.startswith(dashboards):
        found = call.client.get(Dashboard, dashboards_scope(call), arn.removeprefix(dashboards))
    elif not without_partition(arn).startswith("arn:aws:cloudwatch:"):
        raise invalid(f"The value {arn[:200]} for parameter ResourceARN is invalid.")
    if found is None:
        fields = {"ResourceType": "Alarm" if ":alarm:" in arn else "Resource", "ResourceId": arn}
        raise AwsError("ResourceNotFoundException", f"Unknown resource: {arn[:300]}", fields=fields)
    return found
