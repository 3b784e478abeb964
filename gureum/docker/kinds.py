"""What is stored of containers, images, networks and volumes. What a user sent (Config, HostConfig) is kept as sent, since it is shown again."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gureum.engine.resource import Resource, kind

SCOPE = "local"
NAMES, ADDRESSES = "docker/names", "docker/addresses"
"""Spaces of claims: container names; addresses of a network ("docker/addresses/NETWORK-ID")."""
State = Literal["created", "running", "restarting", "exited", "removing", "dead"]


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container on a network. `network`: its id, "" while there is none of the name `named`, by which it is looked for again when it is gone.
    `wished`, `wished_mac`: the addresses that were asked for; `address` is held while it runs. `aliases`, `links` ("db:store"): as asked for.
    `driver_options` are shown, and mean nothing here."""

    network: str
    id: str
    mac: str = ""
    wished: str = ""
    address: str = ""
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    priority: int = 0
    named: str = ""
    wished_mac: str = ""
    driver_options: dict[str, str] = {}


class PortBinding(msgspec.Struct, frozen=True):
    """`host_port` is chosen at the start where none was wished."""

    host: str
    host_port: int
    port: int
    protocol: Literal["tcp", "udp"] = "tcp"


class MountPoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """`name`: of a volume. `copy`: an empty volume gets what the image has there. `propagation` and `mode` are only shown.
    `labels`, `driver_options`: of a volume that is made with the container."""

    type: Literal["bind", "volume", "tmpfs"]
    target: str
    source: str = ""
    name: str = ""
    writable: bool = True
    copy: bool = True
    mode: str = ""
    propagation: str = ""
    options: str = ""
    anonymous: bool = False
    labels: dict[str, str] = {}
    driver_options: dict[str, str] = {}


class ContainerSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """`image`: "sha256:…" of its image; `digest`: what the machine's store calls that. `wish`, `boot`, `paused`, `stop_signal`, `stop_timeout_s`:
    as in the core's Container. `args`, `env`, `working_dir`, `user`: with the image's own words where the user said nothing."""

    name: str
    config: dict[str, Any]
    host: dict[str, Any]
    image: str
    digest: str
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    working_dir: str = "/"
    wish: Literal["running", "stopped"] = "stopped"
    boot: int = 0
    paused: bool = False
    stop_signal: int = 0
    stop_timeout_s: float = 10.0
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    removing: bool = False


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    status: str = "starting"
    streak: int = 0
    log: tuple[dict[str, Any], ...] = ()


class ContainerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """`boot`: the start that this speaks of. Times are Unix seconds."""

    state: State = "created"
    boot: int = 0
    pid: int = 0
    exit_code: int = 0
    started: float = 0.0
    finished: float = 0.0
    oom: bool = False
    error: str = ""
    restarts: int = 0
    health: Health | None = None


@kind(
    "docker.Container",
    indexes={
        "name": lambda one: one.spec.name,
        "image": lambda one: one.spec.image,
        "network": lambda one: tuple(end.network for end in one.spec.endpoints),
        "volume": lambda one: tuple(mount.name for mount in one.spec.mounts if mount.name),
    },
)
class Container(Resource, frozen=True):
    """`meta.name`: the id, 64 hexadecimal digits."""

    spec: ContainerSpec
    status: ContainerStatus = ContainerStatus()


class Layer(msgspec.Struct, frozen=True):
    """`blob`: digest of the file that came or was made; `size`: its bytes."""

    blob: str
    size: int
    media_type: str


class ImageSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """`config`: the image configuration, as it came (its digest is the image's id). `digest`: what the machine's store calls it. `tags`:
    "docker.io/library/nginx:1.27". `digests`: "docker.io/library/nginx@sha256:…". `size`: bytes unpacked, `unpacked`:
    of each layer, () where an older version stored the image. `made_of`: the image that a commit was made on."""

    config: str
    digest: str
    layers: tuple[Layer, ...]
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    size: int = 0
    unpacked: tuple[int, ...] = ()
    made_of: str = ""
    tagged: float = 0.0


@kind("docker.Image", indexes={"tag": lambda one: one.spec.tags, "digest": lambda one: one.spec.digests})
class Image(Resource, frozen=True):
    """`meta.name`: "sha256:…" of the configuration."""

    spec: ImageSpec
    status: None = None


class NetworkSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """`cidr` and `gateway` "" for "host" and "none". `sent`: what the user sent, shown again."""

    name: str
    driver: str
    cidr: str = ""
    gateway: str = ""
    address_range: str = ""
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = {}
    sent: dict[str, Any] = {}
    labels: dict[str, str] = {}
    builtin: bool = False


@kind("docker.Network", indexes={"name": lambda one: one.spec.name})
class Network(Resource, frozen=True):
    """`meta.name`: the id, 64 hexadecimal digits."""

    spec: NetworkSpec
    status: None = None


class VolumeSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """`core`: the name of the core's Volume."""

    core: str
    driver: str = "local"
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    anonymous: bool = False


@kind("docker.Volume")
class Volume(Resource, frozen=True):
    spec: VolumeSpec
    status: None = None
