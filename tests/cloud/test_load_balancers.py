"""Load balancers as their users meet them: requests over real machines, while targets, the agent and proxies go away. Every part is real: HAProxy in
the node's sandbox, nftables in the VPC's router, checks from the node, names from the agent's DNS."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dnslib import DNSRecord

from tests.cloud.running import Cloud, until

FAST = {
    "HealthCheckIntervalSeconds": 5,
    "HealthCheckTimeoutSeconds": 2,
    "HealthyThresholdCount": 2,
    "UnhealthyThresholdCount": 2,
}


class Site:
    """Two instances with a web server, and load balancers in front of them."""

    def __init__(self, cloud: Cloud, ec2: Any) -> None:
        self.cloud, self.ec2 = cloud, ec2
        self.elb = cloud.client("elbv2")
        self.acm = cloud.client("acm")
        self.instances = cloud.launch(ec2, count=2)
        self.ids = [one["InstanceId"] for one in self.instances]
        vpc = self.instances[0]["VpcId"]
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
        default = [{"Name": "group-name", "Values": ["default"]}, {"Name": "vpc-id", "Values": [vpc]}]
        group = ec2.describe_security_groups(Filters=default)["SecurityGroups"][0]["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=group, IpProtocol="tcp", FromPort=443, ToPort=443, CidrIp="0.0.0.0/0"
        )
        theirs = self.instances[0]["SubnetId"]
        others = [one["SubnetId"] for one in subnets if one["SubnetId"] != theirs]
        self.vpc, self.subnets = vpc, [theirs, others[0]]

    def group(self, name: str, protocol: str, **more: Any) -> str:
        made = self.elb.create_target_group(Name=name, Protocol=protocol, Port=80, VpcId=self.vpc, **FAST, **more)
        arn = str(made["TargetGroups"][0]["TargetGroupArn"])
        self.elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": one} for one in self.ids])
        return arn

    def balancer(self, name: str, kind: str, **more: Any) -> tuple[str, str]:
        """ARN and DNS name, when it is active."""
        made = self.elb.create_load_balancer(Name=name, Type=kind, Subnets=self.subnets, **more)["LoadBalancers"][0]
        arn = str(made["LoadBalancerArn"])

        def active() -> bool:
            shown = self.elb.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0]
            return bool(shown["State"]["Code"] == "active")

        until(active, 60)
        return arn, str(made["DNSName"])

    def listener(self, balancer: str, group: str, protocol: str, port: int, **more: Any) -> str:
        actions = [{"Type": "forward", "TargetGroupArn": group}]
        made = self.elb.create_listener(
            LoadBalancerArn=balancer, Protocol=protocol, Port=port, DefaultActions=actions, **more
        )
        return str(made["Listeners"][0]["ListenerArn"])

    def states(self, group: str) -> list[str]:
        found = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return sorted(one["TargetHealth"]["State"] for one in found)

    def addresses(self, name: str) -> list[str]:
        """As the home's own DNS answers."""
        question = DNSRecord.question(name, "A")
        answer = DNSRecord.parse(question.send("127.0.0.1", int(self.cloud.identity["dns_port"]), timeout=5))
        return [self.cloud.own(str(one.rdata)) for one in answer.rr]


@pytest.fixture(scope="module")
def site(cloud: Cloud, ec2: Any) -> Site:
    return Site(cloud, ec2)


