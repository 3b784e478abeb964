"""Real disks: their size, their content over everything that happens, snapshots, growth, what an overlay does in a user namespace."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gureum.drivers.volumes import file_systems, loop_devices, loop_volumes, mounts, volume_files
from gureum.drivers.volumes.volume_snapshots import SnapshotFiles
from gureum.ports import PortError
from gureum.ports.containers import Mount
from gureum.ports.volumes import AttachmentSpec, RootSpec, SnapshotSpec, VolumeSpec, attached_folder
from tests.machine.container_host import GIB, UID_BASE, Host, host_test

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="real volumes need root")]

MIB = 1 << 20


def capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective, 16) >> number & 1)


@host_test
async def test_full_disk_is_enospc_at_its_real_size(host: Host) -> None:
    root = await host.root("web", 64 * MIB)
    await host.containers.start(host.spec("web", root, "sleep", "1000"))
    code, output = await host.sh(
        "web", "dd if=/dev/zero of=/fill bs=1M count=100 2>&1; stat -c %s /fill; df -m / | tail -1"
    )
    assert "No space left on device" in output
    assert code == 0
    written = int(output.split("\n")[-3])
    assert 50 * MIB < written < 64 * MIB
    assert 50 < int(output.split()[-5]) < 64  # what `df` calls the size


@host_test
async def test_what_a_guest_deletes_goes_back_to_the_host(host: Host) -> None:
    root = await host.root("web", 256 * MIB)
    await host.containers.start(host.spec("web", root, "sleep", "1000"))
    await host.sh("web", "dd if=/dev/urandom of=/fill bs=1M count=64; sync")
    (full,) = await host.volumes.observe()
    assert full.allocated_bytes > 64 * MIB
    await host.sh("web", "rm /fill; sync")
    for _ in range(200):
        (empty,) = await host.volumes.observe()
        if empty.allocated_bytes < 16 * MIB:
            break
        await asyncio.sleep(0.02)
    assert empty.allocated_bytes < 16 * MIB
    assert empty.size_bytes == 256 * MIB


@host_test
async def test_new_volume_takes_little_of_the_hosts_disk(host: Host) -> None:
    await host.volumes.ensure_volume(VolumeSpec("data", 8 * GIB))
    (use,) = await host.volumes.observe()
    assert use.size_bytes == 8 * GIB
    assert use.allocated_bytes < MIB


@host_test
async def test_content_survives_stop_start_and_another_container(host: Host) -> None:
    await host.start("web", "echo precious > /root/file; sync; exit 0")
    await host.containers.exited("web")
    await host.containers.remove("web")
    await host.volumes.release_root("web")
    await host.start("web", "cat /root/file")
    await host.containers.exited("web")
    assert b"precious" in await host.containers.console("web")


@host_test
async def test_disk_that_the_kernel_gave_up_is_written_to_again_after_a_reboot(host: Host) -> None:
    """As it does when the host's disk was full: it lets a file system only be read until it is mounted anew."""
    root = await host.root("web")
    for run in range(2):
        await host.containers.start(host.spec("web", root, "sh", "-c", "exec sleep 1000"))
        assert (await host.sh("web", f"cat /kept; echo {run} >> /kept"))[1].split() == ["0"] * run or run == 0
        mounted = host.run_dir / "volumes/vol-web"
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        assert "Read-only" in (await host.sh("web", "echo x > /new"))[1]
        await host.containers.kill("web", 9)
        await host.containers.exited("web")
        assert await host.root("web") == root


@host_test
async def test_owners_on_disk_do_not_depend_on_the_guest(host: Host) -> None:
    """So a snapshot of one guest's disk fits another guest with other ids."""
    await host.start("web", "touch /a; chown 1000:1000 /a; chmod 4755 /a; mkdir /b; exit 0")
    await host.containers.exited("web")
    await host.containers.remove("web")
    volume = host.run_dir / "volumes/vol-web/upper"
    assert ((volume / "a").stat().st_uid, (volume / "b").stat().st_uid) == (1000, 0)
    await host.volumes.release_root("web")
    other = Path(await host.volumes.ensure_root(RootSpec("db", "busybox", "vol-web", UID_BASE + 65536)))
    assert ((other / "a").stat().st_uid, (other / "b").stat().st_uid) == (UID_BASE + 65536 + 1000, UID_BASE + 65536)
    assert (other / "bin/busybox").stat().st_uid == UID_BASE + 65536
    assert (other / "a").stat().st_mode & 0o7777 == 0o4755


