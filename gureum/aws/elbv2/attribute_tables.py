"""Attributes of load balancers, listeners and target groups: which there are for whom, their defaults, and what values they take. Pure.

An attribute that gureum does not honour is in the table too, so that it can be read; it takes its default alone (`fixed` says why).
AWS: elbv2 LoadBalancerAttribute, ListenerAttribute, TargetGroupAttribute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from gureum.aws.elbv2.faults import bad_configuration, invalid, not_built
from gureum.aws.elbv2.kinds import Listener, LoadBalancer, TargetGroup
from gureum.core.access_log_lines import LOGS, is_place

Check = Callable[[str, str], None]
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_PRINTABLE = re.compile(r"[\x20-\x7e]*", re.ASCII)
LIMIT_HEADER_VALUE = 1024
WEEK_S = 604800


class Attribute(msgspec.Struct, frozen=True):
    """`check(key, value)` raises for a value it does not take."""

    default: str
    check: Check
    fixed: str = ""


Table = Mapping[str, Attribute]


def one_of(*allowed: str) -> Check:
    def check(key: str, value: str) -> None:
        if value not in allowed:
            raise invalid(f"'{key}' must be one of [{', '.join(allowed)}]")

    return check


def number(least: int, most: int, *others: str) -> Check:
    def check(key: str, value: str) -> None:
        if value in others:
            return
        if not value.isascii() or not value.isdigit() or len(value) > 9 or not least <= int(value) <= most:
            raise invalid(f"'{key}' value '{value}' must be between '{least}-{most}' inclusive")

    return check


def _any_text(key: str, value: str) -> None:
    if not _PRINTABLE.fullmatch(value) or len(value) > LIMIT_HEADER_VALUE:
        raise invalid(f"'{key}' value is invalid: printable ASCII of at most {LIMIT_HEADER_VALUE} characters")


def _header_name(key: str, value: str) -> None:
    if value and (not _TOKEN.fullmatch(value) or len(value) > 40):
        raise invalid(f"'{key}' value '{value}' is not a valid header name")


def _frame_options(key: str, value: str) -> None:
    if value not in ("", "DENY", "SAMEORIGIN") and not value.startswith("ALLOW-FROM "):
        raise invalid(f"'{key}' must be one of [DENY, SAMEORIGIN, ALLOW-FROM <URL>]")
    _any_text(key, value)


_STICKINESS_TYPES = ("lb_cookie", "app_cookie", "source_ip", "source_ip_dest_ip", "source_ip_dest_ip_proto")


def _stickiness_of(group: TargetGroup, *allowed: str) -> Check:
    """The types that the group's protocol takes. AWS: another's is InvalidConfigurationRequest, in these words, which clients look for."""

    def check(key: str, value: str) -> None:
        one_of(*_STICKINESS_TYPES)(key, value)
        if value not in allowed:
            text = (
                f"Stickiness type '{value}' is not supported for target groups with the {group.spec.protocol} protocol"
            )
            raise bad_configuration(text)

    return check


def _no_stickiness(key: str, value: str) -> None:
    _boolean(key, value)
    if value == "true":
        raise bad_configuration("You cannot enable stickiness on target groups with the TLS protocol")


def _cookie_name(key: str, value: str) -> None:
    if value.startswith("AWSALB"):
        raise invalid(f"'{key}' value '{value}' is invalid: the prefixes AWSALB, AWSALBAPP and AWSALBTG are reserved")
    if value and (not _TOKEN.fullmatch(value) or len(value) > 256):
        raise invalid(f"'{key}' value '{value}' is not a valid cookie name")


_boolean = one_of("true", "false")
_NO_IPV6 = "load balancers have no IPv6"


def _logs(what: str) -> dict[str, Attribute]:
    return {
        f"{what}.s3.enabled": Attribute("false", _boolean),
        f"{what}.s3.bucket": Attribute("", _any_text),
        f"{what}.s3.prefix": Attribute("", _any_text),
    }


def _of_all_balancers(internal: bool) -> dict[str, Attribute]:
    return {
        "deletion_protection.enabled": Attribute("false", _boolean),
        **_logs("access_logs"),
        "ipv6.deny_all_igw_traffic": Attribute("true" if internal else "false", _boolean, _NO_IPV6),
        "zonal_shift.config.enabled": Attribute("false", _boolean, "there is no service that shifts zones"),
    }


_APPLICATION: dict[str, Attribute] = {
    "load_balancing.cross_zone.enabled": Attribute("true", one_of("true")),
    "idle_timeout.timeout_seconds": Attribute("60", number(1, 4000)),
    "client_keep_alive.seconds": Attribute("3600", number(60, WEEK_S)),
    **_logs("connection_logs"),
    **_logs("health_check_logs"),
    "routing.http.desync_mitigation_mode": Attribute("defensive", one_of("monitor", "defensive", "strictest")),
    "routing.http.drop_invalid_header_fields.enabled": Attribute("false", _boolean),
    "routing.http.preserve_host_header.enabled": Attribute("false", _boolean),
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": Attribute("false", _boolean),
    "routing.http.xff_client_port.enabled": Attribute("false", _boolean),
    "routing.http.xff_header_processing.mode": Attribute("append", one_of("append", "preserve", "remove")),
    "routing.http2.enabled": Attribute("true", _boolean),
    "waf.fail_open.enabled": Attribute("false", _boolean, "there is no web application firewall"),
}
_NETWORK: dict[str, Attribute] = {
    "load_balancing.cross_zone.enabled": Attribute("false", _boolean),
    "dns_record.client_routing_policy": Attribute(
        "any_availability_zone",
        one_of("any_availability_zone", "availability_zone_affinity", "partial_availability_zone_affinity"),
    ),
    "secondary_ips.auto_assigned.per_subnet": Attribute("0", number(0, 7), "a node has one address"),
}


def of_balancer(balancer: LoadBalancer) -> Table:
    own = _APPLICATION if balancer.spec.type == "application" else _NETWORK
    return _of_all_balancers(balancer.spec.scheme == "internal") | own


_RESPONSE = "routing.http.response"
_HTTP_LISTENER: dict[str, Attribute] = {
    f"{_RESPONSE}.server.enabled": Attribute("true", _boolean),
    f"{_RESPONSE}.strict_transport_security.header_value": Attribute("", _any_text),
    f"{_RESPONSE}.access_control_allow_origin.header_value": Attribute("", _any_text),
    f"{_RESPONSE}.access_control_allow_methods.header_value": Attribute("", _any_text),
    f"{_RESPONSE}.access_control_allow_headers.header_value": Attribute("", _any_text),
    f"{_RESPONSE}.access_control_allow_credentials.header_value": Attribute("", one_of("", "true")),
    f"{_RESPONSE}.access_control_expose_headers.header_value": Attribute("", _any_text),
    f"{_RESPONSE}.access_control_max_age.header_value": Attribute("", number(0, 86400, "", "-1")),
    f"{_RESPONSE}.content_security_policy.header_value": Attribute("", _any_text),
    f"{_RESPONSE}.x_content_type_options.header_value": Attribute("", one_of("", "nosniff")),
    f"{_RESPONSE}.x_frame_options.header_value": Attribute("", _frame_options),
}
_RENAMED = (
    "x_amzn_mtls_clientcert_serial_number", "x_amzn_mtls_clientcert_issuer", "x_amzn_mtls_clientcert_subject",
    "x_amzn_mtls_clientcert_validity", "x_amzn_mtls_clientcert_leaf", "x_amzn_mtls_clientcert", "x_amzn_tls_version",
    "x_amzn_tls_cipher_suite",
)  # fmt: skip
_HTTPS_LISTENER = _HTTP_LISTENER | {
    f"routing.http.request.{name}.header_name": Attribute(
        "", _header_name, "client certificates are not asked for" if "mtls" in name else ""
    )
    for name in _RENAMED
}
_TCP_LISTENER: dict[str, Attribute] = {"tcp.idle_timeout.seconds": Attribute("350", number(60, 6000))}


def of_listener(listener: Listener) -> Table:
    """AWS: the idle timeout of TLS listeners is fixed, that of UDP too."""
    protocol = listener.spec.protocol
    if protocol in ("TCP", "TCP_UDP"):
        return _TCP_LISTENER
    return {"HTTP": _HTTP_LISTENER, "HTTPS": _HTTPS_LISTENER}.get(protocol, {})


_HEALTH = "target_group_health"
_OF_ALL_GROUPS: dict[str, Attribute] = {
    "deregistration_delay.timeout_seconds": Attribute("300", number(0, 3600)),
    f"{_HEALTH}.dns_failover.minimum_healthy_targets.count": Attribute("1", number(1, 1000, "off")),
    f"{_HEALTH}.dns_failover.minimum_healthy_targets.percentage": Attribute("off", number(1, 100, "off")),
    f"{_HEALTH}.unhealthy_state_routing.minimum_healthy_targets.count": Attribute("1", number(1, 1000)),
    f"{_HEALTH}.unhealthy_state_routing.minimum_healthy_targets.percentage": Attribute("off", number(1, 100, "off")),
    "load_balancing.cross_zone.enabled": Attribute(
        "use_load_balancer_configuration", one_of("true", "false", "use_load_balancer_configuration")
    ),
}
_HTTP_GROUP: dict[str, Attribute] = {
    "stickiness.enabled": Attribute("false", _boolean),
    "stickiness.lb_cookie.duration_seconds": Attribute("86400", number(1, WEEK_S)),
    "stickiness.app_cookie.cookie_name": Attribute("", _cookie_name),
    "stickiness.app_cookie.duration_seconds": Attribute("86400", number(1, WEEK_S)),
    "slow_start.duration_seconds": Attribute("0", number(30, 900, "0")),
    "load_balancing.algorithm.type": Attribute(
        "round_robin", one_of("round_robin", "least_outstanding_requests", "weighted_random")
    ),
    "load_balancing.algorithm.anomaly_mitigation": Attribute("off", one_of("on", "off")),
}


def _network_group(group: TargetGroup) -> dict[str, Attribute]:
    datagrams = group.spec.protocol in ("UDP", "TCP_UDP")
    # AWS: "disabled if the target group type is IP address and the protocol is TCP or TLS, otherwise enabled".
    hidden = group.spec.type == "ip" and group.spec.protocol in ("TCP", "TLS")
    table = _OF_ALL_GROUPS | {
        "deregistration_delay.connection_termination.enabled": Attribute("true" if datagrams else "false", _boolean),
        "preserve_client_ip.enabled": Attribute("false" if hidden else "true", _boolean),
        "target_health_state.unhealthy.connection_termination.enabled": Attribute(
            "false" if datagrams else "true", _boolean
        ),
        "target_health_state.unhealthy.draining_interval_seconds": Attribute("0", number(0, 360000)),
    }
    if group.spec.type == "alb":
        return table
    return table | {
        "proxy_protocol_v2.enabled": Attribute("false", _boolean),
        "stickiness.enabled": Attribute("false", _no_stickiness if group.spec.protocol == "TLS" else _boolean),
        "stickiness.type": Attribute("source_ip", _stickiness_of(group, "source_ip")),
    }


def _http_group(group: TargetGroup) -> dict[str, Attribute]:
    cookies = Attribute("lb_cookie", _stickiness_of(group, "lb_cookie", "app_cookie"))
    return _OF_ALL_GROUPS | _HTTP_GROUP | {"stickiness.type": cookies}


def of_group(group: TargetGroup) -> Table:
    return _http_group(group) if group.spec.protocol in ("HTTP", "HTTPS") else _network_group(group)


def in_force(table: Table, given: Mapping[str, str]) -> dict[str, str]:
    """Every attribute with its value: as it was set, or its default."""
    return {key: given.get(key, attribute.default) for key, attribute in table.items()}


def merged(
    noun: str, table: Table, known: frozenset[str], given: Mapping[str, str], asked: Mapping[str, str]
) -> dict[str, str]:
    """What is set after a change. `noun`: "Load balancer". `known`: keys that exist for some of the kind. AWS: ValidationError for a key that is
    none and for a value out of its range, InvalidConfigurationRequest for a key that these do not have."""
    for key, value in asked.items():
        attribute = table.get(key)
        if attribute is None and key in known:
            raise bad_configuration(f"{noun} attribute key '{key}' is not supported here")
        if attribute is None:
            raise invalid(f"{noun} attribute key '{key}' is not recognized")
        attribute.check(key, value)
        if attribute.fixed and value != attribute.default:
            raise not_built(f"{noun} attribute {key} = {value} ({attribute.fixed})")
    return {**given, **asked}


def check_balancer(after: Mapping[str, str]) -> None:
    """The rules between attributes of a load balancer. AWS: logs go to a bucket, and the prefix must not include "AWSLogs"."""
    for what in LOGS.values():
        place = after.get(f"{what}.s3.bucket", ""), after.get(f"{what}.s3.prefix", "")
        if after.get(f"{what}.s3.enabled") == "true" and not is_place(*place):
            raise bad_configuration(f"'{what}.s3.bucket' or '{what}.s3.prefix' is not valid")


def check_thresholds(given: Mapping[str, str]) -> None:
    """Between the numbers of healthy targets that a target group was given. AWS: "the threshold for DNS failover must be greater than or equal to
    the threshold for routing failover", where both are specified."""
    for kind in ("count", "percentage"):
        dns, routing = (
            given.get(f"{_HEALTH}.{action}.minimum_healthy_targets.{kind}", "off")
            for action in ("dns_failover", "unhealthy_state_routing")
        )
        if "off" not in (dns, routing) and int(dns) < int(routing):
            raise bad_configuration(
                f"The minimum healthy targets {kind} for DNS failover '{dns}' must be greater than or equal to that for "
                f"unhealthy state routing '{routing}'"
            )


