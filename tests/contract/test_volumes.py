"""What every implementation of the port Volumes promises. The real one needs root; without it only the simulated one is tested."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gureum.drivers.simulated.machine import SimulatedVolumes
from gureum.ports import PortError
from gureum.ports.volumes import AttachmentSpec, RootSpec, SnapshotSpec, Volumes, VolumeSpec
from tests.machine.container_host import UID_BASE, FolderImages, new_host

MIB = 1 << 20
Test = Callable[[Volumes], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def implementation(name: str, work: Path) -> AsyncIterator[Volumes]:
    if name == "simulated":
        images: Any = FolderImages(work)
        yield SimulatedVolumes(images)
        return
    async with new_host(work) as host:
        yield host.volumes


@pytest.fixture(params=["simulated", pytest.param("loop", marks=pytest.mark.machine)])
def contract(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test], None]:
    if request.param == "loop" and os.geteuid() != 0:
        pytest.skip("real volumes need root")

    def run(test: Test) -> None:
        async def whole() -> None:
            async with implementation(request.param, tmp_path) as volumes:
                await asyncio.wait_for(test(volumes), 60)

        uvloop.run(whole())

    return run


def root(name: str, volume: str) -> RootSpec:
    return RootSpec(name, "busybox", volume, UID_BASE)


async def sizes(volumes: Volumes) -> dict[str, int]:
    return {use.name: use.size_bytes for use in await volumes.observe()}


def test_volume_has_the_wished_size_and_is_made_once(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        for _ in range(2):
            await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
        assert await sizes(volumes) == {"data": 64 * MIB}

    contract(promise)


def test_volume_grows_and_never_shrinks(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
        assert await volumes.ensure_volume(VolumeSpec("data", 96 * MIB))
        assert await sizes(volumes) == {"data": 96 * MIB}
        with pytest.raises(PortError, match="shrink"):
            await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))

    contract(promise)


def test_removed_volume_is_gone_and_removing_again_is_success(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
        for _ in range(2):
            await volumes.remove_volume("data")
        assert await volumes.observe() == ()

    contract(promise)


def test_root_is_mounted_once_and_released(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
        assert await volumes.ensure_root(root("web", "data")) == await volumes.ensure_root(root("web", "data"))
        assert await volumes.mounted_roots() == {"web"}
        for _ in range(2):
            await volumes.release_root("web")
        assert await volumes.mounted_roots() == frozenset()

    contract(promise)


def test_root_needs_its_volume_and_its_image(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        with pytest.raises(PortError, match="volume data does not exist"):
            await volumes.ensure_root(root("web", "data"))
        await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
        with pytest.raises(PortError, match="image"):
            await volumes.ensure_root(RootSpec("web", "sha256:missing", "data"))
        assert await volumes.mounted_roots() == frozenset()

    contract(promise)


def test_volume_in_use_is_neither_removed_nor_shared(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
        await volumes.ensure_root(root("web", "data"))
        with pytest.raises(PortError, match="in use"):
            await volumes.remove_volume("data")
        with pytest.raises(PortError, match="in use"):
            await volumes.ensure_root(root("db", "data"))
        await volumes.release_root("web")
        await volumes.ensure_root(root("db", "data"))

    contract(promise)


def test_snapshot_makes_volumes_as_large_or_larger(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
        for _ in range(2):
            await volumes.ensure_snapshot(SnapshotSpec("snap", "data"))
        await volumes.ensure_volume(VolumeSpec("same", 64 * MIB, "snap"))
        await volumes.ensure_volume(VolumeSpec("larger", 96 * MIB, "snap"))
        with pytest.raises(PortError, match="more than the wished"):
            await volumes.ensure_volume(VolumeSpec("smaller", 32 * MIB, "snap"))
        assert await sizes(volumes) == {"data": 64 * MIB, "same": 64 * MIB, "larger": 96 * MIB}
        for _ in range(2):
            await volumes.remove_snapshot("snap")
        with pytest.raises(PortError, match="snapshot snap does not exist"):
            await volumes.ensure_volume(VolumeSpec("later", 64 * MIB, "snap"))
        await volumes.ensure_volume(VolumeSpec("same", 64 * MIB, "snap"))

    contract(promise)


def test_snapshot_needs_its_volume(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        with pytest.raises(PortError, match="volume data does not exist"):
            await volumes.ensure_snapshot(SnapshotSpec("snap", "data"))

    contract(promise)


def test_copy_of_a_snapshot_outlives_it(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
        assert (await volumes.ensure_snapshot(SnapshotSpec("snap", "data"))).size_bytes == 64 * MIB
        with pytest.raises(PortError, match="snapshot missing does not exist"):
            await volumes.ensure_snapshot(SnapshotSpec("copy", source="missing"))
        await volumes.ensure_snapshot(SnapshotSpec("copy", source="snap"))
        await volumes.remove_snapshot("snap")
        assert (await volumes.ensure_snapshot(SnapshotSpec("copy"))).size_bytes == 64 * MIB
        await volumes.ensure_volume(VolumeSpec("same", 64 * MIB, "copy"))

    contract(promise)


def test_attached_volume_is_in_use_until_it_or_its_root_is_released(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        for name in ("boot", "data"):
            await volumes.ensure_volume(VolumeSpec(name, 64 * MIB))
        with pytest.raises(PortError, match="root web is not mounted"):
            await volumes.ensure_attachment(AttachmentSpec("data", "web", "xvdf"))
        await volumes.ensure_root(root("web", "boot"))
        with pytest.raises(PortError, match="volume missing does not exist"):
            await volumes.ensure_attachment(AttachmentSpec("missing", "web", "xvdf"))
        with pytest.raises(PortError, match="in use"):
            await volumes.ensure_attachment(AttachmentSpec("boot", "web", "xvdf"))
        for _ in range(2):
            await volumes.ensure_attachment(AttachmentSpec("data", "web", "xvdf"))
        with pytest.raises(PortError, match="in use"):
            await volumes.remove_volume("data")
        for _ in range(2):
            assert await volumes.release_attachment("data")
        await volumes.ensure_attachment(AttachmentSpec("data", "web", "xvdg"))
        await volumes.release_root("web")
        await volumes.remove_volume("data")

    contract(promise)


def test_devices_of_a_root_are_told_while_it_is_mounted(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        for name in ("boot", "data"):
            await volumes.ensure_volume(VolumeSpec(name, 64 * MIB))
        await volumes.ensure_root(root("web", "boot"))
        assert list(await volumes.devices("web")) == ["boot"]
        await volumes.ensure_attachment(AttachmentSpec("data", "web", "xvdf"))
        found = await volumes.devices("web")
        assert sorted(found) == ["boot", "data"]
        assert len(set(found.values())) == 2
        assert all(device.startswith("7:") for device in found.values())
        await volumes.release_root("web")
        assert await volumes.devices("web") == {}

    contract(promise)


def test_concurrent_calls_about_one_volume_take_turns(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        await asyncio.gather(*(volumes.ensure_volume(VolumeSpec("data", 64 * MIB)) for _ in range(4)))
        paths = await asyncio.gather(*(volumes.ensure_root(root("web", "data")) for _ in range(4)))
        assert len(set(paths)) == 1

    contract(promise)


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "a" * 41, "ü"])
def test_other_names_are_refused(name: str, contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        with pytest.raises(ValueError, match="not a name"):
            await volumes.ensure_volume(VolumeSpec(name, 64 * MIB))
        with pytest.raises(ValueError, match="not a name"):
            await volumes.release_root(name)

    contract(promise)


def test_a_mounted_volume_is_counted_and_takes_writes(contract: Callable[[Test], None]) -> None:
    async def promise(volumes: Volumes) -> None:
        await volumes.ensure_volume(VolumeSpec("data", 64 * MIB))
        assert await volumes.counters() == {}
        await volumes.ensure_root(root("web", "data"))
        (counted,) = (await volumes.counters()).values()
        assert counted.sound
        again = (await volumes.counters())["data"]
        assert (again.reads, again.writes, again.busy_ms) >= (counted.reads, counted.writes, counted.busy_ms)
        await volumes.release_root("web")
        assert await volumes.counters() == {}

    contract(promise)
