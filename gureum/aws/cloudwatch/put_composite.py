"""PutCompositeAlarm: an alarm whose state follows from other alarms' states by a rule (alarm_rules.py)."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_history import note
from gureum.aws.cloudwatch.alarm_kinds import (
    Actions,
    CompositeAlarm,
    CompositeAlarmSpec,
    CompositeStatus,
    MetricAlarm,
    Suppression,
    object_name,
)
from gureum.aws.cloudwatch.alarm_rules import AlarmRule, RuleError
from gureum.aws.cloudwatch.alarm_show import alarm_arn, find_alarm
from gureum.aws.cloudwatch.put_alarm import LIMIT_ALARMS, check_name, read_actions
from gureum.aws.cloudwatch.refusals import not_built, validation
from gureum.aws.cloudwatch.tag_sets import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.partitions import without_partition
from gureum.engine.client import Transaction

LIMIT_PARENTS = 150
LIMIT_SUPPRESSION_S = 604_800


@operation("PutCompositeAlarm")
async def put_composite_alarm(call: Call) -> Result:
    """AWS: cloudwatch PutCompositeAlarm. ValidationError for a rule that cannot be or alarms that are not there; LimitExceeded."""
    params = call.params
    check_name(params["AlarmName"])
    if "ActionConfiguration" in params:
        raise not_built("ActionConfiguration of PutCompositeAlarm")
    name = object_name(params["AlarmName"])
    if call.get(MetricAlarm, name) is not None:
        raise validation(f"Alarm {params['AlarmName']} already exists as a metric alarm.")
    transaction = call.transaction()
    spec = _spec(call, transaction)
    old = call.get(CompositeAlarm, name)
    if old is None:
        if len(call.all(CompositeAlarm)) >= LIMIT_ALARMS:
            raise AwsError("LimitExceeded", f"The maximum number of alarms ({LIMIT_ALARMS}) has been reached.")
        status = CompositeStatus(changed=call.now, transitioned=call.now)
        alarm = transaction.create(CompositeAlarm(meta=call.meta(name, tags=tags_of(params)), spec=spec, status=status))
        kind, verb = "Create", "created"
    else:
        alarm = transaction.update(msgspec.structs.replace(old, spec=spec))
        kind, verb = "Update", "updated"
    data = {"version": "1.0", "type": kind, f"{verb}Alarm": _configuration(alarm)}
    note(call.client, transaction, alarm, call.now, "ConfigurationUpdate", f'Alarm "{spec.name}" {verb}', data)
    await call.commit(transaction)
    return {}


def _spec(call: Call, transaction: Transaction) -> CompositeAlarmSpec:
    params = call.params
    try:
        rule = AlarmRule(params["AlarmRule"])
    except RuleError as error:
        raise validation(f"Invalid AlarmRule: {error}") from error
    own = params["AlarmName"]
    children = tuple(dict.fromkeys(plain_name(call.scope, child) for child in rule.children))
    _require(call, transaction, [child for child in children if child != own], "in the alarm rule")
    return CompositeAlarmSpec(
        name=own,
        rule=params["AlarmRule"],
        children=children,
        actions=_actions(call),
        updated=call.now,
        description=params.get("AlarmDescription"),
        suppression=_suppression(call, transaction),
    )


def _actions(call: Call) -> Actions:
    """AWS: PutCompositeAlarm: a composite alarm scales nothing."""
    actions = read_actions(call, single_metric=False)
    if any(without_partition(arn).startswith("arn:aws:autoscaling:") for arn in actions.all):
        raise validation("Composite alarms cannot perform Auto Scaling actions.")
    return actions


def plain_name(scope: str, name: str) -> str:
    """An alarm's name from its name or ARN."""
    return name.removeprefix(alarm_arn(scope, ""))


def _require(call: Call, transaction: Transaction, names: list[str], where: str) -> None:
    missing = []
    for name in names:
        alarm = find_alarm(call, name)
        if alarm is None:
            missing.append(name)
        elif len(call.by(CompositeAlarm, "child", name)) > LIMIT_PARENTS:
            raise validation(f"The alarm {name} is in the rules of more than {LIMIT_PARENTS} composite alarms.")
        else:
            transaction.require(alarm)
    if missing:
        text = f"Could not save the composite alarm as alarms [{', '.join(missing)}] {where} do not exist"
        raise validation(text[:1000])


def _suppression(call: Call, transaction: Transaction) -> Suppression | None:
    """AWS: the periods are required with ActionsSuppressor, and only then."""
    params: dict[str, Any] = call.params
    periods = ("ActionsSuppressorWaitPeriod", "ActionsSuppressorExtensionPeriod")
    if "ActionsSuppressor" not in params:
        for name in periods:
            if name in params:
                raise validation(f"{name} can only be specified with ActionsSuppressor.")
        return None
    for name in periods:
        if name not in params:
            raise validation(f"{name} is required when ActionsSuppressor is specified.")
        if not 0 <= params[name] <= LIMIT_SUPPRESSION_S:
            raise validation(f"{name} must be between 0 and {LIMIT_SUPPRESSION_S}.")
    suppressor = plain_name(call.scope, params["ActionsSuppressor"])
    if suppressor == params["AlarmName"]:
        raise validation("A composite alarm cannot suppress its own actions.")
    _require(call, transaction, [suppressor], "in ActionsSuppressor")
    return Suppression(suppressor, params[periods[0]], params[periods[1]])


def _configuration(alarm: CompositeAlarm) -> dict[str, Any]:
    spec = alarm.spec
    return {
        "alarmName": spec.name,
        "alarmArn": alarm_arn(alarm.meta.scope, spec.name),
        "alarmRule": spec.rule,
        "actionsEnabled": spec.actions.enabled,
        "okActions": list(spec.actions.ok),
        "alarmActions": list(spec.actions.alarm),
        "insufficientDataActions": list(spec.actions.insufficient_data),
    }
