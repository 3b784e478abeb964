"""Requests that servers might read differently ("HTTP desync"): how they are classified, and what each mitigation mode does with them. Pure.

AWS: Application Load Balancers guide, "Desync mitigation mode" and, in "Access logs", "Classification reasons". The classes are for requests by
HTTP/1; the worst that is found is told:

                 monitor    defensive                          strictest
    Acceptable   pass       pass                               400
    Ambiguous    pass       pass, and both connections close   400
    Severe       pass       400                                400

HAProxy reads strictly, before any of this. What it cannot parse (a bad method, version, URI, length or transfer encoding, two lengths that differ,
a header without a name) it refuses in every mode, and is told as Severe without a reason. A version of HTTP/2 and above on such a connection is 505
in every mode (headers.py). What it mends is nobody's to see afterwards: of two
lengths that are the same it keeps one, a length beside a transfer encoding it takes away; targets get one reading of both.
"""

from __future__ import annotations

from gureum.drivers.haproxy.text import refused, word

MODES = ("monitor", "defensive", "strictest")
SEVERE = "Severe"
_ODD = r"[^\t\r\n\x20-\x7e]"
_LOOKS_LIKE_LENGTH = r"(^|,)(?!(transfer-encoding|content-length)(,|$))[^a-z,]*(transfer[^a-z,]*encoding|content[^a-z,]*length)[^a-z,]*(,|$)"
_BODILESS = "{ method GET HEAD }"
_LENGTH, _ENCODING = "{ req.hdr(content-length) -m found }", "{ req.hdr(transfer-encoding) -m found }"
_NO_LENGTH = "{ req.hdr(content-length) -m str 0 }"

# By rising severity: the last that fits is kept.
_CLASSES = (
    ("Acceptable", "NonCompliantHeader", "{ var(txn.odd) -m found }"),
    ("Acceptable", "NonCompliantVersion", "!{ req.ver 1.0 1.1 }"),
    ("Acceptable", "GetHeadZeroContentLength", f"{_BODILESS} {_NO_LENGTH}"),
    ("Ambiguous", "UndefinedContentLengthSemantics", f"{_BODILESS} {_LENGTH} !{_NO_LENGTH}"),
    ("Ambiguous", "UndefinedTransferEncodingSemantics", f"{_ENCODING} {_BODILESS}"),
    ("Ambiguous", "UndefinedTransferEncodingSemantics", f"{_ENCODING} {{ req.ver 1.0 }}"),
    ("Ambiguous", "SuspiciousHeader", f"{{ req.hdr_names -m reg -i -- {word(_LOOKS_LIKE_LENGTH)} }}"),
    (SEVERE, "BadHeader", f"{{ var(txn.odd) -m found }} {{ req.hdrs -m reg -- {word(chr(92) + 'x00')} }}"),
)
_BLOCKED = {"monitor": (), "defensive": (SEVERE,), "strictest": (SEVERE, "Ambiguous", "Acceptable")}


def classify(mode: str) -> tuple[list[str], str]:
    """Lines that leave "Class:Reason" in `txn.class`, and the condition under which the request is refused ("" for never)."""
    if mode not in MODES:
        raise refused(f"unknown desync mitigation mode {mode}")
    first = "{ fc_http_major 1 }"
    lines = [f"http-request set-var(txn.odd) int(1) if {first} {{ req.hdrs -m reg -- {word(_ODD)} }}"]
    lines += [
        f"http-request set-var(txn.class) str({kind}:{reason}) if {first} {found}" for kind, reason, found in _CLASSES
    ]
    blocked = _BLOCKED[mode]
    return lines, f"{{ var(txn.class) -m beg {' '.join(blocked)} }}" if blocked else ""


def to_target(mode: str) -> list[str]:
    """In defensive mode nothing follows an ambiguous request, on the connection to its target and on its client's, whose time is over then."""
    if mode != "defensive":
        return []
    return [
        f"http-request set-header connection close if {_AMBIGUOUS}",
        f"http-request set-var(sess.until) int(0) if {_AMBIGUOUS}",
    ]


_AMBIGUOUS = "{ var(txn.class) -m beg Ambiguous }"
