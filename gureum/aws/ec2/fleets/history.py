"""What happened to fleets: DescribeFleetHistory, and the same for Spot Fleet requests (spot_fleets.py).

The latest LIMIT_HISTORY records of a fleet are kept with it.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.fleets.fleets import find_fleet
from gureum.aws.ec2.fleets.kinds import Fleet, Record
from gureum.aws.ec2.fleets.spot_options import seconds
from gureum.aws.ec2.listing import answer
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page

_WORDS = {
    "instanceChange": "instance-change",
    "fleetRequestChange": "fleet-change",
    "error": "service-error",
    "information": "service-error",
}
"""The types of Spot Fleets' records, as EC2 Fleets call them."""


@operation("DescribeFleetHistory")
def describe_fleet_history(call: Call) -> Result:
    """AWS: ec2 DescribeFleetHistory: not of instant fleets."""
    fleet = find_fleet(call, call.params["FleetId"])
    if fleet.spec.type == "instant":
        raise AwsError("UnsupportedOperation", "DescribeFleetHistory is not supported for fleets of type instant.")
    return history(call, fleet, _WORDS) | {"FleetId": fleet.meta.name}


def history(call: Call, fleet: Fleet, words: dict[str, str], states: str = "deleted") -> dict[str, Any]:
    """The page of records that the call asks for, the oldest first. `words`: how the API calls each type; `states`: how it calls "deleted".
    AWS: InvalidParameterValue."""
    start, wanted = seconds(call.params["StartTime"]), call.params.get("EventType")
    if wanted and wanted not in words.values():
        raise ids.invalid(f"Value ({wanted}) for parameter eventType is invalid.")
    call.end_dry_run()
    numbered = [
        (f"{one.time:017.6f}/{number:06d}", one)
        for number, one in enumerate(fleet.status.history)
        if one.time >= start and wanted in (None, "", words[one.type])
    ]
    shown, token = page(call.params, numbered, lambda row: row[0], least=1, default=1000)
    rows = [_show(one, words, states) for _, one in shown]
    found = answer("HistoryRecords", rows, token) | {"StartTime": start}
    # As AWS, only on the last page: until then everything was looked at.
    return found if token else found | {"LastEvaluatedTime": call.now}


def _show(one: Record, words: dict[str, str], states: str) -> dict[str, Any]:
    """API form. AWS: ec2 HistoryRecord, HistoryRecordEntry."""
    subtype = one.subtype.replace("deleted", states) if one.type == "fleetRequestChange" else one.subtype
    event = {"EventSubType": subtype, "EventDescription": one.description, "InstanceId": one.instance}
    told = {name: value for name, value in event.items() if value}
    return {"Timestamp": one.time, "EventType": words[one.type], "EventInformation": told}
