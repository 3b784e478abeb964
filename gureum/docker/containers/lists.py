"""GET /containers/json: which containers a list has, and a container in few words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from gureum.core.world import World
from gureum.docker import filters, find, sizes
from gureum.docker.call import Call, operation
from gureum.docker.containers.show import mount_shown, network_settings, state_word
from gureum.docker.errors import DockerError, bad_parameter
from gureum.docker.images.references import familiar, parse
from gureum.docker.kinds import SCOPE, Container, Image, MountPoint, Network, PortBinding
from gureum.docker.networks import links
from gureum.engine.client import Client

_MOST_COMMITS = 128


@operation("GET", "/containers/json")
async def list_containers(call: Call) -> None:
    """Docker: ContainerList: those that run; `all`, `limit`, `filters`."""
    wanted = call.filters()
    fits = _filter(call.world, wanted)
    limit = call.number("limit", -1)
    everything = call.flag("all") or limit > 0 or "status" in wanted
    kept = [
        one
        for one in newest_first(call.client)
        if (everything or one.status.state in ("running", "restarting")) and fits(one)
    ]
    kept = kept[:limit] if limit > 0 else kept
    linked = links.names(call.client)
    lines = [summary(call.world, one, linked) for one in kept]
    if call.flag("size"):
        for line, one in zip(lines, kept, strict=True):
            line |= await sizes.shown(call.world, one)
    await call.send(200, lines)


def newest_first(client: Client) -> list[Container]:
    return sorted(client.all(Container, SCOPE), key=lambda one: one.meta.created, reverse=True)


_FILTERS = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since",
    "status", "volume",
)  # fmt: skip
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTHS = ("none", "starting", "healthy", "unhealthy")


def _is_published(port: PortBinding, wanted: set[str]) -> bool:
    """By the container's port, as Docker's documents have it, or by the host's, as the Engine does."""
    return not wanted.isdisjoint(f"{number}/{port.protocol}" for number in (port.port, port.host_port))


def _filter(world: World, wanted: filters.Wanted) -> Callable[[Container], bool]:
    """Whether a container fits. DockerError for what cannot be asked for, whether there are containers or not."""
    filters.check(wanted, _FILTERS)
    filters.one_of(wanted, "status", _STATES, _no_state)
    filters.one_of(wanted, "health", _HEALTHS, _no_health)
    tasks = filters.truth(wanted, "is-task", False)
    codes = {_number(text) for text in wanted.get("exited", ())}
    published, exposed = filters.ports(wanted, "publish"), filters.ports(wanted, "expose")
    before, since = (
        [find.container(world.client, text).meta.created for text in wanted.get(key, ())] for key in ("before", "since")
    )
    name_fits, id_fits = filters.names(wanted, "name"), filters.names(wanted, "id")
    images = {found.meta.name for text in wanted.get("ancestor", ()) if (found := find.find_image(world.client, text))}

    def fits(one: Container) -> bool:
        spec, status = one.spec, one.status
        return (
            not tasks
            and id_fits(one.meta.name)
            and (name_fits(spec.name) or name_fits(f"/{spec.name}"))
            and ("status" not in wanted or state_word(one) in wanted["status"])
            and (not codes or (status.state == "exited" and status.exit_code in codes))
            and ("health" not in wanted or (status.health.status if status.health else "none") in wanted["health"])
            and (not published or any(_is_published(port, published) for port in spec.ports))
            and (not exposed or not exposed.isdisjoint(spec.config.get("ExposedPorts") or ()))
            and ("volume" not in wanted or any(_mounts(mount, wanted["volume"]) for mount in spec.mounts))
            and ("network" not in wanted or any(_on_network(world, one, text) for text in wanted["network"]))
            and ("ancestor" not in wanted or _made_of(world, one, images))
            and all(one.meta.created < moment for moment in before)
            and all(one.meta.created > moment for moment in since)
            and filters.label_matches(spec.config.get("Labels") or {}, wanted)
        )

    return fits


