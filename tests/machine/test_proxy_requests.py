"""What a proxy does with requests: rules, actions, headers, cookies, errors, against what AWS's "User Guide for Application Load Balancers" says
(the section is named at each)."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import random
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gureum.core.access_log_lines import connection_line
from gureum.ports.proxies import Condition, FixedResponse, Forward, ProxySpec, Redirect, Rule, Server, Stickiness

from .proxy_host import TARGETS, ProxyHost, eventually, fixed, group, http_listener, proxy_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProxyHost]:
    with proxy_host(tmp_path) as made:
        yield made


def serve(host: ProxyHost, spec: ProxySpec, talk: Callable[[], Any], look: Callable[[], Any] | None = None) -> Any:
    """The proxy is as `spec`; `talk` in a thread; then `look` until it is true (records come a moment later)."""

    async def story() -> Any:
        stop = host.proxies.subscribe(host.note)
        try:
            await host.proxies.ensure(spec)
            result = await asyncio.to_thread(talk)
            if look is not None:
                await eventually(look)
            return result
        finally:
            stop()
            await host.proxies.close()
            host.proxies = host.driver()

    return asyncio.run(story())


# "Condition types for listener rules"


def condition(field: Any, *values: str, name: str = "", pairs: tuple[tuple[str, str], ...] = ()) -> Condition:
    return Condition(field, values, name, pairs)


QUERY = "query-string"
TOKEN = "Zz9~|_^.-+*'&%$#!0aA"
"""Every character that may be in a header's name (RFC 9110); AWS has no wildcards there."""
CASES: list[tuple[Condition, dict[str, Any], bool]] = [
    (condition("host-header", "example.com"), {"host": "example.com"}, True),
    (condition("host-header", "example.com"), {"host": "EXAMPLE.com"}, True),
    (condition("host-header", "example.com"), {"host": "example.com:8080"}, True),
    (condition("host-header", "example.com"), {"host": "a.example.com"}, False),
    (condition("host-header", "*.example.com"), {"host": "a.example.com"}, True),
    (condition("host-header", "*.example.com"), {"host": "example.com"}, False),
    (condition("host-header", "a.*", "b?.org"), {"host": "bc.org"}, True),
    (condition("host-header", "b?.org"), {"host": "bcd.org"}, False),
    (condition("path-pattern", "/img/*"), {"path": "/img/picture.jpg"}, True),
    (condition("path-pattern", "/img/*"), {"path": "/IMG/picture.jpg"}, False),
    (condition("path-pattern", "/img/*/pics"), {"path": "/img/a/b/pics"}, True),
    (condition("path-pattern", "/img/*/pics"), {"path": "/img/a/b/picsx"}, False),
    (condition("path-pattern", "/a?c"), {"path": "/abc?x=1"}, True),
    (condition("path-pattern", "/a?c"), {"path": "/ac"}, False),
    (condition("path-pattern", "/a.c"), {"path": "/abc"}, False),
    (condition("path-pattern", "/$-~\"'@:+"), {"path": "/$-~\"'@:+"}, True),
    (condition("path-pattern", "/a\\*"), {"path": "/a\\b"}, True),
    # "The rule evaluation is performed only after URI normalization occurs."
    (condition("path-pattern", "/admin/*"), {"path": "/img/../admin/?q=/.."}, True),
    (condition("path-pattern", "/admin/*"), {"path": "/img/%2e%2E/./%61dmin/x"}, True),
    (condition("path-pattern", "/admin/*"), {"path": "/img/%zz/%2e%2e/%2e%2e/admin/?%zz"}, True),
    (condition("path-pattern", "/img/*"), {"path": "/img/../admin/x"}, False),
    (condition("path-pattern", "/a/b*", "/*/c"), {"path": "/x/../../a/./b"}, True),
    (condition("path-pattern", "/a%2Fb", "/*.c"), {"path": "/a%2Fb"}, True),
    (condition("path-pattern", "/%zz/b*"), {"path": "/%zz/x/../b%6"}, True),
    (condition("path-pattern", "/.well-known/*"), {"path": "/.well-known/..a"}, True),
    (condition(QUERY, pairs=(("a", "%2e"),)), {"path": "/x/../?a=%2e"}, True),
    (
        condition("http-header", "*chrome*", "*safari*", name="User-Agent"),
        {"headers": {"User-Agent": "x CHROME y"}},
        True,
    ),
    (condition("http-header", "*Chrome*", name="User-Agent"), {"headers": {"User-Agent": "firefox"}}, False),
    (condition("http-header", "*Chrome*", name="User-Agent"), {}, False),
    (condition("http-header", "a, b", name="X-List"), {"headers": {"X-List": "a, b"}}, True),
    (condition("http-header", "a", name=TOKEN), {"headers": {TOKEN: "a"}}, True),
    (condition("http-header", "a", name=TOKEN), {"headers": {TOKEN.replace("*", "x"): "a"}}, False),
    (condition("http-request-method", "CUSTOM", "POST"), {"method": "CUSTOM"}, True),
    (condition("http-request-method", "POST"), {"method": "post"}, False),
    (condition(QUERY, pairs=(("version", "v1"), ("", "*example*"))), {"path": "/?a=b&Version=V1"}, True),
    (condition(QUERY, pairs=(("version", "v1"), ("", "*example*"))), {"path": "/?x=anexample1"}, True),
    (condition(QUERY, pairs=(("version", "v1"),)), {"path": "/?version=v1&a=b"}, True),
    (condition(QUERY, pairs=(("version", "v1"),)), {"path": "/?xversion=v1"}, False),
    (condition(QUERY, pairs=(("version", "v1"),)), {"path": "/?version=v11"}, False),
    (condition(QUERY, pairs=(("a", "\\*"),)), {"path": "/?a=*"}, True),
    (condition(QUERY, pairs=(("a", "\\*"),)), {"path": "/?a=b"}, False),
    (condition(QUERY, pairs=(("a", "x*"),)), {"path": "/?a=y&b=x1"}, False),
    (condition("source-ip", "10.9.0.0/24"), {}, True),
    (condition("source-ip", "10.8.0.0/24", "10.9.0.1/32"), {}, True),
    (condition("source-ip", "10.8.0.0/24"), {"headers": {"X-Forwarded-For": "10.8.0.1"}}, False),
]


def test_conditions_match_as_documented(host: ProxyHost) -> None:
    """Each on a listener of its own, so that one proxy serves for all."""
    listeners = [
        http_listener(Rule(1, fixed("yes"), (one,)), port=1000 + place, default=fixed("no"))
        for place, (one, _, _) in enumerate(CASES)
    ]

    def talk() -> list[bool]:
        return [
            host.get(
                asked.get("path", "/"),
                port=1000 + place,
                **{key: value for key, value in asked.items() if key != "path"},
            ).body
            == b"yes"
            for place, (_, asked, _) in enumerate(CASES)
        ]

    got = serve(host, host.spec(*listeners), talk)
    wrong = [(one, asked) for (one, asked, wished), seen in zip(CASES, got, strict=True) if seen != wished]
    assert not wrong


