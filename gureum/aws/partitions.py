"""Partitions: the groups of regions that AWS runs apart from each other. The name of a region's partition begins the ARNs of what is in it. Pure."""

from __future__ import annotations

import re

_STARTS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}
"""AWS: botocore's partitions.json. All other regions are of the partition "aws"."""
_OTHERS = re.compile(r"arn:aws-[a-z-]+:")


def partition_of(region: str) -> str:
    """ "aws-cn" for cn-north-1."""
    return next((name for start, name in _STARTS.items() if region.startswith(start)), "aws")


def without_partition(arn: str) -> str:
    """The ARN as it would be in the partition "aws", for telling kinds of ARNs apart."""
    return _OTHERS.sub("arn:aws:", arn, count=1)
