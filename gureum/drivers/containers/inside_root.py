"""Files of a guest's root, opened by host root: no link of the guest leads out of it.

openat2(2) with RESOLVE_IN_ROOT takes the root for "/" while it resolves, as the guest itself would see it; RESOLVE_NO_MAGICLINKS keeps
/proc's own links out. Sources: openat2(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

_SYS_OPENAT2 = 437
_NO_MAGICLINKS, _IN_ROOT = 0x02, 0x10
_AGAIN = 32  # openat2: EAGAIN when somebody renames something on the way
_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_inside(root: Path | int, path: str, flags: int, mode: int = 0) -> int:
    """An fd of `path` as somebody whose root is `root` (a path or an fd) sees it. OSError as open(2)."""
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(root, Path) else root
    how = _How(flags=flags | os.O_CLOEXEC, mode=mode, resolve=_IN_ROOT | _NO_MAGICLINKS)
    name = os.fsencode(path.lstrip("/") or ".")
    try:
        for _ in range(_AGAIN):
            found = _libc.syscall(_SYS_OPENAT2, folder, ctypes.c_char_p(name), ctypes.byref(how), ctypes.sizeof(how))
            if found >= 0:
                return int(found)
            number = ctypes.get_errno()
            if number != errno.EAGAIN:
                raise OSError(number, os.strerror(number), path)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
    finally:
        if isinstance(root, Path):
            os.close(folder)


def read_inside(root: Path, path: str, limit_bytes: int) -> bytes:
    """At most so many bytes of a regular file; b"" when there is none."""
    try:
        file = open_inside(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return b""
        parts = []
        while limit_bytes > 0 and (data := os.read(file, min(limit_bytes, 1 << 20))):
            parts.append(data)
            limit_bytes -= len(data)
        return b"".join(parts)
    finally:
        os.close(file)
