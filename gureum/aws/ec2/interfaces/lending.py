"""Interfaces that instances of other accounts have, or that their Elastic IPs lead to: the permission for it, and who has one at the time.

    owner's account      NetworkInterface ◄── NetworkInterfacePermission (who may attach it)
    borrower's account   Instance ◄── BorrowedInterface ──► NetworkInterface, whose attachment names the borrower

The interface stays its owner's in all: its network, groups and addresses. An Elastic IP stays in its own account, too: it and the private address
that it leads to name the other's account (`AddressSpec.holder`, `PrivateAddress.owner`). AWS: ec2 CreateNetworkInterfacePermission.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.networks.kinds import Attachment, NetworkInterface
from gureum.engine.client import Client, Transaction
from gureum.engine.lowering import Reader
from gureum.engine.resource import Resource, kind

Permission = Literal["INSTANCE-ATTACH", "EIP-ASSOCIATE"]


class PermissionSpec(msgspec.Struct, frozen=True):
    """`account` may do `permission` with `interface`."""

    interface: str
    account: str
    permission: Permission = "INSTANCE-ATTACH"


@kind("ec2.NetworkInterfacePermission", indexes={"interface": lambda one: one.spec.interface})
class NetworkInterfacePermission(Resource, frozen=True):
    """Goes with its interface."""

    spec: PermissionSpec


class BorrowedSpec(msgspec.Struct, frozen=True):
    """`lender`: the scope of the interface that `instance` has."""

    lender: str
    instance: str


@kind("ec2.BorrowedInterface", indexes={"instance": lambda one: one.spec.instance})
class BorrowedInterface(Resource, frozen=True):
    """Named as the interface; there while it is attached."""

    spec: BorrowedSpec


def attached_to(look: Client | Reader, scope: str, instance: str) -> list[NetworkInterface]:
    """The interfaces of an instance by device index: those of its account and borrowed ones."""
    found = list(look.by(NetworkInterface, scope, "instance", instance))
    for one in look.by(BorrowedInterface, scope, "instance", instance):
        interface = look.get(NetworkInterface, one.spec.lender, one.meta.name)
        if interface is not None:
            found.append(interface)
    return sorted(found, key=lambda one: one.spec.attachment.device_index if one.spec.attachment else 0)


def find_permitted(call: Call, id_: str, wanted: Permission) -> NetworkInterface:
    """One's own interface, or one of which another account permits that. AWS: InvalidNetworkInterfaceID.NotFound, Malformed."""
    own = call.get(NetworkInterface, ids.check_id(ids.INTERFACE, id_))
    if own is not None:
        return own
    permission = permission_for(call, id_, wanted)
    found = call.client.get(NetworkInterface, permission.meta.scope, id_) if permission else None
    if found is None:
        raise ids.not_found(ids.INTERFACE, id_)
    return found


def lent(call: Call, transaction: Transaction, interface: NetworkInterface, attachment: Attachment) -> Attachment:
    """`attachment` as it is to be; of another's interface it is noted in this transaction who has it."""
    if interface.meta.scope == call.scope:
        return attachment
    permission = permission_for(call, interface.meta.name, "INSTANCE-ATTACH")
    if permission is None:
        raise ids.not_found(ids.INTERFACE, interface.meta.name)
    transaction.require(permission)
    transaction.require_no_newer(BorrowedInterface, call.scope)
    spec = BorrowedSpec(interface.meta.scope, attachment.instance)
    transaction.create(BorrowedInterface(meta=call.meta(interface.meta.name), spec=spec))
    return msgspec.structs.replace(attachment, owner=call.account)


def returned(call: Call, transaction: Transaction, interface: NetworkInterface) -> None:
    """It is no longer attached: whoever borrowed it has it no more."""
    attachment = interface.spec.attachment
    if attachment is not None and attachment.owner:
        scope = f"{attachment.owner}/{interface.meta.scope.partition('/')[2]}"
        borrowed = call.client.get(BorrowedInterface, scope, interface.meta.name)
        if borrowed is not None:
            transaction.delete(borrowed)


def by_attachment(call: Call, id_: str) -> NetworkInterface | None:
    """The interface of that attachment, whether one lent it or borrowed it."""
    own = call.by(NetworkInterface, "attachment", id_)
    if own:
        return own[0]
    borrowed = (
        call.client.get(NetworkInterface, one.spec.lender, one.meta.name) for one in call.all(BorrowedInterface)
    )
    return next((one for one in borrowed if one and one.spec.attachment and one.spec.attachment.id == id_), None)


def permission_for(call: Call, interface: str, wanted: Permission) -> NetworkInterfacePermission | None:
    """By which the calling account may do that with another's interface."""
    found = (
        one
        for one in call.client.everywhere(NetworkInterfacePermission)
        if (one.spec.interface, one.spec.account, one.spec.permission) == (interface, call.account, wanted)
    )
    return next((one for one in found if one.meta.scope.partition("/")[2] == call.region), None)
