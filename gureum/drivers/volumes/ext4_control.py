"""Mounting an ext4 file system that is in a file, and what is asked of it then: to hold its writers, to grow, whether it is sound.
All functions block (worker threads only).

Source: linux/fs.h (FIFREEZE, FITHAW), fs/ext4/ioctl.c (EXT4_IOC_RESIZE_FS).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from gureum.drivers.volumes import loop_devices, mounts, volume_files

# Nobody executes from such a mount: setuid programs live on an overlay above it.
MOUNT_FLAGS = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC | mounts.MS_NOATIME
_FREEZE, _THAW, _RESIZE = 0xC0045877, 0xC0045878, 0x40086610


def attach_and_mount(image: Path, target: Path, options: str) -> None:
    """By a loop device of its own, which goes with the mount."""
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        device, path = loop_devices.attach(file)
    finally:
        os.close(file)
    try:
        mounts.mount(path, target, "ext4", MOUNT_FLAGS, options)
    finally:
        os.close(device)


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
        fd = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _THAW, 0)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY):
                raise
        finally:
            os.close(fd)


def fill(target: Path, path: Path) -> bool:
    """Grows a mounted file system to the size of its file, if it is smaller. False when the kernel lets nobody here do that."""
    blocks = path.stat().st_size // volume_files.BLOCK
    if volume_files.file_system_blocks(path) >= blocks:
        return True
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _RESIZE, struct.pack("=Q", blocks))
    except PermissionError:
        return False
    finally:
        os.close(fd)
    return True


def is_read_only(mounted: Path) -> bool:
    return bool(os.statvfs(mounted).f_flag & os.ST_RDONLY)


def is_sound(mounted: Path) -> bool:
    """Not of one that the kernel writes to no more after an error, nor of one that has just been unmounted."""
    try:
        return not is_read_only(mounted)
    except OSError:
        return False
