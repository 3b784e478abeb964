"""Who uses a volume: roots as overlays on them, and what is mounted in machines beside.

    <run_dir>/roots/NAME/root        the overlay; beside it `root.json`, the RootSpec it was made from
    <run_dir>/roots/NAME/volumes     a small tmpfs, shared with the machine: what is mounted in it later appears inside too
    <run_dir>/attached/NAME.json     the AttachmentSpec of a volume that is mounted there

All functions block (worker threads only); two about one volume or root do not run side by side.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import msgspec

from gureum.drivers.containers.user_namespaces import UserNamespaces
from gureum.drivers.volumes import ext4_control, held_volumes, mounts, overlay
from gureum.drivers.volumes.folder_volumes import FolderVolumes
from gureum.drivers.volumes.volume_mounts import VolumeMounts, checked
from gureum.ports import PortError
from gureum.ports.volumes import AttachmentSpec, RootSpec

_ATTACHED_OPTIONS = "size=256k,nr_inodes=64,mode=755"


class VolumeRoots:
    """The container runtime looks for a root with the rights of the guest's own root, so `run_dir` becomes 0711 (its parents must let
    anybody through, as /run does); a root's folder belongs to that guest alone, all else in it is 0700."""

    def __init__(
        self, run_dir: Path, volumes: VolumeMounts, folders: FolderVolumes, namespaces: UserNamespaces
    ) -> None:
        self._roots, self._attached = run_dir / "roots", run_dir / "attached"
        self._volumes, self._folders, self._namespaces = volumes, folders, namespaces
        # Volume -> the root that is mounted on it, or has it mounted inside.
        self._users: dict[str, str] = {}
        for folder in (self._roots, self._attached):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (run_dir, self._roots):
            folder.chmod(0o711)
        for record in self._roots.glob("*/root.json"):
            if mounts.is_mount_point(record.parent / "root"):
                spec = _read_root(record)
                self._users[spec.volume] = spec.name
        for attachment in self._attachments():
            if mounts.is_mount_point(self._attached_at(attachment)):
                self._users[attachment.volume] = attachment.root

    def folder(self, name: str) -> Path:
        return self._roots / checked(name)

    def user(self, volume: str) -> str:
        """The root that uses the volume; "" if none does."""
        return self._users.get(volume, "")

    def mounted(self) -> frozenset[str]:
        return frozenset(path.parent.name for path in self._roots.glob("*/root") if mounts.is_mount_point(path))

    def devices(self, root: str) -> dict[str, str]:
        return {
            volume: self._volumes.device_number(volume) for volume, user in sorted(self._users.items()) if user == root
        }

    def attached_to(self, root: str) -> list[AttachmentSpec]:
        return [one for one in self._attachments() if one.root == root]

    def attachment(self, volume: str) -> AttachmentSpec | None:
        record = self._record(volume)
        return _read_attachment(record) if record.exists() else None

    def ensure(self, spec: RootSpec, layers: list[Path]) -> None:
        root = self.folder(spec.name) / "root"
        if mounts.is_mount_point(root):
            former = _read_root(root.parent / "root.json")
            if former == spec and not ext4_control.is_read_only(self._volumes.mount(spec.volume)):
                self._folders.show(spec, root)
                return
            # Another image, owner or volume is wished: what was written stays on its volume. Or the kernel writes to it no more, after
            # an error, before it is mounted anew.
            for attached in self.attached_to(spec.name):
                self.detach(attached, force=True)
                self.forget(attached)
            self.unmount(spec.name)
            self.let_go(former.volume)
        user = self.user(spec.volume)
        if user not in ("", spec.name):
            raise PortError(f"volume {spec.volume} is in use by root {user}")
        volume = self._volumes.mount(spec.volume)
        overlay.prepare_upper(volume)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.parent.chmod(0o700)
        os.chown(root.parent, spec.uid_base, spec.uid_base)
        _write_record(root.parent / "root.json", spec)
        _make_shared(root.parent / "volumes")
        try:
            with overlay.reserve_given(volume) if self._volumes.is_xfs(spec.volume) else contextlib.nullcontext():
                self._mount_overlay(spec, layers, volume, root)
            self._folders.show(spec, root)
        except (OSError, PortError):
            self.unmount(spec.name)
            self._volumes.unmount(spec.volume)
            raise
        self._users[spec.volume] = spec.name

    def unmount(self, name: str) -> str:
        """Returns the root's volume, which stays mounted; "" when the root was not there."""
        folder = self.folder(name)
        record = folder / "root.json"
        if not record.exists():
            return ""
        volume = _read_root(record).volume
        self._folders.hide(folder / "root")
        mounts.unmount(folder / "root")
        (folder / "root").rmdir()
        mounts.unmount_below(folder / "volumes")
        with contextlib.suppress(FileNotFoundError):
            (folder / "volumes").rmdir()
        record.unlink()
        folder.rmdir()
        return volume

    def let_go(self, volume: str) -> None:
        """Nobody uses the volume any more."""
        self._volumes.unmount(volume)
        self._users.pop(volume, None)

    def attach(self, spec: AttachmentSpec) -> None:
        folder = self.folder(spec.root)
        if not mounts.is_mount_point(folder / "root"):
            raise PortError(f"root {spec.root} is not mounted")
        target, user = self._attached_at(spec), self.user(spec.volume)
        if mounts.is_mount_point(target):
            if user == spec.root and self.attachment(spec.volume) == spec:
                return
            raise PortError(f"{spec.device} of root {spec.root} is in use")
        if user:
            raise PortError(f"volume {spec.volume} is in use by root {user}")
        volume = self._volumes.mount(spec.volume)
        overlay.prepare_upper(volume)
        _write_record(self._record(spec.volume), spec)
        target.mkdir(exist_ok=True)
        target.chmod(0o755)
        root = _read_root(folder / "root.json")
        try:
            self._namespaces.show(volume / overlay.UPPER, target, root.uid_base)
        except OSError:
            self._volumes.unmount(spec.volume)
            self._record(spec.volume).unlink()
            raise
        self._users[spec.volume] = spec.root

    def detach(self, spec: AttachmentSpec, *, force: bool) -> bool:
        """False when it is busy inside and not forced. Its record stays until `forget`."""
        target = self._attached_at(spec)
        if not force and mounts.is_mount_point(target):
            own = (str(self._volumes.mounted / spec.volume), f"/volumes/{spec.device}")
            if held_volumes.seen_elsewhere(self._volumes.device_number(spec.volume), own):
                return False
        try:
            mounts.unmount(target, mounts.MNT_DETACH if force else 0)
        except OSError as error:
            if error.errno == errno.EBUSY and not force:
                return False
            raise
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()
        self.let_go(spec.volume)
        return True

    def forget(self, spec: AttachmentSpec) -> None:
        self._record(spec.volume).unlink(missing_ok=True)

    def _mount_overlay(self, spec: RootSpec, layers: list[Path], volume: Path, root: Path) -> None:
        if not spec.uid_base:
            overlay.mount_root(layers, volume, root, None)
            return
        namespace = self._namespaces.open(spec.uid_base)
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

    def _attachments(self) -> list[AttachmentSpec]:
        return [_read_attachment(record) for record in sorted(self._attached.glob("*.json"))]

    def _attached_at(self, spec: AttachmentSpec) -> Path:
        return self._roots / spec.root / "volumes" / spec.device

    def _record(self, volume: str) -> Path:
        return self._attached / f"{checked(volume)}.json"


def _read_root(path: Path) -> RootSpec:
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
