"""How a target group's targets are checked: what the HealthCheck… parameters may be, and what they are when nothing is said. Pure.

AWS: elbv2 CreateTargetGroup, ModifyTargetGroup. Application and network groups (by protocol) differ in nearly every default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gureum.aws.elbv2.faults import between, invalid
from gureum.aws.elbv2.kinds import HealthCheck

CheckedBy = Literal["HTTP", "HTTPS", "TCP"]
TRAFFIC_PORT = "traffic-port"
APPLICATION = ("HTTP", "HTTPS")
_PATH = re.compile(r"/[\x21-\x7e]{0,1023}", re.ASCII)
_GRPC_PATH = re.compile(r"/[\w.]+/\w+", re.ASCII)
_NUMBER = re.compile(r"[1-9]\d{0,4}", re.ASCII)
_CODES = re.compile(r"\d{1,3}(-\d{1,3})?(,\d{1,3}(-\d{1,3})?)*", re.ASCII)


def new_health(params: Mapping[str, Any], type_: str, protocol: str, version: str) -> HealthCheck:
    """The settings of a new group. AWS: ValidationError."""
    checked_by: CheckedBy = "HTTP" if protocol in APPLICATION or type_ == "alb" else "TCP"
    if params.get("HealthCheckProtocol"):
        checked_by = _check_protocol(params["HealthCheckProtocol"], type_, protocol)
    return change_health(_defaults(checked_by, protocol, version), params, type_, protocol, version)


def change_health(
    before: HealthCheck, params: Mapping[str, Any], type_: str, protocol: str, version: str
) -> HealthCheck:
    """`before` with what is given. With another protocol its own path and matcher start from that one's defaults. AWS: ValidationError."""
    if params.get("HealthCheckEnabled") is False:
        raise invalid(f"Health check enabled must be true for target groups with target type '{type_}'")
    checked_by = _check_protocol(params.get("HealthCheckProtocol") or before.protocol, type_, protocol)
    if checked_by != before.protocol:
        fresh = _defaults(checked_by, protocol, version)
        kept = before.path and fresh.path
        before = msgspec.structs.replace(
            before,
            protocol=fresh.protocol,
            path=before.path if kept else fresh.path,
            matcher=before.matcher if kept else fresh.matcher,
        )
    names = {
        "HealthCheckPort": "port",
        "HealthCheckPath": "path",
        "HealthCheckIntervalSeconds": "interval_s",
        "HealthCheckTimeoutSeconds": "timeout_s",
        "HealthyThresholdCount": "healthy_threshold",
        "UnhealthyThresholdCount": "unhealthy_threshold",
    }
    given = {field: params[name] for name, field in names.items() if params.get(name) is not None}
    if params.get("Matcher"):
        given["matcher"] = _matcher(params["Matcher"], checked_by, protocol, version)
    if checked_by == "TCP" and "path" in given:
        raise invalid("You cannot specify a health check path for a target group with the TCP health check protocol")
    after = msgspec.structs.replace(before, **given)
    _check(after, protocol, version)
    return after


def show_health(health: HealthCheck, version: str) -> dict[str, Any]:
    """API form, as it stands in a TargetGroup."""
    shown: dict[str, Any] = {
        "HealthCheckProtocol": health.protocol,
        "HealthCheckPort": health.port,
        "HealthCheckEnabled": health.enabled,
        "HealthCheckIntervalSeconds": health.interval_s,
        "HealthCheckTimeoutSeconds": health.timeout_s,
        "HealthyThresholdCount": health.healthy_threshold,
        "UnhealthyThresholdCount": health.unhealthy_threshold,
    }
    if health.protocol != "TCP":
        shown["HealthCheckPath"] = health.path
        shown["Matcher"] = {"GrpcCode" if version == "GRPC" else "HttpCode": health.matcher}
    return shown


def _defaults(checked_by: CheckedBy, protocol: str, version: str) -> HealthCheck:
    application, grpc = protocol in APPLICATION, version == "GRPC"
    path, matcher = "", ""
    if checked_by != "TCP":
        path = "/AWS.ALB/healthcheck" if grpc else "/"
        matcher = "12" if grpc else "200" if application else "200-399"
    timeout_s = 5 if application else 6 if checked_by == "HTTP" else 10
    return HealthCheck(checked_by, TRAFFIC_PORT, True, path, 30, timeout_s, 5, 2, matcher)


def _check_protocol(asked: str, type_: str, protocol: str) -> CheckedBy:
    allowed: tuple[CheckedBy, ...] = ("HTTP", "HTTPS", "TCP")
    if protocol in APPLICATION or type_ == "alb":
        allowed = ("HTTP", "HTTPS")
    for one in allowed:
        if one == asked:
            return one
    raise invalid(f"Health check protocol '{asked}' must be one of '{', '.join(allowed)}'")


def _check(health: HealthCheck, protocol: str, version: str) -> None:
    if health.port != TRAFFIC_PORT and not (_NUMBER.fullmatch(health.port) and int(health.port) <= 65535):
        raise invalid(f"Health check port '{health.port}' must be '{TRAFFIC_PORT}' or between '1-65535' inclusive")
    if health.protocol != "TCP" and not (_GRPC_PATH if version == "GRPC" else _PATH).fullmatch(health.path):
        raise invalid(f"Health check path '{health.path}' is not valid")
    between("Health check interval", health.interval_s, 5, 300)
    between("Health check timeout", health.timeout_s, 2, 120)
    between("Healthy threshold count", health.healthy_threshold, 2, 10)
    between("Unhealthy threshold count", health.unhealthy_threshold, 2, 10)
    if health.timeout_s > health.interval_s or (protocol in APPLICATION and health.timeout_s == health.interval_s):
        raise invalid("Health check interval must be greater than the timeout.")


def _matcher(given: Mapping[str, str], checked_by: str, protocol: str, version: str) -> str:
    grpc = version == "GRPC"
    name, other = ("GrpcCode", "HttpCode") if grpc else ("HttpCode", "GrpcCode")
    if given.get(other) or not given.get(name):
        raise invalid(f"Health check matcher {'gRPC' if grpc else 'HTTP'} code must be specified")
    if checked_by == "TCP":
        raise invalid("You cannot specify a health check matcher for a target group with the TCP health check protocol")
    codes = given[name].replace(" ", "")
    least, most = (0, 99) if grpc else (200, 499 if protocol in APPLICATION else 599)
    if not _CODES.fullmatch(codes):
        raise invalid(f"Health check matcher {'gRPC' if grpc else 'HTTP'} code '{given[name]}' is not valid")
    for part in codes.split(","):
        first, _, last = part.partition("-")
        if not least <= int(first) <= int(last or first) <= most:
            kind = "gRPC" if grpc else "HTTP"
            raise invalid(f"Health check matcher {kind} code '{part}' must be within '{least}-{most}' inclusive")
    return codes
