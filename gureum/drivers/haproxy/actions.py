"""What a rule of a listener does, as HAProxy's lines, maps and backends. Pure; which rule holds is haproxy/rules.py's business.

    80.actions   20 → tg-…, 30 → fixed-response:80:30     the backend that does what a rule wishes
    80.bodies    30 → base64                              what is answered, where it has no control characters (else a file)
    80.weights   40:tg-a → 734003, 40:tg-b → 1048576      up to which number the dice of a rule of several groups choose this one

Answers that need no target are given by backends of their own: no request looks at the answers of others, and the log tells by the backend what
was done, also in a worker that still has the rules of before.
"""

from __future__ import annotations

import base64
import hashlib

import msgspec

from gureum.drivers.haproxy.cookies import group_cookies_in
from gureum.drivers.haproxy.headers import OWN_HEADERS, body_first, page_arguments
from gureum.drivers.haproxy.rules import HOST_SENT
from gureum.drivers.haproxy.text import group_name, log_format, word
from gureum.ports.proxies import FixedResponse, Forward, Listener, Redirect, Rule

_DICE = 1 << 20
NOWHERE = "none"
"""The backend of a rule whose groups all have weight 0."""


class Actions(msgspec.Struct, frozen=True):
    """`lines`: the frontend's, after the decision. `uses`: its last ones. `files`: maps and bodies. `backends`: lines by name."""

    lines: list[str]
    uses: list[str]
    files: dict[str, str]
    backends: dict[str, list[str]]


def act(listener: Listener) -> Actions:
    lines: list[str] = []
    files: dict[str, str] = {}
    backends: dict[str, list[str]] = {}
    bodies = ""
    for rule in listener.rules:
        if isinstance(rule.action, Forward):
            if _is_weighted(rule.action):
                lines += _chosen(listener, rule)
                name = weights_map(listener.port)
                files[name] = files.get(name, "") + _weights(rule.priority, rule.action)
            continue
        backends[backend(listener, rule)] = _answer(listener, rule, rule.action)
        if isinstance(rule.action, FixedResponse) and _has_body(rule.action):
            if _is_plain(rule.action.body):
                bodies += f"{rule.priority} {base64.b64encode(rule.action.body.encode()).decode()}\n"
            else:
                files[fixed_body_name(rule.action)] = rule.action.body
    if bodies:
        files[bodies_map(listener.port)] = bodies
    uses = ["use_backend %[var(txn.group)] if { var(txn.group) -m found }"] if lines else []
    if sticky(listener):
        lines = [*group_cookies_in(), *lines]
    if len(listener.rules) > 1:
        files[actions_map(listener.port)] = "".join(
            f"{rule.priority} {backend(listener, rule)}\n" for rule in listener.rules[:-1]
        )
        uses.append(
            f"use_backend %[var(txn.rule),map_str({actions_map(listener.port)})] if {{ var(txn.rule) -m found }}"
        )
    return Actions(lines, [*uses, f"default_backend {backend(listener, listener.rules[-1])}"], files, backends)


def backend(listener: Listener, rule: Rule) -> str:
    """Where a rule's requests go; of weighted groups, where they go when no group is chosen."""
    if isinstance(rule.action, Forward):
        return NOWHERE if _is_weighted(rule.action) else group_name(rule.action.groups[0][0])
    kind = "redirect" if isinstance(rule.action, Redirect) else "fixed-response"
    return f"{kind}:{listener.port}:{rule.priority}"


def actions_map(port: int) -> str:
    return f"{port}.actions"


def bodies_map(port: int) -> str:
    return f"{port}.bodies"


def weights_map(port: int) -> str:
    return f"{port}.weights"


def _has_body(action: FixedResponse) -> bool:
    """204 has none whatever is wished (RFC 9110, 15.3.5); HAProxy would take no configuration with one."""
    return bool(action.body) and action.status != 204


def _is_plain(body: str) -> bool:
    """HAProxy writes %0A for a newline that comes from a map."""
    return all(" " <= character != "\x7f" for character in body)


