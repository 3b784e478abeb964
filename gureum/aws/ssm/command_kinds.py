"""The stored shapes of Run Command, and what follows from them without doing anything.

    Command ◄── owner ── Invocation, one per machine: Pending ─► InProgress ─► Success | Failed | TimedOut | Cancelled

AWS: "Understanding command statuses" (Systems Manager user guide).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from gureum.aws.ssm.document_content import Step
from gureum.aws.ssm.output_files import Bucket
from gureum.engine.resource import Resource, kind

OPEN = ("Pending", "InProgress", "Delayed", "Cancelling")
_UNSAFE = re.compile(r"^\.|[^\w.-]", re.ASCII)
STOPPED_CODE = 137
REBOOT_CODE = 194
"""AWS: "Handling reboots when running commands": the machine is rebooted and the script run again."""
LIMIT_REBOOTS = 15
"""AWS: amazon-ssm-agent, CommandRetryLimit: how often a document is begun again."""
"""Exit code of what was ended because of a timeout or a cancellation."""


class Notify(msgspec.Struct, frozen=True):
    """What is told to a topic: `events` are states, or "All"; `type`: Command or Invocation."""

    topic: str
    events: tuple[str, ...]
    type: str


class CommandSpec(msgspec.Struct, frozen=True):
    """`instances`: every machine it goes to, in order. `asked`: the ids of the call. `targets`: pairs of key and values. `log_group` "": no logs.
    `role`: as given; gureum tells topics without one."""

    document: str
    version: str
    requested: float
    expires: float
    timeout_s: int
    instances: tuple[str, ...]
    steps: tuple[Step, ...]
    asked: tuple[str, ...] = ()
    targets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    parameters: dict[str, list[str]] = {}
    comment: str = ""
    most_at_once: str = "50"
    most_errors: str = "0"
    log_group: str = ""
    log_output: bool = False
    cancelled: bool = False
    bucket: Bucket | None = None
    notify: Notify | None = None
    role: str = ""

    def place_of(self, command: str, instance: str, number: int) -> tuple[str, ...]:
        """Where in the bucket the outputs of a step are, below the prefix. AWS: "COMMAND/INSTANCE/awsrunShellScript/STEP"."""
        name = self.steps[number].name
        plugin = "awsrunShellScript"
        return command, instance, plugin, f"{number}.{plugin}" if name.startswith("aws:") else _UNSAFE.sub("-", name)


class CommandStatus(msgspec.Struct, frozen=True):
    state: str = "Pending"
    details: str = "Pending"


@kind("ssm.Command", indexes={"open": lambda one: "yes" if one.status.state in OPEN else ()})
class Command(Resource, frozen=True):
    spec: CommandSpec
    status: CommandStatus = CommandStatus()


class StepResult(msgspec.Struct, frozen=True):
    """How far one step has come. `launched`: the agent has started it, so it is never started again. `out`, `err`: the beginning of its output.
    `filed`: how much of each is in the files for a bucket. `forgiven`: it failed, and its document calls that a success (successAndExit).
    `reboots`: how often it asked for one (REBOOT_CODE), the last time at `rebooted`, and is run again by the machine's boot `boot`."""

    name: str
    state: str = "InProgress"
    details: str = "InProgress"
    code: int = -1
    started: float = 0.0
    ended: float = 0.0
    launched: bool = False
    out: str = ""
    err: str = ""
    filed: tuple[int, int] = (0, 0)
    forgiven: bool = False
    reboots: int = 0
    rebooted: float = 0.0
    boot: int = 0

    @property
    def run_from(self) -> float:
        """Since when its time counts."""
        return self.rebooted or self.started

    def forgive(self) -> StepResult:
        return msgspec.structs.replace(self, state="Success", details="Success", code=0, forgiven=True)


class InvocationSpec(msgspec.Struct, frozen=True):
    command: str
    instance: str
    place: int
    cancelled: bool = False


class InvocationStatus(msgspec.Struct, frozen=True):
    """`steps`: those that have begun."""

    state: str = "Pending"
    details: str = "Pending"
    steps: tuple[StepResult, ...] = ()

    def with_step(self, number: int, result: StepResult) -> InvocationStatus:
        steps = (*self.steps[:number], result, *self.steps[number + 1 :])
        return msgspec.structs.replace(self, state="InProgress", details="InProgress", steps=steps)


@kind("ssm.Invocation", indexes={"command": lambda one: one.spec.command, "instance": lambda one: one.spec.instance})
class Invocation(Resource, frozen=True):
    spec: InvocationSpec
    status: InvocationStatus = InvocationStatus()


def invocation_key(command: str, instance: str) -> str:
    return f"{command}:{instance}"


def share_of(text: str, total: int) -> int:
    """ "3" or "25%" of so many."""
    return total * int(text[:-1]) // 100 if text.endswith("%") else int(text)


class Plan(msgspec.Struct, frozen=True):
    """`start`: invocations to begin now. `stop`: those that never will, since too many failed. `status`: the command's own."""

    start: tuple[str, ...]
    stop: tuple[str, ...]
    status: CommandStatus


def plan(command: Command, invocations: Sequence[Invocation]) -> Plan:
    """What is to be done for a command, and how it stands. `invocations`: all of it."""
    spec = command.spec
    ordered = sorted(invocations, key=lambda one: one.spec.place)
    pending = [one for one in ordered if one.status.state == "Pending" and not one.spec.cancelled]
    going = [one for one in ordered if one.status.state in OPEN and one not in pending]
    most_errors = share_of(spec.most_errors, len(ordered))
    too_many = _errors(ordered) > most_errors
    room = max(1, share_of(spec.most_at_once, len(ordered))) - len(going)
    start = () if too_many or room <= 0 else tuple(one.meta.name for one in pending[:room])
    stop = tuple(one.meta.name for one in pending) if too_many else ()
    return Plan(start, stop, _status(command, ordered, most_errors))


def _errors(invocations: Sequence[Invocation]) -> int:
    """What counts against MaxErrors: failures and timeouts of execution, not of delivery."""
    return sum(one.status.details in ("Failed", "ExecutionTimedOut") for one in invocations)


def _status(command: Command, invocations: Sequence[Invocation], most_errors: int) -> CommandStatus:
    details = [one.status.details for one in invocations]
    if not details:
        return CommandStatus("Success", "NoInstancesInTag")
    if any(one.status.state in OPEN for one in invocations):
        if command.spec.cancelled:
            return CommandStatus("Cancelling", "Cancelling")
        begun = any(one.status.state != "Pending" for one in invocations)
        return CommandStatus("InProgress", "InProgress") if begun else CommandStatus()
    if all(one == "Success" for one in details):
        return CommandStatus("Success", "Success")
    if command.spec.cancelled and "Cancelled" in details:
        return CommandStatus("Cancelled", "Cancelled")
    if _errors(invocations) > most_errors:
        failed = "Failed" in details
        return CommandStatus("Failed", "Failed") if failed else CommandStatus("TimedOut", "ExecutionTimedOut")
    if details.count("DeliveryTimedOut") > most_errors:
        return CommandStatus("TimedOut", "DeliveryTimedOut")
    return CommandStatus("Failed", "Incomplete")
