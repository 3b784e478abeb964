"""Specs of the core kinds: the language in which faces say what they want of the machine.

`KINDS` maps the kind's name, as it stands in `Desired.kind`, to its spec. Specs are frozen structs that travel to the agent as JSON.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gureum.core.cpu_credits import CpuCredits
from gureum.ports.checks import Probe
from gureum.ports.containers import Application, Limits, Mount
from gureum.ports.firewalls import Acl, Group
from gureum.ports.metadata import InstanceMetadata
from gureum.ports.names import Record, Zone
from gureum.ports.networks import InterfaceSpec, NetworkSpec, SandboxSpec
from gureum.ports.networks import Passage as PassageSpec
from gureum.ports.proxies import ProxySpec
from gureum.ports.publishing import Publication
from gureum.ports.volumes import SnapshotSpec, Source, VolumeSpec


class Network(msgspec.Struct, frozen=True):
    """A router. `internet`: CIDRs whose route table leads out through the edge, `egress_only`: those of them to which nothing comes that
    began outside. `acls`: those that do not let everything pass. `speaks`: the router itself may begin flows to what is in it
    (published ports come from there). `exit`: where the home has a way out, its machines may take it, all from the router's one address.
    `closed`: its machines are to reach nothing outside; names that are not ours are not asked for them either."""

    network: NetworkSpec
    internet: tuple[str, ...] = ()
    egress_only: tuple[str, ...] = ()
    acls: tuple[Acl, ...] = ()
    speaks: bool = False
    exit: bool = False
    closed: bool = False


class FirewallGroup(msgspec.Struct, frozen=True):
    """A security group in one network (the name of a Network)."""

    network: str
    group: Group


class Interface(msgspec.Struct, frozen=True):
    """A network interface and the names of its FirewallGroups. `open`: without any, everything may pass. `node`: it is a load balancer's, and
    answers only where that listens; "application": and to ping."""

    interface: InterfaceSpec
    groups: tuple[str, ...] = ()
    open: bool = False
    node: Literal["", "application", "network"] = ""


class Sandbox(msgspec.Struct, frozen=True):
    """The namespaces of a machine, pod or container."""

    sandbox: SandboxSpec


LATE = "late"


class Volume(msgspec.Struct, frozen=True):
    """A volume. `iops`, `bytes_per_s`: how fast the machine that has it may read, and write; 0: as the host can. Its status says LATE (data)
    while its file system is smaller than it, and grows when it is mounted next."""

    volume: VolumeSpec
    iops: int = 0
    bytes_per_s: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot. Its status says what it takes (data: {"size", "data", "stored"}, bytes)."""

    snapshot: SnapshotSpec


class Disk(msgspec.Struct, frozen=True):
    """A volume beside the root, in the machine's folder /volumes under the name `device`. `wish`: "forced" takes it away though it is used."""

    volume: str
    device: str
    wish: Literal["attached", "detached", "forced"] = "attached"


class Image(msgspec.Struct, frozen=True):
    """`source`: "builtin:busybox", "builtin:debian", or "digest:sha256:…" of an image that was imported."""

    source: str


class Shown(msgspec.Struct, frozen=True):
    """A file or folder beside the root, and where an application sees it. `options`: of the mount ("ro")."""

    source: Source
    target: str
    options: tuple[str, ...] = ()


class Restart(msgspec.Struct, frozen=True):
    """When an application that has ended is started again (Docker: restart policy). `most`: so many times, 0 without end."""

    policy: Literal["no", "always", "unless-stopped", "on-failure"] = "no"
    most: int = 0


class HealthCheck(msgspec.Struct, frozen=True):
    """A program that tells by its exit code whether an application is well (Docker: HEALTHCHECK). `user`: as Application.user."""

    args: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 30.0
    start_period_s: float = 0.0
    start_interval_s: float = 5.0
    retries: int = 3
    user: str = ""


