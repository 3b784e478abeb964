"""Published ports over the lives of their processes. Needs root; no packet leaves loopback."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gureum.base.processes import is_running, start_ticks
from gureum.drivers.haproxy.publisher import HaproxyPublisher, remove_all
from gureum.drivers.networks import namespaces, netlink
from gureum.drivers.networks.network_names import HomeNames
from gureum.ports.publishing import Publication, Published
from tests.cloud.docker_clients import free_port

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]
DEADLINE_S = 20.0


class Place:
    """A publisher and a network, whose namespace `there` makes, with a server of one word on its loopback."""

    def __init__(self, run: Path) -> None:
        self.run, self.home_id = run, "t" + secrets.token_hex(2)
        self.net = HomeNames(self.home_id, run).network("nw")
        self.server = socket.socket()
        self.port = free_port()
        self.wish = Publication("c-1", "nw", "127.0.0.1", (Published("127.0.0.1", self.port, 80),))

    def publisher(self) -> HaproxyPublisher:
        return HaproxyPublisher(self.home_id, self.run)

    async def there(self) -> None:
        namespaces.prepare_netns_dir()
        with namespaces.new_network():
            with netlink.Netlink() as kernel:
                kernel.send([netlink.set_up(netlink.LOOPBACK)])
            namespaces.pin("/proc/thread-self/ns/net", self.net)
        with namespaces.entered(self.net):
            self.server = socket.create_server(("127.0.0.1", 80))
        self.server.setblocking(False)

    async def reach(self) -> bytes:
        """What a client is told that comes now."""
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), DEADLINE_S)
        inside, _ = await asyncio.wait_for(loop.sock_accept(self.server), DEADLINE_S)
        with inside:
            await loop.sock_sendall(inside, b"here")
        told = await asyncio.wait_for(reader.read(), DEADLINE_S)
        writer.close()
        return told

    @property
    def process(self) -> int:
        return int(json.loads((self.run / "published/c-1/state.json").read_text())["pid"])

    def close(self) -> None:
        remove_all(self.run)
        self.server.close()
        if self.net.exists():
            namespaces.unpin(self.net)


def at_a_place(run: Path, tell: Callable[[Place], Awaitable[None]]) -> None:
    async def there() -> None:
        place = Place(run)
        try:
            await tell(place)
        finally:
            place.close()

    asyncio.run(there())


def test_what_ended_before_its_network_was_there_is_published_when_it_is(tmp_path: Path) -> None:
    async def tell(place: Place) -> None:
        publisher = place.publisher()
        await publisher.publish(place.wish)
        assert await asyncio.wait_for(publisher.died(), DEADLINE_S) == "c-1"
        assert "Cannot open namespace" in (place.run / "published/c-1/said").read_text()
        await place.there()
        await publisher.publish(place.wish)
        assert await place.reach() == b"here"
        await publisher.withdraw("c-1")

    at_a_place(tmp_path, tell)


def test_a_killed_process_is_told_once_and_its_ports_come_back(tmp_path: Path) -> None:
    async def tell(place: Place) -> None:
        await place.there()
        publisher = place.publisher()
        await publisher.publish(place.wish)
        assert await place.reach() == b"here"
        os.kill(place.process, signal.SIGKILL)
        assert await asyncio.wait_for(publisher.died(), DEADLINE_S) == "c-1"
        await publisher.publish(place.wish)
        assert await place.reach() == b"here"
        await publisher.withdraw("c-1")  # its end is nobody's loss
        assert publisher._died.empty()

    at_a_place(tmp_path, tell)


def test_a_new_agent_is_told_of_processes_that_the_old_one_started(tmp_path: Path) -> None:
    async def tell(place: Place) -> None:
        await place.there()
        old = place.publisher()
        await old.publish(place.wish)
        process = place.process
        await old.close()
        new = place.publisher()
        await new.publish(place.wish)
        assert place.process == process
        os.kill(process, signal.SIGKILL)
        assert await asyncio.wait_for(new.died(), DEADLINE_S) == "c-1"
        assert old._died.empty()
        await new.publish(place.wish)
        assert await place.reach() == b"here"

    at_a_place(tmp_path, tell)


def test_what_was_started_by_an_agent_that_was_killed_before_it_noted_it_keeps_no_port(tmp_path: Path) -> None:
    async def tell(place: Place) -> None:
        await place.there()
        old = place.publisher()
        await old.publish(place.wish)
        process = place.process
        await old.close()
        (place.run / "published/c-1/state.json").unlink()
        new = place.publisher()
        await new.publish(place.wish)
        assert place.process != process
        assert await place.reach() == b"here"
        process, ticks = place.process, start_ticks(place.process)
        (place.run / "published/c-1/state.json").unlink()
        remove_all(place.run)
        while is_running(process, ticks):
            await asyncio.sleep(0.01)

    at_a_place(tmp_path, tell)
