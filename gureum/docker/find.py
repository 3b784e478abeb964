"""Finding what a client names: containers, images, networks and volumes by name, id or the beginning of an id."""

from __future__ import annotations

import re

from gureum.docker.errors import DockerError, bad_parameter, not_found
from gureum.docker.images.references import Reference, parse
from gureum.docker.kinds import SCOPE, Container, Image, Network, Volume
from gureum.engine.client import Client

_ID = re.compile(r"[0-9a-f]{1,64}")
SHA = "sha256:"


def container(client: Client, text: str) -> Container:
    """DockerError 404 "No such container: …"."""
    name = text.lstrip("/")
    found = client.get(Container, SCOPE, name) if len(name) == 64 else None
    if found is None:
        named = client.by(Container, SCOPE, "name", name)
        found = named[0] if named else None
    if found is None and _ID.fullmatch(name):
        begun = [one for one in client.all(Container, SCOPE) if one.meta.name.startswith(name)]
        if len(begun) > 1:
            raise bad_parameter(f"multiple IDs found with provided prefix: {name}")
        found = begun[0] if begun else None
    if found is None:
        raise not_found(f"No such container: {name}")
    return found


def current(client: Client, one: Container) -> Container:
    """As it is now. DockerError 404 when it has gone."""
    found = client.get(Container, SCOPE, one.meta.name)
    if found is None:
        raise not_found(f"No such container: {one.meta.name}")
    return found


def other_container(client: Client, text: str) -> Container:
    """One that another container is to share something with. DockerError 400, as 404 would speak of the image that is to be run."""
    try:
        return container(client, text)
    except DockerError as error:
        raise bad_parameter(error.message) from error


def image(client: Client, text: str) -> Image:
    """DockerError 404 "No such image: …"."""
    found = find_image(client, text)
    if found is None:
        shown = text if ":" in text.rpartition("/")[2] or "@" in text else f"{text}:latest"
        raise not_found(f"No such image: {shown}")
    return found


def find_image(client: Client, text: str) -> Image | None:
    by_id = _by_id(client, text.removeprefix(SHA))
    if text.startswith(SHA):
        return by_id
    try:
        reference = parse(text)
    except DockerError:
        return by_id
    return by_reference(client, reference) or by_id


def by_reference(client: Client, reference: Reference) -> Image | None:
    if reference.digest:
        wanted = f"{reference.repository}@{reference.digest}"
        found = client.by(Image, SCOPE, "digest", wanted)
        return found[0] if found else client.get(Image, SCOPE, reference.digest)
    found = client.by(Image, SCOPE, "tag", reference.full)
    return found[0] if found else None


def _by_id(client: Client, text: str) -> Image | None:
    if not _ID.fullmatch(text):
        return None
    if len(text) == 64:
        return client.get(Image, SCOPE, SHA + text)
    found = [one for one in client.all(Image, SCOPE) if one.meta.name.startswith(SHA + text)]
    return found[0] if len(found) == 1 else None


def network(client: Client, text: str) -> Network:
    """DockerError 404 "network … not found"."""
    found = known_network(client, text)
    if found is None:
        raise not_found(f"network {text} not found")
    return found


def known_network(client: Client, text: str) -> Network | None:
    found = client.get(Network, SCOPE, text)
    if found is None:
        named = client.by(Network, SCOPE, "name", text)
        found = named[0] if named else None
    if found is None and _ID.fullmatch(text):
        begun = [one for one in client.all(Network, SCOPE) if one.meta.name.startswith(text)]
        found = begun[0] if len(begun) == 1 else None
    return found


def volume(client: Client, name: str) -> Volume:
    found = client.get(Volume, SCOPE, name)
    if found is None:
        raise not_found(f"get {name}: no such volume")
    return found
