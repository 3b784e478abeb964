"""Control groups read and written on a v2 tree made of plain files (real v1 trees: tests/machine), and the lines of mountinfo."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gureum.drivers.containers.cgroups import Cgroups
from gureum.drivers.volumes import mounts
from gureum.ports import PortError
from gureum.ports.containers import DiskLimit, Limits, Usage


@pytest.fixture
def group(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    path = tmp_path / "gureum-ab12/web"
    path.mkdir(parents=True)
    (path / "cpu.stat").write_text("usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n")
    (path / "memory.current").write_text("900\n")
    (path / "memory.stat").write_text("anon 100\nfile 500\nfile_dirty 30\nfile_writeback 4\ninactive_file 300\n")
    (path / "memory.events").write_text("low 0\nmax 4\noom 1\noom_kill 1\n")
    (path / "pids.current").write_text("7\n")
    return path


def test_usage_on_v2(group: Path) -> None:
    groups = Cgroups("ab12", group.parents[1])
    assert groups.version == 2
    assert groups.usage("web") == Usage(cpu_ns=1_500_000, memory_bytes=600, pids=7, unwritten_bytes=34)
    assert groups.usage("db") is None
    assert groups.killed_for_memory("web")
    assert not groups.killed_for_memory("db")
    assert groups.names() == ["web"]


def test_a_move_is_expected_by_moving_to_where_one_is(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "system/gureum").mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/system/gureum\n")
    Cgroups("ab12", tmp_path, own).expect_move()
    assert (tmp_path / "system/gureum/cgroup.procs").read_text() == str(os.getpid())


def test_a_move_that_cannot_be_expected_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    own = tmp_path / "own"
    own.write_text("0::/gone\n")
    Cgroups("ab12", tmp_path, own).expect_move()
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("limits", "files"),
    [
        (Limits(), {"memory.max": "max", "cpu.max": "max 100000", "cpu.weight": "100", "pids.max": "max"}),
        (
            Limits(1 << 20, 0.5, 2, 9),
            {"memory.max": "1048576", "cpu.max": "50000 100000", "cpu.weight": "1", "pids.max": "9"},
        ),
    ],
)
def test_new_limits_on_v2(group: Path, limits: Limits, files: dict[str, str]) -> None:
    Cgroups("ab12", group.parents[1]).update("web", limits)
    assert {name: (group / name).read_text() for name in files} == files


def test_a_limit_below_what_is_held_kills_nobody_on_v2(group: Path) -> None:
    """cgroup-v2.rst: memory.max below the usage ends in the OOM killer, where v1 refuses. Plain files give no memory back."""
    (group / "memory.max").write_text("max")
    (group / "memory.reclaim").touch()
    with pytest.raises(PortError, match="holds more memory than the new limit"):
        Cgroups("ab12", group.parents[1]).update("web", Limits(800))
    assert (group / "memory.reclaim").read_text() == "100"
    assert (group / "memory.max").read_text() == "max"
    Cgroups("ab12", group.parents[1]).update("web", Limits(900))
    assert (group / "memory.max").read_text() == "900"


@pytest.mark.parametrize(
    ("now", "limit"),
    [("max", 0), (f"{1 << 20}", 1 << 20), (f"{1 << 20}", (1 << 20) + 100)],
    ids=["none", "same", "page"],
)
def test_who_holds_a_little_more_than_it_may_has_its_other_limits_all_the_same_on_v2(
    group: Path, now: str, limit: int
) -> None:
    """cgroup-v2.rst, memory.max: "under certain circumstances, the usage may go over the limit temporarily"; packets that came for it count, too."""
    (group / "memory.max").write_text(f"{now}\n")
    (group / "memory.current").write_text(f"{(1 << 20) + 8192}\n")
    Cgroups("ab12", group.parents[1]).update("web", Limits(limit, 0.1))
    assert (group / "cpu.max").read_text() == "10000 100000"
    assert (group / "memory.max").read_text() == f"{now}\n"
    assert not (group / "memory.reclaim").exists()


def test_limits_of_disks_on_v2_where_the_group_has_the_io_controller(group: Path) -> None:
    disks = (DiskLimit("7:3", 3000, 125 << 20),)
    Cgroups("ab12", group.parents[1]).update("web", Limits(disks=disks))
    assert not (group / "io.max").exists()
    (group / "io.max").touch()
    Cgroups("ab12", group.parents[1]).update("web", Limits(disks=disks))
    assert (group / "io.max").read_text() == "7:3 rbps=131072000 wbps=131072000 riops=3000 wiops=3000"
    Cgroups("ab12", group.parents[1]).update("web", Limits(disks=(DiskLimit("7:3"),)))
    assert (group / "io.max").read_text() == "7:3 rbps=max wbps=max riops=max wiops=max"


def test_limits_of_what_is_gone_are_refused(group: Path) -> None:
    with pytest.raises(PortError, match="no control group"):
        Cgroups("ab12", group.parents[1]).update("db", Limits())


def test_mountinfo_lines() -> None:
    entry = mounts.parse_mount_line(
        "36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
    )
    assert entry == mounts.MountEntry("/mnt/a b", "98:0", "ext3", "/dev/root", "rw,errors=continue")
    entry = mounts.parse_mount_line("98 97 0:44 / /x rw - overlay over\\134lay rw")
    assert (entry.kind, entry.source) == ("overlay", "over\\lay")


def test_unmounting_what_is_not_mounted_is_success(tmp_path: Path) -> None:
    try:
        assert not mounts.unmount(tmp_path / "missing")
    except PermissionError:
        pytest.skip("unmounting needs root")
    assert not mounts.unmount(tmp_path)
    assert not mounts.is_mount_point(tmp_path)
    assert not mounts.is_mount_point(tmp_path / "missing")
