"""The stored shapes of EC2's network resources, and the indexes by which they are found.

They refer to each other by id, never by copy, with one exception that is always written in one commit: an Elastic IP's association
stands on the address (who it points to) and on the interface (what it is seen as), so that both are lowered and shown from one object.

    Vpc ◄─ Subnet ◄─ NetworkInterface ─► SecurityGroup (rules inside)
     ▲       ▲            ▲
     │   RouteTable     Address (Elastic IP)
     ├── InternetGateway
     ├── NatGateway ─► NetworkInterface (its own)
     ├── VpcPeering ─► another Vpc
     └── NetworkAcl, SecurityGroup, RouteTable, DhcpOptions (shared)

Claims (engine/client.py): "public/<pool>" holds every public address in use, "address/<subnet>" every private one.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Literal

import msgspec

from gureum.engine.resource import Resource, kind


class CidrAssociation(msgspec.Struct, frozen=True):
    """A CIDR of a VPC ("10.0.0.0/16") and the id of its association."""

    id: str
    cidr: str


class VpcSpec(msgspec.Struct, frozen=True):
    """`cidrs`: the primary one first. `dhcp_options`: id of a set, or "default" for none."""

    cidrs: tuple[CidrAssociation, ...]
    dhcp_options: str
    is_default: bool = False
    tenancy: str = "default"
    dns_support: bool = True
    dns_hostnames: bool = False
    address_usage_metrics: bool = False

    @property
    def cidr(self) -> str:
        return self.cidrs[0].cidr


@kind(
    "ec2.Vpc",
    indexes={
        "default": lambda vpc: ("default",) if vpc.spec.is_default else (),
        "dhcp-options": lambda vpc: vpc.spec.dhcp_options,
    },
)
class Vpc(Resource, frozen=True):
    """A private network."""

    spec: VpcSpec


class SubnetSpec(msgspec.Struct, frozen=True):
    """`zone`: "us-east-1a". `acl`, `acl_association`: the network ACL in force and the id of its association. `hostname_type`: "ip-name" or
    "resource-name"; the two `resource_*_record` say whether instances also get a name by their id."""

    vpc: str
    cidr: str
    zone: str
    acl: str
    acl_association: str
    default_for_zone: bool = False
    public_on_launch: bool = False
    hostname_type: str = "ip-name"
    resource_a_record: bool = False
    resource_aaaa_record: bool = False


@kind(
    "ec2.Subnet",
    indexes={
        "vpc": lambda subnet: subnet.spec.vpc,
        "acl": lambda subnet: subnet.spec.acl,
        "acl-association": lambda subnet: subnet.spec.acl_association,
    },
)
class Subnet(Resource, frozen=True):
    """A range of a VPC in one zone."""

    spec: SubnetSpec


class RouteEntry(msgspec.Struct, frozen=True):
    """`gateway`: id of an internet gateway or a virtual private one; `interface`: of a network interface; `nat`: of a NAT gateway; `peering`: of a
    VPC peering; exactly one is set. The VPC's own CIDRs are routed without an entry, unless their target was replaced (`origin` "CreateRouteTable",
    else "CreateRoute")."""

    destination: str
    gateway: str = ""
    interface: str = ""
    origin: str = "CreateRoute"
    nat: str = ""
    peering: str = ""

    @property
    def to_list(self) -> bool:
        """Whether the destination is a prefix list, by its id."""
        return self.destination.startswith("pl-")

    @property
    def is_local(self) -> bool:
        """Whether it stands for the VPC's own route."""
        return self.origin == "CreateRouteTable"

    @property
    def target(self) -> tuple[str, ...]:
        return self.gateway, self.interface, self.nat, self.peering


class RouteAssociation(msgspec.Struct, frozen=True):
    """With a subnet, or with an internet gateway or a virtual private one, or with neither: the VPC's main association."""

    id: str
    subnet: str = ""
    gateway: str = ""

    @property
    def main(self) -> bool:
        return not self.subnet and not self.gateway


