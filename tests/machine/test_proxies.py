"""The life of a proxy on the machine: start, changes under load, adoption, death, protocols."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from http.client import RemoteDisconnected
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import msgspec
import pytest

from gureum.base.priority import SOON
from gureum.drivers.haproxy import control as haproxy_control
from gureum.drivers.haproxy import old_workers
from gureum.drivers.haproxy.config import MASTER_SOCKET
from gureum.drivers.haproxy.process import ProxyFolder
from gureum.drivers.haproxy.process import version as haproxy_version
from gureum.drivers.haproxy.proxies import clean
from gureum.drivers.haproxy.running import RunningProxy
from gureum.ports import PortError
from gureum.ports.proxies import (
    Certificate,
    Condition,
    Counters,
    FixedResponse,
    Forward,
    Group,
    Listener,
    ProxySpec,
    Rule,
    Server,
    Stickiness,
)

from .proxy_host import (
    ADDRESS,
    DEADLINE_S,
    TARGETS,
    ProxyHost,
    eventually,
    fixed,
    group,
    http_listener,
    proxy_host,
    without,
)

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProxyHost]:
    with proxy_host(tmp_path) as made:
        yield made


def folder(host: ProxyHost) -> ProxyFolder:
    return ProxyFolder(host.home_id, host.run, "node-1")


def master(host: ProxyHost) -> int:
    state = folder(host).read_state()
    assert state is not None
    return state.pid


class Load:
    """Clients that ask without pause, each over one connection after the other, half of them kept alive; what failed is counted."""

    def __init__(self, host: ProxyHost, clients: int = 4) -> None:
        self.done, self.failures = 0, []
        self._host, self._stop = host, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n % 2 == 0,)) for n in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, keep: bool) -> None:
        sock = None
        while not self._stop.is_set():
            try:
                if sock is None:
                    sock = self._host.connect()
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = _read_answer(sock)
                self.done += 1
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.failures.append(answer[:60])
                if not keep or b"connection: close" in answer.lower():
                    sock.close()
                    sock = None
            except OSError as error:
                self.failures.append(repr(error).encode())
                sock = None

    async def goes_on(self, count: int = 50) -> None:
        wished = self.done + count
        await eventually(lambda: self.done >= wished)


def _read_answer(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionResetError("closed")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def test_changes_under_load_lose_no_request(host: ProxyHost) -> None:
    """Reloads (rules), servers at run time, certificates."""
    servers = [host.target(address) for address in TARGETS]
    certificate = host.certificate("one.example.com")
    tls = http_listener(port=443, protocol="HTTPS", certificates=(certificate.name,))
    spec = host.spec(http_listener(), tls, groups=(group(*servers),), certificates=(certificate,))

    async def story() -> None:
        await host.proxies.ensure(spec)
        with Load(host) as load:
            for turn in range(4):
                rule = Rule(turn + 1, fixed("x"), ())
                unused = http_listener(rule, port=8081)
                await load.goes_on()
                await host.proxies.ensure(without(spec, listeners=(http_listener(), tls, unused)))
                await load.goes_on()
                fewer = without(spec, groups=(group(*servers[:2]),), listeners=(http_listener(), tls, unused))
                await host.proxies.ensure(fewer)
                await load.goes_on()
                down = Server(servers[0].name, servers[0].address, 80, up=False)
                await host.proxies.ensure(without(fewer, groups=(group(down, servers[1]),)))
                await load.goes_on()
        assert load.failures == []
        await host.proxies.close()

    asyncio.run(story())


def test_servers_and_certificates_change_in_the_running_worker(host: ProxyHost) -> None:
    servers = [host.target(address) for address in TARGETS]
    one, two = host.certificate("one.example.com"), host.certificate("*.two.example.com")

    def spec(certificates: tuple[Certificate, ...], *some: Server) -> ProxySpec:
        tls = http_listener(port=443, protocol="HTTPS", certificates=tuple(each.name for each in certificates))
        return host.spec(http_listener(), tls, groups=(group(*some),), certificates=certificates)

    async def targets() -> set[str]:
        return {(await asyncio.to_thread(host.get)).told()["target"] for _ in range(6)}

    async def shown(name: str) -> str:
        return await asyncio.to_thread(host.shown_name, name)

    async def story() -> None:
        await host.proxies.ensure(spec((one,), servers[0]))
        before = sorted(folder(host).members())
        assert await targets() == {TARGETS[0]}
        await host.proxies.ensure(spec((one,), servers[0], servers[1]))
        assert await targets() == set(TARGETS[:2])
        await host.proxies.ensure(spec((one,), servers[1]))
        assert await targets() == {TARGETS[1]}
        assert (await host.proxies.counters())["node-1"].to_targets == 18, "those to one that has left, too"
        await host.proxies.ensure(spec((one,), servers[1], servers[0]))
        assert await targets() == set(TARGETS[:2])
        assert await shown("a.two.example.com") == "one.example.com"
        await host.proxies.ensure(spec((one, two), servers[1]))
        assert [await shown(name) for name in ("a.two.example.com", "else", "")] == [
            "*.two.example.com",
            "one.example.com",
            "one.example.com",
        ]
        await host.proxies.ensure(spec((one,), servers[1]))
        assert await shown("a.two.example.com") == "one.example.com"
        assert sorted(folder(host).members()) == before, "no worker was started for it"
        await host.proxies.ensure(spec((two,), servers[1]))
        assert await shown("else") == "*.two.example.com"
        await host.proxies.close()

    asyncio.run(story())


def test_rules_change_in_the_running_worker_and_lose_no_request(host: ProxyHost) -> None:
    """Actions, texts, conditions, rules that come and go: each is served when the call returns, by the same process."""

    def on(path: str, name: str) -> tuple[Condition, ...]:
        return (Condition("path-pattern", (path,)), Condition("host-header", (name,)))

    def text(body: str) -> FixedResponse:
        return FixedResponse(200, "text/plain", body)

    one, two = group(host.target(TARGETS[0])), group(host.target(TARGETS[1]), name="tg-b")
    forward = Forward((("tg-b", 1),))

    def spec(*rules: Rule) -> ProxySpec:
        """With other servers each time the number of rules is another, too."""
        more = tuple(Server(f"down-{place}", TARGETS[2], 80) for place in range(len(rules)))
        return host.spec(http_listener(*rules), groups=(one, without(two, servers=(*two.servers, *more))))

    async def asked(path: str, name: str) -> str:
        answer = await asyncio.to_thread(host.get, path, host=name)
        return answer.body.decode() if answer.body[:1] != b"{" else str(answer.told()["target"])

    first = Rule(1, text("one"), on("/a*", "a.example.com"))
    other = Rule(1, text("%[src] {x} ü"), first.conditions)
    wishes = [
        ((first,), ["one", TARGETS[0]]),
        ((other,), ["%[src] {x} ü", TARGETS[0]]),
        ((other, Rule(2, forward, on("/b*", "b.example.com"))), ["%[src] {x} ü", TARGETS[1]]),
        ((first, Rule(2, forward, on("/b", "*.example.com"))), ["one", TARGETS[1]]),
        ((first, Rule(2, forward, on("/else", "b.example.com"))), ["one", TARGETS[0]]),
        ((Rule(1, text("one"), on("/b*", "b.example.com")),), [TARGETS[0], "one"]),
    ]

    async def story() -> None:
        await host.proxies.ensure(spec(first))
        known = folder(host).members()
        with Load(host) as load:
            for place, (rules, wished) in enumerate(wishes):
                await load.goes_on()
                await host.proxies.ensure(spec(*rules))
                got = [await asked("/ab", "a.example.com"), await asked("/b", "b.example.com")]
                assert got == wished, place
                if place == 2:
                    assert sorted(folder(host).members()) == sorted(known), "no worker was started for it"
        assert load.failures == []
        await host.proxies.close()

    asyncio.run(story())


def test_as_many_long_rules_as_there_may_be_change_in_the_running_worker(host: ProxyHost) -> None:
    """A hundred with five values each: their map does not fit the buffer of HAProxy's commands in one piece, nor do weights of five groups each."""
    groups = tuple(group(name=f"tg-{n}{'x' * 30}") for n in range(5))

    def spec(path: str, weight: int) -> ProxySpec:
        def conditions(number: int) -> tuple[Condition, ...]:
            paths = tuple(f"/{path if number == 9 else 'p'}{number}/{n}{'x' * 120}*" for n in range(3))
            return (
                Condition("path-pattern", paths),
                Condition("host-header", tuple(f"{n}{'y' * 99}.com" for n in "ab")),
            )

        rules = [Rule(n, fixed(f"rule {n}"), conditions(n)) for n in range(1, 101)]
        shared = Forward(tuple((one.name, weight + place) for place, one in enumerate(groups)))
        weighted = [Rule(n, shared, (Condition("path-pattern", ("/w",)),)) for n in range(101, 501)]
        return host.spec(http_listener(*rules, *weighted, default=fixed("none")), groups=groups)

    def asked(path: str) -> bytes:
        return host.get(f"/{path}9/2{'x' * 120}", host=f"b{'y' * 99}.com").body

    async def story() -> None:
        await host.proxies.ensure(spec("old", 1))
        known = sorted(folder(host).members())
        await host.proxies.ensure(spec("new", 1))
        assert [await asyncio.to_thread(asked, path) for path in ("old", "new")] == [b"none", b"rule 9"]
        await host.proxies.ensure(spec("new", 2))
        assert sorted(folder(host).members()) == known, "no worker was started for it"
        await host.proxies.close()

    asyncio.run(story())


