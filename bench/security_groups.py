"""A security group's rule, from the API call until packets obey it, with 200 network interfaces in the group. Needs root.

    python -m bench.security_groups [--machines 67] [--rounds 20]

Machines with three interfaces each run for real, all in one group that lets nobody in. One machine sends datagrams to another, each from a port
of its own (so that none belongs to a known flow), every half millisecond. "opened": from the call of AuthorizeSecurityGroupIngress until one
arrives; "closed": from RevokeSecurityGroupIngress until none does any more, told by the number of the last that came. All interfaces obey at the same
moment: one transaction of nftables.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from pathlib import Path

from bench.clouds import Ec2, Gureum, found, machine
from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import HomeNames

TYPE, INTERFACES = "t3.small", 3
PORT = 9000
EVERY_S, QUIET_S, LIMIT_S = 0.0005, 0.05, 30.0
RULE = {"IpPermissions_1_IpProtocol": "udp", "IpPermissions_1_FromPort": PORT, "IpPermissions_1_ToPort": PORT}
EVERYBODY = {"IpPermissions_1_IpRanges_1_CidrIp": "0.0.0.0/0"}


class Pair:
    """A sender and a receiver inside two machines."""

    def __init__(self, names: HomeNames, sender: str, receiver: str, address: str) -> None:
        self._sender, self._address = names.sandbox(sender), address
        with namespaces.entered(names.sandbox(receiver)):
            self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.bind(("", PORT))
        self._receiver.setblocking(False)
        self._sent = 0

    def send(self) -> int:
        """One datagram of a flow of its own; its number."""
        self._sent += 1
        with namespaces.entered(self._sender), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as once:
            once.sendto(str(self._sent).encode(), (self._address, PORT))
        return self._sent

    def came(self) -> int:
        """The number of the last that has come, 0 for none."""
        last = 0
        while True:
            try:
                last = int(self._receiver.recv(100))
            except BlockingIOError:
                return last

    def opened_s(self, begin: float) -> float:
        while time.perf_counter() - begin < LIMIT_S:
            self.send()
            if self.came():
                return time.perf_counter() - begin
            time.sleep(EVERY_S)
        raise TimeoutError

    def closed_s(self, begin: float) -> float:
        last = begin
        while time.perf_counter() - last < QUIET_S:
            self.send()
            if self.came():
                last = time.perf_counter()
            time.sleep(EVERY_S)
        return last - begin


def launch(ec2: Ec2, image: str, machines: int) -> tuple[str, list[str]]:
    """The group, and the machines in it, running."""
    subnet = found(ec2.call("DescribeSubnets", Filter_1_Name="default-for-az", Filter_1_Value_1="true"), "subnetId")[0]
    (group,) = found(ec2.call("CreateSecurityGroup", GroupName="crowd", GroupDescription="crowd"), "groupId")[:1]
    wanted: dict[str, object] = {"ImageId": image, "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}
    for index in range(INTERFACES):
        at = f"NetworkInterface_{index + 1}"
        wanted |= {f"{at}_DeviceIndex": index, f"{at}_SubnetId": subnet, f"{at}_SecurityGroupId_1": group}
    made = [found(ec2.call("RunInstances", **wanted), "instanceId")[0] for _ in range(machines)]
    ask = {f"InstanceId_{number}": name for number, name in enumerate(made, 1)}
    while ec2.call("DescribeInstances", **ask).count("<name>running</name>") < machines:
        time.sleep(0.1)
    return group, made


def row(what: str, times: list[float]) -> None:
    ordered = sorted(times)
    worst = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000
    print(f"  {what:44} median {statistics.median(ordered) * 1000:7.1f} ms   p95 {worst:7.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--machines", type=int, default=67)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("machines need root")
    print(machine())
    gureum = Gureum(memory_promise="16")
    try:
        gureum.start()
        ec2 = Ec2(gureum.port)
        image = found(ec2.call("DescribeImages", Filter_1_Name="name", Filter_1_Value_1="*busybox*"), "imageId")[0]
        begin = time.perf_counter()
        group, machines = launch(ec2, image, arguments.machines)
        interfaces = arguments.machines * INTERFACES
        print(
            f"  {arguments.machines} machines, {interfaces} interfaces running after {time.perf_counter() - begin:.1f} s"
        )
        names = HomeNames(gureum.identity["id"], Path("/run/gureum") / gureum.identity["id"])
        address = found(ec2.call("DescribeInstances", InstanceId_1=machines[-1]), "privateIpAddress")[0]
        pair = Pair(names, machines[0], machines[-1], address)
        opened, closed = [], []
        for _ in range(arguments.rounds):
            begin = time.perf_counter()
            ec2.call("AuthorizeSecurityGroupIngress", GroupId=group, **RULE, **EVERYBODY)
            opened.append(pair.opened_s(begin))
            begin = time.perf_counter()
            ec2.call("RevokeSecurityGroupIngress", GroupId=group, **RULE, **EVERYBODY)
            closed.append(pair.closed_s(begin))
        row(f"a rule for {interfaces} interfaces, opened", opened)
        row(f"a rule for {interfaces} interfaces, closed", closed)
    finally:
        gureum.remove()


if __name__ == "__main__":
    main()
