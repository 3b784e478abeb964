"""The image store: fills ports/images.py with folders under one root. Knows no registry and mounts nothing.

    images/
      layers/CHAIN/diff/        one unpacked layer, owners as in the image (volumes.py shows them shifted)
      layers/CHAIN/layer.json   its diff id, its size, what was left out
      manifests/DIGEST.json     one image: Image, and the chain ids of its layers
      builtin/NAME.json         which image NAME is, and by which recipe it was built
      tmp/                      whatever is half made; emptied at start

A layer is kept under its chain id (OCI image-spec 1.1, config.md): unpacking looks at the layers below, so the same diff on another
base is another folder. The lowest layer's chain id is its diff id. A layer stands complete or not at all: it is unpacked in tmp/,
its file system synced, and renamed. The manifest is written last and removed first, so an image that is listed has all its layers;
layers that no manifest names are swept at start.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from gureum.drivers.images.blob_streams import HashedFile, plain
from gureum.drivers.images.hostile_tar import DEFAULT_LIMITS, LayerLimits, refuse
from gureum.drivers.images.image_sources import ARCHITECTURE, Blobs, ImagePlan, LayerPlan, open_source
from gureum.drivers.images.oci_layers import UnpackedLayer, unpack_layer
from gureum.ports import PortError
from gureum.ports.images import Image, ImageConfig

_DIGEST_PREFIX = "sha256:"
_LIBC = ctypes.CDLL(None, use_errno=True)

Progress = Callable[[str], None]
"""Told in a few words what is being done, from any thread."""


class LayerRecipe(msgspec.Struct, frozen=True):
    """How one layer is made. `version` changes whenever its content would. `build` makes a tar in the folder given and returns its
    path; it blocks, and raises PortError."""

    version: str
    build: Callable[[Path, Progress], Path]


class Recipe(msgspec.Struct, frozen=True):
    """How a built-in image is made, the lowest layer first. A layer whose version and everything below it are as they were is kept."""

    layers: tuple[LayerRecipe, ...]
    config: ImageConfig


class _Kept(msgspec.Struct, frozen=True):
    image: Image
    chains: tuple[str, ...]


class _Builtin(msgspec.Struct, frozen=True):
    digest: str
    versions: tuple[str, ...]
    config: ImageConfig


class ImageStore:
    """Fills the port Images. One per folder: a second process on the same folder would sweep the first one's work."""

    def __init__(
        self,
        folder: Path,
        recipes: Mapping[str, Recipe],
        *,
        limits: LayerLimits = DEFAULT_LIMITS,
        progress: Progress = lambda _text: None,
    ) -> None:
        self._folder = folder
        self._recipes = recipes
        self._limits = limits
        self._progress = progress
        self._lock = asyncio.Lock()
        self._building = {name: asyncio.Lock() for name in recipes}
        self._swept = False
        # Imports run in threads beside each other and beside removals: this guards which layers are about to be named.
        self._claims_lock = threading.Lock()
        self._claims: Counter[str] = Counter()

    async def ensure_builtin(self, name: str) -> Image:
        recipe = self._recipes.get(name)
        if recipe is None:
            raise PortError(f"there is no built-in image {name[:40]!a}", retry=False)
        async with self._building[name]:
            await self._sweep()
            return await asyncio.to_thread(self._ensure_builtin, name, recipe)

    async def import_file(self, path: str, form: Literal["oci", "docker", "rootfs"]) -> Image:
        await self._sweep()
        return await asyncio.to_thread(self._import, Path(path), form)

    async def get(self, digest: str) -> Image | None:
        await self._sweep()
        kept = self._kept(digest)
        return kept.image if kept else None

    async def list(self) -> list[Image]:
        await self._sweep()
        return sorted((kept.image for kept in self._all_kept()), key=lambda image: image.digest)

    async def remove(self, digest: str) -> None:
        await self._sweep()
        async with self._lock:
            await asyncio.to_thread(self._remove, digest)

    async def layer_paths(self, digest: str) -> tuple[str, ...]:
        await self._sweep()
        kept = self._kept(digest)
        if kept is None:
            raise PortError(f"image {digest[:80]!a} is not here", retry=False)
        return tuple(str(self._layer(chain) / "diff") for chain in kept.chains)

    # What follows blocks and runs in threads.

    async def _sweep(self) -> None:
        if self._swept:
            return
        async with self._lock:
            if not self._swept:
                await asyncio.to_thread(self._sweep_now)
                self._swept = True

    def _sweep_now(self) -> None:
        for name in ("", "layers", "manifests", "builtin", "tmp"):
            (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in (self._folder / "tmp").iterdir():
            _remove_tree(entry)
        named = {chain for kept in self._all_kept() for chain in kept.chains}
        for layer in (self._folder / "layers").iterdir():
            if layer.name not in named:
                self._drop_layer(layer.name)

    def _ensure_builtin(self, name: str, recipe: Recipe) -> Image:
        wished = tuple(layer.version for layer in recipe.layers)
        builtin = self._builtin(name)
        kept = self._kept(builtin.digest) if builtin else None
        if builtin and kept and (builtin.versions, builtin.config) == (wished, recipe.config):
            return kept.image
        same = _common_length(builtin.versions, wished) if builtin and kept else 0
        return self._build(name, recipe, kept.image.layers[:same] if kept else ())

    def _builtin(self, name: str) -> _Builtin | None:
        try:
            return msgspec.json.decode((self._folder / "builtin" / f"{name}.json").read_bytes(), type=_Builtin)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _build(self, name: str, recipe: Recipe, kept_diff_ids: Sequence[str]) -> Image:
        """`kept_diff_ids`: the lowest layers, which are here already."""
        with self._work_folder() as work:
            plans = [LayerPlan("", diff_id) for diff_id in kept_diff_ids]
            for index, layer in enumerate(recipe.layers[len(plans) :]):
                folder = work / str(index)
                folder.mkdir()
                plans.append(LayerPlan(str(layer.build(folder, self._progress))))
            self._progress(f"unpacking {name}")
            image = self._take(_Files(), ImagePlan(recipe.config, ARCHITECTURE, tuple(plans)))
        versions = tuple(layer.version for layer in recipe.layers)
        _write(
            self._folder / "builtin" / f"{name}.json",
            _Builtin(image.digest, versions, recipe.config),
            self._folder / "tmp",
        )
        return image

    def _import(self, path: Path, form: Literal["oci", "docker", "rootfs"]) -> Image:
        with open_source(path, form, self._folder / "tmp") as (blobs, plan):
            return self._take(blobs, plan)

    def _take(self, blobs: Blobs, plan: ImagePlan) -> Image:
        """Unpacks what is missing and writes the manifest."""
        chains: list[str] = []
        layers: list[UnpackedLayer] = []
        claims: list[str] = []
        try:
            for layer in plan.layers:
                chain, unpacked = self._take_layer(blobs, layer, chains, claims)
                chains.append(chain)
                layers.append(unpacked)
            return self._keep(plan, chains, layers)
        finally:
            with self._claims_lock:
                self._claims.subtract(claims)

    def _keep(self, plan: ImagePlan, chains: Sequence[str], layers: Sequence[UnpackedLayer]) -> Image:
        diff_ids = tuple(layer.diff_id for layer in layers)
        image = Image(
            digest=plan.digest or _made_digest(plan, diff_ids),
            layers=diff_ids,
            config=plan.config,
            architecture=plan.architecture,
            size_bytes=sum(layer.size_bytes for layer in layers),
            layer_bytes=tuple(layer.size_bytes for layer in layers),
        )
        _write(self._manifest(image.digest), _Kept(image, tuple(chains)), self._folder / "tmp")
        return image

    def _take_layer(
        self, blobs: Blobs, plan: LayerPlan, below: Sequence[str], claims: MutableSequence[str]
    ) -> tuple[str, UnpackedLayer]:
        """The layer's chain id, claimed so that nobody removes it before the manifest names it."""
        if plan.diff_id:
            chain = _chain_id(below, plan.diff_id)
            if (known := self._claim(chain, claims)) is not None:
                return chain, known
        with self._work_folder() as work:
            unpacked = self._unpack(blobs, plan, below, work)
            chain = _chain_id(below, unpacked.diff_id)
            if plan.diff_id or self._claim(chain, claims) is None:
                self._settle(work, chain, unpacked)
        return chain, unpacked

    def _claim(self, chain: str, claims: MutableSequence[str]) -> UnpackedLayer | None:
        with self._claims_lock:
            self._claims[chain] += 1
            claims.append(chain)
            return self._known_layer(chain)

    def _unpack(self, blobs: Blobs, plan: LayerPlan, below: Sequence[str], work: Path) -> UnpackedLayer:
        diff = work / "diff"
        diff.mkdir(mode=0o755)
        diff.chmod(0o755)
        lowers = [self._layer(chain) / "diff" for chain in below]
        with blobs.open(plan.name) as blob:
            if blob is None:
                refuse(f"the image has no {plan.name[:120]!a}")
            hashed = HashedFile(blob)
            with plain(hashed, self._folder / "tmp") as stream:
                unpacked = unpack_layer(stream, diff, lowers, self._limits)
            blob_digest = hashed.finish()
        if plan.blob_digest not in ("", blob_digest):
            refuse(f"layer {plan.blob_digest} does not have the digest it is named by")
        if plan.diff_id not in ("", unpacked.diff_id):
            refuse(f"layer {plan.diff_id} unpacks to another digest, {unpacked.diff_id}")
        return unpacked

    def _settle(self, work: Path, chain: str, unpacked: UnpackedLayer) -> None:
        """From here on the layer survives a power loss."""
        (work / "layer.json").write_bytes(msgspec.json.encode(unpacked))
        _sync_file_system(work)
        try:
            work.rename(self._layer(chain))
        except OSError:
            # Another import was faster with the same layer: ours goes with its work folder.
            if self._known_layer(chain) is None:
                raise
        _sync_folder(self._folder / "layers")

    def _remove(self, digest: str) -> None:
        kept = self._kept(digest)
        if kept is None:
            return
        self._manifest(digest).unlink()
        _sync_folder(self._folder / "manifests")
        named = {chain for other in self._all_kept() for chain in other.chains}
        with self._claims_lock:
            for chain in kept.chains:
                if chain not in named and not self._claims[chain]:
                    self._drop_layer(chain)

    def _drop_layer(self, chain: str) -> None:
        with self._work_folder() as work:
            with suppress(FileNotFoundError):
                self._layer(chain).rename(work / "gone")
        _sync_folder(self._folder / "layers")

    def _known_layer(self, chain: str) -> UnpackedLayer | None:
        try:
            return msgspec.json.decode((self._layer(chain) / "layer.json").read_bytes(), type=UnpackedLayer)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _kept(self, digest: str) -> _Kept | None:
        if not _is_digest(digest):
            return None
        try:
            return msgspec.json.decode(self._manifest(digest).read_bytes(), type=_Kept)
        except FileNotFoundError:
            return None

    def _all_kept(self) -> Iterator[_Kept]:
        for entry in (self._folder / "manifests").iterdir():
            if entry.suffix == ".json" and (kept := self._kept(_DIGEST_PREFIX + entry.stem)) is not None:
                yield kept

    def _layer(self, chain: str) -> Path:
        return self._folder / "layers" / chain

    def _manifest(self, digest: str) -> Path:
        return self._folder / "manifests" / f"{digest.removeprefix(_DIGEST_PREFIX)}.json"

    @contextmanager
    def _work_folder(self) -> Iterator[Path]:
        work = Path(tempfile.mkdtemp(dir=self._folder / "tmp"))
        try:
            yield work
        finally:
            if work.exists():
                _remove_tree(work)


class _Files:
    """A recipe's own tars as an image's source; their names are their paths."""

    @contextmanager
    def open(self, name: str) -> Iterator[HashedFile | None]:
        with Path(name).open("rb") as file:
            yield HashedFile(file)


def _common_length(one: Sequence[str], other: Sequence[str]) -> int:
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _chain_id(below: Sequence[str], diff_id: str) -> str:
    """OCI image-spec 1.1, config.md, "Layer ChainID", without the prefix."""
    diff = diff_id.removeprefix(_DIGEST_PREFIX)
    if not below:
        return diff
    return hashlib.sha256(f"{_DIGEST_PREFIX}{below[-1]} {diff_id}".encode()).hexdigest()


def _made_digest(plan: ImagePlan, diff_ids: tuple[str, ...]) -> str:
    """The identity of an image that came without a manifest: made of all that distinguishes it."""
    parts = {"config": plan.config, "architecture": plan.architecture, "layers": diff_ids}
    body = msgspec.json.encode(parts, order="sorted")
    return _DIGEST_PREFIX + hashlib.sha256(body).hexdigest()


def _is_digest(digest: str) -> bool:
    name = digest.removeprefix(_DIGEST_PREFIX)
    return digest.startswith(_DIGEST_PREFIX) and len(name) == 64 and set(name) <= set("0123456789abcdef")


def _write(path: Path, body: msgspec.Struct, scratch: Path) -> None:
    """Whole or not at all, and durable. `scratch`: a folder of the same file system that is swept at start."""
    with tempfile.NamedTemporaryFile(dir=scratch, delete=False) as file:
        file.write(msgspec.json.encode(body))
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).rename(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sync_file_system(path: Path) -> None:
    """syncfs(2): one call for a million files. Others' dirty pages on the same file system go along."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _LIBC.syncfs(folder) != 0:
            raise PortError(f"the layer cannot be written: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(folder)


def _remove_tree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
