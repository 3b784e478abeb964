"""Bad input to every operation: always an AWS error or a result of the model's shape, never another exception, and what is stored stays
consistent: owners are there, names, ports and priorities are unique, each node has its interface, and all of it can be lowered."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.aws.ec2.networks.kinds import Address, NetworkInterface
from gureum.aws.elbv2.kinds import Listener, LoadBalancer, Rule, TargetGroup
from gureum.aws.elbv2.target_places import REQUESTER
from gureum.aws.errors import AwsError
from gureum.core.machine import decode_desired, encode_desired
from gureum.engine.resource import key_of

MODEL = botocore.session.get_session().get_service_model("elbv2")
CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/1"
WORDS = [
    "", "0", "-1", "x" * 300, "80", "traffic-port", "443", CERTIFICATE,
    "/", "/a*?", "*.example.com", "a.b", "web", "on", "off", "true", "false", "9" * 5000,
    "10.0.0.0/8", "::/0", "10.0.1.9", "192.168.1.1", "8.8.8.8", "all", "us-east-1a", "arn:", "arn:aws:elasticloadbalancing:::x/y", "é", "\u0000",
    "🦀",
    "#{host}", "#{", "/#{path}", "GET", "200", "200-299", "12", "a\r\nb: c", "%", "subnet-0123456789abcdef0", "sg-0123456789abcdef0",
]  # fmt: skip
USUAL = {
    "Name": ["web", "net", "api", "t1"],
    "Port": [80, 443, 53, 8080],
    "Priority": [1, 2, 3, 100],
    "PageSize": [1, 2, 400],
    "Weight": [0, 1, 999],
    "HealthCheckPath": ["/", "/healthz"],
    "Key": [
        "a", "deregistration_delay.timeout_seconds", "stickiness.enabled", "stickiness.type", "idle_timeout.timeout_seconds",
        "proxy_protocol_v2.enabled", "preserve_client_ip.enabled", "routing.http2.enabled", "tcp.idle_timeout.seconds",
        "load_balancing.algorithm.type", "load_balancing.cross_zone.enabled", "deletion_protection.enabled",
    ],
    "Value": ["true", "false", "60", "0", "source_ip", "app_cookie", "round_robin", "off"],
    "Values": ["/a", "a.b", "GET", "10.0.0.0/8"],
    "HttpHeaderName": ["User-Agent"],
    "StatusCode": ["200", "404", "HTTP_301"],
    "Type": ["application", "network", "forward", "redirect", "fixed-response"],
    "AvailabilityZone": ["all", "us-east-1a"],
}  # fmt: skip
PREFIXES = {
    "LoadBalancerArn": ":loadbalancer/", "LoadBalancerArns": ":loadbalancer/", "TargetGroupArn": ":targetgroup/", "TargetGroupArns": ":targetgroup/",
    "ListenerArn": ":listener/", "ListenerArns": ":listener/", "RuleArn": ":listener-rule/", "RuleArns": ":listener-rule/",
    "ResourceArns": ":elastic", "CertificateArn": ":acm:",
    "Subnets": "subnet-", "SubnetId": "subnet-", "SecurityGroups": "sg-", "VpcId": "vpc-", "Id": "i-", "AllocationId": "eipalloc-",
}  # fmt: skip
SELDOM = ("IpamPools", "CustomerOwnedIpv4Pool", "EnablePrefixForIpv6SourceNat", "IPv6Address", "SourceNatIpv6Prefix", "TargetControlPort",
    "Marker", "QuicServerId", "Transforms", "RegexValues", "MutualAuthentication", "AuthenticateOidcConfig", "AuthenticateCognitoConfig",
    "JwtValidationConfig", "Include", "AlpnPolicy", "IpAddressType")  # fmt: skip


def values(shape: Any, known: list[str], name: str = "", depth: int = 0) -> st.SearchStrategy[Any]:
    if shape.type_name == "structure":
        return structures(shape, known, depth)
    if shape.type_name == "list":
        return st.lists(values(shape.member, known, name, depth + 1), max_size=3)
    if shape.type_name == "boolean":
        return st.booleans()
    if shape.type_name == "map":
        return st.just({})
    usual: list[Any] = USUAL.get(name) or [one for one in known if name in PREFIXES and PREFIXES[name] in one]
    if shape.type_name in ("integer", "long"):
        anything: Any = st.sampled_from([-1, 0, 1, 2, 5, 10, 80, 300, 65535, 65536, 2**31 - 1])
        usual = [one for one in usual if isinstance(one, int)]
    else:
        anything = st.sampled_from([*WORDS, *known])
        # The gateway has checked enumerations before an operation is called.
        usual = list(shape.enum) if shape.enum else [str(one) for one in usual]
        if shape.enum:
            return st.sampled_from(usual)
    if not usual:
        return anything
    return st.integers(0, 5).flatmap(lambda n: st.sampled_from(usual) if n else anything)


@st.composite
def structures(draw: Any, shape: Any, known: list[str], depth: int) -> dict[str, Any]:
    found = {}
    for name, member in shape.members.items():
        if depth > 5:
            continue
        often = 0 if name in SELDOM else 6 if len(shape.members) > 3 else 8
        if name in shape.required_members or draw(st.integers(0, 9)) <= often:
            found[name] = draw(values(member, known, name, depth + 1))
    return found


def plausible(known: list[str]) -> dict[str, dict[str, Any]]:
    """Parameters with which these operations mostly succeed, so that single faults in them are met too."""
    application, network, group, second, layer4 = known[:5]
    listener, rule, instance, subnet, vpc, security = (
        next(one for one in known if word in one)
        for word in (":listener/", ":listener-rule/", "i-", "subnet-", "vpc-", "sg-")
    )
    instance = next(one for one in known if one.startswith("i-"))
    subnets = [one for one in known if one.startswith("subnet-")]
    allocation = next(one for one in known if one.startswith("eipalloc-"))
    answer = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]
    moved = [{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Host": "a.b"}}]
    certificates = [{"CertificateArn": CERTIFICATE}]
    forward = [{"Type": "forward", "TargetGroupArn": second}]
    path = [{"Field": "path-pattern", "Values": ["/b"]}]
    secure = next(one for one in reversed(known) if ":listener/" in one)
    return {
        "CreateLoadBalancer": {"Name": "new", "Subnets": subnets[:2]},
        "CreateLoadBalancer/network": {
            "Name": "new",
            "Type": "network",
            "SubnetMappings": [{"SubnetId": subnet, "AllocationId": allocation}],
        },
        "CreateListener": {"LoadBalancerArn": application, "Protocol": "HTTP", "Port": 81, "DefaultActions": answer},
        "CreateListener/secure": {
            "LoadBalancerArn": application,
            "Protocol": "HTTPS",
            "Port": 82,
            "Certificates": certificates,
            "DefaultActions": forward,
        },
        "CreateListener/network": {
            "LoadBalancerArn": network,
            "Protocol": "TCP",
            "Port": 83,
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": layer4}],
        },
        "CreateRule": {"ListenerArn": listener, "Priority": 3, "Conditions": path, "Actions": forward},
        "CreateRule/moved": {"ListenerArn": secure, "Priority": 4, "Conditions": path, "Actions": moved},
        "CreateTargetGroup": {"Name": "new", "Protocol": "HTTP", "Port": 80, "VpcId": vpc},
        "CreateTargetGroup/network": {"Name": "new", "Protocol": "UDP", "Port": 53, "VpcId": vpc, "TargetType": "ip"},
        "ModifyTargetGroup": {"TargetGroupArn": group, "HealthCheckPath": "/x"},
        "ModifyRule": {"RuleArn": rule, "Actions": answer},
        "ModifyListener": {"ListenerArn": listener, "DefaultActions": forward},
        "RegisterTargets": {"TargetGroupArn": group, "Targets": [{"Id": instance, "Port": 99}]},
        "SetSecurityGroups": {"LoadBalancerArn": application, "SecurityGroups": [security]},
        "SetSubnets": {"LoadBalancerArn": application, "Subnets": subnets},
        "AddListenerCertificates": {"ListenerArn": secure, "Certificates": certificates},
        "RemoveListenerCertificates": {"ListenerArn": secure, "Certificates": certificates},
    }


@st.composite
def calls(draw: Any, operations: list[str], known: list[str]) -> tuple[str, dict[str, Any]]:
    """An operation and its parameters: any at all, or plausible ones of which some are any."""
    bases = plausible(known)
    if draw(st.booleans()):
        name = draw(st.sampled_from(operations))
        return name, draw(values(MODEL.operation_model(name).input_shape, known))
    base = draw(st.sampled_from(sorted(bases)))
    name, params = base.partition("/")[0], dict(bases[base])
    shape = MODEL.operation_model(name).input_shape
    for member in draw(st.lists(st.sampled_from(sorted(shape.members)), max_size=2)):
        params[member] = draw(values(shape.members[member], known, member, 1))
    return name, params


def inhabited(cloud: Any) -> list[str]:
    """Something of everything; returns all its ids and ARNs."""
    application, network = cloud.application(), cloud.network()
    group, second, layer4 = cloud.group("g"), cloud.group("h"), cloud.group("l", "TCP_UDP")
    addresses = cloud.group("ips", "TCP", 80, TargetType="ip")
    listener = cloud.listener(application, group)
    tcp = cloud.listener(network, layer4, "TCP_UDP", 53)
    secure = cloud(
        "CreateListener",
        LoadBalancerArn=application["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": CERTIFICATE}],
        DefaultActions=[cloud.forward(group)],
    )["Listeners"][0]["ListenerArn"]
    rule, other = cloud.rule(listener, group, 1), cloud.rule(listener, second, 2)
    instance = cloud.instance()
    cloud.register(group, instance)
    groups = cloud("ec2:DescribeSecurityGroups", Filters=[{"Name": "vpc-id", "Values": [cloud.vpc]}])["SecurityGroups"]
    allocation = cloud("ec2:AllocateAddress")["AllocationId"]
    return [
        application["LoadBalancerArn"],
        network["LoadBalancerArn"],
        *(group, second, layer4, addresses),
        *(listener, tcp, secure),
        *(rule, other),
        *(instance, cloud.instance(cloud.subnets[1])),
        *cloud.subnets,
        cloud.vpc,
        groups[0]["GroupId"],
        allocation,
        CERTIFICATE,
    ]


def check_consistent(cloud: Any) -> None:
    call = cloud.call()
    balancers, groups = call.all(LoadBalancer), call.all(TargetGroup)
    listeners, rules = call.all(Listener), call.all(Rule)
    assert unique(one.spec.name for one in balancers)
    assert unique(one.spec.name for one in groups)
    assert unique((one.spec.load_balancer, one.spec.port) for one in listeners)
    assert unique((one.spec.listener, one.spec.priority) for one in rules)
    keys = {key_of(one) for one in [*balancers, *listeners]}
    assert {one.meta.owner for one in [*listeners, *rules]} <= keys
    defaults = {one.meta.name for one in rules if not one.spec.priority}
    assert defaults == {one.spec.default_rule for one in listeners}
    used = {name: one.spec.load_balancer for one in rules for name in one.groups}
    assert set(used) <= {group.meta.name for group in groups}
    assert all(used[name] == one.spec.load_balancer for one in rules for name in one.groups)
    managed = {one.meta.name for one in call.all(NetworkInterface) if one.spec.requester == REQUESTER}
    assert managed == {node.interface for one in balancers for node in one.spec.zones}
    held = {one.meta.name for one in call.all(Address) if one.spec.association}
    assert held == {node.allocation for one in balancers for node in one.spec.zones if node.allocation}
    for group in groups:
        assert unique((target.id, target.port) for target in group.spec.targets)
    for one in cloud.desired():
        decode_desired(encode_desired(one))
    assert unique(one.id for one in cloud.desired())


def unique(found: Any) -> bool:
    return all(number == 1 for number in Counter(found).values())


@pytest.fixture(scope="module")
def shared():
    return {}


@pytest.fixture
def any_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gureum.aws.elbv2.certificates.find_certificate", lambda call, transaction, wanted: wanted)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_input_is_answered_and_leaves_a_consistent_state(new_cloud, operations, shared, any_certificate, data):
    if shared.get("left", 0) == 0:
        shared["cloud"], shared["left"] = new_cloud(), 25
        shared["ids"] = inhabited(shared["cloud"])
    shared["left"] -= 1
    cloud, known = shared["cloud"], shared["ids"]
    name, params = data.draw(calls(operations, known), label="call")
    before, refused = cloud.client.store.revision, False
    try:
        asyncio.run(cloud.run(name, **params))
    except AwsError:
        refused = True
    assert not refused or cloud.client.store.revision == before
    check_consistent(cloud)


def test_the_model_knows_every_operation(operations):
    assert set(operations) <= set(MODEL.operation_names)
    assert len(operations) == 37