def check_group(group: TargetGroup, after: Mapping[str, str]) -> None:
    """The rules between attributes of a target group. AWS: elbv2 TargetGroupAttribute."""
    if group.spec.protocol in ("HTTP", "HTTPS"):
        _check_http_group(after)
        return
    datagrams = group.spec.protocol in ("UDP", "TCP_UDP")
    if datagrams and after["preserve_client_ip.enabled"] == "false":
        raise bad_configuration("Client IP preservation cannot be disabled for UDP and TCP_UDP target groups")
    if group.spec.type == "alb" and after["preserve_client_ip.enabled"] == "false":
        raise bad_configuration("Client IP preservation cannot be disabled for target groups of type alb")
    if datagrams and after["target_health_state.unhealthy.connection_termination.enabled"] == "true":
        raise bad_configuration("Connection termination of unhealthy targets is not supported with UDP and TCP_UDP")
    ends = after["target_health_state.unhealthy.connection_termination.enabled"] == "true"
    if ends and after["target_health_state.unhealthy.draining_interval_seconds"] != "0":
        raise bad_configuration(
            "The draining interval of unhealthy targets requires that their connections are not terminated"
        )
    if datagrams and after.get("proxy_protocol_v2.enabled") == "true":
        raise not_built("proxy_protocol_v2.enabled with UDP and TCP_UDP target groups")


