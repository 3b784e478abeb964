"""Images as files: `docker load`, `save` and `import`. A saved image is an OCI layout and Docker's older archive in one, as Docker writes it.

What is loaded was made by a stranger: names in the archive are only looked up in it, never on the disk; the agent checks every digest.
"""

from __future__ import annotations

import asyncio
import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import IO, Any, BinaryIO, cast

import msgspec

from gureum.docker import find
from gureum.docker.call import Call, operation
from gureum.docker.errors import DockerError, bad_parameter, server_error
from gureum.docker.events import Events
from gureum.docker.images.blobs import COPY_BYTES, SHA, Blobs, copy_hashed
from gureum.docker.images.references import familiar, parse
from gureum.docker.images.take import OCI_LAYER, blobs_of, made_manifest, making, take
from gureum.docker.kinds import Image, Layer
from gureum.docker.system import ARCHITECTURE

LIMIT_ENTRIES = 100_000
LIMIT_JSON_BYTES = 8 << 20
_GZIP_LAYER = f"{OCI_LAYER}+gzip"


async def receive(call: Call, file: BinaryIO) -> None:
    """The body into a file."""
    async for piece in call.request.pieces():
        if file.write(piece) != len(piece):
            raise server_error("no space left on device")
    file.flush()
    file.seek(0)


@operation("POST", "/images/load")
async def load_images(call: Call) -> None:
    """Docker: ImageLoad."""
    async with making(call.world):
        await _load(call)


async def _load(call: Call) -> None:
    blobs = call.world.part(blobs_of)
    with blobs.draft() as file:
        await receive(call, file)
        try:
            found = await asyncio.to_thread(_Archive(blobs, file).read)
        except DockerError as refused:
            await _refuse(call, refused.message)
            return
        except (
            tarfile.TarError,
            OSError,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            RecursionError,
            msgspec.DecodeError,
            EOFError,
            zlib.error,
        ) as error:
            await _refuse(call, f"invalid archive: {error}")
            return
    await call.responder.begin()
    for config_digest, manifest_digest, layers, tags in found:
        try:
            image = await take(call.world, manifest_digest, config_digest, layers, tags=tags)
        except DockerError as refused:
            await call.responder.write_json(_told(refused.message))
            break
        for tag in tags:
            await call.responder.write_json({"stream": f"Loaded image: {familiar(tag)}\n"})
        if not tags:
            await call.responder.write_json({"stream": f"Loaded image ID: {image.meta.name}\n"})
        call.world.part(Events).add("image", "load", image.meta.name, {"name": image.meta.name})
    await call.responder.finish()


async def _refuse(call: Call, why: str) -> None:
    """Docker: what came is told in the stream of an answer that has begun well (200): there clients look for it."""
    await call.responder.begin()
    await call.responder.write_json(_told(why))
    await call.responder.finish()


def _told(why: str) -> dict[str, Any]:
    return {"errorDetail": {"message": why}, "error": why}


Loaded = tuple[str, str, tuple[Layer, ...], list[str]]


