"""A proxy's counters out of the tables that HAProxy 2.6 and 3.0 show; the rows of servers are as each of them wrote them."""

from __future__ import annotations

import pytest

from gureum.drivers.haproxy.counters import counted
from gureum.ports.proxies import ServerCounters

KEYS = ("pxname", "svname", "stot", "econ", "eresp", "hrsp_2xx", "hrsp_4xx", "hrsp_5xx", "connect")


def of_server(*values: int) -> ServerCounters:
    row = ",".join(["tg-a", "10.9.0.21:80", *map(str, values)])
    return counted(f"# {','.join(KEYS)},\n{row},\n").by_server["tg-a/10.9.0.21:80"]


@pytest.mark.parametrize(
    ("why", "row", "requests", "errors"),
    [
        ("two answers of 500, one of 404, one closed without an answer, 2.6", (4, 0, 1, 0, 1, 2, 4), 4, 3),
        ("the same, 3.0", (4, 0, 2, 0, 1, 2, 4), 4, 3),
        ("three reset without an answer, both", (3, 0, 6, 0, 0, 0, 3), 3, 3),
        ("three whose bodies were cut off, both: AWS counts the status", (3, 0, 3, 3, 0, 0, 3), 3, 0),
        ("no connection", (5, 5, 0, 0, 0, 0, 5), 5, 5),
        ("one under way beside an answered one", (2, 0, 0, 1, 0, 0, 2), 1, 0),
    ],
)
def test_each_request_is_counted_once(why: str, row: tuple[int, ...], requests: int, errors: int) -> None:
    assert of_server(*row) == ServerCounters(requests, errors), why


def test_the_number_of_requests_never_falls() -> None:
    """A failure that is counted twice stands in for a request under way until that is answered."""
    before, after = of_server(10, 0, 4, 5, 0, 0, 10), of_server(10, 0, 4, 8, 0, 0, 10)
    assert before == ServerCounters(9, 4)
    assert after == ServerCounters(10, 2)
