"""Garbage collection: what belongs to an owner that is gone goes, too; foreground deletion waits for dependents; orphans are let go.

Source: Kubernetes, "Garbage Collection", "Owners and Dependents".
"""

from __future__ import annotations

from collections.abc import Iterable

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.index import Owner
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.objects import Object
from gureum.kube.verbs.deleting import FOREGROUND, ORPHAN

NAME = "generic-garbage-collector"


def _wake(seen: Seen) -> Iterable[str]:
    """Keys of the store. Of one that is gone: who named it as owner is found by its uid."""
    found = []
    if seen.after is not None and (seen.after.owners or seen.after.deleting):
        found.append(seen.event.key)
    if seen.after is None or seen.after.deleting:
        found.append(f"uid:{seen.facts.uid}")
    kept = seen.after.owners if seen.after is not None else ()
    left = seen.before.owners if seen.before is not None else seen.facts.owners if seen.after is None else ()
    return found + [f"uid:{owner.uid}" for owner in left if owner not in kept]


async def collect(client: Client, key: str) -> None:
    if key.startswith("uid:"):
        await _collect_dependents(client, key.removeprefix("uid:"))
        return
    facts = client.index.facts.get(key)
    if facts is None:
        return
    if facts.deleting and (ORPHAN in facts.finalizers or FOREGROUND in facts.finalizers):
        await _finish_owner(client, key)
    elif facts.owners and not facts.deleting:
        await _collect_dependent(client, key)


async def _collect_dependents(client: Client, uid: str) -> None:
    owner = client.index.uids.get(uid)
    if owner is not None and client.index.facts[owner].deleting:
        await _finish_owner(client, owner)
    if owner is None:
        for key in client.index.dependents(uid):
            await _collect_dependent(client, key)


async def _finish_owner(client: Client, key: str) -> None:
    """Of one that is being deleted: lets its dependents go, or deletes them and waits."""
    facts = client.index.facts.get(key)
    if facts is None:
        return
    dependents = client.index.dependents(facts.uid)
    if ORPHAN in facts.finalizers:
        for one in dependents:
            await _without_owner(client, one, facts.uid)
        await _without_finalizer(client, key, ORPHAN)
    elif FOREGROUND in facts.finalizers:
        for one in dependents:
            known = client.index.facts.get(one)
            if known is None or known.deleting:
                continue
            place = client.objects.place(one)
            if any(_stays(client, owner, place.namespace) for owner in known.owners):
                await _without_owner(client, one, facts.uid)
            else:
                await client.delete(*place, NAME, uid=known.uid, policy="Foreground")
        if not any(_blocks(client, one, facts.uid) for one in client.index.dependents(facts.uid)):
            await _without_finalizer(client, key, FOREGROUND)


def _stays(client: Client, owner: Owner, namespace: str) -> bool:
    """Whether it holds its dependents: it is there, and does not itself wait for them to go."""
    key = client.index.uids.get(owner.uid)
    facts = None if key is None else client.index.facts.get(key)
    waits = facts is not None and facts.deleting and FOREGROUND in facts.finalizers
    return not waits and _exists(client, owner, namespace)


def _blocks(client: Client, key: str, uid: str) -> bool:
    """Whether a dependent keeps its owner from going. Not where both depend on each other: neither would ever go."""
    obj = client.by_key(key)
    owners = obj["metadata"].get("ownerReferences") or () if obj else ()
    named = any(one.get("uid") == uid and one.get("blockOwnerDeletion") for one in owners)
    return named and not _depends_on(client, client.index.uids.get(uid), key)


def _depends_on(client: Client, key: str | None, owner: str) -> bool:
    """Whether `owner` is above the object of `key`, at any height. Keys of the store."""
    seen, left = {owner}, [owner]
    while left:
        facts = client.index.facts.get(left.pop())
        below = set(client.index.dependents(facts.uid)) - seen if facts else set()
        if key in below:
            return True
        seen |= below
        left += below
    return False


async def _collect_dependent(client: Client, key: str) -> None:
    """Deletes it when all its owners are gone; takes away those that are when one is left."""
    facts = client.index.facts.get(key)
    if facts is None or not facts.owners or facts.deleting:
        return
    place = client.objects.place(key)
    gone = [owner for owner in facts.owners if not _exists(client, owner, place.namespace)]
    if not gone:
        return
    if len(gone) == len(facts.owners):
        await client.delete(*place, NAME, uid=facts.uid, policy="Background")
    else:
        for owner in gone:
            await _without_owner(client, key, owner.uid)


def _exists(client: Client, owner: Owner, namespace: str) -> bool:
    """Whether the owner is there, as itself, where this dependent may see it."""
    key = client.index.uids.get(owner.uid)
    if key is None:
        # A kind that the cluster does not know (now) is no proof that its object is gone.
        group = owner.api_version.rpartition("/")[0]
        return client.catalog.by_group_kind(group, owner.kind) is None
    return client.objects.place(key).namespace in ("", namespace)


async def _without_owner(client: Client, key: str, uid: str) -> None:
    def change(obj: Object) -> Object | None:
        owners = obj["metadata"].get("ownerReferences") or []
        left = [one for one in owners if one.get("uid") != uid]
        return None if len(left) == len(owners) else _with(obj, "ownerReferences", left)

    await client.update(*client.objects.place(key), change, NAME)


async def _without_finalizer(client: Client, key: str, name: str) -> None:
    def change(obj: Object) -> Object | None:
        finalizers = obj["metadata"].get("finalizers") or []
        if name not in finalizers:
            return None
        return _with(obj, "finalizers", [one for one in finalizers if one != name])

    await client.update(*client.objects.place(key), change, NAME)


def _with(obj: Object, name: str, value: list[Object] | list[str]) -> Object:
    metadata = {**obj["metadata"], name: value}
    if not value:
        del metadata[name]
    return {**obj, "metadata": metadata}


GARBAGE_COLLECTOR = Controller("garbage-collector", {"*": _wake}, collect)
