"""The agent's service on simulated drivers: what order things come and go in, and that it goes on after its own death."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gureum.base.clock import SystemClock
from gureum.core import specs
from gureum.core.machine import decode_desired, encode_desired, version_of
from gureum.core.references import references
from gureum.drivers.simulated.machine import SimulatedVolumes
from gureum.engine.lowering import Desired
from gureum.ports import PortError
from gureum.ports.images import Image
from gureum.ports.volumes import RootSpec, VolumeSpec
from gureum.simulated import simulated_ports
from gureum.store.contract import Put, StoreFull
from gureum.store.memory import MemoryStore
from tests.core.agent_parts import GIB, Agent, group, machine, network


def test_a_machine_comes_about_whatever_order_its_parts_are_wished_in() -> None:
    async def run() -> None:
        for parts in (machine(), machine()[::-1]):
            agent = Agent()
            await agent.service.start()
            agent.service.sync([*parts, group(), network()])
            await agent.ready("Container/i-1", "Interface/eni-i-1")
            assert agent.status["Container/i-1"].data["state"] == "running"
            assert agent.ports.firewalls.rules["vpc-1"].ports[0].groups == ("sg-1",)
            assert agent.ports.names.resolve("vpc-1", "i-1.ec2.internal", "A") != ()
            await agent.service.close()

    asyncio.run(run())


def test_things_go_only_after_what_refers_to_them() -> None:
    async def run() -> None:
        agent = Agent()
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")
        agent.told.clear()
        agent.service.sync([])
        await agent.until(lambda: not agent.service.machine.leaving)
        gone = [status.id for status in agent.told if status.phase == "gone"]
        assert len(gone) == 9
        for before, after in [
            ("Container/i-1", "Sandbox/i-1"),
            ("Container/i-1", "Volume/vol-i-1"),
            ("Container/i-1", "Interface/eni-i-1"),
            ("Interface/eni-i-1", "Sandbox/i-1"),
            ("Interface/eni-i-1", "Network/vpc-1"),
            ("FirewallGroup/sg-1", "Network/vpc-1"),
        ]:
            assert gone.index(before) < gone.index(after), gone
        assert agent.ports.networks.networks == {}
        assert await agent.ports.volumes.observe() == ()
        assert agent.store.range("desired/") == agent.store.range("leaving/") == []
        await agent.service.close()

    asyncio.run(run())


def test_a_new_agent_goes_on_from_disk_without_a_daemon() -> None:
    async def run() -> None:
        first = Agent()
        await first.service.start()
        first.service.sync([network(), group(), *machine()])
        await first.ready("Container/i-1")
        run_before = first.status["Container/i-1"].data["run"]
        await first.service.close()
        second = Agent(first.store, first.ports)
        await second.service.start()
        assert second.ports.names.resolve("vpc-1", "i-1.ec2.internal", "A") != (), "known before anything is served"
        await second.ready("Container/i-1", "Interface/eni-i-1")
        assert second.status["Container/i-1"].data["run"] == run_before, "adopted, not started again"
        await second.service.close()

    asyncio.run(run())


def test_a_teardown_that_was_cut_off_is_finished_by_the_next_agent() -> None:
    async def run() -> None:
        first = Agent()
        await first.service.start()
        first.service.sync([network(), group(), *machine()])
        await first.ready("Container/i-1")
        first.service.sync([network()])
        await first.service.close()
        second = Agent(first.store, first.ports)
        await second.service.start()
        await second.until(lambda: not second.service.machine.leaving)
        assert list(second.service.machine.desired) == ["Network/vpc-1"]
        assert await second.ports.containers.observe() == ()
        await second.service.close()

    asyncio.run(run())


def test_a_reboot_inside_starts_again_and_another_end_is_told() -> None:
    async def run() -> None:
        agent = Agent()
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")
        agent.ports.containers.end("i-1", 129)
        await agent.until(lambda: agent.status["Container/i-1"].data["run"] == 2)
        assert agent.status["Container/i-1"].data["state"] == "running"
        agent.ports.containers.end("i-1", 130)
        await agent.until(lambda: agent.status["Container/i-1"].data["state"] == "exited")
        assert agent.status["Container/i-1"].data["exit_code"] == 130
        await agent.service.close()

    asyncio.run(run())


def test_a_machine_that_reboots_in_a_loop_waits_until_somebody_asks_for_a_boot() -> None:
    async def run() -> None:
        agent = Agent()
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")
        for boot in range(2, 5):
            agent.ports.containers.end("i-1", 129)
            await agent.until(lambda boot=boot: agent.status["Container/i-1"].data["run"] == boot)
        agent.ports.containers.end("i-1", 129)
        await agent.until(lambda: "in a row" in agent.status["Container/i-1"].reason)
        assert agent.status["Container/i-1"].data["run"] == 4
        agent.service.sync([network(), group(), *machine(boot=2)])
        await agent.until(lambda: agent.status["Container/i-1"].data["run"] == 5)
        await agent.service.close()

    asyncio.run(run())


def test_every_boot_but_the_first_gets_a_network_made_anew() -> None:
    """As a machine's kernel forgets addresses, rules and links when it boots: who broke them reboots."""

    async def run() -> None:
        agent = Agent()
        networks, made = agent.ports.networks, []
        remove, sandbox, interface = networks.remove_sandbox, networks.ensure_sandbox, networks.ensure_interface

        async def noted_remove(name: str) -> None:
            made.append(f"no {name}")
            await remove(name)

        async def noted_sandbox(spec: Any) -> Any:
            made.append(spec.name)
            return await sandbox(spec)

        async def noted_interface(spec: Any) -> None:
            made.append(spec.name)
            await interface(spec)

        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1", "Interface/eni-i-1")
        networks.remove_sandbox, networks.ensure_sandbox = noted_remove, noted_sandbox
        networks.ensure_interface = noted_interface
        agent.ports.containers.end("i-1", 129)
        await agent.until(lambda: agent.status["Container/i-1"].data["run"] == 2)
        assert made == ["no i-1", "i-1", "eni-i-1"]
        agent.service.sync([network(), group(), *machine(boot=2)])
        await agent.until(lambda: agent.status["Container/i-1"].data["run"] == 3)
        assert made == ["no i-1", "i-1", "eni-i-1"] * 2
        await agent.service.close()

    asyncio.run(run())


