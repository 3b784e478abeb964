"""Load balancing in the agent, on simulated drivers: a target's health reaches proxies, rules and names, in the order that loses no request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest

from gureum.base.clock import SystemClock
from gureum.core import specs
from gureum.core.machine import Status
from gureum.core.references import references
from gureum.core.targets import TargetBook
from gureum.drivers.dns.records import Records
from gureum.drivers.dns.wire import TYPES, name_to_wire
from gureum.engine.lowering import Desired
from gureum.ports.checks import Outcome
from gureum.ports.firewalls import Listens
from gureum.ports.proxies import ProxySpec
from tests.core.agent_parts import network
from tests.core.balancer_parts import (
    REFUSED,
    TG,
    BalancedAgent,
    address_of,
    balancer,
    names,
    node,
    proxy,
    target,
    target_group,
)

I_11, I_12 = ("vpc-1", "10.0.1.11", 80), ("vpc-1", "10.0.1.12", 80)

Story = Callable[[BalancedAgent], Awaitable[None]]


def told(story: Story) -> None:
    """Runs a story with an agent; nothing unexpected may have happened in it."""

    async def run() -> None:
        agent = BalancedAgent()
        await agent.service.start()
        await asyncio.wait_for(story(agent), 30)
        assert agent.faults == 0
        await agent.service.close()

    asyncio.run(run())


def test_a_target_gets_requests_after_its_first_passed_check_and_none_after_it_failed() -> None:
    async def story(agent: BalancedAgent) -> None:
        agent.fail("10.0.1.12")
        agent.service.sync([network(), *node(), proxy(), target_group(target(11), target(12))])
        await agent.until(lambda: agent.state("i-12:80") == "unhealthy")
        await agent.until(lambda: agent.ports.proxies.up() == {"i-11:80"})
        assert agent.ports.proxies.specs["p-a"].sandbox_net == "/simulated/sim0/net/lb-a"
        agent.heal("10.0.1.12")
        await agent.until(lambda: agent.ports.proxies.up() == {"i-11:80", "i-12:80"})
        agent.fail("10.0.1.11", Outcome(False, "Target.Timeout", "Request timed out"))
        await agent.until(lambda: agent.ports.proxies.up() == {"i-12:80"})
        assert agent.shown("i-11:80")[:3] == ["unhealthy", "Target.Timeout", "Request timed out"]

    told(story)


def test_it_is_known_which_groups_unhealthy_targets_get_requests_of() -> None:
    """For AWS's UnhealthyRoutingRequestCount."""

    async def story(agent: BalancedAgent) -> None:
        failing = agent.service.request_sums._failing_over
        agent.service.sync([network(), *node(), proxy(), target_group(target(11))])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and agent.ports.proxies.up() == {"i-11:80"})
        await agent.until(lambda: failing.get("p-a") == frozenset())
        agent.fail("10.0.1.11")
        await agent.until(lambda: failing.get("p-a") == {"arn:tg"})
        agent.heal("10.0.1.11")
        await agent.until(lambda: failing.get("p-a") == frozenset())

    told(story)


def test_a_proxy_learns_of_a_target_when_it_may_be_used() -> None:
    """One change of the proxy for a registration, after the first passed check: it is what stands between that and traffic."""

    async def story(agent: BalancedAgent) -> None:
        agent.service.sync([network(), *node(), proxy(), target_group(target(11))])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and agent.ports.proxies.up() == {"i-11:80"})
        agent.ports.proxies.log.clear()
        agent.service.sync([network(), *node(), proxy(), target_group(target(11), target(12))])
        await agent.until(lambda: len(agent.ports.proxies.up()) == 2)
        assert set(agent.ports.proxies.log) <= {"p-a: i-11:80+", "p-a: i-11:80+ i-12:80+"}

    told(story)


@pytest.mark.parametrize(
    ("cross_zone", "wished"),
    [
        (True, {(n, zone) for n in (11, 12, 13, 14) for zone in "ab"}),
        (False, {(11, "a"), (12, "b"), (14, "a"), (14, "b")}),
    ],
)
def test_each_node_checks_the_targets_that_it_may_send_to(cross_zone: bool, wished: set[tuple[int, str]]) -> None:
    """AWS: "each load balancer node checks the health of each target"; without cross-zone balancing of those in its zone."""

    async def story(agent: BalancedAgent) -> None:
        targets = (target(11), target(12, "b"), target(13, "c"), target(14, ""))
        group = target_group(*targets, zones="ab", cross_zone=cross_zone)
        agent.service.sync([network(), *node("a"), *node("b"), proxy(cross_zone=cross_zone), group])

        def asked() -> set[tuple[str, str, str]]:
            return {(address, sandbox, source) for sandbox, source, address, *_ in agent.ports.checks.asked}

        expected = {(f"10.0.1.{number}", f"lb-{zone}", address_of(zone)) for number, zone in wished}
        await agent.until(lambda: len(asked()) >= len(expected))
        assert asked() == expected

    told(story)


