"""Simulated containers and volumes: states move as on a machine, nothing runs and nothing is written.

The twins of crun.py and loop_volumes.py for `--simulate` and for tests of what stands above the ports; they pass the same contract
suites as far as no real program is needed. A simulated container runs until it is signalled, its programs end at once with code 0 and
no output, its memory is a constant.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from gureum.ports import PortError
from gureum.ports.clock import Clock
from gureum.ports.containers import (
    ROOT,
    ContainerSpec,
    ContainerState,
    ExecResult,
    Limits,
    Session,
    Usage,
    User,
)
from gureum.ports.images import Images
from gureum.ports.volumes import (
    AttachmentSpec,
    Room,
    RootSpec,
    SnapshotBlocks,
    SnapshotSpec,
    SnapshotUse,
    VolumeCounters,
    VolumeSpec,
    VolumeUse,
)

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_IDLE_BYTES = 1 << 20
_MINIMUM_VOLUME_BYTES = 16 << 20
_DISK_BYTES = 1 << 40
_HARMLESS = frozenset({0, signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH, signal.SIGURG})


class SimulatedContainers:
    """`ports.containers.Containers` in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[str, ContainerState] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._consoles: dict[str, bytes] = {}
        self._pids = itertools.count(1000)

    async def start(self, spec: ContainerSpec) -> ContainerState:
        known = self._states.get(_checked(spec.name))
        if known is not None and known.state == "running":
            return known
        run = known.run + 1 if known is not None else 1
        state = ContainerState(spec.name, "running", run, pid=next(self._pids), started=self._clock.now())
        self._states[spec.name] = state
        self._ended[spec.name] = asyncio.Event()
        self._consoles[spec.name] = self._consoles.get(spec.name, b"") + b"simulated: nothing runs\n"
        return state

    async def kill(self, name: str, signal: int) -> None:
        known = self._states.get(_checked(name))
        if known is not None and known.state != "exited":
            await self.pause(name, False)
            if signal not in _HARMLESS:
                self._end(self._states[name], 128 + signal)

    def end(self, name: str, exit_code: int) -> None:
        """For tests: the container ends by itself, 129 is a reboot from inside."""
        self._end(self._states[name], exit_code)

    async def remove(self, name: str, *, output: bool = False) -> None:
        del output
        await self.kill(name, signal.SIGKILL)
        for kept in (self._states, self._ended):
            kept.pop(name, None)

    async def observe(self) -> tuple[ContainerState, ...]:
        return tuple(self._states.values())

    async def exited(self, name: str) -> ContainerState:
        self._known(name)
        await self._ended[name].wait()
        return self._known(name)

    async def console(self, name: str, limit_bytes: int = 65536) -> bytes:
        output = self._consoles.get(_checked(name), b"")
        return output[-limit_bytes:] if limit_bytes else b""

    async def exec(
        self, name: str, args: tuple[str, ...], *, stdin: bytes = b"", timeout_s: float = 30.0, user: User = ROOT
    ) -> ExecResult:
        del args, stdin, timeout_s, user
        self._running(name)
        return ExecResult(exit_code=0, stdout=b"", stderr=b"")

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
        del args, terminal, env, user, folder, privileged
        self._running(name)
        return _EndedSession()

    async def processes(self, name: str) -> list[int]:
        return [self._running(name).pid]

    async def usage(self, name: str) -> Usage | None:
        known = self._states.get(_checked(name))
        running = known is not None and known.state == "running"
        return Usage(cpu_ns=0, memory_bytes=_IDLE_BYTES, pids=1) if running else None

    async def update(self, name: str, limits: Limits) -> None:
        del limits
        self._known(name)

    async def pause(self, name: str, paused: bool) -> None:
        known = self._states.get(_checked(name))
        if known is not None and known.state != "exited":
            self._states[name] = msgspec.structs.replace(known, paused=paused)

    async def close(self) -> None:
        """Nothing is held."""

    def _end(self, known: ContainerState, exit_code: int) -> None:
        now = self._clock.now()
        self._states[known.name] = msgspec.structs.replace(
            known, state="exited", exit_code=exit_code, finished=now, paused=False
        )
        self._ended[known.name].set()

    def _known(self, name: str) -> ContainerState:
        known = self._states.get(_checked(name))
        if known is None:
            raise PortError(f"there is no container {name}", retry=False)
        return known

    def _running(self, name: str) -> ContainerState:
        known = self._known(name)
        if known.state != "running":
            raise PortError(f"container {name} is not running")
        if known.paused:
            raise PortError(f"container {name} is paused")
        return known


class _EndedSession:
    """A program that has printed nothing and ended well."""

    async def output(self) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for chunk in nothing:
            yield chunk

    def errors(self) -> AsyncIterator[bytes]:
        return self.output()

    async def write(self, data: bytes) -> None: ...
    async def resize(self, columns: int, rows: int) -> None: ...
    async def close_input(self) -> None: ...
    async def wait(self) -> int:
        return 0

    async def close(self) -> None: ...


