"""cp, diff, export and commit: a container's files as tars, and what it has changed of its image."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from collections.abc import Awaitable, Callable
from typing import Any, BinaryIO

import msgspec

from gureum.docker import find
from gureum.docker.call import Call, operation, patiently
from gureum.docker.containers.options import iso
from gureum.docker.errors import DockerError, bad_parameter, not_found
from gureum.docker.events import Events
from gureum.docker.images.blobs import COPY_BYTES, SHA, copy_hashed
from gureum.docker.images.config import config_of
from gureum.docker.images.load import apply_change, make_image, receive
from gureum.docker.images.references import parse
from gureum.docker.images.take import OCI_LAYER, blobs_of, making
from gureum.docker.kinds import Container, Layer
from gureum.docker.lowering import beside_root, core_name
from gureum.engine.lowering import Reader
from gureum.ports import PortError
from gureum.ports.root_files import BETWEEN_RUNS

_TAR = "application/x-tar"
SETTLES_S, SETTLES_PAUSE_S = 10.0, 0.02
# Go's os.FileMode (io/fs): its own bits above the nine of permissions.
_GO_MODES = (
    (stat.S_IFDIR, 31),
    (stat.S_IFLNK, 27),
    (stat.S_IFIFO, 25),
    (stat.S_IFSOCK, 24),
    (stat.S_IFBLK, 26),
    (stat.S_IFCHR, 21),
)


async def _ask(call: Call, container: Container, verb: str, **more: str) -> dict[str, Any]:
    name = core_name(container.meta.name)
    request = {"op": "root_files", "name": name, "digest": container.spec.digest, "verb": verb, **more}
    if more.get("path"):
        request["shown"] = msgspec.to_builtins(beside_root(container, Reader(call.client)))
    try:
        return await _when_settled(lambda: patiently(lambda: call.world.link.ask(request, 3600.0)))
    except PortError as refused:
        if refused.why.startswith("Could not find the file"):
            raise not_found(f"{refused.why} {call.args['id']}") from refused
        raise DockerError(500, refused.why) from refused


async def _when_settled(ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Asks again while the container is about to start or to end, for a few seconds. PortError."""
    begin = asyncio.get_running_loop().time()
    while True:
        try:
            return await ask()
        except PortError as refused:
            if not refused.why.endswith(BETWEEN_RUNS) or asyncio.get_running_loop().time() - begin > SETTLES_S:
                raise
        await asyncio.sleep(SETTLES_PAUSE_S)


async def _stat_header(call: Call, container: Container, path: str) -> str:
    seen = await _ask(call, container, "look", path=path)
    mode = int(seen["mode"])
    go_mode = stat.S_IMODE(mode) & 0o777 | sum(1 << bit for kind, bit in _GO_MODES if stat.S_IFMT(mode) == kind)
    found = {
        "name": seen["name"],
        "size": seen["size"],
        "mode": go_mode,
        "mtime": iso(float(seen["time"])),
        "linkTarget": seen["link"],
    }
    return base64.b64encode(msgspec.json.encode(found)).decode()


@operation("HEAD", "/containers/{id}/archive")
async def stat_path(call: Call) -> None:
    container = find.container(call.client, call.args["id"])
    call.responder.headers["X-Docker-Container-Path-Stat"] = await _stat_header(call, container, _path(call))
    await call.responder.send(200)


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise bad_parameter("Bad parameters: the path cannot be empty")
    return path if path.startswith("/") else f"/{path}"


@operation("GET", "/containers/{id}/archive")
async def get_archive(call: Call) -> None:
    """Docker: ContainerArchive."""
    container = find.container(call.client, call.args["id"])
    path = _path(call)
    call.responder.headers["X-Docker-Container-Path-Stat"] = await _stat_header(call, container, path)
    blobs = call.world.part(blobs_of)
    with blobs.draft() as file:
        await _ask(call, container, "read", path=path, file=blobs.name_of(file))
        await _send(call, file)


