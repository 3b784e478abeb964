"""The simulated twins of netns.py and firewalls.py: networks and rule sets that are only remembered. For `up --simulate` and for tests. What a rule
set lets through is told in simulated_packets.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from typing import Literal

from gureum.drivers.networks.network_names import checked_home, checked_name
from gureum.ports import PortError
from gureum.ports.firewalls import BalancedCounts, Entrance, RuleSet
from gureum.ports.networks import (
    EdgeSpec,
    InterfaceCounters,
    InterfaceSpec,
    NetworkSpec,
    Observed,
    Passage,
    SandboxPaths,
    SandboxSpec,
)

_UID_BASE = 1_000_000_000


class SimulatedNetworks:
    """Fills the port Networks in memory."""

    def __init__(self, home_id: str = "sim0") -> None:
        self._home_id = checked_home(home_id)
        self.edge: EdgeSpec | None = None
        self.networks: dict[str, NetworkSpec] = {}
        self.sandboxes: dict[str, SandboxSpec] = {}
        self.interfaces: dict[str, InterfaceSpec] = {}

    async def ensure_edge(self, spec: EdgeSpec) -> None:
        self.edge = spec

    async def remove_edge(self) -> None:
        self.edge = None

    async def ensure_network(self, spec: NetworkSpec) -> None:
        checked_name(spec.name)
        if spec.uplink and self.edge is None:
            raise PortError("the edge does not exist yet")
        self.networks[spec.name] = spec

    async def remove_network(self, name: str) -> None:
        self.networks.pop(checked_name(name), None)
        self.interfaces = {key: one for key, one in self.interfaces.items() if one.network != name}

    async def ensure_sandbox(self, spec: SandboxSpec) -> SandboxPaths:
        self.sandboxes[checked_name(spec.name)] = spec
        place = f"/simulated/{self._home_id}"
        if not spec.guest:
            return SandboxPaths(f"{place}/net/{spec.name}", "", 0)
        return SandboxPaths(f"{place}/net/{spec.name}", f"{place}/user/{spec.name}", _UID_BASE)

    async def remove_sandbox(self, name: str) -> None:
        self.sandboxes.pop(checked_name(name), None)
        self.interfaces = {key: one for key, one in self.interfaces.items() if one.sandbox != name}

    async def ensure_passage(self, sandbox: str, passage: Passage) -> None:
        if sum(one.sandbox == checked_name(sandbox) for one in self.interfaces.values()) < 2:
            raise PortError("the passage has not both its interfaces yet")

    async def ensure_interface(self, spec: InterfaceSpec) -> None:
        for name in (spec.name, spec.network, spec.sandbox or "-"):
            checked_name(name)
        if spec.network not in self.networks:
            raise PortError(f"network {spec.network} does not exist yet")
        if spec.sandbox and spec.sandbox not in self.sandboxes:
            raise PortError(f"sandbox {spec.sandbox} does not exist yet")
        if spec.sandbox:
            self.interfaces[spec.name] = spec
        else:
            self.interfaces.pop(spec.name, None)

    async def remove_interface(self, name: str) -> None:
        self.interfaces.pop(checked_name(name), None)

    def open_socket(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"]) -> socket.socket:
        """Inside a network: a socket on the host's loopback at a port of the kernel's choice, which nobody knows of."""
        if network and network not in self.networks:
            raise _nowhere(network, address, port)
        opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.bind(("127.0.0.1", 0) if network else (address, port))
        except OSError as error:
            opened.close()
            raise PortError(f"cannot listen on {address}:{port} in the host: {error.strerror}") from error
        if kind == "tcp":
            opened.listen()
        return opened

    def open_in_sandbox(self, sandbox: str, address: str, port: int) -> socket.socket:
        """As `open_socket` inside a network."""
        if all(one.sandbox != sandbox or address not in one.addresses for one in self.interfaces.values()):
            raise _nowhere(sandbox, address, port)
        opened = socket.create_server(("127.0.0.1", 0))
        opened.setblocking(False)
        return opened

    async def observe(self) -> Observed:
        return Observed(
            self.edge is not None, frozenset(self.networks), frozenset(self.sandboxes), frozenset(self.interfaces)
        )

    async def counters(self) -> dict[str, InterfaceCounters]:
        """Nothing flows here."""
        attached = (name for name, spec in self.interfaces.items() if spec.sandbox)
        return {name: InterfaceCounters(0, 0, 0, 0) for name in attached}

    async def close(self) -> None:
        pass


class SimulatedFirewalls:
    """Fills the port Firewalls in memory. With `networks` it knows, as the real one does, which networks exist."""

    def __init__(self, networks: SimulatedNetworks | None = None) -> None:
        self._networks = networks
        self.rules: dict[str, RuleSet] = {}

    async def apply(self, rules: RuleSet) -> None:
        checked_name(rules.network)
        if self._networks is not None and rules.network not in self._networks.networks:
            raise PortError(f"network {rules.network} does not exist yet")
        self.rules[rules.network] = rules

    async def end_flows(self, network: str, address: str, port: int, by: Collection[Entrance]) -> None:
        pass

    async def balanced_counts(self, network: str, active: bool) -> list[BalancedCounts]:
        return []

    async def forget(self, network: str) -> None:
        self.rules.pop(network, None)

    async def close(self) -> None:
        pass


def _nowhere(place: str, address: str, port: int) -> PortError:
    return PortError(f"cannot listen on {address}:{port} in {place}: No such file or directory")