def test_a_target_that_one_zone_cannot_reach_is_unhealthy_there_alone_and_so_in_the_sum() -> None:
    async def story(agent: BalancedAgent) -> None:
        agent.ports.checks.outcomes_from["lb-b", "10.0.1.11", 80] = REFUSED
        group = target_group(target(11), target(12, "b"), zones="ab", end_unhealthy=True)
        nodes = [*node("a"), *node("b"), names("a", "b")]
        agent.service.sync([network(), *nodes, proxy("a"), proxy("b"), balancer("a"), balancer("b"), group])
        await agent.until(lambda: agent.state("i-11:80") == "unhealthy" and agent.state("i-12:80") == "healthy")
        await agent.until(lambda: agent.ports.proxies.specs.get("p-b") and agent.ports.proxies.up("p-b") == {"i-12:80"})
        await agent.until(lambda: agent.ports.proxies.up("p-a") == {"i-11:80", "i-12:80"})
        await agent.until(lambda: _balanced(agent, 1) == {"10.0.1.12": 1})
        assert _balanced(agent, 0) == {"10.0.1.11": 1, "10.0.1.12": 1}
        await agent.service.balancing_loop.idle()
        assert f"p-b cut {TG} i-11:80" in agent.ports.proxies.log
        assert f"p-a cut {TG} i-11:80" not in agent.ports.proxies.log
        assert agent.ports.firewalls.ended == [(*I_11, (("eni-lb-b", "tcp", 80),))], "the other node still sends there"
        agent.fail("10.0.1.11")
        await agent.until(lambda: agent.ports.proxies.up("p-a") == {"i-12:80"})
        await agent.until(lambda: agent.ports.firewalls.ended[1:] == [(*I_11, (("eni-lb-a", "tcp", 80),))])
        agent.ports.checks.outcomes_from.clear()
        agent.heal("10.0.1.11")
        await agent.until(lambda: agent.state("i-11:80") == "healthy")
        await agent.until(lambda: len(agent.ports.proxies.up("p-b")) == 2)

    told(story)


def test_an_unhealthy_target_is_told_as_draining_for_the_interval() -> None:
    """AWS: target_health_state.unhealthy.draining_interval_seconds of a network load balancer: it gets nothing new meanwhile; health ends it."""

    async def story(agent: BalancedAgent) -> None:
        seen: list[str] = []
        wishes = [network(), *node(), balancer()]
        agent.fail("10.0.1.12")
        agent.service.sync([*wishes, target_group(target(11), target(12), unhealthy_draining_s=0.2)])
        await agent.until(lambda: agent.state("i-11:80") == "healthy" and agent.state("i-12:80") == "unhealthy")
        agent.fail("10.0.1.11")
        agent.heal("10.0.1.12")
        await agent.until(lambda: _balanced(agent) == {"10.0.1.12": 1})
        await agent.until(lambda: agent.state("i-11:80") == "unhealthy.draining")

        def note() -> bool:
            seen.append(agent.state("i-11:80"))
            return seen[-1] == "unhealthy"

        await agent.until(note)
        assert set(seen) == {"unhealthy.draining", "unhealthy"}
        assert agent.ports.firewalls.ended == []
        agent.heal("10.0.1.11")
        await agent.until(lambda: agent.state("i-11:80") == "healthy")

    told(story)


def test_a_zone_that_is_enabled_later_begins_with_checks_of_its_own() -> None:
    async def story(agent: BalancedAgent) -> None:
        agent.service.sync([network(), *node("a"), proxy("a"), target_group(target(11))])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and agent.ports.proxies.up() == {"i-11:80"})
        agent.ports.checks.outcomes_from["lb-b", "10.0.1.11", 80] = REFUSED
        both = [network(), *node("a"), *node("b"), proxy("a"), proxy("b")]
        agent.service.sync([*both, target_group(target(11), zones="ab")])
        await agent.until(lambda: agent.state("i-11:80") == "unhealthy")
        assert agent.ports.proxies.up() == {"i-11:80"}
        assert {name for line in agent.ports.proxies.log if line.startswith("p-a:") for name in line.split()[1:]} <= {
            "i-11:80+"
        }
        agent.ports.checks.outcomes_from.clear()
        await agent.until(lambda: agent.state("i-11:80") == "healthy")
        agent.service.sync([network(), *node("a"), proxy("a"), target_group(target(11))])
        await agent.until(lambda: "p-b" not in agent.ports.proxies.specs)
        assert agent.state("i-11:80") == "healthy"

    told(story)


def test_with_all_targets_unhealthy_all_get_requests() -> None:
    """AWS: elbv2 "target group health": routing failover, by default with less than one healthy target."""

    async def story(agent: BalancedAgent) -> None:
        agent.fail("10.0.1.11")
        agent.fail("10.0.1.12")
        agent.service.sync([network(), *node(), proxy(), balancer("a"), target_group(target(11), target(12))])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and len(agent.ports.proxies.up()) == 2)
        await agent.until(lambda: len(_balanced(agent)) == 2)
        assert _fails_open(agent), "so that such flows are counted by themselves"
        await agent.until(lambda: agent.zones() == {"lb-a": [False, False]})
        agent.heal("10.0.1.12")
        await agent.until(lambda: agent.ports.proxies.up() == {"i-12:80"})
        await agent.until(lambda: _balanced(agent) == {"10.0.1.12": 1})
        assert not _fails_open(agent)
        await agent.until(lambda: agent.zones() == {"lb-a": [True, True]})

    told(story)


@pytest.mark.parametrize(
    ("failover", "dead", "up"),
    [
        (specs.Failover(), {1, 2, 3}, {4}),
        (specs.Failover(routing_count=2), {1, 2, 3}, {1, 2, 3, 4}),
        (specs.Failover(routing_count=2), {1, 2}, {3, 4}),
        (specs.Failover(routing_percent=50), {1, 2}, {3, 4}),
        (specs.Failover(routing_percent=51), {1, 2}, {1, 2, 3, 4}),
        (specs.Failover(routing_count=1, routing_percent=75), {1}, {2, 3, 4}),
    ],
)
def test_routing_fails_over_below_the_wished_number_or_share(
    failover: specs.Failover, dead: set[int], up: set[int]
) -> None:
    """AWS: "if you specify both types of thresholds, the action is taken when either is breached"."""

    async def story(agent: BalancedAgent) -> None:
        for number in dead:
            agent.fail(f"10.0.1.{number}")
        group = target_group(*(target(number) for number in range(1, 5)), failover=failover)
        agent.service.sync([network(), *node(), proxy(), group])
        await agent.until(lambda: all(agent.state(f"i-{number}:80") == "unhealthy" for number in dead))
        await agent.until(lambda: agent.ports.proxies.up() == {f"i-{number}:80" for number in up})

    told(story)


