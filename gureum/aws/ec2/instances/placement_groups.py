"""Placement groups: which instances are to be near each other or apart, and the rules a launch into one keeps.

One host has one rack, so strategies change nothing of where a machine runs; their rules (types, zones, how many) are AWS's. An instance is told its
group and partition by its metadata.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids, limits
from gureum.aws.ec2.instance_ids import PLACEMENT_GROUP
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.types import InstanceType
from gureum.aws.ec2.listing import show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, key_of, kind

_NAME = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
COUNTED = ("pending", "running", "stopping", "stopped")


class PlacementGroupSpec(msgspec.Struct, frozen=True):
    """`partitions`: 0 but for the partition strategy."""

    group_name: str
    strategy: Literal["cluster", "spread", "partition"]
    partitions: int = 0


@kind("ec2.PlacementGroup", indexes={"name": lambda group: group.spec.group_name})
class PlacementGroup(Resource, frozen=True):
    """The claim "placement-group-name/<scope>" keeps names unique."""

    spec: PlacementGroupSpec


class Place(msgspec.Struct, frozen=True):
    """Where in a placement group the instances of a launch go. `partitions`: one for each of them, empty but for that strategy."""

    group: str = ""
    group_id: str = ""
    partitions: tuple[int, ...] = ()


@operation("CreatePlacementGroup", level="state")
async def create_placement_group(call: Call) -> Result:
    """AWS: ec2 CreatePlacementGroup."""
    params = call.params
    for name in ("ParentGroupId", "LinkedGroupId", "Operator"):
        if params.get(name):
            raise ids.not_built(f"CreatePlacementGroup with {name}")
    name = ids.need(call, "GroupName")
    if _NAME.fullmatch(name) is None:
        raise ids.invalid("Value for parameter groupName is invalid. It must have at most 255 ASCII characters.")
    strategy: Any = ids.choice(params, "Strategy", "cluster", "spread", "partition")
    if params.get("SpreadLevel") == "host":
        raise ids.not_built("CreatePlacementGroup with SpreadLevel host (Outposts)")
    ids.choice(params, "SpreadLevel", "rack")
    if params.get("SpreadLevel") and strategy != "spread":
        raise AwsError("InvalidParameterCombination", "SpreadLevel is for the spread strategy only.")
    wanted = params.get("PartitionCount")
    if wanted is not None and strategy != "partition":
        raise AwsError("InvalidParameterCombination", "PartitionCount is for the partition strategy only.")
    if wanted is not None and not 1 <= wanted <= limits.PARTITIONS_PER_ZONE:
        raise ids.invalid(
            f"Value ({wanted}) for parameter partitionCount is invalid. Between 1 and {limits.PARTITIONS_PER_ZONE}."
        )
    if call.by(PlacementGroup, "name", name):
        raise AwsError("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
    if len(call.all(PlacementGroup)) >= limits.PLACEMENT_GROUPS_PER_REGION:
        text = f"The maximum number of placement groups ({limits.PLACEMENT_GROUPS_PER_REGION}) has been reached."
        raise AwsError("PlacementGroupLimitExceeded", text)
    spec = PlacementGroupSpec(name, strategy, (wanted or 2) if strategy == "partition" else 0)
    transaction = call.transaction()
    meta = call.meta(new_id("pg-"), tags=tags_of(call, "placement-group"))
    group = transaction.create(PlacementGroup(meta=meta, spec=spec))
    transaction.claim(_space(call), name.encode().hex(), key_of(group))
    await call.commit(transaction)
    return {"PlacementGroup": _show(call, group)}


@operation("DescribePlacementGroups", level="state")
def describe_placement_groups(call: Call) -> Result:
    """AWS: ec2 DescribePlacementGroups."""
    names, wanted = call.params.get("GroupNames"), call.params.get("GroupIds")
    found = call.all(PlacementGroup)
    if names:
        found = [find_group(call, name) for name in dict.fromkeys(names)]
    if wanted:
        found = [
            one for one in ids.find_all(call, PlacementGroup, PLACEMENT_GROUP, wanted) if not names or one in found
        ]
    table: FilterTable = {
        "group-arn": lambda one: _arn(call, one),
        "group-id": lambda one: one.meta.name,
        "group-name": lambda one: one.spec.group_name,
        "spread-level": lambda one: "rack" if one.spec.strategy == "spread" else (),
        "state": lambda _: "available",
        "strategy": lambda one: one.spec.strategy,
    }
    found = apply_filters(found, call.params.get("Filters"), table)
    call.end_dry_run()
    return {"PlacementGroups": [_show(call, one) for one in sorted(found, key=lambda one: one.spec.group_name)]}


@operation("DeletePlacementGroup", level="state")
async def delete_placement_group(call: Call) -> Result:
    """AWS: ec2 DeletePlacementGroup: not while instances are in it."""
    group = find_group(call, call.params["GroupName"])
    if _members(call, group.spec.group_name):
        text = f"The placement group '{group.spec.group_name}' is in use and may not be deleted."
        raise AwsError("InvalidPlacementGroup.InUse", text)
    transaction = call.transaction()
    transaction.require_no_newer(Instance, call.scope)
    transaction.delete(group)
    transaction.release(_space(call), group.spec.group_name.encode().hex())
    await call.commit(transaction)
    return {}


def find_group(call: Call, name: str) -> PlacementGroup:
    """AWS: InvalidPlacementGroup.Unknown."""
    found = call.by(PlacementGroup, "name", name)
    if not found:
        raise AwsError("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    return found[0]


def named_group(call: Call, placement: dict[str, Any]) -> PlacementGroup | None:
    """The group that `GroupName` or `GroupId` in `placement` names, if any."""
    name, id_ = placement.get("GroupName"), placement.get("GroupId")
    if name and id_:
        raise AwsError("InvalidParameterCombination", "GroupName and GroupId cannot be specified together.")
    if id_:
        return ids.find(call, PlacementGroup, PLACEMENT_GROUP, id_)
    return find_group(call, name) if name else None


def plan_place(
    call: Call, placement: dict[str, Any], type_: InstanceType, zone: str, count: int, *, but: str = ""
) -> Place:
    """`but`: an instance that is there already and does not count. AWS: InvalidPlacementGroup.Unknown, InvalidParameterCombination,
    InvalidParameterValue, InsufficientInstanceCapacity."""
    group, number = named_group(call, placement), placement.get("PartitionNumber")
    if group is None:
        if number:
            raise AwsError("InvalidParameterCombination", "PartitionNumber is for partition placement groups only.")
        return Place()
    spec = group.spec
    members = [one for one in _members(call, spec.group_name) if one.meta.name != but]
    if number and spec.strategy != "partition":
        raise AwsError("InvalidParameterCombination", "PartitionNumber is for partition placement groups only.")
    if spec.strategy == "cluster":
        if "cluster_placement" not in type_.flags:
            text = f"Cluster placement groups are not supported by the '{type_.name}' instance type."
            raise AwsError("InvalidParameterCombination", text)
        if any(one.spec.zone != zone for one in members):
            raise _no_room(f"all instances of a cluster placement group are in one zone, not in {zone} too")
    here = [one for one in members if one.spec.zone == zone]
    if spec.strategy == "spread" and len(here) + count > limits.SPREAD_INSTANCES_PER_ZONE:
        raise _no_room(f"a spread placement group has at most {limits.SPREAD_INSTANCES_PER_ZONE} instances in a zone")
    return Place(spec.group_name, group.meta.name, _partitions(spec, here, count, number))


def hold_place(call: Call, transaction: Transaction, place: Place) -> None:
    """Conflict when the group has gone, or where others' instances decide when these changed, since the place was planned."""
    group = call.get(PlacementGroup, place.group_id) if place.group else None
    if group is not None:
        transaction.require(group)
        if group.spec.strategy != "partition":
            transaction.require_no_newer(Instance, call.scope)


