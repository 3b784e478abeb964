"""What load balancers and target groups are on the machine: nodes, proxies, layer-4 balancers, names, checks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gureum.base.sealing import Sealer
from gureum.core import specs
from gureum.core.machine import decode_desired, encode_desired
from gureum.core.neighbours import Known, NeighbourRefused
from gureum.ports import proxies
from gureum.ports.checks import Probe
from tests.certificates import pair


def attributes(cloud, group, **asked):
    listed = [{"Key": key, "Value": value} for key, value in asked.items()]
    cloud("ModifyTargetGroupAttributes", TargetGroupArn=group, Attributes=listed)


def short(group):
    return f"tg-{group.rpartition('/')[2]}"


def only(found):
    (one,) = found.values()
    return one


def test_a_node_per_zone_is_a_sandbox_with_the_interface_as_its_own(cloud):
    balancer = cloud.application()
    names = [one["NetworkInterfaceId"] for one in cloud.interfaces(balancer)]
    assert sorted(cloud.wished("Sandbox")) == sorted(names)
    for name in names:
        sandbox, interface = cloud.wished("Sandbox")[name], cloud.wished("Interface")[name]
        assert not sandbox.sandbox.guest
        assert (interface.interface.sandbox, interface.interface.device) == (name, "eth0")
        assert interface.interface.default_route
        assert interface.groups == tuple(balancer["SecurityGroups"])
        assert not interface.open
        assert interface.node == "application"
    assert cloud.wished("Proxy") == {}


def test_listeners_and_rules_become_one_proxy_per_node(cloud):
    balancer, one, two = cloud.application(), cloud.group("one"), cloud.group("two")
    listener = cloud.listener(balancer, one)
    rule = cloud.rule(listener, two, 5, "/two/*")
    found = cloud.wished("Proxy")
    assert sorted(found) == sorted(interface["NetworkInterfaceId"] for interface in cloud.interfaces(balancer))
    for interface in cloud.interfaces(balancer):
        proxy = found[interface["NetworkInterfaceId"]]
        assert (proxy.sandbox, proxy.interface) == (interface["NetworkInterfaceId"],) * 2
        assert proxy.zone == interface["AvailabilityZone"]
        assert proxy.proxy.address == interface["PrivateIpAddress"]
    (told,) = proxy.proxy.listeners
    assert (told.port, told.protocol, told.arn) == (80, "HTTP", listener)
    assert told.rules == (
        proxies.Rule(
            5,
            proxies.Forward(((short(two), 1),)),
            (proxies.Condition("path-pattern", ("/two/*",)),),
        ),
        proxies.Rule(0, proxies.Forward(((short(one), 1),))),
    )
    assert [group.name for group in proxy.proxy.groups] == sorted((short(one), short(two)))
    assert proxy.uses == tuple(specs.Use(name, True) for name in sorted((short(one), short(two))))
    id_ = balancer["LoadBalancerArn"].rpartition("/")[2]
    assert proxy.proxy.label == f"app/web/{id_}"
    cloud("DeleteRule", RuleArn=rule)
    assert [len(one.proxy.listeners[0].rules) for one in cloud.wished("Proxy").values()] == [1, 1]


def test_actions_are_handed_over_in_full(cloud):
    balancer, group = cloud.application(), cloud.group()
    listener = cloud.listener(balancer, group)
    redirect = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    answer = {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": "later"}
    weighted = {
        "TargetGroups": [{"TargetGroupArn": group, "Weight": 0}],
        "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 9},
    }
    actions = [
        {"Type": "redirect", "RedirectConfig": redirect},
        {"Type": "fixed-response", "FixedResponseConfig": answer},
        {"Type": "forward", "ForwardConfig": weighted},
    ]
    for priority, action in enumerate(actions, 1):
        conditions = [{"Field": "path-pattern", "Values": [f"/{priority}"]}]
        cloud("CreateRule", ListenerArn=listener, Priority=priority, Conditions=conditions, Actions=[action])
    told = next(iter(cloud.wished("Proxy").values())).proxy.listeners[0].rules
    assert [rule.action for rule in told[:3]] == [
        proxies.Redirect(301, "HTTPS", "#{host}", "443", "/#{path}", "#{query}"),
        proxies.FixedResponse(503, "text/plain", "later"),
        proxies.Forward(((short(group), 0),), 9),
    ]


def test_attributes_of_groups_reach_the_proxy(cloud):
    group = cloud.group(ProtocolVersion="HTTP1")
    cloud.listener(cloud.application(), group)
    attributes(
        cloud,
        group,
        **{
            "stickiness.enabled": "true",
            "stickiness.lb_cookie.duration_seconds": "60",
            "slow_start.duration_seconds": "30",
            "load_balancing.cross_zone.enabled": "false",
        },
    )
    proxy = next(iter(cloud.wished("Proxy").values()))
    (told,) = proxy.proxy.groups
    assert (told.stickiness, told.slow_start_s) == (proxies.Stickiness("lb_cookie", 60), 30)
    assert proxy.uses == (specs.Use(short(group), False),)
    attributes(
        cloud,
        group,
        **{
            "stickiness.type": "app_cookie",
            "stickiness.app_cookie.cookie_name": "SID",
            "slow_start.duration_seconds": "0",
        },
    )
    attributes(cloud, group, **{"load_balancing.algorithm.type": "least_outstanding_requests"})
    (told,) = next(iter(cloud.wished("Proxy").values())).proxy.groups
    assert told.stickiness == proxies.Stickiness("app_cookie", 86400, "SID")
    assert told.algorithm == "least_outstanding_requests"


def test_a_registration_does_not_touch_the_proxy(cloud):
    group = cloud.group()
    cloud.listener(cloud.application(), group)
    before = cloud.wished("Proxy")
    cloud.register(group, cloud.instance())
    assert cloud.wished("Proxy") == before
    assert len(only(cloud.wished("TargetGroup")).targets) == 1


def test_layer_4_listeners_are_balanced_in_the_router(cloud):
    balancer = cloud.network()
    tcp, both = cloud.group("tcp", "TCP"), cloud.group("both", "TCP_UDP", 53)
    cloud.listener(balancer, tcp, "TCP", 80)
    cloud.listener(balancer, both, "TCP_UDP", 53)
    assert cloud.wished("Proxy") == {}
    first, second = cloud.interfaces(balancer)
    told = cloud.wished("Balancer")[first["NetworkInterfaceId"]]
    assert (told.network, told.address) == (cloud.vpc, first["PrivateIpAddress"])
    assert (told.public, told.zone) == (first["Association"]["PublicIp"], "us-east-1a")
    assert told.listeners == (
        specs.BalancedListener("tcp", 53, ((short(both), 1),), idle_s=350),
        specs.BalancedListener("udp", 53, ((short(both), 1),), idle_s=120),
        specs.BalancedListener("tcp", 80, ((short(tcp), 1),), idle_s=350),
    )
    assert told.uses == tuple(specs.Use(name, False) for name in sorted((short(tcp), short(both))))
    interface = cloud.wished("Interface")[second["NetworkInterfaceId"]]
    assert interface.open
    assert interface.groups == ()
    assert interface.node == "network"
    assert not interface.interface.source_check


def test_layer_4_attributes_reach_the_router(cloud):
    balancer, group = cloud.network(), cloud.group("tcp", "TCP")
    cloud.listener(balancer, group, "TCP", 80)
    attributes(cloud, group, **{"stickiness.enabled": "true", "preserve_client_ip.enabled": "false"})
    crosses = [{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}]
    cloud("ModifyLoadBalancerAttributes", LoadBalancerArn=balancer["LoadBalancerArn"], Attributes=crosses)
    told = next(iter(cloud.wished("Balancer").values()))
    assert told.listeners == (
        specs.BalancedListener("tcp", 80, ((short(group), 1),), by="source", preserve_client=False, idle_s=350),
    )
    assert told.uses == (specs.Use(short(group), True),)


def test_the_proxy_protocol_takes_a_program(cloud):
    group = cloud.group("tcp", "TCP")
    cloud.listener(cloud.network(), group, "TCP", 80)
    attributes(cloud, group, **{"proxy_protocol_v2.enabled": "true", "preserve_client_ip.enabled": "false"})
    assert cloud.wished("Balancer") == {}
    proxy = next(iter(cloud.wished("Proxy").values())).proxy
    assert [(one.protocol, one.port) for one in proxy.listeners] == [("TCP", 80)]
    assert (proxy.groups[0].proxy_protocol, proxy.groups[0].preserve_client) == (True, False)
    attributes(cloud, group, **{"preserve_client_ip.enabled": "true"})
    proxy = next(iter(cloud.wished("Proxy").values())).proxy
    assert (proxy.groups[0].proxy_protocol, proxy.groups[0].preserve_client) == (True, True)


def test_requests_of_health_checks_announce_themselves_where_targets_expect_it(cloud):
    group = cloud.group("tcp", "TCP", HealthCheckProtocol="HTTP")
    cloud.listener(cloud.network(), group, "TCP", 80)
    assert not only(cloud.wished("TargetGroup")).probe.announced
    attributes(cloud, group, **{"proxy_protocol_v2.enabled": "true"})
    assert only(cloud.wished("TargetGroup")).probe.announced


def test_certificates_that_are_gone_are_left_out(cloud, certificate, monkeypatch):
    group = cloud.group()
    wanted = {"Protocol": "HTTPS", "Port": 443, "Certificates": [{"CertificateArn": certificate}]}
    arn = cloud.application()["LoadBalancerArn"]
    listener = cloud("CreateListener", LoadBalancerArn=arn, DefaultActions=[cloud.forward(group)], **wanted)
    told = next(iter(cloud.wished("Proxy").values())).proxy
    assert (told.certificates, told.listeners[0].certificates) == ((), ())
    assert told.listeners[0].policy == "ELBSecurityPolicy-2016-08"
    known = proxies.Certificate("cert-1", "PEM", "sealed", certificate)
    monkeypatch.setattr("gureum.aws.elbv2.lowering.lower_certificates", lambda listener, read: [known])
    cloud("ModifyListener", ListenerArn=listener["Listeners"][0]["ListenerArn"], Port=444)
    told = next(iter(cloud.wished("Proxy").values())).proxy
    assert (told.certificates, told.listeners[0].certificates) == ((known,), ("cert-1",))


class Iam:
    """What neighbours tell of a certificate of IAM. `pair`: its PEM and its key's."""

    def __init__(self, **pairs: tuple[str, str]) -> None:
        self.pairs, self.changes = pairs, 0

    def answers(self, service: str) -> bool:
        return service == "iam"

    async def ask(
        self, service: str, operation: str, account: str, region: str, params: dict[str, str]
    ) -> dict[str, Any]:
        name = params["Arn"].rpartition("/")[2]
        if name not in self.pairs:
            raise NeighbourRefused("NoSuchEntity", name)
        body, key = self.pairs[name]
        return {"Id": f"ASCA{name.upper()}", "Arn": params["Arn"], "Body": body, "Chain": "", "Key": key}

    def revision(self, service: str) -> int:
        return self.changes


