"""When a target counts as healthy (AWS: elbv2 "health checks for your target groups") and when it is looked at, on a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from gureum.core.health import (
    CHECKING,
    HEALTHY,
    LOOKS_AT_ONCE,
    REGISTERING,
    SILENT_LOOKS_AT_ONCE,
    Health,
    HealthChecks,
    Look,
    judged,
    summed,
)
from gureum.ports import PortError
from gureum.ports.checks import Outcome, Probe
from tests.core.fake_clock import FakeClock, settle

PASS = Outcome(True)
REFUSED = Outcome(False, "Target.FailedHealthChecks", "Health checks failed")
BROKEN = Outcome(False, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]")
BAD = Health("unhealthy", "Target.Timeout", "Request timed out")
BY_SIGN = {"+": PASS, "-": REFUSED, "5": BROKEN}


@pytest.mark.parametrize(
    ("looks", "states"),
    [
        ("+", "h"),  # "your target must pass one health check to be considered healthy"
        ("-+", "ih"),
        ("--", "iu"),
        ("-----", "iuuuu"),
        ("+-+-+", "hhhhh"),  # failures must be consecutive
        ("+--", "hhu"),
        ("--++", "iuuu"),
        ("--+++", "iuuuh"),
        ("--++-+++", "iuuuuuuh"),  # passes must be consecutive
        ("--+++--+++", "iuuuhhuuuh"),
    ],
)
def test_state_follows_the_last_looks(looks: str, states: str) -> None:
    """With a healthy threshold of 3 and an unhealthy one of 2."""
    health, seen = REGISTERING, ""
    for sign in looks:
        health = judged(health, BY_SIGN[sign], 3, 2)
        seen += health.state[0]
    assert seen == states


def test_an_unhealthy_target_tells_why_the_last_look_failed() -> None:
    health = judged(judged(HEALTHY, REFUSED, 5, 2), BROKEN, 5, 2)
    assert (health.state, health.reason, health.description) == (
        "unhealthy",
        "Target.ResponseCodeMismatch",
        "Health checks failed with these codes: [500]",
    )
    assert judged(health, REFUSED, 5, 2).reason == "Target.FailedHealthChecks"
    assert judged(health, PASS, 5, 2).reason == "Target.ResponseCodeMismatch", "until it is healthy again"


def test_a_target_that_fails_its_first_look_is_still_in_its_initial_checks() -> None:
    health = judged(REGISTERING, REFUSED, 5, 2)
    assert (health.state, health.reason, health.description) == (
        "initial",
        "Elb.InitialHealthChecking",
        "Initial health checks in progress",
    )
    assert health == Health(CHECKING.state, CHECKING.reason, CHECKING.description, in_row=1)


class Asked:
    """Checks that note when who was asked; a target in `slow` takes that long, one in `lost` cannot be asked, one in `up` serves so long after the
    start only."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.start = clock, clock.now()
        self.times: dict[str, list[float]] = {}
        self.slow: dict[str, float] = {}
        self.lost: set[str] = set()
        self.up: dict[str, float] = {}
        self.now = self.most = 0

    async def check(self, sandbox: str, source: str, address: str, port: int, probe: Probe) -> Outcome:
        self.times.setdefault(address, []).append(self.clock.now() - self.start)
        if address in self.lost:
            raise PortError("no such place")
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if address in self.slow:
                await self.clock.sleep(self.slow[address])
        finally:
            self.now -= 1
        return PASS if self.clock.now() - self.start >= self.up.get(address, 0.0) else REFUSED

    async def close(self) -> None: ...


def look(address: str, interval_s: float = 10.0) -> Look:
    return Look("node", "10.0.0.5", address, 80, Probe("HTTP"), interval_s)


def test_a_target_is_looked_at_when_it_comes_and_each_interval_from_then_on_however_slow_it_is() -> None:
    async def run() -> None:
        clock = FakeClock()
        asked, heard = Asked(clock), list[tuple[str, str, str, Outcome]]()
        asked.slow["b"] = 4.0
        checks = HealthChecks(clock, asked, lambda *what: heard.append(what))
        checks.watch("tg", {("a", "node"): look("a"), ("b", "node"): look("b")})
        await clock.advance(5)
        checks.watch("tg", {("a", "node"): look("a"), ("b", "node"): look("b"), ("c", "node"): look("c")})
        await clock.advance(26)
        assert asked.times == {"a": [0, 10, 20, 30], "b": [0, 10, 20, 30], "c": [5, 15, 25]}
        assert ("tg", "b", "node", PASS) in heard
        await checks.close()

    asyncio.run(run())


def test_a_target_that_is_about_to_serve_is_asked_again_between_its_first_two_looks() -> None:
    async def run() -> None:
        clock = FakeClock()
        asked, heard = Asked(clock), list[tuple[str, Outcome]]()
        asked.up = {"soon": 0.2, "late": 15.0}
        checks = HealthChecks(clock, asked, lambda group, target, place, outcome: heard.append((target, outcome)))
        checks.watch("tg", {("soon", "node"): look("soon"), ("late", "node"): look("late")})
        await clock.advance(9.9)
        assert [round(at, 2) for at in asked.times["soon"]] == [0, 0.05, 0.15, 0.35]
        assert [one for one in heard if one[0] == "soon"] == [("soon", REFUSED), ("soon", PASS)]
        assert [one for one in heard if one[0] == "late"] == [("late", REFUSED)], "further failures do not count"
        await clock.advance(10.2)
        assert [round(at, 2) for at in asked.times["soon"][4:]] == [10, 20]
        late = [round(at, 2) for at in asked.times["late"] if at >= 10]
        assert late == [10, 20], "later looks come once an interval"
        await checks.close()

    asyncio.run(run())


