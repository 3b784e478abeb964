"""Files of Debian packages: the installed ones of this host, or downloaded and unpacked aside. Nothing is ever installed, so no
service starts and no maintainer script runs.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from gureum.ports import PortError

TRIPLET = f"{platform.machine()}-linux-gnu"

_LIBRARY_FOLDERS = (f"usr/lib/{TRIPLET}", f"lib/{TRIPLET}", "usr/lib64", "lib64", "usr/lib", "lib")
_TIMEOUT_S = 120


class PackageFiles:
    """Looks for files in folders, in order: what was unpacked aside first, the host last."""

    def __init__(self, roots: list[Path]) -> None:
        self._roots = roots

    def find(self, path: str) -> Path:
        """`path`: absolute inside the package, e.g. "/usr/sbin/dropbear". Raises PortError when no package has it."""
        plain = path.removeprefix("/usr").lstrip("/")
        for root in self._roots:
            # Releases differ in whether a package names /usr/bin or the link /bin.
            for candidate in (root / plain, root / "usr" / plain):
                if candidate.is_file():
                    return candidate
        raise PortError(f"{path} is in none of the packages that were found", retry=False)

    def library(self, name: str) -> Path:
        """The file of a shared library, e.g. "libc.so.6"."""
        for root in self._roots:
            for folder in _LIBRARY_FOLDERS:
                candidate = root / folder / name
                if candidate.is_file():
                    return candidate
        raise PortError(f"the shared library {name} is missing on this host", retry=False)


def gather(files: dict[str, str], work: Path) -> PackageFiles:
    """`files`: a file that must be there → the package that brings it. What the host has not is downloaded with apt and unpacked
    in `work`. Raises PortError when the host is no Debian or Ubuntu, or the archive cannot be reached."""
    missing = sorted({package for file, package in files.items() if not Path(file).is_file()})
    if not missing:
        return PackageFiles([Path("/")])
    unpacked = work / "packages"
    unpacked.mkdir()
    _download(missing, work)
    for archive in sorted(work.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(archive), str(unpacked)], work, f"unpack {archive.name}")
    return PackageFiles([unpacked, Path("/")])


def _download(packages: list[str], work: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PortError(f"install {', '.join(packages)}: this host has no apt to fetch them with", retry=False)
    command = ["apt-get", "download", "--quiet", "--option", "APT::Sandbox::User=root", *packages]
    _run(command, work, f"download {', '.join(packages)} (run `apt-get update`, or install them)")


def _run(command: list[str], work: Path, what: str) -> None:
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PortError(f"cannot {what}: no answer within {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise PortError(f"cannot {what}: {last[:200]}")
