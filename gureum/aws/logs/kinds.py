"""Kinds of CloudWatch Logs, and how operations find what names and ARNs mean.

Names of groups hold slashes, and those of streams may be longer than a key of the store: `key_name` makes keys of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.engine.resource import Resource, kind

T = TypeVar("T")
LIMIT_READABLE = 300
_ARN = re.compile(r"arn:aws[a-z-]*:logs:([a-z0-9-]*):(\d*):log-group:([^:*]+)(:\*)?")


class GroupSpec(msgspec.Struct, frozen=True):
    """`group_class`: AWS: LogGroupClass. `retention_days` 0: events never expire. `protected`: deletion protection."""

    name: str
    group_class: str = "STANDARD"
    retention_days: int = 0
    protected: bool = False


@kind("logs.LogGroup")
class LogGroup(Resource, frozen=True):
    spec: GroupSpec


class StreamSpec(msgspec.Struct, frozen=True):
    group: str
    name: str


@kind("logs.LogStream", indexes={"group": lambda stream: key_name(stream.spec.group)})
class LogStream(Resource, frozen=True):
    spec: StreamSpec


class MetricFilterSpec(msgspec.Struct, frozen=True):
    """`value`: a number, or the field that holds it ("$.latency"). `dimensions`: name → field. `unit` "": not given, which is None."""

    group: str
    name: str
    pattern: str
    namespace: str
    metric: str
    value: str
    default: float | None = None
    dimensions: dict[str, str] = {}
    unit: str = ""


@kind("logs.MetricFilter", indexes={"group": lambda one: key_name(one.spec.group)})
class MetricFilter(Resource, frozen=True):
    spec: MetricFilterSpec


class SubscriptionSpec(msgspec.Struct, frozen=True):
    """`destination`: ARN. `role`, `distribution` are for streams of Kinesis and change nothing for a log group."""

    group: str
    name: str
    pattern: str
    destination: str
    role: str = ""
    distribution: str = "ByLogStream"


@kind("logs.SubscriptionFilter", indexes={"group": lambda one: key_name(one.spec.group)})
class SubscriptionFilter(Resource, frozen=True):
    spec: SubscriptionSpec


def key_name(*names: str) -> str:
    """The name in the store of what these names lead to: readable where a key can be."""
    text = ":".join(name.replace("%", "%25").replace("/", "%2F") for name in names)
    if text.isascii() and text.isprintable() and len(text) <= LIMIT_READABLE:
        return text
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()


def invalid(text: str) -> AwsError:
    return AwsError("InvalidParameterException", text)


def not_built(what: str) -> AwsError:
    """What AWS has and gureum does not."""
    return AwsError("NotImplemented", f"{what} is not implemented by gureum.", status=501)


def group_missing() -> AwsError:
    return AwsError("ResourceNotFoundException", "The specified log group does not exist.")


def stream_missing() -> AwsError:
    return AwsError("ResourceNotFoundException", "The specified log stream does not exist.")


def find_group(call: Call, name: str) -> LogGroup:
    """AWS: ResourceNotFoundException."""
    group = call.get(LogGroup, key_name(name))
    if group is None:
        raise group_missing()
    return group


def find_stream(call: Call, group: LogGroup, name: str) -> LogStream:
    """AWS: ResourceNotFoundException."""
    stream = call.get(LogStream, key_name(group.spec.name, name))
    if stream is None:
        raise stream_missing()
    return stream


def streams_of(call: Call, group: LogGroup) -> list[LogStream]:
    return call.by(LogStream, "group", group.meta.name)


def group_of_identifier(call: Call, text: str) -> LogGroup:
    """The group that a name or an ARN means. There are no linked accounts: one of another account or region is not found."""
    if not text.startswith("arn:"):
        return find_group(call, text)
    return find_group(call, name_of_arn(call, text))


def name_of_arn(call: Call, arn: str) -> str:
    """AWS: InvalidParameterException for what is no ARN of a group, ResourceNotFoundException for one of elsewhere."""
    found = _ARN.fullmatch(arn)
    if found is None:
        raise invalid("Invalid ARN of a log group.")
    if (found[1], found[2]) != (call.region, call.account):
        raise group_missing()
    return found[3]


def chosen_group(call: Call) -> LogGroup:
    """The group of a call that takes logGroupName or logGroupIdentifier."""
    name, identifier = call.params.get("logGroupName"), call.params.get("logGroupIdentifier")
    if name is None and identifier is None:
        raise invalid("LogGroupName and LogGroupIdentifier: exactly one of them must be given.")
    if name is not None and identifier is not None:
        text = "LogGroup name and LogGroup ARN are mutually exclusive parameters."
        raise AwsError("ValidationException", text, status=400)
    return find_group(call, name) if name is not None else group_of_identifier(call, identifier or "")


def group_arn(call: Call, name: str) -> str:
    """Without the ":*" that it has in policies."""
    return call.arn(f"log-group:{name}")


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def paged(
    call: Call, items: list[T], key: Callable[[T], str], *, most: int = 50, descending: bool = False
) -> tuple[list[T], dict[str, str]]:
    """The page of `items`, ordered by `key`, that limit and nextToken ask for, and {"nextToken": …} when more follow. A token tells what was
    shown last: pages stay right while items come and go."""
    items = sorted(items, key=key, reverse=descending)
    token = call.params.get("nextToken")
    if token:
        after = _after(token)
        items = [item for item in items if (key(item) < after if descending else key(item) > after)]
    size = min(call.params.get("limit") or most, most)
    shown = items[:size]
    return shown, {"nextToken": key(shown[-1]).encode().hex()} if len(items) > size else {}


def _after(token: str) -> str:
    try:
        return bytes.fromhex(token).decode()
    except ValueError as error:
        raise invalid("The specified nextToken is invalid.") from error
