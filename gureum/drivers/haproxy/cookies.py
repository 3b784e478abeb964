"""Cookies that keep a client at its target (AWSALB, AWSALBAPP) or its target group (AWSALBTG). Pure.

    AWSALB        base64 of  UNTIL/GROUP/TARGET/SEAL        UNTIL: Unix seconds
    AWSALBAPP-0   base64 of  such entries, one per group, each with ~ behind it
    AWSALBTG      base64 of  UNTIL/GROUP/SEAL               SEAL: HMAC-SHA256 of what stands before it

The key is the load balancer's own, the same at all of its nodes and after each of their starts. What bears no right seal binds nobody, so that no
client picks a target or a time that it was not given.
"""

from __future__ import annotations

import base64

from gureum.drivers.haproxy.text import group_name, header_argument, word

_WEEK = "%[date(604800),http_date]"
"""AWS: the cookie itself is kept for seven days; what it binds to ends with the duration, which is inside."""
_KEY = "proc.cookie_key"
_SAME_SITE = "; SameSite=None"
_SECURE = {True: "; Secure", False: "", None: "%[var(txn.secure)]"}
_NOTE_SECURE = f"http-request set-var(txn.secure) str({word('; Secure')}) if {{ ssl_fc }}"
"""Twins say so to clients that come by TLS alone: seen in answers of AWS's load balancers. The variable is for groups that listeners of both kinds
lead to."""
_LONGEST_OTHERS = 2600
"""Bytes of the entries of other groups that go on in a cookie: browsers keep 4096 of base64, with the name and all else."""
_WANTS_SAME_SITE = f"{{ capture.req.hdr(0) -m reg -- {word('Chrom(e|ium)/([89]|[1-9][0-9])[0-9]')} }}"
"""AWS: of AWSALBAPP, "only if the user-agent version is Chromium80 or above". The first capture is the user agent (log_format.py)."""


def key_line(key: bytes) -> str:
    """Of the global section."""
    return f"set-var {_KEY} str({base64.b64encode(key).decode()})"


def group_cookies_in() -> list[str]:
    """A frontend's lines: which group a client is bound to, in txn.tg_group."""
    return [
        *_opened("tg", "AWSALBTG"),
        'http-request set-var-fmt(txn.tg_text) "%[var(txn.tg_until)]/%[var(txn.tg_cookie),field(2,/)]" if { var(txn.tg_cookie) -m found }',
        *_seal("http-request", "tg"),
        "http-request set-var(txn.tg_said) var(txn.tg_cookie),field(3,/)",
        f"http-request set-var(txn.tg_group) var(txn.tg_cookie),field(2,/) if {_bound('tg')}",
    ]


def group_cookies_out(*, secure: bool) -> list[str]:
    """A frontend's lines: of answers by a rule that binds, which has said for how long in txn.tg_for. `secure`: clients come by TLS."""
    sticky = "{ var(txn.tg_for) -m found }"
    return [
        f'http-response set-var-fmt(txn.tg_text) "%[date,add(txn.tg_for)]/%[be_name]" if {sticky}',
        *_seal("http-response", "tg"),
        *_both("AWSALBTG", _value("tg"), f" if {sticky}", secure),
    ]


