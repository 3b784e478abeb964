"""Instances in their API form. AWS: ec2 Instance, Reservation."""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.instances.capacity_kinds import USING_STATES
from gureum.aws.ec2.instances.host_names import private_name, public_name, resource_name
from gureum.aws.ec2.instances.kinds import STATE_CODES, BlockDevice, Instance, Volume
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.ec2.interfaces.interfaces import interfaces_of
from gureum.aws.ec2.interfaces.show import show_attachment, show_groups, shows_public_names
from gureum.aws.ec2.listing import show_tags
from gureum.aws.ec2.networks.kinds import NetworkInterface, PrivateAddress
from gureum.aws.ec2.regions import zone_id

BOOT_MODE = "legacy-bios"


def show_reservation(call: Call, instances: list[Instance], shown_instances: list[Any] | None = None) -> dict[str, Any]:
    """API form of one launch. `instances`: at least one of it; `shown_instances`: their forms, where they are at hand."""
    shown = {
        "ReservationId": instances[0].spec.reservation,
        "OwnerId": call.account,
        "Groups": [],
        "Instances": [show_instance(call, one) for one in instances] if shown_instances is None else shown_instances,
    }
    requester = instances[0].spec.requester
    return shown | ({"RequesterId": requester} if requester else {})


def show_instance(call: Call, instance: Instance) -> dict[str, Any]:
    """API form. AWS leaves out what a terminated instance no longer has."""
    spec, state = instance.spec, instance.status.state
    gone = state == "terminated"
    interfaces = [] if gone else interfaces_of(call, instance.meta.name)
    shown: dict[str, Any] = {
        "InstanceId": instance.meta.name,
        "ImageId": spec.image,
        "State": {"Code": STATE_CODES[state], "Name": state},
        "InstanceType": spec.type,
        "LaunchTime": spec.launched,
        "AmiLaunchIndex": spec.launch_index,
        "Architecture": "x86_64",
        "Hypervisor": "xen",
        "VirtualizationType": "hvm",
        "RootDeviceName": spec.root_device,
        "RootDeviceType": "ebs",
        "EnaSupport": True,
        "EbsOptimized": spec.ebs_optimized,
        "Placement": {
            "AvailabilityZone": spec.zone,
            "AvailabilityZoneId": zone_id(spec.zone),
            "GroupName": spec.placement,
            "Tenancy": spec.tenancy,
            **({"GroupId": spec.placement_id} if spec.placement_id else {}),
            **({"PartitionNumber": spec.partition} if spec.partition else {}),
        },
        "Monitoring": {"State": "enabled" if spec.monitoring else "disabled"},
        "MetadataOptions": show_metadata_options(instance),
        "CpuOptions": show_cpu_options(instance),
        "EnclaveOptions": {"Enabled": False},
        "HibernationOptions": {"Configured": False},
        "MaintenanceOptions": {"AutoRecovery": spec.auto_recovery, "RebootMigration": "default"},
        "CapacityReservationSpecification": _capacity(instance),
        "PrivateDnsNameOptions": {
            "HostnameType": spec.hostname_type,
            "EnableResourceNameDnsARecord": spec.resource_a_record,
            "EnableResourceNameDnsAAAARecord": spec.resource_aaaa_record,
        },
        "CurrentInstanceBootMode": BOOT_MODE,
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "UsageOperationUpdateTime": instance.meta.created,
        "Operator": {"Managed": False},
        "ProductCodes": [],
        "StateTransitionReason": instance.status.transition,
        "PrivateDnsName": "",
        "PublicDnsName": "",
        "SecurityGroups": [],
        "NetworkInterfaces": [show_attached(call.within(one.meta.scope), one) for one in interfaces],
        "BlockDeviceMappings": [show_device(call, device) for device in spec.block_devices],
        "Tags": show_tags(instance.meta.tags),
        "ClientToken": spec.client_token,
        "SourceDestCheck": True,
    }
    if interfaces:
        shown |= _primary(call, interfaces[0], instance)
    if spec.capacity_reservation and state in USING_STATES:
        shown["CapacityReservationId"] = spec.capacity_reservation
    if spec.spot_request:
        shown |= {"InstanceLifecycle": "spot", "SpotInstanceRequestId": spec.spot_request}
    if spec.key_name:
        shown["KeyName"] = spec.key_name
    if spec.profile_arn:
        shown["IamInstanceProfile"] = {"Arn": spec.profile_arn, "Id": profile_id(instance)}
    if state == "pending" and not instance.status.reason_code:
        shown["StateReason"] = {"Code": "pending", "Message": "pending"}
    if instance.status.reason_code:
        shown["StateReason"] = {"Code": instance.status.reason_code, "Message": instance.status.reason}
    return shown


def _capacity(instance: Instance) -> dict[str, Any]:
    """API form. AWS: ec2 CapacityReservationSpecificationResponse."""
    spec = instance.spec
    if spec.capacity_target:
        return {"CapacityReservationTarget": {"CapacityReservationId": spec.capacity_target}}
    return {"CapacityReservationPreference": spec.capacity_preference}


