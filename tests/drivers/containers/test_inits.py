"""Where the small init comes from when the host has none: `apt-get` and `dpkg-deb` are programs of the test, so no archive is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gureum.drivers.containers import inits
from gureum.drivers.containers.inits import Inits
from gureum.ports import PortError

_APT = """#!/bin/sh
for package; do :; done
grep -q "^$package " {archive} || {{ echo "E: Unable to locate package $package" >&2; exit 100; }}
: > $package.deb
"""
_DPKG = """#!/bin/sh
for name in $(sed -n "s/^$(basename $2 .deb) //p" {archive}); do mkdir -p $3/usr/bin; echo it > $3/usr/bin/$name; done
"""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its lines: a package and the programs in it."""
    programs, archive = tmp_path / "bin", tmp_path / "archive"
    programs.mkdir()
    for name, text in (("apt-get", _APT), ("dpkg-deb", _DPKG)):
        (programs / name).write_text(text.format(archive=archive))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(inits, "_PLACES", ())
    monkeypatch.setattr(inits, "_FILE", "/usr/bin/tini-static-of-the-test")
    return archive


@pytest.mark.parametrize(
    "lines",
    ["tini tini tini-static-of-the-test\n", "tini tini\ntini-static tini-static-of-the-test\n"],
    ids=["Debian 12 and 13", "Debian 14"],
)
def test_an_init_that_the_host_has_not_is_fetched_once(archive: Path, tmp_path: Path, lines: str) -> None:
    archive.write_text(lines)
    kept = Inits(tmp_path / "init").find()
    assert kept.read_text() == "it\n"
    assert os.access(kept, os.X_OK)
    archive.write_text("")
    assert Inits(tmp_path / "init").find() == kept


def test_an_init_that_cannot_be_had_is_told_with_the_package_to_install(archive: Path, tmp_path: Path) -> None:
    archive.write_text("")
    with pytest.raises(PortError, match="cannot download tini "):
        Inits(tmp_path / "init").find()
