"""One invocation of a command: its steps in a machine, one after the other, from where they stand to their end.

What is stored says how far it has come, and the agent keeps the program of its present step: a daemon that starts reads on where the last
one stopped. A step is never started twice: that it was launched is stored, and an agent that then knows nothing of it has been restarted. But
a script that ends with REBOOT_CODE asks for that: the machine is rebooted, and in its new boot the step is run again.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ssm.command_kinds import (
    LIMIT_REBOOTS,
    OPEN,
    REBOOT_CODE,
    STOPPED_CODE,
    Command,
    Invocation,
    InvocationStatus,
    StepResult,
)
from gureum.aws.ssm.command_notices import tell_invocation
from gureum.aws.ssm.command_outputs import LIMIT_ERR, OutputLog, Outputs
from gureum.aws.ssm.document_content import Step
from gureum.aws.ssm.output_files import OutputFile
from gureum.core.specs import Container
from gureum.core.world import World
from gureum.engine.resource import key_of
from gureum.engine.wire import frame, read_frame
from gureum.ports import PortError
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.ssm")
CONFIRM_BYTES = 64 * 1024
RETRY_S = 1.0
KEEP_S = 3600.0
LIMIT_TRIES = 50
_NUMBER = struct.Struct(">Q")

LAUNCH = """\
d=/var/lib/amazon/ssm/$1/document/orchestration/$2/$3
umask 077
mkdir -p "$d" && printf '%s\\n' "$4" > "$d/_script.sh" && chmod 700 "$d/_script.sh" || exit 125
umask 022
cd "$5" 2>/dev/null || cd /usr/bin || cd /
exec sh -c "$d/_script.sh"
"""


class InvocationRun:
    """One invocation, from where it stands to its end."""

    def __init__(self, world: World, command: Command, key: str) -> None:
        self._world = world
        self._command = command
        self._key = key

    @property
    def _invocation(self) -> Invocation | None:
        found = self._world.client.by_key(self._key)
        return found if isinstance(found, Invocation) else None

    async def run(self) -> None:
        over = False
        for number, step in enumerate(self._command.spec.steps):
            one = self._invocation
            if one is None or one.status.state not in OPEN:
                return
            begun = one.status.steps[number] if len(one.status.steps) > number else None
            if one.spec.cancelled and begun is None:
                await self._finish("Cancelled", "Cancelled")
                return
            if begun is not None and begun.ended:
                result: StepResult | None = begun
            elif over and not step.final:
                result = await self._skip(number, step, "Step execution skipped: an earlier step ended the document.")
            else:
                result = await self._step(number, step)
            if result is None:
                return
            if result.state in ("Cancelled", "TimedOut"):
                break
            if result.state == "Failed" and step.on_failure == "successAndExit":
                result = result.forgive()
                await self._write_step(number, result)
            over = over or ends_document(step, result)
        await self._conclude()

    async def _skip(self, number: int, step: Step, why: str) -> StepResult:
        now = self._world.clock.now()
        text = f"{why} Step name: {step.name}\n"
        result = StepResult(step.name, "Success", "Success", 0, now, now, out=text)
        await self._write_step(number, result)
        return result

    async def _refuse(self, number: int, step: Step) -> StepResult:
        now = self._world.clock.now()
        text = f"{step.refused} Step name: {step.name}\n"
        result = StepResult(step.name, "Failed", "Failed", 1, now, now, err=text)
        await self._write_step(number, result)
        return result

    async def _conclude(self) -> None:
        """The invocation's state from those of its steps."""
        one = self._invocation
        steps = one.status.steps if one is not None else ()
        for state in ("Cancelled", "TimedOut", "Failed"):
            worst = next((step for step in steps if step.state == state), None)
            if worst is not None:
                await self._finish(state, worst.details)
                return
        await self._finish("Success", "Success")

    async def _step(self, number: int, step: Step) -> StepResult | None:
        """None when the invocation has ended otherwise."""
        if step.skipped:
            return await self._skip(
                number, step, step.why or "Step execution skipped due to unsatisfied preconditions."
            )
        if step.refused:
            return await self._refuse(number, step)
        one = self._invocation
        assert one is not None
        begun = one.status.steps[number] if len(one.status.steps) > number else None
        if begun is not None and begun.launched:
            return await self._follow(number, step, begun, again=True)
        if not await self._until_there(step, begun):
            return None
        begun = begun or StepResult(step.name, started=self._world.clock.now())
        await self._write_step(number, begun)
        return await self._follow(number, step, begun, again=False)

    async def _until_there(self, step: Step, begun: StepResult | None) -> bool:
        """Waits for the machine, in the boot that `begun` waits for; False when the invocation ended instead: it was not there in time, is
        gone for good, or all was cancelled."""
        spec, boot = self._command.spec, begun.boot if begun is not None else 0
        until = begun.run_from + step.timeout_s if begun is not None and boot else spec.requested + spec.timeout_s
        while True:
            one = self._invocation
            if one is None:
                return False
            if one.spec.cancelled:
                await self._finish("Cancelled", "Cancelled")
                return False
            instance = self._world.client.get(Instance, one.meta.scope, one.spec.instance)
            if instance is not None and instance.status.state == "running" and (not boot or self._runs(instance, boot)):
                return True
            if instance is None or instance.status.state in ("shutting-down", "terminated"):
                await self._finish("Failed", "Undeliverable")
                return False
            if self._world.clock.now() > until:
                await self._finish("TimedOut", "ExecutionTimedOut" if boot else "DeliveryTimedOut")
                return False
            await self._world.clock.sleep(RETRY_S)

    def _runs(self, instance: Instance, boot: int) -> bool:
        """Whether the machine is up, in that boot or a later one."""
        for desired in self._world.lowering.of(key_of(instance)):
            if isinstance(desired.spec, Container):
                seen = self._world.seen(desired.id)
                up = seen is not None and seen.data.get("state") == "running"
                return up and desired.spec.boot >= boot and self._world.is_current(desired)
        return False

    async def _follow(self, number: int, step: Step, begun: StepResult, *, again: bool) -> StepResult | None:
        """Starts the step's program, or finds it again, and stays with it to its end."""
        one = self._invocation
        assert one is not None
        request = _request(self._command, one, number, step) | {"must_exist": again}
        try:
            _, (reader, writer) = await self._world.link.open(request)
        except PortError as refused:
            if not again and refused.retry and self._world.clock.now() < begun.run_from + step.timeout_s:
                await self._world.clock.sleep(RETRY_S)
                return await self._follow(number, step, begun, again=False)
            return await self._lost(number, begun, refused.why)
        try:
            launched = msgspec.structs.replace(begun, launched=True)
            await self._write_step(number, launched)
            logger = self._logger(one, step) if self._command.spec.log_output else None
            output = Outputs(begun.out, begun.err, logger, self._files(one, number, begun))
            writer.write(frame(b"e", _NUMBER.pack(0)))
            code, state = await self._read(number, step, launched, output, reader, writer)
            await output.flush()
            if code is None:
                # What is there is kept, as it is of a machine that was lost.
                await output.finish()
                return await self._lost(number, output.noted(launched), "the agent of the machine was restarted")
            if code == REBOOT_CODE and not state and await self._reboot(number, output.noted(launched)):
                return await self._step(number, step)
            await output.finish()
            result = _result(launched, code, state, output, self._world.clock.now())
            await self._write_step(number, result)
            return result
        finally:
            writer.close()
            if (
                (told := self._invocation) is not None
                and len(told.status.steps) > number
                and told.status.steps[number].ended
            ):
                await self._forget(request["id"])

    async def _reboot(self, number: int, so_far: StepResult) -> bool:
        """Asks for it, and notes in the same commit that the step is to be run again. False when it has been often enough, or the machine is
        none that can be rebooted: then it has failed with this code."""
        for _ in range(LIMIT_TRIES if so_far.reboots < LIMIT_REBOOTS else 0):
            one = self._invocation
            instance = self._world.client.get(Instance, one.meta.scope, one.spec.instance) if one is not None else None
            if one is None or one.status.state not in OPEN or instance is None or instance.status.state != "running":
                return False
            boot, now = instance.spec.boot + 1, self._world.clock.now()
            again = msgspec.structs.replace(so_far, launched=False, reboots=so_far.reboots + 1, rebooted=now, boot=boot)
            transaction = self._world.client.transaction()
            transaction.update(msgspec.structs.replace(one, status=one.status.with_step(number, again)))
            transaction.update(
                msgspec.structs.replace(instance, spec=msgspec.structs.replace(instance.spec, boot=boot))
            )
            try:
                await transaction.commit()
                return True
            except Conflict:
                continue
            except (StoreFull, StoreBroken) as failed:
                log.warning("a command's reboot was not written", extra={"key": self._key, "why": str(failed)})
                return False
        return False

    async def _forget(self, id_: str) -> None:
        try:
            await self._world.link.ask({"op": "end", "id": id_})
        except PortError:
            pass  # it forgets by itself, in time

    async def _lost(self, number: int, begun: StepResult, why: str) -> StepResult:
        """What it has said so far is kept."""
        now, err = self._world.clock.now(), (begun.err + f"failed to run commands: {why}")[:LIMIT_ERR]
        result = msgspec.structs.replace(begun, state="Failed", details="Failed", ended=now, err=err)
        await self._write_step(number, result)
        return result

    async def _read(
        self,
        number: int,
        step: Step,
        begun: StepResult,
        output: Outputs,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> tuple[int | None, str]:
        """Its exit code, and "", "TimedOut" or "Cancelled"; None when the connection was lost."""
        unconfirmed = 0
        deadline = begun.run_from + step.timeout_s
        reading = asyncio.ensure_future(read_frame(reader))
        try:
            while True:
                left_s = deadline - self._world.clock.now()
                await asyncio.wait({reading}, timeout=max(0.0, min(left_s, RETRY_S)))
                one = self._invocation
                if one is None or one.spec.cancelled:
                    writer.write(frame(b"q", b""))
                    return STOPPED_CODE, "Cancelled"
                if left_s <= 0 and not reading.done():
                    writer.write(frame(b"q", b""))
                    return STOPPED_CODE, "TimedOut"
                if not reading.done():
                    continue
                try:
                    found = reading.result()
                except OSError:
                    found = None
                if found is None:
                    return None, ""
                kind, payload = found
                if kind == b"x":
                    return struct.unpack(">i", payload[8:])[0], ""
                if kind in (b"o", b"r"):
                    output.add(kind, payload[8:])
                    unconfirmed += len(payload)
                if unconfirmed > CONFIRM_BYTES:
                    # What is confirmed is forgotten by the agent: it must be stored by then.
                    await output.flush()
                    await self._write_step(number, output.noted(begun))
                    writer.write(frame(b"a", _NUMBER.pack(_NUMBER.unpack(payload[:8])[0] + 1)))
                    unconfirmed = 0
                reading = asyncio.ensure_future(read_frame(reader))
        finally:
            reading.cancel()

    def _files(self, one: Invocation, number: int, begun: StepResult) -> dict[bytes, OutputFile]:
        spec, command = self._command.spec, self._command.meta.name
        if spec.bucket is None:
            return {}
        home, place = self._world.settings.home, spec.place_of(command, one.spec.instance, number)
        return {
            kind: OutputFile(home, spec.bucket, spec.bucket.key(*place, name), at)
            for kind, name, at in zip((b"o", b"r"), ("stdout", "stderr"), begun.filed, strict=True)
        }

    def _logger(self, one: Invocation, step: Step) -> OutputLog:
        name = step.name.replace(":", "-")
        return OutputLog(
            self._world,
            one.meta.scope,
            self._command.spec.log_group,
            f"{self._command.meta.name}/{one.spec.instance}/{name}",
        )

    # --- what is stored ---

    async def _write_step(self, number: int, result: StepResult) -> None:
        def change(status: InvocationStatus) -> InvocationStatus:
            return status.with_step(number, result)

        await self._write(change)

    async def _finish(self, state: str, details: str) -> None:
        await self._write(lambda status: msgspec.structs.replace(status, state=state, details=details))

    async def _write(self, change: Callable[[InvocationStatus], InvocationStatus]) -> None:
        for _ in range(LIMIT_TRIES):
            one = self._invocation
            if one is None or one.status.state not in OPEN:
                return
            status = change(one.status)
            if status == one.status:
                return
            transaction = self._world.client.transaction()
            transaction.update(msgspec.structs.replace(one, status=status))
            if status.state != one.status.state:
                tell_invocation(
                    self._world.client, transaction, self._command, one, status.state, self._world.clock.now()
                )
            try:
                await transaction.commit()
                return
            except Conflict:
                continue
            except (StoreFull, StoreBroken) as failed:
                log.warning("an invocation's state was not written", extra={"key": self._key, "why": str(failed)})
                await self._world.clock.sleep(RETRY_S)


def ends_document(step: Step, result: StepResult) -> bool:
    """Whether no later step but final ones is run. AWS: onFailure, onSuccess and finallyStep of SSM command documents."""
    if result.state == "Failed" or result.forgiven:
        return step.on_failure in ("exit", "successAndExit")
    return step.on_success == "exit" and not step.skipped


def _request(command: Command, one: Invocation, number: int, step: Step) -> dict[str, Any]:
    """The agent's words for a step."""
    region = one.meta.scope.rpartition("/")[2]
    script = "\n".join(step.commands)
    folder = f"{number}.{step.name.replace(':', '-')}"
    begun = one.status.steps[number] if len(one.status.steps) > number else None
    run = f"/{begun.reboots}" if begun is not None and begun.reboots else ""
    env = {
        "HOME": "/root",
        "USER": "root",
        "AWS_SSM_INSTANCE_ID": one.spec.instance,
        "AWS_SSM_REGION_NAME": region,
        "SSM_COMMAND_ID": command.meta.name,
        **step.environment,
    }
    return {
        "op": "attach",
        "name": one.spec.instance,
        "id": f"ssm-command/{one.meta.name}/{number}{run}",
        "keep_s": KEEP_S,
        "args": ["/bin/sh", "-c", LAUNCH, "sh", one.spec.instance, command.meta.name, folder, script, step.folder],
        "env": [f"{name}={value}" for name, value in env.items()],
    }


def _result(begun: StepResult, code: int, state: str, output: Outputs, now: float) -> StepResult:
    err = output.err
    if state == "Cancelled":
        details = "Cancelled"
    elif state == "TimedOut":
        details = "ExecutionTimedOut"
    else:
        state = details = "Success" if code == 0 else "Failed"
        if code:
            err = (err + f"failed to run commands: exit status {code}")[:LIMIT_ERR]
    return msgspec.structs.replace(begun, state=state, details=details, code=code, ended=now, out=output.out, err=err)
