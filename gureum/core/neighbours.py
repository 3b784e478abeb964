"""What the rest of gureum may ask of the neighbours: services that it does not build itself, answered in this process (aws/neighbours)."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

LIMIT_KNOWN = 4096
SERVER_CERTIFICATE = "server certificate with its key"
"""In the place of an operation of "iam": what no operation of AWS tells. Parameters: "Arn" or "Name". Result: "Id", "Arn", and the PEM texts "Body",
"Chain" ("" for none) and "Key". NeighbourRefused "NoSuchEntity"."""
NOT_ANSWERS = frozenset({"ServiceUnavailable", "InternalFailure", "InternalError", "NotImplemented", "Throttling"})
"""Codes that say nothing of what was asked."""


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

    def revision(self, service: str) -> int:
        """Another number after anything of the service has changed."""
        ...


class NoNeighbours:
    """Nobody lives there."""

    def answers(self, service: str) -> bool:
        return False

    async def ask(
        self, service: str, operation: str, account: str, region: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        raise NeighbourRefused("NotImplemented", f"{service} is not answered here")

    def revision(self, service: str) -> int:
        return 0


class Question(msgspec.Struct, frozen=True):
    """A call that only reads. `params`: names and values, in order."""

    service: str
    operation: str
    account: str
    region: str
    params: tuple[tuple[str, str], ...]


class Unasked(Exception):
    """Who decides without waiting needs an answer that is not known yet: ask (`Known.ask`), then let him decide again from his beginning, as
    after a Conflict."""

    def __init__(self, question: Question) -> None:
        super().__init__(f"{question.service} {question.operation}")
        self.question = question


class Known:
    """Answers of neighbours that still hold: nothing of the service has changed since. So plans, which do not wait, can look at IAM and KMS."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self._answers: dict[Question, tuple[int, dict[str, Any] | NeighbourRefused]] = {}

    def answers(self, service: str) -> bool:
        return self._neighbours.answers(service)

    def answer(self, service: str, operation: str, account: str, region: str, **params: str) -> dict[str, Any]:
        """What the neighbour says. Unasked when nobody has asked it since it last changed; NeighbourRefused."""
        question = Question(service, operation, account, region, tuple(params.items()))
        revision, found = self._answers.get(question, (-1, {}))
        if revision != self._neighbours.revision(service):
            raise Unasked(question)
        if isinstance(found, NeighbourRefused):
            raise NeighbourRefused(found.code, found.text)
        return found

    async def ask(self, question: Question) -> None:
        """NeighbourRefused when it cannot answer now."""
        revision = self._neighbours.revision(question.service)
        found: dict[str, Any] | NeighbourRefused
        place = (question.service, question.operation, question.account, question.region)
        try:
            found = await self._neighbours.ask(*place, dict(question.params))
        except NeighbourRefused as refused:
            if refused.code in NOT_ANSWERS:
                raise
            found = refused
        if len(self._answers) >= LIMIT_KNOWN:
            self._answers.clear()
        self._answers[question] = (revision, found)