class RouteTableSpec(msgspec.Struct, frozen=True):
    """`associations`: with the main one, if this is the main table. `propagating`: ids of virtual private gateways that may add routes."""

    vpc: str
    routes: tuple[RouteEntry, ...] = ()
    associations: tuple[RouteAssociation, ...] = ()
    propagating: tuple[str, ...] = ()

    @property
    def main(self) -> bool:
        return any(one.main for one in self.associations)

    @property
    def at_gateway(self) -> bool:
        return any(one.gateway for one in self.associations)


@kind(
    "ec2.RouteTable",
    indexes={
        "vpc": lambda table: table.spec.vpc,
        "subnet": lambda table: tuple(one.subnet for one in table.spec.associations if one.subnet),
        "main": lambda table: (table.spec.vpc,) if table.spec.main else (),
        "association": lambda table: tuple(one.id for one in table.spec.associations),
        "edge": lambda table: tuple(one.gateway for one in table.spec.associations if one.gateway),
        "gateway": lambda table: tuple({one.gateway for one in table.spec.routes if one.gateway}),
        "prefix-list": lambda table: tuple({one.destination for one in table.spec.routes if one.to_list}),
        "nat": lambda table: tuple({one.nat for one in table.spec.routes if one.nat}),
    },
)
class RouteTable(Resource, frozen=True):
    """Where packets of subnets go."""

    spec: RouteTableSpec


class InternetGatewaySpec(msgspec.Struct, frozen=True):
    """`vpc` "": attached to none."""

    vpc: str = ""


@kind("ec2.InternetGateway", indexes={"vpc": lambda gateway: (gateway.spec.vpc,) if gateway.spec.vpc else ()})
class InternetGateway(Resource, frozen=True):
    """A VPC's way to public addresses."""

    spec: InternetGatewaySpec = InternetGatewaySpec()


class PrivateAddress(msgspec.Struct, frozen=True):
    """One private IPv4 address of an interface and its public one, if any: with `allocation` it is an Elastic IP, without it was given
    automatically and is given back when the instance stops. `owner`: the account that has the Elastic IP, "" for the interface's own."""

    address: str
    public: str = ""
    allocation: str = ""
    association: str = ""
    owner: str = ""


class Draining(msgspec.Struct, frozen=True):
    """A secondary address of a NAT gateway that gets no new flows. `until`: Unix seconds; then it goes."""

    address: str
    until: float


class NatGatewaySpec(msgspec.Struct, frozen=True):
    """`interface`: its network interface, whose addresses are the gateway's; "" when it could not be made. `wish` "deleted": its interface is
    gone, and what it had stands in `addresses`."""

    vpc: str
    subnet: str
    connectivity: Literal["public", "private"]
    interface: str = ""
    wish: Literal["available", "deleted"] = "available"
    addresses: tuple[PrivateAddress, ...] = ()
    draining: tuple[Draining, ...] = ()


class NatGatewayStatus(msgspec.Struct, frozen=True):
    """`failure_code`, `failure`: why the state is "failed". `changed`: Unix seconds of the last state change."""

    state: Literal["pending", "failed", "available", "deleting", "deleted"] = "pending"
    failure_code: str = ""
    failure: str = ""
    changed: float = 0.0


@kind(
    "ec2.NatGateway",
    indexes={
        "vpc": lambda one: one.spec.vpc,
        "subnet": lambda one: one.spec.subnet,
        "interface": lambda one: (one.spec.interface,) if one.spec.interface else (),
    },
)
class NatGateway(Resource, frozen=True):
    """A way out for machines without a public address."""

    spec: NatGatewaySpec
    status: NatGatewayStatus = NatGatewayStatus()


class PeeringSide(msgspec.Struct, frozen=True):
    """A VPC that is peered. `cidrs`: its ranges, kept up to date while the peering is active. `dns`: the other side is told private addresses
    for public names of this one."""

    account: str
    region: str
    vpc: str
    cidrs: tuple[str, ...]
    dns: bool = False

    @property
    def scope(self) -> str:
        return f"{self.account}/{self.region}"


class VpcPeeringSpec(msgspec.Struct, frozen=True):
    requester: PeeringSide
    accepter: PeeringSide

    def side_of(self, scope: str, vpc: str) -> PeeringSide:
        return self.requester if (self.requester.scope, self.requester.vpc) == (scope, vpc) else self.accepter

    def other_than(self, scope: str, vpc: str) -> PeeringSide:
        return self.accepter if self.side_of(scope, vpc) is self.requester else self.requester


