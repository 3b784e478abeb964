"""How the line that HAProxy tells of a request (haproxy/log_format.py) becomes a `Record`. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from gureum.drivers.haproxy.desync import SEVERE
from gureum.drivers.haproxy.log_format import (
    FAILED_FIELDS,
    HEAD_TLS,
    HTTPS_FIELDS,
    LONGEST_LINE,
    OWN_FIELDS,
    SAME_FIELDS,
    TCP_FIELDS,
    TLS_FIELDS,
)
from gureum.ports.proxies import SESSION_REUSED, Certificate, Group, Listener, ProxySpec, Record, Request

_MOST_HEADS, _MOST_ALIKE, _MOST_SENDERS = 4096, 4096, 512
_DATE_DIGITS, _ACTIVE_DIGITS = 16, 10  # of microseconds until the year 2286; of milliseconds, HAProxy's longest time
_LONGEST_ALIKE = 512
"""Bytes that are remembered of what may hold a client's words."""
_PORT = re.compile(r":[0-9]*$")
_ORIGIN = re.compile(r"^https?://[^/?* ]*")
# HAProxy configuration manual, `fc_err_str`: SSL_EMPTY to SSL_EARLY_FAILED, SSL_FATAL. From 2.9 on there are numbers for sockets' errors, too.
_TLS_ERRORS = frozenset(map(str, (*range(24, 39), 43)))
_ESCAPED = re.compile(r"#([0-9A-Fa-f]{2})")
_ESCAPED_BYTES = re.compile(rb"#([0-9A-Fa-f]{2})")


_TLS_FAILED = "UnmappedConnectionError"
"""AWS: a connection's error that has no other code; those are of clients' certificates, which are not asked for."""


class Place(msgspec.Struct, frozen=True):
    """A listener as lines name it. `host`: the load balancer's name, of requests that say none."""

    listener: Listener
    arn: str
    scheme: str
    port: str
    host: str


class Head(msgspec.Struct, frozen=True):
    """What a head says. `sent`: to a target, and not in vain. `waited_s`: for a connection to the target. `evaluated`: as in `Record`."""

    place: Place | None
    group_arn: str
    kind: str
    elb_status: int
    target_status: int
    target_time_s: float
    sent: bool
    waited_s: float
    actions: str
    classification: str
    reason: str
    evaluated: int = 0


class Alike(NamedTuple):
    """What a head and a line's end say. `rooted`: its trace begins with its own id. `usual`: its URL stands in the request's line. `senders`: of its
    listener."""

    like: Record
    rooted: bool
    usual: bool
    senders: dict[str, Sender]


class Sender(NamedTuple):
    """What `CAPTURES` say of a request: clients send the same again and again. `origin`: scheme, host and port."""

    agent: str
    origin: str


class Reading(msgspec.Struct, frozen=True):
    """What the lines of one proxy are read with. `certificates`: by fingerprint. `heads`, `alike`, `senders` (by listener): those that were read
    already."""

    name: str
    places: dict[str, Place]
    groups: dict[str, Group]
    certificates: dict[str, Certificate]
    heads: dict[bytes, Head] = {}
    alike: dict[tuple[str, str], Alike] = {}
    senders: dict[str, dict[str, Sender]] = {}


def reading(spec: ProxySpec) -> Reading:
    return Reading(
        spec.name,
        {f"l-{listener.port}": _place(listener, spec.dns_name) for listener in spec.listeners},
        {group.name: group for group in spec.groups},
        {fingerprint(one): one for one in spec.certificates},
    )


def _place(listener: Listener, host: str) -> Place:
    scheme = "https" if listener.protocol == "HTTPS" else "http"
    return Place(listener, listener.arn, scheme, str(listener.port), host)


def fingerprint(certificate: Certificate) -> str:
    """SHA-1 of the leaf's DER, as `ssl_f_sha1` tells it; "" where it is none."""
    _, _, rest = certificate.chain_pem.partition("-----BEGIN CERTIFICATE-----")
    try:
        der = base64.b64decode(rest.partition("-----END")[0])
    except binascii.Error:
        return ""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()


def parse(line: bytes, known: Reading) -> Record | Request | None:
    """None for a line that is none of ours."""
    return next(parsed((line,), known), None)