class Container(msgspec.Struct, frozen=True):
    """A process in a sandbox, with its root on a volume.

    `interfaces`: names of Interfaces that must be ready before it starts. `boot`: counts the reboots that were asked for: a higher number than
    the running one's stops it cleanly and starts it again. `args` empty: the image's own. `stop_signal` (0: the image's own) is sent first,
    SIGKILL after `stop_timeout_s`. Its status says of each of `disks` (data: {"disks": {volume: …}}) "attached", "busy" or
    "detached". `restart_on_reboot`: exit code 129 (reboot(2) inside) starts it again.

    With `application` it is no machine (core/applications.py): `args` and `env` are all there is, `boot` counts the starts that were asked for;
    without a `sandbox` nothing of it is to be there but its output, until it is wished no more."""

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
    disks: tuple[Disk, ...] = ()
    stop_signal: int = 0
    stop_timeout_s: float = 10.0
    restart_on_reboot: bool = True
    application: Application | None = None
    working_dir: str = ""
    shown: tuple[Shown, ...] = ()
    published: Publication | None = None
    restart: Restart = Restart()
    health: HealthCheck | None = None
    paused: bool = False
    needs: tuple[str, ...] = ()
    """Names of further Volumes that it is shown parts of."""
    credits: CpuCredits | None = None
    """Of a machine that bursts: `limits.cpus` are then what it has while its credits last. What it has left is told when it has stopped (data:
    {"credits": …})."""


class Metadata(msgspec.Struct, frozen=True):
    """What the instance metadata service tells one machine."""

    document: InstanceMetadata


class Names(msgspec.Struct, frozen=True):
    """DNS records, and the zones that hold nothing else."""

    records: tuple[Record, ...]
    zones: tuple[Zone, ...] = ()


class FlowLog(msgspec.Struct, frozen=True):
    """Flows of interfaces, (network, interface), are told every `interval_s` seconds."""

    interfaces: tuple[tuple[str, str], ...]
    traffic: Literal["ACCEPT", "REJECT", "ALL"]
    interval_s: float


class Place(msgspec.Struct, frozen=True):
    """A node of a load balancer, which checks the targets that it may send to: the name of its sandbox, and its address there. `cross_zone`: those
    of all zones, else of its own."""

    sandbox: str
    address: str
    zone: str
    cross_zone: bool = True


class Target(msgspec.Struct, frozen=True):
    """`name`: "i-0abc:80". `zone` "": of all zones. `check_port`: where it is checked. `draining`: it is checked no more and gets nothing new.
    `registration`: which one this is of the name; with another one the target begins anew ("": not told)."""

    name: str
    address: str
    port: int
    check_port: int
    zone: str = ""
    weight: int = 1
    draining: bool = False
    registration: str = ""


class Failover(msgspec.Struct, frozen=True):
    """How many targets must be healthy, as a number and as a share (0: off), before a zone leaves the names, or all targets count as up. AWS:
    elbv2 target_group_health.*."""

    dns_count: int = 1
    dns_percent: int = 0
    routing_count: int = 1
    routing_percent: int = 0


class TargetGroup(msgspec.Struct, frozen=True):
    """Targets and how they are checked, from each of `places` for itself. Without a probe all are healthy. Its status says of each target, over all
    places (data: {"targets": {name: [state, reason, description, registration]}}), "initial", "healthy", "unhealthy.draining" or "unhealthy", and in
    "anomalies" who fails more often than the others ({name: [anomalous, gets less]})."""

    probe: Probe | None
    targets: tuple[Target, ...] = ()
    places: tuple[Place, ...] = ()
    interval_s: float = 30.0
    healthy_threshold: int = 5
    unhealthy_threshold: int = 2
    failover: Failover = Failover()
    end_unhealthy: bool = False
    """Flows to a target that turns unhealthy are ended (AWS: target_health_state.unhealthy.connection_termination.enabled)."""
    unhealthy_draining_s: float = 0.0
    """So long one that turned unhealthy is told as "unhealthy.draining" (AWS: target_health_state.unhealthy.draining_interval_seconds)."""
    end_deregistered: bool = False
    """What is still under way to a target that drained and is in `targets` no more is ended (an application load balancer always does; AWS:
    deregistration_delay.connection_termination.enabled)."""


