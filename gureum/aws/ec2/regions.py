"""Regions, Availability Zones and account attributes.

Every region that is asked for works, also one that AWS has not; the table holds AWS's own (zones as a new account sees them).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.ids import invalid
from gureum.aws.ec2.networks.kinds import Vpc
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation


class Region(msgspec.Struct, frozen=True):
    """`short`: as in zone ids ("use1-az1"). `letters`: of its zones. `opt_in`: the account must enable it first on AWS."""

    name: str
    short: str
    letters: str
    long_name: str
    opt_in: bool = False


REGIONS = {
    region.name: region
    for region in (
        Region("us-east-1", "use1", "abcdef", "US East (N. Virginia) 1"),
        Region("us-east-2", "use2", "abc", "US East (Ohio) 1"),
        Region("us-west-1", "usw1", "ab", "US West (N. California) 1"),
        Region("us-west-2", "usw2", "abcd", "US West (Oregon) 1"),
        Region("ca-central-1", "cac1", "abd", "Canada (Central) 1"),
        Region("sa-east-1", "sae1", "abc", "South America (Sao Paulo) 1"),
        Region("eu-west-1", "euw1", "abc", "Europe (Ireland) 1"),
        Region("eu-west-2", "euw2", "abc", "Europe (London) 1"),
        Region("eu-west-3", "euw3", "abc", "Europe (Paris) 1"),
        Region("eu-central-1", "euc1", "abc", "Europe (Frankfurt) 1"),
        Region("eu-north-1", "eun1", "abc", "Europe (Stockholm) 1"),
        Region("ap-northeast-1", "apne1", "acd", "Asia Pacific (Tokyo) 1"),
        Region("ap-northeast-2", "apne2", "abcd", "Asia Pacific (Seoul) 1"),
        Region("ap-northeast-3", "apne3", "abc", "Asia Pacific (Osaka) 1"),
        Region("ap-southeast-1", "apse1", "abc", "Asia Pacific (Singapore) 1"),
        Region("ap-southeast-2", "apse2", "abc", "Asia Pacific (Sydney) 1"),
        Region("ap-south-1", "aps1", "abc", "Asia Pacific (Mumbai) 1"),
        Region("af-south-1", "afs1", "abc", "Africa (Cape Town) 1", opt_in=True),
        Region("ap-east-1", "ape1", "abc", "Asia Pacific (Hong Kong) 1", opt_in=True),
        Region("ap-south-2", "aps2", "abc", "Asia Pacific (Hyderabad) 1", opt_in=True),
        Region("ap-southeast-3", "apse3", "abc", "Asia Pacific (Jakarta) 1", opt_in=True),
        Region("ap-southeast-4", "apse4", "abc", "Asia Pacific (Melbourne) 1", opt_in=True),
        Region("ap-southeast-5", "apse5", "abc", "Asia Pacific (Malaysia) 1", opt_in=True),
        Region("ap-southeast-7", "apse7", "abc", "Asia Pacific (Thailand) 1", opt_in=True),
        Region("ap-east-2", "ape2", "abc", "Asia Pacific (Taipei) 1", opt_in=True),
        Region("mx-central-1", "mxc1", "abc", "Mexico (Central) 1", opt_in=True),
        Region("ca-west-1", "caw1", "abc", "Canada West (Calgary) 1", opt_in=True),
        Region("eu-central-2", "euc2", "abc", "Europe (Zurich) 1", opt_in=True),
        Region("eu-south-1", "eus1", "abc", "Europe (Milan) 1", opt_in=True),
        Region("eu-south-2", "eus2", "abc", "Europe (Spain) 1", opt_in=True),
        Region("il-central-1", "ilc1", "abc", "Israel (Tel Aviv) 1", opt_in=True),
        Region("me-central-1", "mec1", "abc", "Middle East (UAE) 1", opt_in=True),
        Region("me-south-1", "mes1", "abc", "Middle East (Bahrain) 1", opt_in=True),
    )
}


class Zone(msgspec.Struct, frozen=True):
    """`name`: "us-east-1a", `id`: "use1-az1"."""

    name: str
    id: str


_DIRECTIONS = {"northeast": "ne", "northwest": "nw", "southeast": "se", "southwest": "sw"}


def region_of(name: str) -> Region:
    """A region of the table, or one of that name with three zones. AWS's abbreviations: "cn-northwest-1" is cnnw1, "us-gov-east-1" usge1."""
    return REGIONS.get(name) or Region(name, _short(name) or "x", "abc", name)


def _short(name: str) -> str:
    first, *others = name.split("-")
    return first + "".join(_DIRECTIONS.get(part, part[:1]) for part in others)


def zones_of(region_name: str) -> list[Zone]:
    """The zones of a region, by name."""
    region = region_of(region_name)
    return [Zone(f"{region.name}{letter}", f"{region.short}-az{i}") for i, letter in enumerate(region.letters, 1)]


def zone_id(zone_name: str) -> str:
    """ "us-east-1a" → "use1-az1"; "" for a zone that is none."""
    return next((zone.id for zone in zones_of(zone_name[:-1]) if zone.name == zone_name), "")