def parsed(lines: Iterable[bytes], known: Reading) -> Iterator[Record | Request]:
    """Of what is none of ours there is nothing."""
    for line in lines:
        try:
            found = _http(line, known) if line.startswith(b"H ") else _other(line, known)
        except (ValueError, msgspec.DecodeError):
            continue
        if found is not None:
            yield found


def _other(line: bytes, known: Reading) -> Record | None:
    fields = ["" if field == "-" else field for field in line.decode("utf-8", "replace").rstrip("\n").split("\t")]
    if fields[0] == "E" and len(fields) == len(FAILED_FIELDS):
        return _no_request(fields, known)
    if fields[0] == "T" and len(fields) == len(TCP_FIELDS):
        return _tcp(fields, known)
    return None


def read_head(text: bytes, known: Reading) -> Head:
    """ValueError for what is none."""
    found = known.heads.get(text)
    if found is None:
        if len(known.heads) >= _MOST_HEADS:
            known.heads.clear()
        found = known.heads[text] = _head(text.decode().split(" "), known)
    return found


def _head(words: list[str], known: Reading) -> Head:
    _, frontend, backend, said, ended, queued, connected, waited, classified, *tls = words
    # Of a listener with rules the last word is the one that matched; workers that go on from earlier versions do not tell it.
    rule = tls.pop() if len(tls) % 2 else ""
    place, group = known.places.get(frontend), known.groups.get(backend)
    answered = waited[0] != "-" and ended[:2] != OWN_ANSWER
    # A connection to the target was there; else connecting, or waiting for it, took "-1".
    sent = connected[0] != "-" and queued[0] != "-"
    status = int(said)
    outcome = status if answered and ended == "--" else _outcome(status, ended, answered)
    classification, _, reason = classified.partition(":") if classified != "-" else ("", "", "")
    return Head(
        place=place,
        group_arn=group.arn if group is not None else "",
        kind=_kind(status, tls),
        elb_status=outcome,
        target_status=status if answered and status > 0 else 0,
        target_time_s=int(waited) / 1000 if sent and answered else -1.0,
        # AWS: no time is told where the target did not answer before the client or the idle timeout ended the request.
        sent=sent and (answered or outcome not in (460, 504)),
        waited_s=(int(queued) + int(connected)) / 1000 if sent else -1.0,
        actions="" if backend == frontend else backend.partition(":")[0] if ":" in backend else "forward",
        classification=classification,
        reason=reason,
        evaluated=_evaluated(place, rule) if backend != frontend else 0,
    )


def _evaluated(place: Place | None, rule: str) -> int:
    """How many of the listener's rules were looked at, without its default one: up to the one that matched."""
    if place is None or not rule:
        return 0
    priorities = [one.priority for one in place.listener.rules if one.priority]
    matched = int(rule) if rule != "-" else 0
    return sum(one <= matched for one in priorities) if matched else len(priorities)


def _kind(status: int, tls: list[str]) -> str:
    """`tls`: HTTP's version and whether it is gRPC for a group of that; none without TLS."""
    if status == 101:
        return "wss" if tls else "ws"
    if not tls:
        return "http"
    version, grpc = tls
    return "https" if version != "2" else "h2" if grpc == "-" else "grpcs"


def is_tls_failure(line: bytes) -> bool:
    return line.startswith(b"E\t") and line.split(b"\t")[5].decode() in _TLS_ERRORS


def _text(field: str) -> str:
    return msgspec.json.decode(f'"{field}"', type=str) if "\\" in field else field


def _seconds(milliseconds: str) -> float:
    value = int(milliseconds or "-1")
    return value / 1000 if value >= 0 else -1.0


def _number(field: str) -> int:
    return int(field) if field else 0