class _Archive:
    """Everything in the archive that is an image goes to the blobs."""

    def __init__(self, blobs: Blobs, file: BinaryIO) -> None:
        self._blobs, self._file = blobs, file

    def read(self) -> list[Loaded]:
        """(configuration, manifest, layers, tags) of each image."""
        with _opened(self._file) as tar:
            members = self._members(tar)
            if "manifest.json" in members:
                listed = msgspec.json.decode(self._json(tar, members["manifest.json"]))
                return [self._docker(tar, members, one) for one in listed]
            if "index.json" in members:
                index = msgspec.json.decode(self._json(tar, members["index.json"]))
                return [found for one in index["manifests"] for found in self._oci(tar, members, one, one)]
        raise bad_parameter("invalid archive: does not contain a manifest.json")

    def _members(self, tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
        found: dict[str, tarfile.TarInfo] = {}
        for member in tar:
            if len(found) > LIMIT_ENTRIES:
                raise ValueError("too many entries")
            name = _plain(member.name)
            if member.isreg():
                found[name] = member
            elif member.issym() or member.islnk():
                base = "" if member.islnk() else name.rpartition("/")[0]
                target = _plain(f"{base}/{member.linkname}")
                if target in found:
                    found[name] = found[target]
        return found

    def _json(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        if member.size > LIMIT_JSON_BYTES:
            raise ValueError(f"{member.name[:100]} is too large")
        file = tar.extractfile(member)
        return file.read() if file else b""

    def _docker(self, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], one: dict[str, Any]) -> Loaded:
        config = self._json(tar, members[_plain(one["Config"])])
        config_digest = self._blobs.add(config)
        layers = tuple(self._layer(tar, members[_plain(name)]) for name in one["Layers"])
        manifest = self._blobs.add(made_manifest(config_digest, len(config), layers))
        return config_digest, manifest, layers, [parse(tag).full for tag in one.get("RepoTags") or ()]

    def _layer(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Layer:
        file = tar.extractfile(member)
        if file is None:
            raise ValueError(f"{member.name[:100]} is no file")
        with self._blobs.draft() as draft:
            digest, size = copy_hashed(file.read, draft)
            draft.seek(0)
            kind = _GZIP_LAYER if draft.read(2) == b"\x1f\x8b" else OCI_LAYER
            self._blobs.keep(draft, digest)
        return Layer(digest, size, kind)

    def _oci(
        self, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], one: dict[str, Any], top: dict[str, Any]
    ) -> list[Loaded]:
        platform = one.get("platform") or {}
        if platform.get("architecture") not in (None, "", ARCHITECTURE) or "vnd.docker.reference.type" in (
            one.get("annotations") or {}
        ):
            return []
        body = self._json(tar, members[_blob(one["digest"])])
        found = msgspec.json.decode(body)
        if "manifests" in found:
            return [image for inner in found["manifests"] for image in self._oci(tar, members, inner, top)]
        config = self._blobs.add(self._json(tar, members[_blob(found["config"]["digest"])]))
        for layer in found["layers"]:
            self._layer(tar, members[_blob(layer["digest"])])
        layers = tuple(
            Layer(str(one["digest"]), self._blobs.size(str(one["digest"])), str(one.get("mediaType") or OCI_LAYER))
            for one in found["layers"]
        )
        notes = top.get("annotations") or {}
        name = notes.get("io.containerd.image.name")
        return [(config, self._blobs.add(body), layers, [parse(name).full] if name else [])]


def _plain(name: str) -> str:
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix(SHA)}"


def _opened(file: BinaryIO) -> tarfile.TarFile:
    """Compressed archives are read so, too."""
    return tarfile.open(fileobj=cast("IO[bytes]", file), mode="r:*")


@operation("GET", "/images/{name:path}/get")
async def save_image(call: Call) -> None:
    await _save(call, [call.args["name"]])


@operation("GET", "/images/get")
async def save_images(call: Call) -> None:
    """Docker: ImageGet: `names`, each as often as wished."""
    names = [one for text in call.request.query.get("names", ()) for one in text.split(",")]
    await _save(call, names)


async def _save(call: Call, names: list[str]) -> None:
    wanted: dict[str, tuple[Image, list[str]]] = {}
    for name in names:
        image = find.image(call.client, name)
        _, tags = wanted.setdefault(image.meta.name, (image, []))
        try:
            full = parse(name).full
        except DockerError:
            full = ""
        tags += [full] if full in image.spec.tags and full not in tags else []
    blobs = call.world.part(blobs_of)
    await call.responder.begin(200, "application/x-tar")
    async for piece in _archive(blobs, list(wanted.values())):
        await call.responder.write(piece)
    await call.responder.finish()
    for image, _ in wanted.values():
        call.world.part(Events).add("image", "save", image.meta.name, {"name": image.meta.name})


async def _archive(blobs: Blobs, wanted: list[tuple[Image, list[str]]]) -> AsyncIterator[bytes]:
    listed, index, repositories = [], [], dict[str, dict[str, str]]()
    needed: dict[str, None] = {}
    for image, tags in wanted:
        manifest = image.spec.digest
        needed |= dict.fromkeys([image.meta.name, manifest, *(one.blob for one in image.spec.layers)])
        listed.append(
            {
                "Config": _blob(image.meta.name),
                "RepoTags": [familiar(tag) for tag in tags] or None,
                "Layers": [_blob(one.blob) for one in image.spec.layers],
            }
        )
        body = {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest,
            "size": blobs.size(manifest),
        }
        for tag in tags or [""]:
            notes = {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag.rpartition(":")[2]}
            index.append({**body, **({"annotations": notes} if tag else {})})
            if tag:
                repository, _, name = familiar(tag).rpartition(":")
                repositories.setdefault(repository, {})[name] = image.meta.name.removeprefix(SHA)
    for digest in needed:
        path = blobs.path(digest)
        size = path.stat().st_size
        yield _head(_blob(digest), size)
        with await asyncio.to_thread(open, path, "rb") as file:
            while data := await asyncio.to_thread(file.read, COPY_BYTES):
                yield data
        yield b"\0" * (-size % 512)
    files = {
        "index.json": {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index},
        "manifest.json": listed,
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "repositories": repositories,
    }
    for name, content in files.items():
        data = msgspec.json.encode(content)
        yield _head(name, len(data)) + data + b"\0" * (-len(data) % 512)
    yield b"\0" * 1024


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


