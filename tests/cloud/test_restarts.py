"""The data plane outlives the control plane: daemon and agent are killed while machines serve."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
from typing import Any, Self

from tests.cloud.running import BUSYBOX, Cloud, until

COUNT = 20


class Load:
    """Asks every address for its page, round and round, until told to stop; counts answers and keeps what failed."""

    def __init__(self, addresses: list[str]) -> None:
        self.served = 0
        self.failed: list[str] = []
        self._addresses = addresses
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            for address in self._addresses[number::4]:
                try:
                    with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
                        assert answer.read().startswith(b"hello")
                        self.served += 1
                except OSError as error:
                    self.failed.append(f"{address}: {error}")


def serving(cloud: Cloud, instances: list[dict[str, Any]]) -> list[str]:
    """Public addresses, once every page is there."""
    addresses = [cloud.own(one["PublicIpAddress"]) for one in instances]

    def served(address: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=0.2) as answer:
                return bool(answer.read())
        except OSError:
            return False

    for address in addresses:
        until(lambda address=address: served(address))
    return addresses


def test_twenty_machines_serve_while_daemon_and_agent_are_killed(cloud: Cloud, ec2: Any) -> None:
    instances = cloud.launch(ec2, COUNT)
    addresses = serving(cloud, instances)
    inside = instances[0]["InstanceId"]
    ask = "wget -qO- http://169.254.169.254/latest/meta-data/instance-id; nslookup $(hostname).ec2.internal >/dev/null && echo ' named'"
    pids = {one["InstanceId"]: boot_of(cloud, one["InstanceId"]) for one in instances[:3]}
    with Load(addresses) as load:
        for name in ("daemon", "agent", "agent", "daemon"):
            before, killed = load.served, cloud.process(name)
            os.kill(killed, signal.SIGKILL)
            answer = cloud.command("exec", inside, "--", "sh", "-c", ask, check=False) if name == "agent" else None
            until(lambda name=name, killed=killed: cloud.process(name) not in (0, killed))
            until(lambda before=before: load.served > before + COUNT)
            if answer is not None and answer.returncode == 0:
                assert inside in answer.stdout
        until(lambda: inside in cloud.inside(inside, "sh", "-c", ask).stdout)
        assert cloud.inside(inside, "sh", "-c", ask).stdout.split() == [inside, "named"]
    assert load.failed == []
    assert {name: boot_of(cloud, name) for name in pids} == pids, "the machines were not adopted but started anew"
    states = {
        one["State"]["Name"] for one in cloud.until_state(ec2, [one["InstanceId"] for one in instances], "running")
    }
    assert states == {"running"}
    ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in instances])
    cloud.until_state(ec2, [one["InstanceId"] for one in instances], "terminated")


def boot_of(cloud: Cloud, instance: str) -> str:
    """Something that a new boot would change: the start time of PID 1."""
    return str(until(lambda: cloud.inside(instance, "cut", "-d", " ", "-f", "22", "/proc/1/stat").stdout)).strip()


def test_names_and_metadata_go_on_inside_while_the_agent_is_away(cloud: Cloud, ec2: Any) -> None:
    (instance,) = cloud.launch(ec2)
    name = instance["InstanceId"]
    script = (
        "n=0; while [ $n -lt 40 ]; do wget -qO- http://169.254.169.254/latest/meta-data/instance-id >/dev/null || echo lost metadata;"
        "nslookup $(hostname).ec2.internal 169.254.169.253 >/dev/null || echo lost name; n=$((n+1)); usleep 50000; done; echo done"
    )
    cloud.inside(name, "sh", "-c", f"({script}) > /tmp/seen 2>&1 &")
    for _ in range(2):
        killed = cloud.process("agent")
        os.kill(killed, signal.SIGKILL)
        until(lambda killed=killed: cloud.process("agent") not in (0, killed))
    seen = until(lambda: text if "done" in (text := cloud.inside(name, "cat", "/tmp/seen").stdout) else "", 90.0)
    assert seen.split() == ["done"]
    ec2.terminate_instances(InstanceIds=[name])


def test_a_launch_cut_off_by_the_daemons_death_ends_as_promised(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    before = {one["InstanceId"] for page in ec2.describe_instances()["Reservations"] for one in page["Instances"]}
    for delay_s in (0.0, 0.004, 0.01, 0.03):
        token = f"cut-{delay_s}"
        killed = cloud.process("daemon")
        answers: list[Any] = []
        caller = threading.Thread(target=lambda token=token, answers=answers: answers.append(_launch(cloud, token)))
        caller.start()
        time.sleep(delay_s)
        os.kill(killed, signal.SIGKILL)
        caller.join()
        again = _launch(cloud, token)
        # The stock client tried again by itself; with the same token there is one launch, not two.
        assert answers == [again]
    found = [one for page in ec2.describe_instances()["Reservations"] for one in page["Instances"]]
    new = [one["InstanceId"] for one in found if one["InstanceId"] not in before]
    assert len(new) == 8
    cloud.until_state(ec2, new, "running")
    ec2.terminate_instances(InstanceIds=new)
    cloud.until_state(ec2, new, "terminated")
    until(lambda: not ec2.describe_network_interfaces()["NetworkInterfaces"])


def _launch(cloud: Cloud, token: str) -> list[str]:
    answer = cloud.client("ec2").run_instances(
        ImageId=BUSYBOX, InstanceType="t3.nano", MinCount=2, MaxCount=2, ClientToken=token
    )
    return sorted(one["InstanceId"] for one in answer["Instances"])


def test_an_end_that_came_while_no_daemon_listened_is_noticed(cloud: Cloud, ec2: Any) -> None:
    (instance,) = cloud.launch(ec2)
    name = instance["InstanceId"]
    # The daemon dies right after it has promised; the agent takes the machine down with nobody there to hear of it.
    killed = cloud.process("daemon")
    ec2.terminate_instances(InstanceIds=[name])
    os.kill(killed, signal.SIGKILL)
    cloud.until_state(ec2, [name], "terminated")
