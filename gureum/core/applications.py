"""Applications: containers that run one program, as `docker run` starts them; no machine that boots.

    boot raised ──► ports published, root mounted, started ──► running ──ends──► exited ──policy──► restarting ──pause──► started again
                                                                  │ wish stopped: signal, SIGKILL after the grace time
                                                                  ▼
                                                               exited; without a sandbox: bundle and root go, the output stays

A start that the runtime refuses is told and not tried again: whoever asked hears why (`docker start` fails). What must outlive this process
(which boot ran, how many restarts, when it last ended) is kept on disk, so that restart policies go on over the agent's own death and while no
daemon is there. Pauses between restarts: 100 ms, doubled up to a minute, anew after ten seconds of good running (Docker's rule).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import msgspec

from gureum.core.application_health import ApplicationHealth
from gureum.core.application_ports import ApplicationPorts, Later
from gureum.core.machine import Machine
from gureum.core.specs import Container
from gureum.engine.errors import Broken, Retry
from gureum.ports import PortError
from gureum.ports.containers import Application, ContainerSpec, ContainerState, Limits, Mount
from gureum.ports.volumes import RootSpec, shown_at

FIRST_PAUSE_S, LAST_PAUSE_S, STEADY_S = 0.1, 60.0, 10.0
LOST_EXIT_CODE = 255
"""Of a program that was running when the machine went down."""
LONGEST_STOP_S = 365 * 86400.0


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept on disk of an application. `quick`: restarts in a row whose runs were short. `failed`: why the runtime refused this boot."""

    boot: int = 0
    restarts: int = 0
    quick: int = 0
    failed: str = ""


class Wait(msgspec.Struct, frozen=True):
    """Before what ended with `run` is started again. `since`: seconds since the epoch."""

    run: int
    since: float
    pause_s: float


