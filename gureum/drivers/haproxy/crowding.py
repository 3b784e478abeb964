"""How much of a proxy clients may hold at once, so that those who take and give nothing back leave room for the others. Pure.

A client that asks for a long answer and does not read it holds buffers; one whose target does not answer holds a socket. By HTTP/1.1 it is one
request per connection, of which there are `most_connections`. By HTTP/2 it is 128: a hundred connections held all memory that a proxy may have, or
all its sockets, and nobody was served any more. So requests of HTTP/2 are counted while they are under way, all together and by their clients'
addresses; and so are connections, which may be open and say nothing, or a byte a minute, by their addresses those that come while half of all or
more are taken: where there is plenty of room no request pays for a count that all of its source share.

    up to three quarters of all             who comes is served
    beyond                                  but those who have an eighth already: reset, or 503
    all `most_requests`                     nobody, by HTTP/2: 503
    all `most_connections`                  who comes waits until one ends

A request that is refused has no body: a client that allows none (a window of 0) would hold a buffer even so.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gureum.drivers.haproxy.headers import OWN_HEADERS

MOST_CONNECTIONS, MOST_REQUESTS = 8000, 4096
_FEWEST_CONNECTIONS, _FEWEST_REQUESTS = 64, 128
_FDS_PER_CONNECTION = 2
_SPARE_FDS = 600
_SPARE_MIB = 128
_CONNECTION_KIB, _REQUEST_KIB = 272, 184
"""Three buffers of 72 KiB and what TLS holds; two and a half. Measured with clients that read nothing: 244 and 144 to 180."""
_REQUESTS_SHARE = 4
"""This part of the memory is for requests of HTTP/2."""
_ALL, _OURS, _CONNECTIONS = "requests", "requests_by_source", "connections_by_source"
_MOST_SOURCES = 100_000


class Host(msgspec.Struct, frozen=True):
    """What the machine gives each proxy. `cookie_key`: of the load balancer's own cookies, where it gives any."""

    fds: int = 20_000
    threads: int = 2
    memory_mib: int = 3072
    cookie_key: bytes = b""


def most_requests(host: Host) -> int:
    """Of HTTP/2, at once, in one worker."""
    by_memory = host.memory_mib * 1024 // _REQUESTS_SHARE // _REQUEST_KIB
    return max(_FEWEST_REQUESTS, min(MOST_REQUESTS, host.fds // 4, by_memory))


def most_connections(host: Host, *, http2: bool = True) -> int:
    """Of clients, at once, in one worker: where each holds all it can, and so do the requests of HTTP/2 if there is any, there are files and memory
    for them."""
    requests = most_requests(host) if http2 else 0
    by_files = (host.fds - _SPARE_FDS - requests) // _FDS_PER_CONNECTION
    by_memory = ((host.memory_mib - _SPARE_MIB) * 1024 - requests * _REQUEST_KIB) // _CONNECTION_KIB
    return max(_FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, by_files, by_memory))


def room(host: Host, *, http2: bool) -> list[str]:
    """Of the global section. HAProxy counts two sockets for each connection, and two for each pipe: there are none, they make room for requests."""
    pipes = most_requests(host) // 2 if http2 else 1  # of 0 it would make a number of its own
    return [f"maxconn {most_connections(host, http2=http2)}", f"maxpipes {pipes}"]


def connected(host: Host, frontends: Sequence[str], *, http2: bool) -> list[str]:
    """Of a frontend: at each new connection. `frontends`: all of the proxy. `http2`: one of them speaks it."""
    most = most_connections(host, http2=http2)
    first, *rest = frontends
    # 2.6 has no word for all connections of a process.
    taken = [f"tcp-request connection set-var(sess.taken) fe_conn({first})"]
    taken += [f"tcp-request connection set-var(sess.taken) fe_conn({one}),add(sess.taken)" for one in rest]
    crowded = f"{{ var(sess.taken) -m int gt {most * 3 // 4} }} {{ sc_conn_cur(0) gt {most // 8} }}"
    return [
        *taken,
        f"tcp-request connection track-sc0 src table {_CONNECTIONS} if {{ var(sess.taken) -m int gt {most // 2} }}",
        f"tcp-request connection reject if {crowded}",
    ]


def counted(host: Host) -> list[str]:
    """Of a frontend that speaks HTTP/2, before its rules."""
    most = most_requests(host)
    two = "{ fc_http_major 2 }"
    crowded = f"{{ sc_conn_cur(1) gt {most * 3 // 4} }} {{ sc_conn_cur(2) gt {most // 8} }}"
    refused = f"http-request return status 503 {OWN_HEADERS}"
    return [
        f"http-request track-sc1 int(1) table {_ALL} if {two}",
        f"http-request track-sc2 src table {_OURS} if {two}",
        f"{refused} if {{ sc_conn_cur(1) gt {most} }}",
        f"{refused} if {crowded}",
    ]


def tables(*, http2: bool) -> list[str]:
    """Where `connected` and `counted` count: sections of their own."""
    by_source = f"type ip size {_MOST_SOURCES} expire 1m"
    found = {_CONNECTIONS: by_source}
    if http2:
        found |= {_ALL: "type integer size 1 expire 1h", _OURS: by_source}
    return [
        line
        for name, table in found.items()
        for line in (f"backend {name} from tcp", f"  stick-table {table} store conn_cur")
    ]
