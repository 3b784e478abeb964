"""What HAProxy tells of each request, a datagram each, and how it becomes a `Record`. Pure, but for `LogReader`.

A line is fields between tabs. What a client sent is written as JSON strings (without their quotes), or with HAProxy's own `#XX`, so that it
never holds a tab. What does not change from request to request (ARNs, names) is not in the line: it is looked up in the proxy's wish.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import socket
from collections.abc import Callable

import msgspec

from gureum.drivers.haproxy_desync import SEVERE
from gureum.ports.proxies import Certificate, Group, Listener, ProxySpec, Record

HTTP_FIELDS = (
    "H", "%[date(0,us)]", "%ci", "%cp", "%f", "%b", "%s", "%si", "%sp", "%TR", "%Tw", "%Tc", "%Tr", "%Td", "%Ta", "%ST", "%ts",
    "%[var(txn.target_status)]", "%U", "%B", "%r", "%[capture.req.hdr(0),json(utf8s)]", "%[capture.req.hdr(1),json(utf8s)]",
    "%sslc", "%sslv", "%[var(txn.trace),json(utf8s)]", "%[ssl_fc_sni,json(utf8s)]", "%[ssl_f_sha1,hex]", "%[var(txn.rule)]",
    "%[var(txn.location),json(utf8s)]", "%[var(txn.class)]", "%[var(txn.grpc)]",
)  # fmt: skip
TCP_FIELDS = (
    "T", "%[date(0,us)]", "%ci", "%cp", "%f", "%b", "%s", "%si", "%sp", "%Th", "%Tw", "%Tc", "%Tt", "%ts", "%U", "%B", "%sslc", "%sslv",
    "%[ssl_fc_sni,json(utf8s)]", "%[ssl_f_sha1,hex]", "%[ssl_fc_alpn]",
)  # fmt: skip
HTTP_FORMAT = "\\t".join(HTTP_FIELDS)
TCP_FORMAT = "\\t".join(TCP_FIELDS)
# What ended before there was a request: a handshake that failed (its error's number), or bytes that were no request (its status).
FAILED_FIELDS = ("E", "%[date(0,us)]", "%ci", "%cp", "%f", "%[fc_err]", "%ST", "%B")
FAILED_FORMAT = "\\t".join(FAILED_FIELDS)

_BATCH = 512
_LONGEST_BYTES = 65536
_GATHER_S = 0.01
_ORIGIN = re.compile(r"^https?://[^/]*")
_ESCAPED = re.compile(r"#([0-9A-Fa-f]{2})")


class Reading(msgspec.Struct, frozen=True):
    """What the lines of one proxy are read with."""

    name: str
    listeners: dict[str, Listener]
    groups: dict[str, Group]
    certificate_arns: dict[str, str]


def reading(spec: ProxySpec) -> Reading:
    return Reading(
        spec.name,
        {f"l-{listener.port}": listener for listener in spec.listeners},
        {group.name: group for group in spec.groups},
        {fingerprint(one): one.arn for one in spec.certificates},
    )


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
    fields = ["" if field == "-" else field for field in line.decode("utf-8", "replace").rstrip("\n").split("\t")]
    kind, count = fields[0], len(fields)
    try:
        if kind == "H" and count == len(HTTP_FIELDS):
            return _http(fields, known)
        if kind == "E" and count == len(FAILED_FIELDS):
            return _no_request(fields, known)
        if kind == "T" and count == len(TCP_FIELDS):
            return _tcp(fields, known)
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
    listener, group = known.listeners.get(f[4]), known.groups.get(f[5])
    time = int(f[1]) / 1_000_000
    total = _seconds(f[14])
    sent = f[10] != "" and int(f[11] or "-1") >= 0  # a connection to the target was there
    target_status = _number(f[17])
    answered = target_status > 0
    priority, _, action = f[28].partition("/")
    trace, request = _text(f[25]), f[20]
    classification, _, reason = f[30].partition(":")
    status, error = _outcome(_number(f[15]), f[16], answered)
    preparing = (max(0, int(f[9] or "0")) + max(0, int(f[10] or "0")) + max(0, int(f[11] or "0"))) / 1000
    return Record(
        proxy=known.name,
        kind=_kind(listener, request, status, group, grpc=f[31] == "1"),
        time=time,
        created=time - max(total, 0.0),
        listener_arn=listener.arn if listener else "",
        client=f"{f[2]}:{f[3]}",
        target=f"{f[7]}:{f[8]}" if f[7] and f[6] not in ("", "<NOSRV>") else "",
        group_arn=group.arn if group else "",
        request_time_s=preparing if sent else -1.0,
        target_time_s=_seconds(f[12]) if sent and answered else -1.0,
        response_time_s=0.0 if sent and answered else -1.0,
        elb_status=status,
        target_status=target_status,
        received_bytes=_number(f[18]),
        sent_bytes=_number(f[19]),
        request=_request(request, listener, _text(f[22])),
        user_agent=_text(f[21]),
        tls_cipher=f[23],
        tls_protocol=f[24],
        trace_id=trace,
        domain_name=_text(f[26]),
        certificate_arn=known.certificate_arns.get(f[27], "") if f[27] else "",
        priority=int(priority) if priority else -1,
        actions=action.partition("/")[0],
        redirect_url=_text(f[29]),
        error=error,
        classification=classification,
        classification_reason=reason,
    )


def _no_request(f: list[str], known: Reading) -> Record | None:
    listener = known.listeners.get(f[4])
    if listener is None or listener.protocol not in ("HTTP", "HTTPS") or _number(f[5]) or _number(f[6]) < 400:
        return None
    time = int(f[1]) / 1_000_000
    return Record(
        proxy=known.name,
        kind=_kind(listener, "", 0, None, grpc=False),
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
        request=_request("", listener, ""),
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


def _outcome(status: int, ended: str, answered: bool) -> tuple[int, str]:
    """AWS's status and error_reason ("Error reason codes" of the access log are for functions and sign-in: none of ours). `ended`: who broke
    off, and when (HAProxy's termination state)."""
    if ended[:1] == "C" and not answered and ended[1:2] in ("R", "Q", "C", "H", "D"):
        return (460, "") if status in (0, -1, 400, 503) else (status, "")
    if not answered and ended == "SC":
        return 502, ""
    if not answered and ended == "sC":
        return 504, ""
    return max(status, 0), ""


def _kind(listener: Listener | None, request: str, status: int, group: Group | None, *, grpc: bool) -> str:
    tls = listener is not None and listener.protocol == "HTTPS"
    if status == 101:
        return "wss" if tls else "ws"
    if tls and request.endswith("HTTP/2.0"):
        return "grpcs" if grpc and group is not None and group.version == "GRPC" else "h2"
    return "https" if tls else "http"


def _request(line: str, listener: Listener | None, host: str) -> str:
    """AWS: method, protocol://host:port/uri, version; dashes where the request could not be read."""
    port = listener.port if listener else 0
    scheme = "https" if listener and listener.protocol == "HTTPS" else "http"
    if line in ("<BADREQ>", ""):
        return f"- {scheme}://{'' if not host else host.partition(':')[0]}:{port}- -"
    if "#" in line:
        line = _ESCAPED.sub(lambda found: f"%{found[1]}", line)
    method, _, rest = line.partition(" ")
    uri, _, version = rest.rpartition(" ")
    path = uri if uri.startswith("/") else _ORIGIN.sub("", uri)
    return f"{method} {scheme}://{host.partition(':')[0]}:{port}{path} {version}"


def _tcp(f: list[str], known: Reading) -> Record | None:
    listener, group = known.listeners.get(f[4]), known.groups.get(f[5])
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