def _http(line: bytes, known: Reading) -> Request:
    """Runs once per request, on the cores that serve requests: what is alike in many is read once. ValueError for what is no line of ours."""
    text = line.decode("utf-8", "replace")
    if len(line) >= LONGEST_LINE:
        text = _whole(text)
    head, client, up, down, date, active, unique, asked, captured, same = text.split("\t", 1 + len(OWN_FIELDS))
    alike = known.alike.get((head, same)) or _alike(head, same, known)
    like, rooted, usual, senders = alike
    agent, origin = senders.get(captured) or _sender(captured, head, senders, known)
    method, _, uri = asked.partition(" ")
    # All that a client may have written is escaped by one of both.
    plain = usual and uri[:1] == "/" and "#" not in text and "\\" not in text and '"' not in text and text.isascii()
    if len(date) != _DATE_DIGITS or len(active) > _ACTIVE_DIGITS or not f"{date}{up}{down}".isdigit():
        raise ValueError("a number is missing")
    return Request(
        like,
        date,
        date if active == "0" or active[:1] == "-" else str(int(date) - int(active) * 1000),
        client,
        up,
        down,
        f"{method} {origin}{uri}" if plain else _request(asked, origin, _long_url(same)),
        agent,
        f"Root={unique}" if rooted else like.trace_id,
        plain,
    )


def _whole(cut: str) -> str:
    """A line that HAProxy has cut, so that no client can send what is not logged: the field that was hit, and those that it lacks, are not known."""
    fields = cut.rstrip("\n").split("\t")[:-1]
    tls = len(HTTPS_FIELDS) if len(fields[0].split(" ")) >= len(HEAD_TLS) else 0
    wished = 1 + len(OWN_FIELDS) + len(SAME_FIELDS) + tls
    return "\t".join([*fields, *("-" * (wished - len(fields)))]) if len(fields) < wished else cut


def _sender(captured: str, head: str, senders: dict[str, Sender], known: Reading) -> Sender:
    agent, host = map(_unescaped, captured[1:-1].split("|"))
    found = Sender(agent, _origin(read_head(head.encode(), known).place, _PORT.sub("", host)))
    if len(captured) <= _LONGEST_ALIKE:
        if sum(map(len, known.senders.values())) >= _MOST_SENDERS:
            for one in known.senders.values():
                one.clear()
        senders[captured] = found
    return found


def _origin(place: Place | None, host: str) -> str:
    """AWS: the load balancer's own name where a request has said none."""
    if place is None:
        return f"http://{host}:0"
    return f"{place.scheme}://{host or place.host}:{place.port}"


def _long_url(same: str) -> str:
    return same.split("\t", len(SAME_FIELDS))[len(SAME_FIELDS) - 1].rstrip("\n")


def _alike(text: str, same: str, known: Reading) -> Alike:
    f = same.rstrip("\n").split("\t")
    # Those between: of workers that go on from earlier versions, which tell no handshake, and not whether a session was resumed.
    if len(f) - len(SAME_FIELDS) not in (0, *range(len(TLS_FIELDS), len(HTTPS_FIELDS) + 1)):
        raise ValueError("fields are missing")
    head = read_head(text.encode(), known)
    server, target, received, rule, trace, location, url = f[: len(SAME_FIELDS)]
    cipher = protocol = name = certificate = handshake = resumed = ""
    if len(f) > len(SAME_FIELDS):
        tls = (*map(_given, f[len(SAME_FIELDS) :]), "", "")[: len(HTTPS_FIELDS)]
        cipher, protocol, name, certificate, handshake, resumed = tls
    if not head.actions:
        priority = -1
    else:
        priority = 0 if rule == "-" else int(rule)
    like = Record(
        proxy=known.name,
        kind=head.kind,
        time=0.0,
        listener_arn=head.place.arn if head.place is not None else "",
        client="",
        target=target if target[0] != "-" and server != "-" and server != "<NOSRV>" else "",
        group_arn=head.group_arn,
        request_time_s=max(0, int(received)) / 1000 + head.waited_s if head.sent else -1.0,
        target_time_s=head.target_time_s,
        response_time_s=0.0 if head.target_time_s >= 0 else -1.0,
        elb_status=head.elb_status,
        target_status=head.target_status,
        received_bytes=0,
        sent_bytes=0,
        request="",
        user_agent="",
        tls_cipher=cipher,
        tls_protocol=protocol,
        trace_id=_text(trace) if trace != "-" else "",
        domain_name=_shown(_text(name), certificate, known),
        certificate_arn=SESSION_REUSED if resumed == "1" else _arn(certificate, known),
        priority=priority,
        actions=head.actions,
        redirect_url=_text(location) if location != "-" else "",
        error="",
        classification=head.classification,
        classification_reason=head.reason,
        handshake_s=max(_seconds(handshake), 0.0),
        connected=head.waited_s >= 0,
        evaluated=head.evaluated,
    )
    senders = known.senders.setdefault(head.place.port if head.place is not None else "", {})
    found = Alike(like, trace == "-" and bool(head.actions), url == "-", senders)
    if len(same) <= _LONGEST_ALIKE:
        if len(known.alike) >= _MOST_ALIKE:
            known.alike.clear()
        known.alike[text, same] = found
    return found


