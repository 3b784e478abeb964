"""The containers of one home as bundles on the disk: made, let go, found again, removed, by crun and conmon.

Every verb here blocks (creating takes the 15 to 20 ms that conmon and crun take): crun.py calls them in its worker threads, one at a
time per container, and keeps what it knows of them in the event loop.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from gureum.drivers.containers import conmon, free_console, oci_application, oci_spec
from gureum.drivers.containers.cgroups import Cgroups
from gureum.drivers.containers.conmon import Bundle
from gureum.drivers.containers.guest_users import find_user
from gureum.drivers.containers.inits import Inits
from gureum.drivers.containers.process_families import Family
from gureum.drivers.containers.sealed_program import SealedProgram
from gureum.ports import PortError
from gureum.ports.containers import ROOT, ContainerSpec

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_START_TIMEOUT_S = 10.0
_KEPT_LOGS = 200
_CREATION_DEADLINE_S = 10.0
_RLIMITS = {
    name: getattr(resource, name) for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CORE", "RLIMIT_MEMLOCK")
}


class Record(msgspec.Struct, frozen=True):
    """What must be known of a container to run it again or run something in it. `runtime`: path of the program that made it."""

    spec: ContainerSpec
    run: int
    started: float
    runtime: str


class Launched(msgspec.Struct, frozen=True):
    """A container that exists. `pid`: of its PID 1, 0 when that is gone; the fds are pidfds, -1 when there is no process."""

    record: Record
    pid: int
    init_fd: int
    monitor_fd: int


class Bundles:
    """Folders and `runtime` as in `CrunContainers`."""

    def __init__(self, home_id: str, run_dir: Path, log_dir: Path, runtime: str) -> None:
        self._home_id = home_id
        self._folder, self.runtime_root, self._log_dir = run_dir / "containers", run_dir / "crun", log_dir
        for folder in (self._folder, self.runtime_root, log_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._conmon = _program("conmon")
        self._runtime = _program(runtime) if runtime else _program("crun", "runc")
        self._sealed = SealedProgram(self._runtime)
        self._inits = Inits(run_dir / "init")
        self.cgroups = Cgroups(home_id)
        self.host = host_facts(self.cgroups.version)
        self._free_console = free_console.write(run_dir, self.host.machine)

    def bundle(self, name: str) -> Bundle:
        check_name(name)
        return Bundle(id=f"{self._home_id}-{name}", folder=self._folder / name, log=self._log_dir / f"{name}.log")

    def save(self, record: Record) -> None:
        _write_whole(self.bundle(record.spec.name).folder / "record.json", msgspec.json.encode(record))

    def create(self, spec: ContainerSpec, run: int) -> Launched:
        """Creates a container, takes hold of its processes while they certainly live, and lets it go. PortError with the runtime's words."""
        return self._launch(self._new_record(spec, run))

    def runnable(self, runtime: str) -> str:
        """By which path a record's `runtime` is run soonest. Only crun looks for seals."""
        is_sealed = runtime == self._sealed.path and Path(runtime).name == "crun"
        return self._sealed.runnable() if is_sealed else runtime

    def _new_record(self, spec: ContainerSpec, run: int) -> Record:
        """Chooses the runtime: crun, unless this host's control groups are not for it (see cgroups.py) and runc is here."""
        runtime = self._runtime
        try:
            self.cgroups.prepare()
        except PortError:
            runtime = _program("runc")
        return Record(spec=spec, run=run, started=time.time(), runtime=runtime)

    def _launch(self, record: Record) -> Launched:
        name, bundle = record.spec.name, self.bundle(record.spec.name)
        self._forget_run(bundle, name)
        bundle.folder.mkdir(mode=0o700, exist_ok=True)
        wish = record.spec.application
        user = find_user(Path(record.spec.root), wish.user, wish.groups)[0] if wish else ROOT
        init = self._init(record.spec)
        cgroup_path = self.cgroups.path_of(name)
        config = oci_spec.render(with_home(record.spec), self.host, cgroup_path=cgroup_path, user=user, init=init)
        _write_whole(bundle.folder / "config.json", msgspec.json.encode(config))
        self.save(record)
        if wish is not None:
            self._kept(bundle.log).touch()
        how = _streams(record.spec)
        runtime = self.runnable(record.runtime)
        arguments = conmon.command(self._conmon, runtime, self.runtime_root, bundle, **how)
        try:
            pid = conmon.create(arguments, bundle)
        except PortError:
            self._forget_run(bundle, name)
            if record.run == 1:
                shutil.rmtree(bundle.folder)
            raise
        monitor = conmon.read_pid(bundle.monitor_pid_file)
        launched = Launched(record, pid, _pidfd(pid), _pidfd(monitor))
        self._release(bundle, record.runtime)
        return launched

    def _init(self, spec: ContainerSpec) -> str:
        """The host's file of what is to be PID 1 before the program, "" for nothing."""
        if spec.application is not None:
            return str(self._inits.find()) if spec.application.init else ""
        if spec.machine and self._free_console and free_console.may_start(spec.root, spec.args):
            return str(self._free_console)
        return ""

    def _release(self, bundle: Bundle, runtime: str) -> None:
        """Lets a created container run."""
        _take_null_back()
        fifo = self._gate(bundle)
        if Path(runtime).name == "crun" and fifo.exists():
            # What `crun start` does, without a process of 8 ms: its init waits until one byte comes through this fifo.
            with open(fifo, "wb", buffering=0) as gate:
                fifo.unlink()
                gate.write(b"\0")
            return
        command = [runtime, "--root", str(self.runtime_root), "start", bundle.id]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_START_TIMEOUT_S, check=False
        )
        if result.returncode != 0:
            raise PortError(f"the container was not started: {result.stderr.decode(errors='replace').strip()}")

    def _gate(self, bundle: Bundle) -> Path:
        """The fifo before which a created container waits; gone once it runs."""
        return self.runtime_root / bundle.id / "exec.fifo"

    def _forget_run(self, bundle: Bundle, name: str) -> None:
        """Everything of an earlier run but the log and the record."""
        _kill_monitor(bundle)
        self.cgroups.remove(name)
        shutil.rmtree(self.runtime_root / bundle.id, ignore_errors=True)
        conmon.forget(bundle)

    def remove(self, name: str, *, output: bool = False) -> None:
        """Kills what is left of it; its log stays, as long as there are not too many or it is an application's."""
        bundle = self.bundle(name)
        if output:
            bundle.log.unlink(missing_ok=True)
            self._kept(bundle.log).unlink(missing_ok=True)
        self._forget_run(bundle, name)
        shutil.rmtree(bundle.folder, ignore_errors=True)
        self._drop_old_logs()

    def _drop_old_logs(self) -> None:
        """Outputs of removed containers are kept for who asks after the end of a machine, but not without bound."""
        live = {f"{folder.name}.log" for folder in self._folder.iterdir()}
        gone = (file for file in self._log_dir.glob("*.log") if file.name not in live and not self._kept(file).exists())
        kept = sorted(gone, key=_age)
        for file in kept[_KEPT_LOGS:]:
            file.unlink(missing_ok=True)

    def _kept(self, log: Path) -> Path:
        """Its being there says that the log stays until somebody removes it."""
        return log.with_suffix(".keep")

    def find(self) -> list[Launched]:
        """What an earlier process made and did not remove."""
        found = (self._find_one(folder) for folder in sorted(self._folder.iterdir()))
        return [launched for launched in found if launched is not None]

    def _find_one(self, folder: Path) -> Launched | None:
        try:
            record = msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)
        except FileNotFoundError:
            shutil.rmtree(folder)  # a start that got no further than the folder
            return None
        bundle = self.bundle(folder.name)
        deadline = time.monotonic() + _CREATION_DEADLINE_S
        # The earlier process may have died while conmon was creating; what it makes must be whole before it can be cleared away.
        while (
            not bundle.pid_file.exists()
            and (conmon.monitor_pid(bundle) or conmon.starting_pid(bundle))
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        monitor = conmon.monitor_pid(bundle)
        never_ran = not bundle.pid_file.exists() or self._gate(bundle).exists()
        if never_ran:
            # Its monitor could not tell us its pid and may be gone, its output with it: the next start makes it anew.
            self._forget_run(bundle, folder.name)
            if record.run == 1:
                shutil.rmtree(folder)
                return None
            return Launched(msgspec.structs.replace(record, run=record.run - 1), 0, -1, -1)
        pid = conmon.read_pid(bundle.pid_file)
        if pid is not None and pid not in self.cgroups.processes(folder.name):
            pid = None
        _end_lost_programs(folder, pid or 0)
        return Launched(record, pid or 0, _pidfd(pid), _pidfd(monitor))


def _end_lost_programs(folder: Path, init_pid: int) -> None:
    """Programs that the earlier process ran inside and that nobody hears any more."""
    for file in folder.glob("exec-*.pid"):
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            family = Family(int(file.read_text()))
            if init_pid and family.is_beside(init_pid):
                family.end()
        file.unlink(missing_ok=True)


def remove_all(home_id: str, run_dir: Path) -> None:
    """Kills every container and monitor of the home and removes their control groups and runtime files. Logs stay."""
    folder = run_dir / "containers"
    for bundle_folder in folder.glob("*/"):
        _kill_monitor(Bundle(id=f"{home_id}-{bundle_folder.name}", folder=bundle_folder, log=Path()))
    Cgroups(home_id).remove_all()
    for path in (folder, run_dir / "crun"):
        shutil.rmtree(path, ignore_errors=True)


def _kill_monitor(bundle: Bundle) -> None:
    monitor = conmon.monitor_pid(bundle)
    if monitor is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(monitor, signal.SIGKILL)


def _streams(spec: ContainerSpec) -> dict[str, Any]:
    if spec.application is None:
        return {"terminal": spec.machine}
    wish = spec.application
    return {"terminal": wish.terminal, "stdin": wish.stdin, "log_bytes": wish.log_bytes}


def with_home(spec: ContainerSpec) -> ContainerSpec:
    """An application finds its user's home folder in HOME, unless it is told another."""
    if spec.application is None or any(entry.startswith("HOME=") for entry in spec.env):
        return spec
    home = find_user(Path(spec.root), spec.application.user)[1]
    return msgspec.structs.replace(spec, env=(*spec.env, f"HOME={home}"))


def host_facts(cgroup_version: int) -> oci_spec.HostFacts:
    """Limits that this process may hand on: never above its own hard ones, which it might lack the power to raise."""
    limits = tuple((name, *_bounded(*resource.getrlimit(number))) for name, number in _RLIMITS.items())
    own = bounding_set(Path("/proc/self/status").read_text())
    return oci_spec.HostFacts(limits, platform.machine(), cgroup_version, own)


def bounding_set(status: str) -> frozenset[str]:
    """Names of the capabilities in the line CapBnd of /proc/PID/status (capabilities(7))."""
    line = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    mask = int(line.split()[1], 16)
    return frozenset(f"CAP_{name}" for number, name in enumerate(oci_application.CAPABILITIES) if mask >> number & 1)


def _bounded(soft: int, hard: int) -> tuple[int, int]:
    # OCI has no word for "unlimited" but the largest number.
    unlimited = (1 << 64) - 1
    return (
        unlimited if soft == resource.RLIM_INFINITY else soft,
        unlimited if hard == resource.RLIM_INFINITY else hard,
    )


def _pidfd(pid: int | None) -> int:
    """-1 when the process is gone."""
    try:
        return os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return -1


def _write_whole(path: Path, content: bytes) -> None:
    """A reader sees the old content or the new, never half of it."""
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content)
    draft.rename(path)


def _take_null_back() -> None:
    """crun (until its change 1847) gives what a program reads to the program's user: for who reads nothing the host's /dev/null, which
    root inside could then take from everybody outside. Called between a container's creation and its release: no guest runs meanwhile."""
    owner = os.stat(os.devnull)
    if (owner.st_uid, owner.st_gid) != (0, 0):
        os.chown(os.devnull, 0, 0)


def _program(*names: str) -> str:
    for name in names:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin")
        if path is not None:
            return path
    raise PortError(f"{' or '.join(names)} is not installed", retry=False)


def check_name(name: str) -> None:
    """ValueError for what must not become part of a path."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name: {name!r}")


def _age(file: Path) -> float:
    """Minus the time of the last word, so that the newest come first; a file that has just gone is the oldest."""
    try:
        return -file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
