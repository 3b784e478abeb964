"""Files of a guest's root as a tar, in and out, by a process that has made that root its own.

    python -m gureum.drivers.containers.tar_inside ROOT-FD USERS-FD FOLDER create NAME…  > tar
    python -m gureum.drivers.containers.tar_inside ROOT-FD USERS-FD FOLDER extract       < tar

The process enters the guest's user namespace (USERS-FD, -1 for none), changes its root, and becomes Debian's static busybox by a file that it has
opened before: nothing of the guest's is run, and no link leads out. So owners are those that the guest sees.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys

_CLONE_NEWUSER = 0x1000_0000


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
    os.execve(busybox, command, {"PATH": "/"})


if __name__ == "__main__":
    main()
