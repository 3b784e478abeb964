"""Lines and file names of load balancers' logs, in AWS's documented formats. Pure.

    access log        elb-application "load-balancer-access-logs": one line per request
    connection log    elb-application "load-balancer-connection-logs": one line per TLS connection
    health check log  elb-application "load-balancer-health-check-logs": one line per look at a target
    TLS access log    elb-network "load-balancer-access-logs": one line per TLS connection of a network load balancer

What clients send stands in quotes; a quote, a backslash or what cannot be printed in it is written as \\xHH, so that nobody can forge a line.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import re
from typing import Literal, NamedTuple

import msgspec

from gureum.ports.checks import Outcome, Probe
from gureum.ports.proxies import Record, Request

Kind = Literal["access", "connection", "health"]
LOGS: dict[Kind, str] = {"access": "access_logs", "connection": "connection_logs", "health": "health_check_logs"}
"""How the attributes of each kind of log begin."""
_FILE_PREFIXES: dict[Kind, str] = {"access": "", "connection": "conn_log.", "health": "health_check_log_"}
_TEST_FILES: dict[Kind, tuple[str, str]] = {
    "access": ("ELBAccessLogTestFile", "AccessLog"),
    "connection": ("ELBConnectionLogTestFile", "ConnectionLog"),
    "health": ("ELBHealthCheckLogTestFile", "HealthCheckLog"),
}
TEST_FILES = tuple(name for name, _ in _TEST_FILES.values())

_UNSAFE = re.compile(r"[^ !#-\[\]-~]")
_LISTENER_ARN = re.compile(
    r"arn:aws[a-z-]*:elasticloadbalancing:([a-z0-9-]{1,40}):(\d{12}):listener/(?:[A-Za-z0-9-]+/)*([0-9a-z]+)"
)
_LABEL = re.compile(r"(app|net)/([A-Za-z0-9-]{1,32})/([0-9a-z]{1,32})")
_GROUP_ARN = re.compile(r"arn:aws[a-z-]*:elasticloadbalancing:[^:]*:\d{12}:targetgroup/([A-Za-z0-9-]{1,32})/[0-9a-z]+")
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9]|[.-](?![.])){1,61}[a-z0-9]")
_PREFIX_PART = re.compile(r"[!-.0-~][ -.0-~]{0,199}")
_PREFIX_PARTS = 16
_MOST_PIECES = 4096
_UNBUILT = " ".join(('"-"',) * 3)  # transformed host, path and status: of rule transforms, which are not built


class Source(msgspec.Struct, frozen=True):
    """The node that the records are of. `label`: "app/my-lb/50dc6c495c0c9188". `address`: as clients see it."""

    label: str
    address: str
    account: str
    region: str


def source(label: str, address: str, listener_arn: str) -> Source | None:
    """None when the names are not such as we give, and so cannot stand in a path."""
    found = _LISTENER_ARN.fullmatch(listener_arn)
    if found is None or not _LABEL.fullmatch(label):
        return None
    return Source(label, address, found[2], found[1])


class Pieces(NamedTuple):
    """What the lines of requests that are alike have in common, between what is each one's own."""

    like: Record
    kind: str
    course: str
    parties: str
    outcome: str
    more: str


