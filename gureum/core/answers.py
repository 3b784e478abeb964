"""Metadata and names: what the machine's own servers answer to guests."""

from __future__ import annotations

from gureum.core.machine import Machine
from gureum.core.specs import Metadata, Names


class AnswerKinds:
    """Reconcile and teardown of Metadata and Names. Both are in memory of the agent's servers, so they are handed over again after a restart."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def metadata(self, id_: str, spec: Metadata) -> None:
        self._machine.ports.metadata.replace(spec.document)
        self._machine.set_status(id_, "ready")

    async def metadata_gone(self, id_: str, spec: Metadata) -> None:
        self._machine.ports.metadata.forget(spec.document.owner)

    async def names(self, id_: str, spec: Names) -> None:
        self._machine.ports.names.replace(id_, spec.records, spec.zones)
        self._machine.set_status(id_, "ready")

    async def names_gone(self, id_: str, spec: Names) -> None:
        self._machine.ports.names.forget(id_)
