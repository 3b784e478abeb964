"""What containers, networks and volumes are on the machine. All pure.

    docker.Network ──► Network d-…            docker.Volume ──► Volume dv-…
    docker.Container ─► Volume c-… (its writable layer), Container c-…; while it runs: Sandbox, Image, Interfaces, Names

A stopped container is its writable layer and its output; without a sandbox the core's Container asks for nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from gureum.core import specs
from gureum.docker.containers import options
from gureum.docker.containers.shared_namespaces import other_of, owner_of, owner_of_users, shared_memory
from gureum.docker.kinds import SCOPE, Container, Endpoint, MountPoint, Network, Volume
from gureum.docker.networks import links
from gureum.docker.volumes import options as volume_options
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower
from gureum.engine.resource import key_of
from gureum.ports.containers import Application, Mount
from gureum.ports.names import Record
from gureum.ports.networks import InterfaceSpec, NetworkSpec, SandboxSpec, Subnet
from gureum.ports.publishing import Publication, Published
from gureum.ports.volumes import Source, VolumeSpec

RESOLVER = "169.254.169.253"
SHM = "/dev/shm"
_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def core_name(container_id: str) -> str:
    """Of all that is one container's on the machine."""
    return f"c-{container_id[:12]}"


def core_network(network_id: str) -> str:
    return f"d-{network_id[:12]}"


@lower(Network)
def lower_network(network: Network, read: Reader) -> Iterable[Desired]:
    if network.spec.cidr:
        name = core_network(network.meta.name)
        subnet = Subnet(name, network.spec.cidr, network.spec.gateway)
        spec = NetworkSpec(name, (network.spec.cidr,), (subnet,), local_addresses=(RESOLVER,))
        internal = network.spec.internal
        lowered = specs.Network(spec, speaks=True, exit=not internal, closed=internal)
        yield Desired("Network", name, key_of(network), lowered)


@lower(Volume)
def lower_volume(volume: Volume, read: Reader) -> Iterable[Desired]:
    name = volume.spec.core
    yield Desired("Volume", name, key_of(volume), specs.Volume(VolumeSpec(name, 0)))


@lower(Container)
def lower_container(container: Container, read: Reader) -> Iterable[Desired]:
    name, owner, spec = core_name(container.meta.name), key_of(container), container.spec
    yield Desired("Volume", name, owner, specs.Volume(VolumeSpec(name, 0)))
    if not spec.boot:
        return
    living = spec.wish == "running" or container.status.state in ("running", "restarting")
    if not living:
        yield Desired("Container", name, owner, _stopped(name))
        return
    sandbox, users = _sandbox_of(container, read), owner_of_users(read.get, container)
    # The main one first, which leads out and where names are asked; internal networks last.
    endpoints = [end for end in spec.endpoints if end.address] if sandbox == name else []
    if sandbox == name:
        guest, shares = options.has_own_users(users.spec.host), users is not container
        place = SandboxSpec(
            name, options.hostname(container), guest=guest, users=_sandbox_of(users, read) if shares and guest else ""
        )
        yield Desired("Sandbox", name, owner, specs.Sandbox(place))
    yield Desired("Image", name, owner, specs.Image(f"digest:{spec.digest}"))
    networks = {end.network: read.get(Network, SCOPE, end.network) for end in endpoints}
    devices = {end.network: f"eth{index}" for index, end in enumerate(endpoints)}
    endpoints.sort(key=lambda end: (found := networks[end.network]) is not None and found.spec.internal)
    for end in endpoints:
        network = networks[end.network]
        if network is not None:
            yield _interface(name, owner, end, network, devices[end.network], main=end is endpoints[0])
    records = (
        *_records(container, endpoints, read),
        *_further_records(endpoints, read),
        *links.records(endpoints, read, core_network),
    )
    if records:
        yield Desired("Names", name, owner, specs.Names(records))
    yield Desired("Container", name, owner, _container(container, name, sandbox, endpoints, read))


def _sandbox_of(container: Container, read: Reader) -> str:
    """Another container's, where it shares that one's network."""
    return core_name(owner_of(read.get, container, "NetworkMode").meta.name)


