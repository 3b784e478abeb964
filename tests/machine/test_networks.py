"""The promises of networks and firewalls, kept on packets: real namespaces, real rules. Needs root."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gureum.drivers.networks import namespaces, netlink
from gureum.drivers.networks.netns import NetnsNetworks, clean
from gureum.drivers.networks.network_names import UPLINK, interface_link, network_link
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports import PortError
from gureum.ports.firewalls import Port, Rule
from gureum.ports.networks import EdgeSpec, Route, SandboxSpec
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, copy_with, on_a_cloud, remains, say

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

WEB = Rule("in", "tcp", (80, 80), cidr=ANYWHERE)


# --- isolation ---


@on_a_cloud
async def test_networks_with_the_same_cidr_do_not_see_each_other(one: Cloud) -> None:
    for name in ("blue", "green"):
        await one.network(name)
        await one.group(name, "open", OUT_ALL, Rule("in", "all", cidr=ANYWHERE))
    await one.machine("blue-1", "blue", "10.0.0.10", "open")
    await one.machine("green-1", "green", "10.0.0.10", "open")
    await one.machine("green-2", "green", "10.0.0.11", "open")
    with one.listen("green-1", 80), one.listen("green-2", 80):
        assert one.reach("green-1", "10.0.0.11", 80) == "open"
        assert one.reach("blue-1", "10.0.0.11", 80) != "open"


@on_a_cloud
async def test_address_that_nobody_has_stays_inside(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "open", OUT_ALL)
    await one.machine("m", "blue", "10.0.0.10", "open", public=one.public(10))
    assert one.reach("m", "10.0.1.77", 80) in ("unreachable", "silent")
    with namespaces.entered(one.names.edge), netlink.Netlink() as edge:
        assert not [route for route in edge.routes() if route.destination.startswith("10.")]


@on_a_cloud
async def test_before_the_first_rules_nothing_passes(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "open", OUT_ALL, Rule("in", "all", cidr=ANYWHERE))
    # A second network of which the firewall has not been told.
    spec = one.specs["blue"]
    await one.networks.ensure_network(spec_named(spec, "bare"))
    for number in (10, 11):
        await one.machine(f"m{number}", "blue", f"10.0.0.{number}", "open")
        await one.networks.ensure_interface(copy_with(one.interfaces[f"m{number}"], network="bare"))
    with one.listen("m11", 80):
        assert one.reach("m10", "10.0.0.11", 80) != "open"


def spec_named(spec: Any, name: str) -> Any:
    return copy_with(spec, name=name)


# --- security groups ---


@on_a_cloud
async def test_same_and_other_subnet_obey_the_groups(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "client", OUT_ALL)
    await one.group("blue", "web", WEB)
    await one.machine("client", "blue", "10.0.0.10", "client")
    for name, address in (("near", "10.0.0.11"), ("far", "10.0.1.11")):
        await one.machine(name, "blue", address, "web")
        with one.listen(name, 80), one.listen(name, 81):
            assert one.reach("client", address, 80) == "open"
            # Dropped, not refused: somebody listens at 81 and still nothing comes back.
            assert one.reach("client", address, 81) == "silent"


@on_a_cloud
async def test_open_port_without_a_listener_is_refused_by_the_machine(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web")
    await one.machine("b", "blue", "10.0.0.11", "web")
    assert one.reach("a", "10.0.0.11", 80) == "refused"


@on_a_cloud
async def test_senders_egress_and_receivers_ingress_both_count(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "mute")
    await one.group("blue", "picky", Rule("out", "tcp", (80, 80), cidr="10.0.0.11/32"))
    await one.group("blue", "web", Rule("in", "tcp", (80, 81), cidr=ANYWHERE))
    await one.machine("mute", "blue", "10.0.0.9", "mute")
    await one.machine("picky", "blue", "10.0.0.10", "picky")
    await one.machine("one", "blue", "10.0.0.11", "web")
    await one.machine("two", "blue", "10.0.0.12", "web")
    with one.listen("one", 80), one.listen("one", 81), one.listen("two", 80):
        assert one.reach("picky", "10.0.0.11", 80) == "open"
        assert one.reach("picky", "10.0.0.11", 81) == "silent"
        assert one.reach("picky", "10.0.0.12", 80) == "silent"
        assert one.reach("mute", "10.0.0.11", 80) == "silent"


@on_a_cloud
async def test_group_reference_follows_its_members(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "client", OUT_ALL)
    await one.group("blue", "other", OUT_ALL)
    await one.group("blue", "web", Rule("in", "tcp", (80, 80), group="client"))
    await one.machine("server", "blue", "10.0.1.11", "web")
    await one.machine("a", "blue", "10.0.0.10", "client")
    await one.machine("b", "blue", "10.0.0.11", "other")
    with one.listen("server", 80):
        assert one.reach("a", "10.0.1.11", 80) == "open"
        assert one.reach("b", "10.0.1.11", 80) == "silent"
        await one.machine("b", "blue", "10.0.0.11", "other", "client")
        assert one.reach("b", "10.0.1.11", 80) == "open"
        await one.machine("a", "blue", "10.0.0.10", "other")
        assert one.reach("a", "10.0.1.11", 80) == "silent"


@on_a_cloud
async def test_open_flow_lives_on_when_its_rule_goes(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web")
    await one.machine("b", "blue", "10.0.0.11", "web")
    with one.listen("b", 80) as server:
        near, far, seen = one.flow("a", server, "10.0.0.11")
        assert seen == "10.0.0.10"
        await one.group("blue", "web", OUT_ALL)
        assert one.reach("a", "10.0.0.11", 80) == "silent"
        assert say(near, far)
        near.close(), far.close()


async def bad_and_victim(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "open", OUT_ALL, Rule("in", "all", cidr=ANYWHERE))
    await one.machine("bad", "blue", "10.0.0.10", "open")
    await one.machine("victim", "blue", "10.0.0.11", "open")


def heard_first(server: socket.socket, raw: socket.socket) -> bytes:
    """What the victim hears first of a spoofed packet and an honest one, which is sent later."""
    raw.sendto(udp_packet("10.0.0.99", "10.0.0.11", b"spoofed"), ("10.0.0.11", 0))
    raw.sendto(udp_packet("10.0.0.10", "10.0.0.11", b"honest"), ("10.0.0.11", 0))
    return server.recv(100)


@on_a_cloud
async def test_spoofed_source_is_dropped_unless_the_check_is_off(one: Cloud) -> None:
    await bad_and_victim(one)
    with udp_server(one, "victim") as server, raw_sender(one, "bad") as raw:
        assert heard_first(server, raw) == b"honest"
        await one.machine("bad", "blue", "10.0.0.10", "open", source_check=False)
        raw.sendto(udp_packet("10.0.0.99", "10.0.0.11", b"spoofed"), ("10.0.0.11", 0))
        assert server.recv(100) == b"spoofed"


@on_a_cloud
async def test_links_that_an_older_version_made_have_no_number_and_are_known_by_name(one: Cloud) -> None:
    await bad_and_victim(one)
    for name in ("bad", "victim"):
        command = ("ip", "link", "set", interface_link(name), "group", "0")
        subprocess.run(("nsenter", f"--net={one.names.network('blue')}", *command), check=True)
    with udp_server(one, "victim") as server, raw_sender(one, "bad") as raw:
        assert heard_first(server, raw) == b"honest"


@on_a_cloud
async def test_a_network_that_outgrows_its_sets_keeps_its_flows_and_its_rules(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web")
    await one.machine("b", "blue", "10.0.0.11", "web")
    few = one.rules("blue")
    more = tuple(Port(f"further-{n}", (f"10.0.1.{n + 10}",), ("web",)) for n in range(64))

    def room() -> str:
        command = ("nft", "list", "map", "inet", "gureum", "sources-by-number")
        listed = subprocess.run(
            ("nsenter", f"--net={one.names.network('blue')}", *command), check=True, capture_output=True, text=True
        )
        return next(line.strip() for line in listed.stdout.splitlines() if line.strip().startswith("size"))

    with one.listen("b", 80) as server:
        near, far, _ = one.flow("a", server, "10.0.0.11")
        assert room() == "size 64"
        for rules in (msgspec.structs.replace(few, ports=(*few.ports, *more)), few):
            await one.firewalls.apply(rules)
            assert room() == "size 512"
            assert say(near, far)
            assert one.reach("a", "10.0.0.11", 80) == "open"
            assert one.reach("a", "10.0.0.11", 81) == "silent"
        near.close(), far.close()


@on_a_cloud
async def test_router_answers_names_and_metadata_only(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "mute")
    await one.machine("m", "blue", "10.0.0.10", "mute")
    open_socket = one.networks.open_socket
    with (
        open_socket("blue", "169.254.169.254", 80, "tcp"),
        open_socket("blue", "10.0.0.2", 53, "tcp"),
        open_socket("blue", "169.254.169.253", 53, "udp") as resolver,
        open_socket("blue", "10.0.0.1", 22, "tcp"),
        open_socket("blue", "169.254.169.254", 81, "tcp"),
    ):
        # Also for a machine whose groups allow nothing: groups do not filter these (AWS: VPC DNS, instance metadata).
        assert one.reach("m", "169.254.169.254", 80) == "open"
        assert one.reach("m", "10.0.0.2", 53) == "open"
        assert one.reach("m", "10.0.0.1", 22) == "silent"
        assert one.reach("m", "169.254.169.254", 81) == "silent"
        with namespaces.entered(one.names.sandbox("m")):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.settimeout(5)
            client.sendto(b"who", ("169.254.169.253", 53))
            resolver.settimeout(5)
            question, peer = resolver.recvfrom(100)
            resolver.sendto(b"me", peer)
            assert (question, peer[0], client.recv(100)) == (b"who", "10.0.0.10", b"me")


# --- public addresses ---


@on_a_cloud
async def test_public_address_needs_mapping_route_and_uplink(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("mapped", "blue", "10.0.0.10", "web", public=one.public(10))
    await one.machine("private", "blue", "10.0.0.11", "web")
    await one.machine("routeless", "blue", "10.0.1.10", "web", public=one.public(12))
    with one.listen("mapped", 80) as server, one.listen("mapped", 81), one.listen("routeless", 80):
        near, far, seen = one.flow("", server, one.public(10))
        assert seen == one.public(1)  # the host's own
        assert say(near, far)
        near.close(), far.close()
        assert one.reach("", one.public(10), 81) == "silent"
        assert one.reach("", one.public(12), 80) == "silent"
        assert one.reach("", one.public(13), 80) == "silent"
        # Without the uplink nothing leads there; with it again all is as before.
        await one.network("blue", a=TO_EDGE)
        assert one.reach("", one.public(10), 80) == "silent"
        await one.network("blue", uplink=True, a=TO_EDGE)
        assert one.reach("", one.public(10), 80) == "open"


@on_a_cloud
async def test_public_address_within_its_network_shows_the_public_source(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web", public=one.public(10))
    await one.machine("b", "blue", "10.0.0.11", "web", public=one.public(11))
    await one.machine("private", "blue", "10.0.0.12", "web")
    with one.listen("b", 80) as server:
        near, far, seen = one.flow("a", server, one.public(11))
        assert seen == one.public(10)
        assert say(near, far)
        near.close(), far.close()
        # No mapping, no way out, not even to a neighbour's public address.
        assert one.reach("private", one.public(11), 80) == "silent"


@on_a_cloud
async def test_two_networks_meet_only_by_public_addresses(one: Cloud) -> None:
    for name, number in (("blue", 10), ("green", 20)):
        await one.network(name, uplink=True, a=TO_EDGE)
        await one.group(name, "web", OUT_ALL, WEB)
        await one.machine(name, name, "10.0.0.10", "web", public=one.public(number))
    with one.listen("green", 80) as server:
        near, far, seen = one.flow("blue", server, one.public(20))
        assert seen == one.public(10)
        assert say(near, far)
        near.close(), far.close()


@on_a_cloud
async def test_public_address_moves_to_another_machine(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.network("green", uplink=True, a=TO_EDGE)
    for name in ("blue", "green"):
        await one.group(name, "web", OUT_ALL, WEB)
        await one.machine(name, name, "10.0.0.10", "web", public=one.public(10) if name == "blue" else "")
    with one.listen("green", 80):
        assert one.reach("", one.public(10), 80) == "refused"  # blue's, where nobody listens
        await one.machine("green", "green", "10.0.0.10", "web", public=one.public(10))
        await one.machine("blue", "blue", "10.0.0.10", "web")
        assert one.reach("", one.public(10), 80) == "open"


@on_a_cloud
async def test_flows_end_when_their_public_address_moves(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("old", "blue", "10.0.0.10", "web", public=one.public(10))
    await one.machine("new", "blue", "10.0.0.11", "web", public=one.public(11))
    with one.listen("old", 80) as server, one.listen("new", 80) as other:
        inbound, inbound_far, _ = one.flow("", server, one.public(10))
        outbound, outbound_far, _ = one.flow("old", other, one.public(11))
        assert say(inbound, inbound_far)
        assert say(outbound, outbound_far)
        one.interfaces["old"] = copy_with(one.interfaces["old"], public=())
        await one.machine("new", "blue", "10.0.0.11", "web", public=one.public(10))
        await one.networks.ensure_interface(one.interfaces["old"])
        inbound.sendall(b"who are you?")
        with pytest.raises(ConnectionResetError):  # the new owner knows nothing of the old one's flow
            inbound.recv(100)
        for end in (inbound, inbound_far, outbound, outbound_far):
            end.close()


@on_a_cloud
async def test_host_is_not_reachable_from_a_machine(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "open", OUT_ALL)
    await one.machine("m", "blue", "10.0.0.10", "open", public=one.public(10))
    with one.networks.open_socket("", one.public(1), 8080, "tcp"):
        assert one.reach("", one.public(1), 8080) == "open"
        assert one.reach("m", one.public(1), 8080) == "silent"


# --- routes ---


@on_a_cloud
async def test_route_to_an_interface_leads_through_it(one: Cloud) -> None:
    await one.network("blue", b=(Route("192.0.2.0/24", "interface:gate"),))
    await one.group("blue", "open", OUT_ALL, Rule("in", "all", cidr=ANYWHERE))
    await one.machine("client", "blue", "10.0.1.10", "open")
    await one.machine("gate", "blue", "10.0.0.10", "open", source_check=False)
    with namespaces.entered(one.names.sandbox("gate")), netlink.Netlink() as kernel:
        kernel.send([netlink.add_address(netlink.LOOPBACK, "192.0.2.7", 32)])
    with one.listen("gate", 80) as server:
        near, far, seen = one.flow("client", server, "192.0.2.7")
        assert seen == "10.0.1.10"
        assert say(near, far)
        near.close(), far.close()
        # A detached gate is a blackhole, and leads again when it is back.
        await one.machine("gate", "blue", "10.0.0.10", "open", source_check=False, sandbox="")
        assert one.reach("client", "192.0.2.7", 80) != "open"
        await one.machine("gate", "blue", "10.0.0.10", "open", source_check=False)
        assert one.reach("client", "192.0.2.7", 80) == "open"


@on_a_cloud
async def test_blackhole_route_swallows(one: Cloud) -> None:
    await one.network("blue", a=(Route("10.0.1.0/24", "blackhole"),))
    await one.group("blue", "open", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "open")
    await one.machine("b", "blue", "10.0.1.10", "open")
    with one.listen("b", 80):
        assert one.reach("a", "10.0.1.10", 80) != "open"
        await one.network("blue")
        assert one.reach("a", "10.0.1.10", 80) == "open"


# --- life of interfaces and sandboxes ---


@on_a_cloud
async def test_interface_moves_between_sandboxes(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("client", "blue", "10.0.0.9", "web")
    await one.machine("eni", "blue", "10.0.0.10", "web", sandbox="first")
    with one.listen("first", 80):
        assert one.reach("client", "10.0.0.10", 80) == "open"
        await one.machine("eni", "blue", "10.0.0.10", "web", sandbox="")
        assert "eni" not in (await one.networks.observe()).interfaces
        assert one.reach("client", "10.0.0.10", 80) != "open"
    await one.machine("eni", "blue", "10.0.0.10", "web", sandbox="second")
    with one.listen("second", 80):
        assert one.reach("client", "10.0.0.10", 80) == "open"


@on_a_cloud
async def test_secondary_addresses_come_and_go(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("client", "blue", "10.0.0.9", "web")
    await one.machine("m", "blue", "10.0.0.10", "web", more=("10.0.0.20", "10.0.0.21"))
    with one.listen("m", 80):
        assert [one.reach("client", f"10.0.0.{n}", 80) for n in (10, 20, 21)] == ["open"] * 3
        await one.machine("m", "blue", "10.0.0.10", "web", more=("10.0.0.21",))
        assert one.reach("client", "10.0.0.20", 80) != "open"
        assert [one.reach("client", f"10.0.0.{n}", 80) for n in (10, 21)] == ["open"] * 2


@on_a_cloud
async def test_further_interfaces_of_a_machine_answer_by_themselves(one: Cloud) -> None:
    """Also in one subnet with the first: answers leave by the interface whose address they bear, others' are dropped."""
    await one.network("blue", uplink=True, a=TO_EDGE, b=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("near", "blue", "10.0.0.9", "web")
    await one.machine("far", "blue", "10.0.2.9", "web")
    await one.machine("m", "blue", "10.0.0.10", "web")
    await one.machine("m1", "blue", "10.0.0.11", "web", sandbox="m", device="eth1", public=one.public(11))
    await one.machine("m2", "blue", "10.0.1.10", "web", sandbox="m", device="eth2", more=("10.0.1.20",))
    addresses = ("10.0.0.10", "10.0.0.11", "10.0.1.10", "10.0.1.20")
    with one.listen("m", 80):
        for client in ("near", "far"):
            assert [one.reach(client, address, 80) for address in addresses] == ["open"] * 4
        assert one.reach("", one.public(11), 80) == "open"
        # The same addresses in other places: nothing is left of where they were.
        for name in ("m1", "m2"):
            await one.networks.remove_interface(name)
        await one.machine("m2", "blue", "10.0.1.10", "web", sandbox="m", device="eth1")
        await one.machine("m1", "blue", "10.0.0.11", "web", sandbox="m", device="eth2")
        assert [one.reach("far", address, 80) for address in addresses[:3]] == ["open"] * 3


@on_a_cloud
async def test_interface_that_a_guest_deleted_comes_back(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("client", "blue", "10.0.0.9", "web")
    await one.machine("m", "blue", "10.0.0.10", "web")
    with namespaces.entered(one.names.sandbox("m")), netlink.Netlink() as kernel:
        link = kernel.link("eth0")
        assert link is not None
        kernel.send([netlink.delete_link(link.index)])
    assert "m" not in (await one.networks.observe()).interfaces
    await one.networks.ensure_interface(one.interfaces["m"])
    with one.listen("m", 80):
        assert one.reach("client", "10.0.0.10", 80) == "open"


@on_a_cloud
async def test_sandbox_outlives_its_processes_and_is_owned_by_the_guest(one: Cloud) -> None:
    paths = await one.networks.ensure_sandbox(SandboxSpec("m"))
    pid = os.fork()
    if pid == 0:  # root of the guest: powerful in its own network, nobody on the host
        code = 1
        try:
            user, net = os.open(paths.user, os.O_RDONLY), os.open(paths.net, os.O_RDONLY)
            namespaces.setns(user, namespaces.CLONE_NEWUSER)
            namespaces.setns(net)
            os.setgroups([])
            os.setgid(0)
            os.setuid(0)
            with netlink.Netlink() as kernel:
                kernel.send([netlink.add_address(netlink.LOOPBACK, "192.0.2.1", 32)])
            try:
                os.open("/etc/shadow", os.O_RDONLY)
            except PermissionError:
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]) == 0
    assert paths.uid_base >= 1_000_000_000
    # The process is gone, the namespace with its address is not.
    with namespaces.entered(Path(paths.net)), netlink.Netlink() as kernel:
        assert ("192.0.2.1", 32) in kernel.addresses(netlink.LOOPBACK)
    assert await one.networks.ensure_sandbox(SandboxSpec("m")) == paths


