"""A small cloud for packet tests: networks, machines (sandboxes with one interface) and groups on the real drivers.

Clients and servers are plain sockets opened inside the namespaces: no program has to run there. Each cloud has a home id and a
public pool of its own, so tests run side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import os
import secrets
import select
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import msgspec

from gureum.core.appliances import appliances_of
from gureum.drivers.networks import namespaces
from gureum.drivers.networks.netns import NetnsNetworks, clean
from gureum.drivers.networks.network_names import HomeNames
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import (
    Acl,
    AclEntry,
    BalancedPort,
    Balancer,
    Group,
    Listens,
    PeerLink,
    Port,
    Rule,
    RuleSet,
)
from gureum.ports.networks import EdgeSpec, InterfaceSpec, NetworkSpec, Peer, Route, SandboxSpec, Subnet

ANYWHERE = "0.0.0.0/0"
OUT_ALL = Rule("out", "all", cidr=ANYWHERE)
TO_EDGE = (Route(ANYWHERE, "internet"),)

# How long "nothing comes back" is waited for; what is answered is answered within a fraction of it.
_SILENCE_S = 0.3
_ANSWER_S = 5.0


class Cloud:
    """`network()` and `machine()` change what is wished and bring the drivers there."""

    def __init__(self, home_id: str, pool: str, run_dir: Path) -> None:
        self.home_id, self.pool, self.run_dir = home_id, pool, run_dir
        self.names = HomeNames(home_id, run_dir)
        self.networks = NetnsNetworks(home_id, run_dir)
        self.firewalls = NftFirewalls(home_id)
        self.specs: dict[str, NetworkSpec] = {}
        self.groups: dict[str, dict[str, Group]] = {}
        self.acls: dict[str, dict[str, Acl]] = {}
        self.interfaces: dict[str, InterfaceSpec] = {}
        self.group_of: dict[str, tuple[str, ...]] = {}
        self.balancers: dict[str, Balancer] = {}
        self.speaking: set[str] = set()
        self.open: set[str] = set()
        self.listens: dict[str, Listens] = {}
        self.egress_only: dict[str, tuple[str, ...]] = {}

    def public(self, number: int) -> str:
        """The n-th address of the home's pool."""
        return self.pool.removesuffix("0/24") + str(number)

    async def network(
        self,
        name: str,
        cidr: str = "10.0.0.0/16",
        *,
        uplink: bool = False,
        peers: tuple[Peer, ...] = (),
        entrance: tuple[Route, ...] = (),
        **routes: tuple[Route, ...],
    ) -> None:
        """Subnets a, b, c (10.0.0.0/24 …); `routes`: their route tables by subnet letter."""
        base = ".".join(cidr.split(".")[:2])
        subnets = tuple(
            Subnet(f"{name}-{letter}", f"{base}.{place}.0/24", f"{base}.{place}.1", routes.get(letter, ()))
            for place, letter in enumerate("abc")
        )
        resolver = f"{base}.0.2"
        local = (resolver, "169.254.169.253", "169.254.169.254")
        spec = NetworkSpec(name, (cidr,), subnets, local, uplink, peers, entrance)
        await self.networks.ensure_network(spec)
        self.specs[name] = spec
        self.groups.setdefault(name, {})
        await self.enforce(name)

    async def group(self, network: str, name: str, *rules: Rule) -> None:
        self.groups[network][name] = Group(name, rules)
        await self.enforce(network)

    async def acl(self, network: str, name: str, subnets: str, *entries: AclEntry) -> None:
        """`subnets`: their letters, "ab"; none: the ACL goes."""
        named = {one.name: one.cidr for one in self.specs[network].subnets}
        acls = self.acls.setdefault(network, {})
        acls[name] = Acl(name, tuple(named[f"{network}-{letter}"] for letter in subnets), entries)
        if not subnets:
            del acls[name]
        await self.enforce(network)

    async def machine(
        self,
        name: str,
        network: str,
        address: str,
        *groups: str,
        public: str = "",
        more: tuple[str, ...] = (),
        prefixes: tuple[str, ...] = (),
        source_check: bool = True,
        sandbox: str | None = None,
        device: str = "eth0",
        guest: bool = True,
        exists: bool = False,
    ) -> None:
        """A sandbox with one interface of the same name (or that interface in another sandbox, as its `device`). `exists`: the sandbox does."""
        sandbox = name if sandbox is None else sandbox
        if sandbox and not exists:
            await self.networks.ensure_sandbox(SandboxSpec(sandbox, guest=guest))
        gateway = address.rpartition(".")[0] + ".1"
        subnet = next(s.name for s in self.specs[network].subnets if s.gateway == gateway)
        spec = InterfaceSpec(
            name,
            network,
            subnet,
            "02:00:" + ":".join(f"{int(part):02x}" for part in address.split(".")),
            (address, *more),
            24,
            gateway,
            sandbox,
            device,
            default_route=device == "eth0",
            source_check=source_check,
            public=((address, public),) if public else (),
            prefixes=prefixes,
        )
        await self.networks.ensure_interface(spec)
        self.interfaces[name] = spec
        self.group_of[name] = groups
        await self.enforce(network)

    async def translator(
        self, name: str, network: str, addresses: tuple[str, ...], public: tuple[tuple[str, str], ...]
    ) -> None:
        """The interface of a NAT gateway whose sandbox is there, in subnet a. Everything may pass it."""
        self.open.add(name)
        await self.machine(name, network, addresses[0], more=addresses[1:], source_check=False, exists=True)
        self.interfaces[name] = copy_with(self.interfaces[name], public=public)
        await self.networks.ensure_interface(self.interfaces[name])
        await self.enforce(network)

    async def until(self, look: Callable[[], bool]) -> None:
        """Asks again until it is so."""
        async with asyncio.timeout(30):
            while not look():
                await asyncio.sleep(0.02)

    async def balancer(self, name: str, *ports: BalancedPort) -> None:
        """Layer-4 balancing at the interface of that name; made before as a machine, without groups if all may speak to it."""
        spec = self.interfaces[name]
        public = spec.public[0][1] if spec.public else ""
        self.balancers[name] = Balancer(name, spec.addresses[0], ports, public)
        await self.enforce(spec.network)

    async def enforce(self, network: str) -> None:
        await self.firewalls.apply(self.rules(network))

    def rules(self, network: str) -> RuleSet:
        spec = self.specs[network]
        ports = tuple(
            Port(
                one.name,
                (*one.addresses, *(str(address) for prefix in one.prefixes for address in IPv4Network(prefix))),
                self.group_of[one.name],
                one.public,
                forward=not one.source_check,
                open=one.name in self.open
                or (not self.group_of[one.name] and one.name in {*self.balancers, *self.speaking}),
                speaks_for_clients=one.name in self.speaking,
                listens=self.listens.get(one.name),
            )
            for one in self.interfaces.values()
            if one.network == network
        )
        named = {one.target.removeprefix("interface:") for route in spec.subnets for one in route.routes} | {
            one.target.removeprefix("interface:") for one in spec.entrance
        }
        appliances = tuple(appliances_of(spec, named))
        ways = {"internet", *(f"interface:{one.interface}" for one in appliances)}
        internet = tuple(s.cidr for s in spec.subnets if any(route.target in ways for route in s.routes))
        acls = tuple(self.acls.get(network, {}).values())
        balancers = tuple(one for name, one in self.balancers.items() if self.interfaces[name].network == network)
        peers = tuple(PeerLink(one.name, one.cidrs) for one in spec.peers)
        groups = tuple(self.groups[network].values())
        return RuleSet(
            network,
            spec.cidrs,
            groups,
            ports,
            internet,
            acls,
            balancers,
            peers,
            self.egress_only.get(network, ()),
            appliances=appliances,
        )

    # --- packets ---

    def listen(self, machine: str, port: int, address: str = "") -> socket.socket:
        with namespaces.entered(self.names.sandbox(machine)):
            opened = socket.socket()
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((address, port))
            opened.listen(16)
            opened.settimeout(_ANSWER_S)
            return opened

    def reach(self, machine: str, address: str, port: int) -> str:
        """What a TCP connection from `machine` ("" the host) meets: "open", "refused", "unreachable" or "silent"."""
        return self.reach_from(machine, "", address, port)

    def reach_from(self, machine: str, source: str, address: str, port: int) -> str:
        """As `reach`, from that address of the machine."""
        with self.connecting(machine, address, port, source) as client:
            ready = select.select([], [client], [], _SILENCE_S)[1]
            return _met(client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) if ready else "silent"

    def flow(self, machine: str, server: socket.socket, address: str) -> tuple[socket.socket, socket.socket, str]:
        """An open connection to `server` at `address`: its two ends, and the address the server sees."""
        with self.connecting(machine, address, server.getsockname()[1]) as client:
            assert select.select([], [client], [], _ANSWER_S)[1], "no answer"
            error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            assert error == 0, errno.errorcode[error]
            kept = socket.socket(fileno=client.detach())
        far, (seen, _) = server.accept()
        for end in (kept, far):
            end.settimeout(_ANSWER_S)
        return kept, far, seen

    @contextlib.contextmanager
    def connecting(self, machine: str, address: str, port: int, source: str = "") -> Iterator[socket.socket]:
        where = namespaces.entered(self.names.sandbox(machine)) if machine else contextlib.nullcontext()
        with where:
            client = socket.socket()
        with client:
            client.setblocking(False)
            if source:
                client.bind((source, 0))
            with contextlib.suppress(BlockingIOError, OSError):
                client.connect((address, port))
            yield client


