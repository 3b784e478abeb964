"""What the rest of gureum may ask of the neighbours: services that it does not build itself, answered in this process (aws/neighbours)."""

from __future__ import annotations

from typing import Any, Protocol


class NeighbourRefused(Exception):
    """The neighbour's own error. `code`: as AWS names it ("NoSuchBucket")."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Neighbours(Protocol):
    def answers(self, service: str) -> bool:
        """Whether calls of the service are answered ("s3"); False too where its engine is not installed."""
        ...

    async def ask(
        self, service: str, operation: str, account: str, region: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        """Calls an operation with botocore's parameters and gives its result, durable as if a client had called. NeighbourRefused for the
        neighbour's own errors and where it cannot answer."""
        ...


class NoNeighbours:
    """Nobody lives there."""

    def answers(self, service: str) -> bool:
        return False

    async def ask(
        self, service: str, operation: str, account: str, region: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        raise NeighbourRefused("NotImplemented", f"{service} is not answered here")
