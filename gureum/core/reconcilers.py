"""Which function brings which core kind about, and which takes it away: the table the agent's loop works by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gureum.core.answers import AnswerKinds
from gureum.core.application_ports import Later
from gureum.core.balancers import BalancingKinds
from gureum.core.containers import ContainerKinds
from gureum.core.flow_logs import FlowKinds
from gureum.core.gates import GateKinds
from gureum.core.images import ImageKinds
from gureum.core.machine import Machine
from gureum.core.networks import NetworkKinds
from gureum.core.volumes import VolumeKinds
from gureum.engine.errors import Broken, Retry
from gureum.ports import PortError

Handler = Callable[[str, Any], Awaitable[None]]


class Reconcilers:
    """`work(id)` makes the machine agree with what is desired of that id, or takes away what is leaving."""

    def __init__(
        self,
        machine: Machine,
        networks: NetworkKinds,
        images: ImageKinds,
        volumes: VolumeKinds,
        containers: ContainerKinds,
        answers: AnswerKinds,
        balancing: BalancingKinds,
        flow_logs: FlowKinds,
        gates: GateKinds,
    ) -> None:
        self._machine = machine
        self._table: dict[str, tuple[Handler, Handler]] = {
            "Network": (networks.network, networks.network_gone),
            "FirewallGroup": (networks.firewall_group, networks.firewall_group_gone),
            "Sandbox": (networks.sandbox, networks.sandbox_gone),
            "Interface": (networks.interface, networks.interface_gone),
            "Passage": (networks.passage, networks.passage_gone),
            "Image": (images.image, images.image_gone),
            "Volume": (volumes.volume, volumes.volume_gone),
            "Snapshot": (volumes.snapshot, volumes.snapshot_gone),
            "Container": (containers.container, containers.container_gone),
            "Metadata": (answers.metadata, answers.metadata_gone),
            "Names": (answers.names, answers.names_gone),
            "TargetGroup": (balancing.target_group, balancing.target_group_gone),
            "Proxy": (balancing.proxy, balancing.proxy_gone),
            "Balancer": (balancing.balancer, balancing.balancer_gone),
            "BalancerNames": (balancing.balancer_names, balancing.balancer_names_gone),
            "FlowLog": (flow_logs.flow_log, flow_logs.flow_log_gone),
            "Gate": (gates.gate, gates.gate_gone),
        }

    async def work(self, id_: str) -> None:
        machine = self._machine
        desired = machine.desired.get(id_)
        leaving = machine.leaving.get(id_)
        if desired is not None:
            with machine.working_on(desired), self._failures_told(id_):
                await self._table[desired.kind][0](id_, desired.spec)
        elif leaving is not None and not machine.users(id_):
            with machine.working_on(leaving), self._failures_told(id_):
                await self._table[leaving.kind][1](id_, leaving.spec)
                machine.forget(id_)

    @contextmanager
    def _failures_told(self, id_: str) -> Iterator[None]:
        """What a handler raises is the status of its object, and Retry or Broken to the loop."""
        machine = self._machine
        try:
            yield
        except Later:
            raise
        except Retry as retry:
            machine.set_status(id_, "pending", retry.why)
            raise
        except Broken as broken:
            machine.set_status(id_, "failed", broken.why)
            raise
        except PortError as refused:
            machine.set_status(id_, "pending" if refused.retry else "failed", refused.why)
            raise (Retry(refused.why) if refused.retry else Broken(refused.why)) from refused
