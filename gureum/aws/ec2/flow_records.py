"""Flow log records: the fields there are, the formats that name them, and the lines that windows of flows become (pure).

AWS: VPC User Guide, "Flow log records" (available fields of versions 2 to 10) and "Flow log record examples" (NODATA, SKIPDATA).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import msgspec

from gureum.core.flow_windows import Window
from gureum.ports.flows import Flow

NONE = "-"
_FIELD = re.compile(r"\$\{([a-z0-9-]{1,40})\}")

VERSIONS = {
    2: (
        "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
    ),
    3: "vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr",
    4: "region az-id sublocation-type sublocation-id",
    5: "pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path",
    7: (
        "ecs-cluster-arn ecs-cluster-name ecs-container-instance-arn ecs-container-instance-id ecs-container-id ecs-second-container-id "
        "ecs-service-name ecs-task-definition-arn ecs-task-arn ecs-task-id"
    ),
    8: "reject-reason",
    9: "resource-id",
    10: "encryption-status",
}
FIELDS = {name: version for version, names in VERSIONS.items() for name in names.split()}
"""Name → the version it came with."""
DEFAULT_FORMAT = " ".join(f"${{{name}}}" for name in VERSIONS[2].split())
PATH_SAME_VPC, PATH_PEERING, PATH_INTERNET_GATEWAY = "1", "4", "8"


class Place(msgspec.Struct, frozen=True):
    """What a record says of the interface itself. `paths`: which way leads from its subnet to which CIDR, "" for none."""

    account: str
    region: str
    interface: str
    vpc: str = NONE
    subnet: str = NONE
    instance: str = NONE
    zone_id: str = NONE
    paths: tuple[tuple[str, str], ...] = ()


class BadFormat(Exception):
    """A format that is none; the text says why."""


def parse_format(text: str) -> tuple[str, ...]:
    """The fields that `${a} ${b} …` names, in their order. BadFormat."""
    names: list[str] = []
    for word in text.split():
        found = _FIELD.fullmatch(word)
        if found is None or found[1] not in FIELDS:
            raise BadFormat(word)
        names.append(found[1])
    if not names:
        raise BadFormat("")
    return tuple(names)


def version_of_format(fields: tuple[str, ...]) -> int:
    """AWS: the highest version among the fields; 2 for the default format."""
    return max(2, *(FIELDS[name] for name in fields))


def render(fields: tuple[str, ...], window: Window, place: Place) -> list[str]:
    """The records of a window, fields separated by spaces: one a flow; or that there was nothing, or that some are missing."""
    version = str(version_of_format(fields))
    records = [_line(fields, _values_of_flow(flow, place), window, place, version, "OK") for flow in window.flows]
    if window.skipped or not window.flows:
        status = "SKIPDATA" if window.skipped else "NODATA"
        records.append(_line(fields, {}, window, place, version, status))
    return records


def _line(
    fields: tuple[str, ...], values: dict[str, Any], window: Window, place: Place, version: str, status: str
) -> str:
    known = {
        "version": version,
        "account-id": place.account,
        "interface-id": place.interface,
        "start": window.start,
        "end": window.end,
        "log-status": status,
        "vpc-id": place.vpc,
        "subnet-id": place.subnet,
        "instance-id": place.instance,
        "region": place.region,
        "az-id": place.zone_id,
        **values,
    }
    return " ".join(str(known.get(name, NONE)) for name in fields)


def _values_of_flow(flow: Flow, place: Place) -> dict[str, Any]:
    ports = flow.protocol in (6, 17, 132)
    return {
        "srcaddr": flow.source,
        "dstaddr": flow.destination,
        "srcport": flow.source_port if ports else 0,
        "dstport": flow.destination_port if ports else 0,
        "protocol": flow.protocol,
        "packets": flow.packets,
        "bytes": flow.bytes,
        "start": flow.start,
        "end": flow.end,
        "action": flow.action,
        "tcp-flags": flow.tcp_flags if flow.protocol == 6 else 0,
        "type": "IPv6" if ":" in flow.source else "IPv4",
        "pkt-srcaddr": flow.packet_source or flow.source,
        "pkt-dstaddr": flow.packet_destination or flow.destination,
        "flow-direction": flow.direction,
        "traffic-path": _path(flow, place),
    }


def _path(flow: Flow, place: Place) -> str:
    """AWS: how egress traffic leaves, by the longest route; none for ingress and where nothing leads."""
    if flow.direction != "egress":
        return NONE
    destination = ipaddress.ip_address(flow.packet_destination or flow.destination)
    ways = [(ipaddress.ip_network(cidr), path) for cidr, path in place.paths]
    leading = [(network.prefixlen, path) for network, path in ways if destination in network]
    return (max(leading, key=lambda one: one[0])[1] if leading else "") or NONE
