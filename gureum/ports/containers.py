"""Containers: processes under limits inside a sandbox, kept by a monitor that outlives us.

A container is `running` or `exited`. The exit code of a machine whose init called reboot(2) is 128 + SIGHUP (129: restart)
or 128 + SIGINT (130: power off), see pid_namespaces(7).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec


class DiskLimit(msgspec.Struct, frozen=True):
    """Of a block device ("7:3"), of reads and of writes each. 0 means unlimited."""

    device: str
    iops: int = 0
    bytes_per_s: int = 0


class Limits(msgspec.Struct, frozen=True):
    """0 means unlimited. `cpus`: 0.5 is half a core. `cpu_shares`: cgroup v1's scale (1024 is one share). `cpuset`: "0-2,5", "" for all.
    `swap_bytes`: memory and swap together, as on cgroup v1; -1 is no limit of swap. `disks`: set by an update only, and only where the host's
    control groups can (v1: what the guest waits for, not what the kernel writes back later). `waits_for_memory`: who needs more than there is waits
    instead of being killed (cgroup v1 only, from the start on). `swappiness`: 0-100, -1 as the host has it (cgroup v1 only)."""

    memory_bytes: int = 0
    cpus: float = 0.0
    cpu_shares: int = 0
    pids: int = 0
    disks: tuple[DiskLimit, ...] = ()
    cpuset: str = ""
    swap_bytes: int = 0
    reserved_bytes: int = 0
    waits_for_memory: bool = False
    swappiness: int = -1


class Mount(msgspec.Struct, frozen=True):
    """`kind`: "bind" (source is a host path chosen by gureum, never by a guest) or "tmpfs". `follows`: what the host mounts below the source
    later appears inside too."""

    target: str
    kind: Literal["bind", "tmpfs"] = "bind"
    source: str = ""
    options: tuple[str, ...] = ()
    follows: bool = False


class Device(msgspec.Struct, frozen=True):
    """A device node of the host that a container may use: `access`: of "rwm"."""

    host: str
    target: str
    access: str = "rwm"


class DeviceRule(msgspec.Struct, frozen=True):
    """Which devices a container may use when it has nodes of them: characters, blocks or all; -1 is any number."""

    kind: Literal["c", "b", "a"]
    major: int
    minor: int
    access: str


class Throttle(msgspec.Struct, frozen=True):
    """How fast a disk of the host may be used, by a file of its device: bytes or operations a second."""

    device: str
    what: Literal["read_bps", "write_bps", "read_iops", "write_iops"]
    rate: int


class Application(msgspec.Struct, frozen=True):
    """How a program that boots nothing is run, as users of `docker run` choose.

    `user`: "", "name", "uid", "name:group" or "uid:gid", looked up in the root's own /etc/passwd and /etc/group; `groups`: further ones.
    `terminal`: its standard streams are a terminal. `stdin`: "none", "once" (it ends with the first who is attached) or "open".
    `capabilities`: names without CAP_. `privileged`: all devices, no masks, no seccomp. `ulimits`: (name as in RLIMIT_NOFILE, soft, hard).
    `log_bytes`: at which its log begins anew, 0: never. `init`: a small init is PID 1 and reaps what the program leaves behind. `shared`: the
    namespaces that are not its own, by kind ("pid", "ipc", "uts", "net", "cgroup"): a path, "" for the host's (in core/specs.py also
    "container:NAME"). `sysctls`: of its own namespaces."""

    user: str = ""
    groups: tuple[str, ...] = ()
    terminal: bool = False
    stdin: Literal["none", "once", "open"] = "none"
    console_size: tuple[int, int] = (0, 0)
    capabilities: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    no_new_privileges: bool = False
    unconfined: bool = False
    devices: tuple[Device, ...] = ()
    device_rules: tuple[DeviceRule, ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_bytes: int = 64 << 20  # of /dev/shm; 0 for none
    log_bytes: int = 0
    init: bool = False
    shared: dict[str, str] = {}
    sysctls: dict[str, str] = {}
    domain: str = ""
    oom_score: int = 0
    masked_paths: tuple[str, ...] | None = None
    read_only_paths: tuple[str, ...] | None = None
    throttles: tuple[Throttle, ...] = ()


class ContainerSpec(msgspec.Struct, frozen=True):
    """`root`: path from Volumes.ensure_root. `sandbox_net`, `sandbox_user`, `uid_base`: from Networks.ensure_sandbox. `machine`: it boots
    an init as PID 1, has a console (terminal), its own cgroup, and the capabilities a root of its own namespaces may have; otherwise
    Docker's default capabilities. In both cases Docker's default seccomp profile, masked and read-only paths."""

    name: str
    root: str
    args: tuple[str, ...]
    sandbox_net: str
    sandbox_user: str = ""
    uid_base: int = 0
    env: tuple[str, ...] = ()
    working_dir: str = "/"
    hostname: str = ""
    machine: bool = False
    limits: Limits = Limits()
    mounts: tuple[Mount, ...] = ()
    annotations: dict[str, str] = {}
    application: Application | None = None


class ContainerState(msgspec.Struct, frozen=True):
    """`run`: counts the starts of this container. Times are Unix seconds; 0.0 is not yet. `oom`: the kernel killed for memory. `paused`: it runs,
    but none of its processes does."""

    name: str
    state: Literal["running", "exited"]
    run: int
    pid: int = 0
    exit_code: int | None = None
    started: float = 0.0
    finished: float = 0.0
    oom: bool = False
    paused: bool = False


class Usage(msgspec.Struct, frozen=True):
    """Counters since the container's start; memory is the present one (cache that can be dropped not counted). `unwritten_bytes`: what it has
    written to files and no disk has yet. `read_bytes` …: what disks have done for it."""

    cpu_ns: int
    memory_bytes: int
    pids: int
    unwritten_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


class ExecResult(msgspec.Struct, frozen=True):
    """What a program run to its end gave. A driver may cut each output at some MiB."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class User(msgspec.Struct, frozen=True):
    """Who a program runs as, by the numbers of the container's own user namespace. `groups`: beside its own. `text`: as Application.user, looked
    up inside instead of the numbers."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    text: str | None = None


ROOT = User()


class Session(Protocol):
    """A running exec: bytes in, bytes out."""

    def output(self) -> AsyncIterator[bytes]:
        """What it prints; with a terminal its errors too."""

    def errors(self) -> AsyncIterator[bytes]:
        """Its error output, which is to be read at the same time as the other; with a terminal there is none."""

    async def write(self, data: bytes) -> None: ...
    async def resize(self, columns: int, rows: int) -> None: ...
    async def close_input(self) -> None: ...
    async def wait(self) -> int: ...
    async def close(self) -> None:
        """Ends the program if it still runs, with all that it started and that did not make itself independent (a session of its own, or hang-ups
        ignored: setsid, nohup). Whoever called attach calls this in the end; idempotent."""


class Executions(Protocol):
    """Programs that are run inside containers."""

    async def exec(
        self, name: str, args: tuple[str, ...], *, stdin: bytes = b"", timeout_s: float = 30.0, user: User = ROOT
    ) -> ExecResult:
        """Runs a program inside to its end."""

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
        """Runs a program inside, interactively. `folder`: where it starts, "" for the container's own. `privileged`: with every capability that
        counts in the container's user namespace."""


