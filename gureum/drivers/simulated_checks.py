"""The simulated twin of checks.py: nobody is asked. For `up --simulate` and for tests."""

from __future__ import annotations

from gureum.ports.checks import Outcome, Probe


class SimulatedChecks:
    """Fills ports.checks.Checks. `outcomes` says what a target (address, port) answers; one that is not in it passes."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self.asked: list[tuple[str, str, str, int, Probe]] = []

    async def check(self, sandbox: str, source: str, address: str, port: int, probe: Probe) -> Outcome:
        self.asked = [*self.asked[-999:], (sandbox, source, address, port, probe)]
        return self.outcomes.get((address, port), Outcome(True))

    async def close(self) -> None:
        pass