def test_without_cross_zone_balancing_a_node_uses_the_targets_of_its_zone() -> None:
    async def story(agent: BalancedAgent) -> None:
        group = target_group(target(11), target(12, "b"), target(13, ""), zones="ab")
        agent.service.sync(
            [network(), *node("a"), *node("b"), proxy("a", cross_zone=False), proxy("b", cross_zone=True), group]
        )
        await agent.until(lambda: agent.ports.proxies.specs.keys() == {"p-a", "p-b"})
        await agent.until(lambda: agent.ports.proxies.up("p-b") == {"i-11:80", "i-12:80", "i-13:80"})
        await agent.until(lambda: agent.ports.proxies.up("p-a") == {"i-11:80", "i-13:80"})
        assert len(agent.ports.proxies.specs["p-a"].groups[0].servers) == 2

    told(story)


def test_a_draining_target_gets_nothing_new_and_is_cut_when_it_has_left() -> None:
    async def story(agent: BalancedAgent) -> None:
        wishes = [network(), *node(), proxy()]
        agent.service.sync([*wishes, target_group(target(11), target(12), end_deregistered=True)])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and len(agent.ports.proxies.up()) == 2)
        agent.service.sync([*wishes, target_group(target(11), target(12, draining=True), end_deregistered=True)])
        await agent.until(lambda: agent.ports.proxies.up() == {"i-11:80"})
        assert [one.name for one in agent.ports.proxies.specs["p-a"].groups[0].servers] == ["i-11:80", "i-12:80"]
        agent.ports.proxies.log.clear()
        agent.service.sync([*wishes, target_group(target(11), end_deregistered=True)])
        await agent.until(lambda: len(agent.ports.proxies.specs["p-a"].groups[0].servers) == 1)
        assert agent.ports.proxies.log == ["p-a: i-11:80+ i-12:80-", f"p-a cut {TG} i-12:80", "p-a: i-11:80+"]

    told(story)


def test_a_change_of_health_does_not_wait_for_connections_that_are_being_cut() -> None:
    async def story(agent: BalancedAgent) -> None:
        wishes, proxies = [network(), *node(), proxy()], agent.ports.proxies
        agent.service.sync([*wishes, target_group(target(11), target(12), target(13), end_deregistered=True)])
        await agent.until(lambda: proxies.specs.get("p-a") and len(proxies.up()) == 3)
        proxies.slow_cut.clear()
        agent.service.sync([*wishes, target_group(target(11), target(12), end_deregistered=True)])
        await agent.until(lambda: proxies.log[-1] == "p-a: i-11:80+ i-12:80+ i-13:80-")
        agent.fail("10.0.1.12")
        await agent.until(lambda: proxies.log[-1] == "p-a: i-11:80+ i-12:80- i-13:80-")
        proxies.slow_cut.set()
        await agent.until(lambda: proxies.log[-2:] == [f"p-a cut {TG} i-13:80", "p-a: i-11:80+ i-12:80-"])

    told(story)


def test_a_draining_target_is_looked_at_no_more_and_begins_anew_when_it_comes_back() -> None:
    async def story(agent: BalancedAgent) -> None:
        wishes = [network(), *node(), proxy()]
        agent.service.sync([*wishes, target_group(target(11), target(12))])
        await agent.until(lambda: agent.state("i-12:80") == "healthy")
        agent.service.sync([*wishes, target_group(target(11), target(12, draining=True))])
        await agent.until(lambda: agent.ports.proxies.up() == {"i-11:80"})
        agent.ports.checks.asked = []
        await agent.until(lambda: len(agent.ports.checks.asked) >= 3)
        assert {one[2] for one in agent.ports.checks.asked} == {"10.0.1.11"}
        agent.fail("10.0.1.12")
        agent.service.sync([*wishes, target_group(target(11), target(12))])
        await agent.until(lambda: agent.state("i-12:80") == "initial")
        await agent.until(lambda: agent.state("i-12:80") == "unhealthy")

    told(story)


def test_a_target_that_comes_back_from_draining_is_not_forgotten_by_the_proxy_in_between() -> None:
    async def story(agent: BalancedAgent) -> None:
        wishes = [network(), *node(), proxy()]
        agent.service.sync([*wishes, target_group(target(11), target(12))])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and len(agent.ports.proxies.up()) == 2)
        agent.service.sync([*wishes, target_group(target(11), target(12, draining=True))])
        await agent.until(lambda: agent.ports.proxies.up() == {"i-11:80"})
        agent.ports.proxies.log.clear()
        agent.service.sync([*wishes, target_group(target(11), target(12))])
        await agent.until(lambda: len(agent.ports.proxies.up()) == 2)
        assert {one.replace("12:80-", "12:80+") for one in agent.ports.proxies.log} == {"p-a: i-11:80+ i-12:80+"}

    told(story)


