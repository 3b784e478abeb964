"""AWS's public parameters of regions and zones, `/aws/service/global-infrastructure/…`, as far as DescribeRegions knows of them.

Those of services are not there. AWS: "Calling AWS service, Region, endpoint, Availability Zone, local zone, and Wavelength Zone public parameters".
"""

from __future__ import annotations

import functools

from gureum.aws.ec2.regions import REGIONS, zones_of

BASE = "/aws/service/global-infrastructure"


@functools.cache
def infrastructure() -> dict[str, str]:
    """The values by name."""
    found: dict[str, str] = {}
    for name, region in REGIONS.items():
        path = f"{BASE}/regions/{name}"
        found[path] = name
        found |= {f"{path}/longName": region.long_name.removesuffix(" 1"), f"{path}/partition": "aws"}
        for zone in zones_of(name):
            found[f"{path}/availability-zones/{zone.id}"] = zone.id
            found[f"{BASE}/availability-zones/{zone.id}"] = zone.id
    return found
