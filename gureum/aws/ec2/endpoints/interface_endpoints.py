"""VPC endpoints of the kind "Interface": one service of the API, or of an account's own, at addresses of the VPC.

    VpcEndpoint ─► per zone: ENI, owned by AWS (its Interface is the ENI's own) ─► Sandbox, Gate: ports 80 and 443 of the API
            │        or, to an account's own service: Sandbox, Passage ─► ENI in the provider's network ─► node of its load balancer
            └────► Names: its own, which lead there from everywhere, and with PrivateDnsEnabled the service's, in this VPC

Who reaches an ENI its security groups say. Behind it a machine is what it is at every gate: a guest with keys that STS handed out (guest_api.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.endpoints.endpoint_services import InterfaceService, interface_service, private_names
from gureum.aws.ec2.endpoints.kinds import (
    EndpointConnection,
    EndpointConnectionSpec,
    EndpointNode,
    EndpointService,
    VpcEndpoint,
    VpcEndpointStatus,
)
from gureum.aws.ec2.endpoints.own_services import balancer_nodes, find_own_service, own_service_id
from gureum.aws.ec2.instances.lifecycle import world_call
from gureum.aws.ec2.interfaces.interfaces import change as change_interface
from gureum.aws.ec2.interfaces.interfaces import check_groups, default_group, delete_interface, new_interface
from gureum.aws.ec2.networks.cidrs import router_address
from gureum.aws.ec2.networks.kinds import Attachment, NetworkInterface, Subnet, Vpc
from gureum.aws.elbv2.kinds import LoadBalancer, ZoneNode
from gureum.aws.errors import AwsError
from gureum.base.ids import new_id
from gureum.core import specs
from gureum.core.world import World
from gureum.engine.client import Client, Transaction
from gureum.engine.errors import Retry
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower, reconcile
from gureum.engine.resource import key_of
from gureum.ports.names import Record
from gureum.ports.networks import Passage, SandboxSpec

OWNER = "amazon-aws"
ZONE_ID = "Z7HUB22UULQXV"
"""Of vpce.amazonaws.com in us-east-1; nobody can look into the zone."""


# What the operations use (vpc_endpoints.py)


def new_interface_endpoint(call: Call, transaction: Transaction, vpc: Vpc, endpoint: VpcEndpoint) -> VpcEndpoint:
    """`endpoint` with what the call asks for, and its interfaces in the same transaction. AWS: InvalidServiceName, InvalidParameter,
    VpcEndpointLimitExceeded, DuplicateSubnetsInSameZone, and what is wrong with subnets and groups."""
    params = call.params
    service = interface_service(call.region, endpoint.spec.service)
    own = find_own_service(call, endpoint.spec.service)
    if service is None and own is None:
        raise AwsError("InvalidServiceName", f"The Vpc Endpoint Service '{endpoint.spec.service}' does not exist")
    if service is not None and not call.settings.guest_api:
        raise ids.not_built("An interface endpoint while the setting guest_api is off")
    there = [one for one in call.by(VpcEndpoint, "vpc", vpc.meta.name) if one.spec.type == "Interface"]
    if len(there) >= call.settings.quota_interface_endpoints_per_vpc:
        raise AwsError("VpcEndpointLimitExceeded", "The maximum number of VPC endpoints has been reached.")
    wanted = params.get("PrivateDnsEnabled")
    private = bool(wanted if wanted is not None else service is not None)
    if private:
        _check_private_dns(call, vpc, endpoint, service)
    groups = tuple(dict.fromkeys(params.get("SecurityGroupIds") or ())) or (
        default_group(call, vpc.meta.name).meta.name,
    )
    provider = own.meta.scope if own is not None else ""
    spec = msgspec.structs.replace(
        endpoint.spec, type="Interface", groups=groups, private_dns=private, provider=provider
    )
    endpoint = msgspec.structs.replace(endpoint, spec=spec)
    nodes = _add_nodes(call, transaction, endpoint, params.get("SubnetIds") or ())
    status = VpcEndpointStatus("pending" if nodes else "available")
    if own is not None:
        transaction.require(own)
        meta = msgspec.structs.replace(endpoint.meta, scope=provider, uid=new_id("", 32), tags={})
        connection = EndpointConnectionSpec(own.meta.name, call.scope)
        transaction.create(EndpointConnection(meta=meta, spec=connection))
        status = VpcEndpointStatus("pendingAcceptance") if own.spec.acceptance else status
    return msgspec.structs.replace(endpoint, spec=msgspec.structs.replace(spec, nodes=nodes), status=status)


def with_changed_nodes(call: Call, transaction: Transaction, endpoint: VpcEndpoint) -> VpcEndpoint:
    """`endpoint` as ModifyVpcEndpoint wishes it. AWS: as `new_interface_endpoint`."""
    params, spec = call.params, endpoint.spec
    removed = set(params.get("RemoveSubnetIds") or ())
    if missing := sorted(removed - {node.subnet for node in spec.nodes}):
        raise ids.not_found(ids.SUBNET, *missing)
    remove_nodes(call, transaction, endpoint, (node for node in spec.nodes if node.subnet in removed))
    kept = tuple(node for node in spec.nodes if node.subnet not in removed)
    leaving = set(params.get("RemoveSecurityGroupIds") or ())
    if missing := sorted(leaving - set(spec.groups)):
        raise ids.not_found(ids.SECURITY_GROUP, *missing)
    groups = tuple(dict.fromkeys((*spec.groups, *(params.get("AddSecurityGroupIds") or ()))))
    groups = tuple(name for name in groups if name not in leaving)
    if not groups:
        raise AwsError("InvalidParameter", "A VPC endpoint must have at least one security group.")
    wanted = params.get("PrivateDnsEnabled")
    private = bool(wanted if wanted is not None else spec.private_dns)
    if private and not spec.private_dns:
        service = interface_service(call.region, spec.service)
        _check_private_dns(call, ids.find(call, Vpc, ids.VPC, spec.vpc), endpoint, service)
    spec = msgspec.structs.replace(spec, groups=groups, nodes=kept, private_dns=private)
    endpoint = msgspec.structs.replace(endpoint, spec=spec)
    _regroup(call, transaction, endpoint)
    added = _add_nodes(call, transaction, endpoint, params.get("AddSubnetIds") or ())
    return msgspec.structs.replace(endpoint, spec=msgspec.structs.replace(spec, nodes=(*kept, *added)))


def remove_nodes(call: Call, transaction: Transaction, endpoint: VpcEndpoint, nodes: Iterable[EndpointNode]) -> None:
    """Their interfaces are gone, and their addresses free, also in the provider's network."""
    for node in nodes:
        remove_exit(call, transaction, endpoint, node)
        interface = call.client.get(NetworkInterface, endpoint.meta.scope, node.interface)
        if interface is not None:
            delete_interface(call, transaction, interface)


