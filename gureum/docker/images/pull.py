"""Pull and push. What is told meanwhile is what docker's progress bars are drawn from."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any, TypeVar

import msgspec

from gureum.docker import find
from gureum.docker.call import Call, operation
from gureum.docker.errors import DockerError, bad_parameter, not_built, not_found, server_error
from gureum.docker.events import Events
from gureum.docker.images.blobs import SHA, Blobs
from gureum.docker.images.load import import_image
from gureum.docker.images.references import DEFAULT_TAG, Reference, familiar, parse
from gureum.docker.images.registry import INDEXES, Registry
from gureum.docker.images.registry_auth import Auth
from gureum.docker.images.registry_talks import Talk, Talks
from gureum.docker.images.take import OCI_MANIFEST, blobs_of, made_manifest, making, take, taken_layers
from gureum.docker.kinds import Image
from gureum.docker.system import ARCHITECTURE

AT_ONCE = 3
_DEPTH = 4
T = TypeVar("T")
Tell = Callable[[dict[str, Any]], None]


class Progress:
    """Messages from a thread to a client. Of a bar that moves only the newest waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._some = asyncio.Event()

    def tell(self, message: dict[str, Any]) -> None:
        with self._lock:
            last = self._waiting[-1] if self._waiting else {}
            moving = message.get("progressDetail") and last.get("progressDetail")
            if moving and last.get("id") == message.get("id") and last.get("status") == message.get("status"):
                self._waiting[-1] = message
            else:
                self._waiting.append(message)
        self._loop.call_soon_threadsafe(self._some.set)

    async def begun(self, work: asyncio.Future[Any]) -> None:
        """Until there is something to tell. DockerError of work that has failed before it had."""
        saying = asyncio.ensure_future(self._some.wait())
        try:
            await asyncio.wait({work, saying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            saying.cancel()
        if work.done() and not self._waiting:
            _result(work)

    async def send(self, call: Call, work: asyncio.Future[Any]) -> None:
        """Until the work is done; its error is the last message."""
        await call.responder.begin()
        while True:
            waiting = asyncio.ensure_future(self._some.wait())
            try:
                await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
            done = work.done()
            self._some.clear()
            with self._lock:
                messages, self._waiting = self._waiting, []
            for message in messages:
                await call.responder.write_json(message)
            if done:
                break
        try:
            _result(work)
        except DockerError as refused:
            await call.responder.write_json({"errorDetail": {"message": refused.message}, "error": refused.message})
        await call.responder.finish()


def _result(work: asyncio.Future[Any]) -> None:
    if work.cancelled():
        raise ConnectionResetError("the client has left")
    work.result()


@contextlib.asynccontextmanager
async def _for_client(call: Call, work: asyncio.Future[Any]) -> AsyncIterator[None]:
    """The work ends when the client goes, as under Docker."""
    leaving = asyncio.ensure_future(call.responder.left())
    leaving.add_done_callback(lambda _: work.cancel())
    try:
        yield
    finally:
        leaving.cancel()
        work.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)


@operation("POST", "/images/create")
async def create_image(call: Call) -> None:
    """Docker: ImageCreate: a pull, or with `fromSrc` the import of a root file system."""
    if call.text("fromSrc"):
        await import_image(call)
        return
    name, tag = call.text("fromImage"), call.text("tag")
    if not name:
        raise bad_parameter("invalid reference format")
    reference = parse(name)
    if tag:
        reference = parse(f"{reference.repository}{'@' if tag.startswith(SHA) else ':'}{tag}")
    if not tag and not reference.tag and not reference.digest:
        raise not_built("pulling all tags of a repository")
    platform = call.text("platform")
    if platform and platform.split("/")[:2] not in (["linux", ARCHITECTURE], ["linux"]):
        raise not_found(f"no matching manifest for {platform} in the manifest list entries")
    auth, progress = Auth(call.request.headers.get("x-registry-auth", "")), Progress()
    await call.request.body()
    work = asyncio.ensure_future(_pull_whole(call, reference, auth, progress.tell))
    async with _for_client(call, work):
        # What fails before a word was said is the call's own error.
        await progress.begun(work)
        await progress.send(call, work)


async def _pull_whole(call: Call, reference: Reference, auth: Auth, tell: Tell) -> None:
    async with making(call.world, keep=True):
        await pull(call, reference, auth, tell)


async def pull(call: Call, reference: Reference, auth: Auth, tell: Tell) -> Image:
    blobs = call.world.part(blobs_of)
    name = reference.digest or reference.tag or DEFAULT_TAG

    def fetch(talk: Talk) -> tuple[bytes, str, str]:
        registry = talk.registry(reference)
        found = registry.manifest(name)
        tell({"status": f"Pulling from {reference.path}", "id": name})
        body, digest = _choose(registry, *found)
        _fetch_all(talk, registry, blobs, body, tell)
        blobs.add(body)
        return body, digest, found[2]

    body, digest, top = await call.world.part(Talks).run(auth, partial(machine_errors, fetch))
    manifest = msgspec.json.decode(body)
    before = find.by_reference(call.client, reference)
    layers = await taken_layers(blobs, manifest["layers"])
    image = await take(
        call.world,
        digest,
        str(manifest["config"]["digest"]),
        layers,
        tags=() if reference.digest else (reference.full,),
        digests=(f"{reference.repository}@{top}",),
    )
    for layer in layers:
        tell({"status": "Pull complete", "progressDetail": {}, "id": layer.blob[7:19]})
    tell({"status": f"Digest: {top}"})
    new = before is None or before.meta.name != image.meta.name
    tell({"status": f"Status: {'Downloaded newer image' if new else 'Image is up to date'} for {reference.familiar}"})
    call.world.part(Events).add("image", "pull", reference.familiar, {"name": reference.familiar_repository})
    return image


def machine_errors(work: Callable[[Talk], T], talk: Talk) -> T:
    try:
        return work(talk)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, msgspec.DecodeError) as error:
        raise server_error(f"the image cannot be had: {error}") from error


