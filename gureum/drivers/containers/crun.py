"""Containers by crun under conmon. Fills `ports/containers.py`.

    <run_dir>/containers/NAME/     bundle: config.json, record.json (spec, run, time), pid files, exit file
    <run_dir>/crun/                the runtime's own state
    <log_dir>/NAME.log             what it printed, over all its runs
    cgroup /gureum-HOME/NAME       its limits

conmon keeps each container and outlives us. A new process reads the folders, checks each pid against what it should be, and watches the
monitors' pidfds: the kernel tells at once when a container has ended. Nothing is polled.

Making a container blocks a worker thread for the 15 to 20 ms that conmon and crun take; four at a time, which keeps two cores busy.
Releasing, signalling, measuring, changing and removing one happens without any process: a byte into crun's fifo, a pidfd, files of the
control group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gureum.drivers.containers import conmon, oci_spec
from gureum.drivers.containers.crun_bundles import Bundles, Launched, Record, check_name, remove_all
from gureum.drivers.containers.exec_sessions import (
    Child,
    ConsoleSocket,
    ExecSession,
    open_process,
    read_chunk,
    write_all,
)
from gureum.drivers.containers.guest_users import find_user
from gureum.drivers.workers.turns import Turns
from gureum.ports import PortError
from gureum.ports.containers import ROOT, ContainerSpec, ContainerState, ExecResult, Limits, Session, Usage, User

# What is told of a container whose monitor was killed: it ended, nobody saw how.
UNKNOWN_EXIT_CODE = 255
_THREADS = 4
_EXEC_OUTPUT_BYTES = 16 << 20
_END_TIMEOUT_S = 10.0

T = TypeVar("T")


class _Watched:
    """A container that this process knows, and the fds by which the kernel tells of its end."""

    def __init__(self, record: Record, state: ContainerState) -> None:
        self.record = record
        self.state = state
        self.init_fd = -1
        self.monitor_fd = -1
        self.ended: asyncio.Event = asyncio.Event()


class CrunContainers:
    """`run_dir`: of this home alone, gone after a reboot (tmpfs). `log_dir`: on a disk. `runtime`: "crun", or "runc" where crun does not
    run; found in PATH."""

    def __init__(self, home_id: str, run_dir: Path, log_dir: Path, *, runtime: str = "") -> None:
        self._bundles = Bundles(home_id, run_dir, log_dir, runtime)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="containers")
        self._announcer = ThreadPoolExecutor(1, thread_name_prefix="cgroup-moves")
        self._announced: asyncio.Future[None] | None = None
        self._watched: dict[str, _Watched] = {}
        self._turns = Turns()
        self._adopted = False
        self._adopting = asyncio.Lock()
        self._sessions = 0

    async def start(self, spec: ContainerSpec) -> ContainerState:
        check_name(spec.name)
        await self._adopt()
        async with self._turns.of(spec.name):
            known = self._watched.get(spec.name)
            if known is not None and known.state.state == "running":
                return known.state
            run = known.record.run + 1 if known is not None else 1
            self._expect_move()
            launched = await self._run(lambda: self._bundles.create(spec, run))
            return self._watch_launched(launched)

    async def kill(self, name: str, signal: int) -> None:
        await self._adopt()
        known = self._watched.get(name)
        if known is not None and known.init_fd >= 0:
            await self.pause(name, False)
            _send_signal(known.init_fd, signal)

    async def remove(self, name: str, *, output: bool = False) -> None:
        check_name(name)
        await self._adopt()
        async with self._turns.of(name):
            known = self._watched.get(name)
            if known is not None:
                if known.init_fd >= 0:
                    await self._set_paused(known, paused=False)
                    _send_signal(known.init_fd, signal.SIGKILL)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(known.ended.wait(), _END_TIMEOUT_S)
                if not known.ended.is_set():
                    self._note_end(known)  # whoever waits for it must not wait for ever
            await self._run(lambda: self._bundles.remove(name, output=output))
            self._watched.pop(name, None)

    async def observe(self) -> tuple[ContainerState, ...]:
        await self._adopt()
        return tuple(watched.state for watched in self._watched.values())

    async def exited(self, name: str) -> ContainerState:
        known = await self._known(name)
        await known.ended.wait()
        return known.state

    async def console(self, name: str, limit_bytes: int = 65536) -> bytes:
        log = self._bundles.bundle(name).log
        return await self._run(lambda: conmon.last_output(log, limit_bytes))

    async def exec(
        self, name: str, args: tuple[str, ...], *, stdin: bytes = b"", timeout_s: float = 30.0, user: User = ROOT
    ) -> ExecResult:
        record = (await self._running(name)).record
        process = await self._process(record, args, user)
        child, fds = await self._spawn(name, process, streams=3)
        sink, out, err = fds
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
                stdout = group.create_task(_read_all(out, child.ended))
                stderr = group.create_task(_read_all(err, child.ended))
                await write_all(sink, stdin, child.ended)
                os.close(sink)
                sink = -1
            return ExecResult(exit_code=await child.ended, stdout=stdout.result(), stderr=stderr.result())
        except TimeoutError as error:
            raise PortError(f"the program did not end within {timeout_s} s") from error
        finally:
            child.kill()
            for fd in {sink, out, err} - {-1}:
                os.close(fd)

    async def attach(
        self,
        name: str,
        args: tuple[str, ...],
        *,
        terminal: bool,
        env: tuple[str, ...] = (),
        user: User = ROOT,
        folder: str = "",
        privileged: bool = False,
    ) -> Session:
        record = (await self._running(name)).record
        process = await self._process(
            record, args, user, terminal=terminal, env=env, folder=folder, privileged=privileged
        )
        if not terminal:
            child, (sink, out, err) = await self._spawn(name, process, streams=3)
            return ExecSession(child, out, sink, terminal=False, complaints=err)
        if Path(record.runtime).name != "crun":
            # runc hands over a terminal only when it does not wait for the program, and then nobody learns the exit code.
            raise PortError("a terminal inside needs crun; this host has only runc", retry=False)
        self._sessions += 1
        console = ConsoleSocket(self._bundles.bundle(name).folder / f"terminal-{self._sessions}")
        try:
            child, (complaints,) = await self._spawn(name, process, streams=1, console=console.path)
            try:
                master = await console.receive(child.ended)
            except PortError as failure:
                child.kill()
                words = (await read_chunk(complaints, child.ended)).decode(errors="replace").strip()
                os.close(complaints)
                raise PortError(words or failure.why) from failure
        finally:
            console.close()
        return ExecSession(child, master, master, terminal=True, complaints=complaints)

    async def usage(self, name: str) -> Usage | None:
        check_name(name)
        return await self._run(lambda: self._bundles.cgroups.usage(name))

    async def processes(self, name: str) -> list[int]:
        check_name(name)
        return await self._run(lambda: self._bundles.cgroups.processes(name))

    async def update(self, name: str, limits: Limits) -> None:
        known = await self._known(name)
        async with self._turns.of(name):
            if known.state.state != "exited":
                await self._run(lambda: self._bundles.cgroups.update(name, limits))
            known.record = msgspec.structs.replace(
                known.record, spec=msgspec.structs.replace(known.record.spec, limits=limits)
            )
            self._bundles.save(known.record)

    async def pause(self, name: str, paused: bool) -> None:
        check_name(name)
        await self._adopt()
        known = self._watched.get(name)
        if known is not None and known.state.state == "running":
            await self._set_paused(known, paused=paused)

    async def _set_paused(self, known: _Watched, *, paused: bool) -> None:
        if known.state.paused != paused:
            await self._run(lambda: self._bundles.cgroups.freeze(known.state.name, paused))
            known.state = msgspec.structs.replace(known.state, paused=paused)

    async def close(self) -> None:
        """Stops watching; everything runs on."""
        for watched in self._watched.values():
            self._unwatch(watched)
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._announcer.shutdown)

    # --- watching, in the event loop ---

    def _watch_launched(self, launched: Launched) -> ContainerState:
        record = launched.record
        state = ContainerState(record.spec.name, "running", record.run, pid=launched.pid, started=record.started)
        watched = self._watched[record.spec.name] = _Watched(record, state)
        self._watch(watched, launched.init_fd, launched.monitor_fd)
        return watched.state

    def _watch(self, watched: _Watched, init_fd: int, monitor_fd: int) -> None:
        """The monitor ends after it has written the exit code; only without a monitor is the container's own process watched."""
        watched.init_fd, watched.monitor_fd = init_fd, monitor_fd
        fd = monitor_fd if monitor_fd >= 0 else init_fd
        if fd >= 0:
            asyncio.get_running_loop().add_reader(fd, self._monitor_ended, watched)
        else:
            self._note_end(watched)

    def _monitor_ended(self, watched: _Watched) -> None:
        lost_monitor = watched.monitor_fd >= 0 and conmon.exit_code(self._bundles.bundle(watched.state.name)) is None
        if lost_monitor and watched.init_fd >= 0 and _send_signal(watched.init_fd, 0):
            asyncio.get_running_loop().remove_reader(watched.monitor_fd)
            os.close(watched.monitor_fd)
            self._watch(watched, watched.init_fd, -1)
        else:
            self._note_end(watched)

    def _note_end(self, watched: _Watched) -> None:
        self._unwatch(watched)
        name = watched.state.name
        code, finished = conmon.exit_code(self._bundles.bundle(name)) or (UNKNOWN_EXIT_CODE, time.time())
        watched.state = msgspec.structs.replace(
            watched.state,
            state="exited",
            exit_code=code,
            finished=finished,
            paused=False,
            oom=self._bundles.cgroups.killed_for_memory(name),
        )
        watched.ended.set()

    def _unwatch(self, watched: _Watched) -> None:
        for fd in (watched.monitor_fd, watched.init_fd):
            if fd >= 0:
                asyncio.get_running_loop().remove_reader(fd)
                os.close(fd)
        watched.init_fd = watched.monitor_fd = -1

    # --- adopting what an earlier process started ---

    async def _adopt(self) -> None:
        if self._adopted:
            return
        async with self._adopting:
            if not self._adopted:
                for found in await self._run(self._bundles.find):
                    state = self._watch_launched(found)
                    if state.state == "running" and self._bundles.cgroups.is_frozen(state.name):
                        self._watched[state.name].state = msgspec.structs.replace(state, paused=True)
                self._adopted = True

    # --- running something inside ---

    async def _process(
        self,
        record: Record,
        args: tuple[str, ...],
        user: User,
        *,
        terminal: bool = False,
        env: tuple[str, ...] = (),
        folder: str = "",
        privileged: bool = False,
    ) -> dict[str, Any]:
        """What the runtime is told of it. A user by text finds its home folder in HOME."""
        known = (*record.spec.env, *env)
        if user.text is not None:
            text, root = user.text, Path(record.spec.root)
            user, home = await self._run(lambda: find_user(root, text))
            known = known if any(one.startswith("HOME=") for one in known) else (f"HOME={home}", *known)
        return oci_spec.process(
            record.spec,
            self._bundles.host,
            args,
            terminal=terminal,
            env=known,
            user=user,
            folder=folder,
            privileged=privileged,
        )

    async def _spawn(
        self, name: str, process: dict[str, Any], *, streams: int, console: Path | None = None
    ) -> tuple[Child, list[int]]:
        """`streams`, and the fds that are returned: see `open_process`."""
        self._expect_move()
        self._sessions += 1
        pid_file = self._bundles.bundle(name).folder / f"exec-{self._sessions}.pid"
        record = self._watched[name].record
        runtime = self._bundles.runnable(record.runtime)
        command = [runtime, "--root", str(self._bundles.runtime_root), "exec", "--pid-file", str(pid_file)]
        if console is not None:
            command += ["--console-socket", str(console)]
        owner = oci_spec.owner(record.spec, process)
        popen, fds = await self._run(
            lambda: open_process(command, self._bundles.bundle(name).id, msgspec.json.encode(process), streams, owner)
        )
        return Child(popen, pid_file), fds

    # --- plumbing ---

    def _expect_move(self) -> None:
        """One at a time: it serves all who come meanwhile."""
        if self._announced is None or self._announced.done():
            loop = asyncio.get_running_loop()
            self._announced = loop.run_in_executor(self._announcer, self._bundles.cgroups.expect_move)

    async def _known(self, name: str) -> _Watched:
        check_name(name)
        await self._adopt()
        known = self._watched.get(name)
        if known is None:
            raise PortError(f"there is no container {name}", retry=False)
        return known

    async def _running(self, name: str) -> _Watched:
        known = await self._known(name)
        if known.state.state != "running":
            raise PortError(f"container {name} is not running")
        if known.state.paused:
            raise PortError(f"container {name} is paused")
        return known

    async def _run(self, step: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, step)
        except OSError as error:
            raise PortError(f"containers: {error.strerror}: {error.filename or ''}".rstrip(": ")) from error


async def clean(home_id: str, run_dir: Path) -> None:
    """Kills every container and monitor of the home and removes their control groups and runtime files. Logs stay."""
    await asyncio.to_thread(remove_all, home_id, run_dir)


async def _read_all(fd: int, ended: asyncio.Future[int]) -> bytes:
    """Up to 16 MiB; what comes after is read and dropped, so that the program can end."""
    pieces: list[bytes] = []
    size = 0
    while chunk := await read_chunk(fd, ended):
        pieces.append(chunk[: max(0, _EXEC_OUTPUT_BYTES - size)])
        size += len(chunk)
    return b"".join(pieces)


def _send_signal(pidfd: int, number: int) -> bool:
    """False when the process is gone; it may have gone, and its descriptor (-1 now) with it, while the caller waited for something else."""
    if pidfd < 0:
        return False
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True
