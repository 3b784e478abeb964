"""Every attribute that AWS documents (botocore: elbv2 LoadBalancerAttribute, TargetGroupAttribute, ListenerAttribute) is honoured, and a test
shows its effect, or refused with a reason. None is taken and then ignored."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from gureum.aws.elbv2 import attribute_tables as tables

ROOT = Path(__file__).parents[3]
MODEL = botocore.session.get_session().get_service_model("elbv2")
_NAME = re.compile(r"<li> *<p> *<code>([a-z0-9_]+\.[a-z0-9_.]+)</code>")

ATTRIBUTES = "aws/elbv2/test_attributes.py"
REQUESTS = "machine/test_proxy_requests.py"
AGENT = "core/test_balancers.py"
CLOUD = "cloud/test_balancing_behaviour.py"
_LOGGED = "cloud/test_load_balancers.py::test_requests_are_logged_where_the_attributes_say"
_ZONES = f"{CLOUD}::test_zones_and_minimum_health_say_where_traffic_goes"
_FAILOVER = f"{AGENT}::test_routing_fails_over_below_the_wished_number_or_share"
_NAMES = f"{AGENT}::test_a_zone_leaves_the_names_below_the_wished_number_or_share"
_TLS = f"{REQUESTS}::test_tls_headers_of_targets_and_their_renaming"
_ANSWERS = f"{REQUESTS}::test_answers_carry_the_listeners_headers"
_DURATION = f"{REQUESTS}::test_duration_based_cookie_keeps_the_target_and_is_set_with_every_answer"
_APPLICATION = f"{REQUESTS}::test_application_cookie_binds_only_together_with_the_applications_own"
_CONNECTIONS = "core/test_access_logs.py::test_only_what_the_attributes_ask_for_is_written"

SHOWN = {
    "deletion_protection.enabled": "aws/elbv2/test_load_balancers.py::test_deletion_protection_keeps_it",
    "load_balancing.cross_zone.enabled": _ZONES,
    "access_logs.s3.enabled": _LOGGED,
    "access_logs.s3.bucket": _LOGGED,
    "access_logs.s3.prefix": _LOGGED,
    "health_check_logs.s3.enabled": _LOGGED,
    "health_check_logs.s3.bucket": _LOGGED,
    "health_check_logs.s3.prefix": f"{ATTRIBUTES}::test_a_bucket_for_logs_is_tried",
    "connection_logs.s3.enabled": _CONNECTIONS,
    "connection_logs.s3.bucket": _CONNECTIONS,
    "connection_logs.s3.prefix": _CONNECTIONS,
    "idle_timeout.timeout_seconds": f"{REQUESTS}::test_504_when_the_target_does_not_answer_in_the_idle_timeout",
    "client_keep_alive.seconds": f"{REQUESTS}::test_a_connection_ends_after_an_answer_when_it_has_lasted_its_time",
    "routing.http.desync_mitigation_mode": (
        "machine/test_proxy_desync.py::test_requests_are_classified_and_passed_or_refused_by_mode"
    ),
    "routing.http.drop_invalid_header_fields.enabled": f"{REQUESTS}::test_invalid_header_names_are_dropped_when_wished",
    "routing.http.preserve_host_header.enabled": f"{REQUESTS}::test_preserved_host_header_is_left_alone",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": _TLS,
    "routing.http.xff_client_port.enabled": f"{REQUESTS}::test_x_forwarded_for_with_client_port",
    "routing.http.xff_header_processing.mode": f"{REQUESTS}::test_x_forwarded_for_modes",
    "routing.http2.enabled": "machine/test_proxies.py::test_http2_is_spoken_where_it_is_enabled",
    "deregistration_delay.timeout_seconds": (
        "cloud/test_balancing_faults.py::test_what_is_under_way_ends_within_the_deregistration_delay"
    ),
    "stickiness.enabled": _DURATION,
    "stickiness.type": _APPLICATION,
    "stickiness.lb_cookie.duration_seconds": f"{REQUESTS}::test_an_expired_foreign_or_forged_cookie_binds_nobody",
    "stickiness.app_cookie.cookie_name": _APPLICATION,
    "stickiness.app_cookie.duration_seconds": "aws/elbv2/test_lowering.py::test_attributes_of_groups_reach_the_proxy",
    "target_group_health.dns_failover.minimum_healthy_targets.count": _NAMES,
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": _NAMES,
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": _FAILOVER,
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": _FAILOVER,
    "load_balancing.algorithm.type": f"{CLOUD}::test_least_outstanding_requests_leaves_a_busy_target_alone",
    "load_balancing.algorithm.anomaly_mitigation": (
        f"{CLOUD}::test_a_target_that_fails_more_often_than_the_others_gets_less"
    ),
    "slow_start.duration_seconds": f"{CLOUD}::test_a_new_target_starts_slowly",
    "deregistration_delay.connection_termination.enabled": (
        f"{AGENT}::test_flows_to_a_target_that_left_end_where_that_is_wished"
    ),
    "dns_record.client_routing_policy": (
        f"{AGENT}::test_who_asks_in_a_zone_is_told_that_zones_own_address_while_it_is_healthy"
    ),
    "preserve_client_ip.enabled": "machine/test_balancers.py::test_client_address_is_preserved_or_the_balancers",
    "proxy_protocol_v2.enabled": "machine/test_proxies.py::test_proxy_protocol_v2_on_a_tcp_listener",
    "target_health_state.unhealthy.connection_termination.enabled": (
        f"{AGENT}::test_connections_to_a_target_that_turns_unhealthy_end_where_that_is_wished"
    ),
    "target_health_state.unhealthy.draining_interval_seconds": (
        f"{AGENT}::test_an_unhealthy_target_is_told_as_draining_for_the_interval"
    ),
    "tcp.idle_timeout.seconds": (
        "machine/test_balancers.py::test_a_silent_flow_is_forgotten_after_its_listeners_time_and_reset_when_it_goes_on"
    ),
    "routing.http.request.x_amzn_tls_version.header_name": _TLS,
    "routing.http.request.x_amzn_tls_cipher_suite.header_name": _TLS,
    "routing.http.response.server.enabled": _ANSWERS,
}
"""Attribute → the test of its effect, below tests/; header values that answers get are all in one."""

REFUSED = {
    "ipv6.deny_all_igw_traffic",
    "zonal_shift.config.enabled",
    "waf.fail_open.enabled",
    "secondary_ips.auto_assigned.per_subnet",
    *(name for name in tables.KNOWN_OF_LISTENERS if "mtls" in name),
}
"""Told with their default, which is all they take; the table says why."""

OF_NOBODY = {
    "lambda.multi_value_headers.enabled",
    "target_failover.on_deregistration",
    "target_failover.on_unhealthy",
    "send_tcp_reset.on_deregistration.enabled",
    "send_tcp_reset.on_unhealthy.enabled",
    "send_tcp_reset.on_idle_timeout.enabled",
}
"""Of Lambda functions and Gateway Load Balancers, which are not built: no target group or listener has them."""


def documented(kind: str) -> set[str]:
    shape: Any = MODEL.shape_for(f"{kind}Attribute")
    return set(_NAME.findall(shape.members["Key"].documentation))


def shown_by(name: str) -> str:
    return SHOWN.get(name) or (_ANSWERS if name.endswith(".header_value") else "")


KINDS = {
    "LoadBalancer": tables.KNOWN_OF_BALANCERS,
    "TargetGroup": tables.KNOWN_OF_GROUPS,
    "Listener": tables.KNOWN_OF_LISTENERS,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_documented_attribute_is_known_and_no_other(kind: str) -> None:
    assert documented(kind) == KINDS[kind]


@pytest.mark.parametrize("name", sorted({name for kind in KINDS for name in documented(kind)}))
def test_an_attribute_is_shown_to_work_or_refused(name: str) -> None:
    test = shown_by(name)
    assert [bool(test), name in REFUSED, name in OF_NOBODY].count(True) == 1
    if test:
        file, _, function = test.partition("::")
        assert re.search(rf"^(async )?def {function}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), test
    fixed = {key: one for table in EVERY for key, one in table.items() if one.fixed}
    assert (name in fixed) == (name in REFUSED)


EVERY = (
    tables._of_all_balancers(internal=False),
    tables._APPLICATION,
    tables._NETWORK,
    tables._HTTPS_LISTENER,
    tables._TCP_LISTENER,
    tables._HTTP_GROUP,
)
