"""Random rules in a proxy, and random requests to them: each is answered as the model of AWS's rules says (tests/rule_model.py), also while rules,
weights and certificates change under load."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gureum.ports.proxies import Condition, Forward, ProxySpec, Rule
from tests.rule_model import Chance, Sent, rule_for

from .proxy_host import TARGETS, ProxyHost, eventually, fixed, group, http_listener, proxy_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
SOURCES = ("10.9.0.101", "10.9.0.102", "10.9.0.105")
LAST = Rule(0, fixed("none of them"))
LOADED = (Condition("path-pattern", ("/load",)),)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProxyHost]:
    with proxy_host(tmp_path) as made:
        yield made


def ask(host: ProxyHost, sent: Sent) -> str:
    """The answer's body; its head where it is an error's."""
    with host.connect(source=sent.source) as sock:
        sock.sendall(sent.text())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return (body if head.startswith(b"HTTP/1.1 200") else head).decode()


def told(rule: Rule, body: str) -> bool:
    """Whether a rule answers so: by its text, or by a target of a group that has a weight."""
    if isinstance(rule.action, Forward):
        allowed = [TARGETS[int(name[-1])] for name, weight in rule.action.groups if weight]
        return any(f'"target": "{address}"' in body for address in allowed)
    return bool(body == rule.action.body)


@pytest.mark.parametrize("seed", [103, 111, 8])
def test_random_requests_get_what_random_rules_say(host: ProxyHost, seed: int) -> None:
    chance = Chance(seed, SOURCES)
    rules = [Rule(3 * place, fixed(f"rule {place}"), chance.conditions()) for place in range(1, 31)]
    requests = [chance.request() for _ in range(150)]

    async def story() -> None:
        await host.proxies.ensure(host.spec(http_listener(*rules, default=LAST.action)))
        found = [(rule_for((*rules, LAST), sent), sent, await asyncio.to_thread(ask, host, sent)) for sent in requests]
        wrong = [(sent, rule, body) for rule, sent, body in found if not told(rule, body)]
        assert wrong == []
        assert len({rule.priority for rule, _, _ in found}) > 10, "too few rules were met"
        await host.proxies.close()

    asyncio.run(story())


class Changing:
    """A set of rules that changes by chance, and clients who ask meanwhile. `failures`: answers that neither the rules of before nor those of after
    give, and requests that got none."""

    def __init__(self, host: ProxyHost, seed: int) -> None:
        self.host, self.chance = host, Chance(seed, SOURCES)
        self.rules: dict[int, Rule] = {1: Rule(1, Forward((("tg-0", 1), ("tg-1", 1))), LOADED)}
        self.certificates = [host.certificate("zero.example.com")]
        self.groups = tuple(group(host.target(address), name=f"tg-{n}") for n, address in enumerate(TARGETS))
        for priority in range(2, 14):
            self._exchange(priority)
        self.held: list[tuple[Rule, ...]] = []
        self.since = 0
        self.failures: list[object] = []
        self.done = 0
        self._stop = threading.Event()

    def spec(self) -> ProxySpec:
        listener = http_listener(*self._sorted(), default=LAST.action)
        names = tuple(one.name for one in self.certificates)
        tls = http_listener(port=443, protocol="HTTPS", certificates=names, default=fixed("secret"))
        return self.host.spec(listener, tls, groups=self.groups, certificates=tuple(self.certificates))

    def _sorted(self) -> tuple[Rule, ...]:
        return tuple(sorted(self.rules.values(), key=lambda rule: rule.priority))

    async def bring(self) -> None:
        """While it is being brought about, both the old and the new rules may answer; afterwards (`since`) the new ones."""
        self.held.append((*self._sorted(), LAST))
        await self.host.proxies.ensure(self.spec())
        self.since = len(self.held) - 1

    def change(self) -> str:
        """One of what the API does to a listener's rules; what it was."""
        some = [priority for priority in self.rules if priority > 1]
        priority = some[self.chance.number(len(some))]
        rule, kind = self.rules[priority], str(self.chance.pick(*_KINDS))
        if kind == "delete" and len(some) > 8:
            del self.rules[priority]
        elif kind == "create":
            self._exchange(14 + self.chance.number(30))
        elif kind == "conditions":
            self.rules[priority] = msgspec.structs.replace(rule, conditions=self.chance.conditions())
        elif kind == "action":
            self.rules[priority] = msgspec.structs.replace(rule, action=self._action())
        elif kind == "weights":
            for one in self._sorted():
                if isinstance(one.action, Forward):
                    groups = tuple((name, self.chance.number(3)) for name, _ in one.action.groups[:-1])
                    action = msgspec.structs.replace(one.action, groups=(*groups, (one.action.groups[-1][0], 1)))
                    self.rules[one.priority] = msgspec.structs.replace(one, action=action)
        elif kind == "priorities":
            other = some[self.chance.number(len(some))]
            self.rules[priority], self.rules[other] = (
                msgspec.structs.replace(self.rules[other], priority=priority),
                msgspec.structs.replace(rule, priority=other),
            )
        elif kind == "certificate":
            self.certificates.append(self.host.certificate(f"n{len(self.certificates)}.example.com"))
        return kind

    def _exchange(self, priority: int) -> None:
        self.rules[priority] = Rule(priority, self._action(), self.chance.conditions())

    def _action(self) -> Any:
        if self.chance.number(3):
            return fixed(f"text {self.chance.number(10**9)}")
        return Forward(
            (("tg-0", self.chance.number(3)), ("tg-1", 1), ("tg-2", self.chance.number(2))),
            int(self.chance.number(2)) * 60,
        )

    def __enter__(self) -> Changing:  # noqa: PYI034
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(3)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        chance = Chance(seed, SOURCES)
        loaded = Sent("GET", "example.com", "/load", None, (), SOURCES[0])
        while not self._stop.is_set():
            sent = chance.request() if chance.number(3) else loaded
            since = self.since
            try:
                body = ask(self.host, sent)
            except OSError as error:
                self.failures.append((sent, error))
                continue
            held = self.held[since:]
            if not any(told(rule_for(rules, sent), body) for rules in held):
                self.failures.append((sent, body, [rule_for(rules, sent) for rules in held]))
            self.done += 1

    async def goes_on(self, count: int = 12) -> None:
        wished = self.done + count
        await eventually(lambda: self.done >= wished)


_KINDS = ("create", "delete", "conditions", "action", "weights", "weights", "priorities", "certificate")


@pytest.mark.parametrize("seed", [1, 2])
def test_at_no_moment_a_request_meets_rules_that_never_were(host: ProxyHost, seed: int) -> None:
    """Each change is served when its call returns; while it is brought about the rules of before or those of after answer, and always some do."""
    changing = Changing(host, seed)
    done = Counter[str]()

    async def story() -> None:
        await changing.bring()
        with changing:
            for _ in range(25):
                done[changing.change()] += 1
                await changing.bring()
                await changing.goes_on()
                assert changing.failures == [], done
            shown = changing.certificates[-1].arn.rpartition("/")[2]
            assert await asyncio.to_thread(host.shown_name, shown) == shown
        assert changing.failures == []
        await host.proxies.close()

    asyncio.run(story())
    assert {"weights", "priorities", "conditions", "certificate"} <= done.keys()
