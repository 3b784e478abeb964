"""Which rule of a listener holds, as HAProxy's lines and maps. Pure; what a rule then does is haproxy/actions.py's business.

The first rule that matches is noted by its priority in `txn.rule`; where none is, the default rule holds.

    80.hosts     example.com → example.com                        exact hosts
    80.rules     example.com:/service/ → 20, -:/service/ → 30     of what begins so (host, path) no earlier rule is there

A rule of exact hosts and of paths that begin so, or are exactly so, costs nothing by itself (the most rules, where there are many): all of them
together are a look-up or two in trees. The others are lines that are looked at one after the other. Conditions become named ACLs; lines of one
name are OR-ed, names in a line AND-ed.

AWS: elbv2 rules (Application Load Balancers guide, "Listener rules").
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from gureum.drivers.haproxy.text import beginning, header_argument, pattern, regex, word
from gureum.ports.proxies import Condition, Listener, Rule

_END = "\x01"
"""Stands after a path, in which no control character can be: so a whole path is a beginning too."""
_ANY = "-"
_HOST = re.compile(r"[A-Za-z0-9.-]*[A-Za-z0-9.]")
HOST_SENT = "req.hdr(host),host_only,lower"
"""Without its port; an IPv6 address keeps its brackets."""
_KEY = re.compile(r"[!-~]*\x01?")
_NORMALIZED = [
    "http-request set-var(txn.sent) pathq if { pathq -m sub /. % }",
    # Without a condition: where one follows this word, HAProxy merges slashes instead (its issue 3493). Where no % is, it changes nothing.
    "http-request normalize-uri percent-decode-unreserved",
    "http-request normalize-uri path-strip-dot if { var(txn.sent) -m found }",
    "http-request normalize-uri path-strip-dotdot full if { var(txn.sent) -m found }",
    "http-request set-var(txn.path) path",
    "http-request set-pathq %[var(txn.sent)] if { var(txn.sent) -m found }",
]
"""The path that patterns are compared with (AWS: "The rule evaluation is performed only after URI normalization occurs"): without `.` and `..`, and
letters, digits, `-._~` as such (RFC 3986, 6.2.2). What is sent to the target and said in the log stays as it came."""


class Decision(msgspec.Struct, frozen=True):
    """`lines`: the frontend's. `files`: the maps they look into."""

    lines: list[str]
    files: dict[str, str]


def decide(listener: Listener) -> Decision:
    """Of all rules but the last, the default one."""
    keys: dict[int, list[tuple[str, str]]] = {}
    chained: list[str] = []
    for place, rule in enumerate(listener.rules[:-1]):
        found = _keys(rule)
        if found is None:
            chained += _line(place, rule)
        else:
            keys[rule.priority] = found
    lines, files = _look_ups(listener.port, keys)
    # What the maps have found holds unless a line's rule comes before it; the lines ascend, so the first of them holds against the rest.
    lines += chained
    if any("var(txn.host)" in line for line in lines):
        lines.insert(0, f"http-request set-var(txn.host) {HOST_SENT}")
    if any("var(txn.path)" in line for line in lines):
        lines = [*_NORMALIZED, *lines]
    return Decision(lines, files)


def _keys(rule: Rule) -> list[tuple[str, str]] | None:
    """The hosts and beginnings of paths that a rule is for; None where it looks at more, or otherwise."""
    hosts, paths = [_ANY], [""]
    seen = {condition.field for condition in rule.conditions}
    if len(seen) != len(rule.conditions) or not seen <= {"host-header", "path-pattern"}:
        return None
    for condition in rule.conditions:
        found = [beginning(value) for value in condition.values]
        if condition.field == "path-pattern":
            paths = [text + ("" if more else _END) for text, more in filter(None, found)]
        else:
            hosts = [text.lower() for text, more in filter(None, found) if not more and _HOST.fullmatch(text)]
        values = hosts if condition.field == "host-header" else paths
        if len(values) != len(condition.values) or not all(_KEY.fullmatch(value) for value in values):
            return None
    return [(host, path) for host in hosts for path in paths]