class Applications:
    """`states` and `watch` are those of all containers (core/containers.py)."""

    def __init__(
        self, machine: Machine, states: dict[str, ContainerState], watch: Callable[[ContainerState], None]
    ) -> None:
        self._machine = machine
        self._states = states
        self._watch = watch
        self._limits: dict[str, Limits] = {}
        self._waits: dict[str, Wait] = {}
        ports = machine.ports
        self._ports = ApplicationPorts(machine)
        self._health = ApplicationHealth(ports.containers, ports.clock, lambda name: machine.poke(f"Container/{name}"))

    async def reconcile(self, id_: str, name: str, spec: Container) -> None:
        if spec.wish == "stopped" or not spec.sandbox:
            await self._be_stopped(name, spec)
        else:
            await self._be_running(id_, name, spec)
        state = self._states.get(name)
        runs = state is not None and state.state == "running" and spec.wish == "running"
        unpublished = await self._ports.stay(id_, spec) if runs else None
        self._look_after(name, spec)
        self._machine.set_status(id_, "ready", data=self._told(name, spec))
        if unpublished is not None:
            raise unpublished

    def _look_after(self, name: str, spec: Container) -> None:
        state = self._states.get(name)
        if state is not None and state.state == "running" and spec.wish == "running":
            self._health.watch(state, spec.health)
        else:
            self._health.forget(name)

    def start(self) -> None:
        """Looks after what is published, from now on."""
        self._ports.start()

    def close(self) -> None:
        self._health.close()
        self._ports.close()

    async def gone(self, name: str, spec: Container) -> None:
        """Nothing of it remains."""
        self._health.forget(name)
        await self.stop(name, spec)
        await self._ports.withdraw(name)
        await self._machine.ports.containers.remove(name, output=True)
        await self._machine.ports.volumes.release_root(name)
        await self._machine.keep(f"app/{name}", "")
        for known in (self._states, self._limits, self._waits):
            known.pop(name, None)

    async def stop(self, name: str, spec: Container) -> None:
        """The stop signal, and after the grace time SIGKILL; returns when it has ended. It can be stopped again, and be removed."""
        state = self._states.get(name)
        if state is None or state.state == "exited":
            return
        containers = self._machine.ports.containers
        limit_s = spec.stop_timeout_s if spec.stop_timeout_s >= 0 else LONGEST_STOP_S
        try:
            if limit_s > 0 or spec.stop_signal:
                await containers.kill(name, spec.stop_signal or int(signal.SIGTERM))
                self._states[name] = await asyncio.wait_for(containers.exited(name), limit_s)
        except TimeoutError:
            pass
        if self._states[name].state != "exited":
            await containers.kill(name, signal.SIGKILL)
            self._states[name] = await containers.exited(name)

    async def _be_stopped(self, name: str, spec: Container) -> None:
        await self.stop(name, spec)
        await self._ports.withdraw(name)
        if not spec.sandbox:
            await self._machine.ports.containers.remove(name)
            await self._machine.ports.volumes.release_root(name)
            self._states.pop(name, None)

    async def _be_running(self, id_: str, name: str, spec: Container) -> None:
        state, kept = self._states.get(name), self._kept(name)
        if kept.boot < spec.boot:
            await self.stop(name, spec)
            await self._start(id_, name, spec, Kept(spec.boot))
        elif kept.failed:
            raise Broken(kept.failed)
        elif state is not None and state.state == "running":
            await self._agree(name, spec, state)
        elif self._is_to_restart(state, spec, kept):
            self._hold_back(id_, name, state, kept, spec)
            quick = kept.quick + 1 if _was_quick(state) else 0
            await self._start(id_, name, spec, Kept(spec.boot, kept.restarts + 1, quick))
        else:
            await self._ports.withdraw(name)

    async def _agree(self, name: str, spec: Container, state: ContainerState) -> None:
        """What may change while it runs."""
        containers = self._machine.ports.containers
        if self._limits.get(name) != spec.limits:
            await containers.update(name, spec.limits)
            self._limits[name] = spec.limits
        if state.paused != spec.paused:
            await containers.pause(name, spec.paused)
            self._states[name] = msgspec.structs.replace(state, paused=spec.paused)

    def _is_to_restart(self, state: ContainerState | None, spec: Container, kept: Kept) -> bool:
        policy, most = spec.restart.policy, spec.restart.most
        if policy == "on-failure":
            failed = state is None or state.exit_code != 0
            return failed and (most == 0 or kept.restarts < most)
        return policy in ("always", "unless-stopped")

    def _hold_back(self, id_: str, name: str, state: ContainerState | None, kept: Kept, spec: Container) -> None:
        """Retry while it has to wait; what is told meanwhile says "restarting"."""
        if state is None:
            return
        now, wait = self._machine.ports.clock.now(), self._waits.get(name)
        if wait is None or wait.run != state.run:
            pause_s = min(FIRST_PAUSE_S * 2 ** min(kept.quick if _was_quick(state) else 0, 12), LAST_PAUSE_S)
            wait = self._waits[name] = Wait(state.run, now, pause_s)
        left_s = wait.since + wait.pause_s - now
        if left_s > 0 and now >= wait.since:  # a clock that is set back ends it
            self._machine.set_status(id_, "ready", data=self._told(name, spec))
            raise Later("waits before it is started again", left_s)

    async def _start(self, id_: str, name: str, spec: Container, kept: Kept) -> None:
        machine, wish = self._machine, spec.application
        assert wish is not None
        if machine.held:
            raise Retry(machine.held)
        image = machine.need(id_, f"Image/{spec.image}")
        sandbox = machine.need(id_, f"Sandbox/{spec.sandbox}")
        for needed in (spec.volume, *spec.needs):
            machine.need(id_, f"Volume/{needed}")
        user_base = sandbox.data["uid_base"]
        sources = tuple(one.source for one in spec.shown)
        try:
            await self._ports.publish(id_, spec)
            root = await machine.ports.volumes.ensure_root(
                RootSpec(name, image.data["digest"], spec.volume, user_base, sources)
            )
            for interface in spec.interfaces:
                machine.need(id_, f"Interface/{interface}")
            wish = msgspec.structs.replace(wish, shared=self._joined(wish.shared))
            state = await machine.ports.containers.start(_container_spec(name, spec, wish, root, sandbox.data))
        except PortError as refused:
            await self._ports.withdraw(name)
            await machine.keep(f"app/{name}", _encoded(msgspec.structs.replace(kept, failed=refused.why)))
            raise Broken(refused.why) from refused
        await machine.keep(f"app/{name}", _encoded(kept))
        self._limits[name] = spec.limits
        self._states[name] = state
        self._watch(state)

    def _joined(self, shared: dict[str, str]) -> dict[str, str]:
        """`shared` with the namespaces of containers ("container:NAME") as paths. PortError when one does not run, in Docker's words."""
        found = dict(shared)
        for kind, where in shared.items():
            owner = where.removeprefix("container:")
            if owner != where:
                state = self._states.get(owner)
                if state is None or state.state != "running":
                    raise PortError(f"cannot join {kind.upper()} of a non running container: {owner}", retry=False)
                found[kind] = f"/proc/{state.pid}/ns/{kind}"
        return found

    def _kept(self, name: str) -> Kept:
        text = self._machine.kept.get(f"app/{name}", "")
        return msgspec.json.decode(text, type=Kept) if text else Kept()

    def _told(self, name: str, spec: Container) -> dict[str, Any]:
        state, kept = self._states.get(name), self._kept(name)
        told: dict[str, Any] = {"boot": kept.boot, "restarts": kept.restarts}
        if state is None:
            lost = kept.boot and spec.wish == "running" and spec.sandbox
            return told | {"state": "exited" if lost else "absent", "exit_code": LOST_EXIT_CODE}
        restarting = (
            state.state == "exited"
            and spec.wish == "running"
            and self._is_to_restart(state, spec, kept)
            and spec.sandbox
        )
        return told | {
            "state": "restarting" if restarting else state.state,
            "run": state.run,
            "pid": state.pid,
            "exit_code": state.exit_code,
            "started": state.started,
            "finished": state.finished,
            "oom": state.oom,
            "paused": state.paused,
            **({"health": health} if (health := self._health.told(name)) and state.state == "running" else {}),
        }


def _was_quick(state: ContainerState | None) -> bool:
    return state is not None and state.finished - state.started < STEADY_S


def _encoded(kept: Kept) -> str:
    return msgspec.json.encode(kept).decode()


def _container_spec(
    name: str, spec: Container, wish: Application, root: str, sandbox: dict[str, object]
) -> ContainerSpec:
    # crun from 1.21 on takes a mount's own flags for all that it is to have: no program runs from memory, as it is shown on the host.
    shown = [
        Mount(one.target, source=shown_at(root, i), options=(*one.options, *(["noexec"] if one.source.memory else [])))
        for i, one in enumerate(spec.shown)
    ]
    return ContainerSpec(
        name=name,
        root=root,
        args=spec.args,
        sandbox_net=str(sandbox["net"]),
        sandbox_user=str(sandbox["user"]),
        uid_base=int(str(sandbox["uid_base"])),
        env=spec.env,
        working_dir=spec.working_dir or "/",
        hostname=spec.hostname,
        limits=spec.limits,
        mounts=(*spec.mounts, *shown),
        application=wish,
    )
