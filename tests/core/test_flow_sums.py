"""Differences of the kernel's and the proxies' counters, and the peak between looks."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from gureum.core.flow_sums import SAMPLE_S, FlowSum, FlowSums
from gureum.core.specs import Balancer, Proxy
from gureum.ports import PortError
from gureum.ports.firewalls import BalancedCounts
from gureum.ports.proxies import Counters, Listener, PortCounters, ProxySpec
from tests.core.fake_clock import FakeClock


class Parts:
    """What of a machine is looked at: one balancer and one proxy on a node."""

    def __init__(self, *listeners: Listener) -> None:
        self.clock = FakeClock()
        self.counts: list[BalancedCounts] = []
        self.refused = False
        self.proxied: dict[str, Counters] = {}
        listeners = listeners or (Listener(443, "TLS", "arn", ()), Listener(80, "TCP", "arn", ()))
        proxy = Proxy("eni-a", "eni-a", "a", ProxySpec("eni-a", "", "10.0.0.5", "net/lb/1", listeners))
        wished: dict[str, list[Any]] = {
            "Balancer": [Balancer("eni-a", "vpc-1", "eni-a", "a", "10.0.0.5", ())],
            "Proxy": [proxy],
        }
        ports = SimpleNamespace(
            clock=self.clock,
            firewalls=SimpleNamespace(balanced_counts=self._counted),
            proxies=SimpleNamespace(counters=self._proxies),
        )
        self.kept: dict[str, str] = {}
        self.machine: Any = SimpleNamespace(
            ports=ports,
            of_kind=lambda kind: [SimpleNamespace(spec=spec) for spec in wished[kind]],
            kept=self.kept,
            keep=self._keep,
        )
        self.wished = wished
        self.sums = FlowSums(self.machine)

    async def _keep(self, name: str, text: str) -> None:
        self.kept[name] = text

    async def _counted(self, network: str, active: bool) -> list[BalancedCounts]:
        if self.refused:
            raise PortError("reading counters: interrupted")
        return self.counts

    async def _proxies(self) -> dict[str, Counters]:
        return self.proxied


def test_each_time_tells_what_came_since_and_counters_may_begin_anew() -> None:
    async def story() -> None:
        parts = Parts()
        parts.counts = [BalancedCounts("eni-a", "tcp", flows=5, packets=100, bytes=1000, active=2)]
        parts.proxied = {
            "eni-a": Counters(tls_errors=3, by_port={443: PortCounters(7, 1, 700), 80: PortCounters(2, 0, 20)})
        }
        found = {one.protocol: one for one in await parts.sums.take()}
        assert (found["TCP"].flows, found["TCP"].bytes, found["TCP"].active) == (7, 1020, 2)
        assert found["TLS"] == FlowSum("eni-a", "TLS", active=1, flows=7, bytes=700, tls_errors=3, proxied=True)
        parts.counts = [BalancedCounts("eni-a", "tcp", flows=6, packets=100, bytes=1200, client_resets=1)]
        found = {one.protocol: one for one in await parts.sums.take()}
        assert (found["TCP"].flows, found["TCP"].bytes, found["TCP"].client_resets) == (1, 200, 1)
        assert (found["TLS"].flows, found["TLS"].active, found["TLS"].tls_errors) == (0, 1, 0)
        parts.counts = [BalancedCounts("eni-a", "tcp", flows=2)]
        assert {one.flows for one in await parts.sums.take() if one.protocol == "TCP"} == {2}

    asyncio.run(story())


def test_what_could_not_be_read_once_is_not_told_twice() -> None:
    async def story() -> None:
        parts = Parts()
        parts.counts = [BalancedCounts("eni-a", "tcp", flows=5, bytes=1000)]
        assert {one.flows for one in await parts.sums.take() if one.protocol == "TCP"} == {5}
        parts.refused = True
        await parts.sums.take()
        parts.refused = False
        parts.counts = [BalancedCounts("eni-a", "tcp", flows=7, bytes=1200)]
        found = {one.protocol: one for one in await parts.sums.take()}
        assert (found["TCP"].flows, found["TCP"].bytes) == (2, 200)

    asyncio.run(story())


def test_connections_of_an_application_load_balancer_are_those_of_clients_and_those_to_targets() -> None:
    """AWS: ActiveConnectionCount, NewConnectionCount."""

    async def story() -> None:
        parts = Parts(Listener(80, "HTTP", "arn", ()))
        parts.proxied = {"eni-a": Counters(connections=5, active=2, to_targets=3, active_to_targets=1)}
        assert [one for one in await parts.sums.take() if one.protocol == "HTTP"] == [
            FlowSum("eni-a", "HTTP", active=3, flows=8)
        ]
        parts.proxied = {"eni-a": Counters(connections=6, active=0, to_targets=3)}
        found = {one.protocol: one for one in await parts.sums.take()}
        assert (found["HTTP"].active, found["HTTP"].flows) == (0, 1)

    asyncio.run(story())


def test_a_new_agent_tells_only_what_came_since_of_proxies_that_outlived_the_old_one() -> None:
    async def story() -> None:
        parts = Parts()

        async def told() -> tuple[int, int, int]:
            found = [one for one in await parts.sums.take() if one.protocol == "TLS"]
            return (
                sum(one.flows for one in found),
                sum(one.bytes for one in found),
                sum(one.tls_errors for one in found),
            )

        parts.proxied = {"eni-a": Counters(tls_errors=3, by_port={443: PortCounters(7, 1, 700)})}
        assert await told() == (7, 700, 3)
        parts.sums = FlowSums(parts.machine)
        parts.proxied = {"eni-a": Counters(tls_errors=2, by_port={443: PortCounters(9, 1, 800)})}
        assert await told() == (2, 100, 0)
        # A worker that was killed took what it had counted since the last reload with it.
        parts.proxied = {"eni-a": Counters(tls_errors=2, by_port={443: PortCounters(8, 1, 750)})}
        assert await told() == (0, 0, 0)
        # One that has gone and comes again begins anew.
        proxies, parts.wished["Proxy"] = parts.wished["Proxy"], []
        assert await told() == (0, 0, 0)
        parts.wished["Proxy"] = proxies
        parts.proxied = {"eni-a": Counters(by_port={443: PortCounters(4, 1, 400)})}
        assert await told() == (4, 400, 0)

    asyncio.run(story())


def test_the_peak_is_of_the_busiest_ten_seconds() -> None:
    async def story() -> None:
        parts = Parts()
        parts.sums.start()
        await parts.clock.advance(0)
        for packets in (100, 1100, 1200):
            parts.counts = [BalancedCounts("eni-a", "tcp", packets=packets, bytes=40 * packets)]
            await parts.clock.advance(SAMPLE_S)
        found = {one.protocol: one for one in await parts.sums.take()}
        assert (found["TCP"].packets, found["TCP"].peak_packets_s) == (1200, 100.0)
        assert (found["TCP"].bytes, found["TCP"].peak_bytes_s) == (48_000, 4000.0)
        await parts.sums.close()

    asyncio.run(story())
