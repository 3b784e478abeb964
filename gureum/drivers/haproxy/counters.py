"""A proxy's counters, from the table that it shows. They begin anew with each worker, so what former ones have counted is added. Pure."""

from __future__ import annotations

import msgspec

from gureum.ports.proxies import Counters, PortCounters, ServerCounters

COUNTED = 1 + 2 + 4
"""Frontends, backends and servers, in HAProxy's words."""
_OF_FRONTENDS = ("conn_tot", "scur", "dcon", "bin", "bout")
_ANSWERS = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")
_FAILURES = ("econ", "eresp")
"""Connections that failed; answers that were none, or did not come."""
_GIVEN = "stot"
"""Requests that a server was given."""
_READ = ("pxname", "svname", *_OF_FRONTENDS, "connect", "used_conn_cur", "idle_conn_cur", _GIVEN, *_ANSWERS, *_FAILURES)


def counted(table: str) -> Counters:
    """HAProxy management guide: "show stat"."""
    total, servers = Counters(), dict[str, ServerCounters]()
    lines = table.lstrip("# ").splitlines()
    keys = lines[0].split(",") if lines else []
    # There are a hundred, and as many lines as servers.
    places = [(key, keys.index(key)) for key in _READ if key in keys]
    for line in lines[1:]:
        fields = line.split(",")
        row = {key: fields[place] for key, place in places if place < len(fields)}
        if row.get("svname") == "FRONTEND":
            total = summed(total, _row(row), 0)
        elif row.get("svname") == "BACKEND":  # what it counts is not lost with a server that goes
            total = summed(total, Counters(to_targets=_number(row, "connect")), 0)
        else:  # connections that wait to be used again are open, too
            active = _number(row, "used_conn_cur") + _number(row, "idle_conn_cur")
            total = summed(total, Counters(active_to_targets=active), 0)
            servers[f"{row.get('pxname')}/{row.get('svname')}"] = _server(row)
    return msgspec.structs.replace(total, by_server=servers)


def _server(row: dict[str, str]) -> ServerCounters:
    """A failure may be counted twice (by 3.0 where the target closes without an answer, by 2.6 where it resets), and beside an answer whose body was
    cut off. So there are no more of them than requests without an answer, and the number of requests never falls."""
    answered = sum(_number(row, key) for key in _ANSWERS)
    over = min(answered + sum(_number(row, key) for key in _FAILURES), max(_number(row, _GIVEN), answered))
    return ServerCounters(over, _number(row, "hrsp_5xx") + over - answered)


def _row(row: dict[str, str]) -> Counters:
    number = {key: _number(row, key) for key in _OF_FRONTENDS}
    port = row.get("pxname", "").removeprefix("l-")
    its = PortCounters(number["conn_tot"], number["scur"], number["bin"] + number["bout"])
    by_port = {int(port): its} if port.isdigit() else {}
    return Counters(number["conn_tot"], number["scur"], number["dcon"], 0, number["bin"], number["bout"], by_port)


def _number(row: dict[str, str], key: str) -> int:
    return int(row[key]) if row.get(key, "").isdigit() else 0


def summed(one: Counters, other: Counters, tls_errors: int) -> Counters:
    by_port = dict(one.by_port)
    for port, its in other.by_port.items():
        known = by_port.get(port, PortCounters())
        by_port[port] = PortCounters(
            known.connections + its.connections, known.active + its.active, known.bytes + its.bytes
        )
    return Counters(
        one.connections + other.connections,
        one.active + other.active,
        one.rejected + other.rejected,
        one.tls_errors + other.tls_errors + tls_errors,
        one.received_bytes + other.received_bytes,
        one.sent_bytes + other.sent_bytes,
        by_port,
        one.to_targets + other.to_targets,
        one.active_to_targets + other.active_to_targets,
        one.by_server | other.by_server,
    )


def since(before: Counters, now: Counters) -> Counters:
    """What a worker has counted since, and its connections; nothing by server."""
    by_port = {
        port: PortCounters(its.connections - had.connections, its.active, its.bytes - had.bytes)
        for port, its in now.by_port.items()
        for had in (before.by_port.get(port, PortCounters()),)
    }
    return Counters(
        now.connections - before.connections,
        now.active,
        now.rejected - before.rejected,
        0,
        now.received_bytes - before.received_bytes,
        now.sent_bytes - before.sent_bytes,
        by_port,
        now.to_targets - before.to_targets,
        now.active_to_targets,
    )


def past(total: Counters) -> Counters:
    """What is over: nothing of it is active."""
    idle = {port: msgspec.structs.replace(its, active=0) for port, its in total.by_port.items()}
    return msgspec.structs.replace(total, active=0, active_to_targets=0, by_port=idle, by_server={})
