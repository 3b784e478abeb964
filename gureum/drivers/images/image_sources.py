"""Reads the forms images come in (OCI layout, `docker save`, root file system) into one plan: a configuration and layers in order.

Everything read here was written by a stranger: JSON has a size limit, every digest that a descriptor names is checked, names
are looked up among the archive's own entries and never on the host. Unpacking is oci_layers.py's work; what is kept, image_store.py's.

Sources: OCI image-spec 1.1 (image-layout, image-index, manifest, config); Docker image specification 1.2 (`docker save`).
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Literal, Protocol, TypeVar

import msgspec

from gureum.drivers.images.blob_streams import CompressedReader, plain
from gureum.drivers.images.hostile_tar import DEFAULT_LIMITS, Readable, list_archive, refuse
from gureum.ports.images import ImageConfig

Form = Literal["oci", "docker", "rootfs"]

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This machine's, in OCI's (Go's) words."""

_JSON_LIMIT_BYTES = 8 * 1024 * 1024
_INDEX_DEPTH_LIMIT = 4
_LAYERS_LIMIT = 500
_COPY_BYTES = 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_Body = TypeVar("_Body")


class LayerPlan(msgspec.Struct, frozen=True):
    """One layer to come: where it lies in its source, and the digests to check ("" when the form has none)."""

    name: str
    diff_id: str = ""
    blob_digest: str = ""


class ImagePlan(msgspec.Struct, frozen=True):
    """`digest`: of the manifest, "" when the form has none and one is to be made."""

    config: ImageConfig
    architecture: str
    layers: tuple[LayerPlan, ...]
    digest: str = ""


class Blobs(Protocol):
    """The files of an image's source, by the name they have in it."""

    def open(self, name: str) -> AbstractContextManager[Readable | None]: ...


class _Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""


class _Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    digest: str
    size: int = -1
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None


class _Index(msgspec.Struct, frozen=True, rename="camel"):
    manifests: list[_Descriptor] | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None


class _RunConfig(msgspec.Struct, frozen=True, rename="pascal"):
    user: str | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: list[str]


class _Config(msgspec.Struct, frozen=True):
    rootfs: _RootFs
    architecture: str = ""
    os: str = ""
    config: _RunConfig | None = None


class _Saved(msgspec.Struct, frozen=True, rename="pascal"):
    config: str
    layers: list[str]


@contextmanager
def open_source(path: Path, form: Form, scratch: Path) -> Iterator[tuple[Blobs, ImagePlan]]:
    """The plan of what lies at `path`, with its blobs readable while the context lasts. `scratch`: see `plain`. Raises PortError when it is no
    such thing."""
    if form == "rootfs":
        yield _SingleFile(path), ImagePlan(ImageConfig(), ARCHITECTURE, (LayerPlan(path.name),))
        return
    with _open_blobs(path, scratch) as blobs:
        yield blobs, _plan_oci(blobs) if form == "oci" else _plan_docker(blobs)


@contextmanager
def _open_blobs(path: Path, scratch: Path) -> Iterator[Blobs]:
    if path.is_dir():
        yield _Folder(path)
        return
    with _open_host_file(path) as file, _seekable_plain(file, scratch) as archive:
        yield _Archive(archive)


def _open_host_file(path: Path) -> BinaryIO:
    """Regular files only: a FIFO would hang (not yet when opened without blocking), a device never end."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        refuse(f"{path.name} cannot be read: {error.strerror}")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        refuse(f"{path.name} is not a regular file")
    return file


@contextmanager
def _seekable_plain(file: BinaryIO, scratch: Path) -> Iterator[IO[bytes]]:
    """The archive itself, or an uncompressed copy that vanishes afterwards."""
    with plain(file, scratch) as unpacked, tempfile.TemporaryFile(dir=scratch) as copy:
        if isinstance(unpacked, CompressedReader):
            left = DEFAULT_LIMITS.stream_bytes
            while data := unpacked.read(_COPY_BYTES):
                left -= len(data)
                if left < 0:
                    refuse("the archive is larger than this gureum takes")
                copy.write(data)
            copy.seek(0)
            yield copy
        else:
            file.seek(0)
            yield file


class _SingleFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def open(self, name: str) -> Iterator[Readable | None]:
        with _open_host_file(self._path) as file:
            yield file


class _Folder:
    """An OCI layout as a folder. Names are taken component by component without following links."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def open(self, name: str) -> Iterator[Readable | None]:
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts):
            refuse(f"the image names a file {name[:120]!a}")
        path = self._path.joinpath(*parts)
        if any(self._path.joinpath(*parts[: depth + 1]).is_symlink() for depth in range(len(parts))):
            refuse(f"{name[:120]!a} is a link")
        if not path.exists():
            yield None
            return
        with _open_host_file(path) as file:
            yield file


