"""What every implementation of the port Images promises. The real store unpacks as root; without root it is left out."""

from __future__ import annotations

import asyncio
import functools
import io
import os
import tarfile
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gureum.drivers.images.builtin_images import recipes
from gureum.drivers.images.image_store import ImageStore
from gureum.drivers.simulated.images import SimulatedImages
from gureum.ports import PortError
from gureum.ports.images import Images

NOT_HERE = "sha256:" + "0" * 64


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), timeout=60))

    return run


@pytest.fixture(params=["store", "simulated"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Images:
    if request.param == "simulated":
        return SimulatedImages()
    if os.geteuid() != 0:
        pytest.skip("the image store keeps owners, so it needs root")
    return ImageStore(tmp_path / "images", recipes(threading.Event()))


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("etc/motd")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"hi\n"))
    return path


@in_loop
async def test_imported_image_is_found_by_its_digest(images: Images, rootfs: Path) -> None:
    image = await images.import_file(str(rootfs), "rootfs")
    assert await images.get(image.digest) == image
    assert await images.list() == [image]


@in_loop
async def test_importing_twice_gives_the_same_image(images: Images, rootfs: Path) -> None:
    first = await images.import_file(str(rootfs), "rootfs")
    assert await images.import_file(str(rootfs), "rootfs") == first
    assert await images.list() == [first]


@in_loop
async def test_there_is_a_path_for_each_layer(images: Images, rootfs: Path) -> None:
    image = await images.import_file(str(rootfs), "rootfs")
    assert len(await images.layer_paths(image.digest)) == len(image.layers)


@in_loop
async def test_removed_image_is_gone_and_removing_again_succeeds(images: Images, rootfs: Path) -> None:
    image = await images.import_file(str(rootfs), "rootfs")
    await images.remove(image.digest)
    await images.remove(image.digest)
    assert await images.get(image.digest) is None
    assert await images.list() == []
    with pytest.raises(PortError):
        await images.layer_paths(image.digest)


@pytest.mark.parametrize("digest", [NOT_HERE, "", "sha256:../../etc", "sha256:" + "g" * 64])
@in_loop
async def test_unknown_digest_is_none(images: Images, digest: str) -> None:
    assert await images.get(digest) is None
    await images.remove(digest)
    with pytest.raises(PortError):
        await images.layer_paths(digest)


@in_loop
async def test_missing_file_is_refused(images: Images, tmp_path: Path) -> None:
    with pytest.raises(PortError):
        await images.import_file(str(tmp_path / "none.tar"), "rootfs")


@in_loop
async def test_builtin_image_is_made_once(images: Images) -> None:
    image = await images.ensure_builtin("busybox")
    assert await images.ensure_builtin("busybox") == image
    assert image.config.labels["io.gureum.default-user"] == "ec2-user"
    assert image.size_bytes < 10_000_000


@in_loop
async def test_unknown_builtin_image_is_refused(images: Images) -> None:
    with pytest.raises(PortError):
        await images.ensure_builtin("windows")
