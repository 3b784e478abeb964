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
import platform
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from gureum.drivers import conmon, oci_spec
from gureum.drivers.cgroups import Cgroups
from gureum.drivers.conmon import Bundle
from gureum.drivers.exec_sessions import Child, ConsoleSocket, ExecSession, read_chunk, write_all
from gureum.drivers.turns import Turns
from gureum.ports import PortError
from gureum.ports.containers import ContainerSpec, ContainerState, ExecResult, Limits, Session, Usage

# What is told of a container whose monitor was killed: it ended, nobody saw how.
UNKNOWN_EXIT_CODE = 255
_NAME = re.compile(r"[a-z0-9-]{1,40}")
_THREADS = 4
_EXEC_OUTPUT_BYTES = 16 << 20
_END_TIMEOUT_S = 10.0
_KEPT_LOGS = 200
_CREATION_DEADLINE_S = 10.0
_RLIMITS = {
    name: getattr(resource, name) for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CORE", "RLIMIT_MEMLOCK")
}

T = TypeVar("T")


class _Record(msgspec.Struct, frozen=True):
    """What must be known of a container to run it again or run something in it. `runtime`: path of the program that made it."""

    spec: ContainerSpec
    run: int
    started: float
    runtime: str


class _Watched:
    """A container that this process knows, and the fds by which the kernel tells of its end."""

    def __init__(self, record: _Record, state: ContainerState) -> None:
        self.record = record
        self.state = state
        self.init_fd = -1
        self.monitor_fd = -1
        self.ended: asyncio.Event = asyncio.Event()


class _Launched(msgspec.Struct, frozen=True):
    record: _Record
    pid: int
    init_fd: int
    monitor_fd: int


