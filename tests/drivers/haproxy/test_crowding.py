"""What a proxy lets its clients hold, on machines of several sizes."""

from __future__ import annotations

import pytest

from gureum.drivers.haproxy.crowding import Host, connected, most_connections, most_requests, room

MIB = 1 << 20
CONNECTION, REQUEST = 244 * 1024, 180 * 1024
"""What clients that read nothing were seen to take, by HTTP/1.1 over TLS and by HTTP/2."""


@pytest.mark.parametrize("memory_mib", [512, 1024, 2048, 3072])
@pytest.mark.parametrize("fds", [4096, 20_000, 65_536])
def test_clients_that_hold_all_they_can_fit(memory_mib: int, fds: int) -> None:
    host = Host(fds=fds, memory_mib=memory_mib)
    connections, requests = most_connections(host), most_requests(host)
    assert connections * CONNECTION + requests * REQUEST + 64 * MIB < memory_mib * MIB
    assert 2 * connections + requests + 100 < fds


def test_a_usual_machine_takes_thousands() -> None:
    assert room(Host(), http2=True) == ["maxconn 7652", "maxpipes 2048"]
    assert room(Host(fds=1 << 16), http2=True) == ["maxconn 8000", "maxpipes 2048"]


def test_where_nobody_speaks_http2_nothing_is_kept_for_it() -> None:
    """A client with a thousand connections is one that measures, or many behind one address: a machine of 2 GiB refused a quarter of them."""
    small = Host(memory_mib=512)
    assert most_connections(small, http2=False) * 3 // 4 > 1000 > most_connections(small)
    assert most_connections(small, http2=False) * CONNECTION + 64 * MIB < 512 * MIB
    assert room(Host(), http2=False) == ["maxconn 8000", "maxpipes 1"]


def test_connections_are_counted_by_source_only_where_half_are_taken() -> None:
    *taken, tracked, _ = connected(Host(), ["l-80", "l-81"], http2=False)
    assert [line.split("set-var")[1] for line in taken] == [
        "(sess.taken) fe_conn(l-80)",
        "(sess.taken) fe_conn(l-81),add(sess.taken)",
    ]
    half = most_connections(Host(), http2=False) // 2
    assert tracked.endswith(f"if {{ var(sess.taken) -m int gt {half} }}")