async def import_image(call: Call) -> None:
    """A root file system as an image of one layer (`docker import`). Only from the body."""
    source = call.text("fromSrc")
    if source != "-":
        raise bad_parameter("only what the client sends can be imported (fromSrc=-)")
    repository, tag = call.text("repo"), call.text("tag")
    reference = parse(f"{repository}:{tag}" if tag else repository) if repository else None
    async with making(call.world):
        image = await _imported(call, (reference.full,) if reference else ())
    await call.responder.begin()
    await call.responder.write_json({"status": image.meta.name})
    await call.responder.finish()
    call.world.part(Events).add("image", "import", image.meta.name, {"name": image.meta.name})


async def _imported(call: Call, tags: tuple[str, ...]) -> Image:
    blobs = call.world.part(blobs_of)
    with blobs.draft() as sent, blobs.draft() as layer_file:
        await receive(call, sent)
        try:
            digest, size = await asyncio.to_thread(lambda: copy_hashed(_uncompressed(sent).read, layer_file))
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise server_error(f"the archive cannot be read: {error}") from error
        blobs.keep(layer_file, digest)
    layer = Layer(digest, size, OCI_LAYER)
    config = dict[str, Any]()
    for change in call.request.query.get("changes", ()):
        apply_change(config, change)
    comment = call.text("message") or "Imported from -"
    return await make_image(call, [layer], [digest], config, comment=comment, tags=tags)


async def make_image(
    call: Call,
    layers: list[Layer],
    diff_ids: list[str],
    config: dict[str, Any],
    *,
    comment: str = "",
    author: str = "",
    history: list[dict[str, Any]] | None = None,
    tags: tuple[str, ...] = (),
    made_of: str = "",
    created_by: str = "",
) -> Image:
    """A new image of layers that are here."""
    blobs = call.world.part(blobs_of)
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    body = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "created": now,
        **({"author": author} if author else {}),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [
            *(history or []),
            {"created": now, "created_by": created_by, "comment": comment, **({"author": author} if author else {})},
        ],
    }
    data = msgspec.json.encode(body)
    config_digest = blobs.add(data)
    manifest = blobs.add(made_manifest(config_digest, len(data), layers))
    return await take(call.world, manifest, config_digest, tuple(layers), tags=tags, made_of=made_of)


def _uncompressed(file: BinaryIO) -> Any:
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(cast("IO[bytes]", file))
    if head.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(cast("IO[bytes]", file))
    return file


def apply_change(config: dict[str, Any], text: str) -> None:
    """One of a Dockerfile's words that change a configuration (`--change`). DockerError 400."""
    word, _, rest = text.strip().partition(" ")
    word, rest = word.upper(), rest.strip()
    if word in ("CMD", "ENTRYPOINT"):
        config["Cmd" if word == "CMD" else "Entrypoint"] = _command(rest)
    elif word in ("ENV", "LABEL"):
        pairs = [part.partition("=") for part in _words(rest)] if "=" in rest.split(" ")[0] else [rest.partition(" ")]
        for key, _, value in pairs:
            if word == "LABEL":
                config.setdefault("Labels", {})[key] = value
            else:
                config["Env"] = [
                    *(one for one in config.get("Env") or () if not one.startswith(f"{key}=")),
                    f"{key}={value}",
                ]
    elif word == "EXPOSE":
        config.setdefault("ExposedPorts", {}).update({one if "/" in one else f"{one}/tcp": {} for one in rest.split()})
    elif word == "VOLUME":
        names = _command(rest) if rest.startswith("[") else rest.split()
        config.setdefault("Volumes", {}).update({name: {} for name in names})
    elif word in ("USER", "WORKDIR", "STOPSIGNAL"):
        config[{"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}[word]] = rest
    else:
        raise bad_parameter(f"{word} is not a valid change command")


def _words(text: str) -> list[str]:
    found, held, quoted = [], "", False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif letter == " " and not quoted:
            found += [held] if held else []
            held = ""
        else:
            held += letter
    return [*found, *([held] if held else [])]


def _command(text: str) -> list[str]:
    if text.startswith("["):
        try:
            return msgspec.json.decode(text, type=list[str])
        except msgspec.DecodeError as error:
            raise bad_parameter(f"invalid command: {text}") from error
    return ["/bin/sh", "-c", text]


__all__ = ["apply_change", "import_image", "make_image"]
