"""The recipe of the built-in image "debian": real Debian, made by mmdebstrap from the distribution's archive on first use.

Two layers: Debian as the archive has it, and on top what makes it an instance (guest/common, guest/debian). PID 1 is sysvinit, which
works in a user namespace on any cgroup layout; systemd would need a cgroup tree of its own that hosts with cgroup v1 do not give.
`service X` and `systemctl X` both work, the latter by a program of ours over init scripts and plain service units.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

from gureum.drivers.images.guest_files import DEFAULT_USER, REBOOT_SIGNAL, guest_files, guest_version
from gureum.drivers.images.image_store import LayerRecipe, Progress, Recipe
from gureum.drivers.images.root_tar import FIXED_TIME_S, RootTar
from gureum.ports import PortError
from gureum.ports.images import ImageConfig

_REVISION = "1"
_FALLBACK_SUITE = "bookworm"
_BUILD_TIMEOUT_S = 1800
_LOOK_S = 0.2
_NOT_LONGER_THAN_WE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount-proc", "--pid", "--fork", "--kill-child"),
)
"""Should this process be killed, all that the command has started ends, and its mounts are gone."""
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

_PACKAGES = (
    "ca-certificates cron curl debian-archive-keyring gpgv inetutils-syslogd init-system-helpers iproute2 iputils-ping less nano "
    "netbase openssh-server procps python3 sudo sysvinit-core wget"
)
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/info/*")
_KEPT = "/usr/share/doc/*/copyright"

_PROGRAMS = {
    "usr/lib/gureum": ("start-system", "stop-system", "start-units", "host-keys", "supervise"),
    "usr/bin": ("systemctl", "journalctl"),
    "usr/sbin": ("init",),
    "usr/local/sbin": ("service",),
}


def recipe(stopping: threading.Event) -> Recipe:
    """For ImageStore. The first build takes a minute or two, or ends when `stopping` is set; when only the guest's own files change, a moment."""
    config = ImageConfig(
        entrypoint=("/sbin/init",),
        env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
        labels={DEFAULT_USER: "admin", REBOOT_SIGNAL: "SIGINT"},
        stop_signal="SIGPWR",
    )
    base = LayerRecipe(f"{_REVISION}-{_suite()}-{guest_version('debian-base')}", partial(_bootstrap, stopping))
    return Recipe((base, LayerRecipe(guest_version("common", "debian"), _build_instance_files)), config)


def _bootstrap(stopping: threading.Event, work: Path, progress: Progress) -> Path:
    """Raises PortError when mmdebstrap is missing, the archive cannot be reached, or it is to stop."""
    if shutil.which("mmdebstrap") is None or not Path(_KEYRING).is_file():
        raise PortError(
            "install the packages mmdebstrap and debian-archive-keyring to build the Debian image", retry=False
        )
    target, customize = work / "debian.tar", work / "customize"
    customize.write_bytes(guest_files("debian-base")["customize"])
    customize.chmod(0o700)
    command = [
        *_NOT_LONGER_THAN_WE,
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=tar",
        f"--include={','.join(_PACKAGES.split())}",
    ]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    command += [f"--dpkgopt=path-include={_KEPT}", f"--customize-hook={customize}", _suite(), str(target)]
    # No mirror is named: mmdebstrap knows Debian's own, with updates and security of a stable release.
    _run(command, progress, stopping)
    return target


def _run(command: list[str], progress: Progress, stopping: threading.Event) -> None:
    """Hands mmdebstrap's own lines of progress on; the last ones say why it failed."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(FIXED_TIME_S), "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    ) as process:
        watch = threading.Thread(target=_watch, args=(process, stopping))
        watch.start()
        last = ""
        for line in process.stderr or ():
            if line.startswith("I: "):
                progress(line.removeprefix("I: ").strip())
            elif line.startswith("E:") or "rror" in line:
                last = line.strip()
        watch.join()
    if process.returncode != 0:
        raise PortError(
            f"the Debian image cannot be built: {last[:300] or f'mmdebstrap ended with {process.returncode}'}"
        )


def _watch(process: subprocess.Popen[str], stopping: threading.Event) -> None:
    """Until it has ended, which it and all it has started are told to do when it takes too long or is to stop: as at Ctrl-C, which lets mmdebstrap
    take its mounts and its folder away."""
    deadline = time.monotonic() + _BUILD_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline and not stopping.wait(_LOOK_S):
        pass
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)


def _build_instance_files(work: Path, _progress: Progress) -> Path:
    _instance_files().write(work / "instance.tar")
    return work / "instance.tar"


def _instance_files() -> RootTar:
    common, own = guest_files("common"), guest_files("debian")
    root = RootTar()
    for name, body in common.items():
        root.file(f"usr/lib/gureum/{name}", body, 0o644 if name.endswith(".sh") else 0o755)
    for name in ("image.sh", "system-scripts.sh"):
        root.file(f"usr/lib/gureum/{name}", own[name])
    for folder, names in _PROGRAMS.items():
        for name in names:
            root.file(f"{folder}/{name}", own[name], 0o755)
    root.file("etc/inittab", own["inittab"])
    # The kernel's log is closed to guests, and reading it in vain takes all of a processor.
    root.file("etc/default/inetutils-syslogd", 'SYSLOGD_OPTS="--no-forward --no-klog"\n')
    root.file("etc/hostname", "localhost\n")
    root.file("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
    root.file("etc/resolv.conf", "nameserver 169.254.169.253\n")
    root.file("etc/sudoers.d/90-cloud-init-users", "admin ALL=(ALL) NOPASSWD:ALL\n", 0o440)
    root.file("etc/ssh/sshd_config.d/50-cloud-init.conf", "PasswordAuthentication no\n", 0o600)
    return root


def _suite() -> str:
    """The host's release when it is Debian."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return _FALLBACK_SUITE
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    suite = values.get("VERSION_CODENAME", "").strip('"')
    return suite if values.get("ID", "").strip('"') == "debian" and suite else _FALLBACK_SUITE