@host_test
async def test_overlay_works_for_root_in_a_user_namespace(host: Host) -> None:
    (host.image / "etc/old").mkdir()
    (host.image / "etc/old/file").write_text("below")
    (host.image / "etc/kept").write_text("below")
    await host.start("web", "sleep 1000")
    script = """
        set -e
        rm /etc/old/file && rmdir /etc/old && ! test -e /etc/old       # whiteout of a folder
        mkdir /etc/old && test -z "$(ls /etc/old)"                     # opaque folder
        echo changed >> /etc/kept && grep -q below /etc/kept           # copy up
        chown -R 1000:1000 /etc/kept && chmod 600 /etc/kept
        ln /etc/kept /etc/hard && ln -s kept /etc/soft && mv /etc/hard /etc/moved
        touch /etc/x && mv /etc/x /etc/y && rm /etc/y
        mv /tmp /tmp2 && mv /tmp2 /tmp                                 # a folder from below (copied by mv)
        su user -c '! cat /etc/shadow 2>/dev/null && ! touch /etc/z 2>/dev/null'
        cp -a /bin /bin2 && rm -r /bin2
    """
    assert await host.sh("web", script) == (0, "")
    assert (host.image / "etc/kept").read_text() == "below"
    assert (host.image / "etc/old/file").exists()


@host_test
async def test_device_node_in_an_image_is_only_a_file(host: Host) -> None:
    os.mknod(host.image / "etc/zero", 0o666 | 0o020000, os.makedev(1, 5))
    await host.start("web", "sleep 1000")
    code, output = await host.sh("web", "test -c /etc/zero && head -c 1 /etc/zero")
    assert code != 0
    assert "Permission denied" in output


@pytest.mark.skipif(not Path("/usr/bin/dpkg-deb").exists(), reason="no dpkg here")
@host_test
async def test_package_is_installed_inside(host: Host) -> None:
    """dpkg: hard links, fsync, chown, rename over, its database."""
    for program in (
        "/usr/bin/dpkg",
        "/usr/bin/dpkg-deb",
        "/usr/bin/dpkg-split",
        "/usr/bin/tar",
        "/sbin/ldconfig",
        "/usr/bin/dpkg-query",
    ):
        install(host, program)
    for name in (
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "var/lib/dpkg/triggers",
        "usr/sbin",
        "sbin",
        "pkg/DEBIAN",
        "pkg/opt",
    ):
        (host.image / name).mkdir(parents=True, exist_ok=True)
    (host.image / "var/lib/dpkg/status").touch()
    (host.image / "sbin/start-stop-daemon").symlink_to("/bin/busybox")
    (host.image / "pkg/DEBIAN/control").write_text(
        "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: nobody <a@b>\nDescription: hello\n"
    )
    (host.image / "pkg/opt/hello").write_text("hello from a package\n")
    await host.start("web", "sleep 1000")
    script = """
        export PATH=/usr/bin:/usr/sbin:/sbin:/bin
        /usr/bin/dpkg-deb -b /pkg /hello.deb && /usr/bin/dpkg -i /hello.deb && cat /opt/hello && /usr/bin/dpkg -l hello
    """
    code, output = await host.sh("web", script)
    assert code == 0, output
    assert "hello from a package" in output
    assert "ii  hello" in output


def install(host: Host, program: str) -> None:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout.split()
    for path in [program, *(word for word in listed if word.startswith("/"))]:
        target = host.image / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-L", path, str(target)], check=True)


