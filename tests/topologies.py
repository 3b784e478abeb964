"""Topologies of VPCs, and who reaches whom in them by AWS's words alone: a model that knows nothing of how gureum enforces it.

A topology is drawn by hypothesis, made by API calls (`build`), and asked (`reaches`). Addresses: network n is 10.n.0.0/16, its subnet s
10.n.s.0/24; the machine of a subnet has host number 10, a NAT gateway, always in subnet 0, host number 20.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
from hypothesis import strategies as st

from gureum.aws.ec2.interfaces.interfaces import new_interface
from gureum.aws.ec2.networks.kinds import Attachment, NetworkInterface
from gureum.aws.ec2.networks.kinds import Subnet as StoredSubnet

ANYWHERE = "0.0.0.0/0"
EPHEMERAL = 40000
PORTS = (80, 81)


class GroupRule(msgspec.Struct, frozen=True):
    """`port` 0: all protocols. Either `cidr`, or `group`: (network, group)."""

    egress: bool
    port: int
    cidr: str = ""
    group: tuple[int, int] | None = None


class AclRule(msgspec.Struct, frozen=True):
    egress: bool
    allow: bool
    cidr: str
    ports: tuple[int, int] | None = None


class Subnet(msgspec.Struct, frozen=True):
    """`routes`: destination -> "igw", "nat", or "peer:N" (the network it leads to). `acl`: in order; None: everything passes. `groups`: of its
    machine."""

    routes: tuple[tuple[str, str], ...]
    acl: tuple[AclRule, ...] | None
    groups: tuple[int, ...]
    public: bool


class Network(msgspec.Struct, frozen=True):
    """`groups`: the rules of each security group. `gateway`: it has an internet gateway. `nat`: it has a NAT gateway (a public one where there is
    an internet gateway)."""

    subnets: tuple[Subnet, ...]
    groups: tuple[tuple[GroupRule, ...], ...]
    gateway: bool
    nat: bool


class Topology(msgspec.Struct, frozen=True):
    networks: tuple[Network, ...]
    peerings: tuple[tuple[int, int], ...]

    @property
    def machines(self) -> list[tuple[int, int]]:
        return [(n, s) for n, network in enumerate(self.networks) for s in range(len(network.subnets))]

    def peered(self, one: int, other: int) -> bool:
        return (min(one, other), max(one, other)) in self.peerings


def range_of(network: int) -> str:
    return f"10.{network}.0.0/16"


def address_of(machine: tuple[int, int]) -> str:
    return f"10.{machine[0]}.{machine[1]}.10"


def nat_address(network: int) -> str:
    return f"10.{network}.0.20"


# --- drawn ----------------------------------------------------------------------------------------------------------


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    size = draw(st.sampled_from([1, 2, 2, 3, 3]))
    pairs = [(a, b) for a in range(size) for b in range(a + 1, size)]
    peerings = tuple(pair for pair in pairs if draw(st.integers(0, 3)))
    return Topology(tuple(_network(draw, number, size, peerings) for number in range(size)), peerings)


def _network(draw: st.DrawFn, number: int, size: int, peerings: tuple[tuple[int, int], ...]) -> Network:
    others = [other for other in range(size) if (min(number, other), max(number, other)) in peerings]
    gateway, nat = draw(st.integers(0, 3)) > 0, draw(st.integers(0, 2)) > 0
    groups = tuple(_group(draw, number, others, size) for _ in range(2))
    subnets = tuple(_subnet(draw, others, size, gateway, place if nat else -1) for place in range(2))
    return Network(subnets, groups, gateway, nat)


def _group(draw: st.DrawFn, number: int, others: list[int], size: int) -> tuple[GroupRule, ...]:
    """Often with a rule that lets all pass, so that something arrives."""
    broad = tuple(GroupRule(egress, 0, cidr=ANYWHERE) for egress in (False, True) if draw(st.integers(0, 2)) == 0)
    return (*broad, *(_rule(draw, number, others, size) for _ in range(draw(st.integers(0, 3)))))


def _rule(draw: st.DrawFn, number: int, others: list[int], size: int) -> GroupRule:
    egress, port = draw(st.booleans()), draw(st.sampled_from([0, 0, *PORTS]))
    if draw(st.integers(0, 2)) == 0:
        group = draw(st.sampled_from([number, *others])), draw(st.integers(0, 1))
        return GroupRule(egress, port, group=group)
    return GroupRule(egress, port, cidr=draw(st.sampled_from(_cidrs(size))))


def _cidrs(size: int) -> list[str]:
    """Broad ones often, so that something passes."""
    return [ANYWHERE, ANYWHERE, *(range_of(n) for n in range(size)), "10.0.1.0/24", "198.18.0.0/15"]


def _subnet(draw: st.DrawFn, others: list[int], size: int, gateway: bool, nat: int) -> Subnet:
    """`nat`: its number in a network with a NAT gateway, -1 elsewhere. Subnet 1 mostly leads to the gateway, subnet 0, where it stands, mostly on."""
    routes = [(range_of(other), f"peer:{other}") for other in others if draw(st.integers(0, 3 - (nat == 1)))]
    ways = ["igw"] * gateway * (1 + 3 * (nat == 0)) + ["nat"] * (nat >= 0) * (1 + 3 * (nat == 1))
    if ways and draw(st.integers(0, 5)):
        routes.append((ANYWHERE, draw(st.sampled_from(ways))))
    acl = None
    if draw(st.integers(0, 2)) == 0:
        acl = tuple(_acl_rule(draw, size) for _ in range(draw(st.integers(1, 5))))
        acl += tuple(AclRule(egress, True, ANYWHERE) for egress in (False, True) if draw(st.integers(0, 3)))
    groups = tuple(draw(st.sets(st.integers(0, 1), min_size=1)))
    return Subnet(tuple(routes), acl, groups, gateway and draw(st.booleans()))


def _acl_rule(draw: st.DrawFn, size: int) -> AclRule:
    ports = draw(st.sampled_from([None, None, (80, 80), (1024, 65535)]))
    return AclRule(draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from(_cidrs(size))), ports)


# --- AWS's words ----------------------------------------------------------------------------------------------------


class Model:
    """`publics`: the public address of each machine, or NAT gateway (network, -1), that has one."""

    def __init__(self, topology: Topology, publics: dict[tuple[int, int], str]) -> None:
        self.topology, self.publics = topology, publics

    def reaches(self, source: tuple[int, int], target: tuple[int, int], port: int, public: bool = False) -> bool:
        """Whether a TCP connection from one machine to another's private or public address opens."""
        address = self.publics[target] if public else address_of(target)
        if not self._group_lets(source, True, port, address, target if not public else None):
            return False
        way = self._way(source[0], source[1], address)
        if way == "nat":
            # It goes on from the gateway, whose groups do not exist, in the gateway's subnet and by that one's routes.
            own, behind = address_of(source), (source[0], 0)
            inner = source[1] == 0 or (
                self._acl(source, True, address, port)
                and self._acl(behind, False, own, port)
                and self._acl(behind, True, own, EPHEMERAL)
                and self._acl(source, False, address, EPHEMERAL)
            )
            # It sends only to others: what its own network has is reached without it.
            beyond = self._way(source[0], 0, address)
            return (
                inner and beyond not in ("nat", "local") and self._arrives(behind, True, beyond, target, port, public)
            )
        return self._arrives(source, False, way, target, port, public)

    def _arrives(
        self, sender: tuple[int, int], nat: bool, way: str, target: tuple[int, int], port: int, public: bool
    ) -> bool:
        """From a machine or (`nat`) the NAT gateway in that subnet."""
        seen = nat_address(sender[0]) if nat else address_of(sender)
        address = self.publics[target] if public else address_of(target)
        if way == "igw":
            if not public or (sender[0], -1 if nat else sender[1]) not in self.publics:
                return False
            seen = self.publics[sender[0], -1 if nat else sender[1]]
            # The target's subnet must lead to the gateway, too.
            if self._way(*target, seen) != "igw":
                return False
        elif way == "local":
            if public or sender[0] != target[0]:
                return False
        elif way.startswith("peer:"):
            if public or int(way[5:]) != target[0] or self._way(*target, seen) != f"peer:{sender[0]}":
                return False
        else:
            return False
        knows = None if nat or way == "igw" else sender
        if not self._group_lets(target, False, port, seen, knows):
            return False
        if way == "local" and sender[1] == target[1]:
            return True
        return (
            self._acl(sender, True, address, port)
            and self._acl(target, False, seen, port)
            and self._acl(target, True, seen, EPHEMERAL)
            and self._acl(sender, False, address, EPHEMERAL)
        )

    def _way(self, network: int, subnet: int, address: str) -> str:
        if ip_address(address) in ip_network(range_of(network)):
            return "local"
        routes = self.topology.networks[network].subnets[subnet].routes
        fitting = [(ip_network(one).prefixlen, way) for one, way in routes if ip_address(address) in ip_network(one)]
        return max(fitting)[1] if fitting else "none"

    def _group_lets(
        self, machine: tuple[int, int], egress: bool, port: int, address: str, other: tuple[int, int] | None
    ) -> bool:
        """`other`: the machine that has the address, if it is known by its private one."""
        network = self.topology.networks[machine[0]]
        rules = [rule for group in network.subnets[machine[1]].groups for rule in network.groups[group]]
        return any(
            rule.egress == egress and rule.port in (0, port) and self._covers(machine[0], rule, address, other)
            for rule in rules
        )

    def _covers(self, network: int, rule: GroupRule, address: str, other: tuple[int, int] | None) -> bool:
        if rule.group is None:
            return ip_address(address) in ip_network(rule.cidr)
        if other is None or rule.group[0] != other[0]:
            return False
        reachable = other[0] == network or self.topology.peered(network, other[0])
        return reachable and rule.group[1] in self.topology.networks[other[0]].subnets[other[1]].groups

    def _acl(self, place: tuple[int, int], egress: bool, remote: str, port: int) -> bool:
        acl = self.topology.networks[place[0]].subnets[place[1]].acl
        if acl is None:
            return True
        for rule in acl:
            fits = rule.ports is None or rule.ports[0] <= port <= rule.ports[1]
            if rule.egress == egress and fits and ip_address(remote) in ip_network(rule.cidr):
                return rule.allow
        return False


