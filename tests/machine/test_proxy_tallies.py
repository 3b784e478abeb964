"""What a proxy tells of its requests for metrics, by its own lines."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gureum.ports.proxies import Condition, Redirect, Rule, Tally

from .proxy_host import TARGETS, ProxyHost, eventually, fixed, group, http_listener, proxy_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProxyHost]:
    with proxy_host(tmp_path) as made:
        yield made


@pytest.mark.parametrize("port", [80, 443])
def test_rules_are_counted_up_to_the_one_that_matched(host: ProxyHost, port: int) -> None:
    """AWS: RuleEvaluations, without the default rule."""
    actions = {"/a": fixed("a"), "/b": fixed("b"), "/c": Redirect(301, path="/d")}
    rules = [Rule(i, one, (Condition("path-pattern", (path,)),)) for i, (path, one) in enumerate(actions.items(), 7)]
    certificate = host.certificate("example.com")
    listeners = (
        http_listener(*rules),
        http_listener(*rules, port=443, protocol="HTTPS", certificates=(certificate.name,)),
    )
    spec = host.spec(*listeners, groups=(group(host.target(TARGETS[0])),), certificates=(certificate,))
    told: list[Tally] = []

    async def story() -> None:
        await host.proxies.ensure(spec)
        host.proxies.tally(told.extend)
        tls = "example.com" if port == 443 else ""
        for path in ("/a", "/b", "/c", "/else", "/b"):
            await asyncio.to_thread(host.get, path, port=port, tls=tls)
        await eventually(lambda: sum(one.count for one in told) == 5)
        evaluated: Counter[int] = Counter()
        for one in told:
            evaluated[one.evaluated] += one.count
        assert evaluated == {1: 1, 2: 2, 3: 2}
        await host.proxies.close()

    asyncio.run(story())
