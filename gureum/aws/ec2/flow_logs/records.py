"""Flow log records: the fields there are, the formats that name them, and the lines that windows of flows become (pure).

AWS: VPC User Guide, "Flow log records" (available fields of versions 2 to 10) and "Flow log record examples" (NODATA, SKIPDATA).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache, partial
from operator import attrgetter

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
    """The records of a window, fields separated by spaces: one a flow; or that there was nothing, or that some are missing. What is the same in all
    of them is put in once, and only what the format names is made: there are several a connection, and thousands of those a second."""
    records: list[str] = []
    if window.flows:
        template, values = _compiled(fields, window, place)
        records = [template % tuple([value(flow) for value in values]) for flow in window.flows]
    if window.skipped or not window.flows:
        fixed = _fixed(fields, window, place) | {"start": str(window.start), "end": str(window.end)}
        fixed["log-status"] = "SKIPDATA" if window.skipped else "NODATA"
        records.append(" ".join(fixed.get(name, NONE) for name in fields))
    return records


def _compiled(fields: tuple[str, ...], window: Window, place: Place) -> tuple[str, list[Callable[[Flow], str | int]]]:
    """The record with a place for each value that is a flow's own, and how those are had from it."""
    fixed, parts, values = _fixed(fields, window, place), list[str](), list[Callable[[Flow], str | int]]()
    for name in fields:
        value = partial(_path, paths=place.paths) if name == "traffic-path" else _OF_FLOW.get(name)
        if value is None:
            parts.append(fixed.get(name, NONE).replace("%", "%%"))
        else:
            parts.append("%s")
            values.append(value)
    return " ".join(parts), values


def _fixed(fields: tuple[str, ...], window: Window, place: Place) -> dict[str, str]:
    return {
        "version": str(version_of_format(fields)),
        "account-id": place.account,
        "interface-id": place.interface,
        "log-status": "OK",
        "vpc-id": place.vpc,
        "subnet-id": place.subnet,
        "instance-id": place.instance,
        "region": place.region,
        "az-id": place.zone_id,
    }


_WITH_PORTS = (6, 17, 132)
_OF_FLOW: dict[str, Callable[[Flow], str | int]] = {
    "srcaddr": attrgetter("source"),
    "dstaddr": attrgetter("destination"),
    "srcport": lambda flow: flow.source_port if flow.protocol in _WITH_PORTS else 0,
    "dstport": lambda flow: flow.destination_port if flow.protocol in _WITH_PORTS else 0,
    "protocol": attrgetter("protocol"),
    "packets": attrgetter("packets"),
    "bytes": attrgetter("bytes"),
    "start": attrgetter("start"),
    "end": attrgetter("end"),
    "action": attrgetter("action"),
    "tcp-flags": lambda flow: flow.tcp_flags if flow.protocol == 6 else 0,
    "type": lambda flow: "IPv6" if ":" in flow.source else "IPv4",
    "pkt-srcaddr": lambda flow: flow.packet_source or flow.source,
    "pkt-dstaddr": lambda flow: flow.packet_destination or flow.destination,
    "flow-direction": attrgetter("direction"),
}


def _path(flow: Flow, paths: tuple[tuple[str, str], ...]) -> str:
    """AWS: how egress traffic leaves, by the longest route; none for ingress and where nothing leads."""
    return _path_to(flow.packet_destination or flow.destination, paths) if flow.direction == "egress" else NONE


@lru_cache(maxsize=4096)
def _path_to(address: str, paths: tuple[tuple[str, str], ...]) -> str:
    destination = ipaddress.ip_address(address)
    ways = [(ipaddress.ip_network(cidr), path) for cidr, path in paths]
    leading = [(network.prefixlen, path) for network, path in ways if destination in network]
    return (max(leading, key=lambda one: one[0])[1] if leading else "") or NONE
