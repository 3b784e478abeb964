"""The names under which people look for images without knowing their ids: AWS's public Systems Manager parameters, and names of AMIs.

What a name promises is a family, not a program: the Amazon Linux and Ubuntu names answer gureum's small Linux (user `ec2-user`), the Debian ones its
Debian. Only this machine's architecture is answered. AWS: "Reference the latest AMIs using Systems Manager public parameters" (EC2 user guide);
ubuntu.com/server/docs (find Ubuntu images on AWS); wiki.debian.org/Cloud/AmazonEC2Image. The families of AMIs that templates search with a pattern
("al2023-ami-2023*-x86_64") have one image each, with the date of the built-in ones (docs/decisions/0153).
"""

from __future__ import annotations

import platform
import re
from typing import NamedTuple

MACHINE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This machine's architecture in EC2's words: "x86_64" or "arm64"."""
_DPKG = {"x86_64": "amd64"}.get(MACHINE, MACHINE)
AMAZON = "137112412989"
"""Amazon's own account for its images, so that scripts which ask for amazon's find ours."""
DEBIAN = "136693071363"
"""Debian's account on AWS, for the image that is a Debian."""
CANONICAL = "099720109477"
_DATE = "20260101"
_AMAZON = "/aws/service/ami-amazon-linux-latest/"
_AMAZON_NAMES = (
    f"al2023-ami-kernel-6.1-{MACHINE}",
    f"al2023-ami-kernel-6.12-{MACHINE}",
    f"al2023-ami-kernel-default-{MACHINE}",
    f"al2023-ami-minimal-kernel-6.1-{MACHINE}",
    f"al2023-ami-minimal-kernel-6.12-{MACHINE}",
    f"al2023-ami-minimal-kernel-default-{MACHINE}",
    f"amzn2-ami-hvm-{MACHINE}-ebs",
    f"amzn2-ami-hvm-{MACHINE}-gp2",
    f"amzn2-ami-kernel-5.10-hvm-{MACHINE}-ebs",
    f"amzn2-ami-kernel-5.10-hvm-{MACHINE}-gp2",
    f"amzn2-ami-minimal-hvm-{MACHINE}-ebs",
    "amzn-ami-hvm-x86_64-ebs",
    "amzn-ami-hvm-x86_64-gp2",
    "amzn-ami-minimal-hvm-x86_64-ebs",
)
_UBUNTU = {"20.04": "gp2", "22.04": "gp2", "24.04": "gp3", "focal": "gp2", "jammy": "gp2", "noble": "gp3"}
"""Release → the disk type in its parameter's name."""
_DEBIAN = ("11", "12", "13", "bullseye", "bookworm", "trixie")
_AMAZON_FORM = re.compile(rf"{re.escape(_AMAZON)}(al2023|amzn2?)-ami-[a-z0-9.-]*{MACHINE}[a-z0-9.-]*")
_UBUNTU_FORM = re.compile(
    rf"/aws/service/canonical/ubuntu/[a-z-]+/[a-z0-9.]+/(stable|daily)/[a-z0-9.]+/{_DPKG}/hvm/(ebs-gp[23]|ebs-ssd|instance-store)/ami-id"
)
_DEBIAN_FORM = re.compile(rf"/aws/service/debian/(release|daily)/[a-z0-9]+/latest/{_DPKG}")


class Family(NamedTuple):
    """An AMI as it is named on AWS. `builtin`: what it is here. `device`: of its root."""

    ami_name: str
    owner: str
    builtin: str
    device: str = "/dev/xvda"


FAMILIES = (
    Family(f"al2023-ami-2023.10.{_DATE}.0-kernel-6.1-{MACHINE}", AMAZON, "busybox"),
    Family(f"al2023-ami-2023.10.{_DATE}.0-kernel-6.12-{MACHINE}", AMAZON, "busybox"),
    Family(f"al2023-ami-minimal-2023.10.{_DATE}.0-kernel-6.1-{MACHINE}", AMAZON, "busybox"),
    Family(f"amzn2-ami-hvm-2.0.{_DATE}.0-{MACHINE}-gp2", AMAZON, "busybox"),
    Family(f"amzn2-ami-kernel-5.10-hvm-2.0.{_DATE}.0-{MACHINE}-gp2", AMAZON, "busybox"),
    *(
        Family(f"amzn-ami-hvm-2018.03.0.{_DATE}.0-x86_64-{disk}", AMAZON, "busybox")
        for disk in ("ebs", "gp2")
        if MACHINE == "x86_64"  # Amazon Linux 1 knows no other
    ),
    *(
        Family(f"ubuntu/images/{disk}/ubuntu-{release}-{_DPKG}-server-{_DATE}", CANONICAL, "busybox", "/dev/sda1")
        for disk, release in (
            ("hvm-ssd", "focal-20.04"),
            ("hvm-ssd", "jammy-22.04"),
            ("hvm-ssd-gp3", "noble-24.04"),
        )
    ),
    *(Family(f"debian-{release}-{_DPKG}-{_DATE}-1", DEBIAN, "debian") for release in (11, 12, 13)),
)


def builtin_of(parameter: str) -> str | None:
    """Name of the built-in image ("busybox", "debian") that a public parameter stands for; None when it is no such parameter."""
    if _AMAZON_FORM.fullmatch(parameter) or _UBUNTU_FORM.fullmatch(parameter):
        return "busybox"
    return "debian" if _DEBIAN_FORM.fullmatch(parameter) else None


def listed_names() -> list[str]:
    """The parameters that are listed under a path, sorted. More are answered when they are asked for by name."""
    names = [_AMAZON + name for name in _AMAZON_NAMES if MACHINE in name]
    names += [
        f"/aws/service/canonical/ubuntu/{flavour}/{release}/stable/current/{_DPKG}/hvm/ebs-{disk}/ami-id"
        for release, disk in _UBUNTU.items()
        for flavour in ("server", "server-minimal")
    ]
    names += [f"/aws/service/debian/release/{release}/latest/{_DPKG}" for release in _DEBIAN]
    return sorted(names)
