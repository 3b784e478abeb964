"""DescribeImages and DescribeImageAttribute: which images a caller finds, by what, and what it is told of them."""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.account_settings import settings_of
from gureum.aws.ec2.images.allowed_images import is_allowed
from gureum.aws.ec2.images.images import (
    Image,
    find_or_fall_back,
    namesakes,
    no_image,
    others_images,
    own_image,
    resolve_image,
)
from gureum.aws.ec2.listing import answer, as_shared, iso_time, show_tags
from gureum.aws.filters import FilterTable, apply_filters, boolean
from gureum.aws.marks import operation
from gureum.aws.paging import page

LIMIT_PAGE = 1000
OWNER_ALIASES = ("amazon", "aws-backup-vault", "aws-marketplace", "microsoft")


@operation("DescribeImages")
def describe_images(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeImages. Deprecated images of others only with IncludeDeprecated or by id; disabled ones only with IncludeDisabled."""
    params = call.params
    ids.check_users(params.get("Owners") or (), "self", *OWNER_ALIASES)
    ids.check_users(params.get("ExecutableUsers") or (), "self", "all")
    wanted = params.get("ImageIds") or ()
    found = _by_ids(call, wanted) if wanted else [*call.all(Image), *others_images(call)]
    found = [as_shared(call, image) for image in found]
    if not wanted and any(one.get("Name") == "name" for one in params.get("Filters") or ()):
        found += namesakes(call)
    if params.get("Owners"):
        found = [image for image in found if _owned(call, image, params["Owners"])]
    if params.get("ExecutableUsers"):
        found = [image for image in found if _executable(call, image, params["ExecutableUsers"])]
    if not wanted:
        found = [image for image in found if _shown_unasked(call, image)]
    settings = settings_of(call)
    table: FilterTable = {
        **_FILTERS,
        "image-allowed": lambda image: boolean(not settings.restricts or is_allowed(call, image, settings)),
    }
    found = apply_filters(found, params.get("Filters"), table)
    call.end_dry_run()
    shown, token = page(params, found, lambda image: image.meta.name, least=1, most=LIMIT_PAGE, default=LIMIT_PAGE)
    images = [show_image(image) for image in shown]
    if settings.restricts:
        for image, one in zip(shown, images, strict=True):
            one["ImageAllowed"] = is_allowed(call, image, settings)
    return answer("Images", images, token)


@operation("DescribeImageAttribute")
def describe_image_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeImageAttribute. Launch permissions and the mapping are told to the owner only."""
    attribute, image_id = call.params["Attribute"], call.params["ImageId"]
    image = find_or_fall_back(call, image_id)
    if image is None:
        raise no_image(image_id)
    if attribute in ("launchPermission", "blockDeviceMapping"):
        image = own_image(call, image_id)
    if attribute not in _ATTRIBUTES:
        raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")
    call.end_dry_run()
    return {"ImageId": image_id, **_ATTRIBUTES[attribute](image)}


def show_image(image: Image) -> dict[str, Any]:
    """API form. AWS: ec2 Image."""
    spec = image.spec
    shown: dict[str, Any] = {
        "ImageId": image.meta.name,
        "Name": spec.name,
        "ImageLocation": spec.location,
        "OwnerId": image.owner,
        "State": image.state,
        "CreationDate": iso_time(image.meta.created),
        "Public": spec.public,
        "Architecture": spec.architecture,
        "ImageType": "machine",
        "Hypervisor": "xen",
        "VirtualizationType": "hvm",
        "RootDeviceName": spec.root_device,
        "RootDeviceType": "ebs",
        "BlockDeviceMappings": list(spec.mappings),
        "EnaSupport": spec.ena,
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "DeregistrationProtection": "enabled-without-cooldown" if spec.protected else "disabled",
        "Tags": show_tags(image.meta.tags),
    }
    optional = {
        "Description": spec.description,
        "ImageOwnerAlias": spec.owner_alias,
        "BootMode": spec.boot_mode,
        "TpmSupport": spec.tpm,
        "ImdsSupport": spec.imds,
        "SriovNetSupport": spec.sriov,
        "SourceInstanceId": spec.instance,
        "SourceImageRegion": spec.copy_of[0],
        "SourceImageId": spec.copy_of[1],
        "DeprecationTime": iso_time(spec.deprecated_at) if spec.deprecated_at else "",
    }
    shown |= {name: value for name, value in optional.items() if value}
    if image.status.reason:
        shown["StateReason"] = {"Code": _code(image), "Message": image.status.reason}
    return shown


def _code(image: Image) -> str:
    return "Client.ImportFailed" if image.spec.path else "Client.ImageFailed"


def _by_ids(call: Call, wanted: Any) -> list[Image]:
    resolved = [resolve_image(call, id_) for id_ in dict.fromkeys(wanted)]
    found = {id_: find_or_fall_back(call, id_) for id_ in resolved}
    missing = [id_ for id_, image in found.items() if image is None]
    if missing:
        raise no_image(*missing)
    return [image for image in found.values() if image is not None]


def _owned(call: Call, image: Image, owners: list[str]) -> bool:
    names = {image.owner, image.spec.owner_alias}
    if image.owner == call.account:
        names.add("self")
    return not names.isdisjoint(owners)


def _executable(call: Call, image: Image, users: list[str]) -> bool:
    """ "all": public ones; "self" or an account: those with an explicit launch permission for it."""
    for user in users:
        if user == "all" and image.spec.public:
            return True
        if (call.account if user == "self" else user) in image.spec.launch_accounts:
            return True
    return False


def _shown_unasked(call: Call, image: Image) -> bool:
    spec = image.spec
    if spec.disabled and not call.params.get("IncludeDisabled"):
        return False
    deprecated = spec.deprecated_at and spec.deprecated_at <= call.now
    return not deprecated or bool(call.params.get("IncludeDeprecated")) or image.owner == call.account


def _ebs(name: str) -> Any:
    def look(image: Image) -> list[str]:
        found = ((mapping.get("Ebs") or {}).get(name) for mapping in image.spec.mappings)
        return [boolean(value) if isinstance(value, bool) else str(value) for value in found if value is not None]

    return look


OF_NO_IMAGE = (
    "image-watermark.source-image-creation-time",
    "image-watermark.source-image-id",
    "image-watermark.source-image-region",
    "image-watermark.watermark-creation-time",
    "image-watermark.watermark-key",
    "instance-type-specification.supported-instance-type",
    "instance-type-specification.unsupported-instance-type",
    "kernel-id",
    "platform",
    "product-code",
    "product-code.type",
    "public-ssm-parameter-name",
    "ramdisk-id",
    "scan-result.critical-fix-available-since",
    "scan-result.finding-scan-date",
    "scan-result.high-fix-available-since",
    "scan-result.highest-finding-severity-label",
    "scan-result.informational-fix-available-since",
    "scan-result.low-fix-available-since",
    "scan-result.medium-fix-available-since",
)
"""Filters of the reference that no image here has a value for: they match none."""

_FILTERS: FilterTable = {
    **dict.fromkeys(OF_NO_IMAGE, lambda _: ()),
    "architecture": lambda image: image.spec.architecture,
    "block-device-mapping.delete-on-termination": _ebs("DeleteOnTermination"),
    "block-device-mapping.device-name": lambda image: [one["DeviceName"] for one in image.spec.mappings],
    "block-device-mapping.encrypted": _ebs("Encrypted"),
    "block-device-mapping.snapshot-id": _ebs("SnapshotId"),
    "block-device-mapping.volume-size": _ebs("VolumeSize"),
    "block-device-mapping.volume-type": _ebs("VolumeType"),
    "boot-mode": lambda image: image.spec.boot_mode or (),
    "creation-date": lambda image: iso_time(image.meta.created),
    "description": lambda image: image.spec.description,
    "ena-support": lambda image: boolean(image.spec.ena),
    "free-tier-eligible": lambda image: boolean(image.spec.owner_alias == "amazon"),
    "hypervisor": lambda _: "xen",
    "image-id": lambda image: image.meta.name,
    "image-type": lambda _: "machine",
    "is-public": lambda image: boolean(image.spec.public),
    "manifest-location": lambda image: image.spec.location,
    "name": lambda image: image.spec.name,
    "owner-alias": lambda image: image.spec.owner_alias or (),
    "owner-id": lambda image: image.owner,
    "root-device-name": lambda image: image.spec.root_device,
    "root-device-type": lambda _: "ebs",
    "source-image-id": lambda image: image.spec.copy_of[1] or (),
    "source-image-region": lambda image: image.spec.copy_of[0] or (),
    "source-instance-id": lambda image: image.spec.instance or (),
    "sriov-net-support": lambda image: image.spec.sriov or (),
    "state": lambda image: image.state,
    "state-reason-code": lambda image: _code(image) if image.status.reason else (),
    "state-reason-message": lambda image: image.status.reason or (),
    "tpm-support": lambda image: image.spec.tpm or (),
    "virtualization-type": lambda _: "hvm",
}


def _permissions(image: Image) -> dict[str, Any]:
    groups = [{"Group": "all"}] if image.spec.public else []
    return {"LaunchPermissions": groups + [{"UserId": account} for account in image.spec.launch_accounts]}


def _value(name: str, text: str) -> dict[str, Any]:
    return {name: {"Value": text} if text else {}}


_ATTRIBUTES: dict[str, Any] = {
    "blockDeviceMapping": lambda image: {"BlockDeviceMappings": list(image.spec.mappings)},
    "bootMode": lambda image: _value("BootMode", image.spec.boot_mode),
    "deregistrationProtection": lambda image: _value(
        "DeregistrationProtection", "enabled-without-cooldown" if image.spec.protected else "disabled"
    ),
    "description": lambda image: _value("Description", image.spec.description),
    "imdsSupport": lambda image: _value("ImdsSupport", image.spec.imds),
    "kernel": lambda _: _value("KernelId", ""),
    "lastLaunchedTime": lambda _: _value("LastLaunchedTime", ""),
    "launchPermission": _permissions,
    "productCodes": lambda _: {"ProductCodes": []},
    "ramdisk": lambda _: _value("RamdiskId", ""),
    "sriovNetSupport": lambda image: _value("SriovNetSupport", image.spec.sriov),
    "tpmSupport": lambda image: _value("TpmSupport", image.spec.tpm),
    "uefiData": lambda _: _value("UefiData", ""),
}
