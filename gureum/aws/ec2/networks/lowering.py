"""How a VPC and its interfaces become core objects: one Network per VPC, one Interface per plugged ENI, names for attached ENIs. Pure.

    Vpc ──────────────► Network       subnets, their routes and ACLs, uplink; only while an interface in it is attached
    NetworkInterface ─► Interface     only while its machine runs (`spec.sandbox`)
                     └► Names         while it is attached

A subnet's routes are those of its own table or of the main one, the longest prefix winning; a route whose target does not
carry packets is a blackhole, as its state says in DescribeRouteTables (but for a virtual
private gateway, which never carries any). Of a table at the internet gateway the routes are the Network's entrance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from gureum.aws.ec2.instances.host_names import private_name, public_name, reverse_name
from gureum.aws.ec2.networks.block_public_access import passing
from gureum.aws.ec2.networks.cidrs import network_of, resolver_address, router_address
from gureum.aws.ec2.networks.kinds import (
    Address,
    InternetGateway,
    NatGateway,
    NetworkAcl,
    NetworkInterface,
    PrefixList,
    PrivateAddress,
    RouteEntry,
    RouteTable,
    Subnet,
    Vpc,
    VpcPeering,
)
from gureum.aws.ec2.networks.network_acl_entries import lets_all_pass, lower_acl
from gureum.aws.ec2.networks.route_tables import is_active, order, target_kind
from gureum.aws.ec2.networks.vpn_kinds import VpnGateway
from gureum.core import specs
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower
from gureum.engine.resource import key_of
from gureum.ports import networks
from gureum.ports.firewalls import Acl
from gureum.ports.names import Record

LOAD_BALANCING = "amazon-elb"
"""Who requests the interfaces of load balancers' nodes."""
METADATA_ADDRESS = "169.254.169.254"
RESOLVER_ADDRESS = "169.254.169.253"


@lower(Vpc)
def lower_vpc(vpc: Vpc, read: Reader) -> Iterable[Desired]:
    """The VPC's router, while an interface in it is attached."""
    scope, name = vpc.meta.scope, vpc.meta.name
    if not read.by(NetworkInterface, scope, "attached-vpc", name):
        return
    gateways = read.by(InternetGateway, scope, "vpc", name)
    entrance = _entrance(vpc, gateways, read)
    found = sorted(read.by(Subnet, scope, "vpc", name), key=lambda subnet: network_of(subnet.spec.cidr))
    subnets = [lower_subnet(vpc, subnet, read) for subnet in found]
    spec = networks.NetworkSpec(
        name=name,
        cidrs=tuple(one.cidr for one in vpc.spec.cidrs),
        subnets=tuple(subnets),
        local_addresses=local_addresses(vpc),
        uplink=bool(gateways),
        peers=tuple(_peers(vpc, read)),
        entrance=entrance,
    )
    ways = [subnet for subnet, one in zip(found, subnets, strict=True) if _leads_out(one, entrance)]
    lowered = specs.Network(
        network=spec,
        internet=tuple(cidr for subnet in ways for cidr in _open_to_internet(subnet, read)),
        egress_only=tuple(subnet.spec.cidr for subnet in ways if passing(subnet, read) == "egress"),
        acls=lower_acls(scope, found, read),
    )
    yield Desired("Network", name, key_of(vpc), lowered)


@lower(NetworkInterface)
def lower_interface(interface: NetworkInterface, read: Reader) -> Iterable[Desired]:
    """The plugged interface and the names of its addresses."""
    spec = interface.spec
    if spec.attachment is None:
        return
    vpc = read.get(Vpc, interface.meta.scope, spec.vpc)
    subnet = read.get(Subnet, interface.meta.scope, spec.subnet)
    if vpc is None or subnet is None:
        return
    if vpc.spec.dns_support:
        yield Desired(
            "Names", interface.meta.name, key_of(interface), specs.Names(tuple(records(interface, vpc, read)))
        )
    if not spec.sandbox:
        return
    # A service's machine has this interface alone, whatever index AWS shows for it, or is another interface's and has this besides.
    index = spec.attachment.device_index if spec.attachment.instance else int(spec.sandbox != interface.meta.name)
    lowered = networks.InterfaceSpec(
        name=interface.meta.name,
        network=spec.vpc,
        subnet=spec.subnet,
        mac=spec.mac,
        addresses=tuple(one.address for one in spec.addresses),
        prefix_length=network_of(subnet.spec.cidr).prefixlen,
        gateway=router_address(subnet.spec.cidr),
        sandbox=spec.sandbox,
        device=f"eth{index}",
        default_route=index == 0,
        source_check=spec.source_dest_check,
        public=tuple((one.address, one.public) for one in spec.addresses if one.public),
        prefixes=tuple(sorted(spec.prefixes)),
    )
    yield Desired(
        "Interface",
        interface.meta.name,
        key_of(interface),
        specs.Interface(interface=lowered, groups=spec.groups, open=spec.open, node=_node(interface)),
    )


