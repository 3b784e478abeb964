"""What an instance is on the machine: a sandbox, an image, a container with an init, its metadata; and what a volume is.

While an instance is pending, running or stopping it is lowered; stopped or terminated it is nothing but its volumes and (unplugged) interfaces.
The user data is turned into a boot script here, on the host, since the small guest has no parser for YAML; the guest fetches it with its metadata.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable
from typing import Any

from gureum.aws.ec2.instances.credential_kinds import InstanceCredentials, InstanceCredentialsSpec, context_of, name_of
from gureum.aws.ec2.instances.credits import wished_credits
from gureum.aws.ec2.instances.host_names import private_name, public_name, resource_name
from gureum.aws.ec2.instances.instance_stores import store_disks, store_tree, store_wishes
from gureum.aws.ec2.instances.kinds import Instance, Volume
from gureum.aws.ec2.instances.show import host_name, profile_id
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.ec2.interfaces.lending import attached_to
from gureum.aws.ec2.networks.dhcp_options import option_lines, resolver_file
from gureum.aws.ec2.networks.kinds import DhcpOptions, NetworkInterface, SecurityGroup, Subnet, Vpc
from gureum.aws.ec2.regions import zone_id
from gureum.aws.ec2.volumes.types import most_of
from gureum.base.boot_script import METADATA_PATH, boot_script
from gureum.core import specs
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower
from gureum.engine.resource import key_of
from gureum.ports.containers import Limits
from gureum.ports.metadata import InstanceMetadata, MetadataOptions
from gureum.ports.names import Record
from gureum.ports.networks import SandboxSpec
from gureum.ports.volumes import VolumeSpec

LIVING = ("pending", "running", "stopping")
PIDS_LIMIT = 4096
GIB = 1 << 30


@lower(Volume)
def lower_volume(volume: Volume, read: Reader) -> Iterable[Desired]:
    yield volume_wish(volume)


def volume_wish(volume: Volume) -> Desired:
    """What the volume is on the machine. Once it is restored its snapshot may go."""
    name, spec = volume.meta.name, volume.spec
    snapshot = "" if spec.restored else spec.snapshot
    source = "" if spec.restored else spec.source
    old_key = spec.snapshot_key if snapshot or source else ""
    wish = VolumeSpec(name, spec.size_gib * GIB, snapshot, spec.key, old_key, source)
    return Desired("Volume", name, key_of(volume), specs.Volume(wish, *most_of(spec)))


@lower(Instance)
def lower_instance(instance: Instance, read: Reader) -> Iterable[Desired]:
    """Sandbox, Image, Container, Metadata and the name that leads to it by its id, all named by that; and its instance store."""
    if instance.status.state not in LIVING:
        return
    name, owner, scope = instance.meta.name, key_of(instance), instance.meta.scope
    interfaces = [eni for eni in attached_to(read, scope, name) if eni.spec.sandbox == name]
    hostname = _hostname(instance, interfaces)
    yield Desired("Sandbox", name, owner, specs.Sandbox(SandboxSpec(name, hostname.split(".")[0], guest=True)))
    volumes = sorted(read.by(Volume, scope, "instance", name), key=lambda one: one.meta.name)
    yield Desired("Image", name, owner, specs.Image(_source(instance, volumes)))
    yield from store_wishes(instance, owner)
    yield Desired("Container", name, owner, _container(instance, interfaces, hostname, volumes))
    if interfaces and instance.spec.resource_a_record and _has_names(instance, read):
        record = Record(
            resource_name(scope.rpartition("/")[2], name),
            "A",
            (interfaces[0].spec.primary.address,),
            view=instance.spec.vpc,
        )
        yield Desired("Names", name, owner, specs.Names((record,)))
    if interfaces:
        yield Desired("Metadata", name, owner, specs.Metadata(_metadata(instance, interfaces, hostname, read)))


def _has_names(instance: Instance, read: Reader) -> bool:
    vpc = read.get(Vpc, instance.meta.scope, instance.spec.vpc)
    return vpc is not None and vpc.spec.dns_support


def _source(instance: Instance, volumes: list[Volume]) -> str:
    """The image below the root: that of the root volume, which may be another's than the one the instance was launched with."""
    roots = [one for one in volumes if one.spec.attachment and one.spec.attachment.device == instance.spec.root_device]
    return next((one.spec.base for one in roots if one.spec.base), instance.spec.image_source)


def folder_of(device: str) -> str:
    """ "/dev/sdf" → "sdf": the folder in /volumes under which a machine finds it."""
    return device.removeprefix("/dev/").replace("/", "-")


def _disk(volume: Volume) -> specs.Disk:
    attachment = volume.spec.attachment
    assert attachment is not None
    folder = folder_of(attachment.device)
    if attachment.state in ("attaching", "attached"):
        return specs.Disk(volume.meta.name, folder)
    return specs.Disk(volume.meta.name, folder, "forced" if attachment.force else "detached")


