"""Which networks a container that is being created joins, and how; which of its ports are published; whose namespaces it shares."""

from __future__ import annotations

import ipaddress
import re
import secrets
from typing import Any

import msgspec

from gureum.docker import find
from gureum.docker.call import Call
from gureum.docker.containers.shared_namespaces import SHARED_MODES, owner_of_users
from gureum.docker.errors import bad_parameter, not_built
from gureum.docker.kinds import (
    Endpoint,
    PortBinding,
)
from gureum.docker.networks import links
from gureum.docker.networks.addresses import BUILTIN, builtin_id, check_inside

_MAC = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}")
_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp|sctp))?")


def bindings(call: Call, host: dict[str, Any], config: dict[str, Any]) -> tuple[PortBinding, ...]:
    """What is published. An address that the user does not name is the setting `publish_address`."""
    found: list[PortBinding] = []
    wished = dict(host.get("PortBindings") or {})
    if host.get("PublishAllPorts"):
        wished = {**{port: [{}] for port in config.get("ExposedPorts") or {}}, **wished}
    for text, places in wished.items():
        port, protocol = _port(text)
        for place in places or [{}]:
            address = str(place.get("HostIp") or "") or call.world.settings.publish_address
            try:
                ipaddress.ip_address(address)
            except ValueError as error:
                raise bad_parameter(f"invalid IP address: {address}") from error
            host_port = str(place.get("HostPort") or "0").partition("-")[0]
            if not host_port.isdecimal() or int(host_port) > 65535:
                raise bad_parameter(f'invalid port specification: "{place.get("HostPort")}"')
            found.append(PortBinding(address, int(host_port), port, "udp" if protocol == "udp" else "tcp"))
    return tuple(found)


def _port(text: str) -> tuple[int, str]:
    found = _PORT.fullmatch(text)
    if found is None or not 0 < int(found[1]) < 65536:
        raise bad_parameter(f"invalid port specification: {text}")
    if found[2] == "sctp":
        raise not_built("published SCTP ports")
    return int(found[1]), found[2] or "tcp"


def _network(name: str) -> str:
    return "bridge" if name in ("", "default") else name


def endpoints_of(
    call: Call, host: dict[str, Any], networking: dict[str, Any], config: dict[str, Any]
) -> tuple[Endpoint, ...]:
    mode = str(host.get("NetworkMode") or "")
    mode = _network(mode)
    host["NetworkMode"] = host.get("NetworkMode") or "bridge"
    if links.on_default(host):
        host["Links"] = list(links.resolved(call.client, host.get("Links"))) or None
    _resolve_shared(call, host)
    if mode.startswith("container:"):
        return ()
    wished = dict(networking.get("EndpointsConfig") or {})
    settings = {_network(str(key)): value or {} for key, value in wished.items()}
    settings.setdefault(mode, {})
    order = [mode, *(one for one in settings if one != mode)]
    found = []
    for name in order:
        # Those that are always there may be about to be made, with this container; others may come before its start, as under Docker.
        network = None if name in BUILTIN else find.known_network(call.client, name)
        network_id = builtin_id(name) if name in BUILTIN else network.meta.name if network is not None else ""
        made = endpoint(network_id, settings[name], network.spec if network is not None else None, config)
        named = network.spec.name if network is not None else name
        found.append(msgspec.structs.replace(made, named=named))
    return tuple(found)


def refuse_own_network(config: dict[str, Any], host: dict[str, Any]) -> None:
    """Docker: what the user says of a network does not go with another container's."""
    if host["NetworkMode"] == "container:":
        raise bad_parameter("invalid network mode: invalid container format container:<name|id>")
    conflicts = (
        (config.get("Hostname"), "hostname and the network mode"),
        (host.get("Links"), "container type network can't be used with links. This would result in undefined behavior"),
        (host.get("Dns"), "dns and the network mode"),
        (host.get("ExtraHosts"), "custom host-to-IP mapping and the network mode"),
        (config.get("MacAddress"), "mac-address and the network mode"),
        (
            host.get("PortBindings") or host.get("PublishAllPorts"),
            "port publishing and the container type network mode",
        ),
        (config.get("ExposedPorts"), "port exposing and the container type network mode"),
    )
    for given, said in conflicts:
        if given:
            raise bad_parameter(f"conflicting options: {said}")


def _resolve_shared(call: Call, host: dict[str, Any]) -> None:
    """The containers whose namespaces it is to share, by their ids. The kernel lets nobody into another's namespaces but that one's own users: all
    whom it shares something with must have the same."""
    owners = set()
    for key in SHARED_MODES:
        mode = str(host.get(key) or "")
        if mode.startswith("container:"):
            other = find.other_container(call.client, mode.removeprefix("container:"))
            host[key] = f"container:{other.meta.name}"
            owners.add(owner_of_users(call.client.get, other).meta.name)
    if len(owners) > 1:
        raise not_built("namespaces of containers that have users of their own each (--ipc, --network, --pid)")


def endpoint(network_id: str, settings: dict[str, Any], network: Any, config: dict[str, Any]) -> Endpoint:
    wished = str((settings.get("IPAMConfig") or {}).get("IPv4Address") or "")
    if wished:
        if network_id and (network is None or network.builtin):
            raise bad_parameter(
                "invalid config for network bridge: user specified IP address is supported on user defined networks only"
            )
        try:
            ipaddress.ip_address(wished)
        except ValueError as error:
            raise bad_parameter(f"invalid IPv4 address: {wished}") from error
        if network is not None:
            check_inside(wished, network)
    if (settings.get("IPAMConfig") or {}).get("LinkLocalIPs"):
        raise not_built("link-local addresses (--link-local-ip)")
    for name in settings.get("DriverOpts") or {}:
        if str(name).startswith("com.docker.network.endpoint."):
            raise not_built(f"the option {name} of an endpoint (--driver-opt)")
    wished_mac = _mac(settings) or _mac(config)
    return Endpoint(
        network=network_id,
        id=secrets.token_hex(32),
        mac=wished_mac,
        wished_mac=wished_mac,
        wished=wished,
        aliases=tuple(map(str, settings.get("Aliases") or ())),
        links=links.parsed(settings.get("Links")),
        driver_options={str(key): str(value) for key, value in (settings.get("DriverOpts") or {}).items()},
    )


def _mac(settings: dict[str, Any]) -> str:
    """DockerError 400."""
    text = str(settings.get("MacAddress") or "")
    if text and not _MAC.fullmatch(text):
        raise bad_parameter(f"invalid MAC address: address {text}: invalid MAC address")
    return text.lower().replace("-", ":")
