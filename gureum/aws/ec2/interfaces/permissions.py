"""Who else may attach an interface, or give it Elastic IPs.

Create-, Delete- and DescribeNetworkInterfacePermissions. How it is then lent: interfaces/lending.py.
"""

from __future__ import annotations

import re
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.ids import IdForm
from gureum.aws.ec2.interfaces.interfaces import check_not_managed
from gureum.aws.ec2.interfaces.lending import NetworkInterfacePermission, PermissionSpec
from gureum.aws.ec2.listing import answer, listing
from gureum.aws.ec2.networks.kinds import NetworkInterface
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id

PERMISSION = IdForm(
    "eni-perm", "network interface permission ID", "", "InvalidPermissionID.NotFound", "InvalidPermissionID.Malformed"
)
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)


@operation("CreateNetworkInterfacePermission")
async def create_network_interface_permission(call: Call) -> Result:
    """AWS: ec2 CreateNetworkInterfacePermission: to attach it, or to associate Elastic IPs with it. InvalidPermission.Duplicate,
    OperationNotPermitted for the owner's own account."""
    params = call.params
    interface = ids.find(call, NetworkInterface, ids.INTERFACE, params["NetworkInterfaceId"])
    check_not_managed(interface)
    if params.get("AwsService"):
        raise AwsError("InvalidParameterValue", "Granting permission to an AWS service is not supported.")
    wanted: Any = ids.choice(params, "Permission", "INSTANCE-ATTACH", "EIP-ASSOCIATE")
    account = ids.need(call, "AwsAccountId")
    if account == call.account:
        raise AwsError("OperationNotPermitted", "The account owns the network interface.")
    if _ACCOUNT.fullmatch(account) is None:
        raise ids.invalid(f"Value ({account}) for parameter awsAccountId is invalid.")
    given = call.by(NetworkInterfacePermission, "interface", interface.meta.name)
    if any((one.spec.account, one.spec.permission) == (account, wanted) for one in given):
        text = f"The account {account} has the permission for {interface.meta.name} already."
        raise AwsError("InvalidPermission.Duplicate", text)
    transaction = call.transaction()
    transaction.require(interface)
    meta = call.meta(new_id("eni-perm-"), owner=interface)
    spec = PermissionSpec(interface.meta.name, account, wanted)
    made = transaction.create(NetworkInterfacePermission(meta=meta, spec=spec))
    await call.commit(transaction)
    return {"InterfacePermission": _show(made)}


@operation("DeleteNetworkInterfacePermission")
async def delete_network_interface_permission(call: Call) -> Result:
    """AWS: ec2 DeleteNetworkInterfacePermission: while that account makes use of it only with Force, and then that stays so.
    OperationNotPermitted."""
    found = ids.find(call, NetworkInterfacePermission, PERMISSION, call.params["NetworkInterfacePermissionId"])
    interface = call.get(NetworkInterface, found.spec.interface)
    transaction = call.transaction()
    if interface is not None:
        if _is_used(interface, found.spec) and not call.params.get("Force"):
            text = f"The network interface '{interface.meta.name}' is in use by {found.spec.account}."
            raise AwsError("OperationNotPermitted", text)
        transaction.require(interface)
    transaction.delete(found)
    await call.commit(transaction)
    return {"Return": True}


@operation("DescribeNetworkInterfacePermissions")
def describe_network_interface_permissions(call: Call) -> Result:
    """AWS: ec2 DescribeNetworkInterfacePermissions: for one's own interfaces."""
    found, token = listing(call, NetworkInterfacePermission, PERMISSION, "NetworkInterfacePermissionIds", _FILTERS)
    return answer("NetworkInterfacePermissions", [_show(one) for one in found], token)


def _is_used(interface: NetworkInterface, permission: PermissionSpec) -> bool:
    if permission.permission == "EIP-ASSOCIATE":
        return any(one.owner == permission.account for one in interface.spec.addresses)
    attachment = interface.spec.attachment
    return attachment is not None and attachment.owner == permission.account


def _show(one: NetworkInterfacePermission) -> dict[str, Any]:
    """API form. AWS: ec2 NetworkInterfacePermission."""
    return {
        "NetworkInterfacePermissionId": one.meta.name,
        "NetworkInterfaceId": one.spec.interface,
        "AwsAccountId": one.spec.account,
        "Permission": one.spec.permission,
        # In capitals, whatever AWS's model says: so Terraform's provider waits for it.
        "PermissionState": {"State": "GRANTED"},
    }


_NAME = "network-interface-permission"
_FILTERS: FilterTable = {
    f"{_NAME}.{_NAME}-id": lambda one: one.meta.name,
    f"{_NAME}.network-interface-id": lambda one: one.spec.interface,
    f"{_NAME}.aws-account-id": lambda one: one.spec.account,
    f"{_NAME}.aws-service": lambda _: (),
    f"{_NAME}.permission": lambda one: one.spec.permission,
}
