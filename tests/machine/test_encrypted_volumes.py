"""Encrypted disks: nothing of what a machine writes is on the host's disk, its snapshots need its key, and another key makes it anew."""

from __future__ import annotations

import asyncio
import os
from io import FileIO
from pathlib import Path

import pytest

from gureum.base.disk_keys import new_disk_key
from gureum.base.sealing import Sealer
from gureum.drivers.volumes import loop_devices
from gureum.ports import PortError
from gureum.ports.volumes import AttachmentSpec, RootSpec, SnapshotSpec, VolumeSpec, attached_folder
from tests.machine.container_host import UID_BASE, Host, host_test

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="real volumes need root")]

MIB = 1 << 20
SECRET = b"the-words-that-nobody-else-may-read-"
NAME = b"a-name-that-says-something"


def new_key(host: Host) -> str:
    return new_disk_key(Sealer(host.work / "home/keys/seal.key"))


def on_disk(host: Host, words: bytes) -> set[str]:
    """Files of the home in which these words stand."""
    os.sync()
    home = host.work / "home"
    files = [path for path in home.rglob("*") if path.is_file() and "keys" not in path.parts]
    return {str(path.relative_to(home)) for path in files if words in path.read_bytes()}


async def mount(host: Host, volume: str) -> Path:
    """The root of a machine whose disk it is."""
    return Path(await host.volumes.ensure_root(RootSpec(f"of-{volume}", "busybox", volume, UID_BASE)))


async def write(host: Host, volume: str) -> None:
    root = await mount(host, volume)
    (root / "folder").mkdir()
    (root / "folder" / NAME.decode()).write_bytes(SECRET * 5000)
    (root / "link").symlink_to("folder")
    os.link(root / "folder" / NAME.decode(), root / "again")
    (root / "etc/passwd").unlink()
    os.chown(root / "again", UID_BASE + 7, UID_BASE + 8)
    os.setxattr(root / "again", "user.kept", b"yes")
    await host.volumes.release_root(f"of-{volume}")


async def check(host: Host, volume: str) -> None:
    """What `write` wrote is all there."""
    root = await mount(host, volume)
    assert (root / "folder" / NAME.decode()).read_bytes() == SECRET * 5000
    assert os.readlink(root / "link") == "folder"
    facts = (root / "again").stat()
    assert (facts.st_uid, facts.st_gid, facts.st_nlink) == (UID_BASE + 7, UID_BASE + 8, 2)
    assert os.getxattr(root / "again", "user.kept") == b"yes"
    assert not (root / "etc/passwd").exists()
    assert (root / "bin/busybox").exists()
    await host.volumes.release_root(f"of-{volume}")


@host_test
async def test_what_a_machine_writes_is_not_on_the_hosts_disk(host: Host) -> None:
    key = new_key(host)
    for _ in range(2):
        await host.volumes.ensure_volume(VolumeSpec("secret", 64 * MIB, key=key))
    await host.volumes.ensure_volume(VolumeSpec("plain", 64 * MIB))
    for volume in ("secret", "plain"):
        await write(host, volume)
    assert on_disk(host, SECRET) == on_disk(host, NAME) == {"volumes/plain.img"}
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "secret"))
    assert on_disk(host, SECRET) == {"volumes/plain.img"}
    await host.volumes.ensure_volume(VolumeSpec("again", 96 * MIB, "snap", key, key))
    await check(host, "again")
    await host.volumes.remove_volume("plain")
    assert on_disk(host, SECRET) == set()


@host_test
async def test_an_attached_volume_is_encrypted_too(host: Host) -> None:
    await host.volumes.ensure_volume(VolumeSpec("data", 64 * MIB, key=new_key(host)))
    root = await host.root("web", 64 * MIB)
    await host.containers.start(
        host.spec("web", root, "sleep", "1000"),
    )
    await host.volumes.ensure_attachment(AttachmentSpec("data", "web", "xvdf"))
    folder = Path(attached_folder(root)) / "xvdf"
    (folder / "file").write_bytes(SECRET * 100)
    assert on_disk(host, SECRET) == set()
    assert await host.volumes.release_attachment("data")
    await host.volumes.ensure_attachment(AttachmentSpec("data", "web", "xvdf"))
    assert (folder / "file").read_bytes() == SECRET * 100


