"""What a wish is rendered to. HAProxy itself says whether it is a configuration (`haproxy -c`); what tenants write stays within its word."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gureum.base import tls_policies
from gureum.drivers.haproxy import config as haproxy_config
from gureum.drivers.haproxy.control import plan
from gureum.drivers.haproxy.crowding import Host
from gureum.drivers.haproxy.rules import decide
from gureum.drivers.haproxy.text import pattern, word
from gureum.ports import PortError
from gureum.ports.proxies import (
    Certificate,
    Condition,
    FixedResponse,
    Forward,
    Group,
    Listener,
    ProxySpec,
    Redirect,
    Rule,
    Server,
    Stickiness,
)

needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None, reason="needs haproxy"
)
HOST = Host()
GROUP = Group("tg-a", "arn", "HTTP", servers=(Server("i-1:80", "10.0.0.1", 80, up=True),))


def spec(*rules: Rule, attributes: dict[str, str] | None = None, listener: dict[str, str] | None = None) -> ProxySpec:
    last = Rule(0, Forward((("tg-a", 1),)))
    one = Listener(80, "HTTP", "arn", (*rules, last), attributes=listener or {})
    return ProxySpec("n", "/run/netns/x", "10.0.0.9", "app/lb/1", (one,), (GROUP,), attributes=attributes or {})


def accepted(files: dict[str, str]) -> str:
    """What HAProxy complains of; "" when it takes the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text, newline="")
        command = ["haproxy", "-c", "-q", "-f", haproxy_config.CONFIG]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""


# What passes the API is narrower; the driver holds for any text without a NUL.
TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=40
) | st.sampled_from(
    [
        "\n  server evil 1.2.3.4:80",
        "' ",
        '" ',
        "\\",
        "%[src]",
        "${HOME}",
        "a b",
        "#",
        "}",
        "{ TRUE }",
        "-f /etc/passwd",
        "--",
        "-i",
        "\\x41",
        "\r\n",
        "%%",
        "or",
        "||",
    ]
)
HEADER = st.text("abcXYZ0189!#$%&'*+.^_`|~-", min_size=1, max_size=40)


def hostile_rules(text: str, other: str, header: str) -> tuple[Rule, ...]:
    conditions = (
        Condition("host-header", (text, other)),
        Condition("path-pattern", (text, other)),
        Condition("http-header", (text,), header),
        Condition("http-request-method", (text,)),
        Condition("query-string", pairs=((text, other), ("", text))),
    )
    return (
        Rule(1, Redirect(301, host=text, port="#{port}", path="/" + other, query=text), conditions),
        Rule(2, FixedResponse(200, text, other)),
        Rule(3, Forward((("tg-a", 1),)), conditions[1:3]),
    )


@needs_haproxy
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT, TEXT, HEADER)
def test_no_text_of_a_tenant_leaves_its_word(text: str, other: str, header: str) -> None:
    def lines(*texts: str) -> int:
        values = {"routing.http.response.content_security_policy.header_value": texts[0]}
        config = haproxy_config.render(spec(*hostile_rules(*texts), listener=values), HOST)[haproxy_config.CONFIG]
        return config.count("\n")

    values = {"routing.http.response.content_security_policy.header_value": text}
    files = haproxy_config.render(spec(*hostile_rules(text, other, header), listener=values), HOST)
    assert accepted(files) == ""
    assert files[haproxy_config.CONFIG].count("\n") == lines("a", "b", "c")
    assert files[haproxy_config.CONFIG].isascii()


@needs_haproxy
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT, TEXT)
def test_no_text_of_a_tenant_leaves_its_key_of_a_map(text: str, other: str) -> None:
    conditions = (Condition("host-header", (text, other)), Condition("path-pattern", (text, other)))
    wish = spec(
        *(Rule(n + 1, FixedResponse(200), some) for n, some in enumerate((conditions, conditions[:1], conditions[1:])))
    )
    files = haproxy_config.render(wish, HOST)
    assert accepted(files) == ""
    for name in ("80.hosts", "80.rules", "80.actions"):
        for line in files.get(name, "").splitlines():
            assert re.fullmatch(r"[!-~]+\x01? (\d+|[A-Za-z0-9.-]+|fixed-response:80:\d)", line), line


