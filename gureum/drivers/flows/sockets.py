"""Netlink sockets of connection tracking and of the log of refused packets. What they say is messages.py's.

opened()  made in the namespace that the thread is in; it stays there
listen()  ends of flows, as they come; ask_log(): refused packets, as they come; dumped(): all live flows, when asked
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from gureum.drivers.flows import messages as flow_messages
from gureum.drivers.flows.messages import Entry, EntryReader
from gureum.drivers.networks.network_names import DENIED_LOG_GROUP

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_GROUP_DESTROY = 3
_SO_RCVBUFFORCE = 33
DATAGRAM_BYTES = 1 << 18
DUMP_LIMIT_S = 10.0


def opened() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)


def listen(one: socket.socket) -> None:
    """To the ends of flows in the namespace that the socket is in."""
    one.bind((0, 0))
    one.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_DESTROY)


def widen(one: socket.socket, buffer_bytes: int) -> None:
    """Lets so much wait in it, beyond what the host allows others."""
    one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)


def ask_log(one: socket.socket) -> None:
    """For refused packets. OSError: the kernel's refusal."""
    one.bind((0, 0))
    one.settimeout(DUMP_LIMIT_S)
    one.send(flow_messages.log_request(DENIED_LOG_GROUP))
    for kind, body in flow_messages.messages(one.recv(DATAGRAM_BYTES)):
        number = flow_messages.error_number(body) if kind == flow_messages.ERROR else 0
        if number:
            raise OSError(number, os.strerror(number))


def dumped(one: socket.socket) -> list[Entry]:
    """All entries of the namespace that the socket is in. Waits. OSError."""
    one.send(flow_messages.dump_request())
    return list(_entries(one))


def _entries(one: socket.socket) -> Iterable[Entry]:
    reader = EntryReader()
    while True:
        for kind, body in flow_messages.messages(one.recv(DATAGRAM_BYTES)):
            if kind == flow_messages.DONE:
                return
            if kind == flow_messages.ERROR and (number := flow_messages.error_number(body)):
                raise OSError(number, os.strerror(number))
            found = reader.read(body) if kind == flow_messages.CT_NEW else None
            if found is not None:
                yield found
