"""Loop devices: files shown as block devices, by the kernel's own calls (no losetup process).

Every device is made with AUTOCLEAR: it goes by itself when its last user (the mount, or the process that makes the mount) goes, so that
neither a crash nor an unmount leaves one behind. All functions are quick and blocking.

Source: loop(4), linux/loop.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

_CONFIGURE, _SET_CAPACITY, _GET_FREE = 0x4C0A, 0x4C07, 0x4C82
_AUTOCLEAR, _DIRECT_IO = 4, 16
_BLOCK_SIZE = 4096
# struct loop_config: fd, block_size, then loop_info64 (device, inode, rdevice, offset, sizelimit; number, encrypt type, key size,
# flags; names, key, init), then 8 reserved words.
_CONFIG = struct.Struct("=II 5Q 4I 160x 2Q 64x")
_ATTEMPTS = 100


def attach(file: int) -> tuple[int, str]:
    """Shows `file` (an fd, open for reading and writing) as a free loop device. Returns (fd of the device, "/dev/loop7"); the caller
    closes the fd after the mount. Direct I/O where the file system below carries it, so that blocks are not cached twice."""
    for flags in (_AUTOCLEAR | _DIRECT_IO, _AUTOCLEAR):
        try:
            return _attach(file, flags)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    raise OSError(errno.EINVAL, "the kernel refuses loop devices on this file system")


def _attach(file: int, flags: int) -> tuple[int, str]:
    config = _CONFIG.pack(file, _BLOCK_SIZE, *(0,) * 8, flags, 0, 0)
    with open("/dev/loop-control", "rb", buffering=0) as control:
        for _ in range(_ATTEMPTS):
            number = fcntl.ioctl(control, _GET_FREE)
            path = f"/dev/loop{number}"
            if not os.path.exists(path):
                os.mknod(path, 0o600 | 0o060000, os.makedev(7, number))
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, config)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # another process took the same free one
                    raise
            else:
                return device, path
    raise OSError(errno.EBUSY, "no free loop device")


def refresh_size(device: str) -> None:
    """Tells the device that its file has grown."""
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _SET_CAPACITY)
    finally:
        os.close(fd)


def attached() -> dict[str, str]:
    """Backing file -> device, of all devices in use."""
    found: dict[str, str] = {}
    for entry in Path("/sys/block").glob("loop*"):
        try:
            found[(entry / "loop/backing_file").read_text().rstrip("\n")] = f"/dev/{entry.name}"
        except OSError:
            continue  # not in use, or gone since
    return found


def counters(device: str) -> tuple[int, ...] | None:
    """Of "/dev/loop7" what the kernel counts: reads, merged, sectors read, ms of reads, the same four of writes, now under way, ms busy, ms
    queued, and more (Documentation/block/stat.rst). None when it is gone."""
    try:
        return tuple(map(int, Path(f"/sys/block/{Path(device).name}/stat").read_text().split()))
    except (OSError, ValueError):
        return None


def writes(device: str) -> int:
    """How many writes and discards the device has done; -1 where the kernel does not count. Documentation/block/stat.rst."""
    folder = Path("/sys/block") / Path(device).name
    if (folder / "queue/iostats").read_text().strip() != "1":
        return -1
    numbers = (folder / "stat").read_text().split()
    return int(numbers[4]) + (int(numbers[11]) if len(numbers) > 11 else 0)
