"""NAT gateways: machines of a private subnet reach what is outside with an address that is not theirs.

    NatGateway ─► Sandbox that translates        pending ──sandbox and interface are there──► available ──deleted──► deleting ─► deleted
        └──────► ec2.NetworkInterface (the gateway's own, managed)   └──► failed (no internet gateway, an address in use)

Its interface is in the subnet that the gateway was made in, so ACLs and flow logs see both sides; it has no security groups. Routes name the
gateway (route_tables.py). Deleted and failed gateways are shown for an hour. AWS: VPC User Guide, "NAT gateways".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids, limits
from gureum.aws.ec2.addresses import change as change_address
from gureum.aws.ec2.interfaces import address_space, delete_interface, new_interface, pick_address
from gureum.aws.ec2.interfaces import change as change_interface
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.network_kinds import (
    Address,
    Attachment,
    InternetGateway,
    NetworkInterface,
    PrivateAddress,
    Subnet,
)
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.core import specs
from gureum.core.world import World
from gureum.engine.client import Transaction
from gureum.engine.errors import Retry
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower, reconcile
from gureum.engine.resource import Resource, key_of, kind
from gureum.ports.networks import SandboxSpec

REQUESTER = "amazon-vpc-nat"
SHOWN_S = 3600.0
DRAIN_S = 350
MOST_SECONDARY = 7
"""AWS: a private NAT gateway has at most eight addresses; a public one two by default, eight at most. Eight of both are taken here."""
NOT_BUILT = ("AvailabilityMode", "VpcId", "AvailabilityZoneAddresses")
State = Literal["pending", "failed", "available", "deleting", "deleted"]


class NatAddress(msgspec.Struct, frozen=True):
    """`private`: of the gateway's interface; `allocation`, `public`, `association` "": without an Elastic IP. `ends`: Unix seconds at which an
    address that was taken away has drained, 0: it is there to stay."""

    private: str
    allocation: str = ""
    public: str = ""
    association: str = ""
    ends: float = 0.0


class NatGatewaySpec(msgspec.Struct, frozen=True):
    """`addresses`: the primary first; they stay here when the gateway is gone, to be shown. `ended`: Unix seconds of its deletion or failure."""

    vpc: str
    subnet: str
    zone: str
    connectivity: str
    interface: str = ""
    addresses: tuple[NatAddress, ...] = ()
    ended: float = 0.0


class NatGatewayStatus(msgspec.Struct, frozen=True):
    state: State = "pending"
    failure_code: str = ""
    failure: str = ""


@kind(
    "ec2.NatGateway",
    indexes={
        "vpc": lambda nat: nat.spec.vpc,
        "zone": lambda nat: () if nat.spec.ended else (nat.spec.zone,),
        "interface": lambda nat: (nat.spec.interface,) if nat.spec.interface else (),
    },
)
class NatGateway(Resource, frozen=True):
    """A way out for private subnets."""

    spec: NatGatewaySpec
    status: NatGatewayStatus = NatGatewayStatus()


@operation("CreateNatGateway")
async def create_nat_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateNatGateway, zonal. What is wrong with its surroundings (no internet gateway, an address in use) makes it fail afterwards,
    as on AWS; what is wrong with the call is refused."""
    before = call.done_before()
    if before is not None:
        return _created(call, _find(call, before[0]))
    subnet = _subnet(call)
    connectivity = ids.choice(call.params, "ConnectivityType", "public", "private")
    _check_parameters(call, connectivity)
    if len(call.by(NatGateway, "zone", subnet.spec.zone)) >= limits.NAT_GATEWAYS_PER_ZONE:
        text = f"Performing this operation would exceed the limit of {limits.NAT_GATEWAYS_PER_ZONE} NAT gateways"
        raise AwsError("NatGatewayLimitExceeded", text)
    transaction = call.transaction()
    spec = NatGatewaySpec(subnet.spec.vpc, subnet.meta.name, subnet.spec.zone, connectivity)
    nat = NatGateway(meta=call.meta(new_id("nat-"), tags=tags_of(call, "natgateway")), spec=spec)
    failed = _failure(call, subnet, connectivity)
    if failed is None:
        nat = _with_interface(call, transaction, nat, subnet)
    else:
        nat = msgspec.structs.replace(change(nat, ended=call.now), status=failed)
    transaction.require(subnet)
    transaction.create(nat)
    call.remember(transaction, (nat.meta.name,))
    await call.commit(transaction)
    return _created(call, nat)


