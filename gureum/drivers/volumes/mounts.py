"""The mount system calls, idmapped clones and what is mounted where: thin, typed, without policy.

Python has no mount(2); this module calls the C library for it, and the kernel directly for the newer calls. Every function blocks
for less than a few milliseconds: call them from a worker thread. Failures are OSError with the path in it.

An *idmapped* clone shows a folder with its owners shifted: what is 0 on disk appears as `uid_base`, 1 as `uid_base + 1` … 65535. One
more id, 65536 on disk, stands for the host's root: overlayfs makes its work folder as host root, and a mapping without that id would
refuse it (EOVERFLOW). No guest can own a file by that id, since its namespace has no such number.

Sources: mount(2), open_tree(2), mount_setattr(2), user_namespaces(7), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import subprocess
from pathlib import Path

import msgspec

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_BIND = 2, 4, 8, 1024, 4096
MS_SHARED = 1 << 20
MS_REC = 0x4000
MNT_DETACH = 2
IDS = 65536

_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE = 1
_MOUNT_ATTR_IDMAP = 0x00100000
_MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NOEXEC = 2, 8
_MOVE_MOUNT_F_EMPTY_PATH = 4

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class MountEntry(msgspec.Struct, frozen=True):
    """One line of mountinfo. `device`: "major:minor"."""

    target: str
    device: str
    kind: str
    source: str
    options: str


def mount(source: str, target: Path, kind: str, flags: int = 0, data: str = "") -> None:
    arguments = (
        source.encode(),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _check(_libc.mount(*arguments), target)


def unmount(target: Path, flags: int = 0) -> bool:
    """False when nothing is mounted there."""
    try:
        _check(_libc.umount2(os.fsencode(target), flags), target)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    return True


def is_mount_point(path: Path) -> bool:
    """Whether another file system begins here (not for bind mounts within one)."""
    try:
        return os.stat(path).st_dev != os.stat(path.parent).st_dev
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return any(
            entry.target == str(path) for entry in mount_table()
        )  # an XFS that has shut down tells nothing of itself


def mount_table() -> list[MountEntry]:
    """Everything mounted in this thread's mount namespace, in the order it was mounted."""
    return [parse_mount_line(line) for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()]


def parse_mount_line(line: str) -> MountEntry:
    """proc_pid_mountinfo(5): "36 35 98:0 /root /target opts optional* - kind source superopts"; blanks in paths are octal."""
    left, _, right = line.partition(" - ")
    fields, (kind, source, options) = left.split(" "), right.split(" ", 2)
    return MountEntry(_unescape(fields[4]), fields[2], kind, _unescape(source), options)


def unmount_below(folder: Path) -> int:
    """Unmounts everything at or below `folder`, the last mounted first; returns how many. What is busy is detached: it goes when
    its last user goes."""
    prefix = f"{folder}/"
    targets = [
        entry.target for entry in mount_table() if entry.target == str(folder) or entry.target.startswith(prefix)
    ]
    for target in reversed(targets):
        try:
            unmount(Path(target))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            unmount(Path(target), MNT_DETACH)
    return len(targets)


def clone_idmapped(folder: Path, user_namespace: int, *, programs: bool = False) -> int:
    """A detached clone of the mount below `folder`, with owners shifted as `user_namespace` (an fd) maps them. Returns an fd that
    works as a path through /proc/self/fd; the caller closes it. `programs`:
    may be run from it, whatever the mount says. OSError EINVAL where the kernel or file system cannot."""
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC)
    tree = _check(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, ctypes.c_char_p(os.fsencode(folder)), flags), folder)
    cleared = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NOEXEC if programs else 0
    attributes = _MountAttr(attr_set=_MOUNT_ATTR_IDMAP, attr_clr=cleared, userns_fd=user_namespace)
    try:
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        empty = ctypes.c_char_p(b"")
        result = _libc.syscall(_SYS_MOUNT_SETATTR, tree, empty, _AT_EMPTY_PATH, ctypes.byref(attributes), size)
        _check(result, folder)
    except OSError:
        os.close(tree)
        raise
    return tree


def attach(tree: int, target: Path) -> None:
    """Puts a detached clone at `target`."""
    empty = ctypes.c_char_p(b"")
    result = _libc.syscall(
        _SYS_MOVE_MOUNT, tree, empty, _AT_FDCWD, ctypes.c_char_p(os.fsencode(target)), _MOVE_MOUNT_F_EMPTY_PATH
    )
    _check(result, target)


def make_user_namespace(uid_base: int) -> int:
    """An fd of a new user namespace with the mapping described above. Nothing runs in it."""
    # A process must unshare, and a thread may not; a fork of this process would copy its page tables, two small programs do not.
    # `cat` answering tells that unshare is done.
    command = ["unshare", "--user", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(b".")
        if child.stdout.read(1) != b".":
            raise OSError(errno.EPERM, "this kernel makes no user namespaces")
        mapping = f"0 {uid_base} {IDS}\n{IDS} 0 1\n"
        Path(f"/proc/{child.pid}/uid_map").write_text(mapping)
        Path(f"/proc/{child.pid}/gid_map").write_text(mapping)
        namespace = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        child.stdin.close()
    return namespace


def _check(result: int, path: Path) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    return result


def _unescape(text: str) -> str:
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