def remove_endpoint(call: Call, transaction: Transaction, endpoint: VpcEndpoint) -> None:
    """With all that it has."""
    remove_nodes(call, transaction, endpoint, endpoint.spec.nodes)
    connection = call.client.get(EndpointConnection, endpoint.spec.provider, endpoint.meta.name)
    if connection is not None:
        transaction.delete(connection)
    transaction.delete(endpoint)


def remove_exit(call: Call, transaction: Transaction, endpoint: VpcEndpoint, node: EndpointNode) -> None:
    exit_ = call.client.get(NetworkInterface, endpoint.spec.provider, node.exit) if node.exit else None
    if exit_ is not None:
        delete_interface(call, transaction, exit_)


def check_dns(call: Call) -> None:
    """AWS: DnsOptions. What would have an effect that is not built is refused."""
    options = call.params.get("DnsOptions") or {}
    if options.get("DnsRecordIpType") not in (None, "", "ipv4", "service-defined"):
        raise ids.not_built(f"{call.operation} with DnsRecordIpType {options['DnsRecordIpType']}")
    for name in ("PrivateDnsOnlyForInboundResolverEndpoint", "PrivateDnsPreference", "PrivateDnsSpecifiedDomains"):
        if options.get(name):
            raise ids.not_built(f"{call.operation} with {name}")


