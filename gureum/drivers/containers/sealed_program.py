"""A program as it is run from memory that nobody can write to, for a runtime that would else copy itself at each start.

Guests could reach a runtime's own file by /proc/PID/exe while it is among them (CVE-2019-5736). crun guards itself: it mounts or copies its file, and
begins anew from there. One that runs from sealed memory sees that nothing has to be done. So the file is copied once, by us.

Sources: memfd_create(2), fcntl(2) "File sealing"; crun's src/libcrun/cloned_binary.c, which asks for exactly these four seals.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_MFD_EXEC = 0x10  # Linux 6.3: may be run even where a host's vm.memfd_noexec says that such memory may not by default
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class SealedProgram:
    """The program at `path`, which may be replaced by another at any time. Any thread may ask."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._fd = -1

    def runnable(self) -> str:
        """A path to run it by, for as long as this process lives; its own where it cannot be sealed."""
        try:
            status = os.stat(self.path)
            seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if seen != self._seen:
                # An earlier one stays open: somebody may be about to run it.
                self._fd, self._seen = _sealed(Path(self.path)), seen
        except OSError:
            return self.path
        return f"/proc/{os.getpid()}/fd/{self._fd}"


def _sealed(path: Path) -> int:
    try:
        fd = os.memfd_create(path.name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_EXEC)
    except OSError:  # an older kernel, which lets any be run
        fd = os.memfd_create(path.name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(path.read_bytes())
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd
