"""Listeners, their certificates and security policies. Rules: elbv2 CreateListener, ModifyListener, AddListenerCertificates,
DescribeSSLPolicies (API Reference); "Security policies for your Application Load Balancer" (User Guide)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gureum.aws.acm.certificates import Certificate, CertificateSpec, Material, arn_of, find

OF_IAM = "arn:aws:iam::111122223333:server-certificate/web"
OTHER = "arn:aws:acm:us-east-1:111122223333:certificate/87654321-1234-1234-1234-123456789012"


@pytest.fixture
def made(cloud):
    """An application load balancer and a group."""
    return cloud.application()["LoadBalancerArn"], cloud.group()


def test_a_listener_is_shown_as_made(cloud, made):
    balancer, group = made
    wanted = {"LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 80, "DefaultActions": [cloud.forward(group)]}
    (shown,) = cloud("CreateListener", **wanted)["Listeners"]
    assert shown["ListenerArn"].startswith(balancer.replace(":loadbalancer/", ":listener/") + "/")
    assert (shown["Port"], shown["Protocol"]) == (80, "HTTP")
    (action,) = shown["DefaultActions"]
    assert action == {
        "Type": "forward",
        "TargetGroupArn": group,
        "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": group, "Weight": 1}],
            "TargetGroupStickinessConfig": {"Enabled": False},
        },
    }
    assert cloud("DescribeListeners", LoadBalancerArn=balancer)["Listeners"] == [shown]
    assert cloud("DescribeListeners", ListenerArns=[shown["ListenerArn"]])["Listeners"] == [shown]
    assert cloud("CreateListener", **wanted)["Listeners"] == [shown]
    other = wanted | {"DefaultActions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}]}
    text = f"A listener already exists on this port for this load balancer '{balancer}'"
    assert cloud.refused("CreateListener", **other) == ("DuplicateListener", text)


@pytest.mark.parametrize(
    ("type_", "params", "code"),
    [
        ("application", {"Protocol": "TCP"}, "ValidationError"),
        ("application", {"Protocol": None}, "ValidationError"),
        ("application", {"Port": None}, "ValidationError"),
        ("application", {"Port": 65536}, "ValidationError"),
        ("application", {"Protocol": "HTTPS"}, "ValidationError"),
        ("application", {"SslPolicy": "ELBSecurityPolicy-2016-08"}, "ValidationError"),
        ("application", {"Certificates": [{"CertificateArn": OTHER}]}, "ValidationError"),
        ("application", {"Protocol": "HTTPS", "Certificates": [{"CertificateArn": OTHER}]}, "CertificateNotFound"),
        ("application", {"Protocol": "HTTPS", "Certificates": [{"CertificateArn": OF_IAM}]}, "NotImplemented"),
        ("application", {"AlpnPolicy": ["None"]}, "ValidationError"),
        ("application", {"MutualAuthentication": {"Mode": "verify"}}, "InvalidConfigurationRequest"),
        ("application", {"DefaultActions": []}, "ValidationError"),
        ("network", {"Protocol": "HTTP"}, "ValidationError"),
        ("network", {"Protocol": "QUIC"}, "NotImplemented"),
        ("network", {"Protocol": "TLS"}, "ValidationError"),
        ("network", {"Protocol": "TCP"}, "IncompatibleProtocols"),
    ],
    ids=str,
)
def test_listeners_that_are_refused(cloud, type_, params, code):
    balancer = cloud.application() if type_ == "application" else cloud.network()
    wanted = {"Protocol": "HTTP", "Port": 80, "DefaultActions": [cloud.forward(cloud.group())]} | params
    wanted = {name: value for name, value in wanted.items() if value is not None}
    assert cloud.code("CreateListener", LoadBalancerArn=balancer["LoadBalancerArn"], **wanted) == code


@pytest.mark.parametrize(
    ("listener", "group", "fits"),
    [
        ("TCP", "TCP", True),
        ("TCP", "TCP_UDP", True),
        ("TCP", "UDP", False),
        ("TCP", "TLS", False),
        ("UDP", "UDP", True),
        ("UDP", "TCP_UDP", True),
        ("UDP", "TCP", False),
        ("TCP_UDP", "TCP_UDP", True),
        ("TCP_UDP", "TCP", False),
        ("TCP", "HTTP", False),
    ],
)
def test_protocols_of_listener_and_group_must_fit(cloud, listener, group, fits):
    balancer, target = cloud.network()["LoadBalancerArn"], cloud.group("t", group)
    wanted = {"LoadBalancerArn": balancer, "Protocol": listener, "Port": 1, "DefaultActions": [cloud.forward(target)]}
    if fits:
        cloud("CreateListener", **wanted)
    else:
        assert cloud.code("CreateListener", **wanted) == "IncompatibleProtocols"


@pytest.mark.parametrize("version", ["HTTP2", "GRPC"])
def test_http2_and_grpc_groups_need_https(cloud, made, certificate, version):
    balancer, group = made[0], cloud.group("g", ProtocolVersion=version)
    wanted = {"LoadBalancerArn": balancer, "Port": 1, "DefaultActions": [cloud.forward(group)]}
    assert cloud.code("CreateListener", **wanted, Protocol="HTTP") == "IncompatibleProtocols"
    cloud("CreateListener", **wanted, Protocol="HTTPS", Certificates=[{"CertificateArn": certificate}])


def test_a_group_has_one_load_balancer_of_its_vpc(cloud, made):
    balancer, group = made
    cloud("CreateListener", LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[cloud.forward(group)])
    second = cloud.application("second")["LoadBalancerArn"]
    wanted = {"LoadBalancerArn": second, "Protocol": "HTTP", "Port": 80}
    refused = cloud.refused("CreateListener", **wanted, DefaultActions=[cloud.forward(group)])
    text = f"The following target groups cannot be associated with more than one load balancer: {group}"
    assert refused == ("TargetGroupAssociationLimit", text)
    vpc = cloud("ec2:CreateVpc", CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    foreign = cloud.group("foreign", VpcId=vpc)
    code = cloud.code("CreateListener", **wanted, DefaultActions=[cloud.forward(foreign)])
    assert code == "InvalidConfigurationRequest"
    code = cloud.code("CreateListener", **wanted, DefaultActions=[cloud.forward(group + "0")])
    assert code == "TargetGroupNotFound"


def test_what_is_given_of_a_listener_changes(cloud, made, certificate):
    balancer, group = made
    wanted = {"LoadBalancerArn": balancer, "Protocol": "HTTP", "DefaultActions": [cloud.forward(group)]}
    arn = cloud("CreateListener", **wanted, Port=80)["Listeners"][0]["ListenerArn"]
    cloud("CreateListener", **wanted, Port=81)
    assert cloud.code("ModifyListener", ListenerArn=arn, Port=81) == "DuplicateListener"
    assert cloud("ModifyListener", ListenerArn=arn, Port=82)["Listeners"][0]["Port"] == 82
    assert cloud.code("ModifyListener", ListenerArn=arn, Protocol="HTTPS") == "ValidationError"
    secure = {"Protocol": "HTTPS", "Certificates": [{"CertificateArn": certificate}]}
    (shown,) = cloud("ModifyListener", ListenerArn=arn, **secure)["Listeners"]
    assert (shown["SslPolicy"], shown["Certificates"]) == (
        "ELBSecurityPolicy-2016-08",
        [{"CertificateArn": certificate}],
    )
    assert shown["MutualAuthentication"] == {"Mode": "off"}
    answer = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "ContentType": "text/plain"}}
    (shown,) = cloud("ModifyListener", ListenerArn=arn, Protocol="HTTP", DefaultActions=[answer])["Listeners"]
    assert "SslPolicy" not in shown
    assert "Certificates" not in shown
    assert shown["DefaultActions"] == [answer]
    assert cloud("DescribeListeners", ListenerArns=[arn])["Listeners"] == [shown]


def test_certificates_are_added_and_removed(cloud, made, certificate):
    balancer, group = made
    (shown,) = cloud(
        "CreateListener",
        LoadBalancerArn=balancer,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate}],
        SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06",
        DefaultActions=[cloud.forward(group)],
    )["Listeners"]
    arn, other = shown["ListenerArn"], [{"CertificateArn": OTHER}]
    for _ in range(2):
        added = cloud("AddListenerCertificates", ListenerArn=arn, Certificates=other)
        assert added == {"Certificates": [{"CertificateArn": OTHER, "IsDefault": False}]}
    both = cloud("DescribeListenerCertificates", ListenerArn=arn)["Certificates"]
    assert both == [
        {"CertificateArn": certificate, "IsDefault": True},
        {"CertificateArn": OTHER, "IsDefault": False},
    ]
    default = [{"CertificateArn": certificate}]
    cloud("AddListenerCertificates", ListenerArn=arn, Certificates=default)
    assert len(cloud("DescribeListenerCertificates", ListenerArn=arn)["Certificates"]) == 3
    cloud("RemoveListenerCertificates", ListenerArn=arn, Certificates=default)
    cloud("RemoveListenerCertificates", ListenerArn=arn, Certificates=other)
    assert cloud("DescribeListenerCertificates", ListenerArn=arn)["Certificates"] == both[:1]
    assert cloud.code("RemoveListenerCertificates", ListenerArn=arn, Certificates=default) == "OperationNotPermitted"
    two = [*default, *other]
    assert cloud.code("AddListenerCertificates", ListenerArn=arn, Certificates=two) == "InvalidConfigurationRequest"
    for i in range(25):
        cloud("AddListenerCertificates", ListenerArn=arn, Certificates=[{"CertificateArn": f"{OTHER}{i}"}])
    assert cloud.code("AddListenerCertificates", ListenerArn=arn, Certificates=other) == "TooManyCertificates"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"SslPolicy": "ELBSecurityPolicy-9999"}, "SSLPolicyNotFound"),
        ({"SslPolicy": "ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04"}, "NotImplemented"),
        ({"SslPolicy": "ELBSecurityPolicy-2015-05"}, "SSLPolicyNotFound"),
        ({"MutualAuthentication": {"Mode": "passthrough"}}, "NotImplemented"),
        ({"MutualAuthentication": {"Mode": "verify", "TrustStoreArn": "arn"}}, "NotImplemented"),
        ({"DefaultActions": [{"Type": "authenticate-oidc"}]}, "NotImplemented"),
        ({"DefaultActions": [{"Type": "authenticate-cognito"}]}, "NotImplemented"),
        ({"DefaultActions": [{"Type": "jwt-validation"}]}, "NotImplemented"),
    ],
    ids=str,
)
def test_secure_listeners_that_are_refused(cloud, made, certificate, params, code):
    wanted = {"DefaultActions": [cloud.forward(made[1])], "Certificates": [{"CertificateArn": certificate}]} | params
    assert cloud.code("CreateListener", LoadBalancerArn=made[0], Protocol="HTTPS", Port=443, **wanted) == code


@pytest.mark.parametrize(("algorithm", "code"), [("RSA_1024", "NotImplemented"), ("RSA_2048", "")])
def test_keys_that_the_proxy_would_not_load_are_refused(cloud, made, monkeypatch, algorithm, code):
    """OpenSSL's security level of the distribution refuses RSA keys of 1024 bits: one such certificate, and the proxy takes no change any more."""
    known = imported(cloud, algorithm)
    wanted = {"DefaultActions": [cloud.forward(made[1])], "Certificates": [{"CertificateArn": arn_of(known)}]}
    wanted |= {"LoadBalancerArn": made[0], "Protocol": "HTTPS", "Port": 443}
    if code:
        assert cloud.code("CreateListener", **wanted) == code
    else:
        cloud("CreateListener", **wanted)