@host_test
async def test_without_its_key_a_disk_cannot_be_used_and_a_removed_one_leaves_no_key(host: Host) -> None:
    key = new_key(host)
    await host.volumes.ensure_volume(VolumeSpec("secret", 64 * MIB, key=key))
    await write(host, "secret")
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "secret"))
    await host.volumes.remove_volume("secret")
    assert list((host.work / "home/volumes").iterdir()) == []
    await host.volumes.ensure_volume(VolumeSpec("wrong", 64 * MIB, "snap", (other := new_key(host)), other))
    with pytest.raises(PortError, match="another key"):
        await mount(host, "wrong")
    foreign = f"0:{key.partition(':')[2]}"
    with pytest.raises(PortError, match="key of this home"):
        await host.volumes.ensure_volume(VolumeSpec("foreign", 64 * MIB, "snap", other, foreign))
    assert list((host.work / "home/copies").iterdir()) == []


@host_test
async def test_another_key_or_a_first_one_encrypts_all_files_anew(host: Host) -> None:
    first, second = new_key(host), new_key(host)
    await host.volumes.ensure_volume(VolumeSpec("plain", 64 * MIB))
    await write(host, "plain")
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "plain"))
    await host.volumes.remove_volume("plain")
    await host.volumes.ensure_volume(VolumeSpec("encrypted", 96 * MIB, "snap", first, ""))
    await check(host, "encrypted")
    for _ in range(2):
        await host.volumes.ensure_snapshot(SnapshotSpec("copy", source="snap", key=second))
    await host.volumes.remove_snapshot("snap")
    assert on_disk(host, SECRET) == set()
    await host.volumes.ensure_volume(VolumeSpec("of-copy", 64 * MIB, "copy", second, second))
    await check(host, "of-copy")
    await host.volumes.ensure_volume(VolumeSpec("third", 64 * MIB, "copy", first, second))
    await check(host, "third")
    assert list((host.work / "home/copies").iterdir()) == []
    with pytest.raises(PortError, match="encrypted volumes only"):
        await host.volumes.ensure_volume(VolumeSpec("open", 64 * MIB, "copy", "", second))


@host_test
async def test_files_that_do_not_fit_when_they_are_encrypted_are_told_once(host: Host) -> None:
    """A short link lies in its inode, an encrypted one has a block of its own."""
    await host.volumes.ensure_volume(VolumeSpec("plain", 64 * MIB))
    root = await mount(host, "plain")
    for number in range(2000):
        (root / f"link-{number}").symlink_to("x" * 58)
    with (root / "fill").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        await asyncio.to_thread(_fill, file)
    await host.volumes.release_root("of-plain")
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "plain"))
    key = new_key(host)
    with pytest.raises(PortError, match="do not fit") as refused:
        await host.volumes.ensure_snapshot(SnapshotSpec("copy", source="snap", key=key))
    assert not refused.value.retry
    assert list((host.work / "home/copies").iterdir()) == []
    await host.volumes.ensure_volume(VolumeSpec("larger", 96 * MIB, "snap", key, ""))


def _fill(file: FileIO) -> None:
    while True:
        file.write(b"x" * MIB)


@host_test
async def test_a_process_that_was_killed_while_it_encrypted_leaves_nothing(host: Host) -> None:
    await host.volumes.ensure_volume(VolumeSpec("plain", 64 * MIB))
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "plain"))
    recoding = host.volumes._copies._recoding
    host.volumes._snapshots.restore("snap", recoding.source("cut"), 64 * MIB)
    recoding._open(recoding.source("cut"), "").__enter__()  # as it lies there when the process is killed
    host.volumes = host.new_volumes()
    assert list((host.work / "home/copies").iterdir()) == []
    assert not [path for path in loop_devices.attached() if "copies" in path and str(host.work) in path]
