"""Files of a guest's root as a tar, in and out, by a process that has made that root its own.

    python -m gureum.drivers.containers.tar_inside ROOT-FD USERS-FD FOLDER create NAME…  > tar
    python -m gureum.drivers.containers.tar_inside ROOT-FD USERS-FD FOLDER extract       < tar
    python -m gureum.drivers.containers.tar_inside ROOT-FD USERS-FD FOLDER extract UID GID < tar     (all of it becomes that user's)

The process enters the guest's user namespace (USERS-FD, -1 for none), changes its root, and becomes Debian's static busybox by a file that it has
opened before: nothing of the guest's is run, and no link leads out. So owners are those that the guest sees.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys

_CLONE_NEWUSER = 0x1000_0000
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 8, 47, 2
_CAPABILITY_VERSION_3 = 0x2008_0522


def main() -> None:
    root, users = int(sys.argv[1]), int(sys.argv[2])
    folder, verb, *names = sys.argv[3:]
    busybox = os.open(shutil.which("busybox") or "/bin/busybox", os.O_RDONLY)
    os.set_inheritable(busybox, True)
    if users >= 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(users, _CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    os.fchdir(root)
    os.chroot(".")
    os.chdir("/")
    os.chdir(folder)
    os.umask(0)
    command = ["tar", "-c", "-f", "-", "--", *names] if verb == "create" else ["tar", "-x", "-f", "-"]
    if verb == "extract" and names:
        _become(int(names[0]), int(names[1]))
        command.insert(2, "-o")  # what it makes is its own
    os.execve(busybox, command, {"PATH": "/"})


def _become(uid: int, gid: int) -> None:
    """Another user, with the powers of root, also after exec. Sources: capabilities(7), capset(2), prctl(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    _check(libc.capget(header, sets), "capget")
    for half in (0, 3):
        effective, permitted, inheritable = half, half + 1, half + 2
        sets[effective] = sets[inheritable] = sets[permitted]
    _check(libc.capset(header, sets), "capset")
    for capability in range(64):
        if sets[1 + 3 * (capability // 32)] >> (capability % 32) & 1:
            _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


if __name__ == "__main__":
    main()
