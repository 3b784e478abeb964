"""VPC endpoints of the kind "Interface": one service of the API at addresses of the VPC.

    VpcEndpoint ─► per zone: ENI, owned by AWS (its Interface is the ENI's own) ─► Sandbox, Gate: ports 80 and 443
            └────► Names: its own, which lead there from everywhere, and with PrivateDnsEnabled the service's, in this VPC

Who reaches an ENI its security groups say. Behind it a machine is what it is at every gate: a guest with keys that STS handed out (guest_api.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.endpoint_kinds import EndpointNode, VpcEndpoint, VpcEndpointStatus
from gureum.aws.ec2.endpoint_services import InterfaceService, interface_service, private_names
from gureum.aws.ec2.interfaces import change as change_interface
from gureum.aws.ec2.interfaces import check_groups, default_group, delete_interface, new_interface
from gureum.aws.ec2.network_kinds import Attachment, NetworkInterface, Subnet, Vpc
from gureum.aws.errors import AwsError
from gureum.base.ids import new_id
from gureum.core import specs
from gureum.core.world import World
from gureum.engine.client import Transaction
from gureum.engine.errors import Retry
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower, reconcile
from gureum.engine.resource import key_of
from gureum.ports.names import Record
from gureum.ports.networks import SandboxSpec

OWNER = "amazon-aws"
ZONE_ID = "Z7HUB22UULQXV"
"""Of vpce.amazonaws.com in us-east-1; nobody can look into the zone."""


# What the operations use (vpc_endpoints.py)


def new_interface_endpoint(call: Call, transaction: Transaction, vpc: Vpc, endpoint: VpcEndpoint) -> VpcEndpoint:
    """`endpoint` with what the call asks for, and its interfaces in the same transaction. AWS: InvalidServiceName, InvalidParameter,
    VpcEndpointLimitExceeded, DuplicateSubnetsInSameZone, and what is wrong with subnets and groups."""
    params = call.params
    service = interface_service(call.region, endpoint.spec.service)
    if service is None:
        raise AwsError("InvalidServiceName", f"The Vpc Endpoint Service '{endpoint.spec.service}' does not exist")
    if not call.settings.guest_api:
        raise ids.not_built("An interface endpoint while the setting guest_api is off")
    there = [one for one in call.by(VpcEndpoint, "vpc", vpc.meta.name) if one.spec.type == "Interface"]
    if len(there) >= call.settings.quota_interface_endpoints_per_vpc:
        raise AwsError("VpcEndpointLimitExceeded", "The maximum number of VPC endpoints has been reached.")
    wanted = params.get("PrivateDnsEnabled")
    private = bool(wanted if wanted is not None else True)
    if private:
        _check_private_dns(call, vpc, endpoint, service)
    groups = tuple(dict.fromkeys(params.get("SecurityGroupIds") or ())) or (
        default_group(call, vpc.meta.name).meta.name,
    )
    spec = msgspec.structs.replace(endpoint.spec, type="Interface", groups=groups, private_dns=private)
    endpoint = msgspec.structs.replace(endpoint, spec=spec)
    nodes = _add_nodes(call, transaction, endpoint, params.get("SubnetIds") or ())
    status = VpcEndpointStatus("pending" if nodes else "available")
    return msgspec.structs.replace(endpoint, spec=msgspec.structs.replace(spec, nodes=nodes), status=status)


def with_changed_nodes(call: Call, transaction: Transaction, endpoint: VpcEndpoint) -> VpcEndpoint:
    """`endpoint` as ModifyVpcEndpoint wishes it. AWS: as `new_interface_endpoint`."""
    params, spec = call.params, endpoint.spec
    removed = set(params.get("RemoveSubnetIds") or ())
    if missing := sorted(removed - {node.subnet for node in spec.nodes}):
        raise ids.not_found(ids.SUBNET, *missing)
    remove_nodes(call, transaction, (node for node in spec.nodes if node.subnet in removed))
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
        assert service is not None, "it was there when the endpoint was made"
        _check_private_dns(call, ids.find(call, Vpc, ids.VPC, spec.vpc), endpoint, service)
    spec = msgspec.structs.replace(spec, groups=groups, nodes=kept, private_dns=private)
    endpoint = msgspec.structs.replace(endpoint, spec=spec)
    _regroup(call, transaction, endpoint)
    added = _add_nodes(call, transaction, endpoint, params.get("AddSubnetIds") or ())
    return msgspec.structs.replace(endpoint, spec=msgspec.structs.replace(spec, nodes=(*kept, *added)))


def remove_nodes(call: Call, transaction: Transaction, nodes: Iterable[EndpointNode]) -> None:
    """Their interfaces are gone, and their addresses free."""
    for node in nodes:
        interface = call.get(NetworkInterface, node.interface)
        if interface is not None:
            delete_interface(call, transaction, interface)


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


def _check_private_dns(call: Call, vpc: Vpc, endpoint: VpcEndpoint, service: InterfaceService) -> None:
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
    made = []
    for subnet in ids.find_all(call, Subnet, ids.SUBNET, list(dict.fromkeys((*subnets, *addresses)))):
        name = subnet.meta.name
        if subnet.spec.vpc != endpoint.spec.vpc:
            raise AwsError("InvalidParameter", f"Subnet {name} does not belong to the VPC {endpoint.spec.vpc}")
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
    certified = tuple(dict.fromkeys((*(name for name, _ in own_names(endpoint)), *_private_names(endpoint))))
    for node, address in addresses.items():
        name = node.interface
        yield Desired("Sandbox", name, owner, specs.Sandbox(SandboxSpec(name, guest=False)))
        yield Desired(
            "Gate", name, owner, specs.Gate(name, name, spec.vpc, address, _service(endpoint).signing, certified)
        )
    if addresses:
        yield Desired("Names", endpoint.meta.name, owner, specs.Names(tuple(_records(endpoint, addresses))))


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
    if endpoint.spec.type != "Interface" or not world.link.synced:
        return
    wanted = [one for one in world.lowering.of(key_of(endpoint)) if one.kind == "Gate"]
    statuses = [world.seen(one.id) for one in wanted]
    failed = [status.reason for status in statuses if status is not None and status.phase == "failed"]
    if failed:
        await _move(world, endpoint, VpcEndpointStatus("failed", failed[0]))
    elif all(status is not None and status.phase == "ready" for status in statuses):
        await _move(world, endpoint, VpcEndpointStatus("available"))
    elif endpoint.status.state == "pending":
        raise Retry("waits for its interfaces")


async def _move(world: World, endpoint: VpcEndpoint, status: VpcEndpointStatus) -> None:
    if endpoint.status == status:
        return
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(endpoint, status=status))
    await transaction.commit()
    text = f"{endpoint.status.state} -> {status.state} {status.reason}"
    world.events.record(key_of(endpoint), world.clock.now(), "StateChanged", text.strip())