def _container(
    instance: Instance, interfaces: list[NetworkInterface], hostname: str, volumes: list[Volume]
) -> specs.Container:
    type_ = find_instance_type(instance.spec.type)
    root = next(one.volume for one in instance.spec.block_devices if one.device == instance.spec.root_device)
    return specs.Container(
        sandbox=instance.meta.name,
        image=instance.meta.name,
        volume=root,
        interfaces=tuple(eni.meta.name for eni in interfaces),
        wish="running" if instance.spec.wish == "running" and not instance.spec.imaging else "stopped",
        boot=instance.spec.boot,
        hostname=hostname.split(".")[0],
        machine=True,
        disks=(*(_disk(one) for one in volumes if one.meta.name != root), *store_disks(instance)),
        limits=Limits(memory_bytes=type_.memory_bytes if type_ else 0, cpus=cpus_of(instance), pids=PIDS_LIMIT),
        credits=wished_credits(instance),
    )


def cpus_of(instance: Instance) -> float:
    """Virtual processors: threads of cores. 0.0: no limit."""
    if instance.spec.cores:
        return float(instance.spec.cores * instance.spec.threads_per_core)
    type_ = find_instance_type(instance.spec.type)
    return float(type_.vcpus) if type_ else 0.0


def _hostname(instance: Instance, interfaces: list[NetworkInterface]) -> str:
    region = instance.meta.scope.split("/")[1]
    if not interfaces:
        return resource_name(region, instance.meta.name)
    return host_name(region, instance, interfaces[0].spec.primary.address)


def _metadata(instance: Instance, interfaces: list[NetworkInterface], hostname: str, read: Reader) -> InstanceMetadata:
    choice = instance.spec.metadata
    held = name_of(instance.meta.name)
    made = read.get(InstanceCredentials, instance.meta.scope, held) if instance.spec.profile_arn else None
    told, sealed = credentials_tree(instance, made.spec if made is not None else None)
    user_data = base64.b64decode(instance.spec.user_data) if instance.spec.user_data else None
    return InstanceMetadata(
        owner=instance.meta.name,
        network=instance.spec.vpc,
        addresses=tuple(
            address for eni in interfaces if eni.spec.vpc == instance.spec.vpc for address in eni.spec.held
        ),
        tree=metadata_tree(instance, interfaces, hostname, read, user_data) | told,
        options=MetadataOptions(
            enabled=choice.endpoint == "enabled",
            tokens_required=choice.tokens == "required",
            hop_limit=choice.hop_limit,
            tags_enabled=choice.tags == "enabled",
        ),
        user_data=user_data,
        sealed=sealed,
    )


def credentials_tree(
    instance: Instance, made: InstanceCredentialsSpec | None
) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """What is told of the instance's role, and what of it is sealed. AWS: iam/info, iam/security-credentials/ROLE."""
    if not instance.spec.profile_arn or made is None or not made.code:
        return {}, {}
    folder = "meta-data/iam/security-credentials"
    updated = _iso(made.updated)
    info = {"Code": "Success", "LastUpdated": updated}
    fault = {"Code": made.code, "Message": made.message, "LastUpdated": updated}
    if made.code == "InstanceProfileNotFound":
        info = fault
    info |= {"InstanceProfileArn": instance.spec.profile_arn, "InstanceProfileId": profile_id(instance)}
    tree = {"meta-data/iam/info": json.dumps(info, indent=2)}
    if made.sealed:
        return tree, {f"{folder}/{made.role}": (made.sealed, context_of(instance.meta.name))}
    if made.role:
        tree[f"{folder}/{made.role}"] = json.dumps(fault, indent=2)
    return tree, {}


