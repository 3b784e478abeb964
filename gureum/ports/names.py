"""Names: the DNS server that the agent runs for guests and for the host.

The control plane hands over records and zones per owner (an instance, a load balancer, a service); the driver answers
from memory. There is no zone file and no transfer. A *view* is who asks: a network's name, or "" for the host. What one
view sees and another does not is said per record.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

EVERYWHERE = ""
HOST_ONLY = "@host"


class Record(msgspec.Struct, frozen=True):
    """One set of resource records.

    `name`: "ip-10-0-0-5.ec2.internal", any case, the final dot optional. A first label of `*` stands for one or more
    labels of names that do not exist (RFC 4592); a first label `*-x` stands for any one label that ends in `-x`
    (clients put prefixes such as `stream-` before the endpoint's own name).
    `values` by type: A and AAAA an address; CNAME and PTR a name; TXT a text; SRV "priority weight port target".
    Several values are answered in turning order.
    `view`: EVERYWHERE, HOST_ONLY, a network's name, "NETWORK@ADDRESS": only who asks from that address there, or
    "NETWORK@CIDR": who asks from there; with "%85" at its end only so many of a hundred questions find it. What
    fewer see hides what has the same name and type and more see. The same name and type from several owners: all their values are answered (of CNAMEs
    the first owner's).
    """

    name: str
    type: Literal["A", "AAAA", "CNAME", "TXT", "PTR", "SRV"]
    values: tuple[str, ...]
    ttl: int = 60
    view: str = EVERYWHERE


class Zone(msgspec.Struct, frozen=True):
    """A name under which gureum alone knows: a name in it that has no record does not exist, and nothing in it is ever
    asked elsewhere. Reverse zones too ("31.172.in-addr.arpa")."""

    name: str
    view: str = EVERYWHERE


class Names(Protocol):
    """`replace`, `forget`, `forward` and `resolve` are memory only and act at once."""

    def replace(self, owner: str, records: tuple[Record, ...], zones: tuple[Zone, ...] = ()) -> None:
        """From now on this, and only this, is what `owner` names. All or nothing: ValueError names the bad record.
        Seen by the next question."""

    def forget(self, owner: str) -> None: ...

    def forward(self, upstreams: tuple[str, ...]) -> None:
        """Addresses of the host's resolvers ("192.0.2.1" or "192.0.2.1#5353") that answer guests' questions about names
        that are not ours; () (the start) means such names do not exist for guests. The host's own questions are never
        forwarded: it is told REFUSED, and asks its next resolver."""

    async def serve(self, view: str, sockets: Sequence[socket.socket], *, closed: bool = False) -> None:
        """Answers on these bound sockets (UDP and TCP, told by their type), which the driver owns from now on. A second
        call for a view replaces its sockets. `closed`: nothing is asked elsewhere for it, as by guests without a way out."""

    async def stop(self, view: str) -> None:
        """Closes the view's sockets. Its records stay until their owners are forgotten."""

    def resolve(self, view: str, name: str, rtype: str) -> tuple[str, ...]:
        """What a question from that view would be answered from our own records, CNAMEs followed; () for nothing."""

    async def close(self) -> None: ...
