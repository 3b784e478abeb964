"""Attributes: keys, defaults and values of elbv2 LoadBalancerAttribute, ListenerAttribute and TargetGroupAttribute (API Reference)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gureum.aws.elbv2 import attribute_tables as tables
from gureum.aws.errors import AwsError
from gureum.core.neighbours import Known, NeighbourRefused, Unasked

HEALTH = {
    "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
    "deregistration_delay.timeout_seconds": "300",
}


def told(result):
    return {one["Key"]: one["Value"] for one in result["Attributes"]}


def test_an_application_load_balancer_has_the_documented_defaults(cloud):
    arn = cloud.application()["LoadBalancerArn"]
    shown = told(cloud("DescribeLoadBalancerAttributes", LoadBalancerArn=arn))
    assert shown == {
        "deletion_protection.enabled": "false",
        "load_balancing.cross_zone.enabled": "true",
        "access_logs.s3.enabled": "false",
        "access_logs.s3.bucket": "",
        "access_logs.s3.prefix": "",
        "ipv6.deny_all_igw_traffic": "false",
        "zonal_shift.config.enabled": "false",
        "idle_timeout.timeout_seconds": "60",
        "client_keep_alive.seconds": "3600",
        "connection_logs.s3.enabled": "false",
        "connection_logs.s3.bucket": "",
        "connection_logs.s3.prefix": "",
        "health_check_logs.s3.enabled": "false",
        "health_check_logs.s3.bucket": "",
        "health_check_logs.s3.prefix": "",
        "routing.http.desync_mitigation_mode": "defensive",
        "routing.http.drop_invalid_header_fields.enabled": "false",
        "routing.http.preserve_host_header.enabled": "false",
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
        "routing.http.xff_client_port.enabled": "false",
        "routing.http.xff_header_processing.mode": "append",
        "routing.http2.enabled": "true",
        "waf.fail_open.enabled": "false",
    }


def test_a_network_load_balancer_has_its_own(cloud):
    arn = cloud.network(Scheme="internal")["LoadBalancerArn"]
    shown = told(cloud("DescribeLoadBalancerAttributes", LoadBalancerArn=arn))
    assert shown["load_balancing.cross_zone.enabled"] == "false"
    assert shown["ipv6.deny_all_igw_traffic"] == "true"
    assert shown["dns_record.client_routing_policy"] == "any_availability_zone"
    assert shown["secondary_ips.auto_assigned.per_subnet"] == "0"
    assert "idle_timeout.timeout_seconds" not in shown


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {"Protocol": "HTTP"},
            {
                "stickiness.enabled": "false",
                "stickiness.type": "lb_cookie",
                "stickiness.lb_cookie.duration_seconds": "86400",
                "stickiness.app_cookie.cookie_name": "",
                "stickiness.app_cookie.duration_seconds": "86400",
                "slow_start.duration_seconds": "0",
                "load_balancing.algorithm.type": "round_robin",
                "load_balancing.algorithm.anomaly_mitigation": "off",
            },
        ),
        (
            {"Protocol": "TCP"},
            {
                "deregistration_delay.connection_termination.enabled": "false",
                "preserve_client_ip.enabled": "true",
                "proxy_protocol_v2.enabled": "false",
                "stickiness.enabled": "false",
                "stickiness.type": "source_ip",
                "target_health_state.unhealthy.connection_termination.enabled": "true",
                "target_health_state.unhealthy.draining_interval_seconds": "0",
            },
        ),
        (
            {"Protocol": "UDP", "TargetType": "ip"},
            {
                "deregistration_delay.connection_termination.enabled": "true",
                "preserve_client_ip.enabled": "true",
                "proxy_protocol_v2.enabled": "false",
                "stickiness.enabled": "false",
                "stickiness.type": "source_ip",
                "target_health_state.unhealthy.connection_termination.enabled": "false",
                "target_health_state.unhealthy.draining_interval_seconds": "0",
            },
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_target_groups_have_the_documented_defaults(cloud, params, expected):
    (group,) = cloud("CreateTargetGroup", Name="t", Port=80, VpcId=cloud.vpc, **params)["TargetGroups"]
    assert told(cloud("DescribeTargetGroupAttributes", TargetGroupArn=group["TargetGroupArn"])) == expected | HEALTH


@pytest.mark.parametrize("protocol", ["TCP", "TLS", "UDP", "TCP_UDP"])
def test_who_sees_the_client_by_default(cloud, protocol):
    """AWS, "Client IP preservation", "Default settings"."""
    for type_ in ("instance", "ip"):
        group = cloud.group(f"t-{type_}", protocol, 80, TargetType=type_)
        shown = told(cloud("DescribeTargetGroupAttributes", TargetGroupArn=group))
        hidden = type_ == "ip" and protocol in ("TCP", "TLS")
        assert shown["preserve_client_ip.enabled"] == ("false" if hidden else "true")


def test_a_change_is_all_or_nothing_and_answers_everything(cloud):
    arn = cloud.application()["LoadBalancerArn"]
    good = {"Key": "idle_timeout.timeout_seconds", "Value": "4000"}
    bad = {"Key": "routing.http2.enabled", "Value": "maybe"}
    refused = cloud.refused("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=[good, bad])
    assert refused == ("ValidationError", "'routing.http2.enabled' must be one of [true, false]")
    after = told(cloud("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=[good]))
    assert after["idle_timeout.timeout_seconds"] == "4000"
    assert after == told(cloud("DescribeLoadBalancerAttributes", LoadBalancerArn=arn))


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("nothing.at.all", "1", "ValidationError"),
        ("dns_record.client_routing_policy", "any_availability_zone", "InvalidConfigurationRequest"),
        ("idle_timeout.timeout_seconds", "0", "ValidationError"),
        ("idle_timeout.timeout_seconds", "4001", "ValidationError"),
        ("idle_timeout.timeout_seconds", "-5", "ValidationError"),
        ("idle_timeout.timeout_seconds", "٣", "ValidationError"),
        ("client_keep_alive.seconds", "59", "ValidationError"),
        ("routing.http.desync_mitigation_mode", "lenient", "ValidationError"),
        ("routing.http.xff_header_processing.mode", "drop", "ValidationError"),
        ("load_balancing.cross_zone.enabled", "false", "ValidationError"),
        ("access_logs.s3.enabled", "true", "InvalidConfigurationRequest"),
        ("connection_logs.s3.enabled", "true", "InvalidConfigurationRequest"),
        ("health_check_logs.s3.enabled", "true", "InvalidConfigurationRequest"),
        ("zonal_shift.config.enabled", "true", "NotImplemented"),
        ("waf.fail_open.enabled", "true", "NotImplemented"),
        ("ipv6.deny_all_igw_traffic", "true", "NotImplemented"),
    ],
)
def test_load_balancer_attributes_that_are_refused(cloud, key, value, code):
    arn = cloud.application()["LoadBalancerArn"]
    wanted = [{"Key": key, "Value": value}]
    assert cloud.code("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=wanted) == code


@pytest.mark.parametrize(
    ("protocol", "asked", "code"),
    [
        ("HTTP", {"deregistration_delay.timeout_seconds": "3601"}, "ValidationError"),
        ("HTTP", {"slow_start.duration_seconds": "29"}, "ValidationError"),
        ("HTTP", {"slow_start.duration_seconds": "30"}, ""),
        (
            "HTTP",
            {"slow_start.duration_seconds": "30", "load_balancing.algorithm.type": "least_outstanding_requests"},
            "InvalidConfigurationRequest",
        ),
        ("HTTP", {"load_balancing.algorithm.type": "weighted_random"}, ""),
        ("HTTP", {"load_balancing.algorithm.anomaly_mitigation": "on"}, "InvalidConfigurationRequest"),
        (
            "HTTP",
            {
                "load_balancing.algorithm.type": "weighted_random",
                "load_balancing.algorithm.anomaly_mitigation": "on",
            },
            "",
        ),
        ("HTTP", {"stickiness.type": "source_ip"}, "InvalidConfigurationRequest"),
        ("HTTP", {"stickiness.enabled": "true", "stickiness.type": "app_cookie"}, "InvalidConfigurationRequest"),
        ("HTTP", {"stickiness.app_cookie.cookie_name": "AWSALBAPP"}, "ValidationError"),
        ("HTTP", {"stickiness.app_cookie.cookie_name": "a;b"}, "ValidationError"),
        (
            "HTTP",
            {
                "stickiness.enabled": "true",
                "stickiness.type": "app_cookie",
                "stickiness.app_cookie.cookie_name": "JSESSIONID",
            },
            "",
        ),
        ("HTTP", {"preserve_client_ip.enabled": "true"}, "InvalidConfigurationRequest"),
        ("HTTP", {"lambda.multi_value_headers.enabled": "true"}, "InvalidConfigurationRequest"),
        (
            "HTTP",
            {
                "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
                "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "2",
            },
            "InvalidConfigurationRequest",
        ),
        (
            "TCP",
            {
                "target_group_health.dns_failover.minimum_healthy_targets.percentage": "49",
                "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "50",
            },
            "InvalidConfigurationRequest",
        ),
        (
            "TCP",
            {
                "target_group_health.dns_failover.minimum_healthy_targets.count": "off",
                "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "2",
            },
            "",
        ),
        ("HTTP", {"load_balancing.cross_zone.enabled": "false"}, ""),
        ("TCP", {"slow_start.duration_seconds": "30"}, "InvalidConfigurationRequest"),
        ("TCP", {"proxy_protocol_v2.enabled": "true", "preserve_client_ip.enabled": "false"}, ""),
        ("TCP", {"proxy_protocol_v2.enabled": "true"}, ""),
        ("TLS", {"preserve_client_ip.enabled": "false"}, ""),
        ("TCP", {"preserve_client_ip.enabled": "false"}, ""),
        ("TCP", {"stickiness.type": "lb_cookie"}, "InvalidConfigurationRequest"),
        ("TCP", {"stickiness.type": "cookie"}, "ValidationError"),
        (
            "TCP",
            {"target_health_state.unhealthy.draining_interval_seconds": "5"},
            "InvalidConfigurationRequest",  # while their connections are ended
        ),
        (
            "TCP",
            {
                "target_health_state.unhealthy.draining_interval_seconds": "360000",
                "target_health_state.unhealthy.connection_termination.enabled": "false",
            },
            "",
        ),
        ("UDP", {"target_health_state.unhealthy.draining_interval_seconds": "360001"}, "ValidationError"),
        ("UDP", {"preserve_client_ip.enabled": "false"}, "InvalidConfigurationRequest"),
        ("UDP", {"proxy_protocol_v2.enabled": "true"}, "NotImplemented"),
        (
            "UDP",
            {"target_health_state.unhealthy.connection_termination.enabled": "true"},
            "InvalidConfigurationRequest",
        ),
        ("TLS", {"stickiness.enabled": "true"}, "InvalidConfigurationRequest"),
    ],
    ids=str,
)
def test_target_group_attributes_keep_their_rules(cloud, protocol, asked, code):
    group = cloud.group("t", protocol)
    wanted = {"TargetGroupArn": group, "Attributes": [{"Key": key, "Value": value} for key, value in asked.items()]}
    if code:
        assert cloud.code("ModifyTargetGroupAttributes", **wanted) == code
    else:
        assert asked.items() <= told(cloud("ModifyTargetGroupAttributes", **wanted)).items()


@pytest.mark.parametrize(
    ("protocol", "asked", "words"),
    [
        ("HTTP", {"type": "source_ip"}, "Stickiness type 'source_ip' is not supported for target groups with the HTTP protocol"),
        ("UDP", {"type": "lb_cookie"}, "Stickiness type 'lb_cookie' is not supported for target groups with the UDP protocol"),
        (
            "TLS",
            {"enabled": "true", "type": "lb_cookie"},
            "You cannot enable stickiness on target groups with the TLS protocol",
        ),
        (
            "HTTP",
            {"enabled": "true", "type": "app_cookie"},
            "You must set an application cookie name to enable stickiness of type 'app_cookie'",
        ),
    ],
)  # fmt: skip
def test_stickiness_that_is_refused_is_refused_in_the_originals_words(cloud, protocol, asked, words):
    """As the acceptance tests of Terraform's AWS provider (internal/service/elbv2) and moto look for them."""
    wanted = [{"Key": f"stickiness.{key}", "Value": value} for key, value in asked.items()]
    refused = cloud.refused("ModifyTargetGroupAttributes", TargetGroupArn=cloud.group("t", protocol), Attributes=wanted)
    assert refused == ("InvalidConfigurationRequest", words)


