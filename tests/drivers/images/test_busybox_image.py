"""What the small image is made of: libraries found as the dynamic linker would, and the same bytes from the same packages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gureum.drivers.images import busybox_image, elf
from gureum.drivers.images.distro_packages import PackageFiles
from gureum.drivers.images.root_tar import RootTar
from gureum.ports import PortError

DROPBEAR = Path("/usr/sbin/dropbear")
HOST = PackageFiles([Path("/")])


@pytest.mark.skipif(not DROPBEAR.exists() or shutil.which("ldd") is None, reason="needs dropbear-bin and ldd")
def test_libraries_are_those_that_ldd_names() -> None:
    shown = subprocess.run(["ldd", str(DROPBEAR)], capture_output=True, check=True, text=True, timeout=20).stdout
    expected = {name: Path(path).resolve() for name, path in re.findall(r"(\S+) => (\S+)", shown)}
    found = elf.closure([DROPBEAR], HOST.library)
    # ldd leaves the dynamic linker's own name without an arrow.
    assert {name: path.resolve() for name, path in found.items() if not name.startswith("ld-")} == expected


def test_what_is_no_program_is_refused() -> None:
    with pytest.raises(ValueError, match="no 64-bit"):
        elf.linkage(Path("/etc/passwd"))


def test_missing_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(PortError, match=r"libnone\.so\.1"):
        PackageFiles([tmp_path]).library("libnone.so.1")


def test_file_is_found_under_either_spelling(tmp_path: Path) -> None:
    """Releases differ in whether a package names /bin or /usr/bin."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/tool").write_text("x")
    files = PackageFiles([tmp_path])
    assert files.find("/bin/tool") == files.find("/usr/bin/tool") == tmp_path / "usr/bin/tool"


def test_root_does_not_depend_on_the_order_of_its_making(tmp_path: Path) -> None:
    one, two = RootTar(), RootTar()
    for root, order in ((one, 1), (two, -1)):
        for name in ["a", "b", "c"][::order]:
            root.file(f"etc/{name}", name)
    one.write(tmp_path / "one.tar")
    two.write(tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


@pytest.mark.skipif(not DROPBEAR.exists(), reason="needs dropbear-bin")
def test_same_packages_give_the_same_image(tmp_path: Path) -> None:
    bodies = []
    for name in "ab":
        (tmp_path / name).mkdir()
        bodies.append(busybox_image.build(tmp_path / name, lambda _text: None).read_bytes())
    assert bodies[0] == bodies[1]
