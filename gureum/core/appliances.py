"""Which appliances stand at a network's entrance, as pure values: told by its routes.

client ═► gate ═► machine        the gateway's table names `gate` for the machine's subnet
       ◄═ gate ◄═                the subnet's way out leads back through it,
       ◄═ other ◄═               or through another: asymmetric, which AWS allows and appliances that keep no state carry
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from ipaddress import IPv4Network

from gureum.ports.firewalls import Appliance
from gureum.ports.networks import NetworkSpec, Route, Subnet

_INTERFACE = "interface:"


def appliances_of(network: NetworkSpec, there: Container[str]) -> Iterator[Appliance]:
    """`there`: interfaces that are plugged."""
    for route in network.entrance:
        gate = _interface(route)
        if gate not in there:
            continue
        yield Appliance(gate, route.destination)
        for subnet in network.subnets:
            if IPv4Network(subnet.cidr).subnet_of(IPv4Network(route.destination)):
                for other in ways_out(network, subnet):
                    if other != gate and other in there:
                        yield Appliance(other, subnet.cidr)


def ways_out(network: NetworkSpec, subnet: Subnet) -> list[str]:
    """Interfaces that a subnet's table names for what is outside of the network, each once."""
    own = [IPv4Network(cidr) for cidr in network.cidrs]
    outside = (one for one in subnet.routes if not any(IPv4Network(one.destination).subnet_of(cidr) for cidr in own))
    return sorted({name for route in outside if (name := _interface(route))})


def _interface(route: Route) -> str:
    """An empty one for a route that leads elsewhere."""
    return route.target.removeprefix(_INTERFACE) if route.target.startswith(_INTERFACE) else ""