PeeringState = Literal["pending-acceptance", "active", "deleted", "rejected", "failed", "expired"]


class VpcPeeringStatus(msgspec.Struct, frozen=True):
    """`by`: the account that changed it last; `changed`: Unix seconds of that."""

    state: PeeringState
    by: str = ""
    changed: float = 0.0


@kind("ec2.VpcPeering", indexes={"vpc": lambda one: tuple({one.spec.requester.vpc, one.spec.accepter.vpc})})
class VpcPeering(Resource, frozen=True):
    """Two VPCs that reach each other; stored once in the scope of each."""

    spec: VpcPeeringSpec
    status: VpcPeeringStatus


class AddressSpec(msgspec.Struct, frozen=True):
    """An Elastic IP. `association` "" and with it `interface` and `private`: associated with nothing.
    `domain_name`: its reverse name, if set. `holder`: the account that has the interface, "" for the address's own."""

    public: str
    association: str = ""
    interface: str = ""
    private: str = ""
    domain_name: str = ""
    holder: str = ""


@kind(
    "ec2.Address",
    indexes={
        "public": lambda address: address.spec.public,
        "association": lambda address: (address.spec.association,) if address.spec.association else (),
        "interface": lambda address: (address.spec.interface,) if address.spec.interface else (),
    },
)
class Address(Resource, frozen=True):
    """An Elastic IP; its name is the allocation id."""

    spec: AddressSpec


class AddressTransferSpec(msgspec.Struct, frozen=True):
    """An Elastic IP that is offered to another account. `offered`, `accepted`: Unix seconds, 0.0 as long as it is not."""

    public: str
    account: str
    offered: float
    accepted: float = 0.0


@kind("ec2.AddressTransfer")
class AddressTransfer(Resource, frozen=True):
    """Its name is the allocation id; it is stored with who offers it."""

    spec: AddressTransferSpec


class Attachment(msgspec.Struct, frozen=True):
    """`attached`: Unix seconds. `instance` "": attached to a service's own machine, which is `owner`'s ("amazon-elb")."""

    id: str
    instance: str
    device_index: int
    attached: float
    delete_on_termination: bool = False
    network_card: int = 0
    status: Literal["attaching", "attached", "detaching", "detached"] = "attached"
    owner: str = ""


class NetworkInterfaceSpec(msgspec.Struct, frozen=True):
    """`addresses`: the primary first. `sandbox`: name of the running sandbox it is plugged into (the instance's id), "" while the instance
    does not run; a service's interface has one of its own name. `requester`: the service that made and manages it, "" for the account itself.
    `open`: it has no groups and everything may pass (a network load balancer's without security groups). `type`: AWS's InterfaceType.
    `prefixes`: ranges that lead to it ("10.0.1.16/28") and that it may send from."""

    vpc: str
    subnet: str
    zone: str
    mac: str
    addresses: tuple[PrivateAddress, ...]
    groups: tuple[str, ...]
    description: str = ""
    source_dest_check: bool = True
    attachment: Attachment | None = None
    sandbox: str = ""
    requester: str = ""
    open: bool = False
    type: str = "interface"
    prefixes: tuple[str, ...] = ()

    @property
    def primary(self) -> PrivateAddress:
        return self.addresses[0]

    @property
    def held(self) -> tuple[str, ...]:
        """All that it may send from: its addresses and those of its prefixes."""
        ranges = (str(one) for prefix in self.prefixes for one in IPv4Network(prefix))
        return (*(one.address for one in self.addresses), *ranges)


@kind(
    "ec2.NetworkInterface",
    indexes={
        "vpc": lambda eni: eni.spec.vpc,
        "subnet": lambda eni: eni.spec.subnet,
        "group": lambda eni: eni.spec.groups,
        "instance": lambda eni: (
            (eni.spec.attachment.instance,) if eni.spec.attachment and eni.spec.attachment.instance else ()
        ),
        "attachment": lambda eni: (eni.spec.attachment.id,) if eni.spec.attachment else (),
        "attached-vpc": lambda eni: (eni.spec.vpc,) if eni.spec.attachment else (),
        "public": lambda eni: tuple(one.public for one in eni.spec.addresses if one.public),
    },
)
class NetworkInterface(Resource, frozen=True):
    """An ENI."""

    spec: NetworkInterfaceSpec