def test_targets_and_logs_get_paths_as_they_were_sent(host: ProxyHost) -> None:
    """ "The path pattern is used to route requests but does not alter them": also where rules are found by what the path comes to."""
    sent = "/img/../%61dmin/./x%2f?a=%2e&b=/../"
    listener = http_listener(
        Rule(1, Forward((("tg-a", 1),)), (condition("path-pattern", "/admin/*"),)), default=fixed("no")
    )
    servers = (group(host.target(TARGETS[0])),)
    answer = serve(host, host.spec(listener, groups=servers), lambda: host.get(sent), lambda: host.records)
    assert answer.told()["path"] == sent
    assert sent in host.records[0].request


def test_conditions_of_a_rule_are_anded_and_the_lowest_priority_number_wins(host: ProxyHost) -> None:
    both = (condition("path-pattern", "/a*"), condition("http-request-method", "POST"))
    listener = http_listener(
        Rule(5, fixed("five"), both),
        Rule(10, fixed("ten"), both[:1]),
        Rule(20, fixed("twenty")),
        default=fixed("default"),
    )

    def talk() -> list[bytes]:
        return [host.get("/ab", method="POST").body, host.get("/ab").body, host.get("/b").body]

    looked = lambda: sorted(record.priority for record in host.records) == [5, 10, 20]  # noqa: E731
    assert serve(host, host.spec(listener), talk, looked) == [b"five", b"ten", b"twenty"]


PATTERNS = ("/", "/a", "/a*", "/a/*", "/a/b", "/a/b*", "/A*", "*", "*b", "/?", "/a/?", "/*/b", "/b*")
NAMES = ("a.test", "A.Test", "b.test", "*.test", "?.test", "b*")


def _fits(pattern: str, text: str) -> bool:
    """AWS: `*` is any run of characters, `?` exactly one."""
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern), text) is not None


def test_rules_found_by_maps_and_rules_that_are_lines_hold_in_one_order(host: ProxyHost) -> None:
    """Against the plain reading of the documents: the first rule by priority all of whose conditions have a value that fits; hosts whatever their
    letters' case, paths by it."""
    chance = random.Random(124)
    listeners, wished = [], {}
    asked = [
        (name, path)
        for name in ("a.test", "B.TEST", "c.test", "other")
        for path in ("/", "/a", "/a/b", "/a/bc", "/A", "/b")
    ]
    for port in range(80, 85):
        rules = []
        for priority in chance.sample(range(1, 1000), 12):
            names = tuple(chance.sample(NAMES, chance.randint(0, 2)))
            paths = tuple(chance.sample(PATTERNS, chance.randint(0 if names else 1, 2)))
            some = [condition("host-header", *names)] * bool(names) + [condition("path-pattern", *paths)] * bool(paths)
            if chance.random() < 0.2:
                some.append(condition("http-request-method", "GET"))
            rules.append(Rule(priority, fixed(str(priority)), tuple(some)))
        rules.sort(key=lambda rule: rule.priority)
        listeners.append(http_listener(*rules, port=port, default=fixed("default")))
        for name, path in asked:
            sent = {"host-header": name.lower(), "path-pattern": path, "http-request-method": "GET"}
            wished[port, name, path] = next(
                (
                    str(rule.priority)
                    for rule in rules
                    if all(
                        any(
                            _fits(value.lower() if one.field == "host-header" else value, sent[one.field])
                            for value in one.values
                        )
                        for one in rule.conditions
                    )
                ),
                "default",
            )
    assert len(set(wished.values())) > 20, "many rules are asked for"

    def talk() -> dict[tuple[int, str, str], str]:
        return {(port, name, path): host.get(path, port=port, host=name).body.decode() for port, name, path in wished}

    assert serve(host, host.spec(*listeners), talk) == wished


def test_any_of_repeated_headers_may_match(host: ProxyHost) -> None:
    listener = http_listener(Rule(1, fixed("yes"), (condition("http-header", "two", name="X-A"),)), default=fixed("no"))
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: one\r\nX-A: two\r\nConnection: close\r\n\r\n"
    assert serve(host, host.spec(listener), lambda: host.raw(request)).endswith(b"yes")


# "Rule action types"


def test_redirect_fills_in_all_placeholders(host: ProxyHost) -> None:
    """ "Redirect actions": #{protocol} #{host} #{port} #{path} #{query}."""
    rules = (
        Rule(1, Redirect(301, protocol="HTTPS", port="443"), (condition("path-pattern", "/secure*"),)),
        Rule(
            2,
            Redirect(302, host="www.#{host}", path="/new/#{path}", query="#{query}&v=1%"),
            (condition("path-pattern", "/old*"),),
        ),
        Rule(3, Redirect(302, path="/#{host}/#{port}/#{protocol}", query=""), ()),
    )

    def talk() -> list[tuple[int, str | None]]:
        answers = [
            host.get(path, host="example.com:80") for path in ("/secure/x?a=b", "/secure", "/old/p?a=b", "/else?q=1")
        ]
        answers += [host.get("/secure", host=address) for address in ("[2001:DB8::1]", "[2001:db8::1]:80")]
        return [(answer.status, answer.header("location")) for answer in answers]

    def look() -> bool:
        return len(host.records) == 6 and "https://example.com:443/secure/x?a=b" in {
            one.redirect_url for one in host.records
        }

    assert serve(host, host.spec(http_listener(*rules, default=fixed(""))), talk, look) == [
        (301, "https://example.com:443/secure/x?a=b"),
        (301, "https://example.com:443/secure"),
        (302, "http://www.example.com:80/new/old/p?a=b&v=1%"),
        (302, "http://example.com:80/example.com/80/http"),
        (301, "https://[2001:db8::1]:443/secure"),
        (301, "https://[2001:db8::1]:443/secure"),
    ]
    assert {record.actions for record in host.records} == {"redirect"}


def test_fixed_response_has_status_type_body_and_server(host: ProxyHost) -> None:
    body = '{"a": "%[src] \' \\" #"}\nsecond line'
    rules = (Rule(1, FixedResponse(418, "application/json", body), (condition("path-pattern", "/full"),)),)

    def talk() -> list[Any]:
        full, empty = host.get("/full"), host.get("/empty")
        return [
            full.status,
            full.body.decode(),
            full.header("content-type"),
            full.header("server"),
            empty.status,
            empty.body,
        ]

    wished = [418, body, "application/json", "awselb/2.0", 204, b""]
    assert serve(host, host.spec(http_listener(*rules, default=FixedResponse(204))), talk) == wished


def test_a_fixed_response_of_status_204_has_no_body_whatever_is_wished(host: ProxyHost) -> None:
    """RFC 9110, 15.3.5. The load balancer serves on, and takes further changes."""

    def talk() -> None:
        answer = host.get("/")
        assert (answer.status, answer.body, answer.header("content-type")) == (204, b"", None)

    serve(host, host.spec(http_listener(default=FixedResponse(204, "text/plain", "gone"))), talk)


