"""NAT gateways: machines without a public address reach out, nobody reaches in.

    CreateNatGateway (commit: gateway pending, its interface) ─► Sandbox that translates, Interface ─► reconcile: available
    DeleteNatGateway (commit: deleting, interface gone, Elastic IPs free) ─► torn down              ─► reconcile: deleted

The gateway is an interface in a subnet, owned by AWS, with a sandbox behind it that sends everything back from its own address
(drivers/networks/translators.py); routes lead to that interface. A public gateway's private address has an Elastic IP, so the way on is that of any
interface: its subnet's route table and ACL. What AWS finds out only while it makes a gateway (no internet gateway, an address in use)
ends in the state "failed". Failed and deleted gateways stay visible for an hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.counting import count_at_commit
from gureum.aws.ec2.instances.lifecycle import VISIBLE_AFTER_TERMINATION_S
from gureum.aws.ec2.interfaces.addresses import pick_address, release_address
from gureum.aws.ec2.interfaces.interfaces import change as change_interface
from gureum.aws.ec2.interfaces.interfaces import delete_interface, new_interface
from gureum.aws.ec2.listing import answer, show_tags
from gureum.aws.ec2.networks.addresses import change as change_address
from gureum.aws.ec2.networks.kinds import (
    Address,
    Attachment,
    InternetGateway,
    NatGateway,
    NatGatewaySpec,
    NatGatewayStatus,
    NetworkInterface,
    PrivateAddress,
    Subnet,
)
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.core import specs
from gureum.core.world import World
from gureum.engine.client import Client, Transaction
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower, reconcile, watch
from gureum.engine.resource import key_of, make_key
from gureum.ports.networks import SandboxSpec, Translation

OWNER = "amazon-aws"
_ENDED = ("failed", "deleted")


@operation("CreateNatGateway")
async def create_nat_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateNatGateway, zonal: public with an Elastic IP, or private."""
    done = call.done_before()
    if done is not None:
        return _created(call, ids.find(call, NatGateway, ids.NAT_GATEWAY, done[0]))
    params = call.params
    if ids.choice(params, "AvailabilityMode", "zonal", "regional") == "regional":
        raise ids.not_built("CreateNatGateway with AvailabilityMode regional")
    for name in ("VpcId", "AvailabilityZoneAddresses"):
        if params.get(name):
            raise ids.not_built(f"CreateNatGateway with {name}")
    public = ids.choice(params, "ConnectivityType", "public", "private") == "public"
    subnet = ids.find(call, Subnet, ids.SUBNET, ids.need(call, "SubnetId"))
    allocations = _allocations(call, public=public)
    private, count = _privates(call)
    in_zone = [
        one for one in call.all(NatGateway) if one.status.state not in _ENDED and _zone(call, one) == subnet.spec.zone
    ]
    room = call.settings.quota_nat_gateways_per_zone - len(in_zone)
    if room <= 0:
        raise AwsError("NatGatewayLimitExceeded", "The maximum number of NAT gateways has been reached.")
    gateway = NatGateway(
        meta=call.meta(new_id("nat-"), tags=tags_of(call, "natgateway")),
        spec=NatGatewaySpec(subnet.spec.vpc, subnet.meta.name, "public" if public else "private"),
        status=NatGatewayStatus(changed=call.now),
    )
    transaction = call.transaction()
    try:
        gateway = _with_interface(call, transaction, gateway, subnet, allocations, private, count)
    except _Failure as failure:
        transaction = call.transaction()
        transaction.require(subnet)
        status = NatGatewayStatus("failed", failure.code, failure.message, call.now)
        gateway = msgspec.structs.replace(gateway, status=status)
    count_at_commit(call, transaction, NatGateway, room)
    gateway = transaction.create(gateway)
    call.remember(transaction, (gateway.meta.name,))
    await call.commit(transaction)
    return _created(call, gateway)


