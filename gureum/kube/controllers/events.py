"""Events: what controllers tell the user. The same one again is counted in the one that is there."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

from gureum.kube.controllers.client import Client
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.times import timestamp
from gureum.store.contract import Check, Conflict, Unchanged, Write

EVENTS = "core/events"


def record(client: Client, about: Object, type_: str, reason: str, message: str, component: str) -> None:
    """Beside everything else: nobody waits for it, and it may get lost."""
    task = asyncio.get_running_loop().create_task(_record(client, about, type_, reason, message, component))
    client.tasks.add(task)
    task.add_done_callback(client.tasks.discard)


async def _record(client: Client, about: Object, type_: str, reason: str, message: str, component: str) -> None:
    try:
        checks_and_writes = event_of(client, about, type_, reason, message, component)
        if checks_and_writes:
            await client.objects.commit_all(checks_and_writes)
    except (Conflict, StatusError):
        return


def event_of(
    client: Client, about: Object, type_: str, reason: str, message: str, component: str
) -> list[Write | Check]:
    """What tells the event, for a commit of its own or that of what it tells. Nothing where its namespace is going."""
    metadata = about["metadata"]
    namespace = metadata.get("namespace") or "default"
    same = hashlib.sha256(f"{metadata['uid']}{type_}{reason}{message}{component}".encode()).hexdigest()[:16]
    name = f"{metadata['name'][:200]}.{same}"
    now = timestamp(client.clock.now())
    objects = client.objects
    known = objects.entry(EVENTS, namespace, name)
    if known is not None:
        event = objects.decode(known)
        again = {**event, "count": int(event.get("count") or 1) + 1, "lastTimestamp": now}
        return [Unchanged(known.key, known.revision), objects.put(EVENTS, again)]
    home = objects.entry("core/namespaces", "", namespace)
    if home is None or client.index.facts[home.key].deleting:
        return []
    put = objects.put(EVENTS, _event(about, namespace, name, now, type_, reason, message, component))
    return [Unchanged(home.key, home.revision), Unchanged(put.key, 0), put]


def _event(
    about: Object, namespace: str, name: str, now: str, type_: str, reason: str, message: str, component: str
) -> Object:
    metadata = about["metadata"]
    involved = {
        "apiVersion": about["apiVersion"],
        "kind": about["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata["resourceVersion"],
    }
    if metadata.get("namespace"):
        involved["namespace"] = metadata["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now},
        "involvedObject": involved,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": component},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": type_,
        "reportingComponent": component,
        "reportingInstance": "",
    }