class _Archive:
    """A tar read in place: each entry is a range of the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._entries = list_archive(file)

    @contextmanager
    def open(self, name: str) -> Iterator[Readable | None]:
        found = self._entries.get(name)
        yield None if found is None else _Range(self._file.fileno(), *found)


class _Range:
    def __init__(self, file: int, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._end = offset + size

    def read(self, size: int = -1, /) -> bytes:
        left = self._end - self._offset
        data = os.pread(self._file, left if size < 0 else min(size, left), self._offset)
        self._offset += len(data)
        return data


def _plan_oci(blobs: Blobs) -> ImagePlan:
    index = _decode(_read(blobs, "index.json"), _Index, "index.json")
    descriptor = _choose(blobs, index, 0)
    manifest = _decode(_read_blob(blobs, descriptor), _Index, "the manifest")
    if manifest.config is None or manifest.layers is None:
        refuse("the manifest names no configuration or no layers")
    config = _decode(_read_blob(blobs, manifest.config), _Config, "the image configuration")
    names = [_blob_name(layer.digest) for layer in manifest.layers]
    return _plan(config, names, [layer.digest for layer in manifest.layers], descriptor.digest)


def _plan_docker(blobs: Blobs) -> ImagePlan:
    saved = _decode(_read(blobs, "manifest.json"), list[_Saved], "manifest.json")
    if len(saved) != 1:
        refuse(f"the archive holds {len(saved)} images; save one at a time")
    config = _decode(_read(blobs, saved[0].config), _Config, "the image configuration")
    return _plan(config, saved[0].layers, [""] * len(saved[0].layers), "")


def _plan(config: _Config, names: list[str], blob_digests: list[str], digest: str) -> ImagePlan:
    diff_ids = config.rootfs.diff_ids
    if config.os not in ("", "linux"):
        refuse(f"the image is for {config.os[:40]!a}, not for Linux")
    if config.architecture not in ("", ARCHITECTURE):
        refuse(f"the image is for {config.architecture[:40]!a}; this machine is {ARCHITECTURE}")
    if len(diff_ids) != len(names):
        refuse(f"the image has {len(names)} layers, but its configuration speaks of {len(diff_ids)}")
    if not 0 < len(names) <= _LAYERS_LIMIT:
        refuse(f"the image has {len(names)} layers; 1 to {_LAYERS_LIMIT} are taken")
    for diff_id in diff_ids:
        _blob_name(diff_id)
    layers = tuple(LayerPlan(*layer) for layer in zip(names, diff_ids, blob_digests, strict=True))
    return ImagePlan(_image_config(config.config or _RunConfig()), ARCHITECTURE, layers, digest)


def _image_config(run: _RunConfig) -> ImageConfig:
    return ImageConfig(
        entrypoint=tuple(run.entrypoint or ()),
        cmd=tuple(run.cmd or ()),
        env=tuple(run.env or ()),
        working_dir=run.working_dir or "/",
        user=run.user or "",
        labels=run.labels or {},
        stop_signal=run.stop_signal or "",
    )


def _choose(blobs: Blobs, index: _Index, depth: int) -> _Descriptor:
    """The manifest for this machine; indexes may lie in indexes."""
    if depth > _INDEX_DEPTH_LIMIT:
        refuse("the image's indexes are nested too deeply")
    fitting = [entry for entry in index.manifests or [] if _fits(entry)]
    if not fitting:
        refuse(f"the image has nothing for {ARCHITECTURE}")
    exact = [entry for entry in fitting if entry.platform is not None]
    chosen = (exact or fitting)[0]
    body = _decode(_read_blob(blobs, chosen), _Index, "the manifest")
    return _choose(blobs, body, depth + 1) if body.manifests is not None else chosen


def _fits(entry: _Descriptor) -> bool:
    if entry.annotations and "vnd.docker.reference.type" in entry.annotations:
        return False  # an attestation about an image, not an image
    wanted = entry.platform
    return wanted is None or (wanted.os in ("", "linux") and wanted.architecture in ("", ARCHITECTURE))


def _read(blobs: Blobs, name: str) -> bytes:
    with blobs.open(name) as file:
        if file is None:
            refuse(f"the image has no {name[:120]!a}")
        body = b""
        while data := file.read(_COPY_BYTES):
            body += data
            if len(body) > _JSON_LIMIT_BYTES:
                refuse(f"{name[:120]!a} is larger than {_JSON_LIMIT_BYTES} bytes")
        return body


def _read_blob(blobs: Blobs, descriptor: _Descriptor) -> bytes:
    body = _read(blobs, _blob_name(descriptor.digest))
    if f"sha256:{hashlib.sha256(body).hexdigest()}" != descriptor.digest:
        refuse(f"blob {descriptor.digest} does not have the digest it is named by")
    return body


def _blob_name(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        refuse(f"{digest[:120]!a} is not a sha256 digest")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _decode(body: bytes, kind: type[_Body], what: str) -> _Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        refuse(f"{what} cannot be understood: {error}")