def fixed_body_name(action: FixedResponse) -> str:
    """The file that holds the answer's body."""
    return f"body-{hashlib.sha256(action.body.encode()).hexdigest()[:24]}"


def sticky(listener: Listener) -> bool:
    """Whether some rule's cookie keeps clients at their group."""
    return any(isinstance(rule.action, Forward) and rule.action.stickiness_s for rule in listener.rules)


def _is_weighted(action: Forward) -> bool:
    return len(action.groups) != 1 or action.groups[0][1] == 0 or action.stickiness_s > 0


def _chosen(listener: Listener, rule: Rule) -> list[str]:
    """AWS: weights 0-999; the cookie AWSALBTG keeps a client at its group whatever its weight becomes, one of weight 0 takes nobody new. The lines
    know the groups alone, so that weights change in the running worker."""
    action = rule.action
    assert isinstance(action, Forward)
    default = rule is listener.rules[-1]
    matched = "!{ var(txn.rule) -m found }" if default else f"{{ var(txn.rule) -m int {rule.priority} }}"
    ends = [
        (name, f"str({rule.priority}:{name}),map_str_int({weights_map(listener.port)},0)")
        for name in dict.fromkeys(group_name(name) for name, _ in action.groups)
    ]
    lines = []
    if action.stickiness_s:
        lines += [f"http-request set-var(txn.tg_for) int({action.stickiness_s}) if {matched}"]
        for name, _ in ends:
            known = f"{{ var(txn.tg_group) -m str {name} }}"
            lines.append(f"http-request set-var(txn.group) str({name}) if {matched} {known}")
    lines.append(f"http-request set-var(txn.dice) rand({_DICE}) if {matched}")
    choose = f"if !{{ var(txn.group) -m found }} {matched}"
    lines += [
        f"http-request set-var(txn.group) str({name}) {choose} {{ {end},sub(txn.dice) gt 0 }}" for name, end in ends
    ]
    # A request that is served while the map is exchanged may have looked at the one and the other, and found itself in neither's share.
    return lines + [f"http-request set-var(txn.group) str({name}) {choose} {{ {end} gt 0 }}" for name, end in ends]


def _weights(priority: int, action: Forward) -> str:
    """Where the share of each group ends that has one."""
    weights: dict[str, int] = {}
    for name, weight in action.groups:
        weights[group_name(name)] = weights.get(group_name(name), 0) + weight
    total, below, lines = sum(weights.values()), 0, ""
    for name, weight in weights.items():
        below += weight
        lines += f"{priority}:{name} {below * _DICE // total}\n" if weight else ""
    return lines


def _answer(listener: Listener, rule: Rule, action: Redirect | FixedResponse) -> list[str]:
    waiting = body_first() if listener.protocol == "HTTPS" else []
    if isinstance(action, Redirect):
        return waiting + _redirect(listener, action)
    body = ""
    if _has_body(action):
        found = f"lf-string %[str({rule.priority}),map_str({bodies_map(listener.port)}),b64dec]"
        text = found if _is_plain(action.body) else f"file {fixed_body_name(action)}"
        body = f" content-type {word(action.content_type or 'text/plain')} {text}"
    return [*waiting, f"http-request return status {action.status}{body} {OWN_HEADERS}"]


def _redirect(listener: Listener, action: Redirect) -> list[str]:
    scheme = action.protocol.lower().replace("#{protocol}", "https" if listener.protocol == "HTTPS" else "http")
    place = f"{_filled(action.host, listener)}:{_filled(action.port, listener)}{_filled(action.path, listener)}"
    if action.query == "#{query}":
        query = "%[var(txn.query)]"  # with its question mark, or nothing
    else:
        query = log_format("?") + _filled(action.query, listener) if action.query else ""
    return [
        f"http-request set-var(txn.host) {HOST_SENT}",
        "http-request set-var-fmt(txn.query) ?%[query] if { query -m len gt 0 }",
        f"http-request set-var-fmt(txn.location) {log_format(scheme + '://')}{place}{query}",
        f"http-request return {page_arguments(action.status)} hdr location %[var(txn.location)]",
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