def test_weighted_forward_spreads_by_weight_and_the_cookie_keeps_the_group(host: ProxyHost) -> None:
    """ "Forward actions", "Sticky sessions: target group stickiness": AWSALBTG and, for CORS, AWSALBTGCORS."""
    groups = (
        group(host.target(TARGETS[0])),
        group(host.target(TARGETS[1]), name="tg-b"),
        group(host.target(TARGETS[2]), name="tg-c"),
    )
    forward = Forward((("tg-a", 3), ("tg-b", 1), ("tg-c", 0)), stickiness_s=60)

    def talk() -> None:
        seen = [host.get() for _ in range(80)]
        targets = [answer.told()["target"] for answer in seen]
        assert targets.count(TARGETS[2]) == 0
        assert 35 <= targets.count(TARGETS[0]) < 80
        assert targets.count(TARGETS[1]) >= 3
        for answer in seen[:4]:
            cookies = answer.all("set-cookie")
            assert re.fullmatch(r"AWSALBTG=[^;]+; Expires=\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT; Path=/", cookies[0])
            assert re.fullmatch(r"AWSALBTGCORS=[^;]+; Expires=[^;]+; Path=/; SameSite=None", cookies[1])
            for cookie in cookies:
                sent = {"Cookie": cookie.partition(";")[0]}
                again = {host.get(headers=sent).told()["target"] for _ in range(6)}
                assert again == {answer.told()["target"]}

    serve(host, host.spec(http_listener(default=forward), groups=groups), talk)


def test_all_weights_zero_is_503(host: ProxyHost) -> None:
    forward = Forward((("tg-a", 0), ("tg-b", 0)))
    groups = (group(host.target(TARGETS[0])), group(name="tg-b"))
    assert serve(host, host.spec(http_listener(default=forward), groups=groups), lambda: host.get().status) == 503


# "Sticky sessions for your Application Load Balancer"


def test_duration_based_cookie_keeps_the_target_and_is_set_with_every_answer(host: ProxyHost) -> None:
    servers = tuple(host.target(address) for address in TARGETS)
    spec = host.spec(http_listener(), groups=(group(*servers, stickiness=Stickiness("lb_cookie", 60)),))

    def talk() -> None:
        first = host.get()
        cookie, cors = first.all("set-cookie")
        assert re.fullmatch(r"AWSALB=[^;]+; Expires=[^;]+; Path=/", cookie)
        assert re.fullmatch(r"AWSALBCORS=[^;]+; Expires=[^;]+; Path=/; SameSite=None", cors)
        for sent in (cookie, cors):
            answers = [host.get(headers={"Cookie": "a=b; " + sent.partition(";")[0]}) for _ in range(6)]
            assert {answer.told()["target"] for answer in answers} == {first.told()["target"]}
            assert all(len(answer.all("set-cookie")) == 2 for answer in answers)

    serve(host, spec, talk)


def _sealed(host: ProxyHost, spec: ProxySpec, text: str) -> str:
    """A cookie's value as the load balancer itself would have given it."""
    key = host.sealer.derive(f"cookies of {spec.label}")
    seal = hmac.digest(key, text.encode(), "sha256").hex().upper()
    return base64.b64encode(f"{text}/{seal}".encode()).decode()


