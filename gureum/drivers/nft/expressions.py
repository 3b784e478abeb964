"""The words of which the rules of a network's table are made (libnftables-json(5)), as pure values."""

from __future__ import annotations

from typing import Any

import msgspec

Json = dict[str, Any]
Line = tuple[Json, ...]

ACCEPT: Json = {"accept": None}
RETURN: Json = {"return": None}
DENY: Json = {"goto": {"target": "denied"}}
DENY_SENDER: Json = {"goto": {"target": "denied-out"}}
"""As DENY, where it is the sender's own rules that refuse."""
DENY_BY_ACL: Json = {"goto": {"target": "acl-denied"}}
DENY_SENDER_BY_ACL: Json = {"goto": {"target": "acl-denied-out"}}
"""As those two, and no refusal by a balancer's groups."""
DENY_ENTERING: Json = {"goto": {"target": "acl-denied-entering"}}
DENY_LEAVING: Json = {"goto": {"target": "acl-denied-leaving"}}
"""As DENY_BY_ACL, where a balancer's subnet is passed: neither the packet's sender nor its receiver is there."""

_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}


class Chain(msgspec.Struct, frozen=True):
    """`base`: its hook, for chains that the kernel calls ({} for others). `lines`: rules, each a tuple of
    expressions."""

    lines: tuple[Line, ...] = ()
    base: Json = {}


class Elements(msgspec.Struct, frozen=True):
    """A set (`value` "") or a map. `entries`: key (text or number) -> value; of a set the values are None. `room`: for so many; where that is
    known, and the key has four bytes, the kernel finds what it looks for in half the time (nft_set_hash). 0: as many as come."""

    key: str
    value: str
    entries: dict[Any, Any]
    room: int = 0


_ROOMS = (64, 512, 4096, 32_768)


def with_room(one: Elements, room: int = 0) -> Elements:
    """The same with room for all that is in it, and at least `room`. A few sizes only: a set that outgrows its own makes the whole table anew."""
    enough = next((size for size in _ROOMS if size >= max(len(one.entries), room)), 0)
    return msgspec.structs.replace(one, room=enough)


def prefix(cidr: str) -> Json | str:
    address, _, length = cidr.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}} if length not in ("", "32") else address


def match(left: Json, right: object, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def meta(key: str) -> Json:
    return {"meta": {"key": key}}


def lookup(key: Json, name: str) -> Json:
    return {"map": {"key": key, "data": f"@{name}"}}


def by_verdict(key: str, name: str) -> Json:
    return {"vmap": {"key": meta(key), "data": f"@{name}"}}


def goto(target: str) -> Line:
    return ({"goto": {"target": target}},)


def jump(target: str) -> Line:
    return ({"jump": {"target": target}},)


def hook(kind: str, hook: str, priority: int, policy: str) -> Json:
    return {"type": kind, "hook": hook, "prio": priority, "policy": policy}


def service(protocol: str, ports: tuple[int, int] | None, key: Json | None = None) -> list[Json]:
    """Matches the protocol and ports (icmp: type and code, -1 for any) that a rule or an entry of an ACL names. `key`: where the destination port
    stands, if not in the packet."""
    if protocol == "all":
        return []
    if protocol == "icmp" and ports is not None:
        kind, code = ports
        found = [match(payload("icmp", "type"), kind)] if kind >= 0 else [match(meta("l4proto"), "icmp")]
        return found + ([match(payload("icmp", "code"), code)] if code >= 0 and kind >= 0 else [])
    if protocol in ("tcp", "udp") and ports is not None:
        low, high = ports
        wanted = low if low == high else {"range": [low, high]}
        if key is None:
            return [match(payload(protocol, "dport"), wanted)]
        return [match(meta("l4proto"), _NUMBERS[protocol]), match(key, wanted)]
    return [match(meta("l4proto"), protocol if protocol in _NUMBERS else int(protocol))]
