"""What HAProxy tells of each request, a datagram each, and how it becomes a `Record`. Pure, but for `LogReader`.

A line is fields between tabs. What a client sent is written as JSON strings (without their quotes), or with HAProxy's own `#XX`, so that it
never holds a tab. What does not change from request to request (ARNs, names) is not in the line: it is looked up in the proxy's wish.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import hashlib
import re
import socket
from collections.abc import Callable

import msgspec

from gureum.drivers.haproxy_desync import SEVERE
from gureum.drivers.haproxy_ordinary import LONGEST_URL
from gureum.ports.proxies import Certificate, Group, Listener, ProxySpec, Record, Redirect

CAPTURES = tuple(
    f"capture request header {name} len {length}"
    for name, length in (
        ("User-Agent", 1024),
        ("Host", 256),
        ("Content-Type", 20),
    )
)
UNIQUE_ID = "1-%[date,hex,bytes(8,8),lower]-" + 3 * "%[rand,hex,bytes(8,8),lower]"
"""A trace id: the second of the request, and chance; AWS's has small letters. (A third of what two `uuid()` cost.)"""
_LOCATION = "%[var(txn.location),json(utf8s)]"
HTTP_FIELDS = (
    "H", "%[date(0,us)]", "%ci", "%cp", "%f", "%b", "%s", "%si", "%sp", "%TR", "%Tw", "%Tc", "%Tr", "%Ta", "%ST", "%ts", "%U", "%B", "%r",
    "%hr", "%ID", "%[var(txn.rule)]", "%[var(txn.trace),json(utf8s)]", _LOCATION,
    "%[var(txn.url),json(utf8s)]", "%[var(txn.class)]",
)  # fmt: skip
LONG_URL = f'http-request set-var-fmt(txn.url) "%[url] HTTP/%[req.ver]" if {{ url,length ge {LONGEST_URL} }}'
"""For which `%r` has no room: were that made long enough for all, each request would take the longest one's memory."""
HTTPS_FIELDS = (*HTTP_FIELDS, "%sslc", "%sslv", "%[ssl_fc_sni,json(utf8s)]", "%[ssl_f_sha1,hex]")
TCP_FIELDS = (
    "T", "%[date(0,us)]", "%ci", "%cp", "%f", "%b", "%s", "%si", "%sp", "%Th", "%Tw", "%Tc", "%Tt", "%ts", "%U", "%B", "%sslc", "%sslv",
    "%[ssl_fc_sni,json(utf8s)]", "%[ssl_f_sha1,hex]", "%[ssl_fc_alpn]",
)  # fmt: skip
TCP_FORMAT = "\\t".join(TCP_FIELDS)
# What ended before there was a request: a handshake that failed (its error's number), or bytes that were no request (its status).
FAILED_FIELDS = ("E", "%[date(0,us)]", "%ci", "%cp", "%f", "%[fc_err]", "%ST", "%B")
FAILED_FORMAT = "\\t".join(FAILED_FIELDS)

_BATCH = 512
_LONGEST_BYTES = 65536
_GATHER_S = 0.01
_ORIGIN = re.compile(r"^https?://[^/]*")
_ESCAPED = re.compile(r"#([0-9A-Fa-f]{2})")
_ESCAPED_BYTES = re.compile(rb"#([0-9A-Fa-f]{2})")


def http_format(listener: Listener) -> str:
    """What can never be is not looked for."""
    never = set() if len(listener.rules) > 1 else {"%[var(txn.rule)]"}
    if not any(isinstance(rule.action, Redirect) for rule in listener.rules):
        never.add(_LOCATION)
    fields = HTTPS_FIELDS if listener.protocol == "HTTPS" else HTTP_FIELDS
    return "\\t".join("-" if field in never else field for field in fields)


class Place(msgspec.Struct, frozen=True):
    """A listener as lines name it."""

    listener: Listener
    arn: str
    scheme: str
    port: str


class Reading(msgspec.Struct, frozen=True):
    """What the lines of one proxy are read with."""

    name: str
    places: dict[str, Place]
    groups: dict[str, Group]
    certificate_arns: dict[str, str]


def reading(spec: ProxySpec) -> Reading:
    return Reading(
        spec.name,
        {f"l-{listener.port}": _place(listener) for listener in spec.listeners},
        {group.name: group for group in spec.groups},
        {fingerprint(one): one.arn for one in spec.certificates},
    )


def _place(listener: Listener) -> Place:
    scheme = "https" if listener.protocol == "HTTPS" else "http"
    return Place(listener, listener.arn, scheme, str(listener.port))


def fingerprint(certificate: Certificate) -> str:
    """SHA-1 of the leaf's DER, as `ssl_f_sha1` tells it; "" where it is none."""
    _, _, rest = certificate.chain_pem.partition("-----BEGIN CERTIFICATE-----")
    try:
        der = base64.b64decode(rest.partition("-----END")[0])
    except binascii.Error:
        return ""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()