class Containers(Executions, Protocol):
    """Containers of one home on one machine."""

    async def start(self, spec: ContainerSpec) -> ContainerState:
        """Creates and starts it; of a running one it is a look; an exited one is started anew (its log goes on)."""

    async def kill(self, name: str, signal: int) -> None:
        """A signal to PID 1; of an exited or missing one it is success. A paused one goes on, to take it."""

    async def remove(self, name: str, *, output: bool = False) -> None:
        """Kills what runs and forgets it: no process, cgroup or bundle remains. What it printed can still be read, and goes on if a container
        of this name is started again; of the names that are gone for long the oldest outputs are dropped, but not those of applications.
        `output`: what it printed goes, too."""

    async def observe(self) -> tuple[ContainerState, ...]:
        """All of this home, also those that an earlier agent started."""

    async def exited(self, name: str) -> ContainerState:
        """Waits until the present run of it has ended. Raises PortError when there is none of that name."""

    async def console(self, name: str, limit_bytes: int = 65536) -> bytes:
        """The last bytes of what it printed, over all its runs."""

    async def usage(self, name: str) -> Usage | None: ...
    async def processes(self, name: str) -> list[int]:
        """Ids of all its processes, as the host has them."""

    async def update(self, name: str, limits: Limits) -> None: ...
    async def pause(self, name: str, paused: bool) -> None:
        """Stops all its processes where they are, or lets them go on; of an exited or missing one it is success. Nothing can be run inside a
        paused one."""

    async def close(self) -> None: ...
