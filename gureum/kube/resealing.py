"""Another key for Secrets: a new one seals from now on, all that is stored is sealed anew, the old one goes.

    the new key's file ► every Secret of every cluster, written anew ► the history that still has old texts ► the old key's file

Each step can be taken again: a daemon that was killed on the way finds two keys and goes on. To clients it looks as if every Secret had been
replaced by itself, as the original's documents tell its administrators to do it.
Source: Kubernetes, "Encrypting Confidential Data at Rest", rotating a decryption key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from gureum.base.keyring import Keyring
from gureum.kube.objects import SEALED, Objects
from gureum.store.contract import Conflict, Entry, Put, Store, Unchanged

log = logging.getLogger("gureum.kube")
AT_ONCE = 64
BARRIER = "kube/resealing"
"""A key that nothing is stored under."""


async def reseal(store: Store, keyring: Keyring, clusters: Iterable[Objects]) -> int:
    """Seals with the newest key what is sealed with others, then retires those. Returns how many objects it has written."""
    written = 0
    # Who sealed with the older key and waits for the store is before this in its queue, and met by the look after it.
    await store.commit([Unchanged(BARRIER, 0)], [])
    for objects in clusters:
        while stale := _stale(keyring, objects):
            for start in range(0, len(stale), AT_ONCE):
                await asyncio.gather(*(_again(objects, keyring, entry) for entry in stale[start : start + AT_ONCE]))
            written += len(stale)
    await store.compact(store.revision)
    await asyncio.to_thread(keyring.retire)
    log.info("kube.resealed", extra={"objects": written, "key": keyring.number})
    return written


def _stale(keyring: Keyring, objects: Objects) -> list[Entry]:
    return [
        entry
        for storage in SEALED
        for entry in objects.store.range(objects.prefix(storage))
        if keyring.stale(entry.value)
    ]


async def _again(objects: Objects, keyring: Keyring, entry: Entry) -> None:
    """Who changes it meanwhile has sealed it with the new key, or is met again by the next look."""
    try:
        value = keyring.seal_bytes(objects.plain(entry), entry.key)
        await objects.commit([Unchanged(entry.key, entry.revision)], [Put(entry.key, value)])
    except Conflict:
        return
