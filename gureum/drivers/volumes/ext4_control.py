"""Mounting a file system that is in a file, and what is asked of it then: to hold its writers, to grow, whether it is sound.
All functions block (worker threads only).

Source: linux/fs.h (FIFREEZE, FITHAW).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from gureum.drivers.volumes import file_systems, loop_devices, mounts, volume_files

# Nobody executes from such a mount: setuid programs live on an overlay above it.
MOUNT_FLAGS = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC | mounts.MS_NOATIME
_FREEZE, _THAW = 0xC0045877, 0xC0045878


def attach_and_mount(image: Path, target: Path, *, discard: bool = True) -> None:
    """By a loop device of its own, which goes with the mount."""
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        device, path = loop_devices.attach(file)
    finally:
        os.close(file)
    try:
        mount_device(path, image, target, discard=discard)
    finally:
        os.close(device)


def can_be_mounted(template: Path, target: Path) -> bool:
    """Whether this kernel takes what this host's mkfs makes: tried on a copy. `target`: a folder for that alone."""
    mounts.unmount_below(target)  # of a killed process
    trial = template.with_name(f"{template.stem}-trial.img")
    volume_files.copy(template, trial)
    target.mkdir(mode=0o700, exist_ok=True)
    try:
        attach_and_mount(trial, target)
        mounts.unmount(target)
    except OSError:
        return False
    finally:
        target.rmdir()
        trial.unlink()
    return True


def mount_device(device: str, image: Path, target: Path, *, discard: bool = True) -> None:
    """`device`: the loop device that shows `image`."""
    kind = file_systems.kind_of(image)
    mounts.mount(device, target, kind, MOUNT_FLAGS, file_systems.options(kind, discard=discard))


@contextlib.contextmanager
def frozen(mounted: Path) -> Iterator[None]:
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


def thaw_all(folder: Path) -> None:
    """A process that was killed while it held a file system left it frozen: nobody else would ever let its writers go on."""
    for mounted in folder.glob("*"):
        try:
            fd = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            continue  # an XFS that has shut down: who waits in it has been told
        try:
            fcntl.ioctl(fd, _THAW, 0)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY):
                raise
        finally:
            os.close(fd)


def fill(target: Path, path: Path) -> bool:
    """Grows a mounted file system to the size of its file, if it is smaller. False when the kernel lets nobody here do that."""
    kind, size = file_systems.kind_of(path), path.stat().st_size
    if kind == "ext4" and volume_files.file_system_blocks(path) >= size // volume_files.BLOCK:
        return True
    try:
        file_systems.grow(kind, target, size)
    except PermissionError:
        return False
    return True


def is_read_only(mounted: Path) -> bool:
    """Or answers nothing at all any more: an error makes an ext4 read-only, and shuts an XFS down."""
    try:
        os.stat(mounted)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return True
    return bool(os.statvfs(mounted).f_flag & os.ST_RDONLY)


def is_sound(mounted: Path) -> bool:
    """Not of one that the kernel writes to no more after an error, nor of one that has just been unmounted."""
    try:
        return not is_read_only(mounted)
    except OSError:
        return False