def test_a_target_that_was_registered_anew_begins_anew_though_it_was_not_seen_to_drain() -> None:
    """It is looked at at once, not at the interval's end, and the proxy that has it keeps it out of rotation meanwhile."""

    async def story(agent: BalancedAgent) -> None:
        wishes = [network(), *node(), proxy()]
        slowly = {"interval_s": 30.0, "unhealthy_threshold": 1}
        first, second = (target(12, registration=one) for one in ("1.0", "2.0"))
        agent.service.sync([*wishes, target_group(target(11), first, **slowly)])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and len(agent.ports.proxies.up()) == 2)
        assert agent.shown("i-12:80") == ["healthy", "", "", "1.0"]
        agent.ports.proxies.log.clear()
        agent.fail("10.0.1.12")
        agent.service.sync([*wishes, target_group(target(11), second, **slowly)])
        await agent.until(lambda: agent.shown("i-12:80")[0] == "unhealthy")
        assert agent.shown("i-12:80")[3] == "2.0"
        assert set(agent.ports.proxies.log) == {"p-a: i-11:80+ i-12:80-"}

    told(story)


def test_a_change_of_health_does_not_wait_for_a_slow_change_of_the_proxy() -> None:
    async def story(agent: BalancedAgent) -> None:
        group = target_group(target(11), target(12))
        agent.service.sync([network(), *node(), proxy(), group])
        proxies = agent.ports.proxies
        await agent.until(lambda: proxies.specs.get("p-a") and len(proxies.up()) == 2)
        await agent.service.balancing_loop.idle()
        proxies.slow.clear()
        agent.service.sync([network(), *node(), proxy(protocol="TLS"), group])
        agent.fail("10.0.1.12")
        await agent.until(lambda: "p-a meanwhile: i-11:80+ i-12:80-" in proxies.log)
        assert len(proxies.up()) == 2
        proxies.slow.set()
        await agent.until(lambda: proxies.up() == {"i-11:80"})

    told(story)


def test_what_could_not_be_cut_is_cut_at_the_next_try() -> None:
    async def story(agent: BalancedAgent) -> None:
        wishes = [network(), *node(), proxy()]
        agent.service.sync([*wishes, target_group(target(11), target(12))])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and len(agent.ports.proxies.up()) == 2)
        agent.ports.proxies.refuse = 2
        agent.service.sync([*wishes, target_group(target(11), end_deregistered=True)])
        await agent.until(lambda: f"p-a cut {TG} i-12:80" in agent.ports.proxies.log)

    told(story)


@pytest.mark.parametrize(("wished", "cut"), [(True, True), (False, False)])
def test_connections_to_a_target_that_turns_unhealthy_end_where_that_is_wished(wished: bool, cut: bool) -> None:
    """AWS: target_health_state.unhealthy.connection_termination.enabled, for the TLS listener of a network load balancer."""

    async def story(agent: BalancedAgent) -> None:
        group = target_group(target(11), target(12), end_unhealthy=wished)
        agent.service.sync([network(), *node(), proxy(protocol="TLS"), balancer(), group])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and len(agent.ports.proxies.up()) == 2)
        agent.fail("10.0.1.12")
        await agent.until(lambda: agent.ports.proxies.up() == {"i-11:80"})
        await agent.until(lambda: _balanced(agent) == {"10.0.1.11": 1})
        await agent.service.balancing_loop.idle()
        assert (f"p-a cut {TG} i-12:80" in agent.ports.proxies.log) == cut
        assert agent.ports.firewalls.ended == ([(*I_12, (("eni-lb-a", "tcp", 80),))] if cut else [])

    told(story)


def test_udp_flows_leave_a_target_that_turns_unhealthy_though_connections_stay() -> None:
    """AWS: re:Post, "NLB stickiness timeout with unhealthy nodes": "as soon as the target is unhealthy, the next packet will get routed to a new
    target"; TCP's go by target_health_state.unhealthy.connection_termination.enabled. A group of TCP_UDP has listeners of both."""

    async def story(agent: BalancedAgent) -> None:
        one = balancer(protocol="udp")
        both = (*one.spec.listeners, *balancer().spec.listeners)
        wished = msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, listeners=both))
        group = target_group(target(11), target(12))
        agent.service.sync([network(), *node(), proxy(protocol="TLS"), wished, group])
        await agent.until(lambda: _balanced(agent) == {"10.0.1.11": 1, "10.0.1.12": 1})
        agent.fail("10.0.1.12")
        await agent.until(lambda: _balanced(agent) == {"10.0.1.11": 1})
        await agent.service.balancing_loop.idle()
        assert agent.ports.firewalls.ended == [(*I_12, (("eni-lb-a", "udp", 80),))]
        assert f"p-a cut {TG} i-12:80" not in agent.ports.proxies.log

    told(story)


def test_udp_flows_that_failed_open_leave_once_a_target_is_healthy() -> None:
    """While none is healthy all are used, and their flows stay; they must not stay at the dead ones when that is over."""

    async def story(agent: BalancedAgent) -> None:
        group = target_group(target(11), target(12))
        agent.service.sync([network(), *node(), balancer(protocol="udp"), group])
        await agent.until(lambda: agent.state("i-11:80") == agent.state("i-12:80") == "healthy")
        agent.fail("10.0.1.11")
        await agent.until(lambda: agent.ports.firewalls.ended == [(*I_11, (("eni-lb-a", "udp", 80),))])
        agent.fail("10.0.1.12")
        await agent.until(lambda: agent.state("i-12:80") == "unhealthy")
        await agent.service.balancing_loop.idle()
        assert _balanced(agent) == {"10.0.1.11": 1, "10.0.1.12": 1}
        assert len(agent.ports.firewalls.ended) == 1, "all are used: nobody is better off elsewhere"
        agent.heal("10.0.1.12")
        await agent.until(lambda: agent.ports.firewalls.ended[1:] == [(*I_11, (("eni-lb-a", "udp", 80),))])
        assert _balanced(agent) == {"10.0.1.12": 1}

    told(story)


