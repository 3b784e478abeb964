"""Volumes that are folders, and what a container sees beside its root: files and folders of the host, shown with shifted owners.

    <data_dir>/folders/NAME/       a folder volume: upper/ and work/ of a root, or _data/ of a volume that people name
    <run_dir>/roots/NAME/shown/N   source N of a root (RootSpec.sources), mounted

On the disk all owners are natural (0 is root), so a volume fits any container, and a file of the host belongs inside to whom it belongs outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

from gureum.drivers import mounts
from gureum.drivers.inside_root import open_inside
from gureum.drivers.user_namespaces import UserNamespaces
from gureum.ports import PortError
from gureum.ports.volumes import RootSpec, Source

_COPY_S = 600.0
FOLDER_MODE, FILE_MODE = 0o755, 0o644


class FolderVolumes:
    """All verbs block."""

    def __init__(self, data_dir: Path, namespaces: UserNamespaces) -> None:
        self._folder = data_dir / "folders"
        self._namespaces = namespaces
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self._folder / name

    def ensure(self, name: str) -> None:
        self.path(name).mkdir(mode=0o700, exist_ok=True)

    def remove(self, name: str) -> None:
        path = self.path(name)
        gone = path.with_name(f".{name}.gone")
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def show(self, spec: RootSpec, root: Path) -> None:
        """Brings the sources of a root about; what is shown already stays."""
        shown = root.parent / "shown"
        for index, source in enumerate(spec.sources):
            shown.mkdir(mode=0o711, exist_ok=True)
            target = shown / str(index)
            if target.exists() and _is_mounted(target):
                continue
            path = self._source(source)
            if source.like:
                self._copy_up(path, source.like, root, spec.uid_base)
            self._show(path, target, spec.uid_base)

    def _source(self, source: Source) -> Path:
        path = Path(source.path)
        if source.volume:
            base = self.path(source.volume)
            if not base.exists():
                raise PortError(f"volume {source.volume} does not exist")
            path = base / source.path
        if source.text is not None:
            path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_text(source.text)
            path.chmod(FILE_MODE)
        elif source.make and not path.exists():
            path.mkdir(mode=FOLDER_MODE, parents=True)
        elif source.volume and not path.exists():
            path.mkdir(mode=FOLDER_MODE)
            path.chmod(FOLDER_MODE)
        return path

    def _show(self, path: Path, target: Path, uid_base: int) -> None:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except FileNotFoundError as error:
            raise PortError(f"bind source path does not exist: {path}", retry=False) from error
        if is_folder:
            target.mkdir(exist_ok=True)
        else:
            target.touch(exist_ok=True)
        try:
            self._namespaces.show(path, target, uid_base)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            text = f"the file system of {path} cannot show its files to a container with users of its own: run it with --userns=host"
            raise PortError(text, retry=False) from error

    def _copy_up(self, path: Path, like: str, root: Path, uid_base: int) -> None:
        """What the root has at `like` goes into the folder, if that is empty. It is moved there entry by entry from a draft: another container
        may have the folder already, and nothing that it puts there is followed."""
        if any(path.iterdir()):
            return
        try:
            source = open_inside(root, like, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return  # the root has no such folder
        draft = path.with_name(f".{path.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        try:
            self._copy(source, draft, uid_base)
            found = draft.stat()
            os.chown(path, found.st_uid, found.st_gid)
            path.chmod(stat.S_IMODE(found.st_mode))
            for entry in draft.iterdir():
                with contextlib.suppress(OSError):
                    entry.rename(path / entry.name)
        finally:
            os.close(source)
            shutil.rmtree(draft, ignore_errors=True)

    def _copy(self, source: int, draft: Path, uid_base: int) -> None:
        tree = os.open(draft, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if uid_base:
            namespace = self._namespaces.open(uid_base)
            try:
                os.close(tree)
                tree = mounts.clone_idmapped(draft, namespace)
            finally:
                os.close(namespace)
        try:
            command = ["cp", "-a", "--", f"/proc/self/fd/{source}/.", f"/proc/self/fd/{tree}/"]
            done = subprocess.run(
                command,
                pass_fds=[source, tree],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_COPY_S,
                check=False,
            )
            if done.returncode != 0:
                raise PortError(f"the volume cannot be filled: {done.stderr.decode(errors='replace').strip()[:300]}")
        except subprocess.TimeoutExpired as error:
            raise PortError("the volume cannot be filled in time") from error
        finally:
            os.close(tree)


def hide(root: Path) -> None:
    """Unmounts all that is shown beside a root."""
    shown = root.parent / "shown"
    if not shown.exists():
        return
    for target in sorted(shown.iterdir()):
        while mounts.unmount(target, mounts.MNT_DETACH):
            pass
        target.rmdir() if target.is_dir() else target.unlink()
    shown.rmdir()


def _is_mounted(target: Path) -> bool:
    """Also of a file, and within one file system: the link count cannot tell, statx's mount id can."""
    return any(entry.target == str(target) for entry in mounts.mount_table())
