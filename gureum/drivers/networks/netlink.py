"""rtnetlink: links, addresses, routes, rules and neighbours, as pure messages and one small socket.

Messages are built by pure functions and sent many at a time: the kernel works them off in order and answers each, so an
interface costs a handful of system calls. A socket acts in the namespace that it was opened in, from whatever thread
it is used (RFC 3549; linux/rtnetlink.h). Nothing here knows gureum. Why not pyroute2: docs/decisions/0005.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Self

import msgspec

LOOPBACK = 1
MAIN_TABLE, LOCAL_TABLE = 254, 255

OURS = 0x67  # marks our routes and rules among others ("proto 103" in `ip route`)
KERNEL = 2
BOOT = 3  # what `ip route add` writes, and `ip route` does not show

UNICAST = 1
LOCAL = 2
BLACKHOLE = 6
UNREACHABLE = 7
THROW = 9

_NLM_REQUEST, _NLM_ACK, _NLM_DUMP = 0x1, 0x4, 0x300
_NLM_CREATE, _NLM_EXCL, _NLM_REPLACE = 0x400, 0x200, 0x100
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOL_NETLINK, _EXT_ACK, _CAP_ACK, _STRICT_CHECK = 270, 11, 10, 12
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, since Linux 5.14

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH = 28
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_SETNEIGHTBL = 67

_IFF_UP = 1
_OPER_UP = 6
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_ONLINK = 4
_PERMANENT = 0x80

# Kernel answers are queued per message; this many fit the default receive buffer of any kernel.
_BATCH = 64
_RECEIVE_BYTES = 1 << 17
_READY_S = 0.25

_header = struct.Struct("=IHHII")
_attribute = struct.Struct("=HH")
_ifinfo = struct.Struct("=BxHiII")
_ifaddr = struct.Struct("=BBBBI")
_rtmsg = struct.Struct("=BBBBBBBBI")
_ndmsg = struct.Struct("=BxxxiHBB")
_u32 = struct.Struct("=I")
_i32 = struct.Struct("=i")
_stats64 = struct.Struct("=QQQQ")


class NetlinkError(OSError):
    """The kernel refused one message; the text is the kernel's own where it gives one."""


class Message(msgspec.Struct, frozen=True):
    """One request. `fine`: error numbers that mean "already so"."""

    kind: int
    flags: int
    body: bytes
    fine: tuple[int, ...] = ()


class Link(msgspec.Struct, frozen=True):
    """`peer_index`: the other end's index in its namespace (veth), 0 when there is none. `ready`: it carries packets."""

    index: int
    name: str
    alias: str
    peer_index: int
    mac: str
    ready: bool


class LinkCounters(msgspec.Struct, frozen=True):
    """linux/if_link.h: struct rtnl_link_stats64."""

    alias: str
    received_packets: int
    sent_packets: int
    received_bytes: int
    sent_bytes: int


class Route(msgspec.Struct, frozen=True):
    """One IPv4 route. `destination`: "10.0.0.0/16". `kind`: UNICAST, LOCAL, BLACKHOLE, UNREACHABLE or THROW. `link`: index,
    0 for none. `onlink`: the gateway need not be in a subnet of the link. `protocol`: who made it (rtnetlink(7));
    ours is in `OURS`."""

    destination: str
    table: int = MAIN_TABLE
    kind: int = UNICAST
    link: int = 0
    gateway: str = ""
    metric: int = 0
    source: str = ""
    onlink: bool = False
    protocol: int = OURS


class Rule(msgspec.Struct, frozen=True):
    """One policy rule: packets from `source` (CIDR, "" any), from link `incoming`, or with all bits of `mark`, look at `table`. `mask`: the bits
    that must be as in `mark`, 0 for those of `mark`."""

    priority: int
    table: int
    source: str = ""
    incoming: str = ""
    mark: int = 0
    mask: int = 0
    protocol: int = OURS


# --- messages -------------------------------------------------------------------------------------------------------


