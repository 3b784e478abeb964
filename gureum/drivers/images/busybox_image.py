"""The recipe of the built-in image "busybox": a small Linux from two of the distribution's packages and the files under guest/, built in
well under a second, without starting a service or running a maintainer script.

BusyBox (static), dropbear as SSH server with the libraries it needs, and where the host has it udpsvd, since this BusyBox serves no UDP.
PID 1 is BusyBox's init. Every program of BusyBox is a link in /usr/bin, and /bin, /sbin and /usr/sbin are that same folder, so any path
that a script uses works.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from gureum.drivers.images import elf
from gureum.drivers.images.distro_packages import TRIPLET, PackageFiles, gather
from gureum.drivers.images.guest_files import DEFAULT_USER, REBOOT_SIGNAL, guest_files, guest_version
from gureum.drivers.images.image_store import LayerRecipe, Progress, Recipe
from gureum.drivers.images.root_tar import RootTar
from gureum.ports.images import ImageConfig

_REVISION = "1"
"""Raise it when the recipe below changes; changes of the guest's files count by themselves."""

_FILES = {
    "/usr/sbin/dropbear": "dropbear-bin",
    "/usr/bin/dropbearkey": "dropbear-bin",
    "/usr/bin/dbclient": "dropbear-bin",
    f"/usr/lib/{TRIPLET}/libtomcrypt.so.1": "libtomcrypt1",
    f"/usr/lib/{TRIPLET}/libtommath.so.1": "libtommath1",
}
_BUSYBOX = "/bin/busybox"
_UDPSVD = Path("/usr/bin/udpsvd")
"""Of the package ipsvd; an image is none the worse without it, so it is not fetched for its sake."""
_NOT_LINKED = frozenset({"busybox", "dpkg", "dpkg-deb", "rpm", "linuxrc", "reboot", "poweroff", "halt", "init"})
"""No package manager that would find no database; reboot and poweroff by path are scripts of ours, see guest/busybox/power."""

_WHEEL = 10
_PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
ec2-user:x:1000:1000:EC2 default user:/home/ec2-user:/bin/sh
"""
_GROUP = """\
root:x:0:
daemon:x:1:
adm:x:4:
tty:x:5:
wheel:x:10:ec2-user
www-data:x:33:
users:x:100:
nogroup:x:65534:
ec2-user:x:1000:
"""
# root's password is empty so that su asks wheel for none. Only wheel may run the one su that has power, login lets root in on no terminal
# (/etc/securetty), and dropbear lets nobody in with an empty password.
_SHADOW = """\
root::19000:0:99999:7:::
daemon:*:19000:0:99999:7:::
nobody:*:19000:0:99999:7:::
ec2-user:*:19000:0:99999:7:::
"""
_PROFILE = """\
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PS1='\\u@\\h:\\w\\$ '
"""
_RELEASE = """\
NAME="gureum busybox"
ID=gureum-busybox
ID_LIKE=busybox
PRETTY_NAME="gureum's small Linux (BusyBox)"
"""


def recipe() -> Recipe:
    """For ImageStore."""
    config = ImageConfig(
        entrypoint=("/sbin/init",),
        env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
        labels={DEFAULT_USER: "ec2-user", REBOOT_SIGNAL: "SIGTERM"},
        stop_signal="SIGINT",
    )
    version = f"{_REVISION}-{guest_version('common', 'busybox')}{'-udpsvd' if _UDPSVD.is_file() else ''}"
    return Recipe((LayerRecipe(version, build),), config)


def build(work: Path, progress: Progress) -> Path:
    """Raises PortError when a package can neither be found nor fetched."""
    progress("gathering busybox-static and dropbear-bin")
    files = gather({**_FILES, **_busybox_package()}, work)
    root = RootTar()
    _add_folders(root)
    _add_programs(root, files)
    _add_configuration(root)
    root.write(work / "busybox.tar")
    return work / "busybox.tar"


def _busybox_package() -> dict[str, str]:
    """The host's own busybox serves only when it is the static one (the package `busybox` is linked against libc)."""
    path = Path(_BUSYBOX)
    if path.is_file() and not elf.linkage(path).needed:
        return {}
    return {"/usr/share/doc/busybox-static/copyright": "busybox-static"}