def dns_entries(endpoint: VpcEndpoint) -> list[dict[str, Any]]:
    """API form of its names: the one for all zones, those of the zones, and the private ones. AWS: ec2 DnsEntry."""
    if endpoint.spec.type != "Interface":
        return []
    names = [name for name, _ in own_names(endpoint)]
    shown = [{"DnsName": name, "HostedZoneId": ZONE_ID} for name in names]
    if endpoint.spec.private_dns:
        shown += [{"DnsName": name, "HostedZoneId": "ZONEIDPENDING"} for name in _private_names(endpoint)]
    return shown


def own_names(endpoint: VpcEndpoint) -> Iterator[tuple[str, tuple[EndpointNode, ...]]]:
    """Names of the endpoint itself, with the nodes that they lead to. AWS: "vpce-ID-HASH.SERVICE.REGION.vpce.amazonaws.com", where a `*.` in front
    stands for any name before it."""
    service, region = _service(endpoint), _region(endpoint)
    name = f"{endpoint.meta.name}-{endpoint.meta.name[-8:]}"
    domain = f"{service.host}.{region}.vpce.amazonaws.com"
    star = "*." if service.any_host else ""
    yield f"{star}{name}.{domain}", endpoint.spec.nodes
    for node in endpoint.spec.nodes:
        yield f"{star}{name}-{node.zone}.{domain}", (node,)


def _check_private_dns(call: Call, vpc: Vpc, endpoint: VpcEndpoint, service: InterfaceService | None) -> None:
    if service is None:
        text = f"Private DNS can't be enabled because the service {endpoint.spec.service} does not provide a private DNS name."
        raise AwsError("InvalidParameter", text)
    if not vpc.spec.dns_support or not vpc.spec.dns_hostnames:
        text = (
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for "
        )
        raise AwsError("InvalidParameter", text + vpc.meta.name)
    for other in call.by(VpcEndpoint, "vpc", vpc.meta.name):
        if (
            other.spec.private_dns
            and other.spec.service == endpoint.spec.service
            and other.meta.name != endpoint.meta.name
        ):
            name = private_names(call.region, service)[0]
            text = "private-dns-enabled cannot be set because there is already a conflicting DNS domain for "
            raise AwsError("InvalidParameter", f"{text}{name} in the VPC {vpc.meta.name}")


def _add_nodes(
    call: Call, transaction: Transaction, endpoint: VpcEndpoint, subnets: Sequence[str]
) -> tuple[EndpointNode, ...]:
    """One for each of these subnets, at the address that SubnetConfigurations names, if it does."""
    addresses = _addresses(call)
    taken = {node.zone for node in endpoint.spec.nodes}
    own = find_own_service(call, endpoint.spec.service) if endpoint.spec.provider else None
    zones = {node.zone for _, node in balancer_nodes(call.client, own)} if own is not None else None
    made = []
    for subnet in ids.find_all(call, Subnet, ids.SUBNET, list(dict.fromkeys((*subnets, *addresses)))):
        name = subnet.meta.name
        if subnet.spec.vpc != endpoint.spec.vpc:
            raise AwsError("InvalidParameter", f"Subnet {name} does not belong to the VPC {endpoint.spec.vpc}")
        if zones is not None and subnet.spec.zone not in zones:
            text = f"The VPC endpoint service {endpoint.spec.service} does not support the availability zone of the subnet: {name}."
            raise AwsError("InvalidParameter", text)
        if subnet.spec.zone in taken:
            text = (
                f"Found another VPC endpoint subnet in the availability zone of {name}. VPC endpoint subnets should be in "
                "different availability zones supported by the VPC endpoint service."
            )
            raise AwsError("DuplicateSubnetsInSameZone", text)
        taken.add(subnet.spec.zone)
        interface = new_interface(
            call,
            transaction,
            subnet,
            groups=endpoint.spec.groups,
            addresses=(addresses[name],) if addresses.get(name) else (),
            description=f"VPC Endpoint Interface {endpoint.meta.name}",
            attachment=Attachment(new_id("ela-attach-"), "", 1, float(int(call.now)), owner=OWNER),
            requester=OWNER,
            type_="vpc_endpoint",
        )
        made.append(EndpointNode(subnet.spec.zone, name, interface.meta.name))
    return tuple(made)