class LateVolumes(SimulatedVolumes):
    """As on a host where no file system grows that is mounted: each has the size that it had when its root was."""

    def __init__(self, images: Any) -> None:
        super().__init__(images)
        self.mounted: dict[str, int] = {}

    async def ensure_volume(self, spec: VolumeSpec) -> bool:
        await super().ensure_volume(spec)
        return self.mounted.get(spec.name, spec.size_bytes) == spec.size_bytes

    async def ensure_root(self, spec: RootSpec) -> str:
        root = await super().ensure_root(spec)
        self.mounted.setdefault(spec.volume, self._volumes[spec.volume])
        return root

    async def release_root(self, name: str) -> None:
        for root in [one for one in self._roots.values() if one.name == name]:
            self.mounted.pop(root.volume, None)
        await super().release_root(name)


def test_a_reboot_lets_grow_what_could_not_in_use() -> None:
    async def run() -> None:
        ports = simulated_ports(SystemClock())
        agent = Agent(ports=msgspec.structs.replace(ports, volumes=LateVolumes(ports.images)))
        await agent.service.start()

        def wished(boot: int) -> list[Desired]:
            grown = specs.Volume(VolumeSpec("vol-i-1", 2 * GIB))
            parts = (one for one in machine(boot=boot) if one.kind != "Volume")
            return [network(), group(), *parts, Desired("Volume", "vol-i-1", "ec2.Instance/x/i-1", grown)]

        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")
        agent.service.sync(wished(1))
        await agent.until(lambda: agent.status["Volume/vol-i-1"].data == {specs.LATE: True})
        agent.service.sync(wished(2))
        await agent.until(lambda: agent.status["Volume/vol-i-1"].data == {})
        assert agent.ports.volumes.mounted == {"vol-i-1": 2 * GIB}
        await agent.until(lambda: agent.status["Container/i-1"].data["run"] == 2)
        await agent.service.close()

    asyncio.run(run())