@needs_haproxy
@pytest.mark.parametrize("body", ["", "plain", "two\nlines"])
def test_haproxy_takes_every_status_with_and_without_a_body(body: str) -> None:
    """204 with a MessageBody is what the API takes, and no HAProxy."""
    statuses = (*range(200, 300), *range(400, 600))
    rules = [
        Rule(status, FixedResponse(status, "text/plain", body), (Condition("path-pattern", (f"/{status}",)),))
        for status in statuses
    ]
    assert accepted(haproxy_config.render(spec(*rules), HOST)) == ""


def matched(listener: Listener, host: str, path: str) -> int:
    """What the maps say: HAProxy's longest beginning, twice (haproxy_rules)."""
    files = decide(listener).files
    hosts = dict(line.split(" ") for line in files.get("80.hosts", "").splitlines())
    keys = {key: int(value) for key, value in (line.split(" ") for line in files["80.rules"].splitlines())}
    found = []
    for number in (hosts.get(host, "-"), "-"):
        asked = f"{number}:{path}\x01"
        longest = max((key for key in keys if asked.startswith(key)), key=len, default=None)
        found += [keys[longest]] if longest is not None else []
    return min(found, default=0)


PATHS = ("/", "/x", "/x/", "/x/x", "/y")


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from(PATHS), st.booleans()), min_size=2, max_size=8),
    st.sampled_from(["a", "b", "d"]),
    st.sampled_from(PATHS),
)
def test_maps_find_the_first_rule_that_matches(wishes: list[tuple[str, str, bool]], host: str, path: str) -> None:
    rules, wished = [], 0
    for priority, (name, text, more) in enumerate(wishes, 1):
        names = (Condition("host-header", (name,)),) if name else ()
        paths = (Condition("path-pattern", (text + "*" * more,)),)
        rules.append(Rule(priority, FixedResponse(200), (*names, *paths)))
        fits = path.startswith(text) if more else path == text
        wished = wished or (priority if name in ("", host) and fits else 0)
    assert matched(Listener(80, "HTTP", "arn", (*rules, Rule(0, FixedResponse(200)))), host, path) == wished


@given(TEXT)
def test_a_word_is_one_word_of_harmless_characters(text: str) -> None:
    got = word(text)
    assert not set(got) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.,:=@~-\\")
    raw = got.encode().decode("unicode_escape").encode("latin-1")
    assert raw == text.encode()


def test_a_nul_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="NUL"):
        word("a\0b")


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("/a", "str"),
        ("/a*", "beg"),
        ("*.com", "end"),
        ("*a*", "sub"),
        ("a*b", "reg"),
        ("a?", "reg"),
        ("*", "reg"),
        ("a\\*", "beg"),
    ],
)
def test_patterns_take_the_cheapest_method(text: str, method: str) -> None:
    assert pattern(text)[0] == method


@pytest.mark.parametrize("text", ["/re*a*a*a*a*b", "*a*a*a*a*a", "/a*a?b*c*?d"])
def test_no_path_makes_a_pattern_go_back_over_and_over(text: str) -> None:
    """Five wildcards and a path of a kilobyte took a proxy's thread a tenth of a second, until the engine gave up and said no."""
    _, expression = pattern(text)
    raw = expression.encode().decode("unicode_escape")
    runs = raw.count(".*")
    assert raw.count("(?>.*?") == runs - 1, "each run but the last is settled where it first fits"


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=16))
def test_patterns_match_what_they_say(text: str, subject: str) -> None:
    method, expression = pattern(text)
    assume(method == "reg")
    said = "".join({"*": ".*", "?": "."}.get(one, one) for one in text)
    settled = expression.encode().decode("unicode_escape")
    assert bool(re.search(settled, subject)) == bool(re.fullmatch(said, subject))


@pytest.mark.parametrize("field", ["name", "server", "group"])
def test_names_that_no_control_plane_gives_are_refused(field: str) -> None:
    bad = "x\n  bind :1"
    wishes: dict[str, Any] = {
        "name": Rule(1, Forward((("tg-a", 1),)), (Condition("http-header", ("a",), bad),)),
        "server": Rule(1, FixedResponse(200)),
        "group": Rule(1, Forward(((bad, 1),))),
    }
    wish = spec(wishes[field])
    if field == "server":
        group = Group("tg-a", "arn", "HTTP", servers=(Server(bad, "10.0.0.1", 80),))
        wish = ProxySpec("n", "", "10.0.0.9", "l", wish.listeners, (group,))
    with pytest.raises(ValueError, match=r"name|not there"):
        haproxy_config.render(wish, HOST)


