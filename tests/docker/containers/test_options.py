"""Options of `docker run` as the core has them."""

from __future__ import annotations

import pytest

from gureum.docker.containers import options
from gureum.docker.errors import DockerError


@pytest.mark.parametrize(("text", "number"), [("TERM", 15), ("SIGKILL", 9), ("9", 9), ("sigrtmin+3", 37), ("QUIT", 3)])
def test_signals(text: str, number: int) -> None:
    assert options.signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "NOTHING", "-1", "SIGRTMIN+99", "TERM+x"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(DockerError, match="invalid signal"):
        options.signal_number(text)


def test_capabilities_are_dockers_with_what_is_added_and_dropped() -> None:
    assert options.capabilities({}) == options.DEFAULT_CAPABILITIES
    assert options.capabilities({"CapDrop": ["ALL"], "CapAdd": ["CAP_CHOWN", "net_admin"]}) == ("CHOWN", "NET_ADMIN")
    assert "SYS_ADMIN" in options.capabilities({"CapAdd": ["ALL"]})
    assert "KILL" not in options.capabilities({"CapDrop": ["KILL"]})
    with pytest.raises(DockerError, match="unknown capability"):
        options.check_capabilities({"CapAdd": ["FLY"]})


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ({}, True),
        ({"Privileged": True}, False),
        ({"NetworkMode": "host"}, False),
        ({"UsernsMode": "host"}, False),
        ({"Devices": [{}]}, False),
    ],
)
def test_who_has_users_of_its_own(host: dict[str, object], own: bool) -> None:
    assert options.has_own_users(host) is own


def test_limits() -> None:
    found = options.limits({"Memory": 1 << 30, "NanoCpus": 1_500_000_000, "CpuShares": 512, "PidsLimit": -1})
    assert (found.memory_bytes, found.cpus, found.cpu_shares, found.pids) == (1 << 30, 1.5, 512, 0)
    assert options.limits({"CpuQuota": 50_000}).cpus == 0.5


@pytest.mark.parametrize(
    ("text", "size"), [("10m", 10 << 20), ("64k", 65536), ("", 0), ("1024", 1024), ("1.5g", 3 << 29)]
)
def test_sizes(text: str, size: int) -> None:
    assert options.size_bytes(text) == size


def test_moments_and_durations() -> None:
    assert options.duration_s("1h30m") == 5400
    assert options.duration_s("2026-01-01") is None
    assert options.moment("1700000000.5") == 1700000000.5
    assert options.moment("2023-11-14T22:13:20.123456789Z") == pytest.approx(1700000000.123456)
    assert options.iso(1700000000.5) == "2023-11-14T22:13:20.5Z"
    assert options.iso(0) == "0001-01-01T00:00:00Z"
