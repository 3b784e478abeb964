"""An application load balancer's changes through the API, while a client goes on asking: from the call to the first answer that shows the change.

    sudo .venv/bin/python -m bench.balancing [--rounds 10]

A whole gureum with two instances, a group of 200 targets (the others are addresses at which nobody is) and a listener of 100 rules. "call" is what
the API's answer took by itself; "served" is from the call's begin to the first request that was served as wished, so it holds the call, the way to
the agent, for a new target its first health check (which is made at once, and asks a real web server), and the proxy's change. The last two lines
are the times from the agent's own word that the target is healthy (its log, in milliseconds) to the first request that reaches it, whoever asks
(the kernel's time of its packet), and to the first of this program's own requests that it has answered. Meanwhile wrk asks over 4 kept-alive
connections (the targets are busybox's httpd, whose queue holds nine: more at once would measure how late the kernel sends a refused connection
again); what failed of that is counted.
"""

from __future__ import annotations

import argparse
import datetime as dt
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from gureum.drivers.networks.namespaces import entered
from gureum.drivers.networks.network_names import HomeNames
from tests.cloud.running import Cloud, leftovers, until
from tests.cloud.test_load_balancers import Site

TARGETS, RULES = 200, 100
LIMIT_S = 20.0
ETH_P_IP, SO_TIMESTAMPNS = 0x0800, 35


