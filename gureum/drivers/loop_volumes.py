"""Volumes as ext4 files behind loop devices, and roots as overlays on them. Fills `ports/volumes.py`.

    <data_dir>/volumes/NAME.img      the volume; survives everything; NAME.key beside it: see volume_keys.py
    <data_dir>/folders/NAME          a volume without a size: see folder_volumes.py
    <data_dir>/snapshots             see volume_snapshots.py
    <data_dir>/templates, spare      see volume_files.py
    <run_dir>/volumes/NAME           where the volume is mounted (while a root uses it)
    <run_dir>/roots/NAME/root        the overlay; beside it `root.json`, the RootSpec it was made from
    <run_dir>/roots/NAME/volumes     a small tmpfs, shared with the machine: what is mounted in it later appears inside too
    <run_dir>/attached/NAME.json     the AttachmentSpec of a volume that is mounted there

Nothing about the machine is remembered in this process only: what is mounted is looked up, so a new process goes on where a killed one
stopped. Blocking work runs in a few worker threads; calls about one volume or root take turns, different ones run side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from gureum.drivers import folder_volumes, loop_devices, mounts, overlay, volume_files
from gureum.drivers.folder_volumes import FolderVolumes
from gureum.drivers.late_sealer import LateSealer
from gureum.drivers.turns import Turns
from gureum.drivers.volume_keys import VolumeKeys
from gureum.drivers.volume_recoding import Recoding, clear
from gureum.drivers.volume_snapshots import BLOCK, SnapshotFiles, Wanted
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

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_DEVICE = re.compile(r"[a-z0-9]{1,32}")
_ATTACHED_OPTIONS = "size=256k,nr_inodes=64,mode=755"
_FREEZE, _THAW, _EXT4_RESIZE = 0xC0045877, 0xC0045878, 0x40086610
_THREADS = 4
_SLOW_THREADS = 2
_SECTOR_BYTES = 512
# discard: what a guest deletes goes back to the host's disk. Setuid programs live on the overlay, not on this mount, which nobody
# executes from.
_VOLUME_FLAGS = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC | mounts.MS_NOATIME
_VOLUME_OPTIONS = "discard,noinit_itable,errors=remount-ro"
_USER_NAMESPACES = 256

T = TypeVar("T")


class LoopVolumes:
    """`data_dir`: on a disk, part of the home. `run_dir`: of this home alone; a tmpfs is best. `spares`: prepared files per size.

    The container runtime looks for a root with the rights of the guest's own root, so `run_dir` becomes 0711 (its parents must let
    anybody through, as /run does); a root's folder belongs to that guest alone, all else in it is 0700."""

    def __init__(self, home_id: str, run_dir: Path, data_dir: Path, images: Images, *, spares: int = 4) -> None:
        self._home_id = home_id
        self._images = images
        self._volumes = data_dir / "volumes"
        self._mounted, self._roots, self._attached = run_dir / "volumes", run_dir / "roots", run_dir / "attached"
        self._snapshots = SnapshotFiles(data_dir / "snapshots")
        self._keys = VolumeKeys(self._volumes, LateSealer(data_dir / "keys" / "seal.key"))
        self._recoding = Recoding(data_dir / "copies", run_dir / "copies", self._keys)
        self._spares = volume_files.Spares(data_dir, per_size=spares, inside=(overlay.UPPER, overlay.WORK))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="volumes")
        # What may take seconds (copies) has threads of its own, so that no start waits behind it.
        self._slow_threads = ThreadPoolExecutor(_SLOW_THREADS, thread_name_prefix="volume copies")
        self._refill: asyncio.Task[None] | None = None
        self._turns = Turns()
        self._user_namespaces: dict[int, int] = {}
        self._making = threading.Lock()
        self._folders = FolderVolumes(data_dir, self._user_namespace)
        # Volumes made by this process and never mounted: no device can be left of an earlier mount.
        self._fresh: set[str] = set()
        # Volume -> the root that is mounted on it.
        self._users: dict[str, str] = {}
        for folder in (self._volumes, self._mounted, self._roots, self._attached):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (run_dir, self._roots):
            folder.chmod(0o711)
        for draft in self._volumes.glob("*.draft"):
            draft.unlink()
        self._spares.load()
        _thaw(self._mounted)
        for record in self._roots.glob("*/root.json"):
            if mounts.is_mount_point(record.parent / "root"):
                spec = _read_record(record)
                self._users[spec.volume] = spec.name
        for record in self._attached.glob("*.json"):
            attachment = _read_attachment(record)
            if mounts.is_mount_point(self._attached_at(attachment)):
                self._users[attachment.volume] = attachment.root

    async def ensure_volume(self, spec: VolumeSpec) -> None:
        if not spec.size_bytes:
            _checked(spec.name)
            await self._run(lambda: self._folders.ensure(spec.name))
            return
        path, size = self._volume_file(spec.name), volume_files.round_size(spec.size_bytes)
        source = [_checked(spec.source)] if spec.source else []
        async with self._turns.of(*sorted(f"volume/{name}" for name in {spec.name, *source})):
            if spec.key:
                await self._run(lambda: self._keys.keep(spec.name, spec.key))
            if path.exists():
                await self._run(lambda: self._grow(spec.name, size))
            elif spec.snapshot:
                await self._run(lambda: self._restore(spec, size), slow=True)
            elif spec.source:
                await self._run(lambda: self._copy_volume(spec, size), slow=True)
            else:
                if not self._spares.take(size, path):
                    await self._run(lambda: volume_files.copy(self._spares.template(size), path))
                self._fresh.add(spec.name)
                self._start_refill()

    async def remove_volume(self, name: str) -> None:
        async with self._turns.of(f"volume/{name}"):
            await self._run(lambda: self._remove_volume(name))
            # Of a copy that never came about.
            await self._run(lambda: self._snapshots.remove(_copy_of(name)))

    async def ensure_root(self, spec: RootSpec) -> str:
        root = self._root_folder(spec.name) / "root"
        layers = [Path(path) for path in await self._images.layer_paths(spec.image)]
        if not layers:
            raise PortError(f"image {spec.image} has no layers")
        async with self._turns.of(f"root/{spec.name}", f"volume/{spec.volume}"):
            await self._run(lambda: self._ensure_root(spec, layers, root))
        return str(root)

    async def release_root(self, name: str) -> None:
        folder = self._root_folder(name)
        async with self._turns.of(f"root/{name}"):
            for attached in [one for one in self._attachments() if one.root == name]:
                async with self._turns.of(f"volume/{attached.volume}"):
                    await self._run(lambda attached=attached: self._detach(attached, force=True))  # type: ignore[misc]
            volume = await self._run(lambda: _unmount_root(folder))
            if volume and self._users.get(volume, name) == name:
                async with self._turns.of(f"volume/{volume}"):
                    await self._run(lambda: self._unmount_volume(volume))
                    self._users.pop(volume, None)

    async def ensure_attachment(self, spec: AttachmentSpec) -> None:
        if not _DEVICE.fullmatch(spec.device):
            raise ValueError(f"not a device: {spec.device!r}")
        self._root_folder(spec.root)
        async with self._turns.of(f"attach/{spec.root}", f"volume/{spec.volume}"):
            await self._run(lambda: self._attach(spec))

    async def release_attachment(self, volume: str, *, force: bool = False) -> bool:
        record = self._attached / f"{_checked(volume)}.json"
        async with self._turns.of(f"volume/{volume}"):
            if not record.exists():
                return True
            return await self._run(lambda: self._detach(_read_attachment(record), force=force))

    async def ensure_snapshot(self, spec: SnapshotSpec) -> SnapshotUse:
        members = sorted({(spec.name, spec.volume), *((name, volume) for name, volume, _ in spec.together)})
        turns = [f"snapshot/{_checked(name)}" for name, _ in members]
        turns += sorted(f"volume/{_checked(volume)}" for _, volume in members if volume)
        async with self._turns.of(*turns):
            return await self._run(lambda: self._snapshot(spec), slow=True)

    async def remove_snapshot(self, name: str) -> None:
        async with self._turns.of(f"snapshot/{_checked(name)}"):
            await self._run(lambda: self._snapshots.remove(name), slow=True)

    async def snapshot_blocks(self, name: str) -> SnapshotBlocks:
        async with self._turns.of(f"snapshot/{_checked(name)}"):
            return SnapshotBlocks(BLOCK, await self._run(lambda: self._snapshots.blocks(name), slow=True))

    async def read_snapshot(self, name: str, offset: int, length: int) -> bytes:
        async with self._turns.of(f"snapshot/{_checked(name)}"):
            return await self._run(lambda: self._snapshots.read(name, offset, length), slow=True)

    async def observe(self) -> tuple[VolumeUse, ...]:
        return await self._run(lambda: tuple(_use(path) for path in sorted(self._volumes.glob("*.img"))))

    async def mounted_roots(self) -> frozenset[str]:
        return await self._run(
            lambda: frozenset(path.parent.name for path in self._roots.glob("*/root") if mounts.is_mount_point(path))
        )

    async def counters(self) -> dict[str, VolumeCounters]:
        return await self._run(self._counters)

    async def devices(self, root: str) -> dict[str, str]:
        _checked(root)
        return await self._run(lambda: self._devices(root))

    async def room(self) -> Room:
        return await self._run(lambda: _room(self._volumes))

    async def close(self) -> None:
        """Leaves everything mounted."""
        if self._refill is not None:
            self._refill.cancel()
            await asyncio.gather(self._refill, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._slow_threads.shutdown)
        for namespace in self._user_namespaces.values():
            os.close(namespace)
        self._user_namespaces.clear()

    # --- one step each, in a worker thread ---

    def _ensure_root(self, spec: RootSpec, layers: list[Path], root: Path) -> None:
        record = root.parent / "root.json"
        if mounts.is_mount_point(root):
            former = _read_record(record)
            if former == spec and not _is_read_only(self._mount_volume(spec.volume)):
                self._folders.show(spec, root)
                return
            # Another image, owner or volume is wished: what was written stays on its volume. Or the kernel writes to it no more, after
            # an error, before it is mounted anew.
            for attached in [one for one in self._attachments() if one.root == spec.name]:
                self._detach(attached, force=True)
            _unmount_root(root.parent)
            self._unmount_volume(former.volume)
            self._users.pop(former.volume, None)
        user = self._users.get(spec.volume, spec.name)
        if user != spec.name:
            raise PortError(f"volume {spec.volume} is in use by root {user}")
        volume = self._mount_volume(spec.volume)
        overlay.prepare_upper(volume)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.parent.chmod(0o700)
        os.chown(root.parent, spec.uid_base, spec.uid_base)
        _write_record(record, spec)
        _make_shared(root.parent / "volumes")
        try:
            self._mount_overlay(spec, layers, volume, root)
            self._folders.show(spec, root)
        except (OSError, PortError):
            _unmount_root(root.parent)
            self._unmount_volume(spec.volume)
            raise
        self._users[spec.volume] = spec.name

    def _attach(self, spec: AttachmentSpec) -> None:
        folder = self._roots / spec.root
        if not mounts.is_mount_point(folder / "root"):
            raise PortError(f"root {spec.root} is not mounted")
        target, record = self._attached_at(spec), self._attached / f"{_checked(spec.volume)}.json"
        user = self._users.get(spec.volume)
        if mounts.is_mount_point(target):
            if user == spec.root and record.exists() and _read_attachment(record) == spec:
                return
            raise PortError(f"{spec.device} of root {spec.root} is in use")
        if user is not None:
            raise PortError(f"volume {spec.volume} is in use by root {user}")
        volume = self._mount_volume(spec.volume)
        overlay.prepare_upper(volume)
        _write_record(record, spec)
        target.mkdir(exist_ok=True)
        target.chmod(0o755)
        root = _read_record(folder / "root.json")
        try:
            self._show(volume / overlay.UPPER, target, root.uid_base)
        except OSError:
            self._unmount_volume(spec.volume)
            record.unlink()
            raise
        self._users[spec.volume] = spec.root

    def _show(self, folder: Path, target: Path, uid_base: int) -> None:
        """A part of a volume at `target`, with its owners shifted for the guest."""
        if not uid_base:
            mounts.mount(str(folder), target, "", mounts.MS_BIND)
            return
        namespace = self._user_namespace(uid_base)
        try:
            tree = mounts.clone_idmapped(folder, namespace, programs=True)
            try:
                mounts.attach(tree, target)
            finally:
                os.close(tree)
        finally:
            os.close(namespace)

    def _detach(self, spec: AttachmentSpec, *, force: bool) -> bool:
        target = self._attached_at(spec)
        try:
            mounts.unmount(target, mounts.MNT_DETACH if force else 0)
        except OSError as error:
            if error.errno == errno.EBUSY and not force:
                return False
            raise
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()
        self._unmount_volume(spec.volume)
        self._users.pop(spec.volume, None)
        (self._attached / f"{spec.volume}.json").unlink(missing_ok=True)
        return True

    def _snapshot(self, spec: SnapshotSpec) -> SnapshotUse:
        kept = self._snapshots.look(spec.name)
        if kept is None:
            if spec.source:
                self._copy_snapshot(spec)
            elif spec.volume:
                wanted = spec.together or ((spec.name, spec.volume, spec.parent),)
                self._snapshots.make_together([self._wanted(*one) for one in wanted])
            kept = self._snapshots.look(spec.name)
        if kept is None:
            raise PortError(f"snapshot {spec.name} is lost", retry=False)
        return SnapshotUse(spec.name, kept.size_bytes, kept.data_bytes, kept.stored_bytes)

    def _wanted(self, name: str, volume: str, parent: str) -> Wanted:
        path, mounted = self._volume_file(volume), self._mounted / volume
        if not path.exists():
            raise PortError(f"volume {volume} does not exist")
        device = loop_devices.attached().get(str(path), "")
        writes = (lambda: loop_devices.writes(device)) if device else (lambda: 0)
        return Wanted(_checked(name), path, _checked(parent) if parent else "", lambda: _frozen(mounted), writes)

    def _copy_snapshot(self, spec: SnapshotSpec) -> None:
        if spec.key == spec.source_key:
            self._snapshots.copy(spec.name, _checked(spec.source))
            return
        recoded = self._recode(spec.name, spec.source, spec.source_key, spec.key, 0)
        try:
            self._snapshots.make(spec.name, recoded, "")
        finally:
            recoded.unlink()

    def _mount_volume(self, name: str) -> Path:
        if (folder := self._folders.path(name)).exists():
            return folder
        path, target = self._volume_file(name), self._mounted / name
        if mounts.is_mount_point(target):
            self._keys.unlock(name, target)
            return target
        if not path.exists():
            raise PortError(f"volume {name} does not exist")
        target.mkdir(mode=0o700, exist_ok=True)
        # A device that a container of an earlier root still holds must be used again: a second one would be a second cache of one disk.
        in_use = None if name in self._fresh else loop_devices.attached().get(str(path))
        self._fresh.discard(name)
        if in_use is None:
            self._keys.prepare(name, path)
        if in_use is not None:
            mounts.mount(in_use, target, "ext4", _VOLUME_FLAGS, _VOLUME_OPTIONS)
        else:
            self._attach_and_mount(path, target)
        if not _fill_device(target, path) and in_use is None:
            # A host without CAP_SYS_RESOURCE (a container, some virtual machines) cannot grow what is mounted.
            mounts.unmount(target)
            volume_files.grow_unmounted(path)
            self._attach_and_mount(path, target)
        self._keys.unlock(name, target)
        return target

    def _attach_and_mount(self, path: Path, target: Path) -> None:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            device, device_path = loop_devices.attach(file)
        finally:
            os.close(file)
        try:
            mounts.mount(device_path, target, "ext4", _VOLUME_FLAGS, _VOLUME_OPTIONS)
        finally:
            os.close(device)

    def _unmount_volume(self, name: str) -> None:
        target = self._mounted / name
        mounts.unmount(target)
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()

    def _remove_volume(self, name: str) -> None:
        # The kernel would let us: an overlay does not keep the mount below it busy.
        if name in self._users:
            raise PortError(f"volume {name} is in use by root {self._users[name]}")
        self._unmount_volume(name)
        self._fresh.discard(name)
        self._volume_file(name).unlink(missing_ok=True)
        self._keys.forget(name)
        self._folders.remove(name)

    def _grow(self, name: str, size: int) -> None:
        path, target = self._volume_file(name), self._mounted / name
        present = path.stat().st_size
        if size < present:
            raise PortError(f"volume {name} has {present} bytes and cannot shrink to {size}", retry=False)
        if size > present:
            os.truncate(path, size)
        if size > present or mounts.is_mount_point(target):
            _grow_mounted(target, path)

    def _restore(self, spec: VolumeSpec, size: int) -> None:
        path = self._volume_file(spec.name)
        if spec.key == spec.snapshot_key:
            self._snapshots.restore(_checked(spec.snapshot), path, size)
            return
        self._recode(spec.name, spec.snapshot, spec.snapshot_key, spec.key, size).rename(path)

    def _copy_volume(self, spec: VolumeSpec, size: int) -> None:
        """By a snapshot that is gone afterwards, so the source is held for a moment only."""
        between = _copy_of(spec.name)
        self._snapshot(SnapshotSpec(between, spec.source))
        self._restore(msgspec.structs.replace(spec, snapshot=between, source=""), size)
        self._snapshots.remove(between)

    def _recode(self, name: str, snapshot: str, old: str, new: str, size: int) -> Path:
        """The files of a snapshot under another key, in a file of their own."""
        kept = self._snapshots.look(_checked(snapshot))
        if kept is None:
            raise PortError(f"snapshot {snapshot} does not exist")
        if not new:
            raise PortError(f"the encrypted snapshot {snapshot} makes encrypted volumes only", retry=False)
        size = max(size, kept.size_bytes)
        self._snapshots.restore(snapshot, self._recoding.source(name), kept.size_bytes)
        return self._recoding.recode(name, old, new, self._spares.template(size), size)

    def _user_namespace(self, uid_base: int) -> int:
        """An fd of its own for the caller, who closes it."""
        with self._making:
            if uid_base not in self._user_namespaces:
                while len(self._user_namespaces) >= _USER_NAMESPACES:
                    os.close(self._user_namespaces.pop(next(iter(self._user_namespaces))))
                self._user_namespaces[uid_base] = mounts.make_user_namespace(uid_base)
            return os.dup(self._user_namespaces[uid_base])

    def _mount_overlay(self, spec: RootSpec, layers: list[Path], volume: Path, root: Path) -> None:
        if not spec.uid_base:
            overlay.mount_root(layers, volume, root, None)
            return
        namespace = self._user_namespace(spec.uid_base)
        try:
            overlay.mount_root(layers, volume, root, namespace)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise PortError(
                "this kernel or file system cannot show an image with shifted owners (idmapped mounts, Linux 5.19 or later); "
                "a guest is not started without",
                retry=False,
            ) from error
        finally:
            os.close(namespace)

    def _counters(self) -> dict[str, VolumeCounters]:
        devices, found = loop_devices.attached(), {}
        for target in self._mounted.iterdir():
            device = devices.get(str(self._volumes / f"{target.name}.img"))
            counted = loop_devices.counters(device) if device is not None else None
            if counted is not None:
                reads, _, sectors, read_ms, writes, _, written, write_ms, _, busy_ms, queued_ms, *_ = counted
                read_bytes, written_bytes = sectors * _SECTOR_BYTES, written * _SECTOR_BYTES
                found[target.name] = VolumeCounters(
                    reads, read_bytes, read_ms, writes, written_bytes, write_ms, busy_ms, queued_ms, _is_sound(target)
                )
        return found

    def _devices(self, root: str) -> dict[str, str]:
        found = {}
        for volume, user in sorted(self._users.items()):
            if user == root:
                number = (self._mounted / volume).stat().st_dev
                found[volume] = f"{os.major(number)}:{os.minor(number)}"
        return found

    # --- plumbing ---

    def _start_refill(self) -> None:
        if self._refill is None or self._refill.done():
            self._refill = asyncio.create_task(self._refill_spares())

    async def _refill_spares(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._slow_threads, volume_files.sync_folder, self._volumes)
        while missing := self._spares.missing():
            try:
                await loop.run_in_executor(self._slow_threads, self._spares.fill, missing[0])
            except OSError:
                return  # a full disk: the next ensure_volume says so to somebody who can act

    async def _run(self, step: Callable[[], T], *, slow: bool = False) -> T:
        threads = self._slow_threads if slow else self._threads
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, step)
        except OSError as error:
            raise PortError(f"volumes: {error.strerror}: {error.filename or ''}".rstrip(": ")) from error

    def _volume_file(self, name: str) -> Path:
        return self._volumes / f"{_checked(name)}.img"

    def _attachments(self) -> list[AttachmentSpec]:
        return [_read_attachment(record) for record in sorted(self._attached.glob("*.json"))]

    def _attached_at(self, spec: AttachmentSpec) -> Path:
        return self._roots / spec.root / "volumes" / spec.device

    def _root_folder(self, name: str) -> Path:
        return self._roots / _checked(name)


