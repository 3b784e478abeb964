"""SetAlarmState, EnableAlarmActions, DisableAlarmActions, DeleteAlarms, and the one way in which an alarm's state changes."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_history import note, note_state
from gureum.aws.cloudwatch.alarm_kinds import Alarm, CompositeAlarm, MetricAlarm, State, StateText
from gureum.aws.cloudwatch.alarm_show import alarm_arn, find_alarm
from gureum.aws.cloudwatch.refusals import not_found, validation
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.engine.client import Client, Transaction

A = TypeVar("A", bound=Alarm)


@operation("SetAlarmState")
async def set_alarm_state(call: Call) -> Result:
    """AWS: cloudwatch SetAlarmState. Until the alarm is evaluated again. ResourceNotFound, InvalidFormat."""
    params = call.params
    alarm = find_alarm(call, params["AlarmName"])
    if alarm is None:
        raise not_found("Unknown alarm: " + params["AlarmName"])
    data = params.get("StateReasonData", "")
    if data:
        try:
            json.loads(data)
        except (ValueError, RecursionError) as error:
            raise AwsError("InvalidFormat", "StateReasonData is not valid JSON.") from error
    transaction = call.transaction()
    change_state(call.client, transaction, alarm, params["StateValue"], params["StateReason"], data, call.now)
    await call.commit(transaction)
    return {}


@operation("EnableAlarmActions")
async def enable_alarm_actions(call: Call) -> Result:
    """AWS: cloudwatch EnableAlarmActions. Names that are not there are passed over."""
    await _switch_actions(call, enabled=True)
    return {}


@operation("DisableAlarmActions")
async def disable_alarm_actions(call: Call) -> Result:
    """AWS: cloudwatch DisableAlarmActions."""
    await _switch_actions(call, enabled=False)
    return {}


@operation("DeleteAlarms")
async def delete_alarms(call: Call) -> Result:
    """AWS: cloudwatch DeleteAlarms: at most one composite alarm at once, none that the rule of another needs that stays. Unknown names are passed
    over (botocore's model: "If you specify any incorrect alarm names, the alarms you specify with correct names are still deleted"; older texts
    of the same page say that then none is)."""
    names = list(dict.fromkeys(call.params["AlarmNames"]))
    alarms = [alarm for name in names if (alarm := find_alarm(call, name)) is not None]
    if sum(1 for alarm in alarms if isinstance(alarm, CompositeAlarm)) > 1:
        raise validation("You can't delete two composite alarms with one operation.")
    transaction = call.transaction()
    transaction.require_no_newer(CompositeAlarm, call.scope)
    for alarm in alarms:
        parents = [parent.spec.name for parent in call.by(CompositeAlarm, "child", alarm.spec.name)]
        if not set(parents) <= set(names):
            text = f"Cannot delete {alarm.spec.name} as there are composite alarm(s) depending on it."
            raise validation(text)
        transaction.delete(alarm)
        for held in call.by(CompositeAlarm, "suppressor", alarm.spec.name):
            if held.spec.name not in names:
                _release(transaction, held, call.now)
        data = {
            "version": "1.0",
            "type": "Delete",
            "deletedAlarm": {"alarmArn": alarm_arn(call.scope, alarm.spec.name), "alarmName": alarm.spec.name},
        }
        note(
            call.client, transaction, alarm, call.now, "ConfigurationUpdate", f'Alarm "{alarm.spec.name}" deleted', data
        )
    if not transaction.empty:
        await call.commit(transaction)
    return {}


def _release(transaction: Transaction, held: CompositeAlarm, now: float) -> None:
    """Its suppressor is gone: that is as if it had left ALARM."""
    suppression, status = held.spec.suppression, held.status
    if suppression is not None and status.suppressed_by == "Alarm":
        until = now + suppression.extension_s
        status = msgspec.structs.replace(status, suppressed_by="ExtensionPeriod", until=until)
        transaction.update(msgspec.structs.replace(held, status=status))


def change_state(
    client: Client, transaction: Transaction, alarm: A, state: State, reason: str, data: str, now: float
) -> A:
    """To another state: with a history item, and `pending`, which reconcile tells and acts on. To the same one: only the reason."""
    status = alarm.status
    changes = {"reason": reason, "data": data, "changed": now}
    if state == status.state:
        return transaction.update(msgspec.structs.replace(alarm, status=msgspec.structs.replace(status, **changes)))
    before = StateText(status.state, status.reason, status.data, status.changed)
    changes |= {"state": state, "transitioned": now, "pending": before}
    if isinstance(alarm, CompositeAlarm):
        changes["told"] = False
    changed = msgspec.structs.replace(alarm, status=msgspec.structs.replace(status, **changes))
    note_state(client, transaction, changed, before, now)
    return transaction.update(changed)


async def _switch_actions(call: Call, *, enabled: bool) -> None:
    transaction = call.transaction()
    for name in dict.fromkeys(call.params["AlarmNames"]):
        alarm = find_alarm(call, name)
        if alarm is None or alarm.spec.actions.enabled == enabled:
            continue
        actions = msgspec.structs.replace(alarm.spec.actions, enabled=enabled)
        spec = msgspec.structs.replace(alarm.spec, actions=actions, updated=call.now)
        changed: MetricAlarm | CompositeAlarm = transaction.update(msgspec.structs.replace(alarm, spec=spec))
        data = {"version": "1.0", "type": "Update", "updatedAlarm": {"actionsEnabled": enabled}}
        summary = f'Alarm "{alarm.spec.name}" updated'
        note(call.client, transaction, changed, call.now, "ConfigurationUpdate", summary, data)
    if not transaction.empty:
        await call.commit(transaction)