def fetch(address: str, port: int = 80, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    connection = (
        http.client.HTTPSConnection(address, port, timeout=5, context=context)
        if context
        else http.client.HTTPConnection(address, port, timeout=5)
    )
    try:
        connection.request("GET", "/", headers={"Host": "shop.example.com"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def serves(address: str, port: int = 80) -> bool:
    try:
        return fetch(address, port)[0] == 200
    except OSError:
        return False


class Load:
    """One client that asks again and again until it is stopped. `answers`: how often what came."""

    def __init__(self, address: str, port: int = 80) -> None:
        self.address, self.port = address, port
        self.answers: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:  # noqa: PYI034
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                status, _ = fetch(self.address, self.port)
                self.answers[str(status)] += 1
            except OSError as error:
                self.answers[type(error).__name__] += 1
            time.sleep(0.005)

    def goes_on(self, more: int = 20) -> None:
        so_far = self.answers.total()
        until(lambda: self.answers.total() >= so_far + more)


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


def certificate(site: Site, name: str) -> tuple[str, ssl.SSLContext]:
    """ARN of a certificate of the home's authority, and what trusts that alone."""
    asked = str(site.acm.request_certificate(DomainName=name, ValidationMethod="DNS")["CertificateArn"])
    describe = site.acm.describe_certificate
    until(lambda: describe(CertificateArn=asked)["Certificate"]["Status"] == "ISSUED")
    chain = site.acm.get_certificate(CertificateArn=asked)["CertificateChain"]
    return asked, ssl.create_default_context(cadata=chain)


def secure(address: str, name: str, context: ssl.SSLContext, port: int = 443) -> str:
    """What a page over TLS begins with, "" while there is none."""
    try:
        with socket.create_connection((address, port), timeout=5) as plain:
            with context.wrap_socket(plain, server_hostname=name) as tls:
                tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                return tls.recv(1000).decode()
    except OSError:
        return ""


def test_https_with_a_certificate_of_the_homes_authority(site: Site, alb: tuple[str, str, str]) -> None:
    arn, group, address = alb
    asked, context = certificate(site, "shop.example.com")
    site.listener(arn, group, "HTTPS", 443, Certificates=[{"CertificateArn": asked}])
    assert until(lambda: secure(address, "shop.example.com", context)).startswith("HTTP/1.1 200")
    assert site.acm.describe_certificate(CertificateArn=asked)["Certificate"]["InUseBy"] == [arn]
    with pytest.raises(site.acm.exceptions.ResourceInUseException):
        site.acm.delete_certificate(CertificateArn=asked)


def test_requests_are_logged_where_the_attributes_say(site: Site, alb: tuple[str, str, str]) -> None:
    """Files come each five minutes, and when the agent ends."""
    arn, group, address = alb
    wanted = {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": "my-logs", "access_logs.s3.prefix": "web"}
    attributes = [{"Key": key, "Value": value} for key, value in wanted.items()]
    site.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
    agent = site.cloud.process("agent")

    def logged() -> list[str]:
        assert fetch(address)[0] == 200
        os.kill(site.cloud.process("agent"), signal.SIGTERM)
        until(lambda: site.cloud.process("agent") not in (0, agent), 30)
        until(lambda: serves(address))
        files = (site.cloud.home / "s3-local" / "my-logs" / "web").rglob("*.log.gz")
        return [line for file in files for line in gzip.decompress(file.read_bytes()).decode().splitlines()]

    lines = until(logged)
    fields = lines[0].split()
    assert fields[0] == "http"
    assert fields[2] == arn.partition("loadbalancer/")[2]
    assert fields[8:10] == ["200", "200"]
    assert '"GET http://shop.example.com:80/ HTTP/1.1"' in lines[0]
    assert group in fields


def test_killed_proxy_is_back(site: Site, alb: tuple[str, str, str]) -> None:
    _, _, address = alb
    states = list(Path(f"/run/gureum/{site.cloud.identity['id']}/proxies").glob("*/state.json"))
    assert len(states) == 2, "one for each zone"
    killed = {state: proxy_pid(state) for state in states}
    for pid in killed.values():
        assert "haproxy" in Path(f"/proc/{pid}/cmdline").read_text()
        os.kill(pid, signal.SIGKILL)
    # A worker whose master is gone still serves, until the new proxy takes its place.
    until(lambda: all(proxy_pid(state) != pid for state, pid in killed.items()), 20)
    until(lambda: serves(address), 20)


def proxy_pid(state: Path) -> int:
    try:
        return int(json.loads(state.read_text())["pid"])
    except (FileNotFoundError, json.JSONDecodeError):
        return 0


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


def test_network_load_balancer_ends_tls(site: Site) -> None:
    group = site.group("ended", "TCP")
    off = {"Key": "preserve_client_ip.enabled", "Value": "false"}
    site.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[off])
    arn, name = site.balancer("tls", "network")
    asked, context = certificate(site, "tls.example.com")
    site.listener(arn, group, "TLS", 443, Certificates=[{"CertificateArn": asked}])
    until(lambda: site.states(group) == ["healthy", "healthy"], 60)
    address = until(lambda: site.addresses(name))[0]
    assert until(lambda: secure(address, "tls.example.com", context)).startswith("HTTP/1.1 200")
