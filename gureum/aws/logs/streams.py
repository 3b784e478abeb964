"""Log streams: CreateLogStream, DeleteLogStream, DescribeLogStreams."""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import (
    LogGroup,
    LogStream,
    StreamSpec,
    chosen_group,
    find_group,
    find_stream,
    invalid,
    key_name,
    milliseconds,
    paged,
    streams_of,
)
from gureum.aws.marks import Result, operation
from gureum.ports.telemetry import StreamInfo

NEVER_MS = -1


@operation("CreateLogStream")
async def create_log_stream(call: Call) -> Result:
    """AWS: logs CreateLogStream."""
    group = find_group(call, call.params["logGroupName"])
    name = call.params["logStreamName"]
    if not name:
        raise invalid("The name of a log stream must have at least one character.")
    if call.get(LogStream, key_name(group.spec.name, name)) is not None:
        raise AwsError("ResourceAlreadyExistsException", "The specified log stream already exists")
    transaction = call.transaction()
    transaction.require(group)
    spec = StreamSpec(group.spec.name, name)
    transaction.create(LogStream(meta=call.meta(key_name(group.spec.name, name)), spec=spec))
    await call.commit(transaction)
    return {}


@operation("DeleteLogStream")
async def delete_log_stream(call: Call) -> Result:
    """AWS: logs DeleteLogStream. Its events go with it."""
    group = find_group(call, call.params["logGroupName"])
    stream = find_stream(call, group, call.params["logStreamName"])
    if group.spec.protected:
        raise AwsError("ValidationException", "The log group is protected against deletion.")
    transaction = call.transaction()
    transaction.delete(stream)
    await call.commit(transaction)
    await call.logs.drop(call.scope, group.spec.name, stream.spec.name)
    return {}


@operation("DescribeLogStreams")
async def describe_log_streams(call: Call) -> Result:
    """AWS: logs DescribeLogStreams. Ordered by name, or by the time of the newest event; streams without events come before all others."""
    params = call.params
    group = chosen_group(call)
    by_time = params.get("orderBy") == "LastEventTime"
    prefix = params.get("logStreamNamePrefix")
    if by_time and prefix is not None:
        raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    infos = {one.stream: one for one in await call.logs.streams(call.scope, group.spec.name)}
    streams = [one for one in streams_of(call, group) if one.spec.name.startswith(prefix or "")]

    def place(stream: LogStream) -> str:
        info = infos.get(stream.spec.name)
        time_ms = info.last_ms if info is not None and by_time else NEVER_MS
        return f"{time_ms + 1:020d} {stream.spec.name}"

    shown, token = paged(call, streams, place, descending=bool(params.get("descending")))
    return {"logStreams": [_show(call, group, one, infos.get(one.spec.name)) for one in shown]} | token


def _show(call: Call, group: LogGroup, stream: LogStream, info: StreamInfo | None) -> dict[str, Any]:
    """AWS: storedBytes of a stream has been zero since 2019."""
    shown: dict[str, Any] = {
        "logStreamName": stream.spec.name,
        "creationTime": milliseconds(stream.meta.created),
        "arn": call.arn(f"log-group:{group.spec.name}:log-stream:{stream.spec.name}"),
        "storedBytes": 0,
    }
    if info is None:
        return shown
    return shown | {
        "firstEventTimestamp": info.first_ms,
        "lastEventTimestamp": info.last_ms,
        "lastIngestionTime": info.last_ingested_ms,
        "uploadSequenceToken": f"{info.last_ingested_ms:056d}",
    }