@operation("GET", "/containers/{id}/export")
async def export(call: Call) -> None:
    """Docker: ContainerExport: all files."""
    container = find.container(call.client, call.args["id"])
    blobs = call.world.part(blobs_of)
    with blobs.draft() as file:
        await _ask(call, container, "read", path="", file=blobs.name_of(file))
        await _send(call, file)
    call.world.part(Events).container(container, "export")


async def _send(call: Call, file: BinaryIO) -> None:
    await call.responder.begin(200, _TAR)
    file.seek(0)
    while data := await asyncio.to_thread(file.read, COPY_BYTES):
        await call.responder.write(data)
    await call.responder.finish()


@operation("PUT", "/containers/{id}/archive")
async def put_archive(call: Call) -> None:
    """Docker: PutContainerArchive: unpacks the body in a folder; `copyUIDGID`: for the container's own user."""
    container = find.container(call.client, call.args["id"])
    path = _path(call)
    seen = await _ask(call, container, "look", path=path)
    if not stat.S_ISDIR(int(seen["mode"])) and not seen["link"]:
        raise bad_parameter("extraction point is not a directory")
    _check_writable(container, path)
    blobs = call.world.part(blobs_of)
    with blobs.draft() as file:
        await receive(call, file)
        user = str(container.spec.config.get("User") or "") if call.flag("copyUIDGID") else ""
        if file.seek(0, os.SEEK_END):
            await _ask(call, container, "write", path=path, file=blobs.name_of(file), user=user)
    await call.responder.send(200)


def _check_writable(container: Container, path: str) -> None:
    """Docker: by what is said of the mount that the path is in, or of the root."""
    clean = os.path.normpath(path)
    for mount in container.spec.mounts:
        if mount.type != "tmpfs" and f"{clean}/".startswith(f"{mount.target.rstrip('/')}/"):
            if not mount.writable:
                raise bad_parameter("mounted volume is marked read-only")
            return
    if container.spec.host.get("ReadonlyRootfs"):
        raise bad_parameter("container rootfs is marked read-only")


@operation("GET", "/containers/{id}/changes")
async def changes(call: Call) -> None:
    """Docker: ContainerChanges."""
    container = find.container(call.client, call.args["id"])
    found = (await _ask(call, container, "changes"))["changes"]
    shown = sorted(({"Path": path, "Kind": kind} for path, kind in found), key=lambda one: one["Path"])
    await call.send(200, shown)


@operation("POST", "/commit")
async def commit_container(call: Call) -> None:
    """Docker: ImageCommit: an image of what the container has written, above its own image."""
    container = find.container(call.client, call.text("container"))
    image = call.client.get(type(find.image(call.client, container.spec.image)), "local", container.spec.image)
    if image is None:
        raise not_found(f"No such image: {container.spec.image}")
    wish = await call.json("container.Config")
    base = config_of(image)
    config = {**(base.get("config") or {}), **{key: value for key, value in wish.items() if value and key != "Image"}}
    for change in call.request.query.get("changes", ()):
        for line in change.splitlines():
            apply_change(config, line)
    repository, tag = call.text("repo"), call.text("tag")
    reference = parse(f"{repository}:{tag}" if tag else repository) if repository else None
    async with making(call.world):
        blobs = call.world.part(blobs_of)
        with blobs.draft() as file, blobs.draft() as layer_file:
            await _ask(call, container, "layer", file=blobs.name_of(file))
            file.seek(0)
            digest, size = await asyncio.to_thread(copy_hashed, file.read, layer_file)
            blobs.keep(layer_file, digest)
        diff_ids = [*(base.get("rootfs") or {}).get("diff_ids", ()), digest]
        made = await make_image(
            call,
            [*image.spec.layers, Layer(digest, size, OCI_LAYER)],
            diff_ids,
            config,
            comment=call.text("comment"),
            author=call.text("author"),
            history=list(base.get("history") or ()),
            tags=(reference.full,) if reference else (),
            made_of=image.meta.name,
            created_by=" ".join(container.spec.args),
        )
    call.world.part(Events).container(container, "commit", imageID=made.meta.name.removeprefix(SHA))
    await call.send(201, {"Id": made.meta.name})
