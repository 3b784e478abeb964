"""Known flows of a network: ending those of a public address that is given to somebody else or to nobody.

The translation of a flow is decided with its first packet and kept, so flows would go on under an address that has long another
owner. (ctnetlink, linux/netfilter/nfnetlink_conntrack.h; filters need Linux 5.8.)
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable

_NETLINK_NETFILTER = 12
_CT_DELETE = 1 << 8 | 2
_REQUEST_ACK = 0x1 | 0x4
_NESTED = 0x8000
_ORIGINAL, _REPLY, _FILTER = 1, 2, 25
_IP_DESTINATION = 1 << 1

_header = struct.Struct("=IHHII")


def end_flows(public: Iterable[str]) -> None:
    """Forgets the flows from and to the public addresses, in the present network namespace. Raises OSError when the kernel refuses."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(10.0)
        for address in public:
            # To it: the destination before translation. From it: the destination of the replies.
            for direction in (_ORIGINAL, _REPLY):
                kernel.send(_delete(direction, address))
                number = -struct.unpack_from("=i", kernel.recv(4096), _header.size)[0]
                if number not in (0, errno.ENOENT):
                    raise OSError(number, f"ending flows of {address}: {os.strerror(number)}")


def _delete(direction: int, address: str) -> bytes:
    """All flows whose destination in that direction is `address`."""
    tuple_ = _attribute(direction | _NESTED, _attribute(1 | _NESTED, _attribute(2, socket.inet_aton(address))))
    chosen = _attribute(_FILTER | _NESTED, _attribute(direction, struct.pack("=I", _IP_DESTINATION)))
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + tuple_ + chosen
    return _header.pack(_header.size + len(body), _CT_DELETE, _REQUEST_ACK, 1, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)
