"""Gates at interfaces: where machines reach one service of the API by an address of their network (ec2's interface endpoints).

The sockets outlive the agent; the certificate does not, a new agent has another issued. It is good for longer than an agent lives.
"""

from __future__ import annotations

import socket

from gureum.core.machine import Machine
from gureum.core.networks import SocketShelf
from gureum.core.specs import Gate
from gureum.engine.errors import Broken
from gureum.ports import gates

PLAIN_PORT, TLS_PORT = 80, 443
CERTIFICATE_DAYS = 825


class GateKinds:
    """Reconcile and teardown of Gate."""

    def __init__(self, machine: Machine, shelf: SocketShelf) -> None:
        self._machine = machine
        self._shelf = shelf
        self._sockets: dict[str, socket.socket] = {}

    async def gate(self, id_: str, spec: Gate) -> None:
        self._machine.need(id_, f"Sandbox/{spec.sandbox}")
        self._machine.need(id_, f"Interface/{spec.interface}")
        ports = self._machine.ports
        if ports.gates is None:
            raise Broken("machines do not reach the API here (the setting guest_api)")
        plain, secure = (self._socket(name, spec, port).dup() for name, port in _sockets_of(spec))
        issued = await ports.certificates.issue(spec.names, days=CERTIFICATE_DAYS)
        gate = gates.Gate(spec.interface, spec.network, spec.service)
        await ports.gates.serve(gate, [plain], [secure], issued)
        self._machine.set_status(id_, "ready")

    async def gate_gone(self, id_: str, spec: Gate) -> None:
        if self._machine.ports.gates is not None:
            await self._machine.ports.gates.stop(spec.interface)
        for name, _ in _sockets_of(spec):
            self._shelf.remove(name)
            if (held := self._sockets.pop(name, None)) is not None:
                held.close()

    def _socket(self, name: str, spec: Gate, port: int) -> socket.socket:
        held = self._sockets.get(name) or self._shelf.take(name)
        if held is None:
            held = self._machine.ports.networks.open_in_sandbox(spec.sandbox, spec.address, port)
            self._shelf.put(name, held)
        self._sockets[name] = held
        return held


def _sockets_of(spec: Gate) -> list[tuple[str, int]]:
    return [(f"gate-{spec.interface}/tcp/{spec.address}/{port}", port) for port in (PLAIN_PORT, TLS_PORT)]