class Held:
    """A request that its target has not answered yet."""

    def __init__(self, host: ProxyHost, port: int = 80) -> None:
        self._sock = host.connect(port, timeout=DEADLINE_S)
        self._sock.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        self._sock.close()

    def is_cut(self) -> bool:
        """Whether it has ended without an answer."""
        self._sock.setblocking(False)
        try:
            return self._sock.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def answer(self) -> bytes:
        self._sock.settimeout(DEADLINE_S)
        return _read_answer(self._sock)


def reloading(host: ProxyHost, go: threading.Event) -> Callable[..., ProxySpec]:
    """Wishes to each of which a reload leads, of the proxy that listens at a port. The target answers `/held` when it may `go`."""

    def answers(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/held":
            go.wait(120)
        request.send_response(200)
        request.send_header("Content-Length", "2")
        request.end_headers()
        request.wfile.write(b"ok")

    servers = (group(host.target(TARGETS[0], handler=answers)),)

    def spec(number: int, port: int = 80) -> ProxySpec:
        rule = Rule(1, fixed("x"), (Condition("http-header", ("x",), name=f"X-{number}"),))
        patient = {"idle_timeout.timeout_seconds": "300"}
        made = host.spec(http_listener(rule, port=port), groups=servers, attributes=patient)
        return msgspec.structs.replace(made, name=f"node-{port - 79}")

    return spec


@pytest.mark.parametrize("limit", [{"MOST": 2}, {"FEWEST": 2, "SHARE": 1 << 40}])
def test_of_too_many_old_workers_the_oldest_end(
    host: ProxyHost, monkeypatch: pytest.MonkeyPatch, limit: dict[str, int]
) -> None:
    """Each that has a connection left takes memory; no matter how many reloads it has outlived, or how long."""
    for name, value in limit.items():
        monkeypatch.setattr(old_workers, name, value)
    go = threading.Event()
    spec = reloading(host, go)

    async def story() -> None:
        await host.proxies.ensure(spec(0))
        with Held(host) as first, Held(host) as second, Held(host):
            for number in range(1, 5):
                await host.proxies.ensure(spec(number))
                # The master, the worker, and the one that has connections.
                await eventually(lambda: len(folder(host).members()) == 3)
            assert not first.is_cut(), "it has outlived four reloads, in the only old worker"
            with Held(host) as third:
                await host.proxies.ensure(spec(5))
                with Held(host) as fourth:
                    await host.proxies.ensure(spec(6))
                    await eventually(lambda: first.is_cut() and second.is_cut())
                    go.set()
                    answers = [await asyncio.to_thread(one.answer) for one in (third, fourth)]
        assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 2
        await host.proxies.close()

    asyncio.run(story())


def test_an_old_worker_whose_clients_make_it_grow_too_large_ends(
    host: ProxyHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be few and idle when it is replaced, and ask for all that they can hold afterwards."""
    sizes = [1]
    monkeypatch.setattr(old_workers, "own_bytes", lambda pid: sizes[0])
    monkeypatch.setattr(old_workers, "most_bytes", lambda: 10)
    go = threading.Event()
    spec = reloading(host, go)

    async def story() -> None:
        await host.proxies.ensure(spec(0))
        with Held(host) as held:
            await host.proxies.ensure(spec(1))
            assert (await host.proxies.counters())["node-1"].active == 1
            assert not held.is_cut()
            sizes[0] = 11
            await host.proxies.counters()
            await eventually(held.is_cut)
            assert (await host.proxies.counters())["node-1"].active == 0
            go.set()
        await host.proxies.close()

    asyncio.run(story())


def test_old_workers_of_one_proxy_pay_for_those_of_others_which_stay(
    host: ProxyHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that an earlier agent has left."""
    monkeypatch.setattr(old_workers, "FEWEST", 1)
    monkeypatch.setattr(old_workers, "own_bytes", lambda pid: 1)
    monkeypatch.setattr(old_workers, "limit_bytes", lambda: 3)
    go = threading.Event()
    spec = reloading(host, go)

    async def story() -> None:
        await host.proxies.ensure(spec(0, 81))
        with contextlib.ExitStack() as stack:
            others = []
            for number in (1, 2):
                others.append(stack.enter_context(Held(host, 81)))
                await host.proxies.ensure(spec(number, 81))
            await host.proxies.close()
            proxies = host.driver()
            await proxies.ensure(spec(0))
            first, second = (stack.enter_context(Held(host)) for _ in range(2))
            await proxies.ensure(spec(1))
            third = stack.enter_context(Held(host))
            await proxies.ensure(spec(2))
            await eventually(lambda: first.is_cut() and second.is_cut())
            go.set()
            for one in (third, *others):
                assert (await asyncio.to_thread(one.answer)).startswith(b"HTTP/1.1 200")
        await proxies.close()

    asyncio.run(story())


@pytest.mark.long
def test_a_request_that_is_held_outlives_any_number_of_reloads(host: ProxyHost) -> None:
    go = threading.Event()
    spec = reloading(host, go)

    async def story() -> None:
        await host.proxies.ensure(spec(0))
        with Held(host) as held:
            for number in range(1, 56):
                await host.proxies.ensure(spec(number))
                assert not held.is_cut(), number
            go.set()
            assert (await asyncio.to_thread(held.answer)).startswith(b"HTTP/1.1 200")
        await host.proxies.close()

    asyncio.run(story())


@pytest.mark.parametrize("stickiness_s", [0, 60])
def test_weights_change_in_the_running_worker_and_lose_no_request(host: ProxyHost, stickiness_s: int) -> None:
    """A release that is shifted from one group to the other, weight by weight. AWS: stickiness goes before weights, so who is bound to a group stays
    there when it has weight 0, until the duration of the cookie is over."""
    groups = (group(host.target(TARGETS[0])), group(host.target(TARGETS[1]), name="tg-b"))

    def spec(one: int, two: int) -> ProxySpec:
        action = Forward((("tg-a", one), ("tg-b", two)), stickiness_s=stickiness_s)
        return host.spec(http_listener(Rule(7, action, (Condition("path-pattern", ("/*",)),))), groups=groups)

    def asked(cookie: str = "") -> tuple[str, str]:
        answer = host.get(headers={"Cookie": cookie} if cookie else {})
        target = str(answer.told()["target"]) if answer.status == 200 else str(answer.status)
        return target, (answer.header("set-cookie") or "").partition(";")[0]

    def seen() -> set[str]:
        return {asked()[0] for _ in range(40)}

    async def story() -> None:
        await host.proxies.ensure(spec(1, 0))
        known = folder(host).members()
        with Load(host) as load:
            assert await asyncio.to_thread(seen) == {TARGETS[0]}
            _, bound = await asyncio.to_thread(asked)
            await host.proxies.ensure(spec(500, 500))
            assert await asyncio.to_thread(seen) == set(TARGETS[:2])
            for place in range(20):
                await host.proxies.ensure(spec(1 + place % 3, 1))
            await load.goes_on()
            await host.proxies.ensure(spec(0, 999))
            assert await asyncio.to_thread(seen) == {TARGETS[1]}
            assert (await asyncio.to_thread(asked, bound))[0] == TARGETS[0 if stickiness_s else 1]
            await load.goes_on()
        assert load.failures == []
        await host.proxies.ensure(spec(0, 0))
        assert await asyncio.to_thread(seen) == {"503"}
        assert (await asyncio.to_thread(asked, bound))[0] == (TARGETS[0] if stickiness_s else "503")
        await host.proxies.ensure(spec(1, 0))
        assert await asyncio.to_thread(seen) == {TARGETS[0]}
        assert sorted(folder(host).members()) == sorted(known), "no worker was started for it"
        await host.proxies.close()

    asyncio.run(story())


def test_what_was_changed_at_run_time_is_kept_by_a_reload(host: ProxyHost) -> None:
    servers = [host.target(address) for address in TARGETS]

    async def story() -> None:
        spec = host.spec(http_listener(), groups=(group(servers[0]),))
        await host.proxies.ensure(spec)
        changed = without(spec, groups=(group(servers[1], servers[2]),))
        await host.proxies.ensure(changed)
        await host.proxies.ensure(without(changed, attributes={"idle_timeout.timeout_seconds": "30"}))
        got = {(await asyncio.to_thread(host.get)).told()["target"] for _ in range(6)}
        assert got == {TARGETS[1], TARGETS[2]}
        await host.proxies.close()

    asyncio.run(story())


def test_servers_that_change_during_a_reload_do_not_wait_for_it(
    host: ProxyHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the old worker was told the new one has from its beginning."""
    one, two = (host.target(address) for address in TARGETS[:2])
    begun, go_on, write = threading.Event(), threading.Event(), ProxyFolder.write
    reload, reloads = RunningProxy.reload, []

    def slowly(folder: ProxyFolder, files: dict[str, str], pems: dict[str, str]) -> None:
        begun.set()
        assert go_on.wait(20)
        write(folder, files, pems)

    async def counted(running: RunningProxy, left_bytes: int) -> None:
        reloads.append(running)
        await reload(running, left_bytes)

    async def targets() -> set[object]:
        return {(await asyncio.to_thread(host.get)).told()["target"] for _ in range(4)}

    async def story() -> None:
        spec = host.spec(http_listener(), groups=(group(one),))
        await host.proxies.ensure(spec)
        await host.proxies.hasten(spec.name, (group(two),))
        assert await targets() == {TARGETS[0]}, "no reload is under way"
        monkeypatch.setattr(ProxyFolder, "write", slowly)
        monkeypatch.setattr(RunningProxy, "reload", counted)
        longer = without(spec, attributes={"idle_timeout.timeout_seconds": "30"})
        reloading = asyncio.create_task(host.proxies.ensure(longer))
        assert await asyncio.to_thread(begun.wait, 20)
        await host.proxies.hasten(spec.name, (group(one, two),))
        assert await targets() == {TARGETS[0], TARGETS[1]}
        await host.proxies.hasten(spec.name, (group(msgspec.structs.replace(one, up=False), two),))
        assert await targets() == {TARGETS[1]}
        go_on.set()
        await reloading
        assert await targets() == {TARGETS[1]}
        await host.proxies.ensure(without(longer, groups=(group(two),)))
        assert await targets() == {TARGETS[1]}
        assert len(reloads) == 1
        await host.proxies.close()

    asyncio.run(story())


def test_a_new_worker_that_was_told_of_servers_before_its_time_has_those_that_were_told_last(
    host: ProxyHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it takes over, either worker may answer at the control socket."""
    one, two, three = (host.target(address) for address in TARGETS[:3])
    reload = RunningProxy.reload

    async def story() -> None:
        spec = host.spec(http_listener(), groups=(group(one),))
        await host.proxies.ensure(spec)
        longer = without(spec, attributes={"idle_timeout.timeout_seconds": "30"})

        def targets(times: int) -> set[object]:
            return {host.get().told()["target"] for _ in range(times)}

        async def then_told(running: RunningProxy, left_bytes: int) -> None:
            await host.proxies.hasten(spec.name, (group(one, three),))
            await reload(running, left_bytes)
            await host.proxies.hasten(spec.name, (group(one, two, three),))
            await host.proxies.hasten(spec.name, (group(msgspec.structs.replace(one, up=False), two),))

        monkeypatch.setattr(RunningProxy, "reload", then_told)
        await host.proxies.ensure(longer)
        assert await asyncio.to_thread(targets, 4) == {TARGETS[1]}
        monkeypatch.setattr(RunningProxy, "reload", None)
        await host.proxies.ensure(longer)
        assert await asyncio.to_thread(targets, 4) == {TARGETS[0]}
        await host.proxies.ensure(without(longer, groups=(group(two, three),)))
        assert await asyncio.to_thread(targets, 6) == {TARGETS[1], TARGETS[2]}
        await host.proxies.close()

    asyncio.run(story())


def test_a_start_reads_no_authorities(host: ProxyHost) -> None:
    """HAProxy has a client of its own (`httpclient`), for which it would read all of the host's: four fifths of a start's or a reload's time."""

    async def story() -> None:
        await host.proxies.ensure(host.spec(http_listener(default=fixed("one"))))
        said = await haproxy_control.command(folder(host).work / "run" / "control", "show ssl ca-file")
        assert said == ""

    asyncio.run(story())


def test_a_master_gets_a_core_soon_and_its_workers_no_sooner_than_others(host: ProxyHost) -> None:
    """Before and after a reload, in which the master starts itself anew, and after it was adopted."""

    def nice() -> tuple[int, set[int]]:
        """An old worker may end while it is looked at."""
        threads = set()
        for pid in folder(host).members():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if pid != master(host):
                    tasks = list(Path(f"/proc/{pid}/task").iterdir())
                    threads |= {os.getpriority(os.PRIO_PROCESS, int(path.name)) for path in tasks}
        return os.getpriority(os.PRIO_PROCESS, master(host)), threads

    def wish(header: str) -> ProxySpec:
        rule = Rule(1, fixed("yes"), (Condition("http-header", (header,), name="X-Wish"),))
        return host.spec(http_listener(rule, default=fixed("no")))

    async def story() -> None:
        await host.proxies.ensure(wish("one"))
        assert nice() == (SOON, {0})
        await host.proxies.ensure(wish("two"))
        assert nice() == (SOON, {0})
        await host.proxies.close()
        os.setpriority(os.PRIO_PROCESS, master(host), 0)  # as by an agent that did not know of this
        adopting = host.driver()
        await adopting.observe()
        assert nice() == (SOON, {0})
        await adopting.close()

    asyncio.run(story())


def test_a_reload_writes_only_what_has_changed(host: ProxyHost) -> None:
    async def story() -> None:
        certificate = host.certificate("one.example.com")

        def wish(header: str) -> ProxySpec:
            rule = Rule(1, fixed("yes"), (Condition("http-header", (header,), name="X-Wish"),))
            tls = http_listener(rule, port=443, protocol="HTTPS", default=fixed("no"), certificates=(certificate.name,))
            return host.spec(tls, certificates=(certificate,))

        def written() -> dict[str, int]:
            return {path.name: path.stat().st_ino for path in folder(host).work.glob("*.*")}

        await host.proxies.ensure(wish("one"))
        before = written()
        (tampered,) = folder(host).work.glob("502.html")
        tampered.write_text("")
        await host.proxies.ensure(wish("two"))
        after = written()
        assert {name for name in before if before[name] != after[name]} == {"haproxy.cfg", "502.html"}
        answer = await asyncio.to_thread(host.get, port=443, tls="one.example.com", headers={"X-Wish": "two"})
        assert answer.body == b"yes"

    asyncio.run(story())


def test_the_process_is_nobody_without_power_and_keys_are_its_own(host: ProxyHost) -> None:
    certificate = host.certificate("a.example.com")
    tls = http_listener(port=443, protocol="HTTPS", certificates=(certificate.name,), default=fixed("x"))

    async def story() -> None:
        await host.proxies.ensure(host.spec(tls, certificates=(certificate,)))
        await host.proxies.close()

    asyncio.run(story())
    made = folder(host)
    assert len(made.members()) == 2
    for pid in made.members():
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        assert status["Uid"].split() == [str(made.uid)] * 4
        assert status["Gid"].split() == [str(made.uid)] * 4
        assert status["Groups"].strip() == ""
        assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        assert os.readlink(f"/proc/{pid}/ns/net") == f"net:[{os.stat(host.net).st_ino}]"
        assert os.getsid(pid) != os.getsid(0)
    key = made.work / f"{certificate.name}.pem"
    assert (key.stat().st_mode & 0o777, key.stat().st_uid) == (0o600, made.uid)
    assert made.path.stat().st_mode & 0o777 == 0o700
    config = made.work / "haproxy.cfg"
    assert (config.stat().st_mode & 0o777, config.stat().st_uid) == (0o640, 0)


class KeptSockets:
    """Fills `Shelf` as the supervisor does: it has copies of its own."""

    def __init__(self) -> None:
        self.kept: dict[str, socket.socket] = {}

    def take(self, name: str) -> socket.socket | None:
        return self.kept[name].dup() if name in self.kept else None

    def put(self, name: str, sock: socket.socket) -> None:
        self.kept[name] = sock.dup()

    def remove(self, name: str) -> None:
        if name in self.kept:
            self.kept.pop(name).close()


def test_a_new_agent_adopts_what_runs(host: ProxyHost) -> None:
    server = host.target(TARGETS[0])
    spec = host.spec(http_listener(), groups=(group(server),))

    shelf = KeptSockets()

    async def first() -> None:
        proxies = host.driver(shelf)
        await proxies.ensure(spec)
        await proxies.close()

    async def second() -> None:
        proxies = host.driver(shelf)
        proxies.subscribe(host.note)
        assert await proxies.observe() == {"node-1"}
        await asyncio.to_thread(host.get, "/later")
        await eventually(lambda: len(host.records) == 2)
        paths = [record.request.split()[1].rpartition("/")[2] for record in host.records]
        assert sorted(paths) == ["later", "meanwhile"], "what was told while no agent was there has waited"
        await proxies.ensure(spec)
        await proxies.ensure(without(spec, attributes={"idle_timeout.timeout_seconds": "30"}))
        assert (await asyncio.to_thread(host.get)).status == 200
        counters = (await proxies.counters())["node-1"]
        assert (counters.connections, counters.to_targets) == (3, 3), "counted over the reload"
        os.kill(master(host), signal.SIGKILL)
        assert await asyncio.wait_for(proxies.died(), 20) == "node-1"
        await proxies.close()

    asyncio.run(first())
    pid = master(host)
    assert asyncio.run(_status(host, "/meanwhile")) == 200, "it goes on without us"
    asyncio.run(second())
    assert master(host) == pid


async def _status(host: ProxyHost, path: str = "/") -> int:
    answer = await asyncio.to_thread(host.get, path)
    return answer.status


def test_a_stale_pid_of_another_process_is_left_alone(host: ProxyHost) -> None:
    spec = host.spec(http_listener(default=fixed("x")))

    async def story() -> None:
        await host.proxies.ensure(spec)
        await host.proxies.close()
        made = folder(host)
        state = made.read_state()
        assert state is not None
        made.kill()
        made.write_state(without(state, pid=os.getpid()))
        proxies = host.driver()
        assert await asyncio.wait_for(proxies.died(), 20) == "node-1"
        await proxies.ensure(spec)
        assert (await asyncio.to_thread(host.get)).body == b"x"
        await proxies.remove("node-1")
        await proxies.close()

    asyncio.run(story())


@pytest.mark.parametrize("victim", ["master", "worker"])
def test_a_killed_proxy_is_told_and_comes_back(host: ProxyHost, victim: str) -> None:
    spec = host.spec(http_listener(default=fixed("x")))

    async def story() -> None:
        await host.proxies.ensure(spec)
        for _ in range(2):
            pid = master(host)
            if victim == "worker":
                pid = next(each for each in folder(host).members() if each != pid)
            os.kill(pid, signal.SIGKILL)
            assert await asyncio.wait_for(host.proxies.died(), 20) == "node-1"
            await host.proxies.ensure(spec)
            assert (await asyncio.to_thread(host.get)).body == b"x"
        await host.proxies.close()

    asyncio.run(story())


def test_remove_and_clean_leave_nothing(host: ProxyHost) -> None:
    spec = host.spec(http_listener(default=fixed("x")))

    async def story() -> None:
        await host.proxies.ensure(spec)
        await host.proxies.remove("node-1")
        await host.proxies.remove("node-1")
        assert await host.proxies.observe() == frozenset()
        assert folder(host).members() == []
        await host.proxies.ensure(spec)
        await host.proxies.close()
        await clean(host.home_id, host.run)
        assert folder(host).members() == []
        assert not folder(host).path.exists()

    asyncio.run(story())


def test_a_refused_wish_leaves_the_old_one_served_and_the_next_one_heals(host: ProxyHost) -> None:
    spec = host.spec(http_listener(default=fixed("old")))

    async def story() -> None:
        await host.proxies.ensure(spec)
        with pytest.raises(PortError, match="configuration"):
            await host.proxies.ensure(without(spec, address="10.99.0.1"))
        # Who cannot listen at an address asks the old worker to listen nowhere, and a moment later to go on.
        await eventually(host.accepts)
        assert (await asyncio.to_thread(host.get)).body == b"old"
        await host.proxies.ensure(without(spec, listeners=(http_listener(default=fixed("new")),)))
        assert (await asyncio.to_thread(host.get)).body == b"new"
        await host.proxies.close()

    asyncio.run(story())


def test_a_running_proxy_that_refuses_a_wish_says_so_for_good_and_serves_on(host: ProxyHost) -> None:
    """It reaches the load balancer's state ("active_impaired") as any failure that only the user can mend: it is not tried again and again."""
    one = host.certificate("one.example.com")
    bad = msgspec.structs.replace(one, name="c-0000000000000000", chain_pem="no certificate")
    bad = msgspec.structs.replace(bad, sealed_key=host.sealer.seal("no key", bad.name))

    def spec(certificate: Certificate) -> ProxySpec:
        tls = http_listener(port=443, protocol="HTTPS", certificates=(certificate.name,), default=fixed("s"))
        return host.spec(http_listener(default=fixed("old")), tls, certificates=(certificate,))

    async def story() -> None:
        await host.proxies.ensure(spec(one))
        with pytest.raises(PortError, match=r"configuration: .*c-0000000000000000") as caught:
            await host.proxies.ensure(spec(bad))
        assert not caught.value.retry
        assert (await asyncio.to_thread(host.get)).body == b"old"
        assert await asyncio.to_thread(host.shown_name, "one.example.com") == "one.example.com"
        await host.proxies.ensure(spec(one))
        await host.proxies.close()

    asyncio.run(story())


def test_what_is_not_built_is_refused(host: ProxyHost) -> None:
    async def refused(spec: ProxySpec) -> None:
        with pytest.raises(PortError) as caught:
            await host.proxies.ensure(spec)
        assert not caught.value.retry

    async def story() -> None:
        server = Server("t", TARGETS[0], 80)
        await refused(host.spec(http_listener(), groups=(group(server, preserve_client=True),)))
        certificate = host.certificate("a")
        pq = http_listener(
            port=443,
            protocol="HTTPS",
            certificates=(certificate.name,),
            policy="ELBSecurityPolicy-TLS13-1-2-PQ-2025-09",
        )
        await refused(host.spec(pq, groups=(group(server),), certificates=(certificate,)))
        assert folder(host).members() == []

    asyncio.run(story())


def test_requests_in_flight_survive_a_target_that_goes_until_its_connections_are_ended(host: ProxyHost) -> None:
    """AWS, "Deregistration delay": what is under way goes on; at the end of the delay it is cut."""
    arrived = threading.Semaphore(0)
    release = threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        arrived.release()
        release.wait(30)
        request.send_response(200)
        request.send_header("Content-Length", "4")
        request.end_headers()
        request.wfile.write(b"done")

    server, other = host.target(TARGETS[0], handler=slow), host.target(TARGETS[1])
    spec = host.spec(http_listener(), groups=(group(server),))
    gone = without(spec, groups=(group(other),))

    async def ask() -> asyncio.Future[Any]:
        asked = asyncio.ensure_future(asyncio.to_thread(host.get, "/slow"))
        await asyncio.to_thread(arrived.acquire, timeout=20)
        return asked

    async def story() -> None:
        await host.proxies.ensure(spec)
        survivor = await ask()
        await host.proxies.ensure(gone)
        assert (await asyncio.to_thread(host.get)).told()["target"] == TARGETS[1]
        release.set()
        assert (await survivor).body == b"done"
        release.clear()
        await host.proxies.ensure(spec)
        victim = await ask()
        await host.proxies.ensure(gone)
        await host.proxies.end_connections("node-1", "tg-a", server.name)
        if haproxy_version("haproxy") < (3, 0):
            assert (await victim).status == 502
        else:  # without an answer: decision 0134
            with pytest.raises(RemoteDisconnected):
                await victim
        await host.proxies.end_connections("node-1", "tg-a", server.name)
        release.set()
        await host.proxies.close()

    asyncio.run(story())


# Protocols


def curl(host: ProxyHost, *arguments: str) -> Any:
    command = ["nsenter", f"--net={host.net}", "curl", "-sk", "--max-time", "20", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def tls_spec(host: ProxyHost, *groups: Group, **more: Any) -> ProxySpec:
    certificate = host.certificate("example.com")
    tls = http_listener(
        port=443, protocol="HTTPS", certificates=(certificate.name,), policy="ELBSecurityPolicy-TLS13-1-2-2021-06"
    )
    return host.spec(tls, http_listener(), groups=groups, certificates=(certificate,), **more)


@pytest.mark.parametrize(("enabled", "version"), [("true", "2"), ("false", "1.1")])
def test_http2_is_spoken_where_it_is_enabled(host: ProxyHost, enabled: str, version: str) -> None:
    spec = tls_spec(host, group(host.target(TARGETS[0])), attributes={"routing.http2.enabled": enabled})

    async def story() -> None:
        host.proxies.subscribe(host.note)
        await host.proxies.ensure(spec)
        done = await asyncio.to_thread(
            curl, host, "--http2", "-w", "\n%{http_version} %{http_code}", f"https://{ADDRESS}/p"
        )
        assert done.stdout.splitlines()[-1] == f"{version} 200"
        await eventually(lambda: host.records)
        assert host.records[0].kind == ("h2" if enabled == "true" else "https")
        assert host.records[0].request.startswith(
            f"GET https://{ADDRESS}:443/p HTTP/{'2.0' if enabled == 'true' else '1.1'}"
        )
        await host.proxies.close()

    asyncio.run(story())


def test_464_when_versions_do_not_fit(host: ProxyHost) -> None:
    """AWS, "HTTP 464": HTTP/1.1 to a gRPC or HTTP/2 group, gRPC to an HTTP/1.1 group, HTTP/2 without POST to a gRPC group."""
    server = host.target(TARGETS[0])
    grpc = ("-H", "content-type: application/grpc")
    post = ("-X", "POST", "-d", "x")
    cases = [
        ("HTTP2", ("--http1.1",)),
        ("GRPC", ("--http1.1", *post)),
        *[("HTTP1", ("--http2", *grpc, *post))] * 8,  # the body comes while it is answered
        ("GRPC", ("--http2",)),
        ("HTTP1", ("--http1.1", *grpc, *post)),
        ("HTTP1", ("--http1.1", "-H", "content-type: application/grpc+proto")),
        ("HTTP1", ("--http1.1", *grpc, "-H", "X-Forwarded-For: 192.0.2.1")),
    ]

    async def story() -> None:
        for version, arguments in cases:
            await host.proxies.ensure(tls_spec(host, group(server, version=version)))
            done = await asyncio.to_thread(
                curl, host, *arguments, "-o", "/dev/null", "-w", "%{http_code}", f"https://{ADDRESS}/"
            )
            assert done.stdout == "464", (version, arguments)
        await host.proxies.close()

    asyncio.run(story())


@contextlib.contextmanager
def echoing(host: ProxyHost) -> Iterator[Server]:
    """A target that takes one WebSocket and says everything again in capitals."""
    listening = host.listening(TARGETS[0], 80)

    def serve() -> None:
        sock, _ = listening.accept()
        request = sock.recv(65536)
        assert b"upgrade: websocket" in request.lower()
        accept = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"  # RFC 6455, 1.3
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + accept)
        while data := sock.recv(4096):
            sock.sendall(data.upper())

    threading.Thread(target=serve, daemon=True).start()
    yield Server("t", TARGETS[0], 80, up=True)
    listening.close()


def upgraded(host: ProxyHost) -> socket.socket:
    sock = host.connect(timeout=DEADLINE_S)
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    sock.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + key)
    head = sock.recv(4096)
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nconnection: upgrade\r\n" in head.lower()
    return sock


def said_again(sock: socket.socket) -> bytes:
    sock.sendall(b"ping")
    return sock.recv(4096)


@pytest.mark.parametrize("lasts_s", ["3600", "0"])
def test_websockets_pass(host: ProxyHost, lasts_s: str) -> None:
    """Also when the connection has lasted its time: who has no `Connection: Upgrade` in the answer has no WebSocket (RFC 6455, 4.1)."""

    def talk() -> bytes:
        with upgraded(host) as sock:
            return said_again(sock)

    async def story() -> None:
        host.proxies.subscribe(host.note)
        with echoing(host) as server:
            attributes = {"client_keep_alive.seconds": lasts_s}
            await host.proxies.ensure(host.spec(http_listener(), groups=(group(server),), attributes=attributes))
            assert await asyncio.to_thread(talk) == b"PING"
            await eventually(lambda: host.records)
        assert (host.records[0].kind, host.records[0].elb_status) == ("ws", 101)
        await host.proxies.close()

    asyncio.run(story())


def test_a_websocket_and_a_download_by_http2_outlive_reloads(host: ProxyHost) -> None:
    """A rule that changes cuts nothing that flows; the worker of before ends with the last of it."""
    go, begun = threading.Event(), threading.Event()

    def slowly(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "8")
        request.end_headers()
        request.wfile.write(b"one ")
        request.wfile.flush()
        begun.set()
        go.wait(120)
        request.wfile.write(b"two ")

    certificate = host.certificate("example.com")
    downloads = host.target(TARGETS[1], handler=slowly)

    def spec(number: int, server: Server) -> ProxySpec:
        rule = Rule(1, fixed("x"), (Condition("http-header", ("x",), name=f"X-{number}"),))
        tls = http_listener(
            port=443, protocol="HTTPS", certificates=(certificate.name,), default=Forward((("tg-b", 1),))
        )
        groups = (group(server), group(downloads, name="tg-b"))
        return host.spec(http_listener(rule), tls, groups=groups, certificates=(certificate,))

    async def story() -> None:
        with echoing(host) as server:
            await host.proxies.ensure(spec(0, server))
            with await asyncio.to_thread(upgraded, host) as sock:
                arguments = ("--http2", "-w", "%{http_version} %{http_code}", f"https://{ADDRESS}/")
                download = asyncio.create_task(asyncio.to_thread(curl, host, *arguments))
                await asyncio.to_thread(begun.wait, DEADLINE_S)
                for number in range(1, 4):
                    await host.proxies.ensure(spec(number, server))
                    assert await asyncio.to_thread(said_again, sock) == b"PING"
                go.set()
                assert (await download).stdout == "one two 2 200"
                await eventually(lambda: len(folder(host).members()) == 3)
            await eventually(lambda: len(folder(host).members()) == 2)
        await host.proxies.close()

    asyncio.run(story())


def tls_connect(host: ProxyHost, version: ssl.TLSVersion, port: int = 443) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    try:
        with host.connect(port) as sock, context.wrap_socket(sock) as wrapped:
            return str(wrapped.version())
    except (ssl.SSLError, OSError):
        return ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_policies_allow_their_versions_only(host: ProxyHost) -> None:
    certificate = host.certificate("example.com")
    wished = {
        "ELBSecurityPolicy-TLS13-1-3-2021-06": ["TLSv1.3"],
        "ELBSecurityPolicy-TLS13-1-2-2021-06": ["TLSv1.2", "TLSv1.3"],
        "ELBSecurityPolicy-2016-08": ["TLSv1", "TLSv1.1", "TLSv1.2"],
        "ELBSecurityPolicy-FS-1-1-2019-08": ["TLSv1.1", "TLSv1.2"],
    }
    listeners = [
        http_listener(
            port=2000 + place, protocol="HTTPS", certificates=(certificate.name,), policy=policy, default=fixed("x")
        )
        for place, policy in enumerate(wished)
    ]
    versions = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

    async def story() -> None:
        await host.proxies.ensure(host.spec(*listeners, certificates=(certificate,)))
        for place, (policy, allowed) in enumerate(wished.items()):
            seen = [await asyncio.to_thread(tls_connect, host, version, 2000 + place) for version in versions]
            assert [version for version in seen if version] == allowed, policy
        await eventually_async(lambda: _tls_errors(host), 8)
        await host.proxies.close()

    asyncio.run(story())


def test_connections_outlast_a_reload_in_the_counters_too(host: ProxyHost) -> None:
    """AWS: ActiveConnectionCount, "concurrent TCP connections active from clients to the load balancer"; ProcessedBytes of TLS listeners."""
    spec = host.spec(http_listener(), groups=(group(host.target(TARGETS[0])),))

    async def counted() -> Counters:
        return (await host.proxies.counters())["node-1"]

    def ask(sock: socket.socket) -> None:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")

    async def active() -> int:
        return (await counted()).active

    async def story() -> None:
        await host.proxies.ensure(spec)
        with host.connect() as first, host.connect():
            await asyncio.to_thread(ask, first)
            await eventually_async(active, 2)
            before = await counted()
            for port in (81, 82):
                await host.proxies.ensure(host.spec(http_listener(), http_listener(port=port), groups=spec.groups))
                after = await counted()
                assert (after.active, after.connections, after.sent_bytes) == (2, 2, before.sent_bytes)
                told = asyncio.create_task(host.proxies.ensure(host.spec(http_listener(), groups=spec.groups)))
                while not told.done():
                    after = await counted()
                    assert (after.active, after.connections) == (2, 2), "also while a reload is under way"
                await told
            await asyncio.to_thread(ask, first)
            grown = (await counted()).sent_bytes
            assert grown > before.sent_bytes, "an old worker counts on"
        await eventually_async(active, 0)
        assert ((await counted()).connections, (await counted()).sent_bytes) == (2, grown)
        await host.proxies.close()

    asyncio.run(story())


def test_what_a_connection_of_layer_4_carries_is_counted_while_it_is_open(host: ProxyHost) -> None:
    """AWS: ProcessedBytes of network load balancers."""
    served = group(Server("t", TARGETS[0], 90, up=True), protocol="TCP")

    async def carried() -> bool:
        return (await host.proxies.counters())["node-1"].by_port[80].bytes >= 2_000_000

    async def story() -> None:
        await host.proxies.ensure(host.spec(http_listener(protocol="TCP"), groups=(served,)))
        with host.listening(TARGETS[0], 90) as server, host.connect() as near, server.accept()[0] as far:
            await asyncio.to_thread(near.sendall, b"x" * 1_000_000)
            await asyncio.to_thread(far.recv, 1_000_000, socket.MSG_WAITALL)
            await asyncio.to_thread(far.sendall, b"x" * 1_000_000)
            await asyncio.to_thread(near.recv, 1_000_000, socket.MSG_WAITALL)
            await eventually_async(carried, True)
        await host.proxies.close()

    asyncio.run(story())


def test_who_does_not_answer_is_not_told_as_one_that_began_anew(host: ProxyHost) -> None:
    async def story() -> None:
        await host.proxies.ensure(host.spec(http_listener(default=fixed("x"))))
        assert set(await host.proxies.counters()) == {"node-1"}
        control = folder(host).work / MASTER_SOCKET
        control.rename(control.with_name("away"))
        assert await host.proxies.counters() == {}
        control.with_name("away").rename(control)
        assert set(await host.proxies.counters()) == {"node-1"}
        await host.proxies.close()

    asyncio.run(story())


async def _tls_errors(host: ProxyHost) -> int:
    return (await host.proxies.counters())["node-1"].tls_errors


async def eventually_async(look: Any, wished: int) -> None:
    deadline = time.monotonic() + 20
    while (seen := await look()) != wished:
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(0.05)


def test_what_is_open_at_listeners_that_have_gone_ends_by_itself(host: ProxyHost) -> None:
    """Also for an agent that comes meanwhile, and beside a listener that comes back."""
    listening = host.listening(TARGETS[0], 9000)

    def serve() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(sock,), daemon=True).start()

    def echo(sock: socket.socket) -> None:
        with sock:
            while data := sock.recv(100):
                sock.sendall(data)

    def said(sock: socket.socket) -> bytes:
        sock.sendall(b"hello")
        return sock.recv(100)

    threading.Thread(target=serve, daemon=True).start()
    tcp = Listener(90, "TCP", "arn", (Rule(0, Forward((("tg-a", 1),))),))
    wished = host.spec(tcp, groups=(group(Server("t:9000", TARGETS[0], 9000, up=True), protocol="TCP"),))

    async def story() -> None:
        await host.proxies.ensure(wished)
        with host.connect(90) as first:
            assert await asyncio.to_thread(said, first) == b"hello"
            assert await host.proxies.finish(wished.name)
            with pytest.raises(ConnectionRefusedError):
                host.connect(90)
            await host.proxies.close()
            host.proxies = host.driver()
            assert await host.proxies.finish(wished.name)
            assert await asyncio.to_thread(said, first) == b"hello"
            await host.proxies.ensure(wished)
            with host.connect(90) as second:
                assert await asyncio.to_thread(said, second) == b"hello"
                assert await host.proxies.finish(wished.name)
                assert await asyncio.to_thread(said, first) == b"hello"
                assert await asyncio.to_thread(said, second) == b"hello"
        async with asyncio.timeout(20):
            while await host.proxies.finish(wished.name):
                await asyncio.sleep(0.05)
        await host.proxies.remove(wished.name)
        assert not await host.proxies.finish(wished.name)
        await host.proxies.close()

    asyncio.run(story())
    listening.close()


def crc32c(data: bytes) -> int:
    """RFC 3720, appendix B.4."""
    value = 0xFFFF_FFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F6_3B78 if value & 1 else 0)
    return value ^ 0xFFFF_FFFF


