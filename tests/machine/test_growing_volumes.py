"""Volumes that grow while a machine writes to them, by XFS: on hosts that cannot grow an ext4 that is mounted, and wherever mkfs.xfs is."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Coroutine
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from gureum.base.disk_keys import new_disk_key
from gureum.base.sealing import Sealer
from gureum.drivers.volumes import file_systems, mounts, overlay, volume_files, volume_keys
from gureum.ports.volumes import AttachmentSpec, RootSpec, SnapshotSpec, VolumeSpec, attached_folder
from tests.machine.container_host import GIB, UID_BASE, Host, host_test

XFS = shutil.which("mkfs.xfs") is not None and "\txfs\n" in Path("/proc/filesystems").read_text()
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="real volumes need root"),
    pytest.mark.skipif(not XFS, reason="needs xfsprogs and a kernel with XFS"),
]

MIB = 1 << 20
SHUT_DOWN = 0x8004587D  # linux: XFS_IOC_GOINGDOWN, what an error of the disk below does


def xfs_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    async def on_xfs(host: Host) -> None:
        await host.volumes.close()
        host.volumes = host.new_volumes("xfs")
        await test(host)

    on_xfs.__name__ = test.__name__
    return host_test(on_xfs)


def size_of(path: Path | str) -> int:
    space = os.statvfs(path)
    return space.f_blocks * space.f_frsize


async def space_inside(host: Host, name: str, folder: str) -> int:
    """MiB, as `df` tells them inside."""
    return int((await host.sh(name, f"df -m {folder} | tail -1 | awk '{{print $2}}'"))[1])


@xfs_test
async def test_root_in_use_grows_and_so_does_what_can_be_written(host: Host) -> None:
    root = await host.root("web")
    await host.containers.start(host.spec("web", root, "sleep", "1000"))
    assert file_systems.kind_of(host.work / "home/volumes/vol-web.img") == "xfs"
    assert all(use.allocated_bytes < 16 * MIB for use in await host.volumes.observe())
    (template,) = (host.work / "home/xfs/templates").glob("*.img")
    assert template.stat().st_blocks * 512 < MIB
    assert 900 < await space_inside(host, "web", "/") <= 1024
    fill = "echo kept > /kept; exec 9>/open; dd if=/dev/zero of=/fill bs=1M count=1100 2>&1 | grep -o 'No space'; wc -c </fill"
    told, before = (await host.sh("web", fill))[1].split("\n")[:2]
    assert told == "No space"
    assert 850 * MIB < int(before) < GIB
    for _ in range(2):  # twice is once
        await host.volumes.ensure_volume(VolumeSpec("vol-web", 2 * GIB))
        assert 1900 < await space_inside(host, "web", "/") <= 2048
    more = "dd if=/dev/zero of=/more bs=1M count=300 2>/dev/null && wc -c </more; cat /kept; wc -c </fill"
    assert (await host.sh("web", more))[1].split() == [str(300 * MIB), "kept", before]


def _write_on(file: FileIO) -> None:
    file.seek(0, os.SEEK_END)
    while True:
        file.write(bytes(MIB))


@xfs_test
async def test_full_root_can_be_cleared_after_every_reboot(host: Host) -> None:
    """An overlay that finds no room for its own folder can only be read."""
    fill = "dd if=/dev/zero of=/fill bs=4k; while echo x > /small$((i)); do i=$((i+1)); done"
    os.posix_fallocate(most := os.open(Path(await host.root("web")) / "most", os.O_RDWR | os.O_CREAT), 0, 900 * MIB)
    os.close(most)
    for _ in range(3):
        root = await host.root("web")
        await host.containers.start(host.spec("web", root, "sleep", "1000"))
        assert await host.sh("web", "echo kept > /kept && cat /kept && rm -f /fill") == (0, "kept\n")
        assert "No space left on device" in (await host.sh("web", fill))[1]
        await host.containers.remove("web")
        await host.volumes.release_root("web")
    (Path(await host.root("web")) / "most").unlink()


@xfs_test
async def test_full_volume_without_a_reserve_is_mounted(host: Host) -> None:
    """One of a time before there was any: it can be read, and is whole again when it has grown."""
    root = Path(await host.root("web"))
    (host.run_dir / "volumes/vol-web" / overlay.RESERVE).unlink()
    with (root / "fill").open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, 900 * MIB)
        with pytest.raises(OSError, match="No space"):
            await asyncio.to_thread(_write_on, file)
    for number in range(100_000):
        try:
            (root / f"small-{number}").write_bytes(b"x")
        except OSError:
            break
    await host.volumes.release_root("web")
    assert (Path(await host.root("web")) / "fill").stat().st_size > 800 * MIB
    await host.volumes.release_root("web")
    await host.root("web", 2 * GIB)
    (root / "fill").unlink()


@xfs_test
async def test_attached_volume_grows_and_its_snapshot_makes_larger_ones(host: Host) -> None:
    root = await host.root("web")
    shown = host.spec("web", root, "sleep", "1000")
    await host.containers.start(shown)
    await host.volumes.ensure_volume(VolumeSpec("data", GIB))
    await host.volumes.ensure_attachment(AttachmentSpec("data", "web", "sdf"))
    inside = Path(attached_folder(root)) / "sdf"
    (inside / "one").write_text("1")
    await host.volumes.ensure_volume(VolumeSpec("data", 3 * GIB))
    assert 2.9 * GIB < size_of(inside) <= 3 * GIB
    (inside / "two").write_text("2")
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "data"))
    # Of the same blocks, so with the same id, and mounted at the same time.
    await host.volumes.ensure_volume(VolumeSpec("again", 5 * GIB, "snap"))
    await host.volumes.ensure_attachment(AttachmentSpec("again", "web", "sdg"))
    other = Path(attached_folder(root)) / "sdg"
    assert 4.9 * GIB < size_of(other) <= 5 * GIB
    assert ((other / "one").read_text(), (other / "two").read_text()) == ("1", "2")
    assert (inside / "two").read_text() == "2"


@xfs_test
async def test_key_for_a_volume_that_had_none_makes_an_encrypted_one_of_its_files(host: Host) -> None:
    if not volume_keys.FEATURE.exists():
        pytest.skip("this kernel cannot encrypt ext4")
    root = Path(await host.root("web"))
    (root / "file").write_text("kept")
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "vol-web"))
    key = new_disk_key(Sealer(host.work / "home/keys/seal.key"))
    await host.volumes.ensure_volume(VolumeSpec("secret", 2 * GIB, "snap", key))
    assert file_systems.kind_of(host.work / "home/volumes/secret.img") == "ext4"
    other = Path(await host.volumes.ensure_root(RootSpec("other", "busybox", "secret", UID_BASE)))
    assert (other / "file").read_text() == "kept"
    await host.volumes.ensure_volume(VolumeSpec("new", GIB, key=key))
    assert file_systems.kind_of(host.work / "home/volumes/new.img") == "ext4"


@xfs_test
async def test_volume_that_nobody_used_yet_is_encrypted_as_any(host: Host) -> None:
    """An XFS is empty until it is mounted first: its snapshot's encrypted copy was pending for ever."""
    if not volume_keys.FEATURE.exists():
        pytest.skip("this kernel cannot encrypt ext4")
    await host.volumes.ensure_volume(VolumeSpec("unused", GIB))
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "unused"))
    key = new_disk_key(Sealer(host.work / "home/keys/seal.key"))
    await host.volumes.ensure_snapshot(SnapshotSpec("copy", source="snap", key=key))
    await host.volumes.ensure_volume(VolumeSpec("secret", GIB, "copy", key, key))
    await host.volumes.ensure_root(RootSpec("other", "busybox", "secret", UID_BASE))