@operation("DeleteNatGateway")
async def delete_nat_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteNatGateway: its Elastic IPs are kept, routes to it become blackholes. Again, it is success."""
    nat = _find(call, ids.need(call, "NatGatewayId"))
    if nat.status.state in ("deleting", "deleted"):
        call.end_dry_run()
        return {"NatGatewayId": nat.meta.name}
    transaction = call.transaction()
    interface = call.get(NetworkInterface, nat.spec.interface) if nat.spec.interface else None
    if interface is not None:
        delete_interface(call, transaction, interface)
    state: State = "deleting" if interface is not None else "deleted"
    ended = change(nat, interface="", ended=call.now)
    transaction.update(msgspec.structs.replace(ended, status=msgspec.structs.replace(nat.status, state=state)))
    await call.commit(transaction)
    return {"NatGatewayId": nat.meta.name}


@operation("DescribeNatGateways")
def describe_nat_gateways(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeNatGateways; its filters are in the parameter `Filter`."""
    call.params["Filters"] = call.params.get("Filter")
    found, token = listing(call, NatGateway, ids.NAT_GATEWAY, "NatGatewayIds", _FILTERS)
    return answer("NatGateways", [show_nat_gateway(nat) for nat in found], token)


@operation("AssociateNatGatewayAddress")
async def associate_nat_gateway_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssociateNatGatewayAddress: Elastic IPs for a public gateway, each with a further private address."""
    nat, interface = _living(call)
    if nat.spec.connectivity != "public":
        raise AwsError("InvalidParameter", "Elastic IP addresses can be associated with public NAT gateways only.")
    allocations = [ids.check_id(ids.ADDRESS, one) for one in call.params.get("AllocationIds") or ()]
    wanted: list[str] = call.params.get("PrivateIpAddresses") or []
    if not allocations:
        raise ids.missing("AllocationIds")
    if wanted and len(wanted) != len(allocations):
        text = "The number of private IP addresses must be that of the allocation IDs."
        raise AwsError("InvalidParameterCombination", text)
    transaction, subnet = call.transaction(), _its_subnet(call, nat)
    added = []
    for place, allocation in enumerate(allocations):
        private = _add_private(call, transaction, subnet, interface, wanted[place] if wanted else None)
        added.append(_put_elastic(call, transaction, interface, private, allocation))
    return await _add(call, transaction, nat, added)


@operation("AssignPrivateNatGatewayAddress")
async def assign_private_nat_gateway_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssignPrivateNatGatewayAddress, for a private gateway."""
    nat, interface = _living(call)
    if nat.spec.connectivity != "private":
        raise AwsError("InvalidParameter", "Private IP addresses can be assigned to private NAT gateways only.")
    wanted: list[str] = call.params.get("PrivateIpAddresses") or []
    count = call.params.get("PrivateIpAddressCount")
    if bool(wanted) == (count is not None):
        text = "Either PrivateIpAddresses or PrivateIpAddressCount must be given, and not both."
        raise AwsError("InvalidParameterCombination", text)
    transaction, subnet = call.transaction(), _its_subnet(call, nat)
    every: list[str | None] = [*wanted] or [None] * int(count or 0)
    added = [NatAddress(_add_private(call, transaction, subnet, interface, one)) for one in every]
    return await _add(call, transaction, nat, added)


@operation("DisassociateNatGatewayAddress")
async def disassociate_nat_gateway_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 DisassociateNatGatewayAddress: no new connections by these secondary addresses; those that are there end with the drain time."""
    wanted = [ids.check_id(ids.ADDRESS_ASSOCIATION, one) for one in call.params.get("AssociationIds") or ()]
    if not wanted:
        raise ids.missing("AssociationIds")
    return await _drain(call, wanted, lambda one: one.association, ids.ADDRESS_ASSOCIATION)


@operation("UnassignPrivateNatGatewayAddress")
async def unassign_private_nat_gateway_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 UnassignPrivateNatGatewayAddress."""
    wanted: list[str] = call.params.get("PrivateIpAddresses") or []
    if not wanted:
        raise ids.missing("PrivateIpAddresses")
    return await _drain(call, wanted, lambda one: one.private, None)


@lower(NatGateway)
def lower_nat_gateway(nat: NatGateway, read: Reader) -> Iterable[Desired]:
    """The sandbox of its interface, which is lowered by itself."""
    if nat.spec.interface and read.get(NetworkInterface, nat.meta.scope, nat.spec.interface) is not None:
        usable = tuple(one.private for one in nat.spec.addresses if not one.ends)
        sandbox = SandboxSpec(nat.spec.interface, guest=False, translates=usable)
        yield Desired("Sandbox", nat.spec.interface, key_of(nat), specs.Sandbox(sandbox))


