"""An agent on simulated drivers and a store in memory, and a machine's worth of wishes for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from gureum.base.clock import SystemClock
from gureum.core import specs
from gureum.core.machine import Status
from gureum.core.service import AgentService
from gureum.engine.lowering import Desired
from gureum.ports.firewalls import Group, Rule
from gureum.ports.metadata import InstanceMetadata
from gureum.ports.names import Record
from gureum.ports.networks import EdgeSpec, InterfaceSpec, NetworkSpec, SandboxSpec, Subnet
from gureum.ports.volumes import VolumeSpec
from gureum.simulated import NoShelf, simulated_ports
from gureum.store.contract import Store
from gureum.store.memory import MemoryStore

GIB = 1 << 30


class Agent:
    """`service` on `ports` (simulated); `told`: every status in order."""

    def __init__(self, store: Store | None = None, ports: Any = None) -> None:
        self.store = store or MemoryStore()
        self.ports = ports or simulated_ports(SystemClock())
        self.service = AgentService(self.store, self.ports, NoShelf(), EdgeSpec("198.18.16.0/20"))
        self.told: list[Status] = []
        self.service.subscribe(self.told.append)

    @property
    def status(self) -> dict[str, Status]:
        return self.service.machine.status

    async def until(self, look: Callable[[], Any], limit_s: float = 10.0) -> Any:
        async def wait() -> Any:
            while not (found := look()):
                await asyncio.sleep(0.005)
            return found

        return await asyncio.wait_for(wait(), limit_s)

    async def ready(self, *ids: str) -> None:
        await self.until(lambda: all(id_ in self.status and self.status[id_].phase == "ready" for id_ in ids))


def network(name: str = "vpc-1", internet: tuple[str, ...] = ()) -> Desired:
    spec = NetworkSpec(name, ("10.0.0.0/16",), (Subnet("subnet-1", "10.0.1.0/24", "10.0.1.1"),))
    return Desired("Network", name, "ec2.Vpc/x/vpc-1", specs.Network(spec, internet))


def group(name: str = "sg-1", *, port: int = 80) -> Desired:
    rules = (Rule("in", "tcp", (port, port), cidr="0.0.0.0/0"), Rule("out", "all", cidr="0.0.0.0/0"))
    return Desired("FirewallGroup", name, "ec2.SecurityGroup/x/sg-1", specs.FirewallGroup("vpc-1", Group(name, rules)))


def machine(name: str = "i-1", *, boot: int = 1, **container: Any) -> list[Desired]:
    """Everything one instance is lowered to, its interface and volume included."""
    owner = f"ec2.Instance/x/{name}"
    eni, volume = f"eni-{name}", f"vol-{name}"
    number = sum(name.encode()) % 200 + 10
    interface = InterfaceSpec(
        eni, "vpc-1", "subnet-1", f"02:00:00:00:00:{number:02x}", (f"10.0.1.{number}",), 24, "10.0.1.1", sandbox=name
    )
    wish = specs.Container(sandbox=name, image=name, volume=volume, interfaces=(eni,), boot=boot, stop_timeout_s=1.0)
    return [
        Desired("Sandbox", name, owner, specs.Sandbox(SandboxSpec(name, name))),
        Desired("Image", name, owner, specs.Image("builtin:busybox")),
        Desired("Volume", volume, owner, specs.Volume(VolumeSpec(volume, GIB))),
        Desired("Interface", eni, owner, specs.Interface(interface, ("sg-1",))),
        Desired("Container", name, owner, msgspec.structs.replace(wish, **container)),
        Desired(
            "Metadata",
            name,
            owner,
            specs.Metadata(InstanceMetadata(name, "vpc-1", (f"10.0.1.{number}",), {"meta-data/instance-id": name})),
        ),
        Desired("Names", eni, owner, specs.Names((Record(f"{name}.ec2.internal", "A", (f"10.0.1.{number}",)),))),
    ]
