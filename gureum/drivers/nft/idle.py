"""How long silent flows of balancers are remembered: a small nftables table of its own, written straight to the kernel.

    objects  tcp-350, udp-120 …   connection tracking's time limits ("ct timeout")
    map      limits               listener's mark -> object
    chain    nat prerouting       before targets are picked: a flow's first packet looks its listener up, no later one comes here

libnftables 1.0.6 loses the values of such objects when they come as JSON, and aborts when one is deleted; so it never hears of them. One batch of
messages makes all of it as wished, whatever was there (linux/netfilter/nf_tables.h, nfnetlink_cttimeout.h). An object stays when no listener
has it any more: its flows would otherwise get the kernel's limit of five days.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Literal

Limit = tuple[int, Literal["tcp", "udp"], int]
"""Mark, protocol, seconds."""

TABLE = "gureum-idle"
_MAP, _CHAIN = "limits", "limit"
_BEFORE_PICK = -101
_CLOSED_S = 20  # TIME_WAIT, as for all flows (nft_worker)

_NETLINK_NETFILTER, _NFTABLES, _INET = 12, 10, 1
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_BEGIN, _END = 0x10, 0x11
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _DELRULE, _NEWSET, _NEWSETELEM, _DELSETELEM, _NEWOBJ = (
    0,
    2,
    3,
    6,
    8,
    9,
    12,
    14,
    18,
)
_NESTED = 0x8000
_CT_TIMEOUT, _SET_OBJECT, _MARK, _REGISTER = 7, 0x40, 3, 1
_PREROUTING = 0
_MARK_TYPE = 19  # libnftables' number of the key's type: only for who lists it
_TCP_ESTABLISHED, _TCP_TIME_WAIT, _UDP_UNREPLIED, _UDP_REPLIED = 3, 7, 1, 2

_header = struct.Struct("=IHHII")


def apply(limits: Iterable[Limit]) -> None:
    """Makes the present network namespace have exactly these. Idempotent, in one transaction. OSError when the kernel refuses."""
    wished = sorted(limits)
    if wished:
        _transact(_batch(wished))
    else:
        _transact([(_DELTABLE, 0, _text(1, TABLE))], fine=(errno.ENOENT,))


def _batch(wished: list[Limit]) -> Iterator[tuple[int, int, bytes]]:
    """(message, flags, attributes)."""
    hook = _attribute(1, _be32(_PREROUTING)) + _attribute(2, _be32(_BEFORE_PICK))
    yield _NEWTABLE, _CREATE, _text(1, TABLE)
    yield _NEWCHAIN, _CREATE, _text(1, TABLE) + _text(3, _CHAIN) + _nested(4, hook) + _text(7, "nat")
    for protocol, seconds in sorted({(protocol, seconds) for _, protocol, seconds in wished}):
        yield _NEWOBJ, _CREATE, _object(protocol, seconds)
    shape = _attribute(3, _be32(_SET_OBJECT)) + _attribute(4, _be32(_MARK_TYPE)) + _attribute(5, _be32(4))
    yield (
        _NEWSET,
        _CREATE,
        _text(1, TABLE) + _text(2, _MAP) + shape + _attribute(10, _be32(1)) + _attribute(15, _be32(_CT_TIMEOUT)),
    )
    yield _DELRULE, 0, _text(1, TABLE) + _text(2, _CHAIN)
    yield _DELSETELEM, 0, _text(1, TABLE) + _text(2, _MAP)
    for start in range(0, len(wished), 500):
        elements = b"".join(_element(limit) for limit in wished[start : start + 500])
        yield _NEWSETELEM, _CREATE, _text(1, TABLE) + _text(2, _MAP) + _nested(3, elements)
    load = _expression("meta", _attribute(1, _be32(_REGISTER)) + _attribute(2, _be32(_MARK)))
    look_up = _expression("objref", _attribute(3, _be32(_REGISTER)) + _text(4, _MAP))
    yield _NEWRULE, _CREATE | _APPEND, _text(1, TABLE) + _text(2, _CHAIN) + _nested(4, load + look_up)


def _object(protocol: str, seconds: int) -> bytes:
    if protocol == "tcp":
        times = {_TCP_ESTABLISHED: seconds, _TCP_TIME_WAIT: _CLOSED_S}
    else:
        times = {_UDP_UNREPLIED: seconds, _UDP_REPLIED: seconds}
    values = b"".join(_attribute(state, _be32(time_s)) for state, time_s in times.items())
    number = socket.IPPROTO_TCP if protocol == "tcp" else socket.IPPROTO_UDP
    data = _attribute(1, struct.pack("!H", socket.AF_INET)) + _attribute(2, bytes([number])) + _nested(3, values)
    return _text(1, TABLE) + _text(2, f"{protocol}-{seconds}") + _attribute(3, _be32(_CT_TIMEOUT)) + _nested(4, data)


def _element(limit: Limit) -> bytes:
    mark, protocol, seconds = limit
    key = _nested(1, _attribute(1, struct.pack("=I", mark)))
    return _nested(1, key + _text(9, f"{protocol}-{seconds}"))


def _expression(name: str, data: bytes) -> bytes:
    return _nested(1, _text(1, name) + _nested(2, data))


def _transact(messages: Iterable[tuple[int, int, bytes]], fine: tuple[int, ...] = ()) -> None:
    family = struct.pack("!BBH", _INET, 0, 0)
    batch = struct.pack("!BBH", 0, 0, _NFTABLES)
    data, sequence = _message(_BEGIN, _REQUEST, 0, batch), 0
    for kind, flags, attributes in messages:
        sequence += 1
        data += _message(_NFTABLES << 8 | kind, _REQUEST | _ACK | flags, sequence, family + attributes)
    data += _message(_END, _REQUEST, sequence + 1, batch)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(10.0)
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, max(len(data) + 4096, 1 << 16))
        kernel.send(data)
        for number in _answers(kernel, sequence):
            if number and number not in fine:
                raise OSError(number, f"time limits of silent flows: {os.strerror(number)}")


def _answers(kernel: socket.socket, last: int) -> Iterator[int]:
    """The error number of each message, 0 for none, up to the last one's."""
    while True:
        answer = kernel.recv(1 << 16)
        position = 0
        while position < len(answer):
            length, _, _, sequence, _ = _header.unpack_from(answer, position)
            number = -int(struct.unpack_from("=i", answer, position + _header.size)[0])
            yield number
            if sequence >= last or sequence == 0 or number:
                return
            position += (length + 3) & ~3


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _header.pack(_header.size + len(body), kind, flags, sequence, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, value)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _be32(value: int) -> bytes:
    return struct.pack("!I", value & 0xFFFF_FFFF)