async def clean(home_id: str, run_dir: Path) -> None:
    """Unmounts every root and volume of the home; their loop devices go with the mounts. What is on disk stays."""
    del home_id  # the mounts of a home are those below its run folder
    await asyncio.to_thread(_clean, run_dir)


async def thaw(run_dir: Path) -> None:
    """Lets the writers of all volumes go on that a killed process left frozen."""
    await asyncio.to_thread(_thaw, run_dir / "volumes")


def _clean(run_dir: Path) -> None:
    _thaw(run_dir / "volumes")
    clear(run_dir / "copies")
    for folder in (run_dir / "copies", run_dir / "roots", run_dir / "volumes", run_dir / "attached"):
        mounts.unmount_below(folder)
        for path in sorted(folder.glob("**/*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()


def _read_record(path: Path) -> RootSpec:
    return msgspec.json.decode(path.read_bytes(), type=RootSpec)


def _read_attachment(path: Path) -> AttachmentSpec:
    return msgspec.json.decode(path.read_bytes(), type=AttachmentSpec)


def _write_record(path: Path, spec: msgspec.Struct) -> None:
    path.with_suffix(".draft").write_bytes(msgspec.json.encode(spec))
    path.with_suffix(".draft").rename(path)


def _make_shared(folder: Path) -> None:
    """A tmpfs of the host's own, in which a guest can make nothing; mounts in it reach the machine that has it as a mount that follows."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    if not mounts.is_mount_point(folder):
        mounts.mount("tmpfs", folder, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, _ATTACHED_OPTIONS)
    mounts.mount("", folder, "", mounts.MS_SHARED)


def _unmount_root(folder: Path) -> str:
    """Unmounts a root; returns its volume's name, "" when it was not there."""
    record = folder / "root.json"
    if not record.exists():
        return ""
    volume = _read_record(record).volume
    folder_volumes.hide(folder / "root")
    mounts.unmount(folder / "root")
    (folder / "root").rmdir()
    mounts.unmount_below(folder / "volumes")
    with contextlib.suppress(FileNotFoundError):
        (folder / "volumes").rmdir()
    record.unlink()
    folder.rmdir()
    return volume


def _grow_mounted(target: Path, path: Path) -> None:
    if not mounts.is_mount_point(target):
        return
    device = loop_devices.attached().get(str(path))
    if device is not None:
        loop_devices.refresh_size(device)
    _fill_device(target, path)


def _is_read_only(mounted: Path) -> bool:
    return bool(os.statvfs(mounted).f_flag & os.ST_RDONLY)


def _is_sound(mounted: Path) -> bool:
    """Not of one that the kernel writes to no more after an error, nor of one that has just been unmounted."""
    try:
        return not _is_read_only(mounted)
    except OSError:
        return False


def _fill_device(target: Path, path: Path) -> bool:
    """Grows a mounted file system to the size of its file, if it is smaller. False when the kernel lets nobody here do that."""
    blocks = path.stat().st_size // volume_files.BLOCK
    if volume_files.file_system_blocks(path) >= blocks:
        return True
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _EXT4_RESIZE, struct.pack("=Q", blocks))
    except PermissionError:
        return False
    finally:
        os.close(fd)
    return True


@contextlib.contextmanager
def _frozen(mounted: Path) -> Iterator[None]:
    """Holds all writes to a mounted file system, its caches written out; nothing to do when it is not mounted."""
    if not mounts.is_mount_point(mounted):
        yield
        return
    fd = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _FREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(fd, _THAW, 0)
    finally:
        os.close(fd)


def _thaw(folder: Path) -> None:
    """A process that was killed while it held a file system left it frozen: nobody else would ever let its writers go on."""
    for mounted in folder.glob("*"):
        fd = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _THAW, 0)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY):
                raise
        finally:
            os.close(fd)


def _room(folder: Path) -> Room:
    """What root may still write: the kernel writes volumes in root's name."""
    facts = os.statvfs(folder)
    return Room(facts.f_bfree * facts.f_frsize, facts.f_blocks * facts.f_frsize)


def _use(path: Path) -> VolumeUse:
    facts = path.stat()
    return VolumeUse(name=path.stem, size_bytes=facts.st_size, allocated_bytes=facts.st_blocks * 512)


def _copy_of(name: str) -> str:
    return f"copy-{_checked(name)}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name: {name!r}")
    return name