@host_test
async def test_snapshot_of_a_mounted_volume_has_its_content(host: Host) -> None:
    await host.volumes.close()
    host.volumes = host.new_volumes("ext4")  # which can be checked while its journal is full
    await host.start(
        "web", "dd if=/dev/urandom of=/data bs=1M count=8 2>/dev/null; md5sum /data; echo ready; sleep 1000"
    )
    output = await host.console_says("web", "ready")
    # Not synced by the guest: the freeze writes it out.
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "vol-web"))
    await host.sh("web", "echo later > /later; rm /data")
    await host.volumes.ensure_volume(VolumeSpec("vol-copy", 2 * GIB, "snap"))
    root = await host.volumes.ensure_root(RootSpec("copy", "busybox", "vol-copy", UID_BASE))
    await host.containers.start(
        host.spec(
            "copy",
            root,
            "sh",
            "-c",
            "md5sum /data; test -e /later || echo not-later; df -m / | tail -1; echo ready; sleep 1000",
        )
    )
    copied = await host.console_says("copy", "ready")
    assert output.split()[0] in copied
    assert "not-later" in copied
    assert int(copied.replace("\r", "").split("overlay")[1].split()[0]) > 1900  # grown to its own size
    assert sum(path.stat().st_blocks * 512 for path in (host.work / "home/snapshots").iterdir()) < 64 * MIB
    await host.volumes.ensure_volume(VolumeSpec("vol-check", GIB, "snap"))
    check = subprocess.run(
        ["e2fsck", "-fn", str(host.work / "home/volumes/vol-check.img")], capture_output=True, check=False
    )
    assert check.returncode == 0, check.stdout.decode()


@host_test
async def test_second_snapshot_stores_what_changed_and_outlives_the_first(host: Host) -> None:
    await host.start("web", "dd if=/dev/urandom of=/data bs=1M count=32 2>/dev/null; sync; echo ready; sleep 1000")
    await host.console_says("web", "ready")
    first = await host.volumes.ensure_snapshot(SnapshotSpec("first", "vol-web"))
    assert first.stored_bytes > 32 * MIB
    await host.sh("web", "dd if=/dev/urandom of=/more bs=1M count=2; sync")
    second = await host.volumes.ensure_snapshot(SnapshotSpec("second", "vol-web", parent="first"))
    assert second.data_bytes > 34 * MIB
    assert 2 * MIB < second.stored_bytes < 12 * MIB
    files = host.work / "home/snapshots"
    before = (files / "first.blocks").stat().st_blocks
    await host.volumes.remove_snapshot("first")
    # What only the first had goes, what the second refers to stays.
    assert 32 * MIB < (files / "first.blocks").stat().st_blocks * 512 < before * 512
    await host.volumes.ensure_volume(VolumeSpec("vol-copy", GIB, "second"))
    root = Path(await host.volumes.ensure_root(RootSpec("copy", "busybox", "vol-copy", UID_BASE)))
    sums = (await host.sh("web", "md5sum /data /more"))[1].split()
    for name, wanted in (("data", sums[0]), ("more", sums[2])):
        with (root / name).open("rb") as file:
            assert hashlib.file_digest(file, "md5").hexdigest() == wanted
    await host.volumes.remove_snapshot("second")
    assert list(files.iterdir()) == []


@host_test
async def test_snapshots_of_several_volumes_show_one_moment(host: Host) -> None:
    """A writer counts, first in one file and then in the other: whoever looks at one moment never sees the other ahead or two behind."""
    root = await host.root("web", 64 * MIB)
    for name in ("one", "two"):
        await host.volumes.ensure_volume(VolumeSpec(name, 256 * MIB))
        await host.volumes.ensure_attachment(AttachmentSpec(name, "web", name))
    files = [Path(attached_folder(root)) / name / "count" for name in ("one", "two")]
    for path in files:
        (path.parent / "ballast").write_bytes(os.urandom(24 * MIB))
    going = True

    def write() -> None:
        count = 0
        while going:
            count += 1
            for path in files:
                with open(path, "w") as file:
                    file.write(f"{count}\n")
                    file.flush()
                    os.fsync(file.fileno())

    writer = asyncio.create_task(asyncio.to_thread(write))
    try:
        while not files[1].exists():
            await asyncio.sleep(0.01)
        together = (("snap-one", "one", ""), ("snap-two", "two", ""))
        for name, volume, parent in reversed(together):
            await host.volumes.ensure_snapshot(SnapshotSpec(name, volume, "", parent, together=together))
    finally:
        going = False
        await writer
    seen = []
    for name in ("one", "two"):
        await host.volumes.ensure_volume(VolumeSpec(f"restored-{name}", 256 * MIB, f"snap-{name}"))
        await host.volumes.ensure_attachment(AttachmentSpec(f"restored-{name}", "web", f"r{name}"))
        seen.append(int((Path(attached_folder(root)) / f"r{name}" / "count").read_text() or "0"))
    assert seen[0] > 0
    assert seen[1] in (seen[0], seen[0] - 1) or 0 in seen  # a file that was just opened is empty
    assert not list((host.work / "home/snapshots").glob("*.group"))