def _choose(registry: Registry, body: bytes, media_type: str, digest: str) -> tuple[bytes, str]:
    """The manifest for this machine: indexes lead to it."""
    for _ in range(_DEPTH):
        found = msgspec.json.decode(body)
        if not isinstance(found, dict) or not ("manifests" in found or {"config", "layers"} <= found.keys()):
            raise server_error("unsupported manifest format")
        if media_type not in INDEXES and "manifests" not in found:
            return body, digest
        fitting = [one for one in found.get("manifests") or () if _fits(one)]
        if not fitting:
            raise not_found(f"no matching manifest for linux/{ARCHITECTURE} in the manifest list entries")
        body, media_type, digest = registry.manifest(str(fitting[0]["digest"]))
    raise server_error("the image's indexes are nested too deeply")


def _fits(entry: dict[str, Any]) -> bool:
    platform = entry.get("platform") or {}
    attestation = "vnd.docker.reference.type" in (entry.get("annotations") or {})
    return (
        not attestation
        and platform.get("os") in (None, "", "linux")
        and platform.get("architecture") in (None, "", ARCHITECTURE)
    )


def _fetch_all(talk: Talk, registry: Registry, blobs: Blobs, body: bytes, tell: Tell) -> None:
    """The configuration and all layers, a few at once."""
    manifest = msgspec.json.decode(body)
    config, layers = manifest["config"], manifest["layers"]
    missing = []
    for layer in layers:
        known = blobs.has(str(layer["digest"]))
        tell(
            {
                "status": "Already exists" if known else "Pulling fs layer",
                "progressDetail": {},
                "id": str(layer["digest"])[7:19],
            }
        )
        if not known and layer not in missing:
            missing.append(layer)
    _fetch(registry, blobs, config, lambda message: None)
    if not missing:
        return
    own = threading.local()

    def fetch(layer: dict[str, Any]) -> None:
        if not hasattr(own, "registry"):
            own.registry = talk.registry(registry.reference)
        _fetch(own.registry, blobs, layer, tell)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pull") as threads:
        try:
            for done in as_completed([threads.submit(fetch, layer) for layer in missing]):
                done.result()
        except BaseException:
            talk.cut()  # of what is no image any more nothing else is fetched
            raise