def _node(interface: NetworkInterface) -> Literal["", "application", "network"]:
    """Of which type the load balancer is that made it."""
    if interface.spec.requester != LOAD_BALANCING:
        return ""
    return "network" if interface.spec.type == "network_load_balancer" else "application"


def _entrance(vpc: Vpc, gateways: list[InternetGateway], read: Reader) -> tuple[networks.Route, ...]:
    """Routes of the table that stands at the internet gateway, () without one or where all is local."""
    tables = [one for way in gateways for one in read.by(RouteTable, vpc.meta.scope, "edge", way.meta.name)]
    routes = tuple(route for table in tables for route in _routes(vpc, table, read))
    return routes if any(route.target != "local" for route in routes) else ()


def _leads_out(subnet: networks.Subnet, entrance: tuple[networks.Route, ...]) -> bool:
    """Whether a subnet's packets get to the internet gateway: straight, or through an appliance, if one gets what comes in for the subnet. AWS: the
    two may be different ones, as nothing but the routes says where a packet goes."""
    guards = (one for one in entrance if network_of(subnet.cidr).subnet_of(network_of(one.destination)))
    nearest = max(guards, key=lambda one: network_of(one.destination).prefixlen, default=None)
    guarded = nearest is not None and nearest.target.startswith("interface:")
    return any(one.target == "internet" or (guarded and one.target.startswith("interface:")) for one in subnet.routes)


def _open_to_internet(subnet: Subnet, read: Reader) -> list[str]:
    """What of a subnet that has a way to the internet may take it."""
    passes = passing(subnet, read)
    if passes in ("all", "egress"):
        return [subnet.spec.cidr]
    if passes == "nothing":
        return []
    gateways = read.by(NatGateway, subnet.meta.scope, "subnet", subnet.meta.name)
    found = (
        read.get(NetworkInterface, subnet.meta.scope, one.spec.interface) for one in gateways if one.spec.interface
    )
    return sorted(f"{one.address}/32" for eni in found if eni is not None for one in eni.spec.addresses)


def lower_subnet(vpc: Vpc, subnet: Subnet, read: Reader) -> networks.Subnet:
    """A subnet with the routes of the table that is in force for it."""
    return networks.Subnet(
        name=subnet.meta.name,
        cidr=subnet.spec.cidr,
        gateway=router_address(subnet.spec.cidr),
        routes=tuple(_routes(vpc, _table_of(subnet, read), read)),
    )


def lower_acls(scope: str, subnets: list[Subnet], read: Reader) -> tuple[Acl, ...]:
    """The ACLs of these subnets, but for those that let everything pass, as every default one does at first."""
    cidrs: dict[str, list[str]] = {}
    for subnet in subnets:
        cidrs.setdefault(subnet.spec.acl, []).append(subnet.spec.cidr)
    found = ((read.get(NetworkAcl, scope, name), places) for name, places in sorted(cidrs.items()))
    return tuple(lower_acl(acl, places) for acl, places in found if acl is not None and not lets_all_pass(acl))


def local_addresses(vpc: Vpc) -> tuple[str, ...]:
    """Addresses the router itself answers to: instance metadata, and the resolver when the VPC has DNS (enableDnsSupport)."""
    if not vpc.spec.dns_support:
        return (METADATA_ADDRESS,)
    return resolver_address(vpc.spec.cidr), RESOLVER_ADDRESS, METADATA_ADDRESS