# --- made by API calls ----------------------------------------------------------------------------------------------


class Built:
    """The topology in a cloud of tests/aws/ec2/conftest.py. `interfaces`: of machines, and (network, -1) of NAT gateways; `publics` as in
    Model; `vpcs`: ids."""

    def __init__(self, cloud: Any, topology: Topology) -> None:
        self.cloud, self.topology = cloud, topology
        self.interfaces: dict[tuple[int, int], str] = {}
        self.vpcs = [cloud.vpc(range_of(n)) for n in range(len(topology.networks))]
        self._subnets = {(n, s): cloud.subnet(self.vpcs[n], f"10.{n}.{s}.0/24") for n, s in topology.machines}
        self._groups = {(n, g): cloud.group(self.vpcs[n], f"group-{g}") for n in range(len(self.vpcs)) for g in (0, 1)}
        self._peerings = {pair: self._peer(*pair) for pair in topology.peerings}
        self._gateways = {n: cloud.gateway(self.vpcs[n]) for n, one in enumerate(topology.networks) if one.gateway}
        self._nats = {n: self._nat(n) for n, one in enumerate(topology.networks) if one.nat}
        for place in topology.machines:
            self._route(place)
            self._acl(place)
            self._machine(place)
        for (n, g), group in self._groups.items():
            self._allow(group, topology.networks[n].groups[g])
        self.publics = {place: public for place, name in self.interfaces.items() if (public := self._public(name))}

    def _peer(self, one: int, other: int) -> str:
        named = {"VpcId": self.vpcs[one], "PeerVpcId": self.vpcs[other]}
        made = self.cloud("CreateVpcPeeringConnection", **named)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
        self.cloud("AcceptVpcPeeringConnection", VpcPeeringConnectionId=made)
        return str(made)

    def _nat(self, n: int) -> str:
        place = {"SubnetId": self._subnets[n, 0], "PrivateIpAddress": nat_address(n)}
        if n in self._gateways:
            place["AllocationId"] = self.cloud("AllocateAddress")["AllocationId"]
        else:
            place["ConnectivityType"] = "private"
        made = self.cloud("CreateNatGateway", **place)["NatGateway"]
        self.interfaces[n, -1] = made["NatGatewayAddresses"][0]["NetworkInterfaceId"]
        return str(made["NatGatewayId"])

    def _route(self, place: tuple[int, int]) -> None:
        n, s = place
        table = self.cloud("CreateRouteTable", VpcId=self.vpcs[n])["RouteTable"]["RouteTableId"]
        self.cloud("AssociateRouteTable", RouteTableId=table, SubnetId=self._subnets[place])
        for destination, way in self.topology.networks[n].subnets[s].routes:
            if way.startswith("peer:"):
                other = int(way[5:])
                target = {"VpcPeeringConnectionId": self._peerings[min(n, other), max(n, other)]}
            else:
                target = {"GatewayId": self._gateways[n]} if way == "igw" else {"NatGatewayId": self._nats[n]}
            self.cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock=destination, **target)

    def _acl(self, place: tuple[int, int]) -> None:
        n, s = place
        rules = self.topology.networks[n].subnets[s].acl
        if rules is None:
            return
        acl = self.cloud("CreateNetworkAcl", VpcId=self.vpcs[n])["NetworkAcl"]["NetworkAclId"]
        for number, rule in enumerate(rules, 1):
            ports = {"From": rule.ports[0], "To": rule.ports[1]} if rule.ports else None
            self.cloud(
                "CreateNetworkAclEntry",
                NetworkAclId=acl,
                RuleNumber=number,
                Egress=rule.egress,
                RuleAction="allow" if rule.allow else "deny",
                CidrBlock=rule.cidr,
                Protocol="6" if ports else "-1",
                **({"PortRange": ports} if ports else {}),
            )
        found = self.cloud("DescribeNetworkAcls")["NetworkAcls"]
        (association,) = (
            one["NetworkAclAssociationId"]
            for each in found
            for one in each["Associations"]
            if one["SubnetId"] == self._subnets[place]
        )
        self.cloud("ReplaceNetworkAclAssociation", AssociationId=association, NetworkAclId=acl)

    def _machine(self, place: tuple[int, int]) -> None:
        n, s = place
        call = self.cloud.call()
        transaction = call.transaction()
        subnet = self.topology.networks[n].subnets[s]
        instance = f"i-{n}-{s}"
        made = new_interface(
            call,
            transaction,
            call.get(StoredSubnet, self._subnets[place]),
            groups=[self._groups[n, g] for g in subnet.groups],
            addresses=[address_of(place)],
            attachment=Attachment(f"eni-attach-{n}{s}", instance, 0, 0.0),
            sandbox=instance,
            public=subnet.public,
        )
        asyncio.run(transaction.commit())
        self.interfaces[place] = made.meta.name

    def _allow(self, group: str, rules: tuple[GroupRule, ...]) -> None:
        """Exactly these rules: the one that lets all out, as new groups have, goes."""
        everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": ANYWHERE}]}]
        self.cloud("RevokeSecurityGroupEgress", GroupId=group, IpPermissions=everything)
        for rule in dict.fromkeys(rules):
            permission: dict[str, Any] = {"IpProtocol": "tcp" if rule.port else "-1"}
            if rule.port:
                permission |= {"FromPort": rule.port, "ToPort": rule.port}
            if rule.group is None:
                permission["IpRanges"] = [{"CidrIp": rule.cidr}]
            else:
                pair = {"GroupId": self._groups[rule.group], "UserId": self.cloud.account}
                permission["UserIdGroupPairs"] = [pair]
            way = "Egress" if rule.egress else "Ingress"
            self.cloud(f"AuthorizeSecurityGroup{way}", GroupId=group, IpPermissions=[permission])

    def _public(self, name: str) -> str:
        found = self.cloud.call().get(NetworkInterface, name)
        return str(found.spec.primary.public) if found is not None else ""
