"""What every implementation of the port Proxies promises. The real one needs root and HAProxy."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gureum.base.sealing import Sealer
from gureum.drivers.haproxy.process import ProxyFolder
from gureum.drivers.haproxy.proxies import HaproxyProxies, clean
from gureum.drivers.networks import namespaces, netlink
from gureum.drivers.networks.network_names import NETNS_DIR
from gureum.drivers.simulated.proxies import SimulatedProxies
from gureum.ports import PortError
from gureum.ports.proxies import FixedResponse, Forward, Group, Listener, Proxies, ProxySpec, Rule, Server

Kill = Callable[[str], None]
Story = Callable[[Proxies, Kill], Awaitable[None]]
Tell = Callable[[Story], None]


class Place:
    net = ""


@pytest.fixture(
    params=[
        "simulated",
        pytest.param(
            "haproxy", marks=[pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
        ),
    ]
)
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tell]:
    if request.param == "simulated":

        async def simulated(story: Story) -> None:
            proxies = SimulatedProxies()
            await story(proxies, proxies.crash)

        yield lambda story: asyncio.run(simulated(story))
        return
    home = "t" + secrets.token_hex(2)
    Place.net = str(NETNS_DIR / f"gm-{home}-s-p")
    namespaces.prepare_netns_dir()
    with namespaces.new_network():
        namespaces.write_sysctls({"ipv4/ip_unprivileged_port_start": "0"})
        with netlink.Netlink() as kernel:
            kernel.send([netlink.set_up(netlink.LOOPBACK)])
        namespaces.pin("/proc/thread-self/ns/net", Path(Place.net))

    def kill(name: str) -> None:
        state = ProxyFolder(home, tmp_path, name).read_state()
        assert state is not None
        os.kill(state.pid, signal.SIGKILL)

    async def real(story: Story) -> None:
        proxies = HaproxyProxies(home, tmp_path, Sealer(tmp_path / "key"))
        try:
            await story(proxies, kill)
        finally:
            await proxies.close()
            await clean(home, tmp_path)

    try:
        yield lambda story: asyncio.run(real(story))
    finally:
        namespaces.unpin(Path(Place.net))


def spec(name: str = "node-1", *groups: Group, port: int = 80, rule: Rule | None = None) -> ProxySpec:
    listener = Listener(port, "HTTP", "arn", (rule or Rule(0, FixedResponse(200, "text/plain", "x")),))
    return ProxySpec(name, Place.net, "127.0.0.1", "app/lb/1", (listener,), groups)


def test_what_is_ensured_is_there_until_it_is_removed(tell: Tell) -> None:
    async def story(proxies: Proxies, kill: Kill) -> None:
        await proxies.ensure(spec("one", port=81))
        await proxies.ensure(spec("two", port=82))
        await proxies.ensure(spec("two", port=82))
        assert await proxies.observe() == {"one", "two"}
        assert set(await proxies.counters()) == {"one", "two"}
        for _ in range(2):
            await proxies.remove("one")
        assert await proxies.observe() == {"two"}

    tell(story)


def test_removing_and_ending_what_is_not_there_is_success(tell: Tell) -> None:
    async def story(proxies: Proxies, kill: Kill) -> None:
        await proxies.remove("never")
        await proxies.end_connections("never", "tg-a", "i-1:80")

    tell(story)


def test_concurrent_wishes_end_with_the_last(tell: Tell) -> None:
    async def story(proxies: Proxies, kill: Kill) -> None:
        groups = [
            Group("tg-a", "a", "HTTP", servers=tuple(Server(f"s{k}", "127.0.0.1", k + 1) for k in range(n)))
            for n in range(8)
        ]
        rule = Rule(0, Forward((("tg-a", 1),)))
        await asyncio.gather(*(proxies.ensure(spec("node-1", group, rule=rule)) for group in groups))
        await proxies.ensure(spec("node-1", groups[-1], rule=rule))
        assert await proxies.observe() == {"node-1"}

    tell(story)


def test_the_death_of_a_process_is_told_and_healed(tell: Tell) -> None:
    async def story(proxies: Proxies, kill: Kill) -> None:
        await proxies.ensure(spec())
        kill("node-1")
        assert await asyncio.wait_for(proxies.died(), 20) == "node-1"
        await proxies.ensure(spec())
        assert await proxies.observe() == {"node-1"}
        await proxies.remove("node-1")

    tell(story)


@pytest.mark.parametrize("name", ["", "a/b", "..", "A", "a b", "x" * 41])
def test_bad_names_are_refused(tell: Tell, name: str) -> None:
    async def story(proxies: Proxies, kill: Kill) -> None:
        with pytest.raises(ValueError, match="name"):
            await proxies.ensure(spec(name))
        with pytest.raises(ValueError, match="name"):
            await proxies.remove(name)

    tell(story)


def test_a_wish_that_cannot_be_is_refused_and_changes_nothing(tell: Tell) -> None:
    async def story(proxies: Proxies, kill: Kill) -> None:
        with pytest.raises(ValueError, match="not there"):
            await proxies.ensure(spec(rule=Rule(0, Forward((("tg-none", 1),)))))
        group = Group("tg-a", "a", "HTTP", preserve_client=True)
        with pytest.raises(PortError):
            await proxies.ensure(spec("node-1", group))
        assert await proxies.observe() == frozenset()

    tell(story)