def test_a_certificate_that_changes_meanwhile_is_looked_at_again(cloud, made, monkeypatch):
    good = imported(cloud, "RSA_2048")
    imported(cloud, "RSA_1024", over=good)
    seen = [good]  # what the first look still sees
    monkeypatch.setattr("gureum.aws.elbv2.certificates.find", lambda call, arn: seen.pop() if seen else find(call, arn))
    wanted = {"DefaultActions": [cloud.forward(made[1])], "Certificates": [{"CertificateArn": arn_of(good)}]}
    wanted |= {"LoadBalancerArn": made[0], "Protocol": "HTTPS", "Port": 443}
    assert cloud.code("CreateListener", **wanted) == "NotImplemented"
    assert not seen


def imported(cloud: Any, algorithm: str, over: Certificate | None = None) -> Certificate:
    """As ACM stores it; its content is nothing that is looked at here."""
    far = 4102444800.0  # the year 2100
    material = Material("m", "", "", "", 0.0, far, "1", "CN=a", "CN=a", algorithm, "SHA256WITHRSA")
    spec = CertificateSpec("a.example.com", ("a.example.com",), material)

    async def store() -> Certificate:
        call = cloud.call("acm")
        transaction = call.transaction()
        made = Certificate(meta=call.meta("12345678-1234-1234-1234-123456789012"), spec=spec)
        if over is None:
            transaction.create(made)
        else:
            transaction.update(msgspec.structs.replace(over, spec=spec))
        await transaction.commit()
        found = find(call, arn_of(made))
        assert found is not None
        return found

    return asyncio.run(store())