@needs_haproxy
@pytest.mark.parametrize(
    "group",
    [
        Group("tg-a", "arn", "HTTPS", "HTTP2", servers=(Server("a", "10.0.0.1", 443, up=True),)),
        Group("tg-a", "arn", "HTTP", "GRPC", "weighted_random", (Server("a", "10.0.0.1", 1),)),
        Group("tg-a", "arn", "HTTP", slow_start_s=30, servers=(Server("a", "10.0.0.1", 1, up=True),)),
        Group("tg-a", "arn", "HTTP", stickiness=Stickiness("app_cookie", 9, "JSESSION.x-1")),
        Group("tg-a", "arn", "HTTP", stickiness=Stickiness("app_cookie", 9, "a'b" + "c" * 253)),
        Group("tg-a", "arn", "HTTP", stickiness=Stickiness("lb_cookie", 9)),
    ],
)
def test_every_kind_of_group_is_a_configuration(group: Group) -> None:
    wish = spec()
    assert accepted(haproxy_config.render(ProxySpec("n", "", "10.0.0.9", "l", wish.listeners, (group,)), HOST)) == ""


@needs_haproxy
@pytest.mark.parametrize("policy", sorted(tls_policies.POLICIES))
def test_every_tls_policy_is_a_configuration(policy: str) -> None:
    listener = Listener(443, "HTTPS", "arn", (Rule(0, FixedResponse(200)),), ("c-1",), policy)
    wish = ProxySpec("n", "", "10.0.0.9", "l", (listener,), certificates=(Certificate("c-1", "", ""),))
    files = haproxy_config.render(wish, HOST) | {"c-1.pem": _pem()}
    assert accepted(files) == ""


def _pem() -> str:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "-",
        "-subj",
        "/CN=a",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_change_of_servers_needs_no_reload_and_any_other_does() -> None:
    old = spec()
    more = Group("tg-a", "arn", "HTTP", servers=(*GROUP.servers, Server("i-2:80", "10.0.0.2", 80, up=True)))
    new = ProxySpec("n", old.sandbox_net, old.address, old.label, old.listeners, (more,))
    steps = plan(old, new, {})
    assert steps is not None
    assert [step.text.split(" weight")[0] for step in steps] == [
        "add server tg-a/i-2:80 10.0.0.2:80",
        "set server tg-a/i-2:80 state ready",
    ]
    back = plan(new, old, {})
    assert back is not None
    assert [step.text for step in back] == ["set server tg-a/i-2:80 state maint", "del server tg-a/i-2:80"]
    assert plan(old, spec(Rule(1, FixedResponse(200))), {}) is None
    assert plan(old, spec(attributes={"idle_timeout.timeout_seconds": "9"}), {}) is None
    # Where lines go is nothing to the proxy: no reload.
    logged = spec(attributes={"access_logs.s3.enabled": "true", "connection_logs.s3.bucket": "b"})
    assert plan(old, logged, {}) == plan(logged, old, {}) == []
    assert haproxy_config.render(old, HOST) == haproxy_config.render(logged, HOST)


@pytest.mark.parametrize(
    "attributes", [{"routing.http.desync_mitigation_mode": "x"}, {"routing.http.xff_header_processing.mode": "x"}]
)
def test_unknown_modes_are_refused(attributes: dict[str, str]) -> None:
    with pytest.raises(PortError):
        haproxy_config.render(spec(attributes=attributes), HOST)


@needs_haproxy
def test_layer_4_keeps_silent_connections_as_long_as_their_listener_says() -> None:
    rules = (Rule(0, Forward((("tg-a", 1),))),)
    short = Listener(80, "TCP", "arn", rules, attributes={"tcp.idle_timeout.seconds": "60"})
    long = Listener(81, "TCP", "arn", rules, attributes={"tcp.idle_timeout.seconds": "6000"})
    group = Group("tg-a", "arn", "TCP", servers=GROUP.servers, proxy_protocol=True, preserve_client=True)
    files = haproxy_config.render(ProxySpec("n", "/run/netns/x", "10.0.0.9", "net/lb/1", (short, long), (group,)), HOST)
    text = files[haproxy_config.CONFIG]
    assert re.findall(r"timeout (client|server) (\d+)s\n", text[text.index("frontend l-80") :]) == [
        ("client", "60"),
        ("client", "6000"),
        ("server", "6000"),
    ]
    assert "usesrc clientip" in text
    assert accepted(files) == ""
