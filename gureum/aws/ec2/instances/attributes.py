"""DescribeInstanceAttribute, ModifyInstanceAttribute, ResetInstanceAttribute: one attribute of one instance a call.

What the machine is made from (its type, its user data) may be changed only while it is stopped; the next start brings it about.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.images.names import MACHINE
from gureum.aws.ec2.instance_ids import INSTANCE
from gureum.aws.ec2.instances.changes import change, living_instance, require_stopped, write
from gureum.aws.ec2.instances.kinds import BlockDevice, Instance, Volume
from gureum.aws.ec2.instances.show import show_device
from gureum.aws.ec2.instances.types import check_addresses, find_instance_type
from gureum.aws.ec2.interfaces.interfaces import change as change_interface
from gureum.aws.ec2.interfaces.interfaces import check_groups, interfaces_of, several_interfaces
from gureum.aws.ec2.interfaces.show import show_groups
from gureum.aws.ec2.networks.kinds import NetworkInterface, SecurityGroup, Subnet
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.engine.client import Transaction

LIMIT_USER_DATA_BYTES = 16384
NOT_ATTRIBUTES = frozenset({"InstanceId", "DryRun", "Attribute", "Value"})
STOPPED_ONLY = frozenset({"InstanceType", "UserData", "EbsOptimized", "EnaSupport"})
BY_NAME = {
    "instanceType": "InstanceType",
    "userData": "UserData",
    "disableApiTermination": "DisableApiTermination",
    "disableApiStop": "DisableApiStop",
    "instanceInitiatedShutdownBehavior": "InstanceInitiatedShutdownBehavior",
    "ebsOptimized": "EbsOptimized",
    "sourceDestCheck": "SourceDestCheck",
    "groupSet": "Groups",
    "blockDeviceMapping": "BlockDeviceMappings",
    "enaSupport": "EnaSupport",
}
BOOLEANS = frozenset({"DisableApiTermination", "DisableApiStop", "EbsOptimized", "SourceDestCheck", "EnaSupport"})


@operation("DescribeInstanceAttribute")
def describe_instance_attribute(call: Call) -> Result:
    """AWS: ec2 DescribeInstanceAttribute."""
    instance = ids.find(call, Instance, INSTANCE, call.params["InstanceId"])
    attribute = call.params["Attribute"]
    look = _SHOWN.get(attribute)
    if look is None:
        raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")
    call.end_dry_run()
    return {"InstanceId": instance.meta.name, **look(call, instance)}


@operation("ModifyInstanceAttribute")
async def modify_instance_attribute(call: Call) -> Result:
    """AWS: ec2 ModifyInstanceAttribute, in the new form (a member per attribute) and the old one (Attribute and Value)."""
    instance = living_instance(call, call.params["InstanceId"])
    name, value = _given(call.params)
    if name not in _CHANGES:
        raise ids.not_built(f"ModifyInstanceAttribute with {name}")
    if name in STOPPED_ONLY:
        require_stopped(instance)
    transaction = call.transaction()
    changed = _CHANGES[name](call, transaction, instance, value)
    if changed is not instance:
        transaction.update(changed)
    await call.commit(transaction)
    return {}


@operation("ResetInstanceAttribute")
async def reset_instance_attribute(call: Call) -> Result:
    """AWS: ec2 ResetInstanceAttribute: the source/destination check is on again."""
    instance = living_instance(call, call.params["InstanceId"])
    attribute = call.params["Attribute"]
    if attribute in ("kernel", "ramdisk"):
        require_stopped(instance)
        await write(call, instance)
        return {}
    if attribute != "sourceDestCheck":
        raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid. It cannot be reset.")
    transaction = call.transaction()
    _check_source(call, transaction, instance, {"Value": True})
    await call.commit(transaction)
    return {}


def _given(params: dict[str, Any]) -> tuple[str, Any]:
    """The one attribute of the call, by its member's name, and its value. AWS: InvalidParameterCombination, MissingParameter."""
    given = [name for name in params if name not in NOT_ATTRIBUTES]
    if len(given) > 1:
        raise AwsError("InvalidParameterCombination", "Fields for multiple attribute types specified")
    if given:
        return given[0], params[given[0]]
    attribute, text = params.get("Attribute"), params.get("Value")
    if not attribute or text is None:
        raise AwsError("MissingParameter", "No attributes specified.")
    name = BY_NAME.get(attribute)
    if name is None:
        raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")
    if name in BOOLEANS:
        if text.lower() not in ("true", "false"):
            raise AwsError(
                "InvalidInstanceAttributeValue", f"Value ({text}) for {attribute} is neither true nor false."
            )
        return name, {"Value": text.lower() == "true"}
    return name, {"Value": text}


