"""A security group's rule, from the API call until 200 instances obey it, and what 200 instances at once cost. Needs root.

    python -m bench.security_groups [--machines 200] [--rounds 20]

One call of RunInstances starts them all for real, in one group that lets nobody in. The first of them sends each of the others a datagram, over and
over, each time from a port of its own (so that none belongs to a known flow). "opened": from the call of AuthorizeSecurityGroupIngress until
each of them has received one; "closed": from RevokeSecurityGroupIngress until the last that any of them received. Both are observed by packets at
all of them, so each time includes up to one round of the sender, which is printed too.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from bench.clouds import Ec2, Gureum, found, machine, tree
from bench.start import kernel_kib, memory_kib
from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import HomeNames

TYPE = "t3.nano"
PORT = 9000
QUIET_S, LIMIT_S, LAUNCH_LIMIT_S, SETTLE_S = 0.1, 30.0, 300.0, 3.0
RULE = {"IpPermissions_1_IpProtocol": "udp", "IpPermissions_1_FromPort": PORT, "IpPermissions_1_ToPort": PORT}
EVERYBODY = {"IpPermissions_1_IpRanges_1_CidrIp": "0.0.0.0/0"}


class Crowd:
    """A sender inside one machine and receivers inside all others. `addresses`: of the receivers, by machine."""

    def __init__(self, names: HomeNames, sender: str, addresses: dict[str, str]) -> None:
        self._sender = names.sandbox(sender)
        self._addresses = addresses
        self._kept = ExitStack()
        self._poll = select.epoll()
        self._receivers: dict[int, tuple[str, socket.socket]] = {}
        self.rounds_s: list[float] = []
        """How long each round of datagrams took, to be sent and looked for."""
        for name in addresses:
            with namespaces.entered(names.sandbox(name)):
                sock = self._kept.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("", PORT))
            sock.setblocking(False)
            self._receivers[sock.fileno()] = (name, sock)
            self._poll.register(sock, select.EPOLLIN)

    def close(self) -> None:
        self._poll.close()
        self._kept.close()

    def _send(self, to: set[str]) -> None:
        """One datagram to each, of flows of their own."""
        with namespaces.entered(self._sender), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as once:
            for name in to:
                once.sendto(b"x", (self._addresses[name], PORT))

    def _came(self) -> set[str]:
        """Which machines have received since the last look."""
        came = set()
        for descriptor, _ in self._poll.poll(0, len(self._receivers)):
            name, sock = self._receivers[descriptor]
            came.add(name)
            try:
                while True:
                    sock.recv(16)
            except BlockingIOError:
                pass
        return came

    def _round(self, to: set[str]) -> set[str]:
        begin = time.perf_counter()
        self._send(to)
        came = self._came()
        self.rounds_s.append(time.perf_counter() - begin)
        return came

    def opened_s(self, begin: float) -> float:
        """Until each has received one."""
        waiting = set(self._addresses)
        while waiting:
            waiting -= self._round(waiting)
            if time.perf_counter() - begin > LIMIT_S:
                raise TimeoutError(f"{len(waiting)} machines let nothing in")
        return time.perf_counter() - begin

    def closed_s(self, begin: float) -> float:
        """Until the last that any received."""
        last = time.perf_counter()
        while time.perf_counter() - last < QUIET_S:
            if self._round(set(self._addresses)):
                last = time.perf_counter()
            if last - begin > LIMIT_S:
                raise TimeoutError("a machine still lets datagrams in")
        return last - begin


def launch(ec2: Ec2, image: str, count: int) -> tuple[str, dict[str, str]]:
    """The group, and the machines in it, running, each with its private address."""
    (group,) = found(ec2.call("CreateSecurityGroup", GroupName="crowd", GroupDescription="crowd"), "groupId")[:1]
    begin = time.perf_counter()
    made = found(
        ec2.call(
            "RunInstances",
            ImageId=image,
            InstanceType=TYPE,
            MinCount=count,
            MaxCount=count,
            SecurityGroupId_1=group,
        ),
        "instanceId",
    )
    answered = time.perf_counter() - begin
    ask = {f"InstanceId_{number}": name for number, name in enumerate(dict.fromkeys(made), 1)}
    half = 0.0
    while (running := (shown := ec2.call("DescribeInstances", **ask)).count("<name>running</name>")) < count:
        if not half and running >= count / 2:
            half = time.perf_counter() - begin
        if time.perf_counter() - begin > LAUNCH_LIMIT_S:
            raise TimeoutError(f"{running} of {count} machines run after {LAUNCH_LIMIT_S:.0f} s")
        time.sleep(0.25)
    print(
        f"  RunInstances of {count}: answered after {answered:.1f} s, half run after {half:.1f}, all after "
        f"{time.perf_counter() - begin:.1f} s   load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    parts = shown.split("<instanceId>")[1:]
    return group, {part.split("<", 1)[0]: found(part, "privateIpAddress")[0] for part in parts}


def show_memory(gureum: Gureum, instances: list[str], before: dict[str, int], after: dict[str, int]) -> None:
    folders = [Path(f"/run/gureum/{gureum.identity['id']}/containers/{instance}") for instance in instances]
    pids = [tree(int((folder / "pid").read_text())) for folder in folders]
    monitors = [int((folder / "conmon.pid").read_text()) for folder in folders]
    count, inside = len(instances), [pid for each in pids for pid in each]
    parts = {
        "processes": sum(memory_kib(pid)["Pss"] for pid in inside),
        "monitors": sum(memory_kib(pid)["Pss"] for pid in monitors),
        "kernel": after["kernel"] - before["kernel"],
        "less available on the host": before["available"] - after["available"],
    }
    words = ", ".join(f"{what} {kib / count / 1024:.2f}" for what, kib in parts.items())
    print(f"  memory of one, MiB: {words}; {len(inside) / count + 1:.1f} processes each with the monitor", flush=True)
    for name, own in gureum.processes().items():
        print(f"    {name:12} PSS {sum(memory_kib(pid)['Pss'] for pid in own) / 1024:6.1f} MiB with them running")


def used_s(pid: int) -> float:
    """Processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def row(what: str, times: list[float]) -> None:
    ordered = sorted(times)
    worst = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000
    print(f"  {what:44} median {statistics.median(ordered) * 1000:7.1f} ms   p95 {worst:7.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("machines need root")
    signal.signal(signal.SIGTERM, lambda *_: parser.exit(1))  # an exception: what was made is removed
    print(machine())
    gureum = Gureum(memory_promise="16")
    try:
        gureum.start()
        bench(gureum, arguments.machines, arguments.rounds)
    finally:
        begin = time.perf_counter()
        gureum.remove()
        print(f"  all removed in {time.perf_counter() - begin:.1f} s   load {os.getloadavg()[0]:.1f}")


def bench(gureum: Gureum, count: int, rounds: int) -> None:
    ec2 = Ec2(gureum.port)
    image = found(ec2.call("DescribeImages", Filter_1_Name="name", Filter_1_Value_1="*busybox*"), "imageId")[0]
    before = kernel_kib()
    group, addresses = launch(ec2, image, count)
    time.sleep(SETTLE_S)
    show_memory(gureum, list(addresses), before, kernel_kib())
    names = HomeNames(gureum.identity["id"], Path("/run/gureum") / gureum.identity["id"])
    sender = next(iter(addresses))
    crowd = Crowd(names, sender, {name: one for name, one in addresses.items() if name != sender})
    opened, closed, calls = [], [], []
    processes = gureum.processes()
    cpu_s = {name: sum(map(used_s, own)) for name, own in processes.items()}
    try:
        for _ in range(rounds):
            begin = time.perf_counter()
            ec2.call("AuthorizeSecurityGroupIngress", GroupId=group, **RULE, **EVERYBODY)
            calls.append(time.perf_counter() - begin)
            opened.append(crowd.opened_s(begin))
            begin = time.perf_counter()
            ec2.call("RevokeSecurityGroupIngress", GroupId=group, **RULE, **EVERYBODY)
            closed.append(crowd.closed_s(begin))
    finally:
        crowd.close()
    row(f"a rule for {count} instances, the call answered", calls)
    row(f"a rule for {count} instances, opened at all", opened)
    row(f"a rule for {count} instances, closed at all", closed)
    row("  of it, a round of datagrams to all", crowd.rounds_s)
    each = {name: (sum(map(used_s, own)) - cpu_s[name]) / rounds / 2 * 1000 for name, own in processes.items()}
    print(
        f"  CPU of a change: daemon {each['daemon']:.1f} ms, agent {each['agent']:.1f} ms   load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
