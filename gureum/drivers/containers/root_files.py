"""What people read and write in a container's files from outside, and what it has changed of its image. Fills `ports/root_files.py`."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import msgspec

from gureum.drivers.containers.guest_users import find_user
from gureum.drivers.containers.inside_root import open_inside
from gureum.drivers.containers.root_view import seeing
from gureum.drivers.images.layer_tree import OPAQUE_XATTR
from gureum.ports import PortError
from gureum.ports.root_files import BETWEEN_RUNS, Change, FileStat, View
from gureum.ports.volumes import RootSpec

T = TypeVar("T")
_LIMIT_CHANGES = 1_000_000
_LIMIT_NAMES = 1000
_COPY_S = 3600.0
_COPY_BYTES = 1 << 20
# Empty files that the runtime makes, for Docker's own to be mounted on.
_MOUNTED_ON = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"})


class RootFiles:
    """`data_dir`: the home; `run_dir`: where roots are mounted."""

    def __init__(self, run_dir: Path, data_dir: Path) -> None:
        self._roots, self._folders, self._users = run_dir / "roots", data_dir / "folders", run_dir / "userns"

    async def look(self, name: str, path: str, view: View = ()) -> FileStat:
        return await self._seeing(name, view, lambda: self._look(name, path))

    async def read(self, name: str, path: str, into: str, view: View = ()) -> None:
        await self._seeing(name, view, lambda: self._read(name, path, into))

    async def write(self, name: str, path: str, source: str, view: View = (), *, user: str = "") -> None:
        await self._seeing(name, view, lambda: self._write(name, path, source, user))

    async def _seeing(self, name: str, view: View, function: Callable[[], T]) -> T:
        return await asyncio.to_thread(seeing, self._root(name), view, function)

    async def changes(self, name: str, lowers: tuple[str, ...]) -> tuple[Change, ...]:
        return await asyncio.to_thread(self._changes, name, lowers)

    async def layer(self, name: str, into: str) -> None:
        await asyncio.to_thread(self._layer, name, into)

    def _root(self, name: str) -> Path:
        root = self._roots / name / "root"
        if not name or "/" in name or not (self._roots / name / "root.json").exists():
            raise PortError(f"/ {BETWEEN_RUNS}")
        return root

    def _look(self, name: str, path: str) -> FileStat:
        root = self._root(name)
        if path.endswith(("/", "/.")):
            return self._look_at_folder(root, path)
        try:
            parent = open_inside(root, os.path.dirname(path.rstrip("/")) or "/", os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise PortError(f"Could not find the file {path} in container", retry=False) from error
        try:
            base = os.path.basename(path.rstrip("/"))
            found = (
                os.stat(base, dir_fd=parent, follow_symlinks=False) if base not in ("", ".", "..") else os.stat(root)
            )
            link = os.readlink(base, dir_fd=parent) if stat.S_ISLNK(found.st_mode) else ""
        except OSError as error:
            raise PortError(f"Could not find the file {path} in container", retry=False) from error
        finally:
            os.close(parent)
        return FileStat(base or "/", found.st_size, found.st_mode, found.st_mtime, link)

    def _look_at_folder(self, root: Path, path: str) -> FileStat:
        try:
            folder = open_inside(root, path, os.O_PATH | os.O_DIRECTORY)
        except NotADirectoryError as error:
            raise PortError(f"stat {path}: not a directory", retry=False) from error
        except OSError as error:
            raise PortError(f"Could not find the file {path} in container", retry=False) from error
        try:
            found = os.fstat(folder)
        finally:
            os.close(folder)
        return FileStat(os.path.basename(path.rstrip("/")) or "/", found.st_size, found.st_mode, found.st_mtime)

    def _held(self, name: str) -> tuple[int, int]:
        """fds of the root and of its users, -1 for none: one that has just stopped may have its users still, and a root that is not shifted to
        them any more."""
        root = os.open(self._root(name), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            record = msgspec.json.decode((self._roots / name / "root.json").read_bytes(), type=RootSpec)
            return root, os.open(self._users / name, os.O_RDONLY | os.O_CLOEXEC) if record.uid_base else -1
        except FileNotFoundError as error:
            os.close(root)
            raise PortError(f"/ {BETWEEN_RUNS}") from error

    def _run(self, name: str, folder: str, words: list[str], stdin: BinaryIO | int, stdout: BinaryIO | int) -> None:
        root, users = self._held(name)
        try:
            command = [
                sys.executable,
                "-P",
                "-m",
                "gureum.drivers.containers.tar_inside",
                str(root),
                str(users),
                folder,
                *words,
            ]
            descriptors = [root, *([users] if users >= 0 else [])]
            done = subprocess.run(
                command,
                pass_fds=descriptors,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                timeout=_COPY_S,
                check=False,
            )
            if done.returncode != 0:
                raise PortError(
                    f"files cannot be copied: {done.stderr.decode(errors='replace').strip()[-300:]}", retry=False
                )
        finally:
            for descriptor in (root, users):
                if descriptor >= 0:
                    os.close(descriptor)

    def _read(self, name: str, path: str, into: str) -> None:
        clean = path.rstrip("/") or "/"
        self._look(name, path or "/")
        # busybox's tar names what is in a folder "./…": as Docker does it where the path ends so.
        prefix = _prefix(path, self._look(name, clean)) if path.endswith("/") else ""
        whole = clean == "/" or bool(prefix) or path.endswith("/.")
        folder, base = (
            (clean.removesuffix("/.") or "/", ".")
            if whole
            else (os.path.dirname(clean) or "/", os.path.basename(clean))
        )
        names = [base] if path else sorted(os.listdir(self._root(name)))
        with open(into, "wb") as file:
            self._run(
                name, folder, ["create", *(names if len(names) <= _LIMIT_NAMES else ["."])], subprocess.DEVNULL, file
            )
        if prefix:
            _rename(Path(into), prefix)

    def _write(self, name: str, path: str, source: str, user: str) -> None:
        try:
            os.close(open_inside(self._root(name), path, os.O_PATH | os.O_DIRECTORY))
        except OSError as error:
            raise PortError(f"Could not find the file {path} in container", retry=False) from error
        owner = find_user(self._root(name), user)[0] if user else None
        words = ["extract"] if owner is None else ["extract", str(owner.uid), str(owner.gid)]
        with open(source, "rb") as file:
            self._run(name, path, words, file, subprocess.DEVNULL)

    def _changes(self, name: str, lowers: tuple[str, ...]) -> tuple[Change, ...]:
        upper = self._folders / name / "upper"
        found: list[Change] = []
        for folder, folders, files in os.walk(upper):
            for entry in sorted([*folders, *files]):
                path = os.path.join(folder, entry)
                inside = "/" + os.path.relpath(path, upper)
                seen = os.lstat(path)
                if inside in _MOUNTED_ON and not seen.st_size and not stat.S_ISCHR(seen.st_mode):
                    continue
                below = any(os.path.lexists(f"{lower}{inside}") for lower in lowers)
                if stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0:
                    found.append(Change(inside, 2))
                else:
                    found.append(Change(inside, 0 if below else 1))
                if len(found) > _LIMIT_CHANGES:
                    raise PortError("it has changed too much to be told")
        return tuple(one for one in found if not self._is_only_a_way(upper, one, found))

    def _is_only_a_way(self, upper: Path, one: Change, found: list[Change]) -> bool:
        """A folder of the image that is in the layer for what was made in it, of which nothing is told."""
        folder = one.kind == 0 and (upper / one.path.lstrip("/")).is_dir()
        return folder and one.path == "/etc" and not any(other.path.startswith("/etc/") for other in found)

    def _layer(self, name: str, into: str) -> None:
        """The writable layer as an image's layer (OCI image-spec, layer.md: whiteouts)."""
        upper = self._folders / name / "upper"
        with open(into, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for folder, folders, files in os.walk(upper):
                if folder != str(upper):
                    self._opaque(tar, folder, upper)
                for entry in sorted([*folders, *files]):
                    self._entry(tar, os.path.join(folder, entry), upper)

    def _opaque(self, tar: tarfile.TarFile, folder: str, upper: Path) -> None:
        try:
            marked = os.getxattr(folder, OPAQUE_XATTR, follow_symlinks=False) == b"y"
        except OSError:
            return
        if marked:
            tar.addfile(tarfile.TarInfo(f"{os.path.relpath(folder, upper)}/.wh..wh..opq"))

    def _entry(self, tar: tarfile.TarFile, path: str, upper: Path) -> None:
        name = os.path.relpath(path, upper)
        seen = os.lstat(path)
        if f"/{name}" in _MOUNTED_ON and not seen.st_size and not stat.S_ISCHR(seen.st_mode):
            return
        if stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0:
            parent, base = os.path.split(name)
            tar.addfile(tarfile.TarInfo(os.path.join(parent, f".wh.{base}")))
            return
        if stat.S_ISSOCK(seen.st_mode):
            return
        info = tar.gettarinfo(path, name)
        info.uname = info.gname = ""
        if info.isreg():
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as content:
                tar.addfile(info, cast(BinaryIO, content))
        else:
            tar.addfile(info)


def _prefix(path: str, found: FileStat) -> str:
    """What names begin with, of what is in a folder that is not named by its own name: the root, or where a link leads."""
    if not path.strip("/"):
        return "/"
    return f"{os.path.basename(path.rstrip('/'))}/" if stat.S_ISLNK(found.mode) else ""


def _rename(path: Path, prefix: str) -> None:
    """Puts `prefix` in the place of "./" before all names of a tar that our own busybox wrote."""
    with tempfile.TemporaryFile(dir=path.parent) as draft:
        with (
            tarfile.open(path, "r|") as source,
            tarfile.open(fileobj=draft, mode="w|", format=tarfile.GNU_FORMAT) as made,
        ):
            for entry in source:
                entry.name = prefix + entry.name.removeprefix(".").removeprefix("/")
                if entry.islnk():
                    entry.linkname = prefix + entry.linkname.removeprefix("./")
                made.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
                for known in (source, made):  # they would remember each entry
                    known.members = []  # type: ignore[attr-defined]
        # Into the same file: the daemon has it open.
        draft.seek(0)
        with open(path, "r+b") as file:
            shutil.copyfileobj(draft, file, _COPY_BYTES)
            file.truncate()
