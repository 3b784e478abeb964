"""AWS/EBS's metrics of attached volumes, from what their devices count. Pure.

AWS: "Amazon CloudWatch metrics for Amazon EBS": each minute, whatever the instance's monitoring; nothing of a volume that no machine uses. Times are
those of the device: `VolumeIdleTime` the seconds in which nothing was under way, `VolumeQueueLength` how many operations were, on the average;
`VolumeStalledIOCheck` is 1 when the volume takes no writes any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from gureum.aws.ec2.instances.kinds import Volume
from gureum.ports.telemetry import Datum, Series
from gureum.ports.volumes import VolumeCounters

NAMESPACE = "AWS/EBS"


def volume_datums(
    volume: Volume, before: VolumeCounters, after: VolumeCounters, seconds: float, start_ms: int, resolution_s: int
) -> Iterable[Datum]:
    """What the volume has done in `seconds`, which began at `start_ms`."""
    for name, (value, unit) in values_of(before, after, seconds).items():
        series = Series(volume.meta.scope, NAMESPACE, name, (("VolumeId", volume.meta.name),))
        yield Datum(series, start_ms, 1.0, value, value, value, (value,), (1.0,), unit, resolution_s)


def values_of(before: VolumeCounters, after: VolumeCounters, seconds: float) -> dict[str, tuple[float, str]]:
    """Metric → (value, unit). A device that was mounted anew counts anew."""
    names = [name for name in VolumeCounters.__struct_fields__ if name != "sound"]
    anew = any(getattr(after, name) < getattr(before, name) for name in names)
    start = VolumeCounters() if anew else before
    done = {name: getattr(after, name) - getattr(start, name) for name in names}
    busy_s = min(done["busy_ms"] / 1000, seconds)
    return {
        "VolumeReadOps": (float(done["reads"]), "Count"),
        "VolumeWriteOps": (float(done["writes"]), "Count"),
        "VolumeReadBytes": (float(done["read_bytes"]), "Bytes"),
        "VolumeWriteBytes": (float(done["written_bytes"]), "Bytes"),
        "VolumeTotalReadTime": (done["read_ms"] / 1000, "Seconds"),
        "VolumeTotalWriteTime": (done["write_ms"] / 1000, "Seconds"),
        "VolumeIdleTime": (seconds - busy_s, "Seconds"),
        "VolumeQueueLength": (done["queued_ms"] / 1000 / seconds, "Count"),
        "VolumeStalledIOCheck": (0.0 if after.sound else 1.0, "None"),
    }