def target_cookies(kind: str, duration_s: int, cookie: str, group: str, *, secure: bool | None) -> list[str]:
    """A backend's lines: the cookie names the target and ends with the duration; the client gets it anew with each answer. AWS, of applications'
    cookies: "stickiness information is captured for each target group", in one cookie. `secure`: whether clients come by TLS; None: some do."""
    ours = kind == "lb_cookie"
    name = "AWSALB" if ours else "AWSALBAPP-0"
    with_own = "" if ours else f" {{ req.cook({header_argument(cookie)}) -m found }}"
    lines = [
        *(_opened("lb", name) if ours else _opened_app(name, group)),
        f'http-request set-var-fmt(txn.lb_text) "%[var(txn.lb_until)]/{group}/%[var(txn.lb_cookie),field(3,/)]" if {{ var(txn.lb_cookie) -m found }}',
        *_seal("http-request", "lb"),
        "http-request set-var(txn.lb_said) var(txn.lb_cookie),field(4,/)",
        *([] if ours else [f"http-request set-var(txn.lb_kept) bool(true) if {_sealed('lb')}{with_own}"]),
        f"use-server %[var(txn.lb_cookie),field(3,/)] if {_bound('lb')}{with_own}",
        f'http-response set-var-fmt(txn.lb_text) "%[date({duration_s})]/{group}/%[srv_name]"',
        *_seal("http-response", "lb"),
        *([_NOTE_SECURE] if ours and secure is None else []),
    ]
    if ours:
        return lines + _both(name, _value("lb"), "", secure)
    # AWS: the client gets it when the target sets the application's cookie, and "in subsequent responses".
    kept = "{ var(txn.lb_kept) -m found }"
    return [
        *lines,
        f"http-response set-var(txn.lb_kept) bool(true) if {{ res.cook({header_argument(cookie)}) -m found }}",
        f"http-response set-var(txn.lb_rest) {_without(group)} if {kept} {{ var(txn.lb_all) -m len 1:{_LONGEST_OTHERS} }}",
        f"http-response set-var(txn.lb_same) str({word(_SAME_SITE + _SECURE[True])}) if {kept} {_WANTS_SAME_SITE}",
        f'http-response add-header Set-Cookie "{name}={_app_value()}; Expires={_WEEK}; Path=/%[var(txn.lb_same)]" if {kept}',
    ]


def _opened(of: str, name: str) -> list[str]:
    missing = f"!{{ var(txn.{of}_cookie) -m found }} {{ req.cook({name}CORS) -m found }}"
    return [
        f"http-request set-var(txn.{of}_cookie) req.cook({name}),b64dec if {{ req.cook({name}) -m found }}",
        f"http-request set-var(txn.{of}_cookie) req.cook({name}CORS),b64dec if {missing}",
        _until(of),
    ]


def _opened_app(name: str, group: str) -> list[str]:
    """The group's own entry. What is no such leaves the whole, whose seal is none for this group. Nothing in the expressions goes back over what a
    client may have made long."""
    own = word(f'var(txn.lb_all),regsub("(?s)^(?:.*~)?([0-9]++/{group_name(group)}/[^~]*)(?:~.*)?$","\\1")')
    return [
        f"http-request set-var(txn.lb_all) req.cook({name}),b64dec if {{ req.cook({name}) -m found }}",
        f"http-request set-var(txn.lb_cookie) {own} if {{ var(txn.lb_all) -m sub /{group_name(group)}/ }}",
        _until("lb"),
    ]


def _until(of: str) -> str:
    return f"http-request set-var(txn.{of}_until) var(txn.{of}_cookie),field(1,/),add(0) if {{ var(txn.{of}_cookie) -m found }}"


def _without(group: str) -> str:
    """The other groups' entries, each of which is known by its seal when it is its turn."""
    return word(f'var(txn.lb_all),regsub("(?<![0-9])[0-9]++/{group_name(group)}/[^~]*~?","",g)')


def _seal(when: str, of: str) -> list[str]:
    found = f"{{ var(txn.{of}_text) -m found }}"
    return [f"{when} set-var(txn.{of}_seal) var(txn.{of}_text),hmac(sha256,{_KEY}),hex if {found}"]


def _sealed(of: str) -> str:
    return f"{{ var(txn.{of}_seal),secure_memcmp(txn.{of}_said) }}"


def _bound(of: str) -> str:
    return f"{_sealed(of)} {{ date,sub(txn.{of}_until) lt 0 }}"


def _app_value() -> str:
    return "%[var(txn.lb_text),concat(/,txn.lb_seal,~),concat(,txn.lb_rest),base64]"


def _value(of: str) -> str:
    return f"%[var(txn.{of}_text),concat(/,txn.{of}_seal),base64]"


def _both(name: str, value: str, condition: str, secure: bool | None) -> list[str]:
    return [
        f'http-response add-header Set-Cookie "{name}={value}; Expires={_WEEK}; Path=/"{condition}',
        f'http-response add-header Set-Cookie "{name}CORS={value}; Expires={_WEEK}; Path=/{_SAME_SITE}{_SECURE[secure]}"{condition}',
    ]
