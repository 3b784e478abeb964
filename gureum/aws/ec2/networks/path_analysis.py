"""Whether a packet finds its way from one interface or internet gateway to another, and what lets or does not let it: from what is stored, by the
words of AWS's documents, apart from how packets are really judged (a test compares both).

    source interface: groups ─► its subnet: ACL, route table ─► NAT gateway, peering or internet gateway ─► ACL ─► groups: destination

Answers must find back, too: they pass all ACLs and need routes. One address, one port of the many that a path may stand for is followed:
where none is named, the primary addresses, a public one for "the internet", and for "any port" one that some rule could let pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.networks.block_public_access import passing
from gureum.aws.ec2.networks.kinds import (
    AclEntry,
    GroupRule,
    InternetGateway,
    NatGateway,
    NetworkAcl,
    NetworkInterface,
    PrefixList,
    RouteTable,
    SecurityGroup,
    Subnet,
    VpcPeering,
)
from gureum.aws.ec2.networks.route_tables import show_routes
from gureum.engine.lowering import Reader

SOMEWHERE = "192.0.2.1"
"""Stands for an address of the internet where none is named (RFC 5737)."""
EPHEMERAL_PORT = 49152
NUMBERS = {"tcp": "6", "udp": "17"}
Shown = dict[str, Any]


class Packet(msgspec.Struct, frozen=True):
    """`port`: where it goes. `known`: an answer, which groups always let pass."""

    protocol: str
    source: str
    destination: str
    port: int
    known: bool = False


class Refusal(Exception):
    """Why it does not arrive. `shown`: API form (AWS: ec2 Explanation)."""

    def __init__(self, code: str, **shown: Any) -> None:
        super().__init__(code)
        self.shown: Shown = {"ExplanationCode": code, **shown}


class Place(msgspec.Struct, frozen=True):
    """An end of a path: an interface, or without one the internet behind a gateway. `address`: of the internet, or of the interface."""

    address: str
    gateway: str = ""
    interface: NetworkInterface | None = None


class Analysis(msgspec.Struct, frozen=True):
    """`forward`, `back`: API forms (AWS: ec2 PathComponent)."""

    found: bool
    forward: tuple[Shown, ...] = ()
    back: tuple[Shown, ...] = ()
    explanations: tuple[Shown, ...] = ()


def analyse(call: Call, source: Place, target: Place, protocol: str, port: int, source_port: int = 0) -> Analysis:
    """The way there, and when there is one, the way of the answers."""
    first = Packet(protocol, source.address, target.address, port)
    walk = _Walk(call, source, target)
    try:
        arrived = walk.run(first)
        way = _Walk(call, target, source, undone=walk.hidden)
        answer = Packet(protocol, arrived.destination, arrived.source, source_port or EPHEMERAL_PORT, known=True)
        way.run(answer)
    except Refusal as refusal:
        return Analysis(found=False, explanations=(refusal.shown,))
    return Analysis(True, tuple(walk.steps), tuple(way.steps))


class _Walk:
    """One direction. `hidden`: NAT gateways on the way with the address that each hides; `undone`: those that an answer passes."""

    def __init__(
        self, call: Call, start: Place, end: Place, undone: list[tuple[NetworkInterface, str]] | None = None
    ) -> None:
        self._call, self._start, self._end = call, start, end
        self._undone = list(undone or ())
        self.hidden: list[tuple[NetworkInterface, str]] = []
        self.steps: list[Shown] = []

    def run(self, packet: Packet) -> Packet:
        """The packet as it arrives. Raises Refusal."""
        start = self._start.interface
        if start is None:
            return self._from_internet(packet, self._start.gateway)
        self._step(start, packet)
        self._groups(start, packet, egress=True)
        return self._from(start, packet)

    def _from(self, eni: NetworkInterface, packet: Packet) -> Packet:
        """From an interface on, by its subnet's routes."""
        subnet = self._subnet(eni)
        if _inside(packet.destination, subnet.spec.cidr):
            return self._local(eni, packet)
        table, route = self._route(subnet, packet.destination)
        if route.get("GatewayId") == "local":
            return self._local(eni, packet)
        self._add(table, packet, RouteTableRoute=_shown_route(route))
        if route["State"] != "active":
            raise Refusal("BAD_STATE_ROUTE", RouteTable=_named(table), RouteTableRoute=_shown_route(route))
        if "NatGatewayId" in route:
            return self._through_nat(eni, subnet, route["NatGatewayId"], packet)
        self._acl(subnet, packet, egress=True)
        if "VpcPeeringConnectionId" in route:
            return self._through_peering(subnet, route["VpcPeeringConnectionId"], packet)
        if route.get("GatewayId", "").startswith("igw-"):
            return self._to_internet(eni, subnet, route["GatewayId"], packet)
        raise Refusal("NO_PATH", RouteTable=_named(table), RouteTableRoute=_shown_route(route))

    def _local(self, eni: NetworkInterface, packet: Packet) -> Packet:
        end = self._holder(eni.spec.vpc, packet.destination)
        if end.spec.subnet != eni.spec.subnet:
            self._acl(self._subnet(eni), packet, egress=True)
            self._acl(self._subnet(end), packet, egress=False)
        return self._at(end, packet)

    def _at(self, end: NetworkInterface, packet: Packet) -> Packet:
        """It has come to an interface: the end, or for an answer a NAT gateway on its way back."""
        if self._undone and self._undone[-1][0].meta.name == end.meta.name:
            _, source = self._undone.pop()
            packet = msgspec.structs.replace(packet, destination=source)
            self._step(end, packet)
            return self._from(end, packet)
        wanted = self._end.interface
        if wanted is None or wanted.meta.name != end.meta.name:
            raise Refusal("NO_PATH", NetworkInterface={"Id": end.meta.name})
        self._groups(end, packet, egress=False)
        self._step(end, packet)
        return packet

    def _through_nat(self, eni: NetworkInterface, subnet: Subnet, gateway_id: str, packet: Packet) -> Packet:
        gateway = self._call.get(NatGateway, gateway_id)
        inner = self._call.get(NetworkInterface, gateway.spec.interface) if gateway is not None else None
        if gateway is None or inner is None or inner.meta.name == eni.meta.name or packet.known:
            raise Refusal("NO_PATH", NatGateway={"Id": gateway_id})
        if inner.spec.subnet != eni.spec.subnet:
            self._acl(subnet, packet, egress=True)
            self._acl(self._subnet(inner), packet, egress=False)
        own = inner.spec.primary
        self.hidden.append((inner, packet.source))
        packet = msgspec.structs.replace(packet, source=own.address)
        self.steps.append(self._component(gateway_id, packet))
        return self._from(inner, packet)

    def _through_peering(self, subnet: Subnet, peering_id: str, packet: Packet) -> Packet:
        peering = self._call.get(VpcPeering, peering_id)
        if peering is None or peering.status.state != "active":
            raise Refusal("BAD_STATE_VPC_PEERING", VpcPeeringConnection={"Id": peering_id})
        far = peering.spec.other_than(self._call.scope, subnet.spec.vpc)
        inside = any(_inside(packet.destination, cidr) for cidr in far.cidrs)
        if not inside or far.scope != self._call.scope:
            raise Refusal("PCX_REQUIRES_ADDRESS_IN_VPC_CIDR", VpcPeeringConnection={"Id": peering_id})
        self.steps.append(self._component(peering_id, packet))
        end = self._holder(far.vpc, packet.destination)
        self._acl(self._subnet(end), packet, egress=False)
        return self._at(end, packet)

    def _to_internet(self, eni: NetworkInterface, subnet: Subnet, gateway_id: str, packet: Packet) -> Packet:
        public = next((one.public for one in eni.spec.addresses if one.address == packet.source), "")
        component = {"Id": gateway_id}
        if not public:
            raise Refusal("IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS", InternetGateway=component)
        passes = passing(subnet, Reader(self._call.client))
        if passes == "nothing" or (passes == "nat" and eni.spec.type != "nat_gateway"):
            raise Refusal("VPC_BLOCK_PUBLIC_ACCESS_ENABLED", InternetGateway=component, Direction="egress")
        if self._end.gateway != gateway_id:
            raise Refusal("NO_PATH", InternetGateway=component)
        packet = msgspec.structs.replace(packet, source=public)
        self.steps.append(self._component(gateway_id, packet))
        return packet

    def _from_internet(self, packet: Packet, gateway_id: str) -> Packet:
        gateway = self._call.get(InternetGateway, gateway_id)
        self.steps.append(self._component(gateway_id, packet))
        component = {"Id": gateway_id}
        wanted = self._undone[-1][0] if self._undone else self._end.interface
        if gateway is None or wanted is None or wanted.spec.vpc != gateway.spec.vpc:
            raise Refusal("NO_PATH", InternetGateway=component)
        pairs = ((one.address, one.public) for one in wanted.spec.addresses if one.public)
        inner = next((one for one, public in pairs if packet.destination in (one, public)), "")
        if not inner:
            raise Refusal("IGW_PUBLIC_IP_ASSOCIATION_FOR_INGRESS", InternetGateway=component)
        subnet = self._subnet(wanted)
        table, route = self._route(subnet, packet.source)
        if route.get("GatewayId") != gateway_id:
            raise Refusal("NO_ROUTE_TO_DESTINATION", SubnetRouteTable=_named(table), Direction="egress")
        if not packet.known and passing(subnet, Reader(self._call.client)) != "all":
            raise Refusal("VPC_BLOCK_PUBLIC_ACCESS_ENABLED", InternetGateway=component, Direction="ingress")
        packet = msgspec.structs.replace(packet, destination=inner)
        for edge in self._call.by(RouteTable, "edge", gateway_id):
            way = self._nearest(edge, inner)
            if way.get("GatewayId") != "local":  # through an appliance, of which nobody knows what it lets pass
                raise Refusal("NO_PATH", RouteTable=_named(edge), RouteTableRoute=_shown_route(way))
        self._acl(subnet, packet, egress=False)
        return self._at(wanted, packet)

    # What is looked up and asked

    def _route(self, subnet: Subnet, destination: str) -> tuple[RouteTable, Shown]:
        own = self._call.by(RouteTable, "subnet", subnet.meta.name)
        table = (own or self._call.by(RouteTable, "main", subnet.spec.vpc))[0]
        return table, self._nearest(table, destination)

    def _nearest(self, table: RouteTable, destination: str) -> Shown:
        found = [
            (ip_network(cidr).prefixlen, "DestinationPrefixListId" not in route, place, route)
            for place, route in enumerate(show_routes(self._call, table))
            for cidr in self._cidrs(route)
            if _inside(destination, cidr)
        ]
        if not found:
            raise Refusal("NO_ROUTE_TO_DESTINATION", RouteTable=_named(table), Address=destination)
        return max(found)[3]

    def _cidrs(self, route: Shown) -> list[str]:
        if "DestinationCidrBlock" in route:
            return [route["DestinationCidrBlock"]]
        return self._entries(route["DestinationPrefixListId"])

    def _entries(self, list_id: str) -> list[str]:
        found = self._call.get(PrefixList, list_id)
        return [one.cidr for one in found.spec.entries if ":" not in one.cidr] if found is not None else []

    def _holder(self, vpc: str, address: str) -> NetworkInterface:
        for eni in self._call.by(NetworkInterface, "vpc", vpc):
            ranges = [*(f"{one.address}/32" for one in eni.spec.addresses), *eni.spec.prefixes]
            if any(_inside(address, cidr) for cidr in ranges):
                return eni
        raise Refusal("NO_PATH", Vpc={"Id": vpc}, Address=address)

    def _subnet(self, eni: NetworkInterface) -> Subnet:
        found = self._call.get(Subnet, eni.spec.subnet)
        assert found is not None, "an interface's subnet stays as long as it does"
        return found

    def _acl(self, subnet: Subnet, packet: Packet, *, egress: bool) -> None:
        acl = self._call.get(NetworkAcl, subnet.spec.acl)
        remote = packet.destination if egress else packet.source
        for entry in sorted(acl.spec.entries if acl else (), key=lambda one: one.number):
            if entry.egress == egress and not entry.cidr6 and _entry_fits(entry, packet, remote):
                if entry.allow:
                    shown = {"AclRule": _shown_entry(entry), "Subnet": {"Id": subnet.meta.name}}
                    self.steps.append(self._component(subnet.spec.acl, packet) | shown)
                    return
                break
        direction = "egress" if egress else "ingress"
        named = {"Acl": {"Id": subnet.spec.acl}, "Subnet": {"Id": subnet.meta.name}, "Direction": direction}
        raise Refusal("SUBNET_ACL_RESTRICTION", **named)

    def _groups(self, eni: NetworkInterface, packet: Packet, *, egress: bool) -> None:
        if packet.known or eni.spec.open:
            return
        remote = packet.destination if egress else packet.source
        for name in eni.spec.groups:
            group = self._call.get(SecurityGroup, name)
            for rule in group.spec.rules if group is not None else ():
                if rule.egress == egress and _rule_fits(rule, packet) and self._names(eni, rule, remote):
                    self.steps.append(self._component(name, packet) | {"SecurityGroupRule": _shown_rule(rule, name)})
                    return
        groups = [{"Id": name} for name in eni.spec.groups]
        direction = "egress" if egress else "ingress"
        named = {"NetworkInterface": {"Id": eni.meta.name}, "SecurityGroups": groups, "Direction": direction}
        raise Refusal("ENI_SG_RULES_MISMATCH", **named)

    def _names(self, eni: NetworkInterface, rule: GroupRule, remote: str) -> bool:
        """Whether the rule means that address."""
        if rule.cidr:
            return _inside(remote, rule.cidr)
        if rule.prefix_list:
            return any(_inside(remote, cidr) for cidr in self._entries(rule.prefix_list))
        vpc = rule.far.vpc if rule.far is not None else eni.spec.vpc
        peering = self._call.get(VpcPeering, rule.far.peering) if rule.far is not None else None
        if rule.far is not None and (peering is None or peering.status.state != "active"):
            return False
        return any(one.spec.vpc == vpc and _has(one, remote) for one in self._members(rule.group))

    def _members(self, group: str) -> Iterator[NetworkInterface]:
        yield from (one for one in self._call.by(NetworkInterface, "group", group) if one.spec.attachment)

    def _step(self, eni: NetworkInterface, packet: Packet) -> None:
        shown: Shown = {"Subnet": {"Id": eni.spec.subnet}, "Vpc": {"Id": eni.spec.vpc}}
        if eni.spec.attachment is not None and eni.spec.attachment.instance:
            shown["AttachedTo"] = {"Id": eni.spec.attachment.instance}
        self.steps.append(self._component(eni.meta.name, packet) | shown)

    def _add(self, table: RouteTable, packet: Packet, **shown: Any) -> None:
        self.steps.append(self._component(table.meta.name, packet) | shown)

    def _component(self, name: str, packet: Packet) -> Shown:
        header = {
            "DestinationAddresses": [packet.destination],
            "DestinationPortRanges": [{"From": packet.port, "To": packet.port}],
            "Protocol": NUMBERS[packet.protocol],
            "SourceAddresses": [packet.source],
        }
        return {"SequenceNumber": 0, "Component": {"Id": name}, "OutboundHeader": header}