@operation("DeleteNatGateway")
async def delete_nat_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteNatGateway: its Elastic IPs stay allocated, routes to it become blackholes. Again it is success."""
    gateway = find_gateway(call)
    transaction = call.transaction()
    if gateway.spec.wish != "deleted" and gateway.status.state != "deleted":
        interface = interface_of(call, gateway)
        if interface is not None:
            delete_interface(call, transaction, interface)
        spec = msgspec.structs.replace(gateway.spec, wish="deleted", addresses=addresses_of(call, gateway), draining=())
        status = msgspec.structs.replace(gateway.status, state="deleting", changed=call.now)
        transaction.update(msgspec.structs.replace(gateway, spec=spec, status=status))
    await call.commit(transaction)
    return {"NatGatewayId": gateway.meta.name}


@operation("DescribeNatGateways")
def describe_nat_gateways(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeNatGateways."""
    wanted = call.params.get("NatGatewayIds")
    if wanted and call.params.get("MaxResults") is not None:
        text = "The parameter natGatewayIds cannot be used with the parameter maxResults"
        raise AwsError("InvalidParameterCombination", text)
    found = ids.find_all(call, NatGateway, ids.NAT_GATEWAY, wanted) if wanted else call.all(NatGateway)
    found = apply_filters(found, call.params.get("Filter"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name)
    return answer("NatGateways", [show_gateway(call, one) for one in shown], token)


# What the operations on its addresses use, too


def find_gateway(call: Call) -> NatGateway:
    return ids.find(call, NatGateway, ids.NAT_GATEWAY, ids.need(call, "NatGatewayId"))


def interface_of(call: Call, gateway: NatGateway) -> NetworkInterface | None:
    return call.get(NetworkInterface, gateway.spec.interface) if gateway.spec.interface else None


def addresses_of(call: Call, gateway: NatGateway) -> tuple[PrivateAddress, ...]:
    """Its interface's, or those it had."""
    interface = interface_of(call, gateway)
    return interface.spec.addresses if interface is not None else gateway.spec.addresses


def check_elastic(call: Call, number: int) -> None:
    """Whether a gateway may have so many Elastic IPs. AWS: AddressLimitExceeded."""
    if number > call.settings.quota_elastic_ips_per_nat_gateway:
        text = "The maximum number of Elastic IP addresses per NAT gateway has been reached."
        raise AwsError("AddressLimitExceeded", text)


def give_elastic(
    transaction: Transaction, interface: NetworkInterface, allocations: Iterable[tuple[Address, str]]
) -> NetworkInterface:
    """Puts each Elastic IP on that private address of the interface."""
    for address, private in allocations:
        address = transaction.current(address)
        if address.spec.association:
            text = f"Elastic IP address [{address.meta.name}] is already associated"
            raise AwsError("Resource.AlreadyAssociated", text)
        association = new_id("eipassoc-")
        given = PrivateAddress(private, address.spec.public, address.meta.name, association)
        addresses = tuple(given if one.address == private else one for one in interface.spec.addresses)
        interface = transaction.update(change_interface(interface, addresses=addresses))
        name = interface.meta.name
        transaction.update(change_address(address, association=association, interface=name, private=private))
    return interface


class _Failure(Exception):
    """What ends in the state "failed"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def _allocations(call: Call, *, public: bool) -> list[Address]:
    """The Elastic IPs a call names, the primary first."""
    params = call.params
    wanted = [one for one in (params.get("AllocationId"), *(params.get("SecondaryAllocationIds") or ())) if one]
    if not public:
        if wanted:
            text = "AllocationId cannot be specified for a NAT gateway with connectivity type private."
            raise AwsError("InvalidParameterCombination", text)
        return []
    ids.need(call, "AllocationId")
    found = [ids.find(call, Address, ids.ADDRESS, one) for one in wanted]
    if len({one.meta.name for one in found}) < len(found):
        raise ids.invalid("An allocation ID can be specified only once.")
    return found


def _privates(call: Call) -> tuple[list[str], int]:
    """The private addresses a call names, the primary first ("" for any), and how many more."""
    params = call.params
    secondary = list(params.get("SecondaryPrivateIpAddresses") or ())
    count = params.get("SecondaryPrivateIpAddressCount") or 0
    if secondary and count:
        text = "secondaryPrivateIpAddresses and secondaryPrivateIpAddressCount cannot be specified together."
        raise AwsError("InvalidParameterCombination", text)
    if count < 0:
        raise ids.invalid(f"Value ({count}) for parameter secondaryPrivateIpAddressCount is invalid.")
    return [params.get("PrivateIpAddress") or "", *secondary], count


def _with_interface(
    call: Call,
    transaction: Transaction,
    gateway: NatGateway,
    subnet: Subnet,
    allocations: list[Address],
    privates: list[str],
    count: int,
) -> NatGateway:
    """The gateway with its interface, in the same transaction."""
    # A public gateway has an Elastic IP on each of its addresses.
    if gateway.spec.connectivity == "public":
        if len(privates) - 1 + count > len(allocations) - 1:
            raise ids.invalid("Each secondary private address of a public NAT gateway needs a secondary allocation ID.")
        count = len(allocations) - len(privates)
        check_elastic(call, len(allocations))
        _check_public(call, transaction, subnet, allocations)
    if len(privates) + count > call.settings.quota_addresses_per_nat_gateway:
        text = "The maximum number of private IP addresses per NAT gateway has been reached."
        raise AwsError("PrivateIpAddressLimitExceeded", text)
    try:
        interface = new_interface(
            call,
            transaction,
            subnet,
            addresses=_named(call, transaction, subnet, privates),
            secondary_count=count,
            description=f"Interface for NAT Gateway {gateway.meta.name}",
            # It receives what is meant for others, and gives answers back in their name.
            source_dest_check=False,
            attachment=Attachment(new_id("ela-attach-"), "", 1, float(int(call.now)), owner=OWNER),
            requester=OWNER,
            open=True,
            type_="nat_gateway",
        )
    except AwsError as error:
        if error.code == "InsufficientFreeAddressesInSubnet":
            text = "Subnet has insufficient free addresses to create this NAT gateway"
            raise _Failure(error.code, text) from error
        raise
    places = [one.address for one in interface.spec.addresses]
    interface = give_elastic(transaction, interface, zip(allocations, places, strict=False))
    return msgspec.structs.replace(gateway, spec=msgspec.structs.replace(gateway.spec, interface=interface.meta.name))


def _named(call: Call, transaction: Transaction, subnet: Subnet, privates: list[str]) -> list[str]:
    """The addresses that are named; when those are secondary ones alone, a free one in front."""
    primary, secondary = privates[0], privates[1:]
    if not primary and secondary:
        primary = pick_address(call, transaction, subnet)
        while primary in secondary:
            primary = pick_address(call, transaction, subnet)
    return [primary, *secondary] if primary else []


def _check_public(call: Call, transaction: Transaction, subnet: Subnet, allocations: list[Address]) -> None:
    gateways = call.by(InternetGateway, "vpc", subnet.spec.vpc)
    if not gateways:
        raise _Failure("Gateway.NotAttached", f"Network {subnet.spec.vpc} has no Internet gateway attached")
    transaction.require(gateways[0])
    for address in allocations:
        if address.spec.association:
            text = f"Elastic IP address [{address.meta.name}] is already associated"
            raise _Failure("Resource.AlreadyAssociated", text)


def _zone(call: Call, gateway: NatGateway) -> str:
    subnet = call.get(Subnet, gateway.spec.subnet)
    return subnet.spec.zone if subnet is not None else ""


# Lower, reconcile


@lower(NatGateway)
def lower_nat_gateway(gateway: NatGateway, read: Reader) -> Iterable[Desired]:
    """The sandbox behind its interface (which is the interface's own to lower)."""
    spec = gateway.spec
    interface = read.get(NetworkInterface, gateway.meta.scope, spec.interface) if spec.interface else None
    if interface is None:
        return
    draining = tuple(one.address for one in spec.draining)
    serving = tuple(one.address for one in interface.spec.addresses if one.address not in draining)
    translation = Translation(serving, draining=draining)
    sandbox = SandboxSpec(spec.interface, guest=False, translation=translation)
    yield Desired("Sandbox", spec.interface, key_of(gateway), specs.Sandbox(sandbox))


@watch(NetworkInterface)
def gateways_of_interface(client: Client, interface: NetworkInterface) -> list[str]:
    """A gateway looks again when its interface is there."""
    scope, name = interface.meta.scope, interface.meta.name
    return [key_of(one) for one in client.by(NatGateway, scope, "interface", name)]


@reconcile(NatGateway)
async def reconcile_nat_gateway(world: World, gateway: NatGateway) -> None:
    """Moves the state along with what the machine has."""
    state, spec = gateway.status.state, gateway.spec
    if state in _ENDED:
        await _reap(world, gateway)
        return
    if not world.link.synced:
        return
    interface = key_of_interface(gateway)
    wanted = [*world.lowering.of(key_of(gateway)), *world.lowering.of(interface)]
    there = [one for one in wanted if one.kind in ("Sandbox", "Interface")]
    if state == "pending" and len(there) == 2 and all(world.is_current(one) for one in there):
        await _move(world, gateway, "available")
    elif state == "available" and spec.draining:
        await _end_draining(world, gateway)
    elif state == "deleting" and not any(world.seen(f"{kind}/{spec.interface}") for kind in ("Interface", "Sandbox")):
        await _move(world, gateway, "deleted")


async def _end_draining(world: World, gateway: NatGateway) -> None:
    """Addresses whose time is over go; their Elastic IPs are free."""
    now, scope, client = world.clock.now(), gateway.meta.scope, world.client
    due = {one.address for one in gateway.spec.draining if one.until <= now}
    left = tuple(one for one in gateway.spec.draining if one.address not in due)
    if left:
        world.poke(key_of(gateway), min(one.until for one in left) - now)
    interface = client.get(NetworkInterface, scope, gateway.spec.interface)
    if interface is None or not due:
        return
    transaction = client.transaction()
    for one in interface.spec.addresses:
        elastic = client.get(Address, scope, one.allocation) if one.address in due and one.allocation else None
        if elastic is not None:
            transaction.update(change_address(elastic, association="", interface="", private=""))
        if one.address in due:
            release_address(transaction, interface.spec.subnet, one.address)
    kept = tuple(one for one in interface.spec.addresses if one.address not in due)
    transaction.update(change_interface(interface, addresses=kept))
    spec = msgspec.structs.replace(gateway.spec, draining=left)
    transaction.update(msgspec.structs.replace(gateway, spec=spec))
    await transaction.commit()
    world.events.record(key_of(gateway), now, "Drained", ", ".join(sorted(due)))


def key_of_interface(gateway: NatGateway) -> str:
    return make_key("ec2.NetworkInterface", gateway.meta.scope, gateway.spec.interface)


async def _move(world: World, gateway: NatGateway, state: str) -> None:
    now = world.clock.now()
    transaction = world.client.transaction()
    status = msgspec.structs.replace(gateway.status, state=state, changed=now)
    transaction.update(msgspec.structs.replace(gateway, status=status))
    await transaction.commit()
    world.events.record(key_of(gateway), now, "StateChanged", f"{gateway.status.state} -> {state}")


async def _reap(world: World, gateway: NatGateway) -> None:
    left = gateway.status.changed + VISIBLE_AFTER_TERMINATION_S - world.clock.now()
    if left > 0:
        world.poke(key_of(gateway), left)
        return
    transaction = world.client.transaction()
    transaction.delete(gateway)
    await transaction.commit()


# Show


_FILTERS: FilterTable = {
    "nat-gateway-id": lambda one: one.meta.name,
    "state": lambda one: one.status.state,
    "subnet-id": lambda one: one.spec.subnet,
    "vpc-id": lambda one: one.spec.vpc,
}


def _created(call: Call, gateway: NatGateway) -> dict[str, Any]:
    return {"NatGateway": show_gateway(call, gateway)} | call.told_token()


def show_gateway(call: Call, gateway: NatGateway) -> dict[str, Any]:
    """API form. AWS: ec2 NatGateway."""
    spec, status = gateway.spec, gateway.status
    shown: dict[str, Any] = {
        "NatGatewayId": gateway.meta.name,
        "VpcId": spec.vpc,
        "SubnetId": spec.subnet,
        "ConnectivityType": spec.connectivity,
        "AvailabilityMode": "zonal",
        "State": status.state,
        "CreateTime": gateway.meta.created,
        "NatGatewayAddresses": show_addresses(call, gateway),
        "Tags": show_tags(gateway.meta.tags),
    }
    if status.failure_code:
        shown |= {"FailureCode": status.failure_code, "FailureMessage": status.failure}
    if status.state == "deleted" or (status.state == "failed" and spec.wish == "deleted"):
        shown["DeleteTime"] = status.changed
    return shown


def show_addresses(call: Call, gateway: NatGateway, status: str = "succeeded") -> list[dict[str, Any]]:
    """API form. AWS: ec2 NatGatewayAddress."""
    leaving = "disassociating" if gateway.spec.connectivity == "public" else "unassigning"
    draining = {one.address for one in gateway.spec.draining}
    return [
        show_address(gateway, one, primary=not place, status=leaving if one.address in draining else status)
        for place, one in enumerate(addresses_of(call, gateway))
    ]


def show_address(gateway: NatGateway, one: PrivateAddress, *, primary: bool, status: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "NetworkInterfaceId": gateway.spec.interface,
        "PrivateIp": one.address,
        "IsPrimary": primary,
        "Status": status,
    }
    if one.allocation:
        shown |= {"AllocationId": one.allocation, "AssociationId": one.association, "PublicIp": one.public}
    return shown