def test_an_expired_foreign_or_forged_cookie_binds_nobody(host: ProxyHost) -> None:
    servers = tuple(host.target(address) for address in TARGETS)
    spec = host.spec(http_listener(), groups=(group(*servers, stickiness=Stickiness("lb_cookie", 60)),))
    until = int(time.time()) + 60

    def targets(value: str) -> int:
        return len({host.get(headers={"Cookie": f"AWSALB={value}"}).told()["target"] for _ in range(6)})

    def plain(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    def talk() -> list[int]:
        mine, other = (f"{until}/tg-a/{server.name}" for server in servers[:2])
        seal = base64.b64decode(_sealed(host, spec, mine)).decode().rpartition("/")[2]
        elsewhere = msgspec.structs.replace(spec, label="app/other/1")
        return [
            targets(_sealed(host, spec, mine)),
            targets(_sealed(host, spec, f"1/tg-a/{servers[0].name}")),
            targets(_sealed(host, spec, f"{until}/tg-b/{servers[0].name}")),
            targets(_sealed(host, elsewhere, mine)),
            targets(plain(mine)),
            targets(plain(f"{mine}/")),
            targets(plain(f"{other}/{seal}")),
            targets(plain(f"{until + 1}/tg-a/{servers[0].name}/{seal}")),
            targets(""),
        ]

    assert serve(host, spec, talk) == [1, *[3] * 8]


def test_a_forged_cookie_of_a_group_binds_nobody(host: ProxyHost) -> None:
    groups = (group(host.target(TARGETS[0])), group(host.target(TARGETS[1]), name="tg-b"))
    spec = host.spec(http_listener(default=Forward((("tg-a", 1), ("tg-b", 1)), stickiness_s=60)), groups=groups)
    text = f"{int(time.time()) + 60}/tg-a"

    def talk() -> list[int]:
        values = (_sealed(host, spec, text), base64.b64encode(f"{text}/{'0' * 64}".encode()).decode())
        sent = [{"Cookie": f"AWSALBTG={value}"} for value in values]
        return [len({host.get(headers=one).told()["target"] for _ in range(16)}) for one in sent]

    assert serve(host, spec, talk) == [1, 2]


def test_a_sticky_client_of_a_target_that_is_not_up_goes_to_another(host: ProxyHost) -> None:
    servers = [host.target(address) for address in TARGETS[:2]]

    def spec(up: bool) -> ProxySpec:
        first = Server(servers[0].name, servers[0].address, 80, up=up)
        return host.spec(http_listener(), groups=(group(first, servers[1], stickiness=Stickiness("lb_cookie", 60)),))

    text = f"{int(time.time()) + 60}/tg-a/{servers[0].name}"
    cookie = {"Cookie": f"AWSALB={_sealed(host, spec(True), text)}"}

    async def story() -> None:
        for up in (True, False, True):
            await host.proxies.ensure(spec(up))
            got = {(await asyncio.to_thread(lambda: host.get(headers=cookie))).told()["target"] for _ in range(4)}
            assert got == {TARGETS[0] if up else TARGETS[1]}
        await host.proxies.close()

    asyncio.run(story())


@pytest.mark.parametrize("name", ["SESSION", "o'clock"])
def test_application_cookie_binds_only_together_with_the_applications_own(host: ProxyHost, name: str) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body = request.server.server_address[0].encode()  # type: ignore[union-attr]
        request.send_response(200)
        if request.path == "/login":
            request.send_header("Set-Cookie", f"{name}=1; Path=/")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    servers = tuple(host.target(address, handler=answer) for address in TARGETS)
    spec = host.spec(http_listener(), groups=(group(*servers, stickiness=Stickiness("app_cookie", 60, name)),))

    def talk() -> None:
        login = host.get("/login")
        own, ours = login.all("set-cookie")
        assert own.startswith(f"{name}=")
        assert ours.startswith("AWSALBAPP-0=")
        bound = {"Cookie": f"{name}=1; {ours.partition(';')[0]}"}
        assert {host.get(headers=bound).body for _ in range(6)} == {login.body}
        half = {"Cookie": ours.partition(";")[0]}
        assert len({host.get(headers=half).body for _ in range(6)}) == 3
        # "In subsequent responses, the expiry of the AWSALBAPP cookie and the duration configured on the load balancer are reset."
        (again,) = host.get("/other", headers=bound).all("set-cookie")
        assert again.startswith("AWSALBAPP-0=")
        assert target_named(again) == target_named(ours)
        for cookies in ({}, half, {"Cookie": f"{name}=1"}):
            assert host.get("/other", headers=cookies).all("set-cookie") == []

    serve(host, spec, talk)


def target_named(cookie: str) -> str:
    """By a cookie of the load balancer's."""
    return base64.b64decode(cookie.partition("=")[2].partition(";")[0]).decode().split("/")[2]


def set_session(request: BaseHTTPRequestHandler) -> None:
    """What an application does that keeps a session: its cookie comes with an answer to "/login…", its address with each."""
    body = request.server.server_address[0].encode()  # type: ignore[union-attr]
    request.send_response(200)
    if request.path.endswith("/login"):
        request.send_header("Set-Cookie", "SESSION=1; Path=/")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def test_a_session_whose_target_has_gone_is_bound_to_the_next_one(host: ProxyHost) -> None:
    """ "The load balancer treats the session as now being "stuck" to the new healthy target", though that one sets no cookie of its own."""
    servers = [host.target(address, handler=set_session) for address in TARGETS[:2]]

    def spec(*up: bool) -> ProxySpec:
        some = (msgspec.structs.replace(one, up=is_up) for one, is_up in zip(servers, up, strict=True))
        return host.spec(http_listener(), groups=(group(*some, stickiness=Stickiness("app_cookie", 60, "SESSION")),))

    async def story() -> None:
        await host.proxies.ensure(spec(True, False))
        ours = (await asyncio.to_thread(lambda: host.get("/login"))).all("set-cookie")[1]
        await host.proxies.ensure(spec(False, True))
        headers = {"Cookie": f"SESSION=1; {ours.partition(';')[0]}"}
        (moved,) = (await asyncio.to_thread(lambda: host.get("/", headers=headers))).all("set-cookie")
        assert target_named(moved) == servers[1].name
        await host.proxies.ensure(spec(True, True))
        headers = {"Cookie": f"SESSION=1; {moved.partition(';')[0]}"}
        got = {(await asyncio.to_thread(lambda: host.get("/", headers=headers))).body for _ in range(4)}
        assert got == {TARGETS[1].encode()}
        await host.proxies.close()

    asyncio.run(story())


def test_each_group_keeps_its_own_sessions(host: ProxyHost) -> None:
    """ "This stickiness information is captured for each target group that has application-based stickiness enabled"."""
    servers = tuple(host.target(address, handler=set_session) for address in TARGETS)
    sticky = Stickiness("app_cookie", 60, "SESSION")
    names = ("tg-a", "tg-b")
    rule = Rule(1, Forward((("tg-b", 1),)), (condition("path-pattern", "/b/*"),))
    spec = host.spec(http_listener(rule), groups=tuple(group(*servers, name=name, stickiness=sticky) for name in names))

    def talk() -> None:
        jar: dict[str, str] = {}
        first: dict[str, bytes] = {}
        for path in ("/a/login", "/b/login", *("/a/x", "/b/x") * 6):
            answer = host.get(path, headers={"Cookie": "; ".join(f"{key}={value}" for key, value in jar.items())})
            for cookie in answer.all("set-cookie"):
                key, _, value = cookie.partition(";")[0].partition("=")
                jar[key] = value
            assert first.setdefault(path[:2], answer.body) == answer.body

    serve(host, spec, talk)


@pytest.mark.parametrize("plain", [True, False])
def test_twins_for_other_sites_are_for_secure_connections_where_the_client_has_one(
    host: ProxyHost, plain: bool
) -> None:
    """A client would keep to itself, on a connection without TLS, what says that it is for those with it."""
    certificate = host.certificate("example.com")
    forward = Forward((("tg-a", 1),), stickiness_s=60)
    secure = http_listener(port=443, protocol="HTTPS", certificates=(certificate.name,), default=forward)
    listeners = (http_listener(default=forward), secure) if plain else (secure,)
    made = group(host.target(TARGETS[0]), stickiness=Stickiness("lb_cookie", 60))
    spec = host.spec(*listeners, groups=(made,), certificates=(certificate,))

    def talk() -> list[str]:
        ways: list[dict[str, Any]] = [{"port": 443, "tls": "example.com"}, *([{}] if plain else [])]
        return [
            cookie.partition("=")[0] + cookie.partition("; Path=/")[2]
            for way in ways
            for cookie in host.get(**way).all("set-cookie")
        ]

    told = serve(host, spec, talk)
    assert told[:4] == [
        "AWSALB",
        "AWSALBCORS; SameSite=None; Secure",
        "AWSALBTG",
        "AWSALBTGCORS; SameSite=None; Secure",
    ]
    assert told[4:] == (["AWSALB", "AWSALBCORS; SameSite=None", "AWSALBTG", "AWSALBTGCORS; SameSite=None"] * plain)


def test_sessions_outlive_that_other_groups_come_and_go(host: ProxyHost) -> None:
    """Groups' names are in no order of time: what comes may stand before what is there."""
    servers = tuple(host.target(address, handler=set_session) for address in TARGETS)
    sticky = Stickiness("app_cookie", 60, "SESSION")

    def spec(*names: str) -> ProxySpec:
        rules = [
            Rule(number, Forward(((name, 1),)), (condition("path-pattern", f"/{name}/*"),))
            for number, name in enumerate(names, 1)
        ]
        groups = tuple(group(*servers, name=name, stickiness=sticky) for name in ("tg-m", *names))
        return host.spec(http_listener(*rules, default=Forward((("tg-m", 1),))), groups=groups)

    jar: dict[str, str] = {}

    def visit(path: str) -> bytes:
        answer = host.get(path, headers={"Cookie": "; ".join(f"{key}={value}" for key, value in jar.items())})
        for cookie in answer.all("set-cookie"):
            key, _, value = cookie.partition(";")[0].partition("=")
            jar[key] = value
        return answer.body

    async def story() -> None:
        first: dict[str, bytes] = {}
        for names in ((), ("tg-a", "tg-z"), ("tg-z",), ("tg-b", "tg-c", "tg-z")):
            await host.proxies.ensure(spec(*names))
            for path in ("/login", *(f"/{name}/login" for name in names)) * 4:
                assert first.setdefault(path, body := await asyncio.to_thread(visit, path)) == body
        assert sorted(jar) == ["AWSALBAPP-0", "SESSION"]
        entries = base64.b64decode(jar["AWSALBAPP-0"]).decode().rstrip("~").split("~")
        assert sorted(one.split("/")[1] for one in entries) == ["tg-a", "tg-b", "tg-c", "tg-m", "tg-z"]
        jar["AWSALBAPP-0"] = base64.b64encode(("~".join(entries) + "~" + "x" * 3000).encode()).decode()
        assert await asyncio.to_thread(visit, "/login") == first["/login"]
        assert base64.b64decode(jar["AWSALBAPP-0"]).count(b"~") == 1, "no more than a browser keeps"
        await host.proxies.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("agent", "wished"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", True),
        ("Mozilla/5.0 HeadlessChrome/80.0.3987.0", True),
        ("Mozilla/5.0 Chrome/79.0.3945.0 Safari/537.36", False),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", False),
        ("", False),
    ],
)
def test_the_applications_twin_is_for_other_sites_where_the_browser_asks_for_that(
    host: ProxyHost, agent: str, wished: bool
) -> None:
    """ "the load balancer adds the `SameSite=None; Secure` attributes to the `AWSALBAPP` cookie only if the user-agent version is Chromium80 or
    above"."""
    sticky = Stickiness("app_cookie", 60, "SESSION")
    server = host.target(TARGETS[0], handler=set_session)
    spec = host.spec(http_listener(), groups=(group(server, stickiness=sticky),))
    login = serve(host, spec, lambda: host.get("/login", headers={"User-Agent": agent} if agent else {}))
    own, ours = login.all("set-cookie")
    assert own == "SESSION=1; Path=/"
    assert re.fullmatch(r"AWSALBAPP-0=[A-Za-z0-9+/=]+; Expires=[^;]+ GMT; Path=/(; SameSite=None; Secure)?", ours)
    assert ours.endswith("; SameSite=None; Secure") == wished


