"""RunInstances until the instance serves a page: one after the other, and many at once, beside `docker run` and `podman run`. Needs root.

    python -m bench.launch [--rounds 20] [--many 50] [--only-gureum]

"page" is from the API call to the answer that a web server, started by the instance's user data, gives through the instance's public address.
"engine" is the part of the network, disk, root, runtime and monitor: from the agent's first span about the instance to the end of the
one that started it. The peers' figure is to the first line of output, less the start of the same program with `--version`: their
containers have no init, no disk of their own, no public address and no page, so it is the smaller half of what gureum is measured for.
"""

from __future__ import annotations

import argparse
import base64
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable

from bench.clouds import Ec2, Gureum, Refused, body, found, machine
from bench.engines import Engine, docker, podman

PAGE = b"#!/bin/sh\nmkdir -p /www\necho hello > /www/index.html\nhttpd -p 80 -h /www\n"
IMAGE_NAME = "gureum-busybox-*"
PROMISE = "4.0"  # 50 instances of 0.5 GiB are started on any machine; none of them uses a hundredth of that
CONNECT_LIMIT_S = 0.02
PAGE_LIMIT_S = 60.0
ENGINE_KINDS = ("Sandbox", "Interface", "Volume", "Container")


class Launcher:
    """One gureum whose default security group lets everybody in on port 80."""

    def __init__(self, gureum: Gureum) -> None:
        self.gureum = gureum
        self.ec2 = Ec2(gureum.port)
        group = found(self.ec2.call("DescribeSecurityGroups"), "groupId")[0]
        self.ec2.call(
            "AuthorizeSecurityGroupIngress",
            GroupId=group,
            IpProtocol="tcp",
            FromPort=80,
            ToPort=80,
            CidrIp="0.0.0.0/0",
        )
        images = self.ec2.call("DescribeImages", Filter_1_Name="name", Filter_1_Value_1=IMAGE_NAME)
        image = found(images, "imageId")[0]
        self._wanted = {"ImageId": image, "InstanceType": "t3.nano", "UserData": base64.b64encode(PAGE).decode()}

    def run(self, count: int) -> dict[str, str]:
        """Instance id → public address."""
        ids = found(self.ec2.call("RunInstances", MinCount=count, MaxCount=count, **self._wanted), "instanceId")
        wanted = {f"InstanceId_{number}": id_ for number, id_ in enumerate(dict.fromkeys(ids), 1)}
        shown = self.ec2.call("DescribeInstances", **wanted).split("<instanceId>")[1:]
        return {one.split("<", 1)[0]: found(one, "ipAddress")[0] for one in shown}

    def end(self, ids: list[str]) -> None:
        """Terminates, and waits until it is done: the next is to be measured on an idle machine."""
        wanted = {f"InstanceId_{number}": id_ for number, id_ in enumerate(ids, 1)}
        self.ec2.call("TerminateInstances", **wanted)
        ask = body("DescribeInstances", **wanted)
        while "<name>shutting-down</name>" in self.ec2.send(ask).decode():
            time.sleep(0.05)
        while self.gureum.ask_agent({"op": "status"})["leaving"]:
            time.sleep(0.05)

    def engine_s(self, instance: str) -> dict[str, float]:
        """Seconds of each kind's span that ended well, and "engine": from the first of them to the end of the last."""
        shown = self.ec2.call("DescribeInstances", InstanceId_1=instance)
        names = [instance, *found(shown, "networkInterfaceId"), *found(shown, "volumeId")]
        ids = [f"{kind}/{name}" for kind in ENGINE_KINDS for name in names]
        spans = self.gureum.ask_agent({"op": "events", "ids": ids})["spans"]
        started = next(s["start"] + s["duration_s"] for s in spans if s["name"] == "agent Container" and not s["error"])
        parts = {s["name"].split()[1]: s["duration_s"] for s in spans if not s["error"] and s["start"] < started}
        return {**parts, "engine": started - min(span["start"] for span in spans)}


