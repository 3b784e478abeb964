"""Which machines a command goes to: those it names, or those that its targets mean now.

AWS: ssm Target. Tags are those of the instances; a resource group is asked for its query, which is put to the instances here.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.errors import AwsError
from gureum.aws.ssm.machines import online
from gureum.core.neighbours import NeighbourRefused

LIMIT_INSTANCES = 500
GROUP, TYPES = "resource-groups:name", "resource-groups:resourcetypefilters"
INSTANCES = ("AWS::EC2::Instance", "AWS::AllSupported")


class _Tag(msgspec.Struct, frozen=True, rename="pascal"):
    key: str
    values: list[str] = []


class _Query(msgspec.Struct, frozen=True):
    """AWS: resource-groups ResourceQuery, TAG_FILTERS_1_0."""

    types: list[str] = msgspec.field(default_factory=list, name="ResourceTypeFilters")
    tags: list[_Tag] = msgspec.field(default_factory=list, name="TagFilters")


Test = Callable[[Instance], bool]


def instances_of(call: Call) -> tuple[str, ...]:
    """Every machine the command goes to. AWS: those that are named must be online; of tags and groups those that are. InvalidInstanceId,
    DuplicateInstanceId, InvalidTarget."""
    ids, targets = call.params.get("InstanceIds") or [], call.params.get("Targets") or []
    if bool(ids) == bool(targets):
        raise AwsError("InvalidInstanceId", "Specify either instance ids or targets.")
    if len(set(ids)) != len(ids):
        raise AwsError("DuplicateInstanceId", "An instance id is given twice.")
    bad = [name for name in ids if online(call, name) is None]
    if bad:
        text = f"Instances [[{', '.join(bad)}]] not in a valid state for account {call.account}"
        raise AwsError("InvalidInstanceId", text)
    if ids:
        return tuple(ids)
    tests = [_test(call, one.get("Key", ""), one.get("Values") or []) for one in targets]
    found = [one for one in call.all(Instance) if one.status.state == "running" and all(test(one) for test in tests)]
    if len(found) > LIMIT_INSTANCES:
        raise AwsError("InvalidTarget", f"A command goes to at most {LIMIT_INSTANCES} instances.")
    return tuple(sorted(one.meta.name for one in found))


def _test(call: Call, key: str, values: list[str]) -> Test:
    if key.lower() == "instanceids":
        return lambda one: one.meta.name in values or "*" in values
    if key.startswith("tag:"):
        return lambda one: one.meta.tags.get(key[4:]) in values
    if key == "tag-key":
        return lambda one: any(value in one.meta.tags for value in values)
    if key.lower() == GROUP:
        return _of_group(call, values)
    if key.lower() == TYPES:
        return lambda one: any(value in INSTANCES for value in values)
    raise AwsError("NotImplemented", f"Targets by {key!r} are not implemented by gureum.", status=501)


def _of_group(call: Call, values: list[str]) -> Test:
    """AWS: resource-groups ResourceQuery. Unasked."""
    if not call.known.answers("resource-groups"):
        raise AwsError("NotImplemented", "Resource groups are not answered here.", status=501)
    if len(values) != 1:
        raise AwsError("InvalidTarget", "A target names exactly one resource group.")
    try:
        found = call.known.answer("resource-groups", "GetGroupQuery", call.account, call.region, GroupName=values[0])
        asked = found["GroupQuery"]["ResourceQuery"]
        query = json.loads(asked["Query"])
    except NeighbourRefused as refused:
        raise AwsError("InvalidTarget", f"The resource group {values[0]} does not exist.") from refused
    except (KeyError, ValueError, RecursionError) as error:
        raise AwsError("InvalidTarget", f"The resource group {values[0]} has no query.") from error
    if asked["Type"] != "TAG_FILTERS_1_0":
        raise AwsError("NotImplemented", f"Groups by {asked['Type']} are not implemented by gureum.", status=501)
    try:
        query = msgspec.convert(query, _Query)
    except msgspec.ValidationError as error:
        raise AwsError("InvalidTarget", f"The query of {values[0]} is none: {error}") from error
    return lambda one: _passes(one, query)


def _passes(instance: Instance, query: _Query) -> bool:
    if not any(one in INSTANCES for one in query.types):
        return False
    for wanted in query.tags:
        value = instance.meta.tags.get(wanted.key)
        if value is None or (wanted.values and value not in wanted.values):
            return False
    return True