def _add_folders(root: RootTar) -> None:
    root.folder(".")
    for path in ("etc", "usr", "usr/bin", "usr/lib", "usr/lib64", f"usr/lib/{TRIPLET}", "usr/lib/gureum", "usr/local"):
        root.folder(path)
    for path in (
        "usr/local/bin",
        "usr/local/sbin",
        "usr/share",
        "dev",
        "proc",
        "sys",
        "run",
        "mnt",
        "opt",
        "srv",
        "home",
    ):
        root.folder(path)
    for path in ("var", "var/log", "var/lib", "var/lib/cloud", "var/spool", "var/cache", "var/www", "etc/dropbear"):
        root.folder(path)
    for path in ("tmp", "var/tmp"):
        root.folder(path, 0o1777)
    root.folder("root", 0o700)
    root.folder("home/ec2-user", 0o755, (1000, 1000))
    for path, target in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")):
        root.link(path, target)
    root.link("usr/sbin", "bin")
    root.link("var/run", "/run")


def _add_programs(root: RootTar, files: PackageFiles) -> None:
    busybox = files.find(_BUSYBOX)
    applets = subprocess.run([str(busybox), "--list"], capture_output=True, check=True, text=True).stdout.split()
    for applet in applets:
        if applet not in _NOT_LINKED:
            root.link(f"usr/bin/{applet}", "busybox")
    root.link("usr/bin/init", "busybox")
    root.copy("usr/bin/busybox", busybox, 0o755)
    # sudo's way to root, for wheel alone. (BusyBox's own list of who may use what, /etc/busybox.conf, crashes Debian 12's build.)
    root.file("usr/lib/gureum/su", busybox.read_bytes(), 0o4750, (0, _WHEEL))
    programs = [files.find(path) for path in ("/usr/sbin/dropbear", "/usr/bin/dropbearkey", "/usr/bin/dbclient")]
    programs += [_UDPSVD] if _UDPSVD.is_file() else []
    for program in programs:
        root.copy(f"usr/bin/{program.name}", program, 0o755)
    root.link("usr/bin/ssh", "dbclient")
    for name, library in elf.closure(programs, files.library).items():
        root.copy(f"usr/lib/{TRIPLET}/{name}", library, 0o755)
    interpreter = elf.linkage(programs[0]).interpreter
    root.copy(f"usr{interpreter}", files.library(Path(interpreter).name), 0o755)


def _add_configuration(root: RootTar) -> None:
    common, own = guest_files("common"), guest_files("busybox")
    for name, body in common.items():
        root.file(f"usr/lib/gureum/{name}", body, 0o644 if name.endswith(".sh") else 0o755)
    root.file("usr/lib/gureum/image.sh", own["image.sh"])
    for name in ("sshd", "shutdown"):
        root.file(f"usr/lib/gureum/{name}", own[name], 0o755)
    for name in ("reboot", "poweroff", "halt"):
        root.file(f"usr/bin/{name}", own["power"], 0o755)
    for name in ("sudo", "nohup"):
        root.file(f"usr/bin/{name}", own[name], 0o755)
    root.file("etc/inittab", own["inittab"])
    root.file("etc/passwd", _PASSWD)
    root.file("etc/group", _GROUP)
    root.file("etc/shadow", _SHADOW, 0o600)
    root.file(
        "etc/securetty", "# Terminals on which root may sign in. Give root a password before naming one: `console`.\n"
    )
    root.file("etc/shells", "/bin/sh\n/bin/ash\n")
    root.file("etc/profile", _PROFILE)
    root.file("etc/os-release", _RELEASE)
    root.file("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
    root.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