def metadata_tree(
    instance: Instance, interfaces: list[NetworkInterface], hostname: str, read: Reader, user_data: bytes | None
) -> dict[str, str]:
    """Path under /latest/ → content. AWS: "Instance metadata categories" (EC2 user guide)."""
    region = instance.meta.scope.partition("/")[2]
    spec, first = instance.spec, interfaces[0]
    tree = {
        "ami-id": spec.image,
        "ami-launch-index": str(spec.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping/ami": spec.root_device,
        "block-device-mapping/root": spec.root_device,
        # Nothing here is ever maintained under a running machine.
        "events/maintenance/history": "[]",
        "events/maintenance/scheduled": "[]",
        "hostname": hostname,
        "instance-action": "none",
        "instance-id": instance.meta.name,
        "instance-life-cycle": "spot" if spec.spot_request else "on-demand",
        "instance-type": spec.type,
        "local-hostname": hostname,
        "local-ipv4": first.spec.primary.address,
        "mac": first.spec.mac,
        "placement/availability-zone": spec.zone,
        "placement/availability-zone-id": zone_id(spec.zone),
        "placement/region": region,
        "profile": "default-hvm",
        "reservation-id": spec.reservation,
        "security-groups": "\n".join(_group_names(first, read)),
        "services/domain": "amazonaws.com",
        "services/partition": "aws",
    }
    type_ = find_instance_type(spec.type)
    if type_ is not None:
        tree["system"] = "nitro" if type_.hypervisor == "nitro" else "xen"
    tree.update(_placement_tree(instance))
    for number, device in enumerate(one for one in spec.block_devices if one.device != spec.root_device):
        tree[f"block-device-mapping/ebs{number + 1}"] = device.device
    tree.update(store_tree(instance))
    if first.spec.primary.public:
        tree["public-ipv4"] = first.spec.primary.public
        if _public_names(read.get(Vpc, instance.meta.scope, first.spec.vpc)):
            tree["public-hostname"] = public_name(region, first.spec.primary.public)
    if spec.key_name:
        tree["public-keys/"] = f"0={spec.key_name}"
        tree["public-keys/0/openssh-key"] = spec.public_key
    for key, value in instance.meta.tags.items():
        if "/" not in key:
            tree[f"tags/instance/{key}"] = value
    for interface in interfaces:
        tree.update(_interface_tree(region, interface, read))
    found = {f"meta-data/{path}": text for path, text in tree.items()}
    found["dynamic/instance-identity/document"] = _identity_document(instance, first)
    vpc = read.get(Vpc, instance.meta.scope, spec.vpc)
    options = read.get(DhcpOptions, instance.meta.scope, vpc.spec.dhcp_options) if vpc is not None else None
    found["gureum/resolver"], found["gureum/dhcp"] = resolver_file(options), option_lines(options)
    found[METADATA_PATH] = boot_script(user_data) if user_data else ""
    return found


def _placement_tree(instance: Instance) -> dict[str, str]:
    """Its placement group, and the notice of a Spot Instance that is to be interrupted."""
    spec = instance.spec
    tree = {}
    if spec.placement:
        tree["placement/group-name"] = spec.placement
    if spec.partition:
        tree["placement/partition-number"] = str(spec.partition)
    if spec.interruption is not None:
        notice = {"action": spec.interruption.action, "time": _iso(spec.interruption.at)}
        tree["spot/instance-action"] = json.dumps(notice)
        if spec.interruption.action == "terminate":
            tree["spot/termination-time"] = notice["time"]
    return tree


def _interface_tree(region: str, interface: NetworkInterface, read: Reader) -> dict[str, str]:
    spec = interface.spec
    subnet = read.get(Subnet, interface.meta.scope, spec.subnet)
    vpc = read.get(Vpc, interface.meta.scope, spec.vpc)
    index = spec.attachment.device_index if spec.attachment else 0
    tree = {
        "device-number": str(index),
        "interface-id": interface.meta.name,
        "local-hostname": private_name(region, spec.primary.address),
        "local-ipv4s": "\n".join(one.address for one in spec.addresses),
        "mac": spec.mac,
        "owner-id": interface.meta.scope.partition("/")[0],
        "security-group-ids": "\n".join(spec.groups),
        "security-groups": "\n".join(_group_names(interface, read)),
        "subnet-id": spec.subnet,
        "subnet-ipv4-cidr-block": subnet.spec.cidr if subnet else "",
        "vpc-id": spec.vpc,
        "vpc-ipv4-cidr-block": vpc.spec.cidr if vpc else "",
        "vpc-ipv4-cidr-blocks": "\n".join(one.cidr for one in vpc.spec.cidrs) if vpc else "",
    }
    if spec.prefixes:
        tree["ipv4-prefix"] = "\n".join(spec.prefixes)
    public = [one for one in spec.addresses if one.public]
    if public:
        if _public_names(vpc):
            tree["public-hostname"] = public_name(region, public[0].public)
        tree["public-ipv4s"] = "\n".join(one.public for one in public)
        for one in public:
            tree[f"ipv4-associations/{one.public}"] = one.address
    return {f"network/interfaces/macs/{spec.mac}/{path}": text for path, text in tree.items()}


def _public_names(vpc: Vpc | None) -> bool:
    """AWS: "only returned if the enableDnsHostnames attribute is set to true" (Instance metadata categories)."""
    return vpc is not None and vpc.spec.dns_hostnames and vpc.spec.dns_support


def _group_names(interface: NetworkInterface, read: Reader) -> list[str]:
    names = (read.field(SecurityGroup, interface.meta.scope, name, "group_name") for name in interface.spec.groups)
    return [name for name in names if name is not None]


def _identity_document(instance: Instance, interface: NetworkInterface) -> str:
    """AWS: "Instance identity documents": keys in this order, two spaces and a space before each colon."""
    account, region = instance.meta.scope.split("/")
    document: dict[str, Any] = {
        "accountId": account,
        "architecture": "x86_64",
        "availabilityZone": instance.spec.zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": instance.spec.image,
        "instanceId": instance.meta.name,
        "instanceType": instance.spec.type,
        "kernelId": None,
        "pendingTime": _iso(instance.spec.launched),
        "privateIp": interface.spec.primary.address,
        "ramdiskId": None,
        "region": region,
        "version": "2017-09-30",
    }
    # What json.dumps(indent=2) writes, which is not compiled and takes ten times as long.
    lines = ",\n".join(f'  "{key}" : {json.dumps(value)}' for key, value in document.items())
    return f"{{\n{lines}\n}}"


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