def _met(error: int) -> str:
    known = {
        0: "open",
        errno.ECONNREFUSED: "refused",
        errno.EHOSTUNREACH: "unreachable",
        errno.ENETUNREACH: "unreachable",
    }
    return known.get(error) or errno.errorcode[error]


def say(near: socket.socket, far: socket.socket, text: bytes = b"hello") -> bool:
    """Whether a flow carries bytes both ways."""
    near.sendall(text)
    if far.recv(len(text)) != text:
        return False
    far.sendall(text)
    return near.recv(len(text)) == text


@contextlib.asynccontextmanager
async def cloud(run_dir: Path) -> AsyncIterator[Cloud]:
    """A cloud that leaves nothing behind."""
    with _pool() as pool:
        home_id = "t" + secrets.token_hex(8)[:5]
        one = Cloud(home_id, pool, run_dir)
        try:
            await one.networks.ensure_edge(EdgeSpec(pool))
            yield one
        finally:
            await one.networks.close()
            await one.firewalls.close()
            await clean(home_id, run_dir)


@contextlib.contextmanager
def _pool() -> Iterator[str]:
    """A /24 that no other test on this machine uses now."""
    for number in range(256):
        held = os.open(f"/tmp/gureum-test-pool-{number}", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            continue
        try:
            yield f"240.{number}.0.0/24"  # reserved (RFC 1112): in no one's way, homes claim others
        finally:
            os.close(held)
        return
    raise AssertionError("all test pools are in use")


def on_a_cloud(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs the test with a fresh cloud, and asserts that nothing of it remains."""

    @functools.wraps(test)
    def run(tmp_path: Path) -> None:
        async def main() -> None:
            async with cloud(tmp_path) as one:
                home_ids.append(one.home_id)
                await test(one)

        home_ids: list[str] = []
        asyncio.run(asyncio.wait_for(main(), timeout=60))
        assert remains(home_ids[0]) == []

    del run.__wrapped__  # pytest would take the test's own arguments for fixtures
    return run


def remains(home_id: str) -> list[str]:
    """What carries the home's id on the machine: namespaces, mounts, links and routes."""
    found = [path.name for path in Path("/run/netns").glob(f"gm-{home_id}-*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if home_id in line]
    found += [link for link in os.listdir("/sys/class/net") if link.startswith(f"gm{home_id}")]
    return found


def copy_with(spec: InterfaceSpec, **changes: object) -> InterfaceSpec:
    return msgspec.structs.replace(spec, **changes)