class Use(msgspec.Struct, frozen=True):
    """A target group as one node uses it: `group`: the core TargetGroup's name; `cross_zone`: targets of all zones, else of the node's; `mitigates`:
    targets that fail more often than the others get less (anomalies.py)."""

    group: str
    cross_zone: bool = True
    mitigates: bool = False


class Proxy(msgspec.Struct, frozen=True):
    """One proxy of a load balancer's node, in the sandbox named `sandbox` with the interface named `interface`. `proxy.sandbox_net` and the
    servers of its groups are left empty: they come from the sandbox and from the TargetGroups in `uses`."""

    sandbox: str
    interface: str
    zone: str
    proxy: ProxySpec
    uses: tuple[Use, ...] = ()

    @property
    def speaks_for_clients(self) -> bool:
        """Whether it may, as far as its listeners go: connections that it speaks so for go on when its groups do not wish it any more."""
        return any(listener.protocol in ("TCP", "TLS") for listener in self.proxy.listeners)

    @property
    def listens_at(self) -> tuple[int, ...]:
        return tuple(sorted(listener.port for listener in self.proxy.listeners))


class BalancedListener(msgspec.Struct, frozen=True):
    """A layer-4 listener of a node: `groups`: (Use.group, weight)."""

    protocol: Literal["tcp", "udp"]
    port: int
    groups: tuple[tuple[str, int], ...]
    by: Literal["flow", "source"] = "flow"
    preserve_client: bool = True
    idle_s: int = 0


class Balancer(msgspec.Struct, frozen=True):
    """Layer-4 balancing at one node of a load balancer. `sandbox`: the node's, from which its targets are checked."""

    sandbox: str
    network: str
    interface: str
    zone: str
    address: str
    listeners: tuple[BalancedListener, ...]
    public: str = ""
    uses: tuple[Use, ...] = ()


class NodeName(msgspec.Struct, frozen=True):
    """An address that a load balancer's name leads to while its zone is healthy in each of the groups, as its node (`sandbox`) sees them. `zonal`:
    those of `groups` that are used without cross-zone balancing: of them only the zone's own targets count."""

    sandbox: str
    address: str
    zone: str
    groups: tuple[str, ...] = ()
    zonal: tuple[str, ...] = ()


class BalancerNames(msgspec.Struct, frozen=True):
    """`names`: (DNS name, indexes of the `nodes` it leads to). When no zone is healthy, all addresses are answered (AWS: "fail open"). `view` as in
    Record. Of a hundred who ask in `network` from a range of `ranges` (zone, CIDR), `own_zone` are told their own zone's nodes alone, while that is
    healthy."""

    names: tuple[tuple[str, tuple[int, ...]], ...]
    nodes: tuple[NodeName, ...]
    ttl: int = 60
    view: str = ""
    network: str = ""
    ranges: tuple[tuple[str, str], ...] = ()
    own_zone: int = 0


class Gate(msgspec.Struct, frozen=True):
    """The API at the address of a service's own interface: port 80, and 443 with a certificate of the home's authority for `names`. `network`: the
    interface's; `service`: the only one that is asked here, by its signing name ("ec2")."""

    sandbox: str
    interface: str
    network: str
    address: str
    service: str
    names: tuple[str, ...]

    @property
    def interfaces(self) -> tuple[str, ...]:
        return (self.interface,)


class Passage(msgspec.Struct, frozen=True):
    """A sandbox that leads from one network into another: `entrance` and `exit` are names of its Interfaces, in this order eth0 and eth1."""

    sandbox: str
    entrance: str
    exit: str
    passage: PassageSpec

    @property
    def interfaces(self) -> tuple[str, ...]:
        return self.entrance, self.exit


KINDS: dict[str, type[msgspec.Struct]] = {
    "Network": Network,
    "FirewallGroup": FirewallGroup,
    "Interface": Interface,
    "Sandbox": Sandbox,
    "Volume": Volume,
    "Snapshot": Snapshot,
    "Image": Image,
    "Container": Container,
    "Metadata": Metadata,
    "Names": Names,
    "FlowLog": FlowLog,
    "TargetGroup": TargetGroup,
    "Proxy": Proxy,
    "Balancer": Balancer,
    "BalancerNames": BalancerNames,
    "Gate": Gate,
    "Passage": Passage,
}