class CrunContainers:
    """`run_dir`: of this home alone, gone after a reboot (tmpfs). `log_dir`: on a disk. `runtime`: "crun", or "runc" where crun does not
    run; found in PATH."""

    def __init__(self, home_id: str, run_dir: Path, log_dir: Path, *, runtime: str = "") -> None:
        self._home_id = home_id
        self._folder, self._runtime_root, self._log_dir = run_dir / "containers", run_dir / "crun", log_dir
        for folder in (self._folder, self._runtime_root, log_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._conmon = _program("conmon")
        self._runtime = _program(runtime) if runtime else _program("crun", "runc")
        self._cgroups = Cgroups(home_id)
        self._host = host_facts(self._cgroups.version)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="containers")
        self._watched: dict[str, _Watched] = {}
        self._turns = Turns()
        self._adopted = False
        self._adopting = asyncio.Lock()
        self._sessions = 0

    async def start(self, spec: ContainerSpec) -> ContainerState:
        _check_name(spec.name)
        await self._adopt()
        async with self._turns.of(spec.name):
            known = self._watched.get(spec.name)
            if known is not None and known.state.state == "running":
                return known.state
            run = known.record.run + 1 if known is not None else 1
            launched = await self._run(lambda: self._launch(self._new_record(spec, run)))
            return self._watch_launched(launched)

    async def kill(self, name: str, signal: int) -> None:
        await self._adopt()
        known = self._watched.get(name)
        if known is not None and known.init_fd >= 0:
            _send_signal(known.init_fd, signal)

    async def remove(self, name: str) -> None:
        _check_name(name)
        await self._adopt()
        async with self._turns.of(name):
            known = self._watched.get(name)
            if known is not None:
                if known.init_fd >= 0:
                    _send_signal(known.init_fd, signal.SIGKILL)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(known.ended.wait(), _END_TIMEOUT_S)
                if not known.ended.is_set():
                    self._note_end(known)  # whoever waits for it must not wait for ever
            await self._run(lambda: self._remove(self._bundle(name)))
            self._watched.pop(name, None)

    async def observe(self) -> tuple[ContainerState, ...]:
        await self._adopt()
        return tuple(watched.state for watched in self._watched.values())

    async def exited(self, name: str) -> ContainerState:
        known = await self._known(name)
        await known.ended.wait()
        return known.state

    async def console(self, name: str, limit_bytes: int = 65536) -> bytes:
        log = self._bundle(name).log
        return await self._run(lambda: conmon.last_output(log, limit_bytes))

    async def exec(
        self, name: str, args: tuple[str, ...], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> ExecResult:
        record = (await self._running(name)).record
        process = oci_spec.process(record.spec, self._host, args, terminal=False, env=record.spec.env)
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

    async def attach(self, name: str, args: tuple[str, ...], *, terminal: bool, env: tuple[str, ...] = ()) -> Session:
        record = (await self._running(name)).record
        process = oci_spec.process(record.spec, self._host, args, terminal=terminal, env=(*record.spec.env, *env))
        if not terminal:
            child, (sink, out) = await self._spawn(name, process, streams=2)
            return ExecSession(child, out, sink, terminal=False)
        if Path(record.runtime).name != "crun":
            # runc hands over a terminal only when it does not wait for the program, and then nobody learns the exit code.
            raise PortError("a terminal inside needs crun; this host has only runc", retry=False)
        self._sessions += 1
        console = ConsoleSocket(self._bundle(name).folder / f"terminal-{self._sessions}")
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
        _check_name(name)
        return await self._run(lambda: self._cgroups.usage(name))

    async def update(self, name: str, limits: Limits) -> None:
        known = await self._known(name)
        async with self._turns.of(name):
            if known.state.state != "exited":
                await self._run(lambda: self._cgroups.update(name, limits))
            known.record = msgspec.structs.replace(
                known.record, spec=msgspec.structs.replace(known.record.spec, limits=limits)
            )
            _write_whole(self._bundle(name).folder / "record.json", msgspec.json.encode(known.record))

    async def close(self) -> None:
        """Stops watching; everything runs on."""
        for watched in self._watched.values():
            self._unwatch(watched)
        await asyncio.to_thread(self._threads.shutdown)

    # --- making and removing, in worker threads ---

    def _new_record(self, spec: ContainerSpec, run: int) -> _Record:
        """Chooses the runtime: crun, unless this host's control groups are not for it (see cgroups.py) and runc is here."""
        runtime = self._runtime
        try:
            self._cgroups.prepare()
        except PortError:
            runtime = _program("runc")
        return _Record(spec=spec, run=run, started=time.time(), runtime=runtime)

    def _launch(self, record: _Record) -> _Launched:
        """Creates a container, takes hold of its processes while they certainly live, and lets it go."""
        name, bundle = record.spec.name, self._bundle(record.spec.name)
        self._forget_run(bundle, name)
        bundle.folder.mkdir(mode=0o700, exist_ok=True)
        config = oci_spec.render(record.spec, self._host, cgroup_path=self._cgroups.path_of(name))
        _write_whole(bundle.folder / "config.json", msgspec.json.encode(config))
        _write_whole(bundle.folder / "record.json", msgspec.json.encode(record))
        arguments = conmon.command(
            self._conmon, record.runtime, self._runtime_root, bundle, terminal=record.spec.machine
        )
        try:
            pid = conmon.create(arguments, bundle)
        except PortError:
            self._forget_run(bundle, name)
            if record.run == 1:
                shutil.rmtree(bundle.folder)
            raise
        monitor = conmon.read_pid(bundle.monitor_pid_file)
        launched = _Launched(record, pid, _pidfd(pid), _pidfd(monitor))
        self._release(bundle, record.runtime)
        return launched

    def _release(self, bundle: Bundle, runtime: str) -> None:
        """Lets a created container run."""
        fifo = self._gate(bundle)
        if Path(runtime).name == "crun" and fifo.exists():
            # What `crun start` does, without a process of 8 ms: its init waits until one byte comes through this fifo.
            with open(fifo, "wb", buffering=0) as gate:
                fifo.unlink()
                gate.write(b"\0")
            return
        command = [runtime, "--root", str(self._runtime_root), "start", bundle.id]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_END_TIMEOUT_S, check=False
        )
        if result.returncode != 0:
            raise PortError(f"the container was not started: {result.stderr.decode(errors='replace').strip()}")

    def _gate(self, bundle: Bundle) -> Path:
        """The fifo before which a created container waits; gone once it runs."""
        return self._runtime_root / bundle.id / "exec.fifo"

    def _forget_run(self, bundle: Bundle, name: str) -> None:
        """Everything of an earlier run but the log and the record."""
        monitor = conmon.monitor_pid(bundle)
        if monitor is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(monitor, signal.SIGKILL)
        self._cgroups.remove(name)
        shutil.rmtree(self._runtime_root / bundle.id, ignore_errors=True)
        conmon.forget(bundle)

    def _remove(self, bundle: Bundle) -> None:
        self._forget_run(bundle, bundle.folder.name)
        shutil.rmtree(bundle.folder, ignore_errors=True)
        self._drop_old_logs()

    def _drop_old_logs(self) -> None:
        """Outputs of removed containers are kept for who asks after the end of a machine, but not without bound."""
        live = {f"{folder.name}.log" for folder in self._folder.iterdir()}
        kept = sorted((file for file in self._log_dir.glob("*.log") if file.name not in live), key=_age)
        for file in kept[_KEPT_LOGS:]:
            file.unlink(missing_ok=True)

    # --- watching, in the event loop ---

    def _watch_launched(self, launched: _Launched) -> ContainerState:
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
        lost_monitor = watched.monitor_fd >= 0 and conmon.exit_code(self._bundle(watched.state.name)) is None
        if lost_monitor and watched.init_fd >= 0 and _send_signal(watched.init_fd, 0):
            asyncio.get_running_loop().remove_reader(watched.monitor_fd)
            os.close(watched.monitor_fd)
            self._watch(watched, watched.init_fd, -1)
        else:
            self._note_end(watched)

    def _note_end(self, watched: _Watched) -> None:
        self._unwatch(watched)
        name = watched.state.name
        code, finished = conmon.exit_code(self._bundle(name)) or (UNKNOWN_EXIT_CODE, time.time())
        watched.state = msgspec.structs.replace(
            watched.state, state="exited", exit_code=code, finished=finished, oom=self._cgroups.killed_for_memory(name)
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
                for found in await self._run(self._find):
                    self._watch_found(found)
                self._adopted = True

    def _find(self) -> list[_Launched]:
        found = (self._find_one(folder) for folder in sorted(self._folder.iterdir()))
        return [launched for launched in found if launched is not None]

    def _find_one(self, folder: Path) -> _Launched | None:
        try:
            record = msgspec.json.decode((folder / "record.json").read_bytes(), type=_Record)
        except FileNotFoundError:
            shutil.rmtree(folder)  # a start that got no further than the folder
            return None
        bundle = self._bundle(folder.name)
        deadline = time.monotonic() + _CREATION_DEADLINE_S
        # The earlier process may have died while conmon was creating; what it makes must be whole before it can be cleared away.
        while (
            (monitor := conmon.monitor_pid(bundle)) is not None
            and not bundle.pid_file.exists()
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        never_ran = not bundle.pid_file.exists() or self._gate(bundle).exists()
        if never_ran:
            # Its monitor could not tell us its pid and may be gone, its output with it: the next start makes it anew.
            self._forget_run(bundle, folder.name)
            if record.run == 1:
                shutil.rmtree(folder)
                return None
            return _Launched(msgspec.structs.replace(record, run=record.run - 1), 0, -1, -1)
        pid = conmon.read_pid(bundle.pid_file)
        if pid is not None and pid not in self._cgroups.processes(folder.name):
            pid = None
        return _Launched(record, pid or 0, _pidfd(pid), _pidfd(monitor))

    def _watch_found(self, found: _Launched) -> None:
        record = found.record
        state = ContainerState(record.spec.name, "running", record.run, pid=found.pid, started=record.started)
        watched = self._watched[record.spec.name] = _Watched(record, state)
        self._watch(watched, found.init_fd, found.monitor_fd)

    # --- running something inside ---

    async def _spawn(
        self, name: str, process: dict[str, object], *, streams: int, console: Path | None = None
    ) -> tuple[Child, list[int]]:
        """`streams`: 3 is (in, out, err), 2 is (in, out and err as one), 1 is only the runtime's own complaints. Returns our
        non-blocking ends."""
        self._sessions += 1
        pid_file = self._bundle(name).folder / f"exec-{self._sessions}.pid"
        runtime = self._watched[name].record.runtime
        command = [runtime, "--root", str(self._runtime_root), "exec", "--pid-file", str(pid_file)]
        if console is not None:
            command += ["--console-socket", str(console)]
        popen, fds = await self._run(
            lambda: _popen(command, self._bundle(name).id, msgspec.json.encode(process), streams)
        )
        return Child(popen, pid_file), fds

    # --- plumbing ---

    def _bundle(self, name: str) -> Bundle:
        _check_name(name)
        return Bundle(id=f"{self._home_id}-{name}", folder=self._folder / name, log=self._log_dir / f"{name}.log")

    async def _known(self, name: str) -> _Watched:
        _check_name(name)
        await self._adopt()
        known = self._watched.get(name)
        if known is None:
            raise PortError(f"there is no container {name}", retry=False)
        return known

    async def _running(self, name: str) -> _Watched:
        known = await self._known(name)
        if known.state.state != "running":
            raise PortError(f"container {name} is not running")
        return known

    async def _run(self, step: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, step)
        except OSError as error:
            raise PortError(f"containers: {error.strerror}: {error.filename or ''}".rstrip(": ")) from error


async def clean(home_id: str, run_dir: Path) -> None:
    """Kills every container and monitor of the home and removes their control groups and runtime files. Logs stay."""
    await asyncio.to_thread(_clean, home_id, run_dir)


def _clean(home_id: str, run_dir: Path) -> None:
    folder = run_dir / "containers"
    for bundle_folder in folder.glob("*/"):
        name = bundle_folder.name
        monitor = conmon.monitor_pid(Bundle(id=f"{home_id}-{name}", folder=bundle_folder, log=Path()))
        if monitor is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(monitor, signal.SIGKILL)
    Cgroups(home_id).remove_all()
    for path in (folder, run_dir / "crun"):
        shutil.rmtree(path, ignore_errors=True)


def host_facts(cgroup_version: int) -> oci_spec.HostFacts:
    """Limits that this process may hand on: never above its own hard ones, which it might lack the power to raise."""
    limits = tuple((name, *_bounded(*resource.getrlimit(number))) for name, number in _RLIMITS.items())
    return oci_spec.HostFacts(rlimits=limits, machine=platform.machine(), cgroup_version=cgroup_version)


def _bounded(soft: int, hard: int) -> tuple[int, int]:
    # OCI has no word for "unlimited" but the largest number.
    unlimited = (1 << 64) - 1
    return (
        unlimited if soft == resource.RLIM_INFINITY else soft,
        unlimited if hard == resource.RLIM_INFINITY else hard,
    )


def _popen(
    command: list[str], container: str, process: bytes, streams: int
) -> tuple[subprocess.Popen[bytes], list[int]]:
    # The description goes through memory: no file to clean up, nothing for another user to read.
    description = os.memfd_create("process", os.MFD_CLOEXEC)
    try:
        os.write(description, process)
        full = [*command, "--process", f"/proc/self/fd/{description}", container]
        ends = {
            3: (subprocess.PIPE, subprocess.PIPE, subprocess.PIPE),
            2: (subprocess.PIPE, subprocess.PIPE, subprocess.STDOUT),
            1: (subprocess.DEVNULL, subprocess.DEVNULL, subprocess.PIPE),
        }[streams]
        environment = {"PATH": os.environ.get("PATH", "")}
        popen = subprocess.Popen(
            full, stdin=ends[0], stdout=ends[1], stderr=ends[2], pass_fds=[description], env=environment, bufsize=0
        )
    finally:
        os.close(description)
    fds = [_own_fd(file.fileno()) for file in (popen.stdin, popen.stdout, popen.stderr) if file is not None]
    for file in (popen.stdin, popen.stdout, popen.stderr):
        if file is not None:
            file.close()
    return popen, fds


def _own_fd(fd: int) -> int:
    """A non-blocking duplicate that no file object closes."""
    copy = os.dup(fd)
    os.set_blocking(copy, False)
    return copy


async def _read_all(fd: int, ended: asyncio.Future[int]) -> bytes:
    """Up to 16 MiB; what comes after is read and dropped, so that the program can end."""
    pieces: list[bytes] = []
    size = 0
    while chunk := await read_chunk(fd, ended):
        pieces.append(chunk[: max(0, _EXEC_OUTPUT_BYTES - size)])
        size += len(chunk)
    return b"".join(pieces)


def _pidfd(pid: int | None) -> int:
    """-1 when the process is gone."""
    try:
        return os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return -1


def _send_signal(pidfd: int, number: int) -> bool:
    """False when the process is gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def _write_whole(path: Path, content: bytes) -> None:
    """A reader sees the old content or the new, never half of it."""
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content)
    draft.rename(path)


def _program(*names: str) -> str:
    for name in names:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin")
        if path is not None:
            return path
    raise PortError(f"{' or '.join(names)} is not installed", retry=False)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name: {name!r}")


def _age(file: Path) -> float:
    """Minus the time of the last word, so that the newest come first; a file that has just gone is the oldest."""
    try:
        return -file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
