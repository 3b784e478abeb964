"""The whole cloud in one process, on simulated drivers: random calls, ends of machines and deaths of daemon and agent, from a seed.

After every run, what the API promises, what is stored and what the machine has must agree: nothing lost, doubled or leaked.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gureum.aws.call import Call
from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.ec2.instances.kinds import Instance, Volume
from gureum.aws.ec2.networks.kinds import NetworkInterface
from gureum.aws.errors import AwsError
from gureum.aws.services import Services
from gureum.base.clock import SystemClock
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.core.agent_link import LocalLink
from gureum.core.service import AgentService
from gureum.core.world import World
from gureum.ports.networks import EdgeSpec
from gureum.simulated import NoShelf, simulated_ports
from gureum.store.contract import Conflict
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics
from tests.quotas import ROOMY

ACCOUNT, REGION = "000000000000", "us-east-1"
SCOPE = f"{ACCOUNT}/{REGION}"
STEPS = 60


class Cloud:
    """Stores and simulated machine stay; daemon and agent are made anew at every `restart`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._folder = folder
        self._settings = Settings(**{"pool": "198.18.16.0/20", "memory_promise": 16.0, **ROOMY, **settings})
        self._daemons_store, self._agents_store = MemoryStore(), MemoryStore()
        self.ports = simulated_ports(SystemClock())

    async def start(self) -> None:
        self.agent = AgentService(self._agents_store, self.ports, NoShelf(), EdgeSpec("198.18.16.0/20"))
        await self.agent.start()
        sealer = Sealer(self._folder / "key")
        self.world = World(
            self._daemons_store,
            SystemClock(),
            self._settings,
            sealer,
            lambda *told: LocalLink(self.agent, *told),
            metrics=MemoryMetrics(),
            logs=MemoryLogs(SystemClock()),
        )
        self.services = Services(self.world)
        self.services.load_stored()
        self.services.load("ec2")
        self._running = asyncio.create_task(self.world.run())

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.world.close()
        await self.agent.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def ask(self, operation: str, **params: Any) -> dict[str, Any]:
        """One call, as the gateway makes it."""
        call = Call(
            service="ec2", operation=operation, params=params, account=ACCOUNT, region=REGION, access_key="", request_id="",
            client=self.world.client, settings=self.world.settings, events=self.world.events, tracer=self.world.tracer,
            metrics=self.world.metrics, logs=self.world.logs, agent=self.world.link, sealer=self.world.sealer,
        )  # fmt: skip
        function = self.services.operation("ec2", operation)
        ((_, prepare),) = self.services.preparations("ec2")
        assert function is not None
        for _ in range(40):
            try:
                for one in (prepare, function):
                    found = one(call)
                    result = await found if inspect.isawaitable(found) else found
                return dict(result)
            except Conflict:
                continue
        raise AssertionError("lost against other calls 40 times")

    @property
    def instances(self) -> list[Instance]:
        return self.world.client.all(Instance, SCOPE)

    async def settled(self) -> None:
        """Waits until every instance is where it was wished to be, and promise, store and machine agree; says in what they do not."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 20
        while True:
            try:
                assert all(one.status.state == one.spec.wish for one in self.instances)
                assert not self.agent.machine.leaving
                check(self)
            except AssertionError:
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(0.005)
            else:
                return


async def step(cloud: Cloud, dice: random.Random) -> None:
    """Something happens."""
    names = [one.meta.name for one in cloud.instances if one.status.state not in ("terminated", "shutting-down")]
    what = dice.choice(
        ["run", "run", "stop", "start", "reboot", "terminate", "off", "reset", "restart", "wait", "address"]
    )
    some = dice.sample(names, min(len(names), dice.randint(1, 3)))
    if what == "run":
        await cloud.ask(
            "RunInstances", ImageId=BUILTINS[0].id, InstanceType="t3.nano", MinCount=1, MaxCount=dice.randint(1, 4)
        )
    elif what in ("stop", "start", "reboot", "terminate") and some:
        await cloud.ask(f"{what.title()}Instances", InstanceIds=some)
    elif what in ("off", "reset") and some:
        states = {state.name: state.state for state in await cloud.ports.containers.observe()}
        if states.get(some[0]) == "running":
            cloud.ports.containers.end(some[0], 130 if what == "off" else 129)  # type: ignore[attr-defined]
    elif what == "restart":
        await cloud.restart()
    elif what == "address" and some:
        given = await cloud.ask("AllocateAddress", Domain="vpc")
        await cloud.ask("AssociateAddress", AllocationId=given["AllocationId"], InstanceId=some[0])
    elif what == "wait":
        await asyncio.sleep(0.02)


@contextlib.contextmanager
def suppress_refusals() -> Iterator[None]:
    """What dice ask for is not always possible; then it must be refused with the right word."""
    try:
        yield
    except AwsError as refused:
        if refused.code not in ("IncorrectInstanceState", "InsufficientInstanceCapacity"):
            raise


def check(cloud: Cloud) -> None:
    """Promise, store and machine agree."""
    client, machine = cloud.world.client, cloud.agent.machine
    living = [one for one in cloud.instances if one.status.state != "terminated"]
    running = {one.meta.name for one in living if one.status.state == "running"}
    containers = {id_.split("/")[1] for id_ in machine.desired if id_.startswith("Container/")}
    assert containers == running
    assert {state.name for state in cloud.ports.containers._states.values() if state.state == "running"} == running  # type: ignore[attr-defined]
    volumes = {one.meta.name for one in client.all(Volume, SCOPE)}
    assert volumes == {device.volume for one in living for device in one.spec.block_devices}
    assert volumes == set(cloud.ports.volumes._volumes)  # type: ignore[attr-defined]
    interfaces = client.all(NetworkInterface, SCOPE)
    assert {one.spec.attachment.instance for one in interfaces if one.spec.attachment} == {
        one.meta.name for one in living
    }
    assert {one.spec.sandbox for one in interfaces} - {""} == running
    taken = [(one.spec.subnet, address.address) for one in interfaces for address in one.spec.addresses]
    assert len(taken) == len(set(taken))
    claims = {entry.key.split("/", 1)[1] for entry in client.store.range("claim/")}
    private = {f"address/{subnet}/{address}" for subnet, address in taken}
    public = {
        f"public/{address.public}"
        for one in interfaces
        for address in one.spec.addresses
        if address.public and not address.allocation
    }
    elastic = {claim for claim in claims if claim.startswith("public/")} - public
    assert claims == private | public | elastic
    assert cloud.world.loop.faults == cloud.agent.loop.faults == 0


@pytest.mark.parametrize("seed", range(8))
def test_promise_store_and_machine_agree_after_anything(seed: int, tmp_path: Path) -> None:
    async def run() -> None:
        cloud, dice = Cloud(tmp_path), random.Random(seed)
        await cloud.start()
        for _ in range(STEPS):
            with suppress_refusals():
                await step(cloud, dice)
        await cloud.settled()
        left = [one.meta.name for one in cloud.instances]
        if left:
            await cloud.ask("TerminateInstances", InstanceIds=left)
        await cloud.settled()
        assert not [id_ for id_ in cloud.agent.machine.desired if not id_.startswith(("Names/",))], (
            cloud.agent.machine.desired.keys()
        )
        await cloud.stop()

    asyncio.run(run())