def _addresses(call: Call) -> dict[str, str]:
    """The private address that is wished in a subnet, "" for any."""
    found = {}
    for one in call.params.get("SubnetConfigurations") or ():
        if one.get("Ipv6"):
            raise ids.not_built(f"{call.operation} with SubnetConfigurations.Ipv6")
        if not one.get("SubnetId"):
            raise ids.missing("SubnetConfiguration.SubnetId")
        found[str(one["SubnetId"])] = str(one.get("Ipv4") or "")
    return found


def _regroup(call: Call, transaction: Transaction, endpoint: VpcEndpoint) -> None:
    for node in endpoint.spec.nodes:
        interface = call.get(NetworkInterface, node.interface)
        subnet = call.get(Subnet, node.subnet)
        if interface is not None and subnet is not None:
            groups = check_groups(call, endpoint.spec.groups, subnet)
            transaction.update(change_interface(transaction.current(interface), groups=groups))


def _service(endpoint: VpcEndpoint) -> InterfaceService:
    if endpoint.spec.provider:
        return InterfaceService(endpoint.spec.service, "", own_service_id(endpoint.spec.service))
    found = interface_service(_region(endpoint), endpoint.spec.service)
    assert found is not None, "it was there when the endpoint was made"
    return found


def _private_names(endpoint: VpcEndpoint) -> tuple[str, ...]:
    return private_names(_region(endpoint), _service(endpoint))


def _region(endpoint: VpcEndpoint) -> str:
    return endpoint.meta.scope.rpartition("/")[2]


# Lower, reconcile


@lower(VpcEndpoint)
def lower_endpoint(endpoint: VpcEndpoint, read: Reader) -> Iterable[Desired]:
    """The machine behind each of its interfaces, and its names. Nothing of a gateway endpoint."""
    spec, owner = endpoint.spec, key_of(endpoint)
    if spec.type != "Interface":
        return
    found = {node: read.get(NetworkInterface, endpoint.meta.scope, node.interface) for node in spec.nodes}
    addresses = {node: eni.spec.primary.address for node, eni in found.items() if eni is not None}
    for node, address in addresses.items():
        yield Desired("Sandbox", node.interface, owner, specs.Sandbox(SandboxSpec(node.interface, guest=False)))
        behind = _passage(endpoint, node, read) if spec.provider else _gate(endpoint, node, address)
        if behind is not None:
            yield Desired("Passage" if spec.provider else "Gate", node.interface, owner, behind)
    if addresses:
        yield Desired("Names", endpoint.meta.name, owner, specs.Names(tuple(_records(endpoint, addresses))))


def _gate(endpoint: VpcEndpoint, node: EndpointNode, address: str) -> specs.Gate:
    names = tuple(dict.fromkeys((*(name for name, _ in own_names(endpoint)), *_private_names(endpoint))))
    name = node.interface
    return specs.Gate(name, name, endpoint.spec.vpc, address, _service(endpoint).signing, names)


def _passage(endpoint: VpcEndpoint, node: EndpointNode, read: Reader) -> specs.Passage | None:
    """The way to the load balancer's node of the zone; None while it has no exit, or the node is gone."""
    provider = endpoint.spec.provider
    exit_ = read.get(NetworkInterface, provider, node.exit) if node.exit else None
    subnet = read.get(Subnet, endpoint.meta.scope, node.subnet)
    far = read.get(Subnet, provider, exit_.spec.subnet) if exit_ is not None else None
    target = _target(endpoint, node, read)
    at = read.get(NetworkInterface, provider, target[1].interface) if target is not None else None
    if exit_ is None or subnet is None or far is None or at is None:
        return None
    gateways = router_address(subnet.spec.cidr), router_address(far.spec.cidr)
    passage = Passage(exit_.spec.primary.address, at.spec.primary.address, *gateways)
    return specs.Passage(node.interface, node.interface, node.exit, passage)