def _type(call: Call, _: Transaction, instance: Instance, value: dict[str, Any]) -> Instance:
    wanted = find_instance_type(value.get("Value") or "")
    if wanted is None:
        text = f"Invalid value '{value.get('Value')}' for InstanceType."
        raise AwsError("InvalidInstanceAttributeValue", text)
    if MACHINE not in wanted.architectures:
        text = f"The architecture of '{wanted.name}' does not match the architecture '{MACHINE}' of the instance's AMI."
        raise AwsError("InvalidInstanceAttributeValue", text)
    if len(interfaces_of(call, instance.meta.name)) > wanted.interfaces:
        text = f"The instance has more network interfaces than '{wanted.name}' can have ({wanted.interfaces})."
        raise AwsError("InvalidParameterCombination", text)
    for interface in interfaces_of(call, instance.meta.name):
        check_addresses(wanted, len(interface.spec.addresses) + len(interface.spec.prefixes))
    # One that does not burst keeps the option for a type that does (AWS: ec2 DescribeInstanceCreditSpecifications).
    credits_ = instance.spec.cpu_credits or wanted.default_credits
    return change(instance, type=wanted.name, cpu_credits=credits_, cores=0, threads_per_core=0)


def _user_data(_: Call, __: Transaction, instance: Instance, value: dict[str, Any]) -> Instance:
    given = value.get("Value") or b""
    if isinstance(given, str):
        try:
            given = base64.b64decode("".join(given.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise AwsError("InvalidParameterValue", "Invalid BASE64 encoding of user data.") from error
    if len(given) > LIMIT_USER_DATA_BYTES:
        raise AwsError("InvalidParameterValue", "User data is limited to 16384 bytes")
    return change(instance, user_data=base64.b64encode(given).decode())


def _no_termination(_: Call, __: Transaction, instance: Instance, value: dict[str, Any]) -> Instance:
    return change(instance, termination_protected=bool(value.get("Value")))


def _no_stop(_: Call, __: Transaction, instance: Instance, value: dict[str, Any]) -> Instance:
    return change(instance, stop_protected=bool(value.get("Value")))


def _shutdown(_: Call, __: Transaction, instance: Instance, value: dict[str, Any]) -> Instance:
    behavior = value.get("Value")
    if behavior not in ("stop", "terminate"):
        text = f"Invalid value '{behavior}' for instanceInitiatedShutdownBehavior"
        raise AwsError("InvalidParameterValue", text)
    return change(instance, shutdown_behavior=behavior)


def _optimized(_: Call, __: Transaction, instance: Instance, value: dict[str, Any]) -> Instance:
    return change(instance, ebs_optimized=bool(value.get("Value")))


def _ena(_: Call, __: Transaction, instance: Instance, value: dict[str, Any]) -> Instance:
    if not value.get("Value"):
        raise AwsError(
            "InvalidParameterCombination", "Enhanced networking with the Elastic Network Adapter cannot be disabled."
        )
    return instance


def _check_source(call: Call, transaction: Transaction, instance: Instance, value: dict[str, Any]) -> Instance:
    interface = _only_interface(call, instance)
    transaction.update(change_interface(interface, source_dest_check=bool(value.get("Value", True))))
    return instance


def _groups(call: Call, transaction: Transaction, instance: Instance, wanted: Any) -> Instance:
    if isinstance(wanted, dict):
        wanted = [wanted["Value"]]
    interface = _only_interface(call, instance)
    groups = check_groups(call, wanted, ids.find(call, Subnet, ids.SUBNET, interface.spec.subnet))
    if not groups:
        raise ids.invalid("Value () for parameter groupId is invalid. The value cannot be empty")
    for group in groups:
        transaction.require(ids.find(call, SecurityGroup, ids.SECURITY_GROUP, group))
    transaction.update(change_interface(interface, groups=groups))
    return instance


def _devices(call: Call, transaction: Transaction, instance: Instance, wanted: Any) -> Instance:
    """DeleteOnTermination of volumes that are attached; said on the instance and on the volume."""
    devices = {one.device: one for one in instance.spec.block_devices}
    for mapping in wanted:
        name, ebs = mapping.get("DeviceName") or "", mapping.get("Ebs") or {}
        if name not in devices:
            raise AwsError("InvalidInstanceAttributeValue", f"No device is currently mapped at {name}")
        if ebs.get("VolumeId") and ebs["VolumeId"] != devices[name].volume:
            text = f"The volume '{ebs['VolumeId']}' is not attached at {name}"
            raise AwsError("InvalidInstanceAttributeValue", text)
        delete = bool(ebs.get("DeleteOnTermination", True))
        devices[name] = msgspec.structs.replace(devices[name], delete_on_termination=delete)
        _keep_volume(call, transaction, devices[name], delete=delete)
    return change(instance, block_devices=tuple(devices.values()))


def _keep_volume(call: Call, transaction: Transaction, device: BlockDevice, *, delete: bool) -> None:
    volume = call.get(Volume, device.volume)
    if volume is None or volume.spec.attachment is None:
        return
    attachment = msgspec.structs.replace(volume.spec.attachment, delete_on_termination=delete)
    transaction.update(
        msgspec.structs.replace(volume, spec=msgspec.structs.replace(volume.spec, attachment=attachment))
    )


def _only_interface(call: Call, instance: Instance) -> NetworkInterface:
    interfaces = interfaces_of(call, instance.meta.name)
    if len(interfaces) > 1:
        raise several_interfaces(instance.meta.name)
    return interfaces[0]


_CHANGES: dict[str, Any] = {
    "BlockDeviceMappings": _devices,
    "DisableApiStop": _no_stop,
    "DisableApiTermination": _no_termination,
    "EbsOptimized": _optimized,
    "EnaSupport": _ena,
    "Groups": _groups,
    "InstanceInitiatedShutdownBehavior": _shutdown,
    "InstanceType": _type,
    "SourceDestCheck": _check_source,
    "UserData": _user_data,
}


def _show_devices(call: Call, instance: Instance) -> Result:
    return {"BlockDeviceMappings": [show_device(call, device) for device in instance.spec.block_devices]}


def _show_groups(call: Call, instance: Instance) -> Result:
    interfaces = interfaces_of(call, instance.meta.name)
    return {"Groups": show_groups(call, interfaces[0].spec.groups) if interfaces else []}


def _show_source(call: Call, instance: Instance) -> Result:
    interfaces = interfaces_of(call, instance.meta.name)
    if len(interfaces) > 1:
        raise several_interfaces(instance.meta.name)
    return {"SourceDestCheck": {"Value": interfaces[0].spec.source_dest_check}} if interfaces else {}


_SHOWN: dict[str, Any] = {
    "blockDeviceMapping": _show_devices,
    "disableApiStop": lambda _, one: {"DisableApiStop": {"Value": one.spec.stop_protected}},
    "disableApiTermination": lambda _, one: {"DisableApiTermination": {"Value": one.spec.termination_protected}},
    "ebsOptimized": lambda _, one: {"EbsOptimized": {"Value": one.spec.ebs_optimized}},
    "enaSupport": lambda _, __: {"EnaSupport": {"Value": True}},
    "enclaveOptions": lambda _, __: {"EnclaveOptions": {"Enabled": False}},
    "groupSet": _show_groups,
    "instanceInitiatedShutdownBehavior": lambda _, one: {
        "InstanceInitiatedShutdownBehavior": {"Value": one.spec.shutdown_behavior}
    },
    "instanceType": lambda _, one: {"InstanceType": {"Value": one.spec.type}},
    "kernel": lambda _, __: {"KernelId": {}},
    "productCodes": lambda _, __: {"ProductCodes": []},
    "ramdisk": lambda _, __: {"RamdiskId": {}},
    "rootDeviceName": lambda _, one: {"RootDeviceName": {"Value": one.spec.root_device}},
    "sourceDestCheck": _show_source,
    "sriovNetSupport": lambda _, __: {"SriovNetSupport": {"Value": "simple"}},
    "userData": lambda _, one: {"UserData": {"Value": one.spec.user_data} if one.spec.user_data else {}},
}