def _no_state(text: str) -> DockerError:
    return bad_parameter(
        f"invalid filter 'status={text}': invalid value for state ({text}): must be one of {', '.join(_STATES)}"
    )


def _no_health(text: str) -> DockerError:
    return bad_parameter(f"invalid value for health ({text}): must be one of {', '.join(_HEALTHS)}")


def _number(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise bad_parameter(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _mounts(mount: MountPoint, wanted: list[str]) -> bool:
    return any(text in (mount.name, mount.target, mount.source) for text in wanted)


def _on_network(world: World, one: Container, text: str) -> bool:
    for end in one.spec.endpoints:
        network = world.client.get(Network, SCOPE, end.network)
        if network is not None and (text == network.spec.name or network.meta.name.startswith(text)):
            return True
    return False


def _made_of(world: World, one: Container, images: set[str]) -> bool:
    """Of one of the images, or of what was committed on top of it."""
    name = one.spec.image
    for _ in range(_MOST_COMMITS):
        if name in images:
            return True
        image = world.client.get(Image, SCOPE, name)
        if image is None or not image.spec.made_of:
            return False
        name = image.spec.made_of
    return False


def summary(world: World, container: Container, linked: dict[str, list[str]]) -> dict[str, Any]:
    """`linked`: what links call the containers."""
    spec = container.spec
    image = str(spec.config.get("Image") or "")
    settings = network_settings(world, container)
    return {
        "Id": container.meta.name,
        "Names": [f"/{spec.name}", *linked.get(container.meta.name, ())],
        "Image": _image_name(world, container, image),
        "ImageID": spec.image,
        "Command": _command(spec.args),
        "Created": int(container.meta.created),
        "Ports": list(_port_list(container)),
        "Labels": spec.config.get("Labels") or {},
        "State": state_word(container),
        "Status": status_text(container, world.clock.now()),
        "HostConfig": {"NetworkMode": spec.host.get("NetworkMode") or "bridge"},
        "NetworkSettings": {"Networks": settings["Networks"]},
        "Mounts": [mount_shown(world, mount) for mount in spec.mounts],
    }


def _image_name(world: World, container: Container, image: str) -> str:
    """What the user called it, as long as that still is the image; else its id."""
    found = find.find_image(world.client, image)
    if found is None or found.meta.name != container.spec.image:
        return container.spec.image
    if image.startswith("sha256:"):
        return image
    try:
        reference = parse(image)
    except DockerError:
        return image
    return familiar(reference.full) if reference.digest or reference.tag else image


def _command(args: tuple[str, ...]) -> str:
    return " ".join([args[0], *(f"'{one}'" if " " in one else one for one in args[1:])])


def _port_list(container: Container) -> Iterable[dict[str, Any]]:
    if container.status.state != "running":
        return
    published = set()
    for one in container.spec.ports:
        published.add(f"{one.port}/{one.protocol}")
        yield {"IP": one.host, "PrivatePort": one.port, "PublicPort": one.host_port, "Type": one.protocol}
    for text in container.spec.config.get("ExposedPorts") or {}:
        if text not in published:
            yield {"PrivatePort": int(text.partition("/")[0]), "Type": text.partition("/")[2] or "tcp"}


def status_text(container: Container, now: float) -> str:
    """ "Up 5 minutes (Paused)", "Exited (0) 2 hours ago": units.HumanDuration of Docker."""
    status = container.status
    if status.state == "running":
        text = f"Up {human_duration(now - status.started)}"
        if container.spec.paused:
            return f"{text} (Paused)"
        if status.health is not None:
            word = "health: starting" if status.health.status == "starting" else status.health.status
            return f"{text} ({word})"
        return text
    if status.state == "restarting":
        return f"Restarting ({status.exit_code}) {human_duration(now - status.finished)} ago"
    if status.state == "created":
        return "Created"
    if status.state == "removing":
        return "Removal In Progress"
    return f"Exited ({status.exit_code}) {human_duration(now - status.finished)} ago"


def human_duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    minutes, hours = whole // 60, int(whole / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"
