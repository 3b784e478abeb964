"""Log groups: CreateLogGroup, DeleteLogGroup, DescribeLogGroups, ListLogGroups, retention and deletion protection."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.group_tags import check_tags
from gureum.aws.logs.kinds import (
    GroupSpec,
    LogGroup,
    MetricFilter,
    SubscriptionFilter,
    find_group,
    group_arn,
    group_of_identifier,
    invalid,
    key_name,
    milliseconds,
    name_of_arn,
    not_built,
    paged,
    streams_of,
)
from gureum.aws.marks import Result, operation
from gureum.base.globs import glob
from gureum.store.contract import MAX_OPERATIONS

RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
"""AWS: logs PutRetentionPolicy."""
LIST_LIMIT = 50
CLASSES = ("STANDARD", "INFREQUENT_ACCESS")
DELETED_AT_ONCE = MAX_OPERATIONS // 4


@operation("CreateLogGroup")
async def create_log_group(call: Call) -> Result:
    """AWS: logs CreateLogGroup."""
    params = call.params
    name, group_class = params["logGroupName"], params.get("logGroupClass", "STANDARD")
    if name.lower().startswith("aws/"):
        raise invalid("Log groups starting with AWS/ are reserved for AWS.")
    if params.get("kmsKeyId"):
        raise not_built("The parameter kmsKeyId")
    if group_class not in CLASSES:
        raise not_built(f"The log group class {group_class}")
    tags = params.get("tags") or {}
    check_tags(tags)
    if call.get(LogGroup, key_name(name)) is not None:
        raise AwsError("ResourceAlreadyExistsException", "The specified log group already exists")
    # What a group of this name had when the daemon died while it was deleted.
    await call.logs.drop(call.scope, name)
    transaction = call.transaction()
    spec = GroupSpec(name, group_class, protected=bool(params.get("deletionProtectionEnabled")))
    transaction.create(LogGroup(meta=call.meta(key_name(name), tags=tags), spec=spec))
    await call.commit(transaction)
    return {}


@operation("DeleteLogGroup")
async def delete_log_group(call: Call) -> Result:
    """AWS: logs DeleteLogGroup. Its streams, filters and events go with it."""
    group = find_group(call, call.params["logGroupName"])
    if group.spec.protected:
        raise AwsError("ValidationException", "The log group is protected against deletion.")
    await delete_streams(call, group)
    transaction = call.transaction()
    for cls in (MetricFilter, SubscriptionFilter):
        for one in call.by(cls, "group", group.meta.name):
            transaction.delete(one)
    for stream in streams_of(call, group):
        transaction.delete(stream)
    transaction.delete(group)
    await call.commit(transaction)
    await call.logs.drop(call.scope, group.spec.name)
    return {}


async def delete_streams(call: Call, group: LogGroup) -> None:
    """All but the last few streams of a group, in as many commits as it takes: a group may have more than fit in one."""
    while len(streams := streams_of(call, group)) > DELETED_AT_ONCE:
        transaction = call.transaction()
        for stream in streams[:DELETED_AT_ONCE]:
            transaction.delete(stream)
        await call.commit(transaction)


@operation("DescribeLogGroups")
async def describe_log_groups(call: Call) -> Result:
    """AWS: logs DescribeLogGroups. Sorted by name."""
    groups = [group for group in _chosen(call) if _is_of_class(group, call.params.get("logGroupClass"))]
    prefix, pattern = call.params.get("logGroupNamePrefix"), call.params.get("logGroupNamePattern")
    if prefix is not None and pattern is not None:
        raise invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
    groups = [one for one in groups if one.spec.name.startswith(prefix or "") and (pattern or "") in one.spec.name]
    shown, token = paged(call, groups, lambda group: group.spec.name)
    if pattern:
        return {"logGroups": [_show_short(call, group) for group in shown]} | token
    return {"logGroups": [await _show(call, group) for group in shown]} | token


def _chosen(call: Call) -> list[LogGroup]:
    """The groups that accounts and identifiers leave. There are no linked accounts."""
    identifiers = call.params.get("logGroupIdentifiers")
    if not _asks_own_account(call):
        return []
    if identifiers is None:
        return call.all(LogGroup)
    if others := {"logGroupNamePrefix", "logGroupNamePattern", "logGroupClass", "accountIdentifiers"} & set(
        call.params
    ):
        raise invalid(f"LogGroupIdentifiers can not be combined with {', '.join(sorted(others))}.")
    names = [name_of_arn(call, one) if one.startswith("arn:") else one for one in identifiers]
    found = (call.get(LogGroup, key_name(name)) for name in dict.fromkeys(names))
    return [group for group in found if group is not None]


def _asks_own_account(call: Call) -> bool:
    accounts = call.params.get("accountIdentifiers")
    if accounts and not call.params.get("includeLinkedAccounts"):
        raise invalid("AccountIdentifiers can only be given with includeLinkedAccounts.")
    return not accounts or call.account in accounts


def _is_of_class(group: LogGroup, wanted: str | None) -> bool:
    if wanted in ("INFREQUENT_ACCESS", "ESSENTIALS"):
        return group.spec.group_class in ("INFREQUENT_ACCESS", "ESSENTIALS")
    return wanted in (None, group.spec.group_class)


def _show_short(call: Call, group: LogGroup) -> dict[str, Any]:
    """AWS: with logGroupNamePattern only these are answered."""
    name = group.spec.name
    return {
        "logGroupName": name,
        "creationTime": milliseconds(group.meta.created),
        "metricFilterCount": len(call.by(MetricFilter, "group", group.meta.name)),
        "logGroupClass": group.spec.group_class,
        "arn": f"{group_arn(call, name)}:*",
        "logGroupArn": group_arn(call, name),
    }


async def _show(call: Call, group: LogGroup) -> dict[str, Any]:
    streams = await call.logs.streams(call.scope, group.spec.name)
    shown = _show_short(call, group) | {
        "storedBytes": sum(stream.stored_bytes for stream in streams),
        "deletionProtectionEnabled": group.spec.protected,
    }
    return shown | ({"retentionInDays": group.spec.retention_days} if group.spec.retention_days else {})


@operation("ListLogGroups")
def list_log_groups(call: Call) -> Result:
    """AWS: logs ListLogGroups. Groups have no data sources and no field indexes: a filter on them finds none."""
    params = call.params
    groups = call.all(LogGroup) if _asks_own_account(call) else []
    if params.get("dataSources") or params.get("fieldIndexNames"):
        groups = []
    if pattern := params.get("logGroupNamePattern"):
        parts = pattern.split("|")
        groups = [one for one in groups if any(_fits(one.spec.name, part) for part in parts)]
    if wanted := params.get("logGroupClass"):
        groups = [one for one in groups if one.spec.group_class == wanted]
    for one in params.get("logGroupTags") or ():
        groups = [group for group in groups if _has_tag(group.meta.tags, one["key"], one.get("values") or [])]
    if "limit" not in params:
        call = call.with_params(params | {"limit": LIST_LIMIT})
    shown, token = paged(call, groups, lambda group: group.spec.name, most=1000)
    rows = [
        {
            "logGroupName": one.spec.name,
            "logGroupArn": group_arn(call, one.spec.name),
            "logGroupClass": one.spec.group_class,
        }
        for one in shown
    ]
    return {"logGroups": rows} | token


def _fits(name: str, part: str) -> bool:
    return name.startswith(part[1:]) if part.startswith("^") else part in name


def _has_tag(tags: dict[str, str], key: str, values: list[str]) -> bool:
    """AWS: TagFilter. `*` stands for anything in a value, `!` before it for all others."""
    if key not in tags:
        return False
    value = tags[key]
    tests = [(one.startswith("!"), glob(re.sub(r"([\\?])", r"\\\1", one.removeprefix("!")))) for one in values]
    return not tests or any(test(value) is not negated for negated, test in tests)


@operation("PutRetentionPolicy")
async def put_retention_policy(call: Call) -> Result:
    """AWS: logs PutRetentionPolicy."""
    days = call.params["retentionInDays"]
    if days not in RETENTION_DAYS:
        allowed = ", ".join(map(str, RETENTION_DAYS))
        raise invalid(f"Invalid retention value. Valid values are: [{allowed}]")
    return await _retain(call, days)


@operation("DeleteRetentionPolicy")
async def delete_retention_policy(call: Call) -> Result:
    """AWS: logs DeleteRetentionPolicy. Events do not expire any more."""
    return await _retain(call, 0)


async def _retain(call: Call, days: int) -> Result:
    group = find_group(call, call.params["logGroupName"])
    await _change(call, group, retention_days=days)
    await call.logs.keep(call.scope, group.spec.name, days or None)
    return {}


@operation("PutLogGroupDeletionProtection")
async def put_log_group_deletion_protection(call: Call) -> Result:
    """AWS: logs PutLogGroupDeletionProtection."""
    group = group_of_identifier(call, call.params["logGroupIdentifier"])
    await _change(call, group, protected=call.params["deletionProtectionEnabled"])
    return {}


async def _change(call: Call, group: LogGroup, **fields: Any) -> None:
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, **fields)))
    await call.commit(transaction)
