"""What is counted by heads is what the records of the same lines say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from gureum.drivers.haproxy.log_format import LONGEST_LINE
from gureum.drivers.haproxy.logs import parse, parsed, reading
from gureum.drivers.haproxy.tallies import tallies, tallies_of
from gureum.ports.proxies import Forward, Group, Listener, ProxySpec, Request, Rule, Tally, record_of, tally_of

FORWARD = (Rule(0, Forward((("tg-a", 1),))),)
LISTENERS = (Listener(80, "HTTP", "arn:80", FORWARD), Listener(443, "HTTPS", "arn:443", FORWARD))
GROUPS = (Group("tg-a", "arn:a", "HTTP"), Group("tg-g", "arn:g", "HTTP", "GRPC"))
KNOWN = reading(ProxySpec("node-1", "/x", "10.9.0.10", "app/lb/1", LISTENERS, GROUPS))
REST = (
    "1795932810000000\t1\t1-6b0bc28a-aa\tGET /x HTTP/1.1\t{curl|a.example.com}\t10.0.0.5:80\t10.0.0.5:80\t0\t-\t-\t-\t-"
)
TLS = "\tECDHE\tTLSv1.3\ta.example.com\t-"
HEADS = (
    "l-80 tg-a 200 -- 0 1 3 -",
    "l-80 tg-a 404 -- 0 1 12 -",
    "l-80 tg-a 200 -- 0 1 3 Ambiguous:SuspiciousHeader",
    "l-80 tg-a 101 -- 0 1 3 -",
    "l-80 tg-a 503 SC 0 -1 -1 -",
    "l-80 tg-a 502 SH 0 1 -1 -",
    "l-80 tg-a 504 sH 0 1 -1 -",
    "l-80 tg-a -1 CH 0 1 -1 -",
    "l-80 tg-a 502 LH 0 1 2 -",
    "l-80 tg-a 503 LR -1 -1 -1 -",
    "l-80 fixed-response:80:3 200 LR -1 -1 -1 -",
    "l-80 redirect:80:4 301 LR -1 -1 -1 -",
    "l-80 l-80 400 LR -1 -1 -1 Severe:BadHeader",
    "l-443 tg-a 200 -- 0 0 1 - 1 -",
    "l-443 tg-a 200 -- 0 0 1 - 2 -",
    "l-443 tg-g 200 -- 0 0 1 - 2 1",
    "l-443 tg-a 101 -- 0 0 1 - 1 -",
)
OTHERS = (
    b"E\t1795932810000000\t10.9.0.1\t4000\tl-80\t0\t400\t200",
    b"E\t1795932810000000\t10.9.0.1\t4000\tl-443\t35\t-\t0",
    b"garbage",
    b"H l-80\t\t\t\t",
    b"H l-80 tg-a x -- 0 1 3 -\t10.9.0.1:4000\t1\t2\t3",
    b"",
)


def line(head: str, client: int, up: int, down: int) -> bytes:
    end = TLS if head.startswith("l-443") else ""
    return f"H {head}\t10.9.0.1:{client}\t{up}\t{down}\t{REST}{end}".encode()


LINES = [line(head, 4000 + n % 3, 100 + n, 1000 * n) for n, head in enumerate((*HEADS, *HEADS, *HEADS[:5]))]


def summed(some: Iterable[Tally]) -> Counter[object]:
    found: Counter[object] = Counter()
    for one in some:
        key = (
            one.group_arn,
            one.kind,
            one.elb_status,
            one.target_status,
            one.target_time_s,
            one.actions,
            one.classified,
        )
        found[key, "count"] += one.count
        found[key, "received"] += one.received_bytes
        found[key, "sent"] += one.sent_bytes
    return found


def test_what_requests_have_in_common_is_read_once_but_clients_cannot_fill_our_memory() -> None:
    one, two = (parse(line(HEADS[0], client, 1, 2), KNOWN) for client in (4000, 4001))
    assert isinstance(one, Request)
    assert isinstance(two, Request)
    assert one.like is two.like
    assert (one.client, two.client, one.trace_id) == ("10.9.0.1:4000", "10.9.0.1:4001", "Root=1-6b0bc28a-aa")
    traced = line(HEADS[0], 4000, 1, 2).replace(b"\t-\t-\t-\t-", b"\t-\tRoot=" + b"x" * 600 + b"\t-\t-")
    kept = len(KNOWN.alike)
    long = parse(traced, KNOWN)
    assert isinstance(long, Request)
    assert long.trace_id == "Root=" + "x" * 600
    assert len(KNOWN.alike) == kept


def test_lines_are_counted_as_their_records_would_be() -> None:
    lines = [*LINES, *OTHERS]
    records = [record_of(record) for one in lines if (record := parse(one, KNOWN)) is not None]
    assert len(records) == len(LINES) + 2, (
        "of the others one is a request that could not be read, one a handshake that failed"
    )
    assert {record.kind for record in records} == {"http", "ws", "https", "h2", "grpcs", "wss", "tls"}
    assert {record.elb_status for record in records} >= {200, 101, 301, 400, 404, 460, 502, 503, 504}
    assert summed(tallies(lines, KNOWN)) == summed(map(tally_of, records))
    assert summed(tallies_of(parsed(lines, KNOWN))) == summed(map(tally_of, records))


@pytest.mark.parametrize("head", [HEADS[0], HEADS[-1]])
def test_a_line_that_haproxy_has_cut_is_told_whatever_it_lacks(head: str) -> None:
    """Else a client could send what stands in no log."""
    whole = line(head, 4000, 1, 2).decode()
    fields = whole.split("\t")
    trace = fields.index("0") + 2  # what stands before it is never long
    for hit in range(trace, len(fields)):
        for end in ("x", "\\", "\\u00", '\\"'):
            long = "\t".join([*fields[:hit], "x" * LONGEST_LINE])
            record = parse(f"{long[: LONGEST_LINE - 1 - len(end)]}{end}\n".encode(), KNOWN)
            assert record is not None, (hit, end)
            told = record_of(record)
            assert (told.client, told.user_agent) == ("10.9.0.1:4000", "curl")
            assert told.request.endswith("/x HTTP/1.1")


def test_a_head_is_counted_once_however_many_have_it() -> None:
    (found,) = tallies([line(HEADS[0], 4000 + n % 2, 10, 20) for n in range(100)], KNOWN)
    assert (found.count, found.received_bytes, found.sent_bytes) == (100, 1000, 2000)
    assert tallies_of(list(parsed([line(HEADS[0], 4000 + n % 2, 10, 20) for n in range(100)], KNOWN))) == [found]


RULES = tuple(Rule(priority, FORWARD[0].action) for priority in (5, 10, 700))
RULED = Listener(81, "HTTP", "arn:81", (*RULES, *FORWARD))


@pytest.mark.parametrize(
    ("head", "evaluated"),
    [
        ("l-81 tg-a 200 -- 0 1 3 - 5", 1),
        ("l-81 tg-a 200 -- 0 1 3 - 700", 3),
        ("l-81 tg-a 200 -- 0 1 3 - -", 3),  # the default one
        ("l-81 redirect:81:10 301 LR -1 -1 -1 - 10", 2),
        ("l-81 l-81 400 LR -1 -1 -1 Severe:BadHeader -", 0),  # none was looked at
        ("l-81 tg-a 200 -- 0 1 3 -", 0),  # a worker that goes on from an earlier version
    ],
)
def test_rules_that_were_looked_at_are_those_up_to_the_one_that_matched(head: str, evaluated: int) -> None:
    """AWS: RuleEvaluations: "The default rule is not counted"."""
    known = reading(ProxySpec("node-1", "/x", "10.9.0.10", "app/lb/1", (RULED,), GROUPS))
    (counted,) = tallies([line(head, 4000, 1, 2)], known)
    (record,) = parsed([line(head, 4000, 1, 2)], known)
    assert (counted.evaluated, tally_of(record_of(record)).evaluated) == (evaluated, evaluated)