def test_alpn_is_of_tls_listeners(cloud, certificate):
    balancer, group = cloud.network()["LoadBalancerArn"], cloud.group("t", "TLS", 443)
    wanted = {
        "LoadBalancerArn": balancer,
        "Protocol": "TLS",
        "Port": 443,
        "Certificates": [{"CertificateArn": certificate}],
        "DefaultActions": [cloud.forward(group)],
    }
    assert cloud.code("CreateListener", **wanted, AlpnPolicy=["HTTP9"]) == "ALPNPolicyNotFound"
    (shown,) = cloud("CreateListener", **wanted, AlpnPolicy=["HTTP2Preferred"])["Listeners"]
    assert shown["AlpnPolicy"] == ["HTTP2Preferred"]
    assert shown["DefaultActions"] == [
        {"Type": "forward", "TargetGroupArn": group, "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": group}]}}
    ]
    changed = cloud("ModifyListener", ListenerArn=shown["ListenerArn"], AlpnPolicy=["None"])["Listeners"][0]
    assert changed["AlpnPolicy"] == ["None"]


def test_fifty_listeners_and_no_more(cloud, made):
    wanted = {"LoadBalancerArn": made[0], "Protocol": "HTTP", "DefaultActions": [cloud.forward(made[1])]}
    for port in range(1, 51):
        cloud("CreateListener", **wanted, Port=port)
    assert cloud.code("CreateListener", **wanted, Port=51) == "TooManyListeners"