def test_a_target_that_leaves_is_looked_at_no_more_and_its_late_answer_is_not_heard() -> None:
    async def run() -> None:
        clock = FakeClock()
        asked, heard = Asked(clock), list[str]()
        asked.slow["b"] = 4.0
        checks = HealthChecks(clock, asked, lambda group, target, sandbox, outcome: heard.append(target))
        checks.watch("tg", {("a", "node"): look("a"), ("b", "node"): look("b")})
        await clock.advance(2)
        checks.watch("tg", {("a", "node"): look("a")})
        await clock.advance(20)
        assert asked.times["b"] == [0]
        assert set(heard) == {"a"}
        checks.forget("tg")
        await clock.advance(20)
        assert asked.times["a"] == [0, 10, 20]
        await checks.close()

    asyncio.run(run())


def test_another_interval_or_probe_counts_from_now_and_leaves_other_targets_alone() -> None:
    async def run() -> None:
        clock = FakeClock()
        asked = Asked(clock)
        checks = HealthChecks(clock, asked, lambda *what: None)
        checks.watch("tg", {("a", "node"): look("a"), ("b", "node"): look("b")})
        await clock.advance(3)
        checks.watch("tg", {("a", "node"): look("a", 5.0), ("b", "node"): look("b")})
        await clock.advance(8)
        assert asked.times == {"a": [0, 3, 8], "b": [0, 10]}
        await checks.close()

    asyncio.run(run())


def test_without_a_place_to_ask_from_it_is_tried_again_soon_and_nothing_is_heard() -> None:
    async def run() -> None:
        clock = FakeClock()
        asked, heard = Asked(clock), list[object]()
        asked.lost.add("a")
        checks = HealthChecks(clock, asked, lambda *what: heard.append(what))
        checks.watch("tg", {("a", "node"): look("a")})
        await clock.advance(2)
        assert asked.times["a"] == [0, 1, 2]
        assert heard == []
        asked.lost.clear()
        await clock.advance(1)
        assert len(heard) == 1
        await checks.close()

    asyncio.run(run())


def test_many_targets_that_never_answer_delay_nobodys_first_look() -> None:
    async def run() -> None:
        clock = FakeClock()
        asked = Asked(clock)
        dead = [f"10.0.{number // 250}.{number % 250}" for number in range(2 * LOOKS_AT_ONCE)]
        asked.slow, asked.up = dict.fromkeys(dead, 5.0), dict.fromkeys(dead, 1e6)
        checks = HealthChecks(clock, asked, lambda *what: None)
        looks = {(address, "node"): look(address, 30.0) for address in dead}
        checks.watch("tg", looks)
        await clock.advance(14)  # all have been looked at once, and are looked at again and again
        checks.watch("tg", looks | {("new", "node"): look("new", 30.0)})
        await settle()
        assert [round(at) for at in asked.times["new"]] == [14]
        await checks.close()

    asyncio.run(run())


def test_what_is_new_among_hundreds_that_do_not_answer_is_looked_at_at_once() -> None:
    async def run() -> None:
        clock = FakeClock()
        asked = Asked(clock)
        dead = [f"10.0.{number // 250}.{number % 250}" for number in range(2 * LOOKS_AT_ONCE)]
        asked.slow, asked.up = dict.fromkeys(dead, 5.0), dict.fromkeys(dead, 1e6)
        checks = HealthChecks(clock, asked, lambda *what: None)
        looks = {(address, "node"): look(address, 30.0) for address in dead}
        checks.watch("tg", looks)
        await clock.advance(1.5)  # all of them are still waited for
        checks.watch("tg", looks | {("new", "node"): look("new", 30.0)})
        await settle()
        assert asked.times["new"] == [1.5]
        await checks.close()

    asyncio.run(run())


def test_hundreds_of_targets_are_looked_at_and_no_more_than_a_bounded_number_at_once() -> None:
    async def run() -> None:
        clock = FakeClock()
        asked, heard = Asked(clock), set[str]()
        addresses = [f"10.0.{number // 250}.{number % 250}" for number in range(4 * LOOKS_AT_ONCE)]
        asked.slow = dict.fromkeys(addresses, 2.0)
        checks = HealthChecks(clock, asked, lambda group, target, sandbox, outcome: heard.add(target))
        checks.watch("tg", {(address, "node"): look(address) for address in addresses})
        await settle()
        assert asked.now == LOOKS_AT_ONCE
        await clock.advance(1)
        assert asked.now == LOOKS_AT_ONCE + SILENT_LOOKS_AT_ONCE
        await clock.advance(5)
        assert asked.most == LOOKS_AT_ONCE + SILENT_LOOKS_AT_ONCE
        assert heard == set(addresses)
        await checks.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ((HEALTHY, HEALTHY), HEALTHY),
        ((HEALTHY, CHECKING), CHECKING),
        ((CHECKING, BAD, HEALTHY), BAD),
        ((), REGISTERING),
    ],
)
def test_what_several_nodes_see_is_told_as_the_worst_of_it(seen: tuple[Health, ...], told: Health) -> None:
    assert summed(seen) == told
