"""Which workers may stay that a reload has replaced (decision 0162)."""

from __future__ import annotations

from gureum.drivers.haproxy import config as haproxy_config
from gureum.drivers.haproxy.control import Worker
from gureum.drivers.haproxy.crowding import Host
from gureum.drivers.haproxy.old_workers import FEWEST, MOST, divided, limit_bytes, too_large
from gureum.ports.proxies import ProxySpec

MIB = 1 << 20
ALL = 1 << 60


def workers(count: int) -> list[Worker]:
    """The newest and so many old ones; the pid of each is 1000 and how many reloads it has outlived."""
    return [Worker(1000 + reloads, reloads) for reloads in range(count + 1)]


def test_no_time_ends_an_old_worker_nor_how_many_reloads_it_has_outlived() -> None:
    """AWS cuts no connection that flows when a rule changes."""
    config = haproxy_config.render(ProxySpec("node-1", "/net", "10.0.0.5", "lb"), Host())
    assert "hard-stop-after" not in config[haproxy_config.CONFIG]
    assert divided([Worker(1, 0), Worker(2, 900_000)], limit_bytes(), lambda _: 4 * MIB, ALL) == ([2], [])


def test_the_newest_is_never_ended_and_the_oldest_are_first() -> None:
    stay, end = divided(workers(MOST + 3), ALL, lambda _: 4 * MIB, ALL)
    assert stay == [1000 + reloads for reloads in range(1, MOST + 1)]
    assert end == [1000 + reloads for reloads in range(MOST + 1, MOST + 4)]


def test_those_that_take_more_memory_than_is_left_end_but_a_few() -> None:
    sizes = {1001: 4, 1002: 4, 1003: 4, 1004: 4, 1005: 4, 1006: 90, 1007: 1}
    size = {pid: mib * MIB for pid, mib in sizes.items()}
    assert divided(workers(7), 24 * MIB, size.__getitem__, ALL) == ([1001, 1002, 1003, 1004, 1005], [1006, 1007])
    assert divided(workers(7), -1, size.__getitem__, ALL) == (
        [1000 + n for n in range(1, FEWEST + 1)],
        [1005, 1006, 1007],
    )


def test_a_few_stay_only_while_they_take_no_more_than_one_worker_may() -> None:
    """Clients that hold all they can in each of five workers held more than the whole machine's memory."""
    assert divided(workers(4), -1, lambda _: 900 * MIB, 2000 * MIB) == ([1001, 1002], [1003, 1004])
    assert divided(workers(2), ALL, lambda _: 900 * MIB, 800 * MIB) == ([], [1001, 1002])
    assert too_large([1001, 1002, 1003], lambda _: 900 * MIB, 2000 * MIB) == [1003]
