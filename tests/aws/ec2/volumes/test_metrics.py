"""AWS/EBS's metrics (AWS: "Amazon CloudWatch metrics for Amazon EBS"), computed from two looks at a device's counters."""

from __future__ import annotations

from gureum.aws.ec2.volumes.metrics import values_of
from gureum.ports.volumes import VolumeCounters

BEFORE = VolumeCounters(10, 4096, 20, 100, 40960, 300, 1000, 2000)


def test_what_was_done_between_two_looks() -> None:
    after = VolumeCounters(15, 8192, 70, 160, 102400, 900, 7000, 32000)
    values = values_of(BEFORE, after, 60.0)
    assert values == {
        "VolumeReadOps": (5.0, "Count"),
        "VolumeWriteOps": (60.0, "Count"),
        "VolumeReadBytes": (4096.0, "Bytes"),
        "VolumeWriteBytes": (61440.0, "Bytes"),
        "VolumeTotalReadTime": (0.05, "Seconds"),
        "VolumeTotalWriteTime": (0.6, "Seconds"),
        "VolumeIdleTime": (54.0, "Seconds"),
        "VolumeQueueLength": (0.5, "Count"),
        "VolumeStalledIOCheck": (0.0, "None"),
    }


def test_an_idle_volume_was_idle_all_the_time() -> None:
    values = values_of(BEFORE, BEFORE, 60.0)
    assert values["VolumeIdleTime"] == (60.0, "Seconds")
    assert values["VolumeWriteOps"] == (0.0, "Count")


def test_a_device_that_was_mounted_anew_counts_anew() -> None:
    values = values_of(BEFORE, VolumeCounters(1, 512, 1, 2, 1024, 1, 5, 6), 60.0)
    assert (values["VolumeReadOps"][0], values["VolumeWriteBytes"][0]) == (1.0, 1024.0)


def test_one_that_takes_no_writes_is_stalled() -> None:
    assert values_of(BEFORE, VolumeCounters(sound=False), 60.0)["VolumeStalledIOCheck"] == (1.0, "None")