def test_round_robin_takes_turns_and_a_server_that_is_not_up_gets_nothing(host: ProxyHost) -> None:
    servers = [host.target(address) for address in TARGETS]
    down = Server(servers[2].name, servers[2].address, 80, up=False)

    def talk() -> list[int]:
        got = [host.get().told()["target"] for _ in range(10)]
        return sorted(got.count(address) for address in TARGETS)

    assert serve(host, host.spec(http_listener(), groups=(group(servers[0], servers[1], down),)), talk) == [0, 5, 5]


def test_least_outstanding_requests_avoids_a_busy_target(host: ProxyHost) -> None:
    """Five are held by the one; a request of the other that has just ended may still count for a moment, but not five."""
    busy, release = threading.Semaphore(0), threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/slow":
            busy.release()
            release.wait(20)
        request.send_response(200)
        request.send_header("Content-Length", "4")
        request.end_headers()
        request.wfile.write(b"slow")

    one, two = host.target(TARGETS[0], handler=slow), host.target(TARGETS[1])
    held = [threading.Thread(target=host.get, args=("/slow",)) for _ in range(5)]

    def wish(*servers: Server) -> ProxySpec:
        return host.spec(http_listener(), groups=(group(*servers, algorithm="least_outstanding_requests"),))

    async def story() -> None:
        await host.proxies.ensure(wish(one))
        for thread in held:
            thread.start()
        for _ in held:
            assert await asyncio.to_thread(busy.acquire, timeout=20)
        await host.proxies.ensure(wish(one, two))
        answers = [await asyncio.to_thread(host.get, "/x") for _ in range(10)]
        release.set()
        for thread in held:
            thread.join()
        assert [answer.told()["target"] for answer in answers] == [TARGETS[1]] * 10
        await host.proxies.close()

    asyncio.run(story())


# "HTTP headers and Application Load Balancers"


def asked(host: ProxyHost, attributes: dict[str, str], headers: dict[str, str], port: int = 80) -> dict[str, list[str]]:
    spec = host.spec(http_listener(port=port), groups=(group(host.target(TARGETS[0])),), attributes=attributes)
    told = serve(host, spec, lambda: host.get("/", headers=headers, port=port).told())
    found: dict[str, list[str]] = {}
    for name, value in told["headers"]:
        found.setdefault(name, []).append(value)
    return found


XFF_MODE = "routing.http.xff_header_processing.mode"


@pytest.mark.parametrize(
    ("attributes", "sent", "wished"),
    [
        ({}, None, ["10.9.0.1"]),
        ({}, "203.0.113.7", ["203.0.113.7, 10.9.0.1"]),
        ({XFF_MODE: "append"}, "a, b", ["a, b, 10.9.0.1"]),
        ({XFF_MODE: "preserve"}, "203.0.113.7", ["203.0.113.7"]),
        ({XFF_MODE: "preserve"}, None, None),
        ({XFF_MODE: "remove"}, "203.0.113.7", None),
    ],
)
def test_x_forwarded_for_modes(
    host: ProxyHost, attributes: dict[str, str], sent: str | None, wished: list[str] | None
) -> None:
    headers = asked(host, attributes, {"X-Forwarded-For": sent} if sent else {})
    assert headers.get("x-forwarded-for") == wished
    assert headers["x-forwarded-proto"] == ["http"]
    assert headers["x-forwarded-port"] == ["80"]


def test_x_forwarded_for_with_client_port(host: ProxyHost) -> None:
    headers = asked(host, {"routing.http.xff_client_port.enabled": "true"}, {})
    assert re.fullmatch(r"10\.9\.0\.1:\d+", headers["x-forwarded-for"][0])


def test_forwarding_headers_of_the_client_are_not_believed(host: ProxyHost) -> None:
    headers = asked(host, {}, {"X-Forwarded-Proto": "https", "X-Forwarded-Port": "1"})
    assert (headers["x-forwarded-proto"], headers["x-forwarded-port"]) == (["http"], ["80"])


@pytest.mark.parametrize(
    ("sent", "wished"),
    [
        ("", r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}"),
        (
            "Root=1-67891233-abcdef012345678912345678",
            r"Self=1-[0-9a-f]{8}-[0-9a-f]{24};Root=1-67891233-abcdef012345678912345678",
        ),
        ("Root=1-2-3;CalledFrom=app", r"Self=1-[0-9a-f-]{33};Root=1-2-3;CalledFrom=app"),
        ("Self=1-0-0;Root=1-2-3;CalledFrom=app", r"Self=1-[0-9a-f-]{33};Root=1-2-3;CalledFrom=app"),
        ("CalledFrom=app", r"Root=1-[0-9a-f-]{33};CalledFrom=app"),
        ("Root=1-2-3;x=" + "y" * 7200, r"Root=1-[0-9a-f-]{33}"),
    ],
)
def test_trace_ids(host: ProxyHost, sent: str, wished: str) -> None:
    """ "Request tracing for your Application Load Balancer"."""
    headers = asked(host, {}, {"X-Amzn-Trace-Id": sent} if sent else {})
    assert len(headers["x-amzn-trace-id"]) == 1
    assert re.fullmatch(wished, headers["x-amzn-trace-id"][0])