def test_a_higher_boot_restarts_once_also_over_the_agents_death() -> None:
    async def run() -> None:
        agent = Agent()
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")
        agent.service.sync([network(), group(), *machine(boot=2)])
        await agent.until(lambda: agent.status["Container/i-1"].data["run"] == 2)
        await agent.service.close()
        again = Agent(agent.store, agent.ports)
        await again.service.start()
        await again.ready("Container/i-1")
        assert again.status["Container/i-1"].data["run"] == 2
        await again.service.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 15),
        ("SIGPWR", 30),
        ("int", 2),
        ("37", 37),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("nonsense", 15),
        ("0", 15),
    ],
)
def test_an_images_stop_signal_is_taken_in_all_its_forms(text: str, number: int) -> None:
    async def run() -> None:
        agent = Agent()
        killed: list[int] = []
        ensure, kill = agent.ports.images.ensure_builtin, agent.ports.containers.kill

        async def image(name: str) -> Image:
            found = await ensure(name)
            return msgspec.structs.replace(found, config=msgspec.structs.replace(found.config, stop_signal=text))

        async def note(name: str, signal: int) -> None:
            killed.append(signal)
            await kill(name, signal)

        agent.ports.images.ensure_builtin, agent.ports.containers.kill = image, note
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")
        agent.service.sync([network(), group()])
        await agent.until(lambda: "Container/i-1" not in agent.status)
        assert killed[0] == number
        assert agent.service.loop.faults == 0
        await agent.service.close()

    asyncio.run(run())


def test_what_is_told_of_an_earlier_wish_is_not_taken_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        agent, at_work, go_on = Agent(), asyncio.Event(), asyncio.Event()
        volumes = agent.ports.volumes
        attach = volumes.devices

        async def slow(name: str) -> Any:
            at_work.set()
            await go_on.wait()
            return await attach(name)

        monkeypatch.setattr(volumes, "devices", slow)
        first, second = (machine(boot=boot) for boot in (1, 2))
        wished = version_of(next(one.spec for one in second if one.kind == "Container"))
        await agent.service.start()
        agent.service.sync([network(), group(), *first])
        await asyncio.wait_for(at_work.wait(), 10)
        agent.service.sync([network(), group(), *second])
        go_on.set()
        await agent.until(lambda: agent.service.machine.kept.get("boot/i-1", "").startswith("2 "))
        await agent.until(lambda: agent.status["Container/i-1"].version == wished)
        ready = [one for one in agent.told if one.id == "Container/i-1" and one.phase == "ready"]
        assert all(one.data["run"] == 2 for one in ready if one.version == wished)
        assert {one.data["run"] for one in ready} == {1, 2}
        await agent.service.close()

    asyncio.run(run())