class Bench:
    """A load balancer in front of `TARGETS` targets. `times`: seconds by what was measured."""

    def __init__(self, site: Site) -> None:
        self.site, self.elb = site, site.elb
        self.times: dict[str, list[tuple[float, float]]] = {}
        self.to_reached: list[float] = []
        self.to_served: list[float] = []
        self.one, self.two = (instance["PrivateIpAddress"] for instance in site.instances)
        made = self.elb.create_target_group(
            Name="many", Protocol="HTTP", Port=80, VpcId=site.vpc, TargetType="ip", HealthCheckIntervalSeconds=30
        )
        self.group = str(made["TargetGroups"][0]["TargetGroupArn"])
        self.elb.modify_target_group_attributes(
            TargetGroupArn=self.group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "5"}]
        )
        network, _, _ = self.one.rpartition(".")
        dead = [f"{network}.{place}" for place in range(30, 254)]
        dead = [one for one in dead if one not in (self.one, self.two)][: TARGETS - 2]
        for first in range(0, len(dead), 50):
            self.register(*dead[first : first + 50])
        self.register(self.one)
        self.balancer, name = site.balancer("bench", "application")
        self.listener = site.listener(self.balancer, self.group, "HTTP", 80)
        self.rules = [self._rule(number) for number in range(1, RULES + 1)]
        until(lambda: "healthy" in site.states(self.group), 60)
        self.address = until(lambda: site.addresses(name))[0]
        until(lambda: self.get().startswith("hello"), 60)
        asked = [{"Name": "association.public-ip", "Values": [self.address]}]
        (interface,) = site.ec2.describe_network_interfaces(Filters=asked)["NetworkInterfaces"]
        self.node = str(interface["NetworkInterfaceId"])

    def _rule(self, number: int) -> str:
        made = self.elb.create_rule(
            ListenerArn=self.listener,
            Priority=number,
            Conditions=[
                {"Field": "path-pattern", "Values": [f"/service-{number}/*"]},
                {"Field": "host-header", "Values": [f"s{number}.example.com"]},
            ],
            Actions=[self.text("0")],
        )
        return str(made["Rules"][0]["RuleArn"])

    def text(self, body: str) -> dict[str, Any]:
        return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "MessageBody": body}}

    def register(self, *addresses: str) -> None:
        self.elb.register_targets(TargetGroupArn=self.group, Targets=[{"Id": one} for one in addresses])

    def get(self, path: str = "/", host: str = "shop.example.com", headers: dict[str, str] | None = None) -> str:
        connection = http.client.HTTPConnection(self.address, 80, timeout=5)
        try:
            connection.request("GET", path, headers={"Host": host, **(headers or {})})
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()

    def measure(self, what: str, call: Callable[[], Any], shown: Callable[[], bool]) -> None:
        begin = time.perf_counter()
        call()
        called = time.perf_counter() - begin
        while not shown():
            if time.perf_counter() - begin > LIMIT_S:
                raise RuntimeError(f"{what}: not within {LIMIT_S:.0f} s")
        self.times.setdefault(what, []).append((called, time.perf_counter() - begin))

    def targets(self, rounds: int) -> None:
        """In turn the one of both instances and then the other is the only healthy target."""
        now, other = self.one, self.two
        names = {one["PrivateIpAddress"]: self._page(one["PublicIpAddress"]) for one in self.site.instances}
        for turn in range(rounds):
            self._swap(*((now, other) if turn % 2 == 0 else (other, now)), names)

    def _swap(self, now: str, other: str, names: dict[str, str]) -> None:
        gone = {"TargetGroupArn": self.group, "Targets": [{"Id": now}]}
        begin = time.time()
        with self._packets(other) as packets:
            self.measure("a target is registered", lambda: self.register(other), lambda: self.get() == names[other])
            served, healthy = time.time(), self._decided(other, begin)
            self.to_served.append(served - healthy)
            self.to_reached.append(_first_request(packets, healthy) - healthy)
        self.measure(
            "a target is deregistered",
            lambda: self.elb.deregister_targets(**gone),
            lambda: all(self.get() == names[other] for _ in range(4)),
        )

    def _packets(self, address: str) -> socket.socket:
        """Those of the machine that has the address, from now on; the kernel keeps the first that come."""
        machine = next(one["InstanceId"] for one in self.site.instances if one["PrivateIpAddress"] == address)
        home = HomeNames(self.site.cloud.identity["id"], Path("/run"))
        with entered(home.sandbox(machine)):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
        opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        opened.settimeout(LIMIT_S)
        return opened

    def _decided(self, address: str, after: float) -> float:
        """When the agent found the target healthy from the node that is asked here: its log says so."""
        told = (
            rf"(\S+)Z INFO gureum.agent target health .*target={re.escape(address)}:\S+ node={self.node} state=healthy"
        )
        found = re.compile(told)
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:  # the line may be written after the first request is served
            lines = (self.site.cloud.home / "logs" / "agent.log").read_text().splitlines()
            times = [dt.datetime.fromisoformat(f"{one[1]}+00:00").timestamp() for one in map(found.match, lines) if one]
            if times and times[-1] >= after - 0.002:
                return times[-1]
            time.sleep(0.01)
        raise RuntimeError("the agent has not told of the target's health")

    def _page(self, address: str) -> str:
        connection = http.client.HTTPConnection(address, 80, timeout=5)
        connection.request("GET", "/")
        return connection.getresponse().read().decode()

    def change_rules(self, rounds: int) -> None:
        for turn in range(1, rounds + 1):
            self._change_rule(turn % RULES + 1, str(turn))

    def _change_rule(self, number: int, text: str) -> None:
        self.measure(
            "a rule is changed",
            lambda: self.elb.modify_rule(RuleArn=self.rules[number - 1], Actions=[self.text(text)]),
            lambda: self.get(f"/service-{number}/x", f"s{number}.example.com") == text,
        )

    def reloads(self, rounds: int) -> None:
        """What no map can say: a rule that looks at a header."""
        for turn in range(rounds):
            self._look_at_header(str(turn))

    def _look_at_header(self, text: str) -> None:
        conditions = [{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Bench", "Values": [text]}}]
        body = f"header {text}"
        self.measure(
            "the same with a reload",
            lambda: self.elb.modify_rule(RuleArn=self.rules[-1], Conditions=conditions, Actions=[self.text(body)]),
            lambda: self.get(headers={"X-Bench": text}) == body,
        )

    def certificates(self, rounds: int) -> None:
        def issued(name: str) -> str:
            arn = str(self.site.acm.request_certificate(DomainName=name)["CertificateArn"])
            until(lambda: self.site.acm.describe_certificate(CertificateArn=arn)["Certificate"]["Status"] == "ISSUED")
            return arn

        secure = self.site.listener(
            self.balancer, self.group, "HTTPS", 443, Certificates=[{"CertificateArn": issued("first.example.com")}]
        )
        until(lambda: self._shown("first.example.com") == "first.example.com")
        wanted = {f"c{turn}.example.com": issued(f"c{turn}.example.com") for turn in range(rounds)}
        for name, arn in wanted.items():
            self._add_certificate(secure, name, arn)

    def _add_certificate(self, listener: str, name: str, arn: str) -> None:
        more = {"ListenerArn": listener, "Certificates": [{"CertificateArn": arn}]}
        self.measure(
            "a certificate is added",
            lambda: self.elb.add_listener_certificates(**more),
            lambda: self._shown(name) == name,
        )

    def _shown(self, name: str) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPConnection(self.address, 443, timeout=5)
        try:
            connection.connect()
            with context.wrap_socket(connection.sock, server_hostname=name) as wrapped:
                shown = x509.load_der_x509_certificate(wrapped.getpeercert(binary_form=True) or b"")
        except OSError:
            return ""
        finally:
            connection.close()
        return str(shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _first_request(packets: socket.socket, after: float) -> float:
    """When the first request came that is no health check (Unix seconds), leaving out late ones of before it was deregistered."""
    while True:
        data, ancillary, _, _ = packets.recvmsg(2048, 64)
        if b"GET /" in data and b"ELB-HealthChecker" not in data:
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            if (at := float(seconds) + float(nanoseconds) / 1e9) >= after - 0.002:
                return at


def under_load(address: str, what: Callable[[], None]) -> str:
    """What wrk says of its requests meanwhile."""
    load = ["wrk", "-t1", "-c4", "-d600s", f"http://{address}/"]
    process = subprocess.Popen(load, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        what()
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    requests = re.search(r"(\d+) requests in", said)
    failed = re.findall(r"Non-2xx.*|Socket errors.*", said)
    return f"{requests[1] if requests else '?'} requests meanwhile, failed: {'; '.join(failed) or 'none'}"


def report(bench: Bench) -> None:
    print(f"\n{f'{TARGETS} targets, {RULES} rules':26}{'call ms':>9}{'p95':>8}{'served ms':>12}{'p95':>8}")
    for what, figures in bench.times.items():
        cells = []
        for column in zip(*figures, strict=True):
            ordered = sorted(one * 1000 for one in column)
            cells += [statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]]
        print(f"{what:26}{cells[0]:9.1f}{cells[1]:8.1f}{cells[2]:12.1f}{cells[3]:8.1f}")
    for end, times in (("reaches it", bench.to_reached), ("of ours is served", bench.to_served)):
        ordered = sorted(one * 1000 for one in times)
        p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
        print(f"{f'first healthy look → first request {end}':55}{statistics.median(ordered):8.1f}{p95:8.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = min(parser.parse_args().rounds, 100)
    if os.geteuid() != 0 or shutil.which("wrk") is None:
        print("needs root and wrk")
        return 1
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        cloud = Cloud(Path(folder) / "home")
        cloud.command("up")
        home_id = cloud.identity["id"]
        try:
            ec2 = cloud.client("ec2")
            group = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])
            ec2.authorize_security_group_ingress(
                GroupId=group["SecurityGroups"][0]["GroupId"],
                IpProtocol="tcp",
                FromPort=80,
                ToPort=80,
                CidrIp="0.0.0.0/0",
            )
            bench = Bench(Site(cloud, ec2))
            for what in (bench.targets, bench.change_rules, bench.reloads, bench.certificates):
                print(f"{what.__name__:14}", under_load(bench.address, lambda what=what: what(rounds)), flush=True)  # type: ignore[misc]
            report(bench)
        finally:
            cloud.command("down", "--purge", check=False)
        assert leftovers(home_id) == []
    return 0


if __name__ == "__main__":
    sys.exit(main())
