"""Alarm history: what happened to alarms in the last two weeks, and DescribeAlarmHistory.

AWS: "CloudWatch preserves alarm history for two weeks". The history of a deleted alarm stays as long. Old items go with new ones.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any, Literal

from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_kinds import (
    Alarm,
    AlarmHistory,
    CompositeAlarm,
    HistorySpec,
    StateText,
    object_name,
)
from gureum.aws.cloudwatch.refusals import not_built, validation
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.engine.client import Client, Transaction
from gureum.engine.resource import Meta

KEPT_S = 14 * 86400
SWEPT_AT_ONCE, LIMIT_PER_ALARM = 20, 2000
LIMIT_SUMMARY, LIMIT_DATA = 255, 4095
_COMPLEMENT = str.maketrans("0123456789", "9876543210")
"""Names of items are digits, in the order in which they happened; so turned round, the newest comes first."""
HistoryType = Literal["ConfigurationUpdate", "StateUpdate", "Action"]


@operation("DescribeAlarmHistory")
def describe_alarm_history(call: Call) -> Result:
    """AWS: cloudwatch DescribeAlarmHistory. Newest first unless asked otherwise. InvalidNextToken."""
    params = call.params
    if "AlarmContributorId" in params:
        raise not_built("AlarmContributorId of DescribeAlarmHistory")
    name = params.get("AlarmName")
    found = call.by(AlarmHistory, "alarm", object_name(name)) if name else call.all(AlarmHistory)
    types = params.get("AlarmTypes") or ("MetricAlarm",)
    passing = [item for item in found if item.spec.alarm_type in types and _passes(item.spec, params, call.now)]
    backward = params.get("ScanBy", "TimestampDescending") == "TimestampDescending"

    def place(item: AlarmHistory) -> str:
        return item.meta.name.translate(_COMPLEMENT) if backward else item.meta.name

    try:
        shown, token = page(params, passing, place, limit_name="MaxRecords", least=1, most=100, default=100)
    except AwsError as error:
        raise _paging_error(error) from error
    return {"AlarmHistoryItems": [_show(item.spec) for item in shown]} | ({"NextToken": token} if token else {})


def note(
    client: Client,
    transaction: Transaction,
    alarm: Alarm,
    now: float,
    type_: HistoryType,
    summary: str,
    data: dict[str, Any],
) -> None:
    """Adds an item in the transaction, and takes old ones of the alarm away."""
    alarm_type: Literal["MetricAlarm", "CompositeAlarm"] = (
        "CompositeAlarm" if isinstance(alarm, CompositeAlarm) else "MetricAlarm"
    )
    text = _fitting(data)
    spec = HistorySpec(alarm.spec.name, alarm_type, now, type_, summary[:LIMIT_SUMMARY], text)
    name = f"{int(now * 1000):014}-{client.store.revision:014}-{secrets.randbelow(10**9):09}"
    transaction.create(AlarmHistory(meta=Meta(alarm.meta.scope, name, new_id("", 32), now), spec=spec))
    _sweep(client, transaction, alarm, now)


def note_state(client: Client, transaction: Transaction, alarm: Alarm, before: StateText, now: float) -> None:
    """AWS: "Alarm updated from OK to ALARM"."""
    status = alarm.status
    after = StateText(status.state, status.reason, status.data, now)
    data = {"version": "1.0", "oldState": _state_data(before), "newState": _state_data(after)}
    summary = f"Alarm updated from {before.value} to {status.state}"
    note(client, transaction, alarm, now, "StateUpdate", summary, data)


def _state_data(state: StateText) -> dict[str, Any]:
    told: dict[str, Any] = {"stateValue": state.value, "stateReason": state.reason}
    if state.data:
        try:
            told["stateReasonData"] = json.loads(state.data)
        except ValueError:
            told["stateReasonData"] = state.data
    return told


def _fitting(data: dict[str, Any]) -> str:
    """AWS: HistoryData has 4,095 characters at most. What is too long loses its reason data, oldest first, then its end."""
    text = json.dumps(data, separators=(",", ":"))
    for side in ("oldState", "newState"):
        if len(text) > LIMIT_DATA and side in data:
            data = data | {side: {name: value for name, value in data[side].items() if name != "stateReasonData"}}
            text = json.dumps(data, separators=(",", ":"))
    return text[:LIMIT_DATA]


def _sweep(client: Client, transaction: Transaction, alarm: Alarm, now: float) -> None:
    items = client.by(AlarmHistory, alarm.meta.scope, "alarm", object_name(alarm.spec.name))
    extra = len(items) - LIMIT_PER_ALARM
    if extra > 0:
        items = sorted(items, key=lambda item: item.meta.name)
    over = [item for place, item in enumerate(items) if item.spec.time < now - KEPT_S or place < extra]
    for item in over[:SWEPT_AT_ONCE]:
        transaction.delete(item)


def _passes(spec: HistorySpec, params: dict[str, Any], now: float) -> bool:
    if spec.time < now - KEPT_S or params.get("HistoryItemType", spec.type) != spec.type:
        return False
    start, end = params.get("StartDate"), params.get("EndDate")
    return (start is None or spec.time >= start.timestamp()) and (end is None or spec.time <= end.timestamp())


def _show(spec: HistorySpec) -> dict[str, Any]:
    return {
        "AlarmName": spec.alarm,
        "AlarmType": spec.alarm_type,
        "Timestamp": spec.time,
        "HistoryItemType": spec.type,
        "HistorySummary": spec.summary,
        "HistoryData": spec.data,
    }


def _paging_error(error: AwsError) -> AwsError:
    return AwsError("InvalidNextToken", error.message) if "NextToken" in error.message else validation(error.message)


def paged_alarms(params: dict[str, Any], alarms: Sequence[Alarm]) -> tuple[list[Alarm], str | None]:
    """A page by name, as all lists of alarms have it. AWS: InvalidNextToken."""
    try:
        return page(params, alarms, lambda one: one.spec.name, limit_name="MaxRecords", least=1, most=100, default=50)
    except AwsError as error:
        raise _paging_error(error) from error