def test_flows_end_though_another_listener_sends_to_the_same_target_by_a_group_of_its_own() -> None:
    async def story(agent: BalancedAgent) -> None:
        other = "tg-another"
        one = balancer()
        spec = msgspec.structs.replace(
            one.spec,
            listeners=(*one.spec.listeners, specs.BalancedListener("tcp", 81, ((other, 1),))),
            uses=(*one.spec.uses, specs.Use(other)),
        )
        kept = target_group(target(12), name=other)
        wishes = [network(), *node(), msgspec.structs.replace(one, spec=spec), kept]
        agent.service.sync([*wishes, target_group(target(11), target(12), end_deregistered=True)])
        await agent.until(lambda: _balanced(agent) == {"10.0.1.11": 1, "10.0.1.12": 1})
        agent.service.sync([*wishes, target_group(target(11), end_deregistered=True)])
        await agent.until(lambda: agent.ports.firewalls.ended == [(*I_12, (("eni-lb-a", "tcp", 80),))])

    told(story)


@pytest.mark.parametrize(("wished", "cut"), [(True, True), (False, False)])
def test_flows_to_a_target_that_left_end_where_that_is_wished(wished: bool, cut: bool) -> None:
    """AWS: deregistration_delay.connection_termination.enabled of a network load balancer's target group."""

    async def story(agent: BalancedAgent) -> None:
        wishes = [network(), *node(), balancer(), proxy(protocol="TCP")]
        agent.service.sync([*wishes, target_group(target(11), target(12), end_deregistered=wished)])
        await agent.until(lambda: _balanced(agent) == {"10.0.1.11": 1, "10.0.1.12": 1})
        agent.service.sync([*wishes, target_group(target(11), target(12, draining=True), end_deregistered=wished)])
        await agent.until(lambda: _balanced(agent) == {"10.0.1.11": 1})
        assert agent.ports.firewalls.ended == []
        agent.service.sync([*wishes, target_group(target(11), end_deregistered=wished)])
        await agent.until(lambda: "i-12:80" not in agent.status[f"TargetGroup/{TG}"].data["targets"])
        await agent.service.balancing_loop.idle()
        assert agent.ports.firewalls.ended == ([(*I_12, (("eni-lb-a", "tcp", 80),))] if cut else [])
        assert (f"p-a cut {TG} i-12:80" in agent.ports.proxies.log) == cut

    told(story)


def test_layer_4_targets_share_flows_by_the_weights_of_their_groups() -> None:
    async def story(agent: BalancedAgent) -> None:
        blue = target_group(target(11), target(12), target(13), name="tg-blue")
        green = target_group(target(21), target(22), name="tg-green")
        shares = (("tg-blue", 90), ("tg-green", 10))
        agent.service.sync([network(), *node(), balancer("a", *shares), blue, green])
        found = {f"10.0.1.{number}": 6 for number in (11, 12, 13)} | {"10.0.1.21": 1, "10.0.1.22": 1}
        await agent.until(lambda: _balanced(agent) == found)  # 18 : 2 as 90 : 10
        agent.fail("10.0.1.13")
        await agent.until(lambda: "10.0.1.13" not in _balanced(agent))
        assert sum(_balanced(agent)[f"10.0.1.{n}"] for n in (11, 12)) == 9 * (
            _balanced(agent)["10.0.1.21"] + _balanced(agent)["10.0.1.22"]
        )
        one = agent.ports.firewalls.rules["vpc-1"].balancers[0]
        assert (one.interface, one.address, one.public) == ("eni-lb-a", address_of("a"), "198.18.16.9")

    told(story)


def test_an_interface_without_groups_of_a_balancer_is_open() -> None:
    async def story(agent: BalancedAgent) -> None:
        agent.service.sync([network(), *node(), balancer(), target_group(target(11))])
        await agent.ready("Balancer/b-a")
        assert agent.ports.firewalls.rules["vpc-1"].ports[0].open

    told(story)


def test_names_leave_out_zones_without_enough_healthy_targets_and_none_when_all_are_so() -> None:
    """AWS: elbv2 "target group health": DNS failover; "if all zones are considered unhealthy, traffic goes to all zones"."""

    async def story(agent: BalancedAgent) -> None:
        group = target_group(target(11), target(12, "b"), zones="ab")
        agent.service.sync([network(), *node("a"), *node("b"), names("a", "b", zonal=True), group])

        def answered(name: str = "lb.elb.amazonaws.com") -> set[str]:
            return set(agent.ports.names.resolve("", name, "A"))

        both = {address_of("a"), address_of("b")}
        await agent.until(lambda: agent.state("i-12:80") == "healthy")
        await agent.until(lambda: answered() == both)
        agent.fail("10.0.1.12")
        await agent.until(lambda: answered() == {address_of("a")})
        assert answered("b.lb.elb.amazonaws.com") == {address_of("b")}, "the zone's own name still leads there"
        agent.fail("10.0.1.11")
        await agent.until(lambda: answered() == both)
        agent.heal("10.0.1.12")
        await agent.until(lambda: answered() == {address_of("b")})

    told(story)


