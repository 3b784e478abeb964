"""The simulated twin of checks.py: nobody is asked. For `up --simulate` and for tests."""

from __future__ import annotations

from collections.abc import Sequence

from gureum.ports.checks import Asked, Outcome, Probe


class SimulatedChecks:
    """Fills ports.checks.Checks. `outcomes` says what a target (address, port) answers, `outcomes_from` what one place (its sandbox) finds of it
    (sandbox, address, port); one that is in neither passes. `silent`: interfaces that do not answer ARP."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self.outcomes_from: dict[tuple[str, str, int], Outcome] = {}
        self.silent: set[str] = set()
        self.asked: list[tuple[str, str, str, int, Probe]] = []

    async def check(self, sandbox: str, source: str, address: str, port: int, probe: Probe) -> Outcome:
        self.asked = [*self.asked[-999:], (sandbox, source, address, port, probe)]
        found = self.outcomes_from.get((sandbox, address, port))
        return found or self.outcomes.get((address, port), Outcome(True))

    async def answering(self, network: str, asked: Sequence[Asked]) -> frozenset[str]:
        return frozenset(one.interface for one in asked if one.interface not in self.silent)

    async def close(self) -> None:
        pass