# --- restarts ---


@on_a_cloud
async def test_second_driver_adopts_without_disturbing_flows(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE, b=(Route("192.0.2.0/24", "interface:gate"),))
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web", public=one.public(10))
    await one.machine("b", "blue", "10.0.1.10", "web", more=("10.0.1.20",))
    await one.machine("gate", "blue", "10.0.0.7", "web", source_check=False)
    before = await one.networks.observe()
    routes = router_routes(one, "blue")
    with one.listen("a", 80) as server:
        inside, inside_far, _ = one.flow("b", server, "10.0.0.10")
        outside, outside_far, _ = one.flow("", server, one.public(10))
        await one.networks.close()
        await one.firewalls.close()
        one.networks, one.firewalls = NetnsNetworks(one.home_id, one.run_dir), NftFirewalls(one.home_id)
        assert await one.networks.observe() == before
        # Whatever the order in which the agent says again what it wishes, nothing changes.
        await one.networks.ensure_interface(one.interfaces["b"])
        assert router_routes(one, "blue") == routes
        await one.networks.ensure_network(one.specs["blue"])
        assert router_routes(one, "blue") == routes
        for name in ("a", "gate"):
            await one.networks.ensure_interface(one.interfaces[name])
        await one.enforce("blue")
        assert router_routes(one, "blue") == routes
        assert say(inside, inside_far)
        assert say(outside, outside_far)
        for end in (inside, inside_far, outside, outside_far):
            end.close()
        # A public address that was given up while nobody looked goes.
        await one.machine("a", "blue", "10.0.0.10", "web")
        assert one.reach("", one.public(10), 80) == "silent"