@pytest.mark.parametrize(("own_zone", "dice", "sees_other"), [(100, 0.99, False), (85, 0.84, False), (85, 0.85, True)])
def test_who_asks_in_a_zone_is_told_that_zones_own_address_while_it_is_healthy(
    own_zone: int, dice: float, sees_other: bool
) -> None:
    """AWS: "DNS affinity" of network load balancers: of 100 or of 85 percent of the questions in the VPC."""
    book, answers = TargetBook(), Records(dice=lambda: dice)
    group = target_group(target(11), target(12, "b"), zones="ab", cross_zone=False, unhealthy_threshold=1).spec
    book.put(TG, group)
    named = msgspec.structs.replace(
        names("a", "b", zonal=True).spec,
        network="vpc-1",
        ranges=(("a", "10.0.1.0/24"), ("b", "10.0.2.0/24"), ("c", "10.0.3.0/24")),
        own_zone=own_zone,
    )

    def told_to(asker: str, view: str = "vpc-1", name: str = "lb.elb.amazonaws.com") -> set[str]:
        answers.replace("lb", book.records(named), ())
        (found,) = answers.find(view, name_to_wire(name), TYPES["A"], asker).answers
        return {str(IPv4Address(value)) for value in found.rdatas}

    def look(passed: bool, number: int, zone: str) -> None:
        book.note(TG, f"i-{number}:80", f"lb-{zone}", Outcome(True) if passed else REFUSED, 0.0)

    look(True, 11, "a")
    look(True, 12, "b")
    a, b = ({address_of(zone)} for zone in "ab")
    assert (told_to("10.0.1.200"), told_to("10.0.2.9")) == ((a | b, a | b) if sees_other else (a, b))
    assert told_to("10.0.3.9") == told_to("10.0.1.200", "vpc-2") == told_to("::1") == told_to("127.0.0.1", "") == a | b
    assert told_to("10.0.2.9", name="a.lb.elb.amazonaws.com") == a, "a zone's own name"
    look(False, 12, "b")
    assert told_to("10.0.2.9") == a, "its own zone is not healthy"
    look(False, 11, "a")
    assert told_to("10.0.2.9") == a | b, "none is healthy"
    answers.forget("lb")
    assert not answers.hears_apart("vpc-1", "10.0.1.200")


@pytest.mark.parametrize(
    ("failover", "dead", "stays"),
    [
        (specs.Failover(dns_count=2), {1, 2, 3}, False),
        (specs.Failover(dns_count=2), {1, 2}, True),
        (specs.Failover(dns_percent=50), {1, 2}, True),
        (specs.Failover(dns_percent=51), {1, 2}, False),
        (specs.Failover(dns_count=1, dns_percent=75), {1, 2}, False),
        (specs.Failover(dns_count=0), {1, 2, 3, 4}, True),
    ],
)
def test_a_zone_leaves_the_names_below_the_wished_number_or_share(
    failover: specs.Failover, dead: set[int], stays: bool
) -> None:
    """AWS: target_group_health.dns_failover.*; "off", which is 0 here, keeps the zone whatever becomes of its targets."""

    async def story(agent: BalancedAgent) -> None:
        for number in dead:
            agent.fail(f"10.0.1.{number}")
        here = [target(number) for number in range(1, 5)]
        there = [target(number, "b") for number in range(11, 15)]
        group = target_group(*here, *there, zones="ab", failover=failover)
        agent.service.sync([network(), *node("a"), *node("b"), names("a", "b", zonal=True), group])
        await agent.until(lambda: all(agent.state(f"i-{number}:80") == "unhealthy" for number in dead))
        await agent.until(
            lambda: all(agent.state(f"i-{one}:80") == "healthy" for one in (*range(11, 15), *{1, 2, 3, 4} - dead))
        )
        wished = {address_of("a"), address_of("b")} if stays else {address_of("b")}
        await agent.until(lambda: set(agent.ports.names.resolve("", "lb.elb.amazonaws.com", "A")) == wished)

    told(story)


def test_with_cross_zone_balancing_a_zone_without_healthy_targets_stays_in_the_names() -> None:
    async def story(agent: BalancedAgent) -> None:
        group = target_group(target(11), target(12, "b"), zones="ab")
        agent.service.sync([network(), *node("a"), *node("b"), names("a", "b"), group])
        agent.fail("10.0.1.12")
        await agent.until(lambda: agent.state("i-12:80") == "unhealthy" and agent.state("i-11:80") == "healthy")
        await agent.service.balancing_loop.idle()
        assert len(agent.ports.names.resolve("", "lb.elb.amazonaws.com", "A")) == 2

    told(story)


def test_a_group_without_a_probe_is_healthy_and_never_looked_at() -> None:
    async def story(agent: BalancedAgent) -> None:
        agent.service.sync([network(), *node(), proxy(), target_group(target(11), probe=None)])
        await agent.until(lambda: agent.ports.proxies.specs.get("p-a") and agent.ports.proxies.up() == {"i-11:80"})
        assert agent.ports.checks.asked == []
        assert agent.state("i-11:80") == "healthy"

    told(story)


def test_a_group_that_no_load_balancer_uses_is_not_looked_at_and_begins_anew_with_the_next() -> None:
    async def story(agent: BalancedAgent) -> None:
        agent.service.sync([network(), *node(), target_group(target(11))])
        await agent.until(lambda: agent.state("i-11:80") == "healthy")
        agent.service.sync([network(), *node(), target_group(target(11), places=())])
        await agent.until(lambda: agent.state("i-11:80") == "initial")
        assert agent.status[f"TargetGroup/{TG}"].data["targets"]["i-11:80"][1] == "Elb.RegistrationInProgress"

    told(story)


async def ends(agent: BalancedAgent) -> None:
    """The proxy's process ends, and is started again."""
    before = len(agent.ports.proxies.log)
    agent.ports.proxies.end("p-a")
    await agent.until(lambda: len(agent.ports.proxies.log) > before)
    await agent.service.balancing_loop.idle()


async def served(agent: BalancedAgent) -> None:
    agent.service.sync([network(), *node(), proxy(), target_group(target(11))])
    await agent.until(lambda: agent.state("i-11:80") == "healthy")
    await agent.service.balancing_loop.idle()