def _inside(address: str, cidr: str) -> bool:
    return ip_address(address) in ip_network(cidr)


def _has(eni: NetworkInterface, address: str) -> bool:
    ranges = [*(f"{one.address}/32" for one in eni.spec.addresses), *eni.spec.prefixes]
    return any(_inside(address, cidr) for cidr in ranges)


def _entry_fits(entry: AclEntry, packet: Packet, remote: str) -> bool:
    if entry.protocol not in ("-1", NUMBERS[packet.protocol]) or not _inside(remote, entry.cidr):
        return False
    return entry.ports is None or entry.ports[0] <= packet.port <= entry.ports[1]


def _rule_fits(rule: GroupRule, packet: Packet) -> bool:
    if rule.protocol == "-1":
        return True
    return rule.protocol == packet.protocol and rule.from_port <= packet.port <= rule.to_port


def _named(table: RouteTable) -> Shown:
    return {"Id": table.meta.name}


def _shown_route(route: Shown) -> Shown:
    """AWS: ec2 AnalysisRouteTableRoute."""
    shown = dict(route)
    shown.pop("InstanceOwnerId", None)
    if "DestinationCidrBlock" in shown:
        shown["DestinationCidr"] = shown.pop("DestinationCidrBlock")
    return shown


def _shown_entry(entry: AclEntry) -> Shown:
    """AWS: ec2 AnalysisAclRule."""
    shown: Shown = {
        "Cidr": entry.cidr,
        "Egress": entry.egress,
        "Protocol": "all" if entry.protocol == "-1" else entry.protocol,
        "RuleAction": "allow" if entry.allow else "deny",
        "RuleNumber": entry.number,
    }
    return shown | ({"PortRange": {"From": entry.ports[0], "To": entry.ports[1]}} if entry.ports else {})


def _shown_rule(rule: GroupRule, group: str) -> Shown:
    """AWS: ec2 AnalysisSecurityGroupRule."""
    shown: Shown = {"Direction": "egress" if rule.egress else "ingress", "Protocol": rule.protocol.replace("-1", "all")}
    for name, value in (("Cidr", rule.cidr), ("PrefixListId", rule.prefix_list), ("SecurityGroupId", rule.group)):
        if value:
            shown[name] = value
    if rule.from_port != -1:
        shown["PortRange"] = {"From": rule.from_port, "To": rule.to_port}
    return shown
