"""Lines of requests become what an access log tells of them, whatever clients have sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.drivers.haproxy.logs import parse, parsed, reading
from gureum.ports.proxies import Forward, Group, Listener, ProxySpec, Request, Rule, record_of

LISTENER = Listener(80, "HTTP", "arn:80", (Rule(0, Forward((("tg-a", 1),))),))
KNOWN = reading(ProxySpec("node-1", "/x", "10.9.0.10", "app/lb/1", (LISTENER,), (Group("tg-a", "arn:a", "HTTP"),)))
HEAD = "H l-80 tg-a 200 -- 0 1 3 -\t10.9.0.1:4000\t45\t160\t1795932810000123"
SENT = st.text(st.characters(min_codepoint=32, max_codepoint=126, blacklist_characters="\t"), max_size=20)


def line(
    asked: str = "GET /x HTTP/1.1",
    captured: str = "{curl|a.example.com}",
    *,
    trace: str = "-",
    url: str = "-",
    active: str = "4",
) -> bytes:
    return f"{HEAD}\t{active}\t1-6b-aa\t{asked}\t{captured}\ts\t10.0.0.5:80\t0\t-\t{trace}\t-\t{url}".encode()


def read(one: bytes) -> Request:
    found = parse(one, KNOWN)
    assert isinstance(found, Request)
    return found


def test_a_usual_request_is_read() -> None:
    found = read(line())
    record = record_of(found)
    assert (record.time, record.created) == (1795932810.000123, 1795932809.996123)
    assert (record.received_bytes, record.sent_bytes, record.client) == (45, 160, "10.9.0.1:4000")
    assert (found.request, found.user_agent, found.trace_id, found.plain) == (
        "GET http://a.example.com:80/x HTTP/1.1",
        "curl",
        "Root=1-6b-aa",
        True,
    )


@pytest.mark.parametrize("host", ["[2001:db8::1]", "[2001:db8::1]:80"])
def test_an_address_of_ipv6_is_a_host_without_its_port(host: str) -> None:
    assert read(line(captured=f"{{c|{host}}}")).request == "GET http://[2001:db8::1]:80/x HTTP/1.1"


@pytest.mark.parametrize(
    ("told", "request_line", "agent", "trace"),
    [
        (line("GET /#22#20x HTTP/1.1"), "GET http://a.example.com:80/%22%20x HTTP/1.1", "curl", "Root=1-6b-aa"),
        (line(captured="{a#22b#C3#A9|A.example.com:80}"), "GET http://A.example.com:80/x HTTP/1.1", 'a"b\u00e9', "Root=1-6b-aa"),
        (line(trace='Root=\\"1'), "GET http://a.example.com:80/x HTTP/1.1", "curl", 'Root="1'),
        (line("GET /x", url='/long\\"er HTTP/1.1'), 'GET http://a.example.com:80/long"er HTTP/1.1', "curl", "Root=1-6b-aa"),
        (line("<BADREQ>", "{|}"), "- http://:80- -", "", "Root=1-6b-aa"),
        (line("GET http://other.example.com/x HTTP/1.1"), "GET http://a.example.com:80/x HTTP/1.1", "curl", "Root=1-6b-aa"),
        (line("GET http://other.example.com HTTP/1.1"), "GET http://a.example.com:80/ HTTP/1.1", "curl", "Root=1-6b-aa"),
        (line("GET http://other.example.com?x=/y HTTP/1.1"), "GET http://a.example.com:80/?x=/y HTTP/1.1", "curl", "Root=1-6b-aa"),
        (line("GET https://other.example.com* HTTP/2.0"), "GET http://a.example.com:80* HTTP/2.0", "curl", "Root=1-6b-aa"),
        (line("OPTIONS * HTTP/1.1"), "OPTIONS http://a.example.com:80* HTTP/1.1", "curl", "Root=1-6b-aa"),
    ],
)  # fmt: skip
def test_unusual_requests_are_read_with_what_was_escaped(
    told: bytes, request_line: str, agent: str, trace: str
) -> None:
    for _ in range(2):  # also when it is known already
        found = read(told)
        assert (found.request, found.user_agent, found.trace_id, found.plain) == (request_line, agent, trace, False)


def test_clients_cannot_fill_our_memory_with_their_words() -> None:
    for number in range(2000):
        read(line(captured=f"{{agent-{number}|a.example.com}}"))
    read(line(captured=f"{{{'x' * 1000}|a.example.com}}"))
    kept = [captured for senders in KNOWN.senders.values() for captured in senders]
    assert 0 < len(kept) <= 512
    assert max(map(len, kept)) < 512


@given(SENT, SENT, SENT, SENT)
def test_what_is_called_plain_cannot_end_a_quoted_word(asked: str, agent: str, host: str, trace: str) -> None:
    for found in parsed([line(f"GET /{asked} HTTP/1.1", f"{{{agent}|{host}}}", trace=trace or "-")], KNOWN):
        assert isinstance(found, Request)
        words = f"{found.request}{found.user_agent}{found.trace_id}"
        assert not found.plain or (words.isascii() and words.isprintable() and not set(words) & set('"\\'))


@pytest.mark.parametrize(
    "broken", [line(active="x"), line(active="9" * 11), line().replace(b"\t45\t", b"\t4x\t"), line()[:60]]
)
def test_what_is_no_line_of_ours_is_left_out(broken: bytes) -> None:
    assert parse(broken, KNOWN) is None
    assert len(list(parsed([line(), broken, line()], KNOWN))) == 2
