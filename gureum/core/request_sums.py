"""Sums of what proxies tell, for metrics: per proxy and target group how many requests of which kind, how long targets took, how many bytes.

Records come in the thousands per second and are forgotten at once; what is kept are sums, fetched and begun anew by who publishes them
(`take`). While nobody fetches, they go on growing, but no new proxies or groups are added beyond a limit. Response times are kept as
counts of values rounded to two digits, which is what percentiles are computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from gureum.base import tallies
from gureum.core.machine import Machine
from gureum.ports.proxies import Tally

LIMIT_SUMS = 20_000
OWN_CODES = (500, 502, 503, 504)
FREE_RULES = 10
"""AWS, "Elastic Load Balancing pricing": so many of each request's rules use nothing."""
UNCHOSEN = (464, 503)
"""What a target group's requests are answered of which no target can be chosen: their version does not fit, or there is nobody."""


class Sums(msgspec.Struct):
    """`group` "": requests that were sent nowhere. `chosen`: of `requests`, those that a target was chosen for; `failed_over`: of these, while too
    few were healthy. `elb`: codes that the load balancer made, by class ("4XX") and, of some, by number; `target`: those of targets, by class.
    `times`: response time in seconds → how often. `tls_failures`: an application load balancer tells no other connections by themselves.
    `evaluated`: rules that were looked at, `evaluated_more`: those of each request beyond `FREE_RULES`."""

    proxy: str
    group: str
    requests: int = 0
    chosen: int = 0
    failed_over: int = 0
    elb: dict[str, int] = {}
    target: dict[str, int] = {}
    times: dict[str, int] = {}
    redirects: int = 0
    fixed: int = 0
    target_errors: int = 0
    grpc: int = 0
    noncompliant: int = 0
    tls_failures: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    evaluated: int = 0
    evaluated_more: int = 0


class RequestSums:
    """`start` subscribes. All methods belong to the agent's loop. `failing_over`: by proxy, the groups whose unhealthy targets get requests."""

    def __init__(self, machine: Machine, failing_over: Mapping[str, frozenset[str]]) -> None:
        self._machine, self._failing_over = machine, failing_over
        self._sums: dict[tuple[str, str], Sums] = {}
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._unsubscribe = self._machine.ports.proxies.tally(self.add)

    def close(self) -> None:
        self._unsubscribe()

    def take(self) -> list[Sums]:
        """What came since the last time."""
        found, self._sums = list(self._sums.values()), {}
        return found

    def add(self, told: list[Tally]) -> None:
        """The proxies' sink."""
        for one in told:
            key = (one.proxy, one.group_arn)
            sums = self._sums.get(key)
            if sums is None:
                if len(self._sums) >= LIMIT_SUMS:
                    continue
                sums = self._sums[key] = Sums(one.proxy, one.group_arn)
            before = sums.chosen
            _add(sums, one)
            if one.group_arn in self._failing_over.get(one.proxy, ()):
                sums.failed_over += sums.chosen - before


def _add(sums: Sums, one: Tally) -> None:
    sums.received_bytes += one.received_bytes
    sums.sent_bytes += one.sent_bytes
    if one.kind == "tls":
        sums.tls_failures += one.count
        return
    sums.requests += one.count
    sums.chosen += one.count if one.group_arn and not (one.target_status <= 0 and one.elb_status in UNCHOSEN) else 0
    sums.grpc += one.count if one.kind == "grpcs" else 0
    sums.noncompliant += one.count if one.classified else 0
    if one.target_status > 0:
        _count(sums.target, _class(one.target_status), one.count)
    elif one.elb_status > 0:
        _count(sums.elb, _class(one.elb_status), one.count)
        if one.elb_status in OWN_CODES:
            _count(sums.elb, str(one.elb_status), one.count)
        unmade = one.elb_status in (502, 504) and one.group_arn and not one.connected
        sums.target_errors += one.count if unmade else 0
    sums.evaluated += one.count * one.evaluated
    sums.evaluated_more += one.count * max(0, one.evaluated - FREE_RULES)
    sums.redirects += one.count if one.actions == "redirect" else 0
    sums.fixed += one.count if one.actions == "fixed-response" else 0
    if one.target_time_s >= 0:
        tallies.add(sums.times, one.target_time_s, one.count)


def _class(status: int) -> str:
    return f"{status // 100}XX"


def _count(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count
