"""Tags that a stream of Kinesis is made with: moto forgets them, and Terraform then tags the stream anew at each run. AWS: Kinesis CreateStream."""

from __future__ import annotations

from typing import Any

from moto.kinesis.responses import KinesisResponse

_CREATE = KinesisResponse.create_stream


def lead() -> None:
    """Idempotent."""
    setattr(KinesisResponse, "create_stream", _create)  # noqa: B010 - moto has no other way in


def _create(response: Any) -> Any:
    answer = _CREATE(response)
    if tags := response._get_param("Tags"):
        name = response._get_param("StreamName")
        response.kinesis_backend.add_tags_to_stream(stream_arn=None, stream_name=name, tags=tags)
    return answer
