"""AttachNetworkInterface and DetachNetworkInterface: also while the instance runs; its machine gets or loses the link at once."""

from __future__ import annotations

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instances.changes import living_instance
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.types import check_addresses, find_instance_type
from gureum.aws.ec2.interfaces.interfaces import attach, check_not_managed, detach, interfaces_of
from gureum.aws.ec2.interfaces.lending import by_attachment, find_permitted, lent
from gureum.aws.ec2.networks.kinds import Attachment, NetworkInterface
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id

PLUGGED_STATES = ("pending", "running")


@operation("AttachNetworkInterface")
async def attach_network_interface(call: Call) -> Result:
    """AWS: ec2 AttachNetworkInterface: to an instance of the same Availability Zone, up to its type's limit."""
    params = call.params
    interface = find_permitted(call, params["NetworkInterfaceId"], "INSTANCE-ATTACH")
    instance = living_instance(call, params["InstanceId"])
    if params.get("NetworkCardIndex"):
        raise ids.not_built("AttachNetworkInterface with a network card other than 0")
    for name in ("EnaSrdSpecification", "EnaQueueCount"):
        if params.get(name):
            raise ids.not_built(f"AttachNetworkInterface with {name}")
    if instance.status.state == "stopping":
        text = f"The instance '{instance.meta.name}' is not in a valid state for this operation: stopping."
        raise AwsError("IncorrectInstanceState", text)
    _check(call, interface, instance, params["DeviceIndex"])
    attachment = Attachment(new_id("eni-attach-"), instance.meta.name, params["DeviceIndex"], float(int(call.now)))
    sandbox = instance.meta.name if instance.status.state in PLUGGED_STATES else ""
    transaction = call.transaction()
    attach(transaction, interface, lent(call, transaction, interface, attachment), sandbox)
    # Its state decides whether the interface is plugged in, and its other interfaces must not become more meanwhile.
    transaction.require(instance)
    transaction.require_no_newer(NetworkInterface, call.scope)
    await call.commit(transaction)
    return {"AttachmentId": attachment.id, "NetworkCardIndex": 0}


@operation("DetachNetworkInterface")
async def detach_network_interface(call: Call) -> Result:
    """AWS: ec2 DetachNetworkInterface: any but the primary one; one that was lent also by its owner."""
    id_ = call.params["AttachmentId"]
    if id_.startswith("ela-attach-"):
        # AWS: how load balancers' attachments are named and refused.
        raise AwsError("OperationNotPermitted", "You are not allowed to manage 'ela-attach' attachments.")
    found = by_attachment(call, ids.check_id(ids.ATTACHMENT, id_))
    if found is None:
        raise ids.not_found(ids.ATTACHMENT, id_)
    attachment = found.spec.attachment
    assert attachment is not None
    check_not_managed(found)
    if attachment.device_index == 0:
        text = "The network interface at device index 0 and networkCard index 0 cannot be detached."
        raise AwsError("OperationNotPermitted", text)
    transaction = call.transaction()
    detach(call, transaction, found)
    await call.commit(transaction)
    return {}


def _check(call: Call, interface: NetworkInterface, instance: Instance, index: int) -> None:
    if interface.spec.attachment is not None:
        raise AwsError("InvalidNetworkInterface.InUse", f"Interface: [{interface.meta.name}] in use.")
    if interface.spec.zone != instance.spec.zone:
        text = "You may not attach a network interface to an instance if they are not in the same availability zone"
        raise AwsError("InvalidParameterCombination", text)
    attached = interfaces_of(call, instance.meta.name)
    type_ = find_instance_type(instance.spec.type)
    if type_ is not None and len(attached) >= type_.interfaces:
        text = f"Interface count {len(attached) + 1} exceeds the limit for {type_.name}"
        raise AwsError("AttachmentLimitExceeded", text)
    if type_ is not None:
        check_addresses(type_, len(interface.spec.addresses) + len(interface.spec.prefixes))
    if index < 0:
        raise AwsError("InvalidParameterValue", f"Value ({index}) for parameter deviceIndex is invalid.")
    if any(one.spec.attachment and one.spec.attachment.device_index == index for one in attached):
        text = f"Instance '{instance.meta.name}' already has an interface attached at device index '{index}'."
        raise AwsError("InvalidParameterValue", text)