OWN_ANSWER = "LH"
"""How a request ended (HAProxy's termination state) whose target had answered, and got replaced by a page of ours."""


def _arn(certificate: str, known: Reading) -> str:
    found = known.certificates.get(certificate)
    return found.arn if found is not None else ""


def _shown(name: str, certificate: str, known: Reading) -> str:
    """AWS: no name where "the domain doesn't match a certificate and the default certificate is presented"."""
    found = known.certificates.get(certificate)
    if found is None or not found.domains:
        return name
    asked = name.lower()
    return name if {asked, f"*.{asked.partition('.')[2]}"} & {one.lower() for one in found.domains} else ""


def _given(field: str) -> str:
    return "" if field == "-" else field


def _unescaped(field: str) -> str:
    """Of HAProxy's `#XX`, a byte each; what is no UTF-8 stays what it was (PEP 383)."""
    if "#" not in field:
        return field
    return _ESCAPED_BYTES.sub(lambda found: bytes([int(found[1], 16)]), field.encode()).decode(
        "utf-8", "surrogateescape"
    )


def _no_request(f: list[str], known: Reading) -> Record | None:
    place = known.places.get(f[4])
    listener = place.listener if place else None
    if listener is None or listener.protocol not in ("HTTP", "HTTPS"):
        return None
    failed = f[5] in _TLS_ERRORS
    status = 0 if failed else _number(f[6])
    if not failed and status < 400:
        return None
    time = int(f[1]) / 1_000_000
    return Record(
        proxy=known.name,
        kind="tls" if failed else "https" if listener.protocol == "HTTPS" else "http",
        time=time,
        created=time,
        listener_arn=listener.arn,
        client=f"{f[2]}:{f[3]}",
        target="",
        group_arn="",
        request_time_s=-1.0,
        target_time_s=-1.0,
        response_time_s=-1.0,
        elb_status=status,
        target_status=0,
        received_bytes=0,
        sent_bytes=_number(f[7]),
        request="" if failed else _request("", _origin(place, ""), ""),
        user_agent="",
        tls_cipher="",
        tls_protocol="",
        trace_id="",
        domain_name="",
        certificate_arn="",
        priority=-1,
        actions="",
        redirect_url="",
        error=_TLS_FAILED if failed else "",
        classification=SEVERE if status == 400 else "",
    )


def _outcome(status: int, ended: str, answered: bool) -> int:
    """AWS's status. `ended`: who broke off, and when (HAProxy's termination state)."""
    if ended[:1] == "C" and not answered and ended[1:2] in ("R", "Q", "C", "H", "D"):
        return 460 if status in (0, -1, 400, 503) else status
    if not answered and ended == "SC":
        return 502
    if not answered and ended == "sC":
        return 504
    if not answered and ended[:1] == "K":
        return 502  # cut off at the end of its group's delay; 3.0 says 500
    return max(status, 0)


def _request(line: str, origin: str, long: str = "-") -> str:
    """AWS: method, protocol://host:port/uri, version; dashes where the request could not be read."""
    if line == "<BADREQ>" or not line:
        return f"- {origin}- -"
    method, _, rest = line.partition(" ")
    if long != "-":
        rest = _text(long)
    elif "#" in rest:
        rest = _ESCAPED.sub(lambda found: f"%{found[1]}", rest)
    if rest[:1] != "/":
        rest = _ORIGIN.sub("", rest)
        rest = f"/{rest}" if rest[:1] in (" ", "?") else rest  # an origin without a path
    return f"{method} {origin}{rest}"


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
        certificate_arn=_arn(f[19], known),
        priority=-1,
        actions="",
        redirect_url="",
        error="",
        connection_s=max(total, 0.0),
        handshake_s=max(_seconds(f[9]), 0.0),
        extra={"alpn_fe_protocol": f[20]},
    )
