"""What follows an alarm's change of state: the event, the actions and their history, and the composite alarms that look at it.

change of state ─► pending ─► event, actions ─► history, pending taken away
       │
       └─► composites with it in their rule are judged; those it suppresses look again
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from gureum.aws.cloudwatch.alarm_actions import Outcome, perform
from gureum.aws.cloudwatch.alarm_changes import change_state
from gureum.aws.cloudwatch.alarm_events import state_change_event
from gureum.aws.cloudwatch.alarm_history import note
from gureum.aws.cloudwatch.alarm_kinds import (
    Alarm,
    CompositeAlarm,
    CompositeStatus,
    MetricAlarm,
    State,
    StateText,
    object_name,
)
from gureum.aws.cloudwatch.alarm_rules import AlarmRule
from gureum.aws.cloudwatch.alarm_show import alarm_arn
from gureum.aws.cloudwatch.put_composite import plain_name
from gureum.aws.cloudwatch.reasons import precise
from gureum.core.world import World
from gureum.engine.client import Client, Transaction
from gureum.engine.registry import reconcile
from gureum.engine.resource import key_of


@reconcile(MetricAlarm)
async def reconcile_metric_alarm(world: World, alarm: MetricAlarm) -> None:
    """Tells and acts on a change of state, once, then tells those that look at it."""
    _poke_watchers(world, alarm)
    if alarm.status.pending is None:
        return
    _tell(world, alarm, alarm.status.pending)
    outcomes = await _act(world, alarm, alarm.status.pending)
    transaction = world.client.transaction()
    _record(world, transaction, alarm, outcomes)
    transaction.update(msgspec.structs.replace(alarm, status=msgspec.structs.replace(alarm.status, pending=None)))
    await transaction.commit()


@reconcile(CompositeAlarm)
async def reconcile_composite_alarm(world: World, alarm: CompositeAlarm) -> None:
    """Judges the rule when a child has changed; tells a change at once; acts when nothing holds the actions back."""
    if await _judge(world, alarm):
        return
    status = alarm.status
    if status.pending is None:
        _poke_watchers(world, alarm)
        return
    if not status.told:
        _tell(world, alarm, status.pending)
        await _save(world, alarm, msgspec.structs.replace(status, told=True))
        return
    _poke_watchers(world, alarm)
    held, until = _held(world.client, alarm, world.clock.now())
    if held:
        if (held, until) != (status.suppressed_by, status.until):
            await _save(world, alarm, msgspec.structs.replace(status, suppressed_by=held, until=until))
        elif held != "Alarm":
            world.poke(key_of(alarm), max(0.001, until - world.clock.now()))
        return
    back = status.acted == status.state  # it changed and changed back while its actions were held back
    outcomes = [] if back else await _act(world, alarm, status.pending)
    transaction = world.client.transaction()
    _record(world, transaction, alarm, outcomes)
    done = msgspec.structs.replace(status, pending=None, suppressed_by="", until=0.0, acted=status.state)
    transaction.update(msgspec.structs.replace(alarm, status=done))
    await transaction.commit()


def _poke_watchers(world: World, alarm: Alarm) -> None:
    """Those that have not seen this alarm's state yet; no others, for composite alarms may watch each other in a circle."""
    client, scope, name = world.client, alarm.meta.scope, alarm.spec.name
    for parent in client.by(CompositeAlarm, scope, "child", name):
        if f"{alarm.status.state} {name}" not in parent.status.judged and not _circles(client, parent):
            world.poke(key_of(parent))
    for held in client.by(CompositeAlarm, scope, "suppressor", name):
        if held.status.pending and (alarm.status.state == "ALARM") != (held.status.suppressed_by == "Alarm"):
            world.poke(key_of(held))


def _tell(world: World, alarm: Alarm, before: StateText) -> None:
    text = f"{before.value} -> {alarm.status.state}: {alarm.status.reason}"
    world.events.record(key_of(alarm), world.clock.now(), "StateChanged", text, warning=alarm.status.state == "ALARM")
    world.event_stream.publish(state_change_event(alarm, before))


async def _act(world: World, alarm: Alarm, before: StateText) -> list[Outcome]:
    """All actions of the state side by side, so that a slow one keeps none back."""
    if not alarm.spec.actions.enabled:
        return []
    arns = alarm.spec.actions.of(alarm.status.state)
    return list(await asyncio.gather(*(perform(world, alarm, arn, before) for arn in arns)))


