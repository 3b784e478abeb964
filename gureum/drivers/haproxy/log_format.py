"""What HAProxy is to tell of each request, a datagram each: formats. What becomes of the lines is for haproxy/logs.py and haproxy/tallies.py.

A line is fields between tabs. What a client sent is written as JSON strings (without their quotes), or with HAProxy's own `#XX`, so that it
never holds a tab. What does not change from request to request (ARNs, names) is not in the line: it is looked up in the proxy's wish.

Its first field is the *head*, words between spaces: all that requests are counted by. Few heads differ, so that each is read once; none holds
a client's words.
"""

from __future__ import annotations

from gureum.drivers.haproxy.ordinary import LONGEST_URL
from gureum.ports.proxies import Listener, Redirect

CAPTURES = tuple(
    f"capture request header {name} len {length}" for name, length in (("User-Agent", 8192), ("Host", 256))
)
"""AWS: a user agent that is longer than 8 KB is truncated."""
UNIQUE_ID = "1-%[date,hex,bytes(8,8),lower]-%[rand,xxh64,hex,lower]%[rand,hex,bytes(8,8),lower]"
"""A trace id: the second of the request, and chance; AWS's has small letters. Two random numbers of 32 bits, the first spread to 64: a third one
would cost each request a hundredth more, two `uuid()` three times as much as all of it."""
LONG_URL = f'http-request set-var-fmt(txn.url) "%[url] HTTP/%[req.ver]" if {{ url,length ge {LONGEST_URL} }}'
"""For which `%r` has no room: were that made long enough for all, each request would take the longest one's memory."""

LONGEST_LINE = 65_000
"""Bytes; HAProxy cuts what is longer: with everything a client may send, escaped, a line could be twice that. Only fields of `SAME_FIELDS` and after
can be hit."""
HEAD = ("H", "%f", "%b", "%ST", "%ts", "%Tw", "%Tc", "%Tr", "%[var(txn.class)]")
HEAD_TLS = (*HEAD, "%[fc_http_major]", "%[var(txn.grpc)]")
"""Where a listener has rules, the one that matched (`_RULE`) is one word more."""
_RULE, _LOCATION = "%[var(txn.rule)]", "%[var(txn.location),json(utf8s)]"
OWN_FIELDS = ("%ci:%cp", "%U", "%B", "%[date(0,us)]", "%Ta", "%ID", "%r", "%hr")
SAME_FIELDS = ("%s", "%si:%sp", "%TR", _RULE, "%[var(txn.trace),json(utf8s)]", _LOCATION, "%[var(txn.url),json(utf8s)]")
HTTP_FIELDS = (*OWN_FIELDS, *SAME_FIELDS)
"""After the head. Those of HTTPS have the same and then `HTTPS_FIELDS`. What stands from `SAME_FIELDS` on is, with the head, alike in many lines."""
TLS_FIELDS = ("%sslc", "%sslv", "%[ssl_fc_sni,json(utf8s)]", "%[ssl_f_sha1,hex]")
HTTPS_FIELDS = (*TLS_FIELDS, "%Th", "%[ssl_fc_is_resumed]")
"""The handshake's time stands with the first request of its connection, and is 0 with the others."""
TCP_FIELDS = (
    "T", "%[date(0,us)]", "%ci", "%cp", "%f", "%b", "%s", "%si", "%sp", "%Th", "%Tw", "%Tc", "%Tt", "%ts", "%U", "%B", *TLS_FIELDS,
    "%[ssl_fc_alpn]",
)  # fmt: skip
TCP_FORMAT = "\\t".join(TCP_FIELDS)
# What ended before there was a request: a handshake that failed (its error's number), or bytes that were no request (its status).
FAILED_FIELDS = ("E", "%[date(0,us)]", "%ci", "%cp", "%f", "%[fc_err]", "%ST", "%B")
FAILED_FORMAT = "\\t".join(FAILED_FIELDS)


def http_format(listener: Listener) -> str:
    """What can never be is not looked for."""
    tls = listener.protocol == "HTTPS"
    never = set() if len(listener.rules) > 1 else {_RULE}
    if not any(isinstance(rule.action, Redirect) for rule in listener.rules):
        never.add(_LOCATION)
    head = HEAD_TLS if tls else HEAD
    fields = (" ".join(head if _RULE in never else (*head, _RULE)), *HTTP_FIELDS, *(HTTPS_FIELDS if tls else ()))
    return "\\t".join("-" if field in never else field for field in fields)
