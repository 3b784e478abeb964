"""Who reaches whom in topologies that are drawn: packets between namespaces against AWS's words alone. Needs root.

The plans for many more topologies are compared in tests/aws/ec2/networks/test_reachability.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gureum.core.networks import plan_rules
from gureum.core.specs import Interface, Network
from gureum.ports.networks import SandboxSpec
from tests.aws.ec2.conftest import Cloud as Api
from tests.machine.cloud_network import Cloud, cloud, remains
from tests.topologies import PORTS, Built, Model, Topology, address_of, topologies

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

TOPOLOGIES = 6
ANSWER_S, SILENCE_S = 10.0, 0.4
Question = tuple[tuple[int, int], tuple[int, int], int, bool]


def test_packets_pass_where_aws_lets_them_pass(tmp_path: Path) -> None:
    seen: Counter[bool] = Counter()
    home_ids: list[str] = []

    async def compare(topology: Topology, folder: Path) -> None:
        async with cloud(folder) as one:
            home_ids.append(one.home_id)
            built = await asyncio.to_thread(build, one.pool, topology)
            await bring_about(one, built)
            model = Model(topology, built.publics)
            asked = {question: model.reaches(*question) for question in questions(built)}
            found = await asyncio.to_thread(ask, one, built, asked)
            assert found == asked, [(one, asked[one]) for one in asked if found[one] != asked[one]]
            seen.update(asked.values())

    @settings(
        max_examples=TOPOLOGIES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(topologies(), st.uuids())
    def check(topology: Topology, name: object) -> None:
        folder = tmp_path / str(name)
        folder.mkdir(exist_ok=True)
        asyncio.run(asyncio.wait_for(compare(topology, folder), timeout=60))

    check()
    assert seen[False] > 0
    assert [one for home_id in home_ids for one in remains(home_id)] == []


def build(pool: str, topology: Topology) -> Built:
    api = Api()
    api.settings = msgspec.structs.replace(api.settings, pool=pool)
    return Built(api, topology)


async def bring_about(one: Cloud, built: Built) -> None:
    """What is wished, on the machine."""
    wished = built.cloud.wished
    networks: dict[str, Network] = wished("Network")
    interfaces: dict[str, Interface] = wished("Interface")
    for _ in range(2):  # a peering's link waits for both sides
        for network in networks.values():
            await one.networks.ensure_network(network.network)
    for sandbox in wished("Sandbox").values():
        await one.networks.ensure_sandbox(sandbox.sandbox)
    for interface in interfaces.values():
        if interface.interface.sandbox.startswith("i-"):
            await one.networks.ensure_sandbox(SandboxSpec(interface.interface.sandbox))
        await one.networks.ensure_interface(interface.interface)
    groups = list(wished("FirewallGroup").values())
    for name, network in networks.items():
        here = [each for each in interfaces.values() if each.interface.network == name]
        await one.firewalls.apply(plan_rules(network, [each for each in groups if each.network == name], here))


def questions(built: Built) -> list[Question]:
    machines = built.topology.machines
    pairs = [(source, end) for source in machines for end in machines if source != end]
    private = [(source, end, port, False) for source, end in pairs for port in PORTS]
    return private + [(source, end, PORTS[0], True) for source, end in pairs if end in built.publics]


def ask(one: Cloud, built: Built, asked: dict[Question, bool]) -> dict[Question, bool]:
    """All at once: who opens. What is expected to open is waited for, all else for a while after that."""
    with contextlib.ExitStack() as held:
        for end in built.topology.machines:
            for port in PORTS:
                held.enter_context(one.listen(f"i-{end[0]}-{end[1]}", port))
        clients: dict[Question, socket.socket] = {}
        for question in asked:
            source, end, port, public = question
            address = built.publics[end] if public else address_of(end)
            clients[question] = held.enter_context(one.connecting(f"i-{source[0]}-{source[1]}", address, port))
        poll = select.poll()
        by_number = {client.fileno(): question for question, client in clients.items()}
        for number in by_number:
            poll.register(number, select.POLLOUT)
        found = dict.fromkeys(asked, False)
        waiting = {question for question, expected in asked.items() if expected}
        while True:
            ready = poll.poll((ANSWER_S if waiting else SILENCE_S) * 1000)
            if not ready:
                return found
            for number, _ in ready:
                question = by_number[number]
                error = clients[question].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                assert error in (0, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH), errno.errorcode[error]
                found[question] = error == 0 and has_peer(clients[question])
                waiting.discard(question)
                poll.unregister(number)


def has_peer(client: socket.socket) -> bool:
    """Whether it is connected: one whose connect failed at once is ready, too."""
    try:
        client.getpeername()
    except OSError:
        return False
    return True
