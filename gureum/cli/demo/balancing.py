"""The tour's third part: an application load balancer that routes by path and a network load balancer for TCP and UDP, under load while
targets come and go."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections import Counter
from typing import Self

from gureum.cli.demo.fetching import fetch, fetch_when_up
from gureum.cli.demo.machines import wait_for
from gureum.cli.demo.naming import NAME, tags
from gureum.cli.demo.networks import allow, make_group
from gureum.cli.demo.tour import Tour, dim
from gureum.cli.output import Failure

SECOND_CIDR = "10.42.3.0/24"
SERVED_PORT = 80
LINES_PORT = 514
FLOWS, LINES_PER_FLOW = 40, 25
HEALTHY_LIMIT_S = 40.0
SPREAD_REQUESTS = 40
LOAD_THREADS = 4
CHECKS = (
    "--health-check-interval-seconds", "5", "--health-check-timeout-seconds", "2", "--healthy-threshold-count", "2",
    "--unhealthy-threshold-count", "2",
)  # fmt: skip

USER_DATA = """#!/bin/sh
mkdir -p /srv/www/api
hostname > /srv/www/index.html
echo "api of $(hostname)" > /srv/www/api/index.html
hostname > /srv/www/lines
(udpsvd 0 514 sh -c 'cat >> /srv/www/lines') 2>/dev/null &
httpd -p 80 -h /srv/www
"""


class Load:
    """Requests from some threads, `pause_s` apart, until it is stopped; counts who answered and what failed."""

    def __init__(self, address: str, path: str = "/", pause_s: float = 0.0) -> None:
        self.answers: Counter[str] = Counter()
        self.failed: list[str] = []
        self._before = 0
        self._address, self._path, self._pause_s = address, path, pause_s
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(LOAD_THREADS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self.answers[fetch(self._address, SERVED_PORT, 5.0, self._path)] += 1
            except OSError as error:
                self.failed.append(str(error))
            self._ending.wait(self._pause_s)

    def since_now(self) -> None:
        """Counts who answers anew."""
        self._before += sum(self.answers.values())
        self.answers = Counter()

    @property
    def told(self) -> str:
        return f"{self._before + sum(self.answers.values())} requests, {len(self.failed)} failed"


def balancers(tour: Tour) -> None:
    """An ALB with a path rule over two target groups, an NLB in front of the same machines."""
    tour.title("Load balancers: paths to two groups of machines, and plain TCP")
    _second_zone(tour)
    _behind(tour)
    vpc, subnets = tour.made["vpc"], (tour.made["public subnet"], tour.made["second subnet"])
    for name in ("pages", "api"):
        words = ("elbv2", "create-target-group", "--name", f"{NAME}-{name}", "--protocol", "HTTP", "--port", "80")
        tour.make(f"targets {name}", *words, "--vpc-id", vpc, *CHECKS, query="TargetGroups[0].TargetGroupArn")
    tour.make("targets tcp", "elbv2", "create-target-group", "--name", f"{NAME}-tcp", "--protocol", "TCP", "--port", "80",
              "--vpc-id", vpc, *CHECKS, query="TargetGroups[0].TargetGroupArn")  # fmt: skip
    tour.make("targets udp", "elbv2", "create-target-group", "--name", f"{NAME}-udp", "--protocol", "UDP", "--port", str(LINES_PORT),
              "--health-check-port", str(SERVED_PORT), "--vpc-id", vpc, *CHECKS, query="TargetGroups[0].TargetGroupArn")  # fmt: skip
    both = ("web 1", "web 2")
    for group, machines in (("pages", both), ("api", ("api 1",)), ("tcp", both), ("udp", both)):
        register(tour, group, *machines)
    for kind, name in (("application", "alb"), ("network", "nlb")):
        tour.make(
            name, "elbv2", "create-load-balancer", "--name", f"{NAME}-{name}", "--type", kind, "--subnets", *subnets,
            "--security-groups", tour.made["group balancer"], query="LoadBalancers[0].LoadBalancerArn",
        )  # fmt: skip
    attribute = "Key=load_balancing.cross_zone.enabled,Value=true"
    named = ("--load-balancer-arn", tour.made["nlb"])
    tour.aws("elbv2", "modify-load-balancer-attributes", *named, "--attributes", attribute)
    listener = tour.make("listener", *_listener(tour, "alb", "HTTP", "pages"), query="Listeners[0].ListenerArn")
    tour.aws("elbv2", "create-rule", "--listener-arn", listener, "--priority", "10", "--conditions",
             "Field=path-pattern,Values=/api/*", "--actions", f"Type=forward,TargetGroupArn={tour.made['targets api']}")  # fmt: skip
    tour.make("tcp listener", *_listener(tour, "nlb", "TCP", "tcp"), query="Listeners[0].ListenerArn")
    tour.make("udp listener", *_listener(tour, "nlb", "UDP", "udp", LINES_PORT), query="Listeners[0].ListenerArn")
    for name in ("alb", "nlb"):
        tour.made[f"{name} address"] = address_of(tour, name)
    for group in ("pages", "api", "tcp", "udp"):
        wait_healthy(tour, group)


def spread(tour: Tour) -> None:
    """Who answers what, and what happens to requests while targets come and go."""
    tour.title("Traffic: who answers, and who notices that a machine goes")
    alb, nlb = tour.made["alb address"], tour.made["nlb address"]
    tour.say(f"  $ {dim(f'curl http://{alb}/   curl http://{alb}/api/')}")
    fetch_when_up(alb, SERVED_PORT)
    for what, address, path, hosts in (
        ("the ALB: /", alb, "/", 2),
        ("the ALB: /api/", alb, "/api/", 1),
        ("the NLB", nlb, "/", 2),
    ):
        answers = Counter(fetch(address, SERVED_PORT, 5.0, path) for _ in range(SPREAD_REQUESTS))
        if len(answers) != hosts:
            raise Failure(f"{what} was answered by {dict(answers)}, not by {hosts} machines")
        tour.result(f"{what}: " + ", ".join(f"{host!r} {count} times" for host, count in sorted(answers.items())))
    with Load(alb) as load:
        tour.aws("elbv2", "deregister-targets", "--target-group-arn", tour.made["targets pages"],
                 "--targets", f"Id={tour.made['web 2']}")  # fmt: skip
        load.since_now()
        time.sleep(1.0)
        if len(load.answers) != 1:
            raise Failure(f"a deregistered target still got requests: {dict(load.answers)}")
        tour.result("web 2 is deregistered: all goes to web 1")
        register(tour, "pages", "web 2")
        wait_healthy(tour, "pages")
        load.since_now()
        deadline = time.monotonic() + HEALTHY_LIMIT_S
        while len(load.answers) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        tour.result("web 2 is registered again: both answer")
    if load.failed:
        raise Failure(f"{len(load.failed)} requests failed meanwhile, the first: {load.failed[0]}")
    tour.result(f"meanwhile {load.told}")


def datagrams(tour: Tour) -> None:
    """Lines by UDP to whoever collects them, while one of the two goes and comes back: each must be in somebody's file."""
    if shutil.which("udpsvd") is None:
        tour.say("\n  no datagrams: this host lacks the package ipsvd, whose udpsvd the small image serves UDP with")
        return
    tour.title("Datagrams: lines by UDP, and where they end")
    nlb = tour.made["nlb address"]
    words = ("--target-group-arn", tour.made["targets udp"], "--targets", f"Id={tour.made['web 2']}")
    tour.say(f"  $ {dim(f'logger --udp --server {nlb} --port {LINES_PORT} …')}")
    _send(nlb, "before")
    tour.aws("elbv2", "deregister-targets", *words)
    _send(nlb, "without web 2")
    register(tour, "udp", "web 2")
    wait_healthy(tour, "udp")
    _send(nlb, "after")
    sent, deadline = 3 * FLOWS * LINES_PER_FLOW, time.monotonic() + HEALTHY_LIMIT_S
    found = _collected(nlb)
    while sum(found.values()) < sent and time.monotonic() < deadline:
        time.sleep(0.2)
        found = _collected(nlb)
    if len(found) < 2 or sum(found.values()) != sent:
        raise Failure(f"of {sent} lines {found} were collected")
    tour.result(
        f"{sent} lines, none lost: " + ", ".join(f"{host!r} has {count}" for host, count in sorted(found.items()))
    )


