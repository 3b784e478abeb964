"""Controllers that a hybrid host has left to the unified tree (trap: crun refuses such hosts), and several gureums beside each other on it."""

from __future__ import annotations

import ctypes
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gureum.drivers.containers.cgroups import ROOT, Cgroups
from gureum.drivers.volumes import mounts

UNIFIED = ROOT / "unified/cgroup.controllers"
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not UNIFIED.exists(), reason="needs a hybrid host"),
]


def own_mounts() -> set[str]:
    return {entry.target for entry in mounts.mount_table() if entry.kind == "cgroup" and entry.source == "gureum"}


def test_a_home_that_ends_takes_no_controller_from_one_that_is_about_to_start_its_first_container() -> None:
    ending, starting = (Cgroups(f"t{secrets.token_hex(3)}") for _ in range(2))
    try:
        ending.prepare()
        starting.prepare()
        if not (used := own_mounts()):
            pytest.skip("all controllers have trees of the host here")
        ending.remove_all()
        assert own_mounts() == used
        assert not UNIFIED.read_text().split()
        assert not [place for place in used if (Path(place) / ending.parent.lstrip("/")).exists()]
    finally:
        starting.remove_all()
    assert not [place for place in own_mounts() if (Path(place) / starting.parent.lstrip("/")).exists()]


MS_PRIVATE, CLONE_NEWNS = 1 << 18, 0x20000


def among_own_mounts(act: Callable[[], None]) -> None:
    """In a thread with a mount namespace of its own: what is mounted or taken there is nobody else's."""

    def there() -> None:
        assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
        mounts.mount("none", Path("/"), "", mounts.MS_REC | MS_PRIVATE)
        act()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(there).result()


def test_a_home_that_ends_is_not_hindered_by_one_that_looks_into_a_controller(tmp_path: Path) -> None:
    name = f"t{secrets.token_hex(3)}"

    def act() -> None:
        mounts.mount("gureum", tmp_path, "cgroup", 0, f"none,name={name}")
        looks = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            Cgroups(name).remove_all()
            assert str(tmp_path) in own_mounts()
        finally:
            os.close(looks)
        Cgroups(name).remove_all()
        assert str(tmp_path) not in own_mounts()

    among_own_mounts(act)
