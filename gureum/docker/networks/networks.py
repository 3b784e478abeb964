"""Networks: the three that are always there, and those of users. Containers join and leave them while they run."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from gureum.docker import filters, find
from gureum.docker.call import Call, operation
from gureum.docker.containers.endpoints import endpoint
from gureum.docker.containers.names import MOST_CHARACTERS
from gureum.docker.containers.options import iso
from gureum.docker.errors import DockerError, bad_parameter, conflict, not_built, not_found
from gureum.docker.events import Events
from gureum.docker.kinds import ADDRESSES, SCOPE, Container, Network, NetworkSpec
from gureum.docker.networks.addresses import auxiliary, ensure_builtin, first_address, free_subnet, take_address
from gureum.engine.client import Transaction
from gureum.engine.resource import Meta, key_of

NETWORK_NAMES = "docker/network-names"


async def _ensure(call: Call) -> None:
    def decide(transaction: Transaction) -> None:
        ensure_builtin(call.client, transaction, call.now)

    await call.commit(decide)


def shown(call: Call, network: Network, *, members: bool) -> dict[str, Any]:
    spec = network.spec
    config = (
        [
            {
                "Subnet": spec.cidr,
                **({"IPRange": spec.address_range} if spec.address_range else {}),
                "Gateway": spec.gateway,
                **({"AuxiliaryAddresses": auxiliary(network)} if auxiliary(network) else {}),
            }
        ]
        if spec.cidr
        else []
    )
    sent = spec.sent.get("IPAM") or {}
    return {
        "Name": spec.name,
        "Id": network.meta.name,
        "Created": iso(network.meta.created),
        "Scope": "local",
        "Driver": spec.driver,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": sent.get("Options"),
            "Config": config,
        },
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": _members(call, network) if members else {},
        "Options": spec.options,
        "Labels": spec.labels,
    }


def _members(call: Call, network: Network) -> dict[str, Any]:
    found = {}
    for one in call.client.by(Container, SCOPE, "network", network.meta.name):
        for end in one.spec.endpoints:
            if end.network == network.meta.name and (
                end.address or (one.status.state == "running" and not network.spec.cidr)
            ):
                length = ipaddress.ip_network(network.spec.cidr).prefixlen if network.spec.cidr else 0
                found[one.meta.name] = {
                    "Name": one.spec.name,
                    "EndpointID": end.id,
                    "MacAddress": end.mac,
                    "IPv4Address": f"{end.address}/{length}" if end.address else "",
                    "IPv6Address": "",
                }
    return found


_NOT_BUILT = {
    "EnableIPv6": "networks with IPv6",
    "ConfigOnly": "networks that are a configuration for others (--config-only)",
    "ConfigFrom": "networks made of the configuration of others (--config-from)",
    "Ingress": "swarm's network for published ports (--ingress)",
}


@operation("GET", "/networks")
async def list_networks(call: Call) -> None:
    await _ensure(call)
    fits = _filter(call, call.filters())
    found = sorted(call.client.all(Network, SCOPE), key=lambda one: one.meta.created)
    await call.send(200, [shown(call, one, members=False) for one in found if fits(one)])


def _filter(call: Call, wanted: filters.Wanted) -> Callable[[Network], bool]:
    filters.check(wanted, ("dangling", "driver", "id", "label", "name", "scope", "type"))
    filters.one_of(wanted, "type", ("builtin", "custom"), _no_type)
    dangling = wanted.get("dangling", [])
    if len(dangling) > 1:
        raise bad_parameter('got more than one value for filter key "dangling"')
    if dangling and dangling[0] not in ("0", "1", "false", "true"):
        raise bad_parameter('invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")')
    name_fits, id_fits = filters.names(wanted, "name"), filters.names(wanted, "id")

    def fits(one: Network) -> bool:
        loose = not one.spec.builtin and not call.client.by(Container, SCOPE, "network", one.meta.name)
        return (
            name_fits(one.spec.name)
            and id_fits(one.meta.name)
            and ("driver" not in wanted or one.spec.driver in wanted["driver"])
            and ("scope" not in wanted or "local" in wanted["scope"])
            and ("type" not in wanted or ("builtin" if one.spec.builtin else "custom") in wanted["type"])
            and (not dangling or (dangling[0] in ("1", "true")) == loose)
            and filters.label_matches(one.spec.labels, wanted)
        )

    return fits


def _no_type(text: str) -> DockerError:
    return bad_parameter(f"invalid filter: 'type'='{text}'")


@operation("GET", "/networks/{id}")
async def inspect_network(call: Call) -> None:
    await _ensure(call)
    await call.send(200, shown(call, find.network(call.client, call.args["id"]), members=True))


@operation("POST", "/networks/create")
async def create_network(call: Call) -> None:
    """Docker: NetworkCreate, with the driver bridge."""
    await _ensure(call)
    body = await call.json("network.CreateRequest")
    name, driver = str(body.get("Name") or ""), str(body.get("Driver") or "bridge")
    if not name.strip() or "/" in name:
        raise bad_parameter("invalid name: name is empty" if not name.strip() else f"invalid network name: {name}")
    if len(name.encode()) > MOST_CHARACTERS or not name.isprintable():
        raise bad_parameter(f"invalid network name: {name!r} is longer than {MOST_CHARACTERS} bytes, or not printable")
    if name in ("bridge", "host", "none", "default", "container"):
        raise DockerError(403, f"operation is not permitted on predefined {name} network")
    if driver != "bridge":
        if driver in ("macvlan", "ipvlan", "overlay", "host", "null"):
            raise not_built(f"networks with the driver {driver}")
        raise not_found(f"could not find plugin {driver} in v1 plugin registry: plugin not found")
    for key, what in _NOT_BUILT.items():
        if body.get(key):
            raise not_built(what)
    if body.get("EnableIPv4") is False:
        raise not_built("networks without IPv4")
    planner = str((body.get("IPAM") or {}).get("Driver") or "default")
    if planner != "default":
        raise not_found(f"could not find plugin {planner} in v1 plugin registry: plugin not found")
    network_id = secrets.token_hex(32)
    wished = _pool(body)

    def decide(transaction: Transaction) -> Network:
        if call.client.by(Network, SCOPE, "name", name):
            raise conflict(f"network with name {name} already exists")
        transaction.claim(NETWORK_NAMES, name, network_id)
        cidr, gateway, part = _plan(call, wished)
        transaction.require_no_newer(Network, SCOPE)
        spec = NetworkSpec(
            name=name,
            driver=driver,
            cidr=cidr,
            gateway=gateway,
            address_range=part,
            internal=bool(body.get("Internal")),
            attachable=bool(body.get("Attachable")),
            options={str(key): str(value) for key, value in (body.get("Options") or {}).items()},
            labels={str(key): str(value) for key, value in (body.get("Labels") or {}).items()},
            sent={"IPAM": body.get("IPAM") or {}},
        )
        return transaction.create(Network(meta=Meta(SCOPE, network_id, network_id, call.now), spec=spec))

    await call.commit(decide)
    call.world.part(Events).add("network", "create", network_id, {"name": name, "type": driver})
    await call.send(201, {"Id": network_id, "Warning": ""})


def _is_in(text: str, subnet: ipaddress.IPv4Network) -> bool:
    try:
        return ipaddress.IPv4Address(text) in subnet
    except ValueError:
        return False


def _pool(body: dict[str, Any]) -> dict[str, Any]:
    """The one range of addresses that a bridge has."""
    pools = [one for one in (body.get("IPAM") or {}).get("Config") or () if one]
    if any(":" in str(one.get("Subnet") or "") for one in pools):
        raise not_built(_NOT_BUILT["EnableIPv6"])
    if len(pools) > 1:
        raise DockerError(403, "bridge driver doesn't support multiple subnets")
    return pools[0] if pools else {}


def _plan(call: Call, wished: dict[str, Any]) -> tuple[str, str, str]:
    """(subnet, gateway, range)"""
    text = str(wished.get("Subnet") or "")
    if not text:
        cidr = free_subnet(call.client)
        return cidr, first_address(cidr), ""
    try:
        subnet = ipaddress.IPv4Network(text, strict=False)
        gateway = ipaddress.IPv4Address(str(wished.get("Gateway") or subnet[1]))
        part = ipaddress.IPv4Network(str(wished["IPRange"]), strict=False) if wished.get("IPRange") else None
    except ValueError as error:
        raise bad_parameter(f"invalid subnet {text}: {error}") from error
    if str(subnet.network_address) != text.partition("/")[0]:
        raise bad_parameter(f"invalid network config:\ninvalid subnet {text}: it should be {subnet}")
    if subnet.prefixlen > 29:
        raise bad_parameter(f"invalid subnet {text}: it holds too few addresses")
    if gateway not in subnet or (part is not None and not part.subnet_of(subnet)):
        raise bad_parameter(
            f"no matching subnet for gateway {gateway}"
            if gateway not in subnet
            else f"no matching subnet for range {part}"
        )
    for key, address in (wished.get("AuxiliaryAddresses") or {}).items():
        if not _is_in(str(address), subnet):
            why = f"address ({address}) is not in subnet {subnet}"
            raise bad_parameter(f"invalid network config:\ninvalid auxiliary address {key}: {why}")
    for other in call.client.all(Network, SCOPE):
        if other.spec.cidr and ipaddress.ip_network(other.spec.cidr).overlaps(subnet):
            raise DockerError(403, "invalid pool request: Pool overlaps with other one on this address space")
    return str(subnet), str(gateway), str(part) if part is not None else ""


@operation("DELETE", "/networks/{id}")
async def remove_network(call: Call) -> None:
    network = find.network(call.client, call.args["id"])
    await remove_now(call, network)
    await call.responder.send(204)


async def remove_now(call: Call, network: Network) -> None:
    if network.spec.builtin:
        raise DockerError(403, f"{network.spec.name} is a pre-defined network and cannot be removed")

    def decide(transaction: Transaction) -> None:
        if members := _members(call, network):
            names = " ".join(f'name:"{one["Name"]}" id:"{key[:12]}"' for key, one in members.items())
            raise DockerError(
                403, f"error while removing network: network {network.spec.name} has active endpoints ({names})"
            )
        transaction.require_no_newer(Container, SCOPE)
        transaction.release(NETWORK_NAMES, network.spec.name)
        current = call.client.get(Network, SCOPE, network.meta.name)
        if current is not None:
            transaction.delete(current)

    await call.commit(decide)
    call.world.part(Events).add(
        "network", "destroy", network.meta.name, {"name": network.spec.name, "type": network.spec.driver}
    )


@operation("POST", "/networks/{id}/connect")
async def connect(call: Call) -> None:
    """Docker: NetworkConnect: of one that runs, at once."""
    network = find.network(call.client, call.args["id"])
    body = await call.json("network.ConnectOptions")
    container = find.container(call.client, str(body.get("Container") or ""))
    if network.spec.driver != "bridge":
        raise DockerError(403, f"container cannot be connected to {network.spec.driver} network")
    if container.spec.host.get("NetworkMode") == "host" or str(container.spec.host.get("NetworkMode")).startswith(
        "container:"
    ):
        raise DockerError(
            403,
            "container sharing network namespace with another container or host cannot be connected to any other network",
        )

    def decide(transaction: Transaction) -> None:
        current = find.current(call.client, container)
        if any(end.network == network.meta.name for end in current.spec.endpoints):
            raise DockerError(
                403, f"endpoint with name {container.spec.name} already exists in network {network.spec.name}"
            )
        made = endpoint(network.meta.name, body.get("EndpointConfig") or {}, network.spec, {})
        if current.spec.wish == "running":
            made = take_address(call.world, transaction, made, key_of(current), network)
        spec = msgspec.structs.replace(current.spec, endpoints=(*current.spec.endpoints, made))
        transaction.update(msgspec.structs.replace(current, spec=spec))

    await call.commit(decide)
    if container.spec.wish == "running":  # one that does not run joins when it starts
        call.world.part(Events).attachment(container, network, "connect")
    await call.responder.send(200)


@operation("POST", "/networks/{id}/disconnect")
async def disconnect(call: Call) -> None:
    network = find.network(call.client, call.args["id"])
    body = await call.json("network.DisconnectOptions")
    container = find.container(call.client, str(body.get("Container") or ""))

    def decide(transaction: Transaction) -> None:
        current = find.current(call.client, container)
        gone = [end for end in current.spec.endpoints if end.network == network.meta.name]
        if not gone:
            raise DockerError(403, f"container {container.meta.name} is not connected to network {network.spec.name}")
        if gone[0].address:
            transaction.release(f"{ADDRESSES}/{network.meta.name}", gone[0].address)
        kept = tuple(end for end in current.spec.endpoints if end.network != network.meta.name)
        transaction.update(msgspec.structs.replace(current, spec=msgspec.structs.replace(current.spec, endpoints=kept)))

    await call.commit(decide)
    call.world.part(Events).attachment(container, network, "disconnect")
    await call.responder.send(200)


@operation("POST", "/networks/prune")
async def prune_networks(call: Call) -> None:
    wanted = call.filters()
    filters.check(wanted, filters.PRUNE)
    until = filters.until(wanted, call.now)
    removed = []
    for network in call.client.all(Network, SCOPE):
        used = call.client.by(Container, SCOPE, "network", network.meta.name)
        young = until is not None and network.meta.created >= until
        if network.spec.builtin or used or young or not filters.label_matches(network.spec.labels, wanted):
            continue
        await remove_now(call, network)
        removed.append(network.spec.name)
    call.world.part(Events).add("network", "prune", "", {"reclaimed": "0"})
    await call.send(200, {"NetworksDeleted": removed or None})