@host_test
async def test_volume_that_a_killed_process_left_frozen_is_written_to_again(host: Host) -> None:
    await host.start("web", "sleep 1000")
    subprocess.run(["fsfreeze", "-f", str(host.run_dir / "volumes/vol-web")], check=True)
    await host.volumes.close()
    host.volumes = host.new_volumes()
    assert (await host.sh("web", "echo fine > /file; cat /file"))[1] == "fine\n"
    await host.volumes.ensure_snapshot(SnapshotSpec("snap", "vol-web"))


@host_test
async def test_snapshot_cut_off_leaves_nothing_behind(host: Host) -> None:
    await host.volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
    files = host.work / "home/snapshots"
    (files / "half.blocks").write_bytes(b"x" * 4096)  # its map was never written
    (files / "half.map.draft").write_bytes(b"x")
    await host.volumes.close()
    host.volumes = host.new_volumes()
    assert list(files.iterdir()) == []


@pytest.mark.parametrize("maker", ["mkfs.xfs", "mkfs.btrfs"])
def test_file_system_that_clones_keeps_snapshots_as_clones(tmp_path: Path, maker: str) -> None:
    program = shutil.which(maker, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip(f"{maker} is not installed")
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    subprocess.run([program, "-q", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        (folder / "volume").write_bytes(os.urandom(32 * MIB))
        kept = SnapshotFiles(folder / "snapshots")
        used = os.statvfs(folder).f_bfree
        kept.make("snap", folder / "volume", "")
        assert (used - os.statvfs(folder).f_bfree) * os.statvfs(folder).f_frsize < 8 * MIB
        kept.restore("snap", folder / "copy", 32 * MIB)
        assert (folder / "copy").read_bytes() == (folder / "volume").read_bytes()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@host_test
async def test_volume_appears_in_a_running_machine_and_leaves_it(host: Host) -> None:
    root = await host.root("web")
    mount = Mount("/volumes", source=attached_folder(root), follows=True)
    await host.containers.start(host.spec("web", root, "sleep", "1000", mounts=(mount,)))
    await host.volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
    spec = AttachmentSpec("data", "web", "xvdf")
    for _ in range(2):
        await host.volumes.ensure_attachment(spec)
    code, output = await host.sh("web", "echo precious > /volumes/xvdf/file && stat -c %u /volumes/xvdf/file")
    assert (code, output) == (0, "0\n")
    assert "No space" in (await host.sh("web", "dd if=/dev/zero of=/volumes/xvdf/fill bs=1M count=100"))[1]
    assert (await host.sh("web", "mkdir /volumes/mine"))[0] != 0  # the folder is the host's
    script = "cp -L /bin/busybox /volumes/xvdf/echo && /volumes/xvdf/echo runs && rm /volumes/xvdf/echo"
    assert (await host.sh("web", f"rm /volumes/xvdf/fill; {script}"))[1] == "runs\n"
    with pytest.raises(PortError, match="in use"):
        await host.volumes.remove_volume("data")
    await host.volumes.close()
    host.volumes = host.new_volumes()  # another process knows what is attached
    with pytest.raises(PortError, match="in use"):
        await host.volumes.remove_volume("data")
    if capability(24):  # CAP_SYS_RESOURCE
        await host.volumes.ensure_volume(VolumeSpec("data", 128 * MIB))
        assert (await host.sh("web", "rm /volumes/xvdf/fill; df -m /volumes/xvdf | tail -1 | awk '{print $2 > 100}'"))[
            1
        ]
        size = (await host.sh("web", "df -m /volumes/xvdf | tail -1"))[1].split()[1]
        assert int(size) > 100
    await host.sh("web", "cd /volumes/xvdf; sleep 1000 & echo $! > /tmp/user")
    assert not await host.volumes.release_attachment("data")  # busy
    await host.sh("web", "kill $(cat /tmp/user)")
    while not await host.volumes.release_attachment("data"):
        await asyncio.sleep(0.01)
    assert (await host.sh("web", "ls /volumes"))[1] == ""
    assert await host.volumes.release_attachment("data")
    await host.volumes.ensure_attachment(AttachmentSpec("data", "web", "xvdg"))
    assert (await host.sh("web", "cat /volumes/xvdg/file"))[1] == "precious\n"
    await host.sh("web", "cd /volumes/xvdg; sleep 1000 & echo")
    assert await host.volumes.release_attachment("data", force=True)
    await host.volumes.remove_volume("data")


@host_test
async def test_who_kept_a_volume_that_was_taken_away_has_it_no_longer(host: Host) -> None:
    root = await host.root("web")
    other = await host.root("other")
    for name, path in (("web", root), ("other", other)):
        mount = Mount("/volumes", source=attached_folder(path), follows=True)
        await host.containers.start(host.spec(name, path, "sleep", "1000", mounts=(mount,)))
    for kind in ("ext4", *(("xfs",) if file_systems.best_kind() == "xfs" else ())):
        await host.volumes.close()
        host.volumes = host.new_volumes(kind=kind)
        volume, size = f"data-{kind}", GIB if kind == "xfs" else 64 * MIB
        await host.volumes.ensure_volume(VolumeSpec(volume, size))
        await host.volumes.ensure_attachment(AttachmentSpec(volume, "web", "xvdf"))
        look = "ls -A > /tmp/seen 2>/tmp/error; cat secret >> /tmp/seen 2>>/tmp/error; echo evil 2>>/tmp/error > evil"
        script = f"cd /volumes/xvdf; echo mine > file; (while sleep 0.1; do {look}; done) >/dev/null 2>&1 & echo"
        await host.sh("web", script)
        assert not await host.volumes.release_attachment(volume)
        assert await host.volumes.release_attachment(volume, force=True)
        await host.volumes.ensure_attachment(AttachmentSpec(volume, "other", "xvdf"))
        assert (await host.sh("other", "cat /volumes/xvdf/file"))[1] == "mine\n"
        await host.sh("other", "rm -f /volumes/xvdf/*; echo topsecret > /volumes/xvdf/secret; rm -f /tmp/error")
        await host.sh("web", "rm -f /tmp/error; while ! grep -q evil /tmp/error; do sleep 0.1; done")
        assert "topsecret" not in (await host.sh("web", "cat /tmp/seen"))[1]
        assert (await host.sh("other", "ls /volumes/xvdf"))[1] == "secret\n"
        await host.sh("web", "killall sleep sh 2>/dev/null; true")
        # What the kernel writes when the last one lets go does not reach it either.
        assert await host.volumes.release_attachment(volume)
        await host.volumes.ensure_attachment(AttachmentSpec(volume, "other", "xvdf"))
        assert (await host.sh("other", "cat /volumes/xvdf/secret"))[1] == "topsecret\n"
        assert await host.volumes.release_attachment(volume)


@host_test
async def test_volume_that_a_machine_has_mounted_elsewhere_is_busy(host: Host) -> None:
    root = await host.root("web")
    mount = Mount("/volumes", source=attached_folder(root), follows=True)
    await host.containers.start(host.spec("web", root, "sleep", "1000", mounts=(mount,)))
    await host.volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
    await host.volumes.ensure_attachment(AttachmentSpec("data", "web", "xvdf"))
    code, output = await host.sh("web", "mkdir /data; mount --bind /volumes/xvdf /data; echo mine > /data/file")
    assert code == 0, output
    for _ in range(2):
        assert not await host.volumes.release_attachment("data")
    assert (await host.sh("web", "cat /volumes/xvdf/file"))[1] == "mine\n"
    await host.sh("web", "umount /data")
    assert await host.volumes.release_attachment("data")


@host_test
async def test_writers_wait_while_a_snapshot_is_made_and_go_on(host: Host) -> None:
    await host.start("web", "i=0; while :; do i=$((i+1)); echo $i > /counter; done")
    for number in range(3):
        await host.volumes.ensure_snapshot(SnapshotSpec(f"snap{number}", "vol-web"))
    before = await host.sh("web", "cat /counter")
    while await host.sh("web", "cat /counter") == before:
        await asyncio.sleep(0.01)


@host_test
async def test_stopped_volume_grows_and_keeps_its_content(host: Host) -> None:
    await host.start("web", "echo precious > /file; exit 0")
    await host.containers.exited("web")
    await host.containers.remove("web")
    await host.volumes.release_root("web")
    await host.volumes.ensure_volume(VolumeSpec("vol-web", 20 * GIB))
    root = await host.volumes.ensure_root(RootSpec("web", "busybox", "vol-web", UID_BASE))
    assert (Path(root) / "file").read_text() == "precious\n"
    space = os.statvfs(root)
    assert 19 * GIB < space.f_blocks * space.f_frsize <= 20 * GIB


@host_test
async def test_volume_in_use_grows_at_once_or_at_the_next_start(host: Host) -> None:
    await host.volumes.close()
    host.volumes = host.new_volumes("ext4")  # test_growing_volumes.py tells of the other kind
    await host.start("web", "sleep 1000")
    grown = await host.volumes.ensure_volume(VolumeSpec("vol-web", 2 * GIB))
    root = host.run_dir / "roots/web/root"
    assert grown == capability(24)  # CAP_SYS_RESOURCE
    if grown:
        space = os.statvfs(root)
        assert space.f_blocks * space.f_frsize > 1.9 * GIB
    assert (await host.sh("web", "echo fine > /file; cat /file"))[1] == "fine\n"
    await host.containers.remove("web")
    await host.volumes.release_root("web")
    await host.root("web", 2 * GIB)
    space = os.statvfs(root)
    assert space.f_blocks * space.f_frsize > 1.9 * GIB
    assert (root / "file").read_text() == "fine\n"
    assert await host.volumes.ensure_volume(VolumeSpec("vol-web", 2 * GIB))


@host_test
async def test_every_volume_has_one_loop_device_that_goes_with_its_mount(host: Host) -> None:
    root = await host.root("web")
    path = str(host.work / "home/volumes/vol-web.img")
    device = loop_devices.attached()[path]
    mounted = os.stat(host.run_dir / "volumes/vol-web")
    assert os.stat(device).st_rdev == mounted.st_dev
    await host.containers.start(host.spec("web", root, "sleep", "1000"))
    await host.volumes.release_root("web")
    # The container still holds it; the same device must come back, not a second one.
    await host.root("web")
    assert loop_devices.attached()[path] == device
    assert sum(file == path for file in _backing_files()) == 1
    await host.containers.remove("web")


def _backing_files() -> list[str]:
    files = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            files.append(entry.read_text().strip())
        except OSError:
            continue
    return files


@host_test
async def test_prepared_files_are_taken_filled_again_and_found_by_the_next_process(host: Host) -> None:
    await host.volumes.ensure_volume(VolumeSpec("one", 64 * MIB))
    spare = host.work / "home/spare"
    while not (ready := list(spare.glob("*.img"))):
        await asyncio.sleep(0.01)
    inode = ready[0].stat().st_ino
    await host.volumes.close()
    (spare / "1-1.draft").touch()
    host.volumes = host.new_volumes()
    await host.volumes.ensure_volume(VolumeSpec("two", 64 * MIB))
    assert (host.work / "home/volumes/two.img").stat().st_ino == inode
    assert not (spare / "1-1.draft").exists()


@host_test
async def test_template_is_a_sound_file_system(host: Host) -> None:
    await host.volumes.ensure_volume(VolumeSpec("one", 64 * MIB))
    path = host.work / "home/volumes/one.img"
    check = subprocess.run(["e2fsck", "-fn", str(path)], capture_output=True, check=False)
    assert check.returncode == 0, check.stdout.decode()
    assert volume_files.file_system_blocks(path) == 64 * MIB // volume_files.BLOCK
    assert path.stat().st_mode & 0o777 == 0o600


@host_test
async def test_half_made_copy_is_never_taken_for_a_volume(host: Host) -> None:
    draft = host.work / "home/volumes/web.draft"
    draft.write_bytes(b"half")
    await host.volumes.close()
    host.volumes = host.new_volumes()
    assert await host.volumes.observe() == ()
    assert not draft.exists()


@host_test
async def test_clean_unmounts_what_is_in_use_too(host: Host) -> None:
    state = await host.start("web", "sleep 1000")
    await loop_volumes.clean(host.home_id, host.run_dir)
    assert not [entry for entry in mounts.mount_table() if f"{host.run_dir}/roots" in entry.target]
    assert Path(f"/proc/{state.pid}").exists()


@host_test
async def test_kernel_without_shifted_mounts_is_told_not_worked_around(host: Host) -> None:
    def refuse(*_: object) -> int:
        raise OSError(22, "Invalid argument", "/")

    real, mounts.clone_idmapped = mounts.clone_idmapped, refuse
    try:
        with pytest.raises(PortError, match="shifted owners") as told:
            await host.root("web")
        assert not told.value.retry
    finally:
        mounts.clone_idmapped = real
    assert await host.volumes.mounted_roots() == frozenset()
