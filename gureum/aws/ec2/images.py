"""AMIs: the built-in ones, which every account and region has, and registered ones.

A built-in image's id is made from its name, so it is the same everywhere and for ever; nothing of it is stored. A registered image names the
digest of what was imported into the machine's image store. AWS: ec2 DescribeImages, RegisterImage, DeregisterImage.
"""

from __future__ import annotations

import hashlib
import platform
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.ids import IdForm, check_id, not_found
from gureum.aws.errors import AwsError
from gureum.engine.resource import Resource, kind

AMI = IdForm("ami", "image id", "image", "InvalidAMIID.NotFound", "InvalidAMIID.Malformed")
ROOT_DEVICE = "/dev/xvda"
BUILTIN_OWNER = "137112412989"
"""Amazon's own account for its images, so that scripts which ask for amazon's find ours."""
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class Builtin(msgspec.Struct, frozen=True):
    """An image that gureum brings along. `user`: whom SSH logs in as."""

    name: str
    ami_name: str
    description: str
    user: str
    size_gib: int
    created: str = "2026-01-01T00:00:00.000Z"

    @property
    def id(self) -> str:
        return "ami-0" + hashlib.sha256(f"gureum/{self.name}".encode()).hexdigest()[:16]


BUILTINS = (
    Builtin("busybox", "gureum-busybox-1", "gureum's small Linux: BusyBox, SSH (user ec2-user), HTTP server, cloud-config", "ec2-user", 8),
    Builtin("debian", "gureum-debian-12", "Debian 12 built from its packages (user admin)", "admin", 8),
)


class ImageSpec(msgspec.Struct, frozen=True):
    """`digest`: in the machine's image store. `mappings`: API form of BlockDeviceMappings."""

    name: str
    digest: str
    description: str = ""
    architecture: str = ARCHITECTURE
    root_device: str = ROOT_DEVICE
    size_gib: int = 8
    mappings: tuple[dict[str, Any], ...] = ()
    public: bool = False
    launch_accounts: tuple[str, ...] = ()
    ena: bool = True
    deprecated_at: float = 0.0


@kind("ec2.Image", indexes={"name": lambda image: image.spec.name})
class Image(Resource, frozen=True):
    spec: ImageSpec


class LaunchImage(msgspec.Struct, frozen=True):
    """What a launch takes from an image. `block_devices`: API form of its mappings, the root among them. `size_gib`: the least a root may have."""

    id: str
    source: str
    root_device: str
    architecture: str
    size_gib: int
    block_devices: tuple[dict[str, Any], ...]


def find_launch_image(call: Call, image_id: str) -> LaunchImage:
    """The image to start. With `ami_fallback` set, an id that nobody knows starts that built-in image. AWS: InvalidAMIID.Malformed,
    InvalidAMIID.NotFound."""
    for builtin in BUILTINS:
        if builtin.id == image_id:
            return _launch_builtin(builtin, image_id)
    check_id(AMI, image_id)
    found = call.get(Image, image_id)
    if found is not None:
        spec = found.spec
        devices = spec.mappings or _root_mapping(spec.root_device, spec.size_gib)
        return LaunchImage(image_id, f"digest:{spec.digest}", spec.root_device, spec.architecture, spec.size_gib, devices)
    for builtin in BUILTINS:
        if builtin.name == call.settings.ami_fallback:
            return _launch_builtin(builtin, image_id)
    raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")


def _launch_builtin(builtin: Builtin, image_id: str) -> LaunchImage:
    devices = _root_mapping(ROOT_DEVICE, builtin.size_gib)
    return LaunchImage(image_id, f"builtin:{builtin.name}", ROOT_DEVICE, ARCHITECTURE, 1, devices)


def _root_mapping(device: str, size_gib: int) -> tuple[dict[str, Any], ...]:
    return ({"DeviceName": device, "Ebs": {"VolumeSize": size_gib, "VolumeType": "gp3", "DeleteOnTermination": True}},)


__all__ = ["AMI", "BUILTINS", "Image", "ImageSpec", "LaunchImage", "find_launch_image", "not_found"]