def parse(line: bytes, known: Reading) -> Record | None:
    """None for a line that is none of ours (a failed handshake's too, see `is_tls_failure`)."""
    fields = line.decode("utf-8", "replace").rstrip("\n").split("\t")
    kind, count = fields[0], len(fields)
    try:
        if kind == "H" and (count == len(HTTP_FIELDS) or count == len(HTTPS_FIELDS)):
            return _http(fields, known)
        if kind == "E" and count == len(FAILED_FIELDS):
            return _no_request(["" if field == "-" else field for field in fields], known)
        if kind == "T" and count == len(TCP_FIELDS):
            return _tcp(["" if field == "-" else field for field in fields], known)
    except (ValueError, msgspec.DecodeError):
        return None
    return None


def is_tls_failure(line: bytes) -> bool:
    return line.startswith(b"E\t") and line.split(b"\t")[5] not in (b"0", b"-", b"")


def _text(field: str) -> str:
    return msgspec.json.decode(f'"{field}"', type=str) if "\\" in field else field


def _seconds(milliseconds: str) -> float:
    value = int(milliseconds or "-1")
    return value / 1000 if value >= 0 else -1.0


def _number(field: str) -> int:
    return int(field) if field else 0


def _http(f: list[str], known: Reading) -> Record:
    """Runs once per request, on the cores that serve requests: what is usual makes few calls."""
    _, date, client, client_port, frontend, backend, server, address, port = f[:9]
    received, queued, connected, waited, active, said, ended, up, down, line, captured, unique, rule = f[9:22]
    place, group = known.places.get(frontend), known.groups.get(backend)
    time, status = int(date) / 1_000_000, int(said)
    agent, host, content = _captured(captured)
    answered = waited[0] != "-" and ended[:2] != OWN_ANSWER
    # A connection to the target was there; else connecting, or waiting for it, took "-1".
    sent = connected[0] != "-" and queued[0] != "-"
    elb_status = status if answered and ended == "--" else _outcome(status, ended, answered)
    kind, actions, priority = "http", "forward", 0 if rule == "-" else int(rule)
    if backend == frontend:
        actions, priority = "", -1
    elif ":" in backend:
        actions = backend.partition(":")[0]
    trace = _text(f[22]) if f[22] != "-" else f"Root={unique.lower()}" if actions else ""
    classification, _, reason = f[25].partition(":") if f[25] != "-" else ("", "", "")
    cipher = protocol = name = certificate = ""
    if len(f) > len(HTTP_FIELDS):
        cipher, protocol, name, certificate = (_given(field) for field in f[len(HTTP_FIELDS) :])
        kind = "https" if line[-8:] != "HTTP/2.0" else _kind2(group, content)
    if status == 101:
        kind = "wss" if kind == "https" else "ws"
    return Record(
        proxy=known.name,
        kind=kind,
        time=time,
        created=time - int(active) / 1000 if active[0] != "-" else time,
        listener_arn=place.arn if place is not None else "",
        client=f"{client}:{client_port}",
        target=f"{address}:{port}" if address != "-" and server != "-" and server != "<NOSRV>" else "",
        group_arn=group.arn if group is not None else "",
        request_time_s=(max(0, int(received)) + int(queued) + int(connected)) / 1000 if sent else -1.0,
        target_time_s=int(waited) / 1000 if sent and answered else -1.0,
        response_time_s=0.0 if sent and answered else -1.0,
        elb_status=elb_status,
        target_status=status if answered and status > 0 else 0,
        received_bytes=int(up),
        sent_bytes=int(down),
        request=_request(line, place, host, f[24]),
        user_agent=agent,
        tls_cipher=cipher,
        tls_protocol=protocol,
        trace_id=trace,
        domain_name=_text(name),
        certificate_arn=known.certificate_arns.get(certificate, ""),
        priority=priority,
        actions=actions,
        redirect_url=_text(f[23]) if f[23] != "-" else "",
        error="",
        classification=classification,
        classification_reason=reason,
    )


OWN_ANSWER = "LH"
"""How a request ended (HAProxy's termination state) whose target had answered, and got replaced by a page of ours."""


@functools.lru_cache(maxsize=512)
def _captured(field: str) -> tuple[str, str, str]:
    """`CAPTURES` of a request: clients send the same again and again."""
    agent, host, content = field[1:-1].split("|")
    return _unescaped(agent), _unescaped(host).partition(":")[0], content


def _given(field: str) -> str:
    return "" if field == "-" else field


def _unescaped(field: str) -> str:
    """Of HAProxy's `#XX`, a byte each."""
    if "#" not in field:
        return field
    return _ESCAPED_BYTES.sub(lambda found: bytes([int(found[1], 16)]), field.encode()).decode("utf-8", "replace")


