"""Known flows of a network: ending those of an address that is given to somebody else or to nobody, and a balancer's to a target.

The translation of a flow is decided with its first packet and kept, so flows would go on under an address that has long another
owner, or to a target that has left. (ctnetlink, linux/netfilter/nfnetlink_conntrack.h; filters need Linux 5.8.)
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable

from gureum.drivers.networks.network_names import BALANCED_MARK, UPLINK_MARK

_NETLINK_NETFILTER = 12
_CT_DELETE = 1 << 8 | 2
_REQUEST_ACK = 0x1 | 0x4
_NESTED = 0x8000
_ORIGINAL, _REPLY, _MARK, _MARK_MASK, _FILTER = 1, 2, 8, 21, 25
_IP_SOURCE, _IP_DESTINATION, _PROTOCOL, _SOURCE_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 4

_header = struct.Struct("=IHHII")


def end_flows(addresses: Iterable[str]) -> None:
    """Forgets the flows from and to the addresses, public ones or of balancers' nodes, in the present network namespace. Raises OSError when the
    kernel refuses."""
    # To it: the destination before translation. From it: the destination of the replies.
    ways = (_ORIGINAL, _REPLY)
    _delete_all(_to_address(direction, address) for address in addresses for direction in ways)


def end_balanced_flows(address: str, port: int, marks: Iterable[int]) -> None:
    """Forgets the flows that balancers' listeners of these marks sent to the target, in the present network namespace. Raises OSError when the
    kernel refuses."""
    protocols = (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
    _delete_all(_from_target(address, port, protocol, mark) for mark in marks for protocol in protocols)


def end_all_balanced_flows() -> None:
    """Forgets all flows of balancers in the present network namespace. Raises OSError when the kernel refuses."""
    mark = struct.pack("!I", BALANCED_MARK)
    _delete_all([_attribute(_MARK, mark) + _attribute(_MARK_MASK, mark)])


def _delete_all(chosen: Iterable[bytes]) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(10.0)
        for attributes in chosen:
            body = struct.pack("=BBH", socket.AF_INET, 0, 0) + attributes
            kernel.send(_header.pack(_header.size + len(body), _CT_DELETE, _REQUEST_ACK, 1, 0) + body)
            number = -struct.unpack_from("=i", kernel.recv(4096), _header.size)[0]
            if number not in (0, errno.ENOENT):
                raise OSError(number, f"ending flows: {os.strerror(number)}")


def _to_address(direction: int, address: str) -> bytes:
    """All flows whose destination in that direction is `address`."""
    tuple_ = _attribute(direction | _NESTED, _attribute(1 | _NESTED, _attribute(2, socket.inet_aton(address))))
    return tuple_ + _attribute(_FILTER | _NESTED, _attribute(direction, struct.pack("=I", _IP_DESTINATION)))


def _from_target(address: str, port: int, protocol: int, mark: int) -> bytes:
    """A listener's flows whose replies come from the target, wherever they came from."""
    where = _attribute(1 | _NESTED, _attribute(1, socket.inet_aton(address)))
    what = _attribute(2 | _NESTED, _attribute(1, bytes([protocol])) + _attribute(2, struct.pack("!H", port)))
    flags = struct.pack("=I", _IP_SOURCE | _PROTOCOL | _SOURCE_PORT)
    return (
        _attribute(_REPLY | _NESTED, where + what)
        + _attribute(_MARK, struct.pack("!I", mark))
        + _attribute(_MARK_MASK, struct.pack("!I", 0xFFFF_FFFF & ~UPLINK_MARK))
        + _attribute(_FILTER | _NESTED, _attribute(_REPLY, flags))
    )


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)
