"""What the driver local is told with a volume (`volume create --opt`): where its files are, if not in a folder of its own. As moby's volume/local.


type=none,o=bind,device=/path     a folder of the host
type=tmpfs,device=tmpfs,o=size=…  memory, there as long as a container that runs has it
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from gureum.docker.errors import bad_parameter, not_built

_KNOWN = ("type", "o", "device", "size")
_NEEDED = (("device", "type"), ("type", "device"), ("o", "device"), ("o", "type"))
_SIZE = re.compile(r"\d+(\.\d+)?\s?([kmgtp]i?)?b?", re.IGNORECASE)
_DEFAULTS = frozenset({"bind", "rbind", "ro", "rw", "exec", "suid", "dev", "atime", "defaults", ""})


class Backing(msgspec.Struct, frozen=True):
    """`device`: the folder of the host of "bind". `data`: as mount(8) is told of "tmpfs"."""

    kind: Literal["folder", "bind", "tmpfs"]
    device: str = ""
    data: str = ""
    read_only: bool = False


def backing(options: dict[str, str]) -> Backing:
    """DockerError 400 for what the driver does not know, 501 for file systems that gureum does not mount."""
    for key in options:
        if key not in _KNOWN:
            raise bad_parameter(f'invalid option: "{key}"')
    if "size" in options:
        if not _SIZE.fullmatch(options["size"]):
            raise bad_parameter(f"invalid size: '{options['size']}'")
        raise bad_parameter("quota size requested but no quota support")
    for key, other in _NEEDED:
        if key in options and other not in options:
            raise bad_parameter(f'missing required option: "{other}"')
    if not options:
        return Backing("folder")
    kind, device, words = options["type"], options["device"], options.get("o", "").split(",")
    own, read_only = [word for word in words if word not in _DEFAULTS], "ro" in words
    if {"bind", "rbind"} & set(words):
        if not device.startswith("/"):
            raise bad_parameter(f"invalid mount path: '{device}' mount path must be absolute")
        if own:
            raise not_built(f"folders of the host with the option {own[0][:32]} (--opt o)")
        return Backing("bind", device, read_only=read_only)
    if kind != "tmpfs":
        raise not_built(f"volumes of the type {kind[:32]} (--opt type)")
    return Backing("tmpfs", data=",".join(own), read_only=read_only)
