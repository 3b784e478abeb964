"""What `make setup` and `make test` install where releases of Debian and Ubuntu differ: `apt-get` and `apt-cache` are programs of the test."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Installing a package makes a file of its name in `tmp_path`. apt-cache says what the file `policy` holds."""
    found = importlib.util.spec_from_file_location("setup_of_the_checkout", ROOT / "tools/setup.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    programs = {
        "apt-get": 'test "$1" = install || exit 0; for one; do case $one in [a-z]*) ;; *) continue ;; esac; echo $one >> log; : > $one; done',
        "apt-cache": 'cat "policy-$2" 2>/dev/null || true',
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ncd {tmp_path} && {{ {text}; }}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(module, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return module


def installed(folder: Path) -> set[str]:
    return {*(folder / "log").read_text().split()} - {"install"} if (folder / "log").exists() else set()


def test_what_a_release_does_not_offer_hinders_no_test(setup: ModuleType, tmp_path: Path) -> None:
    """Ubuntu 24.04 knows the name awscli, and has no version of it."""
    (tmp_path / "policy-awscli").write_text("awscli:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n")
    wanted = {"wrk": f"{tmp_path}/wrk", "awscli": f"{tmp_path}/awscli"}
    setup.install_host_packages(wanted)
    assert installed(tmp_path) == {"wrk"}
    (tmp_path / "policy-awscli").write_text("awscli:\n  Installed: (none)\n  Candidate: 2.23.6-1\n")
    setup.install_host_packages(wanted)
    assert installed(tmp_path) == {"wrk", "awscli"}


@pytest.mark.parametrize(("static", "more"), [(True, set()), (False, {"tini-static"})], ids=["Debian 13", "Debian 14"])
def test_a_program_that_was_parted_from_its_package_is_installed(
    setup: ModuleType, tmp_path: Path, static: bool, more: set[str]
) -> None:
    setup.install_host_packages({"tini": f"{tmp_path}/{'tini' if static else 'tini-static'}"})
    assert installed(tmp_path) == {"tini"} | more