def test_a_group_is_sticky_or_random(cloud):
    """The provider's acceptance tests: the algorithm weighted_random and stickiness exclude each other, whichever comes first."""
    sticky = {"Key": "stickiness.enabled", "Value": "true"}
    random = {"Key": "load_balancing.algorithm.type", "Value": "weighted_random"}
    refusal = (
        "InvalidConfigurationRequest",
        "You cannot have both stickiness and weighted random algorithm enabled on the same target group.",
    )
    for name, first, then in (("a", sticky, random), ("b", random, sticky)):
        group = cloud.group(name)
        cloud("ModifyTargetGroupAttributes", TargetGroupArn=group, Attributes=[first])
        assert cloud.refused("ModifyTargetGroupAttributes", TargetGroupArn=group, Attributes=[then]) == refusal


def test_listeners_have_attributes_by_protocol(cloud, certificate):
    application, network = cloud.application(), cloud.network()
    plain = cloud.listener(application, cloud.group())
    shown = told(cloud("DescribeListenerAttributes", ListenerArn=plain))
    assert shown["routing.http.response.server.enabled"] == "true"
    assert len(shown) == 11
    tcp = cloud.listener(network, cloud.group("t", "TCP"), "TCP")
    assert told(cloud("DescribeListenerAttributes", ListenerArn=tcp)) == {"tcp.idle_timeout.seconds": "350"}
    for seconds, code in (("59", "ValidationError"), ("6001", "ValidationError"), ("60", ""), ("6000", "")):
        asked = {"ListenerArn": tcp, "Attributes": [{"Key": "tcp.idle_timeout.seconds", "Value": seconds}]}
        if code:
            assert cloud.code("ModifyListenerAttributes", **asked) == code
        else:
            assert told(cloud("ModifyListenerAttributes", **asked)) == {"tcp.idle_timeout.seconds": seconds}
            assert {one.idle_s for node in cloud.wished("Balancer").values() for one in node.listeners} == {
                int(seconds)
            }
    udp = cloud.listener(network, cloud.group("u", "UDP"), "UDP", 53)
    assert told(cloud("DescribeListenerAttributes", ListenerArn=udp)) == {}
    secure = cloud(
        "CreateListener",
        LoadBalancerArn=application["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate}],
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
    )["Listeners"][0]["ListenerArn"]
    assert len(told(cloud("DescribeListenerAttributes", ListenerArn=secure))) == 19


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("routing.http.response.server.enabled", "false", ""),
        ("routing.http.response.strict_transport_security.header_value", "max-age=31536000", ""),
        ("routing.http.response.x_frame_options.header_value", "DENY", ""),
        ("routing.http.response.x_frame_options.header_value", "ALLOW", "ValidationError"),
        ("routing.http.response.x_content_type_options.header_value", "sniff", "ValidationError"),
        ("routing.http.response.access_control_max_age.header_value", "soon", "ValidationError"),
        ("routing.http.response.content_security_policy.header_value", "a\r\nb: c", "ValidationError"),
        ("routing.http.request.x_amzn_tls_version.header_name", "X-Version", "InvalidConfigurationRequest"),
        ("tcp.idle_timeout.seconds", "60", "InvalidConfigurationRequest"),
        ("nothing", "", "ValidationError"),
    ],
)
def test_listener_attributes_keep_their_rules(cloud, key, value, code):
    listener = cloud.listener(cloud.application(), cloud.group())
    wanted = {"ListenerArn": listener, "Attributes": [{"Key": key, "Value": value}]}
    if code:
        assert cloud.code("ModifyListenerAttributes", **wanted) == code
    else:
        assert told(cloud("ModifyListenerAttributes", **wanted))[key] == value


