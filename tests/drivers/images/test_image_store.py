"""The image store on real folders: every form images come in, wrong digests, sharing, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
import bz2
import functools
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gureum.drivers.images.hostile_tar import LayerLimits
from gureum.drivers.images.image_sources import ARCHITECTURE
from gureum.drivers.images.image_store import ImageStore, LayerRecipe, Recipe
from gureum.ports import PortError
from gureum.ports.images import Image, ImageConfig

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the image store keeps owners, which needs root")

OTHER = "arm64" if ARCHITECTURE == "amd64" else "amd64"


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), timeout=60))

    return run


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images", {})


def layer(**files: str) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return body.getvalue()


def zipped(body: bytes) -> bytes:
    """The time in gzip's header would make another blob every second."""
    return gzip.compress(body, mtime=0)


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


class Layout:
    """An OCI layout being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, body: bytes) -> dict[str, Any]:
        (self.folder / "blobs/sha256" / hashlib.sha256(body).hexdigest()).write_bytes(body)
        return {"digest": digest(body), "size": len(body), "mediaType": "application/octet-stream"}

    def image(
        self,
        *layers: bytes,
        architecture: str = ARCHITECTURE,
        pack: Callable[[bytes], bytes] = zipped,
        **config: Any,
    ) -> dict[str, Any]:
        body = {
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
            "config": config,
        }
        manifest = {
            "schemaVersion": 2,
            "config": self.blob(json.dumps(body).encode()),
            "layers": [self.blob(pack(one)) for one in layers],
        }
        return {**self.blob(json.dumps(manifest).encode()), "platform": {"os": "linux", "architecture": architecture}}

    def index(self, *entries: dict[str, Any]) -> dict[str, Any]:
        return self.blob(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())

    def finish(self, *entries: dict[str, Any]) -> str:
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
        return str(self.folder)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def packed(folder: str, target: Path, pack: Callable[[bytes], bytes] = bytes) -> str:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for path in sorted(Path(folder).rglob("*")):
            tar.add(path, path.relative_to(folder), recursive=False)
    target.write_bytes(pack(body.getvalue()))
    return str(target)


async def read(store: ImageStore, image: Image, name: str) -> list[str]:
    """The file in each layer that has it, the lowest first."""
    return [
        path.read_text() for folder in await store.layer_paths(image.digest) if (path := Path(folder, name)).exists()
    ]


@in_loop
async def test_oci_layout_is_imported_with_its_digest_and_configuration(store: ImageStore, layout: Layout) -> None:
    run: dict[str, Any] = {
        "Entrypoint": ["/app"],
        "Cmd": ["-x"],
        "Env": ["A=b"],
        "WorkingDir": "/w",
        "User": "7",
        "Labels": {"l": "v"},
        "StopSignal": "SIGQUIT",
    }
    manifest = layout.image(layer(a="1"), layer(a="2", b="3"), **run)
    image = await store.import_file(layout.finish(manifest), "oci")
    assert image.digest == manifest["digest"]
    assert image.config == ImageConfig(("/app",), ("-x",), ("A=b",), "/w", "7", {"l": "v"}, "SIGQUIT")
    assert (image.layers, image.size_bytes) == ((digest(layer(a="1")), digest(layer(a="2", b="3"))), 3)
    assert await read(store, image, "a") == ["1", "2"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@in_loop
async def test_layout_in_a_tar_compressed_or_not(
    store: ImageStore, layout: Layout, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = packed(layout.finish(layout.image(layer(a="1"), pack=pack)), tmp_path / "image.tar", pack)
    assert await read(store, await store.import_file(path, "oci"), "a") == ["1"]


@in_loop
async def test_nothing_large_is_put_into_the_systems_folder_for_temporary_files(
    store: ImageStore, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is memory on many systems, and an image has gigabytes."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    path = packed(layout.finish(layout.image(layer(a="1"))), tmp_path / "image.tar", gzip.compress)
    assert await read(store, await store.import_file(path, "oci"), "a") == ["1"]


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd program")
@in_loop
async def test_zstd_layers_are_read(store: ImageStore, layout: Layout) -> None:
    def pack(body: bytes) -> bytes:
        return subprocess.run(["zstd", "-q", "-c"], input=body, capture_output=True, check=True, timeout=20).stdout

    assert await read(
        store, await store.import_file(layout.finish(layout.image(layer(a="1"), pack=pack)), "oci"), "a"
    ) == ["1"]
    broken = Layout(layout.folder.parent / "broken")
    with pytest.raises(PortError):
        await store.import_file(broken.finish(broken.image(layer(a="2"), pack=lambda body: pack(body)[:-9])), "oci")


@in_loop
async def test_index_in_an_index_gives_this_machine_its_own(store: ImageStore, layout: Layout) -> None:
    attestation = {**layout.image(layer(a="no")), "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    mine = layout.image(layer(a="mine"))
    inner = layout.index(attestation, layout.image(layer(a="other"), architecture=OTHER), mine)
    image = await store.import_file(layout.finish(inner), "oci")
    assert (image.digest, await read(store, image, "a")) == (mine["digest"], ["mine"])


@in_loop
async def test_image_for_another_machine_is_refused(store: ImageStore, layout: Layout) -> None:
    with pytest.raises(PortError, match=f"nothing for {ARCHITECTURE}"):
        await store.import_file(layout.finish(layout.image(layer(a="1"), architecture=OTHER)), "oci")


def spoil_layer(layout: Layout) -> str:
    path = layout.finish(layout.image(layer(a="1"), pack=bytes))
    (layout.folder / "blobs/sha256" / digest(layer(a="1"))[7:]).write_bytes(layer(a="2"))
    return path


def spoil_manifest(layout: Layout) -> str:
    manifest = layout.image(layer(a="1"))
    (layout.folder / "blobs/sha256" / manifest["digest"][7:]).write_text("{}")
    return layout.finish(manifest)


def wrong_diff_id(layout: Layout) -> str:
    return layout.finish(layout.image(layer(a="1"), pack=lambda _: gzip.compress(layer(a="2"))))


def missing_blob(layout: Layout) -> str:
    path = layout.finish(layout.image(layer(a="1"), pack=bytes))
    (layout.folder / "blobs/sha256" / digest(layer(a="1"))[7:]).unlink()
    return path


def name_outside(layout: Layout) -> str:
    return layout.finish({"digest": "sha256:../../../../etc/passwd", "size": 1})


def link_outside(layout: Layout) -> str:
    path = layout.finish(layout.image(layer(a="1"), pack=bytes))
    blob = layout.folder / "blobs/sha256" / digest(layer(a="1"))[7:]
    blob.rename(layout.folder.parent / "elsewhere")
    blob.symlink_to(layout.folder.parent / "elsewhere")
    return path


def too_deep(layout: Layout) -> str:
    entry = layout.image(layer(a="1"))
    for _ in range(10):
        entry = layout.index(entry)
    return layout.finish(entry)


def cut_off(layout: Layout) -> str:
    return layout.finish(layout.image(layer(a="1"), pack=lambda body: gzip.compress(body)[:-12]))


def no_json(layout: Layout) -> str:
    (layout.folder / "index.json").write_text("[" * 100_000)
    return str(layout.folder)


def huge_json(layout: Layout) -> str:
    (layout.folder / "index.json").write_bytes(b" " * 9_000_000)
    return str(layout.folder)


def fifo(layout: Layout) -> str:
    os.mkfifo(layout.folder / "index.json")
    return str(layout.folder)


SPOILS = [
    spoil_layer,
    spoil_manifest,
    wrong_diff_id,
    missing_blob,
    name_outside,
    link_outside,
    too_deep,
    cut_off,
    no_json,
    huge_json,
]


@pytest.mark.parametrize("spoil", SPOILS)
@in_loop
async def test_spoiled_layout_is_refused_and_leaves_nothing(
    store: ImageStore, layout: Layout, tmp_path: Path, spoil: Callable[[Layout], str]
) -> None:
    with pytest.raises(PortError) as refused:
        await store.import_file(spoil(layout), "oci")
    assert not refused.value.retry
    assert await store.list() == []
    assert os.listdir(tmp_path / "images/tmp") == []


@in_loop
async def test_docker_save_archive_with_a_repeated_layer(store: ImageStore, tmp_path: Path) -> None:
    one, two = layer(a="1"), layer(a="2")
    config = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"diff_ids": [digest(one), digest(two), digest(one)]},
    }
    saved = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"]}]
    with tarfile.open(tmp_path / "saved.tar", "w") as tar:
        files = {
            "c.json": json.dumps(config).encode(),
            "1/layer.tar": one,
            "2/layer.tar": two,
            "manifest.json": json.dumps(saved).encode(),
        }
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        link = tarfile.TarInfo("3/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../1/layer.tar"
        tar.addfile(link)
    image = await store.import_file(str(tmp_path / "saved.tar"), "docker")
    assert image.config.cmd == ("sh",)
    assert await read(store, image, "a") == ["1", "2", "1"]
    assert await store.import_file(str(tmp_path / "saved.tar"), "docker") == image


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@in_loop
async def test_root_file_system_has_one_identity_however_compressed(
    store: ImageStore, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "plain.tar").write_bytes(layer(a="1"))
    (tmp_path / "packed.tar").write_bytes(pack(layer(a="1")))
    image = await store.import_file(str(tmp_path / "packed.tar"), "rootfs")
    assert image == await store.import_file(str(tmp_path / "plain.tar"), "rootfs")
    assert image.layers == (digest(layer(a="1")),)


@in_loop
async def test_bomb_is_refused_at_the_limit(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images", {}, limits=LayerLimits(unpacked_bytes=1_000_000))
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(layer(a="0" * 50_000_000)))
    with pytest.raises(PortError, match="unpacks to more"):
        await store.import_file(str(tmp_path / "bomb.tar.gz"), "rootfs")


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
@in_loop
async def test_what_is_no_file_is_refused(store: ImageStore, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    with pytest.raises(PortError):
        await store.import_file(str(path), "rootfs")


@in_loop
async def test_layers_are_shared_and_go_with_their_last_image(
    store: ImageStore, layout: Layout, tmp_path: Path
) -> None:
    base, top = layer(a="1"), layer(b="2")
    both = await store.import_file(layout.finish(layout.image(base, top)), "oci")
    alone = await store.import_file(layout.finish(layout.image(base)), "oci")
    assert (await store.layer_paths(both.digest))[0] == (await store.layer_paths(alone.digest))[0]
    await store.remove(both.digest)
    assert await read(store, alone, "a") == ["1"]
    assert len(os.listdir(tmp_path / "images/layers")) == 1
    await store.remove(alone.digest)
    assert os.listdir(tmp_path / "images/layers") == os.listdir(tmp_path / "images/tmp") == []


@in_loop
async def test_same_diff_on_another_base_is_another_folder(store: ImageStore, layout: Layout) -> None:
    one = await store.import_file(layout.finish(layout.image(layer(a="1"), layer(b="2"))), "oci")
    two = await store.import_file(layout.finish(layout.image(layer(a="3"), layer(b="2"))), "oci")
    assert one.layers[1] == two.layers[1]
    assert not set(await store.layer_paths(one.digest)) & set(await store.layer_paths(two.digest))


@in_loop
async def test_many_imports_at_once(store: ImageStore, layout: Layout) -> None:
    paths = []
    for index in range(6):
        each = Layout(layout.folder.parent / f"layout{index}")
        paths.append(each.finish(each.image(layer(a="1"), layer(b=str(index % 2)))))
    images = await asyncio.gather(*(store.import_file(path, "oci") for path in paths))
    assert len(await store.list()) == 2
    for index, image in enumerate(images):
        assert await read(store, image, "b") == [str(index % 2)]


@in_loop
async def test_what_a_crash_left_is_swept_at_the_next_start(store: ImageStore, layout: Layout, tmp_path: Path) -> None:
    image = await store.import_file(layout.finish(layout.image(layer(a="1"))), "oci")
    folder = tmp_path / "images"
    (folder / "tmp/half/diff/x").mkdir(parents=True)
    (folder / "layers" / ("0" * 64) / "diff").mkdir(parents=True)
    (folder / "tmp/tmpabc").write_text("{")
    again = ImageStore(folder, {})
    assert await again.list() == [image]
    assert await read(again, image, "a") == ["1"]
    assert os.listdir(folder / "tmp") == []
    assert len(os.listdir(folder / "layers")) == 1


def recipe(calls: list[str], *layers: tuple[str, str]) -> Recipe:
    """`layers`: (version, what file "a" holds)."""

    def build_of(version: str, text: str) -> Callable[[Path, Callable[[str], None]], Path]:
        def build(work: Path, progress: Callable[[str], None]) -> Path:
            calls.append(version)
            progress("writing")
            (work / "x.tar").write_bytes(layer(a=text))
            return work / "x.tar"

        return build

    return Recipe(
        tuple(LayerRecipe(version, build_of(version, text)) for version, text in layers), ImageConfig(cmd=("x",))
    )


@in_loop
async def test_builtin_image_is_built_once(tmp_path: Path) -> None:
    calls: list[str] = []
    said: list[str] = []
    store = ImageStore(tmp_path / "images", {"x": recipe(calls, ("1", "one"))}, progress=said.append)
    first, second = await asyncio.gather(store.ensure_builtin("x"), store.ensure_builtin("x"))
    assert first == second
    assert (calls, "writing" in said) == (["1"], True)
    assert oct((tmp_path / "images").stat().st_mode & 0o777) == "0o700"


@in_loop
async def test_only_changed_layers_of_a_builtin_image_are_built_anew(tmp_path: Path) -> None:
    calls: list[str] = []
    old = await ImageStore(tmp_path / "images", {"x": recipe(calls, ("1", "base"), ("2", "old"))}).ensure_builtin("x")
    store = ImageStore(tmp_path / "images", {"x": recipe(calls, ("1", "base"), ("3", "new"))})
    new = await store.ensure_builtin("x")
    assert calls == ["1", "2", "3"]
    assert (await read(store, new, "a"), await read(store, old, "a")) == (["base", "new"], ["base", "old"])
    assert (await store.layer_paths(new.digest))[0] == (await store.layer_paths(old.digest))[0]
    await store.remove(new.digest)
    await store.remove(old.digest)
    assert await store.ensure_builtin("x") == new
    assert calls == ["1", "2", "3", "1", "3"]
