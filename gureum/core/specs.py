"""Specs of the core kinds: the language in which faces say what they want of the machine.

`KINDS` maps the kind's name, as it stands in `Desired.kind`, to its spec. Specs are frozen structs that travel to the agent as JSON.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gureum.ports.containers import Limits, Mount
from gureum.ports.firewalls import Acl, Group
from gureum.ports.metadata import InstanceMetadata
from gureum.ports.names import Record, Zone
from gureum.ports.networks import InterfaceSpec, NetworkSpec, SandboxSpec
from gureum.ports.volumes import VolumeSpec


class Network(msgspec.Struct, frozen=True):
    """A router. `internet`: CIDRs of the subnets whose route table leads out through the edge. `acls`: those that do not let everything
    pass."""

    network: NetworkSpec
    internet: tuple[str, ...] = ()
    acls: tuple[Acl, ...] = ()


class FirewallGroup(msgspec.Struct, frozen=True):
    """A security group in one network (the name of a Network)."""

    network: str
    group: Group


class Interface(msgspec.Struct, frozen=True):
    """A network interface and the names of its FirewallGroups."""

    interface: InterfaceSpec
    groups: tuple[str, ...] = ()


class Sandbox(msgspec.Struct, frozen=True):
    """The namespaces of a machine, pod or container."""

    sandbox: SandboxSpec


class Volume(msgspec.Struct, frozen=True):
    """A volume; `image` "" or the name of an Image whose layers lie under the root on it."""

    volume: VolumeSpec


class Image(msgspec.Struct, frozen=True):
    """`source`: "builtin:busybox", "builtin:debian", or "digest:sha256:…" of an image that was imported."""

    source: str


class Container(msgspec.Struct, frozen=True):
    """A process in a sandbox, with its root on a volume.

    `interfaces`: names of Interfaces that must be ready before it starts. `boot`: counts the reboots that were asked for: a higher number than
    the running one's stops it cleanly and starts it again. `args` empty: the image's own. `stop_signal` (0: the image's own) is sent first,
    SIGKILL after `stop_timeout_s`. `restart_on_reboot`: exit code 129 (reboot(2) inside) starts it again."""

    sandbox: str
    image: str
    volume: str
    interfaces: tuple[str, ...] = ()
    wish: Literal["running", "stopped"] = "running"
    boot: int = 0
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    hostname: str = ""
    machine: bool = True
    limits: Limits = Limits()
    mounts: tuple[Mount, ...] = ()
    stop_signal: int = 0
    stop_timeout_s: float = 10.0
    restart_on_reboot: bool = True


class Metadata(msgspec.Struct, frozen=True):
    """What the instance metadata service tells one machine."""

    document: InstanceMetadata


class Names(msgspec.Struct, frozen=True):
    """DNS records, and the zones that hold nothing else."""

    records: tuple[Record, ...]
    zones: tuple[Zone, ...] = ()


KINDS: dict[str, type[msgspec.Struct]] = {
    "Network": Network,
    "FirewallGroup": FirewallGroup,
    "Interface": Interface,
    "Sandbox": Sandbox,
    "Volume": Volume,
    "Image": Image,
    "Container": Container,
    "Metadata": Metadata,
    "Names": Names,
}