def test_every_default_is_a_value_that_is_taken():
    every = [
        *tables._of_all_balancers(False).items(),
        *tables._APPLICATION.items(),
        *tables._NETWORK.items(),
        *tables._HTTPS_LISTENER.items(),
        *tables._TCP_LISTENER.items(),
        *tables._HTTP_GROUP.items(),
    ]
    for key, attribute in every:
        attribute.check(key, attribute.default)


class S3:
    """Fills Neighbours: the buckets that there are, by account."""

    def __init__(self, **buckets: list[str]) -> None:
        self.buckets = buckets

    def answers(self, service: str) -> bool:
        return service == "s3"

    async def ask(self, service: str, operation: str, account: str, region: str, params: Any) -> dict[str, Any]:
        if operation == "ListBuckets":
            return {"Buckets": [{"Name": name} for name in self.buckets.get(f"of_{account}", [])]}
        assert operation == "HeadBucket"
        if not any(params["Bucket"] in names for names in self.buckets.values()):
            raise NeighbourRefused("404", "Not Found")
        return {}

    def revision(self, service: str) -> int:
        return 1


@pytest.mark.parametrize(
    ("what", "file"),
    [
        ("access_logs", "ELBAccessLogTestFile"),
        ("connection_logs", "ELBConnectionLogTestFile"),
        ("health_check_logs", "ELBHealthCheckLogTestFile"),
    ],
)
def test_a_bucket_for_logs_is_tried(cloud, tmp_path, what, file):
    """AWS: "verify bucket permissions": a test file lies in the bucket when the call returns."""
    cloud.home = str(tmp_path)
    arn = cloud.application()["LoadBalancerArn"]
    wanted = {f"{what}.s3.enabled": "true", f"{what}.s3.bucket": "my-logs", f"{what}.s3.prefix": "web"}
    attributes = [{"Key": key, "Value": value} for key, value in wanted.items()]
    assert (
        told(cloud("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=attributes)).items()
        >= wanted.items()
    )
    path = tmp_path / "s3-local" / "my-logs" / "web" / "AWSLogs" / cloud.account / file
    assert path.read_text().startswith("Enable ")
    assert path.read_text().endswith("for ELB: web at 2025-06-15T15:06:40.000Z")
    path.unlink()
    idle = [{"Key": "idle_timeout.timeout_seconds", "Value": "61"}]
    cloud("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=idle)
    assert not path.exists(), "only a place that is new is tried"


def test_a_bucket_for_logs_that_is_not_there_is_refused(cloud, tmp_path):
    cloud.home = str(tmp_path)
    cloud.known = Known(S3(of_111122223333=["my-logs"], of_999999999999=["theirs"]))
    arn = cloud.application()["LoadBalancerArn"]

    def asked(bucket: str) -> Any:
        wanted = {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": bucket}
        attributes = [{"Key": key, "Value": value} for key, value in wanted.items()]
        while True:
            try:
                return cloud("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=attributes)
            except Unasked as unasked:
                asyncio.run(cloud.known.ask(unasked.question))

    with pytest.raises(
        AwsError, match=r"Access Denied for bucket: no-logs. Please check S3bucket permission$"
    ) as found:
        asked("no-logs")
    assert found.value.code == "InvalidConfigurationRequest"
    assert told(asked("my-logs"))["access_logs.s3.bucket"] == "my-logs"
    assert told(asked("theirs"))["access_logs.s3.bucket"] == "theirs"
