"""A guest's root has power over its own end of the network and uses it against others. Needs root."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import interface_link
from gureum.ports.firewalls import Rule
from gureum.ports.networks import SandboxSpec
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, copy_with, on_a_cloud, say

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")]

_ARP = 0x0806
UNREADABLE = b"\xff\xfe"


def inside(one: Cloud, machine: str, *words: str | bytes) -> None:
    command: list[str | bytes] = ["nsenter", f"--net={one.names.sandbox(machine)}", *words]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def ask_by_arp(one: Cloud, machine: str, target: str, senders: list[str]) -> None:
    """ARP requests for `target`, one from each address of `senders`, all from the machine's own link."""
    with namespaces.entered(one.names.sandbox(machine)):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP))
        wire.bind(("eth0", _ARP))
    with wire:
        mac = wire.getsockname()[4]
        for sender in senders:
            head = b"\xff" * 6 + mac + struct.pack("!HHHBBH", _ARP, 1, 0x0800, 6, 4, 1)
            wire.send(head + mac + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target))


def neighbours(one: Cloud, network: str, machine: str) -> set[str]:
    """Addresses that the network's router remembers on the machine's link."""
    command = ["ip", "neigh", "show", "nud", "all", "dev", interface_link(machine)]
    netns = ["nsenter", f"--net={one.names.network(network)}"]
    output = subprocess.run([*netns, *command], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in output.splitlines()}


@on_a_cloud
async def test_names_of_a_guests_links_are_nobody_elses_trouble(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "open", OUT_ALL)
    await one.machine("a", "blue", "10.0.0.10", "open")
    inside(one, "a", "ip", "link", "add", UNREADABLE, "type", "veth", "peer", "name", UNREADABLE + b"2")
    for name in [UNREADABLE + str(number).encode() * 100 for number in range(5)]:
        inside(one, "a", "ip", "link", "property", "add", "dev", UNREADABLE, "altname", name)
    worker = one.networks._worker.pid
    more = copy_with(one.interfaces["a"], addresses=("10.0.0.10", "10.0.0.11"))
    await one.networks.ensure_interface(more)
    await one.networks.remove_sandbox("a")
    assert "a" not in (await one.networks.observe()).sandboxes
    assert one.networks._worker.pid == worker, "the worker died of it"
    await one.networks.ensure_sandbox(SandboxSpec("a"))
    await one.networks.ensure_interface(one.interfaces["a"])


@on_a_cloud
async def test_guest_cannot_fill_the_hosts_table_of_neighbours_through_the_router(one: Cloud) -> None:
    """The kernel has one table of 1,024 for all namespaces; when it is full nobody finds his gateway, the host included."""
    await one.network("blue")
    await one.group("blue", "open", OUT_ALL)
    await one.machine("a", "blue", "10.0.0.10", "open")
    await one.machine("gate", "blue", "10.0.0.7", "open", source_check=False)
    strangers = [f"192.0.2.{number}" for number in range(1, 30)]
    ask_by_arp(one, "a", "10.0.0.1", ["10.0.0.10", *strangers])
    assert neighbours(one, "blue", "a") == {"10.0.0.10"}
    ask_by_arp(one, "gate", "10.0.0.1", ["10.0.0.7", *strangers])
    assert neighbours(one, "blue", "gate") == {"10.0.0.7"}


@on_a_cloud
async def test_guest_needs_no_room_in_that_table_to_find_its_router(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "open", OUT_ALL)
    await one.machine("a", "blue", "10.0.0.10", "open")
    netns = ["nsenter", f"--net={one.names.sandbox('a')}"]
    shown = subprocess.run([*netns, "ip", "neigh"], capture_output=True, text=True, check=True).stdout
    assert "10.0.0.1 dev eth0 lladdr 02:67:6d:00:00:01 PERMANENT" in shown


def tracked(one: Cloud) -> int:
    """Flows in the edge's table, which all tenants share."""
    with namespaces.entered(one.names.edge):
        return int(Path("/proc/thread-self/net/stat/nf_conntrack").read_text().splitlines()[1].split()[0], 16)


@on_a_cloud
async def test_what_guests_begin_takes_no_room_in_the_edges_table(one: Cloud) -> None:
    """Two machines of one tenant, by their public addresses, could fill it with open flows for everybody, for days."""
    web = Rule("in", "tcp", (80, 80), cidr=ANYWHERE)
    for name, number in (("blue", 10), ("green", 20)):
        await one.network(name, uplink=True, a=TO_EDGE)
        await one.group(name, "web", OUT_ALL, web)
        await one.machine(name, name, "10.0.0.10", "web", public=one.public(number))
    before = tracked(one)
    with one.listen("green", 80) as server:
        flows = [one.flow("blue", server, one.public(20)) for _ in range(20)]
        assert all(say(near, far) for near, far, _ in flows)
        assert tracked(one) == before
        near, far, _ = one.flow("", server, one.public(20))  # the host's own: only its answers may get back
        assert say(near, far)
        assert tracked(one) == before + 1
        for end in (near, far, *(end for flow in flows for end in flow[:2])):
            end.close()
    assert one.reach("blue", one.public(1), 80) == "silent"
