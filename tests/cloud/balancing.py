"""Load balancers of a running cloud, for tests: instances behind them, requests to them, and the processes that can be killed."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import ssl
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dnslib import DNSRecord

from tests.cloud.running import Cloud, until

ACCOUNT = "111122223333"
FAST = {
    "HealthCheckIntervalSeconds": 5,
    "HealthCheckTimeoutSeconds": 2,
    "HealthyThresholdCount": 2,
    "UnhealthyThresholdCount": 2,
}


def log_lines(cloud: Cloud, bucket: str, kind: str = "") -> list[str]:
    """What load balancers have logged in a bucket of S3. `kind`: how the files' own names begin, "conn_log."; of access logs with the account."""
    s3 = cloud.client("s3")
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", []) if one["Key"].endswith(".gz")]
    chosen = [key for key in keys if key.rpartition("/")[2].startswith(kind or ACCOUNT)]
    texts = (gzip.decompress(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).decode() for key in chosen)
    return [line for text in texts for line in text.splitlines()]


class Site:
    """Two instances with a web server, and load balancers in front of them."""

    def __init__(self, cloud: Cloud, ec2: Any, **launch: Any) -> None:
        self.cloud, self.ec2 = cloud, ec2
        self.elb = cloud.client("elbv2")
        self.acm = cloud.client("acm")
        self.instances = cloud.launch(ec2, count=2, **launch)
        self.ids = [one["InstanceId"] for one in self.instances]
        vpc = self.instances[0]["VpcId"]
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
        default = [{"Name": "group-name", "Values": ["default"]}, {"Name": "vpc-id", "Values": [vpc]}]
        group = ec2.describe_security_groups(Filters=default)["SecurityGroups"][0]["GroupId"]
        self.security_group = group
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
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
            time.sleep(0.005)

    def goes_on(self, more: int = 20) -> None:
        so_far = self.answers.total()
        until(lambda: self.answers.total() >= so_far + more)


def certificate(site: Site, name: str) -> tuple[str, ssl.SSLContext]:
    """ARN of a certificate of the home's authority, and what trusts that alone."""
    asked = str(site.acm.request_certificate(DomainName=name, ValidationMethod="DNS")["CertificateArn"])
    describe = site.acm.describe_certificate
    until(lambda: describe(CertificateArn=asked)["Certificate"]["Status"] == "ISSUED")
    chain = site.acm.get_certificate(CertificateArn=asked)["CertificateChain"]
    return asked, ssl.create_default_context(cadata=chain)


def secure(address: str, name: str, context: ssl.SSLContext, port: int = 443, path: str = "/") -> str:
    """A page over TLS with its headers, "" while there is none."""
    try:
        with socket.create_connection((address, port), timeout=5) as plain:
            with context.wrap_socket(plain, server_hostname=name) as tls:
                tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                return b"".join(iter(lambda: tls.recv(1000), b"")).decode()
    except OSError:
        return ""


def proxy_pid(state: Path) -> int:
    try:
        return int(json.loads(state.read_text())["pid"])
    except (FileNotFoundError, json.JSONDecodeError):
        return 0
