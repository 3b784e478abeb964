"""Images that are here: list, inspect, history, tag, remove, prune."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from gureum.docker import filters, find, sizes
from gureum.docker.call import Call, operation
from gureum.docker.containers.options import iso
from gureum.docker.errors import DockerError, bad_parameter, conflict
from gureum.docker.events import Events
from gureum.docker.images.config import config_of, container_words, time_of
from gureum.docker.images.references import familiar, parse, path_pattern
from gureum.docker.images.take import blobs_of, blobs_of_image, drop_unused, retag, used_blobs
from gureum.docker.kinds import SCOPE, Container, Image
from gureum.engine.client import Client, Transaction


@operation("GET", "/images/json")
async def list_images(call: Call) -> None:
    """Docker: ImageList: `filters`: reference, dangling, label, before, since, until."""
    wanted = call.filters()
    if call.text("filter"):
        wanted["reference"] = [call.text("filter")]
    fits = _filter(call, wanted, ("reference", "dangling", "label", "label!", "before", "since", "until"))
    shared = sizes.of_images(call.client)[1] if call.flag("shared-size") else None
    found = [summary(call, one, shared) for one in newest_first(call.client) if fits(one)]
    if "reference" in wanted:
        patterns = [path_pattern(text) for text in wanted["reference"]]
        for shown in found:
            for key in ("RepoDigests", "RepoTags"):
                shown[key] = [name for name in shown[key] if _is_named(name, patterns)]
    await call.send(200, found)


def newest_first(client: Client) -> list[Image]:
    return sorted(client.all(Image, SCOPE), key=_created, reverse=True)


def _created(image: Image) -> float:
    return time_of(config_of(image).get("created") or "")


def _filter(call: Call, wanted: filters.Wanted, accepted: Iterable[str]) -> Callable[[Image], bool]:
    """Whether an image fits. DockerError for what cannot be asked for, whether there are images or not."""
    filters.check(wanted, accepted)
    dangling = filters.truth(wanted, "dangling", False)
    before, since = (
        [_created(find.image(call.client, text)) for text in wanted.get(key, ())] for key in ("before", "since")
    )
    before += [filters.moment(text, call.now) for text in wanted.get("until", ())]
    patterns = [path_pattern(text) for text in wanted.get("reference", ())]

    def fits(image: Image) -> bool:
        created = _created(image)
        return (
            ("dangling" not in wanted or dangling == (not image.spec.tags))
            and ("reference" not in wanted or _named(image, patterns))
            and all(created < moment for moment in before)
            and all(created > moment for moment in since)
            and filters.label_matches(container_words(image).get("Labels") or {}, wanted)
        )

    return fits


def _named(image: Image, patterns: list[Callable[[str], bool]]) -> bool:
    return any(_is_named(familiar(one), patterns) for one in (*image.spec.tags, *image.spec.digests))


def _is_named(name: str, patterns: list[Callable[[str], bool]]) -> bool:
    """By a familiar name, with or without its tag or digest."""
    repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
    return any(fits(name) or fits(repository) for fits in patterns)


def summary(call: Call, image: Image, shared: dict[str, int] | None = None) -> dict[str, Any]:
    """As lists show it. `shared`: of each image the bytes that others have too, where it was asked for."""
    return {
        "Containers": -1 if shared is None else len(call.client.by(Container, SCOPE, "image", image.meta.name)),
        "Created": int(_created(image)),
        "Id": image.meta.name,
        "Labels": container_words(image).get("Labels"),
        "ParentId": image.spec.made_of,
        "RepoDigests": [familiar(one) for one in image.spec.digests],
        "RepoTags": [familiar(one) for one in image.spec.tags],
        "SharedSize": -1 if shared is None else shared[image.meta.name],
        "Size": image.spec.size,
        **({"VirtualSize": image.spec.size} if call.version < (1, 44) else {}),
    }


@operation("GET", "/images/{name:path}/json")
async def inspect_image(call: Call) -> None:
    """Docker: ImageInspect."""
    image = find.image(call.client, call.args["name"])
    config = config_of(image)
    inner = dict(config.get("config") or {})
    await call.send(
        200,
        {
            "Id": image.meta.name,
            "RepoTags": [familiar(one) for one in image.spec.tags],
            "RepoDigests": [familiar(one) for one in image.spec.digests],
            "Parent": image.spec.made_of,
            "Comment": (config.get("history") or [{}])[-1].get("comment", ""),
            "Created": config.get("created") or "",
            "DockerVersion": config.get("docker_version") or "",
            **(_of_old(config) if call.version < (1, 45) else {}),
            "Author": config.get("author") or "",
            "Config": _shown_config(inner),
            "Architecture": config.get("architecture") or "",
            **({"Variant": config["variant"]} if config.get("variant") else {}),
            "Os": config.get("os") or "linux",
            "Size": image.spec.size,
            **({"VirtualSize": image.spec.size} if call.version < (1, 44) else {}),
            "GraphDriver": {"Data": None, "Name": "overlay2"},
            "RootFS": {"Type": "layers", "Layers": (config.get("rootfs") or {}).get("diff_ids") or []},
            "Metadata": {"LastTagTime": iso(image.spec.tagged)},
        },
    )


def _of_old(config: dict[str, Any]) -> dict[str, Any]:
    """Which container it was made of, as clients were told before 1.45."""
    found = config.get("container_config")
    return {
        "Container": str(config.get("container") or ""),
        "ContainerConfig": _shown_config(found if isinstance(found, dict) else {}),
    }


def _shown_config(inner: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "Tty": False,
        "OpenStdin": False, "StdinOnce": False, "Env": None, "Cmd": None, "Image": "", "Volumes": None, "WorkingDir": "",
        "Entrypoint": None, "OnBuild": None, "Labels": None,
    }  # fmt: skip
    return {**defaults, **inner}


@operation("GET", "/images/{name:path}/history")
async def image_history(call: Call) -> None:
    """Docker: ImageHistory: the newest first."""
    image = find.image(call.client, call.args["name"])
    config = config_of(image)
    unpacked = sizes.of_layers(image)
    found: list[dict[str, Any]] = []
    at = 0
    for entry in config.get("history") or ():
        size = 0
        if not entry.get("empty_layer") and at < len(unpacked):
            size, at = unpacked[at], at + 1
        found.append(
            {
                "Id": "<missing>",
                "Created": int(time_of(entry.get("created") or "")),
                "CreatedBy": str(entry.get("created_by") or ""),
                "Tags": None,
                "Size": size,
                "Comment": str(entry.get("comment") or ""),
            }
        )
    if found:
        found[-1] |= {"Id": image.meta.name, "Tags": [familiar(one) for one in image.spec.tags] or None}
    await call.send(200, found[::-1])


@operation("POST", "/images/{name:path}/tag")
async def tag_image(call: Call) -> None:
    """Docker: ImageTag."""
    image = find.image(call.client, call.args["name"])
    repository, tag = call.text("repo"), call.text("tag")
    reference = parse(f"{repository}:{tag}" if tag else repository)
    if reference.digest:
        raise bad_parameter("refusing to create a tag with a digest reference")
    if reference.familiar_repository == "sha256":
        raise bad_parameter("refusing to create an ambiguous tag using digest algorithm as name")

    def decide(transaction: Transaction) -> None:
        current = call.client.get(Image, SCOPE, image.meta.name)
        if current is None:
            raise DockerError(404, f"No such image: {call.args['name']}")
        retag(call.world, transaction, current, tags=(reference.full,))

    await call.commit(decide)
    call.world.part(Events).add("image", "tag", image.meta.name, {"name": reference.familiar})
    await call.responder.send(201)


@operation("DELETE", "/images/{name:path}")
async def remove_image(call: Call) -> None:
    """Docker: ImageDelete: a name, and with the last one the image, unless a container is made of it."""
    text = call.args["name"]
    image = find.image(call.client, text)
    done = await remove_by(call, image, text, force=call.flag("force"))
    await call.send(200, done)


async def remove_by(call: Call, image: Image, text: str, *, force: bool) -> list[dict[str, str]]:
    by_id = image.meta.name.removeprefix("sha256:").startswith(text.removeprefix("sha256:"))
    reference = None if by_id else parse(text)
    short = image.meta.name[7:19]

    def decide(transaction: Transaction) -> tuple[list[dict[str, str]], bool]:
        current = call.client.get(Image, SCOPE, image.meta.name)
        if current is None:
            return [], False
        tags, digests = current.spec.tags, current.spec.digests
        repositories = {tag.rpartition(":")[0] for tag in tags}
        if reference is None:
            if len(repositories) > 1 and not force:
                raise conflict(
                    f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
                )
            tags = ()
        elif reference.digest:
            digests = tuple(one for one in digests if one != f"{reference.repository}@{reference.digest}")
        else:
            tags = tuple(one for one in tags if one != reference.full)
        untagged = [{"Untagged": familiar(one)} for one in current.spec.tags if one not in tags]
        if tags or (reference is not None and reference.digest and digests):
            spec = msgspec.structs.replace(current.spec, tags=tags, digests=digests)
            transaction.update(msgspec.structs.replace(current, spec=spec))
            return untagged, False
        users = call.client.by(Container, SCOPE, "image", current.meta.name)
        _check_users(users, short, "" if reference is None else reference.familiar, force=force)
        if users:
            spec = msgspec.structs.replace(current.spec, tags=(), digests=())
            transaction.update(msgspec.structs.replace(current, spec=spec))
            return untagged, False
        transaction.require_no_newer(Container, SCOPE)
        transaction.delete(current)
        untagged += [{"Untagged": familiar(one)} for one in digests]
        return [*untagged, {"Deleted": current.meta.name}], True

    done, gone = await call.commit(decide)
    events = call.world.part(Events)
    for one in done:
        kind, name = next(iter(one.items()))
        events.add("image", "untag" if kind == "Untagged" else "delete", image.meta.name, {"name": name})
    if gone:
        await forget_files(call, image)
    return done


def _check_users(users: list[Container], short: str, name: str, *, force: bool) -> None:
    """DockerError 409 while containers are made of the image. `name`: what was asked for, "" for the image itself."""
    running = [one for one in users if one.status.state in ("running", "restarting")]
    if running and (not name or force):
        user = running[0].meta.name[:12]
        raise conflict(
            f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container {user}"
        )
    if not users or force:
        return
    user = users[0].meta.name[:12]
    if not name:
        raise conflict(
            f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container {user}"
        )
    why = f"container {user} is using its referenced image {short}"
    raise conflict(f'conflict: unable to remove repository reference "{name}" (must force) - {why}')


async def forget_files(call: Call, image: Image) -> int:
    """Blobs and unpacked layers that no image needs any more."""
    others = [one for one in call.client.all(Image, SCOPE) if one.spec.digest == image.spec.digest]
    if not others:
        await call.ask({"op": "remove_image", "digest": image.spec.digest})
    blobs = call.world.part(blobs_of)
    return await asyncio.to_thread(blobs.drop, blobs_of_image(image) - used_blobs(call.world))


@operation("POST", "/images/prune")
async def prune_images(call: Call) -> None:
    """Docker: ImagePrune: those without a name; with dangling=false all that no container needs."""
    wanted = call.filters()
    dangling = filters.truth(wanted, "dangling", True)
    filters.until(wanted, call.now)
    fits = _filter(call, {key: texts for key, texts in wanted.items() if key != "dangling"}, filters.PRUNE)
    before, _ = sizes.of_images(call.client)
    done: list[dict[str, str]] = []
    for image in call.client.all(Image, SCOPE):
        used = call.client.by(Container, SCOPE, "image", image.meta.name)
        if used or (dangling and image.spec.tags) or not fits(image):
            continue
        done += await remove_by(call, image, image.meta.name, force=True)
    freed = before - sizes.of_images(call.client)[0] + drop_unused(call.world)
    call.world.part(Events).add("image", "prune", "", {"reclaimed": str(freed)})
    await call.send(200, {"ImagesDeleted": done or None, "SpaceReclaimed": freed})


@operation("GET", "/images/search")
async def search_images(call: Call) -> None:
    raise DockerError(501, "NotImplemented: searching Docker Hub")
