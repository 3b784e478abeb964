"""Sums of what proxies tell: which code counts as whose, how response times are kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gureum.base.tallies import LIMIT_VALUES, rounded
from gureum.core.request_sums import RequestSums, Sums
from gureum.ports.proxies import Record, tally_of

GROUP = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/web/73e2d6bc24d8a067"
PLAIN = Record(
    proxy="eni-1", kind="http", time=1.0, listener_arn="l", client="10.0.0.9:4000", target="10.0.0.5:80", group_arn=GROUP,
    request_time_s=0.0, target_time_s=0.0123, response_time_s=0.0, elb_status=200, target_status=200, received_bytes=100, sent_bytes=900,
    request="GET http://a:80/ HTTP/1.1", user_agent="", tls_cipher="", tls_protocol="", trace_id="", domain_name="", certificate_arn="",
    priority=0, actions="forward", redirect_url="", error="",
)  # fmt: skip


def summed(*records: dict[str, Any]) -> Sums:
    sums = RequestSums(None, {})  # type: ignore[arg-type]
    sums.add([tally_of(msgspec.structs.replace(PLAIN, **fields)) for fields in records])
    (found,) = sums.take()
    return found


def test_what_a_target_answers_is_the_targets() -> None:
    found = summed({}, {"elb_status": 404, "target_status": 404})
    assert (found.requests, found.target, found.elb) == (2, {"2XX": 1, "4XX": 1}, {})
    assert (found.received_bytes, found.sent_bytes) == (200, 1800)


@pytest.mark.parametrize(
    ("status", "codes"), [(502, {"5XX": 1, "502": 1}), (503, {"5XX": 1, "503": 1}), (460, {"4XX": 1})]
)
def test_what_the_load_balancer_makes_is_its_own(status: int, codes: dict[str, int]) -> None:
    found = summed({"elb_status": status, "target_status": -1, "target_time_s": -1.0})
    assert (found.elb, found.target, found.times) == (codes, {}, {})


def test_a_request_counts_for_which_a_target_was_chosen() -> None:
    """AWS: RequestCount "is only incremented for requests where the load balancer node was able to choose a target"."""
    refused: list[dict[str, Any]] = [{"elb_status": status, "target_status": 0} for status in (464, 502, 503, 504)]
    elsewhere: list[dict[str, Any]] = [
        {"elb_status": 301, "target_status": 0, "actions": "redirect", "group_arn": ""},
        {"elb_status": 503, "target_status": 0, "actions": "fixed-response", "group_arn": ""},
    ]
    assert summed({}, {"elb_status": 503, "target_status": 503}, *refused).chosen == 4
    assert [summed(one).chosen for one in elsewhere] == [0, 0]


def test_a_connection_that_was_made_is_no_connection_error() -> None:
    """AWS: TargetConnectionErrorCount is of connections that "were not successfully established between the load balancer and target". A target
    that resets one, is too slow for its answer, or answers 502 by itself has taken it."""
    unmade: list[dict[str, Any]] = [{"elb_status": status, "target_status": 0} for status in (502, 504)]
    taken = [one | {"connected": True} for one in (*unmade, {"elb_status": 502, "target_status": 502})]
    assert summed(*unmade, *taken).target_errors == 2


def test_response_times_are_kept_to_two_digits_and_bounded() -> None:
    assert [rounded(seconds) for seconds in (0.0, 0.00005, 0.00123, 0.0199, 1.26, 12.6, 126.0)] == [
        "0", "0", "0.0012", "0.02", "1.3", "13", "130",
    ]  # fmt: skip
    many = summed(*({"target_time_s": number / 997} for number in range(1, 5000)))
    assert len(many.times) <= LIMIT_VALUES
    assert sum(many.times.values()) == 4999


def test_what_was_taken_is_begun_anew() -> None:
    sums = RequestSums(None, {})  # type: ignore[arg-type]
    sums.add([tally_of(PLAIN)])
    assert len(sums.take()) == 1
    assert sums.take() == []


def test_rules_are_counted_and_those_beyond_ten_of_a_request_by_themselves() -> None:
    found = summed({"evaluated": 3}, {"evaluated": 12}, {"evaluated": 12})
    assert (found.evaluated, found.evaluated_more) == (27, 4)


def test_requests_are_told_that_were_sent_while_too_few_were_healthy() -> None:
    """AWS: UnhealthyRoutingRequestCount, "routed using the routing failover action"."""
    sums = RequestSums(None, {"eni-1": frozenset({GROUP})})  # type: ignore[arg-type]
    others: list[dict[str, Any]] = [{"group_arn": "other"}, {"proxy": "eni-2"}, {"elb_status": 503, "target_status": 0}]
    sums.add([tally_of(msgspec.structs.replace(PLAIN, **fields)) for fields in ({}, {}, *others)])
    assert [(one.proxy, one.group == GROUP, one.failed_over) for one in sums.take()] == [
        ("eni-1", True, 2),
        ("eni-1", False, 0),
        ("eni-2", True, 0),
    ]
