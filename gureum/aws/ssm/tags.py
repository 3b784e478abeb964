"""Tags of parameters and documents: AddTagsToResource, RemoveTagsFromResource, ListTagsForResource."""

from __future__ import annotations

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.ssm.document_kinds import Document
from gureum.aws.ssm.parameter_kinds import Parameter, find_parameter

LIMIT_TAGS = 50


def _resource(call: Call) -> Parameter | Document:
    """AWS: InvalidResourceId, InvalidResourceType."""
    kind, name = call.params["ResourceType"], call.params["ResourceId"]
    if kind not in ("Parameter", "Document"):
        raise AwsError("InvalidResourceType", f"Tags of {kind} are not implemented by gureum.")
    found = find_parameter(call, name) if kind == "Parameter" else call.get(Document, name)
    if found is None:
        raise AwsError("InvalidResourceId", f"The resource {name} of type {kind} does not exist.")
    return found


async def _write(call: Call, found: Parameter | Document, tags: dict[str, str]) -> None:
    if tags != found.meta.tags:
        transaction = call.transaction()
        transaction.update(msgspec.structs.replace(found, meta=msgspec.structs.replace(found.meta, tags=tags)))
        await call.commit(transaction)


@operation("AddTagsToResource")
async def add_tags_to_resource(call: Call) -> Result:
    """AWS: ssm AddTagsToResource. TooManyTagsError."""
    found = _resource(call)
    tags = found.meta.tags | {one["Key"]: one["Value"] for one in call.params["Tags"]}
    if len(tags) > LIMIT_TAGS:
        raise AwsError("TooManyTagsError", f"A resource has at most {LIMIT_TAGS} tags.")
    await _write(call, found, tags)
    return {}


@operation("RemoveTagsFromResource")
async def remove_tags_from_resource(call: Call) -> Result:
    """AWS: ssm RemoveTagsFromResource."""
    found = _resource(call)
    await _write(
        call, found, {key: value for key, value in found.meta.tags.items() if key not in call.params["TagKeys"]}
    )
    return {}


@operation("ListTagsForResource")
def list_tags_for_resource(call: Call) -> Result:
    """AWS: ssm ListTagsForResource."""
    return {"TagList": [{"Key": key, "Value": value} for key, value in sorted(_resource(call).meta.tags.items())]}
