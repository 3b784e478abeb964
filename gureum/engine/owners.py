"""Owners: what an object owns goes away with it.

When an owner is gone (or an object names an owner that does not exist), the owned object is deleted: at once when it has no finalizers,
otherwise its `meta.deleting` is set and whoever holds a finalizer removes it when the work is done.
"""

from __future__ import annotations

import msgspec

from gureum.engine.client import Client, Transaction
from gureum.engine.resource import Resource

WRITES_AT_ONCE = 100


def begin_delete(transaction: Transaction, obj: Resource, now: float) -> None:
    """Deletes `obj`, or marks it as deleting while finalizers stand."""
    if not obj.meta.finalizers:
        transaction.delete(obj)
    elif not obj.meta.deleting:
        transaction.update(msgspec.structs.replace(obj, meta=msgspec.structs.replace(obj.meta, deleting=now)))


def finish(transaction: Transaction, obj: Resource, finalizer: str) -> None:
    """Takes `finalizer` off `obj`; the last one of a deleting object deletes it."""
    left = tuple(one for one in obj.meta.finalizers if one != finalizer)
    if obj.meta.deleting and not left:
        transaction.delete(obj)
    else:
        transaction.update(msgspec.structs.replace(obj, meta=msgspec.structs.replace(obj.meta, finalizers=left)))


async def cascade(client: Client, owner: str) -> bool:
    """Deletes what `owner` (a key that is gone) still owns, in steps the store can take. True when nothing is left to begin."""
    due = [obj for obj in client.owned_by(owner) if not obj.meta.deleting]
    if client.by_key(owner) is not None or not due:
        return True
    transaction = client.transaction()
    for obj in due[:WRITES_AT_ONCE]:
        begin_delete(transaction, obj, client.clock.now())
    await transaction.commit()
    return len(due) <= WRITES_AT_ONCE