def records(interface: NetworkInterface, vpc: Vpc, read: Reader) -> Iterator[Record]:
    """Private names for all in the VPC; public names, when the VPC has them, that lead to the private address inside the VPC."""
    region = interface.meta.scope.rpartition("/")[2]
    for one in interface.spec.addresses:
        name = private_name(region, one.address)
        yield Record(name, "A", (one.address,), view=vpc.meta.name)
        yield Record(reverse_name(one.address), "PTR", (name,), view=vpc.meta.name)
        if one.public and vpc.spec.dns_hostnames:
            yield from _public_records(region, one, [vpc.meta.name, *_trusting(vpc, read)])
        reverse = _reverse(interface, one, vpc, read)
        if reverse:
            yield Record(reverse_name(one.public), "PTR", (reverse,))


def _public_records(region: str, one: PrivateAddress, views: list[str]) -> Iterator[Record]:
    """`views`: VPCs from which the private address is reached, and told."""
    name = public_name(region, one.public)
    yield Record(name, "A", (one.public,))
    for view in views:
        yield Record(name, "A", (one.address,), view=view)


def _trusting(vpc: Vpc, read: Reader) -> list[str]:
    """Peered VPCs that this one tells its private addresses (AllowDnsResolutionFromRemoteVpc)."""
    scope, name = vpc.meta.scope, vpc.meta.name
    allowed = (one.spec for one in active_peerings(vpc, read) if one.spec.side_of(scope, name).dns)
    return sorted(spec.other_than(scope, name).vpc for spec in allowed)


def _reverse(interface: NetworkInterface, one: PrivateAddress, vpc: Vpc, read: Reader) -> str:
    """What a public address is called: as its owner has set (ModifyAddressAttribute), else by its public name, if it has one."""
    account, _, region = interface.meta.scope.partition("/")
    elastic = read.get(Address, f"{one.owner or account}/{region}", one.allocation) if one.allocation else None
    if elastic is not None and elastic.spec.domain_name:
        return elastic.spec.domain_name
    return public_name(region, one.public) if one.public and vpc.spec.dns_hostnames else ""


def _peers(vpc: Vpc, read: Reader) -> Iterator[networks.Peer]:
    for peering in sorted(active_peerings(vpc, read), key=lambda one: one.meta.name):
        other = peering.spec.other_than(vpc.meta.scope, vpc.meta.name)
        yield networks.Peer(peering.meta.name, other.vpc, other.cidrs)


def active_peerings(vpc: Vpc, read: Reader) -> list[VpcPeering]:
    found = read.by(VpcPeering, vpc.meta.scope, "vpc", vpc.meta.name)
    return [one for one in found if one.status.state == "active"]


def _table_of(subnet: Subnet, read: Reader) -> RouteTable | None:
    """The subnet's own table, else its VPC's main one."""
    scope = subnet.meta.scope
    own = read.by(RouteTable, scope, "subnet", subnet.meta.name)
    found = own or read.by(RouteTable, scope, "main", subnet.spec.vpc)
    return found[0] if found else None


def _routes(vpc: Vpc, table: RouteTable | None, read: Reader) -> Iterator[networks.Route]:
    for association in vpc.spec.cidrs:
        yield networks.Route(association.cidr, "local")
    # Of two routes to the same range the later one counts: one that names it wins over a prefix list's.
    for entry in sorted(table.spec.routes if table else (), key=lambda one: (not one.to_list, order(one))):
        target = _target(entry, vpc, read)
        for destination in _destinations(entry, vpc, read):
            yield networks.Route(destination, target)


def _destinations(entry: RouteEntry, vpc: Vpc, read: Reader) -> list[str]:
    if not entry.to_list:
        return [entry.destination]
    found = read.get(PrefixList, vpc.meta.scope, entry.destination)
    own = {one.cidr for one in vpc.spec.cidrs}
    return [one.cidr for one in found.spec.entries if one.cidr not in own] if found is not None else []


def _target(entry: RouteEntry, vpc: Vpc, read: Reader) -> str:
    kind, name = target_kind(entry)
    target = read.get(kind, vpc.meta.scope, name)
    if target is None or not is_active(entry, target, vpc.meta.name):
        return "blackhole"
    if isinstance(target, VpnGateway):
        return "blackhole"  # There are no VPN connections that would take it on.
    if isinstance(target, VpcPeering):
        return f"peer:{target.meta.name}"
    if isinstance(target, NatGateway):
        return f"interface:{target.spec.interface}"
    return "internet" if entry.gateway else f"interface:{entry.interface}"