def test_server_certificates_are_served_from_the_listener_itself(cloud, tmp_path):
    """IAM is asked when a listener gets one, and never again."""
    iam = Iam(one=pair("one.example.com"), two=pair("two.example.com"))
    cloud.known, cloud.sealer = Known(iam), Sealer(tmp_path / "key")
    group, arn = cloud.group(), cloud.application()["LoadBalancerArn"]
    one, two = (f"arn:aws:iam::{cloud.account}:server-certificate/{name}" for name in ("one", "two"))
    wanted = {"LoadBalancerArn": arn, "Protocol": "HTTPS", "DefaultActions": [cloud.forward(group)]}
    cloud("CreateListener", Port=443, Certificates=[{"CertificateArn": one}], **wanted)
    other = cloud("CreateListener", Port=444, Certificates=[{"CertificateArn": two}], **wanted)["Listeners"][0]
    cloud("AddListenerCertificates", ListenerArn=other["ListenerArn"], Certificates=[{"CertificateArn": one}])
    iam.pairs.clear()
    iam.changes += 1
    cloud("ModifyListener", ListenerArn=other["ListenerArn"], Port=445)
    told = next(iter(cloud.wished("Proxy").values())).proxy
    assert {(held.arn, held.domains) for held in told.certificates} == {
        (one, ("one.example.com",)),
        (two, ("two.example.com",)),
    }
    names = {held.arn: held.name for held in told.certificates}
    assert {listener.port: listener.certificates for listener in told.listeners} == {
        443: (names[one],),
        445: (names[two], names[one]),
    }
    key = cloud.sealer.open(told.certificates[0].sealed_key, told.certificates[0].name)
    assert key.startswith("-----BEGIN PRIVATE KEY-----")
    assert cloud.code("ModifyListener", ListenerArn=other["ListenerArn"], Certificates=[{"CertificateArn": one}]) == (
        "CertificateNotFound"
    )