def _stopped(name: str) -> specs.Container:
    return specs.Container("", "", name, wish="stopped", machine=False, application=Application())


def _interface_name(name: str, network_id: str) -> str:
    return f"{name}-{network_id[:8]}"


def _interface(name: str, owner: str, end: Endpoint, network: Network, device: str, *, main: bool) -> Desired:
    own = _interface_name(name, network.meta.name)
    spec = InterfaceSpec(
        name=own,
        network=core_network(network.meta.name),
        subnet=core_network(network.meta.name),
        mac=end.mac,
        addresses=(end.address,),
        prefix_length=ipaddress.ip_network(network.spec.cidr).prefixlen,
        gateway=network.spec.gateway,
        sandbox=name,
        device=device,
        default_route=main,
    )
    return Desired("Interface", own, owner, specs.Interface(spec, open=True))


def _records(container: Container, endpoints: list[Endpoint], read: Reader) -> Iterator[Record]:
    """On networks of users, containers find each other by name; on the default one they do not, as under Docker."""
    for end in endpoints:
        network = read.get(Network, SCOPE, end.network)
        if network is None or network.spec.builtin:
            continue
        view = core_network(end.network)
        yield from _names(container, end, network, view)
        reverse = ipaddress.ip_address(end.address).reverse_pointer
        yield Record(reverse, "PTR", (f"{container.spec.name}.{network.spec.name}",), ttl=600, view=view)


def _further_records(endpoints: list[Endpoint], read: Reader) -> Iterator[Record]:
    """A container asks by its first network alone: it is told there, and nobody else, whom it finds on its others."""
    for end in endpoints[1:]:
        view = f"{core_network(endpoints[0].network)}@{endpoints[0].address}"
        network = read.get(Network, SCOPE, end.network)
        for other in read.by(Container, SCOPE, "network", end.network):
            for there in other.spec.endpoints:
                if network is not None and there.network == end.network and there.address:
                    yield from _names(other, there, network, view)


def _names(container: Container, end: Endpoint, network: Network, view: str) -> Iterator[Record]:
    """Each of its names, alone and with the network's behind it ("db", "db.shop_back")."""
    for name in dict.fromkeys((container.spec.name, container.meta.name[:12], *end.aliases)):
        if options.is_host_name(name):
            yield Record(name, "A", (end.address,), ttl=600, view=view)
            if options.is_host_name(network.spec.name):
                yield Record(f"{name}.{network.spec.name}", "A", (end.address,), ttl=600, view=view)


def _container(
    container: Container, name: str, sandbox: str, endpoints: list[Endpoint], read: Reader
) -> specs.Container:
    spec = container.spec
    memory = [mount for mount in spec.mounts if mount.type == "tmpfs"]
    mounts = [Mount(one.target, "tmpfs", options=options.tmpfs_options(one.options)) for one in memory]
    shown = tuple(_shown(container, endpoints, read))
    needs = [one.source.volume for one in shown if one.source.volume]
    return specs.Container(
        sandbox=sandbox,
        image=name,
        volume=name,
        interfaces=tuple(_interface_name(name, end.network) for end in endpoints),
        wish=spec.wish,
        boot=spec.boot,
        args=spec.args,
        env=(*spec.env, *links.variables(container, read)),
        hostname=options.hostname(owner_of(read.get, container, "NetworkMode")),
        machine=False,
        limits=options.limits(spec.host),
        mounts=tuple(mounts),
        stop_signal=spec.stop_signal,
        stop_timeout_s=spec.stop_timeout_s,
        restart_on_reboot=False,
        application=_application(container, read),
        working_dir=spec.working_dir,
        shown=shown,
        published=_publication(container, name, endpoints),
        restart=options.restart(spec.host),
        health=options.health(spec.config),
        paused=spec.paused,
        needs=tuple(dict.fromkeys(needs)),
    )


