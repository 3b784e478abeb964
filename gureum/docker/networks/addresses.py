"""The default networks, subnets for those that name none, and addresses for who starts."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import socket
from collections.abc import Iterable

import msgspec

from gureum.core.world import World
from gureum.docker.errors import bad_parameter, conflict, server_error
from gureum.docker.kinds import ADDRESSES, SCOPE, Endpoint, Network, NetworkSpec
from gureum.engine.client import Client, Transaction
from gureum.engine.resource import Meta

BUILTIN = ("bridge", "host", "none")
BRIDGE_CIDR = "172.17.0.0/16"
# Docker's own default pools: /16s of 172.17.0.0/12's upper part, then /20s of 192.168.0.0/16.
POOLS = (
    *(f"172.{second}.0.0/16" for second in range(18, 32)),
    *(f"192.168.{third}.0/20" for third in range(0, 256, 16)),
)
FIRST_PORT, LAST_PORT = 32768, 60999
_PORTS = LAST_PORT - FIRST_PORT + 1


def builtin_id(name: str) -> str:
    return hashlib.sha256(f"gureum/{name}".encode()).hexdigest()


def ensure_builtin(client: Client, transaction: Transaction, now: float) -> None:
    """The three networks that are always there."""
    for name in BUILTIN:
        if client.get(Network, SCOPE, builtin_id(name)) is None:
            drivers = {"bridge": "bridge", "host": "host", "none": "null"}
            bridge = name == "bridge"
            spec = NetworkSpec(
                name,
                drivers[name],
                BRIDGE_CIDR if bridge else "",
                first_address(BRIDGE_CIDR) if bridge else "",
                builtin=True,
                options=_BRIDGE_OPTIONS if bridge else {},
            )
            transaction.create(Network(meta=Meta(SCOPE, builtin_id(name), builtin_id(name), now), spec=spec))


_BRIDGE_OPTIONS = {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
    "com.docker.network.bridge.name": "docker0",
    "com.docker.network.driver.mtu": "1500",
}


def first_address(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr)[1])


def free_subnet(client: Client) -> str:
    """DockerError when all pools are taken."""
    taken = [ipaddress.ip_network(one.spec.cidr) for one in client.all(Network, SCOPE) if one.spec.cidr]
    for pool in POOLS:
        if not any(ipaddress.ip_network(pool).overlaps(one) for one in taken):
            return pool
    raise server_error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )


def check_inside(address: str, network: NetworkSpec) -> None:
    if ipaddress.ip_address(address) not in ipaddress.ip_network(network.cidr):
        raise bad_parameter("no configured subnet or ip range contain the IP address " + address)


def take_address(world: World, transaction: Transaction, end: Endpoint, holder: str, network: Network) -> Endpoint:
    """The endpoint with an address of its own: the wished one, else the lowest that is free."""
    space = f"{ADDRESSES}/{end.network}"
    if end.wished:
        check_inside(end.wished, network.spec)
        other = world.client.claimed(space, end.wished)
        if (other is not None and other != holder) or end.wished in auxiliary(network).values():
            raise conflict("Address already in use")
        address = end.wished
    else:
        address = _lowest(world, space, network, transaction)
    if world.client.claimed(space, address) is None:
        transaction.claim(space, address, holder)
    return msgspec.structs.replace(end, address=address, mac=end.mac or mac_of(address))


def _lowest(world: World, space: str, network: Network, transaction: Transaction) -> str:
    cidr = ipaddress.ip_network(network.spec.cidr)
    reserved = {network.spec.gateway, str(cidr.broadcast_address), str(cidr.network_address)}
    reserved |= set(auxiliary(network).values())
    asked = set(transaction.written)
    for address in _candidates(network):
        if address in reserved or f"claim/{space}/{address}" in asked:
            continue
        if world.client.claimed(space, address) is None:
            return address
    raise server_error("no available IPv4 addresses on this network's address pools: " + network.spec.name)


def auxiliary(network: Network) -> dict[str, str]:
    """Name -> address that is somebody else's on the network (`--aux-address`), and that no container gets."""
    pools = (network.spec.sent.get("IPAM") or {}).get("Config") or [{}]
    found: dict[str, str] = (pools[0] or {}).get("AuxiliaryAddresses") or {}
    return found


def _candidates(network: Network) -> Iterable[str]:
    cidr = ipaddress.ip_network(network.spec.address_range or network.spec.cidr)
    return (str(address) for address in cidr)


def mac_of(address: str) -> str:
    """02:42 and the address, as Docker makes them."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(address).packed)


class FreePorts:
    """Host ports for those that name none. Each search goes on behind the last find, as Docker's does: what was found is bound some time later, and
    those who ask meanwhile must not be given the same. It begins anywhere, since other homes choose on this host too."""

    def __init__(self, world: World) -> None:
        self._next = secrets.randbelow(_PORTS)

    def find(self, host: str, protocol: str) -> int:
        """A port that nobody listens on now. Whoever binds it later may still be too late."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        for _ in range(_PORTS):
            port = FIRST_PORT + self._next
            self._next = (self._next + 1) % _PORTS
            with socket.socket(family, kind) as sock:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if protocol == "tcp" else 0)
                    sock.bind((host, port))
                except OSError:
                    continue
            return port
        raise server_error("all ports are allocated")