class RequestLines:
    """Requests as the application load balancer `label` logs them. Runs once per request, on the cores that serve requests: what is alike is written
    once."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._pieces: dict[int, Pieces] = {}

    def line(self, one: Request) -> str:
        like, client, request, agent, trace = one.like, one.client, one.request, one.user_agent, one.trace_id
        pieces = self._pieces.get(id(like))
        if pieces is None:  # what is known is held by us, so no other object has its id
            if len(self._pieces) >= _MOST_PIECES:
                self._pieces.clear()
            pieces = self._pieces[id(like)] = _pieces(like)
        if not one.plain and not _is_plain(f"{request}{agent}{trace}{client}"):
            request, agent, trace, client = map(_escaped, (request, agent, trace, client))
        _, kind, course, parties, outcome, more = pieces
        time_us, created_us = one.time_us, one.created_us
        time = _time(time_us)
        created = time if created_us == time_us else _time(created_us)
        return (
            f"{kind} {time} {self._label} {client or '-'} {course} {one.received_bytes} {one.sent_bytes} "
            f'"{request or "-"}" "{agent or "-"}" '
            f'{parties} "{trace or "-"}" {outcome} {created} {more} {_connection(like.proxy, one.client)} {_UNBUILT}\n'
        )


def _pieces(like: Record) -> Pieces:
    r, said = like, _status(like.target_status)
    times = " ".join(_seconds(one) for one in (r.request_time_s, r.target_time_s, r.response_time_s))
    ends = (r.actions, r.redirect_url, r.error, r.target, said, r.classification, r.classification_reason)
    return Pieces(
        like,
        r.kind,
        f"{r.target or '-'} {times} {_status(r.elb_status)} {said}",
        " ".join((_bare(r.tls_cipher), _bare(r.tls_protocol), _bare(r.group_arn))),
        " ".join((_quoted(r.domain_name), _quoted(r.certificate_arn), str(r.priority) if r.priority >= 0 else "-")),
        " ".join(map(_quoted, ends)),
    )


def request_line(record: Record, label: str) -> str:
    """One request that is told alone."""
    r = record
    time_us, created_us = _micros(r.time), _micros(r.created or r.time)
    own = (r.client, str(r.received_bytes), str(r.sent_bytes), r.request, r.user_agent, r.trace_id)
    return RequestLines(label).line(Request(r, time_us, created_us, *own))


def connection_line(record: Record, listener_port: int) -> str:
    """One TLS connection as an application load balancer logs it, from the record of its first request or of its own. Client certificates are not
    asked for, so their fields are empty."""
    r = record
    address, _, port = r.client.rpartition(":")
    failed = r.error and not r.tls_protocol
    fields = (
        _time(_micros(r.time)),
        address or "-",
        port or "-",
        str(listener_port),
        _bare(r.tls_protocol),
        _bare(r.tls_cipher),
        f"{r.handshake_s:.3f}" if r.handshake_s > 0 and not failed else "-",
        *('"-"', "-", "-"),
        f"Failed:{_bare(r.error)}" if failed else "Success",
        _connection(r.proxy, r.client),
    )
    return " ".join(fields) + "\n"


def tls_line(record: Record, label: str, address: str, listener_port: int) -> str:
    """One TLS connection as a network load balancer logs it; times are in milliseconds."""
    r = record
    fields = (
        *("tls", "2.0"),
        _time(_micros(r.time))[:19],
        label,
        r.listener_arn.rpartition("/")[2] or "-",
        r.client or "-",
        f"{address}:{listener_port}",
        str(round(r.connection_s * 1000)),
        str(round(r.handshake_s * 1000)) if r.tls_protocol else "-",
        str(r.received_bytes),
        str(r.sent_bytes),
        _bare(r.extra.get("tls_alert", "")),
        _bare(r.certificate_arn),
        "-",  # the certificate's serial: AWS leaves it empty too
        _bare(r.tls_cipher),
        _bare(r.tls_protocol.lower().replace(".", "")),
        "-",
        _bare(r.domain_name),
        _bare(r.extra.get("alpn_fe_protocol", "")),
        _bare(r.extra.get("alpn_be_protocol", "")),
        _bare(r.extra.get("alpn_client_preference_list", "")),
        _time(_micros(r.created or r.time))[:19],
    )
    return " ".join(fields) + "\n"


def health_check_line(
    probe: Probe, address: str, port: int, group_arn: str, began: float, took_s: float, outcome: Outcome
) -> str:
    """One look at a target as an application load balancer logs it."""
    group = _GROUP_ARN.fullmatch(group_arn)
    kind = (
        "grpc" if probe.protocol in ("GRPC", "GRPCS") else "h2" if probe.version == "HTTP2" else probe.protocol.lower()
    )
    fields = (
        kind,
        _time(_micros(began)),
        f"{max(took_s, 0.0):.9f}",
        f"{address}:{port}",
        group[1] if group else "-",
        "PASS" if outcome.passed else "FAIL",
        str(outcome.status) if outcome.status >= 0 else "-",
        _bare(outcome.fault),
    )
    return " ".join(fields) + "\n"


def trial_file(kind: Kind, bucket: str, prefix: str, account: str, name: str, now: float) -> tuple[str, str]:
    """Path (relative to all buckets) and text of the file that shows that a log can be written. `name`: the load balancer's. AWS: "verify bucket
    permissions"."""
    file, words = _TEST_FILES[kind]
    parts = [part for part in prefix.split("/") if part]
    when = f"{dt.datetime.fromtimestamp(now, dt.UTC):%Y-%m-%dT%H:%M:%S}.{int(now * 1000) % 1000:03d}Z"
    return "/".join((bucket, *parts, "AWSLogs", account, file)), f"Enable {words} for ELB: {name} at {when}"