def test_host_header_gets_the_listeners_port_unless_preserved(host: ProxyHost) -> None:
    """ "Host header preservation"."""
    assert asked(host, {}, {}, port=8080)["host"] == ["example.com:8080"]


def test_preserved_host_header_is_left_alone(host: ProxyHost) -> None:
    assert asked(host, {"routing.http.preserve_host_header.enabled": "true"}, {}, port=8080)["host"] == ["example.com"]


def test_hosts_and_names_are_spelled_as_documented_and_who_waits_to_send_is_told_at_once(host: ProxyHost) -> None:
    """ "How Elastic Load Balancing works", "HTTP headers": host names in small letters, seven header names in mixed case, the load balancer's name
    for HTTP/1.0 without a host; Expect is answered at once and not passed on."""

    def spell(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        told = str(request.headers).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(told)))
        request.end_headers()
        request.wfile.write(told)

    def lines(answer: bytes) -> list[str]:
        return answer.decode().partition("\r\n\r\n")[2].split("\n")

    def talk() -> None:
        wished = ["X-Forwarded-For: 10.9.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Port: 80", "Host: example.com"]
        ordinary = b"GET / HTTP/1.1\r\nhost: example.com\r\nx-own: Aa\r\nconnection: close\r\n\r\n"
        told = lines(host.raw(ordinary))
        assert {*wished, "x-own: Aa"} <= set(told)
        assert any(line.startswith("X-Amzn-Trace-Id: Root=") for line in told)
        assert set(wished) <= set(lines(host.raw(ordinary.replace(b"example", b"EXAMPLE"))))
        assert "Host: lb-1.elb.example" in lines(host.raw(b"GET / HTTP/1.0\r\n\r\n"))
        with host.connect(80) as sock:
            head = b"POST / HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
            sock.sendall(head)
            assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b"hi")
            answer = b"".join(iter(lambda: sock.recv(1000), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert "expect" not in answer.decode().lower()

    spec = host.spec(
        http_listener(), groups=(group(host.target(TARGETS[0], handler=spell)),), dns_name="lb-1.elb.example"
    )
    serve(host, spec, talk)


@pytest.mark.parametrize(("drop", "there"), [("true", False), ("false", True)])
def test_invalid_header_names_are_dropped_when_wished(host: ProxyHost, drop: str, there: bool) -> None:
    """ "routing.http.drop_invalid_header_fields.enabled": names of alphanumeric characters and hyphens are valid."""
    headers = asked(host, {"routing.http.drop_invalid_header_fields.enabled": drop}, {"x_under": "1", "X-Fine": "2"})
    assert ("x_under" in headers, "x-fine" in headers) == (there, True)


def test_answers_carry_the_listeners_headers(host: ProxyHost) -> None:
    """ "Enable header modification"."""
    attributes = {
        "routing.http.response.strict_transport_security.header_value": "max-age=31536000; includeSubDomains; preload",
        "routing.http.response.x_frame_options.header_value": "DENY",
        "routing.http.response.content_security_policy.header_value": "default-src 'self' \"%[src]\" #x",
        "routing.http.response.server.enabled": "false",
        "routing.http.response.access_control_allow_origin.header_value": "https://example.com",
        "routing.http.response.access_control_allow_methods.header_value": "GET,POST",
        "routing.http.response.access_control_allow_headers.header_value": "*",
        "routing.http.response.access_control_allow_credentials.header_value": "true",
        "routing.http.response.access_control_expose_headers.header_value": "X-Version",
        "routing.http.response.access_control_max_age.header_value": "600",
        "routing.http.response.x_content_type_options.header_value": "nosniff",
    }
    listener = http_listener(Rule(1, fixed("x"), (condition("path-pattern", "/own"),)), attributes=attributes)

    def talk() -> None:
        for path in ("/", "/own"):
            answer = host.get(path)
            assert answer.header("strict-transport-security") == "max-age=31536000; includeSubDomains; preload"
            assert answer.all("x-frame-options") == ["DENY"]
            assert answer.header("content-security-policy") == "default-src 'self' \"%[src]\" #x"
            assert answer.header("server") is None
            for key, value in attributes.items():
                name = key.split(".")[3].replace("_", "-")
                assert name == "server" or answer.all(name) == [value]

    serve(host, host.spec(listener, groups=(group(host.target(TARGETS[0])),)), talk)


@pytest.mark.parametrize(("seconds", "closes"), [("0", True), ("3600", False)])
def test_a_connection_ends_after_an_answer_when_it_has_lasted_its_time(
    host: ProxyHost, seconds: str, closes: bool
) -> None:
    """ "client_keep_alive.seconds": the connection is closed with the next answer after that time. Its least value is 60; 0 needs no waiting."""

    def talk() -> None:
        assert (host.get("/").header("connection") == "close") == closes

    attributes = {"client_keep_alive.seconds": seconds}
    serve(host, host.spec(http_listener(), groups=(group(host.target(TARGETS[0])),), attributes=attributes), talk)


def test_tls_headers_of_targets_and_their_renaming(host: ProxyHost) -> None:
    certificate = host.certificate("example.com")
    listener = http_listener(
        port=443,
        protocol="HTTPS",
        certificates=(certificate.name,),
        attributes={"routing.http.request.x_amzn_tls_version.header_name": "X-My-Version"},
    )
    spec = host.spec(
        listener,
        groups=(group(host.target(TARGETS[0])),),
        certificates=(certificate,),
        attributes={"routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "true"},
    )
    told = serve(host, spec, lambda: host.get(port=443, tls="example.com").told())
    headers = dict(told["headers"])
    assert headers["x-my-version"] == "TLSv1.2"  # the default policy, ELBSecurityPolicy-2016-08, has no 1.3
    assert headers["x-amzn-tls-cipher-suite"].startswith("ECDHE-ECDSA-")
    assert (headers["x-forwarded-proto"], headers["x-forwarded-port"]) == ("https", "443")


# "Troubleshoot your Application Load Balancers": the codes a load balancer generates


def page(status: int, words: str) -> str:
    return (
        f"<html>\r\n<head><title>{status} {words}</title></head>\r\n<body>\r\n<center><h1>{status} {words}</h1></center>\r\n"
        "</body>\r\n</html>\r\n"
    )


def outcome(host: ProxyHost, server: Server | None, ask: Callable[[], Any], **more: Any) -> Any:
    servers = (server,) if server else ()
    return serve(host, host.spec(http_listener(), groups=(group(*servers),), **more), ask, lambda: host.records)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 503 Service Temporarily Unavailable"),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 405 Not Allowed"),
        (b"GET /own HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"HTTP/1.1 404 Not Found"),
    ],
)
def test_pages_keep_their_words_where_the_server_is_not_named(host: ProxyHost, said: bytes, line: bytes) -> None:
    """ "routing.http.response.server.enabled": the header goes, and nothing else."""
    own = Rule(1, FixedResponse(404), (condition("path-pattern", "/own"),))
    listener = http_listener(own, attributes={"routing.http.response.server.enabled": "false"})
    head, *headers = serve(host, host.spec(listener, groups=(group(),)), lambda: host.raw(said)).split(b"\r\n")
    assert head == line
    assert not any(one.lower().startswith(b"server:") for one in headers)


def test_503_without_targets(host: ProxyHost) -> None:
    answer = outcome(host, None, host.get)
    assert (answer.status, answer.body.decode(), answer.header("server")) == (
        503,
        page(503, "Service Temporarily Unavailable"),
        "awselb/2.0",
    )
    assert (host.records[0].elb_status, host.records[0].target_status, host.records[0].target) == (503, 0, "")


def test_502_when_the_target_refuses(host: ProxyHost) -> None:
    answer = outcome(host, Server("t:9", TARGETS[0], 9, up=True), host.get)
    assert (answer.status, answer.body.decode(), answer.header("server")) == (
        502,
        page(502, "Bad Gateway"),
        "awselb/2.0",
    )
    assert (host.records[0].elb_status, host.records[0].target_time_s) == (502, -1.0)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40000 + b"\r\n\r\n",
        b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 99999 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nX: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"a" * 32768 + b"\r\n\r\n",
    ],
)
def test_502_when_the_target_answers_badly(host: ProxyHost, said: bytes) -> None:
    """AWS, "HTTP 502": "The target response is malformed or contains HTTP headers that are not valid"."""
    answer = answered(host, said)
    assert (answer.status, answer.body.decode()) == (502, page(502, "Bad Gateway"))


