"""Firewalls: what may pass in one network. The whole rule set of a network is handed over; the driver applies the difference.

A packet from interface A to interface B passes when A's groups allow it out *and* B's groups allow it in (AWS: security
groups are stateful and belong to the interface, also within one subnet). Replies of what passed always pass the groups.

A packet that leaves a subnet must pass the subnet's ACL outwards, one that enters a subnet its ACL inwards, each packet for itself: replies
too, and whatever the groups say. What stays within a subnet passes no ACL, nor does what is said with the router itself (names and
metadata).
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """One permission. `protocol`: "tcp", "udp", "icmp", "all" or an IP protocol number as text. `ports`: inclusive range for tcp
    and udp, None for all; for icmp (type, code) where -1 means any. Exactly one of `cidr` and `group` is set; `group` names another
    group of the rule set: the primary and secondary addresses of its members."""

    direction: Literal["in", "out"]
    protocol: str
    ports: tuple[int, int] | None = None
    cidr: str = ""
    group: str = ""


class Group(msgspec.Struct, frozen=True):
    """`members`: further addresses that count as this group's (members elsewhere, e.g. in a peered network)."""

    name: str
    rules: tuple[Rule, ...] = ()
    members: tuple[str, ...] = ()


class Port(msgspec.Struct, frozen=True):
    """An interface as the firewall sees it. `forward` is the opposite of source/destination check."""

    interface: str
    addresses: tuple[str, ...]
    groups: tuple[str, ...]
    public: tuple[tuple[str, str], ...] = ()
    forward: bool = False


class AclEntry(msgspec.Struct, frozen=True):
    """One line of an ACL: what of `direction` ("out": leaves the subnet) is allowed or denied. `protocol` and `ports` as in `Rule`, the ports
    being the packet's destination ports. `cidr`: where it comes from or goes to; private addresses of the network's own interfaces."""

    direction: Literal["in", "out"]
    number: int
    allow: bool
    protocol: str
    cidr: str
    ports: tuple[int, int] | None = None


class Acl(msgspec.Struct, frozen=True):
    """A stateless filter at the boundary of `subnets` (CIDRs): of each direction the entry with the lowest number that fits a packet decides;
    what fits none is dropped."""

    name: str
    subnets: tuple[str, ...]
    entries: tuple[AclEntry, ...] = ()


class RuleSet(msgspec.Struct, frozen=True):
    """`internet`: subnets' CIDRs whose route table leads to the edge; others' packets to and from the edge are dropped. `acls`: each subnet
    has one at most; one that lets everything pass is better left out, as then nothing is looked at."""

    network: str
    cidrs: tuple[str, ...]
    groups: tuple[Group, ...] = ()
    ports: tuple[Port, ...] = ()
    internet: tuple[str, ...] = ()
    acls: tuple[Acl, ...] = ()


class Firewalls(Protocol):
    async def apply(self, rules: RuleSet) -> None:
        """Makes the kernel enforce exactly `rules` in that network, in one transaction. When it returns, it is enforced; until the
        first call everything is dropped. Established flows that the new groups forbid may go on (as on AWS); what new ACLs forbid
        stops."""

    async def forget(self, network: str) -> None:
        """The network is gone: drops what the driver remembers of it."""

    async def close(self) -> None: ...
