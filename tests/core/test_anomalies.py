"""Targets that fail more often than the others of their group. AWS: Application Load Balancers guide, "Automatic Target Weights"; elbv2
AnomalyDetection."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gureum.core import anomalies, specs
from gureum.core.anomalies import LEAST, NORMAL, AnomalyWatch, Verdict, judged, stands_out
from gureum.core.targets import TargetBook
from gureum.engine.lowering import Desired
from gureum.ports.proxies import Counters, ServerCounters
from tests.core.agent_parts import network
from tests.core.balancer_parts import TG, BalancedAgent, node, proxy, target, target_group


@pytest.mark.parametrize(
    ("own", "others", "was", "found"),
    [
        ((100, 50), (200, 0), False, True),
        ((100, 50), (200, 100), False, False),  # all fail alike
        ((100, 2), (200, 1), False, False),  # chance
        ((5, 5), (200, 0), False, False),  # too few to know
        ((5, 0), (200, 0), True, False),  # it has recovered
        ((5, 4), (200, 0), True, True),
        ((0, 0), (200, 0), True, True),  # nothing is known of late
        ((0, 0), (0, 0), True, False),  # nobody is asked
        ((100_000, 1_100), (200_000, 2_000), False, False),  # sure, and nothing to speak of
    ],
)
def test_a_target_stands_out_by_its_share_of_errors(
    own: tuple[int, int], others: tuple[int, int], was: bool, found: bool
) -> None:
    assert stands_out(ServerCounters(*own), ServerCounters(*others), was=was) is found


def test_who_stands_out_gets_less_and_less_and_then_more_and_more() -> None:
    bad, good = {"a": ServerCounters(100, 60)}, {"a": ServerCounters(100, 0)}
    rest = {"b": ServerCounters(100, 0), "c": ServerCounters(100, 1)}
    found: dict[str, Verdict] = {}
    weights = []
    for counts in [bad] * 6 + [good] * 6:
        found = judged(counts | rest, found, mitigates=True)
        weights.append(found["a"].weight)
    assert weights == [50, 25, 12, 6, LEAST, LEAST, 8, 16, 32, 64, 100, 100]
    assert found == {"a": NORMAL, "b": NORMAL, "c": NORMAL}


def test_without_mitigation_it_is_only_told() -> None:
    counts = {"a": ServerCounters(100, 60), "b": ServerCounters(100, 0), "c": ServerCounters(100, 1)}
    assert judged(counts, {}, mitigates=False) == {"a": Verdict(True, 100), "b": NORMAL, "c": NORMAL}


def test_two_bad_ones_do_not_hide_each_other() -> None:
    counts = {"a": ServerCounters(100, 60), "b": ServerCounters(100, 60), **dict.fromkeys("cdef", ServerCounters(100))}
    found = judged(counts, {}, mitigates=False)
    assert [name for name, one in found.items() if one.anomalous] == ["a", "b"]


def mitigating() -> Desired:
    wished = proxy()
    assert isinstance(wished.spec, specs.Proxy)
    uses = (specs.Use(TG, mitigates=True),)
    return msgspec.structs.replace(wished, spec=msgspec.structs.replace(wished.spec, uses=uses))


def test_the_proxy_gives_less_to_who_stands_out_and_the_status_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomalies, "LOOK_S", 0.02)
    counted = {f"{TG}/i-{number}:80": ServerCounters(1000, 500) for number in (11, 12, 13)}

    async def counters() -> dict[str, Counters]:
        for name, one in counted.items():
            errors = 50 if "i-12" in name and bad else 0
            counted[name] = ServerCounters(one.requests + 100, one.errors + errors)
        return {"p-a": Counters(by_server=dict(counted))}

    bad = True

    async def story() -> None:
        nonlocal bad
        agent = BalancedAgent()
        agent.ports.proxies.counters = counters
        await agent.service.start()

        def weights() -> dict[str, int]:
            groups = agent.ports.proxies.specs["p-a"].groups if "p-a" in agent.ports.proxies.specs else ()
            return {one.name: one.weight for group in groups for one in group.servers}

        def told() -> dict[str, Any]:
            status = agent.status.get(f"TargetGroup/{TG}")
            return dict(status.data.get("anomalies", {})) if status and status.data else {}

        agent.service.sync([network(), *node(), mitigating(), target_group(target(11), target(12))])
        await agent.until(lambda: len(agent.ports.proxies.specs) == 1 and len(agent.ports.proxies.up()) == 2)
        agent.service.sync([network(), *node(), mitigating(), target_group(target(11), target(12), target(13))])
        await agent.until(lambda: weights() == {"i-11:80": 100, "i-12:80": LEAST, "i-13:80": 100})
        await agent.until(lambda: told() == {"i-12:80": [True, True]})
        bad = False
        await agent.until(lambda: set(weights().values()) == {100})
        await agent.until(lambda: told() == {})
        assert agent.faults == 0
        await agent.service.close()

    asyncio.run(story())


def test_a_proxy_that_does_not_answer_and_a_target_that_comes_back_are_not_judged_by_what_was() -> None:
    """Counters go on meanwhile: what they say of long ago is not of late."""
    past = {"i-11:80": (1000, 0), "i-12:80": (1000, 900), "i-13:80": (1000, 0), "i-14:80": (1000, 900)}
    poked: list[str] = []
    machine: Any = SimpleNamespace(of_kind=lambda kind: [mitigating()], poke=poked.append)
    book = TargetBook()

    def wish(*, draining: bool) -> None:
        there = [target(number) for number in (11, 12, 13)]
        spec = target_group(*there, target(14, draining=draining), probe=None).spec
        assert isinstance(spec, specs.TargetGroup)
        book.put(TG, spec)

    def counted(more: int) -> dict[str, Counters]:
        by_server = {
            f"{TG}/{name}": ServerCounters(requests + more, errors) for name, (requests, errors) in past.items()
        }
        return {"p-a": Counters(by_server=by_server)}

    watch = AnomalyWatch(machine, book)
    wish(draining=True)
    watch.note(counted(0))
    watch.note({})
    watch.note(counted(20))
    wish(draining=False)
    watch.note(counted(40))
    assert (watch.shown(TG), poked) == ({}, [])
    past["i-14:80"] = (1000, 915)
    watch.note(counted(80))
    assert watch.shown(TG) == {"i-14:80": [True, True]}
    assert watch.weight("lb-a", TG, "i-14:80") == 50
    assert poked == [f"TargetGroup/{TG}", "Proxy/p-a"]


def test_what_turns_out_to_be_no_error_is_no_new_count() -> None:
    """A failure that a proxy counts twice may stand in for a request under way, until that is answered: errors fall, and nothing began anew."""
    poked: list[str] = []
    machine: Any = SimpleNamespace(of_kind=lambda kind: [mitigating()], poke=poked.append)
    book = TargetBook()
    spec = target_group(*(target(number) for number in (11, 12, 13)), probe=None).spec
    assert isinstance(spec, specs.TargetGroup)
    book.put(TG, spec)
    watch = AnomalyWatch(machine, book)
    for more, errors in ((0, 400), (20, 399), (40, 399)):
        by_server = {f"{TG}/i-{number}:80": ServerCounters(1000 + more, 0) for number in (12, 13)}
        by_server[f"{TG}/i-11:80"] = ServerCounters(1000 + more, errors)
        watch.note({"p-a": Counters(by_server=by_server)})
    assert (watch.shown(TG), poked) == ({}, [])
