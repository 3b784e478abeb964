"""Calls per second and their latency: gureum (simulated: the same control plane) beside MiniStack and moto_server, in one run, interleaved.

    python -m bench.api [--seconds 1.5] [--rounds 3]

"describe": DescribeInstances with 100 instances. "mixed": DescribeVpcs, DescribeSecurityGroups, CreateTags, DescribeInstances by a filter that
one instance matches, and in every twentieth place RunInstances and TerminateInstances of one instance. Every cloud gets the same bytes but for its
own ids. Each round asks each cloud in turn, so that what else the machine does falls on all alike; the figures are of all rounds together.
Every write of gureum is on the disk before it is answered; the peers keep theirs in memory: "no disk" is gureum with its home in memory too,
so that what the disk costs can be told from what the program costs. Clients and clouds share the machine's cores.
"""

from __future__ import annotations

import argparse
import itertools
import os
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from bench.clouds import Cloud, Ec2, Gureum, body, found, machine, peers

INSTANCES = 100
CONNECTIONS = (1, 8)
RUN_EVERY = 20


class Scene(NamedTuple):
    """A cloud with 100 instances, one of them tagged."""

    cloud: Cloud
    image: str
    instances: list[str]


class Measured(NamedTuple):
    """Seconds of each call, and of the whole with all its connections."""

    latencies: list[float]
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile_ms(self, q: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1000


def prepare(cloud: Cloud) -> Scene:
    ec2 = Ec2(cloud.port)
    image = found(ec2.call("DescribeImages"), "imageId")[0]
    instances: list[str] = []
    while len(instances) < INSTANCES:
        text = ec2.call("RunInstances", ImageId=image, InstanceType="t3.micro", MinCount=10, MaxCount=10)
        instances += dict.fromkeys(found(text, "instanceId"))
    ec2.call("CreateTags", ResourceId_1=instances[0], Tag_1_Key="Name", Tag_1_Value="wanted")
    while "<name>pending</name>" in ec2.call("DescribeInstances"):
        time.sleep(0.05)
    return Scene(cloud, image, instances)


def describe_all(scene: Scene, client: Ec2) -> Iterator[None]:
    """One call per step."""
    ask = body("DescribeInstances")
    while True:
        assert client.send(ask).count(b"<instanceType>") >= INSTANCES
        yield


def mixed(scene: Scene, client: Ec2) -> Iterator[None]:
    vpcs, groups = body("DescribeVpcs"), body("DescribeSecurityGroups")
    one = body("DescribeInstances", Filter_1_Name="tag:Name", Filter_1_Value_1="wanted")
    run = body("RunInstances", ImageId=scene.image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    for number in itertools.count(1):
        instance = scene.instances[number % len(scene.instances)]
        tag = body("CreateTags", ResourceId_1=instance, Tag_1_Key="turn", Tag_1_Value=number)
        for ask in (vpcs, groups, tag, one):
            client.send(ask)
            yield
        if number % RUN_EVERY == 0:
            started = found(client.send(run).decode(), "instanceId")[0]
            yield
            client.send(body("TerminateInstances", InstanceId_1=started))
            yield


LOADS = {f"DescribeInstances({INSTANCES})": describe_all, "mixed": mixed}


def measure(scene: Scene, load: str, connections: int, seconds: float) -> Measured:
    latencies: list[list[float]] = [[] for _ in range(connections)]
    begin = time.perf_counter()
    until = begin + seconds
    threads = [threading.Thread(target=_ask, args=(scene, load, until, mine)) for mine in latencies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Measured(list(itertools.chain(*latencies)), time.perf_counter() - begin)


def _ask(scene: Scene, load: str, until: float, latencies: list[float]) -> None:
    client = Ec2(scene.cloud.port)
    steps = LOADS[load](scene, client)
    while (begin := time.perf_counter()) < until:
        next(steps)
        latencies.append(time.perf_counter() - begin)
    client.close()


def together(parts: list[Measured]) -> Measured:
    return Measured([one for part in parts for one in part.latencies], sum(part.seconds for part in parts))


def show(load: str, connections: int, by_name: dict[str, list[Measured]]) -> None:
    ours = together(by_name["gureum"])
    print(f"{load}, {connections} connection{'s' * (connections > 1)}")
    for name, parts in by_name.items():
        one = together(parts)
        ratio = f"gureum does {ours.per_second / one.per_second:6.2f} times as many" if name != "gureum" else ""
        print(
            f"  {name:10} {one.per_second:8.0f} calls/s   p50 {one.quantile_ms(0.5):8.2f} ms   "
            f"p99 {one.quantile_ms(0.99):8.2f} ms   {ratio}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    gureum, diskless = [Gureum(simulate=True, memory_promise="16.0", folder=one) for one in ("/var/tmp", "/dev/shm")]
    clouds: list[Cloud] = [gureum, diskless, *peers()]
    gureum.name, diskless.name = "gureum", "no disk"
    try:
        for cloud in clouds:
            cloud.start()
        scenes = [prepare(cloud) for cloud in clouds]
        for load, connections in itertools.product(LOADS, CONNECTIONS):
            by_name: dict[str, list[Measured]] = {}
            for _ in range(arguments.rounds):
                for scene in scenes:
                    part = measure(scene, load, connections, arguments.seconds)
                    by_name.setdefault(scene.cloud.name, []).append(part)
            show(load, connections, by_name)
        print(f"load average {os.getloadavg()[0]:.1f} at the end")
    finally:
        for cloud in clouds:
            cloud.remove()


if __name__ == "__main__":
    main()
