"""How fast volumes may be, by AWS's table of volume types ("Amazon EBS volume types")."""

from __future__ import annotations

import pytest

from gureum.aws.ec2.volume_types import check_volume, most_of


@pytest.mark.parametrize(
    ("wanted", "iops", "mib"),
    [
        ({"VolumeType": "gp3", "Size": 8}, 3000, 125),
        ({"VolumeType": "gp3", "Size": 8, "Iops": 16000, "Throughput": 1000}, 16000, 1000),
        ({"VolumeType": "gp2", "Size": 8}, 3000, 128),
        ({"VolumeType": "gp2", "Size": 2000}, 6000, 250),
        ({"VolumeType": "io1", "Size": 100, "Iops": 1000}, 1000, 250),
        ({"VolumeType": "io1", "Size": 1000, "Iops": 20000}, 20000, 500),
        ({"VolumeType": "io1", "Size": 2000, "Iops": 64000}, 64000, 1000),
        ({"VolumeType": "io2", "Size": 1000, "Iops": 256000}, 256000, 4000),
        ({"VolumeType": "st1", "Size": 1024}, 0, 250),
        ({"VolumeType": "st1", "Size": 16384}, 0, 500),
        ({"VolumeType": "sc1", "Size": 1024}, 0, 80),
        ({"VolumeType": "standard", "Size": 8}, 200, 90),
    ],
)
def test_a_volume_is_as_fast_as_its_type(wanted, iops, mib):
    assert most_of(check_volume(wanted, "us-east-1a", least_gib=1)) == (iops, mib << 20)