def folder(bucket: str, prefix: str, of: Source, end: float) -> str | None:
    """Where a file of the period that ends at `end` lies, relative to all buckets; None when bucket or prefix are no names (they are users'
    words)."""
    if not is_place(bucket, prefix):
        return None
    parts = [part for part in prefix.split("/") if part]
    day = f"{dt.datetime.fromtimestamp(end, dt.UTC):%Y/%m/%d}"
    return "/".join((bucket, *parts, "AWSLogs", of.account, "elasticloadbalancing", of.region, day))


def is_place(bucket: str, prefix: str) -> bool:
    """Whether logs can be written there. AWS: the prefix must not include "AWSLogs"."""
    parts = [part for part in prefix.split("/") if part]
    named = all(part not in (".", "..") and _PREFIX_PART.fullmatch(part) for part in parts)
    return bool(_BUCKET.fullmatch(bucket)) and named and len(parts) <= _PREFIX_PARTS and "AWSLogs" not in prefix


def file_name(of: Source, end: float, random: str, kind: Kind) -> str:
    """AWS: application load balancers' names tell the node's address, network load balancers' do not."""
    when = f"{dt.datetime.fromtimestamp(end, dt.UTC):%Y%m%dT%H%MZ}"
    place = (of.address,) if of.label.startswith("app/") else ()
    parts = (of.account, "elasticloadbalancing", of.region, of.label.replace("/", "."), when, *place, random)
    return _FILE_PREFIXES[kind] + "_".join(parts) + ".log.gz"


@functools.lru_cache(maxsize=16384)
def _connection(proxy: str, client: str) -> str:
    """AWS: conn_trace_id, which connects a connection's line with those of its requests. Of the client's address and port at the node: a later
    connection from the same port has it, too."""
    if not client:
        return "-"
    return f"TID_{hashlib.blake2s(f'{proxy} {client}'.encode(), digest_size=16).hexdigest()}"


def _micros(seconds: float) -> str:
    return f"{round(seconds * 1_000_000):07d}"


def _time(micros: str) -> str:
    return f"{_second(micros[:-6])}.{micros[-6:]}Z"


@functools.lru_cache(maxsize=64)
def _second(seconds: str) -> str:
    return f"{dt.datetime.fromtimestamp(int(seconds), dt.UTC):%Y-%m-%dT%H:%M:%S}"


def _seconds(value: float) -> str:
    return "-1" if value < 0 else f"{value:.3f}"


def _status(value: int) -> str:
    return str(value) if value > 0 else "-"


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"' if text else '"-"'


def _bare(text: str) -> str:
    return _escaped(text).replace(" ", "\\x20") if text else "-"


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _escaped(text: str) -> str:
    if _is_plain(text):
        return text
    return _UNSAFE.sub(
        lambda found: "".join(f"\\x{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape")), text
    )