def _look_ups(port: int, keys: dict[int, list[tuple[str, str]]]) -> tuple[list[str], dict[str, str]]:
    """`keys`: of each rule that maps can find, by its priority."""
    if not keys:
        return [], {}
    hosts = sorted({host for found in keys.values() for host, _ in found} - {_ANY})
    first: dict[str, int] = {}
    for priority, found in keys.items():
        for host, path in found:
            key = f"{host}:{path}"
            first[key] = min(priority, first.get(key, priority))
    files = {rules_map(port): "".join(f"{key} {_first_of(key, first)}\n" for key in sorted(first))}
    anyone = any(key.startswith(f"{_ANY}:") for key in first)
    if not hosts:
        return [_key(_ANY), f"http-request set-var(txn.rule) {_found(port)}"], files
    files[hosts_map(port)] = "".join(f"{host} {host}\n" for host in hosts)
    lines = [
        _key(f"%[{HOST_SENT},map_str({hosts_map(port)},{_ANY})]"),
        f"http-request set-var(txn.rule) {_found(port)}",
    ]
    if anyone:
        earlier = "{ var(txn.other) -m found } !{ var(txn.rule),sub(txn.other) lt 0 }"
        lines += [
            _key(_ANY),
            f"http-request set-var(txn.other) {_found(port)}",
            f"http-request set-var(txn.rule) var(txn.other) if {earlier}",
        ]
    return lines, files


def hosts_map(port: int) -> str:
    return f"{port}.hosts"


def rules_map(port: int) -> str:
    return f"{port}.rules"


def _key(host: str) -> str:
    return f"http-request set-var-fmt(txn.key) {host}:%[var(txn.path)]{word(_END)}"


def _found(port: int) -> str:
    return f"var(txn.key),map_beg_int({rules_map(port)})"


def _first_of(key: str, first: dict[str, int]) -> int:
    """The look-up finds the longest of the keys that a request begins with; it begins with the shorter ones, too."""
    return min(first[key[:end]] for end in range(1, len(key) + 1) if key[:end] in first)


def _line(place: int, rule: Rule) -> list[str]:
    lines, names = [], []
    for number, condition in enumerate(rule.conditions):
        names.append(f"r{place}c{number}")
        lines += [f"acl {names[-1]} {test}" for test in condition_tests(condition)]
    earlier = f"!{{ var(txn.rule) -m int lt {int(rule.priority)} }}"
    return [*lines, f"http-request set-var(txn.rule) int({int(rule.priority)}) if {' '.join([*names, earlier])}"]


def condition_tests(condition: Condition) -> list[str]:
    """What stands after the ACL's name, a line per value (they are OR-ed)."""
    match condition.field:
        case "host-header":
            return [_test("var(txn.host)", value, fold=True) for value in condition.values]
        case "path-pattern":
            return [_test("var(txn.path)", value) for value in condition.values]
        case "http-header":
            fetch = f"req.fhdr({header_argument(condition.name)})"
            return [_test(fetch, value, fold=True) for value in condition.values]
        case "http-request-method":
            return [f"method -m str -- {word(value)}" for value in condition.values]
        case "source-ip":
            return [f"src {ipaddress.ip_network(value, strict=False)}" for value in condition.values]
        case "query-string":
            return [_query(key, value) for key, value in condition.pairs]


def _test(fetch: str, value: str, *, fold: bool = False) -> str:
    method, what = pattern(value)
    return f"{fetch} -m {method}{' -i' if fold else ''} -- {what}"


def _query(key: str, value: str) -> str:
    """A pair stands between two `&`, its key ends at the first `=`; without a key, any key has the value. Letters' case does not matter."""
    name = regex(key, "[^&=]*", "[^&=]") if key else "[^&=]*"
    pair = f"(^|&){name}={regex(value, '[^&]*', '[^&]')}(&|$)"
    return f"query -m reg -i -- {word(pair)}"
