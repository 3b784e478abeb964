"""What was counted against a quota is still so when it is committed, also of calls at once."""

from __future__ import annotations

from gureum.aws.call import Call
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, kind_of, make_key

NEAR = 64
"""Farther from its quota a kind's calls do not wait for each other: so many at once would have to come in between."""


def count_at_commit(call: Call, transaction: Transaction, cls: type[Resource], room: int) -> None:
    """Conflict when one of the kind was made meanwhile in the call's scope, where the quota is near. `room`: how many more it allows."""
    if room < NEAR:
        transaction.require_no_newer(cls, call.scope)


def made_beside(call: Call, transaction: Transaction, cls: type[Resource], room: int) -> int:
    """How many of the kind the transaction makes already; `room` or fewer writes are not looked through, for they cannot exceed it."""
    if len(transaction.written) < room:
        return 0
    prefix = make_key(kind_of(cls).name, call.scope, "")
    return sum(1 for key in transaction.written if key.startswith(prefix) and call.client.by_key(key) is None)
