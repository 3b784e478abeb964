"""Firewalls: what may pass in one network. The whole rule set of a network is handed over; the driver applies the difference.

A packet from interface A to interface B passes when A's groups allow it out *and* B's groups allow it in (AWS: security
groups are stateful and belong to the interface, also within one subnet). Replies of what passed always pass the groups.

A packet that leaves a subnet must pass the subnet's ACL outwards, one that enters a subnet its ACL inwards, each packet for itself: replies
too, and whatever the groups say. What stays within a subnet passes no ACL, nor does what is said with the router itself (names and
metadata).
"""

from __future__ import annotations

from collections.abc import Collection
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


class Listens(msgspec.Struct, frozen=True):
    """What a load balancer's node answers to itself: TCP ports, and `ping`: ICMP."""

    tcp: tuple[int, ...] = ()
    ping: bool = False


class Port(msgspec.Struct, frozen=True):
    """An interface as the firewall sees it. `forward` is the opposite of source/destination check. `open`: it has no groups and everything may
    pass (a network load balancer without security groups). `speaks_for_clients`: a load balancer's node whose proxy may send from its
    clients' addresses: replies come back to it, and what refers to a group of the node lets in what it sends so. `listens`: of what the groups and
    ACLs let come to a node, all else that begins a flow there is dropped without an answer (the ports of its `Balancer` are no part of it, they are
    balanced); None: it is no such node."""

    interface: str
    addresses: tuple[str, ...]
    groups: tuple[str, ...]
    public: tuple[tuple[str, str], ...] = ()
    forward: bool = False
    open: bool = False
    speaks_for_clients: bool = False
    listens: Listens | None = None


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


class BalancedTarget(msgspec.Struct, frozen=True):
    """Where new flows may go. `weight` > 0: its share of them."""

    address: str
    port: int
    weight: int = 1


class BalancedPort(msgspec.Struct, frozen=True):
    """What comes for `port` of the balancer's addresses goes to one of `targets`, each flow to one for its whole life; without targets it is
    refused. `by`: what chooses: the flow's five values, or its source address alone. `preserve_client`: the target sees the
    client's address; otherwise the balancer's. `idle_s`: when the kernel forgets a silent flow (0: its own limit). `fail_open`: `targets` are not
    well, and get what comes all the same; it is counted by itself."""

    protocol: Literal["tcp", "udp"]
    port: int
    targets: tuple[BalancedTarget, ...]
    by: Literal["flow", "source"] = "flow"
    preserve_client: bool = True
    idle_s: int = 0
    fail_open: bool = False


class Balancer(msgspec.Struct, frozen=True):
    """Layer-4 balancing at one interface (`Port.interface`) of the network. `address`: its private address; `public`: its public one, "" for
    none. Who may speak to it say the interface's groups, if it has any (`Port.open` otherwise), as for a machine there; of a flow that is
    sent on, the balancer's groups must let it out and the target's must let it in, where the target's may name the client (if preserved), the
    balancer's address, or a group of the balancer. Each packet of a flow passes the ACLs on two ways, between client and balancer and between
    balancer and target, there and back: the balancer's subnet is entered and left."""

    interface: str
    address: str
    ports: tuple[BalancedPort, ...]
    public: str = ""


Entrance = tuple[str, str, int]
"""A port of a balancer: (`Balancer.interface`, `BalancedPort.protocol`, `BalancedPort.port`)."""


class PeerLink(msgspec.Struct, frozen=True):
    """A way to another network. What comes by it must come from `cidrs` and be meant for this network itself, so that nothing passes
    through a network to a third; then it is judged as any packet, and what goes to it by its sender's groups alone."""

    name: str
    cidrs: tuple[str, ...]


class Appliance(msgspec.Struct, frozen=True):
    """What comes from the edge for `cidr` goes to `interface` first, which forwards it; what goes out may pass it, too. Each flow is judged twice:
    between the edge and the appliance, and between the appliance and whom it guards."""

    interface: str
    cidr: str


class RuleSet(msgspec.Struct, frozen=True):
    """`internet`: subnets' CIDRs whose route table leads to the edge; others' packets to and from the edge are dropped. `egress_only`:
    those of them to which only answers come from there. `acls`: each subnet
    has one at most; one that lets everything pass is better left out, as then nothing is looked at. `speaks`: the router itself may begin flows.
    `exit`: whoever may send to the edge does so from the router's one address."""

    network: str
    cidrs: tuple[str, ...]
    groups: tuple[Group, ...] = ()
    ports: tuple[Port, ...] = ()
    internet: tuple[str, ...] = ()
    acls: tuple[Acl, ...] = ()
    balancers: tuple[Balancer, ...] = ()
    peers: tuple[PeerLink, ...] = ()
    egress_only: tuple[str, ...] = ()
    speaks: bool = False
    appliances: tuple[Appliance, ...] = ()
    exit: bool = False

    @property
    def passes_edge(self) -> bool:
        """Whether any packet may come from the edge or go there."""
        return bool(self.internet) or self.exit


class BalancedCounts(msgspec.Struct, frozen=True):
    """What a balancer's ports of one protocol have done since the rules of its network were made: `flows` that reached a target (`open_flows` of
    them by ports that fail open), `packets` and `bytes` (with IP headers) both ways, resets by who sent them, and flows that its own groups refused.
    `active`: flows now."""

    interface: str
    protocol: Literal["tcp", "udp"]
    flows: int = 0
    packets: int = 0
    bytes: int = 0
    client_resets: int = 0
    target_resets: int = 0
    elb_resets: int = 0
    blocked_in: int = 0
    blocked_out: int = 0
    active: int = 0
    open_flows: int = 0


class Firewalls(Protocol):
    async def apply(self, rules: RuleSet) -> None:
        """Makes the kernel enforce exactly `rules` in that network, in one transaction. When it returns, it is enforced; until the
        first call everything is dropped. Established flows that the new groups forbid may go on (as on AWS); what new ACLs forbid
        stops."""

    async def end_flows(self, network: str, address: str, port: int, by: Collection[Entrance]) -> None:
        """Forgets the flows to a target that came by these ports of balancers, which are reset when they go on (AWS:
        deregistration_delay.connection_termination). Those that came by others, which may still send there, go on."""

    async def balanced_counts(self, network: str, active: bool) -> list[BalancedCounts]:
        """Of all balancers of the network. `active`: open flows are counted too, which takes longer the more there are; else they are 0."""

    async def forget(self, network: str) -> None:
        """The network is gone: drops what the driver remembers of it."""

    async def close(self) -> None: ...