class SimulatedVolumes:
    """`ports.volumes.Volumes` in memory. `images`: whose layers a root must have."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._volumes: dict[str, int] = {}
        self._snapshots: dict[str, int] = {}
        self._roots: dict[str, RootSpec] = {}
        self._attached: dict[str, AttachmentSpec] = {}

    async def ensure_volume(self, spec: VolumeSpec) -> bool:
        if spec.size_bytes < _MINIMUM_VOLUME_BYTES:
            raise ValueError(f"a volume has at least {_MINIMUM_VOLUME_BYTES} bytes, not {spec.size_bytes}")
        present = self._volumes.get(_checked(spec.name), 0)
        if present > spec.size_bytes:
            raise PortError(
                f"volume {spec.name} has {present} bytes and cannot shrink to {spec.size_bytes}", retry=False
            )
        if not present and spec.source and _checked(spec.source) not in self._volumes:
            raise PortError(f"volume {spec.source} does not exist")
        if not present and spec.snapshot:
            self._check_snapshot(spec)
        self._volumes[spec.name] = spec.size_bytes
        return True

    def _check_snapshot(self, spec: VolumeSpec) -> None:
        size = self._snapshots.get(_checked(spec.snapshot))
        if size is None:
            raise PortError(f"snapshot {spec.snapshot} does not exist")
        if size > spec.size_bytes:
            raise PortError(
                f"snapshot {spec.snapshot} has {size} bytes, more than the wished {spec.size_bytes}", retry=False
            )

    async def remove_volume(self, name: str) -> None:
        if name in self._attached or any(root.volume == _checked(name) for root in self._roots.values()):
            raise PortError(f"volume {name} is in use")
        self._volumes.pop(name, None)

    async def ensure_root(self, spec: RootSpec) -> str:
        await self._images.layer_paths(spec.image)
        if _checked(spec.volume) not in self._volumes:
            raise PortError(f"volume {spec.volume} does not exist")
        for other in self._roots.values():
            if other.volume == spec.volume and other.name != spec.name:
                raise PortError(f"volume {spec.volume} is in use by root {other.name}")
        self._roots[_checked(spec.name)] = spec
        return f"/simulated/roots/{spec.name}"

    async def release_root(self, name: str) -> None:
        self._roots.pop(_checked(name), None)
        for attached in [one for one in self._attached.values() if one.root == name]:
            del self._attached[attached.volume]

    async def ensure_attachment(self, spec: AttachmentSpec) -> None:
        if _checked(spec.volume) not in self._volumes:
            raise PortError(f"volume {spec.volume} does not exist")
        if _checked(spec.root) not in self._roots:
            raise PortError(f"root {spec.root} is not mounted")
        former = self._attached.get(spec.volume)
        if any(root.volume == spec.volume for root in self._roots.values()) or former not in (None, spec):
            raise PortError(f"volume {spec.volume} is in use")
        self._attached[spec.volume] = spec

    async def release_attachment(self, volume: str, *, force: bool = False) -> bool:
        self._attached.pop(_checked(volume), None)
        return True

    async def ensure_snapshot(self, spec: SnapshotSpec) -> SnapshotUse:
        if _checked(spec.name) not in self._snapshots:
            kept = self._snapshots.get(spec.source) if spec.source else self._volumes.get(spec.volume)
            kept = _size_of(spec.path) if spec.path else kept
            if kept is None:
                what = f"snapshot {spec.source}" if spec.source else f"volume {spec.volume}"
                raise PortError(f"{what} does not exist")
            self._snapshots[spec.name] = kept
            for name, volume, _ in spec.together:
                self._snapshots.setdefault(name, self._volumes.get(volume, kept))
        return SnapshotUse(spec.name, self._snapshots[spec.name], 0, 0)

    async def remove_snapshot(self, name: str) -> None:
        self._snapshots.pop(_checked(name), None)

    async def snapshot_blocks(self, name: str) -> SnapshotBlocks:
        self._kept(name)
        return SnapshotBlocks(_MINIMUM_VOLUME_BYTES, ())

    async def read_snapshot(self, name: str, offset: int, length: int) -> bytes:
        return bytes(max(0, min(length, self._kept(name) - offset)))

    def _kept(self, name: str) -> int:
        size = self._snapshots.get(_checked(name))
        if size is None:
            raise PortError(f"snapshot {name} does not exist")
        return size

    async def observe(self) -> tuple[VolumeUse, ...]:
        return tuple(VolumeUse(name, size, 0) for name, size in sorted(self._volumes.items()))

    async def devices(self, root: str) -> dict[str, str]:
        volumes = [one.volume for one in self._attached.values() if one.root == root]
        if root in self._roots:
            volumes.append(self._roots[root].volume)
        return {name: f"7:{number}" for number, name in enumerate(sorted(volumes))}

    async def mounted_roots(self) -> frozenset[str]:
        return frozenset(self._roots)

    async def counters(self) -> dict[str, VolumeCounters]:
        """Of those that a root is on: nothing is read or written."""
        return {root.volume: VolumeCounters() for root in self._roots.values()}

    async def room(self) -> Room:
        return Room(_DISK_BYTES, _DISK_BYTES)

    async def close(self) -> None:
        """Nothing is held."""


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name: {name!r}")
    return name


def _size_of(path: str) -> int:
    return Path(path).stat().st_size