def _target(endpoint: VpcEndpoint, node: EndpointNode, read: Reader | Client) -> tuple[LoadBalancer, ZoneNode] | None:
    service = read.get(EndpointService, endpoint.spec.provider, own_service_id(endpoint.spec.service))
    nodes = balancer_nodes(read, service) if service is not None else ()
    return next(((balancer, one) for balancer, one in nodes if one.zone == node.zone), None)


def _records(endpoint: VpcEndpoint, addresses: dict[EndpointNode, str]) -> Iterator[Record]:
    for name, nodes in own_names(endpoint):
        values = tuple(addresses[node] for node in nodes if node in addresses)
        if values:
            yield Record(name, "A", values)
    if endpoint.spec.private_dns:
        for name in _private_names(endpoint):
            yield Record(name, "A", tuple(addresses.values()), view=endpoint.spec.vpc)


@reconcile(VpcEndpoint)
async def reconcile_endpoint(world: World, endpoint: VpcEndpoint) -> None:
    """Available when its machines are ready; changes later do not take that back."""
    spec, state = endpoint.spec, endpoint.status.state
    if spec.type != "Interface" or state in ("pendingAcceptance", "rejected") or not world.link.synced:
        return
    if spec.provider and await _join(world, endpoint):
        return
    wanted = [one for one in world.lowering.of(key_of(endpoint)) if one.kind in ("Gate", "Passage")]
    statuses = [world.seen(one.id) for one in wanted]
    failed = [status.reason for status in statuses if status is not None and status.phase == "failed"]
    ready = all(status is not None and status.phase == "ready" for status in statuses)
    if failed:
        await _move(world, endpoint, VpcEndpointStatus("failed", failed[0]))
    elif ready and len(wanted) == len(spec.nodes):
        await _move(world, endpoint, VpcEndpointStatus("available"))
    elif state == "pending":
        raise Retry("waits for its interfaces")


async def _join(world: World, endpoint: VpcEndpoint) -> bool:
    """Makes exits where there are none, in the subnets of the load balancer's nodes; whether something was changed."""
    transaction, nodes = world.client.transaction(), []
    for node in endpoint.spec.nodes:
        target = None if node.exit else _target(endpoint, node, world.client)
        if target is not None:
            try:
                node = _with_exit(world, transaction, endpoint, node, *target)
            except AwsError as refused:
                await _move(world, endpoint, VpcEndpointStatus("failed", refused.message))
                return True
        nodes.append(node)
    if tuple(nodes) == endpoint.spec.nodes:
        return False
    spec = msgspec.structs.replace(endpoint.spec, nodes=tuple(nodes))
    transaction.update(msgspec.structs.replace(endpoint, spec=spec))
    await transaction.commit()
    return True


def _with_exit(
    world: World,
    transaction: Transaction,
    endpoint: VpcEndpoint,
    node: EndpointNode,
    balancer: LoadBalancer,
    at: ZoneNode,
) -> EndpointNode:
    call = world_call(world, balancer)
    transaction.require(balancer)
    exit_ = new_interface(
        call,
        transaction,
        ids.find(call, Subnet, ids.SUBNET, at.subnet),
        description=f"VPC Endpoint Service Interface {endpoint.meta.name}",
        attachment=Attachment(new_id("ela-attach-"), "", 1, float(int(call.now)), owner=OWNER),
        requester=OWNER,
        open=True,
        type_="vpc_endpoint",
    )
    transaction.update(change_interface(exit_, sandbox=node.interface))
    return msgspec.structs.replace(node, exit=exit_.meta.name)


async def _move(world: World, endpoint: VpcEndpoint, status: VpcEndpointStatus) -> None:
    if endpoint.status == status:
        return
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(endpoint, status=status))
    await transaction.commit()
    text = f"{endpoint.status.state} -> {status.state} {status.reason}"
    world.events.record(key_of(endpoint), world.clock.now(), "StateChanged", text.strip())
