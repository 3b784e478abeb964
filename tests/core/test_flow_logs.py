"""Flow logs in the agent: sums and windows, what is watched, and that nothing is told twice or grows without end."""

from __future__ import annotations

import asyncio
from typing import Any

from gureum.core import specs
from gureum.core.flow_windows import LIMIT_FLOWS, LIMIT_TAKEN, LIMIT_WAITING, FlowSums, Window
from gureum.engine.lowering import Desired
from gureum.ports.flows import Flow
from tests.core.agent_parts import Agent, group, machine, network

ETH = "eni-i-1"


def flow(interface: str = ETH, port: int = 80, **further: Any) -> Flow:
    return Flow(
        interface,
        "10.0.1.5",
        "10.0.1.6",
        1024,
        port,
        6,
        **({"packets": 2, "bytes": 100, "start": 5, "end": 9} | further),
    )


def sums(*interfaces: str, traffic: Any = "ALL") -> FlowSums:
    spec = specs.FlowLog(tuple(("vpc-1", one) for one in interfaces or (ETH,)), traffic, 60)
    return FlowSums(spec, 1000.0, 0)


def test_flows_of_one_kind_are_added_up() -> None:
    found = sums()
    found.add([flow(tcp_flags=2), flow(tcp_flags=1, start=3, end=7, packets=1, bytes=40), flow(port=81)], ())
    found.add([flow(direction="egress")], ())
    found.close(1060)
    [window] = found.take(0)
    assert (window.start, window.end, window.skipped) == (1000, 1060, False)
    assert window.flows == (
        flow(packets=3, bytes=140, start=3, end=9, tcp_flags=3),
        flow(port=81),
        flow(direction="egress"),
    )


def test_only_what_the_log_is_for_is_told() -> None:
    found = sums(traffic="REJECT")
    found.add([flow(), flow(action="REJECT"), flow("eni-other", action="REJECT")], ())
    found.close(1060)
    assert [window.flows for window in found.take(0)] == [(flow(action="REJECT"),)]


def test_every_interface_has_a_window_also_without_flows() -> None:
    found = sums("eni-1", "eni-2")
    found.add([flow("eni-2")], {"eni-1"})
    found.close(1060)
    found.close(1120)
    told = [(one.interface, one.start, len(one.flows), one.skipped) for one in found.take(0)]
    assert told == [
        ("eni-1", 1000, 0, True),
        ("eni-2", 1000, 1, False),
        ("eni-1", 1060, 0, False),
        ("eni-2", 1060, 0, False),
    ]


def test_an_interface_that_left_has_its_last_window() -> None:
    found = sums("eni-1", "eni-2")
    found.change(specs.FlowLog((("vpc-1", "eni-2"),), "ALL", 60), 1010)
    found.add([flow("eni-1")], ())
    found.close(1060)
    found.close(1120)
    assert [(one.interface, len(one.flows)) for one in found.take(0)] == [("eni-1", 1), ("eni-2", 0), ("eni-2", 0)]


def test_what_was_delivered_is_forgotten_and_the_rest_told_again() -> None:
    found = sums()
    for n in range(LIMIT_TAKEN + 5):
        found.close(1060.0 + n)
    first = found.take(0)
    assert len(first) == LIMIT_TAKEN
    assert found.take(0) == first
    rest = found.take(first[-1].number)
    assert [one.number for one in rest] == [first[-1].number + 1 + n for n in range(5)]
    assert found.take(rest[-1].number) == []
    assert found.newest == 0


def test_too_many_windows_and_flows_are_told_as_skipped() -> None:
    found = sums()
    for n in range(LIMIT_WAITING + 1):
        found.close(1060.0 + n)
    assert found.take(0)[0].number == 2
    found.close(9000)
    windows: list[Window] = []
    while more := found.take(windows[-1].number if windows else 0):
        windows += more
    assert [one.skipped for one in windows[-2:]] == [False, True]
    found.add((flow(port=n) for n in range(LIMIT_FLOWS + 1)), ())
    found.close(9060)
    [last] = found.take(windows[-1].number)
    assert (len(last.flows), last.skipped) == (LIMIT_FLOWS, True)


def wish(interval_s: float, *interfaces: str, traffic: Any = "ALL", name: str = "fl-1") -> Desired:
    spec = specs.FlowLog(tuple(("vpc-1", one) for one in interfaces), traffic, interval_s)
    return Desired("FlowLog", name, f"ec2.FlowLog/x/{name}", spec)


def test_the_agent_watches_what_any_log_is_about_and_tells_windows() -> None:
    async def run() -> None:
        agent = Agent()
        flows = agent.ports.flows
        await agent.service.start()
        logs = [wish(0.05, ETH), wish(60, "eni-2", name="fl-2")]
        agent.service.sync([*logs, network(), group(), *machine()])
        await agent.ready("FlowLog/fl-1", "FlowLog/fl-2")
        assert flows.watched == {"vpc-1": frozenset({ETH, "eni-2"})}
        flows.put(flow(), flow("eni-9"))
        told: list[Window] = []

        def come() -> bool:
            told.extend(agent.service.flow_logs.take("fl-1", told[-1].number if told else 0))
            return any(window.flows for window in told)

        await agent.until(come)
        assert [window.flows for window in told if window.flows] == [(flow(),)]
        assert [window.number for window in told] == sorted({window.number for window in told})
        await agent.until(lambda: agent.status["FlowLog/fl-1"].data["newest"] >= told[-1].number)
        assert agent.service.flow_logs.take("fl-2", 0) == []
        agent.service.change([], ["FlowLog/fl-1"])
        await agent.until(lambda: flows.watched == {"vpc-1": frozenset({"eni-2"})})
        agent.service.change([], ["FlowLog/fl-2"])
        await agent.until(lambda: flows.watched == {})
        assert agent.service.flow_logs.take("fl-1", 0) == []
        await agent.service.close()

    asyncio.run(run())


def test_a_machine_that_cannot_count_flows_says_so() -> None:
    async def run() -> None:
        import msgspec

        from gureum.base.clock import SystemClock
        from gureum.simulated import simulated_ports

        agent = Agent(ports=msgspec.structs.replace(simulated_ports(SystemClock()), flows=None))
        await agent.service.start()
        agent.service.sync([network(), wish(60, ETH)])
        await agent.until(lambda: agent.status["FlowLog/fl-1"].phase == "failed")
        agent.service.change([], ["FlowLog/fl-1"])
        await agent.until(lambda: "FlowLog/fl-1" not in agent.status)
        await agent.service.close()

    asyncio.run(run())