class PrefixEntry(msgspec.Struct, frozen=True):
    cidr: str
    description: str = ""


class PrefixListSpec(msgspec.Struct, frozen=True):
    """`family`: "IPv4" or "IPv6". `versions`: entries of the versions before this one, the last one at the end. `state`,
    `message`: AWS's, of what was done last."""

    name: str
    family: str
    max_entries: int
    version: int
    entries: tuple[PrefixEntry, ...] = ()
    versions: tuple[tuple[PrefixEntry, ...], ...] = ()
    state: str = "create-complete"
    message: str = ""


@kind("ec2.PrefixList")
class PrefixList(Resource, frozen=True):
    """A set of ranges."""

    spec: PrefixListSpec


class FarGroup(msgspec.Struct, frozen=True):
    """Where a group of a peered VPC is, and by which peering it was named."""

    account: str
    vpc: str
    peering: str


class GroupRule(msgspec.Struct, frozen=True):
    """One rule of a security group. `protocol`: "tcp", "udp", "icmp", "icmpv6", "-1" or an IP protocol number. `from_port`,
    `to_port`: ICMP type and code for icmp; -1 for all. Exactly one of `cidr`, `cidr6`, `prefix_list`, `group` is set; `far`: that group is in
    a peered VPC."""

    id: str
    egress: bool
    protocol: str
    from_port: int = -1
    to_port: int = -1
    cidr: str = ""
    cidr6: str = ""
    prefix_list: str = ""
    group: str = ""
    description: str = ""
    tags: dict[str, str] = {}
    far: FarGroup | None = None


class SecurityGroupSpec(msgspec.Struct, frozen=True):
    """`group_name`: unique in the VPC."""

    group_name: str
    description: str
    vpc: str
    rules: tuple[GroupRule, ...] = ()


@kind(
    "ec2.SecurityGroup",
    indexes={
        "vpc": lambda group: group.spec.vpc,
        "rule": lambda group: tuple(rule.id for rule in group.spec.rules),
        "refers": lambda group: tuple({rule.group for rule in group.spec.rules if rule.group and rule.far is None}),
        "prefix-list": lambda group: tuple({rule.prefix_list for rule in group.spec.rules if rule.prefix_list}),
        "refers-far": lambda group: tuple({rule.group for rule in group.spec.rules if rule.far is not None}),
    },
)
class SecurityGroup(Resource, frozen=True):
    """What may reach its interfaces, and what they may reach."""

    spec: SecurityGroupSpec


class AclEntry(msgspec.Struct, frozen=True):
    """`number`: 1-32766, 32767 for the closing deny. `protocol`: an IP protocol number, "-1" for all. `ports`: the range for tcp (6) and
    udp (17), (type, code) with -1 for all for icmp (1, 58), else None. `cidr6`: of an entry for IPv6, which has no `cidr`."""

    number: int
    egress: bool
    allow: bool
    protocol: str = "-1"
    cidr: str = "0.0.0.0/0"
    ports: tuple[int, int] | None = None
    cidr6: str = ""


class NetworkAclSpec(msgspec.Struct, frozen=True):
    """Its subnets name it (`SubnetSpec.acl`). `entries`: in any order, with the closing deny of each direction."""

    vpc: str
    is_default: bool
    entries: tuple[AclEntry, ...]


@kind("ec2.NetworkAcl", indexes={"vpc": lambda acl: acl.spec.vpc})
class NetworkAcl(Resource, frozen=True):
    """A subnet's stateless filter."""

    spec: NetworkAclSpec


class DhcpOptionsSpec(msgspec.Struct, frozen=True):
    """`options`: (key, values) such as ("domain-name", ("ec2.internal",))."""

    options: tuple[tuple[str, tuple[str, ...]], ...]
    is_default: bool = False


@kind("ec2.DhcpOptions", indexes={"default": lambda dopt: ("default",) if dopt.spec.is_default else ()})
class DhcpOptions(Resource, frozen=True):
    """What DHCP tells machines."""

    spec: DhcpOptionsSpec