def held_back(agent: BalancedAgent) -> list[Status]:
    return [one for one in agent.told if "again and again" in one.reason]


def test_a_proxy_that_died_is_ensured_at_once_and_one_that_dies_in_a_loop_waits() -> None:
    async def story(agent: BalancedAgent) -> None:
        await served(agent)
        for _ in range(10):
            await ends(agent)
        assert held_back(agent) == []
        agent.ports.proxies.end("p-a")
        await agent.until(lambda: held_back(agent))
        await agent.until(lambda: agent.status["Proxy/p-a"].phase == "ready")

    told(story)


def test_a_proxy_that_served_for_a_while_is_ensured_at_once_however_often_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead_s = 0.0
    monkeypatch.setattr(SystemClock, "now", lambda _: time.time() + ahead_s)

    async def story(agent: BalancedAgent) -> None:
        nonlocal ahead_s
        await served(agent)
        for _ in range(30):
            ahead_s += 2
            await ends(agent)
        assert held_back(agent) == []

    told(story)


def test_a_proxy_that_ends_before_it_is_up_waits_sooner() -> None:
    async def story(agent: BalancedAgent) -> None:
        await served(agent)
        agent.ports.proxies.refuse = 10_000
        for _ in range(5):
            agent.ports.proxies.end("p-a")
        await agent.until(lambda: held_back(agent))

    told(story)


def test_things_go_in_the_order_of_their_references() -> None:
    async def story(agent: BalancedAgent) -> None:
        wishes = [network(), *node(), proxy(), balancer(), names("a"), target_group(target(11))]
        agent.service.sync(wishes[::-1])
        await agent.ready(*(one.id for one in wishes))
        agent.told.clear()
        agent.service.sync([])
        await agent.until(lambda: not agent.service.machine.leaving)
        gone = [status.id for status in agent.told if status.phase == "gone"]
        for one in wishes:
            for other in references(one):
                assert gone.index(one.id) < gone.index(other), gone
        assert agent.ports.proxies.specs == {}
        assert agent.ports.names.resolve("", "lb.elb.amazonaws.com", "A") == ()
        assert not agent.store.range("kept/")

    told(story)


def test_a_new_agent_takes_no_healthy_target_out() -> None:
    """Not for a moment: requests come in meanwhile."""

    async def run() -> None:
        first = BalancedAgent()
        first.fail("10.0.1.12")
        wishes = [network(), *node(), proxy(), balancer(), names("a"), target_group(target(11), target(12))]
        await first.service.start()
        first.service.sync(wishes)
        await first.until(lambda: first.state("i-12:80") == "unhealthy" and first.state("i-11:80") == "healthy")
        await first.until(lambda: first.ports.proxies.up() == {"i-11:80"} and _balanced(first) == {"10.0.1.11": 1})
        await first.until(lambda: len(first.store.range("desired/")) == len(wishes))
        await first.service.close()
        first.ports.proxies.log.clear()
        applied: list[dict[str, int]] = []
        apply = first.ports.firewalls.apply

        async def noted(rules: Any) -> None:
            await apply(rules)
            applied.append(_balanced(first))

        first.ports.firewalls.apply = noted
        asking: asyncio.Event = asyncio.Event()
        look = first.ports.checks.check

        async def slow(*what: Any) -> Outcome:
            await asking.wait()
            return await look(*what)

        first.ports.checks.check = slow
        second = BalancedAgent(first.store, first.ports)
        await second.service.start()
        assert second.ports.names.resolve("", "lb.elb.amazonaws.com", "A"), "known before anything is served"
        await second.ready(*(one.id for one in wishes))
        asking.set()
        await second.until(lambda: len(second.ports.checks.asked) > 4)
        assert set(second.ports.proxies.log) == {"p-a: i-11:80+ i-12:80-"}
        assert all(one == {"10.0.1.11": 1} for one in applied)
        assert applied
        assert second.faults == 0
        await second.service.close()

    asyncio.run(run())


def test_udp_flows_leave_an_unhealthy_target_though_the_agent_died_before_it_could_end_them() -> None:
    async def run() -> None:
        first = BalancedAgent()
        wishes = [network(), *node(), balancer(protocol="udp"), target_group(target(11), target(12))]
        await first.service.start()
        first.service.sync(wishes)
        await first.until(lambda: first.state("i-11:80") == first.state("i-12:80") == "healthy")
        end_flows, asked = first.ports.firewalls.end_flows, asyncio.Event()

        async def never(*_: Any) -> None:
            asked.set()
            await asyncio.Event().wait()

        first.ports.firewalls.end_flows = never
        first.fail("10.0.1.12")
        await first.until(asked.is_set)
        await first.until(lambda: first.state("i-12:80") == "unhealthy")
        await first.service.close()
        first.ports.firewalls.end_flows = end_flows
        second = BalancedAgent(first.store, first.ports)
        await second.service.start()
        await second.until(lambda: second.ports.firewalls.ended == [(*I_12, (("eni-lb-a", "udp", 80),))])
        await second.service.close()

    asyncio.run(run())


def test_a_moved_target_is_not_taken_for_healthy_after_a_restart() -> None:
    async def run() -> None:
        first = BalancedAgent()
        await first.service.start()
        first.service.sync([network(), *node(), proxy(), target_group(target(11))])
        await first.until(lambda: first.state("i-11:80") == "healthy")
        await first.service.close()
        moved = msgspec.structs.replace(target(11), address="10.0.1.99")
        second = BalancedAgent(first.store, first.ports)
        second.fail("10.0.1.99")
        await second.service.start()
        second.service.sync([network(), *node(), proxy(), target_group(moved)])
        await second.until(lambda: second.state("i-11:80") == "unhealthy")
        await second.service.close()

    asyncio.run(run())