def test_proxy_protocol_v2_on_a_tcp_listener(host: ProxyHost) -> None:
    listening = host.listening(TARGETS[0], 9000)
    got: list[bytes] = []

    def serve() -> None:
        sock, _ = listening.accept()
        got.append(sock.recv(65536))
        sock.sendall(b"bye")
        sock.close()

    threading.Thread(target=serve, daemon=True).start()
    tcp = Listener(90, "TCP", "arn", (Rule(0, Forward((("tg-a", 1),))),))
    server = Server("t:9000", TARGETS[0], 9000, up=True)

    def talk() -> tuple[int, bytes]:
        with host.connect(90) as sock:
            sock.sendall(b"hello")
            return sock.getsockname()[1], sock.recv(100)

    async def story() -> None:
        await host.proxies.ensure(host.spec(tcp, groups=(group(server, protocol="TCP", proxy_protocol=True),)))
        port, answer = await asyncio.to_thread(talk)
        assert answer == b"bye"
        head = got[0][:28]
        assert head[:14] == b"\r\n\r\n\0\r\nQUIT\n\x21\x11"
        assert socket.inet_ntoa(head[16:20]) == "10.9.0.1"
        assert socket.inet_ntoa(head[20:24]) == ADDRESS
        assert struct.unpack("!HH", head[24:28]) == (port, 90)
        # A checksum of the whole header with zeros in its place (CRC32c, type 3), as AWS's has.
        header, rest = (
            got[0][: 16 + struct.unpack("!H", head[14:16])[0]],
            got[0][16 + struct.unpack("!H", head[14:16])[0] :],
        )
        assert header[28:31] == b"\x03\0\x04"
        assert struct.unpack("!I", header[31:35])[0] == crc32c(header[:31] + bytes(4) + header[35:])
        assert rest in (b"", b"hello")
        await host.proxies.close()

    asyncio.run(story())
    listening.close()