@reconcile(NatGateway)
async def reconcile_nat_gateway(world: World, nat: NatGateway) -> None:
    """Its state follows the machine's; what has drained is taken away, what was shown long enough is forgotten."""
    if nat.spec.ended:
        await _end(world, nat)
        return
    if not world.link.synced:
        return
    await _take_drained(world, nat)
    seen = [world.seen(f"{kind}/{nat.spec.interface}") for kind in ("Sandbox", "Interface")]
    failed = next((one for one in seen if one is not None and one.phase == "failed"), None)
    if failed is not None and nat.status.state == "pending":
        # AWS: InternalError, "contact AWS Support". The machine's own reason helps more.
        status = NatGatewayStatus("failed", "InternalError", failed.reason)
        await _write(world, msgspec.structs.replace(change(nat, ended=world.clock.now()), status=status))
    elif all(one is not None and one.phase == "ready" for one in seen):
        await _move(world, nat, "available")
    elif nat.status.state == "pending":
        raise Retry("waits for its interface")


async def _end(world: World, nat: NatGateway) -> None:
    if nat.status.state == "deleting":
        if world.link.synced and not any(one.id.startswith("Sandbox/") for one in world.lowering.of(key_of(nat))):
            await _move(world, nat, "deleted")
        return
    left = nat.spec.ended + SHOWN_S - world.clock.now()
    if left > 0:
        world.poke(key_of(nat), left)
        return
    transaction = world.client.transaction()
    transaction.delete(nat)
    await transaction.commit()


async def _take_drained(world: World, nat: NatGateway) -> None:
    now = world.clock.now()
    waiting = [one for one in nat.spec.addresses if one.ends > now]
    if waiting:
        world.poke(key_of(nat), min(one.ends for one in waiting) - now)
    gone = [one for one in nat.spec.addresses if 0 < one.ends <= now]
    interface = world.client.get(NetworkInterface, nat.meta.scope, nat.spec.interface)
    if not gone or interface is None:
        return
    transaction = world.client.transaction()
    privates = {one.private for one in gone}
    for one in gone:
        transaction.release(address_space(nat.spec.subnet), one.private)
        address = world.client.get(Address, nat.meta.scope, one.allocation) if one.allocation else None
        if address is not None:
            transaction.update(change_address(address, association="", interface="", private=""))
    kept = tuple(one for one in interface.spec.addresses if one.address not in privates)
    transaction.update(change_interface(interface, addresses=kept))
    transaction.update(change(nat, addresses=tuple(one for one in nat.spec.addresses if one not in gone)))
    await transaction.commit()


async def _move(world: World, nat: NatGateway, state: State) -> None:
    if nat.status.state != state:
        await _write(world, msgspec.structs.replace(nat, status=NatGatewayStatus(state)))
        text = f"{nat.status.state} -> {state}"
        world.events.record(key_of(nat), world.clock.now(), "StateChanged", text)


async def _write(world: World, nat: NatGateway) -> None:
    transaction = world.client.transaction()
    transaction.update(nat)
    await transaction.commit()


def change(nat: NatGateway, **fields: Any) -> NatGateway:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(nat, spec=msgspec.structs.replace(nat.spec, **fields))


def carries(nat: NatGateway | None, interface: NetworkInterface | None) -> bool:
    """Whether a route to the gateway carries packets."""
    return nat is not None and nat.status.state in ("pending", "available") and interface is not None


def _subnet(call: Call) -> Subnet:
    for name in NOT_BUILT:
        if call.params.get(name) and call.params[name] != "zonal":
            raise ids.not_built(f"CreateNatGateway with {name}")
    return ids.find(call, Subnet, ids.SUBNET, ids.need(call, "SubnetId"))


def _check_parameters(call: Call, connectivity: str) -> None:
    params = call.params
    allocation, secondary = params.get("AllocationId"), params.get("SecondaryAllocationIds") or []
    if connectivity == "public" and not allocation:
        text = "The request must include the AllocationId parameter. Add the required parameter and retry the request."
        raise AwsError("MissingParameter", text)
    if connectivity == "private" and (allocation or secondary):
        text = "The AllocationId parameter cannot be used with a private NAT gateway."
        raise AwsError("InvalidParameter", text)
    if allocation:
        for one in (allocation, *secondary):
            ids.find(call, Address, ids.ADDRESS, one)
    count, privates = params.get("SecondaryPrivateIpAddressCount"), params.get("SecondaryPrivateIpAddresses") or []
    if count is not None and (privates or connectivity == "public"):
        text = "SecondaryPrivateIpAddressCount is for private NAT gateways, and not together with addresses."
        raise AwsError("InvalidParameterCombination", text)
    if connectivity == "public" and privates and len(privates) != len(secondary):
        text = "The number of secondary private IP addresses must be that of the secondary allocation IDs."
        raise AwsError("InvalidParameterCombination", text)
    if max(int(count or 0), len(privates), len(secondary)) > MOST_SECONDARY:
        text = f"A NAT gateway has at most {MOST_SECONDARY} secondary addresses."
        raise AwsError("PrivateIpAddressLimitExceeded", text)