def _check_http_group(after: Mapping[str, str]) -> None:
    algorithm = after["load_balancing.algorithm.type"]
    if after["slow_start.duration_seconds"] != "0" and algorithm != "round_robin":
        raise bad_configuration(f"Slow start cannot be used with the load balancing algorithm '{algorithm}'")
    if after["load_balancing.algorithm.anomaly_mitigation"] == "on" and algorithm != "weighted_random":
        raise bad_configuration(f"Anomaly mitigation cannot be used with the load balancing algorithm '{algorithm}'")
    sticky = after["stickiness.enabled"] == "true"
    if sticky and algorithm == "weighted_random":
        text = "You cannot have both stickiness and weighted random algorithm enabled on the same target group."
        raise bad_configuration(text)
    if sticky and after["stickiness.type"] == "app_cookie" and not after["stickiness.app_cookie.cookie_name"]:
        text = "You must set an application cookie name to enable stickiness of type 'app_cookie'"
        raise bad_configuration(text)


KNOWN_OF_BALANCERS = frozenset(_of_all_balancers(False) | _APPLICATION | _NETWORK)
KNOWN_OF_LISTENERS = frozenset(
    _HTTPS_LISTENER | _TCP_LISTENER | dict.fromkeys(("send_tcp_reset.on_idle_timeout.enabled",))
)
KNOWN_OF_GROUPS = frozenset(
    _OF_ALL_GROUPS
    | _HTTP_GROUP
    | dict.fromkeys(
        (
            "stickiness.type",
            "deregistration_delay.connection_termination.enabled",
            "preserve_client_ip.enabled",
            "proxy_protocol_v2.enabled",
            "target_health_state.unhealthy.connection_termination.enabled",
            "target_health_state.unhealthy.draining_interval_seconds",
            # Of groups of Lambda functions and of Gateway Load Balancers, which are not built.
            "lambda.multi_value_headers.enabled",
            "target_failover.on_deregistration",
            "target_failover.on_unhealthy",
            "send_tcp_reset.on_deregistration.enabled",
            "send_tcp_reset.on_unhealthy.enabled",
        )
    )
)