@on_a_cloud
async def test_dead_workers_are_replaced(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web")
    for worker in (one.networks._worker, one.firewalls._worker):
        pid = worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    await one.machine("b", "blue", "10.0.0.11", "web")
    with one.listen("b", 80):
        assert one.reach("a", "10.0.0.11", 80) == "open"


@on_a_cloud
async def test_rules_are_whole_after_a_worker_died_in_the_middle(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web")
    await one.machine("b", "blue", "10.0.0.11", "web")
    pid = one.firewalls._worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # it is asked and never answers
    asking = asyncio.create_task(one.group("blue", "web", OUT_ALL, Rule("in", "tcp", (81, 81), cidr=ANYWHERE)))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    await asking
    with one.listen("b", 80), one.listen("b", 81):
        assert one.reach("a", "10.0.0.11", 81) == "open"
        assert one.reach("a", "10.0.0.11", 80) == "silent"


@on_a_cloud
async def test_edge_made_anew_serves_the_networks_again(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("m", "blue", "10.0.0.10", "web", public=one.public(10))
    await one.networks.remove_edge()
    await one.networks.ensure_edge(EdgeSpec(one.pool))
    await one.networks.ensure_network(one.specs["blue"])
    with one.listen("m", 80):
        assert one.reach("", one.public(10), 80) == "open"


@on_a_cloud
async def test_uplink_into_an_edge_that_is_still_going_away_is_made_anew(one: Cloud) -> None:
    """The kernel takes a namespace down in its own time; the old link is there until then."""
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("m", "blue", "10.0.0.10", "web", public=one.public(10))
    with one.names.edge.open():
        await one.networks.remove_edge()
        await one.networks.ensure_edge(EdgeSpec(one.pool))
        await one.networks.ensure_network(one.specs["blue"])
        with one.listen("m", 80):
            assert one.reach("", one.public(10), 80) == "open"


@on_a_cloud
async def test_uplink_that_a_killed_worker_left_half_made_is_made_anew(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("m", "blue", "10.0.0.10", "web", public=one.public(10))
    with namespaces.entered(one.names.network("blue")), netlink.Netlink() as router:
        link = router.link(UPLINK)
        assert link is not None
        router.send([netlink.delete_link(link.index)])
        with one.names.edge.open() as edge:
            far = network_link("blue")
            router.send([netlink.add_veth(UPLINK, "02:00:00:00:00:01", far, "02:00:00:00:00:02", edge.fileno(), 1500)])
    os.kill(one.networks._worker.pid or 0, signal.SIGKILL)
    await one.networks.ensure_network(one.specs["blue"])
    await one.networks.ensure_interface(one.interfaces["m"])
    with one.listen("m", 80):
        assert one.reach("", one.public(10), 80) == "open"


@on_a_cloud
async def test_what_was_cleaned_behind_its_back_is_made_anew(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("m", "blue", "10.0.0.10", "web", public=one.public(10))
    await clean(one.home_id, one.run_dir)
    await one.networks.ensure_edge(EdgeSpec(one.pool))
    await one.firewalls.forget("blue")
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.machine("m", "blue", "10.0.0.10", "web", public=one.public(10))
    with one.listen("m", 80):
        assert one.reach("", one.public(10), 80) == "open"


# --- the end ---


@on_a_cloud
async def test_removing_everything_leaves_nothing(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web", public=one.public(10))
    await one.machine("b", "blue", "10.0.0.11", "web")
    assert remains(one.home_id)
    for name in ("a", "b"):
        await one.networks.remove_interface(name)
        await one.networks.remove_sandbox(name)
    await one.firewalls.forget("blue")
    await one.networks.remove_network("blue")
    await one.networks.remove_edge()
    assert remains(one.home_id) == []
    with netlink.Netlink() as host:
        assert not [route for route in host.routes() if route.metric == one.names.host_metric]


@on_a_cloud
async def test_network_can_go_before_its_interfaces(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web", public=one.public(10))
    await one.networks.remove_network("blue")
    await one.networks.remove_interface("a")
    assert not (await one.networks.observe()).interfaces
    with namespaces.entered(one.names.edge), netlink.Netlink() as edge:
        assert not [route for route in edge.routes() if route.gateway == "169.254.0.2"]
    with pytest.raises(PortError, match="does not exist"):
        await one.networks.ensure_interface(one.interfaces["a"])


# --- packets by hand ---


def udp_server(one: Cloud, machine: str) -> socket.socket:
    with namespaces.entered(one.names.sandbox(machine)):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", 5000))
    server.settimeout(5)
    return server


def raw_sender(one: Cloud, machine: str) -> socket.socket:
    with namespaces.entered(one.names.sandbox(machine)):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def udp_packet(source: str, destination: str, data: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram to port 5000; the kernel fills length and checksum of the IP header."""
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 0, 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(destination)
    )
    return header + struct.pack("!HHHH", 5000, 5000, 8 + len(data), 0) + data


def router_routes(one: Cloud, network: str) -> tuple[set[netlink.Route], set[netlink.Rule]]:
    with namespaces.entered(one.names.network(network)), netlink.Netlink() as kernel:
        return set(kernel.routes()), set(kernel.rules())
