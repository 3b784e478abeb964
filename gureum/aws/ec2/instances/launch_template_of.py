"""GetLaunchTemplateData: the parameters with which an instance like an existing one can be launched."""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import INSTANCE
from gureum.aws.ec2.instances.credits import wished_credits
from gureum.aws.ec2.instances.kinds import BlockDevice, Instance, Volume
from gureum.aws.ec2.instances.show import show_cpu_options
from gureum.aws.ec2.interfaces.interfaces import interfaces_of
from gureum.aws.ec2.listing import show_tags
from gureum.aws.ec2.networks.kinds import NetworkInterface
from gureum.aws.marks import operation


@operation("GetLaunchTemplateData")
def get_launch_template_data(call: Call) -> dict[str, Any]:
    """AWS: ec2 GetLaunchTemplateData."""
    instance = ids.find(call, Instance, INSTANCE, call.params["InstanceId"])
    call.end_dry_run()
    spec, choice = instance.spec, instance.spec.metadata
    data: dict[str, Any] = {
        "ImageId": spec.image,
        "InstanceType": spec.type,
        "EbsOptimized": spec.ebs_optimized,
        "BlockDeviceMappings": [_device(call, one) for one in spec.block_devices],
        "NetworkInterfaces": [_interface(one) for one in interfaces_of(call, instance.meta.name)],
        "Monitoring": {"Enabled": spec.monitoring},
        "Placement": {"AvailabilityZone": spec.zone, "GroupName": spec.placement, "Tenancy": spec.tenancy},
        "DisableApiTermination": spec.termination_protected,
        "DisableApiStop": spec.stop_protected,
        "InstanceInitiatedShutdownBehavior": spec.shutdown_behavior,
        "MetadataOptions": {
            "HttpTokens": choice.tokens,
            "HttpPutResponseHopLimit": choice.hop_limit,
            "HttpEndpoint": choice.endpoint,
            "InstanceMetadataTags": choice.tags,
        },
        "MaintenanceOptions": {"AutoRecovery": spec.auto_recovery},
        "PrivateDnsNameOptions": {
            "HostnameType": spec.hostname_type,
            "EnableResourceNameDnsARecord": spec.resource_a_record,
            "EnableResourceNameDnsAAAARecord": spec.resource_aaaa_record,
        },
    }
    own = {key: value for key, value in instance.meta.tags.items() if not key.startswith("aws:")}
    optional = {
        "KeyName": spec.key_name,
        "UserData": spec.user_data,
        "IamInstanceProfile": {"Arn": spec.profile_arn} if spec.profile_arn else None,
        "CpuOptions": show_cpu_options(instance),
        "CreditSpecification": {"CpuCredits": spec.cpu_credits} if wished_credits(instance) else None,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": show_tags(own)}] if own else None,
    }
    return {"LaunchTemplateData": data | {name: value for name, value in optional.items() if value}}


def _device(call: Call, device: BlockDevice) -> dict[str, Any]:
    volume = call.get(Volume, device.volume)
    ebs: dict[str, Any] = {"DeleteOnTermination": device.delete_on_termination}
    if volume is not None:
        spec = volume.spec
        ebs |= {"VolumeSize": spec.size_gib, "VolumeType": spec.type, "Encrypted": volume.encrypted}
        ebs |= {"Iops": spec.iops} if spec.iops and spec.type != "gp2" else {}
        ebs |= {"Throughput": spec.throughput} if spec.throughput else {}
    return {"DeviceName": device.device, "Ebs": ebs}


def _interface(interface: NetworkInterface) -> dict[str, Any]:
    spec, attachment = interface.spec, interface.spec.attachment
    assert attachment is not None
    return {
        "DeviceIndex": attachment.device_index,
        "DeleteOnTermination": attachment.delete_on_termination,
        "Description": spec.description,
        "Groups": list(spec.groups),
        "InterfaceType": "interface",
        "NetworkCardIndex": attachment.network_card,
        "PrivateIpAddresses": [
            {"Primary": number == 0, "PrivateIpAddress": one.address} for number, one in enumerate(spec.addresses)
        ],
        "SubnetId": spec.subnet,
        "AssociatePublicIpAddress": bool(spec.primary.public and not spec.primary.allocation),
    }