def test_full_disk_does_not_keep_a_machine_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is what gives the disk room."""

    async def run() -> None:
        agent = Agent()
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")
        await agent.until(lambda: len(agent.store.range("desired/")) == 9)
        commit = agent.store.commit

        async def full(*_: Any) -> Any:
            raise StoreFull("no space left")

        monkeypatch.setattr(agent.store, "commit", full)
        agent.service.sync([network(), group()])
        await agent.until(lambda: "Volume/vol-i-1" not in agent.status)
        monkeypatch.setattr(agent.store, "commit", commit)
        await agent.until(lambda: not agent.store.range("leaving/") and not agent.store.range("kept/"))
        await agent.service.close()

    asyncio.run(run())


def test_going_down_does_not_wait_for_a_machine_that_does_not_end() -> None:
    """What is left then is removed by names; `gureum down` must not fail over it."""

    async def run() -> None:
        agent = Agent()
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")

        async def deaf(name: str, signal: int) -> None: ...

        agent.ports.containers.kill = deaf
        await agent.service.stop_machines(0.05)
        await agent.service.close()

    asyncio.run(run())


def test_what_runs_goes_on_when_the_agents_cache_is_lost() -> None:
    """The cache is filled anew by the daemon; only which boot runs was known to the agent alone."""

    async def run() -> None:
        agent = Agent()
        await agent.service.start()
        agent.service.sync([network(), group(), *machine(boot=3)])
        await agent.ready("Container/i-1")
        await agent.service.close()
        again = Agent(MemoryStore(), agent.ports)
        await again.service.start()
        again.service.sync([network(), group(), *machine(boot=3)])
        await again.ready("Container/i-1")
        assert again.status["Container/i-1"].data["run"] == 1
        again.service.sync([network(), group(), *machine(boot=4)])
        await again.until(lambda: again.status["Container/i-1"].data["run"] == 2)
        await again.service.close()

    asyncio.run(run())


def test_what_the_machine_refuses_is_told_and_tried_again() -> None:
    async def run() -> None:
        agent = Agent()
        ensure, refusals = agent.ports.volumes.ensure_volume, ["the disk is full"]

        async def refuse(spec: object) -> None:
            if refusals:
                raise PortError(refusals.pop())
            await ensure(spec)

        agent.ports.volumes.ensure_volume = refuse
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")
        assert "the disk is full" in [status.reason for status in agent.told]
        await agent.service.close()

    asyncio.run(run())


def test_with_a_full_disk_the_machine_is_still_brought_about_and_written_down_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        agent = Agent()
        monkeypatch.setattr("gureum.core.service.RETRY_WRITE_S", 0.01)
        commit, full = agent.store.commit, [True]

        async def maybe(checks: Any, writes: Any) -> int:
            if full:
                raise StoreFull("no space left")
            return await commit(checks, writes)

        monkeypatch.setattr(agent.store, "commit", maybe)
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.until(
            lambda: "Interface/eni-i-1" in agent.status and agent.status["Interface/eni-i-1"].phase == "ready"
        )
        full.clear()
        await agent.ready("Container/i-1")
        await agent.until(lambda: len(agent.store.range("desired/")) == 9)
        await agent.service.close()

    asyncio.run(run())


def test_wished_again_while_it_leaves_it_stays() -> None:
    async def run() -> None:
        agent = Agent()
        await agent.service.start()
        agent.service.sync([network(), group(), *machine()])
        await agent.ready("Container/i-1")
        for _ in range(3):
            agent.service.sync([network(), group()])
            await asyncio.sleep(0)
            agent.service.sync([network(), group(), *machine()])
            await asyncio.sleep(0)
        await agent.ready("Container/i-1", "Interface/eni-i-1", "Sandbox/i-1")
        states = {state.name: state.state for state in await agent.ports.containers.observe()}
        assert states == {"i-1": "running"}
        await agent.service.close()

    asyncio.run(run())


@pytest.mark.parametrize("one", [network(), group(), *machine()], ids=lambda one: one.id)
def test_wishes_survive_the_wire(one: object) -> None:
    again = decode_desired(encode_desired(one))  # type: ignore[arg-type]
    assert again == one
    assert version_of(again.spec) == version_of(one.spec)  # type: ignore[attr-defined]
    assert references(again) == references(one)  # type: ignore[arg-type]


def test_what_another_version_left_in_the_cache_does_not_keep_the_agent_from_starting() -> None:
    async def run() -> None:
        agent = Agent()
        for key in ("desired/Thing/x", "leaving/Network/vpc-9"):
            await agent.store.commit([], [Put(key, b'{"kind":"Thing","name":"x","owner":"","spec":{"old":true}}')])
        await agent.service.start()
        agent.service.sync([network()])
        await agent.ready("Network/vpc-1")
        await agent.service.close()

    asyncio.run(run())
