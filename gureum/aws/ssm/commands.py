"""Run Command: SendCommand, CancelCommand, and what is told of commands. command_runs.py runs them, each invocation by invocation_run.py."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.ssm.command_kinds import (
    OPEN,
    Command,
    CommandSpec,
    CommandStatus,
    Invocation,
    InvocationSpec,
    InvocationStatus,
    invocation_key,
)
from gureum.aws.ssm.command_notices import show_wish, wish_of
from gureum.aws.ssm.command_outputs import both
from gureum.aws.ssm.command_targets import instances_of
from gureum.aws.ssm.document_content import LIMIT_BYTES, Step, steps_of, values_of, with_texts
from gureum.aws.ssm.document_kinds import Found, find, hash_of
from gureum.aws.ssm.output_files import Bucket, find_bucket
from gureum.aws.ssm.paging import page
from gureum.aws.ssm.parameter_kinds import filled
from gureum.aws.ssm.sessions import moment_of

LIMIT_OPEN, LIMIT_HISTORY, HISTORY_S = 200, 300, 30 * 86400.0
LIMIT_SCRIPT_BYTES, LIMIT_STEPS_BYTES = 100 * 1024, 400 * 1024
"""AWS does not tell one; a document of 64 KB may ask for more, and all of it is kept with the command."""
DEFAULT_TIMEOUT_S = 3600
SWEPT_AT_ONCE = 10
_NOT_BUILT = {
    "AlarmConfiguration": "Alarms of commands",
}


@operation("SendCommand")
async def send_command(call: Call) -> Result:
    """AWS: ssm SendCommand. InvalidDocument, InvalidInstanceId, DuplicateInstanceId, InvalidParameters, InvalidNotificationConfig."""
    params = call.params
    for key, what in _NOT_BUILT.items():
        if params.get(key):
            raise AwsError("NotImplemented", f"{what} is not implemented by gureum.", status=501)
    found = find(call, params["DocumentName"], params.get("DocumentVersion", ""))
    if found.type != "Command":
        raise AwsError("InvalidDocument", f"Document type {found.type} is not supported by SendCommand.")
    hash_, kind_ = params.get("DocumentHash"), params.get("DocumentHashType", "Sha256")
    if hash_ and hash_ != hash_of(found, kind_.lower()):
        raise AwsError("InvalidDocument", f"The {kind_} hash of document {found.name} is not {hash_}.")
    given = params.get("Parameters") or {}
    _check_request(found, given)
    used = {name: [filled(call, text) for text in texts] for name, texts in given.items()}
    content = with_texts(found.content, used, lambda text: filled(call, text))
    steps = steps_of(content, values_of(content, used))
    _check_size(steps)
    bucket = _bucket(call)
    instances = instances_of(call)
    if len(list(call.by(Command, "open", "yes"))) >= LIMIT_OPEN:
        raise AwsError("ThrottlingException", f"There are {LIMIT_OPEN} commands under way already.")
    timeout_s = params.get("TimeoutSeconds", DEFAULT_TIMEOUT_S)
    longest_s = max((one.timeout_s for one in steps), default=0)
    output = params.get("CloudWatchOutputConfig") or {}
    enabled = bool(output.get("CloudWatchOutputEnabled"))
    group = output.get("CloudWatchLogGroupName") or (f"/aws/ssm/{found.name}" if enabled else "")
    spec = CommandSpec(
        document=found.name,
        version=params.get("DocumentVersion", "$DEFAULT"),
        requested=call.now,
        expires=call.now + timeout_s + longest_s,
        timeout_s=timeout_s,
        instances=instances,
        steps=steps,
        asked=tuple(params.get("InstanceIds") or ()),
        targets=tuple((one.get("Key", ""), tuple(one.get("Values") or ())) for one in params.get("Targets") or ()),
        parameters=given,
        comment=params.get("Comment", ""),
        most_at_once=params.get("MaxConcurrency", "50"),
        most_errors=params.get("MaxErrors", "0"),
        log_group=group,
        log_output=enabled,
        bucket=bucket,
        notify=wish_of(call),
        role=params.get("ServiceRoleArn", ""),
    )
    command = Command(meta=call.meta(str(uuid.uuid4())), spec=spec)
    transaction = call.transaction()
    transaction.create(command)
    for place, instance in enumerate(instances):
        key = invocation_key(command.meta.name, instance)
        one = InvocationSpec(command.meta.name, instance, place)
        transaction.create(Invocation(meta=call.meta(key, owner=command), spec=one))
    for old in _history_to_forget(call):
        transaction.delete(old)
    await call.commit(transaction)
    return {"Command": show_command(command, [])}


def _bucket(call: Call) -> Bucket | None:
    """AWS: InvalidOutputFolder."""
    name, prefix = call.params.get("OutputS3BucketName"), call.params.get("OutputS3KeyPrefix") or ""
    return find_bucket(call, name, prefix, "InvalidOutputFolder") if name else None


def _check_request(found: Found, given: dict[str, list[str]]) -> None:
    """AWS: CreateDocument, Content: the limit "also includes the content specified for input parameters at runtime". MaxDocumentSizeExceeded."""
    text = found.version.spec.text if found.version is not None else ""
    size = sum(
        len(one.encode("utf-8", "replace")) for one in (text, *(one for texts in given.values() for one in texts))
    )
    if size > LIMIT_BYTES:
        raise AwsError("MaxDocumentSizeExceeded", f"The size limit of a document is {LIMIT_BYTES // 1024} KB.")


def _check_size(steps: tuple[Step, ...]) -> None:
    texts = ["\n".join((*one.commands, *one.environment.values(), one.folder)) for one in steps]
    sizes = [len(text.encode("utf-8", "replace")) for text in texts]
    if max(sizes, default=0) > LIMIT_SCRIPT_BYTES or sum(sizes) > LIMIT_STEPS_BYTES:
        told = (
            f"A script has at most {LIMIT_SCRIPT_BYTES // 1024} KB, and all of a document {LIMIT_STEPS_BYTES // 1024}."
        )
        raise AwsError("MaxDocumentSizeExceeded", told)


def _history_to_forget(call: Call) -> list[Command]:
    """Their invocations follow."""
    ended = sorted(
        (one for one in call.all(Command) if one.status.state not in OPEN), key=lambda one: one.spec.requested
    )
    surplus = len(ended) - LIMIT_HISTORY
    old = [one for at, one in enumerate(ended) if at < surplus or one.spec.requested < call.now - HISTORY_S]
    return old[:SWEPT_AT_ONCE]


@operation("CancelCommand")
async def cancel_command(call: Call) -> Result:
    """AWS: ssm CancelCommand: what has not begun never will, what runs is ended."""
    command = _find(call, call.params["CommandId"])
    wanted = call.params.get("InstanceIds") or []
    invocations = call.by(Invocation, "command", command.meta.name)
    for name in wanted:
        if name not in command.spec.instances:
            raise AwsError("InvalidInstanceId", f"The command does not go to {name}.")
    transaction = call.transaction()
    for one in invocations:
        if one.status.state in OPEN and not one.spec.cancelled and (not wanted or one.spec.instance in wanted):
            spec = msgspec.structs.replace(one.spec, cancelled=True)
            transaction.update(msgspec.structs.replace(one, spec=spec))
    if not transaction.empty and command.status.state in OPEN:
        whole = msgspec.structs.replace(command.spec, cancelled=True)
        transaction.update(msgspec.structs.replace(command, spec=whole))
        await call.commit(transaction)
    return {}


@operation("ListCommands")
def list_commands(call: Call) -> Result:
    """AWS: ssm ListCommands. Newest first."""
    params = call.params
    found = [_find(call, params["CommandId"])] if params.get("CommandId") else call.all(Command)
    if params.get("InstanceId"):
        found = [one for one in found if params["InstanceId"] in one.spec.instances]
    for one in params.get("Filters") or ():
        found = [command for command in found if _passes(command, one["key"], one["value"], command.status)]
    shown, token = page(params, found, _newest_first, least=1, most=50, default=50)
    rows = [show_command(one, call.by(Invocation, "command", one.meta.name)) for one in shown]
    return {"Commands": rows} | ({"NextToken": token} if token else {})


def _newest_first(command: Command) -> str:
    return f"{10**11 - command.spec.requested:020.6f}{command.meta.name}"


def _passes(command: Command, key: str, value: str, status: CommandStatus | InvocationStatus) -> bool:
    """AWS: ssm CommandFilter; a status may be one in detail ("Incomplete", "DeliveryTimedOut")."""
    state = status.state
    if key in ("InvokedAfter", "InvokedBefore"):
        moment = moment_of(value)
        return command.spec.requested >= moment if key == "InvokedAfter" else command.spec.requested < moment
    if key == "Status":
        return value in (state, status.details)
    if key == "DocumentName":
        return command.spec.document == value
    return ("Executing" if state in OPEN else "Complete") == value


@operation("ListCommandInvocations")
def list_command_invocations(call: Call) -> Result:
    """AWS: ssm ListCommandInvocations. With Details the steps and the beginnings of their outputs."""
    params = call.params
    if params.get("CommandId"):
        found = call.by(Invocation, "command", _find(call, params["CommandId"]).meta.name)
    else:
        found = call.all(Invocation)
    if params.get("InstanceId"):
        found = [one for one in found if one.spec.instance == params["InstanceId"]]
    pairs = [(call.get(Command, one.spec.command), one) for one in found]
    known = [(command, one) for command, one in pairs if command is not None]
    for wanted in params.get("Filters") or ():
        key, value = wanted["key"], wanted["value"]
        known = [(command, one) for command, one in known if _passes(command, key, value, one.status)]
    shown, token = page(
        params, known, lambda pair: f"{_newest_first(pair[0])}{pair[1].spec.place:06d}", least=1, most=50, default=50
    )
    rows = [_show_invocation(call, command, one, details=bool(params.get("Details"))) for command, one in shown]
    return {"CommandInvocations": rows} | ({"NextToken": token} if token else {})


@operation("GetCommandInvocation")
def get_command_invocation(call: Call) -> Result:
    """AWS: ssm GetCommandInvocation. InvocationDoesNotExist, InvalidPluginName. Several steps need a PluginName."""
    params = call.params
    command = call.get(Command, params["CommandId"])
    one = call.get(Invocation, invocation_key(params["CommandId"], params["InstanceId"]))
    if command is None or one is None:
        raise AwsError("InvocationDoesNotExist", "")
    names = [step.name for step in command.spec.steps]
    wanted = params.get("PluginName") or (names[0] if len(names) == 1 else "")
    if params.get("PluginName") and wanted not in names:
        raise AwsError("InvalidPluginName", "")
    step = next((step for step in one.status.steps if step.name == wanted), None)
    shown: Result = {
        "CommandId": command.meta.name,
        "InstanceId": one.spec.instance,
        "Comment": command.spec.comment,
        "DocumentName": command.spec.document,
        "DocumentVersion": command.spec.version,
        "PluginName": wanted,
        "ResponseCode": step.code if step is not None else -1,
        "ExecutionStartDateTime": _iso(step.started) if step is not None else "",
        "ExecutionElapsedTime": f"PT{max(0.0, step.ended - step.started):.3f}S"
        if step is not None and step.ended
        else "",
        "ExecutionEndDateTime": _iso(step.ended) if step is not None and step.ended else "",
        "Status": step.state if step is not None and params.get("PluginName") else state_of(one),
        "StatusDetails": step.details if step is not None and params.get("PluginName") else details_of(one),
        "StandardOutputContent": step.out if step is not None else "",
        "StandardErrorContent": step.err if step is not None else "",
        **_show_urls(command, one.spec.instance, names.index(wanted) if wanted in names else None),
        "CloudWatchOutputConfig": _log_config(command),
    }
    return shown


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _find(call: Call, name: str) -> Command:
    found = call.get(Command, name)
    if found is None:
        raise AwsError("InvalidCommandId", "")
    return found


def state_of(one: Invocation) -> str:
    return "Cancelling" if one.spec.cancelled and one.status.state in OPEN else one.status.state


def details_of(one: Invocation) -> str:
    return "Cancelling" if one.spec.cancelled and one.status.state in OPEN else one.status.details


def show_command(command: Command, invocations: list[Invocation]) -> dict[str, Any]:
    """API form. AWS: ssm Command."""
    spec = command.spec
    ended = [one.status.details for one in invocations if one.status.state not in OPEN]
    return {
        "CommandId": command.meta.name,
        "DocumentName": spec.document,
        "DocumentVersion": spec.version,
        "Comment": spec.comment,
        "ExpiresAfter": spec.expires,
        "Parameters": spec.parameters,
        "InstanceIds": list(spec.asked),
        "Targets": [{"Key": key, "Values": list(values)} for key, values in spec.targets],
        "RequestedDateTime": spec.requested,
        "Status": command.status.state,
        "StatusDetails": command.status.details,
        **_show_bucket(command),
        "MaxConcurrency": spec.most_at_once,
        "MaxErrors": spec.most_errors,
        "TargetCount": len(spec.instances),
        "CompletedCount": len(ended),
        "ErrorCount": sum(one in ("Failed", "ExecutionTimedOut") for one in ended),
        "DeliveryTimedOutCount": ended.count("DeliveryTimedOut"),
        "ServiceRole": spec.role,
        "NotificationConfig": show_wish(command),
        "CloudWatchOutputConfig": _log_config(command),
        "TimeoutSeconds": spec.timeout_s,
    }


def _show_bucket(command: Command) -> dict[str, Any]:
    bucket = command.spec.bucket
    region = command.meta.scope.rpartition("/")[2]
    return {
        "OutputS3Region": region if bucket else "",
        "OutputS3BucketName": bucket.name if bucket else "",
        "OutputS3KeyPrefix": bucket.prefix if bucket else "",
    }


def _show_urls(command: Command, instance: str, number: int | None) -> dict[str, Any]:
    """Where the outputs of a step are, or of all steps."""
    spec, region = command.spec, command.meta.scope.rpartition("/")[2]
    if spec.bucket is None:
        return {"StandardOutputUrl": "", "StandardErrorUrl": ""}
    place = (command.meta.name, instance) if number is None else spec.place_of(command.meta.name, instance, number)
    names = ("stdout", "stderr") if number is not None or len(spec.steps) == 1 else ("", "")
    if number is None and len(spec.steps) == 1:
        place = spec.place_of(command.meta.name, instance, 0)
    out, err = (spec.bucket.url(region, *place, *((name,) if name else ())) for name in names)
    return {"StandardOutputUrl": out, "StandardErrorUrl": err}


def _log_config(command: Command) -> dict[str, Any]:
    return {
        "CloudWatchLogGroupName": command.spec.log_group,
        "CloudWatchOutputEnabled": command.spec.log_output,
    }


def _show_invocation(call: Call, command: Command, one: Invocation, *, details: bool) -> dict[str, Any]:
    """API form. AWS: ssm CommandInvocation."""
    spec = command.spec
    instance = call.get(Instance, one.spec.instance)
    return {
        "CommandId": command.meta.name,
        "InstanceId": one.spec.instance,
        "InstanceName": instance.meta.tags.get("Name", "") if instance is not None else "",
        "Comment": spec.comment,
        "DocumentName": spec.document,
        "DocumentVersion": spec.version,
        "RequestedDateTime": spec.requested,
        "Status": state_of(one),
        "StatusDetails": details_of(one),
        **_show_urls(command, one.spec.instance, None),
        "CommandPlugins": [_show_step(command, one, place) for place in range(len(one.status.steps))]
        if details
        else [],
        "ServiceRole": spec.role,
        "NotificationConfig": show_wish(command),
        "CloudWatchOutputConfig": _log_config(command),
    }


def _show_step(command: Command, one: Invocation, number: int) -> dict[str, Any]:
    """API form. AWS: ssm CommandPlugin; its output is one text."""
    step = one.status.steps[number]
    shown: dict[str, Any] = {
        "Name": step.name,
        "Status": step.state,
        "StatusDetails": step.details,
        "ResponseCode": step.code,
        "ResponseStartDateTime": step.started,
        "Output": both(step.out, step.err),
        **_show_urls(command, one.spec.instance, number),
        **_show_bucket(command),
    }
    return shown | ({"ResponseFinishDateTime": step.ended} if step.ended else {})
