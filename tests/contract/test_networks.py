"""What every implementation of the ports Networks and Firewalls promises. The real ones need root."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from gureum.drivers.networks.netns import NetnsNetworks, clean
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.drivers.simulated.network import SimulatedFirewalls, SimulatedNetworks
from gureum.ports import PortError
from gureum.ports.firewalls import Firewalls, Group, PeerLink, Port, Rule, RuleSet
from gureum.ports.networks import (
    EdgeSpec,
    InterfaceSpec,
    Networks,
    NetworkSpec,
    Observed,
    Peer,
    Route,
    SandboxSpec,
    Subnet,
    Translation,
)

NETWORK = NetworkSpec(
    "vpc-1",
    ("10.0.0.0/16",),
    (
        Subnet("subnet-a", "10.0.0.0/24", "10.0.0.1", (Route("0.0.0.0/0", "internet"),)),
        Subnet("subnet-b", "10.0.1.0/24", "10.0.1.1", (Route("192.0.2.0/24", "interface:eni-1"),)),
    ),
    ("10.0.0.2", "169.254.169.253", "169.254.169.254"),
)
INTERFACE = InterfaceSpec(
    "eni-1", "vpc-1", "subnet-a", "02:00:00:00:00:01", ("10.0.0.10", "10.0.0.11"), 24, "10.0.0.1", "i-1"
)
GROUP = Group("sg-1", (Rule("out", "all", cidr="0.0.0.0/0"), Rule("in", "tcp", (22, 22), group="sg-1")))
RULES = RuleSet("vpc-1", NETWORK.cidrs, (GROUP,), (Port("eni-1", INTERFACE.addresses, ("sg-1",)),))

Story = Callable[[Networks, Firewalls], Awaitable[None]]


@pytest.fixture(params=["simulated", pytest.param("netns", marks=pytest.mark.machine)])
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Story], None]]:
    """Runs a story on a pair of drivers."""
    if request.param == "netns" and os.geteuid() != 0:
        pytest.skip("namespaces need root")

    async def run(story: Story) -> None:
        home_id = "c" + secrets.token_hex(8)[:5]
        real = request.param == "netns"
        networks: Networks = NetnsNetworks(home_id, tmp_path) if real else (simulated := SimulatedNetworks())
        firewalls: Firewalls = NftFirewalls(home_id) if real else SimulatedFirewalls(simulated)
        try:
            await asyncio.wait_for(story(networks, firewalls), timeout=60)
        finally:
            await networks.close()
            await firewalls.close()
            if real:
                await clean(home_id, tmp_path)

    return lambda story: asyncio.run(run(story))  # type: ignore[return-value]


def test_what_is_made_is_observed_and_what_is_removed_is_not(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        nothing = Observed(False, frozenset(), frozenset(), frozenset())
        assert await networks.observe() == nothing
        for _ in range(2):  # twice is as once
            await networks.ensure_network(NETWORK)
            await firewalls.apply(RULES)
            await networks.ensure_sandbox(SandboxSpec("i-1"))
            await networks.ensure_interface(INTERFACE)
        all_ = Observed(False, frozenset({"vpc-1"}), frozenset({"i-1"}), frozenset({"eni-1"}))
        assert await networks.observe() == all_
        for _ in range(2):
            await networks.remove_interface("eni-1")
            await networks.remove_sandbox("i-1")
            await firewalls.forget("vpc-1")
            await networks.remove_network("vpc-1")
        assert await networks.observe() == nothing

    tell(story)


def test_counters_are_of_the_attached_interfaces(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        assert await networks.counters() == {}
        await networks.ensure_network(NETWORK)
        await networks.ensure_sandbox(SandboxSpec("i-1"))
        await networks.ensure_interface(INTERFACE)
        (name, counted), *others = (await networks.counters()).items()
        assert (name, others) == ("eni-1", [])
        numbers = (counted.in_bytes, counted.in_packets, counted.out_bytes, counted.out_packets)
        assert all(number >= 0 for number in numbers)
        assert counted.translation is None
        await networks.remove_interface("eni-1")
        assert await networks.counters() == {}

    tell(story)


def test_interface_waits_for_network_and_sandbox(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        with pytest.raises(PortError, match="network vpc-1 does not exist"):
            await networks.ensure_interface(INTERFACE)
        await networks.ensure_network(NETWORK)
        with pytest.raises(PortError, match="sandbox i-1 does not exist"):
            await networks.ensure_interface(INTERFACE)
        await networks.ensure_sandbox(SandboxSpec("i-1"))
        await networks.ensure_interface(INTERFACE)

    tell(story)


def test_detached_interface_is_not_on_the_machine(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        await networks.ensure_network(NETWORK)
        await networks.ensure_sandbox(SandboxSpec("i-1"))
        await networks.ensure_interface(INTERFACE)
        await networks.ensure_interface(msgspec.structs.replace(INTERFACE, sandbox=""))
        assert (await networks.observe()).interfaces == frozenset()
        await networks.ensure_interface(INTERFACE)
        assert (await networks.observe()).interfaces == {"eni-1"}

    tell(story)


def test_interface_goes_with_its_sandbox(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        await networks.ensure_network(NETWORK)
        await networks.ensure_sandbox(SandboxSpec("i-1"))
        await networks.ensure_interface(INTERFACE)
        await networks.remove_sandbox("i-1")
        assert (await networks.observe()).interfaces == frozenset()
        await networks.ensure_sandbox(SandboxSpec("i-1"))
        await networks.ensure_interface(INTERFACE)
        assert (await networks.observe()).interfaces == {"eni-1"}

    tell(story)


def test_prefixes_come_and_go_with_their_interface(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        await networks.ensure_network(NETWORK)
        await networks.ensure_sandbox(SandboxSpec("i-1"))
        for prefixes in (("10.0.0.32/28", "10.0.0.64/28"), ("10.0.0.64/28",), ()):
            for _ in range(2):
                await networks.ensure_interface(msgspec.structs.replace(INTERFACE, prefixes=prefixes))
            assert (await networks.observe()).interfaces == {"eni-1"}
        await networks.remove_interface("eni-1")
        assert (await networks.observe()).interfaces == frozenset()

    tell(story)


TRANSLATOR = SandboxSpec("nat-1", guest=False, translation=Translation(("10.0.0.20",)))


def test_a_translator_is_a_sandbox_without_users(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        await networks.ensure_network(NETWORK)
        for _ in range(2):
            paths = await networks.ensure_sandbox(TRANSLATOR)
            assert (paths.user, paths.uid_base) == ("", 0)
        more = Translation(("10.0.0.20", "10.0.0.21"), idle_s=60)
        assert await networks.ensure_sandbox(msgspec.structs.replace(TRANSLATOR, translation=more)) == paths
        spec = msgspec.structs.replace(
            INTERFACE, name="eni-nat", addresses=more.addresses, sandbox="nat-1", source_check=False
        )
        for _ in range(2):
            await networks.ensure_interface(spec)
        observed = await networks.observe()
        assert (observed.sandboxes, observed.interfaces) == ({"nat-1"}, {"eni-nat"})
        for _ in range(2):
            await networks.remove_sandbox("nat-1")
        observed = await networks.observe()
        assert (observed.sandboxes, observed.interfaces) == (frozenset(), frozenset())

    tell(story)


def test_a_translator_is_no_guest_and_has_an_address() -> None:
    with pytest.raises(ValueError, match="guest"):
        SandboxSpec("nat-1", translation=Translation(("10.0.0.20",)))
    with pytest.raises(ValueError, match="address"):
        Translation(())


def test_a_peering_may_be_wished_before_the_other_network_is_there(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        one = msgspec.structs.replace(NETWORK, peers=(Peer("pcx-1", "vpc-2", ("10.1.0.0/16",)),))
        other = NetworkSpec(
            "vpc-2",
            ("10.1.0.0/16",),
            (Subnet("subnet-c", "10.1.0.0/24", "10.1.0.1", (Route("10.0.0.0/16", "peer:pcx-1"),)),),
            peers=(Peer("pcx-1", "vpc-1", ("10.0.0.0/16",)),),
        )
        for _ in range(2):
            for spec in (one, other):
                await networks.ensure_network(spec)
                peers = tuple(PeerLink(peer.name, peer.cidrs) for peer in spec.peers)
                await firewalls.apply(RuleSet(spec.name, spec.cidrs, peers=peers))
        assert (await networks.observe()).networks == {"vpc-1", "vpc-2"}
        # Its end is either side's, and the networks stay; so does the one when the other goes.
        await networks.ensure_network(NETWORK)
        await networks.ensure_network(one)
        await networks.remove_network("vpc-2")
        await networks.ensure_network(one)
        assert (await networks.observe()).networks == {"vpc-1"}

    tell(story)


def test_uplink_waits_for_the_edge(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        with pytest.raises(PortError, match="edge"):
            await networks.ensure_network(msgspec.structs.replace(NETWORK, uplink=True))

    tell(story)


def test_edge_comes_and_goes(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        for _ in range(2):
            await networks.ensure_edge(EdgeSpec("240.255.255.240/28"))
        assert (await networks.observe()).edge
        for _ in range(2):
            await networks.remove_edge()
        assert not (await networks.observe()).edge

    tell(story)


def test_guest_has_a_user_namespace_and_others_have_none(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        guest = await networks.ensure_sandbox(SandboxSpec("guest"))
        plain = await networks.ensure_sandbox(SandboxSpec("plain", guest=False))
        assert guest.user
        assert guest.uid_base >= 1_000_000_000
        assert (plain.user, plain.uid_base) == ("", 0)
        assert guest.net != plain.net
        assert await networks.ensure_sandbox(SandboxSpec("guest")) == guest

    tell(story)


def test_rules_wait_for_their_network(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        with pytest.raises(PortError, match="network vpc-1 does not exist"):
            await firewalls.apply(RULES)
        await networks.ensure_network(NETWORK)
        await firewalls.apply(RULES)

    tell(story)


def test_sockets_open_where_they_are_asked_for(tell: Callable[[Story], None]) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        await networks.ensure_network(NETWORK)
        with networks.open_socket("vpc-1", "10.0.0.2", 53, "udp") as names:
            assert names.gettimeout() == 0
        with networks.open_socket("", "127.0.0.1", 0, "tcp") as host:
            assert host.getsockname()[0] == "127.0.0.1"
        with pytest.raises(PortError):
            networks.open_socket("vpc-2", "10.0.0.2", 53, "udp")
        with pytest.raises(PortError):
            networks.open_in_sandbox("i-1", "10.0.0.10", 80)
        await networks.ensure_sandbox(SandboxSpec("i-1"))
        await networks.ensure_interface(INTERFACE)
        with networks.open_in_sandbox("i-1", "10.0.0.10", 80) as inside:
            assert inside.gettimeout() == 0

    tell(story)


@pytest.mark.parametrize("name", ["", "a/b", "..", "A", "x" * 41, "é"])
def test_names_that_could_lead_elsewhere_are_refused(tell: Callable[[Story], None], name: str) -> None:
    async def story(networks: Networks, firewalls: Firewalls) -> None:
        with pytest.raises(ValueError, match="name"):
            await networks.ensure_network(msgspec.structs.replace(NETWORK, name=name))
        with pytest.raises(ValueError, match="name"):
            await networks.ensure_sandbox(SandboxSpec(name))
        with pytest.raises(ValueError, match="name"):
            await networks.remove_interface(name)
        with pytest.raises(ValueError, match="name"):
            await firewalls.apply(msgspec.structs.replace(RULES, network=name))

    tell(story)