def _fails_open(agent: BalancedAgent) -> bool:
    return agent.ports.firewalls.rules["vpc-1"].balancers[0].ports[0].fail_open


def _balanced(agent: BalancedAgent, node: int = 0) -> dict[str, int]:
    """Address and weight of who gets flows of a node's balanced port."""
    rules = agent.ports.firewalls.rules.get("vpc-1")
    if rules is None or len(rules.balancers) <= node:
        return {}
    return {one.address: one.weight for one in rules.balancers[node].ports[0].targets}


def test_rules_say_where_a_nodes_proxy_listens_before_it_does_and_no_longer_when_it_has_gone() -> None:
    async def story(agent: BalancedAgent) -> None:
        def listens() -> Listens | None:
            return agent.ports.firewalls.rules["vpc-1"].ports[0].listens

        def at(*ports: int) -> Desired:
            wished = proxy()
            assert isinstance(wished.spec, specs.Proxy)
            listeners = tuple(
                msgspec.structs.replace(wished.spec.proxy.listeners[0], port=port, arn=f"arn:{port}") for port in ports
            )
            inner = msgspec.structs.replace(wished.spec.proxy, listeners=listeners)
            return msgspec.structs.replace(wished, spec=msgspec.structs.replace(wished.spec, proxy=inner))

        seen: list[tuple[int, ...]] = []
        ensure = agent.ports.proxies.ensure

        async def noting(spec: ProxySpec) -> None:
            told = listens()
            assert told is not None
            assert {one.port for one in spec.listeners} <= set(told.tcp)
            seen.append(told.tcp)
            await ensure(spec)

        agent.ports.proxies.ensure = noting
        of_node = [_as_node(one) for one in node()]
        agent.service.sync([network(), *of_node])
        await agent.ready("Interface/eni-lb-a")
        assert listens() == Listens((), ping=True)
        for ports in ((80,), (80, 443), (443,)):
            agent.service.sync([network(), *of_node, at(*ports), target_group(target(11))])
            await agent.until(lambda ports=ports: seen[-1:] == [ports])
        agent.service.sync([network(), *of_node, target_group(target(11))])
        await agent.until(lambda: listens() == Listens((), ping=True))

    told(story)


def _as_node(one: Desired) -> Desired:
    if not isinstance(one.spec, specs.Interface):
        return one
    return msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, node="application"))


def test_a_layer_4_proxy_whose_last_listener_goes_ends_when_its_connections_have() -> None:
    """AWS: "Delete a listener for your Network Load Balancer": existing connections remain open; of application ones they are closed."""

    async def story(agent: BalancedAgent) -> None:
        def speaks() -> bool:
            return bool(agent.ports.firewalls.rules["vpc-1"].ports[0].speaks_for_clients)

        proxies = agent.ports.proxies
        around, group = [network(), *node()], target_group(target(11))
        agent.service.sync([*around, proxy(protocol="TCP"), group])
        await agent.ready("Proxy/p-a")
        proxies.open = 1
        agent.service.sync([*around, group])
        await agent.until(lambda: proxies.log.count("finish p-a") == 2)
        assert "p-a" in proxies.specs
        assert speaks()  # answers of its targets still have to find it
        # Who listens again before that goes on as he was.
        agent.service.sync([*around, proxy(protocol="TCP"), group])
        await agent.ready("Proxy/p-a")
        agent.service.sync([*around, group])
        proxies.open = 0
        await agent.until(lambda: "p-a" not in proxies.specs and not speaks())

        # Of a load balancer that goes, and of an application one, nothing is waited for.
        for wished, left in ((proxy(protocol="TCP"), []), (proxy(), around)):
            agent.service.sync([*around, wished, group])
            await agent.ready("Proxy/p-a")
            proxies.open = 1
            proxies.log.clear()
            agent.service.sync([*left, group] if left else [])
            await agent.until(lambda: "p-a" not in proxies.specs)
            assert "finish p-a" not in proxies.log

    told(story)


def test_the_kernel_keeps_a_port_until_the_proxy_that_takes_it_listens() -> None:
    """As when proxy_protocol_v2 is switched on: nobody is refused meanwhile."""

    async def story(agent: BalancedAgent) -> None:
        def balanced() -> list[tuple[str, int, int]]:
            rules = agent.ports.firewalls.rules.get("vpc-1")
            balancers = rules.balancers if rules is not None else ()
            return [(one.interface, port.port, len(port.targets)) for one in balancers for port in one.ports]

        def listens() -> tuple[int, ...]:
            port = next(one for one in agent.ports.firewalls.rules["vpc-1"].ports if one.interface == "eni-lb-a")
            return tuple(port.listens.tcp) if port.listens else ()

        around = [network(), *map(_as_node, node()), target_group(target(11))]
        proxies = agent.ports.proxies
        agent.service.sync([*around, balancer()])
        await agent.until(lambda: balanced() == [("eni-lb-a", 80, 1)])
        for _ in range(2):
            proxies.slow.clear()
            agent.service.sync([*around, proxy(protocol="TCP")])
            await agent.until(lambda: listens() == (80,))
            assert balanced() == [("eni-lb-a", 80, 1)]
            proxies.slow.set()
            await agent.until(lambda: balanced() == [])
            assert "p-a" in proxies.specs
            # The way back needs nobody to wait.
            agent.service.sync([*around, balancer()])
            await agent.until(lambda: balanced() == [("eni-lb-a", 80, 1)] and "p-a" not in proxies.specs)
        # A port that nobody takes goes at once.
        agent.service.sync(around)
        await agent.until(lambda: balanced() == [])

    told(story)
