"""Secondary addresses of NAT gateways: Elastic IPs on private addresses of a public gateway, private addresses of a private one.

New flows are spread over all addresses. One that goes with `MaxDrainDurationSeconds` gets no new flows and is given up after that time; without it
goes at once, and its flows end (AWS waits up to 350 seconds while there are any).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.interfaces.addresses import claim_address, pick_address, release_address
from gureum.aws.ec2.interfaces.interfaces import change as change_interface
from gureum.aws.ec2.networks.addresses import disassociate
from gureum.aws.ec2.networks.kinds import Address, Draining, NatGateway, NetworkInterface, PrivateAddress, Subnet
from gureum.aws.ec2.networks.nat_gateways import check_elastic, find_gateway, give_elastic, interface_of, show_address
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.engine.client import Transaction
from gureum.engine.resource import key_of


@operation("AssociateNatGatewayAddress")
async def associate_nat_gateway_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssociateNatGatewayAddress: Elastic IPs for a public gateway, each on a private address of its own."""
    gateway, interface = _living(call, "public")
    for name in ("AvailabilityZone", "AvailabilityZoneId"):
        if call.params.get(name):
            text = f"{name} is applicable only to regional NAT gateways; {gateway.meta.name} is a zonal one."
            raise AwsError("InvalidParameterCombination", text)
    wanted = call.params.get("AllocationIds") or ()
    found = ids.find_all(call, Address, ids.ADDRESS, wanted)
    named = call.params.get("PrivateIpAddresses") or [None] * len(found)
    if not found or len(named) != len(found):
        raise ids.invalid("As many private IP addresses as allocation IDs must be specified.")
    check_elastic(call, len(interface.spec.addresses) + len(found))
    transaction = call.transaction()
    interface, given = _add(call, transaction, interface, named)
    interface = give_elastic(transaction, interface, zip(found, given, strict=True))
    await call.commit(transaction)
    return _answer(gateway, [one for one in interface.spec.addresses if one.address in given], "associating")


@operation("DisassociateNatGatewayAddress")
async def disassociate_nat_gateway_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 DisassociateNatGatewayAddress: never the primary one."""
    gateway, interface = _living(call, "public")
    wanted = set(call.params.get("AssociationIds") or ())
    gone = [one for one in interface.spec.addresses if one.association in wanted]
    if not gone or {one.association for one in gone} != wanted:
        missing = sorted(wanted - {one.association for one in gone})
        raise ids.not_found(ids.ADDRESS_ASSOCIATION, *missing) if missing else ids.missing("associationId")
    _check_not_primary(interface, gone)
    if await _drained(call, gateway, gone):
        return _answer(gateway, gone, "disassociating")
    transaction = call.transaction()
    for one in gone:
        address = call.get(Address, one.allocation)
        if address is not None:
            disassociate(call, transaction, address)
    _take(transaction, gateway, interface, gone)
    await call.commit(transaction)
    return _answer(gateway, gone, "disassociating")


@operation("AssignPrivateNatGatewayAddress")
async def assign_private_nat_gateway_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssignPrivateNatGatewayAddress."""
    gateway, interface = _living(call, "private")
    named, count = call.params.get("PrivateIpAddresses") or [], call.params.get("PrivateIpAddressCount")
    if bool(named) == (count is not None):
        text = "Either privateIpAddresses or privateIpAddressCount must be specified, and not both."
        raise AwsError("InvalidParameterCombination" if named else "MissingParameter", text)
    if count is not None and count < 1:
        raise ids.invalid(f"Value ({count}) for parameter privateIpAddressCount is invalid.")
    transaction = call.transaction()
    interface, given = _add(call, transaction, interface, named or [None] * min(count or 0, 100))
    await call.commit(transaction)
    return _answer(gateway, [one for one in interface.spec.addresses if one.address in given], "assigning")