def add_veth(
    name: str,
    mac: str,
    peer_name: str,
    peer_mac: str,
    peer_namespace: int,
    mtu: int,
    peer_up: bool = False,
    group: int = 0,
) -> Message:
    """A pair whose second end is born in `peer_namespace` (a descriptor). `group`: a number that the first end has for rules to know it by."""
    # One queue: a queue per CPU is the kernel's default and costs memory and time for each interface.
    common = _attr(4, _u32.pack(mtu)) + _attr(31, _u32.pack(1)) + _attr(32, _u32.pack(1))
    peer = (
        _ifinfo.pack(0, 0, 0, _IFF_UP if peer_up else 0, _IFF_UP if peer_up else 0)
        + _attr(3, _text(peer_name))
        + _attr(1, _mac(peer_mac))
        + _attr(28, _u32.pack(peer_namespace))
        + common
    )
    info = _attr(1, _text("veth")) + _attr(2, _attr(1, peer))
    known_by = _attr(3, _text(name)) + _attr(1, _mac(mac)) + _attr(27, _u32.pack(group))
    body = _ifinfo.pack(0, 0, 0, 0, 0) + known_by + common + _attr(18, info)
    return Message(_NEWLINK, _NLM_CREATE | _NLM_EXCL, body)


def set_up(index: int) -> Message:
    return Message(_SETLINK, 0, _ifinfo.pack(0, 0, index, _IFF_UP, _IFF_UP))


def set_alias(index: int, alias: str) -> Message:
    return Message(_SETLINK, 0, _ifinfo.pack(0, 0, index, 0, 0) + _attr(20, alias.encode()))


def delete_link(index: int) -> Message:
    return Message(_DELLINK, 0, _ifinfo.pack(0, 0, index, 0, 0), (errno.ENODEV,))


def add_address(link: int, address: str, prefix_length: int, *, only_link: bool = False) -> Message:
    scope = _SCOPE_LINK if only_link else _SCOPE_UNIVERSE
    packed = socket.inet_aton(address)
    body = _ifaddr.pack(socket.AF_INET, prefix_length, 0, scope, link) + _attr(2, packed) + _attr(1, packed)
    return Message(_NEWADDR, _NLM_CREATE | _NLM_REPLACE, body, (errno.EEXIST,))


def delete_address(link: int, address: str, prefix_length: int) -> Message:
    packed = socket.inet_aton(address)
    body = _ifaddr.pack(socket.AF_INET, prefix_length, 0, 0, link) + _attr(2, packed) + _attr(1, packed)
    return Message(_DELADDR, 0, body, (errno.EADDRNOTAVAIL, errno.ENODEV))


def add_route(route: Route) -> Message:
    """Adds the route, or replaces the one with its destination, table and metric."""
    return Message(_NEWROUTE, _NLM_CREATE | _NLM_REPLACE, _route_body(route))


def delete_route(route: Route) -> Message:
    return Message(_DELROUTE, 0, _route_body(route), (errno.ESRCH, errno.ENODEV))


def _route_body(route: Route) -> bytes:
    address, _, length = route.destination.partition("/")
    scope = _SCOPE_LINK if route.link and not route.gateway else _SCOPE_UNIVERSE
    scope = _SCOPE_HOST if route.kind == LOCAL else scope
    flags = _ONLINK if route.onlink else 0
    body = _rtmsg.pack(socket.AF_INET, int(length), 0, 0, 0, route.protocol, scope, route.kind, flags)
    body += _attr(15, _u32.pack(route.table))
    if int(length):
        body += _attr(1, socket.inet_aton(address))
    if route.link:
        body += _attr(4, _u32.pack(route.link))
    if route.gateway:
        body += _attr(5, socket.inet_aton(route.gateway))
    if route.metric:
        body += _attr(6, _u32.pack(route.metric))
    if route.source:
        body += _attr(7, socket.inet_aton(route.source))
    return body


def add_rule(rule: Rule) -> Message:
    return Message(_NEWRULE, _NLM_CREATE | _NLM_EXCL, _rule_body(rule), (errno.EEXIST,))


def delete_rule(rule: Rule) -> Message:
    return Message(_DELRULE, 0, _rule_body(rule), (errno.ENOENT,))


def _rule_body(rule: Rule) -> bytes:
    address, _, length = rule.source.partition("/")
    body = _rtmsg.pack(socket.AF_INET, 0, int(length or 0), 0, 0, 0, 0, 1, 0)
    body += _attr(6, _u32.pack(rule.priority)) + _attr(15, _u32.pack(rule.table)) + _attr(21, bytes([rule.protocol]))
    if rule.source:
        body += _attr(2, socket.inet_aton(address))
    if rule.incoming:
        body += _attr(3, _text(rule.incoming))
    if rule.mark:
        body += _attr(10, _u32.pack(rule.mark)) + _attr(16, _u32.pack(rule.mask or rule.mark))
    return body


def add_neighbour(link: int, address: str, mac: str) -> Message:
    """A permanent one: no ARP is sent for `address` on that link, and none can change it."""
    body = (
        _ndmsg.pack(socket.AF_INET, link, _PERMANENT, 0, 1) + _attr(1, socket.inet_aton(address)) + _attr(2, _mac(mac))
    )
    return Message(_NEWNEIGH, _NLM_CREATE | _NLM_REPLACE, body)