def _record(world: World, transaction: Transaction, alarm: Alarm, outcomes: list[Outcome]) -> None:
    now = world.clock.now()
    for outcome in outcomes:
        data = {
            "actionState": "Failed" if outcome.error else "Succeeded",
            "stateUpdateTimestamp": int(alarm.status.transitioned * 1000),
            "notificationResource": outcome.arn,
            "publishedMessage": None,
            "error": outcome.error or None,
        }
        note(world.client, transaction, alarm, now, "Action", outcome.summary, data)
        what = "ActionFailed" if outcome.error else "ActionDone"
        text = f"{outcome.arn}: {outcome.error}" if outcome.error else outcome.arn
        world.events.record(key_of(alarm), now, what, text, warning=bool(outcome.error))


async def _save(world: World, alarm: CompositeAlarm, status: CompositeStatus) -> None:
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(alarm, status=status))
    await transaction.commit()


async def _judge(world: World, alarm: CompositeAlarm) -> bool:
    """Whether something was changed. AWS: "evaluation stops if CloudWatch detects a cycle"."""
    client, status = world.client, alarm.status
    judged = (
        f"{alarm.meta.generation}",
        *(f"{_state_of(client, alarm, child)} {child}" for child in alarm.spec.children),
    )
    if judged == status.judged or _circles(client, alarm):
        return False
    rule = AlarmRule(alarm.spec.rule)
    holds = rule.holds(lambda name: _state_of(client, alarm, plain_name(alarm.meta.scope, name)))
    state: State = "ALARM" if holds else "OK"
    transaction = client.transaction()
    changed = msgspec.structs.replace(alarm, status=msgspec.structs.replace(status, judged=judged))
    if state == status.state:
        transaction.update(changed)
    else:
        reason, data = _why(client, alarm, judged, state)
        change_state(client, transaction, changed, state, reason, data, world.clock.now())
    await transaction.commit()
    return True


def find(client: Client, scope: str, name: str) -> Alarm | None:
    stored = object_name(name)
    return client.get(MetricAlarm, scope, stored) or client.get(CompositeAlarm, scope, stored)


def _state_of(client: Client, alarm: CompositeAlarm, name: str) -> str:
    found = find(client, alarm.meta.scope, name)
    return found.status.state if found is not None else ""


def _circles(client: Client, alarm: CompositeAlarm) -> bool:
    """Whether the alarm is, through others' rules, in its own."""
    seen: set[str] = set()
    waiting = list(alarm.spec.children)
    while waiting:
        name = waiting.pop()
        if name == alarm.spec.name:
            return True
        if name not in seen:
            seen.add(name)
            found = client.get(CompositeAlarm, alarm.meta.scope, object_name(name))
            waiting += found.spec.children if found is not None else ()
    return False


def _why(client: Client, alarm: CompositeAlarm, judged: tuple[str, ...], state: State) -> tuple[str, str]:
    """Reason and data, which name the child whose change decided."""
    arn = alarm_arn(alarm.meta.scope, alarm.spec.name)
    before = alarm.status.judged
    if not before or before[0] != judged[0]:
        verb = "updated" if before else "created"
        return f"{arn} was {verb} and its alarm rule evaluates to {state}", ""
    names = [new.partition(" ")[2] for new in judged[1:] if new not in before]
    children = [child for name in names if (child := find(client, alarm.meta.scope, name)) is not None]
    if not children:
        return f"The alarm rule of {arn} evaluates to {state}", ""
    child = max(children, key=lambda one: one.status.transitioned)
    since = time.gmtime(child.status.transitioned)
    when = time.strftime(f"%A {since.tm_mday:02} %B, %Y %H:%M:%S UTC", since)
    child_arn = alarm_arn(child.meta.scope, child.spec.name)
    data = {
        "triggeringAlarms": [
            {
                "arn": child_arn,
                "state": {
                    "value": child.status.state,
                    "timestamp": precise(int(child.status.transitioned * 1000)),
                },
            }
        ]
    }
    return f"{child_arn} transitioned to {child.status.state} at {when}", msgspec.json.encode(data).decode()


def _held(client: Client, alarm: CompositeAlarm, now: float) -> tuple[str, float]:
    """What holds the actions back, and until when (0.0: as long as it lasts); ("", 0.0) when nothing does.

    AWS: PutCompositeAlarm: first the suppressor is waited for; while it is in ALARM nothing is done; and for a while after."""
    suppression, status = alarm.spec.suppression, alarm.status
    if suppression is None:
        return "", 0.0
    if _state_of(client, alarm, suppression.alarm) == "ALARM":
        return "Alarm", 0.0
    if status.suppressed_by == "Alarm":
        until = now + suppression.extension_s
        return ("ExtensionPeriod", until) if suppression.extension_s else ("", 0.0)
    if status.suppressed_by == "ExtensionPeriod":
        return ("ExtensionPeriod", status.until) if now < status.until else ("", 0.0)
    until = status.transitioned + suppression.wait_s
    return ("WaitPeriod", until) if now < until else ("", 0.0)
