"""What most requests and answers are, and how they are spared the rest: one line that says so and leaves the section (`allow`). Pure.

An ordinary request has a usual method, is HTTP/1.1 (or 2), of limited length, names its host in small letters, and has none of the headers that
some later line looks at. So the later lines, each of which costs a look at a header or a variable, are only for the others: refusals, classes of
desync, headers that are continued (X-Forwarded-For, X-Amzn-Trace-Id), upgrades. What is wished for every request stands before. A request that is
ordinary but for headers that are continued leaves when they have been.

The line decides by a whitelist: what it does not know is looked at in full. A header's name has small letters by then.
"""

from __future__ import annotations

from gureum.drivers.haproxy.text import word

LONGEST_URL = 900
"""Bytes; beyond it the log has no room for the request's line."""
_LONGEST_HEADERS = 15_900
"""Bytes that are looked at: less than any limit of AWS's. A longer block lacks its end then, and is not ordinary."""
LONGEST_ANSWER_HEADERS = 32_768
"""Bytes, with the empty line at their end. AWS: "the entire response header" may have 32 K."""
_CONTINUED = r"x-forwarded-for:|x-amzn-trace-id:|content-type:[^\r]*application/grpc|"
_LENGTH = r"[^a-z:\r]*+(?:transfer[^a-z:\r]*+encoding|content[^a-z:\r]*+length)[^a-z:\r]*+:"
_BODILESS, _WITH_BODY = "GET HEAD", "POST PUT PATCH DELETE OPTIONS"


def request(*, http2: bool, valid_names: bool) -> list[str]:
    """`valid_names`: a header whose name has other than letters, digits and hyphens is looked at in full, too."""
    return [f"http-request allow if {one}" for one in _conditions(http2, valid_names, continued=False)]


def noted(*, http2: bool, valid_names: bool) -> list[str]:
    """Notes what is ordinary but for headers that are continued, for `leave` when they have been."""
    conditions = _conditions(http2, valid_names, continued=True)
    return [f"http-request set-var(txn.plain) bool(true) if {one}" for one in conditions]


def leave() -> str:
    return "http-request allow if { var(txn.plain) -m found }"


def _conditions(http2: bool, valid_names: bool, *, continued: bool) -> list[str]:
    versions = "1.1 2.0" if http2 else "1.1"
    found = []
    for methods, bodiless in ((_BODILESS, True), (_WITH_BODY, False)):
        headers = word(block(bodiless=bodiless, valid_names=valid_names, continued=continued))
        found.append(
            f"{{ method {methods} }} {{ req.ver {versions} }} {{ url,length lt {LONGEST_URL} }} "
            f"{{ req.hdrs,bytes(0,{_LONGEST_HEADERS}) -m reg -- {headers} }}"
        )
    return found


def block(*, bodiless: bool, valid_names: bool, continued: bool = False) -> str:
    """An expression for all headers of an ordinary request, to the empty line at their end. `bodiless`: of a method that has no length.
    `continued`: with headers that are. Nothing in it goes back, so that a block is read once."""
    special = f"{'' if continued else _CONTINUED}upgrade:|expect:|connection:"
    length, name = _LENGTH if bodiless else f"(?!content-length:){_LENGTH}", "[-a-z0-9]++:" if valid_names else ""
    return rf"^(?=(?>[^\n]*\n)*?host:[^A-Z\n]*+\n)(?:(?!{special}|{length}){name}[\t\x20-\x7e]++\r\n)++\r\n$"


def response() -> list[str]:
    """For the frontend's section, before what is for answers that are too long or malformed, and for upgrades. Headers with a NUL among them, or more
    of them than may pass, are looked at in full."""
    headers = word(rf"^[^\x00]{{1,{LONGEST_ANSWER_HEADERS}}}\z")
    return [f"http-response allow if {{ status 200:999 }} {{ res.hdrs -m reg -- {headers} }}"]
