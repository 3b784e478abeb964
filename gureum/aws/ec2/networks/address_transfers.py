"""Elastic IPs that change their account: one offers it, the other accepts within seven days.

Until then it is the first one's in all. Accepted, it is another allocation, with none of its tags; who gave it sees the transfer for three days.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import answer
from gureum.aws.ec2.networks.kinds import Address, AddressSpec, AddressTransfer, AddressTransferSpec
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.registry import reconcile
from gureum.engine.resource import key_of

OFFERED_S = 7 * 86400.0
VISIBLE_S = 3 * 86400.0
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)


@operation("EnableAddressTransfer")
async def enable_address_transfer(call: Call) -> dict[str, Any]:
    """AWS: ec2 EnableAddressTransfer. Offered again, the offer is another one."""
    address = ids.find(call, Address, ids.ADDRESS, ids.need(call, "AllocationId"))
    account = ids.need(call, "TransferAccountId")
    if _ACCOUNT.fullmatch(account) is None or account == call.account:
        raise ids.invalid(f"Value ({account}) for parameter transferAccountId is invalid.")
    old = call.get(AddressTransfer, address.meta.name)
    spec = AddressTransferSpec(address.spec.public, account, call.now)
    transaction = call.transaction()
    transaction.require(address)
    if old is None:
        transfer = transaction.create(AddressTransfer(meta=call.meta(address.meta.name), spec=spec))
    else:
        transfer = transaction.update(msgspec.structs.replace(old, spec=spec))
    await call.commit(transaction)
    return {"AddressTransfer": _show(transfer, "pending")}


@operation("DisableAddressTransfer")
async def disable_address_transfer(call: Call) -> dict[str, Any]:
    """AWS: ec2 DisableAddressTransfer."""
    id_ = ids.check_id(ids.ADDRESS, ids.need(call, "AllocationId"))
    transfer = call.get(AddressTransfer, id_)
    if transfer is None or not _is_open(transfer, call.now):
        raise ids.not_found(ids.ADDRESS, id_)
    transaction = call.transaction()
    transaction.delete(transfer)
    await call.commit(transaction)
    return {"AddressTransfer": _show(transfer, "disabled")}


@operation("AcceptAddressTransfer")
async def accept_address_transfer(call: Call) -> dict[str, Any]:
    """AWS: ec2 AcceptAddressTransfer: by the account it was offered to, while it is associated with nothing and has no reverse name."""
    public = ids.need(call, "Address")
    offers = (one for one in call.client.everywhere(AddressTransfer) if _is_open(one, call.now))
    fitting = (one for one in offers if one.spec.public == public and one.spec.account == call.account)
    transfer = next((one for one in fitting if one.meta.scope.rpartition("/")[2] == call.region), None)
    address = call.client.get(Address, transfer.meta.scope, transfer.meta.name) if transfer else None
    if transfer is None or address is None:
        raise AwsError("InvalidAddress.NotFound", f"Address '{public}' not found.")
    if address.spec.association:
        raise AwsError("InvalidTransfer.AddressAssociated", f"Address {public} is associated.")
    if address.spec.domain_name:
        raise AwsError("InvalidTransfer.AddressCustomPtrSet", f"Address {public} has a reverse name.")
    if len(call.all(Address)) >= call.settings.quota_elastic_ips:
        raise AwsError("AddressLimitExceeded", "The maximum number of addresses has been reached.")
    # The claim of the address in the pool stays as it is: it is in use before and after.
    tags = tags_of(call, "elastic-ip")
    mine = Address(meta=call.meta(new_id("eipalloc-"), tags=tags), spec=AddressSpec(public=public))
    accepted = msgspec.structs.replace(transfer, spec=msgspec.structs.replace(transfer.spec, accepted=call.now))
    transaction = call.transaction()
    transaction.require_no_newer(Address, call.scope)
    transaction.delete(address)
    transaction.create(mine)
    transaction.update(accepted)
    await call.commit(transaction)
    return {"AddressTransfer": _show(accepted, "accepted") | {"AllocationId": mine.meta.name}}


@operation("DescribeAddressTransfers")
def describe_address_transfers(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeAddressTransfers: of the account that offers, open ones and for three days accepted ones."""
    wanted = [ids.check_id(ids.ADDRESS, id_) for id_ in call.params.get("AllocationIds") or ()]
    found = [one for one in call.all(AddressTransfer) if one.spec.accepted or _is_open(one, call.now)]
    missing = [id_ for id_ in wanted if id_ not in {one.meta.name for one in found}]
    if missing:
        raise ids.not_found(ids.ADDRESS, *missing)
    call.end_dry_run()
    chosen = [one for one in found if not wanted or one.meta.name in wanted]
    shown, token = page(call.params, chosen, lambda one: one.meta.name)
    rows = [_show(one, "accepted" if one.spec.accepted else "pending") for one in shown]
    return answer("AddressTransfers", rows, token)


@reconcile(AddressTransfer)
async def reconcile_address_transfer(world: World, transfer: AddressTransfer) -> None:
    """Forgets what is over, and an offer whose address was released."""
    spec, now = transfer.spec, world.clock.now()
    left = spec.accepted + VISIBLE_S - now if spec.accepted else spec.offered + OFFERED_S - now
    released = not spec.accepted and world.client.get(Address, transfer.meta.scope, transfer.meta.name) is None
    if left > 0 and not released:
        world.poke(key_of(transfer), left)
        return
    transaction = world.client.transaction()
    transaction.delete(transfer)
    await transaction.commit()


def _is_open(transfer: AddressTransfer, now: float) -> bool:
    return not transfer.spec.accepted and now < transfer.spec.offered + OFFERED_S


def _show(transfer: AddressTransfer, status: str) -> dict[str, Any]:
    """API form. AWS: ec2 AddressTransfer."""
    spec = transfer.spec
    shown: dict[str, Any] = {
        "PublicIp": spec.public,
        "AllocationId": transfer.meta.name,
        "TransferAccountId": spec.account,
        "TransferOfferExpirationTimestamp": spec.offered + OFFERED_S,
        "AddressTransferStatus": status,
    }
    return shown | ({"TransferOfferAcceptedTimestamp": spec.accepted} if spec.accepted else {})