def answered(host: ProxyHost, said: bytes) -> Any:
    """What the client of a target gets that says this."""
    sock = host.listening(TARGETS[0], 80)

    def serve() -> None:
        connection, _ = sock.accept()
        connection.recv(65536)
        connection.sendall(said)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    answer = outcome(host, Server("t:80", TARGETS[0], 80, up=True), host.get)
    sock.close()
    return answer


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_may_have_headers_of_32_kilobytes_and_letters_of_any_kind(host: ProxyHost, status: int) -> None:
    value = "ü\t".encode("latin-1") + b"a" * 32600
    answer = answered(host, b"HTTP/1.1 %d OK\r\nContent-Length: 2\r\nX: %b\r\n\r\nok" % (status, value))
    assert (answer.status, answer.body, answer.header("x")) == (status, b"ok", value.decode("latin-1"))


def test_504_when_the_target_does_not_answer_in_the_idle_timeout(host: ProxyHost) -> None:
    sock = host.listening(TARGETS[0], 80)
    answer = outcome(
        host, Server("t:80", TARGETS[0], 80, up=True), host.get, attributes={"idle_timeout.timeout_seconds": "1"}
    )
    sock.close()
    assert (answer.status, answer.body.decode()) == (504, page(504, "Gateway Time-out"))
    assert host.records[0].elb_status == 504


def test_504_when_the_target_takes_no_connection_for_ten_seconds(host: ProxyHost) -> None:
    """A full queue of connections: the kernel drops what more comes."""
    sock = host.listening(TARGETS[0], 80)
    sock.listen(0)
    fillers = []
    for _ in range(3):
        filler = socket.socket()
        filler.close()
        fillers.append(threading.Thread(target=_fill, args=(host,), daemon=True))
        fillers[-1].start()
    answer = outcome(host, Server("t:80", TARGETS[0], 80, up=True), lambda: _after_full(host))
    sock.close()
    assert (answer.status, answer.body.decode()) == (504, page(504, "Gateway Time-out"))
    assert host.records[0].elb_status == 504


_held: list[socket.socket] = []


def _fill(host: ProxyHost) -> None:
    try:
        _held.append(host.connect(80, TARGETS[0], timeout=20.0))
    except OSError:
        pass


def _after_full(host: ProxyHost) -> Any:
    import http.client

    connection = http.client.HTTPConnection("x")
    connection.sock = host.connect(80, timeout=30.0)
    connection.request("GET", "/")
    answer = connection.getresponse()
    from .proxy_host import Answer

    return Answer(answer.status, answer.getheaders(), answer.read())


def test_460_in_the_log_when_the_client_closes_early(host: ProxyHost) -> None:
    sock = host.listening(TARGETS[0], 80)

    def ask() -> None:
        client = host.connect()
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server, _ = sock.accept()
        server.recv(4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    outcome(host, Server("t:80", TARGETS[0], 80, up=True), ask)
    sock.close()
    assert host.records[0].elb_status == 460


def test_463_for_more_than_thirty_forwarded_addresses(host: ProxyHost) -> None:
    def ask() -> list[int]:
        return [host.get(headers={"X-Forwarded-For": ", ".join(["192.0.2.1"] * count)}).status for count in (30, 31)]

    assert outcome(host, host.target(TARGETS[0]), ask) == [200, 463]


def test_405_for_trace(host: ProxyHost) -> None:
    answer = outcome(host, host.target(TARGETS[0]), lambda: host.get(method="TRACE"))
    assert (answer.status, answer.header("server")) == (405, "awselb/2.0")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 17000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: %s\r\n" % (i, b"a" * 8000) for i in range(10)) + b"\r\n",
    ],
)
def test_400_for_what_is_malformed_or_too_long(host: ProxyHost, request_bytes: bytes) -> None:
    answer = outcome(host, host.target(TARGETS[0]), lambda: host.raw(request_bytes))
    # What cannot be parsed is answered before any rule could run, with HAProxy's own page.
    assert answer.startswith(b"HTTP/1.1 400 Bad ")
    assert host.records[0].elb_status == 400
    assert host.records[0].target == ""


