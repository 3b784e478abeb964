"""What every implementation of the port Containers promises. The real one needs root; without it only the simulated one is tested."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gureum.base.clock import SystemClock
from gureum.drivers.simulated.machine import SimulatedContainers
from gureum.ports import PortError
from gureum.ports.containers import Containers, ContainerSpec, Limits
from tests.machine.container_host import new_host

Test = Callable[[Containers, Callable[[str], ContainerSpec]], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def implementation(name: str, work: Path) -> AsyncIterator[tuple[Containers, Callable[[str], ContainerSpec]]]:
    """The containers, and a function that gives the specification of a container that runs until it is told to end."""
    if name == "simulated":
        args = ("sleep", "1000")
        yield SimulatedContainers(SystemClock()), lambda title: ContainerSpec(title, "/simulated/roots/x", args, "")
        return
    async with new_host(work) as host:
        roots = {title: await host.root(title, 64 << 20) for title in ("web", "db")}
        script = "trap 'exit 143' TERM; echo up; while :; do sleep 1000 & wait; done"
        yield host.containers, lambda title: host.spec(title, roots[title], "sh", "-c", script)


@pytest.fixture(params=["simulated", pytest.param("crun", marks=pytest.mark.machine)])
def contract(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test], None]:
    if request.param == "crun" and os.geteuid() != 0:
        pytest.skip("real containers need root")

    def run(test: Test) -> None:
        async def whole() -> None:
            async with implementation(request.param, tmp_path) as (containers, spec):
                await asyncio.wait_for(test(containers, spec), 60)

        uvloop.run(whole())

    return run


def test_started_container_runs_and_is_observed(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        state = await containers.start(spec("web"))
        assert (state.state, state.run, state.exit_code) == ("running", 1, None)
        assert state.pid > 0
        assert state.started > 0
        assert await containers.observe() == (state,)

    contract(promise)


def test_starting_a_running_one_is_a_look(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        assert await containers.start(spec("web")) == await containers.start(spec("web"))

    contract(promise)


def test_concurrent_starts_make_one_container(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        states = await asyncio.gather(*(containers.start(spec("web")) for _ in range(4)))
        assert len({state.pid for state in states}) == 1

    contract(promise)


def test_signalled_container_exits_and_tells_how(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        await containers.start(spec("web"))
        waiting = asyncio.ensure_future(containers.exited("web"))
        await containers.kill("web", signal.SIGKILL)
        ended = await waiting
        assert (ended.state, ended.exit_code, ended.oom) == ("exited", 137, False)
        assert ended.finished >= ended.started
        assert await containers.exited("web") == ended

    contract(promise)


def test_exited_container_starts_anew_as_its_next_run(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        await containers.start(spec("web"))
        await containers.kill("web", signal.SIGKILL)
        await containers.exited("web")
        again = await containers.start(spec("web"))
        assert (again.state, again.run, again.exit_code) == ("running", 2, None)

    contract(promise)


def test_removed_container_is_forgotten(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        await containers.start(spec("web"))
        await containers.start(spec("db"))
        await containers.remove("web")
        assert [state.name for state in await containers.observe()] == ["db"]
        assert await containers.usage("web") is None
        before = await containers.console("web")
        await containers.remove("web")
        await containers.start(spec("web"))
        assert (await containers.console("web")).startswith(before), "what it printed can still be read, and goes on"
        assert await containers.console("other") == b""

    contract(promise)


def test_waiter_of_a_removed_container_learns_that_it_ended_or_is_gone(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        await containers.start(spec("web"))
        waiting = asyncio.ensure_future(containers.exited("web"))
        await asyncio.sleep(0)
        await containers.remove("web")
        with contextlib.suppress(PortError):
            assert (await waiting).state == "exited"

    contract(promise)


def test_signals_to_what_is_missing_or_ended_are_no_error(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        await containers.kill("web", signal.SIGTERM)
        await containers.start(spec("web"))
        await containers.kill("web", signal.SIGKILL)
        await containers.exited("web")
        await containers.kill("web", signal.SIGTERM)

    contract(promise)


def test_what_needs_a_running_container_refuses_others(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        for name in ("web", "db"):
            with pytest.raises(PortError):
                await containers.exec(name, ("true",))
            with pytest.raises(PortError):
                await containers.attach(name, ("true",), terminal=False)
            if name == "web":
                await containers.start(spec("db"))
                await containers.kill("db", signal.SIGKILL)
                await containers.exited("db")
        with pytest.raises(PortError):
            await containers.exited("web")
        with pytest.raises(PortError):
            await containers.update("web", Limits())

    contract(promise)


def test_program_inside_ends_with_its_code(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        await containers.start(spec("web"))
        assert await containers.exec("web", ("true",)) == await containers.exec("web", ("true",), stdin=b"x")
        session = await containers.attach("web", ("true",), terminal=False)
        assert [chunk async for chunk in session.output()] == []
        assert [chunk async for chunk in session.errors()] == []
        assert await session.wait() == 0
        await session.close()
        await session.close()

    contract(promise)


def test_usage_and_update_of_a_running_one(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        await containers.start(spec("web"))
        await containers.update("web", Limits(memory_bytes=64 << 20, cpus=0.5, pids=50))
        usage = await containers.usage("web")
        assert usage is not None
        assert usage.pids >= 1

    contract(promise)


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "a" * 41, "ü"])
def test_other_names_are_refused(name: str, contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        with pytest.raises(ValueError, match="not a name"):
            await containers.start(ContainerSpec(name, "/", ("true",), ""))
        with pytest.raises(ValueError, match="not a name"):
            await containers.remove(name)

    contract(promise)


def test_paused_container_takes_nothing_but_its_end(contract: Callable[[Test], None]) -> None:
    async def promise(containers: Containers, spec: Callable[[str], ContainerSpec]) -> None:
        for title in ("web", "db"):
            await containers.start(spec(title))
            for _ in range(2):
                await containers.pause(title, True)
        assert {state.name: (state.state, state.paused) for state in await containers.observe()} == {
            "web": ("running", True),
            "db": ("running", True),
        }
        with pytest.raises(PortError, match="paused"):
            await containers.exec("web", ("true",))
        await containers.pause("web", False)
        assert (await containers.exec("web", ("true",))).exit_code == 0
        await containers.pause("web", True)
        await containers.kill("web", signal.SIGKILL)
        assert (await containers.exited("web")).paused is False
        await containers.remove("db")
        for title in ("web", "db", "nobody"):
            await containers.pause(title, True)

    contract(promise)
