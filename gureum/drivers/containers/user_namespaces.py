"""User namespaces that mounts are shifted by, one for each range of owners; kept, because making one starts a process."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from gureum.drivers.volumes import mounts

_KEPT = 256


class UserNamespaces:
    """For any thread."""

    def __init__(self) -> None:
        self._kept: dict[int, int] = {}
        self._making = threading.Lock()

    def open(self, uid_base: int) -> int:
        """An fd of its own for the caller, who closes it."""
        with self._making:
            if uid_base not in self._kept:
                while len(self._kept) >= _KEPT:
                    os.close(self._kept.pop(next(iter(self._kept))))
                self._kept[uid_base] = mounts.make_user_namespace(uid_base)
            return os.dup(self._kept[uid_base])

    def show(self, source: Path, target: Path, uid_base: int, *, programs: bool = True) -> None:
        """A file or folder at `target` too, with what is mounted in it; its owners shifted by `uid_base`. `programs`: may be run from it, whatever
        its own mount says. OSError EINVAL when its file system cannot be shown so (an idmapped mount)."""
        if not uid_base:
            mounts.mount(str(source), target, "", mounts.MS_BIND | mounts.MS_REC)
            return
        namespace = self.open(uid_base)
        try:
            tree = mounts.clone_idmapped(source, namespace, programs=programs)
            try:
                mounts.attach(tree, target)
            finally:
                os.close(tree)
        finally:
            os.close(namespace)

    def close(self) -> None:
        for namespace in self._kept.values():
            os.close(namespace)
        self._kept.clear()