def page_served(address: str, interval_s: float = 0.002) -> float:
    """Waits until the address serves the page; returns when."""
    limit = time.perf_counter() + PAGE_LIMIT_S
    while time.perf_counter() < limit:
        try:
            with socket.create_connection((address, 80), CONNECT_LIMIT_S) as sock:
                sock.settimeout(1.0)
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with sock.makefile("rb") as answer:
                    if answer.read().endswith(b"hello\n"):
                        return time.perf_counter()
        except OSError:
            pass
        time.sleep(interval_s)
    raise Refused(f"{address} served no page within {PAGE_LIMIT_S:.0f} s")


def one_by_one(launcher: Launcher, rounds: int) -> dict[str, list[float]]:
    """Milliseconds by what they are of."""
    times: dict[str, list[float]] = {}
    for number in range(rounds + 2):
        begin = time.perf_counter()
        ((instance, address),) = launcher.run(1).items()
        answered = time.perf_counter()
        served = page_served(address)
        if number >= 2:  # the first ones load code and fill the caches, as any program's do
            parts = {"page": served - begin, "API call": answered - begin, **launcher.engine_s(instance)}
            for what, seconds in parts.items():
                times.setdefault(what, []).append(seconds * 1000)
        launcher.end([instance])
    return times


def many_at_once(launcher: Launcher, count: int) -> tuple[float, float]:
    """Seconds from the call until the median instance and until all serve."""
    begin = time.perf_counter()
    launched = launcher.run(count)
    waiting, served = set(launched.values()), []
    limit = begin + PAGE_LIMIT_S
    while waiting and time.perf_counter() < limit:
        for address in sorted(waiting):
            if once_served(address):
                waiting.discard(address)
                served.append(time.perf_counter() - begin)
    launcher.end(list(launched))
    if waiting:
        raise Refused(f"{len(waiting)} of {count} instances served no page within {PAGE_LIMIT_S:.0f} s")
    return statistics.median(served), max(served)


def once_served(address: str) -> bool:
    try:
        page_served_once = socket.create_connection((address, 80), CONNECT_LIMIT_S)
    except OSError:
        return False
    with page_served_once as sock:
        sock.settimeout(1.0)
        try:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with sock.makefile("rb") as answer:
                return answer.read().endswith(b"hello\n")
        except OSError:
            return False


def at_once(engine: Engine, count: int) -> float:
    """Seconds until `count` containers, started together, have all written their line."""
    threads = [threading.Thread(target=engine.first_output) for _ in range(count)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


def show(what: str, times: list[float]) -> None:
    p95 = sorted(times)[int(len(times) * 0.95)] if len(times) > 1 else times[0]
    print(f"  {what:36} median {statistics.median(times):7.1f} ms   p95 {p95:7.1f} ms")


def bench_gureum(rounds: int, many: int) -> None:
    gureum = Gureum(memory_promise=PROMISE)
    gureum.start()
    try:
        launcher = Launcher(gureum)
        print(f"gureum, {rounds} one after the other")
        for what, times in one_by_one(launcher, rounds).items():
            show({"page": "RunInstances → page served"}.get(what, what), times)
        if many:
            median, last = many_at_once(launcher, many)
            print(f"  {many} at once: half serve after {median:.2f} s, all after {last:.2f} s")
    finally:
        gureum.remove()


def bench_engine(make: Callable[[], Engine], rounds: int, many: int) -> None:
    with make() as engine:
        if not engine.usable:
            print(f"SKIPPED {engine.name}: {engine.why}")
            return
        engine.first_output()
        print(f"{engine.name}, {rounds} one after the other")
        idle = statistics.median(engine.idle() for _ in range(5))
        times = [(engine.first_output() - idle) * 1000 for _ in range(rounds)]
        show("run → first output, net of the program", times)
        if many:
            print(f"  {many} at once: all with output after {at_once(engine, many):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--many", type=int, default=50)
    parser.add_argument("--only-gureum", action="store_true")
    arguments = parser.parse_args()
    print(machine())
    bench_gureum(arguments.rounds, arguments.many)
    if not arguments.only_gureum:
        bench_engine(docker, arguments.rounds, arguments.many)
        bench_engine(podman, arguments.rounds, arguments.many)
    print(f"load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
