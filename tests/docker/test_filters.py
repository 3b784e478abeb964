"""Filters of lists and prunes, without a machine. The words of refusals: moby at 28.3, api/types/filters and daemon/list.go."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gureum.docker import filters
from gureum.docker.errors import DockerError


@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        (lambda: filters.check({"nosuch": ["x"]}, ("label",)), 400, "invalid filter 'nosuch'"),
        (lambda: filters.truth({"dangling": ["maybe"]}, "dangling", False), 400, "invalid filter 'dangling=[maybe]'"),
        (
            lambda: filters.truth({"dangling": ["1", "false"]}, "dangling", False),
            400,
            "invalid filter 'dangling=[1 false]'",
        ),
        (lambda: filters.truth({"dangling": []}, "dangling", False), 400, "invalid filter 'dangling'"),
        (lambda: filters.until({"until": ["1", "2"]}, 0.0), 400, "more than one until filter specified"),
        (lambda: filters.until({"until": ["soon"]}, 0.0), 400, 'parsing time "soon"'),
        (
            lambda: filters.ports({"publish": ["1:2"]}, "publish"),
            400,
            "filter for 'publish' should not contain ':': 1:2",
        ),
        (lambda: filters.ports({"expose": ["web"]}, "expose"), 400, "error while looking up for expose web"),
        (lambda: filters.ports({"expose": ["9-8"]}, "expose"), 400, "error while looking up for expose 9-8"),
        (lambda: filters.names({"name": ["(a+)+$"]}, "name"), 501, "expressions with many or nested repetitions"),
    ],
)
def test_values_that_none_takes_are_refused(work: Callable[[], object], status: int, said: str) -> None:
    with pytest.raises(DockerError) as refused:
        work()
    assert (refused.value.status, refused.value.message[: len(said)]) == (status, said) or said in refused.value.message


@pytest.mark.parametrize(
    ("texts", "fitting"),
    [
        (["web"], ["web", "web-1", "my-web"]),
        (["^web$"], ["web"]),
        (["^web"], ["web", "web-1"]),
        (["^web-[0-9]+$", "other"], ["web-1", "other"]),
        (["["], []),
        ([], ["web", "web-1", "my-web", "other"]),
    ],
)
def test_names_are_described_by_expressions(texts: list[str], fitting: list[str]) -> None:
    fits = filters.names({"name": texts}, "name")
    assert [one for one in ("web", "web-1", "my-web", "other") if fits(one)] == fitting


def test_ports_may_be_ranges() -> None:
    assert filters.ports({"publish": ["80", "81-82/udp"]}, "publish") == {"80/tcp", "81/udp", "82/udp"}


def test_labels_must_all_fit() -> None:
    labels = {"a": "1", "b": ""}
    assert filters.label_matches(labels, {"label": ["a=1", "b"]})
    assert not filters.label_matches(labels, {"label": ["a=1", "c"]})
    assert not filters.label_matches(labels, {"label!": ["a"]})
