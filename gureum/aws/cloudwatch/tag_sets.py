"""Tags as calls bring them, checked."""

from __future__ import annotations

from typing import Any

from gureum.aws.cloudwatch.refusals import invalid

LIMIT_TAGS = 50


def tags_of(params: dict[str, Any]) -> dict[str, str]:
    """The checked tags of a call. AWS: InvalidParameterValue."""
    tags = {one["Key"]: one["Value"] for one in params.get("Tags") or ()}
    if len(tags) > LIMIT_TAGS:
        raise invalid(f"A resource can have at most {LIMIT_TAGS} tags.")
    for key in tags:
        if key.lower().startswith("aws:"):
            raise invalid("Tag keys starting with 'aws:' are reserved for internal use.")
    return tags