def _send(address: str, what: str) -> None:
    for flow in range(FLOWS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((address, LINES_PORT))
            for line in range(LINES_PER_FLOW):
                sock.send(f"{what} {flow} {line}\n".encode())
        time.sleep(0.01)  # a collector takes one datagram after the other


def _collected(address: str) -> dict[str, int]:
    """How many lines each machine has, asked through the balancer until both have answered."""
    found: dict[str, int] = {}
    for _ in range(SPREAD_REQUESTS):
        host, *lines = fetch(address, SERVED_PORT, 5.0, "/lines").splitlines()
        found[host] = len(lines)
    return found


def register(tour: Tour, group: str, *machines: str) -> None:
    targets = [f"Id={tour.made[name]}" for name in machines]
    tour.aws("elbv2", "register-targets", "--target-group-arn", tour.made[f"targets {group}"], "--targets", *targets)


def wait_healthy(tour: Tour, group: str) -> None:
    """Until all targets of the group are healthy."""
    started, quiet = time.monotonic(), tour.quiet
    words = ("elbv2", "describe-target-health", "--target-group-arn", tour.made[f"targets {group}"])
    try:
        while True:
            found = [
                one
                for one in tour.aws(*words, query="TargetHealthDescriptions[].TargetHealth")
                if one["State"] != "draining"
            ]
            if found and all(one["State"] == "healthy" for one in found):
                tour.result(f"{group}: {len(found)} healthy")
                return
            if time.monotonic() > started + HEALTHY_LIMIT_S:
                raise Failure(f"targets of {group} are not healthy: {json.dumps(found)}")
            tour.quiet = True
            time.sleep(0.2)
    finally:
        tour.quiet = quiet


def address_of(tour: Tour, name: str) -> str:
    """A public address of the balancer's nodes. On a host that asks gureum's DNS server, its DNS name leads there."""
    arn = tour.made[name]
    interfaces = "Name=description,Values=ELB " + arn.partition(":loadbalancer/")[2]
    words = ("ec2", "describe-network-interfaces", "--filters", interfaces)
    found = tour.aws(*words, query="NetworkInterfaces[].Association.PublicIp")
    if not found:
        raise Failure(f"{name} has no public address")
    return tour.public(found[0])


def _listener(tour: Tour, balancer: str, protocol: str, group: str, port: int = SERVED_PORT) -> tuple[str, ...]:
    action = f"Type=forward,TargetGroupArn={tour.made[f'targets {group}']}"
    words = ("elbv2", "create-listener", "--load-balancer-arn", tour.made[balancer], "--protocol", protocol)
    return (*words, "--port", str(port), "--default-actions", action)


def _second_zone(tour: Tour) -> None:
    """A balancer wants two zones."""
    used = tour.aws(
        "ec2", "describe-subnets", "--subnet-ids", tour.made["public subnet"], query="Subnets[0].AvailabilityZone"
    )
    zones = tour.aws("ec2", "describe-availability-zones", query="AvailabilityZones[].ZoneName")
    other = next(zone for zone in zones if zone != used)
    tour.make("second subnet", "ec2", "create-subnet", "--vpc-id", tour.made["vpc"], "--cidr-block", SECOND_CIDR,
              "--availability-zone", other, query="Subnet.SubnetId")  # fmt: skip
    words = ("--route-table-id", tour.made["route table"], "--subnet-id", tour.made["second subnet"])
    tour.aws("ec2", "associate-route-table", *words)


def _behind(tour: Tour) -> None:
    """Three machines without public addresses that only the balancers may reach."""
    for name in ("balancer", "behind"):
        make_group(tour, name)
    allow(tour, "group balancer", SERVED_PORT, "--cidr", "0.0.0.0/0")
    allow(tour, "group behind", SERVED_PORT, "--source-group", tour.made["group balancer"])
    allow(tour, "group balancer", LINES_PORT, "--cidr", "0.0.0.0/0", protocol="udp")
    allow(tour, "group behind", LINES_PORT, "--source-group", tour.made["group balancer"], protocol="udp")
    script = tour.folder / "served.sh"
    script.write_text(USER_DATA)
    machines = ("web 1", "web 2", "api 1")
    found = tour.aws(
        "ec2", "run-instances", "--image-id", tour.made["image"], "--instance-type", "t3.nano", "--count", str(len(machines)),
        "--subnet-id", tour.made["private subnet"], "--security-group-ids", tour.made["group behind"],
        "--user-data", f"file://{script}", "--tag-specifications", tags("instance", "served"), query="Instances[].InstanceId",
    )  # fmt: skip
    tour.made.update(zip(machines, found, strict=True))
    wait_for(tour, "running", *found)
    tour.result(f"{len(machines)} machines run in the private subnet: {', '.join(found)}")