def _fetch(registry: Registry, blobs: Blobs, descriptor: dict[str, Any], tell: Tell) -> None:
    digest, size = str(descriptor["digest"]), int(descriptor.get("size", -1))
    short = digest[7:19]
    if blobs.has(digest):
        return
    with blobs.draft() as file:
        registry.fetch(
            digest,
            size,
            file,
            lambda got: tell({"status": "Downloading", "progressDetail": {"current": got, "total": size}, "id": short}),
        )
        tell({"status": "Verifying Checksum", "progressDetail": {}, "id": short})
        blobs.keep(file, digest)
    tell({"status": "Download complete", "progressDetail": {}, "id": short})


@operation("POST", "/images/{name:path}/push")
async def push_image(call: Call) -> None:
    """Docker: ImagePush: one tag, or all of a repository."""
    text = call.args["name"]
    tag = call.text("tag")
    reference = parse(f"{text}:{tag}" if tag else text)
    auth, progress = Auth(call.request.headers.get("x-registry-auth", "")), Progress()
    await call.request.body()
    names = [reference] if reference.tag else _all_tags(call, reference)
    if not names:
        raise not_found(f"An image does not exist locally with the tag: {reference.familiar_repository}")
    images = [(one, find.by_reference(call.client, one)) for one in names]
    missing = [one for one, image in images if image is None]
    if missing:
        raise not_found(f"An image does not exist locally with the tag: {missing[0].familiar_repository}")
    blobs = call.world.part(blobs_of)

    def push(talk: Talk) -> None:
        for one, image in images:
            assert image is not None
            _push(blobs, talk.registry(one), image, progress.tell)

    progress.tell({"status": f"The push refers to repository [{reference.repository}]"})
    task = asyncio.ensure_future(call.world.part(Talks).run(auth, partial(machine_errors, push)))
    async with _for_client(call, task):
        await progress.send(call, task)
    call.world.part(Events).add("image", "push", reference.familiar, {"name": reference.familiar_repository})


def _all_tags(call: Call, reference: Reference) -> list[Reference]:
    found = [tag for image in call.client.all(Image, "local") for tag in image.spec.tags]
    return [parse(tag) for tag in found if tag.rpartition(":")[0] == reference.repository]


def _push(blobs: Blobs, registry: Registry, image: Image, tell: Tell) -> None:
    for layer in image.spec.layers:
        _push_one(blobs, registry, layer.blob, layer.size, tell)
    _push_one(blobs, registry, image.meta.name, blobs.size(image.meta.name), lambda message: None)
    body = _manifest_of(blobs, image)
    media_type = str(msgspec.json.decode(body).get("mediaType") or OCI_MANIFEST)
    tag = registry.reference.tag or DEFAULT_TAG
    digest = registry.push_manifest(tag, media_type, body)
    tell({"status": f"{tag}: digest: {digest} size: {len(body)}"})
    tell({"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest, "Size": len(body)}})


def _manifest_of(blobs: Blobs, image: Image) -> bytes:
    """The one it came with, as long as it names what we have."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        return blobs.read(image.spec.digest)
    return made_manifest(image.meta.name, blobs.size(image.meta.name), image.spec.layers)


def _push_one(blobs: Blobs, registry: Registry, digest: str, size: int, tell: Tell) -> None:
    short = digest[7:19]
    tell({"status": "Preparing", "progressDetail": {}, "id": short})
    if registry.has(digest):
        tell({"status": "Layer already exists", "progressDetail": {}, "id": short})
        return
    with open(blobs.path(digest), "rb") as file:
        registry.push_blob(
            digest,
            size,
            file,
            lambda sent: tell({"status": "Pushing", "progressDetail": {"current": sent, "total": size}, "id": short}),
        )
    tell({"status": "Pushed", "progressDetail": {}, "id": short})


__all__ = ["familiar", "pull"]
