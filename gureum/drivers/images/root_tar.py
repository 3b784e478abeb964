"""Writes a root file system as a tar whose bytes depend on its contents alone: sorted, one fixed time, no names of this host. So the
same packages give the same image digest on every machine.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

FIXED_TIME_S = 1_704_067_200
"""2024-01-01, on every entry."""


class RootTar:
    """Collects entries; `write` puts them down. A later entry of the same path replaces the earlier one."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def folder(self, path: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> None:
        self._add(path, tarfile.DIRTYPE, mode, owner, b"")

    def link(self, path: str, target: str) -> None:
        self._add(path, tarfile.SYMTYPE, 0o777, (0, 0), b"").linkname = target

    def file(self, path: str, data: bytes | str, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        self._add(path, tarfile.REGTYPE, mode, owner, data.encode() if isinstance(data, str) else data)

    def copy(self, path: str, source: Path, mode: int = 0o644) -> None:
        self.file(path, source.read_bytes(), mode)

    def _add(self, path: str, kind: bytes, mode: int, owner: tuple[int, int], data: bytes) -> tarfile.TarInfo:
        info = tarfile.TarInfo(path.strip("/"))
        info.type, info.mode, info.mtime, info.size = kind, mode, FIXED_TIME_S, len(data)
        info.uid, info.gid = owner
        self._entries[info.name] = (info, data)
        return info

    def write(self, target: Path) -> None:
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
            for _, (info, data) in sorted(self._entries.items()):
                tar.addfile(info, io.BytesIO(data))