def test_names_lead_to_the_nodes(cloud):
    balancer, group = cloud.application(), cloud.group()
    cloud.listener(balancer, group)
    told = only(cloud.wished("BalancerNames"))
    assert told.names == ((balancer["DNSName"], (0, 1)), (f"dualstack.{balancer['DNSName']}", (0, 1)))
    addresses = [one["Association"]["PublicIp"] for one in cloud.interfaces(balancer)]
    assert [node.address for node in told.nodes] == addresses
    assert [node.zone for node in told.nodes] == ["us-east-1a", "us-east-1b"]
    assert {(node.groups, node.zonal) for node in told.nodes} == {((short(group),), ())}
    attributes(cloud, group, **{"load_balancing.cross_zone.enabled": "false"})
    told = only(cloud.wished("BalancerNames"))
    assert {(node.groups, node.zonal) for node in told.nodes} == {((short(group),), (short(group),))}


@pytest.mark.parametrize(
    ("policy", "own_zone"),
    [("any_availability_zone", 0), ("availability_zone_affinity", 100), ("partial_availability_zone_affinity", 85)],
)
def test_the_client_routing_policy_says_how_many_are_told_their_own_zone(cloud, policy, own_zone):
    """AWS: "DNS affinity": within the VPC, of a hundred questions 0, 100 or 85 are answered with the client's own zone."""
    arn = cloud.network(Scheme="internal")["LoadBalancerArn"]
    wished = [{"Key": "dns_record.client_routing_policy", "Value": policy}]
    cloud("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=wished)
    told = only(cloud.wished("BalancerNames"))
    zones = tuple((f"us-east-1{zone}", f"10.0.{number}.0/24") for number, zone in enumerate("abc", 1))
    assert (told.own_zone, told.network, told.ranges) == (own_zone, *((cloud.vpc, zones) if own_zone else ("", ())))


def test_an_internal_network_load_balancer_has_zonal_names_and_private_addresses(cloud):
    balancer = cloud.network(Scheme="internal")
    told = only(cloud.wished("BalancerNames"))
    name = balancer["DNSName"]
    whole = ((name, (0, 1)), (f"dualstack.{name}", (0, 1)))
    assert told.names == (*whole, (f"us-east-1a.{name}", (0,)), (f"us-east-1b.{name}", (1,)))
    assert [node.address for node in told.nodes] == [one["PrivateIpAddress"] for one in cloud.interfaces(balancer)]


@pytest.mark.parametrize(
    ("params", "probe"),
    [
        ({}, Probe("HTTP", "/", "200", 5.0)),
        ({"ProtocolVersion": "HTTP2"}, Probe("HTTP", "/", "200", 5.0, "HTTP2")),
        ({"ProtocolVersion": "GRPC"}, Probe("GRPC", "/AWS.ALB/healthcheck", "12", 5.0, "HTTP2")),
        ({"HealthCheckProtocol": "HTTPS"}, Probe("HTTPS", "/", "200", 5.0)),
        (
            {"ProtocolVersion": "GRPC", "HealthCheckProtocol": "HTTPS"},
            Probe("GRPCS", "/AWS.ALB/healthcheck", "12", 5.0, "HTTP2"),
        ),
    ],
    ids=str,
)
def test_targets_are_checked_as_set(cloud, certificate, params, probe):
    group = cloud.group(**params)
    cloud(
        "CreateListener",
        LoadBalancerArn=cloud.application()["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate}],
        DefaultActions=[cloud.forward(group)],
    )
    assert only(cloud.wished("TargetGroup")).probe == probe


def test_a_group_is_checked_from_the_nodes_that_use_it(cloud):
    balancer, group = cloud.application(), cloud.group("g", HealthCheckPort="9000")
    assert cloud.wished("TargetGroup") == {}
    listener = cloud.listener(balancer, group)
    instance = cloud.instance()
    cloud.register(group, instance)
    told = cloud.wished("TargetGroup")[short(group)]
    assert [(place.sandbox, place.address, place.zone) for place in told.places] == [
        (one["NetworkInterfaceId"], one["PrivateIpAddress"], one["AvailabilityZone"])
        for one in cloud.interfaces(balancer)
    ]
    address = cloud.address(instance)
    assert told.targets == (
        specs.Target(f"{instance}:80", address, 80, 9000, "us-east-1a", registration=repr(cloud.clock.now())),
    )
    assert (told.interval_s, told.healthy_threshold, told.unhealthy_threshold) == (30.0, 5, 2)
    cloud("DeleteListener", ListenerArn=listener)
    assert cloud.wished("TargetGroup") == {}


def test_how_many_targets_must_be_healthy_is_handed_over(cloud):
    group = cloud.group("t", "TCP")
    cloud.listener(cloud.network(), group, "TCP")
    prefix = "target_group_health"
    attributes(
        cloud,
        group,
        **{
            f"{prefix}.dns_failover.minimum_healthy_targets.count": "off",
            f"{prefix}.dns_failover.minimum_healthy_targets.percentage": "50",
            f"{prefix}.unhealthy_state_routing.minimum_healthy_targets.count": "3",
            "deregistration_delay.connection_termination.enabled": "true",
        },
    )
    told = only(cloud.wished("TargetGroup"))
    assert told.failover == specs.Failover(dns_count=0, dns_percent=50, routing_count=3, routing_percent=0)
    assert (told.end_unhealthy, told.end_deregistered) == (True, True)
    assert told.probe == Probe("TCP", "", "", 10.0)


def test_everything_that_is_lowered_travels_to_the_agent_and_back(cloud):
    cloud.register(cloud.group("unused"), cloud.instance())
    cloud.listener(cloud.application(), cloud.group())
    cloud.listener(cloud.network(), cloud.group("t", "TCP_UDP", 53), "TCP_UDP", 53)
    kinds = {one.kind for one in cloud.desired()}
    assert {"Proxy", "Balancer", "BalancerNames", "TargetGroup", "Sandbox", "Interface"} <= kinds
    for one in cloud.desired():
        assert msgspec.json.encode(decode_desired(encode_desired(one))) == msgspec.json.encode(one)