@pytest.mark.parametrize("mode", ["monitor", "strictest"])
@pytest.mark.parametrize("said", [b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n"])
def test_505_for_a_version_that_is_not_the_connections(host: ProxyHost, said: bytes, mode: str) -> None:
    """ "the load balancer established an HTTP/1 connection but received an HTTP/2 request": whatever the desync mode."""
    attributes = {"routing.http.desync_mitigation_mode": mode}
    answer = outcome(host, host.target(TARGETS[0]), lambda: host.raw(said), attributes=attributes)
    assert answer.startswith(b"HTTP/1.1 505 HTTP Version Not Supported\r\n")
    assert answer.endswith(page(505, "HTTP Version Not Supported").encode()), "and nothing more is read"
    assert [(one.elb_status, one.target, one.classification) for one in host.records] == [(505, "", "")]


def test_a_long_url_is_told_whole(host: ProxyHost) -> None:
    path = "/" + "a" * 9000 + "?b='1"
    assert outcome(host, host.target(TARGETS[0]), lambda: host.get(path, host="example.com").status) == 200
    assert host.records[0].request == f"GET http://example.com:80{path} HTTP/1.1"


def test_many_headers_of_64_kilobytes_pass(host: ProxyHost) -> None:
    """AWS, "Quotas": a whole header may have 64 K; Python's server takes a hundred of them."""
    headers = {f"X-{place}": "a" * 7000 for place in range(8)}
    assert outcome(host, host.target(TARGETS[0]), lambda: host.get(headers=headers).status) == 200


def test_414_for_a_long_uri_and_405_for_trace_have_the_words_of_their_pages(host: ProxyHost) -> None:
    long = b"GET /" + b"a" * 17000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    trace = b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"
    lines = outcome(
        host, host.target(TARGETS[0]), lambda: [host.raw(one).partition(b"\r\n")[0] for one in (long, trace)]
    )
    assert lines == [b"HTTP/1.1 414 Request-URI Too Large", b"HTTP/1.1 405 Not Allowed"]


# "Access logs for your Application Load Balancer"


def test_the_record_tells_the_whole_request(host: ProxyHost) -> None:
    certificate = host.certificate("example.com")
    listener = http_listener(
        Rule(7, Forward((("tg-a", 1),)), (condition("path-pattern", "/p*"),)),
        port=443,
        protocol="HTTPS",
        certificates=(certificate.name,),
        policy="ELBSecurityPolicy-TLS13-1-2-2021-06",
    )
    spec = host.spec(listener, groups=(group(host.target(TARGETS[0])),), certificates=(certificate,))
    agent = 'odd "agent" \t \\ ü'

    def talk() -> Any:
        headers = {"User-Agent": agent.encode("utf-8").decode("latin-1")}
        return host.get("/p?q='\"1", port=443, tls="example.com", method="POST", body=b"12345", headers=headers)

    answer = serve(host, spec, talk, lambda: host.records)
    record = host.records[0]
    assert record.kind == "https"
    assert (record.proxy, record.listener_arn, record.group_arn) == ("node-1", "arn:listener/443", "arn:tg-a")
    assert record.client.startswith("10.9.0.1:")
    assert record.target == f"{TARGETS[0]}:80"
    assert (record.elb_status, record.target_status, record.priority, record.actions) == (200, 200, 7, "forward")
    assert record.request == "POST https://example.com:443/p?q='%221 HTTP/1.1"
    assert record.user_agent == agent
    assert (record.tls_cipher, record.tls_protocol) == ("TLS_AES_128_GCM_SHA256", "TLSv1.3")
    assert (record.domain_name, record.certificate_arn) == ("example.com", certificate.arn)
    assert record.trace_id == dict(answer.told()["headers"])["x-amzn-trace-id"]
    assert min(record.request_time_s, record.target_time_s, record.response_time_s) >= 0
    assert record.sent_bytes > len(answer.body)
    assert record.received_bytes > 5
    assert 0 <= record.time - record.created < 5


def test_the_handshake_is_told_with_the_first_request_of_its_connection(host: ProxyHost) -> None:
    """ "Connection logs": tls_handshake_latency."""
    certificate = host.certificate("example.com")
    listener = http_listener(port=443, protocol="HTTPS", certificates=(certificate.name,))
    spec = host.spec(listener, groups=(group(host.target(TARGETS[0])),), certificates=(certificate,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def talk() -> None:
        with host.connect(443) as sock:
            time.sleep(0.3)  # counts: the client begins this late
            with context.wrap_socket(sock, server_hostname="example.com") as wrapped:
                for _ in range(2):
                    wrapped.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
                    answer = b""
                    while not answer.endswith(b"}"):
                        answer += wrapped.recv(65536)

    serve(host, spec, talk, lambda: len(host.records) == 2)
    first, second = (record.handshake_s for record in host.records)
    assert first >= 0.1  # less than the wait: a busy proxy accepts late
    assert second == 0.0


def test_records_say_what_a_request_left_open_and_what_no_target_answered(host: ProxyHost) -> None:
    """The load balancer's own name stands where the request has none; no rule, nor any time, where nothing came of it."""
    silent = host.listening(TARGETS[0], 80)
    spec = host.spec(
        http_listener(Rule(1, fixed("x"), (condition("path-pattern", "/own"),))),
        groups=(group(Server("t:80", TARGETS[0], 80, up=True)),),
        attributes={"idle_timeout.timeout_seconds": "1"},
        dns_name="lb-1.elb.example",
    )
    agent = "a" * 9000

    def talk() -> None:
        assert host.raw(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert host.raw(b"GET /own HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert host.get("/slow", headers={"User-Agent": agent}).status == 504

    serve(host, spec, talk, lambda: len(host.records) == 3)
    silent.close()
    unread, own, late = host.records
    assert (unread.request, unread.priority) == ("- http://lb-1.elb.example:80- -", -1)
    assert (own.request, own.priority) == ("GET http://lb-1.elb.example:80/own HTTP/1.0", 1)
    assert (late.target, late.elb_status) == (f"{TARGETS[0]}:80", 504)
    assert (late.request_time_s, late.target_time_s, late.response_time_s) == (-1.0, -1.0, -1.0)
    assert late.user_agent == agent[:8192]


def test_records_tell_which_certificate_a_name_has_chosen(host: ProxyHost) -> None:
    """No name where the default certificate is shown to one that it is not for; "session-reused" where none is shown; and what a connection log has
    of a handshake that failed."""
    first, other = (
        msgspec.structs.replace(host.certificate(name), domains=(name,)) for name in ("example.com", "*.other.test")
    )
    listener = http_listener(port=443, protocol="HTTPS", certificates=(first.name, other.name), default=fixed("x"))
    sessions: list[ssl.SSLSession] = []

    def ask(name: str, context: ssl.SSLContext) -> None:
        resumed = sessions[0] if sessions and name == "again.other.test" else None
        with (
            host.connect(443) as sock,
            context.wrap_socket(sock, server_hostname=name or None, session=resumed) as wrapped,
        ):
            wrapped.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert wrapped.recv(100).startswith(b"HTTP/1.1 200 ")
            sessions.append(wrapped.session)
            assert wrapped.session_reused == (resumed is not None)

    names = ("again.other.test", "EXAMPLE.com", "a.b.other.test", "", "again.other.test")

    def talk() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for name in names:
            ask(name, context)
        with host.connect(443) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert sock.recv(100) == b""

    spec = host.spec(listener, certificates=(first, other))
    serve(host, spec, talk, lambda: len(host.records) == len(names) + 1)
    *requests, failed = host.records
    assert [(one.domain_name, one.certificate_arn) for one in requests] == [
        ("again.other.test", other.arn),
        ("EXAMPLE.com", first.arn),
        ("", first.arn),
        ("", first.arn),
        ("again.other.test", "session-reused"),
    ]
    assert (failed.kind, failed.listener_arn, failed.tls_protocol) == ("tls", listener.arn, "")
    assert connection_line(failed, 443).split()[3:11] == [
        *("443", "-", "-", "-", '"-"', "-", "-"),
        "Failed:UnmappedConnectionError",
    ]
