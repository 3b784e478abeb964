"""Rules of a listener as HAProxy's lines. Pure.

The first rule that matches is noted in `txn.rule` ("10/forward/tg-…"), and the lines of later rules look at nothing else then: a hundred
rules cost little more than those before the match. Conditions become named ACLs; lines of one name are OR-ed, names in a line AND-ed.

AWS: elbv2 rules (Application Load Balancers guide, "Listener rules").
"""

from __future__ import annotations

import hashlib
import ipaddress

from gureum.drivers.haproxy_headers import body_first
from gureum.drivers.haproxy_text import (
    group_name,
    header_name,
    log_format,
    pattern,
    regex,
    word,
)
from gureum.ports.proxies import Condition, FixedResponse, Forward, Listener, Redirect, Rule

NOT_DECIDED = "!{ var(txn.rule) -m found }"
COOKIE_DAYS = 7
"""AWS: the cookies expire after seven days, whatever the stickiness's duration."""


def rule_lines(listener: Listener) -> list[str]:
    """The decision and the actions that need no target."""
    return [line for place, rule in enumerate(listener.rules) for line in _rule(listener, rule, place)]


def fixed_body_name(action: FixedResponse) -> str:
    """The file that holds the answer's body."""
    return f"body-{hashlib.sha256(action.body.encode()).hexdigest()[:24]}"


def _rule(listener: Listener, rule: Rule, place: int) -> list[str]:
    lines, names = [], []
    for number, condition in enumerate(rule.conditions):
        names.append(f"r{place}c{number}")
        lines += [f"acl {names[-1]} {test}" for test in condition_tests(condition)]
    kind, target = _target(rule.action)
    decided = f"{rule.priority}/{kind}/{target}"
    lines.append(f"http-request set-var(txn.rule) str({decided}) if {' '.join([NOT_DECIDED, *names])}")
    return lines + _action(listener, rule.action, f"{{ var(txn.rule) -m str {decided} }}")


def _target(action: Forward | Redirect | FixedResponse) -> tuple[str, str]:
    if isinstance(action, Forward):
        only = len(action.groups) == 1 and action.groups[0][1] > 0
        return "forward", group_name(action.groups[0][0]) if only else ""
    return ("redirect" if isinstance(action, Redirect) else "fixed-response"), ""


def _action(listener: Listener, action: Forward | Redirect | FixedResponse, matched: str) -> list[str]:
    if isinstance(action, Forward):
        return _weighted(action, matched) if not _target(action)[1] or action.stickiness_s else []
    if isinstance(action, Redirect):
        return _redirect(listener, action, matched)
    kind = f" content-type {word(action.content_type or 'text/plain')}"
    body = f"{kind} file {fixed_body_name(action)}" if action.body else ""
    return [body_first(matched), f"http-request return status {action.status}{body} if {matched}"]


def _weighted(action: Forward, matched: str) -> list[str]:
    """AWS: weights 0-999; the cookie AWSALBTG keeps a client at its group. A group of weight 0 takes nobody new."""
    total = sum(weight for _, weight in action.groups)
    lines = []
    if action.stickiness_s:
        lines += [f"http-request set-var(txn.tg_for) int({action.stickiness_s}) if {matched}"]
        for name, weight in action.groups:
            if weight:
                known = (
                    f"{{ var(txn.tg_cookie),field(2,/) -m str {group_name(name)} }} {{ date,sub(txn.tg_until) lt 0 }}"
                )
                lines.append(f"http-request set-var(txn.group) str({name}) if {matched} {known}")
    if total:
        lines.append(f"http-request set-var(txn.dice) rand({total}) if {matched}")
    below = 0
    for name, weight in action.groups:
        below += weight
        if weight:
            chosen = f"!{{ var(txn.group) -m found }} {{ var(txn.dice) -m int lt {below} }}"
            lines.append(f"http-request set-var(txn.group) str({group_name(name)}) if {matched} {chosen}")
    return lines


def _redirect(listener: Listener, action: Redirect, matched: str) -> list[str]:
    scheme = action.protocol.lower().replace("#{protocol}", "https" if listener.protocol == "HTTPS" else "http")
    place = f"{_filled(action.host, listener)}:{_filled(action.port, listener)}{_filled(action.path, listener)}"
    if action.query == "#{query}":
        query = "%[var(txn.query)]"  # with its question mark, or nothing
    else:
        query = log_format("?") + _filled(action.query, listener) if action.query else ""
    answer = f"http-request return status {action.status} content-type text/html file {action.status}.html"
    return [
        f"http-request set-var-fmt(txn.location) {log_format(scheme + '://')}{place}{query} if {matched}",
        body_first(matched),
        f"{answer} hdr location %[var(txn.location)] if {matched}",
    ]


def _filled(template: str, listener: Listener) -> str:
    """The template as a log format. What the client sent is put in by HAProxy and read by nobody again."""
    parts = {
        "#{protocol}": "https" if listener.protocol == "HTTPS" else "http",
        "#{host}": "%[var(txn.host)]",
        "#{port}": str(listener.port),
        "#{path}": "%[path,bytes(1)]",
        "#{query}": "%[query]",
    }
    text, rendered = template, ""
    while text:
        key = next((key for key in parts if text.startswith(key)), None)
        if key:
            rendered, text = rendered + parts[key], text[len(key) :]
        else:
            rendered, text = rendered + log_format(text[0]), text[1:]
    return rendered


def condition_tests(condition: Condition) -> list[str]:
    """What stands after the ACL's name, a line per value (they are OR-ed)."""
    match condition.field:
        case "host-header":
            return [_test("var(txn.host)", value, fold=True) for value in condition.values]
        case "path-pattern":
            return [_test("path", value) for value in condition.values]
        case "http-header":
            fetch = f"req.fhdr({header_name(condition.name)})"
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
    """A pair stands between two `&`; without a key, any key has the value. Letters' case does not matter."""
    name = regex(key, "[^&]*", "[^&]") if key else "[^&=]*"
    pair = f"(^|&){name}={regex(value, '[^&]*', '[^&]')}(&|$)"
    return f"query -m reg -i -- {word(pair)}"