def find_zone(call: Call, name: str = "", id_: str = "") -> str:
    """The name of the zone asked for by name or id. AWS: InvalidParameterValue."""
    zones = zones_of(call.region)
    for zone in zones:
        if (name and zone.name == name) or (id_ and zone.id == id_):
            return zone.name
    names = ", ".join(zone.name if name else zone.id for zone in zones)
    which = f"({name}) for parameter availabilityZone" if name else f"({id_}) for parameter availabilityZoneId"
    raise invalid(
        f"Value {which} is invalid. Subnets can currently only be created in the following availability zones: {names}."
    )


@operation("DescribeRegions")
def describe_regions(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeRegions. Regions to opt in to are shown with AllRegions, as on AWS."""
    wanted = call.params.get("RegionNames")
    unknown = [name for name in wanted or () if name not in REGIONS]
    if unknown:
        raise invalid(f"Invalid region name(s) provided: {','.join(unknown)}")
    everything = bool(wanted) or bool(call.params.get("AllRegions"))
    chosen = (
        [REGIONS[name] for name in wanted]
        if wanted
        else [region for region in REGIONS.values() if everything or not region.opt_in]
    )
    found = apply_filters([_row(region) for region in chosen], call.params.get("Filters"), _REGION_FILTERS)
    call.end_dry_run()
    return {"Regions": [show_region(row.region) for row in sorted(found, key=lambda row: row.region.name)]}


@operation("DescribeAvailabilityZones")
def describe_availability_zones(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeAvailabilityZones."""
    region = region_of(call.region)
    names, ids = call.params.get("ZoneNames"), call.params.get("ZoneIds")
    zones = zones_of(call.region)
    _require_known("zone name", names, {zone.name for zone in zones}, "InvalidParameterValue")
    _require_known("zone id", ids, {zone.id for zone in zones}, "InvalidParameterValue")
    rows = [_row(region, zone) for zone in zones if (not names or zone.name in names) and (not ids or zone.id in ids)]
    found = apply_filters(rows, call.params.get("Filters"), _ZONE_FILTERS)
    call.end_dry_run()
    return {"AvailabilityZones": [show_zone(row.region, row.zone) for row in found]}


@operation("DescribeAccountAttributes")
def describe_account_attributes(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeAccountAttributes. `default-vpc` is found by whoever asks the VPCs; here it is read from them."""
    values = {
        "supported-platforms": ["VPC"],
        "vpc-max-security-groups-per-interface": [str(call.settings.quota_security_groups_per_interface)],
        "max-elastic-ips": [str(call.settings.quota_elastic_ips)],
        "max-instances": ["20"],
        "vpc-max-elastic-ips": [str(call.settings.quota_elastic_ips)],
        "default-vpc": [_default_vpc(call)],
    }
    names = call.params.get("AttributeNames") or list(values)
    unknown = [name for name in names if name not in values]
    if unknown:
        raise invalid(f"Invalid attribute name '{unknown[0]}'")
    call.end_dry_run()
    return {
        "AccountAttributes": [
            {"AttributeName": name, "AttributeValues": [{"AttributeValue": value} for value in values[name]]}
            for name in names
        ]
    }


def _default_vpc(call: Call) -> str:
    return next((vpc.meta.name for vpc in call.by(Vpc, "default", "default")), "none")


def _row(region: Region, zone: Zone | None = None) -> Any:
    """Filters look at objects with an envelope; regions have no tags."""
    return SimpleNamespace(meta=SimpleNamespace(tags={}), region=region, zone=zone)


def _require_known(what: str, wanted: list[str] | None, known: set[str], code: str) -> None:
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise AwsError(code, f"Invalid availability {what}: [{', '.join(unknown)}]")


def _opt_in(region: Region) -> str:
    return "not-opted-in" if region.opt_in else "opt-in-not-required"


_REGION_FILTERS: FilterTable = {
    "endpoint": lambda row: f"ec2.{row.region.name}.amazonaws.com",
    "opt-in-status": lambda row: _opt_in(row.region),
    "region-name": lambda row: row.region.name,
}
_ZONE_FILTERS: FilterTable = {
    "group-name": lambda row: f"{row.region.name}-zg-1",
    "group-long-name": lambda row: row.region.long_name,
    "message": lambda _: (),
    "opt-in-status": lambda _: "opt-in-not-required",
    "parent-zone-id": lambda _: (),
    "parent-zone-name": lambda _: (),
    "region-name": lambda row: row.region.name,
    "state": lambda _: "available",
    "zone-id": lambda row: row.zone.id,
    "zone-name": lambda row: row.zone.name,
    "zone-type": lambda _: "availability-zone",
}


def show_region(region: Region) -> dict[str, Any]:
    return {"RegionName": region.name, "Endpoint": f"ec2.{region.name}.amazonaws.com", "OptInStatus": _opt_in(region)}


def show_zone(region: Region, zone: Zone) -> dict[str, Any]:
    return {
        "ZoneName": zone.name,
        "ZoneId": zone.id,
        "RegionName": region.name,
        "State": "available",
        "OptInStatus": "opt-in-not-required",
        "GroupName": f"{region.name}-zg-1",
        "GroupLongName": region.long_name,
        "NetworkBorderGroup": region.name,
        "ZoneType": "availability-zone",
        "Messages": [],
    }
