"""What follows a flow's first packet to a load balancer before anybody has answered: the kernel asks who may come once a flow, the rest goes by the
flow's mark (gureum/drivers/nft/balancers.py). Needs root.

AWS: "Security groups for your Network Load Balancer"; "Security group connection tracking": a tracked flow goes on when its rule is removed.
"""

from __future__ import annotations

import os
import select
import socket

import pytest

from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import BalancedPort, BalancedTarget, Rule
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud
from tests.machine.test_balancers import IN_ALL, NODE, T1, T2, udp_bound, udp_connected

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]
_ANSWER_S, _SILENCE_S = 5.0, 0.3
FROM_BALANCER = Rule("in", "all", group="lb")


def udp(*addresses: str, preserve: bool) -> BalancedPort:
    return BalancedPort("udp", 53, tuple(BalancedTarget(one, 5300) for one in addresses), preserve_client=preserve)


async def reached(flow: socket.socket, server: socket.socket) -> str:
    """The address by which the target sees one more datagram of the flow."""
    flow.send(b"syslog")
    assert select.select([server], [], [], _ANSWER_S)[0], "it did not come"
    _, (seen, _) = server.recvfrom(100)
    return str(seen)


async def stopped(flow: socket.socket, server: socket.socket) -> bool:
    flow.send(b"syslog")
    return not select.select([server], [], [], _SILENCE_S)[0]


@pytest.mark.parametrize("preserve", [True, False])
def test_datagrams_that_nobody_answers_go_by_their_flow(preserve: bool, tmp_path: object) -> None:
    @on_a_cloud
    async def story(one: Cloud) -> None:
        await one.network("blue", uplink=True, a=TO_EDGE)
        await one.group("blue", "open", OUT_ALL, IN_ALL)
        await one.group("blue", "lb", OUT_ALL, IN_ALL)
        await one.group("blue", "target", OUT_ALL, FROM_BALANCER)
        await one.machine("node", "blue", NODE, "lb", public=one.public(10))
        await one.machine("t1", "blue", T1, "target")
        await one.machine("t2", "blue", T2, "target")
        await one.machine("client", "blue", "10.0.2.10", "open")
        await one.balancer("node", udp(T1, preserve=preserve))
        with (
            udp_bound(one, "t1", 5300) as server,
            udp_connected(one, "client", NODE, 53) as inside,
            udp_connected(one, "", one.public(10), 53) as outside,
        ):
            seen = {inside: "10.0.2.10" if preserve else NODE, outside: one.public(1) if preserve else NODE}
            for _ in range(2):
                assert {flow: await reached(flow, server) for flow in seen} == seen
            (counted,) = await one.firewalls.balanced_counts("blue", True)
            assert (counted.flows, counted.packets, counted.bytes, counted.active) == (2, 4, 4 * 34, 2)

            # Who may come was asked with the first; who may go, and who lets in, with each.
            await one.group("blue", "lb", OUT_ALL)
            assert {flow: await reached(flow, server) for flow in seen} == seen
            with udp_connected(one, "client", NODE, 53) as later:
                assert await stopped(later, server)
            await one.group("blue", "lb", IN_ALL)
            assert [await stopped(flow, server) for flow in seen] == [True, True]
            await one.group("blue", "lb", OUT_ALL, IN_ALL)
            await one.group("blue", "target", OUT_ALL, Rule("in", "tcp", (1, 2), ANYWHERE))
            assert [await stopped(flow, server) for flow in seen] == [True, True]
            await one.group("blue", "target", OUT_ALL, FROM_BALANCER)

            # All rules anew, as after the agent's end.
            await one.firewalls.close()
            one.firewalls = NftFirewalls(one.home_id)
            await one.balancer("node", udp(T2, preserve=preserve))
            assert {flow: await reached(flow, server) for flow in seen} == seen, "at its target, whoever is one now"

            # What came by a public address ends with its way; what begins when that is back is asked anew.
            await one.balancer("node", udp(T1, preserve=preserve))
            await one.network("blue", uplink=True)
            assert await reached(inside, server) == seen[inside]
            assert await stopped(outside, server)
            await one.network("blue", uplink=True, a=TO_EDGE)
            assert {flow: await reached(flow, server) for flow in seen} == seen

    story(tmp_path)
