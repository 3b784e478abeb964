"""Runs commands: each invocation as a task (invocation_run.py), as many at once as its command allows.

What is stored says how far an invocation has come: a daemon that starts goes on with all that are open.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from gureum.aws.ssm.command_kinds import OPEN, Command, Invocation, InvocationStatus, plan
from gureum.aws.ssm.command_notices import tell_command, tell_invocation
from gureum.aws.ssm.invocation_run import InvocationRun
from gureum.core.world import World
from gureum.engine.client import Change
from gureum.engine.registry import background
from gureum.engine.resource import key_of
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.ssm")


class CommandRuns:
    """All commands of this world: `world.part(CommandRuns)`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        stop_listening = self._world.client.listen(self._on_changes)
        try:
            while True:
                self._changed.clear()
                for command in list(self._world.client.everywhere(Command)):
                    if command.status.state in OPEN:
                        await self._look(command)
                await self._changed.wait()
        finally:
            stop_listening()
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _on_changes(self, changes: list[Change]) -> None:
        if any(isinstance(change.after, (Command, Invocation)) for change in changes):
            self._changed.set()

    async def _look(self, command: Command) -> None:
        """Starts what may start, and writes how the command stands."""
        client = self._world.client
        invocations = client.by(Invocation, command.meta.scope, "command", command.meta.name)
        decided = plan(command, invocations)
        by_name = {one.meta.name: one for one in invocations}
        wanted = [by_name[name] for name in decided.start]
        wanted += [one for one in invocations if one.status.state in OPEN and one.status.state != "Pending"]
        wanted += [one for one in invocations if one.status.state == "Pending" and one.spec.cancelled]
        for one in wanted:
            self._start(command, one)
        transaction = client.transaction()
        for name in decided.stop:
            status = InvocationStatus("Cancelled", "Terminated")
            transaction.update(msgspec.structs.replace(by_name[name], status=status))
            tell_invocation(client, transaction, command, by_name[name], status.state, self._world.clock.now())
        if decided.status != command.status:
            transaction.update(msgspec.structs.replace(command, status=decided.status))
            if decided.status.state != command.status.state:
                tell_command(client, transaction, command, decided.status.state, self._world.clock.now())
        if transaction.empty:
            return
        try:
            await transaction.commit()
        except Conflict:
            self._changed.set()
        except (StoreFull, StoreBroken) as failed:
            log.warning("a command's state was not written", extra={"command": command.meta.name, "why": str(failed)})

    def _start(self, command: Command, one: Invocation) -> None:
        key = key_of(one)
        if key in self._tasks:
            return
        task = asyncio.ensure_future(InvocationRun(self._world, command, key).run())
        self._tasks[key] = task

        def ended(done: asyncio.Task[None]) -> None:
            self._tasks.pop(key, None)
            if not done.cancelled() and done.exception() is not None:
                log.error("a command's invocation failed", exc_info=done.exception())
            self._changed.set()

        task.add_done_callback(ended)


@background("ssm commands")
async def run_commands(world: World) -> None:
    await world.part(CommandRuns).run()