def host_name(region: str, instance: Instance, address: str) -> str:
    """The name that the instance has as its own: by its address or by its id, as its PrivateDnsNameOptions say."""
    if instance.spec.hostname_type == "resource-name":
        return resource_name(region, instance.meta.name)
    return private_name(region, address)


def profile_id(instance: Instance) -> str:
    """IAM's; where nobody answers for IAM an id of its form, the instance's own."""
    return instance.spec.profile_id or f"AIPA{instance.meta.uid[:17].upper()}"


def show_cpu_options(instance: Instance) -> dict[str, Any]:
    """API form. AWS: ec2 CpuOptions."""
    spec, type_ = instance.spec, find_instance_type(instance.spec.type)
    if spec.cores:
        return {"CoreCount": spec.cores, "ThreadsPerCore": spec.threads_per_core}
    return {"CoreCount": type_.cores, "ThreadsPerCore": type_.threads_per_core} if type_ else {}


def show_metadata_options(instance: Instance) -> dict[str, Any]:
    """API form. AWS: ec2 InstanceMetadataOptionsResponse."""
    choice = instance.spec.metadata
    return {
        "State": "pending" if instance.status.state == "pending" else "applied",
        "HttpTokens": choice.tokens,
        "HttpPutResponseHopLimit": choice.hop_limit,
        "HttpEndpoint": choice.endpoint,
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": choice.tags,
    }


def show_attached(call: Call, interface: NetworkInterface) -> dict[str, Any]:
    """API form, by a call within the interface's scope. AWS: ec2 InstanceNetworkInterface."""
    spec = interface.spec
    shown: dict[str, Any] = {
        "NetworkInterfaceId": interface.meta.name,
        "SubnetId": spec.subnet,
        "VpcId": spec.vpc,
        "OwnerId": call.account,
        "Description": spec.description,
        "MacAddress": spec.mac,
        "Status": "in-use",
        "SourceDestCheck": spec.source_dest_check,
        "InterfaceType": "interface",
        "Groups": show_groups(call, spec.groups),
        "Ipv4Prefixes": [{"Ipv4Prefix": one} for one in spec.prefixes],
        "Ipv6Addresses": [],
        "PrivateIpAddress": spec.primary.address,
        "PrivateDnsName": private_name(call.region, spec.primary.address),
        "PrivateIpAddresses": [
            _show_address(call, interface, one, primary=number == 0) for number, one in enumerate(spec.addresses)
        ],
        "Operator": {"Managed": False},
    }
    if spec.primary.public:
        shown["Association"] = _association(call, interface, spec.primary)
    if spec.attachment is not None:
        attachment = show_attachment(spec.attachment, call.account)
        shown["Attachment"] = {key: value for key, value in attachment.items() if not key.startswith("Instance")}
    return shown


def _primary(call: Call, interface: NetworkInterface, instance: Instance) -> dict[str, Any]:
    """What an instance shows of its first interface."""
    spec = interface.spec
    shown: dict[str, Any] = {
        "VpcId": spec.vpc,
        "SubnetId": spec.subnet,
        "PrivateIpAddress": spec.primary.address,
        "PrivateDnsName": host_name(call.region, instance, spec.primary.address),
        "SecurityGroups": show_groups(call, spec.groups),
        "SourceDestCheck": spec.source_dest_check,
    }
    if spec.primary.public:
        shown["PublicIpAddress"] = spec.primary.public
        if shows_public_names(call, interface):
            shown["PublicDnsName"] = public_name(call.region, spec.primary.public)
    return shown


def _show_address(call: Call, interface: NetworkInterface, one: PrivateAddress, *, primary: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Primary": primary,
        "PrivateIpAddress": one.address,
        "PrivateDnsName": private_name(call.region, one.address),
    }
    return shown | ({"Association": _association(call, interface, one)} if one.public else {})


def _association(call: Call, interface: NetworkInterface, one: PrivateAddress) -> dict[str, Any]:
    return {
        "PublicIp": one.public,
        "PublicDnsName": public_name(call.region, one.public) if shows_public_names(call, interface) else "",
        "IpOwnerId": (one.owner or call.account) if one.allocation else "amazon",
    }


def device_status(call: Call, device: BlockDevice) -> str:
    """AWS: ec2 AttachmentStatus."""
    volume = call.get(Volume, device.volume)
    state = volume.spec.attachment.state if volume and volume.spec.attachment else "attached"
    return "detaching" if state == "busy" else state


def show_device(call: Call, device: BlockDevice) -> dict[str, Any]:
    """API form. AWS: ec2 InstanceBlockDeviceMapping."""
    status = device_status(call, device)
    return {
        "DeviceName": device.device,
        "Ebs": {
            "VolumeId": device.volume,
            "Status": status,
            "AttachTime": device.attached,
            "DeleteOnTermination": device.delete_on_termination,
        },
    }