@xfs_test
async def test_more_files_than_an_ext4_of_that_size_usually_holds_are_encrypted(host: Host) -> None:
    """An XFS makes inodes as it needs them: a volume of 1 GiB with more files than the 65,536 of mkfs.ext4 could not be encrypted."""
    if not volume_keys.FEATURE.exists():
        pytest.skip("this kernel cannot encrypt ext4")
    folder = Path(await host.root("web")) / "many"
    folder.mkdir()
    for number in range(66_000):
        (folder / str(number)).touch()
    await host.volumes.release_root("web")
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "vol-web"))
    key = new_disk_key(Sealer(host.work / "home/keys/seal.key"))
    await host.volumes.ensure_volume(VolumeSpec("secret", GIB, "snap", key))
    other = Path(await host.volumes.ensure_root(RootSpec("other", "busybox", "secret", UID_BASE)))
    assert len(os.listdir(other / "many")) == 66_000
    told = os.statvfs(host.run_dir / "volumes/secret")
    assert told.f_ffree > 10_000
    assert told.f_blocks * told.f_frsize > 0.9 * GIB


@xfs_test
async def test_file_system_that_has_shut_down_is_mounted_anew(host: Host) -> None:
    root = Path(await host.root("web"))
    (root / "file").write_text("kept")
    mounted = host.run_dir / "volumes/vol-web"
    fd = os.open(mounted, os.O_RDONLY)
    fcntl.ioctl(fd, SHUT_DOWN, struct.pack("=I", 0))
    os.close(fd)
    assert not (await host.volumes.counters())["vol-web"].sound
    assert await host.root("web") == str(root)
    assert (root / "file").read_text() == "kept"
    (root / "file").write_text("written")