@operation("UnassignPrivateNatGatewayAddress")
async def unassign_private_nat_gateway_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 UnassignPrivateNatGatewayAddress: never the primary one."""
    gateway, interface = _living(call, "private")
    wanted = set(call.params.get("PrivateIpAddresses") or ())
    gone = [one for one in interface.spec.addresses if one.address in wanted]
    if not gone or len(gone) != len(wanted):
        raise ids.invalid(f"Some of {sorted(wanted)} are not assigned to NAT gateway {gateway.meta.name}")
    _check_not_primary(interface, gone)
    if await _drained(call, gateway, gone):
        return _answer(gateway, gone, "unassigning")
    transaction = call.transaction()
    _take(transaction, gateway, interface, gone)
    await call.commit(transaction)
    return _answer(gateway, gone, "unassigning")


def _living(call: Call, connectivity: str) -> tuple[NatGateway, NetworkInterface]:
    gateway = find_gateway(call)
    interface = interface_of(call, gateway)
    if interface is None or gateway.status.state not in ("pending", "available"):
        raise AwsError("IncorrectState", f"The NAT gateway {gateway.meta.name} is in state {gateway.status.state}")
    if gateway.spec.connectivity != connectivity:
        text = f"{call.operation} is not supported for a NAT gateway with connectivity type {gateway.spec.connectivity}"
        raise AwsError("UnsupportedOperation", text)
    return gateway, interface


def _add(
    call: Call, transaction: Transaction, interface: NetworkInterface, wanted: list[str | None]
) -> tuple[NetworkInterface, list[str]]:
    """Further private addresses, claimed; None: any free one."""
    if len(interface.spec.addresses) + len(wanted) > call.settings.quota_addresses_per_nat_gateway:
        text = "The maximum number of private IP addresses per NAT gateway has been reached."
        raise AwsError("PrivateIpAddressLimitExceeded", text)
    subnet = ids.find(call, Subnet, ids.SUBNET, interface.spec.subnet)
    given = []
    for one in wanted:
        address = pick_address(call, transaction, subnet, one)
        claim_address(transaction, subnet.meta.name, address, key_of(interface))
        given.append(address)
    addresses = (*interface.spec.addresses, *(PrivateAddress(one) for one in given))
    return transaction.update(change_interface(transaction.current(interface), addresses=addresses)), given


def _take(
    transaction: Transaction, gateway: NatGateway, interface: NetworkInterface, gone: list[PrivateAddress]
) -> None:
    names = {one.address for one in gone}
    draining = tuple(one for one in gateway.spec.draining if one.address not in names)
    if draining != gateway.spec.draining:
        spec = msgspec.structs.replace(gateway.spec, draining=draining)
        transaction.update(msgspec.structs.replace(gateway, spec=spec))
    for name in names:
        release_address(transaction, interface.spec.subnet, name)
    interface = transaction.current(interface)
    kept = tuple(one for one in interface.spec.addresses if one.address not in names)
    transaction.update(change_interface(interface, addresses=kept))


async def _drained(call: Call, gateway: NatGateway, gone: list[PrivateAddress]) -> bool:
    """Whether the call wants them to drain first; then that begins. Of one that drains already the earlier end counts."""
    seconds = call.params.get("MaxDrainDurationSeconds")
    if not seconds:
        return False
    ends = {one.address: one.until for one in gateway.spec.draining}
    for one in gone:
        ends[one.address] = min(ends.get(one.address, call.now + seconds), call.now + seconds)
    draining = tuple(Draining(address, ends[address]) for address in sorted(ends))
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(gateway, spec=msgspec.structs.replace(gateway.spec, draining=draining)))
    await call.commit(transaction)
    return True


def _check_not_primary(interface: NetworkInterface, gone: list[PrivateAddress]) -> None:
    if interface.spec.primary in gone:
        raise ids.invalid("The primary address of a NAT gateway cannot be removed.")


def _answer(gateway: NatGateway, addresses: list[PrivateAddress], status: str) -> dict[str, Any]:
    shown = [show_address(gateway, one, primary=False, status=status) for one in addresses]
    return {"NatGatewayId": gateway.meta.name, "NatGatewayAddresses": shown}
