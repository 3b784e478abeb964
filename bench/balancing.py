"""An application load balancer's changes through the API, while other clients go on asking: from the call to the change itself.

    sudo .venv/bin/python -m bench.balancing [--rounds 40] [--only certificates]

A whole gureum with two instances, a group of 200 targets (the others are addresses at which nobody is) and a listener of 100 rules. Times begin when
the signed request of the API goes out; "call" is until its answer is there. "done" is

- of a target that is registered: the first request that reaches it, of one that is deregistered: the last, whoever asks, by the kernel's time of the
  packet at the target. The former holds the target's first health check (made at once, of a real web server); it comes back from draining;
- of a rule: the answer to the first request that was served by it, of a certificate: the first handshake in which it was shown. These are asked for
  each millisecond by a client on bare sockets, over a new connection each time, from when the call is answered.

The last line is from the agent's own word that the target is healthy (its log, cut to milliseconds) to the first request that reaches it. p95 is the
nearest rank (of 40 the third largest).

Meanwhile wrk asks over 4 kept-alive connections as fast as it is answered, so that the machine is never idle (the targets are busybox's httpd, whose
queue holds nine: more at once would measure how late the kernel sends a refused connection again); what failed of that is counted.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import functools
import math
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.hello import Hello
from bench.requests_seen import RequestsSeen
from gureum.drivers.networks.network_names import HomeNames
from tests.cloud.running import Cloud, leftovers, until
from tests.cloud.test_load_balancers import Site

TARGETS, RULES = 200, 100
LIMIT_S = 20.0
PAUSE_S = 0.001
QUIET_S = 0.25
"""A target that gets no request for so long gets none any more: the load asks it some thousand times a second."""
SETTLE_S = 2.0
"""For reloads that the making of rules and listeners has left behind."""
STORIES = ("targets", "change_rules", "reloads", "certificates")
CERTIFICATES = 8
"""Added in turn, and removed in between: a load balancer has at most 25."""


class Bench:
    """A load balancer in front of `TARGETS` targets. `times`: seconds of call and change, by what was measured."""

    def __init__(self, site: Site) -> None:
        self.site, self.elb = site, site.elb
        self.times: dict[str, list[tuple[float, float]]] = {}
        self.to_reached: list[float] = []
        self.sent = 0.0
        self.elb.meta.events.register("before-send", self._goes_out)
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

    def _goes_out(self, **of: Any) -> None:
        self.sent = time.time()

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

    def get(self, path: str = "/", host: str = "shop.example.com", more: str = "") -> str:
        """The answer's body, "" where there is none."""
        data = b""
        with contextlib.suppress(OSError), socket.create_connection((self.address, 80), 5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode())
            while piece := connection.recv(16384):
                data += piece
        return data.partition(b"\r\n\r\n")[2].decode()

    def call(self, call: Callable[[], Any]) -> tuple[float, float]:
        """When its request went out, and how long it then took."""
        call()
        return self.sent, time.time() - self.sent

    def measure(self, what: str, call: Callable[[], Any], shown: Callable[[], bool]) -> None:
        begin, called = self.call(call)
        while not shown():
            if time.time() - begin > LIMIT_S:
                raise RuntimeError(f"{what}: not within {LIMIT_S:.0f} s")
            time.sleep(PAUSE_S)
        self._note(what, called, time.time() - begin)

    def _note(self, what: str, called: float, done: float) -> None:
        self.times.setdefault(what, []).append((called, done))

    def targets(self, rounds: int) -> None:
        """In turn the one of both instances and then the other is the only healthy target."""
        now, other = self.one, self.two
        for turn in range(rounds):
            self._swap(*((now, other) if turn % 2 == 0 else (other, now)))

    def _swap(self, now: str, other: str) -> None:
        with self._requests(other) as coming:
            begin, called = self.call(lambda: self.register(other))
            first = coming.first()
        healthy = self._decided(other, begin)
        if first < healthy:
            raise RuntimeError(f"a request came {healthy - first:.3f} s before the target was found healthy")
        self._note("a target is registered", called, first - begin)
        self.to_reached.append(first - healthy)
        gone = {"TargetGroupArn": self.group, "Targets": [{"Id": now}]}
        with self._requests(now) as leaving:
            begin, called = self.call(lambda: self.elb.deregister_targets(**gone))
            last = leaving.last(QUIET_S)
        self._note("a target is deregistered", called, max(last - begin, 0.0) if last is not None else 0.0)

    def _requests(self, address: str) -> RequestsSeen:
        machine = next(one["InstanceId"] for one in self.site.instances if one["PrivateIpAddress"] == address)
        home = HomeNames(self.site.cloud.identity["id"], Path("/run"))
        return RequestsSeen(home.sandbox(machine), LIMIT_S)

    def _decided(self, address: str, after: float) -> float:
        """When the agent found the target healthy from the node that is asked here: its log says so, in milliseconds that are over."""
        told = (
            rf"(\S+)Z INFO gureum.agent target health .*target={re.escape(address)}:\S+ node={self.node} state=healthy"
        )
        found = re.compile(told)
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:  # the line may be written after the first request came
            lines = (self.site.cloud.home / "logs" / "agent.log").read_text().splitlines()
            times = [dt.datetime.fromisoformat(f"{one[1]}+00:00").timestamp() for one in map(found.match, lines) if one]
            if times and times[-1] >= after:
                return times[-1]
            time.sleep(0.01)
        raise RuntimeError("the agent has not told of the target's health")

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
            lambda: self.get(more=f"X-Bench: {text}\r\n") == body,
        )

    def certificates(self, rounds: int) -> None:
        names = [f"c{number}.example.com" for number in range(min(rounds, CERTIFICATES) + 1)]
        arns = [self._issued(name) for name in names]
        hellos = [Hello(name, arn_text) for name, arn_text in zip(names, map(self._text, arns), strict=True)]
        first = [{"CertificateArn": arns[0]}]
        secure = self.site.listener(self.balancer, self.group, "HTTPS", 443, Certificates=first)
        until(lambda: hellos[0].shown(self.address, 443))
        time.sleep(SETTLE_S)
        for turn in range(rounds):
            number = turn % (len(arns) - 1) + 1
            self._add_certificate(secure, arns[number], hellos[number])

    def _issued(self, name: str) -> str:
        acm = self.site.acm
        arn = str(acm.request_certificate(DomainName=name)["CertificateArn"])
        until(lambda: acm.describe_certificate(CertificateArn=arn)["Certificate"]["Status"] == "ISSUED")
        return arn

    def _text(self, arn: str) -> str:
        return str(self.site.acm.get_certificate(CertificateArn=arn)["Certificate"])

    def _add_certificate(self, listener: str, arn: str, hello: Hello) -> None:
        one = {"ListenerArn": listener, "Certificates": [{"CertificateArn": arn}]}
        self.measure(
            "a certificate is added",
            lambda: self.elb.add_listener_certificates(**one),
            lambda: hello.shown(self.address, 443),
        )
        self.elb.remove_listener_certificates(**one)
        until(lambda: not hello.shown(self.address, 443))


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
    print(f"\n{f'{TARGETS} targets, {RULES} rules, ms':34}{'call':>8}{'p95':>8}{'done':>10}{'p95':>8}{'most':>8}")
    for what, figures in bench.times.items():
        called, done = (sorted(one * 1000 for one in column) for column in zip(*figures, strict=True))
        print(f"{what:34}{_middle(called)}  {_middle(done)}{done[-1]:8.1f}")
    if reached := sorted(one * 1000 for one in bench.to_reached):
        print(f"{'first healthy look → first request':50}  {_middle(reached)}{reached[-1]:8.1f}")


def _middle(ordered: list[float]) -> str:
    return f"{statistics.median(ordered):8.1f}{ordered[math.ceil(len(ordered) * 0.95) - 1]:8.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", choices=STORIES)
    arguments = parser.parse_args()
    rounds = min(arguments.rounds, 100)
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
            time.sleep(SETTLE_S)
            for name in STORIES if arguments.only is None else (arguments.only,):
                said = under_load(bench.address, functools.partial(getattr(bench, name), rounds))
                print(f"{name:14} load {os.getloadavg()[0]:.1f}, {said}", flush=True)
            report(bench)
        finally:
            cloud.command("down", "--purge", check=False)
        assert leftovers(home_id) == []
    return 0


if __name__ == "__main__":
    sys.exit(main())
