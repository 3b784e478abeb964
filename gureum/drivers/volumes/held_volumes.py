"""Volumes that a guest still has after they were taken from it: a file kept open, a folder that a program is in, a mount of its own.

    detach ─► seen mounted elsewhere in the machine: "busy" (a forced one goes on)
           ─► unmounted here, and the loop device stays: somebody has the file system still
           ─► its file system is shut down: all is written, from now on every call in it is EIO, for whoever has it
           ─► the volume goes on in a copy of the file, for what the kernel still writes when the last one lets go must not reach it

Without that the next machine that gets the volume would share its file system with the one before. All functions block (worker threads only).

Source: fs/ext4/ioctl.c (EXT4_IOC_SHUTDOWN), fs/xfs/xfs_ioctl.c (XFS_IOC_GOINGDOWN), which is the same call; proc_pid_mountinfo(5).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from pathlib import Path

from gureum.drivers.volumes import ext4_control, loop_devices, mounts, volume_files

_SHUT_DOWN = 0x8004587D
_WRITE_ALL = 0
_PATIENCE_S, _PAUSE_S = 1.0, 0.01
"""A mount may end a moment later than its last user: a namespace that is just being made or taken down."""


def seen_elsewhere(number: str, own: tuple[str, ...]) -> bool:
    """Whether the file system on the device `number` ("7:3") is mounted in any process's view at a path that ends with none of `own`."""
    seen: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            view = os.readlink(process / "ns/mnt")
            if view in seen:
                continue
            seen.add(view)
            lines = (process / "mountinfo").read_text().splitlines()
        except OSError:
            continue  # it has ended
        for line in lines:
            fields = line.split(" ", 5)
            if fields[2] == number and not fields[4].endswith(own):
                return True
    return False


def is_held(image: Path) -> bool:
    """Whether somebody has the file system in this file, which is unmounted here, after all."""
    limit = time.monotonic() + _PATIENCE_S
    while str(image) in loop_devices.attached():
        if time.monotonic() > limit:
            return True
        time.sleep(_PAUSE_S)
    return False


def shut_down(image: Path, target: Path) -> None:
    """Ends the file system for all who have it. Idempotent. `target`: an empty folder to mount it at for that moment."""
    device = loop_devices.attached().get(str(image))
    if device is None:
        return
    ext4_control.mount_device(device, image, target)  # the same one that they have
    try:
        fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _SHUT_DOWN, struct.pack("=I", _WRITE_ALL))
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno != errno.EIO:  # it was before
            raise
    finally:
        mounts.unmount(target)


def go_on_in_a_copy(image: Path) -> None:
    """The file gets another inode, which nobody has; the old one takes no room while it is held."""
    with open(image, "r+b", buffering=0) as held:
        volume_files.copy(image, image)
        held.truncate(0)
