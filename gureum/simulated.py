"""`--simulate`: the daemon with an agent on simulated drivers in one process. The state machines move, nothing runs, no root is needed.

The supervisor starts this module in the place of `gureum.daemon`; there is no agent process then.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from gureum.base.clock import SystemClock
from gureum.base.homes import Home, load_home
from gureum.base.settings import Settings, load_settings
from gureum.base.supervised import Supervised
from gureum.core.agent_link import LocalLink
from gureum.core.machine import Ports, Status
from gureum.core.service import MINUTE_S, AgentService
from gureum.daemon import Daemon, run_process
from gureum.drivers.keys.late_ca import LateCa
from gureum.drivers.simulated.checks import SimulatedChecks
from gureum.drivers.simulated.consoles import SimulatedConsoles
from gureum.drivers.simulated.flows import SimulatedFlows
from gureum.drivers.simulated.images import SimulatedImages
from gureum.drivers.simulated.machine import SimulatedContainers, SimulatedVolumes
from gureum.drivers.simulated.network import SimulatedFirewalls, SimulatedNetworks
from gureum.drivers.simulated.proxies import SimulatedProxies
from gureum.engine.lowering import Desired
from gureum.ports import PortError
from gureum.ports.certificates import IdentitySignatures, Issued, KeyType
from gureum.ports.clock import Clock
from gureum.ports.gates import Gate
from gureum.ports.metadata import InstanceMetadata
from gureum.ports.names import Record, Zone
from gureum.ports.networks import EdgeSpec
from gureum.store.memory import MemoryStore


class SimulatedNames:
    """`ports.names.Names` that remembers; nobody asks."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[Record, ...]] = {}

    def replace(self, owner: str, records: tuple[Record, ...], zones: tuple[Zone, ...] = ()) -> None:
        self.records[owner] = records

    def forget(self, owner: str) -> None:
        self.records.pop(owner, None)

    def forward(self, upstreams: tuple[str, ...]) -> None:
        pass

    async def serve(self, view: str, sockets: Sequence[socket.socket], *, closed: bool = False) -> None:
        _close(sockets)

    async def stop(self, view: str) -> None:
        pass

    def resolve(self, view: str, name: str, rtype: str) -> tuple[str, ...]:
        found = [one for records in self.records.values() for one in records if (one.name, one.type) == (name, rtype)]
        return found[0].values if found else ()

    async def close(self) -> None:
        pass


class SimulatedMetadata:
    """`ports.metadata.Metadata` that remembers; nobody asks."""

    def __init__(self) -> None:
        self.documents: dict[str, InstanceMetadata] = {}

    def replace(self, document: InstanceMetadata) -> None:
        self.documents[document.owner] = document

    def forget(self, owner: str) -> None:
        self.documents.pop(owner, None)

    async def serve(self, network: str, sockets: Sequence[socket.socket]) -> None:
        _close(sockets)

    async def stop(self, network: str) -> None:
        pass

    async def close(self) -> None:
        pass


class SimulatedGates:
    """`ports.gates.Gates` by which nobody comes."""

    async def serve(
        self,
        gate: Gate,
        sockets: Sequence[socket.socket],
        secure: Sequence[socket.socket] = (),
        certificate: Issued | None = None,
    ) -> None:
        _close((*sockets, *secure))

    async def stop(self, name: str) -> None:
        pass

    async def close(self) -> None:
        pass


class NoCertificates:
    """`ports.certificates.Certificates` of a machine without a folder to keep an authority in."""

    async def ca_pem(self) -> bytes:
        raise _no_authority()

    async def issue(
        self, names: tuple[str, ...], ips: tuple[str, ...] = (), *, days: int = 397, key_type: KeyType = "ec"
    ) -> Issued:
        raise _no_authority()

    async def identity_pem(self) -> bytes:
        raise _no_authority()

    async def sign_identity(self, document: bytes) -> IdentitySignatures:
        raise _no_authority()


def _no_authority() -> PortError:
    return PortError("this simulation has no certificate authority", retry=False)


class NoShelf:
    """Nothing outlives a simulation."""

    def take(self, name: str) -> socket.socket | None:
        return None

    def put(self, name: str, sock: socket.socket) -> None:
        pass

    def remove(self, name: str) -> None:
        pass


def simulated_ports(clock: Clock, ca: Path | None = None) -> Ports:
    """A machine in memory. `ca`: the folder of its certificate authority, which is a real one; without one nothing can be issued."""
    images = SimulatedImages()
    networks = SimulatedNetworks()
    containers = SimulatedContainers(clock)
    return Ports(
        networks=networks,
        firewalls=SimulatedFirewalls(networks),
        images=images,
        volumes=SimulatedVolumes(images),
        containers=containers,
        names=SimulatedNames(),
        metadata=SimulatedMetadata(),
        proxies=SimulatedProxies(),
        checks=SimulatedChecks(),
        certificates=NoCertificates() if ca is None else LateCa(ca, clock),
        clock=clock,
        flows=SimulatedFlows(),
        gates=SimulatedGates(),
        consoles=SimulatedConsoles(containers, clock),
    )


def make_link(
    home: Home, settings: Settings
) -> Callable[[Callable[[], list[Desired]], Callable[[Status], None]], LocalLink]:
    """The link to an agent in this process."""

    def make(desired: Callable[[], list[Desired]], told: Callable[[Status], None]) -> LocalLink:
        ports = simulated_ports(SystemClock(), home.path / "ca")
        period_s = settings.metrics_period_s or MINUTE_S
        service = AgentService(MemoryStore(), ports, NoShelf(), EdgeSpec(home.pool), metrics_period_s=period_s)
        return LocalLink(service, desired, told)

    return make


def _close(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def main() -> None:
    supervised = Supervised()
    settings = load_settings()
    home = load_home(settings)
    assert home is not None, "the supervisor opens the home first"
    run_process(Daemon(home, settings, supervised, make_link(home, settings)), settings, supervised)


if __name__ == "__main__":
    main()
