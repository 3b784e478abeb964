"""Links, Docker's old way from container to container: `--link db:store` brings the name `store`, and variables that tell where it is.

On the default network the name stands in /etc/hosts, and variables name the ports that the other one's image exposes: how things are at the start.
On a user's network there are no variables, and the resolver knows the name, for this container alone, whenever there is such a neighbour.

Sources: Docker's documents, "Legacy container links".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gureum.docker import find
from gureum.docker.containers import options
from gureum.docker.errors import DockerError, bad_parameter, conflict
from gureum.docker.kinds import SCOPE, Container, Endpoint
from gureum.engine.client import Client
from gureum.engine.lowering import Reader
from gureum.ports.names import Record

_NOT_OF_A_VARIABLE = re.compile(r"[^A-Z0-9]")


def parsed(wished: Any) -> tuple[str, ...]:
    """ "db:store", also where the user said "db" alone. DockerError 400 for nonsense."""
    found = []
    for text in map(str, wished or ()):
        name, colon, alias = text.partition(":")
        alias = (alias if colon else name).rpartition("/")[2]
        if not name or not options.is_host_name(alias):
            raise bad_parameter(f"bad format for links: {text}")
        found.append(f"{name.lstrip('/')}:{alias}")
    return tuple(found)


def resolved(client: Client, wished: Any) -> tuple[str, ...]:
    """ "db:store" with the full id of the container for its name. DockerError 400 for one that is not there."""
    found = []
    for text in parsed(wished):
        name, _, alias = text.partition(":")
        try:
            found.append(f"{find.other_container(client, name).meta.name}:{alias}")
        except DockerError as error:
            raise bad_parameter(f"could not get container for {name}: {error.message}") from error
    return tuple(found)


def on_default(host: dict[str, Any]) -> bool:
    """Whether its links are those of the default network."""
    return host.get("NetworkMode") in (None, "", "default", "bridge")


def check_running(client: Client, container: Container) -> None:
    """DockerError 409 when one that it is linked to does not run, or is gone."""
    if not on_default(container.spec.host):
        return
    for link in container.spec.host.get("Links") or ():
        other_id, _, alias = str(link).partition(":")
        other = client.get(Container, SCOPE, other_id)
        if other is None or other.status.state != "running":
            name = other.spec.name if other is not None else other_id
            raise conflict(f"Cannot link to a non running container: /{name} AS /{container.spec.name}/{alias}")


def names(client: Client) -> dict[str, list[str]]:
    """What links of the default network call containers, by their ids: {"…": ["/web/the-store"]}."""
    found: dict[str, list[str]] = {}
    for container in client.all(Container, SCOPE):
        for link in (container.spec.host.get("Links") or ()) if on_default(container.spec.host) else ():
            other_id, _, alias = str(link).partition(":")
            found.setdefault(other_id, []).append(f"/{container.spec.name}/{alias}")
    return found


def _linked(container: Container, read: Reader) -> Iterator[tuple[str, Container, str]]:
    """(alias, the other, its address) of the links on the default network."""
    if not container.spec.endpoints:
        return
    network = container.spec.endpoints[0].network
    for link in container.spec.host.get("Links") or ():
        other_id, _, alias = str(link).partition(":")
        other = read.get(Container, SCOPE, other_id)
        address = _address(other, network) if other is not None else ""
        if other is not None and address:
            yield alias, other, address


def _address(container: Container, network: str) -> str:
    return next((end.address for end in container.spec.endpoints if end.network == network), "")


def host_lines(container: Container, read: Reader) -> Iterator[str]:
    for alias, other, address in _linked(container, read):
        names = dict.fromkeys((alias, options.hostname(other), other.spec.name))
        yield f"{address}\t{' '.join(names)}\n"


def variables(container: Container, read: Reader) -> Iterator[str]:
    for alias, other, address in _linked(container, read):
        prefix = _NOT_OF_A_VARIABLE.sub("_", alias.upper())
        ports = sorted(other.spec.config.get("ExposedPorts") or {}, key=lambda text: int(text.partition("/")[0]))
        for place, text in enumerate(ports):
            port, _, protocol = text.partition("/")
            protocol = protocol or "tcp"
            url, own = f"{protocol}://{address}:{port}", f"{prefix}_PORT_{port}_{protocol.upper()}"
            if place == 0:
                yield f"{prefix}_PORT={url}"
            yield from (f"{own}={url}", f"{own}_ADDR={address}", f"{own}_PORT={port}", f"{own}_PROTO={protocol}")
        yield f"{prefix}_NAME=/{container.spec.name}/{alias}"
        yield from (f"{prefix}_ENV_{entry}" for entry in other.spec.env if not entry.startswith(("HOME=", "PATH=")))


def records(endpoints: Sequence[Endpoint], read: Reader, view_of: Callable[[str], str]) -> Iterator[Record]:
    """Names that only this container is told. It asks by its first network. `view_of`: what the resolver calls a network."""
    for end in endpoints:
        for link in end.links:
            name, _, alias = link.partition(":")
            address = _neighbour(name, end.network, read)
            if address:
                view = f"{view_of(endpoints[0].network)}@{endpoints[0].address}"
                yield Record(alias, "A", (address,), ttl=600, view=view)


def _neighbour(name: str, network: str, read: Reader) -> str:
    """The address there of who is called so."""
    for other in read.by(Container, SCOPE, "network", network):
        for end in other.spec.endpoints:
            known = (other.spec.name, other.meta.name, other.meta.name[:12], *end.aliases)
            if end.network == network and end.address and name in known:
                return end.address
    return ""