def answer_arp_at_once(link: int) -> Message:
    """proxy_delay=0 for one link (the default waits up to 0.8 s before a proxied ARP answer)."""
    parameters = _attr(1, _u32.pack(link)) + _attr(13, struct.pack("=Q", 0))
    return Message(
        _SETNEIGHTBL, 0, struct.pack("=Bxxx", socket.AF_INET) + _attr(1, _text("arp_cache")) + _attr(6, parameters)
    )


def _attr(kind: int, value: bytes) -> bytes:
    return _attribute.pack(len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


_NO_STATISTICS = _attr(29, _u32.pack(1 << 3))


# --- the socket -----------------------------------------------------------------------------------------------------


class Netlink:
    """A socket into the network namespace that the calling thread is in. A context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        for option in (_EXT_ACK, _CAP_ACK, _STRICT_CHECK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.settimeout(10.0)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def namespace(self) -> int:
        """The cookie of the socket's network namespace, which no other one ever gets (its inode may come again at once)."""
        return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)

    def send(self, messages: Iterable[Message]) -> None:
        """Sends all, in order. Raises NetlinkError with the first refusal; what came after it was tried as well."""
        queue = list(messages)
        for start in range(0, len(queue), _BATCH):
            self._send_batch(queue[start : start + _BATCH])

    def _send_batch(self, messages: list[Message]) -> None:
        first = self._sequence + 1
        parts = []
        for message in messages:
            self._sequence += 1
            flags = message.flags | _NLM_REQUEST | _NLM_ACK
            parts.append(_header.pack(16 + len(message.body), message.kind, flags, self._sequence, 0) + message.body)
        self._socket.send(b"".join(parts))
        waiting, refusal = len(messages), None
        while waiting:
            for kind, flags, sequence, body in self._receive():
                if kind != _NLMSG_ERROR or sequence < first:
                    continue
                waiting -= 1
                number = -_i32.unpack_from(body)[0]
                if number and refusal is None and number not in messages[sequence - first].fine:
                    refusal = _refused(number, flags, body)
        if refusal is not None:
            raise refusal

    def _dump(self, kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        self._sequence += 1
        flags = _NLM_REQUEST | _NLM_DUMP
        self._socket.send(_header.pack(16 + len(body), kind, flags, self._sequence, 0) + body)
        while True:
            for got, got_flags, sequence, answer in self._receive():
                if sequence != self._sequence:
                    continue
                if got == _NLMSG_DONE:
                    return
                if got == _NLMSG_ERROR:
                    raise _refused(-_i32.unpack_from(answer)[0], got_flags, answer)
                yield got, answer

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(_RECEIVE_BYTES)
        position = 0
        while position < len(data):
            length, kind, flags, sequence, _ = _header.unpack_from(data, position)
            yield kind, flags, sequence, data[position + 16 : position + length]
            position += (length + 3) & ~3

    def link(self, name: str) -> Link | None:
        """The link of that name, None where there is none."""
        return self._one_link(_ifinfo.pack(0, 0, 0, 0, 0) + _attr(3, _text(name)))

    def link_at(self, index: int) -> Link | None:
        """The link of that index, None where there is none."""
        return self._one_link(_ifinfo.pack(0, 0, index, 0, 0))

    def _one_link(self, which: bytes) -> Link | None:
        self._sequence += 1
        body = which + _NO_STATISTICS
        self._socket.send(_header.pack(16 + len(body), _GETLINK, _NLM_REQUEST, self._sequence, 0) + body)
        for kind, flags, _, answer in self._receive():
            if kind == _NEWLINK:
                return _parsed_link(answer)
            number = -_i32.unpack_from(answer)[0]
            if number != errno.ENODEV:
                raise _refused(number, flags, answer)
        return None

    def wait_ready(self, name: str) -> None:
        """Waits until a link whose two ends are up carries packets: the kernel activates the end that came up first a little later,
        and what is sent before is lost (a connection would start a second late). Asking for it hurries a newer kernel. It is no
        error when it does not come (who owns the other end may have taken it down)."""
        deadline = time.monotonic() + _READY_S
        while (link := self.link(name)) is not None and not link.ready and time.monotonic() < deadline:
            time.sleep(0.001)

    def links(self) -> list[Link]:
        return list(self.each_link())

    def each_link(self) -> Iterator[Link]:
        """All links. Who does not take all of them does nothing else with this socket."""
        for _, body in self._dump(_GETLINK, _ifinfo.pack(0, 0, 0, 0, 0) + _NO_STATISTICS):
            yield _parsed_link(body)

    def counters(self) -> list[LinkCounters]:
        """What all links have received and sent."""
        return [_parsed_counters(body) for _, body in self._dump(_GETLINK, _ifinfo.pack(0, 0, 0, 0, 0))]

    def addresses(self, link: int) -> list[tuple[str, int]]:
        """IPv4 addresses of a link with their prefix lengths."""
        found = []
        for _, body in self._dump(_GETADDR, _ifaddr.pack(socket.AF_INET, 0, 0, 0, link)):
            _, length, _, _, index = _ifaddr.unpack_from(body)
            if index == link:
                found.append((socket.inet_ntoa(dict(_attributes(body, 8))[2]), length))
        return found

    def routes(self) -> list[Route]:
        """The IPv4 routes that were made by this module, in all tables."""
        request = _rtmsg.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        return [route for _, body in self._dump(_GETROUTE, request) if (route := _parsed_route(body)) is not None]

    def rules(self) -> list[Rule]:
        """The policy rules that were made by this module."""
        request = _rtmsg.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        return [rule for _, body in self._dump(_GETRULE, request) if (rule := _parsed_rule(body)) is not None]


def _refused(number: int, flags: int, body: bytes) -> NetlinkError:
    text = os.strerror(number)
    if flags & 0x200:  # NLM_F_ACK_TLVS: the kernel's own words follow the echoed header
        for kind, value in _attributes(body, 20):
            if kind == 1:
                text += f" ({value.rstrip(bytes(1)).decode(errors='replace')})"
    return NetlinkError(number, f"the kernel refused a network change: {text}")


def _attributes(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    while start + 4 <= len(body):
        length, kind = _attribute.unpack_from(body, start)
        if length < 4:
            return
        yield kind & 0x3FFF, body[start + 4 : start + length]
        start += (length + 3) & ~3


def _parsed_link(body: bytes) -> Link:
    attributes = dict(_attributes(body, 16))
    peer = attributes.get(5, b"\0\0\0\0")
    return Link(
        index=_ifinfo.unpack_from(body)[2],
        # In a guest's network the guest chose them: any bytes.
        name=attributes[3].rstrip(b"\0").decode(errors="replace"),
        alias=attributes.get(20, b"").rstrip(b"\0").decode(errors="replace"),
        peer_index=_u32.unpack(peer)[0],
        mac=attributes.get(1, b"").hex(":"),
        ready=attributes.get(16, b"\0")[0] == _OPER_UP,
    )


def _parsed_counters(body: bytes) -> LinkCounters:
    attributes = dict(_attributes(body, 16))
    alias = attributes.get(20, b"").rstrip(b"\0").decode(errors="replace")
    return LinkCounters(alias, *_stats64.unpack_from(attributes[23]))


def _parsed_route(body: bytes) -> Route | None:
    _, length, _, _, table, protocol, _, kind, flags = _rtmsg.unpack_from(body)
    if protocol != OURS:
        return None
    attributes = dict(_attributes(body, 12))
    return Route(
        destination=f"{socket.inet_ntoa(attributes.get(1, bytes(4)))}/{length}",
        table=_number(attributes, 15) or table,
        kind=kind,
        link=_number(attributes, 4),
        gateway=_address(attributes, 5),
        metric=_number(attributes, 6),
        source=_address(attributes, 7),
        onlink=bool(flags & _ONLINK),
    )


def _parsed_rule(body: bytes) -> Rule | None:
    _, _, length, _, table, _, _, _, _ = _rtmsg.unpack_from(body)
    attributes = dict(_attributes(body, 12))
    if attributes.get(21, b"\0")[0] != OURS:
        return None
    mark, mask = _number(attributes, 10), _number(attributes, 16)
    return Rule(
        priority=_number(attributes, 6),
        table=_number(attributes, 15) or table,
        source=f"{_address(attributes, 2)}/{length}" if 2 in attributes else "",
        incoming=attributes.get(3, b"").rstrip(b"\0").decode(),
        mark=mark,
        mask=mask if mask != mark else 0,
    )


def _number(attributes: dict[int, bytes], kind: int) -> int:
    value: int = _u32.unpack(attributes[kind])[0] if kind in attributes else 0
    return value


def _address(attributes: dict[int, bytes], kind: int) -> str:
    return socket.inet_ntoa(attributes[kind]) if kind in attributes else ""
