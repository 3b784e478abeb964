"""AMIs: the built-in ones, which every account and region has, and registered ones; which of them a caller sees and may start.

A built-in image's id is made from its name, so it is the same everywhere and for ever; nothing of it is stored. A registered image names the
digest of what was imported into the machine's image store. Operations: images/describe.py, images/register.py, images/attributes.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.ids import IdForm, check_id
from gureum.aws.ec2.images.allowed_images import allowed_only
from gureum.aws.ec2.images.names import AMAZON, DEBIAN, FAMILIES, MACHINE, builtin_of
from gureum.aws.ec2.images.parameters import parameter_value
from gureum.aws.errors import AwsError
from gureum.engine.resource import Meta, Resource, kind

AMI = IdForm("ami", "image ID", "image", "InvalidAMIID.NotFound", "InvalidAMIID.Malformed")
ROOT_DEVICE = "/dev/xvda"
BUILTIN_CREATED = 1_767_225_600.0
RESOLVE = "resolve:ssm:"
NEVER = 0.0


class Builtin(msgspec.Struct, frozen=True):
    """An image that gureum brings along. `ami_name` says what it is. `user`: whom SSH logs in as. `source`: the one that it is under another
    name, "" for itself; `device`: of its root."""

    name: str
    ami_name: str
    description: str
    user: str
    owner: str
    size_gib: int
    source: str = ""
    device: str = ROOT_DEVICE

    @property
    def id(self) -> str:
        return "ami-0" + hashlib.sha256(f"gureum/{self.name}".encode()).hexdigest()[:16]


BUILTINS = (
    Builtin(
        "busybox",
        f"gureum-busybox-1-{MACHINE}",
        "gureum's small Linux: BusyBox, SSH (user ec2-user), HTTP server, cloud-config",
        "ec2-user",
        AMAZON,
        8,
    ),
    Builtin(
        "debian",
        f"debian-12-{'amd64' if MACHINE == 'x86_64' else MACHINE}-gureum-1",
        "Debian 12 (bookworm), built from its packages (user admin)",
        "admin",
        DEBIAN,
        8,
    ),
)
NAMESAKES = tuple(
    Builtin(
        family.ami_name,
        family.ami_name,
        f"Under this name gureum answers with {builtin.ami_name}: {builtin.description}",
        builtin.user,
        family.owner,
        builtin.size_gib,
        builtin.name,
        family.device,
    )
    for family in FAMILIES
    for builtin in BUILTINS
    if builtin.name == family.builtin
)
"""Images under the names that AWS's own have."""
ImageState = Literal["pending", "available", "failed"]


class ImageSpec(msgspec.Struct, frozen=True):
    """`source`: what the core Image is ("builtin:busybox", "digest:sha256:…"), "" while it is not imported yet; `path`, `form`: what from.
    `mappings`: API form of BlockDeviceMappings, the root among them. `least_gib`: the least size of a root.
    `launch_accounts`: those that may start it beside the owner. `deprecated_at`: Unix seconds, 0.0 for never. `instance`: what it was made of;
    `volumes`: (device, volume) of which snapshots are still to be made, with `snapshot_tags`. `copy_of`: (region, image) it is a copy of.
    `restoring`: what it is still lies in an object of S3 (images/storing.py)."""

    name: str
    source: str
    mappings: tuple[dict[str, Any], ...]
    path: str = ""
    form: str = ""
    location: str = ""
    description: str = ""
    architecture: str = MACHINE
    root_device: str = ROOT_DEVICE
    least_gib: int = 1
    owner_alias: str = ""
    public: bool = False
    launch_accounts: tuple[str, ...] = ()
    ena: bool = True
    boot_mode: str = ""
    tpm: str = ""
    imds: str = ""
    sriov: str = ""
    deprecated_at: float = NEVER
    disabled: bool = False
    protected: bool = False
    instance: str = ""
    volumes: tuple[tuple[str, str], ...] = ()
    snapshot_tags: dict[str, str] = {}
    copy_of: tuple[str, str] = ("", "")
    restoring: bool = False


class ImageStatus(msgspec.Struct, frozen=True):
    """`reason`: why the state is "failed"."""

    state: ImageState = "available"
    reason: str = ""


def _snapshots(image: Any) -> tuple[str, ...]:
    found = ((one.get("Ebs") or {}).get("SnapshotId") for one in image.spec.mappings)
    return tuple(str(id_) for id_ in found if id_)


@kind(
    "ec2.Image",
    indexes={
        "name": lambda image: image.spec.name,
        "snapshot": _snapshots,
        "making": lambda image: (image.spec.instance,) if image.status.state == "pending" else (),
    },
)
class Image(Resource, frozen=True):
    """Its scope is its owner's. The claim "image-name/<scope>" keeps names unique."""

    spec: ImageSpec
    status: ImageStatus = ImageStatus()

    @property
    def owner(self) -> str:
        return self.meta.scope.split("/")[0]

    @property
    def snapshots(self) -> tuple[str, ...]:
        """Ids of the snapshots in its mappings."""
        return _snapshots(self)

    @property
    def state(self) -> str:
        """AWS: ec2 ImageState."""
        return "disabled" if self.spec.disabled else self.status.state


class LaunchImage(msgspec.Struct, frozen=True):
    """What a launch takes from an image. `block_devices`: API form of its mappings, the root among them. `size_gib`: the least a root may have."""

    id: str
    source: str
    root_device: str
    architecture: str
    size_gib: int
    block_devices: tuple[dict[str, Any], ...]
    imds_support: str = ""