def test_a_tls_listener_terminates_and_tells_its_connections(host: ProxyHost) -> None:
    listening = host.listening(TARGETS[0], 9000)

    def serve() -> None:
        sock, _ = listening.accept()
        sock.sendall(sock.recv(100).upper())
        sock.close()

    threading.Thread(target=serve, daemon=True).start()
    certificate = host.certificate("example.com")
    tls = Listener(
        443,
        "TLS",
        "arn:tls",
        (Rule(0, Forward((("tg-a", 1),))),),
        (certificate.name,),
        "ELBSecurityPolicy-TLS13-1-2-2021-06",
        "HTTP2Preferred",
    )
    server = Server("t:9000", TARGETS[0], 9000, up=True)

    def talk() -> tuple[bytes, str | None]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1", "h2"])
        with host.connect(443) as sock, context.wrap_socket(sock, server_hostname="example.com") as wrapped:
            wrapped.sendall(b"hello")
            return wrapped.recv(100), wrapped.selected_alpn_protocol()

    async def story() -> None:
        host.proxies.subscribe(host.note)
        spec = host.spec(tls, groups=(group(server, protocol="TCP"),), certificates=(certificate,))
        await host.proxies.ensure(spec)
        assert await asyncio.to_thread(talk) == (b"HELLO", "h2")
        await eventually(lambda: host.records)
        record = host.records[0]
        assert (record.kind, record.listener_arn, record.target, record.domain_name) == (
            "tls",
            "arn:tls",
            f"{TARGETS[0]}:9000",
            "example.com",
        )
        assert (record.certificate_arn, record.tls_protocol, record.extra) == (
            certificate.arn,
            "TLSv1.3",
            {"alpn_fe_protocol": "h2"},
        )
        await host.proxies.close()

    asyncio.run(story())
    listening.close()