@xfs_test
async def test_what_a_guest_deletes_goes_back_to_the_host(host: Host) -> None:
    root = Path(await host.root("web"))
    (root / "fill").write_bytes(os.urandom(64 * MIB))
    mounted = host.run_dir / "volumes/vol-web"
    written_out = ["sync", "--file-system", str(mounted)]
    subprocess.run(written_out, check=True)
    (full,) = await host.volumes.observe()
    assert full.allocated_bytes > 64 * MIB
    (root / "fill").unlink()
    for _ in range(200):
        subprocess.run(written_out, check=True)
        (empty,) = await host.volumes.observe()
        if empty.allocated_bytes < 32 * MIB:
            break
        await asyncio.sleep(0.02)
    assert empty.allocated_bytes < 32 * MIB


@pytest.mark.parametrize("size_gib", [1, 16_000])
def test_log_of_a_large_volume_is_as_small_as_that_of_others(size_gib: int, tmp_path: Path) -> None:
    """All of a log lies on the host's disk once it has been written round."""
    template = tmp_path / "template.img"
    volume_files.make_template(template, size_gib * GIB, tmp_path, "xfs")
    with template.open("rb") as file:
        head = file.read(512)
    # struct xfs_dsb: sb_blocksize, sb_logblocks
    block, log_blocks = (struct.unpack_from(">I", head, at)[0] for at in (4, 96))
    assert block * log_blocks == 64 * MIB


@xfs_test
async def test_kernel_that_does_not_take_what_mkfs_makes_gets_ext4(host: Host) -> None:
    """As that of a host whose xfsprogs are newer and make what it does not know."""

    def refuse(source: str, target: Path, kind: str, *more: Any) -> None:
        if kind == "xfs":
            raise OSError(22, "Invalid argument", str(target))
        real(source, target, kind, *more)

    real, mounts.mount = mounts.mount, refuse
    try:
        await host.root("web")
        await host.root("other")
    finally:
        mounts.mount = real
    for name in ("web", "other"):
        assert file_systems.kind_of(host.work / f"home/volumes/vol-{name}.img") == "ext4"
    assert [path.name for path in (host.work / "home/xfs/templates").glob("*trial*")] == []


@xfs_test
async def test_small_volumes_are_ext4(host: Host) -> None:
    """mkfs.xfs makes none below 300 MB."""
    await host.volumes.ensure_volume(VolumeSpec("small", 64 * MIB))
    assert file_systems.kind_of(host.work / "home/volumes/small.img") == "ext4"