def beside_root(container: Container, read: Reader) -> tuple[specs.Shown, ...]:
    """What it sees there while it runs, or would see."""
    own = _sandbox_of(container, read) == core_name(container.meta.name)
    return tuple(_shown(container, [end for end in container.spec.endpoints if own and end.address], read))


def _shown(container: Container, endpoints: list[Endpoint], read: Reader) -> Iterator[specs.Shown]:
    name, mounts = core_name(container.meta.name), container.spec.mounts
    for mount in mounts:
        source = _source(mount, read) if mount.type != "tmpfs" else None
        if source is not None:
            yield specs.Shown(source, mount.target, () if _is_writable(mount, read) else ("ro",))
    taken = {mount.target for mount in mounts}
    if SHM not in taken and (memory := _shm(container, read)) is not None:
        yield specs.Shown(memory, SHM)
    for path, text in _files(container, endpoints, read):
        if path not in taken:
            inside = f"files/{path.rpartition('/')[2]}"
            yield specs.Shown(Source(inside, name, text=text), path)


def _application(container: Container, read: Reader) -> Application:
    found = options.application(container)
    for kind, key in (("pid", "PidMode"), ("ipc", "IpcMode")):
        other = other_of(read.get, container, key)
        if other is not None:
            found = msgspec.structs.replace(
                found, shared={**found.shared, kind: f"container:{core_name(other.meta.name)}"}
            )
    return found


def _shm(container: Container, read: Reader) -> Source | None:
    """The /dev/shm of who may share it; who shares it with nobody has one of its own."""
    if owner_of(read.get, container, "IpcMode").spec.host.get("IpcMode") == "host":
        return Source(SHM)
    found = shared_memory(read.get, container)
    if found is None:
        return None
    owner, size_bytes = found
    words = f"mode=1777,size={size_bytes},nosuid,nodev,noexec"
    return Source("", core_name(owner.meta.name), memory=words)


def _source(mount: MountPoint, read: Reader) -> Source | None:
    if mount.type == "bind":
        return Source(mount.source, make=mount.options == "make")
    volume = _volume(mount, read)
    if volume is None:
        return None
    where, like = volume_options.backing(volume.spec.options), mount.target if mount.copy else ""
    if where.kind == "bind":
        return Source(where.device)
    if where.kind == "tmpfs":
        return Source("", volume.spec.core, like=like, memory=where.data or "rw")
    return Source("_data", volume.spec.core, like=like)


def _is_writable(mount: MountPoint, read: Reader) -> bool:
    volume = _volume(mount, read)
    return mount.writable and not (volume is not None and volume_options.backing(volume.spec.options).read_only)


def _volume(mount: MountPoint, read: Reader) -> Volume | None:
    return read.get(Volume, SCOPE, mount.name) if mount.name else None


def _publication(container: Container, name: str, endpoints: list[Endpoint]) -> Publication | None:
    if not endpoints or not container.spec.ports:
        return None
    ports = tuple(Published(one.host, one.host_port, one.port, one.protocol) for one in container.spec.ports)
    return Publication(name, core_network(endpoints[0].network), endpoints[0].address, ports)


def _files(container: Container, endpoints: list[Endpoint], read: Reader) -> Iterator[tuple[str, str]]:
    """The files that Docker manages. Whoever has the host's network sees the host's own, whoever has another's that one's."""
    owner = owner_of(read.get, container, "NetworkMode")
    if owner is not container:
        container, endpoints = owner, [end for end in owner.spec.endpoints if end.address]
    host = container.spec.host
    if host.get("NetworkMode") == "host":
        return
    network = read.get(Network, SCOPE, endpoints[0].network) if endpoints else None
    own = [
        *links.host_lines(container, read),
        *(f"{end.address}\t{options.host_line(container)}\n" for end in endpoints),
    ]
    yield (
        "/etc/hosts",
        _HOSTS + "".join(options.extra_hosts(host, network.spec.gateway if network else "")) + "".join(own),
    )
    yield "/etc/hostname", f"{options.hostname(container)}\n"
    named = network is not None and not network.spec.builtin
    yield "/etc/resolv.conf", options.resolver(host, RESOLVER if endpoints else "", names=named)