def test_sources_that_stick_behind_a_tls_listener_stay_with_their_targets(host: ProxyHost) -> None:
    """AWS: stickiness.type source_ip. Who comes takes his share and who goes leaves his own sources, at run time and over reloads alike."""
    certificate = host.certificate("example.com")
    tls = Listener(443, "TLS", "arn:tls", (Rule(0, Forward((("tg-a", 1),))),), (certificate.name,), alpn="None")
    one, two, three = (host.target(address) for address in TARGETS)
    sources = [f"10.9.0.{number}" for number in range(100, 124)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def ask(source: str) -> str:
        with host.connect(443, source=source) as sock, context.wrap_socket(sock, server_hostname="a") as wrapped:
            wrapped.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: wrapped.recv(65536), b""))
        return str(json.loads(answer.partition(b"\r\n\r\n")[2])["target"])

    async def story() -> None:
        async def told(*servers: Server, alpn: str = "None") -> dict[str, str]:
            groups = (group(*servers, protocol="TCP", stickiness=Stickiness("source_ip")),)
            listener = msgspec.structs.replace(tls, alpn=alpn)
            await host.proxies.ensure(host.spec(listener, groups=groups, certificates=(certificate,)))
            return await asyncio.to_thread(lambda: {source: ask(source) for source in sources})

        first = await told(one, two)
        assert set(first.values()) == set(TARGETS[:2])
        assert await told(one, two) == first
        more = await told(three, one, two)
        assert {more[source] for source in sources if more[source] != first[source]} == {TARGETS[2]}
        assert await told(one, two, three, alpn="HTTP1Only") == more, "after a reload"
        fewer = await told(two, three, alpn="HTTP1Only")
        assert {more[source] for source in sources if more[source] != fewer[source]} == {TARGETS[0]}
        assert await told(three, two) == fewer, "after a reload"
        await host.proxies.close()

    asyncio.run(story())


