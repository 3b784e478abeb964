"""A container's root as the container sees it: with its volumes and files of the host in it, for the time of one function.

    host's mounts ── thread with mounts of its own ── root + shown/0 at /data + shown/1 at /etc/hosts …

The thread that sees them so, and what it starts, is the only one; with its end the mounts are gone, also when we are killed. Sources: unshare(2),
which lets a single thread have mounts of its own.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gureum.drivers.containers.inside_root import open_inside
from gureum.drivers.volumes import mounts
from gureum.ports import PortError
from gureum.ports.root_files import BETWEEN_RUNS, View
from gureum.ports.volumes import shown_at

T = TypeVar("T")
_CLONE_NEWNS = 0x0002_0000
_MS_RDONLY, _MS_REMOUNT, _MS_PRIVATE = 1, 32, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def seeing(root: Path, view: View, function: Callable[[], T]) -> T:
    """What `function` returns or raises. PortError while the root, or what is seen in it, comes or goes. Blocks."""
    if not view:
        _check_mounted(root, ())
        return function()

    def look() -> T:
        if _libc.unshare(_CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        mounts.mount("", Path("/"), "", mounts.MS_REC | _MS_PRIVATE)
        _check_mounted(root, view)  # of what can go no more: these mounts are ours alone
        for index, (target, fixed) in enumerate(view):
            _mount(root, Path(shown_at(str(root), index)), target, fixed=fixed)
        return function()

    with ThreadPoolExecutor(1, "root-view") as one_thread:
        return one_thread.submit(look).result()


def _check_mounted(root: Path, view: View) -> None:
    """An empty folder is left for a moment where something was mounted: it must not be taken for a volume."""
    mounted = {entry.target for entry in mounts.mount_table()}
    wanted = [("/", str(root)), *((target, shown_at(str(root), index)) for index, (target, _) in enumerate(view))]
    for target, place in wanted:
        if place not in mounted:
            raise PortError(f"{target} {BETWEEN_RUNS}", retry=True)


def _mount(root: Path, source: Path, target: str, *, fixed: bool) -> None:
    place = _place(root, target, folder=source.is_dir())
    try:
        where = Path(f"/proc/thread-self/fd/{place}")
        mounts.mount(str(source), where, "", mounts.MS_BIND | mounts.MS_REC)
    finally:
        os.close(place)
    if fixed:
        _fix(root, target)


def _fix(root: Path, target: str) -> None:
    """Its other flags stay: the kernel gives them up for nobody."""
    mounted = open_inside(root, target, os.O_PATH)
    try:
        flags = os.fstatvfs(mounted).f_flag & (mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC)
        where = Path(f"/proc/thread-self/fd/{mounted}")
        mounts.mount("", where, "", mounts.MS_BIND | _MS_REMOUNT | _MS_RDONLY | flags)
    finally:
        os.close(mounted)


def _place(root: Path, target: str, *, folder: bool) -> int:
    """An fd of where the container sees `target`; made as the runtime would make it."""
    parts = [part for part in target.split("/") if part]
    for depth in range(1, len(parts) + 1):
        path, last = "/".join(parts[:depth]), depth == len(parts)
        try:
            os.close(open_inside(root, path, os.O_PATH))
        except FileNotFoundError:
            parent = open_inside(root, os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
            try:
                if folder or not last:
                    os.mkdir(parts[depth - 1], dir_fd=parent)
                else:
                    os.mknod(parts[depth - 1], stat.S_IFREG, dir_fd=parent)
                os.chmod(
                    parts[depth - 1], 0o755 if folder or not last else 0o644, dir_fd=parent
                )  # whatever our umask is
            finally:
                os.close(parent)
    return open_inside(root, target, os.O_PATH)
