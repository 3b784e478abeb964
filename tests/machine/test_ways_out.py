"""What a way out does to the host, and that all of it is put back. The host is a namespace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.edges import Edge
from gureum.drivers.networks.netns import clean
from gureum.drivers.networks.network_names import HomeNames
from gureum.ports.networks import EdgeSpec, WayOut
from tests.internet import HOST, Internet, internet

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
POOLS = ("198.18.16.0/20", "198.18.32.0/20")
KEYS = Path("/proc/sys/net/ipv4")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Internet]:
    with internet(tmp_path) as made:
        namespaces.prepare_netns_dir()
        yield made


@contextlib.contextmanager
def home(folder: Path) -> Iterator[HomeNames]:
    names = HomeNames("".join(secrets.choice("abcdefgh") for _ in range(5)), folder / "run" / "home")
    try:
        yield names
    finally:
        Edge(names).remove()


def forwarding(link: str) -> str:
    return (KEYS / "conf" / link / "forwarding").read_text().strip()


def test_only_links_that_need_it_forward_and_all_is_put_back(host: Internet, tmp_path: Path) -> None:
    before = host.state()
    with home(tmp_path) as names:
        edge = Edge(names)
        for way_out, links in ((WayOut(), "11"), (WayOut("aside"), "01"), (None, "00"), (WayOut("world"), "10")):
            for _ in range(2):
                edge.ensure(EdgeSpec(POOLS[0], way_out))
            assert forwarding("world") + forwarding("aside") == links
            assert forwarding(names.host_link) == ("0" if way_out is None else "1")
            assert (KEYS / "ip_forward").read_text().strip() == "0"
            assert (f"gureum-{names.home_id}" in host.state()) is (way_out is not None)
        asyncio.run(clean(names.home_id, tmp_path / "run" / "home"))  # a lost home's, by its names alone
        assert host.state() == before
        assert list((tmp_path / "run" / "forwarding").iterdir()) == []


def test_homes_share_a_link_and_the_last_puts_it_back(host: Internet, tmp_path: Path) -> None:
    with home(tmp_path) as first, home(tmp_path) as second:
        for names, pool in zip((first, second), POOLS, strict=True):
            Edge(names).ensure(EdgeSpec(pool, WayOut()))
        Edge(first).remove()
        assert forwarding("world") == "1"
        Edge(second).remove()
        assert forwarding("world") == "0"


def test_what_others_have_switched_on_stays_on(host: Internet, tmp_path: Path) -> None:
    with home(tmp_path) as names:
        edge = Edge(names)
        namespaces.write_sysctls({"ipv4/conf/world/forwarding": "1"})
        edge.ensure(EdgeSpec(POOLS[0], WayOut()))
        edge.remove()
        assert forwarding("world") == "1"
        namespaces.write_sysctls({"ipv4/conf/world/forwarding": "0"})
        edge.ensure(EdgeSpec(POOLS[0], WayOut()))
        namespaces.write_sysctls({"ipv4/ip_forward": "1"})  # the host becomes a router meanwhile
        edge.remove()
        assert forwarding("world") == "1"


def test_what_the_host_did_not_forward_it_does_not_forward_now(host: Internet, tmp_path: Path) -> None:
    far = "198.51.100.9"
    subprocess.run(["ip", "-n", host.world.name, "route", "add", f"{far}/32", "via", HOST], check=True)
    with home(tmp_path) as names:
        Edge(names).ensure(EdgeSpec(POOLS[0], WayOut()))
        for address in (far, "198.18.16.77"):
            with namespaces.entered(host.world), socket.socket(type=socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", (address, 9))
        table = host.in_host("nft", "list", "table", "ip", f"gureum-{names.home_id}")
        (guard,) = (line for line in table.splitlines() if '"world"' in line and "drop" in line)
        (inbound,) = (line for line in table.splitlines() if f'oifname "{names.host_link}" counter' in line)
        assert "packets 1 " in guard
        assert "packets 1 " in inbound
