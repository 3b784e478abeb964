"""Who answers ARP: real requests from a network's router to machines that are well, mute, or lie. Needs root."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from gureum.drivers.checks.checks import NamespaceChecks
from gureum.drivers.networks import namespaces
from gureum.drivers.networks.arp import _ARP, _ETH_P_ARP, _REPLY
from gureum.drivers.networks.routers import ROUTER_MAC
from gureum.ports import PortError
from gureum.ports.checks import Asked
from tests.machine.cloud_network import OUT_ALL, Cloud, on_a_cloud

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]


async def machines(one: Cloud, count: int) -> list[Asked]:
    await one.network("blue")
    await one.group("blue", "closed", OUT_ALL)
    asked = []
    for number in range(count):
        name, address = f"m{number}", f"10.0.0.{10 + number}"
        await one.machine(name, "blue", address, "closed")
        asked.append(Asked(name, address, "10.0.0.1"))
    return asked


async def answering(one: Cloud, asked: list[Asked]) -> list[str]:
    return sorted(await NamespaceChecks(one.home_id, one.run_dir).answering("blue", asked))


def inside(one: Cloud, machine: str, *command: str) -> None:
    """`ip …` in the machine's network."""
    place = f"--net={one.names.sandbox(machine)}"
    subprocess.run(["nsenter", place, "ip", *command], check=True, capture_output=True)


@on_a_cloud
async def test_machines_answer_whatever_their_groups_refuse_and_a_mute_one_does_not(one: Cloud) -> None:
    asked = await machines(one, 4)
    assert await answering(one, asked) == ["m0", "m1", "m2", "m3"]
    inside(one, "m1", "link", "set", "eth0", "down")
    inside(one, "m2", "address", "flush", "dev", "eth0")
    inside(one, "m3", "link", "delete", "eth0")
    assert await answering(one, asked) == ["m0"]
    inside(one, "m1", "link", "set", "eth0", "up")
    assert await answering(one, asked) == ["m0", "m1"]


@on_a_cloud
async def test_nobody_answers_for_another(one: Cloud) -> None:
    asked = await machines(one, 2)
    inside(one, "m0", "link", "set", "eth0", "down")
    inside(one, "m1", "address", "add", "10.0.0.10/32", "dev", "eth0")
    assert await answering(one, asked) == ["m1"]


@on_a_cloud
async def test_a_machine_that_answers_without_end_hides_no_other(one: Cloud) -> None:
    asked = await machines(one, 8)
    with flooding(one, "m0", "10.0.0.77"):
        assert await answering(one, asked) == [name.interface for name in asked]


@on_a_cloud
async def test_there_is_nobody_to_ask_in_a_network_that_is_not_there(one: Cloud) -> None:
    with pytest.raises(PortError):
        await NamespaceChecks(one.home_id, one.run_dir).answering("none", [Asked("m", "10.0.0.10", "10.0.0.1")])


@contextlib.contextmanager
def flooding(one: Cloud, machine: str, address: str) -> Iterator[None]:
    """The machine sends ARP answers as fast as it can."""
    with namespaces.entered(one.names.sandbox(machine)):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    mac = bytes.fromhex(ROUTER_MAC.replace(":", ""))
    answer = _ARP.pack(1, 0x0800, 6, 4, _REPLY, b"\x02" + bytes(5), socket.inet_aton(address), mac, bytes(4))
    ending = threading.Event()

    def send() -> None:
        while not ending.is_set():
            with contextlib.suppress(OSError):
                sender.sendto(answer, ("eth0", _ETH_P_ARP, 0, 0, mac))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        sender.close()
