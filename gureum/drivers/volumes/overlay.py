"""Assembles a root file system: an image's layers below, one volume's upper layer above, owners shifted for its user namespace.

    layer 1 ─ idmapped clone ┐
    layer 2 ─ idmapped clone ┼─ overlay ── root, mounted by host root, shown to the guest with its own owners
    volume  ─ idmapped clone ┘  (upper/, work/)

Layers and volume keep their natural owners on disk (0 is root), so a volume or a snapshot of it fits any instance whatever its uid base.
Clones are detached: nothing but the overlay itself appears among the host's mounts, and they go with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from gureum.drivers.volumes import mounts

UPPER, WORK, RESERVE = "upper", "work", "reserve"
RESERVE_BYTES = 1 << 20
_LEAST_RESERVE_BYTES = 1 << 16
# No redirects or metacopy: both would believe extended attributes of a layer that came from somebody else's archive.
_OPTIONS = "redirect_dir=nofollow,metacopy=off,index=off"


def prepare_upper(volume: Path) -> None:
    """Makes the upper and the work folder on a mounted volume. Idempotent."""
    for name in (UPPER, WORK):
        if not (volume / name).exists():
            (volume / name).mkdir()
            (volume / name).chmod(0o755)


@contextlib.contextmanager
def reserve_given(volume: Path) -> Iterator[None]:
    """For a mount on an XFS: it then has room for a folder, however full a guest made it. An overlay makes its work folder anew at each mount, and
    where that is refused can only be read: nobody inside could delete anything to change that. (An ext4 takes the new folder in the place
    of the old.)"""
    try:
        file = open(volume / RESERVE, "ab", buffering=0)  # noqa: SIM115
    except OSError as error:
        if error.errno != errno.ENOSPC:  # full, and never had one
            raise
        yield
        return
    with file:
        file.truncate(0)
        try:
            yield
        finally:
            _reserve(file.fileno())


def _reserve(file: int) -> None:
    """As much as there is, up to RESERVE_BYTES."""
    size = RESERVE_BYTES
    while size >= _LEAST_RESERVE_BYTES:
        try:
            os.posix_fallocate(file, 0, size)
            return
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            os.ftruncate(file, 0)
            size //= 2


def mount_root(layers: Sequence[Path], volume: Path, target: Path, user_namespace: int | None) -> None:
    """`layers`: the lowest first. `user_namespace`: fd from mounts.make_user_namespace, None for natural owners. The root is `nodev`:
    device nodes in an image or on a volume are only files."""
    with contextlib.ExitStack() as stack:
        lower = [stack.enter_context(_shown(layer, user_namespace)) for layer in layers]
        upper = stack.enter_context(_shown(volume, user_namespace))
        try:
            _mount_overlay([f"/proc/self/fd/{tree}" for tree in lower], f"/proc/self/fd/{upper}", target)
        except OSError as error:
            # Before Linux 6.15 layers must be attached somewhere; for the moment of the mount is enough.
            if user_namespace is None or error.errno != errno.EINVAL:
                raise
            with _attached([*lower, upper], target.parent) as paths:
                _mount_overlay([str(path) for path in paths[:-1]], str(paths[-1]), target)


def _mount_overlay(lower: list[str], volume: str, target: Path) -> None:
    below = ":".join(reversed(lower))
    data = f"lowerdir={below},upperdir={volume}/{UPPER},workdir={volume}/{WORK},{_OPTIONS}"
    mounts.mount("overlay", target, "overlay", mounts.MS_NODEV, data)


@contextlib.contextmanager
def _shown(folder: Path, user_namespace: int | None) -> Iterator[int]:
    if user_namespace is None:
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        fd = mounts.clone_idmapped(folder, user_namespace)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _attached(trees: list[int], folder: Path) -> Iterator[list[Path]]:
    paths = [folder / f"layer-{index}" for index in range(len(trees))]
    try:
        for tree, path in zip(trees, paths, strict=True):
            path.mkdir(mode=0o700, exist_ok=True)
            mounts.attach(tree, path)
        yield paths
    finally:
        for path in paths:
            mounts.unmount(path, mounts.MNT_DETACH)
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()
