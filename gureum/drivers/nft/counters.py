"""What the kernel has counted in the present network namespace: all named counters of a network's table in one dump, and how many flows of each
listener are open. Written straight to the kernel (linux/netfilter/nf_tables.h, nfnetlink_conntrack.h): libnftables' lists may abort."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from gureum.drivers.flows import messages as flow_messages
from gureum.drivers.flows.messages import CT_GET, DONE, DUMP, ERROR, HEADER, REQUEST, error_number
from gureum.drivers.networks.network_names import BALANCED_MARK, NFT_TABLE, UPLINK_MARK

_NETLINK_NETFILTER = 12
INET, IPV4 = 1, 2
"""Families of tables."""
_GET_OBJECT = 10 << 8 | 19
_COUNTER = 1
_INTERRUPTED = 0x10
_PROTOINFO, _MARK, _MARK_MASK = 4, 8, 21
_OPEN_STATES = (1, 2, 3, 9)  # SYN_SENT, SYN_RECV, ESTABLISHED, SYN_SENT2; AWS counts those
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE_BYTES = 1 << 18
_ATTEMPTS = 3


def counters(family: int = INET) -> dict[str, tuple[int, int]]:
    """Name -> (packets, bytes); nothing where there is no table."""
    table = NFT_TABLE.encode() + b"\0"
    body = struct.pack("!BBH", family, 0, 0) + _attribute(1, table) + _attribute(3, struct.pack("!I", _COUNTER))
    found: dict[str, tuple[int, int]] = {}
    for answer in _dump(_GET_OBJECT, body):
        attributes = dict(_attributes(answer))
        numbers = dict(_attributes(attributes[4]))
        packets, size = (int.from_bytes(numbers[kind], "big") for kind in (2, 1))
        found[attributes[2].rstrip(b"\0").decode()] = (packets, size)
    return found


def open_flows() -> dict[int, int]:
    """Number of a listener (its mark) -> how many flows it has. TCP's that are closing are not counted."""
    mark = struct.pack("!I", BALANCED_MARK)
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + _attribute(_MARK, mark) + _attribute(_MARK_MASK, mark)
    found: dict[int, int] = {}
    for answer in _dump(CT_GET, body):
        number, state = 0, 0
        for kind, value in _attributes(answer):
            if kind == _MARK:
                number = int.from_bytes(value, "big") & ~UPLINK_MARK
            elif kind == _PROTOINFO and len(value) > 8:
                state = value[8]
        if not state or state in _OPEN_STATES:
            found[number] = found.get(number, 0) + 1
    return found


def marked_flows(mark: int) -> int:
    """How many flows bear exactly this mark."""
    wanted = struct.pack("!I", mark)
    whole = struct.pack("!I", 0xFFFF_FFFF)
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + _attribute(_MARK, wanted) + _attribute(_MARK_MASK, whole)
    return len(_dump(CT_GET, body))


def _dump(kind: int, body: bytes) -> list[bytes]:
    """What the kernel answers, once more where something changed meanwhile; at last as it is."""
    for _ in range(_ATTEMPTS):
        found, whole = _dumped(kind, body)
        if whole:
            break
    return found


def _dumped(kind: int, body: bytes) -> tuple[list[bytes], bool]:
    found: list[bytes] = []
    whole = True
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(10.0)
        kernel.send(HEADER.pack(HEADER.size + len(body), kind, REQUEST | DUMP, 1, 0) + body)
        while True:
            data = kernel.recv(_RECEIVE_BYTES)
            whole = whole and not HEADER.unpack_from(data)[2] & _INTERRUPTED
            for got, answer in flow_messages.messages(data):
                if got == DONE:
                    return found, whole
                if got == ERROR:
                    number = error_number(answer)
                    raise OSError(number, f"reading counters: {os.strerror(number)}")
                found.append(answer)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    place, end = 0, len(data)
    while place + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        if length < 4:
            return
        yield kind & 0x3FFF, data[place + 4 : place + length]
        place += (length + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)