def _no_request(f: list[str], known: Reading) -> Record | None:
    place = known.places.get(f[4])
    listener = place.listener if place else None
    if listener is None or listener.protocol not in ("HTTP", "HTTPS") or _number(f[5]) or _number(f[6]) < 400:
        return None
    time = int(f[1]) / 1_000_000
    return Record(
        proxy=known.name,
        kind="https" if listener.protocol == "HTTPS" else "http",
        time=time,
        created=time,
        listener_arn=listener.arn,
        client=f"{f[2]}:{f[3]}",
        target="",
        group_arn="",
        request_time_s=-1.0,
        target_time_s=-1.0,
        response_time_s=-1.0,
        elb_status=_number(f[6]),
        target_status=0,
        received_bytes=0,
        sent_bytes=_number(f[7]),
        request=_request("", place, ""),
        user_agent="",
        tls_cipher="",
        tls_protocol="",
        trace_id="",
        domain_name="",
        certificate_arn="",
        priority=-1,
        actions="",
        redirect_url="",
        error="",
        classification=SEVERE if _number(f[6]) == 400 else "",
    )


def _outcome(status: int, ended: str, answered: bool) -> int:
    """AWS's status. `ended`: who broke off, and when (HAProxy's termination state)."""
    if ended[:1] == "C" and not answered and ended[1:2] in ("R", "Q", "C", "H", "D"):
        return 460 if status in (0, -1, 400, 503) else status
    if not answered and ended == "SC":
        return 502
    if not answered and ended == "sC":
        return 504
    return max(status, 0)


def _kind2(group: Group | None, content: str) -> str:
    grpc = content.startswith("application/grpc") and group is not None and group.version == "GRPC"
    return "grpcs" if grpc else "h2"


def _request(line: str, place: Place | None, host: str, long: str = "-") -> str:
    """AWS: method, protocol://host:port/uri, version; dashes where the request could not be read."""
    scheme, port = (place.scheme, place.port) if place is not None else ("http", "0")
    if line == "<BADREQ>" or not line:
        return f"- {scheme}://{host}:{port}- -"
    method, _, rest = line.partition(" ")
    if long != "-":
        rest = _text(long)
    elif "#" in rest:
        rest = _ESCAPED.sub(lambda found: f"%{found[1]}", rest)
    if rest[:1] != "/":
        rest = _ORIGIN.sub("", rest)
    return f"{method} {scheme}://{host}:{port}{rest}"


def _tcp(f: list[str], known: Reading) -> Record | None:
    place, group = known.places.get(f[4]), known.groups.get(f[5])
    listener = place.listener if place else None
    if listener is None or listener.protocol != "TLS":
        return None  # AWS logs TLS listeners only
    time, total = int(f[1]) / 1_000_000, _seconds(f[12])
    return Record(
        proxy=known.name,
        kind="tls",
        time=time,
        created=time - max(total, 0.0),
        listener_arn=listener.arn,
        client=f"{f[2]}:{f[3]}",
        target=f"{f[7]}:{f[8]}" if f[7] and f[6] not in ("", "<NOSRV>") else "",
        group_arn=group.arn if group else "",
        request_time_s=-1.0,
        target_time_s=_seconds(f[11]),
        response_time_s=-1.0,
        elb_status=0,
        target_status=0,
        received_bytes=_number(f[14]),
        sent_bytes=_number(f[15]),
        request="",
        user_agent="",
        tls_cipher=f[16],
        tls_protocol=f[17],
        trace_id="",
        domain_name=_text(f[18]),
        certificate_arn=known.certificate_arns.get(f[19], "") if f[19] else "",
        priority=-1,
        actions="",
        redirect_url="",
        error="",
        connection_s=max(total, 0.0),
        handshake_s=max(_seconds(f[9]), 0.0),
        extra={"alpn_fe_protocol": f[20]},
    )


class LogReader:
    """Takes what waits in the socket, at most `_BATCH` lines at a time so that the loop goes on, and then lets it gather for a moment: woken for
    each line we would take the cores from those who serve requests. What comes faster than it is read is dropped by the kernel and counted
    by HAProxy; a proxy never waits for its log."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, take: Callable[[list[bytes]], None]
    ) -> None:
        self._loop, self._sock, self._take = loop, sock, take
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(sock, self._read)

    def _read(self) -> None:
        lines: list[bytes] = []
        while len(lines) < _BATCH:
            try:
                lines.append(self._sock.recv(_LONGEST_BYTES))
            except BlockingIOError:
                break
        if len(lines) < _BATCH:
            self._loop.remove_reader(self._sock)
            self._timer = self._loop.call_later(_GATHER_S, self._loop.add_reader, self._sock, self._read)
        if lines:
            self._take(lines)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