def find_launch_image(call: Call, image_id: str) -> LaunchImage:
    """The image to start. With `ami_fallback` set, an id that nobody knows starts that built-in image. AWS: InvalidAMIID.Malformed,
    InvalidAMIID.NotFound, InvalidAMIID.Unavailable; "resolve:ssm:PARAMETER" for one of AWS's public parameters."""
    image_id = resolve_image(call, image_id)
    image = find_or_fall_back(call, image_id)
    if image is None:
        raise no_image(image_id)
    if image.state != "available":
        raise AwsError("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is not available")
    spec = image.spec
    return LaunchImage(
        image_id, spec.source, spec.root_device, spec.architecture, spec.least_gib, spec.mappings, spec.imds
    )


def find_or_fall_back(call: Call, image_id: str) -> Image | None:
    """The image of that id that the caller may see; with `ami_fallback` set, that built-in image under an id that nobody knows."""
    image = find_image(call, image_id)
    fallback = next((one for one in BUILTINS if one.name == call.settings.ami_fallback), None)
    if image is not None or fallback is None:
        return image
    image = builtin_image(call.region, fallback)
    return msgspec.structs.replace(image, meta=msgspec.structs.replace(image.meta, name=image_id))


def resolve_image(call: Call, text: str) -> str:
    """An image id, or "resolve:ssm:" with the name of a public parameter, or of one of the account's own with or without ":version" → image id.
    AWS: InvalidParameterValue for a parameter that is not there."""
    if not text.startswith(RESOLVE):
        return text
    name = text[len(RESOLVE) :]
    found = builtin_of(name.partition(":")[0])
    if found is not None:
        return builtin_id(found)
    value = parameter_value(call, name)
    if value is None:
        raise AwsError("InvalidParameterValue", f"The Systems Manager parameter '{name}' does not exist.")
    return value


def builtin_id(name: str) -> str:
    """Image id of the built-in image "busybox" or "debian"."""
    return next(one.id for one in BUILTINS if one.name == name)


def find_image(call: Call, image_id: str) -> Image | None:
    """The image of that id that the caller may see: built in, its own, public, or shared with it. AWS: InvalidAMIID.Malformed."""
    check_id(AMI, image_id)
    own = call.get(Image, image_id)
    others = (image for found in (others_images, namesakes) for image in found(call) if image.meta.name == image_id)
    return own or next(others, None)


def own_image(call: Call, image_id: str) -> Image:
    """The caller's own image, for operations that change it. AWS: AuthFailure for one that is another's, InvalidAMIID.NotFound."""
    image = find_image(call, image_id)
    if image is None:
        raise no_image(image_id)
    if image.meta.scope != call.scope:
        raise AwsError("AuthFailure", f"Not authorized for image:{image_id}")
    return image


def namesakes(call: Call, wanted: str = "") -> Iterator[Image]:
    """Built-in images under the names that AWS's own have: found by who looks for such a name, and by their ids. `wanted`: as of `others_images`."""
    yield from allowed_only(call, (builtin_image(wanted or call.region, one) for one in NAMESAKES))


def others_images(call: Call, wanted: str = "") -> Iterator[Image]:
    """Images of the region (`wanted`, "" for the call's) that others own and the caller may start and is allowed to, the built-in ones first."""
    yield from allowed_only(call, _others_images(call, wanted or call.region))


def _others_images(call: Call, wanted: str) -> Iterator[Image]:
    for builtin in BUILTINS:
        yield builtin_image(wanted, builtin)
    for image in call.client.everywhere(Image):
        account, region = image.meta.scope.split("/")
        if region == wanted and account != call.account and may_launch(image, call.account):
            yield image


def may_launch(image: Image, account: str) -> bool:
    """Whether `account`, which does not own the image, has a launch permission for it."""
    return image.spec.public or account in image.spec.launch_accounts


def builtin_image(region: str, builtin: Builtin) -> Image:
    """The built-in image in the form of a stored one."""
    return Image(
        meta=Meta(scope=f"{builtin.owner}/{region}", name=builtin.id, uid=builtin.id, created=BUILTIN_CREATED),
        spec=ImageSpec(
            name=builtin.ami_name,
            source=f"builtin:{builtin.source or builtin.name}",
            mappings=root_mapping(builtin.device, builtin.size_gib),
            root_device=builtin.device,
            location=f"amazon/{builtin.ami_name}",
            description=builtin.description,
            owner_alias="amazon",
            public=True,
        ),
    )


def root_mapping(device: str, size_gib: int) -> tuple[dict[str, Any], ...]:
    """The mapping of an image that names no other disk."""
    ebs = {"VolumeSize": size_gib, "VolumeType": "gp3", "DeleteOnTermination": True, "Encrypted": False}
    return ({"DeviceName": device, "Ebs": ebs},)


def no_image(*image_ids: str) -> AwsError:
    """AWS: InvalidAMIID.NotFound, with EC2's own brackets."""
    if len(image_ids) == 1:
        return AwsError("InvalidAMIID.NotFound", f"The image id '[{image_ids[0]}]' does not exist")
    return AwsError("InvalidAMIID.NotFound", f"The image ids '[{', '.join(image_ids)}]' do not exist")


def change(image: Image, **fields: Any) -> Image:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(image, spec=msgspec.structs.replace(image.spec, **fields))
