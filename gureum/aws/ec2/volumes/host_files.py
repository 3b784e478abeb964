"""What this machine's disk can hold of a volume: a file system bounds the size of a file, whatever room it has (ext4: 16 TiB)."""

from __future__ import annotations

import errno
import os
import tempfile

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import VolumeSpec
from gureum.aws.errors import AwsError

ALWAYS_GIB = 8192
"""No file system in use bounds files below this; they are not tried."""


def held(call: Call, spec: VolumeSpec) -> VolumeSpec:
    """The same. AWS: InsufficientVolumeCapacity, when no such file can be here."""
    if spec.size_gib > ALWAYS_GIB and not call.settings.simulate and not holds_file(call.settings.home, spec.size_gib):
        text = f"There is not enough capacity for a volume of {spec.size_gib} GiB: the file system of this machine holds no file of that size."
        raise AwsError("InsufficientVolumeCapacity", text)
    return spec


def holds_file(folder: str, size_gib: int) -> bool:
    """Whether a file of that size can be made there; it takes no room."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.ftruncate(file.fileno(), size_gib << 30)
        except OSError as refused:
            if refused.errno == errno.EFBIG:
                return False
            raise
    return True