def _partitions(spec: PlacementGroupSpec, here: list[Instance], count: int, number: int | None) -> tuple[int, ...]:
    """Spread evenly: each goes where the fewest are."""
    if spec.strategy != "partition":
        return ()
    if number is not None:
        if not 1 <= number <= spec.partitions:
            raise ids.invalid(
                f"Value ({number}) for parameter partitionNumber is invalid. Between 1 and {spec.partitions}."
            )
        return (number,) * count
    filled = dict.fromkeys(range(1, spec.partitions + 1), 0)
    for instance in here:
        filled[instance.spec.partition] = filled.get(instance.spec.partition, 0) + 1
    chosen = []
    for _ in range(count):
        least = min(filled, key=lambda one: (filled[one], one))
        filled[least] += 1
        chosen.append(least)
    return tuple(chosen)


def _members(call: Call, name: str) -> list[Instance]:
    return [one for one in call.by(Instance, "placement", name) if one.status.state in COUNTED]


def _no_room(why: str) -> AwsError:
    text = f"We currently do not have sufficient capacity to launch all of the additional requested instances into Placement Group: {why}."
    return AwsError("InsufficientInstanceCapacity", text, status=500)


def _show(call: Call, group: PlacementGroup) -> dict[str, Any]:
    """API form. AWS: ec2 PlacementGroup."""
    spec = group.spec
    shown: dict[str, Any] = {
        "GroupName": spec.group_name,
        "GroupId": group.meta.name,
        "GroupArn": _arn(call, group),
        "State": "available",
        "Strategy": spec.strategy,
        "Tags": show_tags(group.meta.tags),
    }
    if spec.strategy == "partition":
        shown["PartitionCount"] = spec.partitions
    if spec.strategy == "spread":
        shown["SpreadLevel"] = "rack"
    return shown


def _arn(call: Call, group: PlacementGroup) -> str:
    return call.arn(f"placement-group/{group.spec.group_name}")


def _space(call: Call) -> str:
    return f"placement-group-name/{call.scope}"
