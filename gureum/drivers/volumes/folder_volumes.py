"""Volumes that are folders, and what a container sees beside its root: files and folders of the host, shown with shifted owners.

    <data_dir>/folders/NAME/       a folder volume: upper/ and work/ of a root, or _data/ of a volume that people name
    <run_dir>/roots/NAME/shown/N   source N of a root (RootSpec.sources), mounted
    <run_dir>/memory/NAME          a tmpfs that roots are shown, while there is one

On the disk all owners are natural (0 is root), so a volume fits any container, and a file of the host belongs inside to whom it belongs outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import threading
from collections import Counter
from pathlib import Path

from gureum.base.trees import remove_tree
from gureum.drivers.containers.inside_root import open_inside
from gureum.drivers.containers.user_namespaces import UserNamespaces
from gureum.drivers.volumes import mounts
from gureum.ports import PortError
from gureum.ports.volumes import RootSpec, Source

_COPY_S = 600.0
_FLAGS = {
    "nosuid": mounts.MS_NOSUID,
    "nodev": mounts.MS_NODEV,
    "noexec": mounts.MS_NOEXEC,
    "noatime": mounts.MS_NOATIME,
}
FOLDER_MODE, FILE_MODE = 0o755, 0o644


class FolderVolumes:
    """All verbs block."""

    def __init__(self, data_dir: Path, run_dir: Path, namespaces: UserNamespaces) -> None:
        self._folder, self._memory = data_dir / "folders", run_dir / "memory"
        self._turn = threading.Lock()  # of who begins or ends to use memory
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
        with contextlib.suppress(OSError):
            remove_tree(gone)

    def show(self, spec: RootSpec, root: Path) -> None:
        """Brings the sources of a root about; what is shown already stays."""
        shown = root.parent / "shown"
        for index, source in enumerate(spec.sources):
            shown.mkdir(mode=0o711, exist_ok=True)
            target = shown / str(index)
            if target.exists() and _is_mounted(target):
                continue
            if source.memory:
                with self._turn:
                    self._show(self._tmpfs(source, root, spec.uid_base), target, spec.uid_base, programs=False)
                continue
            path = self._source(source)
            if source.like:
                self._copy_up(path, source.like, root, spec.uid_base)
            self._show(path, target, spec.uid_base)

    def hide(self, root: Path) -> None:
        """Unmounts all that is shown beside a root, and the memory that no other is shown."""
        shown = root.parent / "shown"
        if not shown.exists():
            return
        with self._turn:
            for target in sorted(shown.iterdir()):
                while mounts.unmount(target, mounts.MNT_DETACH):
                    pass
                target.rmdir() if target.is_dir() else target.unlink()
            shown.rmdir()
            self._forget_memory()

    def _tmpfs(self, source: Source, root: Path, uid_base: int) -> Path:
        path = self._memory / source.volume
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if mounts.is_mount_point(path):
            return path
        try:
            words = source.memory.split(",")
            flags = sum(_FLAGS[word] for word in set(words) & set(_FLAGS))
            mounts.mount("tmpfs", path, "tmpfs", flags, ",".join(word for word in words if word not in _FLAGS))
        except OSError as error:
            path.rmdir()
            said = f"mount tmpfs:{path}, data: {source.memory}: {(error.strerror or '').lower()}"
            text = f"error while mounting volume '{source.volume}': failed to mount local volume: {said}"
            raise PortError(text, retry=False) from error
        if source.like:
            self._fill(path, source.like, root, uid_base)
        return path

    def _forget_memory(self) -> None:
        if not self._memory.exists():
            return
        uses = Counter(entry.device for entry in mounts.mount_table())
        for path in self._memory.iterdir():
            found = path.stat().st_dev
            if not mounts.is_mount_point(path) or uses[f"{os.major(found)}:{os.minor(found)}"] == 1:
                mounts.unmount(path, mounts.MNT_DETACH)
                path.rmdir()

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

    def _show(self, path: Path, target: Path, uid_base: int, *, programs: bool = True) -> None:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except FileNotFoundError as error:
            raise PortError(f"bind source path does not exist: {path}", retry=False) from error
        if is_folder:
            target.mkdir(exist_ok=True)
        else:
            target.touch(exist_ok=True)
        try:
            self._namespaces.show(path, target, uid_base, programs=programs)
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
        draft = path.with_name(f".{path.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        try:
            if self._fill(draft, like, root, uid_base):
                found = draft.stat()
                os.chown(path, found.st_uid, found.st_gid)
                path.chmod(stat.S_IMODE(found.st_mode))
                for entry in draft.iterdir():
                    with contextlib.suppress(OSError):
                        entry.rename(path / entry.name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _fill(self, folder: Path, like: str, root: Path, uid_base: int) -> bool:
        """False when the root has no such folder."""
        try:
            source = open_inside(root, like, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            self._copy(source, folder, uid_base)
        finally:
            os.close(source)
        return True

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


def _is_mounted(target: Path) -> bool:
    """Also of a file, and within one file system: the link count cannot tell, statx's mount id can."""
    return any(entry.target == str(target) for entry in mounts.mount_table())
