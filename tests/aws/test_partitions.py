"""Partitions of regions, as botocore knows them."""

from __future__ import annotations

import botocore.session
import pytest

from gureum.aws.partitions import partition_of, without_partition


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-east-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
    ],
)
def test_partitions(region: str, partition: str) -> None:
    assert partition_of(region) == partition == botocore.session.get_session().get_partition_for_region(region)
    assert without_partition(f"arn:{partition}:sns:{region}:111122223333:t") == f"arn:aws:sns:{region}:111122223333:t"


def test_a_region_that_aws_has_not_is_of_its_main_partition() -> None:
    assert partition_of("somewhere") == "aws"
