"""Packets through what is planned for the machine: routes (drivers/networks/routes.py) and rules (drivers/nft/table.py) of all networks, with the
edge and NAT gateways between them. The rules are evaluated by the model of nftables.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address, ip_network

from gureum.core.networks import plan_rules
from gureum.core.specs import FirewallGroup, Interface, Network
from gureum.drivers.networks.netlink import MAIN_TABLE, THROW, UNICAST, Route
from gureum.drivers.networks.network_names import UPLINK, interface_link, peer_link
from gureum.drivers.networks.routes import Placed, plan, subnet_table
from gureum.drivers.nft.table import table
from gureum.drivers.simulated.packets import Packet
from tests.drivers.nft.nft_model import Evaluation

LIMIT_HOPS = 8


class Hop(Evaluation):
    """One packet in one network, from link to link."""

    def enter(self, incoming: str, outgoing: str) -> bool:
        self._meta |= {"iifname": incoming, "oifname": outgoing}
        return self.hook("raw-prerouting") == "accept" and self.hook("forward") == "accept"


class Router:
    """What is planned for one network."""

    def __init__(self, network: Network, groups: Iterable[FirewallGroup], interfaces: list[Interface]) -> None:
        spec = network.network
        self.rules = table(plan_rules(network, [one for one in groups if one.network == spec.name], interfaces))
        self.links = {1: UPLINK}
        self.placed, peers = {}, {}
        for one in interfaces:
            link = len(self.links) + 1
            eni = one.interface
            forward = 0 if eni.source_check else subnet_table(eni.subnet)
            name = interface_link(eni.name)
            self.placed[eni.name] = Placed(link, name, f"{eni.name}@", eni.addresses, eni.gateway, eni.mac, forward)
            self.links[link] = name
        self.peers = {}
        for peer in spec.peers:
            peers[peer.name] = len(self.links) + 1
            self.links[peers[peer.name]] = peer_link(peer.name)
            self.peers[peer_link(peer.name)] = peer.network
        self.plan = plan(spec, self.placed, 1 if spec.uplink else 0, peers)

    def out(self, source: str, destination: str, incoming: str) -> str:
        """The link that the packet leaves by, "" for none."""
        tables = [
            rule.table
            for rule in sorted(self.plan.rules, key=lambda rule: rule.priority)
            if not rule.mark
            and rule.incoming in ("", incoming)
            and (not rule.source or ip_address(source) in ip_network(rule.source))
        ]
        for number in (*tables, MAIN_TABLE):
            route = self._longest(number, ip_address(destination))
            if route is not None and route.kind != THROW:
                return self.links[route.link] if route.kind == UNICAST else ""
        return ""

    def _longest(self, number: int, destination: IPv4Address) -> Route | None:
        found = [one for one in self.plan.routes if one.table == number and destination in ip_network(one.destination)]
        return max(found, key=lambda one: ip_network(one.destination).prefixlen, default=None)


class Planned:
    """All networks. `translators`: interfaces that are NAT gateways."""

    def __init__(
        self,
        networks: dict[str, Network],
        groups: list[FirewallGroup],
        interfaces: dict[str, Interface],
        translators: set[str],
    ) -> None:
        self.interfaces, self.translators = interfaces, translators
        self.routers = {
            name: Router(one, groups, [eni for eni in interfaces.values() if eni.interface.network == name])
            for name, one in networks.items()
        }
        self._by_link = {interface_link(name): name for name in interfaces}
        self._publics = {
            public: one.interface.network for one in interfaces.values() for _, public in one.interface.public
        }

    def opens(self, source: str, destination: str, port: int) -> str:
        """Where a connection from that interface ends: the interface that it opens at, "" for none. Answers find back, too."""
        first = Packet("", "", self._address(source), destination, "tcp", (40000, port))
        there = self._travel(source, first)
        if there is None:
            return ""
        end, arrived, gateways = there
        reply = Packet("", "", arrived.destination, arrived.source, "tcp", (port, 40000), known=True)
        back = self._travel(end, reply, gateways)
        return end if back is not None and back[0] == source else ""

    def _travel(
        self, start: str, packet: Packet, back_through: list[tuple[str, str]] | None = None
    ) -> tuple[str, Packet, list[tuple[str, str]]] | None:
        """(where it arrives, as what, the NAT gateways on the way with the sources that they hid). `back_through`: a reply undoes those."""
        network, incoming = self.interfaces[start].interface.network, interface_link(start)
        hidden, undo = [], list(back_through or ())
        for _ in range(LIMIT_HOPS):
            router = self.routers[network]
            destination = packet.destination
            if incoming == UPLINK:
                maps = router.rules.sets["to-private"].entries
                if destination not in maps:
                    return None
                destination = maps[destination]
            outgoing = router.out(packet.source, destination, incoming)
            as_seen = Packet("", "", packet.source, destination, packet.protocol, packet.ports, packet.known)
            if not outgoing or not Hop(router.rules, as_seen).enter(incoming, outgoing):
                return None
            packet = as_seen
            if outgoing == UPLINK:
                shown = router.rules.sets["to-public"].entries.get(packet.source)
                if shown is None or packet.destination not in self._publics:
                    return None
                packet = Packet("", "", shown, packet.destination, packet.protocol, packet.ports, packet.known)
                network, incoming = self._publics[packet.destination], UPLINK
            elif outgoing in router.peers:
                network, incoming = router.peers[outgoing], outgoing
            else:
                end = self._by_link[outgoing]
                if end not in self.translators:
                    own = self.interfaces[end].interface.addresses
                    return (end, packet, hidden) if packet.destination in own else None
                step = self._translated(end, packet, undo)
                if step is None:
                    return None
                if not packet.known:
                    hidden.append((end, packet.source))
                packet, incoming = step, outgoing
        return None

    def _translated(self, gateway: str, packet: Packet, undo: list[tuple[str, str]]) -> Packet | None:
        own = self._address(gateway)
        if packet.known:
            if not undo or undo[-1][0] != gateway or packet.destination != own:
                return None
            _, source = undo.pop()
            return Packet("", "", packet.source, source, packet.protocol, packet.ports, known=True)
        if packet.source == own or packet.destination == own:
            return None
        return Packet("", "", own, packet.destination, packet.protocol, packet.ports)

    def _address(self, interface: str) -> str:
        return self.interfaces[interface].interface.addresses[0]
