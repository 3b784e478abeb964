"""Control groups of a home's containers, on v1, hybrid and v2 hosts: where they are, what they read, how they go.

    v2       /sys/fs/cgroup/gureum-HOME/NAME                  one tree
    v1       /sys/fs/cgroup/CONTROLLER/gureum-HOME/NAME       one tree per controller
    hybrid   v1, plus /sys/fs/cgroup/unified without controllers

The runtime makes a container's groups and sets its first limits; reading counters, changing limits and removing groups happen here by
plain file reads and writes, without a process. Nothing relies on systemd.

On a hybrid host crun refuses while a controller is left in the unified tree. `prepare` mounts such a controller as v1; the mount's source
is "gureum", so `clean` knows whose it is and unmounts it when no home uses it any more.

Sources: cgroups(7), kernel Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from pathlib import Path

import msgspec

from gureum.drivers.containers import oci_spec
from gureum.drivers.volumes import mounts
from gureum.ports import PortError
from gureum.ports.containers import DiskLimit, Limits, Usage

ROOT = Path("/sys/fs/cgroup")
_SOURCE = "gureum"
_REMOVE_DEADLINE_S = 5.0
_REMOVE_PAUSE_S = 0.005
_UNLIMITED_BYTES_V1 = -1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MOST_BYTES_V1 = (1 << 63) // _PAGE_BYTES * _PAGE_BYTES - _PAGE_BYTES
"""How v1 shows that there is no limit."""
_NAMES_V1 = ("total_inactive_file", "total_dirty", "total_writeback")
_NAMES_V2 = ("inactive_file", "file_dirty", "file_writeback")


class Cgroups:
    """The groups of one home. All methods block for well under a millisecond, but `remove`, which waits for the dead."""

    def __init__(self, home_id: str, root: Path = ROOT, own: Path = Path("/proc/self/cgroup")) -> None:
        """`own`: the groups of this process (cgroups(7))."""
        self.parent = f"/gureum-{home_id}"
        self.version = 2 if (root / "cgroup.controllers").exists() else 1
        self._root, self._own = root, own
        self._trees: dict[str, Path] = {"": root} if self.version == 2 else {}
        self._says_so = False

    def prepare(self) -> None:
        """Finds the trees, and on a hybrid host frees the unified one from controllers, until `remove_all`. Idempotent and cheap."""
        self._find_trees()
        unified = self._root / "unified/cgroup.controllers"
        if self.version == 1 and unified.exists():
            missing = {*unified.read_text().split(), *(_legacy_controllers() - self._trees.keys())}
            for controller in sorted(missing):
                _mount_controller(controller)
            if missing or not self._says_so:
                self._trees.clear()
                self._find_trees()
                self._say_that_mounts_are_used()

    def _say_that_mounts_are_used(self) -> None:
        """By an own folder in each: a home that ends takes those that no home uses, and would do so just before our first container starts."""
        for entry in mounts.mount_table():
            if entry.kind == "cgroup" and entry.source == _SOURCE:
                (Path(entry.target) / self.parent.lstrip("/")).mkdir(mode=0o755, exist_ok=True)
        self._says_so = True

    def _find_trees(self) -> None:
        if not self._trees:
            self._trees = _v1_trees()

    def expect_move(self) -> None:
        """Says to the kernel that a process is about to be moved into a group. The first to move one waits until every processor has passed a quiet
        state (RCU), which takes 5 to 20 ms, and lets those pass that come soon after: so we wait, by moving ourselves to where we are, while
        the runtime still gets ready. Blocks that long; what hinders it hinders nobody."""
        self._find_trees()
        for line in self._own.read_text().splitlines():
            _, names, path = line.split(":", 2)
            tree = self._trees.get(names.partition(",")[0])
            with contextlib.suppress(OSError):
                if tree is not None:
                    _write(tree / path.lstrip("/") / "cgroup.procs", os.getpid())
                    return

    def path_of(self, name: str) -> str:
        """What the OCI configuration calls `cgroupsPath`."""
        return f"{self.parent}/{name}"

    def usage(self, name: str) -> Usage | None:
        """None when there is no such group."""
        try:
            if self.version == 2:
                group = self._group("", name)
                cpu_ns, pids = _field(group / "cpu.stat", "usage_usec") * 1000, _number(group / "pids.current")
                usage = _usage(cpu_ns, pids, group / "memory.current", _fields(group / "memory.stat"), _NAMES_V2)
                return _with_disks(usage, _disks_v2(group / "io.stat"))
            group = self._group("memory", name)
            cpu_ns = _number(self._group("cpuacct", name) / "cpuacct.usage")
            pids = _number(self._group("pids", name) / "pids.current")
            usage = _usage(cpu_ns, pids, group / "memory.usage_in_bytes", _fields(group / "memory.stat"), _NAMES_V1)
            return _with_disks(usage, self._disks_v1(name))
        except FileNotFoundError:
            return None

    def _disks_v1(self, name: str) -> tuple[int, int, int, int]:
        """Bytes read and written, reads, writes; zeros where the host has no blkio controller."""
        if "blkio" not in self._trees:
            return 0, 0, 0, 0
        group = self._group("blkio", name)
        done = [_by_word(group / f"blkio.throttle.io_{what}_recursive") for what in ("service_bytes", "serviced")]
        return done[0].get("Read", 0), done[0].get("Write", 0), done[1].get("Read", 0), done[1].get("Write", 0)

    def killed_for_memory(self, name: str) -> bool:
        """Whether the kernel has killed a process of it for want of memory."""
        events = (
            self._group("", name) / "memory.events"
            if self.version == 2
            else self._group("memory", name) / "memory.oom_control"
        )
        try:
            return _field(events, "oom_kill") > 0
        except FileNotFoundError:
            return False

    def update(self, name: str, limits: Limits) -> None:
        """New limits for what runs. PortError when it already holds more memory than it may have."""
        try:
            self._update_v2(name, limits) if self.version == 2 else self._update_v1(name, limits)
        except FileNotFoundError as error:
            raise PortError(f"container {name} has no control group") from error
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise PortError(f"container {name} holds more memory than the new limit") from error
            raise PortError(f"limits of container {name}: {error.strerror}") from error

    def _update_v1(self, name: str, limits: Limits) -> None:
        memory, cpu, pids = (self._group(controller, name) for controller in ("memory", "cpu", "pids"))
        if not _is_held_to(memory / "memory.limit_in_bytes", limits.memory_bytes):
            _write(memory / "memory.limit_in_bytes", limits.memory_bytes or _UNLIMITED_BYTES_V1)
        _write(cpu / "cpu.cfs_period_us", oci_spec.CFS_PERIOD_US)
        _write(cpu / "cpu.cfs_quota_us", oci_spec.cpu_quota_us(limits))
        _write(cpu / "cpu.shares", limits.cpu_shares or oci_spec.DEFAULT_CPU_SHARES)
        _write(pids / "pids.max", limits.pids or "max")
        self._limit_disks_v1(name, limits.disks)

    def _limit_disks_v1(self, name: str, disks: tuple[DiskLimit, ...]) -> None:
        """cgroup-v1/blkio-controller.rst: 0 takes a limit away. Nothing where the host does not throttle."""
        group = self._group("blkio", name) if "blkio" in self._trees else None
        if group is None or not (group / "blkio.throttle.read_bps_device").exists():
            return
        for disk in disks:
            for way in ("read", "write"):
                _write_limit(group / f"blkio.throttle.{way}_bps_device", disk, f"{disk.device} {disk.bytes_per_s}")
                _write_limit(group / f"blkio.throttle.{way}_iops_device", disk, f"{disk.device} {disk.iops}")

    def _update_v2(self, name: str, limits: Limits) -> None:
        group, quota = self._group("", name), oci_spec.cpu_quota_us(limits)
        if not _is_held_to(group / "memory.max", limits.memory_bytes):
            if limits.memory_bytes:
                _make_room_v2(group, limits.memory_bytes)
            _write(group / "memory.max", limits.memory_bytes or "max")
        _write(group / "cpu.max", f"{quota if quota > 0 else 'max'} {oci_spec.CFS_PERIOD_US}")
        _write(group / "cpu.weight", oci_spec.cpu_weight(limits.cpu_shares or oci_spec.DEFAULT_CPU_SHARES))
        _write(group / "pids.max", limits.pids or "max")
        # Not there when the parent gives its children no io controller.
        if (group / "io.max").exists():
            for disk in limits.disks:
                bps, iops = disk.bytes_per_s or "max", disk.iops or "max"
                _write_limit(group / "io.max", disk, f"{disk.device} rbps={bps} wbps={bps} riops={iops} wiops={iops}")

    def processes(self, name: str) -> list[int]:
        """Ids of all processes in it and below, unordered."""
        tree = "" if self.version == 2 else "pids"
        found: list[int] = []
        for folder, _, _ in os.walk(self._group(tree, name)):
            with contextlib.suppress(OSError):
                found += [int(line) for line in Path(folder, "cgroup.procs").read_text().split()]
        return found

    def freeze(self, name: str, frozen: bool) -> None:
        """Stops everything in it, or lets it go on; of a group that is gone it is success."""
        with contextlib.suppress(FileNotFoundError):
            if self.version == 2:
                _write(self._group("", name) / "cgroup.freeze", int(frozen))
            else:
                _write(self._group("freezer", name) / "freezer.state", "FROZEN" if frozen else "THAWED")

    def is_frozen(self, name: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            if self.version == 2:
                return _number(self._group("", name) / "cgroup.freeze") == 1
            return (self._group("freezer", name) / "freezer.state").read_text().strip() != "THAWED"
        return False

    def kill(self, name: str) -> None:
        """SIGKILL to everything in it."""
        with contextlib.suppress(OSError):
            self.freeze(name, False)  # v1: who is frozen does not even die
        with contextlib.suppress(OSError):
            if self.version == 2:
                _write(self._group("", name) / "cgroup.kill", 1)
                return
        for pid in self.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self, name: str) -> None:
        """Kills what is left in it and removes its groups from every tree. Waits for what is dying."""
        deadline = time.monotonic() + _REMOVE_DEADLINE_S
        self._find_trees()
        for tree in self._trees.values():
            while not _remove_tree(tree / self.path_of(name).lstrip("/")):
                if time.monotonic() > deadline:
                    raise PortError(f"processes of container {name} do not end")
                self.kill(name)
                time.sleep(_REMOVE_PAUSE_S)  # a group gives no sign when it has become empty on v1

    def names(self) -> list[str]:
        """Containers that have a group."""
        self._find_trees()
        parent = self.parent.lstrip("/")
        return sorted({path.name for tree in self._trees.values() for path in (tree / parent).glob("*/")})

    def remove_all(self) -> None:
        """Every group of this home, and the controller mounts of gureum that no home uses any more."""
        self._says_so = False
        self._find_trees()
        for name in self.names():
            self.kill(name)
        for name in self.names():
            self.remove(name)
        for tree in self._trees.values():
            _remove_tree(tree / self.parent.lstrip("/"))
        for entry in mounts.mount_table():
            if entry.kind == "cgroup" and entry.source == _SOURCE and not list(Path(entry.target).glob("gureum-*")):
                with contextlib.suppress(
                    OSError
                ):  # another gureum looks into it just now, mounts it again, or was faster
                    mounts.unmount(Path(entry.target))
                    Path(entry.target).rmdir()
                self._trees.clear()

    def _group(self, controller: str, name: str) -> Path:
        self._find_trees()
        return self._trees.get(controller, self._root / controller) / self.path_of(name).lstrip("/")


def _is_held_to(path: Path, limit_bytes: int) -> bool:
    """Whether that is its limit of memory already (0: none), which the kernel keeps in whole pages. The kernel lets a group go a little beyond it
    (packets that came for it): one that is there would refuse the same limit, and with it all others that come along."""
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return False
    if text == "max" or int(text) >= _MOST_BYTES_V1:
        return limit_bytes == 0
    return limit_bytes > 0 and int(text) == limit_bytes // _PAGE_BYTES * _PAGE_BYTES


def _make_room_v2(group: Path, limit_bytes: int) -> None:
    """What v1 does by itself: cache goes, and a limit below what is left is refused (EBUSY); v2 takes it and kills whoever holds the memory."""
    held = _number(group / "memory.current")
    if held > limit_bytes:
        with contextlib.suppress(OSError):  # EAGAIN: less could go than was asked for
            _write(group / "memory.reclaim", held - limit_bytes)
        if _number(group / "memory.current") > limit_bytes:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _mount_controller(controller: str) -> None:
    target = ROOT / controller
    target.mkdir(mode=0o755, exist_ok=True)
    try:
        mounts.mount(_SOURCE, target, "cgroup", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC, controller)
    except OSError as error:
        if error.errno != errno.EBUSY:  # another gureum was faster
            raise PortError(f"the control group controller {controller} cannot be mounted: {error.strerror}") from error


def _legacy_controllers() -> set[str]:
    """Those that belong to a tree of v1, mounted or not (cgroups(7), /proc/cgroups): what another gureum has just let go of comes back to the unified
    tree a moment later, when nobody looks any more."""
    rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    return {name for name, tree, *_ in rows if tree != "0"}


def _v1_trees() -> dict[str, Path]:
    """Controller (or "name=systemd") -> mount point."""
    trees: dict[str, Path] = {}
    for entry in mounts.mount_table():
        if entry.kind == "cgroup":
            known = [
                option for option in entry.options.split(",") if option not in ("rw", "ro", "xattr", "clone_children")
            ]
            trees.update({option: Path(entry.target) for option in known if "release_agent" not in option})
        elif entry.kind == "cgroup2":
            trees["unified"] = Path(entry.target)
    return trees


def _remove_tree(group: Path) -> bool:
    """False while a process is in it."""
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def _number(path: Path) -> int:
    return int(path.read_text())


def _field(path: Path, name: str) -> int:
    """The number after `name` in a file of "name number" lines; 0 when it has none."""
    return _fields(path).get(name, 0)


def _fields(path: Path) -> dict[str, int]:
    return {key: int(value) for key, _, value in (line.partition(" ") for line in path.read_text().splitlines())}


def _usage(cpu_ns: int, pids: int, memory: Path, fields: dict[str, int], names: tuple[str, str, str]) -> Usage:
    """`fields`: of memory.stat; `names`: how it calls cache that can be dropped, pages to be written, and pages being written."""
    cache, *unwritten = (fields.get(name, 0) for name in names)
    return Usage(cpu_ns, max(0, _number(memory) - cache), pids, sum(unwritten))


def _with_disks(usage: Usage, done: tuple[int, int, int, int]) -> Usage:
    read, written, reads, writes = done
    return msgspec.structs.replace(usage, read_bytes=read, written_bytes=written, reads=reads, writes=writes)


def _disks_v2(path: Path) -> tuple[int, int, int, int]:
    """cgroup-v2.rst, io.stat: "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 …". The file is not there without the io controller."""
    totals = dict.fromkeys(("rbytes", "wbytes", "rios", "wios"), 0)
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            for word in line.split()[1:]:
                name, _, number = word.partition("=")
                if name in totals:
                    totals[name] += int(number)
    return totals["rbytes"], totals["wbytes"], totals["rios"], totals["wios"]


def _by_word(path: Path) -> dict[str, int]:
    """blkio-controller.rst: lines of "8:0 Read 4096"; of all devices together."""
    totals: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) == 3:
                totals[words[1]] = totals.get(words[1], 0) + int(words[2])
    return totals


def _write_limit(path: Path, disk: DiskLimit, line: str) -> None:
    """A limit that is taken away from a device that is not there any more is success."""
    try:
        _write(path, line)
    except OSError as error:
        if error.errno != errno.ENODEV or disk.iops or disk.bytes_per_s:
            raise


def _write(path: Path, value: int | str) -> None:
    path.write_text(str(value))