def serve_grpc(listening: socket.socket) -> None:
    """HTTP/2 without TLS: echoes the body, and says in a trailer that all is well, as gRPC does."""
    sock, _ = listening.accept()
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    sock.sendall(connection.data_to_send())
    while data := sock.recv(65536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                assert event.stream_id is not None
                connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                connection.send_data(event.stream_id, event.data)
                connection.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
        sock.sendall(connection.data_to_send())


def test_grpc_reaches_its_target_by_http2_with_trailers(host: ProxyHost) -> None:
    listening = host.listening(TARGETS[0], 50051)
    threading.Thread(target=serve_grpc, args=(listening,), daemon=True).start()
    server = Server("t:50051", TARGETS[0], 50051, up=True)

    async def story() -> None:
        host.proxies.subscribe(host.note)
        await host.proxies.ensure(tls_spec(host, group(server, version="GRPC")))
        arguments = (
            "--http2",
            "-D",
            "-",
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "--data-binary",
            "hello",
        )
        done = await asyncio.to_thread(curl, host, *arguments, f"https://{ADDRESS}/pkg.Service/Call")
        assert "HTTP/2 200" in done.stdout
        assert "hello" in done.stdout
        assert "grpc-status: 0" in done.stdout
        await eventually(lambda: host.records)
        assert (host.records[0].kind, host.records[0].target_status) == ("grpcs", 200)
        await host.proxies.close()

    asyncio.run(story())
    listening.close()


@pytest.mark.parametrize(
    "more",
    [
        {"protocol": "HTTPS"},
        {"protocol": "HTTPS", "version": "HTTP2"},
        {"version": "GRPC"},
        {"slow_start_s": 30},
        {"stickiness": Stickiness("lb_cookie")},
        {"algorithm": "weighted_random"},
        {"algorithm": "least_outstanding_requests"},
    ],
)
def test_servers_of_every_kind_of_group_are_added_to_the_running_worker(host: ProxyHost, more: dict[str, Any]) -> None:
    servers = [Server(f"t{n}", address, 80, up=True) for n, address in enumerate(TARGETS)]

    async def story() -> None:
        await host.proxies.ensure(host.spec(http_listener(), groups=(group(servers[0], **more),)))
        before = sorted(folder(host).members())
        await host.proxies.ensure(host.spec(http_listener(), groups=(group(*servers[:2], **more),)))
        assert sorted(folder(host).members()) == before
        await host.proxies.close()

    asyncio.run(story())


def test_chance_finds_all_servers_that_came_at_run_time(host: ProxyHost) -> None:
    """AWS, "Routing algorithms": weighted random "routes requests evenly across healthy targets in a target group, in a random order"."""

    servers = [host.target(address) for address in TARGETS]

    def wish(count: int) -> ProxySpec:
        return host.spec(http_listener(), groups=(group(*servers[:count], algorithm="weighted_random"),))

    async def story() -> None:
        await host.proxies.ensure(wish(0))
        before = sorted(folder(host).members())
        await host.proxies.ensure(wish(3))
        assert sorted(folder(host).members()) == before, "no reload"
        answers = [(await asyncio.to_thread(host.get)).told()["target"] for _ in range(120)]
        assert {address: answers.count(address) >= 15 for address in TARGETS} == dict.fromkeys(TARGETS, True)
        await host.proxies.close()

    asyncio.run(story())


def test_targets_that_join_others_start_slowly(host: ProxyHost) -> None:
    """AWS, "Slow start mode": the first ones of a group take all from the beginning, those that come later rise to their share."""
    servers = [host.target(address) for address in TARGETS]

    def shares() -> Counter[str]:
        return Counter(host.get().told()["target"] for _ in range(60))

    async def story() -> None:
        await host.proxies.ensure(host.spec(http_listener(), groups=(group(slow_start_s=900),)))
        await host.proxies.ensure(host.spec(http_listener(), groups=(group(*servers[:2], slow_start_s=900),)))
        assert await asyncio.to_thread(shares) == {TARGETS[0]: 30, TARGETS[1]: 30}
        await host.proxies.ensure(host.spec(http_listener(), groups=(group(*servers, slow_start_s=900),)))
        assert 1 <= (await asyncio.to_thread(shares))[TARGETS[2]] <= 6
        await host.proxies.close()

    asyncio.run(story())


def test_a_slow_start_goes_on_over_reloads_crashes_and_agents(host: ProxyHost) -> None:
    """Of 8 s: with each new worker the share is no less than it was and not yet whole; at the end it is."""
    servers = [Server(f"t{n}", address, 80, up=True) for n, address in enumerate(TARGETS)]

    def spec(count: int, idle: str) -> ProxySpec:
        groups = (group(*servers[:count], slow_start_s=8),)
        return host.spec(http_listener(), groups=groups, attributes={"idle_timeout.timeout_seconds": idle})

    async def weight(place: str) -> int:
        said = await haproxy_control.command(folder(host).work / "run/control", f"get weight {place}")
        return int(said.split()[0])

    async def story() -> None:
        await host.proxies.ensure(spec(1, "60"))
        await host.proxies.ensure(spec(2, "60"))
        await host.proxies.ensure(spec(2, "61"))  # a reload
        assert await weight("tg-a/t0") == 100
        first = await weight("tg-a/t1")
        assert first < 100
        await host.proxies.close()
        second = host.driver()
        await second.ensure(spec(2, "61"))  # another agent
        grown = await asked_until(lambda: weight("tg-a/t1"), lambda now: now > first)
        for pid in folder(host).members():
            os.kill(pid, signal.SIGKILL)
        assert await second.died()
        await second.ensure(spec(2, "61"))
        assert grown <= await weight("tg-a/t1") < 100
        await asked_until(lambda: weight("tg-a/t1"), lambda now: now == 100)
        await second.close()

    asyncio.run(story())


async def asked_until(ask: Callable[[], Awaitable[int]], good: Callable[[int], bool]) -> int:
    async with asyncio.timeout(DEADLINE_S):
        while not good(found := await ask()):
            await asyncio.sleep(0.05)
    return found


def test_targets_are_spoken_to_by_tls_whatever_their_certificate(host: ProxyHost, tmp_path: Path) -> None:
    """AWS, "Target groups": the load balancer does not validate targets' certificates."""
    server = host.target(TARGETS[0], 443)
    certificate = host.certificate("expired.example.com")
    pem = tmp_path / "target.pem"
    pem.write_text(host.sealer.open(certificate.sealed_key, certificate.name) + certificate.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    host.servers[0].socket = context.wrap_socket(host.servers[0].socket, server_side=True)

    async def story() -> None:
        await host.proxies.ensure(host.spec(http_listener(), groups=(group(server, protocol="HTTPS"),)))
        answer = await asyncio.to_thread(host.get, "/secret")
        assert answer.told()["path"] == "/secret"
        await host.proxies.close()

    asyncio.run(story())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_targets_are_spoken_to_by_the_tls_they_know(host: ProxyHost, tmp_path: Path) -> None:
    """AWS, "Security policies": back-end connections have ELBSecurityPolicy-TLS13-1-0-2021-06 or ELBSecurityPolicy-2016-08, so from TLS 1.0 on and
    with ciphers without forward secrecy. Targets that come to the running worker, too."""
    certificate = host.certificate("old.example.com")
    pem = tmp_path / "target.pem"
    pem.write_text(host.sealer.open(certificate.sealed_key, certificate.name) + certificate.chain_pem)
    servers = []
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        servers.append(host.target(TARGETS[0], 4430 + len(servers)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        host.servers[-1].socket = context.wrap_socket(host.servers[-1].socket, server_side=True)

    async def story() -> None:
        for server in servers:
            await host.proxies.ensure(host.spec(http_listener(), groups=(group(server, protocol="HTTPS"),)))
            assert (await asyncio.to_thread(host.get, "/")).status == 200, server.port
        await host.proxies.close()

    asyncio.run(story())
