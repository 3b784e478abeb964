"""What operations that make disks, images, reservations and windows have in common: tags on create, dry runs, client tokens."""

from __future__ import annotations

from typing import Any

import pytest

from gureum.aws.ec2.images.images import BUILTINS

ZONE = "us-east-1a"
KIND = {"InstanceType": "t3.nano", "InstancePlatform": "Linux/UNIX"}
NIGHT = {"StartWeekDay": "monday", "StartHour": 1, "EndWeekDay": "monday", "EndHour": 6}
CREATING: dict[str, tuple[dict[str, Any], str, tuple[str | int, ...]]] = {
    "CreateVolume": ({"AvailabilityZone": ZONE, "Size": 1}, "volume", ("VolumeId",)),
    "CopyVolumes": ({"SourceVolumeId": "$volume"}, "volume", ("Volumes", 0, "VolumeId")),
    "CreateSnapshot": ({"VolumeId": "$volume"}, "snapshot", ("SnapshotId",)),
    "CreateCapacityReservation": (
        {**KIND, "AvailabilityZone": ZONE, "InstanceCount": 1},
        "capacity-reservation",
        ("CapacityReservation", "CapacityReservationId"),
    ),
    "CreateCapacityReservationFleet": (
        {"AvailabilityZone": ZONE, "TotalTargetCapacity": 1, "InstanceTypeSpecifications": [KIND]},
        "capacity-reservation-fleet",
        ("CapacityReservationFleetId",),
    ),
    "CreateInstanceEventWindow": (
        {"Name": "night", "TimeRanges": [NIGHT]},
        "instance-event-window",
        ("InstanceEventWindow", "InstanceEventWindowId"),
    ),
    "CreateImageUsageReport": (
        {"ImageId": "$image", "ResourceTypes": [{"ResourceType": "ec2:Instance"}]},
        "image-usage-report",
        ("ReportId",),
    ),
    "ImportImage": (
        {"DiskContainers": [{"Url": "oci://127.0.0.1:5000/web:1.0"}]},
        "import-image-task",
        ("ImportTaskId",),
    ),
}
"""Parameters, the type in tags, and where the id stands in the result."""
WITH_TOKEN = [one for one in CREATING if one not in ("CreateSnapshot", "CreateInstanceEventWindow")]


@pytest.fixture
def values(cloud):
    made = {"$volume": cloud("CreateVolume", AvailabilityZone=ZONE, Size=1)["VolumeId"]}
    copy = cloud("CopyImage", SourceRegion="us-east-1", SourceImageId=BUILTINS[0].id, Name="mine")
    return made | {"$image": copy["ImageId"]}


def filled(name: str, values: dict[str, str]) -> dict[str, Any]:
    return {key: values.get(one, one) if isinstance(one, str) else one for key, one in CREATING[name][0].items()}


def made_by(name: str, result: Any) -> str:
    for step in CREATING[name][2]:
        result = result[step]
    return str(result)


def tagged(type_: str, value: str) -> list[dict[str, Any]]:
    return [{"ResourceType": type_, "Tags": [{"Key": "Name", "Value": value}]}]


@pytest.mark.parametrize("name", CREATING)
def test_tags_come_with_what_is_made_and_a_dry_run_makes_nothing(cloud, values, name):
    params, type_ = filled(name, values), CREATING[name][1]
    assert cloud.code(name, **params, TagSpecifications=tagged("vpc", "x")) == "InvalidParameterValue"
    assert cloud.code(name, **params, TagSpecifications=tagged(type_, "x"), DryRun=True) == "DryRunOperation"
    made = made_by(name, cloud(name, **params, TagSpecifications=tagged(type_, name)))
    rows = cloud("DescribeTags", Filters=[{"Name": "resource-id", "Values": [made]}])["Tags"]
    assert rows == [{"ResourceId": made, "ResourceType": type_, "Key": "Name", "Value": name}]


@pytest.mark.parametrize("name", WITH_TOKEN)
def test_a_client_token_makes_one_thing(cloud, values, name):
    params = filled(name, values) | {"ClientToken": "once"}
    first = made_by(name, cloud(name, **params))
    revision = cloud.client.store.revision
    assert made_by(name, cloud(name, **params)) == first
    assert cloud.client.store.revision == revision
    other = tagged(CREATING[name][1], "other")
    assert cloud.code(name, **params, TagSpecifications=other) == "IdempotentParameterMismatch"