def _failure(call: Call, subnet: Subnet, connectivity: str) -> NatGatewayStatus | None:
    """AWS: VPC User Guide, "Troubleshoot NAT gateways", the codes of a gateway that fails."""
    if connectivity == "private":
        return None
    vpc = subnet.spec.vpc
    if not call.by(InternetGateway, "vpc", vpc):
        text = f"Network {vpc} has no Internet gateway attached"
        return NatGatewayStatus("failed", "Gateway.NotAttached", text)
    for id_ in (call.params["AllocationId"], *(call.params.get("SecondaryAllocationIds") or ())):
        address = call.get(Address, id_)
        if address is not None and address.spec.association:
            text = f"Elastic IP address [{id_}] is already associated"
            return NatGatewayStatus("failed", "Resource.AlreadyAssociated", text)
    return None


def _with_interface(call: Call, transaction: Transaction, nat: NatGateway, subnet: Subnet) -> NatGateway:
    params = call.params
    first = params.get("PrivateIpAddress")
    elastic = [one for one in (params.get("AllocationId"), *(params.get("SecondaryAllocationIds") or ())) if one]
    interface = new_interface(
        call,
        transaction,
        subnet,
        addresses=(first,) if first else (),
        description=f"Interface for NAT Gateway {nat.meta.name}",
        source_dest_check=False,
        attachment=Attachment(new_id("ela-attach-"), "", 1, float(int(call.now)), owner=REQUESTER),
        requester=REQUESTER,
        open=True,
        type_="nat_gateway",
    )
    count = max(int(params.get("SecondaryPrivateIpAddressCount") or 0), len(elastic) - 1)
    further: list[str | None] = [*(params.get("SecondaryPrivateIpAddresses") or ())] or [None] * count
    privates = [interface.spec.primary.address]
    privates += [_add_private(call, transaction, subnet, interface, one) for one in further]
    addresses = [NatAddress(one) for one in privates]
    for place, allocation in enumerate(elastic):
        addresses[place] = _put_elastic(call, transaction, interface, privates[place], allocation)
    for gateway in call.by(InternetGateway, "vpc", nat.spec.vpc) if elastic else ():
        transaction.require(gateway)
    return change(nat, interface=interface.meta.name, addresses=tuple(addresses))


def _add_private(
    call: Call, transaction: Transaction, subnet: Subnet, interface: NetworkInterface, wanted: str | None
) -> str:
    """A further private address of the gateway's interface."""
    interface = transaction.current(interface)
    address = pick_address(call, transaction, subnet, wanted)
    transaction.claim(address_space(subnet.meta.name), address, key_of(interface))
    transaction.update(change_interface(interface, addresses=(*interface.spec.addresses, PrivateAddress(address))))
    return address


def _put_elastic(
    call: Call, transaction: Transaction, interface: NetworkInterface, private: str, allocation: str
) -> NatAddress:
    """An Elastic IP on one of the gateway's private addresses. AWS: InvalidAllocationID.NotFound, Resource.AlreadyAssociated."""
    address = transaction.current(ids.find(call, Address, ids.ADDRESS, allocation))
    if address.spec.association:
        text = f"resource {allocation} is already associated with associate-id {address.spec.association}"
        raise AwsError("Resource.AlreadyAssociated", text)
    interface = transaction.current(interface)
    association, public = new_id("eipassoc-"), address.spec.public
    given = PrivateAddress(private, public, allocation, association)
    addresses = tuple(given if one.address == private else one for one in interface.spec.addresses)
    transaction.update(change_interface(interface, addresses=addresses))
    transaction.update(change_address(address, association=association, interface=interface.meta.name, private=private))
    return NatAddress(private, allocation, public, association)


