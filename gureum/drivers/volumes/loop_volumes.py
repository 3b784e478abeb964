"""Volumes as files behind loop devices, and roots as overlays on them. Fills `ports/volumes.py`.

    volume_mounts.py    the volumes, on disk and mounted              <data_dir>/volumes, folders; <run_dir>/volumes
    volume_roots.py     roots on them, volumes attached to machines   <run_dir>/roots, attached
    volumes/copies.py    snapshots, and volumes from them              <data_dir>/snapshots, copies; <run_dir>/copies
    held_volumes.py     volumes that a machine does not let go
    volume_archives.py  snapshots that are put away, compressed       <data_dir>/snapshots
    volume_files.py     empty volumes kept ready                      <data_dir>/templates, spare, xfs
    file_systems.py     which file system a volume gets

Nothing about the machine is remembered in this process only: what is mounted is looked up, so a new process goes on where a killed one
stopped. Blocking work runs in a few worker threads; calls about one volume or root take turns, different ones run side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gureum.drivers.containers.user_namespaces import UserNamespaces
from gureum.drivers.keys.late_sealer import LateSealer
from gureum.drivers.volumes import ext4_control, file_systems, mounts, overlay, volume_files
from gureum.drivers.volumes.folder_volumes import FolderVolumes
from gureum.drivers.volumes.volume_archives import SnapshotArchives
from gureum.drivers.volumes.volume_copies import VolumeCopies, copy_of
from gureum.drivers.volumes.volume_keys import VolumeKeys
from gureum.drivers.volumes.volume_mounts import VolumeMounts, checked
from gureum.drivers.volumes.volume_recoding import Recoding, clear
from gureum.drivers.volumes.volume_roots import VolumeRoots
from gureum.drivers.volumes.volume_snapshots import BLOCK, SnapshotFiles
from gureum.drivers.workers.turns import Turns
from gureum.ports import PortError
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

log = logging.getLogger("gureum.volumes")
_DEVICE = re.compile(r"[a-z0-9]{1,32}")
_THREADS = 4
_SLOW_THREADS = 2

T = TypeVar("T")


class LoopVolumes:
    """`data_dir`: on a disk, part of the home. `run_dir`: of this home alone; a tmpfs is best. `spares`: prepared files per size. `kind`: of new
    volumes; None for what is best here."""

    def __init__(
        self,
        home_id: str,
        run_dir: Path,
        data_dir: Path,
        images: Images,
        *,
        spares: int = 4,
        kind: file_systems.Kind | None = None,
    ) -> None:
        self._home_id = home_id
        self._images = images
        self._namespaces = UserNamespaces()
        self._keys = VolumeKeys(data_dir / "volumes", LateSealer(data_dir / "keys" / "seal.key"))
        self._folders = FolderVolumes(data_dir, run_dir, self._namespaces)
        self._volumes = VolumeMounts(data_dir / "volumes", run_dir / "volumes", self._keys, self._folders)
        self._roots = VolumeRoots(run_dir, self._volumes, self._folders, self._namespaces)
        self._snapshots = SnapshotFiles(data_dir / "snapshots")
        inside = (overlay.UPPER, overlay.WORK)
        self._spares = volume_files.Spares(data_dir, per_size=spares, inside=inside)
        self._kind = kind or file_systems.best_kind()
        self._xfs_spares = volume_files.Spares(data_dir / "xfs", per_size=spares, inside=(), kind="xfs")
        archives = SnapshotArchives(data_dir / "snapshots", self._snapshots)
        recoding = Recoding(data_dir / "copies", run_dir / "copies", self._keys)
        self._copies = VolumeCopies(self._volumes, self._snapshots, archives, recoding, self._spares)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="volumes")
        # What may take seconds (copies) has threads of its own, so that no start waits behind it.
        self._slow_threads = ThreadPoolExecutor(_SLOW_THREADS, thread_name_prefix="volume copies")
        self._refill: asyncio.Task[None] | None = None
        self._turns = Turns()
        self._all_spares = (self._spares, self._xfs_spares) if self._kind == "xfs" else (self._spares,)
        self._trial, self._trying = run_dir / "trial", threading.Lock()
        self._xfs_works: bool | None = None
        for one in self._all_spares:
            one.load()

    async def ensure_volume(self, spec: VolumeSpec) -> bool:
        if not spec.size_bytes:
            checked(spec.name)
            await self._run(lambda: self._folders.ensure(spec.name))
            return True
        path, size = self._volumes.file(spec.name), volume_files.round_size(spec.size_bytes)
        source = [checked(spec.source)] if spec.source else []
        async with self._turns.of(*sorted(f"volume/{name}" for name in {spec.name, *source})):
            if spec.key:
                await self._run(lambda: self._keys.keep(spec.name, spec.key))
            if path.exists():
                return await self._run(lambda: self._volumes.grow(spec.name, size))
            if spec.snapshot:
                await self._run(lambda: self._copies.restore(spec, size), slow=True)
            elif spec.source:
                await self._run(lambda: self._copies.copy(spec, size), slow=True)
            else:
                spares = await self._spares_for(spec, size)
                if not spares.take(size, path):
                    await self._run(lambda: volume_files.copy(spares.template(size), path))
                self._volumes.made(spec.name)
                self._start_refill()
        return True

    async def remove_volume(self, name: str) -> None:
        async with self._turns.of(f"volume/{checked(name)}"):
            # The kernel would let us: an overlay does not keep the mount below it busy.
            if user := self._roots.user(name):
                raise PortError(f"volume {name} is in use by root {user}")
            await self._run(lambda: self._volumes.remove(name))
            # Of a copy that never came about.
            await self._run(lambda: self._snapshots.remove(copy_of(name)))

    async def ensure_root(self, spec: RootSpec) -> str:
        root = self._roots.folder(spec.name) / "root"
        layers = [Path(path) for path in await self._images.layer_paths(spec.image)]
        if not layers:
            raise PortError(f"image {spec.image} has no layers")
        async with self._turns.of(f"root/{spec.name}", f"volume/{spec.volume}"):
            await self._run(lambda: self._roots.ensure(spec, layers))
        return str(root)

    async def release_root(self, name: str) -> None:
        self._roots.folder(name)
        async with self._turns.of(f"root/{name}"):
            for attached in self._roots.attached_to(name):
                async with self._turns.of(f"volume/{attached.volume}"):
                    await self._run(lambda attached=attached: self._leave(attached))  # type: ignore[misc]
            volume = await self._run(lambda: self._roots.unmount(name))
            if volume and self._roots.user(volume) in ("", name):
                async with self._turns.of(f"volume/{volume}"):
                    await self._run(lambda: self._roots.let_go(volume))

    async def ensure_attachment(self, spec: AttachmentSpec) -> None:
        if not _DEVICE.fullmatch(spec.device):
            raise ValueError(f"not a device: {spec.device!r}")
        self._roots.folder(spec.root)
        async with self._turns.of(f"attach/{spec.root}", f"volume/{checked(spec.volume)}"):
            await self._run(lambda: self._roots.attach(spec))

    async def release_attachment(self, volume: str, *, force: bool = False) -> bool:
        async with self._turns.of(f"volume/{checked(volume)}"):
            attached = self._roots.attachment(volume)
            if attached is None:
                return True
            if not await self._run(lambda: self._roots.detach(attached, force=force)):
                return False
            # The machine goes on, and may have kept something of it.
            if await self._run(lambda: self._volumes.is_held(volume)):
                await self._run(lambda: self._volumes.go_on_in_a_copy(volume), slow=True)
            await self._run(lambda: self._roots.forget(attached))
            return True

    async def ensure_snapshot(self, spec: SnapshotSpec) -> SnapshotUse:
        members = sorted({(spec.name, spec.volume), *((name, volume) for name, volume, _ in spec.together)})
        turns = [f"snapshot/{checked(name)}" for name, _ in members]
        turns += sorted(f"volume/{checked(volume)}" for _, volume in members if volume)
        async with self._turns.of(*turns):
            return await self._run(lambda: self._copies.snapshot(spec), slow=True)

    async def remove_snapshot(self, name: str) -> None:
        async with self._turns.of(f"snapshot/{checked(name)}"):
            await self._run(lambda: self._copies.remove_snapshot(name), slow=True)

    async def snapshot_blocks(self, name: str) -> SnapshotBlocks:
        async with self._turns.of(f"snapshot/{checked(name)}"):
            return SnapshotBlocks(BLOCK, await self._run(lambda: self._snapshots.blocks(name), slow=True))

    async def read_snapshot(self, name: str, offset: int, length: int) -> bytes:
        async with self._turns.of(f"snapshot/{checked(name)}"):
            return await self._run(lambda: self._snapshots.read(name, offset, length), slow=True)

    async def observe(self) -> tuple[VolumeUse, ...]:
        return await self._run(self._volumes.uses)

    async def mounted_roots(self) -> frozenset[str]:
        return await self._run(self._roots.mounted)

    async def counters(self) -> dict[str, VolumeCounters]:
        return await self._run(self._volumes.counters)

    async def devices(self, root: str) -> dict[str, str]:
        return await self._run(lambda: self._roots.devices(checked(root)))

    async def room(self) -> Room:
        return await self._run(self._volumes.room)

    async def close(self) -> None:
        """Leaves everything mounted."""
        if self._refill is not None:
            self._refill.cancel()
            await asyncio.gather(self._refill, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._slow_threads.shutdown)
        self._namespaces.close()

    def _leave(self, attached: AttachmentSpec) -> None:
        """Its machine has ended: nobody is left who could hold it."""
        self._roots.detach(attached, force=True)
        self._roots.forget(attached)

    async def _spares_for(self, spec: VolumeSpec, size: int) -> volume_files.Spares:
        if self._kind == "ext4" or spec.key or size < file_systems.XFS_LEAST_BYTES:
            return self._spares
        works = self._xfs_works
        if works is None:  # else without a turn in a thread: a launch waits for this
            works = await self._run(lambda: self._try_xfs(size))
        return self._xfs_spares if works else self._spares

    def _try_xfs(self, size: int) -> bool:
        with self._trying:
            if self._xfs_works is None:
                self._xfs_works = ext4_control.can_be_mounted(self._xfs_spares.template(size), self._trial)
                if not self._xfs_works:
                    log.warning(
                        "XFS volumes cannot be mounted: mkfs.xfs may be newer than the kernel; new volumes are ext4"
                    )
            return self._xfs_works

    def _start_refill(self) -> None:
        if self._refill is None or self._refill.done():
            self._refill = asyncio.create_task(self._refill_spares())

    async def _refill_spares(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._slow_threads, volume_files.sync_folder, self._volumes.files)
        for spares in self._all_spares:
            while missing := spares.missing():
                try:
                    await loop.run_in_executor(self._slow_threads, spares.fill, missing[0])
                except OSError:
                    return  # a full disk: the next ensure_volume says so to somebody who can act

    async def _run(self, step: Callable[[], T], *, slow: bool = False) -> T:
        threads = self._slow_threads if slow else self._threads
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, step)
        except OSError as error:
            raise PortError(f"volumes: {error.strerror}: {error.filename or ''}".rstrip(": ")) from error


async def clean(home_id: str, run_dir: Path) -> None:
    """Unmounts every root and volume of the home; their loop devices go with the mounts. What is on disk stays."""
    del home_id  # the mounts of a home are those below its run folder
    await asyncio.to_thread(_clean, run_dir)


async def thaw(run_dir: Path) -> None:
    """Lets the writers of all volumes go on that a killed process left frozen."""
    await asyncio.to_thread(ext4_control.thaw_all, run_dir / "volumes")


def _clean(run_dir: Path) -> None:
    ext4_control.thaw_all(run_dir / "volumes")
    clear(run_dir / "copies")
    for folder in (
        run_dir / "copies",
        run_dir / "trial",
        run_dir / "roots",
        run_dir / "volumes",
        run_dir / "attached",
        run_dir / "memory",
    ):
        mounts.unmount_below(folder)
        for path in sorted(folder.glob("**/*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
