"""The small init that `docker run --init` puts before a program: the distribution's tini, Docker's own, else catatonit.

Each is one static program, called as `init -- PROGRAM ARGUMENTS`. Where the host has none, Debian's tini is unpacked aside when it is first wanted:
from the package tini-static, which Debian 14 has parted from tini.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

from gureum.drivers.images import distro_packages
from gureum.ports import PortError

_PLACES = ("/usr/bin/tini-static", "/usr/bin/docker-init", "/usr/libexec/docker/docker-init", "/usr/bin/catatonit")
_PACKAGES, _FILE = ("tini-static", "tini"), "/usr/bin/tini-static"


class Inits:
    """`folder`: where one that the host has not is kept. Used by several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fetching = threading.Lock()

    def find(self) -> Path:
        """Blocks; for seconds when it must be fetched. PortError when that cannot be."""
        for place in _PLACES:
            if os.access(place, os.X_OK):
                return Path(place)
        kept = self._folder / "tini"
        with self._fetching:
            if not kept.exists():
                self._fetch(kept)
        return kept

    def _fetch(self, kept: Path) -> None:
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as work:
            draft = kept.with_suffix(".new")
            shutil.copy(_unpacked(Path(work)), draft)
            draft.chmod(0o755)
            draft.rename(kept)


def _unpacked(work: Path) -> Path:
    *first, last = _PACKAGES
    for package in first:
        with contextlib.suppress(PortError):
            return _from(package, work)
    return _from(last, work)


def _from(package: str, work: Path) -> Path:
    folder = work / package
    folder.mkdir()
    return distro_packages.gather({_FILE: package}, folder).find(_FILE)