def test_listeners_are_described_in_one_way(cloud, made):
    assert cloud.code("DescribeListeners") == "ValidationError"
    both = {"LoadBalancerArn": made[0], "ListenerArns": ["x"]}
    assert cloud.code("DescribeListeners", **both) == "ValidationError"


@pytest.mark.parametrize(
    ("name", "protocols", "ciphers"),
    [
        ("ELBSecurityPolicy-TLS13-1-3-2021-06", ["TLSv1.3"], 3),
        ("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", ["TLSv1.3", "TLSv1.2"], 7),
        ("ELBSecurityPolicy-TLS13-1-2-2021-06", ["TLSv1.3", "TLSv1.2"], 11),
        ("ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06", ["TLSv1.3", "TLSv1.2"], 15),
        ("ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06", ["TLSv1.3", "TLSv1.2"], 21),
        ("ELBSecurityPolicy-TLS13-1-0-2021-06", ["TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1"], 21),
        ("ELBSecurityPolicy-2016-08", ["TLSv1.2", "TLSv1.1", "TLSv1"], 18),
        ("ELBSecurityPolicy-TLS-1-2-2017-01", ["TLSv1.2"], 12),
        ("ELBSecurityPolicy-FS-1-2-Res-2020-10", ["TLSv1.2"], 4),
        ("ELBSecurityPolicy-FS-2018-06", ["TLSv1.2", "TLSv1.1", "TLSv1"], 12),
    ],
)
def test_security_policies_are_the_documented_ones(cloud, name, protocols, ciphers):
    (policy,) = cloud("DescribeSSLPolicies", Names=[name])["SslPolicies"]
    assert policy["SslProtocols"] == protocols
    assert len(policy["Ciphers"]) == ciphers
    assert [cipher["Priority"] for cipher in policy["Ciphers"]] == list(range(1, ciphers + 1))


def test_security_policies_are_listed_by_type(cloud):
    everything = {one["Name"] for one in cloud("DescribeSSLPolicies")["SslPolicies"]}
    application = {one["Name"] for one in cloud("DescribeSSLPolicies", LoadBalancerType="application")["SslPolicies"]}
    assert everything - application == {"ELBSecurityPolicy-2015-05"}
    assert cloud.code("DescribeSSLPolicies", Names=["nothing"]) == "SSLPolicyNotFound"


def test_behind_a_tls_listener_clients_addresses_are_kept_or_hidden(cloud, certificate):
    balancer, group = cloud.network()["LoadBalancerArn"], cloud.group("t", "TCP", 80)
    wanted = {
        "LoadBalancerArn": balancer,
        "Protocol": "TLS",
        "Port": 443,
        "Certificates": [{"CertificateArn": certificate}],
        "DefaultActions": [cloud.forward(group)],
    }
    cloud("CreateListener", **wanted)
    keep = {"Key": "preserve_client_ip.enabled", "Value": "false"}
    cloud("ModifyTargetGroupAttributes", TargetGroupArn=group, Attributes=[keep])
    keep["Value"] = "true"
    cloud("ModifyTargetGroupAttributes", TargetGroupArn=group, Attributes=[keep])