def _living(call: Call) -> tuple[NatGateway, NetworkInterface]:
    nat = _find(call, ids.need(call, "NatGatewayId"))
    interface = call.get(NetworkInterface, nat.spec.interface) if nat.spec.interface else None
    if nat.status.state != "available" or interface is None:
        text = f"The NAT gateway {nat.meta.name} is in the state {nat.status.state}."
        raise AwsError("InvalidState", text)
    return nat, interface


def _its_subnet(call: Call, nat: NatGateway) -> Subnet:
    return ids.find(call, Subnet, ids.SUBNET, nat.spec.subnet)


async def _add(call: Call, transaction: Transaction, nat: NatGateway, added: list[NatAddress]) -> dict[str, Any]:
    addresses = (*nat.spec.addresses, *added)
    if len(addresses) > MOST_SECONDARY + 1:
        text = f"A NAT gateway has at most {MOST_SECONDARY} secondary addresses."
        raise AwsError("PrivateIpAddressLimitExceeded", text)
    changed = change(nat, addresses=addresses)
    transaction.update(changed)
    await call.commit(transaction)
    return {"NatGatewayId": nat.meta.name, "NatGatewayAddresses": [_show_address(changed, one) for one in added]}


async def _drain(
    call: Call, wanted: list[str], name_of: Callable[[NatAddress], str], form: ids.IdForm | None
) -> dict[str, Any]:
    nat, _ = _living(call)
    drain_s = call.params.get("MaxDrainDurationSeconds")
    ends = call.now + (DRAIN_S if drain_s is None else int(drain_s))
    named = {name_of(one): one for one in nat.spec.addresses[1:]}
    if nat.spec.addresses[0] and name_of(nat.spec.addresses[0]) in wanted:
        raise AwsError("InvalidParameter", "The primary address of a NAT gateway cannot be taken away.")
    if missing := [one for one in wanted if one not in named]:
        if form is not None:
            raise ids.not_found(form, *missing)
        raise ids.invalid(f"{missing[0]} is not a secondary address of {nat.meta.name}")
    leaving = [named[one] for one in wanted]
    changed = [msgspec.structs.replace(one, ends=one.ends or ends) for one in leaving]
    addresses = [changed[leaving.index(one)] if one in leaving else one for one in nat.spec.addresses]
    transaction = call.transaction()
    after = change(nat, addresses=tuple(addresses))
    transaction.update(after)
    await call.commit(transaction)
    return {"NatGatewayId": nat.meta.name, "NatGatewayAddresses": [_show_address(after, one) for one in changed]}


def _find(call: Call, id_: str) -> NatGateway:
    return ids.find(call, NatGateway, ids.NAT_GATEWAY, id_)


_FILTERS: FilterTable = {
    "connectivity-type": lambda nat: nat.spec.connectivity,
    "nat-gateway-id": lambda nat: nat.meta.name,
    "state": lambda nat: nat.status.state,
    "subnet-id": lambda nat: nat.spec.subnet,
    "vpc-id": lambda nat: nat.spec.vpc,
}


def _created(call: Call, nat: NatGateway) -> dict[str, Any]:
    token = call.params.get("ClientToken")
    return {"NatGateway": show_nat_gateway(nat)} | ({"ClientToken": token} if token else {})


def show_nat_gateway(nat: NatGateway) -> dict[str, Any]:
    """API form. AWS: ec2 NatGateway."""
    spec, status = nat.spec, nat.status
    shown: dict[str, Any] = {
        "NatGatewayId": nat.meta.name,
        "VpcId": spec.vpc,
        "SubnetId": spec.subnet,
        "ConnectivityType": spec.connectivity,
        "AvailabilityMode": "zonal",
        "State": status.state,
        "CreateTime": nat.meta.created,
        "NatGatewayAddresses": [_show_address(nat, one) for one in spec.addresses],
        "Tags": show_tags(nat.meta.tags),
    }
    if spec.ended:
        shown["DeleteTime"] = spec.ended
    if status.failure_code:
        shown |= {"FailureCode": status.failure_code, "FailureMessage": status.failure}
    return shown


def _show_address(nat: NatGateway, address: NatAddress) -> dict[str, Any]:
    """API form. AWS: ec2 NatGatewayAddress."""
    verb = "disassociating" if nat.spec.connectivity == "public" else "unassigning"
    shown: dict[str, Any] = {
        "PrivateIp": address.private,
        "NetworkInterfaceId": nat.spec.interface,
        "IsPrimary": address.private == nat.spec.addresses[0].private,
        "Status": verb if address.ends else "succeeded",
    }
    if address.allocation:
        shown |= {
            "AllocationId": address.allocation,
            "PublicIp": address.public,
            "AssociationId": address.association,
        }
    return shown
