"""Load balancers as their users meet them: requests over real machines, while targets, the agent and proxies go away. Every part is real: HAProxy in
the node's sandbox, nftables in the VPC's router, checks from the node, names from the agent's DNS."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gureum.drivers.networks import namespaces
from tests.cloud.balancing import ACCOUNT, FAST, Load, Site, certificate, fetch, log_lines, proxy_pid, secure, serves
from tests.cloud.running import Cloud, until


@pytest.fixture(scope="module")
def site(cloud: Cloud, ec2: Any) -> Site:
    return Site(cloud, ec2)


@pytest.fixture(scope="module")
def alb(site: Site) -> tuple[str, str, str]:
    """ARN, target group, and one address of an application load balancer."""
    group = site.group("web", "HTTP")
    arn, name = site.balancer("front", "application")
    site.listener(arn, group, "HTTP", 80)
    until(lambda: site.states(group) == ["healthy", "healthy"], 60)
    address = until(lambda: site.addresses(name))[0]
    until(lambda: serves(address))
    return arn, group, address


def test_requests_are_spread_over_healthy_targets(site: Site, alb: tuple[str, str, str]) -> None:
    _, _, address = alb
    bodies = Counter(fetch(address)[1] for _ in range(20))
    assert len(bodies) == 2
    assert sum(bodies.values()) == 20


def test_no_request_is_lost_while_the_agent_is_killed(site: Site, alb: tuple[str, str, str]) -> None:
    _, group, address = alb
    with Load(address) as load:
        load.goes_on()
        agent = site.cloud.process("agent")
        os.kill(agent, signal.SIGKILL)
        until(lambda: site.cloud.process("agent") != agent, 30)
        load.goes_on(200)
        until(lambda: site.states(group) == ["healthy", "healthy"], 30)
    assert set(load.answers) == {"200"}, load.answers


def test_https_with_a_certificate_of_the_homes_authority(site: Site, alb: tuple[str, str, str]) -> None:
    arn, group, address = alb
    asked, context = certificate(site, "shop.example.com")
    site.listener(arn, group, "HTTPS", 443, Certificates=[{"CertificateArn": asked}])
    assert until(lambda: secure(address, "shop.example.com", context)).startswith("HTTP/1.1 200")
    assert site.acm.describe_certificate(CertificateArn=asked)["Certificate"]["InUseBy"] == [arn]
    with pytest.raises(site.acm.exceptions.ResourceInUseException):
        site.acm.delete_certificate(CertificateArn=asked)


def test_requests_are_logged_where_the_attributes_say(site: Site, alb: tuple[str, str, str]) -> None:
    """Files come each five minutes, and when the agent ends; they become objects of the bucket, which must be there."""
    arn, group, address = alb
    wanted = {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": "my-logs", "access_logs.s3.prefix": "web"}
    wanted |= {"health_check_logs.s3.enabled": "true", "health_check_logs.s3.bucket": "my-logs"}
    attributes = [{"Key": key, "Value": value} for key, value in wanted.items()]
    with pytest.raises(site.elb.exceptions.InvalidConfigurationRequestException, match="Access Denied for bucket"):
        site.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
    s3 = site.cloud.client("s3")
    s3.create_bucket(Bucket="my-logs")
    site.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
    asked = time.monotonic()
    until(lambda: fetch(address)[0] == 200 and time.monotonic() > asked + FAST["HealthCheckIntervalSeconds"])
    agent = site.cloud.process("agent")
    os.kill(agent, signal.SIGTERM)
    until(lambda: site.cloud.process("agent") not in (0, agent), 30)
    lines = until(lambda: log_lines(site.cloud, "my-logs"))
    looks = until(lambda: log_lines(site.cloud, "my-logs", "health_check_log_"))
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="my-logs")["Contents"]]
    assert {f"web/AWSLogs/{ACCOUNT}/ELBAccessLogTestFile", f"AWSLogs/{ACCOUNT}/ELBHealthCheckLogTestFile"} <= {*keys}
    assert any(key.startswith(f"web/AWSLogs/{ACCOUNT}/elasticloadbalancing/us-east-1/") for key in keys)
    assert {line.split()[0] for line in looks} == {"http"}
    assert {"web PASS 200 -"} <= {" ".join(line.split()[4:]) for line in looks}
    fields = lines[0].split()
    assert fields[0] == "http"
    assert fields[2] == arn.partition("loadbalancer/")[2]
    assert fields[8:10] == ["200", "200"]
    assert '"GET http://shop.example.com:80/ HTTP/1.1"' in lines[0]
    assert group in fields


def test_connections_are_logged_also_those_whose_handshake_failed(site: Site) -> None:
    """AWS, "Connection logs": "Failed:$error_code"; the requests of a connection bear its id."""
    proxies = Path(f"/run/gureum/{site.cloud.identity['id']}/proxies")
    others = set(proxies.glob("*/state.json"))
    group = site.group("secured", "HTTP")
    arn, name = site.balancer("secured", "application")
    asked, context = certificate(site, "secured.example.com")
    site.listener(arn, group, "HTTPS", 443, Certificates=[{"CertificateArn": asked}])
    site.cloud.client("s3").create_bucket(Bucket="connections")
    wanted = {
        f"{kind}.s3.{key}": value
        for kind in ("access_logs", "connection_logs")
        for key, value in (("enabled", "true"), ("bucket", "connections"))
    }
    attributes = [{"Key": key, "Value": value} for key, value in wanted.items()]
    site.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
    address = until(lambda: site.addresses(name))[0]
    until(lambda: secure(address, "secured.example.com", context))
    with socket.create_connection((address, 443), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert plain.recv(100) == b""
    assert secure(address, "secured.example.com", context)  # what was before it has been told by then
    agent = site.cloud.process("agent")
    os.kill(agent, signal.SIGTERM)
    until(lambda: site.cloud.process("agent") not in (0, agent), 30)
    told = [line.split() for line in until(lambda: log_lines(site.cloud, "connections", "conn_log."))]
    assert {(fields[3], fields[10]) for fields in told} == {
        ("443", "Success"),
        ("443", "Failed:UnmappedConnectionError"),
    }
    served = {fields[11] for fields in told if fields[10] == "Success"}
    requests = until(lambda: log_lines(site.cloud, "connections"))
    assert served == {line.split()[-4] for line in requests}, "a failed handshake has no request"
    site.elb.delete_load_balancer(LoadBalancerArn=arn)
    site.elb.delete_target_group(TargetGroupArn=group)
    until(lambda: set(proxies.glob("*/state.json")) <= others)


@pytest.mark.long
def test_reasons_are_those_of_real_situations(site: Site, alb: tuple[str, str, str]) -> None:
    """AWS: "Health checks for your target groups", health check reason codes. What stopped machines have is in tests/aws/elbv2/test_targets.py."""
    arn, _, _ = alb
    listener = site.elb.describe_listeners(LoadBalancerArn=arn)["Listeners"][0]["ListenerArn"]
    # An address of the subnet that no interface has.
    nobody = site.instances[0]["PrivateIpAddress"].rpartition(".")[0] + ".250"
    groups = {
        "Target.ResponseCodeMismatch": site.group("mismatch", "HTTP", HealthCheckPath="/nothing-is-there"),
        "Target.FailedHealthChecks": site.group("refused", "HTTP", HealthCheckPort="81"),
        "Target.Timeout": site.elb.create_target_group(
            Name="nobody", Protocol="HTTP", Port=80, VpcId=site.vpc, TargetType="ip", **FAST
        )["TargetGroups"][0]["TargetGroupArn"],
    }
    site.elb.register_targets(TargetGroupArn=groups["Target.Timeout"], Targets=[{"Id": nobody}])

    def reasons(group: str, **more: Any) -> set[tuple[str, str, str]]:
        told = site.elb.describe_target_health(TargetGroupArn=group, **more)["TargetHealthDescriptions"]
        return {(one["State"], one["Reason"], one["Description"]) for one in (each["TargetHealth"] for each in told)}

    unused = "Target group is not configured to receive traffic from the load balancer"
    assert reasons(groups["Target.Timeout"]) == {("unused", "Target.NotInUse", unused)}
    rules = [
        site.elb.create_rule(
            ListenerArn=listener,
            Priority=priority,
            Conditions=[{"Field": "path-pattern", "Values": [f"/{priority}"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": group}],
        )["Rules"][0]["RuleArn"]
        for priority, group in enumerate(groups.values(), 100)
    ]
    (first,) = reasons(groups["Target.Timeout"])
    assert first[:2] in {("initial", "Elb.RegistrationInProgress"), ("initial", "Elb.InitialHealthChecking")}
    texts = {
        "Target.ResponseCodeMismatch": "Health checks failed with these codes: [404]",
        "Target.FailedHealthChecks": "Health checks failed",
        "Target.Timeout": "Request timed out",
    }
    for reason, group in groups.items():
        until(lambda group=group, reason=reason: reasons(group) == {("unhealthy", reason, texts[reason])}, 60)
    unknown = [{"Id": site.ids[0], "Port": 999}]
    (missing,) = reasons(groups["Target.FailedHealthChecks"], Targets=unknown)
    assert missing[:2] == ("unused", "Target.NotRegistered")
    site.elb.deregister_targets(TargetGroupArn=groups["Target.Timeout"], Targets=[{"Id": nobody}])
    (leaving,) = reasons(groups["Target.Timeout"])
    assert leaving[:2] == ("draining", "Target.DeregistrationInProgress")
    for rule in rules:
        site.elb.delete_rule(RuleArn=rule)


def test_killed_proxy_is_back(site: Site, alb: tuple[str, str, str]) -> None:
    arn, _, address = alb
    description = [{"Name": "description", "Values": [f"ELB {arn.partition('loadbalancer/')[2]}"]}]
    interfaces = site.ec2.describe_network_interfaces(Filters=description)["NetworkInterfaces"]
    assert len(interfaces) == 2, "one for each zone"
    proxies = Path(f"/run/gureum/{site.cloud.identity['id']}/proxies")
    states = [proxies / one["NetworkInterfaceId"] / "state.json" for one in interfaces]
    killed = {state: proxy_pid(state) for state in states}
    for pid in killed.values():
        assert "haproxy" in Path(f"/proc/{pid}/cmdline").read_text()
        os.kill(pid, signal.SIGKILL)
    # A worker whose master is gone still serves, until the new proxy takes its place.
    until(lambda: all(proxy_pid(state) != pid for state, pid in killed.items()), 20)
    until(lambda: serves(address), 20)


def test_dead_target_leaves_the_rotation_also_while_the_daemon_is_down(site: Site, alb: tuple[str, str, str]) -> None:
    _, group, address = alb
    daemon = site.cloud.process("daemon")
    # In a session of its own: what a program of `gureum exec` left running may end with it.
    site.cloud.inside(site.ids[0], "sh", "-c", "setsid sh -c 'sleep 1; killall httpd' </dev/null >/dev/null 2>&1 &")
    os.kill(daemon, signal.SIGSTOP)
    try:
        until(lambda: {fetch(address)[0] for _ in range(10)} != {200}, 40)
        until(lambda: {fetch(address)[0] for _ in range(10)} == {200}, 40)
    finally:
        os.kill(daemon, signal.SIGCONT)
    until(lambda: site.states(group) == ["healthy", "unhealthy"], 30)
    site.cloud.inside(site.ids[0], "httpd", "-p", "80", "-h", "/www")
    until(lambda: site.states(group) == ["healthy", "healthy"], 60)


def test_network_load_balancer_sends_flows_to_healthy_targets(site: Site) -> None:
    group = site.group("flows", "TCP")
    arn, name = site.balancer("edge", "network")
    site.listener(arn, group, "TCP", 8080)
    until(lambda: site.states(group) == ["healthy", "healthy"], 60)
    address = until(lambda: site.addresses(name))[0]
    until(lambda: serves(address, 8080))
    site.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": site.ids[0]}])
    assert "draining" in site.states(group)
    until(lambda: len({fetch(address, 8080)[1] for _ in range(10)}) == 1)
    names = {one["InstanceId"]: one["PrivateDnsName"].split(".")[0] for one in site.instances}
    assert fetch(address, 8080)[1].split() == ["hello", names[site.ids[1]]]


def test_a_machine_is_told_its_own_zones_address_of_a_network_load_balancer(site: Site) -> None:
    """AWS: dns_record.client_routing_policy of a network load balancer."""
    group = site.group("near", "TCP")
    arn, name = site.balancer("near", "network", Scheme="internal")
    site.listener(arn, group, "TCP", 8090)
    nodes = site.ec2.describe_network_interfaces(Filters=[{"Name": "description", "Values": ["ELB net/near/*"]}])
    zones = {one["AvailabilityZone"]: one["PrivateIpAddress"] for one in nodes["NetworkInterfaces"]}
    own = zones[site.instances[0]["Placement"]["AvailabilityZone"]]

    def told() -> set[str]:
        said = site.cloud.inside(site.ids[0], "nslookup", name).stdout
        return {address for address in zones.values() if address in said.split()}

    def wish(key: str, value: str) -> None:
        site.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value}])

    wish("load_balancing.cross_zone.enabled", "true")
    until(lambda: told() == set(zones.values()), 60)
    wish("dns_record.client_routing_policy", "availability_zone_affinity")
    until(lambda: told() == {own})
    assert {told() == {own} for _ in range(3)} == {True}
    site.elb.delete_load_balancer(LoadBalancerArn=arn)


def test_network_load_balancer_ends_tls_and_targets_see_the_client(site: Site) -> None:
    script = "mkdir -p /www/cgi-bin; printf '#!/bin/sh\necho; echo $REMOTE_ADDR' >/www/cgi-bin/who; chmod +x /www/cgi-bin/who"
    for id_ in site.ids:
        assert site.cloud.inside(id_, "sh", "-c", script).returncode == 0
    group = site.group("ended", "TCP")
    arn, name = site.balancer("tls", "network")
    asked, context = certificate(site, "tls.example.com")
    site.listener(arn, group, "TLS", 443, Certificates=[{"CertificateArn": asked}])
    until(lambda: site.states(group) == ["healthy", "healthy"], 60)
    address = until(lambda: site.addresses(name))[0]
    assert until(lambda: secure(address, "tls.example.com", context)).startswith("HTTP/1.1 200")
    host = str(site.cloud.pool[1])

    def who() -> str:
        return (
            secure(address, "tls.example.com", context, path="/cgi-bin/who")
            .split()[-1]
            .strip("[]")
            .removeprefix("::ffff:")
        )

    assert who() == host
    off = {"Key": "preserve_client_ip.enabled", "Value": "false"}
    site.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[off])
    until(lambda: who() != host)
    nodes = site.ec2.describe_network_interfaces(Filters=[{"Name": "description", "Values": ["ELB net/tls/*"]}])
    assert who() in {one["PrivateIpAddress"] for one in nodes["NetworkInterfaces"]}


def test_udp_and_tcp_of_one_listener_reach_the_same_target_group(site: Site) -> None:
    site.ec2.authorize_security_group_ingress(
        GroupId=site.security_group, IpProtocol="udp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0"
    )
    group = site.group("both", "TCP_UDP")
    arn, name = site.balancer("both", "network")
    site.listener(arn, group, "TCP_UDP", 5353)
    until(lambda: site.states(group) == ["healthy", "healthy"], 60)
    address = until(lambda: site.addresses(name))[0]
    until(lambda: serves(address, 5353))
    home_id = site.cloud.identity["id"]
    servers = {}
    for id_ in site.ids:
        with namespaces.entered(Path(f"/run/netns/gm-{home_id}-s-{id_}")):
            servers[id_] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        servers[id_].bind(("", 80))
        servers[id_].settimeout(5)
    chosen: set[str] = set()
    for _ in range(40):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.connect((address, 5353))
            client.send(b"question")
            (ready,) = select.select(list(servers.values()), [], [], 5)[0]
            data, (seen, port) = ready.recvfrom(100)
            assert (data, seen, port) == (b"question", *client.getsockname())
            ready.sendto(b"answer", (seen, port))
            assert client.recv(100) == b"answer"
            chosen |= {id_ for id_, server in servers.items() if server is ready}
    assert chosen == set(site.ids)
    for server in servers.values():
        server.close()


@pytest.mark.long
def test_tls_connections_of_a_network_load_balancer_are_logged(site: Site) -> None:
    """AWS: elb-network "access logs": of TLS listeners alone."""
    group = site.group("behind-tls", "TCP")
    arn, name = site.balancer("secure", "network")
    held, context = certificate(site, "net.example.com")
    listener = site.listener(arn, group, "TLS", 443, Certificates=[{"CertificateArn": held}])
    site.cloud.client("s3").create_bucket(Bucket="tls-logs")
    wanted = {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": "tls-logs"}
    attributes = [{"Key": key, "Value": value} for key, value in wanted.items()]
    site.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
    until(lambda: site.states(group) == ["healthy", "healthy"], 60)
    address = until(lambda: site.addresses(name))[0]

    def another_agent() -> None:
        agent = site.cloud.process("agent")
        os.kill(agent, signal.SIGTERM)
        until(lambda: site.cloud.process("agent") not in (0, agent), 30)

    def logged() -> list[str]:
        """The attributes may still be on their way: then it is asked again."""
        secure(address, "net.example.com", context)
        another_agent()
        end = time.monotonic() + 5
        until(lambda: log_lines(site.cloud, "tls-logs") or time.monotonic() > end)
        return log_lines(site.cloud, "tls-logs")

    fields = until(logged, 60)[-1].split()
    before = len(log_lines(site.cloud, "tls-logs"))
    for _ in range(20):
        assert secure(address, "net.example.com", context)
    another_agent()  # at once: what it is not told any more waits for the next one
    another_agent()
    until(lambda: len(log_lines(site.cloud, "tls-logs")) >= before + 20)
    assert fields[:2] == ["tls", "2.0"]
    assert fields[3:5] == [arn.partition("loadbalancer/")[2], listener.rpartition("/")[2]]
    assert fields[6].endswith(":443")
    assert (fields[12], fields[15], fields[17]) == (held, "tlsv12", "net.example.com"), "the default policy's"
